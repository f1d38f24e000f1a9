"""What `--data` says goes in; the settings of a recipe that it stands for come out."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, Fault, suggest
from .overrides import tables
from .sections import FILE_KEYS


def data_settings(content: Mapping[str, Any], items: Iterable[str], path: str) -> list[str]:
    """The settings that stand for `--data`, such as `tasks.ner.train="my.conll"`.

    Args:
        content: of a recipe file.
        items: each a path, or `KEY=PATH`. The key is a split (`test`), the name of a dataset or
            task (`ner`), or both (`ner.test`).
        path: of the recipe, for messages.

    Raises:
        ConfigError: all items for which it is not clear which data of the recipe they replace.
    """
    sections, shared = _sections(content)
    keys = _keys(sections, shared)
    files: list[tuple[str, str]] = []
    faults: list[Fault] = []
    for item in items:
        key, file = split_data(item)
        try:
            if key is None:
                files += _files_without_key(file, sections)
            else:
                files.append((_setting_for(key, item, keys, sections), file))
        except ConfigError as error:
            faults += error.faults
    # Of two files for one split, the last would win, and nobody would know.
    times = Counter(setting for setting, _ in files)
    for setting in (setting for setting, n in times.items() if n > 1):
        faults.append(_said_twice(setting, [file for other, file in files if other == setting]))
    if faults:
        raise ConfigError.collect(faults).at(path)
    # In quotes: a path such as `1` or `true` would be read as a TOML value.
    return [f"{setting}={json.dumps(file, ensure_ascii=False)}" for setting, file in files]


def split_data(item: str) -> tuple[str | None, str]:
    """`ner=PATH` as its key and its path; a bare path has no key.

    What comes before the = of a path such as `./a=b.tsv` has a slash, so it is no key.
    """
    match = re.fullmatch(r"([^=/\\]+)=(.+)", item)
    return (match[1], match[2]) if match else (None, item)


def _sections(content: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The sections of a recipe that have data, and the tasks that use the data of another."""
    tasks = tables(content, "tasks")
    uses = {f"tasks.{name}": task["data"] for name, task in tasks.items() if _shares(task)}
    datasets = [name for name in tables(content, "datasets") if name in uses.values()]
    own = [f"tasks.{name}" for name in tasks if f"tasks.{name}" not in uses]
    return [*(f"datasets.{name}" for name in datasets), *own], list(uses)


def _shares(task: Mapping[str, Any]) -> bool:
    """Whether the section of a task uses a dataset of the recipe."""
    return bool(task.get("data")) and not (task.get("toy") or task.get("train"))


def _name(section: str) -> str:
    """`ner`, of the section `tasks.ner`."""
    return section.partition(".")[2]


def _keys(sections: Sequence[str], shared: Sequence[str]) -> dict[str, str]:
    """Every key that `--data` may have, and what it sets: `ner.test` sets `tasks.ner.test`."""
    keys: dict[str, str] = {}
    times = Counter(map(_name, sections))
    # Those with data come last: a dataset goes before a task of the same name that uses it.
    for section in (*shared, *sections):
        # Where a dataset and a task have the same name, only the whole name tells them apart.
        for name in (section,) if times[_name(section)] > 1 else (section, _name(section)):
            keys[name] = f"{section}.train"
            keys |= {f"{name}.{split}": f"{section}.{split}" for split in FILE_KEYS}
    if len(sections) == 1:
        keys |= {split: f"{sections[0]}.{split}" for split in FILE_KEYS}
    return keys


def _setting_for(key: str, item: str, keys: Mapping[str, str], sections: Sequence[str]) -> str:
    """What a key sets; ConfigError, with the nearest names, for an unknown one."""
    if key in keys:
        return keys[key]
    if key in FILE_KEYS:
        fix = " or ".join(f"--data {_name(section)}.{item}" for section in sections)
        raise ConfigError("which dataset is the data for?", found=item, fix=f"write {fix}")
    name, _, split = key.rpartition(".")
    if name in keys:
        fix = suggest(split, FILE_KEYS)
        raise ConfigError("--data names an unknown split", found=item, fix=fix)
    fix = suggest(key, sections if "." in key else [*map(_name, sections), *FILE_KEYS])
    if Path(item).exists():
        fix = f"if this is the name of a file, write ./{item}"
    raise ConfigError("--data names an unknown dataset", found=item, fix=fix)


def _files_without_key(file: str, sections: Sequence[str]) -> list[tuple[str, str]]:
    """The file, or folder, for a recipe with one dataset; the subfolders for one with several."""
    if len(sections) == 1:
        return [(f"{sections[0]}.train", file)]
    names = {section: _name(section) for section in sections}
    missing = [name for name in names.values() if not (Path(file) / name).is_dir()]
    if not missing:
        return [(f"{section}.train", str(Path(file) / name)) for section, name in names.items()]
    fix = "write " + " or ".join(f"--data {name}={file}" for name in names.values())
    if len(missing) < len(names):  # toy data for the others is seldom what was meant
        there = [name for name in names.values() if name not in missing]
        fix = f"add {Path(file) / missing[0]}; or, to replace only these, write --data " + " ".join(
            f"{name}={Path(file) / name}" for name in there
        )
        what = f"the folder has no folder for {' and '.join(missing)}"
        raise ConfigError(what, found=f"{file}, with {', '.join(there)}", fix=fix)
    what = "which dataset is the data for?"
    fix += f"; or give a folder that has the folders {' and '.join(names.values())}"
    raise ConfigError(what, found=file, fix=fix)


def _said_twice(setting: str, files: Sequence[str]) -> Fault:
    name = _name(setting).partition(".")[0]
    return Fault(
        f"--data names {len(files)} files for {setting}",
        found=", ".join(files),
        fix=f"leave one; or say what they are for, such as {name}.test={files[-1]}",
    )
