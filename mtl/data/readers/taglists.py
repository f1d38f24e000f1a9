"""Texts with a list of tags each, one per word, go in; texts with IOB2 tags come out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from ...errors import DataError
from ..examples import TextExample
from .classes import Said
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
from .source import FilePath, Held, Report, SoundDataError, short


class TaggedRow(NamedTuple):
    """A text of a file, its words, and the cells that hold their tags."""

    line: int
    text: str
    tokens: Sequence[str]
    tags: Sequence[str] | None  # None: not tagged
    said: Said = None  # by the cell of its class, or classes
    fields: Mapping[str, str | tuple[str, ...]] = {}
    scores: Mapping[str, Any] = {}


def tagged_texts(
    rows: Iterable[TaggedRow], spelling: Spelling | None, report: Report, held: Held, strict: bool
) -> Iterator[TextExample]:
    """Texts with their tags as IOB2; what is wrong with a row goes to `report`.

    Args:
        rows: they are gone through twice if there are tags.
        spelling: how the tags are written; None if there are none.
        held: what becomes of rows between two passes, `in_memory` or `Passes`.
        strict: a tag that breaks the scheme of the file is a fault; else it is read as `conlleval`
            reads it, and counted.
    """
    scheme = ""
    if spelling is not None:  # two passes: only the tags of all rows show the scheme
        rows = held(partial(_with_known_tags, rows, spelling), report)
        scheme = scheme_of(row.tags for row in rows if row.tags)
    n_repaired, first_repaired = 0, ("", "", "")
    for row in rows:
        with report.record(row.line):
            broken = strays(row.tags, scheme) if row.tags else []
            if broken and strict:
                _, *pair = broken[0]
                found = f"tokens {short(row.tokens)}, tags {short(row.tags)}"
                raise DataError(what_breaks(scheme, *pair), found=found, fix=RULES[scheme])
            if broken and not n_repaired:
                _, before, tag = broken[0]
                first_repaired = (f"line {row.line}", before, tag)
            n_repaired += len(broken)
            yield _example(row)
    report.notes += [f"{what}: {n:,}" for what, n in report.counts.items()]
    report.note_strays(n_repaired, [first_repaired], scheme)
    if spelling is not None and spelling.is_plain:
        report.notes.append(PLAIN_TYPES)


def _with_known_tags(
    rows: Iterable[TaggedRow], spelling: Spelling, report: Report
) -> Iterator[TaggedRow]:
    for row in rows:
        with report.record(row.line):
            yield row._replace(tags=_canonical(row, spelling))


def _example(row: TaggedRow) -> TextExample:
    tags = None if row.tags is None else tuple(to_iob2(row.tags))
    label, labels = (None, row.said) if isinstance(row.said, tuple) else (row.said, None)
    known = (label, tags, row.fields, (), labels, row.scores)
    return TextExample(row.text, tuple(row.tokens), *known)


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
