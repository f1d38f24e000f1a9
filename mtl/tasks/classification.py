"""Sentence classification: one of several classes for a whole text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batching import Batch
from ..data.examples import Dataset, TextExample
from ..data.tokenization import Row
from ..errors import ConfigError, DataError, suggest
from ..heads import POOLINGS, SequenceClassificationHead, merge_rows
from ..metrics import accuracy, class_scores, confusion, macro_f1
from ..tables import format_table
from .base import IGNORED, Mistake, Task, check_names
from .spans import excerpt


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


class ClassificationTask(Task):
    """Say which class a whole text belongs to, from one vector that pools its tokens.

    Each window of a text that is too long for one row is trained on the text's label; to predict,
    the windows' probabilities are averaged.

    Args:
        name: of the task.
        dataset: of `TextExample`s, of which some may have no label.
        labels: the classes; by default those of all splits.
        pooling: how the tokens become one vector: `mean`, `max`, or `cls` (the first token's).

    Raises:
        ConfigError: fewer than two classes, a class named twice, an unknown pooling.
    """

    kind = "classification"
    main_metric = "accuracy"
    answers_with = "one class a text"
    example = TextExample

    def __init__(
        self,
        name: str,
        dataset: Dataset | None = None,
        labels: Sequence[str] | None = None,
        pooling: str = "mean",
    ) -> None:
        super().__init__(name, dataset)
        told = sorted({e.label for e in self.dataset.all() if self.is_labelled(e)})
        if labels is None:
            labels = told
            if len(told) < 2 and any(self.dataset.all()):
                raise DataError(
                    f"the task {name!r} learns from labels, and needs at least two",
                    found=f"the only label {told[0]!r}" if told else "no example has a label",
                    fix="label the examples, or leave the task out",
                )
        if not isinstance(labels, list | tuple) or not all(isinstance(x, str) for x in labels):
            raise ConfigError(
                f"labels of the task {name!r} must be a list of names",
                found=repr(labels),
                fix='for example ["sports", "politics"]',
            )
        check_names(name, "label", labels, told)
        if len(labels) < 2:
            raise ConfigError(
                f"the task {name!r} needs at least two classes",
                found=", ".join(map(repr, labels)) or "none",
                fix="give labels=[...], or a dataset whose examples have labels",
            )
        if pooling not in POOLINGS:
            raise ConfigError(
                f"pooling of the task {name!r} is unknown",
                found=repr(pooling),
                fix=suggest(str(pooling), POOLINGS),
            )
        self.labels = list(labels)
        self.label_id = {label: i for i, label in enumerate(self.labels)}
        self.pooling = pooling

    def build_head(self, d_model: int) -> nn.Module:
        return SequenceClassificationHead(d_model, len(self.labels), self.pooling)

    def run_head(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Tensor:
        return head(hidden, batch.attention_mask)

    def is_labelled(self, example: TextExample) -> bool:
        return getattr(example, "label", None) is not None

    def targets(
        self, example: TextExample, rows: list[Row], notes: Counter[str]
    ) -> list[int | None]:
        """The class of the text, at each of its windows."""
        if not self.is_labelled(example):
            return [None] * len(rows)
        self._check_labels([example])
        return [self.label_id[example.label]] * len(rows)

    def collate(self, targets: Sequence[int | None], length: int) -> Tensor:
        """`(B,)` class ids, -100 where nobody said."""
        return torch.tensor([IGNORED if target is None else target for target in targets])

    def loss(self, outputs: Tensor, targets: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy, the mean over labelled rows."""
        return F.cross_entropy(outputs, targets, ignore_index=IGNORED)

    def decode(self, outputs: Tensor, batch: Batch) -> list[ClassPrediction]:
        probabilities = merge_rows(outputs.float().softmax(-1), batch.rows, len(batch))  # (N, C)
        return [
            ClassPrediction(
                item.rows[0].text.text,
                self.labels[max(range(len(row)), key=row.__getitem__)],
                dict(zip(self.labels, row, strict=True)),
            )
            for item, row in zip(batch.items, probabilities.tolist(), strict=True)
        ]

    def score(
        self, examples: Sequence[TextExample], predictions: Sequence[ClassPrediction]
    ) -> dict[str, float]:
        """`accuracy` and `macro_f1`."""
        references, predicted = self._labels_of(examples, predictions)
        return {
            "accuracy": accuracy(references, predicted),
            "macro_f1": macro_f1(references, predicted),
        }

    def report(
        self, examples: Sequence[TextExample], predictions: Sequence[ClassPrediction]
    ) -> str:
        """The confusion matrix, with precision, recall and F1 of each class."""
        scores = class_scores(*self._labels_of(examples, predictions))
        none = dict.fromkeys(("precision", "recall", "f1"), 0.0)
        labels, counts = self.confusion(examples, predictions)
        rows = [
            [label, *row, *scores.get(label, none).values()]
            for label, row in zip(labels, counts, strict=True)
        ]
        return format_table(["right \\ predicted", *labels, "precision", "recall", "F1"], rows)

    def confusion(
        self, examples: Sequence[TextExample], predictions: Sequence[ClassPrediction]
    ) -> tuple[list[str], list[list[int]]]:
        """Texts by class."""
        return self.labels, confusion(*self._labels_of(examples, predictions), self.labels)

    def prediction_file(
        self, examples: Sequence[TextExample], predictions: Sequence[ClassPrediction]
    ) -> tuple[str, str]:
        """One line a text: right class, predicted class, its probability, text; between tabs."""
        pairs = zip(*self._labels_of(examples, predictions), strict=True)
        rows = [
            (right, said, f"{prediction.score:.4f}", prediction.text)
            for (right, said), prediction in zip(pairs, predictions, strict=True)
        ]
        lines = ["\t".join(" ".join(part.split()) for part in row) for row in rows]
        return "txt", "".join(f"{line}\n" for line in lines)

    def mistakes(
        self, examples: Sequence[TextExample], predictions: Sequence[ClassPrediction]
    ) -> list[Mistake]:
        """Texts of another class than predicted (`wrong class`)."""
        pairs = zip(*self._labels_of(examples, predictions), strict=True)
        return [
            Mistake("wrong class", f"text {n}", excerpt(example.text, 0, 160), right, said)
            for n, (example, (right, said)) in enumerate(zip(examples, pairs, strict=True), 1)
            if right != said
        ]

    def _labels_of(
        self, examples: Sequence[TextExample], predictions: Sequence[ClassPrediction]
    ) -> tuple[list[str], list[str]]:
        self._check_labels(examples)
        return [e.label for e in examples], [p.label for p in predictions]

    def _check_labels(self, examples: Sequence[TextExample]) -> None:
        unknown = sorted({e.label for e in examples} - self.label_id.keys())
        if unknown:
            raise DataError(
                f"the task {self.name!r} does not know these labels",
                found=", ".join(map(repr, unknown)),
                fix=f"it was trained on {', '.join(map(repr, self.labels))}; rename the labels in "
                "the file, or train on data that has them all",
            )

    def baselines(self, examples: Sequence[TextExample]) -> dict[str, list[ClassPrediction]]:
        """`majority_class`: the most frequent class of these examples, whatever the text says."""
        ((label, _),) = Counter(e.label for e in examples).most_common(1)
        return {"majority_class": [ClassPrediction(e.text, label, {label: 1.0}) for e in examples]}

    def settings(self) -> dict[str, Any]:
        return {
            "id2label": dict(enumerate(self.labels)),
            "label2id": self.label_id,
            "pooling": self.pooling,
        }

    @classmethod
    def from_settings(cls, name: str, settings: dict[str, Any]) -> ClassificationTask:
        by_id = sorted(settings["id2label"].items(), key=lambda pair: int(pair[0]))
        return cls(name, labels=[label for _, label in by_id], pooling=settings["pooling"])
