"""Odd input and odd moments: no hanging, nothing left over, and no score that costs a training."""

import json
import sys

import numpy as np
import pytest
import torch
from processes import Process

import mtl
from mtl.cli import stdin
from mtl.cli.main import main
from mtl.errors import ConfigError, DataError
from mtl.experiments.folder import OLD_STATE
from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe
from mtl.tasks.ner import NERTask

RECIPE = """\
[tasks.ner]
kind = "ner"
toy = "ner"
toy_train = 12
toy_held_out = 4

[encoder]
d_model = 16
n_heads = 2
n_layers = 1
d_ff = 16
max_length = 64

[train]
epochs = 1
batch_size = 8
device = "cpu"
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(RECIPE)
    return load_recipe(path)


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_recipe(recipe, folder, progress=False)
    return folder


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


def test_resume_takes_away_what_a_kill_at_the_very_end_left(recipe, tmp_path):
    run_recipe(recipe, tmp_path / "run", progress=False)
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    left = tmp_path / "run" / OLD_STATE / "stage1"
    left.mkdir(parents=True)
    (left / "training_state.json").write_text("{}")
    run_recipe(recipe, tmp_path / "run", resume=True, progress=False)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before


@pytest.mark.parametrize("number", [torch.tensor, np.float32])
def test_scores_may_be_any_kind_of_number(recipe, run, tmp_path, monkeypatch, number):
    score = NERTask.score

    def other_numbers(task, examples, predictions):
        return {name: number(value) for name, value in score(task, examples, predictions).items()}

    monkeypatch.setattr(NERTask, "score", other_numbers)
    metrics = run_recipe(recipe, tmp_path / "run", progress=False)
    expected = json.loads((run / "metrics.json").read_text())["test"]["ner"]
    assert metrics["test"]["ner"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (None, "'ner' is not a dict of numbers"),
        ({"entity_f1": "high"}, "'ner' is not a dict of numbers"),
        ({"bleu": 1.0}, "'ner' lack its main metric, 'entity_f1'"),
    ],
)
def test_a_score_that_is_of_no_use_is_named(recipe, tmp_path, monkeypatch, scores, said):
    """The steps of the epoch are kept: with the score put right, resume goes on."""
    with monkeypatch.context() as patch:
        patch.setattr(NERTask, "score", lambda *_: scores)
        with pytest.raises(ConfigError, match=said):
            run_recipe(recipe, tmp_path / "run", progress=False)
    metrics = run_recipe(recipe, tmp_path / "run", resume=True, progress=False)
    assert "entity_f1" in metrics["test"]["ner"]
