"""Entities that may lie inside others go in; layers, tags and what crosses come out.

An entity is `(type, first, one past the last)`, in words or in characters. Two entities *cross* if
they overlap and neither lies inside the other.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence

from ..metrics import Span


def in_order(entities: Iterable[Span]) -> list[Span]:
    """The different entities from left to right; one that holds others comes before them."""
    return sorted(set(entities), key=lambda e: (e[1], -e[2], e[0]))


def crossing(entities: Iterable[Span]) -> tuple[Span, Span] | None:
    """The first two entities that cross; None if each two are nested or apart."""
    open_: list[Span] = []  # those that the current one begins in, the innermost last
    for entity in in_order(entities):
        while open_ and open_[-1][2] <= entity[1]:
            open_.pop()
        if open_ and entity[2] > open_[-1][2]:
            return open_[-1], entity
        open_.append(entity)
    return None


def outermost(entities: Iterable[Span]) -> list[Span]:
    """The entities that lie in no other; of two with the same borders, the first by type."""
    found: list[Span] = []
    for entity in in_order(entities):
        if not found or entity[1] >= found[-1][2]:
            found.append(entity)
    return found


def layers(entities: Iterable[Span]) -> list[list[Span]]:
    """The outermost entities, then the outermost of the others, and so on: no layer overlaps."""
    rest, found = set(entities), []
    while rest:
        found.append(outermost(rest))
        rest -= set(found[-1])
    return found


def iob2_tags(n_words: int, entities: Iterable[Span]) -> tuple[str, ...]:
    """IOB2 tags of entities that do not overlap."""
    tags = ["O"] * n_words
    for kind, first, last in entities:
        tags[first:last] = [f"B-{kind}", *[f"I-{kind}"] * (last - first - 1)]
    return tuple(tags)


def without_crossing(best_first: Sequence[Span]) -> set[Span]:
    """The entities, given best first, without those that cross a better one.

    Entities inside others stay (Yu et al. 2020, "Named Entity Recognition as Dependency Parsing",
    section 3: "nested NER").
    """
    longest = max((last - first for _, first, last in best_first), default=0)
    kept: set[Span] = set()
    borders: list[tuple[int, int]] = []  # of those kept, in the order of the text
    for entity in best_first:
        _, first, last = entity
        # No entity is longer than the longest, so one that begins further back ends before this.
        near = borders[bisect_left(borders, (first - longest, 0)) : bisect_left(borders, (last, 0))]
        if not any(s < first < e < last or first < s < last < e for s, e in near):
            kept.add(entity)
            insort(borders, (first, last))
    return kept
