"""Records of a file of any size, one by one."""

import csv
import sys
import warnings
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtl
from mtl.data.readers.raw_records import RecordFile
from mtl.data.readers.source import Report, in_memory, read_text, whole_lines_of
from mtl.data.readers.table import Table
from mtl.errors import ConfigError, DataError
from mtl.inference.records import FieldReader

CELLS = st.text(st.sampled_from("ab \t,;\"\n\r'é王\u2028"), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("records")


def read(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(RecordFile(path))


def texts_of(path):
    """The texts that a task would get from a file."""
    source = RecordFile(path)
    task = mtl.ClassificationTask("topic", labels=["a", "b"])
    reader = FieldReader([task], source.text_names, source.joins_titles)
    return [query.text for record in source for _, query in reader.queries(record.fields)]


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=5))
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_table_is_read_as_the_reader_of_whole_files_reads_it(folder, delimiter, rows):
    path = folder / "x.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([("text", "label", "note"), *rows])
    assert_same_rows(path)


@given(st.lists(st.lists(st.text('ab "é', max_size=4), min_size=2, max_size=3), max_size=5))
@pytest.mark.parametrize("quote", ["never", "always"])
def test_quotes_in_a_table_with_tabs(folder, quote, rows):
    path = folder / "x.tsv"
    rows = [["text", "label"], *(row for row in rows if any(cell.strip() for cell in row))]
    if quote == "always":
        rows = [['"' + cell.replace('"', '""') + '"' for cell in row] for row in rows]
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    assert_same_rows(path)


def assert_same_rows(path):
    text = read_text(path)
    lines = partial(whole_lines_of, text)
    table = Table(lambda _: lines(), Report(path, "skip"), in_memory, lambda names: "text" in names)
    width = len(table.names)
    expected = [
        (line, dict(zip(table.names, cells, strict=True)) if len(cells) == width else {})
        for line, cells in table.rows
        if cells
    ]
    records = list(RecordFile(path))
    assert [(record.line, record.fields) for record in records] == expected
    assert [record.fault is None for record in records] == [bool(fields) for _, fields in expected]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", "\ufefflabel,title,description\na,One,two three\nb,,four five\n"),
        ("x.csv", "sep=;\nlabel;review\na;good, very\nb;bad, very\n"),
        ("x.tsv", 'label\ttext\na\tsaid "so\nb\tno\n'),
        ("x.jsonl", '{"text": "one", "title": "T", "label": "a"}\n{"text": "two", "label": "b"}'),
        (
            "x.jsonl",
            '\ufeff{"Sentence": "one", "label": "a"}\r\n\r\n{"sentence": "two", "label": "b"}',
        ),
    ],
)
def test_the_text_is_the_one_that_a_model_would_learn_from(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    with warnings.catch_warnings(action="ignore"):  # a title that is read, or is not
        examples = mtl.read(path)
    assert texts_of(path) == [example.text for example in examples]


def test_lines_of_text_are_as_they_were(tmp_path):
    path = tmp_path / "x.txt"
    records = read(path, "\ufeffone\r\n\n  two\t\n \r\nدو, 王\u2028x\n[1] last")
    texts = [(record.line, record.fields["text"]) for record in records]
    assert texts == [(1, "one"), (3, "  two\t"), (5, "دو, 王\u2028x"), (6, "[1] last")]


@pytest.mark.parametrize(
    ("name", "content", "places"),
    [
        ("x.txt", b'one\nt\xfcwo\n{"text": "three"}\nfour\n', [2, 3]),
        (
            "x.jsonl",
            b'{"text": "one"}\n{"text": \n"two"\n{"text": "t\xfcwo"}\n{"text": "f"}',
            [2, 3, 4],
        ),
        ("x.csv", b"text,label\none,a\ntwo\nt\xfcwo,b\nfour,b,c\nfive,a\n", [3, 4, 5]),
    ],
)
def test_a_bad_record_costs_no_other(tmp_path, name, content, places):
    path = tmp_path / name
    records = read(path, content)
    assert [record.line for record in records if record.fault] == places
    assert all(str(record.fault).count("to do: ") == 1 for record in records if record.fault)
    assert len(records) == len(places) + 2


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.csv", 'text,label\none,a\n"two,b\nthree,a\n', [":3: ", "close every double quote"]),
        ("x.csv", "text,label,text\none,a,b\n", ["two columns have the same name", "'text'"]),
        ("x.jsonl", '[{"text": "one"}]', ["one JSON list", "one record per line"]),
        ("x.jsonl", b"\x1f\x8b0000", ["a gzip file", "gunzip"]),
        ("x.txt", "ab".encode("utf-16-le") * 9, ["UTF-16"]),
        ("x.parquet", "PAR1", ["the Parquet file cannot be read"]),
    ],
)
def test_a_file_that_cannot_be_read_on_says_why(tmp_path, name, content, words):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    with pytest.raises(DataError) as error:
        read(path, content)
    assert all(word in str(error.value) for word in [str(path), *words])


def test_a_quote_that_is_never_closed_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("mtl.data.readers.raw_records.LONGEST_CELL", 100)
    path = tmp_path / "x.csv"
    path.write_text('text,label\n"one,a\n' + "two,b\n" * 100)
    with path.open() as file, pytest.raises(DataError, match="cannot be read from here on"):
        list(RecordFile(path))
    assert csv.field_size_limit() > 100
    assert file.closed


def test_parquet_without_its_library_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="the extra 'scale'"):
        read(tmp_path / "x.parquet", "PAR1")


def test_which_fields_are_read():
    tasks = [
        mtl.ClassificationTask("topic", labels=["a", "b"]),
        mtl.QATask("qa"),
        mtl.PairClassificationTask("same", labels=["a", "b"]),
    ]

    def asked(*names, tasks=tasks, **options):
        reader = FieldReader(tasks, **options)
        record = dict.fromkeys(names, "x") | {"nothing": None}
        return [names for names, _ in reader.queries(record)], reader.describe()

    pair = ("qa", "same")
    assert asked("id", "Review Text") == ([("topic",)], "Review Text (topic)")
    assert asked("title", "Question", "Context")[0] == [pair]  # a title is not tagged as well
    assert asked("context", "question", "text")[0] == [pair, ("topic",)]
    assert asked("text", "text_pair") == ([pair], "text and text_pair (qa, same)")
    assert asked("text_b", "text_a")[1] == "text_a and text_b (qa, same)"
    assert asked("question", "context", tasks=tasks[:1])[1] == "question (topic)"
    assert asked("x", "text", named=["x"])[1] == "x (topic)"
    assert asked("x", "text", "y", named=["y", "x"])[1] == "y and x (qa, same)"
    for names, options in ((("text",), {"tasks": tasks[1:]}), (("a", "b"), {"named": ["c"]})):
        with pytest.raises(DataError, match="the record has no "):
            asked(*names, **options)


def test_words_may_be_listed():
    reader = FieldReader([mtl.ClassificationTask("topic", labels=["a", "b"])])
    for record in ({"tokens": ["U.S.", "soil"]}, {"words": "['U.S.', 'soil']"}):
        ((_, query),) = reader.queries(record)
        assert (query.text, len(query.word_places)) == ("U.S. soil", 2)
    reader.words = True
    ((_, query),) = reader.queries({"text": "U.S. soil"})
    assert len(query.word_places) == 2
