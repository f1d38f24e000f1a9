"""How `train` is called: tasks and settings in every form, and a random state that is kept."""

import pytest
import small_training
import torch
from small_training import FAST, same_weights

from mtl.data.dataset import Dataset
from mtl.errors import ConfigError
from mtl.experiments.recipe import load_recipe
from mtl.tasks.qa import QATask
from mtl.training.config import TrainConfig
from mtl.training.loop import train

# pytest looks for a fixture by its name in this module.
tasks = small_training.tasks

SETTINGS = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2}


def test_the_models_own_tasks_are_trained_with_settings_from_a_dict(build_model, tasks):
    model, other = build_model(tasks), build_model(tasks)
    history = train(model, tasks, FAST, progress=False)
    assert train(other, config=SETTINGS, progress=False).rounds == history.rounds
    assert same_weights(model.state_dict(), other.state_dict())


@pytest.mark.parametrize("chosen", ["qa", ["qa"], ("qa",)])
def test_tasks_are_chosen_by_name(build_model, tasks, chosen):
    history = train(build_model(tasks), chosen, FAST, progress=False)
    assert history.rounds == train(build_model(tasks), [tasks[1]], FAST, progress=False).rounds
    assert train(build_model(tasks), tasks[1], FAST, progress=False).tasks == ["qa"]


@pytest.mark.parametrize("misplaced", [FAST, SETTINGS])
def test_settings_in_the_place_of_tasks_are_told_where_they_belong(build_model, tasks, misplaced):
    with pytest.raises(
        ConfigError, match=r"settings were given where the tasks belong(.|\n)*config="
    ):
        train(build_model(tasks), misplaced)


@pytest.mark.parametrize("thing", [3, [3]])
def test_what_is_no_task_is_refused(build_model, tasks, thing):
    with pytest.raises(ConfigError, match="this is not a task"):
        train(build_model(tasks), thing)


def test_what_cannot_be_settings_is_refused(build_model, tasks):
    with pytest.raises(ConfigError, match=r"no epoch\n.*did you mean \"epochs\""):
        train(build_model(tasks), config={"epoch": 3})
    with pytest.raises(ConfigError, match="a TrainConfig, or a dict"):
        train(build_model(tasks), config=3)
    with pytest.raises(ConfigError, match="no such task"):
        train(build_model(tasks), ["pos"], FAST)


def test_the_settings_of_a_recipe_with_changes():
    recipe = load_recipe("practical7", ["seed=7"])
    assert recipe.train_config() == TrainConfig(**recipe.train, seed=7)
    changed = recipe.train_config(epochs=3, seed=1)
    assert changed == TrainConfig(**recipe.train | {"epochs": 3}, seed=1)
    assert changed != recipe.train_config()
    with pytest.raises(ConfigError, match='did you mean "epochs"'):
        recipe.train_config(epoch=3)


def test_a_training_leaves_the_random_state_as_it_was(build_model, tasks):
    model = build_model(tasks, dropout=0.1)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train(model, config=FAST, progress=False)
    assert torch.equal(torch.rand(4), expected)


def test_a_training_that_fails_leaves_it_too(build_model, tasks):
    model = build_model(tasks, dropout=0.1)

    def fail(history):
        raise ZeroDivisionError

    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with pytest.raises(ZeroDivisionError):
        train(model, config=FAST, on_epoch=fail, progress=False)
    assert torch.equal(torch.rand(4), expected)


def test_what_is_drawn_before_does_not_change_a_training(build_model, tasks):
    rounds = []
    for seed in (1, 2):
        model = build_model(tasks, dropout=0.1)
        torch.manual_seed(seed)
        rounds.append(train(model, config=FAST, progress=False).rounds)
    assert rounds[0] == rounds[1]


def test_examples_made_for_another_task_are_refused(build_model, sentences):
    task = QATask("qa", Dataset(train=sentences[:4]))
    with pytest.raises(ConfigError, match=r"(?s)'qa' does not fit its kind.*reads questions with"):
        train(build_model([task]), config=FAST, progress=False)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"checkpoint": 3}, "checkpoint must be the path of a folder"),
        ({"save_every": 3}, "save_every needs to know where"),
        ({"save_every": -1, "checkpoint": "here"}, "save_every must be a whole number"),
        ({"save_every": "3", "checkpoint": "here"}, "save_every must be a whole number"),
        ({"config": {1: 2}}, "TrainConfig has no 1"),
    ],
)
def test_what_cannot_be_saved_or_set_is_refused_before_training(
    build_model, tasks, arguments, words
):
    with pytest.raises(ConfigError, match=words):
        train(build_model(tasks), **{"config": FAST} | arguments, progress=False)
