"""A split, a number and a seed go in; pairs of sentences that say the same thing come out.

A fact has five parts: who, did, what, where, when. Each part is an idea with three wordings; the
two sentences of a pair word every part differently, and share no words except ones like "the".
Pairs with a score differ in some parts: the score is the share of parts that are the same, and the
nearest of them, with four parts of five, are decoys among the candidates of retrieval.

Pairs word an idea in the first and the second way, or in the second and the third. Only those of
`test_unseen` word it in the first and the third, so a model that gets them right has understood
that two wordings that both mean the same as a third mean the same.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from ..data.examples import PairExample
from .world import check_split, split_of

Idea = tuple[str, ...]  # its wordings
Fact = tuple[Idea, ...]


def _ideas(text: str) -> tuple[Idea, ...]:
    """One idea per line, its wordings separated by slashes."""
    return tuple(
        tuple(wording.strip() for wording in line.split("/")) for line in text.strip().splitlines()
    )


WHO = _ideas("""
    the doctor / a physician / the medic
    the teacher / an instructor / the tutor
    the child / a kid / the youngster
    the policeman / an officer / the constable
    the farmer / a grower / the peasant
    the lawyer / an attorney / the barrister
    the thief / a robber / the burglar
    the singer / a vocalist / the soprano
    the sailor / a seaman / the mariner
    the soldier / a trooper / the private
    the cook / a chef / the caterer
    the king / a monarch / the ruler
""")
DID = _ideas("""
    bought / purchased / acquired
    repaired / fixed / mended
    lost / mislaid / misplaced
    found / discovered / spotted
    broke / damaged / wrecked
    stole / swiped / pinched
    cleaned / washed / scrubbed
    hid / concealed / stashed
    praised / admired / applauded
    drew / sketched / pictured
    carried / transported / hauled
    sold / auctioned / peddled
""")
WHAT = _ideas("""
    a car / the automobile / some vehicle
    a bicycle / the bike / some two-wheeler
    a photo / the snapshot / some photograph
    a hut / the cabin / some shed
    a boat / the canoe / some dinghy
    a phone / the mobile / some handset
    a sofa / the couch / some settee
    a coat / the jacket / some anorak
    a letter / the note / some message
    a ring / the jewel / some trinket
    a computer / the laptop / some notebook
    a clock / the timepiece / some watch
""")
WHERE = _ideas("""
    in the forest / among trees / near the woods
    at the shop / inside a store / by the market
    by the sea / along a coast / on the beach
    in the city / through a town / around the downtown
    at school / inside a classroom / during the lesson
    at the airport / beside a terminal / near the runway
    in the kitchen / beside a stove / by the oven
    in the garden / across a lawn / between the flowers
    at the station / along a platform / near the trains
    in the hospital / inside a clinic / on the ward
""")
WHEN = _ideas("""
    in the morning / at dawn / before breakfast
    at night / after dark / past bedtime
    in winter / during January / amid snow
    in summer / during July / amid heat
    at noon / around midday / over lunch
    on Sunday / over a weekend / during church
    in war / amid battle / under fire
    at Christmas / during Advent / around Santa's visit
""")
PARTS = (WHO, DID, WHAT, WHERE, WHEN)
ORDERS = ("{0} {1} {2} {3} {4}.", "{4}, {0} {1} {2} {3}.", "{3}, {0} {1} {2} {4}.")
SCORED = 0.4  # of the pairs


def paraphrases(split: str, n: int, seed: int = 0) -> list[PairExample]:
    """Pairs of sentences; see the top of this file.

    Args:
        split: one of `SPLITS`.
        n: how many.
        seed: the same seed gives the same pairs.
    """
    check_split(split)
    rng = random.Random(f"paraphrases {split} {seed}")
    pairs: list[PairExample] = []
    while len(pairs) < n:
        fact = draw_fact(split, rng)
        pairs.append(_pair(fact, fact, None, split, rng))
        # p scored pairs for each of the others make p / (1 + p) of all, which is SCORED.
        if rng.random() < SCORED / (1 - SCORED) and len(pairs) < n:
            other = _change(fact, split, rng)
            same = sum(a == b for a, b in zip(fact, other, strict=True))
            pairs.append(_pair(fact, other, same / len(PARTS), split, rng))
    return pairs


def is_in(fact: Fact, split: str) -> bool:
    """Whether a split may use a fact; `test_unseen` has the facts of `test`."""
    return split_of("|".join(idea[0] for idea in fact)) == split.removesuffix("_unseen")


def draw_fact(split: str, rng: random.Random) -> Fact:
    """Any fact of the split."""
    while True:
        fact = tuple(rng.choice(ideas) for ideas in PARTS)
        if is_in(fact, split):
            return fact


def _change(fact: Fact, split: str, rng: random.Random) -> Fact:
    """Another fact of the split that has one to five parts changed."""
    while True:
        changed = rng.sample(range(len(PARTS)), rng.randint(1, len(PARTS)))
        other = tuple(
            rng.choice([idea for idea in ideas if idea != fact[i]]) if i in changed else fact[i]
            for i, ideas in enumerate(PARTS)
        )
        # The changed fact too: a sentence of training must not come back in the test.
        if is_in(other, split):
            return other


def _pair(
    first: Fact, second: Fact, score: float | None, split: str, rng: random.Random
) -> PairExample:
    """Both facts as sentences that share no wording."""
    chosen = draw_ways(split, rng)
    one = sentence(first, [way for way, _ in chosen], rng)
    other = sentence(second, [way for _, way in chosen], rng)
    return PairExample(one, other, score)


def draw_ways(split: str, rng: random.Random) -> list[tuple[int, int]]:
    """For each part of a fact, how the first sentence words it, and how the second does."""
    ways = ((0, 2), (2, 0)) if split == "test_unseen" else ((0, 1), (1, 0), (1, 2), (2, 1))
    return [rng.choice(ways) for _ in PARTS]


def sentence(fact: Fact, ways: Sequence[int], rng: random.Random) -> str:
    """A fact in words, given the wording of each of its parts."""
    wordings = [idea[way] for idea, way in zip(fact, ways, strict=True)]
    text = rng.choice(ORDERS).format(*wordings)
    return text[0].upper() + text[1:]
