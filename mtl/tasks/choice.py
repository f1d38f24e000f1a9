"""What a text is labelled with and what a head says go in; a loss, a decision and scores come out.

A text either has one of several classes (`mtl.tasks.one_of`), or any of several labels
(`mtl.tasks.any_of`). `ClassificationTask` leaves to them all in which the two differ.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

Labels = tuple[str, ...]  # of one text


class Choice(ABC):
    """How the labels of a text are learned, decided and scored.

    Attributes:
        main_metric: the one metric of `score` that choices are based on.
        answers_with: what is predicted, in words.
        takes_several: whether a text may have several labels, or none.
        unknown_count_as: what becomes of a label that training does not have, in words.
    """

    main_metric: ClassVar[str]
    answers_with: ClassVar[str]
    takes_several: ClassVar[bool]
    unknown_count_as: ClassVar[str]

    @abstractmethod
    def understood(self, said: Labels | None) -> Labels | None:
        """The labels that an example gives its text; None if it is not labelled.

        Raises:
            DataError: more labels than a text may have.
        """

    @abstractmethod
    def imbalance(self, counts: Sequence[tuple[str, int]]) -> str:
        """What to tell the user about rare labels; "" if nothing.

        Args:
            counts: in how many texts of training each label occurs, the most frequent first.
        """

    @abstractmethod
    def balanced(self, counts: Sequence[int], texts: int) -> Tensor:
        """`(C,)`, a weight for each label that lets rare and frequent ones count the same.

        Args:
            counts: in how many texts of training each label occurs.
            texts: how many there are.
        """

    @abstractmethod
    def first_bias(self, counts: Sequence[int], texts: int) -> Tensor | None:
        """`(C,)`, the bias that a fresh head starts with; None for a random one. Arguments as in
        `balanced`.
        """

    @abstractmethod
    def target(self, ids: Sequence[int | None]) -> Any:
        """The target of a text with these labels, as JSON; an id is None if it is not learned."""

    @abstractmethod
    def stack(self, targets: Sequence[Any], n_classes: int) -> Tensor:
        """The targets of `B` rows as a tensor, -100 where there is none."""

    @abstractmethod
    def loss(
        self, outputs: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float
    ) -> Tensor:
        """The mean over labelled rows; `(B, C)` logits and stacked targets to a scalar."""

    @abstractmethod
    def probabilities(self, outputs: Tensor, owner: Tensor, n: int) -> Tensor:
        """`(B, C)` logits of rows to `(n, C)` probabilities of the texts that own them."""

    @abstractmethod
    def decided(self, text: str, scores: dict[str, float], thresholds: Mapping[str, float]) -> Any:
        """The prediction for a text, from the probability of each label."""

    @abstractmethod
    def always(self, labels: Labels, text: str) -> Any:
        """The prediction that says these labels, whatever the text."""

    @abstractmethod
    def thresholds(
        self, right: Sequence[Labels], scores: Sequence[Mapping[str, float]]
    ) -> dict[str, float]:
        """For each label the least probability at which it is given; {} where none is needed."""

    @abstractmethod
    def said(self, prediction: Any) -> Labels:
        """The labels that a prediction gives."""

    @abstractmethod
    def score(self, right: Sequence[Labels], said: Sequence[Labels]) -> dict[str, float]:
        """Metrics of the labels that were said, against the right ones."""

    @abstractmethod
    def report(self, right: Sequence[Labels], said: Sequence[Labels], labels: Sequence[str]) -> str:
        """A table with precision, recall and F1 of each label."""

    @abstractmethod
    def confusion(
        self, right: Sequence[Labels], said: Sequence[Labels], labels: Sequence[str]
    ) -> tuple[list[str], list[list[int]]] | None:
        """How often each label was predicted as each; None where that makes no sense."""

    @abstractmethod
    def file(self, right: Sequence[Labels], predictions: Sequence[Any]) -> tuple[str, str]:
        """Predictions beside the right labels, for other programs: file extension and content."""

    @abstractmethod
    def mistake(self, right: Labels, said: Labels) -> str:
        """What is wrong with the labels that were said; "" if nothing is."""

    @abstractmethod
    def baselines(self, right: Sequence[Labels]) -> dict[str, Labels]:
        """What trivial methods say of every text, by their names."""
