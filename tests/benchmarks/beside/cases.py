"""The name of a dataset goes in; what is learned from it, and with what budget, comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """A dataset, its tasks, and a budget that both sides share.

    Args:
        folder, train, dev: of the dataset, and its files.
        tasks: by name, as in a recipe: `kind` and options. Ours trains them together on one
            encoder; the plain side trains one model for each.
        metrics: of each task, those that the table shows.
        read: options of `mtl.read`.
        limit: most examples to train on.
        crop: characters of each training context that are kept, with an answer if there is one; 0
            for all.
        validation: most examples to choose the epoch and thresholds on.
        test: most examples of the dev file to score; 0 for all.
        epochs: passes over them.
        batch_size: examples in a batch of ours.
        rows: rows in a batch of the plain side, if an example is several (windows): about as many
            as `batch_size` examples have, so that both make about the same number of updates.
        max_length, overlap: tokens in a row, and those that neighbouring windows share.
        rate: of our encoder; fresh heads have `head_rate`.
        plain_rate: of all weights of the plain side.
    """

    folder: str
    train: str
    dev: str
    tasks: Mapping[str, Mapping[str, Any]]
    metrics: Mapping[str, tuple[str, ...]]
    read: Mapping[str, Any] = field(default_factory=dict)
    limit: int = 3000
    crop: int = 0
    validation: int = 400
    test: int = 0
    epochs: int = 3
    batch_size: int = 16
    rows: int = 0
    max_length: int = 128
    overlap: int = 32
    rate: float = 2e-4
    head_rate: float = 1e-3
    plain_rate: float = 2e-4


@dataclass(frozen=True)
class Outcome:
    """Seconds of training and of prediction, and what is predicted of each task's test examples."""

    train_seconds: float
    predict_seconds: float
    predictions: Mapping[str, Sequence[Any]]


CASES = {
    "ud_ewt": Case(
        *("ud_ewt", "train.conllu", "dev.conllu"),
        tasks={"pos": {"kind": "tokens", "field": "UPOS"}},
        metrics={"pos": ("accuracy", "macro_f1", "accuracy_unknown_words")},
        read={"fields": ["UPOS"]},
        epochs=4,
    ),
    "snli": Case(
        *("snli", "train.tsv", "dev.tsv"),
        tasks={"inference": {"kind": "pair-classification"}},
        metrics={"inference": ("accuracy", "macro_f1")},
        rate=1e-4,
    ),
    "stsb": Case(
        *("stsb", "train.tsv", "dev.tsv"),
        tasks={"similarity": {"kind": "regression"}},
        metrics={"similarity": ("spearman", "pearson")},
        rate=1e-4,
        plain_rate=1e-4,
    ),
    "goemotions": Case(
        *("goemotions", "train.tsv", "dev.tsv"),
        tasks={"emotions": {"kind": "classification", "multi_label": True}},
        metrics={"emotions": ("micro_f1", "macro_f1")},
        plain_rate=5e-4,
    ),
    "squad2": Case(
        *("squad2", "train.json", "dev.json"),
        tasks={"qa": {"kind": "qa"}},
        metrics={"qa": ("exact_match", "token_f1", "has_answer_token_f1", "no_answer_exact_match")},
        limit=1300,
        crop=600,
        epochs=2,
        batch_size=8,
        rows=8,
        max_length=256,
        overlap=64,
    ),
    "germeval14": Case(
        *("germeval14", "train.tsv", "dev.tsv"),
        tasks={"entities": {"kind": "nested-ner"}},
        metrics={"entities": ("entity_f1", "nested_f1", "outer_f1")},
        read={"column": [3, 4], "on_error": "skip"},  # some of its entities cross
        limit=2000,
        rate=4e-4,
        head_rate=3e-3,
        plain_rate=4e-4,
    ),
    "germeval14-outer": Case(
        *("germeval14", "train.tsv", "dev.tsv"),
        tasks={"entities": {"kind": "ner"}},
        metrics={"entities": ("entity_f1",)},
        read={"column": 3},
        limit=2000,
    ),
    "litbank": Case(
        *("litbank", "train.tsv", "dev.tsv"),
        tasks={"entities": {"kind": "nested-ner"}},
        metrics={"entities": ("entity_f1", "nested_f1", "outer_f1")},
        read={"column": [3, 4, 5, 6], "whole_documents": True},
        limit=40,
        batch_size=1,
        rows=12,
        max_length=256,
        overlap=64,
    ),
    "covidqa": Case(
        *("covidqa", "train.json", "dev.json"),
        tasks={"qa": {"kind": "qa", "max_answer_tokens": 80}},
        metrics={"qa": ("exact_match", "token_f1")},
        limit=600,
        crop=800,
        validation=16,
        test=80,
        epochs=3,
        batch_size=4,
        rows=8,
        max_length=384,
        overlap=64,
    ),
    "nlupp": Case(
        *("nlupp", "train.jsonl", "dev.jsonl"),
        tasks={
            "intents": {"kind": "classification", "multi_label": True},
            "slots": {"kind": "ner"},
        },
        metrics={"intents": ("micro_f1", "macro_f1"), "slots": ("entity_f1",)},
        limit=1200,
        epochs=5,
        plain_rate=5e-4,
    ),
}
