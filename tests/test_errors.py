"""Errors that name a place: the code that raises may know less of it than its caller."""

import pytest

from mtl.errors import DataError, Fault, ModelError


def test_a_caller_names_the_file_of_every_fault():
    error = DataError.collect([Fault("one", line=3, found="x", fix="y"), Fault("two")])
    placed = error.at("a.jsonl")
    assert type(placed) is DataError
    assert placed.faults == [Fault("one", "a.jsonl", 3, "x", "y"), Fault("two", "a.jsonl")]
    assert str(placed).startswith("a.jsonl:3: one\n  found: x\n  to do: y\na.jsonl: two")


@pytest.mark.parametrize("cls", [DataError, ModelError])
def test_a_caller_says_what_the_faults_are_about(cls):
    placed = cls("it is empty", path="b.txt").at(what="example 3: ")
    assert type(placed) is cls
    assert placed.faults == [Fault("example 3: it is empty", "b.txt")]
