"""Run a recipe: tasks with datasets, model -> train -> test -> run folder."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .cases import check_cases
from .data.augment import augment
from .data.dataset import Dataset
from .data.tokenization import WhitespaceTokenizer
from .data.toy import toy_dataset
from .datasets import check_kind, read_dataset
from .devices import choose_device, choose_precision
from .encoder import EncoderConfig, TransformerEncoder
from .errors import ConfigError, DataError
from .files import write_atomically
from .inference import evaluate, evaluate_baselines
from .model import MultiTaskModel
from .plots import plot_conflict, plot_losses, plot_weights
from .pretrained import load_pretrained
from .recipe import DatasetRecipe, Recipe
from .reports import predict_split, write_report
from .run_folder import (
    BEST,
    CASES_FILE,
    CHECKPOINT,
    CONFLICT_FILE,
    CURVES_FILE,
    HISTORY_FILE,
    METRICS_FILE,
    RECIPE_FILE,
    STATE,
    UNFINISHED,
    WEIGHTS_FILE,
    check_folder,
    check_same_recipe,
    clear,
    make_folder,
    put_in_place,
)
from .tasks import Task
from .training.checkpoint import has_state
from .training.config import check_training
from .training.history import History, Metrics
from .training.loop import train

# By task: labelled test examples, and what the model says about each.
Tested = dict[str, tuple[list[Any], list[Any]]]
FROM_RECIPE = (
    "max_length",
    "overlap",
    "dropout",
    "attention_dropout",
)  # what a recipe says of a pretrained encoder


def build_tasks(recipe: Recipe) -> list[Task]:
    """The tasks of a recipe with their datasets, toy or read from files."""
    tasks = []
    shared: dict[str, Dataset] = {}
    for name, task in recipe.tasks.items():
        task_class = Task.of_kind(task.kind)
        if task.has_own_data:
            dataset = _build_dataset(task_class, task, recipe, recipe.fields_of(name))
        elif task.data in shared:
            dataset = shared[task.data]
        else:
            fields = recipe.fields_of(name)
            dataset = _build_dataset(task_class, recipe.datasets[task.data], recipe, fields)
            shared[task.data] = dataset
        source = recipe.source_of(name)
        check_kind(name, task_class, dataset.train, source.train)
        try:
            tasks.append(task_class(name, dataset, **task.options))
        except DataError as error:
            error.faults = [replace(fault, path=source.train or None) for fault in error.faults]
            raise
    return tasks


def _build_dataset(
    task_class: type[Task], data: DatasetRecipe, recipe: Recipe, fields: Sequence[str] = ()
) -> Dataset:
    if data.train:
        dataset = read_dataset(task_class, data, recipe, fields)
    else:
        sizes = (data.toy_train, data.toy_held_out, data.toy_held_out)
        dataset = toy_dataset(data.toy, *sizes, seed=recipe.seed)
    train = list(dataset.train)
    n = min(data.limit or len(train), max(1, round(data.share * len(train))))
    if n < len(train):
        train = random.Random(f"limit {recipe.seed}").sample(train, n)
    if data.augment:
        train = augment(train, data.augment, recipe.seed, data.synonyms)
    return replace(dataset, train=train)


def build_model(recipe: Recipe, tasks: list[Task]) -> MultiTaskModel:
    """A model with fresh heads for the tasks; its encoder is fresh too, or pretrained.

    The vocabulary of a fresh encoder is the words of the tasks' training texts. A pretrained one
    comes with its own vocabulary and shape; of the recipe it takes `FROM_RECIPE`.
    """
    torch.manual_seed(recipe.seed)
    if recipe.encoder.get("pretrained"):
        options = {key: recipe.encoder[key] for key in FROM_RECIPE if key in recipe.encoder}
        encoder, tokenizer = load_pretrained(recipe.encoder["pretrained"], **options)
    else:
        datasets = {id(task.dataset): task.dataset for task in tasks}  # a shared one counts once
        texts = (text for dataset in datasets.values() for text in dataset.training_texts())
        tokenizer = WhitespaceTokenizer.train(texts, **recipe.tokenizer)
        config = EncoderConfig(vocab_size=len(tokenizer), **recipe.encoder)
        encoder = TransformerEncoder(config)
    return MultiTaskModel(encoder, tokenizer, tasks, **recipe.model)


def run_recipe(
    recipe: Recipe,
    output: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    save_every: int = 0,
    save_every_steps: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Train, test once, and write the run folder; what stands in it says `mtl.run_folder`.

    Args:
        output: the folder; made if missing.
        overwrite: replace the results of a run that is already there.
        resume: go on with a run that was stopped there; if there is none, start afresh.
        save_every: after so many epochs the model is saved in a folder `checkpoint-epochN`; 0 for
            never.
        save_every_steps: the training state is saved after so many steps, and after each epoch.
        progress: show how it goes, on stderr.

    Returns:
        what stands in `metrics.json`.

    Raises:
        ConfigError: the folder holds a run, or anything else, already; or the run that was stopped
            had another recipe.
    """
    for name, value in (("save_every", save_every), ("save_every_steps", save_every_steps)):
        if value < 0:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{name} ({option}) must be at least 0", found=str(value))
    if overwrite and resume:
        raise ConfigError("a run is overwritten or resumed, not both", fix="leave one out")
    for config, _ in recipe.train_configs():  # before data are read and weights downloaded
        choose_precision(config.precision, choose_device(config.device))
    output = Path(output)
    check_folder(output, overwrite, resume)
    if resume and (output / METRICS_FILE).exists() and not (output / UNFINISHED).exists():
        return _finished_metrics(recipe, output, progress)
    tasks = build_tasks(recipe)
    model = build_model(recipe, tasks)
    if progress:
        tqdm.write(f"{recipe.name}, seed {recipe.seed}\n{model!r}", file=sys.stderr)
        tqdm.write(_what_the_checkpoint_says(recipe), file=sys.stderr, end="")
    for config, names in recipe.train_configs():
        check_training(model, [task for task in tasks if task.name in names], config)
    place = make_folder(output, resume)
    if resume and progress and not (place / STATE).exists():
        tqdm.write(f"{output} has nothing to go on from: starting afresh", file=sys.stderr)
    check_same_recipe(place / STATE / RECIPE_FILE, recipe.to_toml())
    try:
        write_atomically(place / STATE / RECIPE_FILE, recipe.to_toml())
        history = _train_stages(recipe, model, tasks, place, save_every, save_every_steps, progress)
        tested = predict_split(model, tasks)
        metrics = collect_metrics(recipe, model, tasks, history, tested)
    except BaseException:
        can_go_on = any(map(has_state, (place / STATE).glob("stage*")))
        if not can_go_on:  # then what was written is of no use
            clear(place)
            for empty in (place, output):
                with suppress(OSError):
                    empty.rmdir()
        elif progress:
            tqdm.write(f"{place} holds what --resume goes on from", file=sys.stderr)
        raise
    put_in_place(place, output)
    model.save_pretrained(output)
    history.write_csv(output / HISTORY_FILE)
    plot_losses(history).savefig(output / CURVES_FILE, dpi=120)
    _draw_balance(history, output)
    _write_what_it_said(model, tasks, tested, output)
    write_atomically(output / RECIPE_FILE, recipe.to_toml())
    write_atomically(output / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")
    shutil.rmtree(output / STATE, ignore_errors=True)
    return metrics


def _draw_balance(history: History, output: Path) -> None:
    """Pictures of what the tasks' weights and gradients did, if there is anything to see."""
    for name in (WEIGHTS_FILE, CONFLICT_FILE):
        (output / name).unlink(missing_ok=True)
    weights = {item for r in history.rounds for item in r.weights.items()}
    if len(weights) > len(history.tasks):  # some task's weight was not always the same
        plot_weights(history).savefig(output / WEIGHTS_FILE, dpi=120)
    if history.conflicts:
        plot_conflict(history).savefig(output / CONFLICT_FILE, dpi=120)


def _write_what_it_said(
    model: MultiTaskModel, tasks: list[Task], tested: Tested, output: Path
) -> None:
    """A report of each task on its test data, and the well-known facts."""
    for task in tasks:
        if task.name in tested:
            write_report(task, *tested[task.name], output)
    cases = check_cases(model)
    if cases:
        content = json.dumps([case.to_dict() for case in cases], indent=2, ensure_ascii=False)
        write_atomically(output / CASES_FILE, content + "\n")


def _finished_metrics(recipe: Recipe, output: Path, progress: bool) -> dict[str, Any]:
    """The metrics of a run that is done already."""
    check_same_recipe(output / RECIPE_FILE, recipe.to_toml())
    if progress:
        tqdm.write(f"the run in {output} is finished: there is nothing to resume", file=sys.stderr)
    return json.loads((output / METRICS_FILE).read_text(encoding="utf-8"))


def _what_the_checkpoint_says(recipe: Recipe) -> str:
    """A line about the settings of a recipe that a pretrained encoder leaves without effect."""
    if not recipe.encoder.get("pretrained"):
        return ""
    unused = [f"encoder.{key}" for key in recipe.encoder if key not in (*FROM_RECIPE, "pretrained")]
    unused += [f"tokenizer.{key}" for key in recipe.tokenizer]
    names = ", ".join(unused)
    return f"without effect on the pretrained encoder: {names}\n" * bool(unused)


def _train_stages(
    recipe: Recipe,
    model: MultiTaskModel,
    tasks: list[Task],
    place: Path,
    save_every: int,
    save_every_steps: int,
    progress: bool,
) -> History:
    """Every stage goes on from its own state; one that is done is only read."""
    histories: list[History] = []
    for number, (config, names) in enumerate(recipe.train_configs(), start=1):
        chosen = [task for task in tasks if task.name in names]
        before = list(histories)

        def after_epoch(history: History, before: list[History] = before) -> None:
            so_far = History.join([*before, history])
            epoch = len(so_far.validation)
            folders = [f"{BEST}{name}" for name in best_now(tasks, so_far)]
            if save_every and epoch % save_every == 0:
                folders.append(f"{CHECKPOINT}{epoch}")
            for folder in folders:
                model.save_pretrained(place / folder)
                write_atomically(place / folder / RECIPE_FILE, recipe.to_toml())

        if progress and recipe.stages:
            what = ", ".join(config.freeze) or "nothing"
            line = f"stage {number}: trains {', '.join(names)}; frozen: {what}"
            tqdm.write(line, file=sys.stderr)
        history = train(
            *(model, chosen, config),
            checkpoint=place / STATE / f"stage{number}",
            save_every=save_every_steps,
            resume=True,
            cache=cache_folder(),
            after_epoch=after_epoch,
            progress=progress,
        )
        histories.append(history)
    return History.join(histories)


def best_now(tasks: Sequence[Task], history: History) -> list[str]:
    """The tasks that the last epoch is the best for so far; of a single task it is the model."""
    if len(tasks) == 1:
        return []
    *earlier, last = history.validation
    names = []
    for task in tasks:
        before = [task.main_score(e[task.name])[1] for e in earlier if task.name in e]
        now = task.main_score(last[task.name])[1] if task.name in last else -math.inf
        if now > max(before, default=-math.inf):
            names.append(task.name)
    return names


def cache_folder() -> Path:
    """Where encoded datasets are kept: `MTL_CACHE`, or `~/.cache/mtl`."""
    return Path(os.environ.get("MTL_CACHE") or Path.home() / ".cache" / "mtl")


def collect_metrics(
    recipe: Recipe,
    model: MultiTaskModel,
    tasks: list[Task],
    history: History,
    tested: Tested,
) -> dict[str, Any]:
    """What `metrics.json` holds; `tested` is what `predict_split` gave for the test split."""
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "train_seconds": round(history.seconds, 2),
        "threads": history.threads,
        "parameters": sum(p.numel() for p in model.parameters()),
        "validation": score_split(model, tasks, "validation"),
        "test": {t.name: t.score(*tested[t.name]) for t in tasks if t.name in tested},
        "test_unseen": score_split(model, tasks, "test_unseen"),
        "baselines": {
            task.name: evaluate_baselines(model, task.name, task.dataset.test)
            for task in tasks
            if task.labelled(task.dataset.test)
        },
    }


def score_split(model: MultiTaskModel, tasks: list[Task], split: str) -> Metrics:
    """Metrics of every task that has this split."""
    return {
        task.name: evaluate(model, task.name, task.dataset.split(split))
        for task in tasks
        if task.labelled(task.dataset.split(split))
    }
