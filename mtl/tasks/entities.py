"""The tags of a sentence go in; its entities, and what is wrong with predicted ones, come out."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.words import Entity as CharacterSpan
from ..data.words import Place
from ..metrics import Span, entity_spans


def compare_entities(
    right: Sequence[str], predicted: Sequence[str]
) -> list[tuple[str, list[Span], list[Span]]]:
    """The mistakes in the tags of a sentence: kind, right entities, predicted entities.

    Entities that overlap, directly or through others, are one mistake, so that each entity that
    is not exactly right is in exactly one. `missed`: no predicted entity overlaps. `invented`: no
    right one does. `wrong type`: the same borders. `wrong boundary`: any other overlap, whatever
    the types.
    """
    gold, guess = set(entity_spans(right)), set(entity_spans(predicted))
    groups: list[tuple[list[Span], list[Span]]] = []
    end = 0  # of the group, in words
    # Those in only one of the two sets; whatever is in both is right.
    for span in sorted(gold ^ guess, key=lambda span: span[1:]):
        if not groups or span[1] >= end:
            groups.append(([], []))
        right_ones, predicted_ones = groups[-1]
        (predicted_ones if span in guess else right_ones).append(span)
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
