"""The training loop: steps, rounds and epochs; what is kept, recorded and refused."""

import csv
import math
import pickle
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from mtl.data.dataset import Dataset
from mtl.data.examples import PairExample, TextExample
from mtl.errors import ConfigError, DataError, DataWarning, ModelError, MTLError
from mtl.inference import evaluate, evaluate_encoded
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.embedding import EmbeddingTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.toy import ner_examples, qa_examples
from mtl.training import preflight, state
from mtl.training.history import Conflict, History, Round
from mtl.training.loop import Run, TrainConfig, train
from mtl.training.optimizer import build_optimizer, warmup_then_decay
from mtl.training.state import has_state, load_state, save_state
from mtl.training.weighting import FixedWeighting, Weighting

TYPES = ["LOC", "MISC", "ORG", "PER"]
FAST = TrainConfig(epochs=2, batch_size=8, learning_rate=1e-2)


@pytest.fixture
def tasks(sentences, questions):
    """NER with 8 sentences (1 batch) and QA with 20 questions (3 batches), none for validation."""
    return [
        NERTask("ner", Dataset(train=sentences[:8]), types=TYPES),
        QATask("qa", Dataset(train=questions[:20])),
    ]


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same_weights(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Watched(FixedWeighting):
    """Fixed weights that remember which tasks' losses came in each step."""

    def __init__(self, weights=None):
        super().__init__(weights)
        self.steps = []

    def forward(self, losses):
        self.steps.append({name: loss.item() for name, loss in losses.items()})
        return super().forward(losses)


# --- schedule and optimiser ---------------------------------------------------------------------


@given(steps=st.integers(1, 300), warmup=st.floats(0, 1))
def test_warmup_then_decay(steps, warmup):
    """Up in a straight line to 1, down in a straight line to 0, and never 0 before the end."""
    rising = round(warmup * steps)
    factors = [warmup_then_decay(step, steps, warmup) for step in range(steps + 1)]
    assert all(0 < factor <= 1 for factor in factors[:steps])
    assert factors[steps] == 0
    assert max(factors[:steps]) == (1 if rising < steps else factors[steps - 1])
    for part in (factors[:rising], factors[rising:]):
        slopes = [after - before for before, after in pairwise(part)]
        assert slopes == pytest.approx(slopes[:1] * len(slopes))
    assert factors[:rising] == sorted(factors[:rising])


def test_warmup_by_hand():
    factors = [warmup_then_decay(step, 10, 0.2) for step in range(11)]
    falling = [8 / 8, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0]
    assert factors == pytest.approx([1 / 3, 2 / 3, *falling])


@pytest.mark.parametrize("pretrained", ["", "tiny-bert"])
def test_exactly_the_matrices_decay(build_model, tasks, pretrained):
    model = build_model(tasks, positions="learned")
    model.encoder.pretrained = pretrained
    weighting = Weighting()
    weighting.log_variance = nn.Parameter(torch.zeros(2, 2))
    optimizer = build_optimizer(model, weighting, replace(FAST, weight_decay=0.3))
    decay = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    assert len(decay) == sum(len(g["params"]) for g in optimizer.param_groups)
    for name, parameter in model.named_parameters():
        is_matrix = not name.endswith("bias") and "norm" not in name
        assert decay.pop(id(parameter)) == (0.3 if is_matrix else 0.0), name
    assert decay == {id(weighting.log_variance): 0.0}
    assert {g["betas"] for g in optimizer.param_groups} == {(0.9, 0.98)}


@pytest.mark.parametrize("pretrained", ["", "tiny-bert"])
def test_pretrained_weights_have_a_learning_rate_of_their_own(build_model, tasks, pretrained):
    model = build_model(tasks)
    model.encoder.pretrained = pretrained
    config = replace(FAST, pretrained_learning_rate=3e-5)
    weighting = FixedWeighting()
    weighting.scale = nn.Parameter(torch.ones(1))
    run = Run(model, tasks, config, weighting)
    used = {}

    def remember(optimizer, *_):
        for group in optimizer.param_groups:
            used.update(dict.fromkeys(group["params"], group["lr"]))

    run.update.optimizer.register_step_pre_hook(remember)
    for n in range(2):
        run.round()
        factor = warmup_then_decay(2 * n + 1, 12, config.warmup)
        for parameter in model.encoder.parameters():
            rate = 3e-5 if pretrained else 1e-2
            assert used[parameter] == pytest.approx(rate * factor)
        for parameter in [*model.heads.parameters(), weighting.scale]:
            assert used[parameter] == pytest.approx(1e-2 * factor)
        assert run.history.rounds[n].learning_rate == pytest.approx(1e-2 * factor)
    assert len(used) == len(list(model.parameters())) + 1


# --- steps, rounds and epochs -------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "per_round"), [("alternating", 2), ("joint", 1)])
def test_the_order_of_the_steps(build_model, tasks, steps, per_round):
    weighting = Watched()
    config = replace(FAST, steps=steps)
    history = train(build_model(tasks), tasks, config, weighting=weighting, progress=False)
    names = [tuple(step) for step in weighting.steps]
    a_round = [("ner",), ("qa",)] if steps == "alternating" else [("ner", "qa")]
    assert names == a_round * 6  # two epochs of three rounds
    assert [r.step for r in history.rounds] == [per_round * n for n in range(1, 7)]
    assert [r.epoch for r in history.rounds] == [1, 1, 1, 2, 2, 2]


def test_an_epoch_is_one_pass_over_the_longest_and_the_shorter_cycle(build_model, tasks):
    run = Run(build_model(tasks), tasks, FAST, FixedWeighting())
    seen = {"ner": Counter(), "qa": Counter()}
    for stream in run.streams:
        _count_examples(stream, seen[stream.tasks[0].name])
    assert run.streams.rounds_per_epoch == 3
    for _ in range(3):
        run.round()
    ner, qa = tasks
    assert seen["qa"] == Counter(qa.dataset.train)
    assert seen["ner"] == Counter(dict.fromkeys(ner.dataset.train, 3))
    assert [r.examples["ner"] for r in run.history.rounds] == [8, 16, 24]
    assert run.history.rounds[-1].examples == {"ner": 24, "qa": 20}
    assert run.streams.describe_epoch() == (
        "an epoch is 3 rounds, one batch of each: "
        "ner 8 examples (3.0 passes), qa 20 examples (1.0 passes)"
    )


def _count_examples(stream, counter):
    give = stream.next

    def next_batch():
        batch = give()
        counter.update(item.example for item in batch.items)
        return batch

    stream.next = next_batch


@pytest.mark.parametrize("steps", ["alternating", "joint", "sampled"])
def test_the_total_is_the_weighted_sum_of_the_rounds_losses(build_model, tasks, steps):
    config = replace(FAST, steps=steps, loss_weights={"qa": 0.25})
    history = train(build_model(tasks), tasks, config, progress=False)
    for r in history.rounds:
        weighted = r.losses.get("ner", 0.0) + 0.25 * r.losses.get("qa", 0.0)
        assert r.total == pytest.approx(weighted, rel=1e-5)


def test_the_losses_recorded_are_those_of_the_batches(build_model, tasks):
    weighting = Watched()
    history = train(build_model(tasks), tasks, FAST, weighting=weighting, progress=False)
    recorded = [r.losses for r in history.rounds]
    pairs = zip(weighting.steps[::2], weighting.steps[1::2], strict=True)
    assert recorded == [pytest.approx(ner | qa) for ner, qa in pairs]


def test_a_weight_of_zero_leaves_a_head_as_it_was(build_model, tasks):
    model = build_model(tasks)
    before = weights_of(model)
    config = replace(FAST, loss_weights={"ner": 0.0}, weight_decay=0.0)
    train(model, tasks, config, progress=False)
    after = weights_of(model)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not {name for name in moved if name.startswith("heads.ner")}
    assert {name for name in moved if name.startswith("heads.qa")}


def test_a_joint_step_is_the_gradient_of_the_weighted_sum(build_model, tasks):
    """One joint step of plain numbers equals the sum of the two tasks' gradients by hand."""
    config = replace(FAST, steps="joint", loss_weights={"qa": 3.0}, clip_norm=1e9, hide_words=0.0)
    model, reference = build_model(tasks), build_model(tasks)
    run = Run(model, tasks, config, FixedWeighting(config.loss_weights))
    batches = []
    for stream in run.streams:
        batches.append(stream.next())
        stream.next = lambda batch=batches[-1]: batch
    run.round()
    losses = reference.losses(batches[0]) | reference.losses(batches[1])
    (losses["ner"] + 3.0 * losses["qa"]).backward()
    for one, other in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)


def test_gradients_are_clipped_and_the_norm_before_is_recorded(build_model, tasks):
    run = Run(build_model(tasks), tasks, replace(FAST, clip_norm=0.01), FixedWeighting())
    used = []

    def remember_norm(optimizer, *_):
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        used.append(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))

    run.update.optimizer.register_step_pre_hook(remember_norm)
    run.round()
    assert [norm.item() for norm in used] == pytest.approx([0.01, 0.01], rel=1e-3)
    assert run.history.rounds[0].grad_norm > 0.05


def test_the_learning_rate_recorded_is_that_of_the_rounds_last_step(build_model, tasks):
    used = []
    run = Run(build_model(tasks), tasks, FAST, FixedWeighting())
    run.update.optimizer.register_step_pre_hook(
        lambda optimizer, *_: used.append(optimizer.param_groups[0]["lr"])
    )
    for _ in range(6):
        run.round()
    assert [r.learning_rate for r in run.history.rounds] == pytest.approx(used[1::2])
    n = 12
    assert used == pytest.approx([1e-2 * warmup_then_decay(i, n, FAST.warmup) for i in range(n)])


def test_one_encoder_pass_serves_all_tasks_of_a_dataset(build_model, sentences):
    data = Dataset(train=sentences[:16])
    tasks = [NERTask("ner", data, types=TYPES), NERTask("again", data, types=TYPES)]
    model = build_model(tasks)
    calls = []
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    history = train(model, tasks, replace(FAST, epochs=1), progress=False)
    assert len(calls) == 2
    assert history.rounds[-1].step == 2
    assert history.rounds[-1].examples == {"ner": 16, "again": 16}


def test_records_with_a_label_and_tags_train_both_heads_in_one_pass(
    build_model, tokenizer, sentences
):
    """The losses and their total, computed by hand from hidden states without any padding."""
    records = [
        TextExample(example.text, example.tokens, label, example.tags if tagged else None)
        for example, label, tagged in zip(
            sentences, ("a", "b", None, "a"), (True, False, True, True), strict=False
        )
    ]
    data = Dataset(train=records)
    tasks = [ClassificationTask("topic", data), NERTask("ner", data, types=TYPES)]
    model, calls = build_model(tasks), []
    topic, ner = (model.heads[name].classifier for name in ("topic", "ner"))
    losses = {"topic": [], "ner": []}
    with torch.no_grad():
        for record in records:
            (row,) = tokenizer.rows(record.inputs[0], 64)
            hidden = model.encoder(torch.tensor([row.input_ids]))[0]  # (T, D)
            if record.label is not None:
                scores = (topic.weight @ hidden.mean(0) + topic.bias).log_softmax(0)
                losses["topic"].append(-scores["ab".index(record.label)].item())
            for i, tag in enumerate(record.tags or ()):
                scores = (ner.weight @ hidden[1 + i] + ner.bias).log_softmax(0)  # [CLS] is first
                losses["ner"].append(-scores[tasks[1].tags.index(tag)].item())
    expected = {name: sum(values) / len(values) for name, values in losses.items()}
    model.encoder.register_forward_hook(lambda *_: calls.append(1))
    before = weights_of(model)
    weights = {"topic": 0.5, "ner": 2.0}
    config = replace(FAST, epochs=1, hide_words=0.0, steps="joint", loss_weights=weights)
    (only,) = train(model, tasks, config, progress=False).rounds
    assert len(calls) == only.step == 1
    assert only.losses == pytest.approx(expected, rel=1e-4)
    assert only.total == pytest.approx(0.5 * expected["topic"] + 2.0 * expected["ner"], rel=1e-4)
    assert only.examples == {"topic": 3, "ner": 3}
    for name in ("heads.topic.classifier.weight", "heads.ner.classifier.weight"):
        assert not torch.equal(before[name], model.state_dict()[name])


# --- batches in parts ---------------------------------------------------------------------------


def partly_labelled(sentences, questions):
    """Words, spans in windows, and classes and tags of which some are missing."""
    records = [
        TextExample(e.text, e.tokens, "ab"[i % 2] if i % 3 else None, e.tags if i % 4 else None)
        for i, e in enumerate(sentences[:16])
    ]
    shared = Dataset(train=records)
    return [
        NERTask("names", Dataset(train=sentences[:16]), types=TYPES),
        QATask("qa", Dataset(train=questions[:16])),
        ClassificationTask("topic", shared, labels=["a", "b"]),
        NERTask("ner", shared, types=TYPES),
    ]


@pytest.mark.parametrize("steps", ["alternating", "joint"])
@pytest.mark.parametrize("max_tokens", [30, 100, 250])
def test_the_gradient_of_the_parts_is_that_of_the_whole(
    build_model, sentences, questions, steps, max_tokens
):
    tasks = partly_labelled(sentences, questions)
    config = replace(FAST, steps=steps, clip_norm=1e9, hide_words=0.0, loss_weights={"qa": 3.0})
    gradients, rounds, passes = [], [], []
    for limit in (0, max_tokens):
        model = build_model(tasks, max_length=24)
        weighting = FixedWeighting(config.loss_weights)
        run = Run(model, tasks, replace(config, max_tokens=limit), weighting)
        calls = []
        model.encoder.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        gradients.append([])
        for _ in range(3 if steps == "alternating" else 1):
            run.next_step()
            gradients[-1].append([p.grad.clone() for p in model.parameters() if p.grad is not None])
            model.load_state_dict(build_model(tasks, max_length=24).state_dict())
        rounds.append(run.history.rounds[0])
        passes.append(len(calls))
    assert passes[1] > passes[0] == 3
    for whole, parts in zip(*gradients, strict=True):
        for one, other in zip(whole, parts, strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    whole, parts = rounds
    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)
    assert parts.total == pytest.approx(whole.total, rel=1e-5)
    assert parts.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)
    assert (parts.examples, parts.step) == (whole.examples, whole.step)


def test_a_loss_that_compares_its_rows_is_never_in_parts(build_model, sentences):
    """Each second sentence of a batch is a wrong answer for the other first ones."""
    pairs = [PairExample(e.text, f"{e.text} again") for e in sentences[:16]]
    tasks = [
        EmbeddingTask("vector", Dataset(train=pairs)),
        NERTask("ner", Dataset(train=sentences[:16]), types=TYPES),
    ]
    assert [task.rows_alone for task in tasks] == [False, True]
    config = replace(FAST, epochs=1, clip_norm=1e9, hide_words=0.0)
    losses, sizes = [], []
    for limit in (0, 60):
        model = build_model(tasks)
        run = Run(model, tasks, replace(config, max_tokens=limit), FixedWeighting())
        seen = []
        model.encoder.register_forward_pre_hook(
            lambda _, given, seen=seen: seen.append(len(given[0]))
        )
        run.round()
        losses.append(run.history.rounds[0].losses)
        sizes.append(seen)
    assert sizes[0] == [16, 8]
    assert sizes[1][0] == 16
    assert len(sizes[1]) > 2
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_only_fixed_weights_go_with_parts(build_model, tasks):
    """A weighting may add what is not in proportion to the losses; so many parts, so often."""

    class Adds(Weighting):
        def forward(self, losses):
            return dict.fromkeys(losses, 1.0), 1.0

    config = replace(FAST, max_tokens=100)
    with pytest.raises(ConfigError, match=r"only fixed weights add up(.|\n)*100, Adds"):
        train(build_model(tasks), tasks, config, weighting=Adds(), progress=False)


# --- what is kept -------------------------------------------------------------------------------


class Scripted(NERTask):
    """NER whose validation scores are given beforehand, epoch by epoch."""

    def __init__(self, *args, script, **kwargs):
        super().__init__(*args, **kwargs)
        self.script = iter(script)

    def score(self, examples, predictions):
        return {"entity_f1": next(self.script)}


@pytest.mark.parametrize(
    ("script", "best"),
    [
        ([0.1, 0.7, 0.3, 0.2], 2),
        ([0.5, 0.5, 0.4, 0.5], 1),
        ([0.0, 0.0, 0.0, 0.1], 4),
        ([0.0] * 4, 4),  # while nothing scores, the weights that learned longest are kept
    ],
)
def test_the_best_weights_on_validation_are_restored(
    build_model, sentences, monkeypatch, script, best
):
    data = Dataset(train=sentences[:8], validation=sentences[8:12])
    task = Scripted("ner", data, types=TYPES, script=script)
    model = build_model([task])
    after_epoch = []
    finish = Run.finish_epoch

    def remember(self):
        after_epoch.append(weights_of(self.model))
        return finish(self)

    monkeypatch.setattr(Run, "finish_epoch", remember)
    history = train(model, [task], replace(FAST, epochs=4), progress=False)
    assert history.best_epoch == best
    assert history.best_validation == {"ner": {"entity_f1": script[best - 1]}}
    assert same_weights(weights_of(model), after_epoch[best - 1])
    assert not same_weights(after_epoch[0], after_epoch[3])
    assert not model.training


def test_best_is_the_mean_of_the_main_metrics(build_model, sentences):
    data = Dataset(train=sentences[:8], validation=sentences[8:12])
    tasks = [
        Scripted("one", data, types=TYPES, script=[0.9, 0.6, 0.0]),
        Scripted("two", data, types=TYPES, script=[0.1, 0.5, 1.0]),
    ]
    history = train(build_model(tasks), tasks, replace(FAST, epochs=3), progress=False)
    assert history.best_epoch == 2


def test_without_validation_the_last_weights_stay(build_model, tasks, monkeypatch):
    model = build_model(tasks)
    last = []
    finish = Run.finish_epoch
    monkeypatch.setattr(
        Run, "finish_epoch", lambda self: (last.append(weights_of(self.model)), finish(self))[1]
    )
    history = train(model, tasks, FAST, progress=False)
    assert history.best_epoch == 0
    assert history.best_validation == {}
    assert same_weights(weights_of(model), last[-1])


@pytest.mark.parametrize(
    ("patience", "script", "epochs", "best"),
    [
        (1, [0.5, 0.4, 0.9, 0.9], 2, 1),
        (1, [0.5, 0.5, 0.9, 0.9], 2, 1),  # as good is not better
        (1, [0.1, 0.2, 0.3, 0.2], 4, 3),
        (2, [0.5, 0.4, 0.6, 0.1, 0.2, 0.9], 5, 3),
        (2, [0.5, 0.4, 0.3, 0.9], 3, 1),
        (9, [0.5, 0.4, 0.3, 0.2], 4, 1),
        (1, [0.0, 0.0, 0.0, 0.2, 0.1, 0.9], 5, 4),  # nothing to lose before the first score
        (0, [0.5, 0.4, 0.3, 0.2], 4, 1),
    ],
)
def test_training_stops_when_it_no_longer_gets_better(
    build_model, sentences, patience, script, epochs, best
):
    data = Dataset(train=sentences[:8], validation=sentences[8:12])
    task = Scripted("ner", data, types=TYPES, script=script)
    config = replace(FAST, epochs=len(script), patience=patience)
    history = train(build_model([task]), [task], config, progress=False)
    assert (len(history.validation), history.best_epoch) == (epochs, best)
    assert len(history.rounds) == epochs


def test_patience_needs_something_to_wait_for(build_model, tasks):
    config = replace(FAST, patience=1)
    with pytest.raises(ConfigError, match=r"train\.patience waits(.|\n)*no validation data"):
        train(build_model(tasks), tasks, config, progress=False)
    unlabelled = Dataset(
        train=[TextExample("Ann ran .", label="a"), TextExample("Bob sat .", label="b")],
        validation=[TextExample("Eve ran .")],
    )
    task = ClassificationTask("topic", unlabelled)
    with pytest.raises(ConfigError, match="no validation data"):
        train(build_model([task]), [task], config, progress=False)


def test_validation_reads_the_validation_split_only(build_model, sentences, monkeypatch):
    data = Dataset(train=sentences[:8], validation=sentences[8:12], test=sentences[12:20])
    task = NERTask("ner", data, types=TYPES)
    read = []

    def watched(model, encoded, tasks):
        read.append([item.example for item in encoded])
        return evaluate_encoded(model, encoded, tasks)

    monkeypatch.setattr(preflight, "evaluate_encoded", watched)
    history = train(build_model([task]), [task], FAST, progress=False)
    assert read == [sentences[8:12]] * 2
    assert len(history.validation) == 2


def test_after_each_epoch_the_model_has_the_weights_of_that_epoch(
    build_model, sentences, monkeypatch
):
    """Called after validation, with the weights as they are, not the best so far."""
    data = Dataset(train=sentences[:8], validation=sentences[8:12])
    task = Scripted("ner", data, types=TYPES, script=[0.9, 0.5, 0.1])
    model, finished, called = build_model([task]), [], []
    finish = Run.finish_epoch
    monkeypatch.setattr(
        Run, "finish_epoch", lambda self: (finished.append(weights_of(model)), finish(self))[1]
    )
    train(
        *(model, [task], replace(FAST, epochs=3)),
        after_epoch=lambda history: called.append((len(history.validation), weights_of(model))),
        progress=False,
    )
    assert [epoch for epoch, _ in called] == [1, 2, 3]
    assert all(same_weights(a, b) for (_, a), b in zip(called, finished, strict=True))
    assert same_weights(weights_of(model), finished[0])


# --- it learns, and the same way each time ------------------------------------------------------


def test_a_handful_of_examples_is_learnt_by_heart(build_model):
    tasks = [
        NERTask("ner", Dataset(train=ner_examples("train", 6)), types=TYPES),
        QATask("qa", Dataset(train=qa_examples("train", 6))),
    ]
    model = build_model(tasks, d_model=32)
    config = TrainConfig(epochs=60, batch_size=6, learning_rate=1e-2, hide_words=0.0)
    history = train(model, tasks, config, progress=False)
    first, last = history.rounds[0], history.rounds[-1]
    assert last.losses["ner"] < 0.1 * first.losses["ner"]
    assert last.losses["qa"] < 0.1 * first.losses["qa"]
    assert evaluate(model, "ner", tasks[0].dataset.train)["entity_f1"] == 1
    assert evaluate(model, "qa", tasks[1].dataset.train)["exact_match"] == 1


def test_the_same_seed_gives_the_same_weights_bit_for_bit(build_model, tasks):
    def trained(seed):
        model = build_model(tasks, dropout=0.2)
        torch.manual_seed(12345 + seed)  # what the global generator held before does not matter
        train(model, tasks, replace(FAST, seed=seed % 2), progress=False)
        return weights_of(model)

    assert same_weights(trained(0), trained(2))
    assert not same_weights(trained(0), trained(1))


def test_bent_answers_are_reported(build_model, questions):
    answer = questions[0].answers[0]
    inside = replace(answer, text=answer.text[1:], start=answer.start + 1)  # begins inside a word
    bent = replace(questions[0], answers=(inside,))
    task = QATask("qa", Dataset(train=[bent]))
    with pytest.warns(DataWarning, match="qa, train: 1 answers do not fall on token borders"):
        train(build_model([task]), [task], replace(FAST, epochs=1), progress=False)


# --- what is refused ----------------------------------------------------------------------------


class Spoiled(NERTask):
    """Its second loss is multiplied by a value."""

    value, calls = 1.0, 0

    def loss(self, outputs, targets, batch):
        self.calls += 1
        return super().loss(outputs, targets, batch) * (self.value if self.calls == 2 else 1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_training_and_names_the_step(build_model, tasks, value):
    ner = Spoiled("ner", tasks[0].dataset, tasks[0].types)
    ner.value = value
    tasks = [ner, tasks[1]]
    with pytest.raises(MTLError, match="loss or its gradient is not finite at step 3") as error:
        train(build_model(tasks), tasks, FAST, progress=False)
    assert f"ner loss {value}" in str(error.value)


class Poisoned(QATask):
    """Its loss is spoiled by one example."""

    poison = None

    def loss(self, outputs, targets, batch):
        poisoned = any(item.example is self.poison for item in batch.items)
        return super().loss(outputs, targets, batch) * (math.nan if poisoned else 1.0)


@pytest.mark.parametrize("max_tokens", [0, 150])
@pytest.mark.parametrize("steps", ["alternating", "joint"])
def test_an_example_that_spoils_a_loss_is_named_and_the_state_before_is_kept(
    build_model, tasks, tmp_path, steps, max_tokens
):
    config = replace(FAST, epochs=4, steps=steps, max_tokens=max_tokens)
    items = _items_of_the_last_qa_batch(build_model(tasks), tasks, config)
    qa = Poisoned("qa", tasks[1].dataset)
    qa.poison = items[0].example
    tasks = [tasks[0], qa]
    model = build_model(tasks)
    step = 3 if steps == "joint" else 6  # the third batch of questions, the last of the first pass
    with pytest.raises(MTLError, match=f"not finite at step {step}\\b") as error:
        train(model, tasks, config, checkpoint=tmp_path, save_every=1, progress=False)
    message = str(error.value)
    assert "qa loss nan" in message
    named = message.split("examples of the step: ")[1].split("\n")[0]
    assert named == f"qa: {', '.join(item.name for item in items)}"
    assert repr(qa.poison.id) in named
    state = load_state(tmp_path)
    assert state["update"]["step"] == step - 1
    assert same_weights(weights_of(model), state["model"])
    assert not same_weights(weights_of(model), weights_of(build_model(tasks)))


def _items_of_the_last_qa_batch(model, tasks, config):
    run = Run(model, tasks, config, FixedWeighting())
    parts = [run.streams[1].next_parts(config.max_tokens) for _ in range(3)]
    return [item for part in parts[-1] for item in part.items]


def test_examples_without_a_label_are_not_named(build_model):
    said = [TextExample("Ann ran .", label="a"), TextExample("Eve ran .", label="b")]
    data = Dataset(train=[TextExample("Bob sat ."), *said])
    tasks = [ClassificationTask("topic", data), ClassificationTask("again", data)]
    config = replace(FAST, loss_weights={"topic": 1e38, "again": 1e38})
    with pytest.raises(MTLError, match="gradient is not finite at step 1") as error:
        train(build_model(tasks), tasks, config, progress=False)
    named = str(error.value).split("examples of the step: ")[1].split("\n")[0]
    examples = dict(part.split(": ") for part in named.split("; "))
    assert list(examples) == ["topic", "again"]
    assert [sorted(numbers.split(", ")) for numbers in examples.values()] == [["2", "3"]] * 2


def test_a_gradient_that_is_not_finite_stops_training_too(build_model, tasks):
    """The loss may be a fine number, where its slope is none."""

    class Steep(NERTask):
        def loss(self, outputs, targets, batch):
            loss = super().loss(outputs, targets, batch)
            return loss + (loss - loss.detach()).abs().sqrt()

    tasks = [Steep("ner", tasks[0].dataset, tasks[0].types), tasks[1]]
    model = build_model(tasks)
    before = weights_of(model)
    with pytest.raises(MTLError, match=r"step 1\n(.|\n)*ner loss \d(.|\n)*norm (nan|inf)"):
        train(model, tasks, FAST, progress=False)
    assert same_weights(before, weights_of(model))


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_weights_that_cannot_be(weight):
    with pytest.raises(ConfigError, match="weight of task 'ner'"):
        FixedWeighting({"ner": weight})


def test_a_weight_for_an_unknown_task(build_model, tasks):
    config = replace(FAST, loss_weights={"nre": 1.0})
    with pytest.raises(ConfigError, match='did you mean "ner"'):
        train(build_model(tasks), tasks, config, progress=False)


def test_a_weighting_that_needs_joint_steps(build_model, tasks):
    class NeedsAll(FixedWeighting):
        needs_joint_steps = True

    model = build_model(tasks)
    before = weights_of(model)
    with pytest.raises(ConfigError, match=r'NeedsAll(.|\n)*train\.steps = "joint"'):
        train(model, tasks, FAST, weighting=NeedsAll(), progress=False)
    assert same_weights(before, weights_of(model))
    train(model, tasks, replace(FAST, steps="joint"), weighting=NeedsAll(), progress=False)
    assert not same_weights(before, weights_of(model))


def test_a_task_without_training_examples(build_model):
    task = NERTask("ner", types=TYPES)
    with pytest.raises(DataError, match="'ner' has no labelled training examples"):
        train(build_model([task]), [task], FAST, progress=False)


def test_a_task_whose_training_examples_say_nothing_of_it(build_model):
    """Examples there are, and labels in the held-out part, but none to learn from."""
    said = [TextExample("Ann ran.", ("Ann", "ran."), "a", ("B-PER", "O"))]
    unsaid = [TextExample("Bob sat.", ("Bob", "sat."))] * 3
    data = Dataset(train=unsaid, validation=said)
    tasks = [NERTask("ner", data), ClassificationTask("topic", data, labels=["a", "b"])]
    for task in tasks:
        model = build_model([task])
        before = weights_of(model)
        with pytest.raises(DataError, match=f"'{task.name}' has no labelled training(.|\n)*3 exa"):
            train(model, [task], FAST, progress=False)
        assert same_weights(before, weights_of(model))


def test_no_task_or_one_that_the_model_does_not_have(build_model, tasks):
    with pytest.raises(ConfigError, match="no task"):
        train(build_model(tasks), [], FAST, progress=False)
    with pytest.raises(ConfigError, match=r"no head for this task\n  found: 'qa'"):
        train(build_model(tasks[:1]), tasks, FAST, progress=False)


def test_a_task_with_other_labels_than_the_models(build_model, sentences):
    model = build_model([NERTask("ner", types=["LOC", "PER"])])
    task = NERTask("ner", Dataset(train=sentences[:8]), types=TYPES)
    with pytest.raises(ConfigError, match="other settings"):
        train(model, [task], FAST, progress=False)


def test_a_task_named_as_the_kind_of_another(build_model, sentences):
    """The model has a head `tags` of kind ner; a task named `ner` is not that one."""
    model = build_model([NERTask("tags", types=TYPES)])
    task = NERTask("ner", Dataset(train=sentences[:8]), types=TYPES)
    with pytest.raises(ConfigError, match="no head"):
        train(model, [task], FAST, progress=False)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0"),
        ({"weight_decay": math.nan}, "weight_decay must be at least 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number"),
        ({"learning_rate": math.inf}, "learning_rate must be a positive number"),
        ({"clip_norm": math.nan}, "clip_norm must be a positive number"),
        ({"warmup": 1.1}, "warmup must lie between 0 and 1"),
        ({"hide_words": -0.1}, "hide_words must lie between 0 and 1"),
        ({"beta2": 1.0}, "beta2"),
        ({"max_tokens": -1}, "max_tokens must be at least 0"),
        ({"patience": -1}, "patience must be at least 0"),
        ({"pretrained_learning_rate": 0.0}, "pretrained_learning_rate must be a positive number"),
        ({"steps": "alternate"}, 'did you mean "alternating"'),
    ],
)
def test_settings_that_cannot_be(setting, message):
    with pytest.raises(ConfigError, match=message):
        replace(FAST, **setting)


# --- history ------------------------------------------------------------------------------------


def test_the_csv_of_a_history(tmp_path):
    rounds = [
        replace(
            Round(1, 2, 3.0, {"ner": 1.0, "qa": 2.0}, 0.1, 0.5, {"ner": 8, "qa": 8}),
            weights={"ner": 1.0, "qa": 2.0},
            conflict={"ner/qa": Conflict({"layer 1": -0.5}, {"layer 1": 4.0})},
        ),
        Round(1, 4, 2.0, {"qa": 2.0}, 0.2, 0.6, {"ner": 8, "qa": 16}),  # a round without NER labels
        Round(2, 6, 1.0, {"ner": 0.5, "qa": 0.5}, 0.1, 0.7, {"ner": 16, "qa": 24}),
    ]
    validation = [{"ner": {"entity_f1": 0.25}}, {"ner": {"entity_f1": 0.75}}]
    History(rounds, validation, best_epoch=2).write_csv(tmp_path / "out" / "metrics.csv")
    with open(tmp_path / "out" / "metrics.csv", newline="") as file:
        first, second, third = csv.DictReader(file)
    assert list(first) == [
        *("epoch", "step", "total_loss", "ner_loss", "qa_loss", "learning_rate", "grad_norm"),
        *("ner_examples", "qa_examples", "ner_weight", "qa_weight", "ner_qa_cosine_layer_1"),
        *("ner_qa_ratio_layer_1", "validation_ner_entity_f1"),
    ]
    values = ["1", "2", "3.0", "1.0", "2.0", "0.1", "0.5", "8", "8", "1.0", "2.0", "-0.5", "4.0"]
    values.append("")
    assert list(first.values()) == values
    assert (second["ner_loss"], second["qa_loss"]) == ("", "2.0")
    assert second["validation_ner_entity_f1"] == "0.25"
    assert third["validation_ner_entity_f1"] == "0.75"


def test_the_csv_of_a_run(build_model, tasks, tmp_path):
    history = train(build_model(tasks), tasks, FAST, progress=False)
    history.write_csv(tmp_path / "metrics.csv")
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    for row, r in zip(rows, history.rounds, strict=True):
        assert float(row["total_loss"]) == r.total
        assert int(row["qa_examples"]) == r.examples["qa"]
        assert float(row["grad_norm"]) == r.grad_norm > 0


def test_a_history_survives_its_dict(build_model, tasks):
    history = train(build_model(tasks), tasks, FAST, progress=False)
    assert History.from_dict(history.to_dict()) == history
    assert history.tasks == ["ner", "qa"]
    assert history.seconds > 0


def test_stages_joined_count_on(tmp_path):
    first = History(
        [
            Round(1, 2, 3.0, {"a": 3.0}, 0.1, 0.5, {"a": 8}),
            Round(2, 4, 2.0, {"a": 2.0}, 0.1, 0.5, {"a": 16}),
        ],
        [{"a": {"accuracy": 0.5}}, {"a": {"accuracy": 0.25}}],
        best_epoch=1,
        seconds=2.0,
    )
    second = History(
        [
            Round(1, 1, 9.0, {"b": 9.0}, 0.2, 0.6, {"b": 4}),
            Round(1, 2, 8.0, {"b": 7.0, "a": 1.0}, 0.2, 0.6, {"b": 8, "a": 4}),
        ],
        [{"b": {"accuracy": 1.0}}],
        best_epoch=1,
        seconds=3.0,
    )
    joined = History.join([first, second])
    assert [r.epoch for r in joined.rounds] == [1, 2, 3, 3]
    assert [r.step for r in joined.rounds] == [2, 4, 5, 6]
    assert [r.total for r in joined.rounds] == [3.0, 2.0, 9.0, 8.0]
    counts = [{"a": 8}, {"a": 16}, {"a": 16, "b": 4}, {"a": 20, "b": 8}]
    assert [r.examples for r in joined.rounds] == counts
    assert joined.validation == first.validation + second.validation
    assert (joined.best_epoch, joined.seconds) == (3, 5.0)
    assert joined.best_validation == {"b": {"accuracy": 1.0}}
    assert joined.tasks == ["a", "b"]
    assert [r.epoch for r in second.rounds] == [1, 1]  # the stages themselves are as they were
    joined.write_csv(tmp_path / "metrics.csv")
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["validation_a_accuracy"] for row in rows] == ["0.5", "0.25", "", ""]
    assert [row["validation_b_accuracy"] for row in rows] == ["", "", "", "1.0"]
    assert [row["a_examples"] for row in rows] == ["8", "16", "16", "20"]
    assert [row["b_loss"] for row in rows] == ["", "", "9.0", "7.0"]


def test_one_stage_joined_is_itself(build_model, tasks):
    history = train(build_model(tasks), tasks, FAST, progress=False)
    assert History.join([history]) == history


def test_joined_with_a_last_stage_that_was_not_validated_no_epoch_is_the_best():
    validated = History(validation=[{"a": {"accuracy": 0.5}}], best_epoch=1)
    assert History.join([validated, History(validation=[{}])]).best_epoch == 0
    assert History.join([History(validation=[{}]), validated]).best_epoch == 2


# --- checkpoints --------------------------------------------------------------------------------

NUMBERS = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)
TENSORS = st.lists(st.floats(width=32, allow_nan=False), max_size=4).map(torch.tensor)
KEYS = st.text(st.characters(codec="utf-8"), max_size=5)
LEAVES = st.none() | st.booleans() | NUMBERS | KEYS | TENSORS
STATES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)


def same_state(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_state(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_state, one, other))
    return type(one) is type(other) and one == other


@given(state=st.dictionaries(KEYS, STATES, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_state_comes_back_as_it_was(tmp_path, state):
    save_state(tmp_path, state)
    assert same_state(state, load_state(tmp_path))


def test_names_of_tensors_do_not_collide(tmp_path):
    state = {"a/b": torch.zeros(1), "a": {"b": torch.ones(1)}}
    save_state(tmp_path, state)
    assert same_state(state, load_state(tmp_path))


def test_tensors_of_every_kind(tmp_path):
    shared = torch.arange(6.0).view(2, 3)
    state = {
        "kinds": [
            torch.ones(2, dtype=d) for d in (torch.bool, torch.uint8, torch.int64, torch.half)
        ],
        "shared": [shared, shared[0], shared.T],
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 2),
        "random": torch.get_rng_state(),
    }
    save_state(tmp_path, state)
    loaded = load_state(tmp_path)
    assert same_state(state, loaded)
    assert [t.dtype for t in loaded["kinds"]] == [t.dtype for t in state["kinds"]]


def test_no_pickle_is_written_or_read(tmp_path, monkeypatch, build_model, tasks):
    def refuse(*args, **kwargs):
        raise AssertionError("pickle was used")

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    train(build_model(tasks), tasks, FAST, checkpoint=tmp_path, progress=False)
    assert has_state(tmp_path)
    train(build_model(tasks), tasks, FAST, checkpoint=tmp_path, resume=True, progress=False)


def test_broken_states_are_refused(tmp_path):
    assert not has_state(tmp_path)
    with pytest.raises(ModelError, match="cannot be read"):
        load_state(tmp_path)
    save_state(tmp_path, {"weights": torch.ones(3)})
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ModelError, match="cannot be read"):
            load_state(tmp_path)
        path.write_bytes(whole)


def test_a_kill_while_saving_leaves_the_state_before_whole(tmp_path, monkeypatch):
    """Killed before any of its writes, the folder still gives the old state, never a mixture."""
    old, new = ({"epoch": n, "weights": torch.full((3,), float(n))} for n in (1, 2))
    write = state.write_atomically
    for writes_before_the_kill in range(5):
        save_state(tmp_path, old)
        left = [writes_before_the_kill]

        def killed(path, content, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            write(path, content)

        monkeypatch.setattr(state, "write_atomically", killed)
        try:
            save_state(tmp_path, new)
            finished = True
        except KeyboardInterrupt:
            finished = False
        monkeypatch.setattr(state, "write_atomically", write)
        assert same_state(new if finished else old, load_state(tmp_path))


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("epochs", "3", "a whole number"),
        ("batch_size", 2.5, "a whole number"),
        ("patience", True, "a whole number"),
        ("seed", "a", "a whole number"),
        ("learning_rate", "x", "a number"),
        ("warmup", None, "a number"),
    ],
)
def test_settings_of_another_type_are_refused(name, value, what):
    with pytest.raises(ConfigError, match=f"train.{name} must be {what}"):
        TrainConfig(**{name: value})
