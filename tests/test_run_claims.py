"""Two runs never write into the same folder, whether they are given it or take the next one."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from processes import Process

from mtl.cli.main import main
from mtl.errors import ConfigError
from mtl.experiments.folder import claimed, next_run_folder
from mtl.training.run import Run

SETTINGS = [
    *("tasks.ner.toy_train=12", "tasks.qa.toy_train=12"),
    *("tasks.ner.toy_held_out=4", "tasks.qa.toy_held_out=4"),
    *("encoder.d_model=32", "encoder.n_layers=1", "train.epochs=1", "train.batch_size=4"),
]


def train(*arguments):
    sys.exit(main(["train", "practical7", "--set", *SETTINGS, *arguments]))


def train_slowly(*arguments):
    """Says when it trains, and waits for a line before each step."""
    step = Run.next_step

    def wait(run):
        print("training", flush=True)
        sys.stdin.readline()
        return step(run)

    Run.next_step = wait
    train(*arguments)


@pytest.fixture
def start(tmp_path):
    """A function that starts `mtl train` in `tmp_path`; what still runs at the end is killed."""
    (tmp_path / "here").mkdir()
    started = []

    def start(*arguments, how=train_slowly):
        started.append(Process(how, *arguments, cwd=tmp_path / "here"))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def test_two_that_are_given_the_same_folder(start, tmp_path):
    first = start("--output", "run")
    assert first.stdout.readline() == "training\n"
    for options in ([], ["--resume"]):
        second = start("--output", "run", *options)
        status, _, err = second.finish()
        assert status == 2
        assert "another process is working in the output folder" in err
    status, _, err = first.finish("\n" * 100)
    assert status == 0, err
    there = {path.name for path in (tmp_path / "here" / "run").iterdir()}
    assert {"metrics.json", "model.safetensors"} <= there
    assert ".lock" not in there


def test_after_a_kill_the_folder_is_free_at_once(start, tmp_path):
    first = start("--output", "run")
    assert first.stdout.readline() == "training\n"
    first.kill()
    assert first.wait() == -signal.SIGKILL
    status, _, err = start("--output", "run", "--resume", how=train).finish()
    assert status == 0, err
    assert (tmp_path / "here" / "run" / "metrics.json").exists()


def test_runs_that_start_together_take_folders_of_their_own(start, tmp_path):
    processes = [start("--seed", str(seed)) for seed in range(3)]
    for process in processes:
        assert process.stdout.readline() == "training\n"  # all three at once
    for process in processes:
        status, _, err = process.finish("\n" * 100)
        assert status == 0, err
    runs = sorted((tmp_path / "here" / "runs" / "practical7").iterdir())
    assert [run.name for run in runs] == ["1", "2", "3"]
    seeds = [json.loads((run / "metrics.json").read_text())["seed"] for run in runs]
    assert sorted(seeds) == [0, 1, 2]


def test_the_next_folder_is_the_first_that_is_free(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("1", "3"):
        (tmp_path / "runs" / "r" / name).mkdir(parents=True)
    with next_run_folder("r") as folder:
        assert folder == Path("runs/r/2")
        (folder / "file").touch()
    assert folder.is_dir()


def test_a_folder_that_another_takes_at_the_same_moment_is_not_taken(tmp_path, monkeypatch):
    """The other is faster by the least there can be: between looking and making."""
    monkeypatch.chdir(tmp_path)
    mkdir = Path.mkdir

    def mkdir_too_late(path, *args, **options):
        if path.name == "1":
            os.makedirs(path, exist_ok=True)
        return mkdir(path, *args, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir_too_late)
    with next_run_folder("r") as folder:
        assert folder == Path("runs/r/2")


def test_what_is_still_empty_is_taken_away(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with next_run_folder("r") as folder:
        assert folder.is_dir()
    with claimed(tmp_path / "a" / "b") as _:
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_claim_is_for_one_at_a_time_and_ends(tmp_path):
    for _ in range(2):
        with claimed(tmp_path / "run"):
            with pytest.raises(ConfigError, match="another process"), claimed(tmp_path / "run"):
                pass
            (tmp_path / "run" / "file").touch()
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["file"]
