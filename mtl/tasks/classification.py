"""Texts go in; the class of each, or its labels, come out: sentence classification."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..data.batching import Batch
from ..data.dataset import Dataset
from ..data.examples import TextExample, labels_in
from ..data.tokenizers.base import Row
from ..errors import ConfigError, DataError, DataWarning
from ..nn.heads import POOLINGS, SequenceClassificationHead, check_pooling
from .any_of import AnyOf, LabelsPrediction
from .base import Mistake, Task
from .choice import Labels
from .labels import choose_names, names_by_id, unknown_names
from .one_of import ClassPrediction, OneOf
from .spans import excerpt

# A hidden test label in the `datasets` library: not labelled, unless training has this class.
NOBODY_SAID = "-1"


class ClassificationTask(Task):
    """Say which class a whole text belongs to, or which labels it has, from one vector that pools
    its tokens.

    Each window of a text that is too long for one row is trained on the text's labels; to predict,
    the windows' probabilities are averaged. Where a text may have several labels, each has the
    probability of the window that is surest of it.

    Args:
        name: of the task.
        dataset: examples of class `TextExample`, some of which may have no label.
        labels: the classes; by default those of the training split. A text of another class
            counts as wrong, and a `DataWarning` names its class. The label -1 means that the text
            is not labelled, unless training has it too.
        pooling: how the tokens become one vector: `mean`, `max`, or `cls` (the first token's).
        field: the field of the records that holds the label, in `TextExample.fields`; by default
            their `label` or `labels`.
        class_weights: `balanced` lets every class count the same in the loss, however rare: a text
            of class c counts n / (C n_c) times, with n texts in training, C classes and n_c texts
            of this class (King and Zeng 2001, as in scikit-learn). With several labels per text,
            the texts that have label c count (n - n_c) / n_c times, at most 10.
        multi_label: whether a text may have several labels, or none (Tsoumakas and Katakis 2007,
            "Multi-label classification", binary relevance). The probability at which each label is
            given is chosen on validation, and saved with the model.
        label_smoothing: the share of the target that is spread evenly over all outcomes, from 0 to
            below 1 (Szegedy et al. 2016, "Rethinking the Inception architecture", section 7).

    Raises:
        ConfigError: fewer than two classes, a class named twice, an unknown pooling or weighting,
            a smoothing that is not from 0 to below 1.
        DataError: a text has several labels, and `multi_label` is not set.
    """

    kind = "classification"
    main_metric = OneOf.main_metric
    answers_with = OneOf.answers_with
    example = TextExample
    reads_places = False
    poolings: ClassVar[tuple[str, ...]] = POOLINGS

    def __init__(
        self,
        name: str,
        dataset: Dataset | None = None,
        labels: Sequence[str] | None = None,
        pooling: str = "mean",
        field: str = "",
        class_weights: str = "",
        multi_label: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(name, dataset)
        check_pooling(pooling, f"pooling of the task {name!r}", self.poolings)
        _check_options(name, class_weights, label_smoothing)
        self.field = field
        self.pooling = pooling
        self.class_weights = class_weights
        self.label_smoothing = label_smoothing
        self.choice = AnyOf() if multi_label else OneOf()
        if self.main_metric == OneOf.main_metric:  # a subclass may name another
            self.main_metric = self.choice.main_metric
        self.answers_with = self.choice.answers_with
        # Training alone decides: a class that only the test split has cannot be learned.
        train = self.dataset.train
        counts, n_known = self._counts(*([train] if train else self.dataset.splits()))
        self.labels = choose_names(name, "label", labels, sorted(counts), any(self.dataset.all()))
        self.label_id = {label: i for i, label in enumerate(self.labels)}
        found = [counts[label] for label in self.labels], n_known
        self.weights = self.choice.balanced(*found)  # (C,)
        self.first_bias = self.choice.first_bias(*found)
        # Each unknown class is reported once, not after every epoch.
        self.warned_of: set[str] = set()
        if counts and not class_weights and (rare := self.choice.imbalance(counts.most_common())):
            key = f'tasks.{name}.class_weights = "balanced"'
            _warn(f"{name}: {rare}. {key} lets every class count the same")
        self._warn_of_unknown_classes()

    def _counts(self, *splits: Sequence[Any]) -> tuple[Counter[str], int]:
        """How often each label occurs, and how many texts are labelled."""

        def answer() -> tuple[dict[str, int], int]:
            counts: Counter[str] = Counter()
            n = 0
            for example in chain.from_iterable(splits):
                said = self.labels_of(example)
                n += said is not None
                counts.update(said or ())
            return counts, n

        question = f"labels in {self.field!r}, {type(self.choice).__name__}"
        counts, n = self.remembered(question, answer, *splits)
        return Counter(counts), n

    def _warn_of_unknown_classes(self) -> None:
        for split in ("validation", "test", "test_unseen"):
            counts, n_known = self._counts(self.dataset.split(split))
            unknown = Counter({x: n for x, n in counts.items() if x not in self.label_id})
            # GLUE's test sets say -1 for every text: that is not a class of its own.
            hidden = unknown.pop(NOBODY_SAID, 0)
            self.warned_of |= unknown.keys()
            if hidden:
                _warn(
                    f"{self.name}: {hidden:,} of {n_known:,} texts in {split} have the label "
                    f"{NOBODY_SAID}, which train does not have: they count as not labelled"
                )
            if unknown:
                names = ", ".join(f"{label!r} ({n:,})" for label, n in unknown.most_common(8))
                _warn(
                    f"{self.name}: {split} has classes that train does not have, {names}: "
                    f"{self.choice.unknown_count_as}"
                )

    def labels_of(self, example: TextExample) -> Labels | None:
        """The labels of an example, none of them included; None if nobody labelled it.

        Raises:
            DataError: several labels, and the task learns one for each text.
        """
        try:
            return self.choice.understood(labels_in(example, self.field))
        except DataError as error:
            raise error.at(what=f"{self.name}: ") from None

    def build_head(self, d_model: int) -> nn.Module:
        head = SequenceClassificationHead(d_model, len(self.labels), self.pooling)
        if self.first_bias is not None:
            with torch.no_grad():
                head.classifier.bias.copy_(self.first_bias)
        return head

    def run_head(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Tensor:
        return head(hidden, batch.attention_mask)

    def is_labelled(self, example: TextExample) -> bool:
        said = self.labels_of(example)
        return said is not None and (said != (NOBODY_SAID,) or NOBODY_SAID in self.label_id)

    def targets(self, example: TextExample, rows: list[Row], notes: Counter[str]) -> list[Any]:
        """The labels of the text, at each of its windows, without those that are not learned."""
        said = self.labels_of(example) if self.is_labelled(example) else None
        target = None if said is None else self.choice.target([self.label_id.get(x) for x in said])
        return [target] * len(rows)

    def collate(self, targets: Sequence[Any], length: int) -> Tensor:
        """`(B,)` class ids, or `(B, C)` of 0 and 1; -100 where there is no target."""
        return self.choice.stack(targets, len(self.labels))

    def loss(self, outputs: Tensor, targets: Tensor, batch: Batch) -> Tensor:
        """The mean over labelled rows of the cross-entropy, or of that of each label."""
        weights = self.weights.to(outputs.device) if self.class_weights else None
        return self.choice.loss(outputs, targets, weights, self.label_smoothing)

    def decode(self, outputs: Tensor, batch: Batch) -> list[Any]:
        scores = self.choice.probabilities(outputs.float(), batch.rows, len(batch))  # (N, C)
        return [
            self._decided(item.rows[0].text.text, dict(zip(self.labels, row, strict=True)))
            for item, row in zip(batch.items, scores.tolist(), strict=True)
        ]

    def _decided(self, text: str, scores: dict[str, float]) -> ClassPrediction | LabelsPrediction:
        return self.choice.decided(text, scores, self.thresholds)

    def choose_thresholds(
        self, examples: Sequence[TextExample], predictions: Sequence[Any]
    ) -> dict[str, float]:
        """The least probability at which each label is given, if a text may have several."""
        return self.choice.thresholds(self._right(examples), [p.scores for p in predictions])

    def decide(self, prediction: Any) -> Any:
        return self._decided(prediction.text, prediction.scores)

    def score(
        self, examples: Sequence[TextExample], predictions: Sequence[Any]
    ) -> dict[str, float]:
        """`accuracy` and `macro_f1`; of several labels `micro_f1`, `macro_f1` (each label counts
        the same) and `subset_accuracy` (all labels of a text are right).

        A class unknown to the task counts as wrong.
        """
        self._check_labels(examples)
        return self.choice.score(*self._labels_of(examples, predictions))

    def report(self, examples: Sequence[TextExample], predictions: Sequence[Any]) -> str:
        """Precision, recall and F1 of each label, beside the confusion matrix if there is one."""
        return self.choice.report(*self._labels_of(examples, predictions), self.labels)

    def confusion(
        self, examples: Sequence[TextExample], predictions: Sequence[Any]
    ) -> tuple[list[str], list[list[int]]] | None:
        """Texts by class; None for several labels, which are not mistaken for each other."""
        return self.choice.confusion(*self._labels_of(examples, predictions), self.labels)

    def prediction_file(
        self, examples: Sequence[TextExample], predictions: Sequence[Any]
    ) -> tuple[str, str]:
        """One line per text: right class, predicted class, its probability, text, with tabs
        between; of several labels, JSON with text, labels, predicted and scores.
        """
        return self.choice.file(self._right(examples), predictions)

    def mistakes(
        self, examples: Sequence[TextExample], predictions: Sequence[Any]
    ) -> list[Mistake]:
        """Texts whose labels are not exactly right (`wrong class`; `missed labels`, `invented
        labels`, `other labels` for both).
        """
        pairs = zip(*self._labels_of(examples, predictions), strict=True)
        return [
            Mistake(kind, f"text {n}", self.shown(e), ", ".join(right), ", ".join(said))
            for n, (e, (right, said)) in enumerate(zip(examples, pairs, strict=True), 1)
            if (kind := self.choice.mistake(right, said))
        ]

    def shown(self, example: Any) -> str:
        """The text of an example, cut short."""
        return excerpt(example.text, 0, 160)

    def _right(self, examples: Sequence[TextExample]) -> list[Labels]:
        return [self.labels_of(example) or () for example in examples]

    def _labels_of(
        self, examples: Sequence[TextExample], predictions: Sequence[Any]
    ) -> tuple[list[Labels], list[Labels]]:
        return self._right(examples), list(map(self.choice.said, predictions))

    def _check_labels(self, examples: Sequence[TextExample]) -> None:
        """Warn about unknown labels; raise DataError if none is known."""
        counts = Counter(label for said in self._right(examples) for label in said)
        unknown = Counter({x: n for x, n in counts.items() if x not in self.label_id})
        if not unknown:
            return
        names = ", ".join(f"{label!r} ({n:,})" for label, n in unknown.most_common(8))
        # If none is known, it is the wrong file, and a score of 0 would only hide that.
        if len(unknown) == len(counts):
            raise unknown_names(self.name, "label", names, self.labels)
        if set(unknown) - self.warned_of:
            self.warned_of |= set(unknown)
            _warn(f"{self.name}: classes that the task does not know count as wrong: {names}")

    def baselines(self, examples: Sequence[TextExample]) -> dict[str, list[Any]]:
        """What is most frequent among these examples, whatever the text says: `majority_class`; or
        `majority_labels` and `most_frequent_label`.
        """
        return {
            name: [self.choice.always(labels, self.shown(example)) for example in examples]
            for name, labels in self.choice.baselines(self._right(examples)).items()
        }

    def settings(self) -> dict[str, Any]:
        return {
            "id2label": dict(enumerate(self.labels)),
            "label2id": self.label_id,
            "pooling": self.pooling,
            "field": self.field,
            "multi_label": self.choice.takes_several,
        }

    @classmethod
    def from_settings(cls, name: str, settings: dict[str, Any]) -> ClassificationTask:
        # Models saved by older versions lack some, and used what are now the defaults.
        rest = {k: v for k, v in settings.items() if k not in ("id2label", "label2id")}
        return cls(name, labels=names_by_id(settings["id2label"]), **rest)


def _check_options(name: str, class_weights: str, label_smoothing: float) -> None:
    """Raise ConfigError for a value that an option of the task cannot have."""
    if class_weights not in ("", "balanced"):
        raise ConfigError(
            f"class_weights of the task {name!r} is unknown",
            found=repr(class_weights),
            fix='use "balanced", or leave it out',
        )
    if not 0 <= label_smoothing < 1:
        raise ConfigError(
            f"label_smoothing of the task {name!r} must be at least 0 and below 1",
            found=repr(label_smoothing),
            fix="for example 0.1",
        )


def _warn(message: str) -> None:
    warnings.warn(message, DataWarning, stacklevel=4)
