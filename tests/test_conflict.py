"""Gradient conflict: what is measured, when, that it disturbs nothing, and where it is kept."""

import csv
import math
from dataclasses import replace

import matplotlib.pyplot as plt
import pytest
import torch
from stopping import stop_after

from mtl.data.dataset import Dataset
from mtl.data.examples import TextExample
from mtl.errors import ConfigError
from mtl.model import MultiTaskModel
from mtl.reports.curves import plot_conflict, plot_weights
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.training.conflict import gradient_conflict
from mtl.training.history import Conflict, History, Round
from mtl.training.loop import Run, TrainConfig, train

TYPES = ["LOC", "MISC", "ORG", "PER"]
CONFIG = TrainConfig(epochs=3, batch_size=6, learning_rate=1e-2, device="cpu")
ALL_MODES = pytest.mark.parametrize("sampling", ["alternating", "joint", "sampled"])


@pytest.fixture(scope="module")
def tasks(sentences, questions):
    """NER with 12 sentences (2 batches) and QA with 18 questions (3 batches)."""
    return [
        NERTask("ner", Dataset(train=sentences[:12]), types=TYPES),
        QATask("qa", Dataset(train=questions[:18])),
    ]


def record(example, label, tags):
    return TextExample(
        example.text, example.tokens, "long" if label else None, example.tags if tags else None
    )


@pytest.fixture(scope="module")
def three(tasks, sentences):
    """A class and tags for the same texts, and questions."""
    texts = Dataset(train=[record(example, True, True) for example in sentences[:10]])
    return [
        ClassificationTask("topic", texts, labels=["long", "short"]),
        NERTask("ner", texts, types=TYPES),
        tasks[1],
    ]


def losses_of(model, run):
    """Of the batches that come next, each task by itself."""
    losses = {}
    for stream in run.streams:
        losses |= model.losses(stream.next())
    return losses


# --- what is measured -----------------------------------------------------------------------------


def by_hand(model, loss):
    """The gradient of a loss by parts; which parameters belong to which is read off their names."""
    n_layers = len(model.encoder.layers)
    found = {}
    for name, parameter in model.encoder.named_parameters():
        part = f"layer {n_layers}" if name.startswith("norm.") else "embeddings"
        if name.startswith("layers."):
            part = f"layer {int(name.split('.')[1]) + 1}"
        (gradient,) = torch.autograd.grad(loss, parameter, retain_graph=True)
        found.setdefault(part, []).append(gradient.flatten().double())
    gradients = {part: torch.cat(pieces) for part, pieces in found.items()}
    return gradients | {"all": torch.cat(list(gradients.values()))}


@pytest.mark.parametrize("kind", ["tasks", "three"])
def test_it_is_the_cosine_and_the_ratio_of_the_gradients_layer_by_layer(build_model, request, kind):
    tasks = request.getfixturevalue(kind)
    model = build_model(tasks, n_layers=2)
    losses = losses_of(model, Run(model, tasks, CONFIG))
    measured = gradient_conflict(model, [losses])
    gradients = {name: by_hand(model, loss) for name, loss in losses.items()}
    pairs = (
        [("ner", "qa")] if kind == "tasks" else [("topic", "ner"), ("topic", "qa"), ("ner", "qa")]
    )
    assert list(measured) == [f"{first}/{second}" for first, second in pairs]
    for first, second in pairs:
        conflict = measured[f"{first}/{second}"]
        parts = ["embeddings", "layer 1", "layer 2", "all"]
        assert list(conflict.cosine) == list(conflict.ratio) == parts
        for part in parts:
            one, other = gradients[first][part], gradients[second][part]
            cosine = (one @ other / one.norm() / other.norm()).item()
            assert conflict.cosine[part] == pytest.approx(cosine, abs=1e-6)
            assert conflict.ratio[part] == pytest.approx((one.norm() / other.norm()).item())
    assert all(p.grad is None for p in model.parameters())


def test_a_task_against_itself_and_its_opposite(build_model, tasks):
    model = build_model(tasks, n_layers=2)
    loss = losses_of(model, Run(model, tasks, CONFIG))["ner"]
    (opposite,) = gradient_conflict(model, [{"ner": loss, "qa": -2 * loss}]).values()
    assert opposite.cosine == {part: pytest.approx(-1, abs=1e-5) for part in opposite.cosine}
    assert opposite.ratio == {part: pytest.approx(0.5, rel=1e-5) for part in opposite.ratio}
    (same,) = gradient_conflict(model, [{"ner": 3 * loss, "qa": loss}]).values()
    assert same.cosine == {part: pytest.approx(1, abs=1e-5) for part in same.cosine}
    assert same.ratio == {part: pytest.approx(3, rel=1e-5) for part in same.ratio}


def test_the_losses_of_parts_add_up(build_model, tasks):
    model = build_model(tasks, n_layers=2)
    losses = losses_of(model, Run(model, tasks, CONFIG))
    whole = gradient_conflict(model, [losses])["ner/qa"]
    parts = [{"ner": losses["ner"] / 4}, {"qa": losses["qa"]}, {"ner": losses["ner"] * 3 / 4}]
    in_parts = gradient_conflict(model, parts)["ner/qa"]
    assert in_parts.cosine == pytest.approx(whole.cosine, abs=1e-6)
    assert in_parts.ratio == pytest.approx(whole.ratio)


def test_a_pair_has_the_same_name_whichever_loss_comes_first(build_model, tasks):
    """The first part of a batch may have no label of the first task."""
    model = build_model(tasks)
    losses = losses_of(model, Run(model, tasks, CONFIG))
    swapped = gradient_conflict(model, [{"qa": losses["qa"]}, {"ner": losses["ner"]}])
    assert swapped == gradient_conflict(model, [losses])


def test_with_fewer_than_two_losses_there_is_no_pair(build_model, tasks):
    model = build_model(tasks)
    losses = losses_of(model, Run(model, tasks, CONFIG))
    assert gradient_conflict(model, []) == {}
    assert gradient_conflict(model, [{"qa": losses["qa"]}]) == {}


def test_only_what_is_shared_and_trained_is_measured(build_model, tasks):
    def parts_measured(private_layers, *frozen):
        bare = build_model([], n_layers=3)
        model = MultiTaskModel(bare.encoder, bare.tokenizer, tasks, private_layers)
        config = replace(CONFIG, conflict_every=1, epochs=1, freeze=frozen)
        history = train(model, tasks, config, progress=False)
        return list(history.rounds[0].conflict["ner/qa"].cosine)

    assert parts_measured(0) == ["embeddings", "layer 1", "layer 2", "layer 3", "all"]
    assert parts_measured(2) == ["embeddings", "layer 1", "all"]
    assert parts_measured(0, "encoder.embeddings") == ["layer 1", "layer 2", "layer 3", "all"]
    assert parts_measured(0, "encoder.layers[:2]") == ["embeddings", "layer 3", "all"]


def test_losses_count_unweighted_and_without_dropout_on_the_batches_that_come_next(
    build_model, tasks
):
    settings = {"conflict_every": 1, "loss_weights": {"qa": 0.1}, "sampling": "joint"}
    model, other = (build_model(tasks, n_layers=2, dropout=0.4) for _ in range(2))
    run = Run(model, tasks, replace(CONFIG, **settings))
    run.round()
    losses = losses_of(other.eval(), Run(other, tasks, CONFIG))
    found, expected = run.history.rounds[0].conflict["ner/qa"], gradient_conflict(other, [losses])
    assert found.cosine == pytest.approx(expected["ner/qa"].cosine, abs=1e-6)
    assert found.ratio == pytest.approx(expected["ner/qa"].ratio)


def test_batches_in_parts_measure_the_same(build_model, tasks):
    config = replace(CONFIG, conflict_every=1, hide_words=0.0)
    whole = Run(build_model(tasks), tasks, config)
    parts = Run(build_model(tasks), tasks, replace(config, max_tokens=60))
    for run in (whole, parts):
        run.round()
    one, other = (run.history.rounds[0].conflict["ner/qa"] for run in (whole, parts))
    assert one.cosine == pytest.approx(other.cosine, abs=1e-5)
    assert one.ratio == pytest.approx(other.ratio, rel=1e-4)


@pytest.mark.parametrize("max_tokens", [0, 30])
def test_where_labels_are_missing(build_model, sentences, max_tokens):
    """Batches without any label, or of one task alone: no pair is measured, and nothing fails."""
    examples = [record(e, i % 3 == 1, i % 3 == 2) for i, e in enumerate(sentences[:12])]
    texts = Dataset(train=examples)
    tasks = [
        ClassificationTask("topic", texts, labels=["long", "short"]),
        NERTask("ner", texts, types=TYPES),
    ]
    config = replace(CONFIG, conflict_every=1, batch_size=1, epochs=1, max_tokens=max_tokens)
    history = train(build_model(tasks), tasks, config, progress=False)
    assert history.conflicts == []
    config = replace(config, batch_size=4, epochs=4)
    history = train(build_model(tasks), tasks, config, progress=False)
    assert history.conflicts
    assert {pair for _, measured in history.conflicts for pair in measured} == {"topic/ner"}


# --- it changes nothing ---------------------------------------------------------------------------


@ALL_MODES
@pytest.mark.parametrize("max_tokens", [0, 60])
def test_to_measure_changes_nothing(build_model, three, sampling, max_tokens):
    """Weights, losses, gradient norms, and where torch's random numbers stand: bit for bit."""
    results = []
    for every in (0, 1, 4):
        model = build_model(three, dropout=0.3)
        settings = {"epochs": 2, "conflict_every": every, "max_tokens": max_tokens}
        config = replace(CONFIG, sampling=sampling, **settings)
        history = train(model, three, config, progress=False)
        told = [replace(r, conflict={}) for r in history.rounds]
        results.append((model.state_dict(), told, torch.get_rng_state(), history.conflicts))
    (weights, told, state, nothing), *others = results
    assert nothing == []
    for weights_too, told_too, state_too, conflicts in others:
        assert conflicts
        assert all(torch.equal(weights[name], weights_too[name]) for name in weights)
        assert told == told_too
        assert torch.equal(state, state_too)


def test_the_model_trains_on_after_it_was_measured(build_model, tasks):
    """Dropout is off only while it is measured."""
    model, modes = build_model(tasks, dropout=0.3), []
    model.encoder.register_forward_pre_hook(lambda module, _: modes.append(module.training))
    Run(model, tasks, replace(CONFIG, conflict_every=1)).round()
    assert modes == [False, False, True, True]


# --- when -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sampling", "every", "expected"),
    [
        # Nine rounds; measured between rounds, of two sampling each when tasks alternate.
        ("alternating", 1, [0, 2, 4, 6, 8, 10, 12, 14, 16]),
        ("alternating", 2, [0, 2, 4, 6, 8, 10, 12, 14, 16]),
        ("alternating", 3, [0, 4, 6, 10, 12, 16]),
        ("alternating", 4, [0, 4, 8, 12, 16]),
        ("alternating", 100, [0]),
        ("alternating", 0, []),
        ("joint", 1, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        ("joint", 4, [0, 4, 8]),
    ],
)
def test_it_is_measured_at_the_start_and_after_every_so_many_steps(
    build_model, tasks, sampling, every, expected
):
    config = replace(CONFIG, sampling=sampling, conflict_every=every)
    history = train(build_model(tasks), tasks, config, progress=False)
    assert [step for step, _ in history.conflicts] == expected
    before = [0, *(r.step for r in history.rounds)]
    assert [bool(r.conflict) for r in history.rounds] == [step in expected for step in before[:-1]]


# --- where it is kept -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def history(build_model, three):
    config = replace(CONFIG, conflict_every=4)
    return train(build_model(three), three, config, progress=False)


def test_the_table_has_columns_of_pairs_and_parts(history, tmp_path):
    history.write_csv(tmp_path / "training_metrics.csv")
    with open(tmp_path / "training_metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = {
        f"{pair.replace('/', '_')}_{what}_{part}"
        for pair in ("topic/ner", "topic/qa", "ner/qa")
        for what in ("cosine", "ratio")
        for part in ("embeddings", "layer_1", "all")
    }
    assert {c for c in rows[0] if "_cosine_" in c or "_ratio_" in c} == expected
    assert len(rows) == len(history.rounds) == 9
    for row, r in zip(rows, history.rounds, strict=True):
        assert {task: float(row[f"{task}_weight"]) for task in r.weights} == r.weights
        if not r.conflict:
            assert {row[column] for column in expected} == {""}
        for pair, measured in r.conflict.items():
            name = pair.replace("/", "_")
            for part in ("embeddings", "layer 1", "all"):
                key = part.replace(" ", "_")
                assert float(row[f"{name}_cosine_{key}"]) == measured.cosine[part]
                assert float(row[f"{name}_ratio_{key}"]) == measured.ratio[part]


def test_a_training_that_measured_nothing_has_no_such_columns(build_model, tasks, tmp_path):
    train(build_model(tasks), tasks, CONFIG, progress=False).write_csv(tmp_path / "table.csv")
    header = (tmp_path / "table.csv").read_text().splitlines()[0]
    assert "cosine" not in header
    assert "ratio" not in header
    assert "ner_weight,qa_weight" in header


def test_a_history_is_the_same_after_it_was_plain_values(history):
    again = History.from_dict(history.to_dict())
    assert again == history
    assert isinstance(again.rounds[0].conflict["ner/qa"], Conflict)
    assert again.conflicts == history.conflicts


def test_joined_trainings_keep_what_was_measured(history):
    joined = History.join([history, history])
    last = history.rounds[-1].step
    shifted = [(step + last, measured) for step, measured in history.conflicts]
    assert joined.conflicts == history.conflicts + shifted
    assert [r.weights for r in joined.rounds] == [r.weights for r in history.rounds] * 2


@pytest.mark.parametrize("stop_at", [1, 4, 5, 8, 9])
def test_stopped_and_resumed_it_has_measured_the_same(
    build_model, three, history, tmp_path, monkeypatch, stop_at
):
    """In the middle of a round, between rounds, and where it is time to measure."""
    config = replace(CONFIG, conflict_every=4)

    def run(torch_seed):
        model = build_model(three)
        torch.manual_seed(torch_seed)
        return train(
            *(model, three, config), checkpoint=tmp_path, save_every=1, resume=True, progress=False
        )

    with monkeypatch.context() as patch:
        stop_after(patch, stop_at)
        with pytest.raises(KeyboardInterrupt):
            run(1)
    resumed = run(2)
    assert resumed.conflicts == history.conflicts
    assert resumed.rounds == history.rounds


# --- figures --------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_figure_stays_open():
    before = plt.get_fignums()
    yield
    assert plt.get_fignums() == before


def lines(axis):
    """Labelled ones, by label, and how many there are in all."""
    labelled = [line for line in axis.lines if not line.get_label().startswith("_")]
    return {line.get_label(): list(line.get_ydata()) for line in labelled}, len(axis.lines)


@pytest.mark.parametrize("pair", [None, "topic/ner", "ner/qa"])
def test_conflict_is_drawn_part_by_part(history, pair):
    left, right = plot_conflict(history, pair).axes
    measured = [found[pair or "topic/ner"] for _, found in history.conflicts]
    parts = ["embeddings", "layer 1", "all"]
    drawn, n_lines = lines(left)
    assert drawn == {part: [c.cosine[part] for c in measured] for part in parts}
    assert n_lines == len(right.lines) == len(parts) + 1  # and one at 0, or 1
    steps = [step for step, _ in history.conflicts]
    assert all(list(line.get_xdata()) == steps for line in left.lines[:3])
    ratios = [list(line.get_ydata()) for line in right.lines[:3]]
    assert ratios == [[c.ratio[part] for c in measured] for part in parts]
    first, second = (pair or "topic/ner").split("/")
    assert left.get_title() == f"cosine of the gradients of {first} and {second}"


def test_a_pair_that_was_not_measured_is_refused(history):
    with pytest.raises(ConfigError, match=r"this pair was not measured(.|\n)*mean \"ner/qa\""):
        plot_conflict(history, "ner/qaa")


@pytest.mark.parametrize("rounds", [[], [Round(1, 1, 1.0, {"ner": 1.0}, 1e-3, 1.0, {"ner": 8})]])
def test_without_any_measurement_there_is_nothing_to_draw(rounds):
    with pytest.raises(ConfigError, match=r"no conflict was measured(.|\n)*conflict_every=20"):
        plot_conflict(History(rounds=rounds))


def test_without_training_there_are_no_weights_to_draw():
    with pytest.raises(ConfigError, match=r"no weights to draw(.|\n)*train the model first"):
        plot_weights(History())


def test_weights_are_drawn_for_each_task(build_model, three):
    config = replace(CONFIG, weighting="random")
    history = train(build_model(three), three, config, progress=False)
    (axis,) = plot_weights(history, window=1).axes
    drawn, n_lines = lines(axis)
    assert list(drawn) == ["TOPIC", "NER", "QA"]
    assert n_lines == 2 * len(drawn)
    for task in ("topic", "ner", "qa"):
        assert drawn[task.upper()] == pytest.approx([r.weights[task] for r in history.rounds])
    assert not any(math.isnan(weight) for line in drawn.values() for weight in line)
    bottom, top = axis.get_ylim()
    assert bottom == 0
    assert top > max(weight for line in drawn.values() for weight in line)  # no line on the frame


def test_a_single_task_is_not_measured(build_model, three, monkeypatch):
    """There is nothing to compare it with, so no batch is spent on it."""
    monkeypatch.setattr(Run, "measure_conflict", lambda self: pytest.fail("measured in vain"))
    config = replace(CONFIG, conflict_every=1)
    history = train(build_model(three[:1]), three[:1], config, progress=False)
    assert history.conflicts == []
