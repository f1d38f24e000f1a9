"""A large file gives what a small one does, from disk: examples, faults, notes, and what is learned
from them."""

import json
import os
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import lines, tmp_path_shared

import mtl
from mtl.data.readers import column_facts, large, layout
from mtl.data.readers.source import Passes
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


# Files of columns: what comes first, lines of sentences, and lines that may be anywhere.
COLUMNS = [
    ("", ["Ann B-PER", "Rome I-LOC", "ran O", "Lee E-PER", "Bo S-PER", "x ?"], ["ran", "a b O"]),
    ("", ["Ann NNP I-NP I-PER", "ran VBD I-VP O", "Rome NNP I-NP I-LOC"], ["-DOCSTART- -X- O O"]),
    ("", ["Ann (PER*", "Lee *)", "ran *", "Bo (PER)"], ["Rome (LOC*"]),
    ("word\tpos\tner", ["Ann\tNNP\tB-PER", "New York\tNNP\tB-LOC", "#tag\tNN\tO"], ["ran\tO"]),
    ("", ["1\tAnn\tB-PER", "2\tran\tO", "3\tby\tO"], ["# newdoc", "2-3\tranby\t_"]),
    ("#begin document (a);", ["a 0 0 Ann NNP * - - - * (0) *", "a 0 1 ran VB * - - - * - *"], []),
    ("", ["Ann 1", "Bo 2", "ran 0", "home 0"], ["he 9"]),
    ("", ["Ann PER", "ran O", "home O", "Rome LOC"], ["ran  "]),
    ("", ["Ann B-PER O", "Rome I-PER B-LOC", "ran O O"], ["Lee O I-PER", "x B-X"]),
    ("", ["en:Ann B-PER", "en:ran O"], ["en: O", "fr:ran O"]),
    ("", ["1\tDu\tdu\tADP\tIN\t_\t2\tcase\t_\t_", "2\tx\tx\tNOUN\tNN\t_\t0\troot\t_\tNER=B-X"], []),
    ("", ["1\tDu\t_\t_\t_\t_\t_\t_\t_\t_", "2\tx.\t_\t_\t_\t_\t_\t_\t_\t_"], ["# text = Du x."]),
]
ANYWHERE = ["", "", "", "# doc_id = 1", "# id: 3", "#tag", "#tag B-X", "-DOCSTART-", " ", ". O"]


@st.composite
def some_columns(draw):
    """Lines of a file of columns, in one of several forms, some of them broken."""
    first, words, others = draw(st.sampled_from(COLUMNS))
    line = st.sampled_from(words * 3 + others + ANYWHERE)
    some = draw(st.lists(line, max_size=30)) * draw(st.sampled_from([1, 1, 1, 9]))
    return [*[first] * bool(first), *words, "", *some]


# Rows of tables, the first of which is the header if there is one.
TABLES = [
    ["text,label", "Ann ran,sport", '"Ann, ran",city', '"a ""b""\nc",sport', "x,,y", ",", ""],
    ["text,label,topic", "Ann,0,x", "Bo,1,y|x", "Cem,3,x", "Dora,-1,", '"un', "Ella,1.0,z"],
    ["text,joy,fear", "Ann,1,0", "Bo,0,1", "Cem,0,", "Dora,2,1"],
    ["title,text,label,score", "T,Ann,a|b,1.5", ",Bo,a,2", "U,Cem,b,high", "V,D,,"],
    [
        "text\ttags\tlabel",
        "Ann ran\tB-PER O\ta|b",
        "Bo ran\tI-PER O\tb|b",
        "x y\tO O\ta",
        "z y\t? O\t",
    ],
    ["text\tlabel", '"Ann\tran"\tx', '"a ""b"""\ty', 'say "a"\tx', "a\tb\tc"],
    ["Ann ran home\ta", "Bo ran home\tb", "Cem ran home\ta", "Di is home\tb", "x\ty\tz"],
    ["text1;text2;score", "Ann ran;She ran;4", "Bo;He;0.5", "Cem;;3", "x;y;high", "x;y;"],
    ["premise,hypothesis,label", "a b,c d,yes", "a,b,no", "a,b,-", "a,b,0", "a,b"],
    ["question,context,answer", "Who?,Ann ran.,Ann", "Who?,Ann met Ann.,Ann", "Who?,a,b", "?,a,"],
    ["Sentence #,Word,Tag", "1,Ann,B-PER", ",ran,O", "2,Bo,I-PER", "2,x", "", ",y,?"],
    ["word,tag", "Ann,B-PER", "ran,O", "", "Bo,I-PER", "x,y,z"],
    ["__label__a Ann ran", "__label__b __label__a Bo", "no label", "__label__a", "x __label__b"],
]


@st.composite
def some_table(draw):
    """Lines of a table, some of them broken."""
    rows = draw(st.sampled_from(TABLES))
    some = draw(st.lists(st.sampled_from(rows[1:4] * 2 + rows[1:]), max_size=12))
    return [*rows[:4], *some]


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
    path = tmp_path_factory.mktemp("large") / "data.jsonl"
    path.write_bytes(start + break_.join([*content, ""]).encode())
    check_that_large_is_like_small(path, on_error=on_error, **options)


@settings(tmp_path_shared, max_examples=150)
@given(
    content=some_columns(),
    start=st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"sep=,\n"]),
    break_=st.sampled_from(["\n", "\r\n"]),
    end=st.sampled_from(["\n", "", "\n\n"]),
    options=st.sampled_from(
        [
            *[{}, {}, {}, {"strict": True}, {"label_names": ["O", "B-PER", "I-PER"]}],
            *[{"column": [2, 3]}, {"column": [3, 2]}, {"column": 2}, {"column": "ner"}],
            *[{"fields": [2], "strict": True}, {"fields": ["pos", 3]}, {"speech": True}],
            *[{"whole_documents": True}, {"whole_documents": True, "strict": True}],
        ]
    ),
    on_error=st.sampled_from(["stop", "skip"]),
)
def test_large_columns_read_like_small_ones(
    tmp_path_factory, content, start, break_, end, options, on_error
):
    path = tmp_path_factory.mktemp("large") / "data.conll"
    path.write_bytes(start + (break_.join(content) + end).encode())
    check_that_large_is_like_small(path, on_error=on_error, **options)


def test_a_document_may_begin_in_the_last_line(tmp_path):
    path = tmp_path / "data.conll"
    path.write_text("Ann B-PER\nran O\n\nBo B-PER\n# newdoc\n")
    check_that_large_is_like_small(path, whole_documents=True)


@given(
    sentences=st.lists(
        st.lists(
            st.sampled_from(["1 a x O", "2 a x O", "a 1 x O", "1-2 1 x O"]), min_size=1, max_size=3
        ),
        max_size=5,
    ),
    at_once=st.sampled_from([1, 2, 3]),
)
def test_columns_are_seen_alike_in_parts_of_any_size(sentences, at_once):
    rows = [(n, row.split()) for n, sentence in enumerate(sentences) for row in sentence]

    def seen():
        facts = column_facts.column_facts(iter(rows), 4)
        return [fact.cells for fact in facts], layout._leading(facts)

    whole = seen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(column_facts, "_AT_ONCE", at_once)
        assert seen() == whole


def test_of_very_many_different_cells_only_the_first_are_counted(monkeypatch):
    monkeypatch.setattr(column_facts, "MOST_CELLS", 2)
    monkeypatch.setattr(column_facts, "_AT_ONCE", 3)
    (fact,) = column_facts.column_facts(((0, [cell]) for cell in "abcabdd"), 1)
    assert fact.cells == {"a": 2, "b": 2, "c": 1}


@settings(tmp_path_shared, max_examples=150)
@given(
    content=some_table(),
    start=st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"sep=,\n"]),
    break_=st.sampled_from(["\n", "\r\n"]),
    end=st.sampled_from(["\n", "", "\n\n"]),
    options=st.sampled_from(
        [
            *[{}, {}, {}, {"strict": True}, {"label_names": ["no", "yes"]}],
            *[{"column": 2}, {"column": "label"}, {"column": "tags", "strict": True}],
            *[{"fields": ["topic"]}, {"scores": ["score"]}, {"speech": True}],
        ]
    ),
    on_error=st.sampled_from(["stop", "skip"]),
)
def test_large_tables_read_like_small_ones(
    tmp_path_factory, content, start, break_, end, options, on_error
):
    path = tmp_path_factory.mktemp("large") / "data.csv"
    path.write_bytes(start + (break_.join(content) + end).encode())
    check_that_large_is_like_small(path, on_error=on_error, **options)


def check_that_large_is_like_small(path, **options):
    """Read a file as a small one and as a large one, and again what was stored of it."""
    small = read_all(path, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MTL_CACHE", str(path.parent / "cache"))
        patch.setattr(large, "LARGE", 0)
        assert read_all(path, **options) == small
        if isinstance(small[0], str):
            assert len(list((path.parent / "cache" / "examples").iterdir())) == 1
            # From what was stored, the notes included; without reading the file.
            patch.setattr(Passes, "__iter__", None)
            assert read_all(path, **options) == small


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
    path = tmp_path / "data.json"
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
