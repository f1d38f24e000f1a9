"""A user's task is found by its kind, takes the place of no other, and has its own options."""

import pytest
from torch import nn

import mtl
from mtl.errors import ConfigError
from mtl.experiments.build import build_tasks
from mtl.experiments.recipe import load_recipe
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
