"""The command line, in process: what it prints, what it writes, what it says about bad input."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path

import pytest
from processes import Process

import mtl
from mtl.cli.main import main
from mtl.toy import SPLITS, ner_examples, qa_examples
from mtl.toy.news import news
from mtl.toy.paraphrases import paraphrases
from mtl.training.loop import Run

RECIPE = """\
# Both tasks, as small as can be.
name = "tiny"

[tasks.ner]
kind = "ner"
toy = "ner"
toy_train = 40
toy_held_out = 12

[tasks.qa]
kind = "qa"
toy = "qa"
toy_train = 40
toy_held_out = 12

[encoder]
d_model = 16
n_heads = 2
n_layers = 1
d_ff = 16
max_length = 64

[train]
epochs = 1
batch_size = 20
"""
NER_METRICS = {"token_accuracy", "entity_precision", "entity_recall", "entity_f1"}
QA_METRICS = {"exact_match", "token_f1", "span_accuracy"}
MODEL_FILES = {"config.json", "model.safetensors", "whitespace_tokenizer.json"}
pytestmark = pytest.mark.usefixtures("no_curves")  # but the shared runs below have theirs

RESULT_FILES = {"metrics.json", "training_metrics.csv", "loss_curves.png", "recipe.toml"}
CHECKPOINT_FILES = MODEL_FILES | {"recipe.toml"}


def reports_of(task, *more):
    return {f"{task}_{name}" for name in ("report.txt", "mistakes.txt", *more)}


RUN_FILES = {
    *(MODEL_FILES | RESULT_FILES | {"validation_cases.json"}),
    *reports_of("ner", "predictions.txt", "confusion.png"),
    *reports_of("qa", "predictions.json"),
    *(f"best-{task}/{name}" for task in ("ner", "qa") for name in CHECKPOINT_FILES),
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    """A run folder that nobody changes."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", recipe, "--output", str(folder)]) == 0
    return folder


@pytest.fixture
def copied_run(run, tmp_path):
    """A run folder to spoil, or to try to overwrite."""
    return Path(shutil.copytree(run, tmp_path / "copied"))


STAGED = """\
[datasets.news]
toy = "news"
toy_train = 30
toy_held_out = 9

[tasks.topic]
kind = "classification"
data = "news"

[tasks.tags]
kind = "ner"
data = "news"

[tasks.embedding]
kind = "embedding"
toy = "paraphrases"
toy_train = 20
toy_held_out = 12

[encoder]
d_model = 16
n_heads = 2
n_layers = 1
d_ff = 16
max_length = 64

[train]
epochs = 1
batch_size = 10
learning_rate = 0.01

[[stages]]
tasks = ["topic", "embedding"]
freeze = ["heads.tags"]

[[stages]]
tasks = ["tags"]
freeze = ["encoder"]
epochs = 2
"""


@pytest.fixture(scope="module")
def staged_recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "staged.toml"
    path.write_text(STAGED)
    return str(path)


@pytest.fixture(scope="module")
def staged_run(staged_recipe, tmp_path_factory):
    """Classes, tags and vectors, trained in two stages, every epoch saved; nobody changes it."""
    folder = tmp_path_factory.mktemp("runs") / "staged"
    with redirect_stderr(io.StringIO()) as told:
        assert main(["train", staged_recipe, "--save-every", "1", "--output", str(folder)]) == 0
    (folder.parent / "stderr.txt").write_text(told.getvalue())
    return folder


@pytest.fixture
def stdin(monkeypatch):
    """Put text, or bytes, on standard input."""

    def put(content):
        raw = content if isinstance(content, bytes) else content.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))

    return put


@pytest.fixture
def no_training(monkeypatch):
    """What is wrong has to be said before time is spent on training."""
    monkeypatch.setattr(Run, "next_step", lambda run: pytest.fail("trained in vain"))


def contents(folder):
    """Every file below a folder, byte for byte."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def without_time(metrics):
    return {key: value for key, value in metrics.items() if key != "train_seconds"}


# --- mtl, mtl --version, mtl recipes -------------------------------------------------------------


def test_version_names_mtl_torch_and_devices(mtl_):
    import torch

    status, out, _ = mtl_("--version")
    out = " ".join(out.split())
    assert status == 0
    assert f"mtl {mtl.__version__}" in out
    assert f"torch {torch.__version__}" in out
    assert "devices: cpu" in out


def test_recipes_lists_each_with_what_it_does(mtl_):
    status, out, _ = mtl_("recipes")
    (line,) = [line for line in out.splitlines() if line.startswith("practical7")]
    assert status == 0
    assert "NER and QA" in line


@pytest.mark.parametrize(
    "arguments", [(), ("tran",), ("train",), ("train", "practical7", "--sede", "1"), ("toy", "ner")]
)
def test_wrong_usage_exits_with_2(mtl_, arguments):
    status, out, err = mtl_(*arguments)
    assert (status, out) == (2, "")
    assert "usage: mtl" in err


def test_python_m_mtl_is_the_same(tmp_path):
    """In a process of its own, where an error must not show as a traceback either."""
    environment = os.environ | {"PYTHONPATH": str(Path(mtl.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-m", "mtl", "train", "practical8"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert 'did you mean "practical7"' in done.stderr
    assert "Traceback" not in done.stderr


# --- mtl train -----------------------------------------------------------------------------------


def test_a_run_folder_holds_all_there_is(run):
    assert contents(run).keys() == RUN_FILES
    assert (run / "loss_curves.png").read_bytes().startswith(b"\x89PNG")


def test_metrics_json_is_laid_out_as_promised(run):
    metrics = json.loads((run / "metrics.json").read_text())
    model = mtl.MultiTaskModel.from_pretrained(run)
    assert list(metrics) == [
        *("recipe", "seed", "train_seconds", "threads", "parameters"),
        *("validation", "test", "test_unseen", "baselines"),
    ]
    assert metrics["recipe"] == "tiny"
    assert metrics["seed"] == 0
    assert metrics["train_seconds"] > 0
    assert metrics["threads"] == 1
    assert metrics["parameters"] == sum(p.numel() for p in model.parameters())
    for split in ("validation", "test", "test_unseen"):
        assert metrics[split].keys() == {"ner", "qa"}
        ner, qa = metrics[split]["ner"], metrics[split]["qa"]
        by_type = {name for name in ner if name.rsplit("_", 1)[-1].isupper()}
        assert ner.keys() - by_type == NER_METRICS
        assert by_type
        assert qa.keys() == QA_METRICS
        assert all(0 <= value <= 1 for value in [*ner.values(), *qa.values()])
    assert metrics["baselines"]["ner"].keys() == {"all_o"}
    assert metrics["baselines"]["ner"]["all_o"]["entity_f1"] == 0
    assert metrics["baselines"]["qa"].keys() == {
        *("random_candidate", "most_shared_words", "model_with_other_question")
    }


def test_metrics_json_tells_the_splits_apart(run):
    """Each split's numbers are those of its own examples, measured anew."""
    metrics = json.loads((run / "metrics.json").read_text())
    model = mtl.MultiTaskModel.from_pretrained(run)
    for split in ("validation", "test", "test_unseen"):
        assert metrics[split]["ner"] == mtl.evaluate(model, "ner", ner_examples(split, 12))
        assert metrics[split]["qa"] == mtl.evaluate(model, "qa", qa_examples(split, 12))


def test_training_metrics_csv_has_a_line_for_each_round(run):
    lines = list(csv.DictReader((run / "training_metrics.csv").open()))
    assert len(lines) == 2  # 40 examples in batches of 20, one epoch
    assert [line["step"] for line in lines] == ["2", "4"]
    for line in lines:
        total = float(line["ner_loss"]) + float(line["qa_loss"])
        assert float(line["total_loss"]) == pytest.approx(total, rel=1e-5)
    metrics = json.loads((run / "metrics.json").read_text())
    kept = float(lines[-1]["validation_qa_token_f1"])
    assert kept == metrics["validation"]["qa"]["token_f1"]


def test_recipe_toml_of_a_run_trains_again_to_the_same(mtl_, run, tmp_path, monkeypatch):
    monkeypatch.undo()  # with pictures
    status, *_ = mtl_("train", run / "recipe.toml", "--output", tmp_path / "again")
    before, after = contents(run), contents(tmp_path / "again")
    assert status == 0
    for name in RUN_FILES - {"metrics.json"}:
        assert after[name] == before[name], name
    first, second = (json.loads(files["metrics.json"]) for files in (before, after))
    assert without_time(first) == without_time(second)


def test_recipe_toml_of_a_run_holds_what_set_changed(mtl_, recipe, tmp_path):
    settings = ["train.epochs=2", "encoder.norm=post", "tasks.qa.max_answer_tokens=7"]
    status, *_ = mtl_(
        "train", recipe, "--set", *settings, "--seed", 3, "--output", tmp_path / "run"
    )
    again = mtl.load_recipe(tmp_path / "run" / "recipe.toml")
    assert status == 0
    assert again.train["epochs"] == 2
    assert again.encoder["norm"] == "post"
    assert again.tasks["qa"].options == {"max_answer_tokens": 7}
    assert again.seed == 3
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["seed"] == 3
    assert (tmp_path / "run" / "training_metrics.csv").read_text().count("\n") == 1 + 2 * 2
    model = mtl.MultiTaskModel.from_pretrained(tmp_path / "run")
    assert model.encoder.config.norm == "post"
    assert model.task("qa").max_answer_tokens == 7


def test_set_may_be_given_more_than_once(mtl_, recipe, tmp_path):
    once = ["--set", "train.batch_size=40", "train.epochs=3"]
    twice = ["--set", "train.epochs=2"]
    status, *_ = mtl_("train", recipe, *once, *twice, "--output", tmp_path / "run")
    assert status == 0
    again = mtl.load_recipe(tmp_path / "run" / "recipe.toml")
    assert again.train == {"epochs": 2, "batch_size": 40}


def test_seed_decides(mtl_, recipe, run, tmp_path):
    for seed in (0, 1):
        assert mtl_("train", recipe, "--seed", seed, "--output", tmp_path / str(seed))[0] == 0
    of_recipe, zero, one = (
        contents(folder)["model.safetensors"] for folder in (run, tmp_path / "0", tmp_path / "1")
    )
    assert zero == of_recipe
    assert one != zero


def test_json_on_stdout_is_metrics_json_and_progress_goes_to_stderr(mtl_, recipe, tmp_path):
    status, out, err = mtl_("train", recipe, "--json", "--output", tmp_path / "run")
    assert status == 0
    assert json.loads(out) == json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert "epoch 1" in err
    assert "ner loss" in err
    assert "2 rounds" in err


def test_without_json_a_table_on_stdout(mtl_, recipe, tmp_path):
    status, out, _ = mtl_("train", recipe, "--output", tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert status == 0
    assert f"{metrics['test']['qa']['token_f1']:.3f}" in out
    assert f"{metrics['parameters']:,} parameters" in out
    assert str(tmp_path / "run") in out
    assert "epoch 1" not in out


def test_default_folders_are_counted_up(mtl_, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in ("1", "2"):
        status, out, _ = mtl_("train", recipe)
        assert status == 0
        assert str(Path("runs", "tiny", number)) in out
        assert contents(Path("runs", "tiny", number)).keys() == RUN_FILES
    assert sorted(path.name for path in Path("runs", "tiny").iterdir()) == ["1", "2"]


def test_overwrite_replaces_a_run(mtl_, recipe, copied_run):
    before = contents(copied_run)
    status, *_ = mtl_("train", recipe, "--seed", 5, "--output", copied_run, "--overwrite")
    after = contents(copied_run)
    assert status == 0
    assert after.keys() == before.keys()
    assert json.loads(after["metrics.json"])["seed"] == 5
    assert after["model.safetensors"] != before["model.safetensors"]


def test_own_file_replaces_the_toy_data_and_a_tenth_is_held_out(mtl_, recipe, tmp_path):
    own = tmp_path / "own.conll"
    sentences = [f"Item{i}\tB-THING\nfell\tO" for i in range(40)]
    own.write_text("\n\n".join(sentences))
    status, out, _ = mtl_(
        *("train", recipe, "--json", "--output", tmp_path / "run"),
        *("--set", f"tasks.ner.train={own}"),
    )
    metrics = json.loads(out)
    assert status == 0
    assert "ner" not in metrics["test_unseen"]  # a file of one's own has no such split
    assert "qa" in metrics["test_unseen"]
    assert "entity_f1_THING" in metrics["test"]["ner"]
    model = mtl.MultiTaskModel.from_pretrained(tmp_path / "run")
    assert model.task("ner").types == ["THING"]  # nothing of the toy data is left
    words = [word for word in model.tokenizer.counts if word.startswith("Item")]
    assert len(words) == 32  # two tenths of the sentences were kept out of training


def test_stopping_at_the_keyboard_writes_nothing(mtl_, recipe, copied_run, tmp_path, monkeypatch):
    real_step, steps = Run.next_step, []

    def stop_in_the_third(run):
        steps.append(run)
        if len(steps) % 3 == 0:
            raise KeyboardInterrupt
        return real_step(run)

    monkeypatch.setattr(Run, "next_step", stop_in_the_third)
    status, out, err = mtl_("train", recipe, "--output", tmp_path / "new")
    assert (status, out) == (130, "")
    assert "stopped" in err
    assert not (tmp_path / "new").exists()
    before = contents(copied_run)
    status, *_ = mtl_("train", recipe, "--output", copied_run, "--overwrite")
    assert status == 130
    assert contents(copied_run) == before


def test_stages_are_announced_and_what_is_seldom_meant_is_noted(staged_run):
    err = (staged_run.parent / "stderr.txt").read_text()
    first, second = "stage 1: trains topic, embedding; frozen: heads.tags", "stage 2: trains tags"
    assert err.index(first) < err.index(second)
    assert "stage 2: trains tags; frozen: encoder\n" in err
    assert err.count("mtl: note: the head of 'tags' is frozen while the encoder goes on") == 1


def test_save_every_epoch_across_stages(mtl_, staged_run):
    names = [f"best-{task}" for task in ("embedding", "tags", "topic")]
    names += [f"checkpoint-epoch{n}" for n in (1, 2, 3)]
    assert sorted(path.name for path in staged_run.iterdir() if path.is_dir()) == names
    reports = reports_of("tags", "predictions.txt", "confusion.png")
    reports |= reports_of("topic", "predictions.txt", "confusion.png") | {"embedding_report.txt"}
    files = MODEL_FILES | RESULT_FILES | {"validation_cases.json"} | reports
    assert {path.name for path in staged_run.iterdir() if path.is_file()} == files
    for name in names:
        assert contents(staged_run / name).keys() == CHECKPOINT_FILES
        text = ("--task", "all", "--text", "Bob ran.", "--json")
        status, out, _ = mtl_("predict", staged_run / name, *text)
        assert (status, json.loads(out).keys()) == (0, {"topic", "tags", "embedding"})
        status, out, _ = mtl_("evaluate", staged_run / name, "--json")
        assert (status, json.loads(out).keys()) == (0, {"topic", "tags", "embedding"})


def test_the_last_checkpoint_of_one_epoch_is_the_run(mtl_, recipe, run, tmp_path):
    assert mtl_("train", recipe, "--save-every", 1, "--output", tmp_path / "run")[0] == 0
    saved = contents(tmp_path / "run" / "checkpoint-epoch1")
    for name, content in saved.items():
        assert content == contents(run)[name], name


@pytest.mark.parametrize("number", ["-1", "often", "1.5"])
def test_save_every_what_number(mtl_, recipe, tmp_path, number):
    status, out, err = mtl_("train", recipe, "--save-every", number, "--output", tmp_path / "run")
    assert (status, out) == (2, "")
    assert "--save-every" in err
    assert not (tmp_path / "run").exists()


# --- bad input to mtl train: said clearly, and nothing written -----------------------------------

GOOD_SENTENCES = "".join(f"Bob{i}\tB-PER\nran\tO\n\n" for i in range(20))
NOT_UTF8 = GOOD_SENTENCES.encode() + b"M\xfcller\tB-PER\n"
ONE_QUESTION = {
    "id": "q7",
    "question": "Who ran?",
    "answers": [{"text": "Ann", "answer_start": 0}],
}
NOT_IN_CONTEXT = {"data": [{"paragraphs": [{"context": "Bob ran.", "qas": [ONE_QUESTION]}]}]}
OTHER_COLUMNS = "context,question,reply\nBob ran.,Who ran?,Bob\n"

# task, file name, content (None: no such file), line of the fault, words of the message
BAD_FILES = {
    "missing": ("ner", "gone.conll", None, None, ["No such file", "check the path"]),
    "missing questions": ("qa", "gone.json", None, None, ["No such file", "check the path"]),
    "empty": ("ner", "x.conll", "", None, ["the file is empty", "0 bytes"]),
    "only blanks": ("qa", "x.json", " \n\n ", None, ["the file is empty", "4 bytes"]),
    "no tag": (
        *("ner", "x.conll", f"{GOOD_SENTENCES}Ann\tB-PER\nsat\n", 62),
        [
            "1 column(s) where 2",
            "2 tokens with 1 tags",
            "'sat'",
            "the token first and its tag last",
        ],
    ),
    "two words": (
        *("ner", "x.conll", f"{GOOD_SENTENCES}Ann\tB-PER\nsat\tdown\tO\n", 62),
        ["3 column(s) where 2", "'sat down O'"],
    ),
    "unknown tag scheme": (
        *("ner", "x.conll", f"{GOOD_SENTENCES}Ann\tPER\n", 61),
        ["the tag is of no known scheme", "'PER'", "use O, B-TYPE and I-TYPE"],
    ),
    "not UTF-8": ("ner", "x.conll", NOT_UTF8, 61, ["not UTF-8", "0xfc", "save the file as UTF-8"]),
    "answer not in its context": (
        *("qa", "x.json", json.dumps(NOT_IN_CONTEXT, indent=1), 9),
        ["'q7'", "'Ann'", "copy the answer letter by letter"],
    ),
    "answer not in its row": (
        *("qa", "x.csv", "context,question,answer\nBob ran.,Who ran?,Ann\n", 2),
        ["is not in its context", "'Ann'", "'Bob ran.'"],
    ),
    "other columns": (
        *("qa", "x.csv", OTHER_COLUMNS, 1),
        ["no column for the answer", "'context', 'question', 'reply'", "name the columns"],
    ),
    "not SQuAD": ("qa", "x.json", '{"data": 3}', 1, ["there is no text", "looks like"]),
    "not JSON": ("qa", "x.json", '{"data":\n [}', 2, ["not JSON", "Expecting value"]),
    "plain text": (
        "qa",
        "x.txt",
        "Bob ran.\n\nAnn sat down.\nJo slept all day.",
        None,
        ["plain text"],
    ),
}


@pytest.fixture(params=BAD_FILES.values(), ids=BAD_FILES)
def bad_file(request, tmp_path):
    """A task, a file that it cannot read, and what the message has to say."""
    task, name, content, line, words = request.param
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return task, path, [f"{path}:{line}: " if line else f"{path}: ", "found: ", "to do: ", *words]


def assert_refused(mtl_, recipe, settings, copied_run, status, words):
    """The command fails, says all of `words`, and writes nothing, wherever it should have."""
    train = ["train", recipe, *(["--set", *settings] if settings else [])]
    fresh = copied_run.parent / "fresh"
    code, out, err = mtl_(*train, "--output", fresh)
    assert (code, out) == (status, ""), err
    for word in words:
        assert word in err
    assert not fresh.exists()
    before = contents(copied_run)
    assert mtl_(*train, "--output", copied_run, "--overwrite")[0] == status
    assert contents(copied_run) == before
    assert mtl_(*train, "--output", copied_run)[0] in (status, 2)
    assert contents(copied_run) == before


def test_a_file_that_cannot_be_used_stops_before_anything_is_written(
    mtl_, recipe, bad_file, copied_run
):
    task, path, words = bad_file
    assert_refused(mtl_, recipe, [f"tasks.{task}.train={path}"], copied_run, 1, words)


def test_a_bad_validation_file_too(mtl_, recipe, copied_run, tmp_path):
    (tmp_path / "good.conll").write_text(GOOD_SENTENCES)
    settings = [
        f"tasks.ner.train={tmp_path / 'good.conll'}",
        f"tasks.ner.test={tmp_path / 'gone.conll'}",
    ]
    words = [f"{tmp_path / 'gone.conll'}: the file cannot be read"]
    assert_refused(mtl_, recipe, settings, copied_run, 1, words)


WRONG_SETTINGS = {
    "train.epoch=3": ["unknown key train.epoch", 'did you mean "epochs"'],
    "encoder.dmodel=3": ["unknown key encoder.dmodel", 'did you mean "d_model"'],
    "tokenizer.lowercase=true": ["unknown key", 'did you mean "lower_case"'],
    "tasks.ner.trian=x": ["unknown key tasks.ner.trian", 'did you mean "train"'],
    "tasks.qa.types=['PER']": ["unknown key tasks.qa.types"],
    "sede=3": ["unknown key sede", 'did you mean "seed"'],
    "train.epochs=many": ["train.epochs must be a whole number", "'many'"],
    "train.epochs=true": ["train.epochs must be a whole number", "True"],
    "train.epochs=1.5": ["train.epochs must be a whole number", "1.5"],
    "train.epochs=0": ["train.epochs must be at least 1", "0"],
    "train.learning_rate=fast": ["train.learning_rate must be a number", "'fast'"],
    "train.steps=jiont": ["train.steps is unknown", 'did you mean "joint"'],
    "train.loss_weights={nre=2.0}": ["unknown task", 'did you mean "ner"'],
    "encoder.positions=rotory": ["encoder.positions is unknown", 'did you mean "rotary"'],
    "encoder.n_heads=3": ["d_model must be a multiple", "d_model 16, n_heads 3"],
    "tasks.ner.kind=nerr": ["unknown kind of task", 'did you mean "ner"'],
    "tasks.qa.toy=qaa": ["unknown kind of toy data", 'did you mean "qa"'],
    "tasks.ner.test=x.conll": ["tasks.ner.test names a file", "never mixed"],
    "on_error=ignore": ["on_error is stop or skip", "'ignore'"],
    "seed=-1": ["seed must be at least 0", "-1"],
    "train.epochs": ["--set takes KEY=VALUE", "train.epochs=4"],
}


@pytest.mark.parametrize("setting", WRONG_SETTINGS)
def test_a_wrong_setting_is_wrong_usage(mtl_, recipe, setting, copied_run):
    assert_refused(mtl_, recipe, [setting], copied_run, 2, WRONG_SETTINGS[setting])


# Each of these is a value that torch, or Python, would refuse with a traceback.
IMPOSSIBLE_SETTINGS = [
    "encoder.d_ff=-5",
    "encoder.n_types=-1",
    "encoder.n_types=1",
    "encoder.embedding_std=-1.0",
    "encoder.type_std=-1.0",
    "train.beta2=1.0",
    "train.loss_weights=3",
    "train.loss_weights={ner='much'}",
    "tasks.ner.types=3",
    "tasks.ner.types=[1, 2]",
    "tasks.ner.kind=3",
    "tasks.ner.kind=['ner']",
    "tasks.ner.toy=qa",
    "seed=99999999999999999999",
]


@pytest.mark.parametrize("setting", IMPOSSIBLE_SETTINGS)
def test_an_impossible_value_is_wrong_usage(mtl_, recipe, setting, copied_run):
    words = [setting.partition("=")[0].rpartition(".")[2]]  # the message names the key
    assert_refused(mtl_, recipe, [setting], copied_run, 2, words)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("practicle7", ["there is no such recipe", "'practicle7'", 'did you mean "practical7"']),
        ("gone.toml", ["the recipe cannot be read", "gone.toml", "No such file", "practical7"]),
    ],
)
def test_an_unknown_recipe_is_wrong_usage(mtl_, name, words, copied_run):
    assert_refused(mtl_, name, [], copied_run, 2, words)


def test_a_recipe_that_is_not_toml(mtl_, copied_run, tmp_path):
    (tmp_path / "bad.toml").write_text('name = "x"\nseed = = 3\n')
    words = [f"{tmp_path / 'bad.toml'}", "not TOML", "line 2"]
    assert_refused(mtl_, tmp_path / "bad.toml", [], copied_run, 2, words)


def test_a_folder_with_a_run_is_refused_without_overwrite(mtl_, recipe, copied_run):
    before = contents(copied_run)
    status, out, err = mtl_("train", recipe, "--output", copied_run)
    assert (status, out) == (2, "")
    assert f"{copied_run}: the output folder already holds a run" in err
    assert "--overwrite" in err
    assert contents(copied_run) == before


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
def test_a_folder_with_something_else_is_never_touched(mtl_, recipe, tmp_path, overwrite):
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.txt").write_text("It was a dark night.")
    status, _, err = mtl_("train", recipe, "--output", thesis, *overwrite)
    assert status == 2
    assert "holds other files" in err
    assert contents(thesis) == {"chapter1.txt": b"It was a dark night."}


@pytest.mark.parametrize("below", ["", "run"])
def test_an_output_that_cannot_be_a_folder_is_said_before_training(
    mtl_, recipe, tmp_path, no_training, below
):
    (tmp_path / "file").write_text("mine")
    status, _, err = mtl_("train", recipe, "--output", tmp_path / "file" / below)
    assert status in (1, 2)
    assert str(tmp_path / "file") in err
    assert (tmp_path / "file").read_text() == "mine"


def test_a_loss_that_is_not_finite_ends_the_run(mtl_, recipe, copied_run):
    words = ["is not finite at step", "lower the learning rate (train.learning_rate"]
    assert_refused(mtl_, recipe, ["train.learning_rate=1e30"], copied_run, 1, words)


def test_every_fault_of_a_file_is_said(mtl_, recipe, tmp_path):
    path = tmp_path / "x.conll"
    path.write_text(GOOD_SENTENCES + "Ann\tPER\n\n" * 25)
    *_, err = mtl_("train", recipe, "--set", f"tasks.ner.train={path}", "--output", tmp_path / "o")
    assert f"{path}:61: " in err
    assert f"{path}:99: " in err
    assert f"{path}:101: " not in err  # the first twenty are shown
    assert "25 problems in all" in err


def test_on_error_skip_leaves_bad_records_out_and_says_so(mtl_, recipe, tmp_path):
    path = tmp_path / "x.conll"
    path.write_text(GOOD_SENTENCES + "Ann\tPER\n\nEve\tPER\n")
    train = ("train", recipe, "--set", f"tasks.ner.train={path}", "--json", "--output")
    assert mtl_(*train, tmp_path / "stopped")[0] == 1
    status, out, err = mtl_(*train, tmp_path / "run", "--on-error", "skip")
    assert status == 0
    assert json.loads(out)["test"].keys() == {"ner", "qa"}
    assert "mtl: note: " in err
    assert "bad records left out: 2" in err
    assert f"{path}:61" in err


def test_a_type_that_only_held_out_sentences_have_counts_as_missed(mtl_, recipe, tmp_path):
    good, rare = tmp_path / "good.conll", tmp_path / "rare.conll"
    good.write_text(GOOD_SENTENCES)
    rare.write_text("Rex\tB-DOG\n")
    files = {"train": good, "validation": good, "test": rare}
    settings = [f"tasks.ner.{name}={path}" for name, path in files.items()]
    train = ("train", recipe, "--json", "--output", tmp_path / "run", "--set", *settings)
    status, out, _ = mtl_(*train)
    assert status == 0
    assert json.loads(out)["test"]["ner"]["entity_recall_DOG"] == 0


# --- mtl evaluate --------------------------------------------------------------------------------


def test_evaluate_gives_the_test_numbers_of_metrics_json(mtl_, run):
    metrics = json.loads((run / "metrics.json").read_text())
    status, out, _ = mtl_("evaluate", run, "--json")
    scores = json.loads(out)
    assert status == 0
    assert {task: by_method.pop("model") for task, by_method in scores.items()} == metrics["test"]
    assert scores == metrics["baselines"]


@pytest.mark.parametrize("task", ["ner", "qa"])
def test_evaluate_one_task(mtl_, run, task):
    metrics = json.loads((run / "metrics.json").read_text())
    status, out, _ = mtl_("evaluate", run, "--task", task, "--json")
    assert status == 0
    assert {name: by["model"] for name, by in json.loads(out).items()} == {
        task: metrics["test"][task]
    }


def test_evaluate_takes_a_task_by_kind(mtl_, recipe, tmp_path):
    """Names of tasks are free; `--task qa` finds the only one of its kind."""
    text = Path(recipe).read_text()
    renamed = tmp_path / "renamed.toml"
    renamed.write_text(text.replace("[tasks.qa]", "[tasks.questions]"))
    assert mtl_("train", renamed, "--output", tmp_path / "run")[0] == 0
    by_kind = mtl_("evaluate", tmp_path / "run", "--task", "qa", "--json")
    by_name = mtl_("evaluate", tmp_path / "run", "--task", "questions", "--json")
    assert by_kind[0] == 0
    assert by_kind[1] == by_name[1]
    assert json.loads(by_kind[1]).keys() == {"questions"}
    pair = ("--question", "Who ran?", "--context", "Bob ran.", "--json")
    status, out, _ = mtl_("predict", tmp_path / "run", "--task", "qa", *pair)
    assert status == 0
    assert json.loads(out)["answer"]


def test_evaluate_a_file(mtl_, run, tmp_path):
    model = mtl.MultiTaskModel.from_pretrained(run)
    for task, name, examples in (
        ("ner", "x.conll", ner_examples("test_unseen", 9, 4)),
        ("qa", "x.json", qa_examples("test_unseen", 9, 4)),
    ):
        mtl.data.readers.write_examples(examples, tmp_path / name)
        arguments = ("evaluate", run, "--task", task, "--data", tmp_path / name)
        status, out, _ = mtl_(*arguments, "--json")
        assert status == 0
        assert json.loads(out)[task]["model"] == mtl.evaluate(model, task, examples)
        status, table, _ = mtl_(*arguments)
        assert status == 0
        assert f"{task}, 9 examples" in table


def test_evaluate_prints_a_table_with_baselines_and_types(mtl_, run):
    metrics = json.loads((run / "metrics.json").read_text())
    status, out, _ = mtl_("evaluate", run)
    assert status == 0
    model_line = next(line for line in out.splitlines() if line.startswith("model  "))
    values = [f"{metrics['test']['ner'][name]:.3f}" for name in ("token_accuracy", "entity_f1")]
    assert model_line.split()[1] == values[0]
    assert model_line.split()[-1] == values[1]
    for word in ("all o", "random candidate", "most shared words", "PER", "precision"):
        assert word in out


def confusion_in(out, labels):
    """The counts of the confusion matrix in a report."""
    lines = out.splitlines()
    (first,) = [i for i, line in enumerate(lines) if line.startswith("right \\ predicted")]
    rows = [line.split() for line in lines[first + 1 :] if line.split()[:1] != []]
    rows = [row for row in rows if row[0] in labels][: len(labels)]
    assert [row[0] for row in rows] == labels
    return [[int(count) for count in row[1 : 1 + len(labels)]] for row in rows]


def test_evaluate_reports_classes_and_entity_types(mtl_, staged_run, tmp_path):
    records = news("test_unseen", 20, 4)
    mtl.write_jsonl(records, tmp_path / "my.jsonl")
    model = mtl.MultiTaskModel.from_pretrained(staged_run)
    data = ("--data", tmp_path / "my.jsonl")
    status, out, _ = mtl_("evaluate", staged_run, "--task", "classification", *data)
    labels = model.task("topic").labels
    counts = confusion_in(out, labels)
    predicted = [p["topic"].label for p in mtl.predict(model, [r.text for r in records])]
    assert status == 0
    assert f"topic, {len(records)} examples" in out
    assert counts == [
        [
            sum(r.label == right and p == said for r, p in zip(records, predicted, strict=True))
            for said in labels
        ]
        for right in labels
    ]
    assert "majority class" in out
    status, out, _ = mtl_("evaluate", staged_run, "--task", "tags", *data)
    assert status == 0
    kinds = {tag[2:] for record in records for tag in record.tags} - {""}
    assert len(kinds) > 2
    for kind in kinds:
        assert any(line.startswith(kind) for line in out.splitlines()), kind
    for task in ("topic", "tags"):
        out = mtl_("evaluate", staged_run, "--task", task, *data, "--json")[1]
        assert json.loads(out)[task]["model"] == mtl.evaluate(model, task, records)


def test_evaluate_pairs_of_a_file(mtl_, staged_run, tmp_path):
    pairs = paraphrases("test", 15, 4)
    mtl.write_jsonl(pairs, tmp_path / "pairs.jsonl")
    arguments = ("evaluate", staged_run, "--task", "embedding", "--data", tmp_path / "pairs.jsonl")
    status, out, _ = mtl_(*arguments, "--json")
    model = mtl.MultiTaskModel.from_pretrained(staged_run)
    assert status == 0
    assert json.loads(out)["embedding"]["model"] == mtl.evaluate(model, "embedding", pairs)
    assert json.loads(out)["embedding"].keys() >= {"model", "bag_of_words", "untrained"}


def test_evaluate_a_run_of_stages_gives_the_test_numbers_of_metrics_json(mtl_, staged_run):
    metrics = json.loads((staged_run / "metrics.json").read_text())
    scores = json.loads(mtl_("evaluate", staged_run, "--json")[1])
    assert {task: by_method.pop("model") for task, by_method in scores.items()} == metrics["test"]
    assert scores == metrics["baselines"]


def test_evaluate_leaves_out_what_has_no_label(mtl_, staged_run, tmp_path):
    with_labels = news("test", 9, 1)
    without = [mtl.TextExample(r.text, r.tokens) for r in news("test", 5, 2)]
    mtl.write_jsonl([*with_labels, *without], tmp_path / "part.jsonl")
    mtl.write_jsonl(without, tmp_path / "none.jsonl")
    task = ("evaluate", staged_run, "--task", "topic")
    status, out, _ = mtl_(*task, "--data", tmp_path / "part.jsonl")
    assert (status, "topic, 9 examples" in out) == (0, True)
    status, out, err = mtl_(*task, "--data", tmp_path / "none.jsonl")
    assert (status, out) == (1, "")
    assert f"{tmp_path / 'none.jsonl'}: no example has a label for the task 'topic'" in err


def test_evaluate_leaves_out_a_task_whose_test_split_says_nothing_of_it(
    mtl_, staged_recipe, tmp_path
):
    """As metrics.json does."""
    untagged = [replace(record, tags=None) for record in news("test", 9)]
    splits = {"train": news("train", 20), "validation": news("validation", 9), "test": untagged}
    settings = []
    for split, records in splits.items():
        mtl.write_jsonl(records, tmp_path / f"{split}.jsonl")
        settings += ["--set", f"datasets.news.{split}={tmp_path / split}.jsonl"]
    run = tmp_path / "run"
    assert mtl_("train", staged_recipe, *settings, "--output", run)[0] == 0
    metrics = json.loads((run / "metrics.json").read_text())
    status, out, _ = mtl_("evaluate", run, "--json")
    assert status == 0
    assert json.loads(out).keys() == metrics["test"].keys() == {"topic", "embedding"}
    status, _, err = mtl_("evaluate", run, "--task", "tags")
    assert status == 1
    assert "the recipe has no test data" in err


def test_evaluate_labels_the_model_does_not_know(mtl_, staged_run, tmp_path):
    """They count as wrong, and are named; a file without any known label is of another task."""
    path = tmp_path / "x.jsonl"
    arguments = ("evaluate", staged_run, "--task", "topic", "--data", path)
    weather, sports = (
        f'{{"sentence": "It rains.", "label": "{label}"}}\n' for label in ("weather", "sports")
    )
    path.write_text(weather + sports)
    status, out, err = mtl_(*arguments, "--json")
    assert status == 0
    assert json.loads(out)["topic"]["model"]["accuracy"] in (0.0, 0.5)
    assert "classes that the task does not know count as wrong: 'weather' (1)" in err
    path.write_text(weather)
    for json_ in ([], ["--json"]):
        status, out, err = mtl_(*arguments, *json_)
        assert (status, out) == (1, "")
        assert "'weather'" in err
        assert "'other', 'politics', 'sports'" in err


def test_evaluate_a_file_that_cannot_be_used(mtl_, run, bad_file):
    task, path, words = bad_file
    before = contents(run)
    status, out, err = mtl_("evaluate", run, "--task", task, "--data", path, "--json")
    assert (status, out) == (1, "")
    for word in words:
        assert word in err
    assert contents(run) == before


def test_evaluate_can_leave_bad_records_out(mtl_, run, tmp_path):
    path = tmp_path / "x.conll"
    path.write_text("Ann\tB-PER\n\nEve\tPER\n")
    arguments = ("evaluate", run, "--task", "ner", "--data", path, "--json")
    assert mtl_(*arguments)[0] == 1
    status, out, err = mtl_(*arguments, "--on-error", "skip")
    assert status == 0
    assert json.loads(out)["ner"]["all_o"]["token_accuracy"] == 0.0  # Ann is there, Eve is not
    assert "bad records left out: 1" in err


def test_evaluate_types_the_model_does_not_know(mtl_, run, tmp_path):
    path = tmp_path / "x.conll"
    path.write_text("Rex\tB-DOG\n")
    status, _, err = mtl_("evaluate", run, "--task", "ner", "--data", path)
    assert status == 1
    assert "DOG" in err
    assert "LOC, MISC, ORG, PER" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "x.conll"], ["which task is the data for?", "ner, qa"]),
        (["--task", "nerr"], ["no such task", "'nerr'", 'did you mean "ner"']),
    ],
)
def test_evaluate_wrong_usage(mtl_, run, arguments, words):
    status, out, err = mtl_("evaluate", run, *arguments)
    assert (status, out) == (2, "")
    for word in words:
        assert word in err


def test_evaluate_without_a_recipe_asks_for_data(mtl_, copied_run):
    (copied_run / "recipe.toml").unlink()
    status, _, err = mtl_("evaluate", copied_run)
    assert status == 1
    assert f"{copied_run}: the folder has no recipe.toml" in err
    assert "--data" in err


# --- a model folder that cannot be used ----------------------------------------------------------

PREDICT = ["predict", "--task", "ner", "--text", "Bob ran."]


def use(mtl_, folder):
    """Both commands that read a model folder must fail alike; gives the message."""
    before = contents(folder)
    for command, *rest in (PREDICT, ["evaluate"]):
        status, out, err = mtl_(command, folder, *rest)
        assert (status, out) == (1, ""), err
        assert "to do: " in err
    assert contents(folder) == before
    return err


@pytest.mark.parametrize("name", sorted(MODEL_FILES))
def test_a_model_folder_that_is_missing_a_file(mtl_, copied_run, name):
    (copied_run / name).unlink()
    err = use(mtl_, copied_run)
    assert str(copied_run) in err
    assert "whole folder" in err
    assert name in err


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xff", None], ids=repr)
@pytest.mark.parametrize("name", sorted(MODEL_FILES))
def test_a_model_folder_with_a_broken_file(mtl_, copied_run, name, content):
    path = copied_run / name
    path.unlink()
    path.mkdir() if content is None else path.write_bytes(content)
    err = use(mtl_, copied_run)
    assert name in err


def test_a_model_folder_with_a_cut_weights_file(mtl_, copied_run):
    path = copied_run / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "the weights cannot be loaded" in use(mtl_, copied_run)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda config: config["encoder"].update(d_model=32),
        lambda config: config["encoder"].update(d_model="16"),
        lambda config: config["encoder"].update(d_ff=-1),
        lambda config: config["encoder"].update(vocab_size=3),
        lambda config: config["encoder"].update(colour="red"),
        lambda config: config.update(tasks=[]),
        lambda config: config.update(tokenizer="Other"),
        lambda config: config["tasks"]["ner"].pop("kind"),
        lambda config: config["tasks"]["ner"].update(kind="other"),
        lambda config: config["tasks"]["ner"].update(id2label={"zero": "O"}),
    ],
)
def test_a_config_that_does_not_fit(mtl_, copied_run, spoil):
    config = json.loads((copied_run / "config.json").read_text())
    spoil(config)
    (copied_run / "config.json").write_text(json.dumps(config))
    assert str(copied_run) in use(mtl_, copied_run)


def test_no_model_folder_at_all(mtl_, tmp_path):
    status, _, err = mtl_("predict", tmp_path / "gone", "--text", "Bob ran.")
    assert status == 1
    assert f"{tmp_path / 'gone'}: there is no such model folder" in err


# --- mtl predict ---------------------------------------------------------------------------------

TEXT = "Ann Lee, of Łódź, met\u00a0Ünal (twice) in Oslo."


def test_predict_entities(mtl_, run):
    status, out, _ = mtl_("predict", run, "--task", "ner", "--text", TEXT, "--json")
    (line,) = out.splitlines()
    prediction = json.loads(line)
    model = mtl.MultiTaskModel.from_pretrained(run)
    assert status == 0
    assert prediction == mtl.predict(model, TEXT)["ner"].to_dict()
    assert prediction["text"] == TEXT
    assert prediction["entities"], "an untrained head should find something"
    for entity in prediction["entities"]:
        assert entity.keys() == {"entity_group", "score", "word", "start", "end"}
        assert TEXT[entity["start"] : entity["end"]] == entity["word"]
        assert 0 < entity["score"] <= 1


def test_predict_entities_for_people(mtl_, run):
    status, out, _ = mtl_("predict", run, "--text", TEXT)  # one task reads texts: it is the one
    model = mtl.MultiTaskModel.from_pretrained(run)
    assert status == 0
    assert out == f"task: ner\ninput: {TEXT}\nprediction: {mtl.predict(model, TEXT)['ner']}\n\n"
    assert "[" in out


def test_predict_an_answer(mtl_, run):
    context = "Ann Lee lives in Łódź. Bo met\u00a0her."
    arguments = ("predict", run, "--question", "Where does Ann live?", "--context", context)
    status, out, _ = mtl_(*arguments, "--task", "qa", "--json")
    prediction = json.loads(out)
    assert status == 0
    assert prediction.keys() == {"answer", "score", "start", "end"}
    assert context[prediction["start"] : prediction["end"]] == prediction["answer"] != ""
    assert 0 <= prediction["score"] <= 1
    assert mtl_(*arguments, "--json")[1] == out  # one task reads pairs: it is the one
    for_people = mtl_(*arguments)[1]
    assert "Where does Ann live?" in for_people
    assert f"[{prediction['answer']} answer]" in for_people


def test_predict_many_lines(mtl_, run, stdin):
    texts = ["Ann ran.", "  Bob met Ünal in Oslo.\t", "Eve"]
    stdin("\r\n".join(texts))
    status, out, _ = mtl_("predict", run, "--task", "ner", "--json")
    predictions = [json.loads(line) for line in out.splitlines()]
    model = mtl.MultiTaskModel.from_pretrained(run)
    assert status == 0
    assert [prediction["text"] for prediction in predictions] == texts
    for text, prediction in zip(texts, predictions, strict=True):
        alone = mtl.predict(model, text)["ner"].to_dict()
        assert [(e["word"], e["start"]) for e in prediction["entities"]] == [
            (e["word"], e["start"]) for e in alone["entities"]
        ]


def test_predict_many_questions(mtl_, run, stdin):
    pairs = [
        {"question": "Who ran?", "context": "Bob ran. Ann sat."},
        {"context": "Łódź is a town in Poland, where Ünal lives.", "question": "Who lives there?"},
        {"question": "Who?", "context": "Bob.", "id": "other keys do not matter"},
    ]
    stdin("".join(json.dumps(pair) + "\n" for pair in pairs))
    status, out, _ = mtl_("predict", run, "--task", "qa", "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    for pair, answer in zip(pairs, answers, strict=True):
        assert pair["context"][answer["start"] : answer["end"]] == answer["answer"]


def test_a_text_longer_than_the_positions_is_read_to_its_end(mtl_, run):
    long = "Ann met Bob in Oslo. " * 60
    model = mtl.MultiTaskModel.from_pretrained(run)
    assert len(model.tokenizer.encode(long)) > 4 * model.encoder.config.max_length
    status, out, _ = mtl_("predict", run, "--task", "ner", "--text", long, "--json")
    entities = json.loads(out)["entities"]
    assert status == 0
    assert all(long[e["start"] : e["end"]] == e["word"] for e in entities)
    assert max(e["end"] for e in entities) > len(long) / 2
    status, out, _ = mtl_("predict", run, "--question", "Who?", "--context", long, "--json")
    answer = json.loads(out)
    assert status == 0
    assert long[answer["start"] : answer["end"]] == answer["answer"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--text", ""],
        ["--text", " \t "],
        ["--question", "", "--context", "Bob ran."],
        ["--question", "Who ran?", "--context", "  "],
    ],
)
def test_predict_an_empty_text(mtl_, run, arguments):
    status, out, err = mtl_("predict", run, *arguments)
    assert (status, out) == (1, "")
    assert "empty" in err
    assert "give at least one word" in err


def test_predict_a_question_too_long_for_the_positions(mtl_, run):
    arguments = ("--question", "who " * 70, "--context", "Bob ran.")
    status, _, err = mtl_("predict", run, *arguments)
    assert status == 1
    assert "70 tokens" in err
    assert "64 tokens" in err
    assert "shorten the question" in err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--question", "Who?"], "--question and --context go together"),
        (["--context", "Bob ran."], "--question and --context go together"),
        (["--text", "x", "--question", "Who?", "--context", "Bob."], "not both"),
        (["--task", "ner", "--question", "Who?", "--context", "Bob."], "'ner' reads a --text"),
        (["--task", "qa", "--text", "Bob ran."], "--question and --context"),
        (["--task", "tagger", "--text", "Bob ran."], "use one of ner, qa"),
    ],
)
def test_predict_wrong_usage(mtl_, run, arguments, word):
    status, out, err = mtl_("predict", run, *arguments)
    assert (status, out) == (2, "")
    assert word in err


def test_no_line_on_stdin(mtl_, run, stdin):
    for task in ("ner", "qa"):
        stdin("")
        status, out, err = mtl_("predict", run, "--task", task)
        assert (status, out) == (1, "")
        assert "stdin: there is no input" in err


def test_empty_lines_on_stdin_are_left_out_and_counted(mtl_, run, stdin):
    stdin("Ann ran.\n\nBob ran.\n \t\nEve ran.\n")
    status, out, err = mtl_("predict", run, "--task", "ner", "--json")
    assert status == 0
    assert [json.loads(line)["text"] for line in out.splitlines()] == [
        "Ann ran.",
        "Bob ran.",
        "Eve ran.",
    ]
    assert "empty lines are left out: 2 (line 2, 4)" in err


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_good_lines_are_answered_and_every_bad_one_is_named(mtl_, run, stdin, on_error):
    good = '{"question": "Who ran?", "context": "Bob ran."}'
    bad = ["{nope", '["Who?", "Bob."]', '{"question": "Who?"}', '{"question": 1, "context": 2}']
    bad += ['{"question": "Who?", "context": "  "}', "[" * 100_000]
    bad.append(json.dumps({"question": "who " * 70, "context": "Bob."}))
    stdin("\n".join([good, *bad, good]))
    status, out, err = mtl_("predict", run, "--task", "qa", "--json", "--on-error", on_error)
    assert [json.loads(line)["answer"] != "" for line in out.splitlines()] == [True, True]
    if on_error == "skip":
        assert status == 0
        assert "lines left out: 7. The first: stdin:2: the line is not JSON" in err
        return
    assert status == 1
    for number in range(2, 9):
        assert f"stdin:{number}: " in err
    assert "stdin:1: " not in err
    assert "stdin:9: " not in err
    assert "7 problems in all" in err
    assert 'write {"question": "...", "context": "..."}' in err


def test_stdin_that_is_not_utf8(mtl_, run, stdin):
    stdin(b"Ann ran.\nM\xfcller ran.\nEve ran.\n")
    status, out, err = mtl_("predict", run, "--task", "ner", "--json")
    assert status == 1
    assert [json.loads(line)["text"] for line in out.splitlines()] == ["Ann ran.", "Eve ran."]
    assert "stdin:2: the input is not UTF-8" in err


def test_a_line_is_answered_before_the_next_is_there(run):
    """Whoever writes a line into the pipe may wait for its answer."""
    process = Process(main, ["predict", str(run), "--task", "ner", "--json"])
    for text in ("Ann ran.", "Bob met Eve."):
        process.stdin.write(f"{text}\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["text"] == text
    assert process.finish()[0] == 0


@pytest.mark.parametrize(
    "line", ["Ann-Lee met U.S. envoys", '["Ann-Lee", "met", "U.S.", "envoys"]', "[sic] Ann-Lee"]
)
def test_predict_words(mtl_, run, stdin, line):
    words = json.loads(line) if line.startswith('["') else line.split()
    expected = mtl.predict(mtl.MultiTaskModel.from_pretrained(run), [words])[0]["ner"].to_dict()
    stdin(line)
    status, out, _ = mtl_("predict", run, "--task", "ner", "--words", "--json")
    assert status == 0
    assert json.loads(out) == expected
    status, out, _ = mtl_("predict", run, "--words", "--text", " ".join(words), "--json")
    assert json.loads(out) == expected


def test_predict_a_file_with_a_word_per_line(mtl_, run, tmp_path):
    sentences = [["Ann-Lee", "met", "#tag"], ["U.S.", "envoys"]]
    path = tmp_path / "words.txt"
    path.write_text("\n\n".join("\n".join(words) for words in sentences))
    status, out, _ = mtl_("predict", run, "--task", "ner", "--data", path, "--json")
    model = mtl.MultiTaskModel.from_pretrained(run)
    expected = [p["ner"].to_dict() for p in mtl.predict(model, sentences, ["ner"])]
    assert (status, [json.loads(line) for line in out.splitlines()]) == (0, expected)
    assert mtl_("predict", run, "--task", "qa", "--data", path)[0] == 2


def test_a_byte_order_mark_on_stdin_is_no_text(mtl_, run, stdin):
    """Some shells put one before whatever they pipe."""
    stdin(b"\xef\xbb\xbfAnn ran.\n")
    status, out, _ = mtl_("predict", run, "--task", "ner", "--json")
    assert status == 0
    assert json.loads(out)["text"] == "Ann ran."
    stdin(b'\xef\xbb\xbf{"question": "Who ran?", "context": "Bob ran."}\n')
    assert mtl_("predict", run, "--task", "qa", "--json")[0] == 0


def test_a_question_line_too_long_for_the_positions_is_named(mtl_, run, stdin):
    pairs = [{"question": "Who?", "context": "Bob."}, {"question": "who " * 70, "context": "Bob."}]
    stdin("\n".join(map(json.dumps, pairs)))
    status, _, err = mtl_("predict", run, "--task", "qa")
    assert status == 1
    assert "70 tokens" in err
    assert "stdin:2: " in err


def test_half_a_character_on_stdin_is_a_fault_not_a_traceback(mtl_, run, stdin):
    """JSON may spell half of a surrogate pair, which no output encoding can write."""
    stdin('{"question": "Who?", "context": "Bob \\ud83d ran."}\n')
    status, out, err = mtl_("predict", run, "--task", "qa")
    assert (status, out) == (1, "")
    assert "stdin:1: " in err


# --- mtl predict, with a model of many tasks ------------------------------------------------------

SENTENCE = "John lives in New York."


def save_untrained(folder, tasks):
    tokenizer = mtl.WhitespaceTokenizer.train([SENTENCE, "Who lives there?"])
    config = mtl.EncoderConfig(len(tokenizer), d_model=8, n_heads=2, n_layers=1)
    mtl.MultiTaskModel(mtl.TransformerEncoder(config), tokenizer, tasks).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """The folder of an untrained model with a task of every kind, and two of one kind."""
    tasks = [
        mtl.ClassificationTask("topic", labels=["sports", "politics"]),
        mtl.ClassificationTask("mood", labels=["glad", "sad", "angry"]),
        mtl.NERTask("ner", types=["PER", "LOC"]),
        mtl.EmbeddingTask("vectors", width=4),
        mtl.QATask("qa"),
    ]
    return save_untrained(tmp_path_factory.mktemp("many") / "model", tasks)


def test_predict_says_task_input_and_prediction(mtl_, staged_run):
    """By kind, as only one task has it; its own name comes first."""
    text = ("--text", SENTENCE)
    prediction = mtl.predict(mtl.MultiTaskModel.from_pretrained(staged_run), SENTENCE)
    status, out, err = mtl_("predict", staged_run, "--task", "classification", *text)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == ["task: topic (classification)", f"input: {SENTENCE}"]
    assert lines[2].startswith(f"prediction: {prediction['topic'].label} ")
    assert f"{prediction['topic'].score:.2f}" in lines[2]
    assert lines[3:] == [""]
    out = mtl_("predict", staged_run, "--task", "ner", *text)[1]
    assert out.startswith(f"task: tags (ner)\ninput: {SENTENCE}\nprediction: ")
    rows = [line.split() for line in out.splitlines()[3:-1]]
    assert [row[0] for row in rows] == ["John", "lives", "in", "New", "York", "."]
    assert [row[1] for row in rows] == prediction["tags"].tags
    out = mtl_("predict", staged_run, "--task", "embedding", *text)[1]
    assert out.startswith(f"task: embedding\ninput: {SENTENCE}\nprediction: [")


def test_predict_a_class_and_a_vector_as_json(mtl_, many):
    text = ("--text", SENTENCE, "--json")
    topic = json.loads(mtl_("predict", many, "--task", "topic", *text)[1])
    assert topic.keys() == {"label", "score", "scores"}
    assert topic["scores"].keys() == {"sports", "politics"}
    assert sum(topic["scores"].values()) == pytest.approx(1)
    assert topic["score"] == max(topic["scores"].values()) == topic["scores"][topic["label"]]
    vector = json.loads(mtl_("predict", many, "--task", "embedding", *text)[1])
    assert (vector["text"], len(vector["embedding"])) == (SENTENCE, 4)
    assert sum(x * x for x in vector["embedding"]) == pytest.approx(1, rel=1e-4)


def test_predict_all_tasks_in_one_pass(mtl_, many, monkeypatch):
    passes = []
    forward = mtl.TransformerEncoder.forward

    def counted(encoder, *arguments):
        passes.append(1)
        return forward(encoder, *arguments)

    monkeypatch.setattr(mtl.TransformerEncoder, "forward", counted)
    status, out, _ = mtl_("predict", many, "--task", "all", "--text", SENTENCE, "--json")
    (line,) = out.splitlines()
    assert (status, len(passes)) == (0, 1)
    assert list(json.loads(line)) == ["topic", "mood", "ner", "vectors"]  # what reads single texts
    for name, prediction in json.loads(line).items():
        alone = mtl_("predict", many, "--task", name, "--text", SENTENCE, "--json")[1]
        assert json.loads(alone) == prediction
    out = mtl_("predict", many, "--task", "all", "--text", SENTENCE)[1]
    tasks = [line for line in out.splitlines() if line.startswith("task: ")]
    kinds = ["topic (classification)", "mood (classification)", "ner", "vectors (embedding)"]
    assert tasks == [f"task: {kind}" for kind in kinds]
    assert out.count(f"input: {SENTENCE}\n") == 4


def test_predict_all_tasks_that_read_a_question(mtl_, many):
    question = ("--question", "Who lives there?", "--context", SENTENCE)
    status, out, _ = mtl_("predict", many, "--task", "all", *question, "--json")
    assert (status, json.loads(out).keys()) == (0, {"qa"})
    assert json.loads(out)["qa"]["answer"] in SENTENCE
    out = mtl_("predict", many, *question)[1]
    assert out.startswith("task: qa\ninput: Who lives there?\nprediction: ")


@pytest.fixture(scope="module")
def only_questions(tmp_path_factory):
    """The folder of an untrained model with two tasks, both of which read questions."""
    tasks = [mtl.QATask("short", max_answer_tokens=1), mtl.QATask("long")]
    return save_untrained(tmp_path_factory.mktemp("questions") / "model", tasks)


def test_predict_all_of_several_tasks_that_read_a_question(mtl_, only_questions):
    question = ("--question", "Who lives there?", "--context", SENTENCE, "--json")
    status, out, _ = mtl_("predict", only_questions, "--task", "all", *question)
    assert status == 0
    together = json.loads(out)
    assert list(together) == ["short", "long"]
    for name, prediction in together.items():
        alone = mtl_("predict", only_questions, "--task", name, *question)[1]
        assert json.loads(alone) == prediction


def test_predict_all_where_no_task_reads_single_texts(mtl_, only_questions):
    status, out, err = mtl_("predict", only_questions, "--task", "all", "--text", SENTENCE)
    assert (status, out) == (2, "")
    assert "no task of the model reads a single text" in err
    assert "--question and --context" in err


@pytest.mark.parametrize("json_", [[], ["--json"]])
def test_predict_all_tasks_for_several_lines(mtl_, many, stdin, json_):
    texts = ["Bob ran.", SENTENCE, "Eve"]
    stdin("\n".join(texts))
    status, out, _ = mtl_("predict", many, "--task", "all", *json_)
    assert status == 0
    if json_:
        found = [json.loads(line) for line in out.splitlines()]
        assert [prediction["ner"]["text"] for prediction in found] == texts
        assert [prediction["vectors"]["text"] for prediction in found] == texts
    else:
        inputs = [line for line in out.splitlines() if line.startswith("input: ")]
        assert inputs == [f"input: {text}" for text in texts for _ in range(4)]


def test_predict_a_kind_that_several_tasks_have(mtl_, many):
    status, out, err = mtl_("predict", many, "--task", "classification", "--text", SENTENCE)
    assert (status, out) == (2, "")
    assert "several tasks are of this kind" in err
    assert "'classification'" in err
    assert "mood" in err
    assert "topic" in err


def test_predict_without_a_task_where_several_would_do(mtl_, many):
    status, out, err = mtl_("predict", many, "--text", SENTENCE)
    assert (status, out) == (2, "")
    assert "which task?" in err
    assert "topic, mood, ner, vectors, qa, all" in err


QUESTION = ("--task", "qa", "--question", "Who lives there?", "--context", SENTENCE)


def test_predict_the_best_answers(mtl_, many):
    model = mtl.MultiTaskModel.from_pretrained(many)
    best = mtl.answer(model, "Who lives there?", SENTENCE, n=3)
    status, out, err = mtl_("predict", many, *QUESTION, "--top", 3)
    assert (status, err) == (0, "")
    assert out.startswith(mtl_("predict", many, *QUESTION)[1].rstrip())
    ranks = [line for line in out.splitlines() if line.split(".")[0] in ("1", "2", "3")]
    for line, prediction in zip(ranks, best, strict=True):
        assert prediction.answer in line
        assert f"{prediction.score:.2f}" in line
    found = json.loads(mtl_("predict", many, *QUESTION, "--top", 3, "--json")[1])
    assert found.pop("alternatives") == [p.to_dict() for p in best[1:]]
    assert found == best[0].to_dict()
    assert found == json.loads(mtl_("predict", many, *QUESTION, "--json")[1])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*QUESTION, "--top", 0], "must be from 1"),
        ([*QUESTION, "--top", -3], "must be from 1"),
        (["--task", "ner", "--text", SENTENCE, "--top", 2], "--top goes with a question"),
    ],
)
def test_predict_a_top_that_cannot_be(mtl_, many, arguments, words):
    status, out, err = mtl_("predict", many, *arguments)
    assert (status, out) == (2, "")
    assert words in err


# --- mtl validate and mtl interactive -------------------------------------------------------------


def test_validate_prints_ten_cases_and_their_sum(mtl_, run):
    before = contents(run)
    status, out, err = mtl_("validate", run)
    assert (status, err) == (0, "")
    assert "Who founded Google?" in out
    summary = out.splitlines()[-1]
    assert summary.startswith("NER ")
    assert "; QA " in summary
    status, out, _ = mtl_("validate", run, "--json")
    cases = json.loads(out)
    assert (status, len(cases)) == (0, 10)
    assert {case["verdict"] for case in cases} <= {"exact", "partial", "wrong"}
    assert contents(run) == before


def test_validate_a_model_that_no_case_is_for(mtl_, tmp_path):
    tasks = [mtl.ClassificationTask("topic", labels=["a", "b"])]
    status, out, err = mtl_("validate", save_untrained(tmp_path / "model", tasks))
    assert (status, out) == (2, "")
    assert "find entities or answer questions" in err
    assert "found: a model with neither" in err


def test_validate_says_why_there_are_no_cases_for_other_entities(mtl_, tmp_path):
    tasks = [mtl.NERTask("slots", types=["date", "playlist"])]
    status, out, err = mtl_("validate", save_untrained(tmp_path / "slots", tasks))
    assert (status, out) == (2, "")
    assert "the task 'slots' finds date, playlist; the cases ask for LOC, ORG, PER" in err
    tasks.append(mtl.QATask("qa"))
    status, out, err = mtl_("validate", save_untrained(tmp_path / "both", tasks))
    assert status == 0
    assert out.splitlines()[-1].startswith("QA ")
    assert err == (
        "mtl: note: the task 'slots' finds date, playlist; the cases ask for LOC, ORG, PER\n"
    )


def test_interactive_reads_a_pipe_to_its_end(many):
    """In a process of its own, as only there `input` reads what is piped."""
    typed = f"9\n3\n{SENTENCE}\n5\nWho lives there?\n{SENTENCE}\n3\n"
    status, out, err = Process(main, ["interactive", str(many)]).finish(typed)
    assert (status, err) == (0, "")
    model = mtl.MultiTaskModel.from_pretrained(many)
    assert "there is no such choice" in out
    assert str(mtl.predict(model, SENTENCE, ["ner"])) in out
    assert str(mtl.answer(model, "Who lives there?", SENTENCE)) in out


def test_interactive_input_that_is_not_utf_8(mtl_, many, stdin):
    stdin(b"3\n\xff\n")
    status, _, err = mtl_("interactive", many)
    assert status == 1
    assert "the input is not UTF-8" in err


# --- mtl check -----------------------------------------------------------------------------------

BAD_RECORDS = """\
{"sentence": "John lives here.", "label": "home", "ner_tags": ["B-PER", "O", "O", "O"]}
{"label": "home"}
{"sentence": "Ann ran.", "ner_tags": ["B-PER"]}
{nope

{"sentence": "Eve sat.", "label": "home"}
"""


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.conll", GOOD_SENTENCES, ["examples  ", "20", "PER"]),
        ("x.jsonl", BAD_RECORDS.splitlines()[0], ["JSON records", "home"]),
        ("x.csv", "context,question,answer\nBob ran.,Who ran?,Bob\n", ["questions", "1"]),
    ],
)
def test_check_a_good_file(mtl_, tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    status, out, err = mtl_("check", tmp_path / name)
    assert (status, err) == (0, "")
    assert out.endswith("no problems\n")
    for word in [str(tmp_path / name), *words]:
        assert word in out


def test_check_prints_every_problem_with_its_line(mtl_, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(BAD_RECORDS)
    status, out, err = mtl_("check", path)
    assert (status, err) == (1, "")
    assert "3 problems:" in out
    lines = [line for line in out.splitlines() if line.startswith(f"{path}:")]
    assert [line.split(":")[1] for line in lines] == ["2", "3", "4"]
    assert out.count("to do: ") == 3
    assert "home 2" in out  # what is in the good records
    assert path.read_text() == BAD_RECORDS


def test_check_prints_more_problems_than_an_error_does(mtl_, tmp_path):
    path = tmp_path / "x.conll"
    path.write_text(GOOD_SENTENCES + "Ann\tPER\n\n" * 25)
    status, out, _ = mtl_("check", path)
    assert status == 1
    assert "25 problems:" in out
    for n in range(25):
        assert f"{path}:{61 + 2 * n}: " in out


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b" \n", "the file is empty"), (NOT_UTF8, "x.conll:61: ")],
)
def test_check_a_file_that_cannot_be_read(mtl_, tmp_path, content, words):
    path = tmp_path / "x.conll"
    if content is not None:
        path.write_bytes(content)
    status, out, err = mtl_("check", path)
    assert (status, out) == (1, "")
    assert words in err
    assert str(path) in err


# --- mtl toy -------------------------------------------------------------------------------------


def test_toy_conll_reads_back(mtl_, tmp_path):
    for split in SPLITS:
        path = tmp_path / f"{split}.conll"
        arguments = ("toy", "ner", "--split", split, "--n", 7, "--seed", 3, "--output", path)
        status, out, err = mtl_(*arguments)
        assert (status, out) == (0, "")
        assert f"wrote 7 examples to {path}" in err
        assert mtl.read_conll(path) == ner_examples(split, 7, 3)


def test_toy_squad_reads_back(mtl_, tmp_path):
    path = tmp_path / "qa.json"
    assert mtl_("toy", "qa", "--n", 7, "--seed", 3, "--output", path)[0] == 0
    expected = qa_examples("train", 7, 3)
    read = mtl.read_squad(path)
    assert [(q.id, q.question, q.context, q.answers) for q in read] == [
        (q.id, q.question, q.context, q.answers) for q in expected
    ]


@pytest.mark.parametrize("kind", ["ner", "qa"])
def test_toy_jsonl_holds_the_examples(mtl_, tmp_path, kind):
    path = tmp_path / "toy.jsonl"
    assert mtl_("toy", kind, "--n", 5, "--output", path)[0] == 0
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if kind == "ner":
        expected = ner_examples("train", 5)
        read = [mtl.NERExample(record["tokens"], record["ner_tags"]) for record in records]
        assert read == expected
        assert [record["sentence"] for record in records] == [e.text for e in expected]
    else:
        assert [record["question"] for record in records] == [
            example.question for example in qa_examples("train", 5)
        ]
        for record in records:
            (answer,) = record["answers"]
            start = answer["answer_start"]
            assert record["context"][start : start + len(answer["text"])] == answer["text"]


def test_toy_files_train(mtl_, recipe, tmp_path):
    """What `mtl toy` writes is a template: `mtl train` takes it as it is."""
    settings = []
    for kind, ending in (("ner", "conll"), ("qa", "json")):
        path = tmp_path / f"{kind}.{ending}"
        assert mtl_("toy", kind, "--n", 40, "--output", path)[0] == 0
        settings.append(f"tasks.{kind}.train={path}")
    status, out, err = mtl_(
        "train", recipe, "--set", *settings, "--json", "--output", tmp_path / "run"
    )
    assert status == 0, err
    assert json.loads(out)["test"].keys() == {"ner", "qa"}
    assert json.loads(out)["test_unseen"] == {}


def test_toy_data_depends_on_the_seed(mtl_, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        path = tmp_path / f"{name}.conll"
        assert mtl_("toy", "ner", "--n", 5, "--seed", seed, "--output", path)[0] == 0
    a, b, c = (contents(tmp_path)[f"{name}.conll"] for name in "abc")
    assert a == b != c


def test_toy_keeps_an_existing_file(mtl_, tmp_path):
    path = tmp_path / "mine.conll"
    path.write_text("mine")
    status, _, err = mtl_("toy", "ner", "--n", 3, "--output", path)
    assert status == 2
    assert f"{path}: the file exists" in err
    assert "--overwrite" in err
    assert path.read_text() == "mine"
    assert mtl_("toy", "ner", "--n", 3, "--output", path, "--overwrite")[0] == 0
    assert mtl.read_conll(path) == ner_examples("train", 3)


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("ner", "x.json", [".json", ".conll or .jsonl or .conllu"]),
        ("qa", "x.conll", [".conll", ".json or .jsonl"]),
        ("qa", "x.txt", [".txt", ".json or .jsonl"]),
        ("ner", "x", ["ending", ".conll or .jsonl"]),
        ("nerr", "x.conll", ["unknown kind of toy data", "'nerr'", 'did you mean "ner"']),
    ],
)
def test_toy_wrong_kind_or_ending(mtl_, tmp_path, kind, name, words):
    status, _, err = mtl_("toy", kind, "--n", 3, "--output", tmp_path / name)
    assert status == 2
    for word in words:
        assert word in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["--n", "0"], ["--n", "-4"], ["--split", "tset"]])
def test_toy_wrong_number_or_split(mtl_, tmp_path, arguments):
    status, _, err = mtl_("toy", "ner", *arguments, "--output", tmp_path / "x.conll")
    assert status == 2
    assert arguments[0] in err
    assert not list(tmp_path.iterdir())


def test_toy_into_a_place_that_cannot_be_written(mtl_, tmp_path):
    (tmp_path / "file").write_text("mine")
    path = tmp_path / "file" / "x.conll"
    status, _, err = mtl_("toy", "ner", "--n", 3, "--output", path)
    assert status == 1
    assert f"{path}: the file cannot be written" in err
    assert (tmp_path / "file").read_text() == "mine"
