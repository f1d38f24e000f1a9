"""Weightings in the training loop: what is learnt, what is recorded, and what is refused."""

import math
import warnings
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from mtl.data.dataset import Dataset
from mtl.errors import ConfigError, TrainingWarning
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.training.loop import Run, TrainConfig, train
from mtl.training.methods import build_method
from mtl.training.optimizer import build_optimizer
from mtl.training.preflight import check_training
from mtl.training.weighting import (
    DynamicWeightAverage,
    FixedWeighting,
    GradNorm,
    UncertaintyWeighting,
    Weighting,
)

CONFIG = TrainConfig(epochs=3, batch_size=8, learning_rate=1e-2, device="cpu")
JOINT = replace(CONFIG, sampling="joint")
BOTH_MODES = pytest.mark.parametrize("sampling", ["alternating", "joint"])
ALL = ["fixed", "uncertainty", "dwa", "gradnorm", "random"]


@pytest.fixture
def tasks(sentences, questions):
    """NER with 16 sentences (2 batches) and QA with 20 questions (3 batches)."""
    return [
        NERTask("ner", Dataset(train=sentences[:16]), types=["LOC", "MISC", "ORG", "PER"]),
        QATask("qa", Dataset(train=questions[:20])),
    ]


def test_gradnorm_looks_at_the_last_shared_matrix_and_weighs_the_gradients(build_model, tasks):
    """The lengths of the first step equal those by hand, at the one matrix."""
    seen = []

    class Watched(GradNorm):
        def slope(self, remaining, lengths, weights):
            seen.append(lengths.tolist())
            return super().slope(remaining, lengths, weights)

    model, other = build_model(tasks, n_layers=2), build_model(tasks, n_layers=2)
    run, twin = Run(model, tasks, JOINT, Watched()), Run(other, tasks, JOINT)
    run.next_step()
    losses = {}
    for stream in twin.streams:
        losses |= other.losses(stream.next())
    last = other.encoder.layers[1].feed_forward.contract.weight
    by_hand = [torch.autograd.grad(loss, last)[0].norm().item() for loss in losses.values()]
    assert seen == [pytest.approx(by_hand, rel=1e-5)]


def test_gradnorm_evens_out_the_pulls(build_model, tasks):
    """Of two like tasks, the one with losses ten times as large gets less weight; the sum is 2."""
    ner = tasks[0]
    larger = NERTask("larger", ner.dataset, types=ner.types)
    plain_loss = larger.loss
    larger.loss = lambda *given: 10 * plain_loss(*given)
    config = replace(JOINT, weighting="gradnorm", weighting_options={"alpha": 0.0})
    history = train(build_model([ner, larger]), [ner, larger], config, progress=False)
    weights = [r.weights for r in history.rounds]
    assert weights[0] == {"ner": 1.0, "larger": 1.0}
    assert all(sum(w.values()) == pytest.approx(2) for w in weights)
    assert all(w["larger"] < 1 < w["ner"] for w in weights[1:])
    assert weights[-1]["larger"] < weights[1]["larger"] - 0.01


# --- in the loop ----------------------------------------------------------------------------------


def recorded(base):
    """A weighting that remembers of each step the losses it was given, and its state before it."""

    class Recorded(base):
        def __init__(self, *args):
            super().__init__(*args)
            self.steps = []

        def forward(self, losses):
            values = {name: loss.item() for name, loss in losses.items()}
            self.steps.append((values, {k: v.clone() for k, v in self.named_parameters()}))
            return super().forward(losses)

    return Recorded


@pytest.mark.parametrize("name", ["uncertainty", "gradnorm"])
def test_what_a_weighting_learns_does_not_decay(build_model, tasks, name):
    model, config = build_model(tasks), replace(JOINT, weighting=name, weight_decay=0.3)
    weighting = config.build_weighting()
    weighting.start([task.name for task in tasks])
    groups = build_optimizer(model, weighting, config).param_groups
    decay_of = {p: group["weight_decay"] for group in groups for p in group["params"]}
    own = list(weighting.parameters())
    assert own
    assert [decay_of[p] for p in own] == [0.0] * len(own)
    assert decay_of[model.last_shared] == 0.3


def test_uncertainty_learns_as_adam_alone_moves_it(build_model, tasks):
    """The first step moves each s by the learning rate against its slope, 1 / 2 - loss."""
    config = replace(JOINT, weighting="uncertainty", weight_decay=0.9, warmup_ratio=0.0)
    run = Run(build_model(tasks), tasks, config)
    losses = run.round()
    moved = {name: s.item() for name, s in run.update.weighting.log_variance.items()}
    assert moved == {
        n: pytest.approx(math.copysign(0.01, loss - 0.5)) for n, loss in losses.items()
    }


def test_a_task_without_a_loss_in_a_step_keeps_its_variance_exactly(build_model, tasks):
    """Adam's momentum would move it, had it a gradient of 0 instead of none."""
    weighting = recorded(UncertaintyWeighting)()
    config = replace(CONFIG, weight_decay=0.5)
    train(build_model(tasks), tasks, config, weighting=weighting, progress=False)
    assert [tuple(losses) for losses, _ in weighting.steps] == [("ner",), ("qa",)] * 9
    for (losses, before), (_, following) in pairwise(weighting.steps):
        for task in ("ner", "qa"):
            key = f"log_variance.{task}"
            assert torch.equal(before[key], following[key]) == (task not in losses)


@BOTH_MODES
def test_the_total_recorded_is_of_raw_losses_and_never_negative(build_model, tasks, sampling):
    class Sunken(recorded(UncertaintyWeighting)):
        """Its totals are far below 0, as those of well-learned tasks may be."""

        def forward(self, losses):
            weights, penalty = super().forward(losses)
            return weights, penalty - 100

    weighting = Sunken()
    config = replace(CONFIG, sampling=sampling)
    history = train(build_model(tasks), tasks, config, weighting=weighting, progress=False)
    per_round = 2 if sampling == "alternating" else 1
    for i, r in enumerate(history.rounds):
        given = weighting.steps[per_round * i : per_round * (i + 1)]
        raw = {name: loss for losses, _ in given for name, loss in losses.items()}
        counted = {
            name: state[f"log_variance.{name}"].neg().exp().item()
            for losses, state in given
            for name in losses
        }
        assert r.losses == pytest.approx(raw)
        assert r.weights == pytest.approx(counted)
        assert r.total == pytest.approx(sum(counted[name] * raw[name] for name in raw))
        assert r.total > 0
    assert len({r.weights["ner"] for r in history.rounds}) > 5


@pytest.mark.parametrize("name", ALL)
def test_the_weights_are_how_much_each_loss_counts_in_the_step(build_model, tasks, name):
    """The gradients of a joint step are those of the losses times the recorded weights."""
    own = {"loss_weights": {"qa": 0.3}} if name == "fixed" else {}
    config = replace(JOINT, weighting=name, max_grad_norm=1e9, **own)
    model, other = build_model(tasks), build_model(tasks)
    run, twin = Run(model, tasks, config), Run(other, tasks, config)
    if name == "uncertainty":
        run.update.weighting.log_variance["ner"].data.fill_(0.7)
    run.round()
    weights = run.history.rounds[0].weights
    losses = {}
    for stream in twin.streams:
        losses |= other.losses(stream.next())
    sum(weights[task] * loss for task, loss in losses.items()).backward()
    for one, reference in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, reference.grad, atol=1e-6, rtol=1e-5)
    assert (weights == {"ner": 1.0, "qa": 1.0}) == (name in ("dwa", "gradnorm"))  # at the start


@BOTH_MODES
def test_dwa_weighs_by_the_means_of_the_last_two_epochs(build_model, tasks, sampling):
    """By hand from the losses that were recorded; the last batch of an epoch alone would not do."""
    config = replace(CONFIG, sampling=sampling, weighting="dwa")
    history = train(build_model(tasks), tasks, config, progress=False)
    assert [r.epoch for r in history.rounds] == [1] * 3 + [2] * 3 + [3] * 3
    mean = {
        (epoch, task): sum(r.losses[task] for r in history.rounds if r.epoch == epoch) / 3
        for epoch in (1, 2)
        for task in ("ner", "qa")
    }
    powers = {task: math.exp(mean[2, task] / mean[1, task] / 2) for task in ("ner", "qa")}
    by_hand = {task: 2 * power / sum(powers.values()) for task, power in powers.items()}
    for r in history.rounds:
        expected = {"ner": 1.0, "qa": 1.0} if r.epoch < 3 else by_hand
        assert r.weights == pytest.approx(expected, rel=1e-5)
    assert abs(by_hand["ner"] - 1) > 1e-3


def test_dwa_does_without_the_loss_of_a_task_in_an_epoch():
    weighting = DynamicWeightAverage(temperature=1.0)
    weighting.start(["a", "b"])

    def epoch(*steps):
        for step in steps:
            weighting({name: torch.tensor(float(loss)) for name, loss in step.items()})
        weighting.end_epoch()
        return weighting.weights().tolist()

    assert epoch({"a": 4}) == pytest.approx([1, 1])
    # b begins: of it nothing is known before, so its ratio is 1; that of a is 2 / 4.
    half = [2 * math.exp(x) / (math.exp(0.5) + math.exp(1)) for x in (0.5, 1)]
    assert epoch({"a": 2}, {"b": 6}) == pytest.approx(half)
    # b is away: its last mean stands, 6 / 6; a 1 / 2.
    assert epoch({"a": 1}) == pytest.approx(half)
    # b is back at 3, a the same: 3 / 6 and 1 / 1.
    assert epoch({"a": 1}, {"b": 3}) == pytest.approx(half[::-1])
    # Nothing at all: both stand.
    assert epoch() == pytest.approx([1, 1])


@BOTH_MODES
@pytest.mark.parametrize("name", ["uncertainty", "dwa", "random"])
def test_with_a_single_task_a_weighting_trains_too(build_model, tasks, name, sampling):
    config = replace(CONFIG, weighting=name, sampling=sampling)
    history = train(build_model(tasks[:1]), tasks[:1], config, progress=False)
    assert all(math.isfinite(r.total) for r in history.rounds)
    if name != "uncertainty":
        assert {r.weights["ner"] for r in history.rounds} == {1.0}


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"weighting": "uncertanty"}, 'train.weighting is unknown(.|\n)*mean "uncertainty"'),
        ({"weighting": "DWA"}, 'did you mean "dwa"'),
        ({"weighting": 3}, "train.weighting must be a text(.|\n)*found: 3"),
        ({"weighting": "gradnorm"}, 'GradNorm needs every(.|\n)*set train.sampling = "joint"'),
        (
            {"weighting": "gradnorm", "sampling": "sampled"},
            'GradNorm needs every task(.|\n)*set train.sampling = "joint"',
        ),
        (
            {"weighting": "dwa", "weighting_options": {"temperatur": 1.0}},
            'weighting_options.temperatur is not an option of dwa(.|\n)*did you mean "temperature"',
        ),
        (
            {"weighting": "uncertainty", "weighting_options": {"alpha": 1.0}},
            "weighting_options.alpha is not an option of uncertainty\n  to do: leave it out: ",
        ),
        (
            {"weighting": "uncertainty", "weighting_options": {"args": 1.0}},
            "weighting_options.args is not an option of uncertainty\n  to do: leave it out: ",
        ),
        (
            {"weighting": "dwa", "weighting_options": {"temperature": "hot"}},
            "the options of dwa are of the wrong type(.|\n)*train.weighting_options",
        ),
        (
            {"weighting": "random", "weighting_options": {"seed": "x"}},
            "the options of random are of the wrong type",
        ),
        (
            {"weighting_options": {"weights": {"ner": 2.0}}},
            "fixed weighting has no options(.|\n)*set train.loss_weights",
        ),
        (
            {"weighting": "dwa", "weighting_options": {"temperature": 0.0}},
            "the temperature of dwa must be above 0",
        ),
        (
            {"weighting": "gradnorm", "sampling": "joint", "weighting_options": {"alpha": -1.0}},
            "the alpha of gradnorm must be 0 or more",
        ),
        (
            {
                "weighting": "gradnorm",
                "sampling": "joint",
                "weighting_options": {"alpha": math.nan},
            },
            "the alpha of gradnorm must be 0 or more",
        ),
        ({"loss_weights": {"ner": -0.5}}, "weight of task 'ner' must be a finite number, 0 or"),
        ({"loss_weights": {"ner": math.nan}}, "weight of task 'ner' must be a finite number"),
        ({"loss_weights": {"ner": math.inf}}, "weight of task 'ner' must be a finite number"),
        (
            {"loss_weights": {"ner": 2.0}, "weighting": "uncertainty"},
            "train.loss_weights has no effect with train.weighting = 'uncertainty'",
        ),
        (
            {"max_tokens": 100, "weighting": "dwa"},
            "only fixed weights add up over(.|\n)*DynamicWeightAverage(.|\n)*max_tokens to 0",
        ),
        ({"max_tokens": 100, "weighting": "uncertainty"}, "only fixed weights add up"),
        ({"max_tokens": 100, "weighting": "random"}, "only fixed weights add up"),
        (
            {"max_tokens": 100, "weighting": "gradnorm", "sampling": "joint"},
            "only fixed weights add",
        ),
    ],
)
def test_what_a_config_refuses(settings, words):
    with pytest.raises(ConfigError, match=words):
        TrainConfig(**settings)


@pytest.mark.parametrize("weights", [3, "ab", {"ner": "much"}])
def test_weights_that_are_no_weights_are_refused(weights):
    with pytest.raises(
        ConfigError, match=r"the options of fixed are of the wrong type(.|\n)*w_options"
    ):
        build_method(Weighting, "fixed", {"weights": weights}, 0, "w")


def test_loss_weights_of_one_say_nothing_and_so_contradict_nothing():
    assert TrainConfig(weighting="dwa", loss_weights={"ner": 1.0}).build_weighting().name == "dwa"


FROZEN = {"freeze": ["encoder"], "sampling": "joint"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss_weights": {"nerr": 2.0}}, "a weight is given for an unknown task(.|\n)*ner"),
        ({"loss_weights": {"ner": 0, "qa": 0}}, "the weights of all tasks are 0(.|\n)*above 0"),
        (FROZEN | {"weighting": "gradnorm"}, "there is no shared parameter(.|\n)*GradNorm"),
        (FROZEN | {"aggregation": "pcgrad"}, "there is no shared parameter(.|\n)*PCGrad"),
        (FROZEN | {"conflict_every": 5}, "there is no shared parameter(.|\n)*conflict_every = 5"),
    ],
)
def test_what_is_refused_before_training(build_model, tasks, settings, words):
    model = build_model(tasks)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = replace(CONFIG, **settings)
    with pytest.raises(ConfigError, match=words):
        check_training(model, tasks, config)
    with pytest.raises(ConfigError, match=words):
        train(model, tasks, config, progress=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("weighting", "settings", "words"),
    [
        (GradNorm(), {}, 'GradNorm needs every task(.|\n)*set train.sampling = "joint"'),
        (DynamicWeightAverage(), {"max_tokens": 100}, "only fixed weights add up"),
    ],
)
def test_a_weighting_that_is_given_is_refused_for_the_same_reasons(
    build_model, tasks, weighting, settings, words
):
    with pytest.raises(ConfigError, match=words):
        train(
            *(build_model(tasks), tasks, replace(CONFIG, **settings)),
            weighting=weighting,
            progress=False,
        )


class Own(Weighting):
    """A weighting that returns whatever a function makes of the losses."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, losses):
        return self.function(losses)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            lambda losses: sum(losses.values()),
            r"Own must return a weight for each of the tasks ner, qa, or these weights and a "
            r"penalty\n  found: a tensor of shape \(\)\n  to do: return \{name: weight",
        ),
        (lambda losses: None, "must return a weight for each(.|\n)*found: None"),
        (lambda losses: (None, 1.0), "must return a weight for each(.|\n)*found: None"),
        (lambda losses: [1.0, 1.0], r"must return a weight for each(.|\n)*found: \[1.0, 1.0\]"),
        (lambda losses: {"ner": 1.0}, "must return a weight for each(.|\n)*found: {'ner': 1.0}"),
        (lambda losses: {**losses, "qq": 1.0}, "must return a weight for each(.|\n)*'qq': 1.0"),
        (
            lambda losses: {"ner": 1.0, "qa": torch.ones(1)},
            r"Own must return the weight of 'qa' as a number(.|\n)*a tensor of shape \(1,\)",
        ),
        (lambda losses: {"ner": "1", "qa": 1.0}, "the weight of 'ner' as a number(.|\n)*'1'"),
        (lambda losses: (losses, torch.ones(2)), r"the penalty as a number(.|\n)*shape \(2,\)"),
        (lambda losses: (losses, 1.0, 2.0), r"Own must return(.|\n)*found: \(\{'ner': "),
        (
            lambda losses: {"ner": 1.0, "qa": -1.0},
            "Own gives the task 'qa' a weight(.|\n)*found: -1.0",
        ),
        (
            lambda losses: {"ner": math.nan, "qa": 1.0},
            "Own gives the task 'ner' a weight(.|\n)*found: nan",
        ),
        (
            lambda losses: {"ner": math.inf, "qa": 1.0},
            "Own gives the task 'ner' a weight(.|\n)*found: inf",
        ),
    ],
)
def test_what_a_weighting_of_ones_own_must_not_return(build_model, tasks, function, words):
    model = build_model(tasks)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ConfigError, match=words):
        train(model, tasks, JOINT, weighting=Own(function), progress=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "function",
    [
        lambda losses: {"qa": 0, "ner": 1},
        lambda losses: {"ner": torch.tensor(1.0), "qa": 0.0},
        lambda losses: {"ner": torch.tensor(1, dtype=torch.int64), "qa": torch.tensor(0.0)},
        lambda losses: ({"ner": 1.0, "qa": 0.0}, 5),
    ],
)
def test_a_weighting_may_leave_a_task_out(build_model, tasks, function):
    history = train(build_model(tasks), tasks, JOINT, weighting=Own(function), progress=False)
    assert history.rounds[0].weights == {"ner": 1.0, "qa": 0.0}
    assert history.rounds[0].total == history.rounds[0].losses["ner"]


def test_the_losses_a_weighting_sees_are_cut_off_from_the_model(build_model, tasks):
    """So that a weighting can count with them, and remember them, as with any numbers."""
    seen = []
    own = Own(lambda losses: (seen.extend(losses.values()), dict.fromkeys(losses, 1.0))[1])
    train(build_model(tasks), tasks, replace(JOINT, epochs=1), weighting=own, progress=False)
    assert seen
    assert not any(loss.requires_grad for loss in seen)


def test_gradnorm_without_a_matrix_to_look_at_says_so(build_model, tasks):
    """What is left to train of the encoder are biases and norms."""
    model = build_model(tasks)
    model.encoder.requires_grad_(False)
    model.encoder.norm.requires_grad_(True)
    assert model.shared_parts
    with pytest.raises(ConfigError, match=r"GradNorm needs the last weight matrix(.|\n)*to do"):
        train(model, tasks, replace(JOINT, weighting="gradnorm"), progress=False)


@pytest.mark.parametrize("given", ["uncertainty", UncertaintyWeighting])
def test_what_is_no_weighting(build_model, tasks, given):
    with pytest.raises(ConfigError, match=r"not an mtl\.Weighting(.|\n)*Config\(weighting=...\)"):
        train(build_model(tasks), tasks, JOINT, weighting=given, progress=False)


def test_two_classes_cannot_have_one_name_and_one_may_be_defined_again():
    with pytest.raises(ConfigError, match="'dwa' of Other is taken by DynamicWeightAverage"):
        type("Other", (Weighting,), {"name": "dwa"})
    assert Weighting.kinds["dwa"] is DynamicWeightAverage
    for _ in range(2):  # as when a cell of a notebook runs twice
        again = type("Again", (Weighting,), {"name": "again"})
        assert Weighting.kinds.pop("again") is again


@pytest.mark.parametrize(("epochs", "idle"), [(2, True), (3, False)])
def test_dwa_with_too_few_epochs_warns(build_model, tasks, epochs, idle):
    config = replace(CONFIG, weighting="dwa", epochs=epochs)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(build_model(tasks), tasks, config, progress=False)
    found = [str(w.message) for w in caught if w.category is TrainingWarning]
    needs = f"DynamicWeightAverage needs 3 epochs to change a weight, but gets {epochs}"
    assert found == ([f"{needs}: all weights stay 1"] if idle else [])


def test_a_frozen_encoder_is_no_trouble_for_weightings_that_see_losses_alone(build_model, tasks):
    for name in ("fixed", "uncertainty", "dwa", "random"):
        check_training(build_model(tasks), tasks, replace(CONFIG, weighting=name, **FROZEN))


def test_checking_a_training_starts_no_weighting(build_model, tasks, monkeypatch):
    monkeypatch.setattr(Weighting, "start", lambda *of: pytest.fail("started"))
    for name in ALL:
        monkeypatch.setattr(Weighting.kinds[name], "start", lambda *of: pytest.fail("started"))
        check_training(build_model(tasks), tasks, replace(JOINT, weighting=name))


def test_fixed_weights_are_the_default():
    assert type(TrainConfig().build_weighting()) is FixedWeighting
