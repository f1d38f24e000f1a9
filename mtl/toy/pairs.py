"""A split, a number and a seed go in; pairs of sentences with a class, or with a score, come out.

The facts and their wordings are those of `paraphrases`: who, did, what, where, when. A quarter of
the parts have the same words in both sentences, so that counting words helps a little.

Inference. Both sentences say who did what, and where or when. As in SNLI (Bowman et al. 2015,
section 2.1) they are about one event. If both name the place, or both the time, they say the same
(entailment), or differ in one part (contradiction); if one names the place and the other the time,
nobody knows (neutral). Each part of a hypothesis is as frequent in one class as in another, so that
the hypothesis alone says nothing.

Similarity. The score is how many of the five parts are the same, from 0 to 5.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from ..data.examples import PairExample
from .paraphrases import PARTS, Fact, draw_fact, draw_ways, is_in, sentence
from .world import check_split

CLASSES = ("entailment", "neutral", "contradiction")
SAME_WORDS = 0.25  # of the parts
_WHAT, _WHERE, _WHEN = 2, 3, 4


def inference(split: str, n: int, seed: int = 0) -> list[PairExample]:
    """Premises and hypotheses with a class, equally many of each; see the top of this file.

    Args:
        split: one of `SPLITS`.
        n: how many.
        seed: the same seed gives the same pairs.
    """
    check_split(split)
    rng = random.Random(f"inference {split} {seed}")
    return [_claim(CLASSES[i % len(CLASSES)], split, rng) for i in range(n)]


def similarity(split: str, n: int, seed: int = 0) -> list[PairExample]:
    """Pairs of sentences with a score from 0 to 5, equally many of each; arguments as above."""
    check_split(split)
    rng = random.Random(f"similarity {split} {seed}")
    return [_scored(i % (len(PARTS) + 1), split, rng) for i in range(n)]


def _claim(label: str, split: str, rng: random.Random) -> PairExample:
    named = rng.choice((_WHERE, _WHEN))
    named_later = _WHERE + _WHEN - named if label == "neutral" else named
    changed = [rng.choice((_WHAT, named))] if label == "contradiction" else []
    fact, other = _two_facts(changed, split, rng)
    ways = _ways(split, rng)
    premise = _said(fact, [way for way, _ in ways], named, rng)
    hypothesis = _said(other, [way for _, way in ways], named_later, rng)
    return PairExample(premise, hypothesis, label=label)


def _scored(same: int, split: str, rng: random.Random) -> PairExample:
    changed = rng.sample(range(len(PARTS)), len(PARTS) - same)
    fact, other = _two_facts(changed, split, rng)
    ways = _ways(split, rng)
    first = sentence(fact, [way for way, _ in ways], rng)
    second = sentence(other, [way for _, way in ways], rng)
    return PairExample(first, second, same / len(PARTS), raw_score=same)


def _two_facts(changed: Sequence[int], split: str, rng: random.Random) -> tuple[Fact, Fact]:
    """Two facts of the split that differ in just these parts."""
    while True:
        # Both anew: of a fact, no other may be left that differs only in its object.
        fact = draw_fact(split, rng)
        other = tuple(
            rng.choice([idea for idea in ideas if idea != fact[i]]) if i in changed else fact[i]
            for i, ideas in enumerate(PARTS)
        )
        if is_in(other, split):
            return fact, other


def _ways(split: str, rng: random.Random) -> list[tuple[int, int]]:
    """For each part, how each sentence words it: seldom both in the same way."""
    same = [(way, way) for way in range(3)]
    return [rng.choice(same) if rng.random() < SAME_WORDS else w for w in draw_ways(split, rng)]


def _said(fact: Fact, ways: Sequence[int], named: int, rng: random.Random) -> str:
    """Who did what, and the place or the time, in words."""
    wordings = [idea[way] for idea, way in zip(fact, ways, strict=True)]
    text = rng.choice(("{0} {1} {2} {3}.", "{3}, {0} {1} {2}."))
    text = text.format(*wordings[:3], wordings[named])
    return text[0].upper() + text[1:]
