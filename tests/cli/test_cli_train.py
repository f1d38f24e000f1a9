"""mtl train: what it prints, and what it writes."""

import csv
import json
from pathlib import Path

import pytest
from cli_files import MODEL_FILES, contents

import mtl
from mtl.toy import ner_examples, qa_examples
from mtl.training.loop import Run

NER_METRICS = {"token_accuracy", "entity_precision", "entity_recall", "entity_f1"}
QA_METRICS = {"exact_match", "token_f1", "span_accuracy"}
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


def without_time(metrics):
    return {key: value for key, value in metrics.items() if key != "train_seconds"}


def test_a_run_folder_holds_all_there_is(run):
    assert contents(run).keys() == RUN_FILES
    assert (run / "loss_curves.png").read_bytes().startswith(b"\x89PNG")


def test_metrics_json_is_laid_out_as_promised(run):
    metrics = json.loads((run / "metrics.json").read_text())
    model = mtl.MultiTaskModel.from_pretrained(run)
    assert list(metrics) == [
        *("recipe", "seed", "train_seconds", "threads", "parameters", "test_data"),
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


def test_recipe_toml_of_a_run_trains_again_to_the_same(mtl_, run, tmp_path):
    status, *_ = mtl_("train", run / "recipe.toml", "--output", tmp_path / "again")
    before, after = contents(run), contents(tmp_path / "again")
    assert status == 0
    assert after.keys() == before.keys()
    for name in RUN_FILES - {"metrics.json"}:
        if not name.endswith(".png"):  # the tests draw none
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
    assert err.count("mtl: note: the head of 'tags' is frozen while the encoder keeps") == 1


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
