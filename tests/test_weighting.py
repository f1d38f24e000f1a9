"""Weightings: their numbers by hand, and what they remember."""

import math

import pytest
import torch
from torch import nn

from mtl.training.methods import build_method
from mtl.training.weighting import GradNorm, RandomWeighting, UncertaintyWeighting, Weighting, weigh

ALL = ["fixed", "uncertainty", "dwa", "gradnorm", "random"]


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
