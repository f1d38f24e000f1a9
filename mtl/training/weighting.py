"""How the losses of a step become one number to minimise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from ..errors import ConfigError, suggest


class Weighting(nn.Module):
    """Base class: losses by task name in, a scalar out.

    What a weighting learns or remembers are its parameters and buffers; the loop trains the first
    (without weight decay) and saves both.

    Attributes:
        needs_joint_steps: True for a method that must see every task's loss in the same step.
    """

    needs_joint_steps: ClassVar[bool] = False

    def check_tasks(self, names: list[str]) -> None:
        """Raise ConfigError if the weighting cannot serve the tasks of these names."""

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The total of one step."""
        raise NotImplementedError


class FixedWeighting(Weighting):
    """`sum over tasks of lambda * loss`, with `lambda` 1.0 for a task that is not named.

    Raises:
        ConfigError: a weight that is negative or not finite.
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.weights = dict(weights or {})
        for name, weight in self.weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ConfigError(
                    f"the weight of task {name!r} must be a finite number, 0 or more",
                    found=str(weight),
                )

    def check_tasks(self, names: list[str]) -> None:
        """Raise ConfigError if a weight is for a task that does not exist."""
        for name in self.weights:
            if name not in names:
                raise ConfigError(
                    "a weight is given for an unknown task", found=name, fix=suggest(name, names)
                )

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        return sum(self.weights.get(name, 1.0) * loss for name, loss in losses.items())
