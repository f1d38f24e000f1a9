"""mtl evaluate and mtl validate."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cli_files import contents, save_untrained

import mtl
from mtl.toy import ner_examples, qa_examples
from mtl.toy.news import news
from mtl.toy.paraphrases import paraphrases

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
    assert "'LOC', 'MISC', 'ORG', 'PER'" in err


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


# --- mtl validate -------------------------------------------------------------------------------


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


def test_a_file_that_has_changed_is_not_scored(mtl_, tmp_path):
    """Another tenth would be held out of it, and most of that was trained on."""
    file = tmp_path / "my.csv"
    rows = [f"word{i} word{i % 7},{'ab'[i % 2]}" for i in range(60)]
    file.write_text("\n".join(["text,label", *rows]))
    recipe = tmp_path / "my.toml"
    recipe.write_text(
        f'name = "mine"\n[tasks.topic]\nkind = "classification"\ntrain = "{file}"\n'
        "[encoder]\nd_model = 16\nn_heads = 2\nn_layers = 1\n[train]\nepochs = 1\n"
    )
    run = tmp_path / "run"
    assert mtl_("train", recipe, "--output", run)[0] == 0
    assert mtl_("evaluate", run)[0] == 0
    file.write_text("\n".join(["text,label", *rows, "one more,a"]))
    status, out, err = mtl_("evaluate", run)
    assert (status, out) == (1, "")
    assert "the test data of topic is not that of the run" in err
    assert mtl_("evaluate", run, "--data", file)[0] == 0
