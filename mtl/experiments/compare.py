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

import json
import math
import re
import sys
import time
import tomllib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..devices import choose_device
from ..errors import ConfigError, DataError, DataWarning, ModelError, MTLError, suggest
from ..files import write_atomically
from ..inference import predict_examples
from ..model import MultiTaskModel
from ..reports.plots import plot_comparison
from ..tables import format_markdown
from ..tasks import Task
from ..training.aggregation import Aggregation, build_aggregation, torchjd_aggregators
from ..training.config import TrainConfig, check_training
from ..training.history import Metrics
from ..training.loop import train
from ..training.preflight import EncodedDataset, encode_datasets
from ..training.sampling import SAMPLERS
from ..training.weighting import FixedWeighting, Weighting
from .assessment import Parts
from .build import build_model, build_tasks
from .folder import LOCK, RECIPE_FILE, check_same_recipe, claimed
from .recipe import Recipe
from .run import cache_folder
from .summary import ALONE, comparison_tables, costs, summarise, write_summary

MOST_SEEDS = 1000
RUNS, RESULT, SUMMARY, TABLE, PICTURE = (
    "runs",
    "compare.json",
    "compare.csv",
    "compare.md",
    "compare.png",
)


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

    The rows of all splits are made for every seed and size before the first update. A run that
    fails nevertheless does not stop the others: a TrainingWarning names it, the summary covers the
    seeds that are complete, and the same call tries it again.

    Args:
        recipe: of two or more tasks, with one stage.
        output: a folder for `compare.json`, `compare.csv` (the summary), `compare.md`,
            `compare.png`, and every run's result.
        seeds: how many, counted up from the recipe's; at most 1,000.
        methods: how the tasks share steps, losses or gradients, each with all else as in the
            recipe: `alternating`, `joint`, `sampled`; a weighting (`fixed`, `uncertainty`, ...); an
            aggregation (`pcgrad`, `UPGrad`, ...), with options in brackets: `CAGrad(c=0.4)`. One
            that needs joint steps gets them.
        sizes: the data to train on, such as `qa=0.1`: this share of that task's examples, and all
            of the others'; several shares with commas between.
        command: what makes the same comparison again; it is kept with the results.
        progress: say what runs, and how long it will take, on stderr.

    Returns:
        what `compare.json` holds: above all `runs`, `summary` and `cost`; under `failed` the runs
        that failed, if any.

    Raises:
        ConfigError: fewer than two tasks, an unknown method, task or share; a folder that holds
            something else.
        DataError: no test data, or examples that cannot be used. All of it before anything is
            trained or written.
        ModelError: the file of a finished run is broken.
        MTLError: too many runs failed: there is nothing to compare.
    """
    if len(recipe.tasks) < 2:
        raise ConfigError(
            "a comparison needs at least two tasks",
            found=", ".join(recipe.tasks),
            fix="give a recipe with several, such as practical7",
        )
    if recipe.stages:
        raise ConfigError("a recipe with stages cannot be compared", fix="take its stages out")
    for what, names in (("methods", methods), ("sizes", sizes)):
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise ConfigError(f"{what} must be a list of names", found=repr(names))
    if not methods:
        raise ConfigError("there is no method to compare", fix="name one, such as fixed")
    if not isinstance(seeds, int) or not 1 <= seeds <= MOST_SEEDS:
        raise ConfigError(
            f"--seeds must be a whole number from 1 to {MOST_SEEDS:,}",
            found=str(seeds),
            fix="5 are a good beginning",
        )
    recipe = replace(recipe, train=recipe.train | {"patience": 0})  # all runs make all their steps
    methods, sizes = (["".join(name.split()) for name in names] for names in (methods, sizes))
    settings = {method: method_settings(method, recipe) for method in dict.fromkeys(methods)}
    sizes = list(dict.fromkeys(sizes or [""]))
    _check_distinct(settings, sizes, recipe)
    config = TrainConfig(**recipe.train)
    tasks = build_tasks(recipe)
    _check_trainings(recipe, tasks, settings)
    longest = max(len(task.dataset.train) for task in tasks)
    rounds = config.rounds or math.ceil(longest / config.batch_size)
    n_datasets = len({id(task.dataset) for task in tasks})
    total = {
        method: rounds * (1 if SAMPLERS[changed["steps"]].joint else n_datasets)
        for method, changed in settings.items()
    }
    plans = list(_plans(recipe, seeds, sizes, rounds, total))
    output = Path(output)
    with claimed(output):
        _check_output(output, recipe)
        for plan in plans:
            if (path := output / RUNS / plan.file).exists():
                _read_result(path, plan)  # so a broken file is found before anything is trained
        _check_rows([p for p in plans if not (output / RUNS / p.file).exists()], recipe, progress)
        _make_output(output, recipe)
        runs, failed = _run_all(plans, recipe, settings, output, progress)
        summary = summarise(runs, tasks, rounds, total)
        if not summary:
            raise MTLError(
                "too many runs failed: there is nothing to compare",
                found="; ".join(f"{plan}: {why}" for plan, why in failed.items()),
                fix="see why they failed, and give the same command again",
            )
        content = {
            "recipe": recipe.name,
            "command": command,
            "device": str(choose_device(config.device)),
            "runs": runs,
            "summary": summary,
            "cost": costs(runs, rounds, total),
        }
        if failed:
            content["failed"] = failed
        _write_comparison(content, output, command)
    return content


def _write_comparison(content: Mapping[str, Any], output: Path, command: str) -> None:
    """All results, then what is made of them."""
    write_atomically(output / RESULT, json.dumps(content, indent=1) + "\n")
    write_summary(output / SUMMARY, content["summary"], command)
    tables = comparison_tables(content["summary"], content["cost"], format_markdown)
    heading = f"`{command}`\n\n" if command else ""
    write_atomically(output / TABLE, f"{heading}{tables}\n")
    plot_comparison(content["summary"]).savefig(output / PICTURE, dpi=120)


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
            "the options of a method cannot be read",
            found=f"{method!r}: {error}",
            fix="they are written like CAGrad(c=0.4)",
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
            if name and name.lower() in str(error.faults[0].what).lower():
                raise  # known, but not like this
            theirs = torchjd_aggregators()
            known = [*SAMPLERS, *Weighting.kinds, *Aggregation.kinds, *theirs]
            more = "" if theirs else "; with the extra torchjd also UPGrad, CAGrad and others"
            fix = f"{suggest(name, known)}{more}"
            raise ConfigError("unknown method of sharing", found=repr(method), fix=fix) from None
        train |= {"aggregation": name, "aggregation_options": options}
        needs_joint_steps = aggregation.needs_joint_steps
    train |= {"steps": "joint"} if needs_joint_steps else {}
    TrainConfig(**train)
    return train


def with_size(recipe: Recipe, size: str) -> Recipe:
    """The recipe with a share of some tasks' data: `qa=0.1`, or `ner=0.5,qa=0.1`."""
    named = set()
    for part in filter(None, size.split(",")):
        name, _, number = part.strip().partition("=")
        if name in named:
            raise ConfigError("a size names a task twice", found=repr(size), fix="leave one out")
        named.add(name)
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


def _check_distinct(methods: Iterable[str], sizes: Iterable[str], recipe: Recipe) -> None:
    """ConfigError if two names mean the same, or are taken for the same by a file system."""
    seen: dict[str, str] = {}
    for method in methods:
        if (other := seen.setdefault(method.lower(), method)) != method:
            raise ConfigError(
                "two methods differ in small and capital letters only",
                found=f"{other}, {method}",
                fix="pcgrad, random and sum are ours, PCGrad, Random and Sum TorchJD's; compare "
                "them in two folders",
            )
    recipes: list[tuple[str, Recipe]] = []
    for size in sizes:
        recipes.append((size, with_size(recipe, size)))
        if (other := next(s for s, r in recipes if r == recipes[-1][1])) != size:
            raise ConfigError(
                "two sizes mean the same", found=f"{other}, {size}", fix="leave one out"
            )


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


def _check_rows(todo: Sequence[Plan], recipe: Recipe, progress: bool) -> None:
    """Encode all splits of every seed and size once: what cannot be used is found now.

    Which examples these are does not depend on the tasks that a model has; and the cache keeps
    what is encoded.
    """
    for size, seed in dict.fromkeys((plan.size, plan.seed) for plan in todo):
        own = replace(with_size(recipe, size), seed=seed)
        tasks = _build_again(own)
        _encode(own, build_model(own, tasks), tasks, progress)


def _build_again(recipe: Recipe) -> list[Task]:
    """The tasks for another seed or size; what there is to say of their files was said before."""
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
            "the output folder holds runs, but not the recipe that they are of",
            path=path,
            found="no such file",
            fix="put it back, or give another --output",
        )
    fix = "give another --output, or the settings it began with"
    check_same_recipe(path, recipe, fix)


def _make_output(output: Path, recipe: Recipe) -> None:
    try:
        (output / RUNS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            "the output folder cannot be made", path=output, found=str(error)
        ) from None
    write_atomically(output / RECIPE_FILE, recipe.to_toml())


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
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The result of every plan, in order, reading those that are done; and what failed."""
    seconds: list[float] = []
    todo = [plan for plan in plans if not (output / RUNS / plan.file).exists()]
    if progress:
        done = f", {len(plans) - len(todo)} of them done already" if len(todo) < len(plans) else ""
        tqdm.write(f"{len(plans)} runs{done}", file=sys.stderr)
    built_for, tasks = None, []
    parts = Parts()
    for plan in todo:
        started = time.perf_counter()
        with parts.part(str(plan)):
            if built_for != (plan.size, plan.seed):  # the runs of a seed share their examples
                tasks = _build_again(replace(with_size(recipe, plan.size), seed=plan.seed))
                built_for = (plan.size, plan.seed)
            result = _run(plan, recipe, settings, tasks)
            write_atomically(output / RUNS / plan.file, json.dumps(result) + "\n")
        seconds.append(time.perf_counter() - started)
        if progress:
            left = sum(seconds) / len(seconds) * (len(todo) - len(seconds))
            what = f"{plan}: {seconds[-1]:.0f} s; about {_duration(left)} left"
            tqdm.write(f"[{len(seconds)}/{len(todo)}] {what}", file=sys.stderr)
    finished = [plan for plan in plans if str(plan) not in parts.failed]
    return [_read_result(output / RUNS / plan.file, plan) for plan in finished], parts.failed


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _read_result(path: Path, plan: Plan) -> dict[str, Any]:
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(result, dict) and asdict(plan).items() <= result.items()):
            raise ValueError("it is not of this run")
        scores = [score for of_task in result["test"].values() for score in of_task.values()]
        if not all(isinstance(score, int | float) for score in scores):
            raise ValueError("a score is no number")
        return result
    except (ValueError, KeyError, AttributeError, RecursionError) as error:
        raise ModelError(
            "the result of a run is broken", path=path, found=str(error), fix="delete it"
        ) from None


def _run(
    plan: Plan, recipe: Recipe, settings: Mapping[str, dict[str, Any]], tasks: Sequence[Task]
) -> dict[str, Any]:
    """Train one model, score it, and time its predictions."""
    chosen = _settings_alone(recipe) if plan.task else settings[plan.method]
    tasks = [task for task in tasks if plan.task in ("", task.name)]
    model = build_model(replace(recipe, seed=plan.seed), tasks)
    config = TrainConfig(seed=plan.seed, **chosen | {"rounds": plan.rounds})
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
        predict_examples(model, examples, [task.name for task in one.tasks])
    return time.perf_counter() - started
