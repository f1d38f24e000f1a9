"""Bad input to mtl train: said clearly, and nothing is written."""

import json

import pytest
from cli_files import GOOD_SENTENCES, contents

from mtl.training.loop import Run


@pytest.fixture
def no_training(monkeypatch):
    """What is wrong has to be said before time is spent on training."""
    monkeypatch.setattr(Run, "next_step", lambda run: pytest.fail("trained in vain"))


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
    "train.sampling=jiont": ["train.sampling is unknown", 'did you mean "joint"'],
    "train.loss_weights={nre=2.0}": ["unknown task", 'did you mean "ner"'],
    "encoder.positions=rotory": ["encoder.positions is unknown", 'did you mean "rotary"'],
    "encoder.n_heads=3": ["d_model must be a multiple", "d_model 16, n_heads 3"],
    "tasks.ner.kind=nerr": ["tasks.ner.kind is unknown", 'did you mean "ner"'],
    "tasks.qa.toy=qaa": ["unknown kind of toy data", 'did you mean "qa"'],
    "tasks.ner.test=x.conll": ["tasks.ner.test names a file", "never mixed"],
    "on_error=ignore": ["on_error must be stop or skip", "'ignore'"],
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
    "train.adam_beta2=1.0",
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
