"""A run that was stopped goes on, and ends bit for bit like one that was not."""

import json
import random
import shutil
import signal
import sys
import time
from dataclasses import replace
from functools import cache

import pytest
import torch
from processes import Process
from recipes import ner_and_qa, results
from stopping import stop_after, stop_at

import mtl
from mtl.cli.main import main
from mtl.data.dataset import Dataset
from mtl.data.examples import TextExample
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import ConfigError, ModelError
from mtl.experiments import assessment, folder
from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe
from mtl.inference import evaluate
from mtl.model import MultiTaskModel
from mtl.nn.config import EncoderConfig
from mtl.nn.encoder import TransformerEncoder
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.toy import ner_examples, qa_examples
from mtl.training.loop import TrainConfig, train
from mtl.training.run import Run

# --- between any two steps ------------------------------------------------------------------------

TYPES = ["LOC", "MISC", "ORG", "PER"]


def record(i, example):
    """A sentence that may have a class, tags, both, or neither."""
    label = ("long" if len(example.tokens) > 12 else "short") if i % 3 else None
    return TextExample(example.text, example.tokens, label, example.tags if i % 4 else None)


RECORDS = [record(i, example) for i, example in enumerate(ner_examples("train", 26))]
QUESTIONS = qa_examples("train", 16)


def build_tasks():
    """A class and tags for the same texts, partly labelled; and questions."""
    texts = Dataset(train=RECORDS[:18], validation=RECORDS[18:])
    return [
        ClassificationTask("topic", texts, labels=["long", "short"]),
        NERTask("ner", texts, types=TYPES),
        QATask("qa", Dataset(train=QUESTIONS[:12], validation=QUESTIONS[12:])),
    ]


@cache
def tokenizer():
    texts = [example.text for example in RECORDS]
    return WhitespaceTokenizer.train(texts + [q.context for q in QUESTIONS])


def build_model(tasks, torch_seed):
    torch.manual_seed(torch_seed)
    shape = {"d_model": 16, "n_heads": 2, "n_layers": 1, "max_length": 48, "dropout": 0.2}
    config = EncoderConfig(len(tokenizer()), **shape)
    return MultiTaskModel(TransformerEncoder(config), tokenizer(), tasks)


BASE = TrainConfig(
    **{"epochs": 5, "batch_size": 5, "learning_rate": 1e-2, "max_tokens": 70, "patience": 2},
    device="cpu",
)
CONFIGS = {
    "alternating": BASE,
    "joint": replace(BASE, sampling="joint", precision="bfloat16"),
    "early": replace(BASE, epochs=8, patience=0, decay_ratio=0.25, stop_at=0.1),
    "sampled": replace(BASE, sampling="sampled", alpha=0.7, anneal=0.5, max_tokens=0),
}


def result_of(config, torch_seed, **options):
    """Weights, history and scores of a run with a fresh model; its torch seed must not matter."""
    tasks = build_tasks()
    model = build_model(tasks, 0)
    torch.manual_seed(torch_seed)
    history = train(model, tasks, config, progress=False, **options)
    scores = {task.name: evaluate(model, task.name, task.dataset.validation) for task in tasks}
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return weights, {**history.to_dict(), "seconds": None}, scores


@cache
def uninterrupted(name):
    return result_of(CONFIGS[name], 0)


def assert_same(one, other):
    (weights, *told), (weights_too, *told_too) = one, other
    assert weights.keys() == weights_too.keys()
    for key in weights:
        assert torch.equal(weights[key], weights_too[key]), key
    assert told == told_too


def stop_in_second_validation(patch):
    finish = Run.finish_epoch

    def stop(run):
        if run.epoch == 1:
            raise KeyboardInterrupt
        return finish(run)

    patch.setattr(Run, "finish_epoch", stop)


@pytest.mark.parametrize("draw", range(9))
def test_stopped_after_any_step_it_ends_as_if_it_never_was(tmp_path, monkeypatch, draw):
    name = list(CONFIGS)[draw % 4]  # the last one is stopped after every step below
    expected = uninterrupted(name)
    n_steps = expected[1]["rounds"][-1]["step"]
    step = random.Random(f"stop {draw}").randint(1, n_steps)
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(KeyboardInterrupt):
            result_of(CONFIGS[name], 1, checkpoint=tmp_path, save_every=step)
    again = result_of(CONFIGS[name], 2, checkpoint=tmp_path, resume=True)
    assert_same(again, expected)


def test_stopped_after_every_step_it_ends_as_if_it_never_was(tmp_path, monkeypatch):
    """Again and again, a step at a time; so the middle of rounds and the end of epochs are met."""
    expected = uninterrupted("sampled")
    with monkeypatch.context() as patch:
        for stops in range(1, 200):
            saved = stop_after(patch, 1)
            try:
                result = result_of(
                    CONFIGS["sampled"], stops, checkpoint=tmp_path, save_every=1, resume=True
                )
                break
            except KeyboardInterrupt:
                assert saved[-1]["update"]["step"] == stops
            patch.undo()
    assert_same(result, expected)
    assert stops == expected[1]["rounds"][-1]["step"] + 1


@pytest.mark.parametrize("name", CONFIGS)
def test_batches_made_while_a_gpu_works_change_nothing(tmp_path, monkeypatch, name):
    """Stopped or not; here the CPU plays the GPU, and waits."""
    expected = uninterrupted(name)
    config = replace(CONFIGS[name], conflict_every=3)  # looks at the batches made ahead, too
    monkeypatch.setattr(Run, "works_ahead", True)
    step = expected[1]["rounds"][-1]["step"] // 2
    with monkeypatch.context() as patch:
        (_, made) = stop_at(patch, step), made_ahead(patch)
        with pytest.raises(KeyboardInterrupt):
            result_of(config, 1, checkpoint=tmp_path, save_every=step)
        assert sum(made) > 0
    again = result_of(config, 2, checkpoint=tmp_path, resume=True)
    for round_ in again[1]["rounds"]:
        round_["conflict"] = {}
    assert_same(again, expected)


def made_ahead(patch):
    """How many batches lie ready at the end of each step."""
    next_step, ready = Run.next_step, []

    def step_and_look(run):
        losses = next_step(run)
        ready.append(len(run.streams._ahead))
        return losses

    patch.setattr(Run, "next_step", step_and_look)
    return ready


def test_the_runs_above_meet_what_is_hard():
    """Both ways to end early, parts, batches that lack a label, best weights of the middle."""
    histories = {name: uninterrupted(name)[1] for name in CONFIGS}
    assert any(len(h["validation"]) < BASE.epochs for h in histories.values())
    rates = [r["learning_rate"] / BASE.learning_rate for r in histories["early"]["rounds"]]
    assert len(rates) < 8 * 4
    # Up, then a plateau, then down: resumed runs are stopped in all of them.
    assert rates[0] < 1 == rates[7] > rates[9] > rates[-1]
    assert any(h["best_epoch"] > 1 for h in histories.values())
    assert any(len(r["losses"]) < 3 for r in histories["sampled"]["rounds"])
    run = Run(build_model(build_tasks(), 0), build_tasks(), BASE, mtl.training.FixedWeighting())
    assert max(len(run.streams[0].next_parts(BASE.max_tokens)) for _ in range(4)) > 1


def test_stopped_while_an_epoch_is_validated(tmp_path, monkeypatch):
    expected = uninterrupted("alternating")
    with monkeypatch.context() as patch:
        stop_in_second_validation(patch)
        with pytest.raises(KeyboardInterrupt):
            result_of(BASE, 1, checkpoint=tmp_path, save_every=3)
    assert_same(result_of(BASE, 2, checkpoint=tmp_path, resume=True), expected)


def test_a_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    first = result_of(BASE, 0, checkpoint=tmp_path)
    monkeypatch.setattr(Run, "next_step", lambda run: pytest.fail("trained again"))
    assert_same(result_of(BASE, 1, checkpoint=tmp_path, resume=True), first)


# --- only the same training -----------------------------------------------------------------------


def resumed_with(folder, change, config=BASE):
    tasks = build_tasks()
    model = build_model(tasks, 0)
    model, tasks = change(model, tasks)
    train(model, tasks, config, checkpoint=folder, resume=True, progress=False)


def swap_split(split):
    def change(model, tasks):
        data = replace(tasks[2].dataset, **{split: tasks[2].dataset.split(split)[::-1]})
        tasks[2] = QATask("qa", data)
        return model, tasks

    return change


def another_dropout(model, tasks):
    config = replace(model.encoder.config, dropout=0.4)
    return MultiTaskModel(TransformerEncoder(config), model.tokenizer, tasks), tasks


def another_width(model, tasks):
    config = replace(model.encoder.config, d_model=8)
    return MultiTaskModel(TransformerEncoder(config), model.tokenizer, tasks), tasks


def another_tokenizer(model, tasks):
    counts = dict(reversed(model.tokenizer.counts.items()))
    return MultiTaskModel(model.encoder, WhitespaceTokenizer(counts), tasks), tasks


def another_task(model, tasks):
    tasks[2] = QATask("qa", tasks[2].dataset, max_answer_tokens=7)
    return MultiTaskModel(model.encoder, model.tokenizer, tasks), tasks


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """The folder of a run of one epoch; nobody changes it."""
    folder = tmp_path_factory.mktemp("state")
    result_of(replace(BASE, epochs=1), 0, checkpoint=folder)
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (swap_split("train"), r"changed since: the training data of qa\n"),
        (swap_split("validation"), r"changed since: the validation data of qa\n"),
        (another_tokenizer, r"changed since: the tokenizer\n"),
        (another_task, r"changed since: the task qa\n"),
        (another_dropout, r"changed since: encoder\.dropout\n"),
        (another_width, r"changed since: encoder\.d_model\n"),
    ],
)
def test_another_model_or_other_data_do_not_go_on(state, change, words):
    with pytest.raises(
        ConfigError, match=f"the checkpoint belongs to a different run(.|\n)*{words}"
    ):
        resumed_with(state, change, replace(BASE, epochs=1))


def test_other_settings_do_not_go_on(state):
    config = replace(BASE, epochs=2, max_grad_norm=0.5)
    with pytest.raises(ConfigError, match=r"changed since: train\.epochs, train\.max_grad_norm\n"):
        resumed_with(state, lambda *same: same, config)


def test_another_version_does_not_go_on_and_is_called_the_reason(state, monkeypatch):
    monkeypatch.setattr("mtl.training.state.__version__", "9.8.7")
    with pytest.raises(ConfigError) as told:
        resumed_with(state, another_tokenizer, replace(BASE, epochs=1))
    assert "another version of mtl" in str(told.value)
    assert f"{mtl.__version__} then, 9.8.7 now" in str(told.value)
    assert "tokenizer" not in str(told.value)


# --- a run folder, and a real kill ----------------------------------------------------------------

RECIPE = ner_and_qa(
    *(40, 8),
    **{"epochs": 3, "batch_size": 8, "learning_rate": 0.01, "max_tokens": 300, "device": "cpu"},
)
STAGES = """
[[stages]]
epochs = 2

[[stages]]
tasks = ["qa"]
freeze = ["encoder"]
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(RECIPE)
    return path


pytestmark = pytest.mark.usefixtures("no_curves")


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory, without_curves):
    """The results of a run that was never stopped."""
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


def train_slowly(*command):
    step = Run.next_step
    Run.next_step = lambda run: (time.sleep(0.05), step(run))[1]
    sys.exit(main(["train", *command]))


def test_killed_twice_it_ends_as_if_it_never_was(recipe, whole, tmp_path):
    """SIGKILL, in a process of its own; the second time while it goes on from the first."""
    output = tmp_path / "run"
    command = [str(recipe), "--output", str(output), "--save-every-steps", "3"]
    for step, resume in ((3, []), (12, ["--resume"])):
        process = Process(train_slowly, *command, *resume)
        while step_saved(output) < step and process.is_running():
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert step <= step_saved(output) < 30
    left = {path.name for path in output.iterdir() if not path.name.startswith(".")}
    assert left == {"training_state", "best-ner", "best-qa"}
    assert main(["train", *command, "--resume"]) == 0
    assert whole.keys() >= {"best-ner/model.safetensors", "training_metrics.csv"}
    assert results(output) == whole


def step_saved(output):
    """The step of the last state that was written; it can be read at any moment."""
    path = output / "training_state" / "stage1" / "training_state.json"
    return json.loads(path.read_text())["state"]["update"]["step"] if path.exists() else 0


def stopped_run(recipe, output, patch, at, **options):
    """A run folder in which the training was stopped after so many states were written."""
    with patch.context() as inner:
        stop_after(inner, at)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(load_recipe(recipe), output, save_every_steps=1, progress=False, **options)


def test_nothing_to_resume_starts_afresh(recipe, whole, tmp_path):
    run_recipe(load_recipe(recipe), tmp_path / "run", resume=True, progress=False)
    assert results(tmp_path / "run") == whole


def test_a_stopped_run_says_what_to_do(recipe, tmp_path, monkeypatch, capsys):
    output = str(tmp_path / "run")
    with monkeypatch.context() as patch:
        stop_in_second_validation(patch)
        assert main(["train", str(recipe), "--output", output]) == 130
    assert f"{output} holds what --resume continues from" in capsys.readouterr().err
    assert main(["train", str(recipe), "--output", output]) == 2
    assert "--overwrite to replace it, or --resume to continue" in capsys.readouterr().err


def test_a_finished_run_is_said_to_be_and_its_metrics_are_printed(recipe, tmp_path, capsys):
    command = ["train", str(recipe), "--json", "--output", str(tmp_path / "run"), "--resume"]
    assert main(command) == 0
    first = capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert main(command) == 0
    told = capsys.readouterr()
    assert told.out == first
    assert "is finished: there is nothing to resume" in told.err
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert main([*command, "--set", "train.epochs=4"]) == 2
    assert "then: epochs = 3; now: epochs = 4" in capsys.readouterr().err
    (tmp_path / "run/metrics.json").write_bytes(b'{"test": \xff')
    assert main(command) == 1
    assert "metrics.json cannot be read as JSON" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "then", "now"),
    [
        ("train.epochs=5", "epochs = 3", "epochs = 5"),
        ("tasks.ner.limit=9", "nothing more", "limit = 9"),
        ("seed=7", "seed = 0", "seed = 7"),
    ],
)
def test_with_another_recipe_it_does_not_go_on(recipe, tmp_path, monkeypatch, setting, then, now):
    stopped_run(recipe, tmp_path / "run", monkeypatch, 2)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=f"had a different recipe(.|\n)*then: {then}; now: {now}"):
        run_recipe(load_recipe(recipe, [setting]), tmp_path / "run", resume=True, progress=False)
    assert {path: path.read_bytes() for path in before} == before


def test_a_line_that_moved_to_another_section_is_another_recipe(recipe, tmp_path, monkeypatch):
    before = load_recipe(recipe, ["tasks.ner.limit=9"])
    moved = load_recipe(recipe, ["tasks.qa.limit=9"])
    (tmp_path / "recipe.toml").write_text(before.to_toml())
    folder.check_same_recipe(tmp_path / "recipe.toml", before)
    with pytest.raises(ConfigError, match="then: limit = 9; now: limit = 9"):
        folder.check_same_recipe(tmp_path / "recipe.toml", moved)


def test_resume_needs_to_know_which_run_and_excludes_overwrite(recipe, tmp_path, capsys):
    assert main(["train", str(recipe), "--resume"]) == 2
    assert "add --output DIR" in capsys.readouterr().err
    output = ["--output", str(tmp_path / "run")]
    assert main(["train", str(recipe), "--resume", "--overwrite", *output]) == 2
    assert "overwritten or resumed, not both" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_data_that_changed_since_is_noticed(tmp_path, monkeypatch):
    """The recipe is the same, but a file that it names is not."""
    sentences = ner_examples("train", 40)
    mtl.write_conll(sentences, tmp_path / "own.conll")
    path = tmp_path / "own.toml"
    path.write_text(RECIPE.replace('toy = "ner"', f'train = "{tmp_path / "own.conll"}"'))
    stopped_run(path, tmp_path / "run", monkeypatch, 4)
    mtl.write_conll([*sentences[1:], sentences[0]], tmp_path / "own.conll")
    with pytest.raises(ConfigError, match="the checkpoint belongs to a different run"):
        run_recipe(load_recipe(path), tmp_path / "run", resume=True, progress=False)


@pytest.mark.parametrize("file", ["training_state.json", "training_state-*.safetensors"])
def test_a_state_that_was_cut_off_is_refused_and_stays(recipe, tmp_path, monkeypatch, file):
    stopped_run(recipe, tmp_path / "run", monkeypatch, 2)
    (path,) = (tmp_path / "run" / "training_state" / "stage1").glob(file)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="the training state cannot be read"):
        run_recipe(load_recipe(recipe), tmp_path / "run", resume=True, progress=False)
    assert path.exists()


def test_stopped_in_the_second_stage_it_goes_on_there(recipe, tmp_path, monkeypatch):
    path = tmp_path / "staged.toml"
    path.write_text(RECIPE + STAGES)
    run_recipe(load_recipe(path), tmp_path / "whole", progress=False)
    stopped_run(path, tmp_path / "run", monkeypatch, 20 + 5)  # two epochs of ten steps, then five
    states = tmp_path / "run" / "training_state"
    assert sorted(folder.name for folder in states.glob("stage*")) == ["stage1", "stage2"]
    trained = []
    step = Run.next_step
    monkeypatch.setattr(
        Run, "next_step", lambda run: (trained.append([t.name for t in run.tasks]), step(run))[1]
    )
    run_recipe(load_recipe(path), tmp_path / "run", resume=True, progress=False)
    assert trained == [["qa"]] * 10  # of three epochs of five steps
    assert results(tmp_path / "run") == results(tmp_path / "whole")


def test_a_run_that_replaces_another_can_be_resumed(recipe, whole, other, tmp_path, monkeypatch):
    output = shutil.copytree(other, tmp_path / "run")
    before = results(output)
    stopped_run(recipe, output, monkeypatch, 12, overwrite=True)
    shutil.copytree(output, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "unfinished")
    assert results(tmp_path / "copy") == before  # the finished one is whole
    run_recipe(load_recipe(recipe), output, resume=True, progress=False)
    assert results(output) == whole


@pytest.mark.parametrize("overwrite", [False, True])
def test_stopped_before_the_first_state_nothing_is_left(
    recipe, other, tmp_path, monkeypatch, overwrite
):
    output = tmp_path / "run"
    if overwrite:
        shutil.copytree(other, output)
    before = sorted(tmp_path.rglob("*"))

    def stop(run):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "next_step", stop)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(load_recipe(recipe), output, overwrite=overwrite, progress=False)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_stopped_among_the_last_files_nothing_is_trained_again(
    recipe, whole, other, tmp_path, monkeypatch, overwrite
):
    def stop(*args):
        raise KeyboardInterrupt

    output = tmp_path / "run"
    if overwrite:
        shutil.copytree(other, output)
    with monkeypatch.context() as patch:
        patch.setattr(assessment, "check_cases", stop)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(load_recipe(recipe), output, overwrite=overwrite, progress=False)
    assert (output / "model.safetensors").exists()
    assert not (output / "metrics.json").exists()  # so nobody takes it for finished
    monkeypatch.setattr(Run, "next_step", lambda run: pytest.fail("trained again"))
    run_recipe(load_recipe(recipe), output, resume=True, progress=False)
    assert results(output) == whole


def test_resume_needs_to_know_from_where(build_model, sentences):
    task = NERTask("ner", Dataset(train=sentences))
    with pytest.raises(ConfigError, match="from where"):
        train(build_model([task]), [task], resume=True)
