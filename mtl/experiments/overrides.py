"""The content of a recipe file goes in; it comes out as changed by presets and --set."""

from __future__ import annotations

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
    known = tables(content, kind)
    if chosen not in known:
        raise ConfigError(
            f"the recipe has no table [{kind}.{chosen}]",
            path=path,
            fix=suggest(chosen, known) if known else f"this recipe has no {kind}: leave it out",
        )
    return _overlay(rest, known[chosen])


def tables(content: Mapping[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """The tables `[kind.NAME]` by name; what is not a table is left for the checks."""
    found = content.get(kind)
    found = found if isinstance(found, dict) else {}
    return {name: table for name, table in found.items() if isinstance(table, dict)}


def _overlay(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`content` with its values replaced by those of `changes`, section by section."""
    merged = dict(content)
    for key, value in changes.items():
        is_section = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _overlay(merged[key], value) if is_section else value
    return merged


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
    elsewhere = " or ".join(f"tasks.{task}.{key}" for task in tables(content, "tasks"))
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
