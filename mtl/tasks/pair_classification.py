"""Pairs of texts go in; one of several classes for each comes out: inference, paraphrases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from torch import Tensor, nn

from ..data.batching import Batch
from ..data.dataset import Dataset
from ..data.examples import PairExample
from ..nn.heads import COMPARE, PAIR_POOLINGS
from ..tables import tab_separated
from .classification import ClassificationTask
from .one_of import ClassPrediction
from .pairs import PairTask, pair_head, pair_in_short, run_pair_head, with_other_first


@dataclass(frozen=True)
class PairClassPrediction(ClassPrediction):
    """The most probable class of two texts, and the probability of every class."""

    text_pair: str = ""

    def _repr_html_(self) -> str:
        texts = f"{escape(self.text)} | {escape(self.text_pair)}"
        return f"<p>{texts} <b>{escape(self.label)}</b> ({self.score:.2f})</p>"


class PairClassificationTask(PairTask, ClassificationTask):
    """Say which class two texts belong to, such as whether the first implies the second.

    The encoder reads both in one row, so that each word of one can look at the words of the other
    (Devlin et al. 2019, "BERT", section 4.1; the classes entailment, neutral and contradiction are
    those of Bowman et al. 2015, "A large annotated corpus for learning natural language
    inference"). Where the second text is long, each window holds all of the first and part of the
    second; the windows' probabilities are averaged.

    Args:
        name: of the task.
        dataset: examples of class `PairExample`, some of which may have no label.
        labels, class_weights: as in `ClassificationTask`.
        pooling: how the tokens become one vector: `compare` (the means of both texts, their
            difference and product; see `PairHead`), or of all tokens `mean`, `max` or `cls`.

    Raises:
        ConfigError: as `ClassificationTask`.
    """

    kind = "pair-classification"
    answers_with = "one class for each pair of texts"
    example = PairExample
    text_names = ("premise", "hypothesis")
    poolings = PAIR_POOLINGS

    def __init__(
        self,
        name: str,
        dataset: Dataset | None = None,
        labels: Sequence[str] | None = None,
        pooling: str = COMPARE,
        class_weights: str = "",
    ) -> None:
        super().__init__(name, dataset, labels, pooling, class_weights=class_weights)

    def build_head(self, d_model: int) -> nn.Module:
        return pair_head(d_model, len(self.labels), self.pooling)

    def run_head(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Tensor:
        return run_pair_head(head, hidden, batch)

    def decode(self, outputs: Tensor, batch: Batch) -> list[ClassPrediction]:
        found = super().decode(outputs, batch)
        texts = [self.inputs_of(item.example)[0] for item in batch.items]
        return [
            PairClassPrediction(first, said.label, said.scores, second or "")
            for (first, second), said in zip(texts, found, strict=True)
        ]

    def decide(self, prediction: Any) -> Any:
        return prediction  # always the most probable class

    def controls(self, examples: Sequence[Any]) -> dict[str, list[Any]]:
        """`model_with_other_premise`: what the hypothesis alone gives away (see `PairTask`)."""
        return with_other_first(examples, "first", self.text_names[0])

    def prediction_file(
        self, examples: Sequence[Any], predictions: Sequence[ClassPrediction]
    ) -> tuple[str, str]:
        """One line per pair: right class, predicted class, its probability, and both texts."""
        return "txt", tab_separated(
            (e.label or "", said.label, f"{said.score:.4f}", e.first, e.second)
            for e, said in zip(examples, predictions, strict=True)
        )

    def shown(self, example: Any) -> str:
        """Both texts, cut short."""
        return pair_in_short(example.first, example.second)

    def settings(self) -> dict[str, Any]:
        kept = super().settings()
        return {key: kept[key] for key in ("id2label", "label2id", "pooling")}
