"""Run a recipe: tasks with datasets, model -> train -> test -> run folder."""

from __future__ import annotations

import json
import os
import random
import shutil
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .data.augment import augment
from .data.examples import Dataset, hold_out
from .data.tokenization import WhitespaceTokenizer
from .data.toy import toy_dataset
from .encoder import EncoderConfig, TransformerEncoder
from .errors import ConfigError, DataError
from .files import write_atomically
from .inference import evaluate, evaluate_baselines
from .model import MultiTaskModel
from .plots import plot_losses
from .recipe import FILE_KEYS, DatasetRecipe, Recipe
from .tasks import Task
from .training.config import check_training
from .training.history import History, Metrics
from .training.loop import train

RECIPE_FILE, METRICS_FILE, HISTORY_FILE, CURVES_FILE = (
    "recipe.toml",
    "metrics.json",
    "training_metrics.csv",
    "loss_curves.png",
)
CHECKPOINT = "checkpoint-epoch"
UNFINISHED = "unfinished"  # checkpoints of a run that is to replace an older one, until it is done


def build_tasks(recipe: Recipe) -> list[Task]:
    """The tasks of a recipe with their datasets, toy or read from files."""
    tasks = []
    shared: dict[str, Dataset] = {}
    for name, task in recipe.tasks.items():
        task_class = Task.of_kind(task.kind)
        if task.has_own_data:
            dataset = _build_dataset(task_class, task, recipe)
        elif task.data in shared:
            dataset = shared[task.data]
        else:
            dataset = _build_dataset(task_class, recipe.datasets[task.data], recipe)
            shared[task.data] = dataset
        if not all(isinstance(example, task_class.example) for example in dataset.train):
            raise ConfigError(
                f"the data of the task {name!r} is of another kind than the task",
                found=f"{type(dataset.train[0]).__name__}, kind = {task.kind!r}",
                fix="give the task data of its own: toy or train in its section",
            )
        try:
            tasks.append(task_class(name, dataset, **task.options))
        except DataError as error:
            source = task if task.has_own_data else recipe.datasets[task.data]
            error.faults = [replace(fault, path=source.train or None) for fault in error.faults]
            raise
    return tasks


def _build_dataset(task_class: type[Task], data: DatasetRecipe, recipe: Recipe) -> Dataset:
    if data.train:
        dataset = _read_dataset(task_class, data, recipe)
    else:
        sizes = (data.toy_train, data.toy_held_out, data.toy_held_out)
        dataset = toy_dataset(data.toy, *sizes, seed=recipe.seed)
    train = list(dataset.train)
    if 0 < data.limit < len(train):
        train = random.Random(f"limit {recipe.seed}").sample(train, data.limit)
    if data.augment:
        train = augment(train, data.augment, recipe.seed, data.synonyms)
    return replace(dataset, train=train)


def _read_dataset(task_class: type[Task], task: DatasetRecipe, recipe: Recipe) -> Dataset:
    files = {split: getattr(task, split) for split in FILE_KEYS}
    splits = {
        split: task_class.read(Path(file), recipe.on_error) for split, file in files.items() if file
    }
    missing = [split for split in ("validation", "test") if split not in splits]
    if missing:
        try:
            splits["train"], *parts = hold_out(splits["train"], recipe.seed, parts=len(missing))
        except DataError as error:
            error.faults = [replace(fault, path=task.train) for fault in error.faults]
            raise
        splits |= dict(zip(missing, parts, strict=True))
    return Dataset(**splits)


def build_model(recipe: Recipe, tasks: list[Task]) -> MultiTaskModel:
    """A fresh model for the tasks; its vocabulary is the words of their training texts."""
    datasets = {id(task.dataset): task.dataset for task in tasks}  # a shared one counts once
    texts = (text for dataset in datasets.values() for text in dataset.training_texts())
    tokenizer = WhitespaceTokenizer.train(texts, **recipe.tokenizer)
    torch.manual_seed(recipe.seed)
    config = EncoderConfig(vocab_size=len(tokenizer), **recipe.encoder)
    return MultiTaskModel(TransformerEncoder(config), tokenizer, tasks)


def run_recipe(
    recipe: Recipe,
    output: str | Path,
    *,
    overwrite: bool = False,
    save_every: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """Train, test once, and write the run folder.

    Args:
        output: the folder for model, metrics, history and loss curves; made if missing.
        overwrite: replace the results of a run that is already there.
        save_every: after so many epochs the model is saved in a folder `checkpoint-epochN`; 0 for
            never.
        progress: show how it goes, on stderr.

    Returns:
        what stands in `metrics.json`.

    Raises:
        ConfigError: the folder holds a run, or anything else, already.
    """
    if save_every < 0:
        raise ConfigError("save_every (--save-every) must be at least 0", found=str(save_every))
    output = Path(output)
    check_folder(output, overwrite)
    tasks = build_tasks(recipe)
    model = build_model(recipe, tasks)
    if progress:
        tqdm.write(f"{recipe.name}, seed {recipe.seed}\n{model!r}", file=sys.stderr)
    for config, names in recipe.train_configs():
        check_training(model, [task for task in tasks if task.name in names], config)
    place = _make_folder(output)
    try:
        history = _train_stages(recipe, model, tasks, place, save_every, progress)
        metrics = collect_metrics(recipe, model, tasks, history)
    except BaseException:
        with suppress(OSError):  # an empty folder is of no use; one with files stays
            output.rmdir()
        raise
    _replace_checkpoints(place, output)
    model.save_pretrained(output)
    history.write_csv(output / HISTORY_FILE)
    plot_losses(history).savefig(output / CURVES_FILE, dpi=120)
    write_atomically(output / RECIPE_FILE, recipe.to_toml())
    write_atomically(output / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")
    return metrics


def _make_folder(output: Path) -> Path:
    """Make the folder; return where checkpoints go until the run is done.

    A finished run that is to be replaced stays whole until then.
    """
    place = output / UNFINISHED if (output / METRICS_FILE).exists() else output
    try:
        output.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(output / UNFINISHED, ignore_errors=True)
        for old in place.glob(f"{CHECKPOINT}[0-9]*"):  # of a run that was stopped
            shutil.rmtree(old)
    except OSError as error:
        raise ConfigError(
            "the output folder cannot be made",
            path=output,
            found=str(error),
            fix="give another --output",
        ) from None
    return place


def _replace_checkpoints(place: Path, output: Path) -> None:
    """Put the checkpoints of this run in the place of those of the run before."""
    if place == output:
        return
    for old in output.glob(f"{CHECKPOINT}[0-9]*"):
        shutil.rmtree(old)
    if place.exists():
        for new in place.iterdir():
            new.rename(output / new.name)
        place.rmdir()


def _train_stages(
    recipe: Recipe,
    model: MultiTaskModel,
    tasks: list[Task],
    output: Path,
    save_every: int,
    progress: bool,
) -> History:
    histories: list[History] = []
    for number, (config, names) in enumerate(recipe.train_configs(), start=1):
        before = sum(len(history.validation) for history in histories)

        def save(epoch: int, before: int = before) -> None:
            if save_every and (before + epoch) % save_every == 0:
                folder = output / f"{CHECKPOINT}{before + epoch}"
                model.save_pretrained(folder)
                write_atomically(folder / RECIPE_FILE, recipe.to_toml())

        if progress and recipe.stages:
            what = ", ".join(config.freeze) or "nothing"
            line = f"stage {number}: trains {', '.join(names)}; frozen: {what}"
            tqdm.write(line, file=sys.stderr)
        chosen = [task for task in tasks if task.name in names]
        histories.append(train(model, chosen, config, after_epoch=save, progress=progress))
    return History.join(histories)


def collect_metrics(
    recipe: Recipe, model: MultiTaskModel, tasks: list[Task], history: History
) -> dict[str, Any]:
    """What `metrics.json` holds; the test splits are read here, once."""
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "train_seconds": round(history.seconds, 2),
        "parameters": sum(p.numel() for p in model.parameters()),
        "validation": score_split(model, tasks, "validation"),
        "test": score_split(model, tasks, "test"),
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


def check_folder(output: Path, overwrite: bool) -> None:
    """Raise ConfigError if the folder holds something that would be lost."""
    if output.exists() and not output.is_dir():
        raise ConfigError(
            "the output is a file, not a folder", path=output, fix="give another --output"
        )
    there = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigError(
            "the output folder cannot be made",
            path=output,
            found=f"{there} is {'not writable' if there.is_dir() else 'a file'}",
            fix="give another --output",
        )
    if output.is_dir() and any(output.iterdir()):
        is_run = (output / METRICS_FILE).exists()
        is_unfinished = all(path.name.startswith(CHECKPOINT) for path in output.iterdir())
        if not (is_run or is_unfinished):
            raise ConfigError(
                "the output folder holds other files", path=output, fix="give an empty folder"
            )
        if not overwrite:
            raise ConfigError(
                "the output folder already holds a run",
                path=output,
                fix="give another --output, or --overwrite to replace it",
            )


def next_run_folder(name: str) -> Path:
    """`runs/NAME/1`, or the first number that is free."""
    number = 1
    while (folder := Path("runs") / name / str(number)).exists():
        number += 1
    return folder
