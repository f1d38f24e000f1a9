"""A small recipe to compare methods on, and stand-ins for what takes long in a comparison."""

import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
from torch.optim.optimizer import register_optimizer_step_post_hook

from mtl.experiments.recipe import load_recipe
from mtl.training.loop import train
from mtl.training.run import Run

TINY = [
    *("tasks.ner.toy_train=40", "tasks.ner.toy_held_out=10"),
    *("tasks.qa.toy_train=60", "tasks.qa.toy_held_out=10"),
    *("encoder.n_layers=1", "encoder.d_model=16", "encoder.d_ff=16", "encoder.max_length=64"),
    *("train.epochs=2", "train.batch_size=20", "train.rounds=2"),
]
SHARED = [
    *("datasets.records.toy_train=20", "datasets.records.toy_held_out=10"),
    *("encoder.n_layers=1", "encoder.d_model=16", "encoder.d_ff=16", "encoder.max_length=64"),
    *("train.epochs=1", "train.batch_size=10"),
]
MODULE = import_module("mtl.experiments.compare")
SEEDS, SIZES, METHODS = [0, 1], ["", "qa=0.5"], ["alternating", "joint"]


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("practical7", TINY)


def watched(trained):
    """`train`, which also notes in a list what it was given and what it did."""

    def watch(model, tasks, config, **options):
        batches, updates = [], []
        train_on = Run._train_on

        def note_and_train_on(run, step):
            batches.append([task.name for i in step for task in run.streams[i].tasks])
            return train_on(run, step)

        hook = register_optimizer_step_post_hook(lambda *_: updates.append(1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Run, "_train_on", note_and_train_on)
            history = train(model, tasks, config, **options)
        hook.remove()
        noted = {"model": model, "tasks": {task.name: task for task in tasks}, "config": config}
        trained.append(SimpleNamespace(**noted, batches=batches, n_updates=len(updates)))
        return history

    return watch


@pytest.fixture
def no_picture(monkeypatch):
    monkeypatch.setattr(MODULE, "plot_comparison", lambda summary: plt.Figure())
    monkeypatch.setattr(plt.Figure, "savefig", lambda *args, **options: None)


@pytest.fixture
def count_trainings(monkeypatch):
    """How often a model is trained; `stop_at` makes the training of that number fail."""
    calls = SimpleNamespace(n=0, stop_at=0)

    def counted(*args, **options):
        calls.n += 1
        if calls.n == calls.stop_at:
            raise KeyboardInterrupt
        return train(*args, **options)

    monkeypatch.setattr(MODULE, "train", counted)
    return calls


@pytest.fixture
def no_training(monkeypatch):
    """What is wrong has to be said before time is spent on training."""
    monkeypatch.setattr(MODULE, "train", lambda *_, **__: pytest.fail("trained in vain"))


def contents(folder):
    """Every file below a folder, byte for byte."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def strict_json(text):
    """NaN and Infinity are no JSON, though Python writes and reads them."""
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def tiny_settings():
    return ["--set", *TINY, "train.epochs=1", "train.rounds=1"]
