"""Scores on validation come in, epoch by epoch; the weights of the best epoch are kept."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn


class Best:
    """The best weights so far, and whether it is worth waiting for better ones.

    Args:
        patience: give up after this many epochs in a row without improvement; 0 for never.

    Attributes:
        epoch: the best one, from 1; 0 before the first score.
        weights: a copy of the model's at that epoch.
    """

    def __init__(self, patience: int = 0) -> None:
        self.patience = patience
        self.epoch = 0
        self.score = -math.inf
        self.weights: dict[str, Tensor] = {}

    def see(self, epoch: int, score: float, model: nn.Module, *, is_settling: bool = False) -> None:
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

    def gives_up(self, epoch: int) -> bool:
        """Whether too many epochs have passed without improvement (early stopping)."""
        return 0 < self.patience <= epoch - self.epoch

    def restore(self, model: nn.Module) -> None:
        """Put the best weights back; if nothing was scored, the last ones stay."""
        if self.weights:
            model.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "score": self.score, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.score = state["epoch"], state["score"]
        self.weights = state["weights"]
