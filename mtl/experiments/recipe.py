"""A whole experiment as one readable TOML file: read, check, write.

recipe file -> Recipe; `mtl.experiments.run` runs it.
"""

from __future__ import annotations

import inspect
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from datetime import date, time
from importlib import resources
from pathlib import Path
from typing import Any

from ..data.tokenizers.whitespace import WhitespaceTokenizer
from ..errors import ConfigError, suggest
from ..model import OVERLAP, MultiTaskModel, check_overlap
from ..nn.encoder import EncoderConfig
from ..tasks import Task
from ..training.config import TrainConfig

HELD_OUT = ("validation", "test", "test_unseen")
TYPE_NAMES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: 'a text in quotes, such as "ner"',
    dict: "a section of keys and values",
    list: "a list in square brackets",
}
FILE_KEYS = ("train", *HELD_OUT)


@dataclass(frozen=True, kw_only=True)
class DatasetRecipe:
    """Where examples come from.

    Args:
        toy: kind of toy data, where no file is given.
        toy_train: how many toy examples to train on.
        toy_held_out: how many in each of the other splits.
        train: a file to train on, instead of toy data. Without a validation (test) file, a tenth
            of its texts, drawn by the seed, is held out for validation (test).
            It may be a folder with a file for each split.
        validation, test, test_unseen: files for the other splits.
        column: of the tags, or of the label in a table, in all its files: a number from 1 or a
            name; by default it is found.
        label_names: what tags or labels that are whole numbers mean, in order from 0.
        limit: train on no more than so many examples, drawn by the seed; 0 for all.
        share: train on this share of the examples, drawn by the seed; the smaller of the two holds.
        augment: how many changed copies of each training example are added; see `augment`.
        synonyms: for `augment`, by word.
    """

    toy: str = ""
    toy_train: int = 2000
    toy_held_out: int = 500
    train: str = ""
    validation: str = ""
    test: str = ""
    test_unseen: str = ""
    column: Any = None
    label_names: list[str] = field(default_factory=list)
    limit: int = 0
    share: float = 1.0
    augment: int = 0
    synonyms: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskRecipe(DatasetRecipe):
    """One task of a recipe, with a dataset of its own or one that it shares.

    Args:
        kind: of the task class, for example `ner`.
        data: name of a dataset of the recipe; a task that names its own `toy` or `train` does not
            use it. Tasks on one dataset share its batches: one pass of the encoder serves them all.
        options: what the task's class takes besides its name and dataset.
    """

    kind: str
    data: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def has_own_data(self) -> bool:
        return bool(self.toy or self.train)


@dataclass(frozen=True)
class Recipe:
    """What to train on what, and how. Relative paths count from the working directory.

    Args:
        name: of the run.
        seed: of everything random: toy data, held-out parts, initial weights, order, dropout.
        on_error: what to do with bad records of a file, `stop` or `skip`.
        strict: refuse tags that break the scheme of their file, rather than repair and count them.
        tasks: by name.
        datasets: that tasks share, by name.
        stages: trainings one after the other, each a dict of `TrainConfig` fields that differ from
            `train`, and `tasks`, the names of those that take part (by default all).
        tokenizer: options of `WhitespaceTokenizer.train`.
        encoder: fields of `EncoderConfig`, but `vocab_size`; `overlap`, the pieces that windows
            share; and `pretrained`, the folder or name of a checkpoint, which then decides the
            shape and the tokenizer.
        model: options of `MultiTaskModel`, such as `private_layers`.
        train: fields of `TrainConfig`, but `seed`.
    """

    name: str
    tasks: dict[str, TaskRecipe]
    seed: int = 0
    on_error: str = "stop"
    strict: bool = False
    datasets: dict[str, DatasetRecipe] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    tokenizer: dict[str, Any] = field(default_factory=dict)
    encoder: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)

    @property
    def encoder_shape(self) -> dict[str, Any]:
        """The fields of `EncoderConfig` in `encoder`: all but its windows and its checkpoint."""
        return {key: x for key, x in self.encoder.items() if key not in ("overlap", "pretrained")}

    def source_of(self, task: str) -> DatasetRecipe:
        """The dataset of a task: its own, or the one that it shares."""
        recipe = self.tasks[task]
        return recipe if recipe.has_own_data else self.datasets[recipe.data]

    def fields_of(self, task: str) -> list[str]:
        """The fields of records that the tasks on a task's dataset name with `field`."""
        source = self.source_of(task)
        together = [t for name, t in self.tasks.items() if self.source_of(name) is source]
        fields = (t.options.get("field") for t in together)
        return list(dict.fromkeys(field for field in fields if field))

    def to_toml(self) -> str:
        """A TOML file that `load_recipe` reads back, its paths absolute: it may lie anywhere."""
        top = {"name": self.name, "seed": self.seed, "on_error": self.on_error}
        lines = _toml_section(top | ({"strict": True} if self.strict else {}))
        sections = {
            name: getattr(self, name) for name in ("tokenizer", "encoder", "model", "train")
        }
        checkpoint = Path(self.encoder.get("pretrained", ""))
        if self.encoder.get("pretrained") and checkpoint.is_dir():
            sections["encoder"] = self.encoder | {"pretrained": str(checkpoint.resolve())}
        shared = {task.data for task in self.tasks.values() if not task.has_own_data}
        for name, dataset in self.datasets.items():
            if name not in shared:
                continue
            sections[f"datasets.{_toml_key(name)}"] = _data_section(dataset)
        for name, task in self.tasks.items():
            own = _data_section(task) if task.has_own_data else {"data": task.data}
            sections[f"tasks.{_toml_key(name)}"] = {"kind": task.kind} | own | task.options
        for name, section in sections.items():
            lines += ["", f"[{name}]", *_toml_section(section)]
        for stage in self.stages:
            lines += ["", "[[stages]]", *_toml_section(stage)]
        return "\n".join(lines) + "\n"

    def train_configs(self) -> list[tuple[TrainConfig, list[str]]]:
        """How each stage is trained, and the names of its tasks; one stage if none are given."""
        configs = []
        for stage in self.stages or [{}]:
            settings = {key: value for key, value in stage.items() if key != "tasks"}
            config = TrainConfig(seed=self.seed, **(self.train | settings))
            names = stage.get("tasks", list(self.tasks))
            resting = self.tasks.keys() - set(names)
            weights = {t: w for t, w in config.loss_weights.items() if t not in resting}
            configs.append((replace(config, loss_weights=weights), names))
        return configs


def _data_section(dataset: DatasetRecipe) -> dict[str, Any]:
    """The keys of a dataset that are set, its paths absolute."""
    values = {f.name: getattr(dataset, f.name) for f in fields(DatasetRecipe)}
    files = {key: str(Path(values[key]).resolve()) for key in FILE_KEYS if values[key]}
    unset = vars(DatasetRecipe())
    return {key: value for key, value in values.items() if value or unset[key]} | files


def bundled_recipes() -> dict[str, str]:
    """The recipes that come with the package: name and the first line of each."""
    files = (resources.files(__package__) / "recipes").iterdir()
    texts = {Path(f.name).stem: f.read_text(encoding="utf-8") for f in files if _is_toml(f.name)}
    return {name: texts[name].splitlines()[0].lstrip("# ") for name in sorted(texts)}


def load_recipe(
    name_or_path: str | Path,
    settings: Iterable[str] = (),
    *,
    data: Iterable[str] = (),
    preset: str | None = None,
    hardware: str | None = None,
) -> Recipe:
    """Read a recipe and change some of its values: by its preset, then hardware, then settings.

    A setting of a `train` file also takes away the validation and test files that the recipe names
    for the same data, unless they are set too.

    Args:
        name_or_path: a bundled name such as `practical7`, or a TOML file.
        data: files or folders to train on instead of the recipe's: a path where the recipe has one
            dataset, else `tasks.NAME=PATH` or `datasets.NAME=PATH`.
        preset, hardware: a table `[presets.NAME]`, `[hardware.NAME]` of the recipe.
        settings: `KEY=VALUE` strings, the key with dots as in `train.epochs=4`; the value as TOML,
            or a plain string.

    Raises:
        ConfigError: an unknown recipe, preset or key (the nearest known one is named), a value of
            the wrong type, a file that is not TOML.
    """
    content, path = _read_recipe(name_or_path)
    for kind, chosen in (("presets", preset), ("hardware", hardware)):
        tables = content.pop(kind, {})
        if chosen is not None:
            content = _overlay(content, _choose_table(kind, tables, chosen, path))
    settings = [*(_data_setting(content, item, path) for item in data), *settings]
    # A file to train on first: it takes others away, which may be set again.
    for setting in sorted(settings, key=lambda setting: not _sets_train_file(setting)):
        _apply_setting(content, setting)
    return _check_recipe(content, path)


def _choose_table(kind: str, tables: Any, name: str, path: str) -> dict[str, Any]:
    tables = tables if isinstance(tables, dict) else {}
    known = {key: table for key, table in tables.items() if isinstance(table, dict)}
    if name not in known:
        raise ConfigError(
            f"the recipe has no table [{kind}.{name}]",
            path=path,
            fix=suggest(name, known) if known else f"this recipe has no {kind}: leave it out",
        )
    return known[name]


def _overlay(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`content` with the values of `changes` in the place of its own, section by section."""
    merged = dict(content)
    for key, value in changes.items():
        is_section = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _overlay(merged[key], value) if is_section else value
    return merged


def _sets_train_file(setting: str) -> bool:
    return re.match(r"\s*(tasks|datasets)\.[^.=]+\.train\s*=", setting) is not None


def split_data(item: str) -> tuple[str | None, str]:
    """`tasks.ner=PATH` as the section it names and the path; a bare path without a section."""
    match = re.fullmatch(r"((?:tasks|datasets)\.[^.=/\\]+)(?:\.train)?=(.+)", item)
    return (match[1], match[2]) if match else (None, item)


def _data_setting(content: dict[str, Any], item: str, path: str) -> str:
    """The setting that `--data` stands for."""
    section, file = split_data(item)
    tasks, datasets = (content.get(key, {}) for key in ("tasks", "datasets"))
    own = {n: t for n, t in tasks.items() if isinstance(t, dict) and not _shares(t)}
    shared = {t["data"] for t in tasks.values() if isinstance(t, dict) and _shares(t)}
    known = [f"datasets.{n}" for n in datasets if n in shared] + [f"tasks.{n}" for n in own]
    if section is None and len(known) != 1:
        raise ConfigError(
            "which dataset is the data for?",
            path=path,
            found=item,
            fix="write " + " or ".join(f"--data {name}={item}" for name in known),
        )
    if section not in (None, *known, *(f"tasks.{name}" for name in tasks)):
        raise ConfigError(
            "--data names an unknown dataset", path=path, found=item, fix=suggest(section, known)
        )
    return f"{section or known[0]}.train={json.dumps(file, ensure_ascii=False)}"


def _shares(task: dict[str, Any]) -> bool:
    """Whether the section of a task uses a dataset of the recipe."""
    return bool(task.get("data")) and not (task.get("toy") or task.get("train"))


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
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or nested too deeply
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
    except (ValueError, RecursionError):
        value = text
    *sections, name = key.strip().split(".")
    section: Any = content
    for part in sections:
        section = _subsection(section, part, setting)
    if _sets_train_file(setting):
        for split in HELD_OUT:
            section.pop(split, None)
    section[_entry(section, name, setting) if isinstance(section, list) else name] = value


def _subsection(section: dict[str, Any] | list[Any], part: str, setting: str) -> Any:
    """The section `part`; of a list such as `stages`, the entry of that number, from 0."""
    if isinstance(section, list):
        section = section[_entry(section, part, setting)]
    else:
        section = section.setdefault(part, {})
    if not isinstance(section, dict | list):
        raise ConfigError(f"{part!r} is a value, not a section", found=repr(setting))
    return section


def _entry(entries: list[Any], part: str, setting: str) -> int:
    if not part.isdecimal() or int(part) >= len(entries):
        raise ConfigError(
            f"there is no entry {part!r} in the list", found=repr(setting), fix="count from 0"
        )
    return int(part)


def _check_recipe(content: dict[str, Any], path: str) -> Recipe:
    types = {"name": str, "seed": int, "on_error": str, "strict": bool}
    types |= {"tokenizer": dict, "encoder": dict}
    types |= {"model": dict, "train": dict, "tasks": dict, "datasets": dict, "stages": list}
    _check_keys(content, types, "", path)
    name = content.setdefault("name", Path(path).stem)
    if not name.strip() or set(name) & set("/\\"):
        raise ConfigError("the recipe's name must be a word without slashes", found=repr(name))
    if content.setdefault("on_error", "stop") not in ("stop", "skip"):
        raise ConfigError("on_error is stop or skip", path=path, found=repr(content["on_error"]))
    if not content.get("tasks"):
        raise ConfigError("the recipe has no task", path=path, fix="add a section [tasks.ner]")
    tokenizer = _types_of_parameters(WhitespaceTokenizer.train, "texts")
    _check_keys(content.get("tokenizer", {}), tokenizer, "tokenizer.", path)
    encoder = _types_of_fields(EncoderConfig, "vocab_size") | {"overlap": int, "pretrained": str}
    _check_keys(content.get("encoder", {}), encoder, "encoder.", path)
    model = _types_of_parameters(MultiTaskModel, "encoder", "tokenizer", "tasks", "overlap")
    _check_keys(content.get("model", {}), model, "model.", path)
    _check_keys(content.get("train", {}), _types_of_fields(TrainConfig, "seed"), "train.", path)
    datasets = {
        name: _check_dataset(name, dataset, path)
        for name, dataset in content.get("datasets", {}).items()
    }
    tasks = {
        name: _check_task(name, task, datasets, path) for name, task in content["tasks"].items()
    }
    unused = sorted(datasets.keys() - {task.data for task in tasks.values()})
    if unused:
        raise ConfigError(
            f"no task uses the dataset {unused[0]!r}",
            path=path,
            found=f"[datasets.{unused[0]}]",
            fix=suggest(unused[0], datasets.keys() - set(unused))
            if len(unused) < len(datasets)
            else f'add data = "{unused[0]}" to a task, or take the section out',
        )
    for i, stage in enumerate(content.get("stages", [])):
        _check_stage(f"stages.{i}.", stage, tasks, path)
    if content.get("stages"):
        trained = {name for stage in content["stages"] for name in stage.get("tasks", tasks)}
        resting = sorted(tasks.keys() - trained)
        if resting:
            raise ConfigError(
                f"no stage trains the task {resting[0]!r}",
                path=path,
                fix="name it in the tasks of a stage, or take its section out",
            )
    recipe = Recipe(**{**content, "tasks": tasks, "datasets": datasets})
    EncoderConfig(vocab_size=1, **recipe.encoder_shape)
    check_overlap(recipe.encoder.get("overlap", OVERLAP))
    recipe.train_configs()
    return recipe


def _check_stage(where: str, stage: Any, tasks: Mapping[str, Any], path: str) -> None:
    _check_keys(stage, _types_of_fields(TrainConfig, "seed") | {"tasks": list}, where, path)
    if not stage.get("tasks", tasks):
        raise ConfigError(f"{where}tasks is empty", path=path, fix="name a task, or leave it out")
    for name in stage.get("tasks", []):
        if not isinstance(name, str) or name not in tasks:
            raise ConfigError(
                f"{where}tasks names an unknown task",
                path=path,
                found=repr(name),
                fix=suggest(str(name), tasks),
            )


def _check_dataset(name: str, section: Any, path: str) -> DatasetRecipe:
    where = f"datasets.{name}."
    _check_keys(section, _types_of_fields(DatasetRecipe), where, path)
    dataset = DatasetRecipe(**section)
    _check_source(dataset, where, path)
    return dataset


def _check_task(
    name: str, section: Any, datasets: Mapping[str, DatasetRecipe], path: str
) -> TaskRecipe:
    where = f"tasks.{name}."
    if not isinstance(section, dict) or "kind" not in section:
        raise ConfigError(
            f"the section [tasks.{name}] needs a kind",
            path=path,
            fix=f"kind is one of {', '.join(sorted(Task.kinds))}",
        )
    own = _types_of_fields(TaskRecipe, "options")
    task_class = Task.of_kind(section["kind"])
    options = _types_of_parameters(task_class, "name", "dataset")
    _check_keys(section, own | options, where, path)
    for option in _required(task_class, "name", "dataset"):
        if option not in section:
            raise ConfigError(
                f"{where}{option} is missing",
                path=path,
                fix=f"set it: a task of the kind {section['kind']!r} has no default for it",
            )
    task = TaskRecipe(
        **{key: value for key, value in section.items() if key in own},
        options={key: value for key, value in section.items() if key in options},
    )
    if task.has_own_data or not task.data:
        _check_source(task, where, path)
        return task
    if task.data not in datasets:
        raise ConfigError(
            f"{where}data names an unknown dataset",
            path=path,
            found=repr(task.data),
            fix=suggest(task.data, datasets) if datasets else "add a section [datasets.NAME]",
        )
    stray = [key for key in section if key in _types_of_fields(DatasetRecipe)]
    if stray:
        raise ConfigError(
            f"{where}{stray[0]} has no effect, since the task uses the dataset {task.data!r}",
            path=path,
            fix=f"set datasets.{task.data}.{stray[0]}",
        )
    return task


def _check_source(dataset: DatasetRecipe, where: str, path: str) -> None:
    """Raise ConfigError unless it is said, once, where the examples come from."""
    for key, least in (("toy_train", 1), ("toy_held_out", 0), ("limit", 0), ("augment", 0)):
        if getattr(dataset, key) < least:
            raise ConfigError(
                f"{where}{key} must be at least {least}",
                path=path,
                found=str(getattr(dataset, key)),
            )
    if not 0 < dataset.share <= 1:
        raise ConfigError(
            f"{where}share must be above 0 and at most 1", path=path, found=str(dataset.share)
        )
    if not isinstance(dataset.column, str | int | None) or isinstance(dataset.column, bool):
        raise ConfigError(
            f"{where}column is the number of a column, from 1, or its name",
            path=path,
            found=repr(dataset.column),
        )
    if not all(map(_is_filled, dataset.label_names)):
        raise ConfigError(
            f"{where}label_names must be a list of names",
            path=path,
            found=repr(dataset.label_names),
        )
    for word, others in dataset.synonyms.items():
        if not (isinstance(others, list) and others and all(_is_filled(o) for o in others)):
            raise ConfigError(
                f"{where}synonyms.{word} must be a list of texts", path=path, found=repr(others)
            )
    if dataset.train:
        return
    given = [split for split in HELD_OUT if getattr(dataset, split)]
    if given:
        raise ConfigError(
            f"{where}{given[0]} names a file, but {where}train does not",
            path=path,
            fix=f"set {where}train=FILE too; toy data is never mixed with your own files",
        )
    if not dataset.toy:
        raise ConfigError(
            f"the section [{where.rstrip('.')}] does not say what to train on",
            path=path,
            fix='add train = "FILE", or toy = "KIND"',
        )


def _is_filled(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _types_of_fields(cls: type, *without: str) -> dict[str, type]:
    """The type of each field of a dataclass, from its default."""
    return {
        f.name: _plain_type(f.default if f.default_factory is MISSING else f.default_factory())
        for f in fields(cls)
        if f.name not in without
    }


def _types_of_parameters(function: Any, *without: str) -> dict[str, type]:
    """The type of each named parameter of a function or class, from its default if it has one."""
    parameters = inspect.signature(function).parameters.values()
    return {
        p.name: _plain_type(p.default)
        for p in parameters
        if p.name not in without and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }


def _required(function: Any, *without: str) -> list[str]:
    """The named parameters of a function or class that have no default."""
    parameters = inspect.signature(function).parameters
    named = _types_of_parameters(function, *without)
    return [name for name in named if parameters[name].default is inspect.Parameter.empty]


def _plain_type(default: Any) -> type:
    if isinstance(default, bool | int | float | str | dict):
        return type(default)
    return list if isinstance(default, tuple) else object


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
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, float):
        return repr(value)  # inf and nan too, which JSON writes otherwise
    if isinstance(value, date | time):
        return value.isoformat()
    # A JSON string, whole number or bool is TOML, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
