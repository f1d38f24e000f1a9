"""Texts or pairs go in; classes or a number come out of AutoModelForSequenceClassification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from torch import Tensor

import mtl
from mtl.tasks.any_of import LabelsPrediction
from mtl.tasks.classification import ClassPrediction
from mtl.tasks.regression import ScorePrediction

from .plain import PlainTask, Row


def texts_of(example: Any) -> tuple[str, ...]:
    """The text of an example, or both."""
    if isinstance(example, mtl.PairExample):
        return example.first, example.second
    return (example.text,)


class Texts(PlainTask):
    """A text, or a pair, in one row; what is too long for it is cut off."""

    n_outputs = 1
    problem = ""

    def build_model(self, checkpoint: str) -> Any:
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification.from_pretrained(
            checkpoint, num_labels=self.n_outputs, problem_type=self.problem
        )

    def rows(self, examples: Sequence[Any], training: bool = False) -> list[Row]:
        texts = [texts_of(example) for example in examples]
        encoded = self.tokenizer(
            *map(list, zip(*texts, strict=True)), truncation=True, max_length=self.case.max_length
        )
        rows = []
        for i, example in enumerate(examples):
            inputs = {name: values[i] for name, values in encoded.items()}
            if training:
                inputs["labels"] = self.target(example)
            rows.append(Row(inputs, i))
        return rows

    def target(self, example: Any) -> Any:
        """What the model calls its labels, for one text."""
        raise NotImplementedError

    def prediction(self, example: Any, logits: Tensor) -> Any:
        """What our task would return for the logits of a text."""
        raise NotImplementedError

    def decode(
        self, examples: Sequence[Any], rows: Sequence[Row], outputs: list[Tensor]
    ) -> list[Any]:
        return [self.prediction(*both) for both in zip(examples, outputs, strict=True)]


class OneLabel(Texts):
    """One class for each text, or pair."""

    problem = "single_label_classification"

    @property
    def n_outputs(self) -> int:
        return len(self.task.labels)

    def target(self, example: Any) -> Any:
        (target,) = self.task.targets(example, [None], Counter())  # as of a text in one row
        return target

    def prediction(self, example: Any, logits: Tensor) -> Any:
        scores = dict(zip(self.task.labels, logits.softmax(-1).tolist(), strict=True))
        return ClassPrediction(texts_of(example)[0], max(scores, key=scores.__getitem__), scores)


class SeveralLabels(OneLabel):
    """Any number of labels for each text."""

    problem = "multi_label_classification"

    def target(self, example: Any) -> list[float]:
        has = super().target(example)
        return [float(label in has) for label in range(self.n_outputs)]

    def prediction(self, example: Any, logits: Tensor) -> Any:
        """The probabilities; which labels they mean is decided by the threshold."""
        scores = dict(zip(self.task.labels, logits.sigmoid().tolist(), strict=True))
        return LabelsPrediction(texts_of(example)[0], (), scores)


class Score(Texts):
    """A number for each text, or pair, learned as it is in the file."""

    problem = "regression"

    def target(self, example: Any) -> float:
        return float(self.task.score_of(example))

    def prediction(self, example: Any, logits: Tensor) -> Any:
        return ScorePrediction(texts_of(example)[0], logits.item())
