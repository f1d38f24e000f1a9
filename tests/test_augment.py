"""Augmentation: more examples out of few, with tags and labels that stay right."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl.data.augment import augment
from mtl.data.examples import Answer, NERExample, PairExample, QAExample, TextExample
from mtl.errors import ConfigError
from mtl.metrics import entity_spans
from mtl.toy import news, records

SYNONYMS = {"met": ["saw", "ran into"], "big": ["large"], "the": ["that"]}
WORDS = st.sampled_from(["met", "big", "The", "in", ".", "Met"])
NAMES = st.lists(st.sampled_from(["Ann", "Lee", "big", "met", "Oslo"]), min_size=1, max_size=3)


@st.composite
def sentences(draw):
    """Words and entities in any order, two of one type side by side among them."""
    tokens, tags = [], []
    pieces = st.tuples(st.just(""), st.lists(WORDS, min_size=1, max_size=1))
    entities = st.tuples(st.sampled_from(["PER", "LOC"]), NAMES)
    for kind, piece in draw(st.lists(pieces | entities, min_size=1, max_size=5)):
        tokens += piece
        tags += [f"{'I' if i else 'B'}-{kind}" if kind else "O" for i in range(len(piece))]
    return NERExample(tokens, tags)


@st.composite
def texts(draw):
    sentence = draw(sentences())
    label, tags = draw(st.sampled_from([None, "x", "y"])), draw(st.sampled_from([None, True]))
    return TextExample(sentence.text, sentence.tokens, label, tags and sentence.tags)


example_lists = st.lists(sentences() | texts(), min_size=1, max_size=4)


def mentions_of(example):
    return [(k, example.tokens[a:b]) for k, a, b in entity_spans(example.tags or ())]


def outside_of(example):
    """The words outside entities, between which an entity is None."""
    inside = {i: a for _, a, b in entity_spans(example.tags or ()) for i in range(a, b)}
    return [
        None if i in inside else token
        for i, token in enumerate(example.tokens)
        if inside.get(i, i) == i
    ]


def can_become(before, after):
    """Whether each word outside entities stayed, or gave way to one of its synonyms."""
    if not before:
        return not after
    word, *rest = before
    choices = [[word]]
    if word is not None:
        choices += [other.split() for other in SYNONYMS.get(word.lower(), ())]
        if word[0].isupper():
            choices = [[c[0][0].upper() + c[0][1:], *c[1:]] for c in choices]
    return any(after[: len(c)] == c and can_become(rest, after[len(c) :]) for c in choices)


@given(examples=example_lists, copies=st.integers(0, 3), seed=st.integers(0, 5))
def test_originals_come_first_and_each_has_its_copies(examples, copies, seed):
    made = augment(examples, copies, seed, SYNONYMS)
    assert made[: len(examples)] == examples
    assert len(made) == (1 + copies) * len(examples)
    for i, copy in enumerate(made):
        original = examples[i % len(examples)]
        assert type(copy) is type(original)
        if isinstance(copy, TextExample):
            assert copy.label == original.label
            assert (copy.tags is None) == (original.tags is None)
            assert copy.text == " ".join(copy.tokens)


@given(examples=example_lists, seed=st.integers(0, 5))
def test_entities_give_way_to_known_ones_of_their_type_and_words_to_their_synonyms(examples, seed):
    """That tags are IOB2 and as many as tokens the examples check themselves."""
    known = {mention for example in examples for mention in mentions_of(example)}
    for copy, original in zip(
        augment(examples, 1, seed, SYNONYMS)[len(examples) :], examples, strict=True
    ):
        kinds = [kind for kind, _ in mentions_of(copy)]
        assert kinds == [kind for kind, _ in mentions_of(original)]
        assert set(mentions_of(copy)) <= known
        assert can_become(outside_of(original), outside_of(copy))


@given(examples=example_lists, seed=st.integers(0, 5))
def test_the_seed_decides(examples, seed):
    assert augment(examples, 2, seed, SYNONYMS) == augment(examples, 2, seed, SYNONYMS)


def test_seeds_differ_and_so_do_the_copies():
    examples = news("train", 30)
    first, second = augment(examples, 2, 0), augment(examples, 2, 1)
    assert first != second
    assert first[30:60] != first[60:]
    assert first[30:60] != examples


def test_half_of_the_entities_and_of_the_words_with_synonyms_change():
    examples = [NERExample((f"N{i}", "met", "it"), ("B-PER", "O", "O")) for i in range(500)]
    made = augment(examples, 1, 0, {"met": ["saw"]})[500:]
    assert 200 < sum(copy.tokens[0] != f"N{i}" for i, copy in enumerate(made)) < 300
    assert 200 < sum(copy.tokens[1] == "saw" for copy in made) < 300
    assert {copy.tokens[2] for copy in made} == {"it"}


def test_tags_are_as_long_as_the_entity_that_was_put_in():
    examples = [
        NERExample(("Ann", "Bo", "met"), ("B-PER", "B-PER", "O")),
        NERExample(("Cy", "de", "Witt"), ("B-PER", "I-PER", "I-PER")),
    ]
    made = {(e.tokens, e.tags) for e in augment(examples, 400, 0)}
    tags = ("B-PER", "I-PER", "I-PER", "B-PER", "I-PER", "I-PER", "O")
    assert (("Cy", "de", "Witt", "Cy", "de", "Witt", "met"), tags) in made
    assert (("Ann",), ("B-PER",)) in made


def test_a_synonym_of_two_words_is_outside_entities_and_keeps_the_capital():
    example = NERExample(("Met", "Met"), ("O", "B-LOC"))
    made = {(e.tokens, e.tags) for e in augment([example], 20, 0, {"met": ["ran into"]})}
    assert made == {
        (("Met", "Met"), ("O", "B-LOC")),
        (("Ran", "into", "Met"), ("O", "O", "B-LOC")),
    }


def test_an_entity_is_likelier_the_more_often_it_occurs():
    names = ["Ann"] * 9 + ["Bo"]
    examples = [NERExample((name,), ("B-PER",)) for name in names]
    counts = Counter(e.tokens[0] for e in augment(examples, 50, 0)[10:])
    assert 0.85 < counts["Ann"] / 500 < 0.95


def test_untagged_texts_change_only_by_synonyms():
    example = TextExample("Big Ann met Bo", ("Big", "Ann", "met", "Bo"), "x")
    tagged = NERExample(("Cy",), ("B-PER",))
    made = augment([example, tagged], 30, 0, SYNONYMS)
    texts = {e.text for e in made if isinstance(e, TextExample)}
    assert texts == {
        f"{big} Ann {met} Bo" for big in ("Big", "Large") for met in ("met", "saw", "ran into")
    }
    assert all(e.tags is None and e.label == "x" for e in made if isinstance(e, TextExample))


def test_texts_without_tokens_are_changed_too():
    made = augment([TextExample("a big day", label="x")], 20, 0, SYNONYMS)
    assert {e.text for e in made} == {"a big day", "a large day"}
    assert {e.label for e in made} == {"x"}


def test_without_synonyms_the_words_outside_entities_stay():
    examples = news("train", 40) + [e for e in records("train", 40) if e.tags is not None]
    for copy, original in zip(augment(examples, 1, 3)[len(examples) :], examples, strict=True):
        assert outside_of(copy) == outside_of(original)


def test_no_examples_give_no_examples():
    assert augment([], 3, 0) == []


@pytest.mark.parametrize(
    "example", [QAExample("1", "Who?", "Ann", (Answer("Ann", 0),)), PairExample("a", "b")]
)
def test_questions_and_pairs_are_refused(example):
    with pytest.raises(ConfigError) as caught:
        augment([example], 1, 0)
    assert type(example).__name__ in str(caught.value)
    assert "leave augment out" in caught.value.faults[0].fix
    with pytest.raises(ConfigError, match=type(example).__name__):
        augment([NERExample(("a",), ("O",)), example], 0, 0)


@pytest.mark.parametrize("others", [[], "large", [" "], ["large", ""]])
def test_synonyms_that_are_no_list_of_words(others):
    with pytest.raises(ConfigError, match="'big'") as caught:
        augment([TextExample("a day")], 1, 0, {"big": others})
    assert caught.value.faults[0].found == repr(others)
