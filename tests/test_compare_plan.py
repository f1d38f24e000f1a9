"""What a method and a size change in a recipe, and how `share` draws examples."""

from dataclasses import replace

import comparing
import pytest
from comparing import MODULE, SHARED, TINY, watched

import mtl
from mtl.errors import ConfigError, DataWarning
from mtl.experiments.build import build_tasks
from mtl.experiments.compare import compare
from mtl.experiments.plan import method_settings, with_size
from mtl.experiments.recipe import load_recipe
from mtl.training.config import TrainConfig

# pytest looks for a fixture by its name in this module.
no_picture = comparing.no_picture
recipe = comparing.recipe


# --- methods and sizes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("alternating", {"sampling": "alternating"}),
        ("joint", {"sampling": "joint"}),
        ("sampled", {"sampling": "sampled"}),
        ("fixed", {"sampling": "sampled", "weighting": "fixed"}),
        ("uncertainty", {"sampling": "sampled", "weighting": "uncertainty"}),
        ("gradnorm", {"sampling": "joint", "weighting": "gradnorm"}),
        ("gradnorm(alpha=0.5)", {"weighting_options": {"alpha": 0.5}}),
        ("pcgrad", {"sampling": "joint", "aggregation": "pcgrad"}),
        ("pcgrad()", {"aggregation_options": {}}),
    ],
)
def test_what_a_method_sets(recipe, method, expected):
    """Steps are the recipe's where the method can do with them, and nothing else is touched."""
    own = {"sampling": "sampled", "weighting": "random", "aggregation": "pcgrad"}
    settings = method_settings(method, replace(recipe, train=recipe.train | own))
    assert expected.items() <= settings.items()
    ours = {"sampling", "loss_weights", "weighting", "weighting_options"}
    ours |= {"aggregation", "aggregation_options"}
    rest = {key: value for key, value in settings.items() if key not in ours}
    assert rest == {key: value for key, value in recipe.train.items() if key not in ours}
    assert settings.get("weighting", "fixed") == expected.get("weighting", "fixed") or "(" in method
    assert settings.get("aggregation", "sum") != "pcgrad" or "pcgrad" in method


def test_options_of_an_aggregator_of_torchjd(recipe):
    pytest.importorskip("torchjd")
    settings = method_settings("CAGrad(c=0.4)", recipe)
    assert settings["aggregation"] == "CAGrad"
    assert settings["aggregation_options"] == {"c": 0.4}
    assert settings["sampling"] == "joint"


def test_loss_weights_stay_with_the_methods_that_use_them(recipe):
    weighted = replace(recipe, train=recipe.train | {"loss_weights": {"ner": 3.0}})
    for method in ("fixed", "alternating", "joint", "pcgrad"):
        assert method_settings(method, weighted)["loss_weights"] == {"ner": 3.0}
    for method in ("uncertainty", "dwa", "gradnorm", "random"):
        assert "loss_weights" not in method_settings(method, weighted)


def test_all_else_is_as_in_the_recipe(recipe, tmp_path, no_picture, monkeypatch):
    """But for the loss weights alone: with one task they would only change its learning rate."""
    trained = []
    monkeypatch.setattr(MODULE, "train", watched(trained))
    weights = {"ner": 3.0, "qa": 2.0}
    weighted = replace(recipe, train=recipe.train | {"loss_weights": weights, "adam_beta2": 0.9})
    methods = ["joint", "uncertainty", "pcgrad"]
    compare(weighted, tmp_path / "out", seeds=1, methods=methods, progress=False)
    assert len(trained) == 4 + 3  # uncertainty weighs the losses of alternating steps too
    as_given = TrainConfig(**weighted.train | {"stop_at": 0.0})  # none ends early
    alone = replace(as_given, loss_weights={})
    longer = replace(alone, rounds=4)
    assert [seen.config for seen in trained] == [
        *(alone, alone, longer, longer),
        replace(as_given, sampling="joint"),
        replace(as_given, loss_weights={}, weighting="uncertainty"),
        replace(as_given, sampling="joint", aggregation="pcgrad"),
    ]


def test_a_size_of_a_dataset_that_tasks_share():
    recipe = with_size(load_recipe("jsonl", SHARED), "ner=0.3")
    assert recipe.datasets["records"].share == 0.3
    with pytest.warns(DataWarning):  # six texts do not have all classes
        assert {len(task.dataset.train) for task in build_tasks(recipe)} == {6}


# --- share in recipes -----------------------------------------------------------------------------


def train_texts(*settings, recipe="practical7", task=0):
    tasks = build_tasks(
        load_recipe(recipe, [*TINY, *settings] if recipe == "practical7" else settings)
    )
    return [str(example) for example in tasks[task].dataset.train]


@pytest.mark.parametrize("share", ["0", "0.0", "-0.1", "1.01", "nan", "inf"])
@pytest.mark.parametrize("where", ["tasks.qa", "datasets.records"])
def test_a_share_lies_above_0_and_at_most_at_1(where, share):
    name, settings = ("practical7", TINY) if where == "tasks.qa" else ("jsonl", SHARED)
    with pytest.raises(ConfigError, match=rf"{where}.share must be above 0 and at most 1"):
        load_recipe(name, [*settings, f"{where}.share={share}"])


@pytest.mark.parametrize("share", ["'half'", "true", "[0.5]"])
def test_a_share_is_a_number(share):
    with pytest.raises(ConfigError, match="share must be a number"):
        load_recipe("practical7", [f"tasks.qa.share={share}"])


def test_a_share_of_a_task_that_uses_a_shared_dataset_has_no_effect_there():
    with pytest.raises(ConfigError, match=r"set datasets\.records\.share"):
        load_recipe("jsonl", [*SHARED, "tasks.ner.share=0.5"])


def test_a_share_is_drawn_by_the_seed_from_the_training_split_alone():
    whole, half = train_texts(task=1), train_texts("tasks.qa.share=0.5", task=1)
    assert (len(whole), len(half)) == (60, 30)
    assert set(half) < set(whole)
    assert half != whole[:30]
    assert half == train_texts("tasks.qa.share=0.5", task=1)
    assert half != train_texts("tasks.qa.share=0.5", "seed=1", task=1)
    tasks = build_tasks(load_recipe("practical7", [*TINY, "tasks.qa.share=0.5"]))
    assert [len(task.dataset.train) for task in tasks] == [40, 30]
    assert {len(task.dataset.split(s)) for task in tasks for s in ("validation", "test")} == {10}


@pytest.mark.parametrize(
    ("share", "limit", "n"),
    [(1.0, 0, 60), (0.5, 10, 10), (0.5, 50, 30), (0.001, 0, 1), (1, 7, 7), (0.99, 0, 59)],
)
def test_of_share_and_limit_the_smaller_holds(share, limit, n):
    settings = [f"tasks.qa.share={share}", f"tasks.qa.limit={limit}"]
    assert len(train_texts(*settings, task=1)) == n


def test_a_share_of_an_own_file_leaves_what_is_held_out(tmp_path):
    mtl.write_jsonl(
        [mtl.TextExample(f"item {i} fell", label="ab"[i % 2]) for i in range(100)],
        tmp_path / "own.jsonl",
    )
    own = [*SHARED, f"datasets.records.train={tmp_path / 'own.jsonl'}"]
    settings = [*own, "tasks.ner.toy=ner", "tasks.ner.toy_train=10", "tasks.ner.toy_held_out=5"]
    whole, part = (
        build_tasks(load_recipe("jsonl", [*settings, f"datasets.records.share={share}"]))[0].dataset
        for share in (1.0, 0.25)
    )
    assert (len(whole.train), len(part.train)) == (80, 20)
    assert list(part.test) == list(whole.test)
    assert {e.text for e in part.train} < {e.text for e in whole.train}


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_a_share_is_written_and_read_back(tmp_path, share):
    for name, where in (("practical7", "tasks.qa"), ("jsonl", "datasets.records")):
        recipe = load_recipe(name, [f"{where}.share={share}"])
        (tmp_path / "again.toml").write_text(recipe.to_toml())
        again = load_recipe(tmp_path / "again.toml")
        assert again == recipe
        assert f"share = {share}" in recipe.to_toml()
