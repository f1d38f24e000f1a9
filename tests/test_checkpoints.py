"""What a run keeps beside its last model: checkpoints of epochs, and the best of each task."""

from pathlib import Path

import pytest
import recipes
from recipes import weights_of

import mtl
from mtl.errors import ConfigError
from mtl.experiments.build import build_tasks
from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe
from mtl.model import MultiTaskModel
from mtl.training.loop import Run
from mtl.training.preflight import EncodedDataset

# pytest looks for a fixture by its name in this module.
shared = recipes.shared
staged = recipes.staged
tiny = recipes.tiny
write = recipes.write

pytestmark = pytest.mark.usefixtures("no_curves")


# --- checkpoints ----------------------------------------------------------------------------------


def checkpoints_of(folder):
    return sorted(path.name for path in folder.glob("checkpoint*"))


@pytest.mark.parametrize(("save_every", "numbers"), [(0, []), (1, [1, 2, 3]), (2, [2]), (4, [])])
def test_every_nth_epoch_is_saved(shared, tmp_path, save_every, numbers):
    recipe = load_recipe(shared, ["train.epochs=3"])
    run_recipe(recipe, tmp_path / "run", save_every=save_every, progress=False)
    assert checkpoints_of(tmp_path / "run") == [f"checkpoint-epoch{n}" for n in numbers]


def test_saving_every_fewer_than_no_epochs_is_refused(shared, tmp_path):
    with pytest.raises(ConfigError, match=r"--save-every.* must be at least 0(.|\n)*-1"):
        run_recipe(load_recipe(shared), tmp_path / "run", save_every=-1, progress=False)
    assert not (tmp_path / "run").exists()


def test_saving_checkpoints_changes_nothing_in_the_training(shared, tmp_path):
    for name, save_every in (("with", 1), ("without", 0)):
        run_recipe(load_recipe(shared), tmp_path / name, save_every=save_every, progress=False)
    with_, without = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("with", "without")
    )
    assert with_ == without


@pytest.mark.filterwarnings("ignore::mtl.errors.TrainingWarning")
def test_checkpoints_are_whole_models_numbered_on_across_stages(staged, tmp_path, monkeypatch):
    on_epoch = []
    finish = Run.finish_epoch

    def remember(run):
        scores = finish(run)
        on_epoch.append((weights_of(run.model), scores))
        return scores

    monkeypatch.setattr(Run, "finish_epoch", remember)
    recipe = load_recipe(staged)
    run_recipe(recipe, tmp_path / "run", save_every=1, progress=False)
    names = [f"checkpoint-epoch{n}" for n in (1, 2, 3)]
    assert checkpoints_of(tmp_path / "run") == names
    tasks = {task.name: task for task in build_tasks(recipe)}
    for name, (weights, scores) in zip(names, on_epoch, strict=True):
        folder = tmp_path / "run" / name
        model = mtl.MultiTaskModel.from_pretrained(folder)
        assert all(tensor.equal(weights[n]) for n, tensor in model.state_dict().items())
        for task, values in scores.items():
            assert mtl.evaluate(model, task, tasks[task].dataset.validation) == values
        assert load_recipe(folder / "recipe.toml") == recipe
        assert mtl.predict(model, "Ann ran.").keys() == {"topic", "ner"}


@pytest.mark.filterwarnings("ignore::mtl.errors.TrainingWarning")
def test_every_nth_epoch_is_counted_across_stages(staged, tmp_path):
    recipe = load_recipe(staged, ["stages.0.epochs=1", "stages.1.epochs=3"])
    run_recipe(recipe, tmp_path / "run", save_every=2, progress=False)
    assert checkpoints_of(tmp_path / "run") == ["checkpoint-epoch2", "checkpoint-epoch4"]


def test_a_run_that_is_replaced_leaves_no_checkpoint_behind(shared, tmp_path):
    recipe = load_recipe(shared, ["train.epochs=3"])
    run_recipe(recipe, tmp_path / "run", save_every=1, progress=False)
    again = {"save_every": 2, "overwrite": True, "progress": False}
    run_recipe(recipe, tmp_path / "run", **again)
    assert checkpoints_of(tmp_path / "run") == ["checkpoint-epoch2"]


def test_a_folder_named_only_a_little_like_a_checkpoint_is_kept(shared, tmp_path):
    run_recipe(load_recipe(shared), tmp_path / "run", progress=False)
    (tmp_path / "run" / "checkpoint-epochs-compared").mkdir()
    run_recipe(load_recipe(shared), tmp_path / "run", overwrite=True, progress=False)
    assert checkpoints_of(tmp_path / "run") == ["checkpoint-epochs-compared"]


def test_what_a_killed_run_left_can_be_used_and_replaced(shared, tmp_path, monkeypatch):
    def killed(run):
        raise KeyboardInterrupt

    recipe = load_recipe(shared, ["train.epochs=2"])
    monkeypatch.setattr(Run, "restore_best", killed)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, tmp_path / "run", save_every=1, progress=False)
    monkeypatch.undo()
    left = [path.name for path in sorted((tmp_path / "run").iterdir())]
    saved = ["best-ner", "best-topic", "checkpoint-epoch1", "checkpoint-epoch2"]
    assert left == [*saved, "training_state"]
    for name in saved:
        mtl.MultiTaskModel.from_pretrained(tmp_path / "run" / name)
    with pytest.raises(ConfigError, match="--overwrite"):
        run_recipe(recipe, tmp_path / "run", progress=False)
    assert [path.name for path in sorted((tmp_path / "run").iterdir())] == left
    run_recipe(recipe, tmp_path / "run", overwrite=True, progress=False)
    assert checkpoints_of(tmp_path / "run") == []
    assert not (tmp_path / "run" / "training_state").exists()
    assert (tmp_path / "run" / "metrics.json").exists()


# --- the best of each task ------------------------------------------------------------------------


@pytest.fixture
def scripted(monkeypatch):
    """Validation scores given beforehand, by task; gives the weights after each epoch."""

    def script(**scores):
        left = {name: iter(values) for name, values in scores.items()}
        main = {"topic": "accuracy", "ner": "entity_f1"}

        def score(data, model):
            return {task.name: {main[task.name]: next(left[task.name])} for task in data.tasks}

        monkeypatch.setattr(EncodedDataset, "validate", score)
        return on_epoch

    on_epoch = []
    finish = Run.finish_epoch
    monkeypatch.setattr(
        Run, "finish_epoch", lambda run: (on_epoch.append(weights_of(run.model)), finish(run))[1]
    )
    return script


def assert_weights(folder, expected):
    model = mtl.MultiTaskModel.from_pretrained(folder)
    assert all(tensor.equal(expected[name]) for name, tensor in model.state_dict().items())


def test_the_best_epoch_of_each_task_is_kept(shared, tmp_path, scripted):
    """Also where it is not the best of the run; the first of those that are as good."""
    epochs = scripted(topic=[0.3, 0.9, 0.9, 0.1], ner=[0.8, 0.1, 0.5, 0.8])
    recipe = load_recipe(shared, ["train.epochs=4"])
    run_recipe(recipe, tmp_path / "run", progress=False)
    assert_weights(tmp_path / "run" / "best-topic", epochs[1])
    assert_weights(tmp_path / "run" / "best-ner", epochs[0])
    assert_weights(tmp_path / "run", epochs[2])
    assert load_recipe(tmp_path / "run" / "best-ner" / "recipe.toml") == recipe


def test_the_best_of_each_task_is_kept_over_a_stop(shared, tmp_path, scripted, monkeypatch):
    topic, ner = [0.3, 0.9, 0.1, 0.8], [0.1, 0.2, 0.4, 0.3]
    epochs = scripted(topic=topic, ner=ner)
    recipe = load_recipe(shared, ["train.epochs=4"])
    write = MultiTaskModel.save_pretrained

    def stop(model, folder):
        write(model, folder)
        if len(epochs) == 3:  # its folders are written, its state is not
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MultiTaskModel, "save_pretrained", stop)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(recipe, tmp_path / "run", progress=False)
    again = scripted(topic=topic[2:], ner=ner[2:])
    run_recipe(recipe, tmp_path / "run", resume=True, progress=False)
    assert len(again) == 5  # the third was trained twice
    assert_weights(tmp_path / "run" / "best-topic", epochs[1])
    assert_weights(tmp_path / "run" / "best-ner", again[3])


@pytest.mark.filterwarnings("ignore::mtl.errors.TrainingWarning")
def test_the_best_of_each_task_is_of_all_stages(staged, tmp_path, scripted):
    """A later stage that is worse does not replace it; one that is better does."""
    settings = ["stages.0.tasks=['topic', 'ner']", "stages.0.epochs=2", "stages.1.epochs=2"]
    recipe = load_recipe(staged, settings)
    epochs = scripted(topic=[0.3, 0.9], ner=[0.5, 0.4, 0.2, 0.6])
    run_recipe(recipe, tmp_path / "better", progress=False)
    assert_weights(tmp_path / "better" / "best-topic", epochs[1])
    assert_weights(tmp_path / "better" / "best-ner", epochs[3])
    epochs.clear()
    scripted(topic=[0.3, 0.9], ner=[0.5, 0.4, 0.2, 0.3])
    run_recipe(recipe, tmp_path / "worse", progress=False)
    assert_weights(tmp_path / "worse" / "best-ner", epochs[0])


def test_of_a_single_task_the_model_itself_is_the_best(tiny, tmp_path):
    text = Path(tiny).read_text().split("[tasks.qa]")
    path = tmp_path / "single.toml"
    path.write_text(text[0] + text[1][text[1].index("[encoder]") :])
    run_recipe(load_recipe(path), tmp_path / "run", progress=False)
    assert list((tmp_path / "run").glob("best-*")) == []
