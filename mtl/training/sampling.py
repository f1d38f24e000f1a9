"""Which dataset's batch comes next. A round is one batch of every dataset, in one or more steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

Step = tuple[int, ...]


class Sampler(ABC):
    """Splits a round into steps; a step names the datasets whose batches it trains on at once."""

    joint: ClassVar[bool]

    @abstractmethod
    def round(self, n_datasets: int) -> list[Step]:
        """The steps of the next round, each a tuple of dataset indices."""

    def state_dict(self) -> dict[str, Any]:
        """What decides the next rounds; empty where nothing is random."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027 (most keep no state)
        """Go on where the sampler that gave `state` stood."""


class Alternating(Sampler):
    """One dataset a step, in turn (round-robin): NER, QA, NER, QA, ..."""

    joint = False

    def round(self, n_datasets: int) -> list[Step]:
        return [(i,) for i in range(n_datasets)]


class Joint(Sampler):
    """One batch of every dataset in one step: the weighted losses are summed, then one update."""

    joint = True

    def round(self, n_datasets: int) -> list[Step]:
        return [tuple(range(n_datasets))]


SAMPLERS: dict[str, type[Sampler]] = {"alternating": Alternating, "joint": Joint}
