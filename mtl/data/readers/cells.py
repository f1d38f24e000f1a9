"""The text of a table goes in; its rows of cells come out, quoted or not, and lists in a cell."""

from __future__ import annotations

import ast
import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import dropwhile
from typing import Any

from ...errors import DataError
from .source import FilePath, lines_of, short, whole_lines_of

Rows = list[tuple[int, list[str]]]  # the line that a row begins on, and its cells; [] if empty
Lines = Callable[[], Iterator[str]]  # gives the lines of a table, with their ends, in each pass
Cut = Callable[[], Iterator[tuple[int, list[str]]]]  # gives its rows in each pass
_LONGEST = 1 << 26  # characters of a cell; more mean that a quote was never closed
_WRAPPED = re.compile(r'"(?:[^"]|"")*"')


def table_rows(text: str, delimiter: str, path: str = "") -> Rows:
    """The rows of a table in memory: see `table_cut`."""
    return list(table_cut(partial(whole_lines_of, text), delimiter, path)())


def table_cut(lines: Lines, delimiter: str, path: str = "") -> Cut:
    """How a table is cut into rows, from the first that holds something.

    With tabs, a quote is a quote unless all of them wrap whole cells: most TSV files are unquoted,
    and a `"` in them is part of a text. With other separators, quotes wrap cells (RFC 4180).

    Raises:
        DataError: in a pass, a quote is never closed.
    """
    cut = _tab_cut(lines) if delimiter == "\t" else partial(quoted_rows, lines, delimiter, path)
    return lambda: dropwhile(lambda row: not row[1], cut())


def head_rows(text: str, delimiter: str, lines: int = 500) -> Rows:
    """The first rows of a table; none if this is not a table."""
    # To see which form it is, a large file need not be read to the end.
    head = lines_of(text)[:lines]
    with suppress(DataError):
        return table_rows("\n".join(head), delimiter)
    return []


def first_cells(text: str, delimiter: str) -> list[str]:
    """The cells of the first line that holds something."""
    line = next(line for line in lines_of(text) if line.strip())
    rows = head_rows(line, delimiter)
    return rows[0][1] if rows else []


def _tab_cut(lines: Lines) -> Cut:
    """How a table with tabs is cut, which all its rows show.

    Whether quotes wrap cells is decided once for the file: unwrapping them line by line would strip
    the marks off a text that is a quotation.
    """
    plain = partial(_tab_rows, lines)
    if not any('"' in line for line in lines()):
        return plain
    if not _have_one_width(plain()):
        # A cell with a tab or line break inside quotes: only if all rows then have the same width.
        quoted = partial(quoted_rows, lines, "\t", "")
        with suppress(DataError):
            return quoted if _have_one_width(quoted()) else plain
        return plain
    marked = (cell for _, cells in plain() for cell in cells if '"' in cell)
    return partial(_unquoted, plain) if all(map(_WRAPPED.fullmatch, marked)) else plain


def _have_one_width(rows: Iterable[tuple[int, list[str]]]) -> bool:
    widths = (len(cells) for _, cells in rows if cells)
    first = next(widths, 0)
    return first > 0 and all(width == first for width in widths)


def _tab_rows(lines: Lines) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines(), start=1):
        yield number, line.rstrip("\r\n").split("\t") if line.strip() else []


def _unquoted(cut: Cut) -> Iterator[tuple[int, list[str]]]:
    """The rows without the quotes that wrap cells."""
    for number, cells in cut():
        yield number, [c[1:-1].replace('""', '"') if c.startswith('"') else c for c in cells]


def quoted_rows(lines: Lines, delimiter: str, path: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table whose quotes wrap cells, which may then hold separators and line breaks.

    Raises:
        DataError: a quote is never closed.
    """
    # strict: a broken quote is an error.
    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    # A long context does not mean a broken quote. The limit holds for all of Python, so it is
    # restored at the end.
    limit, line = csv.field_size_limit(_LONGEST), 1
    try:
        for row in reader:
            yield line, row if any(cell.strip() for cell in row) else []
            # A row may span several lines; people look for the one it begins on.
            line = reader.line_num + 1
    except csv.Error as error:
        what = "the table cannot be read from here on"
        fix = 'close every double quote, and write "" for one inside a quoted cell'
        raise DataError(what, path=path, line=line, found=str(error), fix=fix) from None
    finally:
        csv.field_size_limit(limit)


def check_header(names: list[str], path: FilePath, line: int) -> None:
    """Raise DataError if two columns have the same name: it would be unclear which one counts."""
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        what, fix = "two columns have the same name", "give each column a name of its own"
        raise DataError(what, path=path, line=line, found=repr(twice), fix=fix)


def check_width(cells: list[str], width: int) -> None:
    """Raise DataError for a row of another width than the header."""
    if len(cells) != width:
        what = f"{len(cells)} cells where the header has {width}"
        fix = "put double quotes around a cell with a separator or line break in it"
        raise DataError(what, found=short(cells), fix=fix)


_NUMPY_ITEM = r"""('[^']*'|"[^"]*"|-?\d+)"""
_NUMPY_LIST = re.compile(rf"\[\s*{_NUMPY_ITEM}(\s+{_NUMPY_ITEM})+\s*\]")


def list_in(cell: str) -> list[Any] | None:
    """The list that a cell holds as JSON, or as Python or NumPy print it; None for another cell."""
    cell = cell.strip()
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    if _NUMPY_LIST.fullmatch(cell):  # no commas: Python would join the texts into one
        items = re.findall(_NUMPY_ITEM, cell)
        return [item[1:-1] if item[0] in "'\"" else int(item) for item in items]
    # literal_eval reads what Python prints, and never runs code as eval would.
    for parse in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError):
            value = parse(cell)
            return value if isinstance(value, list) else None
    return None
