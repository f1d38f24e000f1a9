"""A whole experiment as one readable TOML file: read, check, build, run.

recipe file -> Recipe -> tasks with datasets, model -> train -> test -> run folder
"""

from __future__ import annotations

import inspect
import json
import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .data.examples import Dataset, hold_out
from .data.tokenization import WhitespaceTokenizer
from .data.toy import toy_dataset
from .encoder import EncoderConfig, TransformerEncoder
from .errors import ConfigError, DataError, suggest
from .files import write_atomically
from .inference import evaluate, evaluate_baselines
from .model import MultiTaskModel
from .plots import plot_losses
from .tasks import Task
from .training.history import History, Metrics
from .training.loop import TrainConfig, train

RECIPE_FILE, METRICS_FILE, HISTORY_FILE, CURVES_FILE = (
    "recipe.toml",
    "metrics.json",
    "training_metrics.csv",
    "loss_curves.png",
)
HELD_OUT = ("validation", "test", "test_unseen")
TYPE_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: 'a text in quotes, such as "ner"',
    dict: "a section of keys and values",
}
FILE_KEYS = ("train", *HELD_OUT)


@dataclass(frozen=True)
class TaskRecipe:
    """One task of a recipe: its kind, where its examples come from, and its own options.

    Args:
        kind: of the task class, for example `ner`.
        toy: kind of toy data, where no file is given.
        toy_train: how many toy examples to train on.
        toy_held_out: how many in each of the other splits.
        train: a file to train on, instead of toy data. Without a validation (test) file, a tenth
            of its texts, drawn by the seed, is held out for validation (test).
        validation, test, test_unseen: files for the other splits.
        options: what the task's class takes besides its name and dataset.
    """

    kind: str
    toy: str = ""
    toy_train: int = 2000
    toy_held_out: int = 500
    train: str = ""
    validation: str = ""
    test: str = ""
    test_unseen: str = ""
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """What to train on what, and how. Relative paths count from the working directory.

    Args:
        name: of the run.
        seed: of everything random: toy data, held-out parts, initial weights, order, dropout.
        on_error: what to do with bad records of a file, `stop` or `skip`.
        tasks: by name.
        tokenizer: options of `WhitespaceTokenizer.train`.
        encoder: fields of `EncoderConfig`, but `vocab_size`.
        train: fields of `TrainConfig`, but `seed`.
    """

    name: str
    tasks: dict[str, TaskRecipe]
    seed: int = 0
    on_error: str = "stop"
    tokenizer: dict[str, Any] = field(default_factory=dict)
    encoder: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)

    def to_toml(self) -> str:
        """A TOML file that `load_recipe` reads back, its paths absolute: it may lie anywhere."""
        lines = _toml_section({"name": self.name, "seed": self.seed, "on_error": self.on_error})
        sections = {name: getattr(self, name) for name in ("tokenizer", "encoder", "train")}
        for name, task in self.tasks.items():
            values = {key: value for key, value in vars(task).items() if key != "options"}
            files = {key: str(Path(values[key]).resolve()) for key in FILE_KEYS if values[key]}
            given = {key: value for key, value in values.items() if value != ""}
            sections[f"tasks.{_toml_key(name)}"] = given | files | task.options
        for name, section in sections.items():
            lines += ["", f"[{name}]", *_toml_section(section)]
        return "\n".join(lines) + "\n"


def bundled_recipes() -> dict[str, str]:
    """The recipes that come with the package: name and the first line of each."""
    files = (resources.files(__package__) / "recipes").iterdir()
    texts = {Path(f.name).stem: f.read_text(encoding="utf-8") for f in files if _is_toml(f.name)}
    return {name: texts[name].splitlines()[0].lstrip("# ") for name in sorted(texts)}


def load_recipe(name_or_path: str | Path, settings: Iterable[str] = ()) -> Recipe:
    """Read a recipe and change some of its values.

    Args:
        name_or_path: a bundled name such as `practical7`, or a TOML file.
        settings: `KEY=VALUE` strings, the key with dots as in `train.epochs=4`; the value as TOML,
            or a plain string.

    Raises:
        ConfigError: an unknown recipe or key (the nearest known one is named), a value of the wrong
            type, a file that is not TOML.
    """
    content, path = _read_recipe(name_or_path)
    for setting in settings:
        _apply_setting(content, setting)
    return _check_recipe(content, path)


def _is_toml(name: str) -> bool:
    return name.endswith(".toml")


def _read_recipe(name_or_path: str | Path) -> tuple[dict[str, Any], str]:
    path = Path(name_or_path)
    if not _is_toml(path.name):
        known = bundled_recipes()
        if str(name_or_path) not in known:
            raise ConfigError(
                "there is no such recipe",
                found=repr(str(name_or_path)),
                fix=f"{suggest(str(name_or_path), known)}; or give the path of a .toml file",
            )
        path = Path(str(resources.files(__package__) / "recipes" / f"{name_or_path}.toml"))
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")), str(name_or_path)
    except OSError as error:
        raise ConfigError(
            "the recipe cannot be read",
            path=path,
            found=error.strerror,
            fix=f"check the path, or use a bundled recipe: {', '.join(bundled_recipes())}",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the recipe is not TOML",
            path=path,
            found=str(error),
            fix="compare it with the bundled recipe practical7.toml",
        ) from None


def _apply_setting(content: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise ConfigError(
            "--set takes KEY=VALUE", found=repr(setting), fix="for example --set train.epochs=4"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, name = key.strip().split(".")
    section = content
    for part in sections:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise ConfigError(f"{part!r} is a value, not a section", found=repr(setting))
    section[name] = value


def _check_recipe(content: dict[str, Any], path: str) -> Recipe:
    types = {"name": str, "seed": int, "on_error": str, "tokenizer": dict, "encoder": dict}
    types |= {"train": dict, "tasks": dict}
    _check_keys(content, types, "", path)
    name = content.setdefault("name", Path(path).stem)
    if not name.strip() or set(name) & set("/\\"):
        raise ConfigError("the recipe's name must be a word without slashes", found=repr(name))
    if content.setdefault("on_error", "stop") not in ("stop", "skip"):
        raise ConfigError("on_error is stop or skip", path=path, found=repr(content["on_error"]))
    if not content.get("tasks"):
        raise ConfigError("the recipe has no task", path=path, fix="add a section [tasks.ner]")
    tokenizer = _types_of_parameters(WhitespaceTokenizer.train)
    _check_keys(content.get("tokenizer", {}), tokenizer, "tokenizer.", path)
    encoder = _types_of_fields(EncoderConfig, "vocab_size")
    _check_keys(content.get("encoder", {}), encoder, "encoder.", path)
    _check_keys(content.get("train", {}), _types_of_fields(TrainConfig, "seed"), "train.", path)
    tasks = {name: _check_task(name, task, path) for name, task in content["tasks"].items()}
    recipe = Recipe(**{**content, "tasks": tasks})
    EncoderConfig(vocab_size=1, **recipe.encoder)
    TrainConfig(seed=recipe.seed, **recipe.train)
    return recipe


def _check_task(name: str, section: Any, path: str) -> TaskRecipe:
    where = f"tasks.{name}."
    if not isinstance(section, dict) or "kind" not in section:
        raise ConfigError(
            f"the section [tasks.{name}] needs a kind",
            path=path,
            fix=f"kind is one of {', '.join(sorted(Task.kinds))}",
        )
    own = _types_of_fields(TaskRecipe, "options")
    options = _types_of_parameters(Task.of_kind(section["kind"]), "name", "dataset")
    _check_keys(section, own | options, where, path)
    task = TaskRecipe(
        **{key: value for key, value in section.items() if key in own},
        options={key: value for key, value in section.items() if key in options},
    )
    if task.train:
        return task
    given = [split for split in HELD_OUT if getattr(task, split)]
    if given:
        raise ConfigError(
            f"{where}{given[0]} names a file, but {where}train does not",
            path=path,
            fix=f"set {where}train=FILE too; toy data is never mixed with your own files",
        )
    for key, least in (("toy_train", 1), ("toy_held_out", 0)):
        if getattr(task, key) < least:
            raise ConfigError(
                f"{where}{key} must be at least {least}", path=path, found=str(getattr(task, key))
            )
    if not task.toy:
        raise ConfigError(
            f"the section [tasks.{name}] does not say what to train on",
            path=path,
            fix='add train = "FILE", or toy = "KIND"',
        )
    return task


def _types_of_fields(cls: type, *without: str) -> dict[str, type]:
    """The type of each field of a dataclass, from its default."""
    return {
        f.name: _plain_type(f.default if f.default_factory is MISSING else f.default_factory())
        for f in fields(cls)
        if f.name not in without
    }


def _types_of_parameters(function: Any, *without: str) -> dict[str, type]:
    """The type of each named parameter of a function or class, from its default."""
    parameters = inspect.signature(function).parameters.values()
    return {
        p.name: _plain_type(p.default)
        for p in parameters
        if p.name not in without and p.default is not inspect.Parameter.empty
    }


def _plain_type(default: Any) -> type:
    if isinstance(default, bool | int | float | str | dict):
        return type(default)
    return object


def _check_keys(section: Any, types: Mapping[str, type], where: str, path: str) -> None:
    """Raise ConfigError unless every key is known and its value of the known type."""
    if not isinstance(section, dict):
        raise ConfigError(f"{where.rstrip('.')} is a section, not a value", path=path)
    for key, value in section.items():
        if key not in types:
            raise ConfigError(f"unknown key {where}{key}", path=path, fix=suggest(key, types))
        wanted = types[key]
        accepted = (int, float) if wanted is float else wanted
        if not isinstance(value, accepted) or (isinstance(value, bool) and wanted in (int, float)):
            raise ConfigError(
                f"{where}{key} must be {TYPE_NAMES[wanted]}", path=path, found=repr(value)
            )


def _toml_section(values: Mapping[str, Any]) -> list[str]:
    return [f"{_toml_key(key)} = {_toml_value(value)}" for key, value in values.items()]


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml_value(key)


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(_toml_section(value)) + "}"
    # A JSON string, number, bool or list is TOML, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def build_tasks(recipe: Recipe) -> list[Task]:
    """The tasks of a recipe with their datasets, toy or read from files."""
    tasks = []
    for name, task in recipe.tasks.items():
        task_class = Task.of_kind(task.kind)
        if task.train:
            dataset = _read_dataset(task_class, task, recipe)
        else:
            sizes = (task.toy_train, task.toy_held_out, task.toy_held_out)
            dataset = toy_dataset(task.toy, *sizes, seed=recipe.seed)
            if not all(isinstance(e, task_class.example) for e in dataset.train):
                raise ConfigError(
                    f"tasks.{name}.toy is of another kind than the task",
                    found=f"toy = {task.toy!r}, kind = {task.kind!r}",
                )
        tasks.append(task_class(name, dataset, **task.options))
    return tasks


def _read_dataset(task_class: type[Task], task: TaskRecipe, recipe: Recipe) -> Dataset:
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
    texts = (text for task in tasks for text in task.dataset.training_texts())
    tokenizer = WhitespaceTokenizer.train(texts, **recipe.tokenizer)
    torch.manual_seed(recipe.seed)
    config = EncoderConfig(vocab_size=len(tokenizer), **recipe.encoder)
    return MultiTaskModel(TransformerEncoder(config), tokenizer, tasks)


def run_recipe(
    recipe: Recipe, output: str | Path, *, overwrite: bool = False, progress: bool = True
) -> dict[str, Any]:
    """Train, test once, and write the run folder.

    Args:
        output: the folder for model, metrics, history and loss curves; made if missing.
        overwrite: replace the results of a run that is already there.
        progress: show how it goes, on stderr.

    Returns:
        what stands in `metrics.json`.

    Raises:
        ConfigError: the folder holds a run, or anything else, already.
    """
    output = Path(output)
    check_folder(output, overwrite)
    tasks = build_tasks(recipe)
    model = build_model(recipe, tasks)
    if progress:
        tqdm.write(f"{recipe.name}, seed {recipe.seed}\n{model!r}", file=sys.stderr)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            "the output folder cannot be made",
            path=output,
            found=str(error),
            fix="give another --output",
        ) from None
    try:
        config = TrainConfig(seed=recipe.seed, **recipe.train)
        history = train(model, tasks, config, progress=progress)
        metrics = collect_metrics(recipe, model, tasks, history)
    except BaseException:
        with suppress(OSError):  # an empty folder is of no use; one with files stays
            output.rmdir()
        raise
    model.save_pretrained(output)
    history.write_csv(output / HISTORY_FILE)
    plot_losses(history).savefig(output / CURVES_FILE, dpi=120)
    write_atomically(output / RECIPE_FILE, recipe.to_toml())
    write_atomically(output / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")
    return metrics


def collect_metrics(
    recipe: Recipe, model: MultiTaskModel, tasks: list[Task], history: History
) -> dict[str, Any]:
    """What `metrics.json` holds; the test splits are read here, once."""
    return {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "train_seconds": round(history.seconds, 2),
        "parameters": sum(p.numel() for p in model.parameters()),
        "validation": history.best_validation,
        "test": score_split(model, tasks, "test"),
        "test_unseen": score_split(model, tasks, "test_unseen"),
        "baselines": {
            task.name: evaluate_baselines(model, task.name, task.dataset.test)
            for task in tasks
            if task.dataset.test
        },
    }


def score_split(model: MultiTaskModel, tasks: list[Task], split: str) -> Metrics:
    """Metrics of every task that has this split."""
    return {
        task.name: evaluate(model, task.name, task.dataset.split(split))
        for task in tasks
        if task.dataset.split(split)
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
        if not (output / METRICS_FILE).exists():
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
