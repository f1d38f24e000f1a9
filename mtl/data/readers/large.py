"""A large file goes in; its examples, written to disk while it is read, come out.

A small file is read into memory. A large one may not fit there: its records, or lines, are read one
after the other, several times over, since what they mean (which field is the label, which scheme
the tags are in) only shows when all have been seen. Next time, what was written then is used again,
unless the file, the options or the code of this package have changed since.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...errors import DataError, DataWarning
from ...files import cache_folder
from ...version import __version__
from ..remembered import own_code
from ..stored import ABOUT, StoredExamples, store
from .classes import NAME_FILES
from .json_source import Row, line_rows, looks_like_json, one_record_a_line
from .kinds import Kind
from .source import (
    FilePath,
    LeftOutWarning,
    Passes,
    Report,
    beginning_of,
    lines_in,
    refuse_binary,
    refuse_utf16,
)

logger = logging.getLogger(__name__)

LARGE = 64 * 2**20  # bytes; in memory, the examples take some ten times as much
MOST_FAULTS = 10_000  # that are kept of one file
HEAD = 4 * 2**20  # bytes that show the form of a file


def head_of(path: FilePath) -> str | None:
    """The first lines of a large text file that is read in passes; None of any other file.

    JSON is one of these only as JSON lines: what is in one list or object is read whole.
    """
    path = Path(path)
    try:
        if path.stat().st_size < LARGE:
            return None
        with path.open("rb") as file:
            raw = file.read(HEAD)
        # Unless this is all of it, its last line may be cut off.
        lines = raw if len(raw) < HEAD else raw[: raw.rfind(b"\n") + 1]
        refuse_binary(path, raw)
        refuse_utf16(path, raw)
        head = beginning_of(lines)
    except (OSError, UnicodeDecodeError, DataError):
        return None  # whoever reads it next says what is wrong
    if not head.strip():
        return None
    is_json = looks_like_json(head)
    in_lines = is_json and head.lstrip()[0] == "{" and one_record_a_line(head)
    return head if in_lines or not is_json else None


def json_lines(path: FilePath, report: Report) -> Iterator[Row]:
    """The records of a file of JSON lines."""
    return line_rows(lines_in(path), report)


def read_large(
    kind: Kind,
    name: str,
    path: FilePath,
    on_error: str = "stop",
    *,
    rows: Callable[[FilePath, Report], Iterator[Any]],
    **options: Any,
) -> StoredExamples:
    """The examples of a large file; options and errors as for a small one.

    Args:
        name: of its form, in words.
        rows: gives what the kind makes examples of, in each pass over the file.
    """
    report = Report(path, on_error)
    identity = partial(identity_of_files, [Path(path)])
    return stored_examples(kind, name, partial(rows, path), report, options, identity)


def stored_examples(
    kind: Kind,
    name: str,
    rows: Callable[[Report], Iterator[Row]],
    report: Report,
    options: dict[str, Any],
    identity: Callable[[], list[Any]],
) -> StoredExamples:
    """The examples of records that may not fit into memory, from disk if they were read before.

    Args:
        name: of their form, in words.
        rows: gives the records in each pass, with what is broken reported to its argument.
        options: those that the kind takes count.
        identity: of their source: what it gives differs when what is there has changed.

    Raises:
        DataError: as for a small file; the file changes while it is read; the disk is full.
    """
    report.most = MOST_FAULTS
    options = kind.chosen(options)
    found = identity()
    place = _place(report, options, [name, *found])
    if (place / ABOUT).is_file():
        examples = StoredExamples(place)
        _warn(examples)
        return examples
    logger.info("reading %s once; the next run finds its examples in %s", report.path, place)

    def about(n: int) -> dict[str, Any]:
        if identity() != found:  # a pass over the old file, and one over the new
            fix = "wait until it is whole, and read it again"
            raise DataError("the file changed while it was read", path=report.path, fix=fix)
        notes = [[category.__name__, note] for note, category in report.verdict(n, kind.lacks)]
        return {"form": name, "notes": notes}

    examples = store(kind.examples_of(rows, report, Passes, **options), place, about)
    _warn(examples)
    return examples


def identity_of_files(files: Sequence[Path]) -> list[Any]:
    """What differs if one of the files, or one beside them that names classes, has changed."""
    beside = [files[0].parent / name for name in NAME_FILES]
    there = [file for file in (*files, *beside) if file.is_file()]
    stats = {str(file.resolve()): file.stat() for file in there}
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()]


def _place(report: Report, options: dict[str, Any], identity: list[Any]) -> Path:
    """The folder of the examples that this package makes of a file with these options."""
    key = [__version__, own_code(), report.skip, sorted(options.items()), identity]
    name = sha256(json.dumps(key, default=list).encode()).hexdigest()[:32]
    return cache_folder() / "examples" / name


def _warn(examples: StoredExamples) -> None:
    """Say again what there was to say when the file was read."""
    for kind, note in examples.notes:
        category = LeftOutWarning if kind == LeftOutWarning.__name__ else DataWarning
        # Level 4 is the caller of the reader, the line that a user knows.
        warnings.warn(note, category, stacklevel=4)
