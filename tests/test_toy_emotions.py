"""Toy emotions: no clause in two splits, and no single word that gives a label away."""

import itertools
import re
from collections import Counter

import pytest

from mtl.data.words import split_words
from mtl.toy import SPLITS, emotions
from mtl.toy.emotions import LABELS, UNSEEN_THINGS


@pytest.fixture(scope="module")
def messages():
    return {split: emotions(split, 600) for split in SPLITS}


def clauses(example):
    parts = re.split(r", (?:and|but|while) |[.!] ", example.text.lower().rstrip("."))
    return {part.strip() for part in parts if part}


@pytest.mark.parametrize("split", SPLITS)
def test_messages_have_several_emotions_one_or_none(messages, split):
    counts = Counter(len(e.labels) for e in messages[split])
    assert set(counts) == {0, 1, 2, 3}
    assert 0.1 < counts[0] / 600 < 0.3
    every = Counter(label for e in messages[split] for label in e.labels)
    assert set(every) == set(LABELS)
    assert max(every.values()) < 1.5 * min(every.values())


def test_no_clause_is_in_two_splits(messages):
    found = {split: set().union(*map(clauses, messages[split])) for split in SPLITS}
    for i, first in enumerate(SPLITS):
        for second in SPLITS[i + 1 :]:
            assert not found[first] & found[second]


def test_things_of_test_unseen_are_new(messages):
    said = " ".join(e.text.lower() for split in SPLITS[:3] for e in messages[split])
    assert not [thing for thing in UNSEEN_THINGS if re.search(rf"\b{thing}\b", said)]


def test_the_words_of_a_feeling_do_not_give_it_away(messages):
    """Of the words that stand for a feeling, each is often said of somebody else, or denied."""
    for word, label in {"furious": "anger", "grateful": "gratitude", "scares": "fear"}.items():
        with_word = [e for e in messages["train"] if word in e.text]
        with_label = sum(label in e.labels for e in with_word)
        assert 0.5 * len(with_word) < with_label < 0.9 * len(with_word)


def test_verbs_agree_and_every_slot_is_filled(messages):
    for example in (e for split in SPLITS for e in messages[split]):
        assert not set(example.text) & set("[]{}/")
        words = [example.text[s:e].lower() for s, e in split_words(example.text)]
        pairs = set(itertools.pairwise(words))
        assert not pairs & {("i", "is"), ("she", "am"), ("he", "lie"), ("i", "lies")}
