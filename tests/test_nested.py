"""What a user's file holds may be nested deeper than Python can follow: an error, no crash."""

import warnings

import pytest

import mtl
from mtl.errors import DataError, DataWarning

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
