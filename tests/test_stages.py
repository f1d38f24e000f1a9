"""The stages of a recipe: what moves in each, how they are counted, and what is refused."""

import csv

import pytest
import recipes
from recipes import SHARED, error_of, weights_of

import mtl
from mtl.errors import ConfigError, TrainingWarning
from mtl.experiments.build import build_tasks
from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe
from mtl.training.loop import Run, train

# pytest looks for a fixture by its name in this module.
shared = recipes.shared
staged = recipes.staged
write = recipes.write

pytestmark = pytest.mark.usefixtures("no_curves")


def test_a_task_that_no_stage_trains_is_a_slip(staged):
    assert "no stage trains the task" in error_of(staged, "stages=[{tasks=['ner']}]")


def test_in_each_stage_moves_what_should_and_nothing_else(staged, tmp_path, monkeypatch):
    seen = []

    def watched(model, tasks, config, **rest):
        before = weights_of(model)
        history = train(model, tasks, config, **rest)
        after = model.state_dict()
        moved = {name for name in before if not before[name].equal(after[name])}
        seen.append((config, [task.name for task in tasks], moved, weights_of(model)))
        return history

    monkeypatch.setattr("mtl.experiments.run.train", watched)
    recipe = load_recipe(staged)
    with pytest.warns(TrainingWarning, match="the head of 'ner' is frozen"):
        metrics = run_recipe(recipe, tmp_path / "run", progress=False)
    model = mtl.MultiTaskModel.from_pretrained(tmp_path / "run")
    parts = {
        part: {name for name in model.state_dict() if name.startswith(f"{part}.")}
        for part in ("encoder", "heads.topic", "heads.ner")
    }
    (one, names, moved, _), (two, other_names, moved_then, last) = seen
    assert (names, moved) == (["topic"], parts["encoder"] | parts["heads.topic"])
    assert (other_names, moved_then) == (["ner"], parts["heads.ner"])
    assert [one.epochs, one.learning_rate, one.batch_size] == [2, 0.02, 10]
    assert [two.epochs, two.learning_rate, two.batch_size] == [1, 0.01, 5]
    assert all(tensor.equal(last[name]) for name, tensor in model.state_dict().items())
    # The metrics are those of the last model, for the task of the first stage too.
    for split in ("validation", "test"):
        for task in build_tasks(recipe):
            expected = mtl.evaluate(model, task.name, task.dataset.split(split))
            assert metrics[split][task.name] == expected


@pytest.mark.filterwarnings("ignore::mtl.errors.TrainingWarning")
def test_the_history_of_stages_counts_on(staged, tmp_path):
    run_recipe(load_recipe(staged), tmp_path / "run", progress=False)
    with open(tmp_path / "run" / "training_metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # Twenty examples: two rounds an epoch in batches of ten, then four in batches of five.
    assert [row["epoch"] for row in rows] == [*"1122", *"3333"]
    assert [row["step"] for row in rows] == [*"12345678"]
    assert [row["topic_examples"] for row in rows] == ["10", "20", "30", "40", *["40"] * 4]
    assert [row["ner_examples"] for row in rows] == [*[""] * 4, "5", "10", "15", "20"]
    assert [bool(row["topic_loss"]) for row in rows] == [True] * 4 + [False] * 4
    assert [bool(row["ner_loss"]) for row in rows] == [False] * 4 + [True] * 4
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(
        [0.02, 0.015, 0.01, 0.005, 0.01, 0.0075, 0.005, 0.0025]
    )
    validated = [
        (bool(row["validation_topic_accuracy"]), bool(row["validation_ner_entity_f1"]))
        for row in rows
    ]
    none, topic, ner = (False, False), (True, False), (False, True)
    assert validated == [none, topic, none, topic, none, none, none, ner]


def test_one_stage_that_changes_nothing_is_no_stage(shared, write, tmp_path):
    one = write(SHARED + "\n[[stages]]\n", "one.toml")
    models = []
    for path in (shared, one):
        run_recipe(load_recipe(path), tmp_path / path.stem, progress=False)
        models.append((tmp_path / path.stem / "model.safetensors").read_bytes())
    assert models[0] == models[1]


def test_settings_reach_into_stages(staged, write):
    recipe = load_recipe(staged, ["stages.0.epochs=7", "stages.1.sampling=joint", "train.epochs=3"])
    assert [config.epochs for config, _ in recipe.train_configs] == [7, 3]
    assert [config.sampling for config, _ in recipe.train_configs] == ["alternating", "joint"]
    assert load_recipe(write(recipe.to_toml(), "again.toml")) == recipe


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("stages.0.epoch=3", ["unknown key stages.0.epoch", 'did you mean "epochs"']),
        ("stages.1.seed=3", ["unknown key stages.1.seed"]),
        ("stages.0.epochs=many", ["stages.0.epochs must be a whole number", "'many'"]),
        ("stages.0.epochs=0", ["epochs must be at least 1"]),
        ("stages.0.tasks=ner", ["stages.0.tasks must be a list"]),
        ("stages.0.tasks=['nre']", ["stages.0.tasks", "unknown task", 'did you mean "ner"']),
        ("stages.0.tasks.0=nre", ["stages.0.tasks", "unknown task", 'did you mean "ner"']),
        ("stages.0.tasks=[['ner']]", ["stages.0.tasks must be a list of names", "['ner']"]),
        ("stages.0.loss_weights={nre=2.0}", ["stages.0.loss_weights names an unknown task"]),
        ("stages.0.tasks=[]", ["stages.0.tasks is empty"]),
        ("stages.0.freeze=encoder", ["stages.0.freeze must be a list"]),
        ("stages.0.freeze=[3]", ["freeze must be a list of names"]),
        ("stages.2.epochs=3", ["no entry '2'", "count from 0"]),
        ("stages.one.epochs=3", ["no entry 'one'", "count from 0"]),
        ("stages.-1.epochs=3", ["no entry '-1'", "count from 0"]),
        ("stages.².epochs=3", ["no entry '²'", "count from 0"]),
        ("stages.9=3", ["no entry '9'", "count from 0"]),
        ("stages.0=3", ["stages.0 is a section, not a value"]),
        ("stages.0.epochs.most=3", ["'epochs' is a value, not a section"]),
        ("stages=3", ["stages must be a list"]),
        ("stages={epochs=3}", ["stages must be a list"]),
        ("stages=[3]", ["stages.0 is a section, not a value"]),
    ],
)
def test_what_cannot_be_said_of_a_stage(staged, setting, words):
    message = error_of(staged, setting)
    for word in words:
        assert word in message


def test_an_entry_of_a_list_may_be_set(staged):
    settings = ["stages.0.tasks.0=ner", "stages.1.tasks.0=topic"]
    recipe = load_recipe(staged, [*settings, "stages.1.freeze.0=encoder.norm"])
    assert recipe.stages[0]["tasks"] == ["ner"]
    assert recipe.stages[1]["freeze"] == ["encoder.norm"]


def test_a_stage_of_some_tasks_ignores_the_weights_of_the_others(staged):
    recipe = load_recipe(staged, ["train.loss_weights={topic=0.5, ner=2.0}"])
    weights = [config.loss_weights for config, _ in recipe.train_configs]
    assert weights == [{"topic": 0.5}, {"ner": 2.0}]


def files_below(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.filterwarnings("ignore::mtl.errors.TrainingWarning")
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("stages.1.freeze=['heads.nre']", 'did you mean "heads.ner"'),
        ("stages.1.freeze=['encoder', 'heads.ner']", "nothing to train for the task 'ner'"),
    ],
)
def test_what_is_wrong_with_the_last_stage_is_said_before_the_first(
    staged, tmp_path, monkeypatch, setting, words
):
    """And before anything of an older run in the folder is touched."""
    run_recipe(load_recipe(staged), tmp_path / "run", save_every=1, progress=False)
    before = files_below(tmp_path / "run")
    assert len(before) > 10
    monkeypatch.setattr(Run, "next_step", lambda run: pytest.fail("trained in vain"))
    for output in ("new", "run"):
        recipe = load_recipe(staged, [setting])
        with pytest.raises(ConfigError, match=words):
            run_recipe(recipe, tmp_path / output, overwrite=True, progress=False)
    assert not (tmp_path / "new").exists()
    assert files_below(tmp_path / "run") == before
