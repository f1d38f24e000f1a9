"""A recipe goes in; a comparison of its tasks trained alone and all together comes out.

They are trained on the same examples, over several seeds. For each seed and size of the data:

    alone       one model per task, which knows only the words of its own texts
    together    one model for all tasks, once per method of sharing

Two budgets are compared. "per task": a model alone makes as many steps as its task has in the
shared training. "total": it makes as many as the whole shared training. An epoch has
`train.rounds` rounds, or as many as the largest dataset has batches, whatever share of it is used.
No run ends early (`train.patience`, `train.stop_at`), so all runs of a budget make the same steps.
Each run keeps the epoch that was best on validation and reads its test data once; differences are
paired, seed by seed.
"""

from __future__ import annotations

import json
import logging
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ..devices import choose_device
from ..errors import ConfigError, DataError, DataWarning, ModelError, MTLError
from ..files import cache_folder, write_atomically
from ..inference import predict_examples
from ..messages import shown
from ..model import MultiTaskModel
from ..reports.plots import plot_comparison
from ..tables import format_markdown
from ..tasks import Task
from ..training.config import TrainConfig
from ..training.history import Metrics
from ..training.loop import train
from ..training.preflight import EncodedDataset, check_training, encode_datasets
from ..training.sampling import SAMPLERS
from ..training.weighting import FixedWeighting
from .assessment import Parts
from .build import build_model, build_tasks
from .folder import LOCK, RECIPE_FILE, check_same_recipe, claimed
from .plan import Plan, check_distinct, method_settings, plans_of, settings_alone, with_size
from .recipe import Recipe, check_recipe
from .summary import comparison_tables, costs, summarise, write_summary

logger = logging.getLogger(__name__)

MOST_SEEDS = 1000
RUNS, RESULT = "runs", "compare.json"
SUMMARY, TABLE, PICTURE = "compare.csv", "compare.md", "compare.png"


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
    """Train, test and compare; a stopped comparison continues from its finished runs.

    The rows of all splits are made for every seed and size before the first update. A run that
    still fails does not stop the others: a TrainingWarning names it, the summary covers the seeds
    that are complete, and the same call tries it again.

    Args:
        recipe: one with two or more tasks and a single stage.
        output: a folder for `compare.json`, `compare.csv` (the summary), `compare.md`,
            `compare.png`, and every run's result.
        seeds: how many, counting up from the recipe's; at most 1,000.
        methods: how the tasks share steps, losses or gradients, with everything else as in the
            recipe: `alternating`, `joint`, `sampled`; a weighting (`fixed`, `uncertainty`, ...); an
            aggregation (`pcgrad`, `UPGrad`, ...), with options in brackets: `CAGrad(c=0.4)`. Those
            that need joint steps get them.
        sizes: the data to train on, such as `qa=0.1`: this share of that task's examples, and all
            of the others'; several shares are separated by commas.
        command: the one that makes the same comparison again; it is kept with the results.
        progress: report on stderr what is running and how long it will take.

    Returns:
        the content of `compare.json`: above all `runs`, `summary` and `cost`; under `failed`, the
        runs that failed, if any.

    Raises:
        ConfigError: fewer than two tasks, an unknown method, task or share; or a folder that
            holds something else.
        DataError: no test data, or examples that cannot be used. Raised before anything is
            trained or written.
        ModelError: the file of a finished run is broken.
        MTLError: too many runs failed: there is nothing to compare.
    """
    check_recipe(recipe)
    _check_arguments(recipe, seeds, methods, sizes)
    # All runs make all their steps: one that ended early would be on a different budget.
    recipe = replace(recipe, train=recipe.train | {"patience": 0, "stop_at": 0.0})
    # Each once, without spaces: "qa=0.1, ner=0.5" and "qa=0.1,ner=0.5" are the same folder.
    methods = list(dict.fromkeys("".join(method.split()) for method in methods))
    sizes = list(dict.fromkeys("".join(size.split()) for size in sizes)) or [""]
    settings = {method: method_settings(method, recipe) for method in methods}
    check_distinct(settings, sizes, recipe)
    tasks = build_tasks(recipe)
    _check_trainings(recipe, tasks, settings)
    rounds, total = _lengths(recipe, tasks, settings)
    plans = list(plans_of(recipe, seeds, sizes, rounds, total))
    output = Path(output)
    with shown(progress), claimed(output):
        _check_output(output, recipe)
        for plan in plans:
            if (path := output / RUNS / plan.file).exists():
                _read_result(path, plan)  # so a broken file is found before anything is trained
        # All of it now: a fault in the last seed's data would only show after hours of training.
        _check_rows([p for p in plans if not (output / RUNS / p.file).exists()], recipe, progress)
        _make_output(output, recipe)
        runs, failed = _run_all(plans, recipe, settings, output)
        content = {
            "recipe": recipe.name,
            "command": command,
            "device": str(choose_device(TrainConfig(**recipe.train).device)),
            "runs": runs,
            "summary": summarise(runs, tasks, rounds, total),
            "cost": costs(runs, rounds, total),
        }
        if failed:
            content["failed"] = failed
        _write_comparison(content, output)
    return content


def _check_arguments(
    recipe: Recipe, seeds: int, methods: Sequence[str], sizes: Sequence[str]
) -> None:
    """Raise ConfigError for what is visibly wrong without looking at any data."""
    if len(recipe.tasks) < 2:
        raise ConfigError(
            "a comparison needs at least two tasks",
            found=", ".join(recipe.tasks),
            fix="give a recipe with several, such as practical7",
        )
    if recipe.stages:
        raise ConfigError("a recipe with stages cannot be compared", fix="remove its stages")
    for what, names in (("methods", methods), ("sizes", sizes)):
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"{what} must be a list of names", found=repr(names))
    if not methods:
        raise ConfigError("there is no method to compare", fix="name one, such as fixed")
    if not isinstance(seeds, int) or not 1 <= seeds <= MOST_SEEDS:
        raise ConfigError(
            f"--seeds must be a whole number from 1 to {MOST_SEEDS:,}",
            found=str(seeds),
            fix="5 is a good start",
        )


def _lengths(
    recipe: Recipe, tasks: Sequence[Task], settings: Mapping[str, dict[str, Any]]
) -> tuple[int, dict[str, int]]:
    """The rounds of an epoch, and how many steps these are with each method.

    A joint step takes a batch of every dataset: a round is one step. Other methods take one dataset
    at a time, and a round has a step for each.
    """
    config = TrainConfig(**recipe.train)
    # For the whole data, whatever share is used: runs on less data make as many steps.
    longest = max(len(task.dataset.train) for task in tasks)
    rounds = config.rounds_per_epoch(math.ceil(longest / config.batch_size))
    n_datasets = len({id(task.dataset) for task in tasks})
    total = {
        method: rounds * (1 if SAMPLERS[changed["sampling"]].joint else n_datasets)
        for method, changed in settings.items()
    }
    return rounds, total


def _write_comparison(content: Mapping[str, Any], output: Path) -> None:
    """Write all results, then what is made of them.

    Raises:
        MTLError: so many runs failed that no seed is complete.
    """
    if not content["summary"]:
        failed = content.get("failed", {})
        raise MTLError(
            "too many runs failed: there is nothing to compare",
            found="; ".join(f"{plan}: {why}" for plan, why in failed.items()),
            fix="see why they failed, and give the same command again",
        )
    command = content["command"]
    # Written first: whatever fails in tables and pictures, the results are safe.
    write_atomically(output / RESULT, json.dumps(content, indent=1) + "\n")
    write_summary(output / SUMMARY, content["summary"], command)
    tables = comparison_tables(content["summary"], content["cost"], format_markdown)
    heading = f"`{command}`\n\n" if command else ""
    write_atomically(output / TABLE, f"{heading}{tables}\n")
    plot_comparison(content["summary"]).savefig(output / PICTURE, dpi=120)


def _check_trainings(
    recipe: Recipe, tasks: list[Task], settings: Mapping[str, dict[str, Any]]
) -> None:
    """Raise right away what any of the runs would raise about its settings."""
    if not any(task.labelled(task.dataset.test) for task in tasks):
        raise DataError("there is no test data to compare on", fix="give a task a test split")
    # Built once and thrown away: an impossible model is found before anything runs.
    together = build_model(recipe, tasks)
    for train_settings in settings.values():
        check_training(together, tasks, TrainConfig(**train_settings))
    for task in tasks:
        alone = TrainConfig(**settings_alone(recipe))
        check_training(build_model(recipe, [task]), [task], alone)


def _check_rows(todo: Sequence[Plan], recipe: Recipe, progress: bool) -> None:
    """Encode all splits of every seed and size once: unusable examples are found now.

    Which examples these are does not depend on a model's tasks, and the cache keeps what takes
    long to encode.
    """
    for size, seed in dict.fromkeys((plan.size, plan.seed) for plan in todo):
        own = replace(with_size(recipe, size), seed=seed)
        tasks = _build_again(own)
        _encode(own, build_model(own, tasks), tasks, progress)


def _build_again(recipe: Recipe) -> list[Task]:
    """The tasks for another seed or size; warnings about their files were already shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return build_tasks(recipe)


def _encode(
    recipe: Recipe, model: MultiTaskModel, tasks: Sequence[Task], progress: bool = False
) -> list[EncodedDataset]:
    on_error, cache = recipe.on_error, cache_folder()
    return encode_datasets(model, tasks, on_error=on_error, cache=cache, progress=progress)


def _check_output(output: Path, recipe: Recipe) -> None:
    """Raise ConfigError if the folder holds anything but runs of this comparison."""
    path = output / RECIPE_FILE
    there = {file.name for file in output.iterdir()} - {LOCK}
    if there and not (output / RUNS).is_dir():
        raise ConfigError(
            "the output folder holds other files", path=output, fix="give an empty folder"
        )
    if not path.exists() and any((output / RUNS).glob("*.json")):
        raise ConfigError(
            "the output folder holds runs, but not their recipe",
            path=path,
            found="no such file",
            fix="put it back, or give another --output",
        )
    fix = "give another --output, or the settings it was started with"
    check_same_recipe(path, recipe, fix)


def _make_output(output: Path, recipe: Recipe) -> None:
    try:
        (output / RUNS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            "the output folder cannot be made", path=output, found=str(error)
        ) from None
    write_atomically(output / RECIPE_FILE, recipe.to_toml())


def _run_all(
    plans: Sequence[Plan],
    recipe: Recipe,
    settings: Mapping[str, dict[str, Any]],
    output: Path,
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The result of every plan, in order, with those already done read back; and what failed."""
    seconds: list[float] = []
    todo = [plan for plan in plans if not (output / RUNS / plan.file).exists()]
    done = f", {len(plans) - len(todo)} of them done already" if len(todo) < len(plans) else ""
    logger.info("%s runs%s", len(plans), done)
    built_for: tuple[str, int] | None = None
    tasks: list[Task] = []
    parts = Parts()
    for plan in todo:
        started = time.perf_counter()
        with parts.part(str(plan)):
            if built_for != (plan.size, plan.seed):  # the runs of a seed share their examples
                tasks = _build_again(replace(with_size(recipe, plan.size), seed=plan.seed))
                built_for = (plan.size, plan.seed)
            result = _run(plan, recipe, settings, tasks)
            # After every run, so that a stopped comparison loses at most one run.
            write_atomically(output / RUNS / plan.file, json.dumps(result) + "\n")
        seconds.append(time.perf_counter() - started)
        left = sum(seconds) / len(seconds) * (len(todo) - len(seconds))
        what = f"{plan}: {seconds[-1]:.0f} s; about {_duration(left)} left"
        logger.info("[%s/%s] %s", len(seconds), len(todo), what)
    finished = [plan for plan in plans if str(plan) not in parts.failed]
    return [_read_result(output / RUNS / plan.file, plan) for plan in finished], parts.failed


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _read_result(path: Path, plan: Plan) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        # Characters are replaced in its name, so two runs may share one; the content is certain.
        if not (isinstance(result, dict) and asdict(plan).items() <= result.items()):
            raise ValueError("it belongs to another run")
        scores = [score for of_task in result["test"].values() for score in of_task.values()]
        if not all(isinstance(score, int | float) for score in scores):
            raise ValueError("a score is not a number")
        return result
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(
            "the result of a run is broken", path=path, found=str(error), fix="delete it"
        ) from None


def _run(
    plan: Plan, recipe: Recipe, settings: Mapping[str, dict[str, Any]], tasks: Sequence[Task]
) -> dict[str, Any]:
    """Train one model, score it, and time its predictions."""
    chosen = dict(settings_alone(recipe) if plan.task else settings[plan.method])
    chosen |= {"rounds": plan.rounds, "seed": plan.seed}
    tasks = [task for task in tasks if plan.task in ("", task.name)]
    # The plan's seed for every method: the same start and order, so differences can be paired.
    model = build_model(replace(recipe, seed=plan.seed), tasks)
    config = TrainConfig(**chosen)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # these were shown when the rows were checked
        data = _encode(recipe, model, tasks)
    history = train(model, tasks, config, data=data, progress=False)
    return {
        **asdict(plan),
        "steps": history.rounds[-1].step,
        "examples": history.rounds[-1].examples,
        "train_examples": {task.name: len(task.labelled(task.dataset.train)) for task in tasks},
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_seconds": round(history.seconds, 2),
        "inference_seconds": round(_time_predictions(model, data), 3),
        "best_epoch": history.best_epoch,
        "validation": _scores(model, data, "validation"),
        "test": _scores(model, data, "test"),
        "test_unseen": _scores(model, data, "test_unseen"),
    }


def _scores(model: MultiTaskModel, data: Sequence[EncodedDataset], split: str) -> Metrics:
    return {task: scores for one in data for task, scores in one.scores(model, split).items()}


def _time_predictions(model: MultiTaskModel, data: Sequence[EncodedDataset]) -> float:
    """Seconds to predict the test split of every dataset, one pass for the tasks that share one."""
    started = time.perf_counter()
    for one in data:
        examples = [item.example for item in one.splits["test"]]
        # All the way from text to answer, tokenizing included: that is what a user waits for.
        predict_examples(model, examples, [task.name for task in one.tasks])
    return time.perf_counter() - started
