"""Texts go in; one of several classes for each comes out: sentence classification."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batching import Batch
from ..data.dataset import Dataset
from ..data.examples import TextExample
from ..data.tokenizers.base import Row
from ..errors import ConfigError, DataWarning, suggest
from ..metrics import accuracy, confusion, macro_f1
from ..nn.heads import POOLINGS, SequenceClassificationHead, merge_rows
from .base import IGNORED, Mistake, Task
from .labels import choose_names, confusion_table, names_by_id, unknown_names
from .spans import excerpt

# A hidden test label in the `datasets` library: not labelled, unless training has this class.
NOBODY_SAID = "-1"
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


class ClassificationTask(Task):
    """Say which class a whole text belongs to, from one vector that pools its tokens.

    Each window of a text that is too long for one row is trained on the text's label; to predict,
    the windows' probabilities are averaged.

    Args:
        name: of the task.
        dataset: examples of class `TextExample`, some of which may have no label.
        labels: the classes; by default those of the training split. A text of another class
            counts as wrong, and a `DataWarning` names its class. The label -1 means that the text
            is not labelled, unless training has it too.
        pooling: how the tokens become one vector: `mean`, `max`, or `cls` (the first token's).
        field: the field of the records that holds the label, in `TextExample.fields`; by default
            their `label`.
        class_weights: `balanced` lets every class count the same in the loss, however rare: a text
            of class c counts n / (C n_c) times, with n texts in training, C classes and n_c texts
            of this class (King and Zeng 2001, as in scikit-learn).

    Raises:
        ConfigError: fewer than two classes, a class named twice, an unknown pooling or weighting.
    """

    kind = "classification"
    main_metric = "accuracy"
    answers_with = "one class for each text"
    example = TextExample

    def __init__(
        self,
        name: str,
        dataset: Dataset | None = None,
        labels: Sequence[str] | None = None,
        pooling: str = "mean",
        field: str = "",
        class_weights: str = "",
    ) -> None:
        super().__init__(name, dataset)
        if pooling not in POOLINGS:
            raise ConfigError(
                f"pooling of the task {name!r} is unknown",
                found=repr(pooling),
                fix=suggest(str(pooling), POOLINGS),
            )
        if class_weights not in ("", "balanced"):
            raise ConfigError(
                f"class_weights of the task {name!r} is unknown",
                found=repr(class_weights),
                fix='use "balanced", or leave it out',
            )
        self.field = field
        self.pooling = pooling
        self.class_weights = class_weights
        # Training alone decides: a class that only the test split has cannot be learned.
        examples = self.dataset.train or list(self.dataset.all())
        counts = Counter(label for e in examples if (label := self.label_of(e)) is not None)
        self.labels = choose_names(name, "label", labels, sorted(counts), any(self.dataset.all()))
        self.label_id = {label: i for i, label in enumerate(self.labels)}
        self.weights = balancing_weights([counts[label] for label in self.labels])  # (C,)
        # Each unknown class is reported once, not after every epoch.
        self.warned_of: set[str] = set()
        self._warn_of_rare_classes(counts)
        self._warn_of_unknown_classes()

    def _warn_of_rare_classes(self, counts: Counter[str]) -> None:
        if self.class_weights or not counts:
            return
        ranked = counts.most_common()
        (often, n), (rare, few) = ranked[0], ranked[-1]
        if n >= UNBALANCED * few:
            _warn(
                f"{self.name}: {n:,} training texts are {often!r} and {few:,} {rare!r}; a model "
                "may score well by ignoring rare classes. "
                f'tasks.{self.name}.class_weights = "balanced" lets every class count the same'
            )

    def _warn_of_unknown_classes(self) -> None:
        for split in ("validation", "test", "test_unseen"):
            said = Counter(map(self.label_of, self.dataset.split(split)))
            unknown = Counter({x: n for x, n in said.items() if x and not self._knows(x)})
            # GLUE's test sets say -1 for every text: that is not a class of its own.
            hidden = unknown.pop(NOBODY_SAID, 0)
            self.warned_of |= unknown.keys()
            if hidden:
                _warn(
                    f"{self.name}: {hidden:,} of {said.total():,} texts in {split} have the label "
                    f"{NOBODY_SAID}, which train does not have: they count as not labelled"
                )
            if unknown:
                names = ", ".join(f"{label!r} ({n:,})" for label, n in unknown.most_common(8))
                _warn(
                    f"{self.name}: {split} has classes that train does not have, {names}: "
                    "these texts count as wrong"
                )

    def label_of(self, example: TextExample) -> str | None:
        """The class of an example, if it has one."""
        named = getattr(example, "fields", {})  # an example of another task may have none
        # A named field never falls back on `label`, which may be about something else.
        if self.field in named or self.field not in ("", "label"):
            return named.get(self.field)
        return getattr(example, "label", None)

    def _knows(self, label: str | None) -> bool:
        return label in self.label_id

    def build_head(self, d_model: int) -> nn.Module:
        return SequenceClassificationHead(d_model, len(self.labels), self.pooling)

    def run_head(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Tensor:
        return head(hidden, batch.attention_mask)

    def is_labelled(self, example: TextExample) -> bool:
        label = self.label_of(example)
        return label is not None and (label != NOBODY_SAID or self._knows(label))

    def targets(
        self, example: TextExample, rows: list[Row], notes: Counter[str]
    ) -> list[int | None]:
        """The class of the text, at each of its windows; None for a class that is not learned."""
        return [self.label_id.get(self.label_of(example))] * len(rows)

    def collate(self, targets: Sequence[int | None], length: int) -> Tensor:
        """`(B,)` class ids, -100 where there is none."""
        return torch.tensor([IGNORED if target is None else target for target in targets])

    def loss(self, outputs: Tensor, targets: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy, the mean over labelled rows.

        With class weights too, the sum is divided by the number of rows, not by their weights, so
        that the parts of a batch add up to the whole. In balanced classes the mean weight is 1.
        """
        weights = self.weights.to(outputs.device) if self.class_weights else None
        losses = F.cross_entropy(outputs, targets, weights, ignore_index=IGNORED, reduction="sum")
        return losses / (targets != IGNORED).sum()

    def decode(self, outputs: Tensor, batch: Batch) -> list[ClassPrediction]:
        of_rows = outputs.float().softmax(-1)  # (B, C)
        # Probabilities and not logits: one window with huge logits would outvote the others.
        probabilities = merge_rows(of_rows, batch.rows, len(batch))  # (N, C)
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
        """`accuracy` and `macro_f1`; a text of a class unknown to the task counts as wrong."""
        self._check_labels(examples)
        references, predicted = self._labels_of(examples, predictions)
        return {
            "accuracy": accuracy(references, predicted),
            "macro_f1": macro_f1(references, predicted),
        }

    def report(
        self, examples: Sequence[TextExample], predictions: Sequence[ClassPrediction]
    ) -> str:
        """The confusion matrix, with precision, recall and F1 of each class."""
        return confusion_table(*self._labels_of(examples, predictions), self.labels)

    def confusion(
        self, examples: Sequence[TextExample], predictions: Sequence[ClassPrediction]
    ) -> tuple[list[str], list[list[int]]]:
        """Texts by class."""
        return self.labels, confusion(*self._labels_of(examples, predictions), self.labels)

    def prediction_file(
        self, examples: Sequence[TextExample], predictions: Sequence[ClassPrediction]
    ) -> tuple[str, str]:
        """One line per text: right class, predicted class, its probability, text; tabs between."""
        pairs = zip(*self._labels_of(examples, predictions), strict=True)
        rows = [
            (right, said, f"{prediction.score:.4f}", prediction.text)
            for (right, said), prediction in zip(pairs, predictions, strict=True)
        ]
        # A tab or a line break inside a text would look like the next cell or row.
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
        return list(map(self._class_of, examples)), [p.label for p in predictions]

    def _class_of(self, example: TextExample) -> str:
        """The class of a labelled text; for any other "", which is never predicted."""
        return self.label_of(example) or ""

    def _check_labels(self, examples: Sequence[TextExample]) -> None:
        """Warn about unknown labels; raise DataError if none is known."""
        unknown = Counter(x for x in map(self._class_of, examples) if not self._knows(x))
        if not unknown:
            return
        names = ", ".join(f"{label!r} ({n:,})" for label, n in unknown.most_common(8))
        # If none is known, it is the wrong file, and a score of 0 would only hide that.
        if unknown.total() == len(examples):
            raise unknown_names(self.name, "label", names, self.labels)
        if set(unknown) - self.warned_of:
            self.warned_of |= set(unknown)
            _warn(f"{self.name}: classes that the task does not know count as wrong: {names}")

    def baselines(self, examples: Sequence[TextExample]) -> dict[str, list[ClassPrediction]]:
        """`majority_class`: the most frequent class of these examples, whatever the text says."""
        # Of these examples and not of training: the best that ignoring the text can do here.
        ((label, _),) = Counter(map(self._class_of, examples)).most_common(1)
        return {"majority_class": [ClassPrediction(e.text, label, {label: 1.0}) for e in examples]}

    def settings(self) -> dict[str, Any]:
        return {
            "id2label": dict(enumerate(self.labels)),
            "label2id": self.label_id,
            "pooling": self.pooling,
            "field": self.field,
        }

    @classmethod
    def from_settings(cls, name: str, settings: dict[str, Any]) -> ClassificationTask:
        # Models saved by older versions lack some, and used what are now the defaults.
        rest = {k: v for k, v in settings.items() if k not in ("id2label", "label2id")}
        return cls(name, labels=names_by_id(settings["id2label"]), **rest)


def balancing_weights(counts: Sequence[int]) -> Tensor:
    """`(C,)`, the weight of each class's texts that makes all classes count the same: n / (C n_c).

    With 6 texts of one class and 2 of another: 8 / (2 * 6) = 0.67 and 8 / (2 * 2) = 2. A class
    without texts has weight 1.
    """
    total, many = sum(counts), len(counts)
    return torch.tensor([total / (many * n) if n else 1.0 for n in counts])


def _warn(message: str) -> None:
    warnings.warn(message, DataWarning, stacklevel=4)
