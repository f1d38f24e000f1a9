"""Adapters in a recipe: what it may say, what is trained and saved, what `compare` makes of it."""

import json

import comparing
import pytest
from comparing import MODULE, SHARED, TINY, watched

from mtl.cli.main import main
from mtl.errors import ConfigError
from mtl.experiments.build import build_model, build_tasks
from mtl.experiments.compare import compare
from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe
from mtl.inference import evaluate
from mtl.model import MultiTaskModel
from mtl.nn.adapters import AdapterConfig
from mtl.training.run import Run

no_picture = comparing.no_picture  # pytest looks for a fixture by its name in this module
ADAPTED = ["tasks.ner.adapter=2", "tasks.qa.adapter=3", 'train.freeze=["encoder"]']
CONFIG = ['adapters.matrices=["value"]', "adapters.alpha=4", "adapters.layers=1"]


def test_a_recipe_sets_them(tmp_path, no_curves):
    recipe = load_recipe("practical7", [*TINY, *ADAPTED, *CONFIG, "encoder.n_layers=2"])
    (tmp_path / "again.toml").write_text(recipe.to_toml())
    assert load_recipe(tmp_path / "again.toml") == recipe
    metrics = run_recipe(recipe, tmp_path / "run", progress=False)
    model = MultiTaskModel.from_pretrained(tmp_path / "run")
    assert model.adapter_ranks == {"ner": 2, "qa": 3}
    assert model.adapter_config == AdapterConfig(["value"], alpha=4, layers=1)
    assert metrics["parameters"] == sum(p.numel() for p in model.parameters())
    assert all(p.any() for p in model.adapters.parameters())
    tasks = build_tasks(recipe)
    fresh = build_model(recipe, tasks).encoder.state_dict()
    assert all(tensor.equal(fresh[name]) for name, tensor in model.encoder.state_dict().items())
    for task in tasks:
        assert metrics["test"][task.name] == evaluate(model, task.name, task.dataset.test)


def test_tasks_on_one_dataset_may_have_one_each():
    recipe = load_recipe("jsonl", [*SHARED, "tasks.topic.adapter=2"])
    model = build_model(recipe, build_tasks(recipe))
    assert model.adapter_ranks == {"topic": 2}
    assert load_recipe("jsonl", SHARED).to_toml().count("adapter = ") == 0


def test_the_preset_of_intents_trains_adapters_alone():
    recipe = load_recipe("intents", preset="adapters")
    assert {name: task.adapter for name, task in recipe.tasks.items()} == {"intent": 8, "slots": 8}
    assert recipe.train_config().freeze == ["encoder"]
    AdapterConfig(**recipe.adapters)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["tasks.ner.adapter=-1"], "tasks.ner.adapter must be at least 0"),
        (["tasks.ner.adapter=true"], "tasks.ner.adapter must be a whole number"),
        (["tasks.ner.adapters=8"], 'did you mean "adapter"'),
        (["adapters.alpha=8"], "the section [adapters] has no effect: no task has an adapter"),
        ([*ADAPTED, "adapters.alpha=0"], "adapters.alpha must be a positive number"),
        ([*ADAPTED, 'adapters.matrices="query"'], "adapters.matrices must be a list of names"),
        ([*ADAPTED, 'adapters.matrices=["values"]'], 'did you mean "value"'),
        ([*ADAPTED, "adapters.rank=8"], "unknown key adapters.rank"),
        ([*ADAPTED, "adapters=8"], "adapters must be a section of keys and values"),
        (["model.adapters={ner=8}"], "unknown key model.adapters"),
    ],
)
def test_what_cannot_be_said_of_them(settings, words):
    with pytest.raises(ConfigError) as error:
        load_recipe("practical7", [*TINY, *settings])
    assert words in str(error.value)


def test_more_layers_than_there_are_are_said_before_training(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Run, "next_step", lambda run: pytest.fail("trained in vain"))
    settings = [*TINY, *ADAPTED, "adapters.layers=2"]
    command = ["train", "practical7", "--set", *settings, "--output", str(tmp_path / "run")]
    assert main(command) == 2
    assert "adapters.layers must be at most the 1 layers" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_comparison_gives_each_model_the_adapters_of_its_tasks(tmp_path, no_picture, monkeypatch):
    trained = []
    monkeypatch.setattr(MODULE, "train", watched(trained))
    short = ["train.epochs=1", "train.rounds=1"]
    recipe = load_recipe("practical7", [*TINY, *short, "tasks.ner.adapter=2"])
    methods = ["joint", "pcgrad"]
    compare(recipe, tmp_path / "out", seeds=1, methods=methods, progress=False)
    for run in trained:
        expected = {"ner": 2} if "ner" in run.tasks else {}
        assert run.model.adapter_ranks == expected
        # Private, like heads: nothing of it is in what the tasks share.
        shared = {id(p) for part in run.model.shared_parts.values() for p in part}
        assert not shared & {id(p) for p in run.model.adapters.parameters()}
    assert {len(run.tasks) for run in trained} == {1, 2}


def test_what_is_fought_over_cannot_be_compared_where_nothing_is_shared(tmp_path, no_picture):
    recipe = load_recipe("practical7", [*TINY, *ADAPTED])
    with pytest.raises(ConfigError, match="no shared parameter that is trained"):
        compare(recipe, tmp_path / "out", seeds=1, methods=["pcgrad"], progress=False)
    assert not (tmp_path / "out").exists()


def test_a_run_goes_on_only_with_the_same_adapters(tmp_path, no_curves, capsys):
    output = ["--output", str(tmp_path / "run")]
    assert main(["train", "practical7", "--set", *TINY, *ADAPTED, *output]) == 0
    again = ["train", "practical7", "--resume", *output, "--set", *TINY, *ADAPTED]
    assert main(again) == 0
    assert main([*again, "tasks.ner.adapter=4"]) == 2
    assert "then: adapter = 2; now: adapter = 4" in capsys.readouterr().err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["adapters"] == {"ner": 2, "qa": 3}
