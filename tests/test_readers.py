"""All readers: files that are missing, no text, broken or extreme are refused by name."""

import json
import warnings
from pathlib import Path

import pytest
import reading
from reading import only_fault_of

import mtl
from mtl.data.readers import read_conll, read_jsonl, read_pairs, read_squad
from mtl.errors import ConfigError, DataError, DataWarning

# pytest looks for a fixture by its name in this module.
file = reading.file


# --- files that are not there, or not text --------------------------------------------------------

every_reader = pytest.mark.parametrize(
    ("read", "name"),
    [
        (read_conll, "x.conll"),
        (read_squad, "x.json"),
        (read_squad, "x.csv"),
        (read_squad, "x.jsonl"),
        (read_jsonl, "x.jsonl"),
        (read_pairs, "x.jsonl"),
    ],
)


@every_reader
def test_missing_file(read, name, tmp_path):
    fault = only_fault_of(read, tmp_path / name)
    assert "No such file" in fault.found
    assert str(Path.cwd()) in fault.fix


@every_reader
def test_folder_instead_of_file(read, name, tmp_path):
    (tmp_path / name).mkdir()
    assert "directory" in only_fault_of(read, tmp_path / name).found


@every_reader
def test_file_that_may_not_be_opened(read, name, file, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    path = file("x", name)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert only_fault_of(read, path).found == "Permission denied"


@every_reader
@pytest.mark.parametrize("content", ["", " \n\t\n", "\ufeff"])
def test_empty_file(read, name, content, file):
    fault = only_fault_of(read, file(content, name))
    assert fault.what == "the file is empty"
    assert fault.found == f"{len(content.encode())} bytes, no text"


@every_reader
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_bytes_that_are_not_utf8(read, name, mark, line_end, file):
    content = mark + b"".join(
        line + line_end for line in ["Zoë O".encode(), b"", b"Caf\xe9 O", b"Caf\xe9 O"]
    )
    fault = only_fault_of(read, file(content, name))
    assert fault.line == 3
    assert fault.found == "byte 0xe9 after 'Caf'"
    assert "UTF-8" in fault.fix


@every_reader
def test_unknown_on_error(read, name, file):
    with pytest.raises(ConfigError, match="ignore"):
        read(file("x", name), on_error="ignore")


# --- found by trying ------------------------------------------------------------------------------


def squad_of(context):
    answers = [{"text": "Oslo", "answer_start": context.index("Oslo")}]
    qas = [{"id": "1", "question": "Where?", "answers": answers}]
    return {"data": [{"title": "t", "paragraphs": [{"context": context, "qas": qas}]}]}


def test_half_a_character_is_a_fault_of_its_question(tmp_path):
    path = tmp_path / "half.json"
    path.write_text(json.dumps(squad_of("Tom lives in Oslo \ud800.")))
    with pytest.raises(DataError, match="half a character"):
        read_squad(path)


def test_json_nested_too_deeply(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match="nested too deeply"):
        read_squad(path)


def test_utf_16_is_named(tmp_path):
    path = tmp_path / "windows.conll"
    path.write_bytes("Ann\tB-PER\n".encode("utf-16"))
    with pytest.raises(DataError, match="iconv -f UTF-16"):
        read_conll(path)


def test_a_long_context_in_a_table(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text(f"context,question,answer\n{'word ' * 40_000}Oslo,Where?,Oslo\n")
    (example,) = read_squad(path)
    assert example.answers[0].start == 200_000


DEPTHS = [50, 400, 900, 5_000, 200_000]


def nested(depth, inside='"Rome"'):
    return "[" * depth + inside + "]" * depth


def what_is_read(path):
    """The answer to the second question, or the line of the fault."""
    try:
        return mtl.read_squad(path)[1].answers[0].text
    except DataError as error:
        return error.faults[0].line


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("broken", ["", "]", ","])
def test_a_deeply_nested_cell_is_an_answer_or_a_fault(tmp_path, depth, broken):
    cell = nested(depth, "'Rome'") + broken  # single quotes: Python's way, not JSON's
    path = tmp_path / "questions.csv"
    path.write_text(
        "question,context,answer\nWho ran?,Ann ran .,Ann\n"
        f'Where?,Rome is old .,"{cell}"\nWhat?,Rome is old .,old\n'
    )
    assert what_is_read(path) in ("Rome", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        assert {e.answers[0].text for e in mtl.read_squad(path, "skip")} >= {"Ann", "old"}


@pytest.mark.parametrize("depth", DEPTHS)
def test_deeply_nested_json_records_are_a_fault(tmp_path, depth):
    path = tmp_path / "questions.jsonl"
    record = '{"question": "Where?", "context": "Rome is old .", "answers": %s}'
    path.write_text(f"{record % nested(1)}\n{record % nested(depth)}\n")
    assert what_is_read(path) in ("Rome", 2)
