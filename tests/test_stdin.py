"""`mtl predict` and its input: closed, broken off, or lists of words."""

import json
import sys

import pytest
import recipes
from processes import Process

import mtl
from mtl.cli import stdin
from mtl.cli.main import main
from mtl.errors import DataError

# pytest looks for a fixture by its name in this module.
recipe = recipes.recipe
run = recipes.run


def predict_with_a_closed_input(run):
    """As `mtl predict RUN <&-` in a shell: Python finds no file 0."""
    sys.stdin.close()
    sys.stdin = None
    return main(["predict", str(run)])


def test_predict_with_a_closed_input_ends(run):
    status, out, err = Process(predict_with_a_closed_input, run).finish(timeout=120)
    assert (status, out) == (1, "")
    assert "there is no input" in err
    assert "Traceback" not in err


def test_an_input_that_breaks_off_is_an_error_after_what_came_before(monkeypatch):
    class Broken:
        def __iter__(self):
            yield b"Ann ran.\n"
            raise OSError("the terminal is gone")

    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": Broken()}))
    lines = stdin.arriving_lines()
    assert next(lines) == [(1, b"Ann ran.\n")]
    with pytest.raises(DataError, match="the terminal is gone"):
        next(lines)


def test_words_on_the_command_line_may_be_a_json_list(run, capsys):
    words = ["Ann-Lee", "met", "the U.S.", "envoys"]
    assert main(["predict", str(run), "--words", "--text", json.dumps(words), "--json"]) == 0
    expected = mtl.predict(mtl.MultiTaskModel.from_pretrained(run), [words])[0]["ner"]
    assert json.loads(capsys.readouterr().out) == expected.to_dict()


@pytest.mark.parametrize("line", ['["Ann", 1]', '[["Ann", "left"]]', '["Ann", null]'])
def test_a_list_with_more_than_words_is_refused(run, capsys, line):
    assert main(["predict", str(run), "--words", "--text", line]) == 1
    assert "the list holds more than words" in capsys.readouterr().err
