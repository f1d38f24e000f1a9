"""The sizes of datasets go in; whose batch comes next comes out.

A round is one or more steps; a step is one update.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from ..errors import ConfigError

Step = tuple[int, ...]


class Sampler(ABC):
    """Splits a round into steps; a step names the datasets whose batches it trains on at once.

    Args:
        sizes: training examples of each dataset.
        alpha, anneal: see `Sampled`; the others do not use them.
        seed: for the sampler's own generator.
    """

    joint: ClassVar[bool] = False
    describe: ClassVar[str] = "one batch of each"

    def __init__(
        self, sizes: Sequence[int], alpha: float = 1.0, anneal: float = 0.0, seed: int = 0
    ) -> None:
        self.sizes = list(sizes)
        self.alpha = alpha
        self.anneal = anneal
        # Its own generator: whatever else is drawn in training must not change whose turn it is.
        self.rng = random.Random(seed)

    @abstractmethod
    def round(self, progress: float) -> list[Step]:
        """The steps of the next round, each a tuple of dataset indices.

        Args:
            progress: how much of training is done, from 0 to 1.
        """

    @property
    def steps_per_round(self) -> int:
        """How many steps each round has."""
        return 1 if self.joint else len(self.sizes)

    def batches_per_round(self) -> list[float]:
        """How many batches of each dataset a round has, on average over training."""
        return [1.0] * len(self.sizes)

    def state_dict(self) -> dict[str, Any]:
        """What decides the next rounds."""
        version, numbers, gauss = self.rng.getstate()
        # The state contains a tuple, which JSON would turn into a list: so by hand, both ways.
        return {"random": [version, list(numbers), gauss]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the sampler that gave `state` was."""
        version, numbers, gauss = state["random"]
        self.rng.setstate((version, tuple(numbers), gauss))


class Alternating(Sampler):
    """One dataset per step, in turn (round-robin): NER, QA, NER, QA, ..."""

    def round(self, progress: float) -> list[Step]:
        return [(i,) for i in range(len(self.sizes))]


class Joint(Sampler):
    """One batch of every dataset in one step: the weighted losses are summed, then one update."""

    joint = True

    def round(self, progress: float) -> list[Step]:
        return [tuple(range(len(self.sizes)))]


class Sampled(Sampler):
    """One dataset per step, drawn with `p` proportional to `n^alpha`, for `n` examples.

    With alpha 1 a dataset is seen in proportion to its size; with 0 all are seen equally, so
    that small ones are over-sampled; between the two lies sampling with temperature `1 / alpha`
    (Arivazhagan et al. 2019, "Massively Multilingual Neural Machine Translation in the Wild").
    `anneal` is how far alpha falls, linearly, from the start to the end of training (Stickland and
    Murray 2019, "BERT and PALs": from 1 to 0.2).

    A round has as many steps as there are datasets, so that a run has the same number of steps
    whatever alpha is.
    """

    describe = "{n} batches drawn by size"

    def round(self, progress: float) -> list[Step]:
        weights = self.shares(progress)
        return [(i,) for i in self.rng.choices(range(len(weights)), weights, k=len(weights))]

    def shares(self, progress: float) -> list[float]:
        """The probability of each dataset."""
        alpha = self.alpha - self.anneal * progress
        weights = [size**alpha for size in self.sizes]
        return [weight / sum(weights) for weight in weights]

    def batches_per_round(self) -> list[float]:
        # alpha falls linearly, so its mean is its middle value: good enough for a line of text.
        return [len(self.sizes) * share for share in self.shares(0.5)]


SAMPLERS: dict[str, type[Sampler]] = {
    "alternating": Alternating,
    "joint": Joint,
    "sampled": Sampled,
}


def check_exponents(alpha: float, anneal: float) -> None:
    """Raise ConfigError unless alpha stays between 0 and 1."""
    if not (0 <= alpha <= 1 and 0 <= anneal <= alpha):
        raise ConfigError(
            "train.alpha must lie between 0 and 1, and train.anneal between 0 and train.alpha",
            found=f"alpha {alpha}, anneal {anneal}",
            fix="1 is proportional to size, 0 is uniform; anneal is how far alpha falls",
        )
