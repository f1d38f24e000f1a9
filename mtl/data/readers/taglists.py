"""Texts with a list of tags each, one per word, go in; texts with IOB2 tags come out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ...errors import DataError
from ..examples import TextExample
from .schemes import (
    KNOWN_TAGS,
    PLAIN_TYPES,
    RULES,
    Spelling,
    scheme_of,
    strays,
    to_iob2,
    what_breaks,
)
from .source import FilePath, Report, SoundDataError, short

SEVERAL_LABELS = "several labels per text are not a task yet"


class TaggedRow(NamedTuple):
    """A text of a file, its words, and the cells that hold their tags."""

    line: int
    text: str
    tokens: Sequence[str]
    tags: Sequence[str] | None  # None: not tagged
    label: str | None = None
    fields: Mapping[str, str] = {}


class ClassNames:
    """The classes of a file: as they are written, or by `label_names` if they are numbers.

    If numbers have names, -1 means that the text is not labelled.
    """

    def __init__(self, cells: Sequence[str], names: Sequence[str] | None) -> None:
        self.names = tuple(names or ())
        # One name among the numbers, and all of them are names: "7" may be a class too.
        self.numbered = all(re.fullmatch(r"-?\d+(\.0)?", c.strip()) for c in cells if c.strip())

    def of(self, cell: str) -> str | None:
        """The class that a cell names; None if it names none.

        Raises:
            DataError: a number without a name.
        """
        cell = cell.strip()
        if cell and self.numbered:
            cell = cell.removesuffix(".0")  # a table with gaps turns whole numbers into 1.0
            if self.names and int(cell) == -1:
                return None
            if self.names and not 0 <= int(cell) < len(self.names):
                found = f"{cell}, and {len(self.names)} names"
                fix = "give label_names as many names as there are classes, from 0"
                raise DataError("the class is a number without a name", found=found, fix=fix)
            return self.names[int(cell)] if self.names else cell
        return cell or None


def tagged_texts(
    rows: Sequence[TaggedRow], spelling: Spelling, report: Report, strict: bool
) -> list[TextExample]:
    """Texts with their tags as IOB2; what is wrong with a row goes to `report`.

    Args:
        spelling: how the tags are written.
        strict: a tag that breaks the scheme of the file is a fault; else it is read as `conlleval`
            reads it, and counted.
    """
    read = []
    for row in rows:  # two passes: only the tags of all rows show the scheme
        with report.record(row.line):
            read.append(row._replace(tags=_canonical(row, spelling)))
    scheme = scheme_of(row.tags for row in read if row.tags)
    examples, repaired = [], []
    for row in read:
        with report.record(row.line):
            broken = strays(row.tags, scheme) if row.tags else []
            if broken and strict:
                _, *pair = broken[0]
                found = f"tokens {short(row.tokens)}, tags {short(row.tags)}"
                raise DataError(what_breaks(scheme, *pair), found=found, fix=RULES[scheme])
            repaired += [(f"line {row.line}", before, tag) for _, before, tag in broken]
            tags = None if row.tags is None else tuple(to_iob2(row.tags))
            examples.append(TextExample(row.text, tuple(row.tokens), row.label, tags, row.fields))
    report.note_strays(repaired, scheme)
    if spelling.is_plain:
        report.notes.append(PLAIN_TYPES)
    return examples


def unnamed_numbers(
    numbers: Iterable[int], path: FilePath, line: int | None = None
) -> SoundDataError:
    """The error for tags that are numbers, when nothing says what they mean."""
    return SoundDataError(
        "tags are numbers, and nothing says what they mean",
        path=path,
        line=line,
        found=f"the numbers {', '.join(map(str, sorted(numbers)[:30]))}",
        fix='name them in order: tasks.NAME.label_names = ["O", "B-PER", "I-PER", ...]',
    )


def known_tags(cells: Sequence[str], spelling: Spelling, where: str) -> list[str]:
    """`O`, or a letter and a type as in `B-PER`, for each cell.

    Raises:
        DataError: a cell that is not a tag; it says `where` that is.
    """
    tags = []
    for cell, tag in zip(cells, spelling.canonical(cells), strict=True):
        if tag is None:
            found = f"{cell!r} in {where}"
            raise DataError("the tag is of no known scheme", found=found, fix=KNOWN_TAGS)
        tags.append(tag)
    return tags


def _canonical(row: TaggedRow, spelling: Spelling) -> list[str] | None:
    if row.tags is None:
        return None
    if len(row.tags) != len(row.tokens):
        what = f"{len(row.tags)} tags, but the text has {len(row.tokens)} words"
        found = f"words {short(row.tokens)}, tags {short(row.tags)}"
        raise DataError(what, found=found, fix="give every word one tag, with blanks between them")
    return known_tags(row.tags, spelling, f"the text {short(row.text, 80)}")
