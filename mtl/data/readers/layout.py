"""What columns hold goes in; which of them holds the words, and which the tags, comes out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .column_facts import ColumnFacts
from .tag_columns import CONLLU, Columns, TagColumn


class Row(NamedTuple):
    """A line of a file.

    Attributes:
        line: its number.
        cells: its columns; none if it only separates sentences or documents.
        text: the whole line, where somebody may ask for it.
        document: how many lines above it begin a document.
        said: what a comment right above says that its sentence is.
    """

    line: int
    cells: list[str]
    text: str = ""
    document: int = 0
    said: str | None = None


Block = list[Row]  # the rows of a sentence


@dataclass(frozen=True)
class Layout:
    """What the columns of a file are.

    Args:
        width: how many columns a row has.
        token: the column of the words, from 0.
        tag: the column of the tags; None if the file has none.
        fields: further columns of tags, by the names or numbers that they were asked for.
        layers: columns of entities inside those of `tag`, or around them; by name or number.
        index: the column that counts the words of a sentence, if the file has one.
        names: of the columns, where the file or its format names them.
        classes: what whole numbers in the columns of tags mean.
        remark: what the user should know about how the column of the tags was found.
    """

    width: int
    token: int
    tag: TagColumn | None = None
    fields: Mapping[str, TagColumn] = field(default_factory=dict)
    layers: Mapping[str, TagColumn] = field(default_factory=dict)
    index: int | None = None
    names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    remark: str = ""

    def is_word(self, row: Row) -> bool:
        """Whether a row is a word of its own: not a range (1-2) or an empty node (1.1) of CoNLL-U.

        Source: universaldependencies.org/format.html, "Words, Tokens and Empty Nodes".
        """
        # They repeat words that have their own rows, so keeping them would double these words.
        return self.index is None or not re.fullmatch(r"\d+[-.]\d+", row.cells[self.index])

    def tag_of(self, cells: Sequence[str], column: TagColumn) -> str:
        """The tag of a row in a column of tags."""
        cell = cells[column.place]
        return self.classes[int(cell)] if _is_class(cell, self.classes) else cell


def layout_of(
    facts: Sequence[ColumnFacts],
    path: str,
    *,
    names: Sequence[str] = (),
    column: int | str | list[int | str] | None = None,
    label_names: Sequence[str] | None = None,
    fields: Sequence[int | str] = (),
    speech: bool = False,
    ignored: Sequence[int] = (),
) -> Layout:
    """Find the columns of words and tags.

    Without `column`, the column of entity tags is found by its content; in a file without entity
    tags, that of parts of speech. Where the content leaves it open, the first of `fields` counts.

    Args:
        facts: what each column holds.
        path: of the file, for messages.
        names: of the columns, if the file has a header.
        column: of the tags, as a number from 1 or a name; a list of columns with nested entities.
        label_names: what whole numbers in it mean.
        fields: further columns of tags, as numbers or names.
        speech: whether parts of speech come before entities.
        ignored: columns that are known to hold neither.

    Raises:
        SoundDataError: several columns hold entity tags.
        DataError: no column holds entity tags or parts of speech.
        ConfigError: there is no such column.
    """
    width = len(facts)
    skipped, index = _leading(facts)
    # CoNLL-U has no header; ten columns, the first of which counts, give it away.
    if not names and width == len(CONLLU) and index == 0:
        names = CONLLU
    if _has_words(names):  # a column named after words is one, whatever repeats in it
        skipped = {i for i in skipped if not _has_words(names[i : i + 1])}
    classes = tuple(label_names or ())
    counts = [_named(column.cells, classes) for column in facts]
    rest = [i for i in range(width) if i not in {*skipped, *ignored}]
    held = Columns(counts, rest, path, tuple(names))
    others = {str(name): held.column(held.place_of(name)) for name in fields}
    remark = ""
    layers: dict[str, TagColumn] = {}
    if isinstance(column, list):
        tag, *more = (held.entities(name) for name in column)
        layers = dict(zip(map(str, column[1:]), more, strict=True))
    elif column is not None:
        tag = held.column(held.place_of(column))
    else:
        tag = held.find(next(iter(others.values()), None), speech)
        if tag and tag.spelling is None and not (others or speech):
            found = held.describe(tag.place)
            remark = f"no column holds entity tags; the tags are the parts of speech of {found}"
    taken = {found.place for found in (tag, *others.values(), *layers.values()) if found}
    # A file may have nothing left but a column that looks like a counter: then it holds the words.
    free = [i for i in rest if i not in taken] or [i for i in range(width) if i not in taken]
    # Tags first, then words: any column may look like words, but few look like tags.
    token = _word_column(names, free or rest)
    return Layout(width, token, tag, others, layers, index, tuple(names), classes, remark)


def usual_width(widths: Mapping[int, int]) -> int:
    """The number of columns that most rows have, at least two.

    Args:
        widths: how many rows have each number.
    """
    # Of two equally frequent widths, the wider: a row more likely lacks a cell.
    return max(2, max(widths, key=lambda width: (widths[width], width), default=2))


def _is_class(cell: str, classes: Sequence[str]) -> bool:
    # The `datasets` library writes classes as numbers; without names they say nothing.
    return cell.isdecimal() and int(cell) < len(classes)


def _named(cells: Counter[str], classes: Sequence[str]) -> Counter[str]:
    """The cells of a column by the names of their classes, if all are class numbers."""
    if not all(_is_class(cell, classes) for cell in cells):
        return cells
    return Counter({classes[int(cell)]: n for cell, n in cells.items()})


def first_word_column(facts: Sequence[ColumnFacts], names: Sequence[str] = ()) -> int:
    """The column of the words in a file whose other columns do not matter."""
    skipped, _ = _leading(facts)
    return _word_column(names, [i for i in range(len(facts)) if i not in skipped])


def _word_column(names: Sequence[str], others: Sequence[int]) -> int:
    """The first column named after words; without such names, the first."""
    by_name = [i for i in others if _has_words(names[i : i + 1])]
    return (by_name or others)[0]


def _has_words(names: Sequence[str]) -> bool:
    """Whether one of these columns is named after words."""
    known = {"form", "word", "words", "token", "tokens"}
    return not known.isdisjoint(name.strip().lower() for name in names)


def _leading(facts: Sequence[ColumnFacts]) -> tuple[set[int], int | None]:
    """The columns before the words: those that count, and those constant within a sentence."""
    skipped: set[int] = set()
    index = None
    for i, column in enumerate(facts[:-2]):  # two always remain, for the words and their tags
        # Only one column can count the words of a sentence; a second one is data.
        if index is None and column.counts:
            index = i
        elif not column.is_constant:
            break
        skipped.add(i)
    return skipped, index
