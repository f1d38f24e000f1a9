"""`mtl compare`: its output, its help, and wrong usage."""

import re
from pathlib import Path

import comparing
import pytest
from comparing import TINY, strict_json, tiny_settings

# pytest looks for a fixture by its name in this module.
count_trainings = comparing.count_trainings
no_training = comparing.no_training


def test_json_on_stdout_progress_on_stderr_and_the_default_folder(mtl_, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["compare", "practical7", *tiny_settings(), "--seeds", 1, "--json"]
    status, out, err = mtl_(*command, "--methods", "joint", "pcgrad", "--sizes", "qa=0.5")
    folder = Path("runs", "compare-practical7", "1")
    content = strict_json(out)
    assert status == 0
    assert content == strict_json((folder / "compare.json").read_text())
    words = "mtl compare practical7 --set .* --seeds 1 --json --methods joint pcgrad --sizes qa=0.5"
    assert re.fullmatch(words, content["command"])
    assert f"`{content['command']}`" in (folder / "compare.md").read_text()
    assert [run["method"] for run in content["runs"]] == ["alone", "alone", "joint", "pcgrad"]
    assert {run["size"] for run in content["runs"]} == {"qa=0.5"}
    assert "4 runs" in err
    assert "[4/4] qa=0.5, seed 0, together, pcgrad, 1 rounds per epoch" in err
    assert re.search(r"about \d+ (min|s) left", err)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["practical8"], 'did you mean "practical7"'),
        (["practical7", "--methods", "pcgrd"], 'did you mean "pcgrad"'),
        (["practical7", "--methods", "gradnorm(alpha)"], "CAGrad(c=0.4)"),
        (["practical7", "--sizes", "qa=1.5"], "'qa=1.5'"),
        (["practical7", "--sizes", "topic=0.5"], "use one of ner, qa"),
        (["practical7", "--seeds", "0"], "--seeds must be a whole number"),
        (["practical7", "--seeds", "few"], "invalid int value"),
        (["practical7", "--set", "train.loss_weights={ner=-1.0}"], "finite number, 0 or more"),
        (["practical7", "--set", "train.loss_weights={ner=nan}"], "finite number, 0 or more"),
        (["practical7", "--set", "model.private_layers=4"], "private_layers"),
        (["practical7", "--set", "model.privat_layers=1"], 'did you mean "private_layers"'),
        (["practical7", "--methds", "joint"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_exits_with_2(mtl_, tmp_path, monkeypatch, no_training, arguments, words):
    monkeypatch.chdir(tmp_path)
    status, out, err = mtl_("compare", *arguments, "--set", *TINY[:4])
    assert (status, out) == (2, "")
    assert words in err
    assert not list(tmp_path.iterdir())


def test_help_lists_what_there_is(mtl_):
    status, out, _ = mtl_("--help")
    assert status == 0
    assert "compare" in out
    status, out, _ = mtl_("compare", "--help")
    assert status == 0
    for option in ("--seeds", "--methods", "--sizes", "--output", "--json", "--set"):
        assert option in out
    for method in ("alternating", "joint", "sampled", "fixed", "uncertainty", "dwa", "pcgrad"):
        assert method in out


def test_what_the_stop_of_a_command_says(mtl_, tmp_path, count_trainings):
    count_trainings.stop_at = 2
    command = ["compare", "practical7", *tiny_settings(), "--seeds", 1, "--output", tmp_path / "o"]
    status, out, err = mtl_(*command)
    assert (status, out) == (130, "")
    assert "[1/5] all data, seed 0, ner alone" in err
    assert "stopped" in err
