"""A user's task is found by its kind, takes the place of no other, and has its own options."""

import pytest
import torch
import torch.nn.functional as F
from small_training import FAST
from torch import nn

import mtl
from mtl.errors import ConfigError
from mtl.experiments.build import build_tasks
from mtl.experiments.recipe import load_recipe
from mtl.nn.heads import merge_rows, pool
from mtl.tasks import Task
from mtl.tasks.ner import NERTask
from mtl.toy import ner_examples


@pytest.fixture(autouse=True)
def kinds(monkeypatch):
    """The kinds that are known; what a test adds is gone after it."""
    monkeypatch.setattr(Task, "kinds", dict(Task.kinds))
    return Task.kinds


@pytest.mark.parametrize("kind", ["ner", "qa", "classification", "embedding"])
def test_the_kind_of_a_built_in_task_is_taken(kinds, kind):
    before = dict(kinds)
    with pytest.raises(ConfigError, match=f"the name '{kind}' of Mine is taken by .*Task"):
        type("Mine", (NERTask,), {"kind": kind})
    assert kinds == before


def test_a_cell_of_a_notebook_may_run_twice(kinds):
    for _ in range(2):

        class Mine(NERTask):
            kind = "mine"

        assert kinds["mine"] is Mine


def test_a_subclass_that_names_no_kind_is_registered_under_none(kinds):
    before = dict(kinds)
    type("Quiet", (NERTask,), {})
    assert kinds == before


RECIPE = """
[tasks.mine]
kind = "needs_options"
train = "own.conll"
"""


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe with a task that has options without a default, beside one that has one."""

    class NeedsOptions(NERTask):
        kind = "needs_options"

        def __init__(self, name, dataset=None, *, colour, sizes, extra=0, types=None):
            super().__init__(name, dataset, types)
            self.chosen = (colour, sizes, extra)

    monkeypatch.chdir(tmp_path)
    mtl.write_conll(ner_examples("train", 60), tmp_path / "own.conll")
    (tmp_path / "own.toml").write_text(RECIPE)
    return tmp_path / "own.toml"


def test_an_option_without_a_default_is_set_in_a_recipe(recipe):
    loaded = load_recipe(recipe, ['tasks.mine.colour="red"', "tasks.mine.sizes=[1, 2]"])
    (task,) = build_tasks(loaded)
    assert task.chosen == ("red", [1, 2], 0)
    recipe.write_text(loaded.to_toml())
    assert load_recipe(recipe).tasks["mine"].options == {"colour": "red", "sizes": [1, 2]}


@pytest.mark.parametrize(
    ("settings", "missing"),
    [((), "colour"), (['tasks.mine.colour="red"'], "sizes"), (["tasks.mine.sizes=[1]"], "colour")],
)
def test_an_option_without_a_default_that_is_missing_is_named(recipe, settings, missing):
    with pytest.raises(ConfigError, match=rf"tasks\.mine\.{missing} is missing"):
        load_recipe(recipe, settings)


def test_an_unknown_option_is_still_refused_with_the_nearest(recipe):
    settings = ['tasks.mine.colour="red"', "tasks.mine.sizes=[1]", "tasks.mine.extras=1"]
    with pytest.raises(ConfigError, match=r'(?s)unknown key tasks\.mine\.extras.*mean "extra"'):
        load_recipe(recipe, settings)


class Counts(Task):
    """As short as a task can be."""

    main_metric = "accuracy"

    def build_head(self, d_model):
        return nn.Linear(d_model, 1)

    def targets(self, example, rows, notes):
        return [None] * len(rows)

    collate = loss = decode = score = targets


def test_a_task_without_a_main_metric_is_refused_before_it_is_trained():
    class Forgot(Counts):
        main_metric = ""

    class Chooses(Forgot):
        def main_score(self, scores):
            return "accuracy", scores["accuracy"]

    with pytest.raises(ConfigError, match="Forgot has no main_metric"):
        Forgot("forgot")
    Chooses("chooses")


def test_options_that_a_model_folder_would_not_remember_are_refused():
    class Forgets(Counts):
        def __init__(self, name, dataset=None, colour="red", *, size=3):
            super().__init__(name, dataset)

    class Remembers(Forgets):
        def settings(self):
            return {"colour": "red"}

    with pytest.raises(ConfigError, match=r"(?s)not remember.*colour, size.*settings"):
        Forgets("forgets")
    Remembers("remembers")


@pytest.mark.parametrize("kind", [3, None, ["a"]])
def test_a_kind_is_a_text(kind):
    with pytest.raises(ConfigError, match="the kind of Mine must be a text"):
        type("Mine", (NERTask,), {"kind": kind})


# --- what a beginner's method may return ----------------------------------------------------------


class Long(Task):
    """Whether a text has a label that is "1"."""

    main_metric = "accuracy"
    example = mtl.TextExample

    def build_head(self, d_model):
        return nn.Linear(d_model, 2)

    def run_head(self, head, hidden, batch):
        return head(pool(hidden, batch.attention_mask, "mean"))

    def targets(self, example, rows, notes):
        return [int(example.label)] * len(rows)

    def collate(self, targets, length):
        return torch.tensor(targets)

    def loss(self, outputs, targets, batch):
        return F.cross_entropy(outputs, targets)

    def decode(self, outputs, batch):
        return merge_rows(outputs, batch.rows, len(batch)).argmax(-1).tolist()

    def score(self, examples, predictions):
        return {"accuracy": 1.0}


def trained(build_model, cls):
    examples = [mtl.TextExample("Ann ran .", label="1"), mtl.TextExample("Bo slept", label="0")]
    model = build_model([cls("long", mtl.Dataset(examples * 4, examples))])
    return mtl.train(model, config=FAST, progress=False)


def test_the_task_that_the_next_tests_spoil_is_sound(build_model):
    assert trained(build_model, Long).losses("long")


SPOILED = {
    "build_head": [(lambda *_: None, "head .* is not a module"), (lambda *_: len, "not a module")],
    "targets": [
        (lambda *_: [], r"one target for each row.*\[\] for 1 rows"),
        (lambda *_: 1, "one target for each row.*1 for 1 rows"),
        (lambda *_: None, "one target for each row.*None for 1 rows"),
    ],
    "collate": [
        (lambda self, targets, length: targets, "are not a tensor with one entry for each row"),
        (lambda self, targets, length: torch.tensor(targets[:1]), r"shape \(1,\) for 8 rows"),
    ],
    "loss": [
        (lambda self, outputs, *_: outputs.sum(1), r"not a tensor of one number.*shape \(8,\)"),
        (lambda *_: 1.0, r"not a tensor of one number.*1\.0.*Spoiled\.loss"),
        (lambda *_: None, "not a tensor of one number.*None"),
    ],
    "decode": [
        (lambda *_: [1], "one prediction for each example.*1 for 2 examples"),
        (lambda *_: None, "one prediction for each example.*None for 2 examples"),
    ],
}


@pytest.mark.parametrize(
    ("method", "returns", "words"),
    [(method, *case) for method, cases in SPOILED.items() for case in cases],
)
def test_what_a_method_may_not_return(build_model, method, returns, words):
    with pytest.raises(ConfigError, match=f"(?s){words}"):
        trained(build_model, type("Spoiled", (Long,), {method: returns}))


# --- options of a task that is derived from another -----------------------------------------------


class Louder(NERTask):
    def __init__(self, name, dataset=None, types=None, volume: int = 3):
        super().__init__(name, dataset, types)
        self.volume = volume

    def settings(self):
        return {**super().settings(), "volume": self.volume}


def test_options_beside_those_of_the_class_above_are_remembered(build_model, sentences, tmp_path):
    task = Louder("loud", mtl.Dataset(sentences[:8]), volume=7)
    model = build_model([task])
    mtl.train(model, config=FAST, progress=False)
    model.save_pretrained(tmp_path)
    assert mtl.MultiTaskModel.from_pretrained(tmp_path).tasks["loud"].volume == 7


class Replaces(NERTask):
    def __init__(self, name, dataset=None, volume=3):
        super().__init__(name, dataset)


class Drops(Louder):
    def settings(self):
        return {"volume": self.volume}


class Changes(Louder):
    def settings(self):
        return {**super().settings(), "volume": self.volume + 1}


class NoJson(Louder):
    def settings(self):
        return {**super().settings(), "volume": {self.volume}}


@pytest.mark.parametrize(
    ("cls", "found"),
    [
        (Replaces, "keyword argument 'types'"),
        (Drops, "KeyError"),
        (Changes, "other values then of volume"),
        (NoJson, "set is not JSON"),
    ],
)
def test_a_task_that_could_not_be_loaded_again_is_refused_before_training(
    build_model, sentences, cls, found
):
    model = build_model([cls("loud", mtl.Dataset(sentences[:8]))])
    with pytest.raises(ConfigError, match=rf"(?s)not loaded again.*{found}.*super\(\)\.settings"):
        mtl.train(model, config=FAST, progress=False)


def test_what_is_added_to_a_model_is_a_task(build_model):
    with pytest.raises(ConfigError, match="this is not a task"):
        build_model([NERTask("ner", types=["X"])]).add_task("ner")
    with pytest.raises(ConfigError, match="a task's name must be"):
        NERTask(None, types=["X"])
