"""A split, a number and a seed go in; short messages and the emotions in them come out.

A message has one to three clauses. A clause tells a feeling of the writer, and that is a label; or
one of somebody else, or one that the writer does not have (any more), or nothing in particular, and
these are none. So a word such as "afraid" gives nothing away alone: whose feeling it is, and
whether it is there, count. Messages have up to three emotions; one in five has none.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from ..data.examples import TextExample
from .world import check_split, split_of


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


# {t} is what it is about; {s}, {o} and {p} are the one who feels: I, me, my, or she, her, her. In
# brackets is the verb for I, then the one for he and she.
FEELINGS: dict[str, tuple[str, ...]] = {
    "anger": _lines("""
        {s} [am/is] furious about {t}
        {t} drives {o} mad
        {s} [have/has] had enough of {t}
        {t} makes {p} blood boil
    """),
    "fear": _lines("""
        {s} [am/is] afraid of {t}
        {t} scares {o}
        {s} [lie/lies] awake because of {t}
        {s} [tremble/trembles] at the thought of {t}
    """),
    "gratitude": _lines("""
        {s} [am/is] so grateful for {t}
        {s} [owe/owes] them a lot for {t}
        {s} [thank/thanks] everybody for {t}
        {t} is a gift to {o}
    """),
    "joy": _lines("""
        {s} [am/is] so happy about {t}
        {t} made {p} day
        {s} [dance/dances] through the house because of {t}
        {t} puts a smile on {p} face
    """),
    "sadness": _lines("""
        {s} [cry/cries] over {t}
        {t} broke {p} heart
        {s} [feel/feels] so empty since {t}
        {t} brings tears to {p} eyes
    """),
    "surprise": _lines("""
        {s} never expected {t}
        {t} took {o} unawares
        {s} still [stare/stares] in wonder at {t}
        {t} came out of nowhere for {o}
    """),
}
LABELS = tuple(FEELINGS)
WRITER = ("I", "me", "my")
OTHERS = (("she", "her", "her"), ("he", "him", "his"), ("my sister", "my sister", "my sister's"))
DENIALS = (
    "it is not true that {clause}",
    "nobody can say that {clause}",
    "the days when {clause} are over",
)
PLAIN = _lines("""
    {t} is on Monday
    we talked about {t}
    there was something about {t} in the paper
    the others asked me about {t}
    I took some pictures of {t}
""")
THINGS = (  # the same for every feeling, so that they give nothing away
    *("the letter", "the new job", "the move", "the visit", "the exam", "the party", "the news"),
    *("the storm", "the wedding", "the journey", "the film", "the end of school", "the phone call"),
    *("the match", "the election", "the snow", "the parcel", "the concert", "the diagnosis"),
    *("the noise", "the new neighbour", "the change of plans", "the last day", "the photograph"),
)
UNSEEN_THINGS = (
    *("the postcard", "the earthquake", "the marriage", "the flight", "the novel", "the heat"),
    *("the speech", "the new boss", "the reunion", "the verdict"),
)
JOINED = (", and ", ", but ", ", while ", ". ", "! ")
OF_CLAUSES = {"own": 0.6, "others": 0.15, "denied": 0.1, "plain": 0.15}


def emotions(split: str, n: int, seed: int = 0) -> list[TextExample]:
    """Messages with the emotions in them as `labels`; see the top of this file.

    No clause appears in two splits; those of `test_unseen` are about things that the others never
    mention.

    Args:
        split: one of `SPLITS`.
        n: how many.
        seed: the same seed gives the same messages.
    """
    check_split(split)
    rng = random.Random(f"emotions {split} {seed}")
    return [_message(split, rng) for _ in range(n)]


def _message(split: str, rng: random.Random) -> TextExample:
    text, labels = "", set()
    for number in range(rng.choice((1, 2, 2, 3))):
        (kind,) = rng.choices(list(OF_CLAUSES), list(OF_CLAUSES.values()))
        emotion = rng.choice(LABELS)
        clause = _clause(kind, emotion, split, rng)
        sign = rng.choice(JOINED) if number else ""
        starts = not text or sign in (". ", "! ")
        text += sign + (clause[0].upper() + clause[1:] if starts else clause)
        labels |= {emotion} if kind == "own" else set()
    return TextExample(f"{text}.", labels=tuple(sorted(labels)))


def _clause(kind: str, emotion: str, split: str, rng: random.Random) -> str:
    """A clause that the split may use."""
    while True:
        template = rng.choice(PLAIN if kind == "plain" else FEELINGS[emotion])
        thing = rng.choice(UNSEEN_THINGS if split == "test_unseen" else THINGS)
        if split in ("test_unseen", split_of(f"{kind}|{template}|{thing}")):
            break
    who = rng.choice(OTHERS) if kind == "others" else WRITER
    clause = _filled(template, thing, who)
    return rng.choice(DENIALS).format(clause=clause) if kind == "denied" else clause


def _filled(template: str, thing: str, who: Sequence[str]) -> str:
    """A template about a thing, with the words for the one who feels."""
    verb = r"\1" if who == WRITER else r"\2"
    text = re.sub(r"\[(\w+)/(\w+)\]", verb, template)
    return text.format(t=thing, **dict(zip("sop", who, strict=True)))
