"""The training loop: steps, rounds and epochs; what is kept, and that it learns."""

from collections import Counter
from dataclasses import replace

import pytest
import small_training
import torch
from small_training import FAST, TYPES, same_weights, weights_of
from torch import nn

from mtl.data.dataset import Dataset
from mtl.data.examples import TextExample
from mtl.errors import ConfigError, DataWarning
from mtl.inference import evaluate, validate_encoded
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.toy import ner_examples, qa_examples
from mtl.training import preflight
from mtl.training.config import TrainConfig
from mtl.training.loop import train
from mtl.training.optimizer import Schedule
from mtl.training.run import Run
from mtl.training.weighting import FixedWeighting

# pytest looks for a fixture by its name in this module.
tasks = small_training.tasks


class Watched(FixedWeighting):
    """Fixed weights that remember which tasks' losses came in each step."""

    def __init__(self, weights=None):
        super().__init__(weights)
        self.steps = []

    def forward(self, losses):
        self.steps.append({name: loss.item() for name, loss in losses.items()})
        return super().forward(losses)


# --- steps, rounds and epochs ---------------------------------------------------------------------


@pytest.mark.parametrize(("sampling", "per_round"), [("alternating", 2), ("joint", 1)])
def test_the_order_of_the_steps(build_model, tasks, sampling, per_round):
    weighting = Watched()
    config = replace(FAST, sampling=sampling)
    history = train(build_model(tasks), tasks, config, weighting=weighting, progress=False)
    names = [tuple(step) for step in weighting.steps]
    a_round = [("ner",), ("qa",)] if sampling == "alternating" else [("ner", "qa")]
    assert names == a_round * 6  # two epochs of three rounds
    assert [r.step for r in history.rounds] == [per_round * n for n in range(1, 7)]
    assert [r.epoch for r in history.rounds] == [1, 1, 1, 2, 2, 2]


def test_an_encoder_in_evaluation_mode_is_trained_with_dropout(build_model, tasks):
    """As `load_pretrained` returns it; or a resumed run would go on with another training."""
    one, other = (build_model(tasks, dropout=0.2) for _ in range(2))
    other.encoder.eval()
    for model in (one, other):
        train(model, tasks, FAST, progress=False)
    assert same_weights(weights_of(one), weights_of(other))


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


@pytest.mark.parametrize("sampling", ["alternating", "joint", "sampled"])
def test_the_total_is_the_weighted_sum_of_the_rounds_losses(build_model, tasks, sampling):
    config = replace(FAST, sampling=sampling, loss_weights={"qa": 0.25})
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
    config = replace(
        FAST, sampling="joint", loss_weights={"qa": 3.0}, max_grad_norm=1e9, hide_words=0.0
    )
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
    run = Run(build_model(tasks), tasks, replace(FAST, max_grad_norm=0.01), FixedWeighting())
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
    schedule = Schedule(12, FAST.warmup_ratio)
    assert used == pytest.approx([1e-2 * schedule(step) for step in range(12)])


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
    config = replace(FAST, epochs=1, hide_words=0.0, sampling="joint", loss_weights=weights)
    (only,) = train(model, tasks, config, progress=False).rounds
    assert len(calls) == only.step == 1
    assert only.losses == pytest.approx(expected, rel=1e-4)
    assert only.total == pytest.approx(0.5 * expected["topic"] + 2.0 * expected["ner"], rel=1e-4)
    assert only.examples == {"topic": 3, "ner": 3}
    for name in ("heads.topic.classifier.weight", "heads.ner.classifier.weight"):
        assert not torch.equal(before[name], model.state_dict()[name])


# --- what is kept ---------------------------------------------------------------------------------


class Scripted(NERTask):
    """NER whose validation scores are given beforehand, epoch by epoch."""

    def __init__(self, *args, script=(), **kwargs):
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
    on_epoch = []
    finish = Run.finish_epoch

    def remember(self):
        on_epoch.append(weights_of(self.model))
        return finish(self)

    monkeypatch.setattr(Run, "finish_epoch", remember)
    history = train(model, [task], replace(FAST, epochs=4), progress=False)
    assert history.best_epoch == best
    assert history.best_validation == {"ner": {"entity_f1": script[best - 1]}}
    assert same_weights(weights_of(model), on_epoch[best - 1])
    assert not same_weights(on_epoch[0], on_epoch[3])
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


@pytest.mark.parametrize(
    ("script", "epochs", "best"),
    [
        ([0.5, 0.9, 0.8, 0.7, 1.0], 4, 2),
        ([0.5, 0.9, 0.9, 0.9, 1.0], 4, 4),  # as good with a lower rate is better
        ([0.5, 0.5, 0.9, 0.9, 0.9], 5, 5),
        ([0.9, 0.9, 1.0, 1.0, 1.0], 3, 3),
        # Two epochs later is the end anyway, or too late for a fall of two epochs.
        ([0.1, 0.2, 0.3, 0.9, 0.9], 5, 5),
        ([0.1, 0.2, 0.3, 0.4, 0.9], 5, 5),
        ([0.5, 0.8, 0.8, 0.7, 0.6], 5, 2),  # never reached
    ],
)
def test_training_ends_early_once_it_is_good_enough(build_model, sentences, script, epochs, best):
    """At 0.9 the rate begins to fall, for two of at most five epochs of two steps each."""
    data = Dataset(train=sentences[:16], validation=sentences[16:20])
    task = Scripted("ner", data, types=TYPES, script=script)
    config = replace(FAST, epochs=5, warmup_ratio=0.1, decay_ratio=0.4, stop_at=0.9)
    history = train(build_model([task]), [task], config, progress=False)
    assert (len(history.validation), history.best_epoch) == (epochs, best)
    rates = [r.learning_rate / FAST.learning_rate for r in history.rounds]
    assert rates == pytest.approx([1 / 2, *[1.0] * (2 * epochs - 4), 3 / 4, 2 / 4, 1 / 4])


@pytest.mark.parametrize(("sampling", "steps"), [("alternating", 2), ("joint", 1), ("sampled", 2)])
def test_a_fall_fills_whole_epochs(build_model, tasks, sampling, steps):
    """A tenth of 30 rounds: an epoch of them, however many steps a round has."""
    for task in tasks:
        task.dataset = replace(task.dataset, validation=task.dataset.train[:4])
    settings = {"epochs": 10, "warmup_ratio": 0.0, "decay_ratio": 0.05, "stop_at": 1e-9}
    run = Run(build_model(tasks), tasks, replace(FAST, sampling=sampling, **settings))
    run.validate = lambda: {"ner": {"entity_f1": 0.0}, "qa": {"exact_match": 1.0}}
    while not run.is_finished:
        run.round()
        if run.epoch_ended:
            run.finish_epoch()
    assert run.n_rounds == len(run.history.rounds) == 6
    n = 3 * steps
    rates = [r.learning_rate / FAST.learning_rate for r in run.history.rounds]
    assert rates == pytest.approx([1, 1, 1, *[(n - i * steps + 1) / n for i in (1, 2, 3)]])
    assert run.update.schedule.get_last_lr() == pytest.approx([0.0] * 2)


def test_what_ends_early_is_said_and_counted(build_model, sentences, capsys):
    data = Dataset(train=sentences[:16], validation=sentences[16:20])
    task = Scripted("ner", data, types=TYPES, script=[0.5, 0.9, 0.9])
    config = replace(FAST, epochs=50, decay_ratio=0.02, stop_at=0.9)
    train(build_model([task]), [task], config)
    told = capsys.readouterr().err
    assert "it ends early if validation reaches 0.9" in told
    assert "epoch 1  validation: ner entity_f1 0.500\n" in told
    assert "epoch 2  validation: ner entity_f1 0.900; ends with epoch 3\n" in told
    assert "6/6" in told  # the bar is full


@pytest.mark.parametrize("settings", [{"patience": 1}, {"stop_at": 0.9, "decay_ratio": 0.1}])
def test_who_waits_for_a_score_needs_validation(build_model, tasks, settings):
    config = replace(FAST, **settings)
    what = rf"train\.{next(iter(settings))} depends(.|\n)*no validation data"
    with pytest.raises(ConfigError, match=what):
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

    def watched(model, encoded, tasks, spread):
        read.append([item.example for item in encoded])
        return validate_encoded(model, encoded, tasks)

    monkeypatch.setattr(preflight, "validate_encoded", watched)
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
        on_epoch=lambda history: called.append((len(history.validation), weights_of(model))),
        progress=False,
    )
    assert [epoch for epoch, _ in called] == [1, 2, 3]
    assert all(same_weights(a, b) for (_, a), b in zip(called, finished, strict=True))
    assert same_weights(weights_of(model), finished[0])


# --- it learns, and the same way each time --------------------------------------------------------


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
