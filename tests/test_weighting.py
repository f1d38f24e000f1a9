"""Weightings: their numbers by hand, what they remember, and what is recorded of them."""

import math
import warnings
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

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
    RandomWeighting,
    UncertaintyWeighting,
    Weighting,
    weigh,
)

CONFIG = TrainConfig(epochs=3, batch_size=8, learning_rate=1e-2, device="cpu")
JOINT = replace(CONFIG, steps="joint")
BOTH_MODES = pytest.mark.parametrize("steps", ["alternating", "joint"])
ALL = ["fixed", "uncertainty", "dwa", "gradnorm", "random"]


@pytest.fixture
def tasks(sentences, questions):
    """NER with 16 sentences (2 batches) and QA with 20 questions (3 batches)."""
    return [
        NERTask("ner", Dataset(train=sentences[:16]), types=["LOC", "MISC", "ORG", "PER"]),
        QATask("qa", Dataset(train=questions[:20])),
    ]


# --- by hand --------------------------------------------------------------------------------------


def losses_of(*values):
    """Losses of the tasks a, b, c, ..."""
    return {name: torch.tensor(float(v)) for name, v in zip("abc", values, strict=False)}


def total_of(weighting, losses):
    """What a step minimises."""
    weights, penalty = weigh(weighting, losses)
    return sum(weights[name] * losses[name] for name in losses) + penalty


def after(weighting, *epochs):
    """The weighting after these epochs, each a list of the losses of its steps."""
    for epoch in epochs:
        for step in epoch:
            weighting(losses_of(*step))
        weighting.end_epoch()


def with_variances(*variances):
    """Sets `sigma^2` of each task."""

    def prepare(weighting):
        for s, variance in zip(weighting.log_variance.values(), variances, strict=True):
            s.data.fill_(math.log(variance))

    return prepare


def with_weights(*weights):
    """What the optimiser left of GradNorm's weights."""
    return lambda weighting: weighting.weights.data.copy_(torch.tensor(weights))


def drawn(seed, n, draws=1):
    """`n * exp(x) / sum of exp(x)` of the last of so many draws of n normal numbers."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        powers = [math.exp(x) for x in torch.randn(n, generator=generator).tolist()]
    return [n * power / sum(powers) for power in powers]


LN2 = math.log(2)
TWO_DRAWN, THREE_DRAWN, LATER_DRAWN = drawn(7, 2), drawn(3, 3), drawn(7, 2, draws=3)
nothing = after

# name, options, what came before, losses, total, how much each loss counts
BY_HAND = [
    ("fixed", {}, nothing, (2, 4), 6, (1, 1)),
    # 1 * 2 + 0.5 * 4
    ("fixed", {"weights": {"b": 0.5}}, nothing, (2, 4), 4, (1, 0.5)),
    # 0 * 2 + 1 * 4 + 3 * 1
    ("fixed", {"weights": {"a": 0, "c": 3}}, nothing, (2, 4, 1), 7, (0, 1, 3)),
    # s = 0: exp(0) * (2 + 4) + 0
    ("uncertainty", {}, nothing, (2, 4), 6, (1, 1)),
    # s = ln 2 and -ln 4: 2 / 2 + 4 * 4 + (ln 2 - 2 ln 2) / 2
    ("uncertainty", {}, with_variances(2, 0.25), (2, 4), 17 - LN2 / 2, (0.5, 4)),
    # s = 0, ln 2 and 3 ln 2: 1 + 2 / 2 + 8 / 8 + (ln 2 + 3 ln 2) / 2
    ("uncertainty", {}, with_variances(1, 2, 8), (1, 2, 8), 3 + 2 * LN2, (1, 0.5, 0.125)),
    ("dwa", {}, nothing, (2, 4), 6, (1, 1)),
    ("dwa", {}, lambda w: after(w, [(9, 1)]), (2, 4), 6, (1, 1)),  # one epoch is no speed
    # means 4, 4 then 2, 4; r = 0.5, 1; exp(r / 2) = 1.2840254, 1.6487213, sum 2.9327467;
    # 2 * 1.2840254 / 2.9327467 = 0.8756470; 2 * 1.6487213 / 2.9327467 = 1.1243530
    (
        *("dwa", {}, lambda w: after(w, [(6, 4), (2, 4)], [(1, 7), (3, 1)]), (1, 1)),
        *(2, (0.875646998, 1.124353002)),
    ),
    # r = 0.5, 1, 1.5 at temperature 1; exp(r) = 1.6487213, 2.7182818, 4.4816891, sum 8.8486922;
    # 3 * exp(r) / sum = 0.5589712, 0.9215877, 1.5194412; the total of losses 1, 2, 1:
    # 0.5589712 + 1.8431753 + 1.5194412
    (
        *("dwa", {"temperature": 1.0}),
        *(lambda w: after(w, [(1, 5, 9), (3, 5, 7)], [(1, 5, 12)]), (1, 2, 1)),
        *(3.921587657, (0.558971170, 0.921587657, 1.519441173)),
    ),
    # Three epochs: the first is forgotten; r = 2 / 1, 1 / 4; exp(r / 2) = 2.7182818, 1.1331485,
    # sum 3.8514303; 2 * exp(r / 2) / sum = 1.4115701, 0.5884299; 1.4115701 * 2 + 0.5884299 * 10
    (
        *("dwa", {}, lambda w: after(w, [(77, 88)], [(1, 4)], [(2, 1)]), (2, 10)),
        *(8.707439554, (1.411570056, 0.588429944)),
    ),
    ("gradnorm", {}, nothing, (2, 4), 6, (1, 1)),
    # (3, 1) * 2 / 4 = (1.5, 0.5); 1.5 * 2 + 0.5 * 4
    ("gradnorm", {}, with_weights(3.0, 1.0), (2, 4), 5, (1.5, 0.5)),
    # A negative weight counts 0: (1, 0, 3) * 3 / 4; 0.75 * 2 + 0 * 4 + 2.25 * 6
    ("gradnorm", {}, with_weights(1.0, -2.0, 3.0), (2, 4, 6), 15, (0.75, 0, 2.25)),
    (
        *("random", {"seed": 7}, nothing, (2, 4)),
        *(2 * TWO_DRAWN[0] + 4 * TWO_DRAWN[1], TWO_DRAWN),
    ),
    (
        *("random", {"seed": 7}, lambda w: after(w, [(1, 1)], [(1, 1)]), (2, 4)),
        *(2 * LATER_DRAWN[0] + 4 * LATER_DRAWN[1], LATER_DRAWN),
    ),
    ("random", {"seed": 3}, nothing, (1, 1, 1), 3, THREE_DRAWN),
]


@pytest.mark.parametrize(("name", "options", "before", "losses", "total", "counts"), BY_HAND)
def test_the_numbers_are_those_worked_out_by_hand(name, options, before, losses, total, counts):
    weighting = build_method(Weighting, name, options, 0, "train.weighting")
    losses = losses_of(*losses)
    weighting.start(list(losses))
    before(weighting)
    weights, penalty = weigh(weighting, losses)
    found = sum(weights[name] * losses[name] for name in losses) + penalty
    assert found.item() == pytest.approx(total, abs=1e-6, rel=1e-6)
    assert list(weights) == list(losses)
    assert [w.item() for w in weights.values()] == pytest.approx(list(counts), abs=1e-6)


def test_the_table_has_every_weighting_with_two_and_with_three_tasks():
    met = {(name, len(losses)) for name, _, _, losses, *_ in BY_HAND}
    assert met == {(name, n) for name in ALL for n in (2, 3)}
    assert set(ALL) <= set(Weighting.kinds)


def test_the_slope_of_uncertainty_by_hand():
    """d/ds of exp(-s) * loss + s / 2 is 1 / 2 - exp(-s) * loss."""
    weighting = UncertaintyWeighting()
    weighting.start(["a", "b"])
    with_variances(2, 0.25)(weighting)
    total_of(weighting, losses_of(3, 4)).backward()
    slopes = [s.grad.item() for s in weighting.log_variance.values()]
    assert slopes == pytest.approx([0.5 - 3 / 2, 0.5 - 4 * 4])


# --- GradNorm by hand -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "remaining", "lengths", "weights", "slope"),
    [
        # pulls 3, 1; mean 2; both targets 2: the first pulls too hard
        (1.5, (1, 1), (3, 1), (1, 1), (3, -1)),
        # r = 1.6, 0.4; r^1.5 = 2.024, 0.253; targets 4.048 and 0.506 of pulls 3, 1
        (1.5, (1, 0.25), (3, 1), (1, 1), (-3, 1)),
        # alpha 0: the targets are the mean alone, 2
        (0.0, (1, 0.25), (3, 1), (1, 1), (3, -1)),
        # pulls 0.5 * 2, 1.5 * 2, 1 * 5, mean 3; r = 1.5, 0.75, 0.75: targets 4.5, 2.25, 2.25
        (1.0, (1, 0.5, 0.5), (2, 2, 5), (0.5, 1.5, 1), (-2, 2, 5)),
        # all as they should be
        (1.5, (0.5, 0.5), (2, 4), (4 / 3, 2 / 3), (0, 0)),
    ],
)
def test_the_slope_of_gradnorm_by_hand(alpha, remaining, lengths, weights, slope):
    given = [torch.tensor(values, dtype=torch.float64) for values in (remaining, lengths, weights)]
    assert GradNorm(alpha).slope(*given).tolist() == pytest.approx(list(slope), abs=1e-6)


def test_gradnorm_on_a_linear_model_by_hand():
    """Losses 3x + 4y and 2y, whose gradients by (x, y) are 5 and 2 long wherever they are."""
    shared = nn.Parameter(torch.tensor([[1.0, 1.0]]))
    weighting = GradNorm(alpha=1.0)
    weighting.start(["a", "b"])

    def step():
        losses = {"a": 3 * shared[0, 0] + 4 * shared[0, 1], "b": 2 * shared[0, 1]}
        total = total_of(weighting, {name: loss.detach() for name, loss in losses.items()})
        weighting.observe(losses, shared)
        sum(losses.values()).backward()  # the graph is still there
        return total.item(), weighting.weights.grad.tolist()

    # Losses 7, 2; weights 1, 1; r = 1, 1; pulls 5, 2, mean 3.5: slopes 5, -2.
    assert step() == (pytest.approx(9), pytest.approx([5, -2]))
    assert weighting.first_losses.tolist() == pytest.approx([7, 2])
    # A step of 0.1 down: (0.5, 1.2), scaled to the sum 2: (10/17, 24/17).
    with torch.no_grad():
        weighting.weights -= 0.1 * weighting.weights.grad
        shared.copy_(torch.tensor([[1.0, 0.25]]))
    # Losses 4, 0.5: of the first 4/7 and 1/4 are left, mean 23/56: r = 32/23, 14/23.
    # Pulls 50/17 = 2.94, 48/17 = 2.82; mean 49/17; targets 4.01, 1.75: slopes -5, 2.
    assert step() == (pytest.approx(10 / 17 * 4 + 24 / 17 * 0.5), pytest.approx([-5, 2]))
    assert weighting.weights.tolist() == pytest.approx([10 / 17, 24 / 17])
    assert weighting.first_losses.tolist() == pytest.approx([7, 2])


def test_gradnorm_when_a_task_has_no_loss_in_a_step():
    shared = nn.Parameter(torch.tensor([[1.0, 1.0]]))
    weighting = GradNorm()
    weighting.start(["a", "b", "c"])
    losses = {"c": 3 * shared[0, 0] + 4 * shared[0, 1], "a": shared[0, 1] * 1.0}
    weighting({name: loss.detach() for name, loss in losses.items()})
    weighting.observe(losses, shared)
    # c pulls with 5, a with 1, mean 3; b has not been seen, and its first loss is still to come.
    assert weighting.weights.grad.tolist() == pytest.approx([-1, 0, 5])
    assert weighting.first_losses.tolist() == pytest.approx([1, 0, 7])


def test_gradnorm_of_a_loss_that_the_matrix_does_not_move():
    """It pulls with 0, and the other too hard."""
    shared, apart = nn.Parameter(torch.tensor([[1.0, 1.0]])), nn.Parameter(torch.tensor(2.0))
    weighting = GradNorm()
    weighting.start(["a", "b"])
    weighting.observe({"a": 3 * shared[0, 0] + 4 * shared[0, 1], "b": 1.0 * apart}, shared)
    assert weighting.weights.grad.tolist() == pytest.approx([5, 0])


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


# --- random ---------------------------------------------------------------------------------------


def weights_drawn(weighting, n_tasks, draws):
    """`(draws, tasks)`."""
    weights = []
    for _ in range(draws):
        weights.append(torch.tensor(list(weighting(losses_of(*[1.0] * n_tasks)).values())))
    return torch.stack(weights)


@pytest.mark.parametrize("n_tasks", [2, 3])
def test_random_weights_sum_to_the_number_of_tasks_and_are_1_on_average(n_tasks):
    weighting = RandomWeighting(seed=0)
    weighting.start("abc"[:n_tasks])
    weights = weights_drawn(weighting, n_tasks, 2000)
    torch.testing.assert_close(weights.sum(1), torch.full((2000,), float(n_tasks)))
    assert (weights > 0).all()
    assert weights.mean(0).tolist() == pytest.approx([1.0] * n_tasks, abs=0.05)
    assert weights.std(0).min() > 0.3


def test_random_weights_go_on_from_a_saved_state():
    weighting, other, elsewhere = (RandomWeighting(seed) for seed in (0, 0, 1))
    for one in (weighting, other, elsewhere):
        one.start(["a", "b"])
    first = weights_drawn(weighting, 2, 5)
    assert torch.equal(first, weights_drawn(other, 2, 5))
    assert not torch.equal(first, weights_drawn(elsewhere, 2, 5))
    state = weighting.state_dict()
    following = weights_drawn(weighting, 2, 5)
    assert not torch.equal(first, following)
    elsewhere.load_state_dict(state)
    assert torch.equal(following, weights_drawn(elsewhere, 2, 5))


def test_random_weights_draw_from_a_generator_of_their_own():
    weighting = RandomWeighting()
    weighting.start(["a", "b"])
    before = torch.get_rng_state()
    weights_drawn(weighting, 2, 3)
    assert torch.equal(before, torch.get_rng_state())


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
    config = replace(JOINT, weighting="uncertainty", weight_decay=0.9, warmup=0.0)
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
def test_the_total_recorded_is_of_raw_losses_and_never_negative(build_model, tasks, steps):
    class Sunken(recorded(UncertaintyWeighting)):
        """Its totals are far below 0, as those of well-learned tasks may be."""

        def forward(self, losses):
            weights, penalty = super().forward(losses)
            return weights, penalty - 100

    weighting = Sunken()
    config = replace(CONFIG, steps=steps)
    history = train(build_model(tasks), tasks, config, weighting=weighting, progress=False)
    per_round = 2 if steps == "alternating" else 1
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
    config = replace(JOINT, weighting=name, clip_norm=1e9, **own)
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
def test_dwa_weighs_by_the_means_of_the_last_two_epochs(build_model, tasks, steps):
    """By hand from the losses that were recorded; the last batch of an epoch alone would not do."""
    config = replace(CONFIG, steps=steps, weighting="dwa")
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
def test_with_a_single_task_a_weighting_trains_too(build_model, tasks, name, steps):
    config = replace(CONFIG, weighting=name, steps=steps)
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
        ({"weighting": "gradnorm"}, 'GradNorm needs every(.|\n)*set train.steps = "joint"'),
        (
            {"weighting": "gradnorm", "steps": "sampled"},
            'GradNorm needs every task(.|\n)*set train.steps = "joint"',
        ),
        (
            {"weighting": "dwa", "weighting_options": {"temperatur": 1.0}},
            'weighting_options.temperatur is unknown, of dwa(.|\n)*did you mean "temperature"',
        ),
        (
            {"weighting": "uncertainty", "weighting_options": {"alpha": 1.0}},
            "weighting_options.alpha is unknown, of uncertainty\n  to do: it has no options",
        ),
        (
            {"weighting": "uncertainty", "weighting_options": {"args": 1.0}},
            "weighting_options.args is unknown, of uncertainty\n  to do: it has no options",
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
            {"weighting": "gradnorm", "steps": "joint", "weighting_options": {"alpha": -1.0}},
            "the alpha of gradnorm must be 0 or more",
        ),
        (
            {"weighting": "gradnorm", "steps": "joint", "weighting_options": {"alpha": math.nan}},
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
        ({"max_tokens": 100, "weighting": "gradnorm", "steps": "joint"}, "only fixed weights add"),
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


FROZEN = {"freeze": ["encoder"], "steps": "joint"}


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
        (GradNorm(), {}, 'GradNorm needs every task(.|\n)*set train.steps = "joint"'),
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
    with pytest.raises(ConfigError, match=r"GradNorm looks at the last weight matrix(.|\n)*to do"):
        train(model, tasks, replace(JOINT, weighting="gradnorm"), progress=False)


@pytest.mark.parametrize("given", ["uncertainty", UncertaintyWeighting])
def test_what_is_no_weighting(build_model, tasks, given):
    with pytest.raises(ConfigError, match=r"no weighting(.|\n)*TrainConfig\(weighting=...\)"):
        train(build_model(tasks), tasks, JOINT, weighting=given, progress=False)


def test_two_classes_cannot_have_one_name_and_one_may_be_defined_again():
    with pytest.raises(ConfigError, match="'dwa' of Other is that of DynamicWeightAverage"):
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
    needs = f"DynamicWeightAverage needs 3 epochs to change a weight and gets {epochs}"
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
