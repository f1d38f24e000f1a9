"""Texts or pairs of texts go in; a number for each comes out, such as how similar two texts are."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor, nn

from ..data.batching import Batch
from ..data.dataset import Dataset
from ..data.examples import Input, PairExample, TextExample
from ..data.stored import kinds_of
from ..data.tokenizers.base import Row
from ..data.words import split_words
from ..errors import DataError
from ..metrics import mean, pearson, spearman
from ..nn.heads import COMPARE, PAIR_POOLINGS, POOLINGS, check_pooling, merge_rows
from ..tables import format_table, tab_separated
from .base import IGNORED, Mistake, Task
from .pairs import both_texts, pair_head, pair_in_short, run_pair_head, with_other_first

BANDS = 5  # of right scores, in the report


@dataclass(frozen=True)
class ScorePrediction:
    """The score of a text, or of two, on the scale of the training data."""

    text: str
    score: float
    text_pair: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {"score": self.score}

    def __str__(self) -> str:
        return f"{self.score:.2f}"

    def _repr_html_(self) -> str:
        texts = " | ".join(escape(text) for text in (self.text, self.text_pair) if text is not None)
        return f"<p>{texts} <b>{self.score:.2f}</b></p>"


class RegressionTask(Task):
    """Learn the score of a text, such as its stars, or of two texts, such as their similarity.

    One linear layer on the pooled tokens gives one number; two texts are read in one row (Devlin et
    al. 2019, "BERT", section 4.1, on STS-B). It learns, by squared error, scores less their mean
    and divided by their standard deviation, so that a fresh head begins at their scale whatever it
    is; predictions are on the scale of the data. The windows of a long text are averaged.

    Args:
        name: of the task.
        dataset: examples of class `TextExample`, or of `PairExample`, whose `raw_score` it learns;
            some may have no score. Which of the two is saved with the model.
        field: which of a text's `scores` to learn; `score` by default.
        pooling: how the tokens become one vector: `mean`, `max`, or `cls` (the first token's); for
            pairs also `compare` (see `PairHead`), which is then the default.

    Attributes:
        mean, deviation: of the scores in training; saved with the model.

    Raises:
        DataError: training examples without two different scores.
        ConfigError: an unknown pooling.
    """

    kind = "regression"
    main_metric = "spearman"
    answers_with = "one score"
    example = (TextExample, PairExample)
    reads_places = False
    text_names = ("sentence1", "sentence2")
    field_holds = "scores"
    usual_field = "score"

    def __init__(
        self,
        name: str,
        dataset: Dataset | None = None,
        field: str = usual_field,
        pooling: str = "",
    ) -> None:
        super().__init__(name, dataset)
        self.field = field
        kinds = [kind for split in self.dataset.splits() for kind in kinds_of(split)]
        self.reads_pairs = any(issubclass(kind, PairExample) for kind in kinds)
        self.pooling = pooling or (COMPARE if self.reads_pairs else "mean")
        known = PAIR_POOLINGS if self.reads_pairs else POOLINGS
        check_pooling(self.pooling, f"pooling of the task {name!r}", known)
        train = self.dataset.train
        several, self.mean, self.deviation = self.remembered(
            f"scores in {field!r}", self._scores_in_training, train
        )
        if train and several < 2:
            raise DataError(
                f"the task {name!r} learns from scores, and needs at least two different ones",
                found=f"the only score {self.mean:g}" if several else "no example has a score",
                fix=f"score the examples; where scores are in another field than {field!r}, set "
                f'tasks.{name}.field, and in Python also mtl.read(PATH, scores=["FIELD"])',
            )

    def _scores_in_training(self) -> tuple[int, float, float]:
        """How many different scores there are, their mean, and their standard deviation."""
        found = (self.score_of(example) for example in self.dataset.train)
        scores = [score for score in found if score is not None]
        return len(set(scores)), mean(scores), statistics.pstdev(scores) if scores else 1.0

    def score_of(self, example: Any) -> float | None:
        """The score of an example on the scale of its file, if it has one."""
        if isinstance(example, PairExample):
            return example.raw_score
        return getattr(example, "scores", {}).get(self.field)

    def inputs_of(self, example: Any) -> list[Input]:
        return both_texts(example)

    def build_head(self, d_model: int) -> nn.Module:
        return pair_head(d_model, 1, self.pooling)

    def run_head(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Tensor:
        return run_pair_head(head, hidden, batch)  # (B, 1)

    def is_labelled(self, example: Any) -> bool:
        return self.score_of(example) is not None

    def targets(self, example: Any, rows: list[Row], notes: Counter[str]) -> list[float | None]:
        """The score, in standard deviations from the mean, at each of its windows."""
        score = self.score_of(example)
        target = None if score is None else (score - self.mean) / self.deviation
        return [target] * len(rows)

    def collate(self, targets: Sequence[float | None], length: int) -> Tensor:
        """`(B,)`, in standard deviations; -100 where there is no score."""
        # No score is exactly a hundred deviations below the mean.
        return torch.tensor([float(IGNORED) if target is None else target for target in targets])

    def loss(self, outputs: Tensor, targets: Tensor, batch: Batch) -> Tensor:
        """Mean squared error of the rows that have a score."""
        known = targets != IGNORED
        return (outputs[known, 0] - targets[known]).square().mean()

    def decode(self, outputs: Tensor, batch: Batch) -> list[ScorePrediction]:
        merged = merge_rows(outputs.float(), batch.rows, len(batch))[:, 0]  # (B, 1) -> (N,)
        texts = [self.inputs_of(item.example)[0] for item in batch.items]
        return [
            ScorePrediction(first, self.mean + self.deviation * number, second)
            for (first, second), number in zip(texts, merged.tolist(), strict=True)
        ]

    def score(
        self, examples: Sequence[Any], predictions: Sequence[ScorePrediction]
    ) -> dict[str, float]:
        """`spearman` and `pearson`: the correlations with the right scores; 0 where undefined."""
        right, said = self._numbers(examples, predictions)
        return {"spearman": spearman(right, said), "pearson": pearson(right, said)}

    def report(self, examples: Sequence[Any], predictions: Sequence[ScorePrediction]) -> str:
        """Bands of right scores, equally wide: the mean prediction and the mean error in each."""
        pairs = list(zip(*self._numbers(examples, predictions), strict=True))
        low, high = min(right for right, _ in pairs), max(right for right, _ in pairs)
        width = (high - low) / BANDS or 1.0
        bands: dict[int, list[tuple[float, float]]] = {}
        for right, said in pairs:
            band = min(BANDS - 1, int((right - low) / width))  # the highest score closes the last
            bands.setdefault(band, []).append((right, said))
        rows = [
            [f"{low + band * width:.2f} to {low + (band + 1) * width:.2f}", *_row(bands[band])]
            for band in sorted(bands)
        ]
        header = ["right score", "count", "mean right", "mean predicted", "mean absolute error"]
        return format_table(header, [*rows, ["all", *_row(pairs)]])

    def prediction_file(
        self, examples: Sequence[Any], predictions: Sequence[ScorePrediction]
    ) -> tuple[str, str]:
        """One line for each: right score, predicted score, text or both texts; tabs between."""
        rows = zip(*self._numbers(examples, predictions), predictions, strict=True)
        return "txt", tab_separated(
            (f"{right:g}", f"{said:.4f}", p.text, *([p.text_pair] if p.text_pair else []))
            for right, said, p in rows
        )

    def mistakes(
        self, examples: Sequence[Any], predictions: Sequence[ScorePrediction]
    ) -> list[Mistake]:
        """What is off by more than a standard deviation of the scores, the worst first."""
        numbers = enumerate(zip(*self._numbers(examples, predictions), strict=True), 1)
        worst = sorted(numbers, key=lambda one: -abs(one[1][0] - one[1][1]))
        kind = f"off by more than {self.deviation:.2f}"
        return [
            Mistake(kind, f"example {n}", self._shown(examples[n - 1]), f"{right:g}", f"{said:.2f}")
            for n, (right, said) in worst
            if abs(right - said) > self.deviation
        ]

    def baselines(self, examples: Sequence[Any]) -> dict[str, list[ScorePrediction]]:
        """`mean_score` of training, for every text; for pairs also `word_overlap`: the share of
        their different words that both have (Jaccard 1912)."""
        texts = [self.inputs_of(example)[0] for example in examples]
        found = {"mean_score": [ScorePrediction(a, self.mean, b) for a, b in texts]}
        if self.reads_pairs:
            found["word_overlap"] = [ScorePrediction(a, _overlap(a, b or ""), b) for a, b in texts]
        return found

    def controls(self, examples: Sequence[Any]) -> dict[str, list[Any]]:
        """For pairs `model_with_other_sentence1` (see `PairTask`)."""
        name = self.text_names[0]
        return with_other_first(examples, "first", name) if self.reads_pairs else {}

    def _numbers(
        self, examples: Sequence[Any], predictions: Sequence[ScorePrediction]
    ) -> tuple[list[float], list[float]]:
        """The right scores of labelled examples, and those predicted."""
        right = [score for e in examples if (score := self.score_of(e)) is not None]
        return right, [prediction.score for prediction in predictions]

    def _shown(self, example: Any) -> str:
        return pair_in_short(*self.inputs_of(example)[0])

    def settings(self) -> dict[str, Any]:
        return {
            "field": self.field,
            "pooling": self.pooling,
            "reads_pairs": self.reads_pairs,
            "mean": self.mean,
            "deviation": self.deviation,
        }

    @classmethod
    def from_settings(cls, name: str, settings: dict[str, Any]) -> RegressionTask:
        # These came from the training data, and are no options; the pooling depends on one of them.
        learned = ("reads_pairs", "mean", "deviation", "pooling")
        task = cls(name, **{key: x for key, x in settings.items() if key not in learned})
        for key in learned:
            setattr(task, key, settings[key])
        return task


def _row(pairs: Sequence[tuple[float, float]]) -> list[Any]:
    """How many pairs of a right and a predicted score, their means, and their mean difference."""
    right, said = zip(*pairs, strict=True)
    return [len(pairs), mean(right), mean(said), mean([abs(r - s) for r, s in pairs])]


def _overlap(first: str, second: str) -> float:
    one, other = ({text[s:e].lower() for s, e in split_words(text)} for text in (first, second))
    return len(one & other) / max(1, len(one | other))
