"""Pairs of texts go in; one unit vector per text comes out, close where meanings are close."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate
from typing import Any, Protocol, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batching import Batch
from ..data.dataset import SPLITS, Dataset
from ..data.examples import PairExample
from ..data.tokenizers.base import Row
from ..data.words import split_words
from ..errors import ConfigError, DataError
from ..metrics import mean, spearman
from ..nn.heads import EmbeddingHead, merge_rows, unit_vectors
from .base import IGNORED, Task

MEANS_THE_SAME = 0.9  # pairs without a score, or with at least this one
CHUNK = 256  # first sentences compared with all second ones at once
MOST_TEXTS = 3  # of an example: the first sentence, the second, and the negative


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
    """A text and its word counts, as the few numbers above 0 of a long unit vector."""

    text: str
    counts: dict[int, float]  # by the word's place in the vector

    def dot(self, other: WordCounts) -> float:
        """The cosine with another vector."""
        return sum(x * other.counts.get(place, 0.0) for place, x in self.counts.items())


class Vector(Protocol):
    """A text as a vector that can be compared with another of its kind."""

    @property
    def text(self) -> str: ...

    def dot(self, other: Self) -> float: ...


@dataclass(frozen=True)
class Similarity:
    """Two texts and the cosine of their vectors, of the same kind, from -1 to 1."""

    first: Vector
    second: Vector

    @property
    def score(self) -> float:
        return self.first.dot(self.second)

    def to_dict(self) -> dict[str, Any]:
        return {"sentence1": self.first.text, "sentence2": self.second.text, "score": self.score}

    def __str__(self) -> str:
        return f"{self.score:.3f}  {self.first.text} | {self.second.text}"


class EmbeddingTask(Task):
    """Turn a text into a vector; learn from pairs of sentences which vectors should be close.

    The sentences of a pair without a score mean the same: of all second sentences in the batch, its
    own should be the closest (InfoNCE: van den Oord et al. 2018, "Representation Learning with
    Contrastive Predictive Coding", equation 4; here in both directions, from either sentence). The
    negatives in the batch are further wrong answers to its first sentences (Karpukhin et al.
    2020, "Dense Passage Retrieval", section 3.2). A pair with a score should have that very cosine
    (squared error; Reimers and Gurevych 2019, section 3).

    Args:
        name: of the task.
        dataset: examples of class `PairExample`.
        width: E, of the vectors; 0 for the encoder's width.
        temperature: of InfoNCE; the smaller, the more the closest wrong sentences count.

    Raises:
        ConfigError: a width below 0, or a temperature that is not positive.
        DataError: a split whose pairs have classes and no scores.
    """

    kind = "embedding"
    main_metric = "accuracy_at_1"
    answers_with = "one unit vector for each text"
    example = PairExample
    reads_places = False
    beats_untrained = True
    rows_alone = False  # the other pairs of a batch are its wrong answers

    def __init__(
        self,
        name: str,
        dataset: Dataset | None = None,
        width: int = 0,
        # Cosines lie between -1 and 1: undivided, they would give a nearly flat softmax.
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
        for split in SPLITS:
            self.labelled(self.dataset.split(split))  # refuses pairs with classes

    def build_head(self, d_model: int) -> nn.Module:
        return EmbeddingHead(d_model, self.width)

    def run_head(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Tensor:
        return head(hidden, batch.attention_mask)

    def vector_width(self, d_model: int) -> int:
        return self.width or d_model

    def is_labelled(self, example: Any) -> bool:
        # A pair that has a class alone, such as contradiction, does not mean the same.
        is_pair = isinstance(example, PairExample)
        return is_pair and (example.score is not None or example.label is None)

    def labelled(self, examples: Sequence[Any]) -> Sequence[Any]:
        found = super().labelled(examples)
        if found:
            return found
        classes = Counter(e.label for e in examples if isinstance(e, PairExample))
        if classes:
            counts = ", ".join(f"{label!r} ({n:,})" for label, n in classes.most_common(8))
            raise DataError(
                f"the task {self.name!r} learns how similar two texts are, and these pairs have "
                "classes instead",
                found=counts,
                fix='learn the classes: kind = "pair-classification" (mtl.PairClassificationTask); '
                'or give pairs a "score" from 0 (nothing in common) to 1 (the same), or keep only '
                "those that mean the same, without their label",
            )
        return found

    def targets(self, example: Any, rows: list[Row], notes: Counter[str]) -> list[int | None]:
        """For each row, which of the pair's texts it comes from: 0, 1, or 2 (its negative)."""
        if not self.is_labelled(example):
            return [None] * len(rows)
        return [*text_numbers(rows)]

    def collate(self, targets: Sequence[int | None], length: int) -> Tensor:
        """`(B,)`: which text of its pair each row comes from; -100 for a row without a label."""
        return torch.tensor([IGNORED if target is None else target for target in targets])

    def loss(self, outputs: Tensor, targets: Tensor, batch: Batch) -> Tensor:
        """InfoNCE or squared error, depending on the pair; the mean over pairs."""
        examples = [item.example for item in batch.items]
        # Another task may share the dataset, with texts that are not pairs.
        labelled = [i for i, example in enumerate(examples) if self.is_labelled(example)]
        pairs: list[PairExample] = [examples[i] for i in labelled]
        vectors = vectors_of_texts(outputs, batch, targets)[labelled]  # (P, 3, E)
        first, second = vectors[:, 0], vectors[:, 1]  # (P, E) each
        has_negative = [i for i, pair in enumerate(pairs) if pair.negative is not None]
        negative = vectors[has_negative, 2]  # (N, E)
        # Row i: how close the first sentence of pair i is to every second sentence, and to every
        # negative. The right one is number i; one that means the same is not a wrong answer.
        # Every pair of the batch is a wrong answer to all others, at no extra cost.
        cosines = first @ second.T  # (P, P)
        known = torch.cat([_same_sentence(pairs), _own_sentence(pairs)], 1).to(cosines.device)
        logits = torch.cat([cosines, first @ negative.T], 1) / self.temperature  # (P, P + N)
        logits = logits.masked_fill(known, float("-inf"))
        own = torch.arange(len(pairs), device=cosines.device)
        forth = F.cross_entropy(logits, own, reduction="none")
        # From the second sentence to the first; negatives have no first sentence.
        back = F.cross_entropy(logits[:, : len(pairs)].T, own, reduction="none")
        nan = float("nan")
        scores = cosines.new_tensor([nan if pair.score is None else pair.score for pair in pairs])
        # nan_to_num: a NaN would come back through the gradient, even from the branch not taken.
        squared_error = (cosines.diagonal() - scores.nan_to_num()) ** 2
        return torch.where(scores.isnan(), (forth + back) / 2, squared_error).mean()

    def decode(self, outputs: Tensor, batch: Batch) -> list[Embedding | Similarity]:
        numbers = [text_numbers(item.rows) for item in batch.items]
        text_of_row = torch.tensor([n for of_item in numbers for n in of_item])
        vectors = vectors_of_texts(outputs.float(), batch, text_of_row.to(outputs.device))
        found: list[Embedding | Similarity] = []
        for item, own_numbers, own_vectors in zip(
            batch.items, numbers, vectors.tolist(), strict=True
        ):
            texts = {n: row.text.text for n, row in zip(own_numbers, item.rows, strict=True)}
            first, *others = [
                # A negative is for training only.
                Embedding(texts[n], tuple(own_vectors[n]))
                for n in (0, 1)
                if n in texts
            ]
            found.append(Similarity(first, others[0]) if others else first)
        return found

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
        """`accuracy_at_1`, or `spearman` if no pair means the same."""
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


def text_numbers(rows: Sequence[Row]) -> list[int]:
    """Which of its example's texts each row is a window of: 0 for the first text, 1, or 2.

    A row that begins with the first piece of a text begins the next text. With first pieces
    0, 0, 10, 20, 0 there are three texts, the second of which has three windows: 0, 1, 1, 1, 2.
    """
    return [n - 1 for n in accumulate(int(row.first_piece == 0) for row in rows)]


def vectors_of_texts(outputs: Tensor, batch: Batch, text_of_row: Tensor) -> Tensor:
    """A unit vector for each text of each example, the mean of its windows: `(N, 3, E)`.

    An example has three places, the most that it can need. Say the first is a pair whose second
    text has two windows, the second is not a pair, and the third is a pair with a negative:

        batch.rows    0  0  0     1  2  2  2
        text_of_row          0  1  1  -100  0  1  2
        place                0  1  1     3  6  7  8

    Nothing reads the places that stay empty, nor those of an example that is not a pair.

    Args:
        outputs: `(B, E)`, one vector per row.
        text_of_row: `(B,)`, see `text_numbers`; below 0 for rows that belong to no pair.
    """
    # clamp: -100 would be a place of another example.
    place = MOST_TEXTS * batch.rows + text_of_row.clamp(0, MOST_TEXTS - 1)
    merged = merge_rows(outputs, place, MOST_TEXTS * len(batch))  # (N * 3, E)
    return unit_vectors(merged).unflatten(0, (len(batch), MOST_TEXTS))  # (N, 3, E)


def _same_sentence(pairs: Sequence[PairExample]) -> Tensor:
    """`(P, P)`, True where another pair shares a sentence with this one, on either side.

    Its other sentence means the same too, so neither is a wrong answer.
    """
    sides = ([pair.first for pair in pairs], [pair.second for pair in pairs])
    number = {sentence: i for i, sentence in enumerate(sides[0] + sides[1])}
    first, second = (torch.tensor([number[sentence] for sentence in side]) for side in sides)
    same = torch.zeros(len(pairs), len(pairs), dtype=torch.bool)
    for one, other in ((first, first), (second, second), (first, second), (second, first)):
        # Numbers in place of texts: P x P comparisons in one operation.
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
    first, second = _as_matrices(predictions)  # (N, E) each
    points = []
    # In chunks: all cosines at once would need N x N numbers.
    for start in range(0, len(asked), CHUNK):
        chunk = asked[start : start + CHUNK]
        some = first.index_select(0, torch.tensor(chunk)).to_dense()  # (CHUNK, E)
        cosines = (second @ some.T).T  # (CHUNK, N); a sparse matrix must be the left one
        # The vector of a text differs slightly from batch to batch.
        near = cosines >= cosines.amax(1, keepdim=True) - 1e-6
        for i, row in zip(chunk, near, strict=True):
            closest = row.nonzero().flatten().tolist()
            # By text: several pairs may share a second sentence, and any copy of it is right.
            right = [j for j in closest if examples[j].second == examples[i].second]
            points.append(len(right) / len(closest))
    return {"accuracy_at_1": mean(points)}


def _as_matrices(predictions: Sequence[Similarity]) -> tuple[Tensor, Tensor]:
    """The vectors of the first texts and those of the second, `(N, E)` each.

    Those of word counts are sparse: their E is the number of different words.
    """
    firsts, seconds = [p.first for p in predictions], [p.second for p in predictions]
    places = [p for v in (*firsts, *seconds) if isinstance(v, WordCounts) for p in v.counts]
    width = 1 + max(places, default=0)
    return _as_matrix(firsts, width), _as_matrix(seconds, width)


def _as_matrix(vectors: Sequence[Vector], n_words: int) -> Tensor:
    dense = [v.vector for v in vectors if isinstance(v, Embedding)]
    if dense:
        # float64, so that texts that are equally close really tie.
        return torch.tensor(dense, dtype=torch.float64)
    counts = [v.counts for v in vectors if isinstance(v, WordCounts)]
    rows = [n for n, of_text in enumerate(counts) for _ in of_text]
    columns = [place for of_text in counts for place in of_text]
    numbers = [x for of_text in counts for x in of_text.values()]
    return torch.sparse_coo_tensor(
        torch.tensor([rows, columns], dtype=torch.long),
        torch.tensor(numbers, dtype=torch.float64),
        (len(counts), n_words),
        check_invariants=True,
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
