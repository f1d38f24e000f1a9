"""A comparison loses nothing to a run that breaks, or to scores that only some runs have."""

import json
import sys
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
from recipes import ner_and_qa

import mtl
from mtl.data.examples import Answer, PairExample, QAExample
from mtl.errors import ConfigError, DataError, MTLError, TrainingWarning
from mtl.experiments.compare import compare
from mtl.experiments.folder import claimed
from mtl.experiments.recipe import load_recipe
from mtl.experiments.summary import (
    comparison_tables,
    costs,
    read_comparison,
    summarise,
    write_summary,
)
from mtl.tasks.embedding import EmbeddingTask
from mtl.toy import qa_examples

RECIPE = ner_and_qa(16, 6, epochs=1, rounds=2, batch_size=8, learning_rate=0.01, device="cpu")

module = sys.modules["mtl.experiments.compare"]  # mtl.experiments.compare is the function


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(autouse=True)
def _no_picture(monkeypatch):
    monkeypatch.setattr(module, "plot_comparison", lambda summary: plt.Figure())
    monkeypatch.setattr(plt.Figure, "savefig", lambda *args, **options: None)


# --- scores that only some runs have --------------------------------------------------------------


def test_pairs_of_which_none_means_the_same_are_compared_by_spearman(tmp_path, recipe):
    """No test pair is scored 0.9 or more, so there is no accuracy_at_1."""
    names = ["Ann", "Bob", "Eve", "Otto", "Rita", "Max"]
    pairs = [
        PairExample(f"{name} met {other} .", f"{other} saw {name} .", score=0.1 * (i + j) / 2)
        for i, name in enumerate(names)
        for j, other in enumerate(names)
    ]
    mtl.write_jsonl(pairs, tmp_path / "pairs.jsonl")
    text = RECIPE.replace('kind = "qa"\ntoy = "qa"\ntoy_train = 16\ntoy_held_out = 6', "")
    text = text.replace(
        "[tasks.qa]", f'[tasks.like]\nkind = "embedding"\ntrain = "{tmp_path}/pairs.jsonl"'
    )
    recipe.write_text(text)
    content = compare(load_recipe(recipe), tmp_path / "out", seeds=2, progress=False)
    metrics = {row["task"]: row["metric"] for row in content["summary"]}
    assert metrics == {"ner": "entity_f1", "like": "spearman"}
    assert "failed" not in content
    assert read_comparison(tmp_path / "out" / "compare.csv")[0] == content["summary"]


def run_of(seed, method, test, rounds=5):
    return {
        **{"size": "", "seed": seed, "method": method, "rounds": rounds, "test": {"like": test}},
        **{"parameters": 10, "train_seconds": 1.0, "inference_seconds": 0.1},
    }


def test_the_metric_is_one_that_most_seeds_have():
    """Each seed holds out other pairs; only in seed 0 some mean the same."""
    runs = [
        run_of(
            seed,
            method,
            {"spearman": 0.1 * seed + gain} | ({"accuracy_at_1": 1.0} if not seed else {}),
        )
        for method, gain in (("alone", 0.0), ("fixed", 0.2))
        for seed in range(3)
    ]
    rows = summarise(runs, [EmbeddingTask("like")], 5, {"fixed": 5})
    assert {row["metric"] for row in rows} == {"spearman"}
    assert {row["n"] for row in rows} == {3}
    assert rows[1]["difference"] == pytest.approx(0.2)


def test_a_row_is_of_the_seeds_that_have_all_it_needs(tmp_path):
    runs = [run_of(seed, "alone", {"spearman": 0.1 * seed}) for seed in (0, 1, 2)]
    runs += [run_of(seed, "fixed", {"spearman": 0.1 * seed + 0.3}) for seed in (1, 2, 3)]
    rows = summarise(runs, [EmbeddingTask("like")], 5, {"fixed": 5, "joint": 5})
    alone, fixed = rows[:2]
    assert (alone["n"], alone["mean"]) == (3, pytest.approx(0.1))
    assert (fixed["n"], fixed["mean"]) == (2, pytest.approx(0.45))
    assert fixed["difference"] == pytest.approx(0.3)
    assert not any(row["method"] == "joint" for row in rows)
    (cost,) = costs(runs, 5, {"fixed": 5, "joint": 5})
    assert cost["parameters"] == [10, 10]
    text = comparison_tables(rows, [cost])
    assert "[2 of 3 seeds]" in text
    write_summary(tmp_path / "compare.csv", rows[:3], "mtl compare")  # the last one is alone
    assert read_comparison(tmp_path / "compare.csv")[0] == rows[:3]


def test_a_task_says_what_its_main_score_is():
    task = SimpleNamespace(name="like", main_score=lambda scores: ("f2", scores["f2"]))
    runs = [run_of(0, method, {"f1": 0.5, "f2": 0.1}) for method in ("alone", "fixed")]
    assert {row["metric"] for row in summarise(runs, [task], 5, {"fixed": 5})} == {"f2"}


# --- runs that break ------------------------------------------------------------------------------


def breaking(patch, is_broken):
    """Trainings break for some plans; gives the plans that are tried."""
    real, tried = module._run, []

    def run(plan, *rest):
        tried.append(plan)
        if is_broken(plan):
            raise ZeroDivisionError("nothing to divide by")
        return real(plan, *rest)

    patch.setattr(module, "_run", run)
    return tried


def test_a_run_that_breaks_costs_no_other_and_is_tried_again(mtl_, recipe, tmp_path, monkeypatch):
    command = ["compare", recipe, "--seeds", "3", "--output", tmp_path / "out"]
    with monkeypatch.context() as patch:
        tried = breaking(patch, lambda plan: plan.seed == 1 and not plan.task)
        status, out, err = mtl_(*command)
    assert len(tried) == 3 * 5
    assert status == 1
    broken = "all data, seed 1, together, fixed, 2 rounds per epoch"
    assert f"mtl: note: {broken}: failed; everything else continues. ZeroDivisionError" in err
    assert f"mtl: error: {broken}: ZeroDivisionError: nothing to divide by" in err
    assert "[2 of 3 seeds]" in out
    content = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert list(content["failed"]) == [broken]
    assert len(content["runs"]) == 14
    tried = breaking(monkeypatch, lambda plan: False)
    status, out, err = mtl_(*command)
    assert [(plan.seed, plan.task) for plan in tried] == [(1, "")]
    assert status == 0
    assert "of 3 seeds]" not in out
    assert "failed" not in json.loads((tmp_path / "out" / "compare.json").read_text())


def test_if_all_break_there_is_nothing_to_compare(recipe, tmp_path, monkeypatch):
    breaking(monkeypatch, lambda plan: True)
    with (
        pytest.warns(TrainingWarning, match="everything else continues"),
        pytest.raises(MTLError, match=r"nothing to compare(.|\n)*ZeroDivisionError"),
    ):
        compare(load_recipe(recipe), tmp_path / "out", seeds=1, progress=False)


def test_rows_of_all_splits_are_made_before_the_first_run(recipe, tmp_path, monkeypatch):
    tried = breaking(monkeypatch, lambda plan: False)
    context = "Rita keeps the key of the old mill by the river , and Otto the key of the barn ."
    long = QAExample("long", "why " * 70, context, (Answer("Rita", 0),))
    mtl.write_squad([*qa_examples("test", 5), long], tmp_path / "test.json")
    mtl.write_squad(qa_examples("train", 30), tmp_path / "train.json")
    settings = [f"tasks.qa.train={tmp_path}/train.json", f"tasks.qa.test={tmp_path}/test.json"]
    with pytest.raises(DataError, match="qa, test: example 'long'"):
        compare(load_recipe(recipe, settings), tmp_path / "out", seeds=1, progress=False)
    assert tried == []
    assert not (tmp_path / "out").exists()
    skipping = load_recipe(recipe, [*settings, 'on_error="skip"'])
    with pytest.warns(mtl.errors.DataWarning, match="qa, test: examples left out: 1") as said:
        content = compare(skipping, tmp_path / "out", seeds=1, progress=False)
    assert len(said) == 1  # not once more with each run
    assert len(content["runs"]) == 5


def test_what_there_is_to_say_of_the_files_is_said_once(recipe, tmp_path):
    questions = qa_examples("train", 30)
    mtl.write_squad(questions, tmp_path / "train.json")
    mtl.write_squad(questions[:3], tmp_path / "test.json")
    settings = [f"tasks.qa.train={tmp_path}/train.json", f"tasks.qa.test={tmp_path}/test.json"]
    with pytest.warns(mtl.errors.DataWarning) as said:
        compare(load_recipe(recipe, settings), tmp_path / "out", seeds=2, progress=False)
    (line,) = [str(w.message) for w in said if issubclass(w.category, mtl.errors.DataWarning)]
    assert "train" in line
    assert "test" in line


def test_two_comparisons_do_not_write_into_one_folder(recipe, tmp_path):
    with claimed(tmp_path / "out"), pytest.raises(ConfigError, match="another process"):
        compare(load_recipe(recipe), tmp_path / "out", seeds=1, progress=False)
