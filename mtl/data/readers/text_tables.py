"""Tables of texts with a class, or with tags; lines of fastText."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...errors import DataError
from ..examples import TextExample
from ..words import split_words
from .cells import list_in
from .schemes import Spelling, spelling_of
from .source import FilePath, Report, SoundDataError, lines_of, read_text, short
from .table import GENERIC_LABELS, LABELS, TEXTS, WHAT_WE_KNOW, Table, plain_name
from .taglists import SEVERAL_LABELS, TaggedRow, tagged_texts


def read_text_table(
    path: FilePath,
    on_error: str = "stop",
    *,
    strict: bool = False,
    column: int | str | None = None,
    label_names: Sequence[str] | None = None,
    fields: Sequence[str] = (),
    delimiter: str | None = None,
    **_: Any,
) -> list[TextExample]:
    """Read a table of texts with a class, or with one tag per word between blanks.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the rows that have one.
        strict: refuse tags that break their scheme, as `read_conll` does.
        column: of the class or the tags, by name or number, where it is not found by its name.
        label_names: what classes written as whole numbers mean, in order from 0.
        fields: further columns to keep as labels, in `TextExample.fields`.
        delimiter: between the cells of a table without a header.

    Raises:
        SoundDataError: several labels for one text; several columns that may be the label.
        DataError: the file cannot be read; a row without a text; tags that count something else.
        ConfigError: there is no such column.
    """
    report = Report(path, on_error)
    table = Table.read(path, lambda names: not names.isdisjoint(TEXTS), delimiter)
    rows = list(table.full_rows(report))
    texts, label = _text_columns(table, [cells for _, cells in rows], column, fields)
    others = {name: table.chosen(name) for name in fields}
    for place in dict.fromkeys([label, *others.values()]):
        if place is not None:
            _refuse_several(table, place, [cells[place].strip() for _, cells in rows])
    if len(texts) > 1:
        names = " and ".join(table.names[i] if table.names else f"column {i + 1}" for i in texts)
        report.notes.append(f"{names} are read as one text")
    table.note_unread([*texts, label, *others.values()], report)
    given = [(line, " ".join(c[i].strip() for i in texts if c[i].strip()), c) for line, c in rows]
    if label is not None and (spelling := _tag_spelling(given, label)) is not None:
        tagged = [_tagged(line, text, cells[label]) for line, text, cells in given]
        return report.finish(tagged_texts(tagged, spelling, report, strict), "text")
    names = {i: _Names([cells[i] for _, cells in rows], label_names) for i in others.values()}
    if label is not None:
        names[label] = _Names([cells[label] for _, cells in rows], label_names)
    examples = []
    for line, text, cells in given:
        with report.record(line):
            kept = {name: names[i].of(cells[i]) for name, i in others.items()}
            kept = {name: value for name, value in kept.items() if value is not None}
            value = None if label is None else names[label].of(cells[label])
            more = {"fields": kept} if kept else {}
            examples.append(TextExample(text, (), value, **more))
    return report.finish(examples, "text")


def refuse_columns(
    path: FilePath, on_error: str = "stop", *, header: list[str], **options: Any
) -> list:
    found = f"the columns {', '.join(short(name, 40) for name in header)}"
    what = "the columns of this table are unknown"
    raise DataError(what, path=path, found=found, fix=WHAT_WE_KNOW)


def _text_columns(
    table: Table,
    rows: list[list[str]],
    column: int | str | None,
    fields: Sequence[str],
) -> tuple[list[int], int | None]:
    """The columns of the text, and the one of the label."""
    if not table.names:
        clear = bare_columns(rows, None if column is None else table.chosen(column))
        if clear is None:
            refuse_columns(table.path, header=rows[0] if rows else [])
        return clear
    plain = [plain_name(name) for name in table.names]
    text = table.find(TEXTS)
    label = table.chosen(column) if column is not None else None
    if label is None:
        labels = [
            plain.index(name) for name in LABELS if name in plain and plain.index(name) != text
        ]
        generic = [i for i in labels if plain[i] in GENERIC_LABELS]
        if len(labels) > 1 and not generic and not fields:
            found = "; ".join(_describe(table, i, rows) for i in labels)
            name = table.names[labels[0]]
            fix = f'say which: tasks.NAME.column = "{name}", or column="{name}" in Python'
            what = f"{len(labels)} columns may be the label"
            raise SoundDataError(what, path=table.path, found=found, fix=fix)
        label = (generic or labels or [None])[0]
    if label is None and not fields:
        _refuse_one_hot(table, rows, text)
        found = f"the columns {', '.join(map(repr, table.names))}"
        fix = 'say which it is: tasks.NAME.column = "NAME", or column="NAME" in Python'
        raise DataError("no column is known as the label", path=table.path, found=found, fix=fix)
    title = table.find(["title"])
    body = table.find(
        name
        for name in TEXTS
        if name in ("text", "description", "content", "body", "article", "abstract")
    )
    if title is not None and text == body and title not in (text, label):
        return [title, text], label
    return [text], label


def _describe(table: Table, place: int, rows: list[list[str]]) -> str:
    cells = Counter(row[place] for row in rows).most_common(4)
    return f"{table.names[place]!r} ({', '.join(short(cell, 30) for cell, _ in cells)}, ...)"


def bare_columns(
    rows: list[list[str]], label: int | None = None
) -> tuple[list[int], int | None] | None:
    """Which columns of a table without a header are text and class; None where it is not clear.

    A class has few words and comes again; of a text most cells have three words or more. The class
    in the first row must come again too: else it may be a header.
    """
    if len(rows) < 4:
        return None
    columns = list(zip(*rows, strict=False))
    labels = (
        [i for i, cells in enumerate(columns) if _is_class(cells)] if label is None else [label]
    )
    texts = [i for i, cells in enumerate(columns) if i not in labels and _is_text(cells)]
    if len(labels) != 1 or not texts or columns[labels[0]][0] not in columns[labels[0]][1:]:
        return None
    # Class, title, text is how AG News, DBpedia and Amazon reviews are written.
    news = len(texts) == 2 and labels == [0] and all(cell.isdecimal() for cell in columns[0])
    return (texts, labels[0]) if len(texts) == 1 or news else None


def _is_text(cells: Sequence[str]) -> bool:
    return 2 * sum(len(cell.split()) > 2 or len(cell) > 20 for cell in cells) >= len(cells)


def _is_class(cells: Sequence[str]) -> bool:
    few = 2 * len(set(cells)) <= len(cells) + 1
    return few and all(0 < len(cell.split()) <= 4 and len(cell) <= 60 for cell in cells)


_SEPARATORS = (",", "|", ";", "#")


def _refuse_several(table: Table, place: int, cells: Sequence[str]) -> None:
    """Raise SoundDataError if cells name several classes each, such as `8,20` or `['a', 'b']`."""
    several = [cell for cell in cells if len(list_in(cell) or ()) > 1]
    if several and spelling_of(Counter(i for cell in several for i in map(str, list_in(cell)))):
        return  # lists of tags
    counts = Counter(cells)
    for sign in _SEPARATORS:
        joined = [
            cell for cell in counts if sign in cell and " " not in cell.replace(f"{sign} ", "")
        ]
        parts = Counter(p.strip() for cell in joined for p in cell.split(sign))
        again = sum(n for part, n in parts.items() if part and (part in counts or n > 1))
        if joined and again >= 0.9 * sum(parts.values()):
            several += [cell for cell in cells if cell in set(joined)]
    if several:
        name = f" {table.names[place]!r}" if table.names else ""
        raise SoundDataError(
            SEVERAL_LABELS,
            path=table.path,
            found=f"{len(several):,} of {len(cells):,} cells of column {place + 1}{name} name more "
            f"than one, such as {short(several[0], 60)}",
            fix="keep one label per text for now",
        )


def _refuse_one_hot(table: Table, rows: list[list[str]], text: int) -> None:
    """Raise SoundDataError if two columns or more say 0 or 1 of a text, each for one class."""
    columns = {i: {row[i] for row in rows} for i in range(len(table.names)) if i != text}
    marks = [i for i, cells in columns.items() if cells <= {"0", "1", "0.0", "1.0"}]
    if len(marks) > 1:
        found = f"0 or 1 in each of the columns {', '.join(table.names[i] for i in marks[:8])}"
        fix = "make one column of them that names the class of each text"
        raise SoundDataError(SEVERAL_LABELS, path=table.path, found=found, fix=fix)


class _Names:
    """The classes of a column: as they stand there, or by `label_names` where they are numbers."""

    def __init__(self, cells: Sequence[str], names: Sequence[str] | None) -> None:
        self.names = tuple(names or ())
        self.numbered = all(re.fullmatch(r"-?\d+(\.0)?", c.strip()) for c in cells if c.strip())

    def of(self, cell: str) -> str | None:
        """The class that a cell names; None for an empty one."""
        cell = cell.strip()
        if cell and self.numbered:
            cell = cell.removesuffix(".0")  # a table with gaps turns whole numbers into 1.0
            if self.names and not 0 <= int(cell) < len(self.names):
                found = f"{cell}, and {len(self.names)} names"
                fix = "give label_names as many names as there are classes, from 0"
                raise DataError("the class is a number without a name", found=found, fix=fix)
            return self.names[int(cell)] if self.names else cell
        return cell or None


def _tag_spelling(rows: Sequence[tuple[int, str, list[str]]], label: int) -> Spelling | None:
    """How tags are written, if most cells hold as many as their text has words; else None."""
    tags = [_items(cells[label]) for _, _, cells in rows]
    read = spelling_of(Counter(tag for row in tags for tag in row))
    if read is None or read[1] < 0.9 or read[0].pattern is None:
        return None
    long = sum(len(row) > 1 for row in tags)
    fits = sum(_tokens(text, row) is not None for (_, text, _), row in zip(rows, tags, strict=True))
    return read[0] if 2 * long > len(rows) and 2 * fits > len(rows) else None


def _tagged(line: int, text: str, cell: str) -> TaggedRow:
    tags = _items(cell)
    tokens = _tokens(text, tags) or text.split()
    return TaggedRow(line, text if list_in(text) is None else " ".join(tokens), tokens, tags)


def _items(cell: str) -> list[str]:
    """The tags of a cell: a list as JSON or Python print it, or what stands between blanks."""
    items = list_in(cell)
    return [str(item) for item in items] if items is not None else re.split(r"[\s,]+", cell.strip())


def _tokens(text: str, tags: Sequence[str]) -> list[str] | None:
    """The words that tags count: a list, what stands between blanks, or words and marks."""
    given = list_in(text)
    words = [text[start:end] for start, end in split_words(text)]
    ways = [[str(item) for item in given]] if given is not None else [text.split(), words]
    return next((tokens for tokens in ways if len(tokens) == len(tags)), None)


def read_fasttext(
    path: FilePath, on_error: str = "stop", *, strict: bool = False, **_: Any
) -> list[TextExample]:
    """Read lines of fastText: `__label__NAME text`.

    Raises:
        SoundDataError: some lines have several labels.
        DataError: the file cannot be read; a line without a label or a text.

    Source: fasttext.cc/docs/en/supervised-tutorial.html.
    """
    report = Report(path, on_error)
    examples = []
    for number, line in enumerate(lines_of(read_text(path)), start=1):
        if not line.strip():
            continue
        match = re.match(r"\s*((?:__label__\S+\s+)*)(.*)", line)
        labels = match[1].split()
        if len(labels) > 1:
            place = {"path": path, "line": number}
            fix = "keep one label per text for now"
            raise SoundDataError(SEVERAL_LABELS, found=short(line, 80), fix=fix, **place)
        with report.record(number):
            if not labels:
                fix = "write __label__NAME and a blank before the text"
                raise DataError("the line has no label", found=short(line, 80), fix=fix)
            examples.append(TextExample(match[2], (), labels[0].removeprefix("__label__")))
    return report.finish(examples, "text")
