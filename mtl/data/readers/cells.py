"""The text of a table goes in; its rows of cells come out, quoted or not, and lists in a cell."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from contextlib import suppress
from typing import Any

from ...errors import DataError
from .source import lines_of

Rows = list[tuple[int, list[str]]]  # the line that a row begins on, and its cells; [] if empty


def table_rows(text: str, delimiter: str, path: str = "") -> Rows:
    """The rows of a table, from the first that holds something.

    With tabs, a quote is a quote unless all of them wrap whole cells: most TSV files are unquoted,
    and a `"` in them is part of a text. With other separators, quotes wrap cells (RFC 4180).

    Raises:
        DataError: a quote is never closed.
    """
    rows = _tab_rows(text) if delimiter == "\t" else quoted_rows(text, delimiter, path)
    first = next((i for i, (_, cells) in enumerate(rows) if cells), len(rows))
    return rows[first:]


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


def _tab_rows(text: str) -> Rows:
    lines = lines_of(text.removesuffix("\n"))
    rows = [(n, line.split("\t")) for n, line in enumerate(lines, start=1)]
    rows = [(n, cells if any(cell.strip() for cell in cells) else []) for n, cells in rows]
    if '"' not in text:
        return rows
    # Whether quotes wrap cells is decided once for the file: unwrapping them line by line would
    # strip the marks off a text that is a quotation.
    full = [cells for _, cells in rows if cells]
    if any(len(cells) != len(full[0]) for cells in full):
        # A cell with a tab or line break inside quotes: only if all rows then have the same width.
        with suppress(DataError):
            quoted = quoted_rows(text, "\t", "")
            if len({len(cells) for _, cells in quoted if cells}) == 1:
                return quoted
        return rows
    marked = [cell for cells in full for cell in cells if '"' in cell]
    if not all(re.fullmatch(r'"(?:[^"]|"")*"', cell) for cell in marked):
        return rows
    return [(n, [_unquoted(cell) for cell in cells]) for n, cells in rows]


def _unquoted(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell


def quoted_rows(text: str, delimiter: str, path: str) -> Rows:
    """The rows of a table whose quotes wrap cells, which may then hold separators and line breaks.

    Raises:
        DataError: a quote is never closed.
    """
    # newline="" and strict: line breaks inside cells stay as they are, a broken quote is an error.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, line = [], 1
    # A long context does not mean a broken quote. The limit holds for all of Python, so it is
    # restored at the end.
    limit = csv.field_size_limit(len(text) + 1)
    try:
        for row in reader:
            rows.append((line, row if any(cell.strip() for cell in row) else []))
            # A row may span several lines; people look for the one it begins on.
            line = reader.line_num + 1
    except csv.Error as error:
        what = "the table cannot be read from here on"
        fix = 'close every double quote, and write "" for one inside a quoted cell'
        raise DataError(what, path=path, line=line, found=str(error), fix=fix) from None
    finally:
        csv.field_size_limit(limit)
    return rows


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
