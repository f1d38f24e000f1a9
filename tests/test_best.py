"""The best weights: kept as copies, given up on after patience, saved and loaded."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mtl.training.best import Best
from mtl.training.state import load_state, save_state


class ModelAt(nn.Linear):
    """All that `Best` looks at in a model: its weights and the thresholds of its tasks."""

    def __init__(self, value):
        super().__init__(1, 1, bias=False)
        nn.init.constant_(self.weight, value)
        self.tasks = {"topic": SimpleNamespace(name="topic", thresholds={"news": value})}


def after(scores, patience=0):
    """What is kept of epochs whose weights are 1, 2, 3, ..."""
    best = Best(patience)
    for epoch, score in enumerate(scores, 1):
        best.see(epoch, score, ModelAt(float(epoch)))
    return best


@pytest.mark.parametrize(
    ("scores", "epoch"),
    [([0.1, 0.3, 0.2], 2), ([0.3, 0.3], 1), ([0.0, 0.0], 2), ([-0.5, -0.6], 1), ([0.0, -0.1], 1)],
)
def test_the_weights_of_the_best_epoch_come_back(scores, epoch):
    best, model = after(scores), ModelAt(9.0)
    best.restore(model)
    assert (best.epoch, best.score) == (epoch, scores[epoch - 1])
    assert model.weight.item() == epoch
    assert model.tasks["topic"].thresholds == {"news": epoch}


@pytest.mark.parametrize(("scores", "epoch"), [([1.0, 1.0], 2), ([0.9, 0.8], 1), ([0.8, 0.9], 2)])
def test_while_the_rate_falls_a_later_one_that_is_as_good_is_better(scores, epoch):
    best = Best()
    for number, score in enumerate(scores, 1):
        best.see(number, score, ModelAt(float(number)), is_settling=number > 1)
    assert best.epoch == best.weights["weight"].item() == epoch


def test_they_are_a_copy():
    best, model = Best(), ModelAt(1.0)
    best.see(1, 0.5, model)
    nn.init.constant_(model.weight, 7.0)
    best.restore(model)
    assert model.weight.item() == 1.0


def test_without_a_score_the_last_weights_stay():
    model = ModelAt(7.0)
    Best().restore(model)
    assert model.weight.item() == 7.0


@pytest.mark.parametrize(("patience", "gives_up"), [(0, [0, 0, 0]), (1, [0, 1, 1]), (2, [0, 0, 1])])
def test_it_gives_up_when_patience_is_over(patience, gives_up):
    best = after([0.5], patience)
    assert [best.gives_up(epoch) for epoch in (1, 2, 3)] == [bool(one) for one in gives_up]


@pytest.mark.parametrize("scores", [[], [0.1, 0.4]])
def test_saved_and_loaded_it_is_the_same(tmp_path, scores):
    best, other = after(scores), Best()
    save_state(tmp_path, best.state_dict())
    other.load_state_dict(load_state(tmp_path))
    assert (other.epoch, other.score) == (best.epoch, best.score)
    assert other.thresholds == best.thresholds
    assert other.weights.keys() == best.weights.keys()
    assert all(torch.equal(other.weights[name], best.weights[name]) for name in best.weights)
