"""The optimizer and its schedule: which weights decay, and the learning rate at each step."""

from dataclasses import replace
from itertools import pairwise

import pytest
import small_training
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_training import FAST
from torch import nn

from mtl.training.optimizer import Schedule, build_optimizer
from mtl.training.run import Run
from mtl.training.weighting import FixedWeighting, Weighting

# pytest looks for a fixture by its name in this module.
tasks = small_training.tasks


def linear(step, steps, warmup):
    """Up to 1 and at once down to 0, written as it was before a rate could stay at its peak."""
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return max(0.0, (steps - step) / max(1, steps - rising))


def factors_of(schedule):
    return [schedule(step) for step in range(schedule.end + 1)]


@given(steps=st.integers(1, 300), warmup=st.floats(0, 1))
def test_without_a_plateau_it_is_linear_to_the_last_bit(steps, warmup):
    factors = factors_of(Schedule(steps, warmup))
    assert factors == [linear(step, steps, warmup) for step in range(steps + 1)]


@given(steps=st.integers(1, 300), warmup=st.floats(0, 1), decay=st.floats(0, 1))
def test_up_a_plateau_and_down(steps, warmup, decay):
    """Up in a straight line, then 1, then down in a straight line to 0; never 0 before the end."""
    schedule = Schedule(steps, warmup, decay)
    factors, fall = factors_of(schedule), steps - schedule.falling
    assert schedule.rising == round(warmup * steps) <= fall
    assert schedule.falling <= round(decay * steps)
    assert all(0 < factor <= 1 for factor in factors[:steps])
    assert factors[steps] == 0
    assert set(factors[schedule.rising : fall]) <= {1.0}
    for part in (factors[: schedule.rising], factors[fall:]):
        slopes = [after - before for before, after in pairwise(part)]
        assert slopes == pytest.approx(slopes[:1] * len(slopes))


def test_schedules_by_hand():
    falling = [8 / 8, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0]
    assert factors_of(Schedule(10, 0.2)) == pytest.approx([1 / 3, 2 / 3, *falling])
    plateau = [1, 1, 1, 1, 3 / 4, 2 / 4, 1 / 4, 0]
    assert factors_of(Schedule(9, 0.2, 0.4)) == pytest.approx([1 / 3, 2 / 3, *plateau])
    assert factors_of(Schedule(3, 0.0, 0.0)) == [1, 1, 1, 0]


def test_it_falls_early_from_where_it_stands():
    """From the peak it falls at once; while it rises, as soon as the two lines cross."""
    schedule = Schedule(40, 0.1, 0.1)
    schedule.fall_now(10, 4)
    factors = factors_of(schedule)
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, *[1.0] * 7, 3 / 4, 2 / 4, 1 / 4, 0])
    schedule = Schedule(40, 0.1, 0.1)
    schedule.fall_now(2, 4)
    assert factors_of(schedule) == pytest.approx([0.2, 0.4, 0.6, 3 / 4, 2 / 4, 1 / 4, 0])


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
        factor = linear(2 * n + 1, 12, config.warmup_ratio)
        for parameter in model.encoder.parameters():
            rate = 3e-5 if pretrained else 1e-2
            assert used[parameter] == pytest.approx(rate * factor)
        for parameter in [*model.heads.parameters(), weighting.scale]:
            assert used[parameter] == pytest.approx(1e-2 * factor)
        assert run.history.rounds[n].learning_rate == pytest.approx(1e-2 * factor)
    assert len(used) == len(list(model.parameters())) + 1
