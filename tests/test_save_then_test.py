"""What fails after the last update costs only its own part: the trained model is saved first."""

import json
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from processes import Process
from recipes import ner_and_qa, results

from mtl.cli.main import main
from mtl.data.dataset import Dataset
from mtl.errors import TrainingWarning
from mtl.experiments import assessment
from mtl.experiments import folder as run_folder
from mtl.experiments.build import build_tasks
from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe
from mtl.reports import files as reports
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.toy import ner_examples
from mtl.training.loop import TrainConfig, train
from mtl.training.run import Run

pytestmark = pytest.mark.usefixtures("no_curves")

RECIPE = ner_and_qa(24, 8, epochs=2, batch_size=8, learning_rate=0.01, device="cpu")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory, without_curves):
    """The results of a run in which nothing failed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with without_curves():
        run_recipe(load_recipe(recipe), folder, progress=False)
    return results(folder)


@pytest.fixture(scope="module")
def other(recipe, tmp_path_factory, without_curves):
    """The folder of a finished run of another seed; nobody changes it."""
    folder = tmp_path_factory.mktemp("other") / "run"
    with without_curves():
        run_recipe(load_recipe(recipe, ["seed=1"]), folder, progress=False)
    return folder


def broken(*args, **options):
    raise ZeroDivisionError("nothing to divide by")


def break_test_score(patch, recipe):
    """The score of the test split breaks, and no other."""
    test = build_tasks(load_recipe(recipe))[0].dataset.test
    score = NERTask.score

    def score_or_break(task, examples, predictions):
        return broken() if list(examples) == list(test) else score(task, examples, predictions)

    patch.setattr(NERTask, "score", score_or_break)


def no_training(patch):
    patch.setattr(Run, "next_step", lambda run: pytest.fail("trained again"))


PARTS = {
    "baselines": ("trivial baselines of ner", []),
    "controls": ("controls of ner", []),
    "report": ("report of ner", ["ner_report.txt"]),
    "mistakes": ("mistakes of ner", ["ner_report.txt", "ner_mistakes.txt"]),
    "confusion": ("confusion matrix of ner", ["ner_report.txt"]),  # the report shows it too
    "prediction_file": ("predictions of ner", ["ner_predictions.txt"]),
}


@pytest.mark.parametrize("method", PARTS)
def test_a_part_of_a_task_that_breaks_costs_no_other(recipe, whole, tmp_path, monkeypatch, method):
    part, missing = PARTS[method]
    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(NERTask, method, broken)
        with pytest.warns(TrainingWarning) as said:
            metrics = run_recipe(load_recipe(recipe), output, progress=False)
    assert any(str(warning.message).startswith(f"{part}: failed") for warning in said)
    told = metrics.pop("not_reported")
    assert part in told
    assert "ZeroDivisionError: nothing to divide by (in broken" in told[part]
    assert json.loads((output / "metrics.json").read_text())["not_reported"] == told
    there = results(output)
    for file in whole.keys() - {"metrics.json", *missing}:
        assert there[file] == whole[file]
    assert not there.keys() & set(missing)
    same = {"validation", "test", "test_unseen"}
    assert {key: metrics[key] for key in same} == {key: whole["metrics.json"][key] for key in same}
    assert metrics["baselines"]["qa"] == whole["metrics.json"]["baselines"]["qa"]
    no_training(monkeypatch)
    run_recipe(load_recipe(recipe), output, resume=True, progress=False)
    assert results(output) == whole


def test_a_metric_that_breaks_on_the_test_data(recipe, whole, tmp_path, monkeypatch, mtl_):
    output = tmp_path / "run"
    command = ["train", recipe, "--output", output]
    with monkeypatch.context() as patch:
        break_test_score(patch, recipe)
        status, out, err = mtl_(*command)
        assert status == 1
        assert "mtl: note: test scores of ner: failed; everything else continues." in err
        assert "mtl: error: test scores of ner: ZeroDivisionError: nothing to divide by" in err
        assert "the model is trained and saved" in err
        assert "qa" in out  # the scores that there are
        status, out, _ = mtl_(*command, "--resume")  # not put right yet
        assert status == 1
    metrics = json.loads((output / "metrics.json").read_text())
    assert "ner" not in metrics["test"]
    assert metrics["test"]["qa"] == whole["metrics.json"]["test"]["qa"]
    assert (output / "ner_mistakes.txt").read_bytes() == whole["ner_mistakes.txt"]
    status, _, err = mtl_(*command)
    assert status == 2
    assert "--resume to continue" in err
    no_training(monkeypatch)
    status, _, _ = mtl_(*command, "--resume")
    assert status == 0
    assert results(output) == whole
    assert "nothing to resume" in mtl_(*command, "--resume")[2]


@pytest.mark.parametrize(
    ("module", "name", "part"),
    [
        (assessment, "plot_losses", "loss curves"),
        (assessment, "check_cases", "well-known facts"),
        (reports, "plot_confusion", "confusion matrix of ner"),
    ],
)
def test_pictures_and_cases_that_break(recipe, whole, tmp_path, monkeypatch, module, name, part):
    monkeypatch.setattr(module, name, broken)
    with pytest.warns(TrainingWarning, match=part):
        metrics = run_recipe(load_recipe(recipe), tmp_path / "run", progress=False)
    assert list(metrics["not_reported"]) == [part]
    assert metrics["test"] == whole["metrics.json"]["test"]


def test_the_model_is_saved_before_anything_is_scored(recipe, whole, tmp_path, monkeypatch):
    output = tmp_path / "run"
    saved = []

    def score(*args):
        saved.append({path.name for path in output.iterdir() if path.is_file()} - {".lock"})
        return {}, {}

    monkeypatch.setattr(assessment, "score_everything", score)
    monkeypatch.setattr("mtl.experiments.run.score_everything", score)
    run_recipe(load_recipe(recipe), output, progress=False)
    names = {"model.safetensors", "config.json", "recipe.toml", "training_metrics.csv"}
    assert saved == [names | {"whitespace_tokenizer.json"}]
    for name in saved[0]:
        assert (output / name).read_bytes() == whole[name]


@pytest.mark.parametrize("overwrite", [False, True])
def test_stopped_by_its_user_while_it_tests(
    recipe, whole, other, tmp_path, monkeypatch, mtl_, overwrite
):
    output = tmp_path / "run"
    command = ["train", recipe, "--output", output]
    if overwrite:
        shutil.copytree(other, output)
    with monkeypatch.context() as patch:
        patch.setattr(QATask, "baselines", stop)
        status, _, err = mtl_(*command, *["--overwrite"] * overwrite)
    assert status == 130
    assert f"the trained model is in {output}; --resume runs the tests and reports" in err
    status, *_ = mtl_("predict", output, "--task", "ner", "--text", "Ann met Bob .")
    assert status == 0
    no_training(monkeypatch)
    status, _, _ = mtl_(*command, "--resume")
    assert status == 0
    assert results(output) == whole


def stop(*args, **options):
    raise KeyboardInterrupt


@pytest.mark.parametrize("method", ["next_step", "finish_epoch"])
@pytest.mark.parametrize("tested", [False, True])
def test_a_run_that_was_not_reported_stays_until_another_is_trained(
    recipe, whole, tmp_path, monkeypatch, tested, method
):
    """The other is stopped before it has a state, or at the end of its first epoch."""
    output = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(NERTask, "baselines", broken if tested else stop)
        with pytest.warns(TrainingWarning) if tested else pytest.raises(KeyboardInterrupt):
            run_recipe(load_recipe(recipe, ["seed=1"]), output, progress=False)
        assert (output / "metrics.json").exists() == tested
        before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
        patch.setattr(Run, method, stop)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(load_recipe(recipe), output, overwrite=True, progress=False)
    assert {path: path.read_bytes() for path in before} == before
    if method == "next_step":
        run_recipe(load_recipe(recipe), output, overwrite=True, progress=False)
        assert results(output) == whole
        return
    run_recipe(load_recipe(recipe), output, resume=True, progress=False)
    assert results(output) == whole


@pytest.mark.parametrize("moved", range(4))
def test_stopped_while_it_replaces_another_run_nothing_is_trained_again(
    recipe, whole, other, tmp_path, monkeypatch, moved
):
    """Between any two of the folders that move: best-ner, best-qa, the state."""
    output = shutil.copytree(other, tmp_path / "run")
    renamed = []
    rename = Path.rename

    def rename_or_stop(path, target):
        if path.parent.name == run_folder.UNFINISHED:
            if len(renamed) == moved:
                raise KeyboardInterrupt
            renamed.append(path.name)
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_or_stop)
        if moved == 3:
            patch.setattr(Path, "rmdir", stop)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(load_recipe(recipe), output, overwrite=True, progress=False)
    assert len(renamed) == moved
    no_training(monkeypatch)
    run_recipe(load_recipe(recipe), output, resume=True, progress=False)
    assert results(output) == whole


def train_and_wait(recipe, output):
    """Says when it tests, and goes no further."""

    def wait(*args):
        print("testing", flush=True)
        time.sleep(60)

    assessment.check_cases = wait
    main(["train", str(recipe), "--output", str(output)])


def test_killed_while_it_tests_it_ends_as_if_it_never_was(recipe, whole, tmp_path):
    """SIGKILL, in a process of its own."""
    output = tmp_path / "run"
    process = Process(train_and_wait, recipe, output)
    assert process.stdout.readline() == "testing\n"
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert main(["predict", str(output), "--task", "ner", "--text", "Ann met Bob ."]) == 0
    started = time.time()
    run_recipe(load_recipe(recipe), output, resume=True, progress=False)
    assert results(output) == whole
    assert (output / "model.safetensors").stat().st_mtime > started - 60


# --- validation ---------------------------------------------------------------------------------


def small_training(build_model, folder, **options):
    sentences = ner_examples("train", 20)
    task = NERTask("ner", Dataset(train=sentences[:16], validation=sentences[16:]))
    config = TrainConfig(epochs=3, batch_size=4, device="cpu")
    model = build_model([task], dropout=0.1)
    history = train(model, [task], config, checkpoint=folder, progress=False, **options)
    return model.state_dict(), {**history.to_dict(), "seconds": None}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_validation_that_breaks_loses_no_update(build_model, tmp_path, monkeypatch, error):
    """Not even without `save_every`; and the end is that of a run in which it did not break."""
    weights, told = small_training(build_model, tmp_path / "whole")
    made = []
    step, score = Run.next_step, NERTask.score
    monkeypatch.setattr(Run, "next_step", lambda run: (made.append(run.step), step(run))[1])
    with monkeypatch.context() as patch:

        def break_second(task, examples, predictions):
            if made[-1] >= 4:
                raise error
            return score(task, examples, predictions)

        patch.setattr(NERTask, "score", break_second)
        with pytest.raises(error):
            small_training(build_model, tmp_path / "broken")
    assert made == list(range(8))
    weights_too, told_too = small_training(build_model, tmp_path / "broken", resume=True)
    assert made == list(range(12))
    assert told_too == told
    for name, tensor in weights.items():
        assert torch.equal(tensor, weights_too[name]), name
