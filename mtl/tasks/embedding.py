"""Sentence embedding: one unit vector a text, so that texts of like meaning lie close together."""

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
from ..data.examples import Dataset, PairExample
from ..data.tokenization import Row
from ..data.words import split_words
from ..errors import ConfigError
from ..heads import EmbeddingHead, merge_rows, unit_vectors
from ..metrics import mean, spearman
from .base import Task

MEANS_THE_SAME = 0.9  # a pair without a score, or with one from here on


@dataclass(frozen=True)
class Embedding:
    """A text and its unit vector."""

    text: str
    vector: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text, "embedding": list(self.vector)}

    def __str__(self) -> str:
        first = ", ".join(f"{x:.3f}" for x in self.vector[:4])
        return f"[{first}, ...]  (unit vector of {len(self.vector)} numbers)"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.text)} <code>{escape(str(self))}</code></p>"


@dataclass(frozen=True)
class Similarity:
    """Two texts and the cosine of their vectors, from -1 to 1."""

    first: Embedding
    second: Embedding

    @property
    def score(self) -> float:
        return sum(a * b for a, b in zip(self.first.vector, self.second.vector, strict=True))

    def to_dict(self) -> dict[str, Any]:
        return {"sentence1": self.first.text, "sentence2": self.second.text, "score": self.score}

    def __str__(self) -> str:
        return f"{self.score:.3f}  {self.first.text} | {self.second.text}"


class EmbeddingTask(Task):
    """Turn a text into a vector; learn from pairs of sentences which vectors should be close.

    A pair without a score means the same: among the second sentences of its batch, its own should
    be the closest (InfoNCE: van den Oord et al. 2018, "Representation Learning with Contrastive
    Predictive Coding", equation 4; here in both directions, from either sentence). A pair with a
    score should have just that cosine (squared error; Reimers and Gurevych 2019, section 3).

    Args:
        name: of the task.
        dataset: of `PairExample`s.
        width: E, of the vectors; 0 for the encoder's own.
        temperature: of InfoNCE; the smaller, the more the closest wrong sentences count.

    Raises:
        ConfigError: a width below 0, or a temperature that is not positive.
    """

    kind = "embedding"
    main_metric = "accuracy_at_1"
    answers_with = "one unit vector a text"
    example = PairExample
    beats_untrained = True
    rows_alone = False  # the other pairs of a batch are its wrong answers

    def __init__(
        self,
        name: str,
        dataset: Dataset | None = None,
        width: int = 0,
        temperature: float = 0.05,
    ) -> None:
        super().__init__(name, dataset)
        if width < 0:
            raise ConfigError(f"width of the task {name!r} is below 0", found=str(width))
        if not 0 < temperature < float("inf"):
            raise ConfigError(
                f"temperature of the task {name!r} must be a positive number",
                found=str(temperature),
                fix="try 0.05",
            )
        self.width = width
        self.temperature = temperature

    def build_head(self, d_model: int) -> nn.Module:
        return EmbeddingHead(d_model, self.width)

    def run_head(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Tensor:
        return head(hidden, batch.attention_mask)

    def vector_width(self, d_model: int) -> int:
        return self.width or d_model

    def is_labelled(self, example: Any) -> bool:
        return isinstance(example, PairExample)

    def targets(
        self, example: Any, rows: list[Row], notes: Counter[str]
    ) -> list[tuple[int, float] | None]:
        """For each row, which of the two sentences it is a window of, and the score of the pair
        (NaN: none is given)."""
        if not self.is_labelled(example):
            return [None] * len(rows)
        score = float("nan") if example.score is None else float(example.score)
        return [(int(row.text is not rows[0].text), score) for row in rows]

    def collate(self, targets: Sequence[tuple[int, float] | None], length: int) -> Tensor:
        """`(B, 2)`: the number of the sentence that each row belongs to, and the pair's score.

        The labelled sentences of the batch are numbered from 0, first and second of a pair in turn;
        rows that nobody labelled get the number after the last.
        """
        owners: list[int] = []
        n = 0
        side_before = 1
        for target in targets:
            if target is not None:
                n += target[0] != side_before
                side_before = target[0]
            owners.append(-1 if target is None else n - 1)
        rows = zip(owners, targets, strict=True)
        return torch.tensor([[n, 0.0] if t is None else [owner, t[1]] for owner, t in rows])

    def loss(self, outputs: Tensor, targets: Tensor, batch: Batch) -> Tensor:
        """InfoNCE or squared error, whichever a pair is for; the mean over pairs."""
        pairs = [item.example for item in batch.items if self.is_labelled(item.example)]
        owners = targets[:, 0].long()
        n = 2 * len(pairs)
        vectors = unit_vectors(merge_rows(outputs, owners, n + 1)[:n])  # row n: not labelled
        scores = merge_rows(targets[:, 1:], owners, n + 1)[:n:2, 0]  # (P,)
        first, second = vectors[0::2], vectors[1::2]  # (P, E) each
        cosines = first @ second.T  # (P, P)
        logits = (cosines / self.temperature).masked_fill(
            _same_sentence(pairs).to(cosines.device), float("-inf")
        )
        own = torch.arange(len(pairs), device=cosines.device)
        forth = F.cross_entropy(logits, own, reduction="none")
        back = F.cross_entropy(logits.T, own, reduction="none")
        squared_error = (cosines.diagonal() - scores.nan_to_num()) ** 2
        return torch.where(scores.isnan(), (forth + back) / 2, squared_error).mean()

    def decode(self, outputs: Tensor, batch: Batch) -> list[Embedding | Similarity]:
        owners, texts = [], []
        for item in batch.items:
            for row in item.rows:
                if not texts or row.text is not texts[-1]:
                    texts.append(row.text)
                owners.append(len(texts) - 1)
        owner = torch.tensor(owners, device=outputs.device)
        vectors = unit_vectors(merge_rows(outputs.float(), owner, len(texts))).tolist()
        found = iter([Embedding(t.text, tuple(v)) for t, v in zip(texts, vectors, strict=True)])
        return [
            next(found) if len(item.example.rows) == 1 else Similarity(next(found), next(found))
            for item in batch.items
        ]

    def score(
        self, examples: Sequence[PairExample], predictions: Sequence[Similarity]
    ) -> dict[str, float]:
        """`accuracy_at_1` of the pairs that mean the same, `spearman` of those with a score.

        `accuracy_at_1`: how often, among the second sentences of all examples, the closest to a
        first sentence is its own. Ties share the point.
        `spearman`: rank correlation of the cosines with the scores.
        """
        return _accuracy_at_1(examples, predictions) | _spearman(examples, predictions)

    def main_score(self, scores: dict[str, float]) -> tuple[str, float]:
        """`accuracy_at_1`, or `spearman` where no pair means the same."""
        name = self.main_metric if self.main_metric in scores else "spearman"
        return name, scores[name]

    def baselines(self, examples: Sequence[PairExample]) -> dict[str, list[Similarity]]:
        """`bag_of_words`: the cosine of word counts (words in lower case)."""
        ids: dict[str, int] = {}
        for example in examples:
            for word in [*_words(example.first), *_words(example.second)]:
                ids.setdefault(word, len(ids))
        return {
            "bag_of_words": [
                Similarity(_count_words(e.first, ids), _count_words(e.second, ids))
                for e in examples
            ]
        }

    def settings(self) -> dict[str, Any]:
        return {"width": self.width, "temperature": self.temperature}


def _same_sentence(pairs: Sequence[PairExample]) -> Tensor:
    """`(P, P)`, True where another pair has a sentence of this one, on either side.

    Its other sentence means the same too, so neither is a wrong answer.
    """
    sides = ([pair.first for pair in pairs], [pair.second for pair in pairs])
    number = {sentence: i for i, sentence in enumerate(sides[0] + sides[1])}
    first, second = (torch.tensor([number[sentence] for sentence in side]) for side in sides)
    same = torch.zeros(len(pairs), len(pairs), dtype=torch.bool)
    for one, other in ((first, first), (second, second), (first, second), (second, first)):
        same |= one[:, None] == other
    return same.fill_diagonal_(False)


def _accuracy_at_1(
    examples: Sequence[PairExample], predictions: Sequence[Similarity]
) -> dict[str, float]:
    first, second = (
        torch.tensor([vector.vector for vector in vectors], dtype=torch.float64)
        for vectors in ([p.first for p in predictions], [p.second for p in predictions])
    )
    points = []
    for example, vector in zip(examples, first, strict=True):
        if example.score is None or example.score >= MEANS_THE_SAME:
            cosines = second @ vector  # (N,)
            # The same text has a little other numbers in another batch.
            closest = (cosines >= cosines.max() - 1e-6).nonzero().flatten().tolist()
            right = [i for i in closest if examples[i].second == example.second]
            points.append(len(right) / len(closest))
    return {"accuracy_at_1": mean(points)} if points else {}


def _spearman(
    examples: Sequence[PairExample], predictions: Sequence[Similarity]
) -> dict[str, float]:
    scored = [
        (e.score, p.score)
        for e, p in zip(examples, predictions, strict=True)
        if e.score is not None
    ]
    return {"spearman": spearman(*zip(*scored, strict=True))} if scored else {}


def _words(text: str) -> list[str]:
    return [text[start:end].lower() for start, end in split_words(text)]


def _count_words(text: str, ids: dict[str, int]) -> Embedding:
    counts = [0.0] * len(ids)
    for word in _words(text):
        counts[ids[word]] += 1.0
    length = sum(count * count for count in counts) ** 0.5
    return Embedding(text, tuple(count / length if count else 0.0 for count in counts))
