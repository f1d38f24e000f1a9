"""The name of a comparison goes in; the peer, and what both sides learn from, come out."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .cases import Case

TORCH = "torch==2.13.0"  # unpinned, it may be another than ours, or one with GPU libraries

# What each peer's environment holds; beside/peers has a script of the same name.
REQUIREMENTS = {
    "flair": ("flair==0.15.1", TORCH),
    "spacy": ("spacy==3.8.18", "spacy-transformers==1.4.0", TORCH),
    "sentence_transformers": ("sentence-transformers[train]==6.2.0", TORCH),
    "transformers": ("transformers==5.24.0", TORCH),
}


@dataclass(frozen=True)
class Comparison:
    """Ours beside a peer.

    Args:
        peer: a key of `REQUIREMENTS`.
        cases: datasets whose tasks are learned together, by one model on each side. The budget of
            training is that of the first; the rate of the peer is its `plain_rate`.
    """

    peer: str
    cases: tuple[Case, ...]

    @property
    def metrics(self) -> dict[str, tuple[str, ...]]:
        """Those of all tasks."""
        return {task: names for case in self.cases for task, names in case.metrics.items()}


SNIPS = Case(
    *("snips", "train", "dev"),
    tasks={"intent": {"kind": "classification"}, "slots": {"kind": "ner"}},
    metrics={"intent": ("accuracy", "macro_f1"), "slots": ("entity_f1",)},
)
STSB = Case(
    *("stsb", "train.tsv", "dev.tsv"),
    tasks={"similarity": {"kind": "embedding"}},
    metrics={"similarity": ("spearman",)},
)
WNUT = Case(
    *("wnut17", "train.conll", "dev.conll"),
    tasks={"ner": {"kind": "ner"}},
    metrics={"ner": ("entity_f1", "token_accuracy")},
    limit=1000,
    epochs=2,
    batch_size=8,
    max_length=256,
    overlap=64,
)
SQUAD = Case(
    *("squad", "train.json", "dev.json"),
    tasks={"qa": {"kind": "qa"}},
    metrics={"qa": ("exact_match", "token_f1")},
    read={"on_error": "skip"},  # some answers are not where the file says
    limit=1500,
)
COMPARISONS = {
    # Of 1e-4, 4e-4 and 1e-3, this one was best on held-out sentences.
    "snips-flair": Comparison("flair", (replace(SNIPS, plain_rate=1e-3),)),
    # The rate of spaCy's quickstart; with higher ones its NER drowns `textcat`.
    "snips-spacy": Comparison("spacy", (replace(SNIPS, plain_rate=5e-5),)),
    "stsb-sentence-transformers": Comparison("sentence_transformers", (STSB,)),
    "ner-qa-plain": Comparison("transformers", (WNUT, SQUAD)),
}
