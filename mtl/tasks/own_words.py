"""A text goes in; the words that a task learns and predicts on come out, and those a user gave.

A task is trained on the words that plain text is cut into, which it will meet in use, not on those
of its training file; but what holds words together in that file does so in plain text too.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..data.nesting import in_order, without_crossing
from ..data.tokenizers.base import Encoding
from ..data.words import Joining, Place, join_parts, learn_joining, split_words
from ..metrics import Span
from .base import Task

MOST_GAP = 0.01  # largest score gap between given words and plain text without a warning


def joining_of(examples: Sequence[Any]) -> Joining | None:
    """What holds words together in labelled examples; None if they have the words of plain text."""
    # The usual case: nothing to learn, or to save with the model.
    if all(
        example.word_places == split_words(example.inputs[0][0]) for example in _given(examples)
    ):
        return None
    return learn_joining(example.tokens for example in _given(examples))


def joining_in(task: Task) -> Joining | None:
    """What holds words together in the training file of a task; None if it has the same words as
    plain text."""
    train = task.dataset.train

    def answer() -> dict[str, Any] | None:
        found = joining_of(task.labelled(train))
        return None if found is None else asdict(found)

    found = task.remembered("joining", answer, train)
    if found is None:
        return None
    # JSON has made a list of the tuple.
    return Joining(found["inner"], found["leading"], tuple(found["whole"]))


def _given(examples: Iterable[Any]) -> Iterator[Any]:
    """The examples that say what their words are."""
    return (example for example in examples if example.word_places is not None)


def words_of(encoding: Encoding, joining: Joining | None) -> tuple[list[Place], list[int]]:
    """The words of a text, and the first piece of each."""
    first = encoding.first_pieces
    if joining is None:
        return encoding.words, first
    words = join_parts(encoding.text, encoding.words, joining)
    # By where a word begins: a joined word begins where its first part does.
    first_of = dict(zip((start for start, _ in encoding.words), first, strict=True))
    return words, [first_of[start] for start, _ in words]


def in_these_words(best_first: Iterable[Span], places: Sequence[Place]) -> dict[Span, Span]:
    """Entities by characters, the best first, as entities by words.

    An entity takes every word that it touches. One that touches none is left out, and so is one
    that then crosses a better one, or is the same.

    Returns:
        the entities by words from left to right, each with the one by characters that it was.
    """
    starts, ends = [start for start, _ in places], [end for _, end in places]
    touched: dict[Span, Span] = {}
    for kind, start, end in best_first:
        # From the first word that ends after the entity begins, to the last that begins before it
        # ends.
        first, last = bisect_right(ends, start), bisect_left(starts, end)
        if first < last:
            touched.setdefault((kind, first, last), (kind, start, end))
    return {entity: touched[entity] for entity in in_order(without_crossing(list(touched)))}


def in_characters(entities: Iterable[Span], places: Sequence[Place]) -> list[Span]:
    """Entities by words as entities by characters."""
    return [(kind, places[first][0], places[last - 1][1]) for kind, first, last in entities]


def remarks_on_words(metric: str, scores: dict[str, float]) -> list[str]:
    """A warning if plain text gets another score than the words of a file."""
    given, plain = scores[metric], scores.get(f"{metric}_plain_text")
    if plain is None or abs(given - plain) <= MOST_GAP:
        return []
    called = metric.replace("_", " ").replace("f1", "F1")
    return [
        f"{called} is {given:.3f} on the words of the file, but {plain:.3f} on the same sentences "
        "as plain text, whose words differ; to predict on words of your own, give lists of words "
        "(mtl predict --words)"
    ]
