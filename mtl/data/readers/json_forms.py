"""Which form of JSON a text is in: its name in words, and its reader."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from .records import read_jsonl, read_pairs
from .source import FilePath
from .squad import read_squad


def json_form(text: str) -> tuple[str, Callable[..., list[Any]]] | None:
    """The form of a JSON text and its reader `(path, on_error, **options)`; None if it is none."""
    if not re.match(r"""\s*(\{\s*(["'}]|$)|\[\s*([{\["'\]]|$))""", text):
        return None
    name, read = _by_keys(_first_keys(text))

    def reader(path: FilePath, on_error: str = "stop", **options: Any) -> list[Any]:
        return read(path, on_error)

    return name, reader


def _by_keys(keys: set[str]) -> tuple[str, Callable[..., list[Any]]]:
    if "data" in keys:
        return "SQuAD JSON", read_squad
    if keys & {"question", "context"}:
        return "JSON questions", read_squad
    if keys & {"sentence1", "sentence2", "anchor", "positive"}:
        return "JSON pairs of sentences", read_pairs
    return "JSON records", read_jsonl


def _first_keys(text: str) -> set[str]:
    """The keys of the first JSON object, or what looks like them."""
    start = text.find("{")
    if start < 0:
        return set()
    try:
        return set(json.JSONDecoder().raw_decode(text, start)[0])
    except (ValueError, RecursionError):
        return set(re.findall(r'"(\w+)"\s*:', text[start : start + 2000]))
