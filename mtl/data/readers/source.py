"""A file's text or JSON records, and a report of all that is wrong with it."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import ConfigError, DataError, DataWarning, Fault

FilePath = str | os.PathLike[str]


class Report:
    """What is wrong with a file, and what its user should know of it; `finish` says it all."""

    def __init__(self, path: FilePath, on_error: str) -> None:
        if on_error not in ("stop", "skip"):
            fix = 'use "stop" to list all bad records, or "skip" to leave them out'
            raise ConfigError("on_error is unknown", found=repr(on_error), fix=fix)
        self.path = str(path)
        self.skip = on_error == "skip"
        self.faults: list[Fault] = []
        self.bad_records = 0
        self.notes: list[str] = []

    @contextmanager
    def record(self, line: int | None, where: str = "") -> Iterator[None]:
        """Collect what is raised about one record, and say where in the file the record is."""
        try:
            yield
        except DataError as error:
            self.bad_records += 1
            for fault in error.faults:
                place = {"path": self.path, "line": fault.line or line}
                self.faults.append(replace(fault, what=fault.what + where, **place))

    def note_strays(self, repaired: Sequence[tuple[int, str, str]], scheme: str) -> None:
        """Say how many tags broke their scheme: of each the line, the tag before, the tag."""
        if repaired:
            line, before, tag = repaired[0]
            self.notes.append(
                f"tags that break {scheme}, read as conlleval reads them: {len(repaired):,} (the "
                f"first in line {line}: {tag} after {before}); --strict refuses them"
            )

    def finish(self, examples: list[Any], kind: str) -> list[Any]:
        """The examples, or one error that holds every fault."""
        faults = sorted(self.faults, key=lambda fault: fault.line or 0)
        if faults and not self.skip:
            raise DataError.collect(faults)
        if faults:
            self.notes.append(f"bad records left out: {self.bad_records}. The first: {faults[0]}")
        if not examples:
            found = "; ".join(self.notes) or None
            what, fix = f"the file gives no {kind}", "give it at least one"
            raise DataError(what, path=self.path, found=found, fix=fix)
        for note in self.notes:
            warnings.warn(f"{self.path}: {note}", DataWarning, stacklevel=3)
        return examples


class SoundDataError(DataError):
    """Nothing is wrong with the data: something has to be chosen, or no task can learn it yet.

    Training stops at it; `mtl check` tells it as a fact, not as a problem.
    """


BINARY_FORMS = {  # the first bytes of a file: what it is, and what to do
    b"\x1f\x8b": ("a gzip file", "unpack it first: gunzip FILE"),
    b"BZh": ("a bzip2 file", "unpack it first: bunzip2 FILE"),
    b"\xfd7zXZ": ("an xz file", "unpack it first: unxz FILE"),
    b"\x28\xb5\x2f\xfd": ("a zstd file", "unpack it first: unzstd FILE"),
    b"PAR1": ("a Parquet file", "write it as JSON lines: pandas.read_parquet(FILE).to_json("),
    b"ARROW1": (
        "an Arrow file",
        "write it as JSON lines: datasets.Dataset.from_file(FILE).to_json(",
    ),
    b"\xd0\xcf\x11\xe0": ("an old Excel or Word file", "save it as CSV (UTF-8)"),
    b"SQLite format 3": ("an SQLite database", "write the table you need as CSV"),
    b"%PDF": ("a PDF file", "save its text, with labels, in one of the forms of docs/data.md"),
}
_TO_JSON_LINES = 'NEW, orient="records", lines=True)'


def read_text(path: FilePath) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        DataError: the file cannot be opened, is empty, or is not text in UTF-8; a well-known other
            form (gzip, Excel, Parquet, ...) is called by its name.
    """
    try:
        raw = Path(path).read_bytes()
        _refuse_binary(path, raw)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        found, fix = error.strerror, f"check the path (you are in {Path.cwd()})"
        raise DataError("the file cannot be read", path=path, found=found, fix=fix) from None
    except UnicodeDecodeError as error:
        *above, before = lines_of(error.object[: error.start].decode())
        place = {"path": path, "line": len(above) + 1}
        found = f"byte 0x{error.object[error.start]:02x} after {before[-30:]!r}"
        raise DataError(
            "the file is not UTF-8", found=found, fix=_how_to_convert(raw), **place
        ) from None
    if text.count("\0") > len(text) // 4:
        fix = "save the file as UTF-8: iconv -f UTF-16LE -t UTF-8 OLD > NEW"
        found = f"every other byte is zero, as in {raw[:8]!r}"
        raise DataError("the file is UTF-16, not UTF-8", path=path, found=found, fix=fix)
    if not text.strip():
        fix = "check that it was written to the end"
        raise DataError("the file is empty", path=path, found=f"{len(raw)} bytes, no text", fix=fix)
    return text


def _refuse_binary(path: FilePath, raw: bytes) -> None:
    """Raise DataError for a file that is not text, by what it is."""
    form, fix = next((v for start, v in BINARY_FORMS.items() if raw.startswith(start)), ("", ""))
    if raw.startswith(b"PK\x03\x04"):
        form, fix = "a zip archive", "unpack it first: unzip FILE"
        if b"xl/" in raw:
            form, fix = "an Excel file", "save the sheet as CSV (UTF-8)"
        elif b"word/" in raw:
            form, fix = "a Word file", "save it as plain text (UTF-8)"
    elif re.match(rb"\x80[\x02-\x05]", raw):
        form = "a Python pickle"
        fix = "write its content as JSON; a pickle can run code and is never loaded"
    if form:
        fix += _TO_JSON_LINES * fix.endswith("(")
        raise DataError(f"this is {form}, not text", path=path, found=repr(raw[:8]), fix=fix)


def _how_to_convert(raw: bytes) -> str:
    """What to do about a file that is not UTF-8, by what it may be instead."""
    code, who = "CP1252", "CP1252 is what Windows writes in western languages"
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        code, who = "UTF-16", 'which Windows calls "Unicode"'
    else:
        try:
            raw.decode("cp1252")
        except UnicodeDecodeError:
            return "save the file as UTF-8: iconv -f ITS-ENCODING -t UTF-8 OLD > NEW"
    return f"save the file as UTF-8, for example: iconv -f {code} -t UTF-8 OLD > NEW ({who})"


def lines_of(text: str) -> list[str]:
    """The lines of a text. `str.splitlines` would also cut at characters that tokens may hold."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def short(value: object, limit: int = 300) -> str:
    """How Python prints a value, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def is_list(text: str) -> bool:
    """Whether a JSON file is one list, rather than a record a line."""
    return text.lstrip().startswith("[")


def json_records(text: str, report: Report) -> Iterator[tuple[int, Any]]:
    """Every record of a JSON array, or of a file with one record a line, with its line."""
    if is_list(text):
        yield from _array_records(text, report)
        return
    if not text.lstrip().startswith("{"):
        found = short(text.lstrip()[:60])
        fix = "a file of records is a list [{...}, ...], or has one record {...} a line"
        raise DataError(
            "this is not a file of JSON records", path=report.path, found=found, fix=fix
        )
    whole = _one_object(text)
    if whole is not None:
        yield 1, whole
        return
    for line, content in enumerate(lines_of(text), start=1):
        with report.record(line):
            if content.strip():
                try:
                    record = json.loads(content)
                except (ValueError, RecursionError) as error:
                    fix = "write each record on one line, or all records in one list: [..., ...]"
                    found = f"{reason_of(error)} in {short(content, 80)}"
                    raise DataError("the line is not JSON", found=found, fix=fix) from None
                yield line, record


def _one_object(text: str) -> Any:
    """The object that a text of several lines is as a whole; None if it is not one."""
    if "\n" not in text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


_BLANKS = re.compile(r"\s*")


def _array_records(text: str, report: Report) -> Iterator[tuple[int, Any]]:
    """The elements of a JSON array one by one, so that each is known by its line."""
    decoder = json.JSONDecoder()
    position = text.index("[") + 1
    is_open = text[_next_sign(text, position) :][:1] != "]"
    if not is_open:
        position = _next_sign(text, position) + 1
    line, counted = 1, 0
    while is_open:
        position = _next_sign(text, position)
        line, counted = line + text.count("\n", counted, position), position
        try:
            record, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            position = getattr(error, "pos", position)
            return _report_broken(report, text, position, reason_of(error))
        yield line, record
        position = _next_sign(text, position) + 1
        is_open = text[position - 1 : position] == ","
        if not is_open and text[position - 1 : position] != "]":
            return _report_broken(report, text, position - 1, "a comma or ] is missing")
    if text[position:].strip():
        _report_broken(report, text, position, "something stands behind the list")


def _next_sign(text: str, position: int) -> int:
    """Where the next character that is no blank stands."""
    return _BLANKS.match(text, position).end()


def _report_broken(report: Report, text: str, position: int, reason: str) -> None:
    line = 1 + text.count("\n", 0, position)
    report.notes.append(f"the JSON is broken in line {line}; what comes after it was not read")
    with report.record(line):
        found = f"{reason}, at {short(text[position : position + 40])}"
        fix = "mend the JSON there; what comes after it was not read"
        raise DataError("this is not JSON", found=found, fix=fix)


def reason_of(error: Exception) -> str:
    """Why a text could not be read as JSON."""
    if isinstance(error, RecursionError):
        return "lists or objects nested too deeply"
    return getattr(error, "msg", str(error)).removesuffix(" at")


def outline(value: Any) -> str:
    """What a JSON value is, in a few words."""
    if isinstance(value, dict):
        return f"an object with the keys {', '.join(map(repr, value)) or '(none)'}"
    return f"a list of {len(value)}" if isinstance(value, list) else short(value, 80)
