"""Toy pairs of sentences: the score is the share of equal parts, and no fact is in two splits."""

import re
from collections import Counter

import pytest

from mtl.data.words import split_words
from mtl.toy import SPLITS, paraphrases
from mtl.toy.paraphrases import ORDERS, PARTS
from mtl.toy.world import words


@pytest.fixture(scope="module")
def pairs():
    """400 pairs of sentences of each split."""
    return {split: paraphrases(split, 400) for split in SPLITS}


def words_of(text):
    return {text[start:end] for start, end in split_words(text)}


SMALL_WORDS = words(
    "the a an some in at on by near around along inside beside among amid across through between "
    "during over under after before past"
)
WORDINGS = {
    wording: (part, number, way)
    for part, ideas in enumerate(PARTS)
    for number, idea in enumerate(ideas)
    for way, wording in enumerate(idea)
}


def order_pattern(order):
    """One of `ORDERS` as a pattern with a group for each part."""
    pattern = re.sub(r"([,.])", r"\\\1", order)
    for part in range(len(PARTS)):
        those = "|".join(re.escape(w) for w, (p, _, _) in WORDINGS.items() if p == part)
        pattern = pattern.replace(f"{{{part}}}", f"(?P<part{part}>{those})")
    return re.compile(pattern)


ORDER_PATTERNS = [order_pattern(order) for order in ORDERS]


def ideas_of(sentence):
    """Idea and wording of each of the five parts of a sentence, read back from its words."""
    text = sentence[0].lower() + sentence[1:]
    (match,) = filter(None, (pattern.fullmatch(text) for pattern in ORDER_PATTERNS))
    reading = [WORDINGS[match[f"part{part}"]][1:] for part in range(len(PARTS))]
    return tuple(number for number, _ in reading), [way for _, way in reading]


def test_no_two_facts_make_the_same_sentence():
    """All wordings differ, and none is the beginning of another of its part."""
    assert len(WORDINGS) == 3 * sum(map(len, PARTS))
    for one, (part, *_) in WORDINGS.items():
        for other, (other_part, *_) in WORDINGS.items():
            assert one == other or part != other_part or not f"{other} ".startswith(f"{one} ")


def test_no_content_word_stands_in_two_wordings():
    counts = Counter(word for wording in WORDINGS for word in words_of(wording.lower()))
    assert {word for word, n in counts.items() if n > 1} <= set(SMALL_WORDS)


@pytest.mark.parametrize("split", SPLITS)
def test_pairs_without_a_score_say_the_same_in_other_words(pairs, split):
    same = [pair for pair in pairs[split] if pair.score is None]
    assert 190 < len(same) < 290
    for pair in same:
        assert ideas_of(pair.first)[0] == ideas_of(pair.second)[0]
        shared = words_of(pair.first.lower()) & words_of(pair.second.lower())
        assert shared <= {*SMALL_WORDS, ".", ","}


@pytest.mark.parametrize("split", SPLITS)
def test_a_score_is_the_share_of_parts_that_are_the_same(pairs, split):
    scored = [pair for pair in pairs[split] if pair.score is not None]
    for pair in scored:
        (first, _), (second, _) = ideas_of(pair.first), ideas_of(pair.second)
        assert pair.score == sum(a == b for a, b in zip(first, second, strict=True)) / 5
    assert {pair.score for pair in scored} == {0.0, 0.2, 0.4, 0.6, 0.8}


def test_only_test_unseen_pairs_the_first_wording_with_the_third(pairs):
    for split, those in pairs.items():
        ways = set()
        for pair in those:
            (_, first), (_, second) = ideas_of(pair.first), ideas_of(pair.second)
            ways |= set(zip(first, second, strict=True))
        unseen = {(0, 2), (2, 0)}
        assert ways == (unseen if split == "test_unseen" else {(0, 1), (1, 0), (1, 2), (2, 1)})


def test_no_fact_of_a_pair_stands_in_two_splits(pairs):
    """But for `test_unseen`, which words the facts of `test` in another way."""
    facts = {
        split: {ideas_of(text)[0] for pair in those for text in (pair.first, pair.second)}
        for split, those in pairs.items()
    }
    assert all(len(those) > 300 for those in facts.values())
    assert not facts["train"] & facts["validation"]
    assert not (facts["train"] | facts["validation"]) & (facts["test"] | facts["test_unseen"])


def test_training_pairs_hold_the_words_of_all_splits(pairs):
    known = {
        word
        for pair in paraphrases("train", 1000)
        for text in (pair.first, pair.second)
        for word in words_of(text)
    }
    for those in pairs.values():
        for pair in those:
            assert words_of(pair.first) | words_of(pair.second) <= known
