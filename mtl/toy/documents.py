"""A split, a number and a seed go in; long documents with nested entities and event words come out.

Types are PER, ORG, LOC and FAC (buildings). A name lies inside up to three others: [the guards of
[the library of [the University of [Oslo LOC] ORG] FAC] PER]. What happens is an event, what may
happen or did not is none: the same verb is an event word in one sentence, but not in another.

Each document is laid out as in LitBank (Bamman et al. 2019): its event words are the field `2`, the
number of their column in such a file.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..data.examples import NERExample
from ..data.nesting import iob2_tags, outermost
from ..metrics import Span
from .world import DAYS, World, words

LENGTH = 2000  # words of a document, to the end of its last sentence
DEEPEST = 4  # layers of entities
EVENTS = "2"  # the field that holds the event words


@dataclass(frozen=True)
class Action:
    """Something that one entity does to another: its verb as what happened, and as what may."""

    name: str
    base: str
    subject: str
    object: str


ACTIONS = tuple(
    Action(*action.split())
    for action in (
        "visited visit PER LOC",
        "left leave PER LOC",
        "painted paint PER LOC",
        "described describe PER LOC",
        "joined join PER ORG",
        "sued sue PER ORG",
        "praised praise PER ORG",
        "robbed rob PER ORG",
        "met meet PER PER",
        "married marry PER PER",
        "called call PER PER",
        "followed follow PER PER",
        "hired hire ORG PER",
        "warned warn ORG PER",
        "bought buy ORG ORG",
        "attacked attack ORG LOC",
    )
)
# How a phrase of one type becomes one of another, longer by a few words.
WRAPPINGS = {
    "LOC": (
        ("ORG", "the University of {}"),
        ("ORG", "the Bank of {}"),
        ("ORG", "{} Council"),
        ("FAC", "the harbour of {}"),
        ("FAC", "{} Airport"),
    ),
    "ORG": (
        ("FAC", "the library of {}"),
        ("FAC", "the {} tower"),
        ("PER", "the director of {}"),
        ("PER", "a lawyer of {}"),
    ),
    "FAC": (("PER", "the guards of {}"), ("PER", "the builder of {}")),
    "PER": (("PER", "the sister of {}"), ("FAC", "the house of {}"), ("PER", "a friend of {}")),
}
# {s} and {o}: what the verb joins; {event}: the verb as an event, {base} and {past}: as none.
SENTENCES = (
    "{s} {event} {o} .",
    "{s} {event} {o} on {day} .",
    "On {day} , {s} {event} {o} .",
    "After that , {s} quickly {event} {o} again .",
    "{s} may {base} {o} on {day} .",
    "{s} never {past} {o} .",
    "Did {s} {base} {o} ?",
    "Nobody knows whether {s} {past} {o} .",
)


@dataclass(frozen=True)
class Phrase:
    """Words, the entities in them, and which of them are event words."""

    words: tuple[str, ...]
    entities: tuple[Span, ...] = ()
    events: frozenset[int] = frozenset()


def documents(split: str, n: int, seed: int = 0) -> list[NERExample]:
    """Documents of some two thousand words; see the top of this file.

    Args:
        split: one of `SPLITS`.
        n: how many.
        seed: the same seed gives the same documents.
    """
    world = World(split, random.Random(f"documents {split} {seed}"))
    return [_document(world) for _ in range(n)]


def _document(world: World) -> NERExample:
    sentences: list[Phrase] = []
    while sum(len(sentence.words) for sentence in sentences) < LENGTH:
        sentences.append(_sentence(world))
    whole = _joined(sentences)
    outer = outermost(whole.entities)
    events = tuple("B-EVENT" if i in whole.events else "O" for i in range(len(whole.words)))
    return NERExample(
        whole.words,
        iob2_tags(len(whole.words), outer),
        {EVENTS: events},
        inner=tuple({*whole.entities} - {*outer}),
    )


def _sentence(world: World) -> Phrase:
    action = world.rng.choice(ACTIONS)
    fact = world.fact(action)
    fillers = {
        "{s}": _wrapped(fact.subject, action.subject, world.rng),
        "{o}": _wrapped(fact.object, action.object, world.rng),
        "{event}": Phrase((action.name,), events=frozenset({0})),
        "{past}": Phrase((action.name,)),
        "{base}": Phrase((action.base,)),
        "{day}": Phrase((world.rng.choice(DAYS),)),
    }
    parts = words(world.rng.choice(SENTENCES))
    sentence = _joined(fillers.get(part, Phrase((part,))) for part in parts)
    first, *rest = sentence.words
    # Not `capitalize`, which would make the rest of a name lower case.
    return replace(sentence, words=(first[0].upper() + first[1:], *rest))


def _wrapped(name: str, kind: str, rng: random.Random) -> Phrase:
    """A name, inside as many longer phrases as chance has it."""
    phrase = _entity(kind, Phrase(words(name)))
    for _ in range(DEEPEST - 1):
        if rng.random() < 0.5:
            break
        kind, template = rng.choice(WRAPPINGS[kind])
        parts = (phrase if part == "{}" else Phrase((part,)) for part in words(template))
        phrase = _entity(kind, _joined(parts))
    return phrase


def _entity(kind: str, phrase: Phrase) -> Phrase:
    """The phrase as an entity that holds those in it."""
    return Phrase(phrase.words, ((kind, 0, len(phrase.words)), *phrase.entities))


def _joined(phrases: Iterable[Phrase]) -> Phrase:
    """Phrases one after the other."""
    said: list[str] = []
    entities: list[Span] = []
    events: set[int] = set()
    for phrase in phrases:
        n = len(said)
        said += phrase.words
        entities += [(kind, n + first, n + last) for kind, first, last in phrase.entities]
        events |= {n + word for word in phrase.events}
    return Phrase(tuple(said), tuple(entities), frozenset(events))
