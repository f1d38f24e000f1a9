"""Right and predicted entities of a sentence go in; what is wrong, in words, comes out."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

from ..data.words import Entity as CharacterSpan
from ..data.words import Place
from ..metrics import Span, entity_spans


@dataclass(frozen=True)
class Entity:
    """A named entity: its type, its probability, and where it is in the text."""

    entity_group: str
    score: float
    word: str
    start: int
    end: int

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def compare_entities(
    right: Set[Span], predicted: Set[Span]
) -> list[tuple[str, list[Span], list[Span]]]:
    """The mistakes in the entities of a sentence: kind, right entities, predicted entities.

    Entities that overlap, directly or through others, are one mistake, so that each entity that
    is not exactly right is in exactly one. `missed`: no predicted entity overlaps. `invented`: no
    right one does. `wrong type`: the same borders. `wrong boundary`: any other overlap, whatever
    the types.
    """
    groups: list[tuple[list[Span], list[Span]]] = []
    end = 0  # of the group
    # Those in only one of the two sets; whatever is in both is right.
    for span in sorted(right ^ predicted, key=lambda span: (span[1:], span[0])):
        if not groups or span[1] >= end:
            groups.append(([], []))
        missed, invented = groups[-1]
        (invented if span in predicted else missed).append(span)
        end = max(end, span[2])
    return [(_kind_of_mistake(*group), *group) for group in groups]


def _kind_of_mistake(gold: list[Span], guess: list[Span]) -> str:
    if not guess:
        return "missed"
    if not gold:
        return "invented"
    same_borders = [span[1:] for span in gold] == [span[1:] for span in guess]
    return "wrong type" if same_borders else "wrong boundary"


def in_words(tokens: Sequence[str], spans: list[Span]) -> str:
    """Entities as people read them: `Alice Moreau (PER), Paris (LOC)`."""
    return ", ".join(f"{' '.join(tokens[first:last])} ({kind})" for kind, first, last in spans)


def entity_places(words: Sequence[Place], tags: Sequence[str]) -> list[CharacterSpan]:
    """The entities that tags spell out, as type, first character and one past the last."""
    return [(kind, words[first][0], words[last - 1][1]) for kind, first, last in entity_spans(tags)]
