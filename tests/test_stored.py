"""Examples on disk are the examples that were given, and a kill leaves nothing half written."""

import sys
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import Process
from reading import tmp_path_shared

from mtl.data.examples import Answer, NERExample, PairExample, QAExample, TextExample, TokenExample
from mtl.data.remembered import numbers_where, remembered
from mtl.data.stored import StoredExamples, from_line, kinds_of, store, to_line
from mtl.errors import ConfigError, DataError

SENTENCES = [TextExample(f"text {i}", label="ab"[i % 2]) for i in range(20)]

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=9).filter(str.strip)
names = st.one_of(texts, st.lists(texts, max_size=3, unique=True).map(tuple))
numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
scores = st.one_of(st.none(), st.integers(-1, 1), st.floats(-1, 1))


@st.composite
def tagged(draw, kind):
    n = draw(st.integers(1, 5))
    tokens = draw(st.lists(texts, min_size=n, max_size=n))
    any_tags = st.lists(texts, min_size=n, max_size=n).map(tuple)
    fields = draw(st.dictionaries(texts, any_tags, max_size=2))
    if kind is TokenExample:
        return TokenExample(tokens, draw(st.one_of(st.none(), any_tags)), fields)
    return NERExample(tokens, ("B-X", *["I-X"] * (n - 1)), fields, draw(inner_of(n)))


def inner_of(n):
    spans = st.tuples(texts, st.integers(0, n - 1)).map(lambda s: (s[0], s[1], s[1] + 1))
    return st.lists(spans, max_size=2, unique=True).map(tuple)


@st.composite
def labelled(draw):
    n = draw(st.integers(1, 4))
    tags, inner = draw(st.sampled_from([(None, ()), (("B-X", *["I-X"] * (n - 1)), None)]))
    inner = draw(inner_of(n)) if inner is None else inner
    tokens = tuple(draw(st.lists(texts, min_size=n, max_size=n))) if tags else ()
    label = draw(st.one_of(st.none(), texts))
    several = draw(st.one_of(st.none(), st.lists(texts, unique=True, max_size=3)))
    fields = draw(st.dictionaries(texts, names, max_size=2))
    measured = draw(st.dictionaries(texts, numbers, max_size=2))
    return TextExample(draw(texts), tokens, label, tags, fields, inner, several, measured)


@st.composite
def questions(draw):
    context = draw(texts)
    answers = draw(st.sampled_from([(), (Answer(context, 0),), (Answer(context, 0),) * 2]))
    return QAExample(draw(st.text("ab\n1")), draw(texts), context, answers, answers[:1])


pairs = st.builds(
    PairExample, texts, texts, scores, st.none() | texts, st.none() | texts, st.none() | numbers
)


@given(st.one_of(tagged(TokenExample), tagged(NERExample), labelled(), questions(), pairs))
def test_an_example_comes_back_equal_and_looks_the_same(example):
    back = from_line(to_line(example))
    assert back == example
    assert repr(back) == repr(example)  # 1 and 1.0, lists and tuples are equal, or look it
    assert type(back) is type(example)
    assert back.inputs == example.inputs


@tmp_path_shared
@given(examples=st.lists(st.one_of(labelled(), pairs), max_size=6))
def test_a_stored_sequence_is_a_list_that_cannot_change(tmp_path_factory, examples):
    stored = store(iter(examples), tmp_path_factory.mktemp("stored") / "them")
    n = len(examples)
    assert len(stored) == n
    assert list(stored) == [stored[i] for i in range(n)] == examples
    assert [stored[i - n] for i in range(n)] == examples
    for part in (slice(1, 4), slice(None, None, -2), slice(n, None)):
        assert list(stored[part]) == examples[part]
        assert list(stored[part][1:]) == examples[part][1:]  # a part of a part
    for beyond in (n, -n - 1):
        with pytest.raises(IndexError):
            stored[beyond]
    assert kinds_of(stored) == kinds_of(examples)
    assert f"{n:,} examples in {stored.folder}" in repr(stored)


def test_parts_and_order_have_hashes_of_their_own(tmp_path):
    stored = store(SENTENCES, tmp_path / "a")
    again = store(iter(SENTENCES), tmp_path / "b")
    assert stored.hash == again.hash
    hashes = [s.hash for s in (stored, stored[1:], stored[::-1], stored[:5])]
    assert len(set(hashes)) == 4
    assert stored[2:4].hash == again[2:4].hash


def test_a_class_that_is_not_ours_is_not_stored(tmp_path):
    @dataclass(frozen=True)
    class Own(TextExample):
        pass

    with pytest.raises(ConfigError, match=r"only examples of the package's own classes"):
        store([TextExample("a"), Own("b")], tmp_path / "own")
    assert list(tmp_path.iterdir()) == []


def test_what_breaks_off_leaves_nothing(tmp_path):
    def broken():
        yield TextExample("a")
        raise DataError("the file ends here")

    with pytest.raises(DataError, match="the file ends here"):
        store(broken(), tmp_path / "them")
    assert list(tmp_path.iterdir()) == []


def test_without_space_it_says_where_to_find_some(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be stored on disk.*\n.*\n.*MTL_CACHE"):
        store(SENTENCES, tmp_path / "file" / "them")


def test_a_folder_that_lost_a_file_is_refused(tmp_path):
    store(SENTENCES, tmp_path / "them")
    (tmp_path / "them" / "places.i64").unlink()
    with pytest.raises(DataError, match="remove the folder"):
        StoredExamples(tmp_path / "them")


def store_slowly(folder):
    def examples():
        yield TextExample("a")
        print("started", flush=True)
        sys.stdin.read()

    store(examples(), folder)


def test_a_kill_while_storing_leaves_nothing_in_use(tmp_path):
    process = Process(store_slowly, tmp_path / "them")
    assert process.stdout.readline() == "started\n"
    process.kill()
    process.wait(30)
    assert not (tmp_path / "them").exists()
    assert list(store(SENTENCES, tmp_path / "them")) == SENTENCES


def test_a_question_is_asked_once(tmp_path):
    stored = store(SENTENCES, tmp_path / "them")
    asked = []

    def answer():
        asked.append(1)
        return {"labels": ("a", "b")}

    for examples in (stored, store(SENTENCES, tmp_path / "again"), StoredExamples(stored.folder)):
        assert remembered([examples], "labels", answer) == {"labels": ["a", "b"]}
    assert len(asked) == 2  # once for each folder
    remembered([stored], "other labels", answer)
    remembered([stored, stored[:3]], "labels", answer)
    remembered([stored[:3]], "labels", answer)
    assert len(asked) == 5
    # In memory, nothing is kept, and nothing changes on the way.
    assert remembered([SENTENCES], "labels", answer) == {"labels": ("a", "b")}
    assert len(asked) == 6


def test_nothing_is_remembered_of_examples_of_other_classes(tmp_path):
    @dataclass(frozen=True)
    class Own:
        inputs: tuple = ()

    stored, asked = store(SENTENCES, tmp_path / "them"), []
    for _ in range(2):
        remembered([stored, [Own()]], "labels", lambda: asked.append(1))
    assert len(asked) == 2


def test_a_broken_answer_is_asked_again(tmp_path):
    stored = store(SENTENCES, tmp_path / "them")
    remembered([stored], "labels", lambda: 1)
    (kept,) = (stored.folder / "answers").iterdir()
    kept.write_text("{")
    assert remembered([stored], "labels", lambda: 2) == 2


def test_numbers_of_wanted_examples(tmp_path):
    stored = store(SENTENCES, tmp_path / "them")
    for _ in range(2):
        found = numbers_where(stored, "b", lambda example: example.label == "b")
        assert found.tolist() == list(range(1, 20, 2))
        assert list(stored.select(found)) == SENTENCES[1::2]
    # Of a part, the numbers are those within the part.
    assert numbers_where(stored[1:4], "b", lambda e: e.label == "b").tolist() == [0, 2]
