"""A kind of toy data and a seed go in; its dataset comes out, or one that was labelled by hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from ..data.dataset import Dataset
from ..data.examples import NERExample, QAExample
from ..data.readers import read_conll, read_squad
from ..errors import ConfigError, suggest
from .documents import documents
from .emotions import emotions
from .facts import ner_examples, qa_examples, records
from .intents import intents
from .news import news
from .pairs import inference, similarity
from .paraphrases import paraphrases
from .speech import part_of_speech
from .unanswerable import unanswerable
from .world import SPLITS

HANDMADE = Path(__file__).parent / "handmade"

GENERATORS: dict[str, Callable[[str, int, int], list]] = {
    "ner": ner_examples,
    "qa": qa_examples,
    "records": records,
    "news": news,
    "paraphrases": paraphrases,
    "intents": intents,
    "unanswerable": unanswerable,
    "emotions": emotions,
    "pos": part_of_speech,
    "documents": documents,
    "inference": inference,
    "similarity": similarity,
}


def handmade_ner() -> list[NERExample]:
    """A few dozen sentences of ordinary English, labelled by hand."""
    sentences = read_conll(HANDMADE / "ner.conll")
    return [sentence for sentence in sentences if isinstance(sentence, NERExample)]


def handmade_qa() -> list[QAExample]:
    """A few dozen questions with contexts of ordinary English, written by hand."""
    return read_squad(HANDMADE / "qa.json")


@cache
def toy_dataset(
    kind: str, n_train: int, n_validation: int = 500, n_test: int = 500, seed: int = 0
) -> Dataset:
    """All four splits of one kind of toy data (`test_unseen` is as large as `test`).

    Args:
        kind: `ner`, `qa`, `records` (a class and tags), `news` and `intents` (the same),
            `paraphrases`, `unanswerable` (questions, a third of which have no answer), `emotions`
            (several labels per text), `pos` (parts of speech and entities), `documents` (nested
            entities and event words), `inference` (pairs with a class) or `similarity` (pairs with
            a score).
        n_train, n_validation, n_test: how many examples each split has.
        seed: of all that is drawn.

    Raises:
        ConfigError: an unknown kind (the nearest known one is named), or a size below 0.
    """
    if kind not in GENERATORS:
        raise ConfigError(
            "unknown kind of toy data", found=repr(kind), fix=suggest(str(kind), GENERATORS)
        )
    sizes = dict(zip(SPLITS, (n_train, n_validation, n_test, n_test), strict=True))
    for split, n in sizes.items():
        if type(n) is not int or n < 0:
            what = f"the size of {split} must be a whole number, at least 0"
            raise ConfigError(what, found=repr(n))
    return Dataset(**{split: GENERATORS[kind](split, n, seed) for split, n in sizes.items()})
