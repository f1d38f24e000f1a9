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
from ..data.dataset import Dataset
from ..data.examples import PairExample
from ..data.tokenizers.base import Row
from ..data.words import split_words
from ..errors import ConfigError
from ..metrics import mean, spearman
from ..nn.heads import EmbeddingHead, merge_rows, unit_vectors
from .base import IGNORED, Task

MEANS_THE_SAME = 0.9  # a pair without a score, or with one from here on
CHUNK = 256  # first sentences that are compared with all second ones at once


@dataclass(frozen=True)
class Embedding:
    """A text and its unit vector."""

    text: str
    vector: tuple[float, ...]

    def dot(self, other: Embedding) -> float:
        """The cosine with another vector."""
        return sum(a * b for a, b in zip(self.vector, other.vector, strict=True))

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text, "embedding": list(self.vector)}

    def __str__(self) -> str:
        first = ", ".join(f"{x:.3f}" for x in self.vector[:4])
        return f"[{first}, ...]  (unit vector of {len(self.vector)} numbers)"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.text)} <code>{escape(str(self))}</code></p>"


@dataclass(frozen=True)
class WordCounts:
    """A text and how often it has each word, as the few numbers above 0 of a long unit vector."""

    text: str
    counts: dict[int, float]  # by the word's place in the vector

    def dot(self, other: WordCounts) -> float:
        """The cosine with another vector."""
        return sum(x * other.counts.get(place, 0.0) for place, x in self.counts.items())


@dataclass(frozen=True)
class Similarity:
    """Two texts and the cosine of their vectors, from -1 to 1."""

    first: Embedding | WordCounts
    second: Embedding | WordCounts

    @property
    def score(self) -> float:
        return self.first.dot(self.second)

    def to_dict(self) -> dict[str, Any]:
        return {"sentence1": self.first.text, "sentence2": self.second.text, "score": self.score}

    def __str__(self) -> str:
        return f"{self.score:.3f}  {self.first.text} | {self.second.text}"


class EmbeddingTask(Task):
    """Turn a text into a vector; learn from pairs of sentences which vectors should be close.

    A pair without a score means the same: among the second sentences of its batch, its own should
    be the closest (InfoNCE: van den Oord et al. 2018, "Representation Learning with Contrastive
    Predictive Coding", equation 4; here in both directions, from either sentence). The negatives of
    the pairs in the batch are further wrong answers to their first sentences (Karpukhin et al.
    2020, "Dense Passage Retrieval", section 3.2). A pair with a score should have just that cosine
    (squared error; Reimers and Gurevych 2019, section 3).

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

    def targets(self, example: Any, rows: list[Row], notes: Counter[str]) -> list[int | None]:
        """For each row, which of the pair's texts it is a window of: 0, 1, or 2 (its negative)."""
        if not self.is_labelled(example):
            return [None] * len(rows)
        texts = list(dict.fromkeys(id(row.text) for row in rows))
        return [texts.index(id(row.text)) for row in rows]

    def collate(self, targets: Sequence[int | None], length: int) -> Tensor:
        """`(B,)`: the number of the text that each row belongs to, over the texts of all pairs.

        Rows without a label get -100.
        """
        owners, n, before = [], -1, None
        for target in targets:
            if target is not None:
                n += target != before
                before = target
            owners.append(IGNORED if target is None else n)
        return torch.tensor(owners)

    def loss(self, outputs: Tensor, targets: Tensor, batch: Batch) -> Tensor:
        """InfoNCE or squared error, whichever a pair is for; the mean over pairs."""
        pairs = [item.example for item in batch.items if self.is_labelled(item.example)]
        vectors = _vectors_of_texts(outputs, targets)  # (S, E), all texts of all pairs
        sizes = torch.tensor([len(pair.inputs) for pair in pairs], device=outputs.device)
        starts = sizes.cumsum(0) - sizes  # (P,)
        first, second = vectors[starts], vectors[starts + 1]  # (P, E) each
        negative = vectors[starts[sizes == 3] + 2]  # (N, E), of the pairs that have one
        cosines = first @ second.T  # (P, P)
        known = torch.cat([_same_sentence(pairs), _own_sentence(pairs)], 1).to(cosines.device)
        logits = torch.cat([cosines, first @ negative.T], 1) / self.temperature  # (P, P + N)
        logits = logits.masked_fill(known, float("-inf"))
        own = torch.arange(len(pairs), device=cosines.device)
        forth = F.cross_entropy(logits, own, reduction="none")
        back = F.cross_entropy(logits[:, : len(pairs)].T, own, reduction="none")
        nan = float("nan")
        scores = cosines.new_tensor([nan if pair.score is None else pair.score for pair in pairs])
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
        of_items = [[next(found) for _ in item.example.inputs] for item in batch.items]
        return [own[0] if len(own) == 1 else Similarity(*own[:2]) for own in of_items]

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
        places: dict[str, int] = {}
        return {
            "bag_of_words": [
                Similarity(_count_words(e.first, places), _count_words(e.second, places))
                for e in examples
            ]
        }

    def settings(self) -> dict[str, Any]:
        return {"width": self.width, "temperature": self.temperature}


def _vectors_of_texts(outputs: Tensor, targets: Tensor) -> Tensor:
    """A unit vector for each labelled text, the mean of its windows: `(B, E)` to `(S, E)`."""
    n = int(targets.max()) + 1
    owners = targets.masked_fill(targets == IGNORED, n)
    return unit_vectors(merge_rows(outputs, owners, n + 1)[:n])


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


def _own_sentence(pairs: Sequence[PairExample]) -> Tensor:
    """`(P, N)`, True where one of the N negatives is a sentence of the pair itself."""
    negatives = [pair.negative for pair in pairs if pair.negative is not None]
    own = [[text in (pair.first, pair.second) for text in negatives] for pair in pairs]
    return torch.tensor(own, dtype=torch.bool).view(len(pairs), len(negatives))


def _accuracy_at_1(
    examples: Sequence[PairExample], predictions: Sequence[Similarity]
) -> dict[str, float]:
    asked = [i for i, e in enumerate(examples) if e.score is None or e.score >= MEANS_THE_SAME]
    if not asked:
        return {}
    both = _as_matrix([vector for p in predictions for vector in (p.first, p.second)])  # (2N, E)
    places = torch.arange(len(examples))
    first, second = (both.index_select(0, 2 * places + side) for side in (0, 1))  # (N, E) each
    points = []
    for start in range(0, len(asked), CHUNK):
        chunk = asked[start : start + CHUNK]
        some = first.index_select(0, torch.tensor(chunk)).to_dense()
        cosines = (second @ some.T).T  # (CHUNK, N)
        # The numbers of a text differ slightly from batch to batch.
        near = cosines >= cosines.amax(1, keepdim=True) - 1e-6
        for i, row in zip(chunk, near, strict=True):
            closest = row.nonzero().flatten().tolist()
            right = [j for j in closest if examples[j].second == examples[i].second]
            points.append(len(right) / len(closest))
    return {"accuracy_at_1": mean(points)}


def _as_matrix(vectors: Sequence[Embedding | WordCounts]) -> Tensor:
    """`(N, E)`; sparse for word counts, whose E is the number of different words."""
    if all(isinstance(vector, Embedding) for vector in vectors):
        return torch.tensor([vector.vector for vector in vectors], dtype=torch.float64)
    rows = [n for n, vector in enumerate(vectors) for _ in vector.counts]
    columns = [place for vector in vectors for place in vector.counts]
    numbers = [x for vector in vectors for x in vector.counts.values()]
    size = (len(vectors), 1 + max(columns, default=0))
    places = torch.tensor([rows, columns], dtype=torch.long)
    return torch.sparse_coo_tensor(
        places, torch.tensor(numbers, dtype=torch.float64), size, check_invariants=True
    )


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


def _count_words(text: str, places: dict[str, int]) -> WordCounts:
    """The words of a text; new ones are added to `places`."""
    counts = Counter(places.setdefault(word, len(places)) for word in _words(text))
    length = sum(count * count for count in counts.values()) ** 0.5
    return WordCounts(text, {place: count / length for place, count in counts.items()})
