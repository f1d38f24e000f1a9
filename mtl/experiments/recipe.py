"""A TOML file with a whole experiment goes in, a Recipe comes out; and back.

`mtl.experiments.run` runs it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import OLD_NAMES, ConfigError, Fault, suggest
from ..registry import Find, find_class, import_class
from ..settings import check, raised_by, setting, settings_of
from ..tasks import Task
from ..tasks.base import fields_named
from ..training.config import TrainConfig
from .bundled import BUNDLED, bundled_recipes
from .data_option import data_settings
from .overrides import apply_settings, with_table
from .sections import FILE_KEYS, OF_MODEL, DatasetRecipe, TaskRecipe, content_faults
from .toml_text import section_lines, toml_key


def _check_name(name: str, _: str) -> None:
    if not name.strip() or set(name) & set("/\\"):
        raise ConfigError("the recipe's name must be a word without slashes", found=repr(name))


def _check_on_error(on_error: str, name: str) -> None:
    if on_error not in ("stop", "skip"):
        raise ConfigError(f"{name} must be stop or skip", found=repr(on_error))


def _check_has_task(tasks: dict[str, Any], _: str) -> None:
    if not tasks:
        raise ConfigError("the recipe has no task", fix="add a section [tasks.ner]")


@dataclass(frozen=True)
class Recipe:
    """What to train on what, and how. Relative paths count from the working directory.

    Args:
        name: the name of the run.
        seed: for everything random: toy data, held-out parts, initial weights, order, dropout.
        on_error: what to do with bad records in a file, `stop` or `skip`.
        strict: reject tags that break the scheme of their file, rather than repair and count them.
        tasks: by name.
        datasets: those that tasks share, by name.
        stages: training runs in order, each a dict of `TrainConfig` fields that differ from
            `train`, and `tasks`, the names of those that take part (by default all).
        tokenizer: options of `WhitespaceTokenizer.train`.
        encoder: fields of `EncoderConfig`, except `vocab_size`; `overlap`, the pieces that windows
            share; and `pretrained`, the folder or name of a checkpoint, which then decides the
            shape and the tokenizer.
        model: options of `MultiTaskModel`, such as `private_layers`.
        adapters: fields of `AdapterConfig`, for the tasks that have an adapter.
        train: fields of `TrainConfig`, except `seed`.

    Raises:
        ConfigError: impossible values, all reported together.
    """

    name: str = setting(check=_check_name)
    tasks: dict[str, TaskRecipe] = setting(check=_check_has_task)
    seed: int = setting(0, least=0, below=2**32)
    on_error: str = setting("stop", check=_check_on_error)
    strict: bool = False
    datasets: dict[str, DatasetRecipe] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)
    tokenizer: dict[str, Any] = field(default_factory=dict)
    encoder: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    adapters: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check(self)

    @property
    def encoder_shape(self) -> dict[str, Any]:
        """The fields of `EncoderConfig` in `encoder`: all except its windows and its checkpoint."""
        return {key: x for key, x in self.encoder.items() if key not in ("overlap", "pretrained")}

    def source_of(self, task: str) -> DatasetRecipe:
        """The dataset of a task: its own, or the one that it shares."""
        recipe = self.tasks[task]
        return recipe if recipe.has_own_data else self.datasets[recipe.data]

    def fields_of(self, task: str) -> dict[str, tuple[str, ...]]:
        """The fields of records, or columns of words, that the tasks on a task's dataset learn
        from, as readers take them: names in `fields`, numbers in `scores`."""
        source = self.source_of(task)
        found: dict[str, dict[str, None]] = {}  # dicts keep the order, and each name once
        for name, one in self.tasks.items():
            if self.source_of(name) is source:
                kind = Task.of_kind(one.kind)
                named = fields_named(one.options) or [kind.usual_field]
                found.setdefault(kind.field_holds, {}).update(dict.fromkeys(filter(None, named)))
        return {what: tuple(names) for what, names in found.items()}

    def to_toml(self) -> str:
        """A TOML file that `load_recipe` reads back; absolute paths let it be anywhere."""
        top = {"name": self.name, "seed": self.seed, "on_error": self.on_error}
        lines = section_lines(top | ({"strict": True} if self.strict else {}))
        names = ("tokenizer", "encoder", "model", "adapters", "train")
        sections = {name: getattr(self, name) for name in names}
        checkpoint = Path(self.encoder.get("pretrained", ""))
        # A name on the hub stays a name.
        if self.encoder.get("pretrained") and checkpoint.is_dir():
            sections["encoder"] = self.encoder | {"pretrained": str(checkpoint.resolve())}
        shared = {task.data for task in self.tasks.values() if not task.has_own_data}
        for name, dataset in self.datasets.items():
            if name not in shared:
                continue
            sections[f"datasets.{toml_key(name)}"] = _data_section(dataset)
        for name, task in self.tasks.items():
            own = _data_section(task) if task.has_own_data else {"data": task.data}
            own |= {key: x for key in OF_MODEL if (x := getattr(task, key))}
            sections[f"tasks.{toml_key(name)}"] = {"kind": task.kind} | own | task.options
        for name, section in sections.items():
            lines += ["", f"[{name}]", *section_lines(section)]
        for stage in self.stages:
            lines += ["", "[[stages]]", *section_lines(stage)]
        return "\n".join(lines) + "\n"

    def train_config(self, **changes: Any) -> TrainConfig:
        """How to train, from the section `[train]`, with some settings changed: `epochs=3`.

        Stages are ignored: `train_configs` has the settings of each.

        Raises:
            ConfigError: an unknown setting, or an impossible value.
        """
        settings: dict[str, Any] = {"seed": self.seed} | self.train | changes
        return TrainConfig(**settings)

    @cached_property
    def train_configs(self) -> list[tuple[TrainConfig, list[str]]]:
        """How each stage is trained, and the names of its tasks; one stage if none are given."""
        configs = []
        for stage in self.stages or [{}]:
            settings = {key: value for key, value in stage.items() if key != "tasks"}
            config = self.train_config(**settings)
            names = stage.get("tasks", list(self.tasks))
            resting = self.tasks.keys() - set(names)
            # The weight of a task that rests in this stage would be for an unknown task.
            weights = {t: w for t, w in config.loss_weights.items() if t not in resting}
            configs.append((replace(config, loss_weights=weights), names))
        return configs


def _data_section(dataset: DatasetRecipe) -> dict[str, Any]:
    """The keys of a dataset that are set, its paths absolute."""
    values = {f.name: getattr(dataset, f.name) for f in fields(DatasetRecipe)}
    files = {key: str(Path(values[key]).resolve()) for key in FILE_KEYS if values[key]}
    unset = vars(DatasetRecipe())
    # What is empty by default need not be written; a default that was emptied must be.
    return {key: value for key, value in values.items() if value or unset[key]} | files


def load_recipe(
    name_or_path: str | Path,
    settings: Iterable[str] = (),
    *,
    data: str | Path | Iterable[str | Path] = (),
    preset: str | None = None,
    hardware: str | None = None,
) -> Recipe:
    """Read a recipe and change some of its values: by preset, then hardware, then settings.

    Your own task, weighting or aggregation is named `mymodule:MyTask`: reading the recipe imports
    `mymodule`, which may be in the working directory.

    Setting a `train` file also removes the validation and test files that the recipe names for the
    same data, unless they are set too.

    Args:
        name_or_path: a bundled name such as `practical7`, or a TOML file.
        data: what to train on instead of the recipe's data, one or several of: the path of a file
            or folder; `SPLIT=PATH` for one split; `NAME=PATH` or `NAME.SPLIT=PATH` where the
            recipe has several datasets. See `docs/data.md`.
        preset, hardware: a table `[presets.NAME]`, `[hardware.NAME]` of the recipe.
        settings: `KEY=VALUE` strings, the key with dots as in `train.epochs=4`; the value as TOML,
            or a plain string.

    Raises:
        ConfigError: an unknown recipe or preset, a file that is not TOML; or everything wrong with
            the settings, then with keys and values in the order of the file (with the nearest known
            name).
    """
    if isinstance(settings, str):
        fix = f"give a list: [{settings!r}]"
        raise ConfigError("the settings are one text, not a list of them", found=settings, fix=fix)
    content, path = _read_recipe(name_or_path)
    content = with_table(content, "presets", preset, path)
    content = with_table(content, "hardware", hardware, path)
    items = [data] if isinstance(data, str | Path) else data
    # Before the settings, so that --set can still change what --data set.
    settings = [*data_settings(content, map(str, items), path), *settings]
    faults = raised_by(apply_settings, content, settings, path)
    # The user chose this file, so the modules it names may be imported.
    return recipe_of(content, path, faults, import_class)


def recipe_of(
    content: dict[str, Any], path: str, faults: Sequence[Fault] = (), find: Find = find_class
) -> Recipe:
    """The recipe that the content of a TOML file describes.

    Args:
        path: where the content comes from; the recipe's name, if it does not give one.
        faults: those found on the way to this content, reported before its own.
        find: how the classes of tasks and methods are found; `import_class` imports their modules.

    Raises:
        ConfigError: everything that is wrong with it.
    """
    content = content | {
        "name": content.get("name", Path(path).stem),
        "tasks": content.get("tasks", {}),
    }
    # Before anything is built from it: a dataclass would stop at the first wrong section.
    if faults := [*faults, *content_faults(content, settings_of(Recipe), find)]:
        raise ConfigError.collect(faults).at(path)
    tasks = {name: _task_of(section) for name, section in content["tasks"].items()}
    datasets = {n: DatasetRecipe(**section) for n, section in content.get("datasets", {}).items()}
    values: dict[str, Any] = content | {"tasks": tasks, "datasets": datasets}
    return Recipe(**values)


def _task_of(section: dict[str, Any]) -> TaskRecipe:
    """A task of a recipe; keys not common to all tasks are options of its class."""
    common = settings_of(TaskRecipe, "options")
    options = settings_of(Task.of_kind(section["kind"]), "name", "dataset")
    return TaskRecipe(
        **{key: value for key, value in section.items() if key in common},
        options={key: value for key, value in section.items() if key in options},
    )


def check_recipe(recipe: Any) -> None:
    """Raise ConfigError unless this is a recipe, rather than its name."""
    if not isinstance(recipe, Recipe):
        raise ConfigError(
            "the first argument is not a recipe",
            found=repr(recipe)[:80],
            fix="mtl.load_recipe(NAME) reads one",
        )


def _is_toml(name: str) -> bool:
    return name.endswith(".toml")


def _read_recipe(name_or_path: str | Path) -> tuple[dict[str, Any], str]:
    """The content of a bundled recipe or a file, and what to call it."""
    path = Path(name_or_path)
    # Without the extension it is a bundled name: a folder `practical7` must not get in the way.
    if not _is_toml(path.name):
        known = bundled_recipes()
        if str(name_or_path) not in known:
            raise ConfigError(
                "there is no such recipe",
                found=repr(str(name_or_path)),
                fix=f"{suggest(str(name_or_path), known)}; or give the path of a .toml file",
            )
        path = Path(str(BUNDLED / f"{name_or_path}.toml"))
    return read_toml(path), str(name_or_path)


def recipe_of_run(path: Path) -> Recipe:
    """The recipe that a run folder holds, whichever version wrote it.

    The folder may come from anyone: no module that it names is imported.
    """
    return recipe_of(read_run_toml(path), str(path))


def read_run_toml(path: Path) -> dict[str, Any]:
    """The content of a run folder's recipe file, in today's names."""
    content = read_toml(path)
    # Here old names are not a mistake: the version that wrote the file had them.
    for section in (content.get("train", {}), *content.get("stages", [])):
        for old in OLD_NAMES.keys() & section.keys():
            section[OLD_NAMES[old]] = section.pop(old)
    return content


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a recipe file, not checked yet.

    Raises:
        ConfigError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
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
