"""float16, as far as a CPU can show it: small gradients, updates that are left out.

A CPU computes in float16 too, and torch's own scaler works there; that `mtl` refuses it is because
it is slow. So these tests put both into a run.
"""

from dataclasses import replace

import pytest
import torch

from mtl.data.dataset import Dataset
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.training.config import TrainConfig
from mtl.training.run import Run
from mtl.training.weighting import GradNorm

TYPES = ["LOC", "MISC", "ORG", "PER"]
CONFIG = TrainConfig(
    epochs=4, batch_size=8, sampling="joint", hide_words=0.0, learning_rate=1e-2, device="cpu"
)


class Faint(NERTask):
    """A task whose loss is so small that its gradients are 0 in float16, unless they are scaled."""

    def loss(self, outputs, targets, batch):
        return 1e-6 * super().loss(outputs, targets, batch)


@pytest.fixture
def start_run(build_model, sentences, questions):
    """A function that makes a run in float32, or in float16 with this scale."""

    def start(scale=None, config=CONFIG, weighting=None, task_class=NERTask, **of_scaler):
        tasks = [
            task_class("ner", Dataset(train=sentences[:16]), types=TYPES),
            QATask("qa", Dataset(train=questions[:16])),
        ]
        run = Run(build_model(tasks), tasks, config, weighting)
        if scale:
            run.update.dtype = torch.float16
            run.update.scaler = torch.amp.GradScaler("cpu", init_scale=scale, **of_scaler)
        return run

    return start


def lengths_in_gradnorm(run, monkeypatch):
    """The lengths of the tasks' gradients that GradNorm sees in a step."""
    seen = []
    slope = GradNorm.slope
    monkeypatch.setattr(
        GradNorm,
        "slope",
        lambda w, rest, lengths, *of: (seen.append(lengths), slope(w, rest, lengths, *of))[1],
    )
    run.next_step()
    (lengths,) = seen
    return lengths


@pytest.mark.parametrize("task_class", [NERTask, Faint])
def test_gradnorm_measures_gradients_as_they_are_in_float32(start_run, monkeypatch, task_class):
    lengths = []
    for scale in (None, 2.0**14):
        run = start_run(scale, weighting=GradNorm(), task_class=task_class)
        with monkeypatch.context() as patch:
            lengths.append(lengths_in_gradnorm(run, patch))
    torch.testing.assert_close(lengths[1], lengths[0], rtol=0.05, atol=0)


@pytest.mark.parametrize("scale", [2.0**14, 2.0**60])  # the second is too much, and is halved
@pytest.mark.parametrize("task_class", [NERTask, Faint])
def test_conflict_is_what_it_is_in_float32(start_run, scale, task_class):
    config = replace(CONFIG, conflict_every=1)
    (one,), (other,) = (
        start_run(given, config, task_class=task_class).measure_conflict().values()
        for given in (None, scale)
    )
    assert other.cosine == pytest.approx(one.cosine, abs=0.05)
    assert other.ratio == pytest.approx(one.ratio, rel=0.05)


def test_an_update_that_is_left_out_is_no_step(start_run):
    """A scale so large that the gradient overflows; the scaler lowers it after the first try."""
    run = start_run(2.0**120, backoff_factor=2.0**-110)
    before = {name: p.clone() for name, p in run.model.named_parameters()}
    rate = run.update.schedule.get_last_lr()
    run.next_step()
    assert run.step == run.history.rounds[-1].step == 0
    assert run.update.schedule.get_last_lr() == rate
    assert all(torch.equal(p, before[name]) for name, p in run.model.named_parameters())
    run.next_step()
    assert run.step == 1
    assert run.update.schedule.get_last_lr() != rate
    assert not all(torch.equal(p, before[name]) for name, p in run.model.named_parameters())


def test_an_update_that_is_left_out_moves_no_early_fall(start_run):
    """The rate falls by the updates that were made, from the one at which it was told to."""
    run = start_run(2.0**120, replace(CONFIG, warmup_ratio=0.0), backoff_factor=2.0**-110)
    run.next_step()  # left out
    run.update.fall_now(4)
    rates = []
    for _ in range(4):
        rates.append(run.update.schedule.get_last_lr()[0] / CONFIG.learning_rate)
        run.next_step()
    assert run.step == 4
    assert rates == pytest.approx([1, 3 / 4, 2 / 4, 1 / 4])
    assert run.update.schedule.get_last_lr()[0] == 0


def test_an_update_that_only_the_weights_of_the_losses_spoil_is_no_step_either(
    start_run, monkeypatch
):
    """The scaler looks at them too: they are trained by the same optimiser."""
    run = start_run(2.0**10, weighting=GradNorm())
    nothing = torch.full((2,), float("inf"))
    monkeypatch.setattr(GradNorm, "slope", lambda *of: nothing)
    before = {name: p.clone() for name, p in run.model.named_parameters()}
    run.next_step()
    assert run.step == 0
    assert all(torch.equal(p, before[name]) for name, p in run.model.named_parameters())
