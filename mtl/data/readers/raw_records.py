"""A file of any size goes in; its records come out one by one, with all their fields and lines.

The fields stay as they are: whoever reads a record decides which of them are texts. A record that
cannot be read comes out with what is wrong with it, so that the others keep their places.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import DataError, missing_extra
from .cells import check_header, check_width, first_cells, head_rows
from .exports import TEXT_FIELDS
from .json_source import DEEP, outline, reason_of
from .source import (
    FilePath,
    decode_line,
    how_to_convert,
    lines_of,
    refuse_binary,
    refuse_utf16,
    short,
    unreadable,
)
from .table import CONTEXTS, PAIRS, QUESTIONS, TEXTS, delimiters, plain_name

HEAD = 1 << 20  # bytes that show how a table is written
LONGEST_CELL = 1 << 24  # characters; more means that a quote was never closed
PARQUET_ROWS = 1024  # made into records at once
SEPARATOR_LINE = re.compile(r"\Asep=.?\r?\n")  # Excel's first line
JSON_TEXTS = (*map(plain_name, TEXT_FIELDS), *TEXTS)


class RawRecord(NamedTuple):
    """One record: its line (in Parquet its row), its fields, and why it cannot be read, if so."""

    line: int
    fields: dict[str, Any]
    fault: DataError | None = None


class RecordFile:
    """The records of a text, JSONL, CSV, TSV or Parquet file, by the ending of its name.

    A text file has one text per line, as the fields `line` and `text`. Empty lines are no records.

    Attributes:
        is_text: whether it is plain text, and so has no pairs.
        text_names: plain names of fields that hold a text, the likeliest first.
        joins_titles: whether a title and a text are read as one text, as in tables to train on.
        share: how much of the file has been read, from 0 to 1.
        n_empty: empty lines so far.
        schema: the pyarrow schema of a Parquet file, once it is open.

    Raises:
        DataError: while reading: the file cannot be read, or is none of these; a table whose quotes
            or names of columns are broken.
        ConfigError: a Parquet file without pyarrow.
    """

    def __init__(self, path: FilePath) -> None:
        self.path = Path(path)
        ending = self.path.suffix.lower()
        self.joins_titles = ending in (".csv", ".tsv")
        self.text_names: Sequence[str] = TEXTS if self.joins_titles else JSON_TEXTS
        self.share, self.n_empty = 0.0, 0
        self.schema: Any = None
        readers = {
            **dict.fromkeys((".csv", ".tsv"), self._table_records),
            **dict.fromkeys((".jsonl", ".ndjson", ".json"), self._json_records),
            **dict.fromkeys((".parquet", ".pq"), self._parquet_records),
        }
        self.is_text = ending not in readers
        self._records = readers.get(ending, self._text_records)

    def __iter__(self) -> Iterator[RawRecord]:
        try:
            yield from self._records()
        except OSError as error:
            raise unreadable(self.path, error) from None

    def _text_records(self) -> Iterator[RawRecord]:
        for number, line in self._lines():
            try:
                text = decode_line(number, line)
                refuse_object(text)
            except DataError as error:
                yield RawRecord(number, {"line": number}, error)
            else:
                yield RawRecord(number, {"line": number, "text": text})

    def _json_records(self) -> Iterator[RawRecord]:
        for number, line in self._lines():
            if number == 1 and line.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
                raise DataError(
                    "the records are one JSON list, which would have to be read as a whole",
                    path=self.path,
                    fix="write one record per line, for example: jq -c '.[]' OLD > NEW.jsonl",
                )
            try:
                yield RawRecord(number, _object_in(decode_line(number, line)))
            except DataError as error:
                yield RawRecord(number, {}, error)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """The lines that hold something, with their numbers."""
        with self.path.open("rb") as file:
            size = _size_of_text(self.path, file)
            done = 0
            for number, line in enumerate(file, start=1):
                done += len(line)
                self.share = done / size
                if line.strip(b"\xef\xbb\xbf \t\r\n"):
                    yield number, line
                else:
                    self.n_empty += 1

    def _table_records(self) -> Iterator[RawRecord]:
        with self.path.open("rb") as file:
            size = _size_of_text(self.path, file)
            head = SEPARATOR_LINE.sub("", file.read(HEAD).decode("utf-8-sig", "replace"))
            file.seek(0)
            # A byte that is not UTF-8 becomes a surrogate, and so a fault of its row alone.
            lines = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
            names: list[str] = []
            for line, cells in _rows(self.path, lines, head):
                self.share = file.tell() / size
                if not any(cell.strip() for cell in cells):
                    self.n_empty += 1
                    continue
                if line == 1 and SEPARATOR_LINE.match("".join(cells) + "\n"):
                    continue
                if not names:
                    names = _checked_names(self.path, cells)
                    continue
                try:
                    _check_utf8(cells)
                    check_width(cells, len(names))
                except DataError as error:
                    yield RawRecord(line, {}, error)
                else:
                    yield RawRecord(line, dict(zip(names, cells, strict=True)))

    def _parquet_records(self) -> Iterator[RawRecord]:
        parquet = import_parquet("a Parquet file")
        from pyarrow import ArrowException

        try:
            with parquet.ParquetFile(self.path) as file:
                self.schema = file.schema_arrow
                n_rows, number = file.metadata.num_rows, 0
                for batch in file.iter_batches(batch_size=PARQUET_ROWS):
                    for fields in batch.to_pylist():
                        number += 1
                        self.share = number / n_rows
                        yield RawRecord(number, fields)
        except ArrowException as error:
            what, fix = "the Parquet file cannot be read", "check that it was written to the end"
            raise DataError(what, path=self.path, found=str(error)[:200], fix=fix) from None


def import_parquet(what: str) -> Any:
    """The module `pyarrow.parquet`; ConfigError, which says `what` needs it, if it is missing."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise missing_extra("pyarrow", "scale", what) from None
    return pyarrow.parquet


def refuse_object(line: str) -> None:
    """Raise DataError for a JSON object where a text is read: its braces would be tagged, too."""
    if not line.lstrip().startswith("{"):
        return
    with suppress(ValueError, RecursionError):
        json.loads(line)
        raise DataError(
            "the line is a JSON object, where a text is expected",
            found=repr(line[:80]),
            fix="give the text alone, without keys and quotes; or name a file of objects .jsonl",
        )


def _object_in(line: str) -> dict[str, Any]:
    """The JSON object that a line holds; DataError if there is none."""
    fix = 'write each record on one line, such as {"text": "..."}'
    try:
        value = json.loads(line)
    except DEEP as error:
        found = f"{reason_of(error)} in {short(line, 80)}"
        raise DataError("the line is not JSON", found=found, fix=fix) from None
    if not isinstance(value, dict):
        raise DataError("the line is not a JSON object", found=outline(value), fix=fix)
    return value


def _size_of_text(path: Path, file: io.BufferedReader) -> int:
    """The bytes of a file, at least 1; DataError if the first ones show that it is no text."""
    head = file.read(HEAD)
    refuse_binary(path, head)
    refuse_utf16(path, head)
    file.seek(0)
    return path.stat().st_size or 1


def _rows(path: Path, lines: Iterable[str], head: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a table with the lines they begin on, cut as its first megabyte shows."""
    delimiter = _delimiter(head) if head.strip() else ","
    if delimiter == "\t" and not _wraps_cells(head):
        for number, line in enumerate(lines, start=1):
            yield number, line.rstrip("\r\n").split("\t")
        return
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    limit, begins = csv.field_size_limit(LONGEST_CELL), 1
    try:
        for cells in reader:
            yield begins, cells
            begins = reader.line_num + 1
    except csv.Error as error:
        what = "the table cannot be read from here on"
        fix = 'close every double quote, and write "" for one inside a quoted cell'
        raise DataError(what, path=path, line=begins, found=str(error), fix=fix) from None
    finally:
        csv.field_size_limit(limit)  # it holds for all of Python


def _delimiter(head: str) -> str:
    """The separator that gives a header we know; else the most frequent one in it."""
    signs = delimiters(head)
    for sign in signs:
        names = {plain_name(name) for name in first_cells(head, sign)}
        asks = not names.isdisjoint(QUESTIONS) and not names.isdisjoint(CONTEXTS)
        if asks or any(names.issuperset(pair) for pair in PAIRS) or not names.isdisjoint(TEXTS):
            return sign
    return signs[0] if signs else ","


def _wraps_cells(head: str) -> bool:
    """Whether quotes wrap the cells of a table with tabs, as the reader of such tables decides."""
    rows = [cells for _, cells in head_rows(head, "\t") if cells]
    lines = [line for line in lines_of(head) if line.strip()]
    return rows != [line.split("\t") for line in lines[: len(rows)]]


def _checked_names(path: Path, names: list[str]) -> list[str]:
    """The names of the columns; DataError if two are the same."""
    _check_utf8(names, path)
    check_header(names, path, line=1)
    return names


def _check_utf8(cells: list[str], path: Path | None = None) -> None:
    """Raise DataError for a row with a byte that is not UTF-8."""
    text = "".join(cells)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raw = text.encode("utf-8", "surrogateescape")
            found = f"byte 0x{ord(text[error.start]) & 0xFF:02x} in {text[:60]!r}"
            raise DataError(
                "the row is not UTF-8", path=path, found=found, fix=how_to_convert(raw)
            ) from None
