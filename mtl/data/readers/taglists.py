"""Texts whose tags stand in a list, one per word, rather than one per line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ...errors import DataError
from ..examples import TextExample
from .schemes import KNOWN_TAGS, PLAIN_TYPES, RULES, Spelling, scheme_of, strays, to_iob2
from .source import Report, short

SEVERAL_LABELS = "several labels per text are not a task yet"


class TaggedRow(NamedTuple):
    """A text of a file, its words, and the cells that hold their tags."""

    line: int
    text: str
    tokens: Sequence[str]
    tags: Sequence[str] | None  # None: nobody said
    label: str | None = None
    fields: Mapping[str, str] = {}


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
    for row in rows:
        with report.record(row.line):
            read.append(row._replace(tags=_canonical(row, spelling)))
    scheme = scheme_of(row.tags for row in read if row.tags)
    examples, repaired = [], []
    for row in read:
        with report.record(row.line):
            broken = strays(row.tags, scheme) if row.tags else []
            if broken and strict:
                _, before, tag = broken[0]
                what = f"{tag} after {before} breaks {scheme}, the tag scheme of this file"
                found = f"tokens {short(row.tokens)}, tags {short(row.tags)}"
                raise DataError(what, found=found, fix=RULES[scheme])
            repaired += [(row.line, before, tag) for _, before, tag in broken]
            tags = None if row.tags is None else tuple(to_iob2(row.tags))
            examples.append(TextExample(row.text, tuple(row.tokens), row.label, tags, row.fields))
    report.note_strays(repaired, scheme)
    if spelling.is_plain:
        report.notes.append(PLAIN_TYPES)
    return examples


def _canonical(row: TaggedRow, spelling: Spelling) -> list[str] | None:
    if row.tags is None:
        return None
    if len(row.tags) != len(row.tokens):
        what = f"{len(row.tags)} tags, but the text has {len(row.tokens)} words"
        found = f"words {short(row.tokens)}, tags {short(row.tags)}"
        raise DataError(what, found=found, fix="give every word one tag, with blanks between them")
    tags = spelling.canonical(row.tags)
    if None in tags:
        found = f"{row.tags[tags.index(None)]!r} in the text {short(row.text, 80)}"
        raise DataError("the tag is of no known scheme", found=found, fix=KNOWN_TAGS)
    return tags
