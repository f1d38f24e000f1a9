"""A large file gives what a small one does, from disk: examples, faults, notes, and what is learned
from them."""

import json
import os
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import lines, tmp_path_shared

import mtl
from mtl.data.readers import large
from mtl.data.stored import StoredExamples
from mtl.errors import DataError, MTLError

SENTENCE = {"sentence": "Ann ran home."}
RECORDS = [  # what records may hold, and what may be wrong with them
    {**SENTENCE, "label": "sport", "ner_tags": ["B-PER", "O", "O", "O"]},
    {**SENTENCE, "label": "city", "ner_tags": ["I-PER", "O", "O", "O"]},
    {**SENTENCE, "label": None, "ner_tags": ["O", "I-PER", "O"]},
    {**SENTENCE, "label": ["sport", "city"]},
    {**SENTENCE, "label": 3, "score": 2.5},
    {**SENTENCE, "label": True, "score": "high"},
    {**SENTENCE, "tags": "B-PER O O O", "label": "city"},
    {**SENTENCE, "tags": "O O B-LOC O", "topic": "x"},
    {**SENTENCE, "ner_tags": [1, 0, 0, 0]},
    {**SENTENCE, "ner_tags": ["B-PER"]},
    {**SENTENCE, "ner_tags": ["B_PER", "?", "O", "O"]},
    {**SENTENCE, "labels": [[0, 3, "PER"]]},
    {**SENTENCE, "entities": [{"start": 0, "end": 3, "label": "PER"}]},
    {**SENTENCE, "entities": [{"start": 1, "end": 99, "label": "PER"}]},
    {**SENTENCE, "entities": []},
    {"tokens": ["Ann", "ran"], "ner": [[0, 0, "PER"]]},
    {"tokens": ["Ann", "ran"], "ner_tags": ["B-PER", "O"], "text": "Ann walked"},
    {"text": "Ann", "answer": "reject"},
    {"text": " ", "label": "sport"},
    ["Ann ran", {"cats": {"sport": 1.0}}],
    None,
    {"tokens": "Ann"},
]
PAIR = {"sentence1": "Ann ran.", "sentence2": "Ann went."}
PAIRS = [
    *[{**PAIR, "score": score} for score in (3, 4.5, 0.5, -1, "high", 90)],
    *[{**PAIR, "label": label} for label in ("same", 0, 1, 2, "-", -1, True, ["a"])],
    {**PAIR, "score": 0.5, "label": "same", "note": 1},
    {"query": "Who?", "pos": ["Ann.", "Bob."], "neg": ["Cem.", "Dora.", "Ella."]},
    {"sentence1": "Ann ran.", "sentence2": " "},
    PAIR,
]
QUESTION = {"question": "Who?", "context": "Ann met Ann.", "id": "a"}
QUESTIONS = [
    {**QUESTION, "answers": [{"text": "Ann", "answer_start": 8}]},
    {**QUESTION, "answers": [{"text": "Ann", "answer_start": 3}]},
    {**QUESTION, "answers": ["Ann"], "id": "b"},
    {**QUESTION, "answers": []},
    {**QUESTION, "answers": {"text": [], "answer_start": []}, "id": 3},
    {**QUESTION, "answers": ["Ann"], "is_impossible": True},
    {"context": "Ann ran.", "qas": [{"id": "c", "question": "Who?", "answers": ["Bob"]}]},
    {"question": "Who?"},
]
BROKEN = ['{"sentence": "Ann', "", '{"sentence": "\\ud800"}', "{'sentence': 1}"]


@st.composite
def some_lines(draw):
    """Lines of one kind of records, some of them broken. The first, which shows it, is not."""
    records = draw(st.sampled_from([RECORDS, PAIRS, QUESTIONS]))
    lines = [*map(json.dumps, records), *BROKEN]
    few = draw(st.lists(st.sampled_from(lines), max_size=3)) or lines
    return [json.dumps(records[0]), *draw(st.lists(st.sampled_from(few), max_size=8))]


def read_all(path, **options):
    """What reading a file gives, or raises, and what it warns of."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            found = mtl.read(path, **options)
        except MTLError as error:
            return type(error), error.faults, str(error), []
    notes = [(note.category, str(note.message)) for note in told]
    return found.form, list(found), list(map(repr, found)), notes


@pytest.fixture
def all_are_large(monkeypatch, tmp_path):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(large, "LARGE", 0)


@tmp_path_shared
@given(
    content=some_lines(),
    start=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    break_=st.sampled_from(["\n", "\r\n"]),
    options=st.sampled_from(
        [{}, {"strict": True}, {"fields": ["topic"]}, {"label_names": ["O", "B-PER"]}]
    ),
    on_error=st.sampled_from(["stop", "skip"]),
)
def test_a_large_file_reads_like_a_small_one(
    tmp_path_factory, content, start, break_, options, on_error
):
    folder = tmp_path_factory.mktemp("large")
    path = folder / "data.jsonl"
    path.write_bytes(start + break_.join([*content, ""]).encode())
    small = read_all(path, on_error=on_error, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTL_CACHE", str(folder / "cache"))
        patch.setattr(large, "LARGE", 0)
        assert read_all(path, on_error=on_error, **options) == small
        if isinstance(small[0], str):
            # From what was stored, the notes included; without reading the file.
            patch.setattr(large, "line_rows", None)
            assert read_all(path, on_error=on_error, **options) == small


def test_faults_beyond_a_number_are_only_counted(tmp_path, all_are_large, monkeypatch):
    monkeypatch.setattr(large, "MOST_FAULTS", 30)
    path = tmp_path / "data.jsonl"
    path.write_text(lines(SENTENCE) + "no record\n" * 99)
    with pytest.raises(DataError) as caught:
        mtl.read(path)
    assert len(caught.value.faults) == 30
    assert str(caught.value).endswith("99 problems in all (the first 20 are shown)")
    assert str(caught.value.at(what="here: ")).endswith(
        "99 problems in all (the first 20 are shown)"
    )
    assert ("note", "69 more problems, which are not listed") in mtl.check_file(path).facts


def test_a_byte_that_is_not_utf8_is_found_in_its_line(tmp_path, all_are_large, monkeypatch):
    path = tmp_path / "data.jsonl"
    monkeypatch.setattr(large, "HEAD", 60)
    content = lines(*[SENTENCE] * 9).encode()
    path.write_bytes(content + b'{"text": "Z\xfcrich"}\n')
    stored, small = read_all(path), None
    with monkeypatch.context() as patch:
        patch.setattr(large, "LARGE", 10**9)
        small = read_all(path)
    assert stored == small
    assert stored[1][0].line == 10


@pytest.mark.parametrize("change", ["content", "names", "options", "on_error"])
def test_what_has_changed_is_read_again(tmp_path, all_are_large, change):
    path = tmp_path / "data.jsonl"
    path.write_text(lines({**SENTENCE, "label": 0, "topic": "x"}, {**SENTENCE, "label": 1}))
    before = os.stat(path)
    first = read_all(path)
    options = {}
    if change == "content":  # as long as before
        path.write_text(path.read_text().replace("Ann", "Bob"))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    if change == "names":
        (tmp_path / "labels.txt").write_text("good\nbad\n")
    if change == "options":
        options = {"fields": ["topic"]}
    if change == "on_error":
        options = {"on_error": "skip"}
    again = read_all(path, **options)
    assert (again == first) == (change == "on_error")
    assert len(list((tmp_path / "cache" / "examples").iterdir())) == 2


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, all_are_large, monkeypatch):
    path = tmp_path / "data.jsonl"
    path.write_text(lines(SENTENCE))
    states = iter(["old", "new"])
    monkeypatch.setattr(large, "identity_of_files", lambda _: [next(states)])
    with pytest.raises(DataError, match="changed while it was read"):
        mtl.read(path)
    assert list((tmp_path / "cache" / "examples").iterdir()) == []


def test_a_small_file_stays_in_memory(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text(lines(SENTENCE))
    assert isinstance(mtl.read(path), list)


def test_other_forms_stay_in_memory(tmp_path, all_are_large):
    path = tmp_path / "data.conll"
    path.write_text("Ann B-PER\nran O\n")
    assert isinstance(mtl.read(path), list)
    path.write_text(json.dumps([SENTENCE], indent=1))
    assert isinstance(mtl.read(path), list)
    path.write_text(lines(SENTENCE))
    assert isinstance(mtl.read(path), StoredExamples)


@pytest.mark.parametrize("fault", ["", "no record\n"])
def test_it_is_checked_like_a_small_one(tmp_path, monkeypatch, fault):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "data.jsonl"
    mtl.write_jsonl([*mtl.toy_dataset("records", 30, 5, 5, seed=0).train] * 2, path)
    path.write_text(path.read_text() + fault)
    small = mtl.check_file(path)
    monkeypatch.setattr(large, "LARGE", 0)
    assert mtl.check_file(path) == small
    assert ("repeated texts", "30") in small.facts
    assert len(small.problems) == bool(fault)
