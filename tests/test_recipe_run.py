"""A run of a recipe: what decides its result, what it says and writes, and what scores it takes."""

import json

import numpy as np
import pytest
import recipes
import torch

import mtl
from mtl.errors import ConfigError
from mtl.experiments.build import build_tasks
from mtl.experiments.folder import OLD_STATE
from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe
from mtl.inference import evaluation
from mtl.tasks.ner import NERTask
from mtl.training.loop import Run

# pytest looks for a fixture by its name in this module.
recipe = recipes.recipe
run = recipes.run
shared = recipes.shared
tiny = recipes.tiny
write = recipes.write

pytestmark = pytest.mark.usefixtures("no_curves")


def test_an_older_run_stays_whole_until_the_new_one_is_done(shared, tmp_path):
    run = tmp_path / "run"
    run_recipe(load_recipe(shared), run, save_every=1, progress=False)
    before = {p.relative_to(run): p.read_bytes() for p in run.rglob("*") if p.is_file()}
    with pytest.raises(mtl.MTLError, match="not finite"):
        run_recipe(
            load_recipe(shared, ["train.learning_rate=1e30", "train.epochs=3"]),
            run,
            overwrite=True,
            save_every=1,
            progress=False,
        )
    after = {p.relative_to(run): p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert {path: after[path] for path in before} == before
    run_recipe(load_recipe(shared), run, overwrite=True, save_every=1, progress=False)
    assert not (run / "unfinished").exists()
    assert (run / "checkpoint-epoch1" / "model.safetensors").exists()


def test_the_seed_decides_everything_else_nothing(tiny, tmp_path):
    def run(folder, *settings):
        metrics = run_recipe(load_recipe(tiny, settings), tmp_path / folder, progress=False)
        assert metrics == json.loads((tmp_path / folder / "metrics.json").read_text())
        metrics.pop("train_seconds")
        return metrics, (tmp_path / folder / "model.safetensors").read_bytes()

    first, weights = run("first")
    again, weights_again = run("again")
    other, other_weights = run("other", "seed=1")
    assert again == first
    assert weights_again == weights
    assert other_weights != weights
    assert other["test"] != first["test"]
    trained = [build_tasks(load_recipe(tiny, [f"seed={s}"]))[0].dataset.train for s in (0, 1)]
    assert trained[0] != trained[1]


def test_a_run_without_progress_prints_nothing(tiny, tmp_path, capsys):
    run_recipe(load_recipe(tiny), tmp_path / "run", progress=False)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_without_held_out_data_there_are_no_scores(tiny, tmp_path):
    settings = ["tasks.ner.toy_held_out=0", "tasks.qa.toy_held_out=0"]
    metrics = run_recipe(load_recipe(tiny, settings), tmp_path / "run", progress=False)
    for key in ("validation", "test", "test_unseen", "baselines"):
        assert metrics[key] == {}


def test_test_data_is_read_once_after_training(tiny, tmp_path, monkeypatch):
    """The choice of the best epoch, and any other, reads validation data."""
    recipe = load_recipe(tiny, ["train.epochs=3"])
    read, read_in_training = [], []
    real_predict, real_restore = evaluation.predict_encoded, Run.restore_best

    def predict(model, encoded, tasks, *progress):
        read.append([item.example for item in encoded])
        return real_predict(model, encoded, tasks, *progress)

    def restore(run):
        read_in_training.extend(read)
        real_restore(run)

    monkeypatch.setattr(evaluation, "predict_encoded", predict)
    monkeypatch.setattr(Run, "restore_best", restore)
    run_recipe(recipe, tmp_path / "run", progress=False)
    datasets = [task.dataset for task in build_tasks(recipe)]
    assert read_in_training == [list(dataset.validation) for dataset in datasets] * 3
    for dataset in datasets:
        assert read.count(list(dataset.test)) == 1
        assert read.count(list(dataset.test_unseen)) == 1


def test_resume_takes_away_what_a_kill_at_the_very_end_left(recipe, tmp_path):
    run_recipe(recipe, tmp_path / "run", progress=False)
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    left = tmp_path / "run" / OLD_STATE / "stage1"
    left.mkdir(parents=True)
    (left / "training_state.json").write_text("{}")
    run_recipe(recipe, tmp_path / "run", resume=True, progress=False)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before


@pytest.mark.parametrize("number", [torch.tensor, np.float32])
def test_scores_may_be_any_kind_of_number(recipe, run, tmp_path, monkeypatch, number):
    score = NERTask.score

    def other_numbers(task, examples, predictions):
        return {name: number(value) for name, value in score(task, examples, predictions).items()}

    monkeypatch.setattr(NERTask, "score", other_numbers)
    metrics = run_recipe(recipe, tmp_path / "run", progress=False)
    expected = json.loads((run / "metrics.json").read_text())["test"]["ner"]
    assert metrics["test"]["ner"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (None, "'ner' is not a dict of numbers"),
        ({"entity_f1": "high"}, "'ner' is not a dict of numbers"),
        ({"bleu": 1.0}, "'ner' lack its main metric, 'entity_f1'"),
    ],
)
def test_a_score_that_is_of_no_use_is_named(recipe, tmp_path, monkeypatch, scores, said):
    """The steps of the epoch are kept: with the score put right, resume goes on."""
    with monkeypatch.context() as patch:
        patch.setattr(NERTask, "score", lambda *_: scores)
        with pytest.raises(ConfigError, match=said):
            run_recipe(recipe, tmp_path / "run", progress=False)
    metrics = run_recipe(recipe, tmp_path / "run", resume=True, progress=False)
    assert "entity_f1" in metrics["test"]["ner"]
