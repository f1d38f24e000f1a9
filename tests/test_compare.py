"""Comparing: the same data and the promised steps for all, numbers by hand, stops, bad input."""

import json
import re
import shutil
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
from torch.optim.optimizer import register_optimizer_step_post_hook

import mtl
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import ConfigError, DataError, DataWarning, ModelError
from mtl.experiments.build import build_tasks
from mtl.experiments.compare import compare
from mtl.experiments.plan import method_settings, with_size
from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe
from mtl.experiments.summary import (
    comparison_tables,
    costs,
    read_comparison,
    summarise,
    write_summary,
)
from mtl.tables import format_markdown
from mtl.training.config import TrainConfig
from mtl.training.loop import train
from mtl.training.run import Run

TINY = [
    *("tasks.ner.toy_train=40", "tasks.ner.toy_held_out=10"),
    *("tasks.qa.toy_train=60", "tasks.qa.toy_held_out=10"),
    *("encoder.n_layers=1", "encoder.d_model=16", "encoder.d_ff=16", "encoder.max_length=64"),
    *("train.epochs=2", "train.batch_size=20", "train.rounds=2"),
]
SHARED = [
    *("datasets.records.toy_train=20", "datasets.records.toy_held_out=10"),
    *("encoder.n_layers=1", "encoder.d_model=16", "encoder.d_ff=16", "encoder.max_length=64"),
    *("train.epochs=1", "train.batch_size=10"),
]
MODULE = sys.modules["mtl.experiments.compare"]  # `mtl.experiments.compare` is the function
SEEDS, SIZES, METHODS = [0, 1], ["", "qa=0.5"], ["alternating", "joint"]
T_OF_1_DEGREE = 12.706  # Student's t, two-sided 95%
T_OF_3_DEGREES = 3.182
TIMES = {"train_seconds", "inference_seconds"}


@pytest.fixture(scope="module")
def recipe():
    return load_recipe("practical7", TINY)


def watched(trained):
    """`train`, which also notes in a list what it was given and what it did."""

    def watch(model, tasks, config, **options):
        batches, updates = [], []
        train_on = Run._train_on

        def note_and_train_on(run, step):
            batches.append([task.name for i in step for task in run.streams[i].tasks])
            return train_on(run, step)

        hook = register_optimizer_step_post_hook(lambda *_: updates.append(1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Run, "_train_on", note_and_train_on)
            history = train(model, tasks, config, **options)
        hook.remove()
        noted = {"model": model, "tasks": {task.name: task for task in tasks}, "config": config}
        trained.append(SimpleNamespace(**noted, batches=batches, n_updates=len(updates)))
        return history

    return watch


@pytest.fixture(scope="module")
def compared(recipe, tmp_path_factory):
    """A comparison that nobody changes, and what was trained for it."""
    folder, trained = tmp_path_factory.mktemp("compared") / "out", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "train", watched(trained))
        content = compare(recipe, folder, seeds=2, methods=METHODS, sizes=SIZES, progress=False)
    return SimpleNamespace(folder=folder, trained=trained, **content)


@pytest.fixture
def no_picture(monkeypatch):
    monkeypatch.setattr(MODULE, "plot_comparison", lambda summary: plt.Figure())
    monkeypatch.setattr(plt.Figure, "savefig", lambda *args, **options: None)


@pytest.fixture
def count_trainings(monkeypatch):
    """How often a model is trained; `stop_at` makes the training of that number fail."""
    calls = SimpleNamespace(n=0, stop_at=0)

    def counted(*args, **options):
        calls.n += 1
        if calls.n == calls.stop_at:
            raise KeyboardInterrupt
        return train(*args, **options)

    monkeypatch.setattr(MODULE, "train", counted)
    return calls


@pytest.fixture
def no_training(monkeypatch):
    """What is wrong has to be said before time is spent on training."""
    monkeypatch.setattr(MODULE, "train", lambda *_, **__: pytest.fail("trained in vain"))


def contents(folder):
    """Every file below a folder, byte for byte."""
    files = (path for path in Path(folder).rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def strict_json(text):
    """NaN and Infinity are no JSON, though Python writes and reads them."""
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def without_times(runs):
    return [{key: value for key, value in run.items() if key not in TIMES} for run in runs]


# --- what is trained ------------------------------------------------------------------------------


def test_every_run_is_there_once(compared):
    """Alone with two budgets, 2 and 4 rounds an epoch; together once with each method."""
    found = [
        tuple(run[key] for key in ("seed", "size", "method", "task", "rounds"))
        for run in compared.runs
    ]
    expected = [
        (seed, size, *rest)
        for seed in SEEDS
        for size in SIZES
        for rest in [
            *(("alone", "ner", 2), ("alone", "qa", 2), ("alone", "ner", 4), ("alone", "qa", 4)),
            *(("alternating", "", 2), ("joint", "", 2)),
        ]
    ]
    assert found == expected
    files = [json.loads(path.read_text()) for path in (compared.folder / "runs").iterdir()]
    assert sorted(files, key=str) == sorted(compared.runs, key=str)
    assert len(compared.trained) == len(expected)
    seeds = [(seen.config.seed, sorted(seen.tasks)) for seen in compared.trained]
    assert seeds == [(run["seed"], sorted(run["test"])) for run in compared.runs]


def test_every_run_makes_the_promised_steps(compared):
    """In two epochs; whatever share of the data is used."""
    for run, seen in zip(compared.runs, compared.trained, strict=True):
        per_task = Counter(name for step in seen.batches for name in step)
        if run["method"] == "alone":
            expected, of_each = 2 * run["rounds"], {run["task"]: 2 * run["rounds"]}
        else:
            expected, of_each = {"alternating": 8, "joint": 4}[run["method"]], {"ner": 4, "qa": 4}
        assert run["steps"] == seen.n_updates == len(seen.batches) == expected
        assert per_task == of_each


def test_without_rounds_an_epoch_is_one_pass_over_the_largest_dataset(recipe, tmp_path, no_picture):
    """60 questions in batches of 20 are 3 rounds, also where only a tenth of them is used."""
    recipe = replace(recipe, train=recipe.train | {"rounds": 0, "epochs": 1})
    options = {"seeds": 1, "methods": ["joint"], "sizes": ["qa=0.1"], "progress": False}
    content = compare(recipe, tmp_path / "out", **options)
    assert {row["control_rounds"] for row in content["summary"]} == {3}
    assert [run["steps"] for run in content["runs"]] == [3, 3, 3]
    assert content["runs"][1]["train_examples"] == {"qa": 6}


def test_a_size_takes_its_share_of_one_task_and_leaves_the_other(compared):
    for run in compared.runs:
        of_all = {"ner": 40, "qa": 30 if run["size"] else 60}
        assert run["train_examples"] == {name: of_all[name] for name in run["test"]}


def test_alone_and_together_see_the_same_examples(compared):
    """In every split, and another seed has others."""
    seen_by = {}
    for run, seen in zip(compared.runs, compared.trained, strict=True):
        for name, task in seen.tasks.items():
            splits = ("train", "validation", "test", "test_unseen")
            examples = tuple(str(list(task.dataset.split(split))) for split in splits)
            seen_by.setdefault((name, run["size"], run["seed"]), set()).add(examples)
    assert len(seen_by) == 8
    assert all(len(examples) == 1 for examples in seen_by.values())
    one = {key: next(iter(examples)) for key, examples in seen_by.items()}
    assert one["ner", "", 0] == one["ner", "qa=0.5", 0]
    assert one["qa", "", 0][0] != one["qa", "qa=0.5", 0][0]
    assert one["qa", "", 0][1:] == one["qa", "qa=0.5", 0][1:]
    assert one["ner", "", 0] != one["ner", "", 1]


def test_alone_a_model_knows_its_own_words_and_has_its_own_head_only(compared, recipe):
    for run, seen in zip(compared.runs, compared.trained, strict=True):
        texts = [text for task in seen.tasks.values() for text in task.dataset.training_texts()]
        known = WhitespaceTokenizer.train(texts, **recipe.tokenizer)
        assert seen.model.tokenizer.tokens == known.tokens
        assert list(seen.model.heads) == ([run["task"]] if run["task"] else ["ner", "qa"])
        assert run["parameters"] == sum(p.numel() for p in seen.model.parameters())
    ner, qa, *_, joint = (set(seen.model.tokenizer.counts) for seen in compared.trained[:6])
    assert ner | qa == joint
    assert joint - ner
    assert joint - qa


def test_scores_are_those_of_the_model_that_was_trained(compared):
    for run, seen in list(zip(compared.runs, compared.trained, strict=True))[:6]:
        for split in ("validation", "test", "test_unseen"):
            for name, task in seen.tasks.items():
                again = mtl.evaluate(seen.model, name, task.dataset.split(split))
                assert run[split][name] == again


def test_together_is_what_mtl_train_does(compared, recipe, tmp_path, no_curves):
    joint = replace(recipe, seed=1, train=recipe.train | {"steps": "joint"})
    metrics = run_recipe(joint, tmp_path / "run", progress=False)
    (run,) = [r for r in compared.runs if (r["seed"], r["method"], r["size"]) == (1, "joint", "")]
    for split in ("validation", "test", "test_unseen"):
        assert metrics[split] == run[split]


def test_patience_stops_no_run(recipe, tmp_path, no_picture):
    """All make all their steps, or the budgets would differ."""
    impatient = replace(recipe, train=recipe.train | {"patience": 1, "epochs": 4, "rounds": 1})
    content = compare(impatient, tmp_path / "out", seeds=1, methods=["joint"], progress=False)
    assert [run["steps"] for run in content["runs"]] == [4, 4, 4]


def test_tasks_on_one_dataset(tmp_path, no_picture, monkeypatch):
    """One batch serves both, so that even alternating steps are as many as a task's own."""
    trained = []
    monkeypatch.setattr(MODULE, "train", watched(trained))
    options = {"seeds": 1, "methods": METHODS, "sizes": ["", "topic=0.5"], "progress": False}
    content = compare(load_recipe("jsonl", SHARED), tmp_path / "out", **options)
    assert {row["control_rounds"] for row in content["summary"]} == {2}
    what = [(run["method"], run["task"], run["steps"]) for run in content["runs"]]
    of_a_size = [("alone", "topic", 2), ("alone", "ner", 2), ("alternating", "", 2)]
    assert what == 2 * [*of_a_size, ("joint", "", 2)]
    for run, seen in zip(content["runs"], trained, strict=True):
        assert seen.batches == 2 * [[run["task"]] if run["task"] else ["topic", "ner"]]
        sizes = {len(task.dataset.train) for task in seen.tasks.values()}
        assert sizes == {10 if run["size"] else 20}
    table = (tmp_path / "out" / "compare.md").read_text()
    assert "as its task" in table
    assert "as the whole shared training" not in table  # it would say the same again


# --- the numbers ----------------------------------------------------------------------------------


def test_summary_by_hand(compared):
    """Each row from the runs: the mean, the paired difference, Student's intervals."""
    metric = {"ner": "entity_f1", "qa": "exact_match"}
    rows = {(r["size"], r["budget"], r["task"], r["method"]): r for r in compared.summary}
    assert len(rows) == len(compared.summary) == 2 * 2 * 2 * 3

    def scores(size, task, method, rounds):
        return [
            run["test"][task][metric[task]]
            for seed in SEEDS
            for run in compared.runs
            if (run["seed"], run["size"], run["method"]) == (seed, size, method)
            and run["rounds"] == rounds
            and run["task"] in (task, "")
        ]

    def check(centre, ends, values):
        first, second = values
        half = T_OF_1_DEGREE * abs(first - second) / 2  # t * (|a - b| / sqrt 2) / sqrt 2
        assert centre == pytest.approx((first + second) / 2)
        assert ends == pytest.approx([centre - half, centre + half])

    for (size, budget, task, method), row in rows.items():
        steps = {"alone": 4, "alternating": 4, "joint": 2}[method] if budget == "total" else 2
        alone = scores(size, task, "alone", steps)
        own = alone if method == "alone" else scores(size, task, method, 2)
        assert (row["metric"], row["n"], row["control_rounds"]) == (metric[task], 2, steps)
        check(row["mean"], row["interval"], own)
        if method == "alone":
            assert not {"difference", "difference_interval", "distinguishable"} & row.keys()
        else:
            check(
                *(row["difference"], row["difference_interval"]),
                [a - b for a, b in zip(own, alone, strict=True)],
            )
            low, high = row["difference_interval"]
            assert row["distinguishable"] is (low > 0 or high < 0)


def made_up_runs(alone, together, longer=None):
    """Runs of one task; alone with 5 rounds, and with 10 where `longer` is given."""
    runs = []
    for method, rounds, scores in (
        *(("alone", 5, alone), ("alone", 10, longer or [])),
        ("fixed", 5, together),
    ):
        for seed, score in enumerate(scores):
            run = {"size": "", "seed": seed, "method": method, "rounds": rounds}
            run |= {"task": "a" if method == "alone" else "", "test": {"a": {"f1": score}}}
            runs.append(run)
    return runs


TASK_A = [SimpleNamespace(name="a", main_score=lambda scores: ("f1", scores["f1"]))]


def test_a_difference_is_paired_by_seed():
    """The seeds differ far more than the methods; the order of the runs plays no role."""
    alone, together = [0.1, 0.5, 0.3, 0.7], [0.2, 0.7, 0.6, 1.1]
    runs = made_up_runs(alone, together)
    for some in (runs, runs[4:][::-1] + runs[:4]):
        _, row = summarise(some, TASK_A, 5, {"fixed": 5})[:2]
        assert row["mean"] == pytest.approx(0.65)
        assert row["difference"] == pytest.approx(0.25)
        half = T_OF_3_DEGREES * (0.05 / 3) ** 0.5 / 2  # of 0.1, 0.2, 0.3, 0.4
        assert row["difference_interval"] == pytest.approx([0.25 - half, 0.25 + half])
        assert row["distinguishable"] is True
        low, high = row["interval"]
        assert low < 0.4 < high  # the mean alone would not have told them apart


@pytest.mark.parametrize(
    ("together", "told_apart"),
    [([0.4, 0.6], False), ([0.5, 0.5], False), ([0.6, 0.6], True), ([0.4, 0.4], True)],
)
def test_distinguishable_either_way_or_not(together, told_apart):
    _, row = summarise(made_up_runs([0.5, 0.5], together), TASK_A, 5, {"fixed": 5})[:2]
    assert row["distinguishable"] is told_apart


def test_each_budget_has_its_own_control():
    runs = made_up_runs([0.1, 0.1], [0.5, 0.5], longer=[0.9, 0.9])
    rows = summarise(runs, TASK_A, 5, {"fixed": 10})
    found = [(row["budget"], row["method"], row["mean"], row.get("difference")) for row in rows]
    assert [pytest.approx(row) for row in found] == [
        ("per task", "alone", 0.1, None),
        ("per task", "fixed", 0.5, 0.4),
        ("total", "alone", 0.9, None),
        ("total", "fixed", 0.5, -0.4),
    ]


def test_one_seed_has_no_interval_and_the_json_is_valid(recipe, tmp_path, no_picture):
    compare(recipe, tmp_path / "out", seeds=1, progress=False)
    content = strict_json((tmp_path / "out" / "compare.json").read_text())
    for row in content["summary"]:
        assert row["n"] == 1
        assert row["interval"] is None
        assert row.get("difference_interval") is None
        assert row.get("distinguishable", False) is False
    tables = comparison_tables(content["summary"])
    assert "±" not in tables
    assert "One seed tells nothing apart" in tables


def test_cost_by_hand(compared):
    """The shared model against the sum of the separate ones with as many steps a task."""
    assert [(c["size"], c["method"]) for c in compared.cost] == [
        (size, method) for size in SIZES for method in METHODS
    ]
    for cost in compared.cost:
        for what in ("parameters", "train_seconds", "inference_seconds"):
            one, separate = cost[what]
            of_size = [run for run in compared.runs if run["size"] == cost["size"]]
            shared = [run[what] for run in of_size if run["method"] == cost["method"]]
            alone = [r[what] for r in of_size if r["method"] == "alone" and r["rounds"] == 2]
            assert (len(shared), len(alone)) == (2, 4)
            assert one == pytest.approx(sum(shared) / 2)
            assert separate == pytest.approx(sum(alone) / 2)
    whole = next(cost for cost in compared.cost if not cost["size"])
    assert whole["parameters"][0] < whole["parameters"][1]


def test_cost_of_made_up_runs():
    what = ("parameters", "train_seconds", "inference_seconds")

    def run(method, rounds, numbers):
        return {"size": "", "seed": 0, "method": method, "rounds": rounds} | dict(
            zip(what, numbers, strict=True)
        )

    runs = [run("alone", 5, (10, 1.0, 0.1)), run("alone", 5, (20, 2.0, 0.2))]
    runs += [run("alone", 10, (10, 99.0, 9.9)), run("fixed", 5, (25, 4.0, 0.4))]
    (cost,) = costs(runs, 5, {"fixed": 10})
    assert cost["parameters"] == [25, 30]
    assert cost["train_seconds"] == pytest.approx([4.0, 3.0])
    assert cost["inference_seconds"] == pytest.approx([0.4, 0.3])


# --- what is written ------------------------------------------------------------------------------


def test_the_folder_holds_all_there_is(compared):
    results = {f"compare.{ending}" for ending in ("json", "csv", "md", "png")}
    there = {path.name for path in compared.folder.iterdir()}
    assert there == results | {"recipe.toml", "runs"}
    assert (compared.folder / "compare.png").read_bytes().startswith(b"\x89PNG")
    content = strict_json((compared.folder / "compare.json").read_text())
    keys = ["recipe", "command", "device", "runs", "summary", "cost"]
    assert list(content) == keys
    assert content == {key: getattr(compared, key) for key in keys}
    assert content["recipe"] == "practical7"
    assert content["device"]
    again = load_recipe(compared.folder / "recipe.toml")
    assert again.tasks["qa"].toy_train == 60


def test_the_tables_hold_the_numbers(compared):
    text = (compared.folder / "compare.md").read_text()
    tables = comparison_tables(compared.summary, compared.cost, format_markdown)
    assert text == f"{tables}\n"
    first, second = text.split("as the whole shared training")
    for row in compared.summary:
        part = first if row["budget"] == "per task" else second
        title = f"{row['task']} {row['metric'].replace('_', ' ')}"
        (line,) = re.findall(rf"\| {title} \| {row['size'] or 'all data'} .*", part)
        if row["budget"] == "total" and row["method"] == "joint":
            continue  # it makes no more steps than a task alone
        low, high = row["interval"]
        cell = f"{row['mean']:.3f} ± {(high - low) / 2:.3f}"
        if "difference" in row:
            low, high = row["difference_interval"]
            star = " *" if row["distinguishable"] else ""
            cell += f" ({row['difference']:+.3f} ± {(high - low) / 2:.3f}{star})"
        assert f"| {cell} |" in line
    shared, separate = compared.cost[0]["parameters"]
    assert f"{shared:,.0f} / {separate:,.0f}" in second
    assert "mean of 2 seeds ±" in text
    joint_of_total = second.split("One shared model")[0]
    assert "joint" not in joint_of_total
    alternating = [row for row in compared.summary if row["method"] != "joint"]
    assert joint_of_total.rstrip() in comparison_tables(alternating, layout=format_markdown)


def test_the_summary_as_a_table_for_programs(compared, tmp_path):
    """It is read back to the last digit; without an interval too, and with the command."""
    assert read_comparison(compared.folder / "compare.csv") == (compared.summary, "")
    rows = [row | {"interval": None} for row in compared.summary]
    rows = [row | {"difference_interval": None} if "difference" in row else row for row in rows]
    write_summary(tmp_path / "one.csv", rows, "mtl compare practical7 --seeds 1")
    assert read_comparison(tmp_path / "one.csv") == (rows, "mtl compare practical7 --seeds 1")
    lines = (compared.folder / "compare.csv").read_text().splitlines()
    assert len(lines) == 2 + len(compared.summary)


def test_the_picture_shows_each_difference(compared):
    from mtl.reports.plots import plot_comparison

    figure = plot_comparison(compared.summary)
    assert [axis.get_title() for axis in figure.axes] == [
        "NER: entity f1, together minus alone",
        "QA: exact match, together minus alone",
    ]
    for task, axis in zip(("ner", "qa"), figure.axes, strict=True):
        points = [line for line in axis.lines if line.get_marker() == "o"]
        drawn = sorted(float(point.get_xdata()[0]) for point in points)
        rows = [r for r in compared.summary if r["task"] == task and "difference" in r]
        rows = [r for r in rows if (r["method"], r["budget"]) != ("joint", "total")]  # no news
        assert drawn == pytest.approx(sorted(row["difference"] for row in rows))
        bars = [line.get_xdata() for line in axis.lines if len(line.get_xdata()) == 2]
        ends = [list(map(float, bar)) for bar in bars]
        for row in rows:
            assert any(end == pytest.approx(row["difference_interval"]) for end in ends)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [f"{m}  {s or 'all data'}" for s in SIZES for m in METHODS]


def test_without_a_comparison_there_is_no_picture():
    with pytest.raises(ConfigError, match=r"no comparison to draw(.|\n)*give the summary"):
        mtl.plot_comparison([])


# --- going on -------------------------------------------------------------------------------------


def test_a_stopped_comparison_goes_on_and_ends_the_same(
    compared, recipe, tmp_path, no_picture, count_trainings
):
    options = {"seeds": 1, "methods": METHODS, "progress": False}
    count_trainings.stop_at = 4
    with pytest.raises(KeyboardInterrupt):
        compare(recipe, tmp_path / "out", **options)
    assert not (tmp_path / "out" / "compare.json").exists()
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 3
    count_trainings.n = count_trainings.stop_at = 0
    content = compare(recipe, tmp_path / "out", **options)
    assert count_trainings.n == 3
    whole = [run for run in compared.runs if (run["seed"], run["size"]) == (0, "")]
    assert without_times(content["runs"]) == without_times(whole)


def test_what_is_done_is_not_done_again(compared, recipe, tmp_path, no_picture, count_trainings):
    """Nor where seeds, methods or sizes are added; and what is left out is left out."""
    folder = shutil.copytree(compared.folder, tmp_path / "out")

    def trainings(**options):
        count_trainings.n = 0
        content = compare(recipe, folder, **({"progress": False} | options))
        return count_trainings.n, content

    n, content = trainings(seeds=2, methods=METHODS, sizes=SIZES)
    assert n == 0
    assert content["runs"] == compared.runs
    assert content["summary"] == compared.summary
    n, content = trainings(seeds=1, methods=["joint"])
    assert n == 0
    assert [run["method"] for run in content["runs"]] == ["alone", "alone", "joint"]
    assert {row["n"] for row in content["summary"]} == {1}
    n, content = trainings(seeds=2, methods=["joint", "pcgrad"])
    assert (n, len(content["runs"])) == (2, 8)
    n, content = trainings(seeds=3, methods=["joint"])
    assert (n, len(content["runs"])) == (3, 9)
    assert {row["n"] for row in content["summary"]} == {3}
    n, content = trainings(seeds=1, methods=["joint"], sizes=["qa=0.5", "ner=0.5"])
    assert (n, len(content["runs"])) == (3, 6)
    assert trainings(seeds=2, methods=METHODS, sizes=SIZES)[1]["summary"] == compared.summary


def test_blanks_in_methods_and_sizes_make_no_difference(
    compared, recipe, tmp_path, no_picture, no_training
):
    folder = shutil.copytree(compared.folder, tmp_path / "out")
    sizes = [" qa = 0.5 ", "qa=0.5"]
    options = {"seeds": 1, "methods": ["joint", " joint "], "sizes": sizes, "progress": False}
    content = compare(recipe, folder, **options)
    assert {row["method"] for row in content["summary"]} == {"alone", "joint"}
    assert {run["size"] for run in content["runs"]} == {"qa=0.5"}


@pytest.mark.parametrize(
    "content",
    ["", '{"size": ""', "[]", "{}", b"\xff", "another run's", "no scores", "a score in words"],
)
def test_a_broken_run_is_named_before_another_is_made(
    compared, recipe, tmp_path, no_picture, no_training, content
):
    folder = shutil.copytree(compared.folder, tmp_path / "out")
    broken, other = sorted((folder / "runs").glob("all-seed0-joint-*")) + sorted(
        (folder / "runs").glob("all-seed1-joint-*")
    )
    if content == "another run's":
        content = other.read_bytes()
    if content == "no scores":
        content = json.dumps(json.loads(broken.read_text()) | {"test": None})
    if content == "a score in words":
        content = broken.read_text().replace('"exact_match": ', '"exact_match": "x", "": ')
    for run in (folder / "runs").glob("all-seed0-alone-*"):
        run.unlink()
    broken.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ModelError, match="broken") as error:
        compare(recipe, folder, seeds=1, methods=["joint"], progress=False)
    assert str(broken) in str(error.value)
    assert "delete it" in str(error.value)


def test_runs_without_their_recipe_are_refused(compared, recipe, tmp_path, no_training):
    folder = shutil.copytree(compared.folder, tmp_path / "out")
    (folder / "recipe.toml").unlink()
    before = contents(folder)
    with pytest.raises(ConfigError, match=r"holds runs, but not the recipe(.|\n)*give another"):
        compare(recipe, folder, seeds=1, methods=["joint"], progress=False)
    assert contents(folder) == before


def test_another_recipe_is_refused(compared, recipe, tmp_path, no_training):
    folder = shutil.copytree(compared.folder, tmp_path / "out")
    before = contents(folder)
    for other in (
        replace(recipe, train=recipe.train | {"epochs": 3}),
        replace(recipe, seed=1),
        with_size(recipe, "qa=0.5"),
    ):
        with pytest.raises(ConfigError, match="had another recipe"):
            compare(other, folder, seeds=1, progress=False)
    assert contents(folder) == before


def test_a_folder_of_other_files_is_refused_and_nothing_is_lost(recipe, tmp_path, no_training):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    before = contents(tmp_path)
    for folder in (tmp_path / "mine", tmp_path / "mine" / "thesis.txt"):
        with pytest.raises(ConfigError) as error:
            compare(recipe, folder, seeds=1, progress=False)
        assert str(folder) in str(error.value)
    assert contents(tmp_path) == before


def test_a_run_of_mtl_train_is_other_files(recipe, tmp_path, no_training, no_curves):
    one_epoch = replace(recipe, train=recipe.train | {"epochs": 1, "rounds": 1})
    run_recipe(one_epoch, tmp_path / "run", progress=False)
    before = contents(tmp_path / "run")
    with pytest.raises(ConfigError, match="holds other files"):
        compare(one_epoch, tmp_path / "run", seeds=1, progress=False)
    assert contents(tmp_path / "run") == before


# --- said before anything is trained --------------------------------------------------------------


def refused(recipe, folder, kind=ConfigError, **options):
    """What is said; nothing is written either, so that the next try finds no other recipe."""
    with pytest.raises(kind) as error:
        compare(recipe, folder / "out", **({"seeds": 1, "progress": False} | options))
    assert not (folder / "out").exists()
    return str(error.value)


def test_one_task_is_too_few(recipe, tmp_path, no_training):
    one = replace(recipe, tasks={"ner": recipe.tasks["ner"]})
    assert "at least two tasks" in refused(one, tmp_path)


def test_stages_are_refused(recipe, tmp_path, no_training):
    staged = replace(recipe, stages=[{"tasks": ["ner"]}, {"tasks": ["qa"]}])
    assert "stages cannot be compared" in refused(staged, tmp_path)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("pcgrd", 'did you mean "pcgrad"'),
        ("Alternatig", 'did you mean "alternating"'),
        ("uncertanty", 'did you mean "uncertainty"'),
        ("", "''"),
        ("(c=1)", "'(c=1)'"),
        ("gradnorm(alpha=1.5", "'gradnorm(alpha=1.5'"),
        ("gradnorm(alpha)", "written like CAGrad(c=0.4)"),
        ("gradnorm(alpha=1.5))", "written like CAGrad(c=0.4)"),
        ("gradnorm(alpha=-1)", "0 or more"),
        ("gradnorm(alpha='x')", "gradnorm"),
        ("gradnorm(beta=1.5)", "use one of alpha"),
        ("dwa(temperature=0)", "above 0"),
        ("", "unknown method of sharing"),
        ("train", "unknown method of sharing"),  # a word of the error about an aggregation
        ("joint(a=1)", "'joint(a=1)'"),
        ("pcgrad(a=1)", "aggregation_options.a"),
        ("fixed(weights={ner=1.0})", "set train.loss_weights"),
    ],
)
def test_what_is_no_method(recipe, tmp_path, no_training, method, words):
    assert words in refused(recipe, tmp_path, methods=["joint", method])


def test_no_method_at_all(recipe, tmp_path, no_training):
    assert "no method" in refused(recipe, tmp_path, methods=[])


def test_an_aggregator_of_torchjd_says_what_it_lacks(recipe, tmp_path, no_training):
    pytest.importorskip("torchjd")
    assert "cannot make CAGrad" in refused(recipe, tmp_path, methods=["CAGrad"])
    assert "UPGrad" in refused(recipe, tmp_path, methods=["UPGrd"])


def test_methods_that_differ_in_capitals_only(recipe, tmp_path, no_training):
    """Both exist, and a file system may take the files of their runs for one."""
    pytest.importorskip("torchjd")
    words = refused(recipe, tmp_path, methods=["pcgrad", "joint", "PCGrad"])
    assert "capital letters only\n  found: pcgrad, PCGrad" in words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("qaa=0.5", 'did you mean "qa"'),
        ("0.5", "unknown task"),
        ("ner=0.5,topic=0.5", "'topic=0.5'"),
        *((f"qa={share}", f"'qa={share}'") for share in ("0", "1.5", "-0.5", "nan", "half", "")),
        ("qa", "'qa'"),
        ("ner=0.5,qa=2", "'qa=2'"),
        ("ner=0.50", "two sizes mean the same\n  found: ner=0.5, ner=0.50"),
        ("qa=0.5,qa=0.3", "names a task twice\n  found: 'qa=0.5,qa=0.3'"),
    ],
)
def test_what_is_no_size(recipe, tmp_path, no_training, size, words):
    assert words in refused(recipe, tmp_path, sizes=["ner=0.5", size])


@pytest.mark.parametrize("seeds", [0, -1, 1001, 10**20, 1.0, "2"])
def test_what_is_no_number_of_seeds(recipe, tmp_path, no_training, seeds):
    assert f"from 1 to 1,000\n  found: {seeds}" in refused(recipe, tmp_path, seeds=seeds)


@pytest.mark.parametrize("settings", [{"methods": "joint"}, {"sizes": "qa=0.5"}, {"sizes": [0.5]}])
def test_names_come_in_a_list(recipe, tmp_path, no_training, settings):
    assert "must be a list of names" in refused(recipe, tmp_path, **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss_weights": {"ner": -1.0}}, "'ner' must be a finite number, 0 or more"),
        ({"loss_weights": {"qa": float("nan")}}, "'qa' must be a finite number, 0 or more"),
        ({"loss_weights": {"nre": 1.0}}, 'did you mean "ner"'),
        ({"epochs": 0}, "train.epochs"),
        ({"freeze": ["heads.nre"]}, 'did you mean "heads.ner"'),
        ({"freeze": ["heads.qa"]}, "'heads.qa'"),  # which the model of NER alone lacks
    ],
)
def test_what_some_training_would_refuse(recipe, tmp_path, no_training, settings, words):
    assert words in refused(replace(recipe, train=recipe.train | settings), tmp_path)


def test_a_method_that_compares_gradients_needs_shared_parameters(recipe, tmp_path, no_training):
    frozen = replace(recipe, train=recipe.train | {"freeze": ["encoder"]})
    assert "no shared parameter" in refused(frozen, tmp_path, methods=["joint", "pcgrad"])


def test_more_private_layers_than_layers(recipe, tmp_path, no_training):
    assert "private_layers" in refused(replace(recipe, model={"private_layers": 2}), tmp_path)


def test_without_test_data_there_is_nothing_to_compare(recipe, tmp_path, no_training):
    tasks = {name: replace(task, toy_held_out=0) for name, task in recipe.tasks.items()}
    assert "no test data" in refused(replace(recipe, tasks=tasks), tmp_path, DataError)


def test_after_a_slip_the_same_folder_will_do(recipe, tmp_path, no_picture):
    refused(replace(recipe, train=recipe.train | {"loss_weights": {"nre": 1.0}}), tmp_path)
    compare(recipe, tmp_path / "out", seeds=1, methods=["joint"], progress=False)
    assert (tmp_path / "out" / "compare.json").exists()


# --- methods and sizes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("alternating", {"steps": "alternating"}),
        ("joint", {"steps": "joint"}),
        ("sampled", {"steps": "sampled"}),
        ("fixed", {"steps": "sampled", "weighting": "fixed"}),
        ("uncertainty", {"steps": "sampled", "weighting": "uncertainty"}),
        ("gradnorm", {"steps": "joint", "weighting": "gradnorm"}),
        ("gradnorm(alpha=0.5)", {"weighting_options": {"alpha": 0.5}}),
        ("pcgrad", {"steps": "joint", "aggregation": "pcgrad"}),
        ("pcgrad()", {"aggregation_options": {}}),
    ],
)
def test_what_a_method_sets(recipe, method, expected):
    """Steps are the recipe's where the method can do with them, and nothing else is touched."""
    own = {"steps": "sampled", "weighting": "random", "aggregation": "pcgrad"}
    settings = method_settings(method, replace(recipe, train=recipe.train | own))
    assert expected.items() <= settings.items()
    ours = {"steps", "loss_weights", "weighting", "weighting_options"}
    ours |= {"aggregation", "aggregation_options"}
    rest = {key: value for key, value in settings.items() if key not in ours}
    assert rest == {key: value for key, value in recipe.train.items() if key not in ours}
    assert settings.get("weighting", "fixed") == expected.get("weighting", "fixed") or "(" in method
    assert settings.get("aggregation", "sum") != "pcgrad" or "pcgrad" in method


def test_options_of_an_aggregator_of_torchjd(recipe):
    pytest.importorskip("torchjd")
    settings = method_settings("CAGrad(c=0.4)", recipe)
    assert settings["aggregation"] == "CAGrad"
    assert settings["aggregation_options"] == {"c": 0.4}
    assert settings["steps"] == "joint"


def test_loss_weights_stay_with_the_methods_that_use_them(recipe):
    weighted = replace(recipe, train=recipe.train | {"loss_weights": {"ner": 3.0}})
    for method in ("fixed", "alternating", "joint", "pcgrad"):
        assert method_settings(method, weighted)["loss_weights"] == {"ner": 3.0}
    for method in ("uncertainty", "dwa", "gradnorm", "random"):
        assert "loss_weights" not in method_settings(method, weighted)


def test_all_else_is_as_in_the_recipe(recipe, tmp_path, no_picture, monkeypatch):
    """But for the loss weights alone: with one task they would only change its learning rate."""
    trained = []
    monkeypatch.setattr(MODULE, "train", watched(trained))
    weights = {"ner": 3.0, "qa": 2.0}
    weighted = replace(recipe, train=recipe.train | {"loss_weights": weights, "beta2": 0.9})
    methods = ["joint", "uncertainty", "pcgrad"]
    compare(weighted, tmp_path / "out", seeds=1, methods=methods, progress=False)
    assert len(trained) == 4 + 3  # uncertainty weighs the losses of alternating steps too
    as_given = TrainConfig(**weighted.train)
    alone = replace(as_given, loss_weights={})
    longer = replace(alone, rounds=4)
    assert [seen.config for seen in trained] == [
        *(alone, alone, longer, longer),
        replace(as_given, steps="joint"),
        replace(as_given, loss_weights={}, weighting="uncertainty"),
        replace(as_given, steps="joint", aggregation="pcgrad"),
    ]


def test_a_size_of_a_dataset_that_tasks_share():
    recipe = with_size(load_recipe("jsonl", SHARED), "ner=0.3")
    assert recipe.datasets["records"].share == 0.3
    with pytest.warns(DataWarning):  # six texts do not have all classes
        assert {len(task.dataset.train) for task in build_tasks(recipe)} == {6}


# --- share in recipes -----------------------------------------------------------------------------


def train_texts(*settings, recipe="practical7", task=0):
    tasks = build_tasks(
        load_recipe(recipe, [*TINY, *settings] if recipe == "practical7" else settings)
    )
    return [str(example) for example in tasks[task].dataset.train]


@pytest.mark.parametrize("share", ["0", "0.0", "-0.1", "1.01", "nan", "inf"])
@pytest.mark.parametrize("where", ["tasks.qa", "datasets.records"])
def test_a_share_lies_above_0_and_at_most_at_1(where, share):
    name, settings = ("practical7", TINY) if where == "tasks.qa" else ("jsonl", SHARED)
    with pytest.raises(ConfigError, match=rf"{where}.share must be above 0 and at most 1"):
        load_recipe(name, [*settings, f"{where}.share={share}"])


@pytest.mark.parametrize("share", ["'half'", "true", "[0.5]"])
def test_a_share_is_a_number(share):
    with pytest.raises(ConfigError, match="share must be a number"):
        load_recipe("practical7", [f"tasks.qa.share={share}"])


def test_a_share_of_a_task_that_uses_a_shared_dataset_has_no_effect_there():
    with pytest.raises(ConfigError, match=r"set datasets\.records\.share"):
        load_recipe("jsonl", [*SHARED, "tasks.ner.share=0.5"])


def test_a_share_is_drawn_by_the_seed_from_the_training_split_alone():
    whole, half = train_texts(task=1), train_texts("tasks.qa.share=0.5", task=1)
    assert (len(whole), len(half)) == (60, 30)
    assert set(half) < set(whole)
    assert half != whole[:30]
    assert half == train_texts("tasks.qa.share=0.5", task=1)
    assert half != train_texts("tasks.qa.share=0.5", "seed=1", task=1)
    tasks = build_tasks(load_recipe("practical7", [*TINY, "tasks.qa.share=0.5"]))
    assert [len(task.dataset.train) for task in tasks] == [40, 30]
    assert {len(task.dataset.split(s)) for task in tasks for s in ("validation", "test")} == {10}


@pytest.mark.parametrize(
    ("share", "limit", "n"),
    [(1.0, 0, 60), (0.5, 10, 10), (0.5, 50, 30), (0.001, 0, 1), (1, 7, 7), (0.99, 0, 59)],
)
def test_of_share_and_limit_the_smaller_holds(share, limit, n):
    settings = [f"tasks.qa.share={share}", f"tasks.qa.limit={limit}"]
    assert len(train_texts(*settings, task=1)) == n


def test_a_share_of_an_own_file_leaves_what_is_held_out(tmp_path):
    mtl.write_jsonl(
        [mtl.TextExample(f"item {i} fell", label="ab"[i % 2]) for i in range(100)],
        tmp_path / "own.jsonl",
    )
    own = [*SHARED, f"datasets.records.train={tmp_path / 'own.jsonl'}"]
    settings = [*own, "tasks.ner.toy=ner", "tasks.ner.toy_train=10", "tasks.ner.toy_held_out=5"]
    whole, part = (
        build_tasks(load_recipe("jsonl", [*settings, f"datasets.records.share={share}"]))[0].dataset
        for share in (1.0, 0.25)
    )
    assert (len(whole.train), len(part.train)) == (80, 20)
    assert list(part.test) == list(whole.test)
    assert {e.text for e in part.train} < {e.text for e in whole.train}


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_a_share_is_written_and_read_back(tmp_path, share):
    for name, where in (("practical7", "tasks.qa"), ("jsonl", "datasets.records")):
        recipe = load_recipe(name, [f"{where}.share={share}"])
        (tmp_path / "again.toml").write_text(recipe.to_toml())
        again = load_recipe(tmp_path / "again.toml")
        assert again == recipe
        assert f"share = {share}" in recipe.to_toml()


# --- the command ----------------------------------------------------------------------------------


def tiny_settings():
    return ["--set", *TINY, "train.epochs=1", "train.rounds=1"]


def test_json_on_stdout_progress_on_stderr_and_the_default_folder(mtl_, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["compare", "practical7", *tiny_settings(), "--seeds", 1, "--json"]
    status, out, err = mtl_(*command, "--methods", "joint", "pcgrad", "--sizes", "qa=0.5")
    folder = Path("runs", "compare-practical7", "1")
    content = strict_json(out)
    assert status == 0
    assert content == strict_json((folder / "compare.json").read_text())
    words = "mtl compare practical7 --set .* --seeds 1 --json --methods joint pcgrad --sizes qa=0.5"
    assert re.fullmatch(words, content["command"])
    assert f"`{content['command']}`" in (folder / "compare.md").read_text()
    assert [run["method"] for run in content["runs"]] == ["alone", "alone", "joint", "pcgrad"]
    assert {run["size"] for run in content["runs"]} == {"qa=0.5"}
    assert "4 runs" in err
    assert "[4/4] qa=0.5, seed 0, together, pcgrad, 1 rounds an epoch" in err
    assert re.search(r"about \d+ (min|s) left", err)


def test_without_json_the_tables_and_the_way_on(mtl_, compared, tmp_path):
    folder = shutil.copytree(compared.folder, tmp_path / "out")
    command = ["compare", folder / "recipe.toml", "--output", folder, "--seeds", 2]
    status, out, err = mtl_(*command, "--methods", *METHODS, "--sizes", "", "qa=0.5")
    assert status == 0
    assert "24 runs, 24 of them done already" in err
    assert str(folder) in out
    (row,) = [r for r in compared.summary[:3] if r["method"] == "joint"]
    assert f"{row['mean']:.3f} ±" in out
    assert "One shared model / all separate models:" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["practical8"], 'did you mean "practical7"'),
        (["practical7", "--methods", "pcgrd"], 'did you mean "pcgrad"'),
        (["practical7", "--methods", "gradnorm(alpha)"], "CAGrad(c=0.4)"),
        (["practical7", "--sizes", "qa=1.5"], "'qa=1.5'"),
        (["practical7", "--sizes", "topic=0.5"], "use one of ner, qa"),
        (["practical7", "--seeds", "0"], "--seeds must be a whole number"),
        (["practical7", "--seeds", "few"], "invalid int value"),
        (["practical7", "--set", "train.loss_weights={ner=-1.0}"], "finite number, 0 or more"),
        (["practical7", "--set", "train.loss_weights={ner=nan}"], "finite number, 0 or more"),
        (["practical7", "--set", "model.private_layers=4"], "private_layers"),
        (["practical7", "--set", "model.privat_layers=1"], 'did you mean "private_layers"'),
        (["practical7", "--methds", "joint"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_exits_with_2(mtl_, tmp_path, monkeypatch, no_training, arguments, words):
    monkeypatch.chdir(tmp_path)
    status, out, err = mtl_("compare", *arguments, "--set", *TINY[:4])
    assert (status, out) == (2, "")
    assert words in err
    assert not list(tmp_path.iterdir())


def test_help_lists_what_there_is(mtl_):
    status, out, _ = mtl_("--help")
    assert status == 0
    assert "compare" in out
    status, out, _ = mtl_("compare", "--help")
    assert status == 0
    for option in ("--seeds", "--methods", "--sizes", "--output", "--json", "--set"):
        assert option in out
    for method in ("alternating", "joint", "sampled", "fixed", "uncertainty", "dwa", "pcgrad"):
        assert method in out


def test_what_the_stop_of_a_command_says(mtl_, tmp_path, count_trainings):
    count_trainings.stop_at = 2
    command = ["compare", "practical7", *tiny_settings(), "--seeds", 1, "--output", tmp_path / "o"]
    status, out, err = mtl_(*command)
    assert (status, out) == (130, "")
    assert "[1/5] all data, seed 0, ner alone" in err
    assert "stopped" in err


@pytest.mark.parametrize("content", [None, "# mtl compare\ntask,size\nner,all\n"])
def test_a_summary_that_cannot_be_read_names_the_file(tmp_path, content):
    path = tmp_path / "compare.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_comparison(path)
    assert str(path) in str(caught.value)
