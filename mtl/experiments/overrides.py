"""The content of a recipe file goes in; it comes out as changed by presets, --data and --set."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ConfigError, Fault, suggest

HELD_OUT = ("validation", "test", "test_unseen")
# A key that every such section must have, so that setting it may start a new section.
FIRST_KEYS = {"datasets": ("toy", "train"), "tasks": ("kind",)}


def with_table(content: dict[str, Any], kind: str, chosen: str | None, path: str) -> dict[str, Any]:
    """The content without its tables of a kind, and with the values of the chosen one.

    Args:
        kind: `presets` or `hardware`.
        chosen: name of a table of this kind; None for none.

    Raises:
        ConfigError: there is no such table; the message names the nearest one.
    """
    # The tables are removed, chosen or not: a recipe itself has no such section.
    rest = {key: value for key, value in content.items() if key != kind}
    if chosen is None:
        return rest
    tables = _tables(content, kind)
    if chosen not in tables:
        raise ConfigError(
            f"the recipe has no table [{kind}.{chosen}]",
            path=path,
            fix=suggest(chosen, tables) if tables else f"this recipe has no {kind}: leave it out",
        )
    return _overlay(rest, tables[chosen])


def _tables(content: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """The tables `[kind.NAME]` by name; what is not a table is left for the checks."""
    tables = content.get(kind)
    tables = tables if isinstance(tables, dict) else {}
    return {name: table for name, table in tables.items() if isinstance(table, dict)}


def _overlay(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`content` with its values replaced by those of `changes`, section by section."""
    merged = dict(content)
    for key, value in changes.items():
        is_section = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _overlay(merged[key], value) if is_section else value
    return merged


# --- data -----------------------------------------------------------------------------------------


def split_data(item: str) -> tuple[str | None, str]:
    """`tasks.ner=PATH` as the section it names and the path; a bare path has no section."""
    match = re.fullmatch(r"((?:tasks|datasets)\.[^.=/\\]+)(?:\.train)?=(.+)", item)
    return (match[1], match[2]) if match else (None, item)


def data_setting(content: Mapping[str, Any], item: str, path: str) -> str:
    """The setting that `--data` stands for, such as `tasks.ner.train="my.conll"`.

    Raises:
        ConfigError: it is not clear which data of the recipe it replaces.
    """
    section, file = split_data(item)
    tasks = _tables(content, "tasks")
    own = [f"tasks.{name}" for name, task in tasks.items() if not _shares(task)]
    shared = [task["data"] for task in tasks.values() if _shares(task)]
    known = [f"datasets.{name}" for name in _tables(content, "datasets") if name in shared] + own
    if section is None:
        if len(known) != 1:
            raise ConfigError(
                "which dataset is the data for?",
                path=path,
                found=item,
                fix="write " + " or ".join(f"--data {name}={item}" for name in known),
            )
        section = known[0]
    elif section not in (*known, *(f"tasks.{name}" for name in tasks)):
        raise ConfigError(
            "--data names an unknown dataset", path=path, found=item, fix=suggest(section, known)
        )
    # In quotes: a path such as `1` or `true` would be read as a TOML value.
    return f"{section}.train={json.dumps(file, ensure_ascii=False)}"


def _shares(task: Mapping[str, Any]) -> bool:
    """Whether the section of a task uses a dataset of the recipe."""
    return bool(task.get("data")) and not (task.get("toy") or task.get("train"))


# --- settings -------------------------------------------------------------------------------------


def apply_settings(content: dict[str, Any], settings: Iterable[str], path: str) -> None:
    """Change the content by `KEY=VALUE` strings; later ones override earlier ones.

    A file to train on comes first: it removes others, which may then be set again.

    Raises:
        ConfigError: all settings that are malformed, or are for what is not there; the others have
            been applied, so that the content can be checked all the same.
    """
    settings = list(settings)
    faults: list[Fault] = []
    # False sorts first, and `sorted` keeps the order of equals.
    for setting in sorted(settings, key=lambda setting: not _sets_train_file(setting)):
        try:
            _check_section_exists(content, setting, settings)
            _apply_setting(content, setting)
        except ConfigError as error:
            faults += error.faults
    if faults:
        raise ConfigError.collect(faults).at(path)


def _sets_train_file(setting: str) -> bool:
    return re.match(r"\s*(tasks|datasets)\.[^.=]+\.train\s*=", setting) is not None


def _check_section_exists(
    content: Mapping[str, Any], setting: str, settings: Iterable[str]
) -> None:
    """Raise ConfigError for a setting of a dataset or task that neither file nor setting creates.

    It would create a section with this one key, and the fault found would be what else is missing.
    A stage cannot be created like this at all.
    """
    if re.match(r"\s*stages\.", setting) and "stages" not in content:
        raise ConfigError(
            "the recipe has no stages",
            found=repr(setting),
            fix="write a section [[stages]] for each into a recipe file",
        )
    match = re.match(r"\s*(datasets|tasks)\.([^.=]+)\.", setting)
    if not match:
        return
    kind, name = match.groups()
    here = rf"\s*{kind}\.{re.escape(name)}"
    first_keys = "|".join(FIRST_KEYS[kind])
    is_made = any(re.match(rf"{here}(\.({first_keys}))?\s*=", other) for other in settings)
    known = content.get(kind, {})
    if is_made or not isinstance(known, dict) or name in known:
        return
    key = setting.strip()[match.end() :].partition("=")[0].strip()
    elsewhere = " or ".join(f"tasks.{task}.{key}" for task in _tables(content, "tasks"))
    raise ConfigError(
        f"the recipe has no {kind.removesuffix('s')} {name!r}",
        found=repr(setting),
        fix=suggest(name, known) if known else f"its tasks have their own data: {elsewhere}",
    )


def _apply_setting(content: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    *sections, name = key.strip().split(".")
    if not equals or not all((*sections, name)):
        raise ConfigError(
            "--set takes KEY=VALUE", found=repr(setting), fix="for example --set train.epochs=4"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        # So nobody has to quote a plain name twice, for the shell and for TOML.
        value = text
    section: Any = content
    for part in sections:
        section = _subsection(section, part, setting)
    if _sets_train_file(setting):
        for split in HELD_OUT:
            # The recipe's own test file must never score a model trained on other data.
            section.pop(split, None)
    section[_entry(section, name, setting) if isinstance(section, list) else name] = value


def _subsection(section: dict[str, Any] | list[Any], part: str, setting: str) -> Any:
    """The section `part`; in a list such as `stages`, the entry with that number, from 0."""
    if isinstance(section, list):
        section = section[_entry(section, part, setting)]
    else:
        # A setting may start a section that the recipe does not have, such as `model`.
        section = section.setdefault(part, {})
    if not isinstance(section, dict | list):
        raise ConfigError(
            f"{part!r} is a value, not a section", found=repr(setting), fix="set it by itself"
        )
    return section


def _entry(entries: list[Any], part: str, setting: str) -> int:
    if not part.isdecimal() or int(part) >= len(entries):
        raise ConfigError(
            f"there is no entry {part!r} in the list", found=repr(setting), fix="count from 0"
        )
    return int(part)
