"""Plain values go in; the text of a TOML file, which `tomllib` reads back, comes out."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date, time
from typing import Any


def section_lines(values: Mapping[str, Any]) -> list[str]:
    """`key = value` for each of them."""
    return [f"{toml_key(key)} = {toml_value(value)}" for key, value in values.items()]


def toml_key(key: str) -> str:
    """A key as TOML writes it: in quotes unless it is a plain word."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml_value(key)


def toml_value(value: Any) -> str:
    """A value as TOML writes it, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(section_lines(value)) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, float):
        return repr(value)  # inf and nan too, which JSON writes differently
    if isinstance(value, date | time):
        return value.isoformat()
    # A JSON string, whole number or bool is TOML, except for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def lines_by_place(content: Mapping[str, Any], place: tuple[str, ...] = ()) -> dict[Any, str]:
    """`key = value` for each value of a TOML file, by the keys that lead to it from the top."""
    lines: dict[Any, str] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            lines |= lines_by_place(value, (*place, key))
        elif isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
            numbered = {str(number): entry for number, entry in enumerate(value)}
            lines |= lines_by_place(numbered, (*place, key))
        else:
            (lines[*place, key],) = section_lines({key: value})
    return lines
