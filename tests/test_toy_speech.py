"""The toy data with parts of speech: its words are ambiguous, its sentences are not."""

from itertools import pairwise

import pytest

import mtl
from mtl.metrics import entity_spans
from mtl.toy import part_of_speech
from mtl.toy.speech import BOTH, GRAMMAR, NEW_ADJECTIVES, NEW_NOUNS, NEW_PASTS, NEW_VERBS
from mtl.toy.world import SEEN, SPLITS, UNSEEN


@pytest.fixture(scope="module")
def toy():
    return {split: part_of_speech(split, 400) for split in SPLITS}


def tags_of(examples, word):
    return {t for e in examples for w, t in zip(e.tokens, e.tags, strict=True) if w == word}


def test_the_grammar_names_only_what_there_is():
    known = {*GRAMMAR, "noun", "nouns", "base", "third", "past", "adjective", "PER", "ORG", "LOC"}
    parts = {part for rules in GRAMMAR.values() for rule in rules for part in rule.split()}
    assert {part for part in parts if "/" not in part} <= known


def test_many_words_have_several_tags(toy):
    for word in BOTH:
        assert {"NOUN", "VERB"} <= tags_of(toy["train"], word)
    assert tags_of(toy["train"], "light") == {"NOUN", "VERB", "ADJ"}
    assert tags_of(toy["train"], "will") == {"NOUN", "VERB", "AUX"}
    assert tags_of(toy["train"], "that") == {"DET", "SCONJ"}
    assert tags_of(toy["train"], "to") == {"ADP", "PART"}


def test_an_stands_before_vowels(toy):
    pairs = {pair for e in toy["train"] for pair in pairwise(w.lower() for w in e.tokens)}
    following = {
        article: {next_[0] for word, next_ in pairs if word == article} for article in ("a", "an")
    }
    assert following["an"] <= {*"aeiou"}
    assert following["a"].isdisjoint("aeiou")


def test_a_word_alone_does_not_tell_its_tag(toy):
    task = mtl.TaggingTask("pos", mtl.Dataset(toy["train"]))
    right = {split: task.baselines(toy[split])["tag_of_word"] for split in ("test", "test_unseen")}
    assert 0.85 < task.score(toy["test"], right["test"])["accuracy"] < 0.95
    assert task.score(toy["test_unseen"], right["test_unseen"])["accuracy"] < 0.8


def test_no_sentence_stands_in_two_splits(toy):
    texts = {split: {example.text for example in toy[split]} for split in SPLITS}
    for split in SPLITS[1:]:
        assert texts["train"].isdisjoint(texts[split])


def test_new_words_and_names_stand_only_in_test_unseen(toy):
    new = {*NEW_NOUNS, *NEW_VERBS, *NEW_ADJECTIVES, *NEW_PASTS, *UNSEEN.first, *UNSEEN.last}
    words = {split: {word for example in toy[split] for word in example.tokens} for split in SPLITS}
    for split in SPLITS[:3]:
        assert words[split].isdisjoint(new)
    assert words["test_unseen"].isdisjoint({*SEEN.first, *SEEN.last})
    assert len(words["test_unseen"] & new) > 30


def test_entities_are_the_names(toy):
    kinds = {"PER": "first", "ORG": "organisations", "LOC": "places"}
    for example in toy["validation"]:
        for kind, first, last in entity_spans(example.fields["ner"]):
            name = " ".join(example.tokens[first:last])
            assert (name.split()[0] if kind == "PER" else name) in getattr(SEEN, kinds[kind])
        named = [tag != "O" for tag in example.fields["ner"]]
        assert named == [tag == "PROPN" for tag in example.tags]
