"""Comparing: the same data and the promised steps for all, what is written, going on again."""

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import comparing
import pytest
from comparing import METHODS, MODULE, SEEDS, SHARED, SIZES, contents, strict_json, watched

import mtl
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import ConfigError, ModelError
from mtl.experiments.compare import compare
from mtl.experiments.plan import with_size
from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe
from mtl.experiments.summary import comparison_tables, read_comparison, write_summary
from mtl.tables import format_markdown

# pytest looks for a fixture by its name in this module.
count_trainings = comparing.count_trainings
no_picture = comparing.no_picture
no_training = comparing.no_training
recipe = comparing.recipe

T_OF_1_DEGREE = 12.706  # Student's t, two-sided 95%
TIMES = {"train_seconds", "inference_seconds"}


@pytest.fixture(scope="module")
def compared(recipe, tmp_path_factory):
    """A comparison that nobody changes, and what was trained for it."""
    folder, trained = tmp_path_factory.mktemp("compared") / "out", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MODULE, "train", watched(trained))
        content = compare(recipe, folder, seeds=2, methods=METHODS, sizes=SIZES, progress=False)
    return SimpleNamespace(folder=folder, trained=trained, **content)


def without_times(runs):
    return [{key: value for key, value in run.items() if key not in TIMES} for run in runs]


# --- what is trained ------------------------------------------------------------------------------


def test_every_run_is_there_once(compared):
    """Alone with two budgets, 2 and 4 rounds per epoch; together once with each method."""
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
    joint = replace(recipe, seed=1, train=recipe.train | {"sampling": "joint"})
    metrics = run_recipe(joint, tmp_path / "run", progress=False)
    (run,) = [r for r in compared.runs if (r["seed"], r["method"], r["size"]) == (1, "joint", "")]
    for split in ("validation", "test", "test_unseen"):
        assert metrics[split] == run[split]


@pytest.mark.parametrize("settings", [{"patience": 1}, {"stop_at": 1e-9, "decay_ratio": 0.25}])
def test_no_run_ends_early(recipe, tmp_path, no_picture, settings):
    """All make all their steps, or the budgets would differ."""
    settings = {"epochs": 4, "rounds": 1} | settings
    impatient = replace(recipe, train=recipe.train | settings)
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
    assert "One seed cannot tell methods apart" in tables


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
    with pytest.raises(ConfigError, match=r"holds runs, but not their recipe(.|\n)*give another"):
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
        with pytest.raises(ConfigError, match="had a different recipe"):
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
