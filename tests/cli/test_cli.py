"""The command line as such: version, recipes, wrong usage, a model folder that cannot be used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_files import MODEL_FILES, contents

import mtl


def test_version_names_mtl_torch_and_devices(mtl_):
    import torch

    status, out, _ = mtl_("--version")
    out = " ".join(out.split())
    assert status == 0
    assert f"mtl {mtl.__version__}" in out
    assert f"torch {torch.__version__}" in out
    assert "devices: cpu" in out


def test_recipes_lists_each_with_what_it_does(mtl_):
    status, out, _ = mtl_("recipes")
    (line,) = [line for line in out.splitlines() if line.startswith("practical7")]
    assert status == 0
    assert "NER and QA" in line


@pytest.mark.parametrize(
    "arguments", [(), ("tran",), ("train",), ("train", "practical7", "--sede", "1"), ("toy", "ner")]
)
def test_wrong_usage_exits_with_2(mtl_, arguments):
    status, out, err = mtl_(*arguments)
    assert (status, out) == (2, "")
    assert "usage: mtl" in err


def test_python_m_mtl_is_the_same(tmp_path):
    """In a process of its own, where an error must not show as a traceback either."""
    environment = os.environ | {"PYTHONPATH": str(Path(mtl.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "mtl", "check", "gone.conll"],  # which loads no torch
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "gone.conll: the file cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


# --- a model folder that cannot be used ----------------------------------------------------------

PREDICT = ["predict", "--task", "ner", "--text", "Bob ran."]


def use(mtl_, folder):
    """Both commands that read a model folder must fail alike; gives the message."""
    before = contents(folder)
    for command, *rest in (PREDICT, ["evaluate"]):
        status, out, err = mtl_(command, folder, *rest)
        assert (status, out) == (1, ""), err
        assert "to do: " in err
    assert contents(folder) == before
    return err


@pytest.mark.parametrize("name", sorted(MODEL_FILES))
def test_a_model_folder_that_is_missing_a_file(mtl_, copied_run, name):
    (copied_run / name).unlink()
    err = use(mtl_, copied_run)
    assert str(copied_run) in err
    assert "whole folder" in err
    assert name in err


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xff", None], ids=repr)
@pytest.mark.parametrize("name", sorted(MODEL_FILES))
def test_a_model_folder_with_a_broken_file(mtl_, copied_run, name, content):
    path = copied_run / name
    path.unlink()
    path.mkdir() if content is None else path.write_bytes(content)
    err = use(mtl_, copied_run)
    assert name in err


def test_a_model_folder_with_a_cut_weights_file(mtl_, copied_run):
    path = copied_run / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "the weights cannot be loaded" in use(mtl_, copied_run)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda config: config["encoder"].update(d_model=32),
        lambda config: config["encoder"].update(d_model="16"),
        lambda config: config["encoder"].update(d_ff=-1),
        lambda config: config["encoder"].update(vocab_size=3),
        lambda config: config["encoder"].update(colour="red"),
        lambda config: config.update(tasks=[]),
        lambda config: config.update(tokenizer="Other"),
        lambda config: config["tasks"]["ner"].pop("kind"),
        lambda config: config["tasks"]["ner"].update(kind="other"),
        lambda config: config["tasks"]["ner"].update(id2label={"zero": "O"}),
    ],
)
def test_a_config_that_does_not_fit(mtl_, copied_run, spoil):
    config = json.loads((copied_run / "config.json").read_text())
    spoil(config)
    (copied_run / "config.json").write_text(json.dumps(config))
    assert str(copied_run) in use(mtl_, copied_run)


def test_no_model_folder_at_all(mtl_, tmp_path):
    status, _, err = mtl_("predict", tmp_path / "gone", "--text", "Bob ran.")
    assert status == 1
    assert f"{tmp_path / 'gone'}: there is no such model folder" in err
