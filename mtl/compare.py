"""Does sharing help? Every task alone, and all together, on the same examples, over several seeds.

For each seed and each size of the data:

    alone       a model for each task, which knows the words of its own texts only
    together    one model for all tasks, once with each method of sharing

Two budgets are compared. "per task": a model alone makes as many steps as its task has in the
shared training. "total": it makes as many as the whole shared training. An epoch has
`train.rounds` rounds, or as many as the largest dataset has batches, whatever share of it is used.
Each run keeps the epoch that was best on validation and reads its test data once; a difference is
paired, seed by seed.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .devices import choose_device
from .errors import ConfigError, DataError, ModelError, suggest
from .experiment import build_model, build_tasks, cache_folder, score_split
from .files import write_atomically
from .inference import predict_examples
from .metrics import interval
from .model import MultiTaskModel
from .plots import plot_comparison
from .recipe import Recipe
from .run_folder import RECIPE_FILE, check_same_recipe
from .tables import format_markdown, format_table
from .tasks import Task
from .training.aggregation import Aggregation, build_aggregation
from .training.config import TrainConfig, check_training
from .training.loop import train
from .training.sampling import SAMPLERS
from .training.weighting import FixedWeighting, Weighting

ALONE = "alone"
TEXT_COLUMNS = ("task", "size", "method", "budget", "metric")
BUDGETS = ("per task", "total")
RUNS, RESULT, SUMMARY, TABLE, PICTURE = (
    "runs",
    "compare.json",
    "compare.csv",
    "compare.md",
    "compare.png",
)
MEASURED = ("data", "measured", "sharing.csv")  # a comparison that comes with the package


@dataclass(frozen=True)
class Plan:
    """One training: with which share of the data, seed and method, for how many rounds an epoch.

    `task` is the one that is trained alone; empty for all together.
    """

    size: str
    seed: int
    method: str
    task: str
    rounds: int

    @property
    def file(self) -> str:
        parts = [self.size or "all", f"seed{self.seed}", self.method, self.task, str(self.rounds)]
        return re.sub(r"[^\w.=-]+", "_", "-".join(filter(None, parts))) + ".json"

    def __str__(self) -> str:
        what = f"{self.task} alone" if self.task else f"together, {self.method}"
        return f"{self.size or 'all data'}, seed {self.seed}, {what}, {self.rounds} rounds an epoch"


def compare(
    recipe: Recipe,
    output: str | Path,
    *,
    seeds: int = 5,
    methods: Sequence[str] = (FixedWeighting.name,),
    sizes: Sequence[str] = (),
    command: str = "",
    progress: bool = True,
) -> dict[str, Any]:
    """Train, test and compare; a comparison that was stopped goes on from its finished runs.

    Args:
        recipe: of two or more tasks, with one stage.
        output: a folder for `compare.json`, `compare.csv` (the summary), `compare.md`,
            `compare.png`, and every run's result.
        seeds: how many, counted up from the recipe's.
        methods: how the tasks share steps, losses or gradients, each with all else as in the
            recipe: `alternating`, `joint`, `sampled`; a weighting (`fixed`, `uncertainty`, ...); an
            aggregation (`pcgrad`, `UPGrad`, ...), with options in brackets: `CAGrad(c=0.4)`. One
            that needs joint steps gets them.
        sizes: the data to train on, such as `qa=0.1`: this share of that task's examples, and all
            of the others'; several shares with commas between.
        command: what makes the same comparison again; it is kept with the results.
        progress: say what runs, and how long it will take, on stderr.

    Returns:
        what `compare.json` holds: above all `runs`, `summary` and `cost`.

    Raises:
        ConfigError: fewer than two tasks, an unknown method, task or share; a folder that holds
            something else.
        DataError: no test data. All of it before anything is trained or written.
        ModelError: the file of a finished run is broken.
    """
    if len(recipe.tasks) < 2:
        raise ConfigError(
            "a comparison needs at least two tasks",
            found=", ".join(recipe.tasks),
            fix="give a recipe with several, such as practical7",
        )
    if recipe.stages:
        raise ConfigError("a recipe with stages cannot be compared", fix="take its stages out")
    if not methods:
        raise ConfigError("there is no method to compare", fix="name one, such as fixed")
    if seeds < 1:
        raise ConfigError("--seeds must be at least 1", found=str(seeds))
    recipe = replace(recipe, train=recipe.train | {"patience": 0})  # all runs make all their steps
    methods, sizes = (["".join(name.split()) for name in names] for names in (methods, sizes))
    settings = {method: method_settings(method, recipe) for method in dict.fromkeys(methods)}
    sizes = list(dict.fromkeys(sizes or [""]))
    for size in sizes:
        with_size(recipe, size)
    config = TrainConfig(**recipe.train)
    tasks = build_tasks(recipe)
    _check_trainings(recipe, tasks, settings)
    output = Path(output)
    _prepare(output, recipe)
    longest = max(len(task.dataset.train) for task in tasks)
    rounds = config.rounds or math.ceil(longest / config.batch_size)
    n_datasets = len({id(task.dataset) for task in tasks})
    total = {
        method: rounds * (1 if SAMPLERS[changed["steps"]].joint else n_datasets)
        for method, changed in settings.items()
    }
    plans = list(_plans(recipe, seeds, sizes, rounds, total))
    runs = list(_run_all(plans, recipe, settings, output, progress))
    content = {
        "recipe": recipe.name,
        "command": command,
        "device": str(choose_device(config.device)),
        "runs": runs,
        "summary": summarise(runs, tasks, rounds, total),
        "cost": costs(runs, rounds, total),
    }
    write_atomically(output / RESULT, json.dumps(content, indent=1) + "\n")
    write_summary(output / SUMMARY, content["summary"], command)
    tables = comparison_tables(content["summary"], content["cost"], format_markdown)
    heading = f"`{command}`\n\n" if command else ""
    write_atomically(output / TABLE, f"{heading}{tables}\n")
    plot_comparison(content["summary"]).savefig(output / PICTURE, dpi=120)
    return content


def method_settings(method: str, recipe: Recipe) -> dict[str, Any]:
    """The `train` section of a recipe for one method of sharing.

    Raises:
        ConfigError: an unknown method (the nearest known one is named) or option.
    """
    match = re.fullmatch(r"([\w-]+)(?:\((.*)\))?", method.strip())
    name, inner = match.groups(default="") if match else (method, "")
    try:
        options = tomllib.loads(f"options = {{{inner}}}")["options"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            "the options of a method are written like CAGrad(c=0.4)",
            found=repr(method),
            fix=str(error),
        ) from None
    own = {"weighting", "weighting_options", "aggregation", "aggregation_options"}
    train = {key: value for key, value in recipe.train.items() if key not in own}
    train.setdefault("steps", TrainConfig().steps)
    if name in SAMPLERS and not options:
        return train | {"steps": name}
    if name in Weighting.kinds:
        if name != FixedWeighting.name:
            train.pop("loss_weights", None)
        train |= {"weighting": name, "weighting_options": options}
        needs_joint_steps = Weighting.kinds[name].needs_joint_steps
    else:
        try:
            aggregation = build_aggregation(name, options, recipe.seed)
        except ConfigError as error:
            if name.lower() in str(error.faults[0].what).lower():
                raise  # known, but not like this
            known = [*SAMPLERS, *Weighting.kinds, *Aggregation.kinds]
            raise ConfigError(
                "unknown method of sharing",
                found=repr(method),
                fix=f"{suggest(name, known)}; or an aggregator of TorchJD, such as UPGrad",
            ) from None
        train |= {"aggregation": name, "aggregation_options": options}
        needs_joint_steps = aggregation.needs_joint_steps
    train |= {"steps": "joint"} if needs_joint_steps else {}
    TrainConfig(**train)
    return train


def with_size(recipe: Recipe, size: str) -> Recipe:
    """The recipe with a share of some tasks' data: `qa=0.1`, or `ner=0.5,qa=0.1`."""
    for part in filter(None, size.split(",")):
        name, _, number = part.strip().partition("=")
        if name not in recipe.tasks:
            raise ConfigError(
                "--sizes names an unknown task", found=repr(part), fix=suggest(name, recipe.tasks)
            )
        try:
            share = float(number)
        except ValueError:
            share = math.nan
        if not 0 < share <= 1:
            raise ConfigError(
                "--sizes takes shares above 0 and at most 1", found=repr(part), fix="such as qa=0.1"
            )
        task = recipe.tasks[name]
        if task.has_own_data:
            tasks = recipe.tasks | {name: replace(task, share=share)}
            recipe = replace(recipe, tasks=tasks)
        else:
            data = {task.data: replace(recipe.datasets[task.data], share=share)}
            recipe = replace(recipe, datasets=recipe.datasets | data)
    return recipe


def _check_trainings(
    recipe: Recipe, tasks: list[Task], settings: Mapping[str, dict[str, Any]]
) -> None:
    """Raise at once what one of the trainings would raise about its settings."""
    if not any(task.labelled(task.dataset.test) for task in tasks):
        raise DataError("there is no test data to compare on", fix="give a task a test split")
    together = build_model(recipe, tasks)
    for train_settings in settings.values():
        check_training(together, tasks, TrainConfig(**train_settings))
    for task in tasks:
        alone = TrainConfig(**_settings_alone(recipe))
        check_training(build_model(recipe, [task]), [task], alone)


def _settings_alone(recipe: Recipe) -> dict[str, Any]:
    """The `train` section for a model of a single task."""
    train_settings = method_settings(FixedWeighting.name, recipe) | {"steps": "alternating"}
    train_settings.pop("loss_weights", None)
    return train_settings


def _prepare(output: Path, recipe: Recipe) -> None:
    """Make the folder; ConfigError if it holds anything but runs of this comparison."""
    path = output / RECIPE_FILE
    if output.exists() and not output.is_dir():
        raise ConfigError("the output is a file, not a folder", path=output)
    if output.is_dir() and any(output.iterdir()) and not (output / RUNS).is_dir():
        raise ConfigError(
            "the output folder holds other files", path=output, fix="give an empty folder"
        )
    check_same_recipe(path, recipe.to_toml())
    try:
        (output / RUNS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            "the output folder cannot be made", path=output, found=str(error)
        ) from None
    write_atomically(path, recipe.to_toml())


def _plans(
    recipe: Recipe, seeds: int, sizes: Sequence[str], rounds: int, total: Mapping[str, int]
) -> Iterator[Plan]:
    """All runs, seed by seed, so that a table over fewer seeds is there early."""
    alone = dict.fromkeys([rounds, *total.values()])
    for seed in range(recipe.seed, recipe.seed + seeds):
        for size in sizes:
            for n in alone:
                for task in recipe.tasks:
                    yield Plan(size, seed, ALONE, task, n)
            for method in total:
                yield Plan(size, seed, method, "", rounds)


def _run_all(
    plans: Sequence[Plan],
    recipe: Recipe,
    settings: Mapping[str, dict[str, Any]],
    output: Path,
    progress: bool,
) -> Iterator[dict[str, Any]]:
    """The result of every plan, in order; those that are done already are read."""
    seconds: list[float] = []
    todo = [plan for plan in plans if not (output / RUNS / plan.file).exists()]
    if progress:
        done = f", {len(plans) - len(todo)} of them done already" if len(todo) < len(plans) else ""
        tqdm.write(f"{len(plans)} runs{done}", file=sys.stderr)
    for plan in plans:
        path = output / RUNS / plan.file
        if not path.exists():
            started = time.perf_counter()
            result = _run(plan, recipe, settings)
            write_atomically(path, json.dumps(result) + "\n")
            seconds.append(time.perf_counter() - started)
            if progress:
                left = sum(seconds) / len(seconds) * (len(todo) - len(seconds)) / 60
                what = f"{plan}: {seconds[-1]:.0f} s; about {left:.0f} min left"
                tqdm.write(f"[{len(seconds)}/{len(todo)}] {what}", file=sys.stderr)
        yield _read_result(path, plan)


def _read_result(path: Path, plan: Plan) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(result, dict) and asdict(plan).items() <= result.items()):
            raise ValueError("it is not of this run")
        return result
    except ValueError as error:
        raise ModelError(
            "the result of a run is broken", path=path, found=str(error), fix="delete it"
        ) from None


def _run(plan: Plan, recipe: Recipe, settings: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Train one model, score it, and time its predictions."""
    recipe = replace(with_size(recipe, plan.size), seed=plan.seed)
    if plan.task:
        train_settings = _settings_alone(recipe) | {"rounds": plan.rounds}
        recipe = replace(recipe, tasks={plan.task: recipe.tasks[plan.task]}, train=train_settings)
    else:
        recipe = replace(recipe, train=settings[plan.method] | {"rounds": plan.rounds})
    tasks = build_tasks(recipe)
    model = build_model(recipe, tasks)
    config = TrainConfig(seed=recipe.seed, **recipe.train)
    history = train(model, tasks, config, cache=cache_folder(), progress=False)
    test = score_split(model, tasks, "test")
    return {
        **asdict(plan),
        "steps": history.rounds[-1].step,
        "examples": history.rounds[-1].examples,
        "train_examples": {task.name: len(task.labelled(task.dataset.train)) for task in tasks},
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_seconds": round(history.seconds, 2),
        "inference_seconds": round(_time_predictions(model, tasks), 3),
        "best_epoch": history.best_epoch,
        "validation": score_split(model, tasks, "validation"),
        "test": test,
        "test_unseen": score_split(model, tasks, "test_unseen"),
    }


def _time_predictions(model: MultiTaskModel, tasks: Sequence[Task]) -> float:
    """Seconds to predict the test split of every dataset, one pass for the tasks that share one."""
    datasets = {id(task.dataset): task.dataset for task in tasks}
    started = time.perf_counter()
    for dataset in datasets.values():
        names = [task.name for task in tasks if task.dataset is dataset]
        predict_examples(model, dataset.test, names)
    return time.perf_counter() - started


def summarise(
    runs: Sequence[dict[str, Any]], tasks: Sequence[Task], rounds: int, total: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Over the seeds: the mean test score of each task, and its difference from the model alone.

    Args:
        runs: results of all runs.
        tasks: which tell their main metric.
        rounds: of an epoch of the shared training.
        total: its steps in an epoch, by method.

    Returns:
        a dict for each size, budget, task and method, the models alone among them. Intervals are
        of 95% (see `mtl.metrics.interval`), None for a single seed; the difference is method minus
        alone, and `distinguishable` if its interval excludes 0. `control_rounds`, of an epoch, is
        how long the model alone trained.
    """
    metric = {t.name: t.main_metric for t in tasks}
    scores = {
        (run["size"], run["method"], name, run["rounds"], run["seed"]): found[metric[name]]
        for run in runs
        for name, found in run["test"].items()
    }
    tested = dict.fromkeys(name for run in runs for name in run["test"])
    sizes = dict.fromkeys(run["size"] for run in runs)
    seeds = dict.fromkeys(run["seed"] for run in runs)
    rows = []
    for size, budget, task in product(sizes, BUDGETS, tested):
        controls = {m: rounds if budget == BUDGETS[0] else n for m, n in total.items()}
        for method, control in {ALONE: max(controls.values()), **controls}.items():
            alone = [scores[size, ALONE, task, control, seed] for seed in seeds]
            own = [scores[size, method, task, rounds, seed] for seed in seeds]
            row = {"task": task, "size": size, "method": method, "budget": budget}
            row |= {"metric": metric[task], "n": len(seeds), "control_rounds": control}
            if method == ALONE:
                row |= _with_interval("", alone)
            else:
                row |= _with_interval("", own)
                row |= _with_interval(
                    "difference", [a - b for a, b in zip(own, alone, strict=True)]
                )
                low, high = row["difference_interval"] or (-math.inf, math.inf)
                row["distinguishable"] = low > 0 or high < 0
            rows.append(row)
    return rows


def _with_interval(what: str, values: Sequence[float]) -> dict[str, Any]:
    centre, half = interval(values)
    ends = [centre - half, centre + half] if math.isfinite(half) else None
    return {what or "mean": centre, f"{what}_interval".lstrip("_"): ends}


def costs(
    runs: Sequence[dict[str, Any]], rounds: int, total: Mapping[str, int]
) -> list[dict[str, Any]]:
    """What one shared model costs, and all separate ones together, as means over the seeds.

    The separate models are those of the budget "per task".

    Returns:
        for each size and method `parameters`, `train_seconds` and `inference_seconds` (the whole
        test data once), each as `[shared, separate]`.
    """
    rows = []
    for size, method in product(dict.fromkeys(run["size"] for run in runs), total):
        of_size = [run for run in runs if run["size"] == size]
        shared = [run for run in of_size if run["method"] == method]
        alone = [run for run in of_size if run["method"] == ALONE and run["rounds"] == rounds]
        row: dict[str, Any] = {"size": size, "method": method}
        for what in ("parameters", "train_seconds", "inference_seconds"):
            one, separate = (sum(run[what] for run in some) for some in (shared, alone))
            row[what] = [one / len(shared), separate / len(shared)]
        rows.append(row)
    return rows


def write_summary(path: Path, summary: Sequence[Mapping[str, Any]], command: str) -> None:
    """A CSV with a line for each dict of `summarise`, under the command as a comment."""
    ends = ("interval", "difference_interval")
    columns = [key for key in summary[-1] if key not in ends]  # the last is not alone
    columns += [f"{key}_{end}" for key in ends for end in ("low", "high")]
    table = io.StringIO()
    table.write(f"# {command}\n")
    writer = csv.DictWriter(table, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in summary:
        flat = {key: value for key, value in row.items() if key not in ends}
        for key in ends:
            low, high = row.get(key) or ("", "")
            flat |= {f"{key}_low": low, f"{key}_high": high}
        writer.writerow(flat)
    write_atomically(path, table.getvalue())


def read_comparison(path: str | Path | None = None) -> tuple[list[dict[str, Any]], str]:
    """The summary of a comparison from its `compare.csv`, and the command that makes it again.

    Args:
        path: of the file; by default that of practical7, which comes with the package.
    """
    file = resources.files(__package__).joinpath(*MEASURED) if path is None else Path(path)
    comment, _, text = file.read_text(encoding="utf-8").partition("\n")
    rows = []
    for line in csv.DictReader(io.StringIO(text)):
        row: dict[str, Any] = {key: line[key] for key in TEXT_COLUMNS}
        row |= {key: int(line[key]) for key in ("n", "control_rounds")}
        keys = ["mean", "interval"]
        if line["difference"]:
            keys += ["difference", "difference_interval"]
            row["distinguishable"] = line["distinguishable"] == "True"
        for key in keys:
            if key in line:
                row[key] = float(line[key])
            else:
                ends = [line[f"{key}_low"], line[f"{key}_high"]]
                row[key] = [float(end) for end in ends] if all(ends) else None
        rows.append(row)
    return rows, comment.removeprefix("# ")


def comparison_tables(
    summary: Sequence[Mapping[str, Any]],
    cost: Sequence[Mapping[str, Any]] = (),
    layout: Callable[[Sequence[str], Sequence[Sequence[Any]]], str] = format_table,
) -> str:
    """The scores, a table for each budget, and what the models cost.

    Args:
        summary, cost: of `compare.json`.
        layout: `format_table`, or `format_markdown`.
    """
    n = summary[0]["n"]
    text = [
        f"Test scores, mean of {n} seed(s) ± half a 95% confidence interval; in brackets the "
        "difference from the model alone, paired by seed; * where its interval excludes 0."
    ]
    for budget, whose in zip(BUDGETS, ("its task", "the whole shared training"), strict=True):
        rows = [row for row in summary if row["budget"] == budget]
        if budget != BUDGETS[0]:  # with joint steps all controls, and so numbers, are as above
            shortest = min(row["control_rounds"] for row in summary)
            rows = [row for row in rows if row["control_rounds"] > shortest]
        methods = list(dict.fromkeys(row["method"] for row in rows))
        if not methods:
            continue
        by_line: dict[tuple[str, str], dict[str, str]] = {}
        for row in rows:
            line = (f"{row['task']} {row['metric'].replace('_', ' ')}", row["size"] or "all data")
            by_line.setdefault(line, {})[row["method"]] = _cell(row)
        lines = [[*line, *map(cells.get, methods)] for line, cells in by_line.items()]
        text.append(f"A model alone makes as many steps as {whose}:")
        text.append(layout(["", "", *methods], lines))
    header = ["", "", "parameters", "seconds of training", "seconds of inference"]
    lines = [
        [
            row["method"],
            row["size"] or "all data",
            "{:,.0f} / {:,.0f}".format(*row["parameters"]),
            "{:.0f} / {:.0f}".format(*row["train_seconds"]),
            "{:.2f} / {:.2f}".format(*row["inference_seconds"]),
        ]
        for row in cost
    ]
    if lines:
        text.append("One shared model / all separate models:")
        text.append(layout(header, lines))
    return "\n\n".join(text)


def _cell(row: Mapping[str, Any]) -> str:
    text = _plus_minus(row["mean"], row["interval"], "")
    if "difference" in row:
        star = " *" * row["distinguishable"]
        text += f" ({_plus_minus(row['difference'], row['difference_interval'], '+')}{star})"
    return text


def _plus_minus(centre: float, ends: Sequence[float] | None, sign: str) -> str:
    return f"{centre:{sign}.3f}" + (f" ± {(ends[1] - ends[0]) / 2:.3f}" if ends else "")
