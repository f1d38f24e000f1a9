"""Recipes so small that they train in a moment, and what is said about bad ones."""

import json

import pytest

import mtl
from mtl.data.examples import NERExample
from mtl.errors import ConfigError
from mtl.experiments.build import build_tasks
from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe


def ner_and_qa(n_train, n_held_out, **train):
    """The text of a recipe for both toy tasks, with so many examples of each.

    Args:
        train: the settings of its section `[train]`.
    """
    settings = "\n".join(f"{name} = {json.dumps(value)}" for name, value in train.items())
    return f"""\
name = "tiny"

[tasks.ner]
kind = "ner"
toy = "ner"
toy_train = {n_train}
toy_held_out = {n_held_out}

[tasks.qa]
kind = "qa"
toy = "qa"
toy_train = {n_train}
toy_held_out = {n_held_out}

[encoder]
d_model = 16
n_heads = 2
n_layers = 1
d_ff = 16
max_length = 64

[train]
{settings}
"""


TINY = ner_and_qa(40, 10, epochs=1, batch_size=40)


def results(folder):
    """Every file of a run that is no picture, byte for byte; its metrics without the time."""
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".png"
    }
    metrics = json.loads(files.pop("metrics.json"))
    metrics.pop("train_seconds")
    return files | {"metrics.json": metrics}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def write(tmp_path):
    """Write a recipe, text or bytes, and give its path."""

    def write(content, name="my.toml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def error_of(path, *settings):
    """What is said about a recipe that cannot be used; it is always the user's to change."""
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, settings)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.fixture
def own_sentences(tmp_path):
    """A file of a hundred sentences, each twice, and its path."""
    sentences = [NERExample((f"Item{i}", "fell"), ("B-THING", "O")) for i in range(100)]
    mtl.write_conll(sentences * 2, tmp_path / "own.conll")
    return tmp_path / "own.conll", sentences * 2


def ner_dataset(path, *settings):
    (task,) = [t for t in build_tasks(load_recipe(path, settings)) if t.name == "ner"]
    return task.dataset


SHARED = """\
[datasets.texts]
toy = "news"
toy_train = 20
toy_held_out = 8

[tasks.topic]
kind = "classification"
data = "texts"

[tasks.ner]
kind = "ner"
data = "texts"

[encoder]
d_model = 8
n_heads = 2
n_layers = 2
d_ff = 8
max_length = 64
dropout = 0.0

[train]
epochs = 1
batch_size = 10
warmup_ratio = 0.0
learning_rate = 0.01
"""


@pytest.fixture
def shared(write):
    return write(SHARED, "shared.toml")


STAGES_TOML = """
[[stages]]
tasks = ["topic"]
freeze = ["heads.ner"]
epochs = 2
learning_rate = 0.02

[[stages]]
tasks = ["ner"]
freeze = ["encoder"]
batch_size = 5
"""


@pytest.fixture
def staged(write):
    """First the encoder with the head of `topic`, then the head of `ner` on it as it is."""
    return write(SHARED + STAGES_TOML, "staged.toml")


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


NER_ALONE = """\
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
    path.write_text(NER_ALONE)
    return load_recipe(path)


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    run_recipe(recipe, folder, progress=False)
    return folder
