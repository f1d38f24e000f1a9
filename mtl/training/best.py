"""Scores on validation come in, epoch by epoch; the weights of the best epoch are kept.

With them the thresholds that were chosen for these weights."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from ..model import MultiTaskModel


class Best:
    """The best weights so far, and whether it is worth waiting for better ones.

    Args:
        patience: give up after this many epochs in a row without improvement; 0 for never.

    Attributes:
        epoch: the best one, from 1; 0 before the first score.
        weights: a copy of the model's at that epoch.
        thresholds: of each task at that epoch.
    """

    def __init__(self, patience: int = 0) -> None:
        self.patience = patience
        self.epoch = 0
        self.score = -math.inf
        self.weights: dict[str, Tensor] = {}
        self.thresholds: dict[str, dict[str, float]] = {}

    def see(
        self, epoch: int, score: float, model: MultiTaskModel, *, is_settling: bool = False
    ) -> None:
        """Keep the model's weights if its score is better than all earlier ones.

        Args:
            is_settling: whether `stop_at` was reached, so that the learning rate is falling; of
                equal scores, the later one then counts as better.
        """
        # While the score is still 0, the weights that have learned longest are the best. And a
        # perfect score cannot be beaten, but the weights still improve as the rate falls.
        if score > self.score or (score == self.score and (is_settling or score == 0)):
            self.epoch, self.score = epoch, score
            # clone: `state_dict` gives the weights themselves, which keep changing.
            self.weights = {name: t.detach().clone() for name, t in model.state_dict().items()}
            self.thresholds = {task.name: task.thresholds for task in model.tasks.values()}

    def gives_up(self, epoch: int) -> bool:
        """Whether too many epochs have passed without improvement (early stopping)."""
        return 0 < self.patience <= epoch - self.epoch

    def restore(self, model: MultiTaskModel) -> None:
        """Put the best weights back; if nothing was scored, the last ones stay."""
        if self.weights:
            model.load_state_dict(self.weights)
            for name, thresholds in self.thresholds.items():
                model.tasks[name].thresholds = thresholds

    def state_dict(self) -> dict[str, Any]:
        names = ("epoch", "score", "weights", "thresholds")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.score = state["epoch"], state["score"]
        self.weights, self.thresholds = state["weights"], state["thresholds"]
