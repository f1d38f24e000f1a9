"""Examples go out to a peer as plain records; what it says of them comes back as predictions.

A peer's process knows nothing of `mtl`: both ways, everything is JSON.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import mtl
from mtl.tasks.classification import ClassPrediction
from mtl.tasks.embedding import Embedding, Similarity
from mtl.tasks.ner import NERPrediction
from mtl.tasks.qa import QAPrediction

from .cases import Case

# What a peer is not told of the examples it is scored on.
LABELS = {"tags", "inner", "label", "labels", "score", "raw_score", "answers", "fields", "scores"}


def budget_for(
    case: Case, datasets: Sequence[mtl.Dataset], checkpoint: str, seed: int
) -> dict[str, Any]:
    """Everything that a peer is told.

    Args:
        case: the budget; the rate is its `plain_rate`.
        datasets: of each, `train` and `test` are handed over.
        checkpoint: the folder with pretrained weights.
        seed: of fresh weights, order and dropout.
    """
    budget = {name: getattr(case, name) for name in ("epochs", "batch_size", "max_length")}
    return budget | {
        "checkpoint": checkpoint,
        "rate": case.plain_rate,
        "overlap": case.overlap,
        "seed": seed,
        "datasets": [
            {
                "train": [dataclasses.asdict(example) for example in dataset.train],
                "test": [question_of(example) for example in dataset.test],
            }
            for dataset in datasets
        ],
    }


def question_of(example: Any) -> dict[str, Any]:
    """An example without its labels."""
    record = dataclasses.asdict(example)
    return {name: value for name, value in record.items() if name not in LABELS}


def predictions_of(task: mtl.tasks.Task, said: Sequence[Any]) -> list[Any]:
    """What our task would have predicted, had it said this of its test examples."""
    read = READERS[task.kind]
    return [read(*both) for both in zip(task.dataset.test, said, strict=True)]


def intent(example: mtl.TextExample, label: str) -> ClassPrediction:
    """A label becomes the class of the text."""
    return ClassPrediction(example.text, label, {label: 1.0})


def tagged(example: Any, tags: Sequence[str]) -> NERPrediction:
    """One IOB2 tag per word."""
    text = example.inputs[0][0]
    return NERPrediction(text, example.word_places, list(tags), [1.0] * len(tags))


def similar(example: mtl.PairExample, vectors: Sequence[Sequence[float]]) -> Similarity:
    """Two unit vectors, one per sentence."""
    first, second = map(tuple, vectors)
    return Similarity(Embedding(example.first, first), Embedding(example.second, second))


def answered(example: mtl.QAExample, span: Sequence[int]) -> QAPrediction:
    """The first character of the answer, and one past the last."""
    start, end = span
    return QAPrediction(
        example.question, example.context, example.context[start:end], 1.0, start, end
    )


READERS: dict[str, Callable[[Any, Any], Any]] = {
    "classification": intent,
    "embedding": similar,
    "ner": tagged,
    "qa": answered,
}
