"""One of several classes for each text: softmax, cross-entropy, and the most probable class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DataError
from ..metrics import accuracy, confusion, macro_f1
from ..nn.heads import merge_rows
from ..tables import tab_separated
from .base import IGNORED
from .choice import Choice, Labels
from .labels import confusion_table

UNBALANCED = 10  # how many times as frequent as the rarest class, for a warning


@dataclass(frozen=True)
class ClassPrediction:
    """The most probable class of a text, and the probability of every class."""

    text: str
    label: str
    scores: dict[str, float]

    @property
    def score(self) -> float:
        """The probability of `label`."""
        return self.scores[self.label]

    def to_dict(self) -> dict[str, Any]:
        return {"label": self.label, "score": self.score, "scores": self.scores}

    def __str__(self) -> str:
        others = sorted(self.scores.items(), key=lambda pair: -pair[1])[1:3]
        rest = "".join(f", {label} {score:.2f}" for label, score in others)
        return f"{self.label}  (score {self.score:.2f}{rest})"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.text)} <b>{escape(self.label)}</b> ({self.score:.2f})</p>"


class OneOf(Choice):
    """Exactly one class for each text."""

    main_metric = "accuracy"
    answers_with = "one class for each text"
    takes_several = False
    unknown_count_as = "these texts count as wrong"

    def understood(self, said: Labels | None) -> Labels | None:
        if said and len(said) > 1:
            raise DataError(
                "a text has several labels, and the task learns one for each",
                found=", ".join(map(repr, said)),
                fix="multi_label = true (in Python multi_label=True) learns several; or name "
                "another field",
            )
        return said or None  # an empty list: not labelled

    def imbalance(self, counts: Sequence[tuple[str, int]]) -> str:
        (often, n), (rare, few) = counts[0], counts[-1]
        if n < UNBALANCED * few:
            return ""
        return (
            f"{n:,} training texts are {often!r} and {few:,} {rare!r}; a model may score well by "
            "ignoring rare classes"
        )

    def balanced(self, counts: Sequence[int], texts: int) -> Tensor:
        """n / (C n_c), with n texts, C classes and n_c texts of the class.

        With 6 texts of one class and 2 of another: 8 / (2 * 6) = 0.67 and 8 / (2 * 2) = 2. A class
        without texts has weight 1.
        """
        return torch.tensor([texts / (len(counts) * n) if n else 1.0 for n in counts])

    def first_bias(self, counts: Sequence[int], texts: int) -> None:
        """None: the classes share the probability, and a random start is near an equal share."""

    def target(self, ids: Sequence[int | None]) -> int | None:
        (label,) = ids
        return label

    def stack(self, targets: Sequence[int | None], n_classes: int) -> Tensor:
        """`(B,)` class ids."""
        return torch.tensor([IGNORED if target is None else target for target in targets])

    def loss(
        self, outputs: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float
    ) -> Tensor:
        """Cross-entropy, the mean over labelled rows.

        With class weights too, the sum is divided by the number of rows, not by their weights, so
        that the parts of a batch add up to the whole. In balanced classes the mean weight is 1.
        Smoothing gives 1 - s + s / C to the right class and s / C to each other.
        """
        losses = F.cross_entropy(
            *(outputs, targets, weights),
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=smoothing,
        )
        return losses / (targets != IGNORED).sum()

    def probabilities(self, outputs: Tensor, owner: Tensor, n: int) -> Tensor:
        """The mean over the windows of each text."""
        # Probabilities and not logits: one window with huge logits would outvote the others.
        return merge_rows(outputs.softmax(-1), owner, n)

    def decided(
        self, text: str, scores: dict[str, float], thresholds: Mapping[str, float]
    ) -> ClassPrediction:
        return ClassPrediction(text, max(scores, key=scores.__getitem__), scores)

    def always(self, labels: Labels, text: str) -> ClassPrediction:
        return ClassPrediction(text, labels[0], {labels[0]: 1.0})

    def thresholds(
        self, right: Sequence[Labels], scores: Sequence[Mapping[str, float]]
    ) -> dict[str, float]:
        return {}

    def said(self, prediction: ClassPrediction) -> Labels:
        return (prediction.label,)

    def score(self, right: Sequence[Labels], said: Sequence[Labels]) -> dict[str, float]:
        pair = _alone(right), _alone(said)
        return {"accuracy": accuracy(*pair), "macro_f1": macro_f1(*pair)}

    def report(self, right: Sequence[Labels], said: Sequence[Labels], labels: Sequence[str]) -> str:
        """The confusion matrix, with precision, recall and F1 of each class."""
        return confusion_table(_alone(right), _alone(said), labels)

    def confusion(
        self, right: Sequence[Labels], said: Sequence[Labels], labels: Sequence[str]
    ) -> tuple[list[str], list[list[int]]]:
        return list(labels), confusion(_alone(right), _alone(said), labels)

    def file(
        self, right: Sequence[Labels], predictions: Sequence[ClassPrediction]
    ) -> tuple[str, str]:
        """Right class, predicted class, its probability, text; tabs between."""
        rows = [
            (label, said.label, f"{said.score:.4f}", said.text)
            for label, said in zip(_alone(right), predictions, strict=True)
        ]
        return "txt", tab_separated(rows)

    def mistake(self, right: Labels, said: Labels) -> str:
        return "" if right == said else "wrong class"

    def baselines(self, right: Sequence[Labels]) -> dict[str, Labels]:
        """`majority_class`: the most frequent class of these texts."""
        # Of these texts and not of training: the best that ignoring the text can do here.
        ((most, _),) = Counter(right).most_common(1)
        return {"majority_class": most}


def _alone(labels: Sequence[Labels]) -> list[str]:
    """The class of each text; "", which is never predicted, if it has none."""
    return [one[0] if one else "" for one in labels]
