"""A file goes in; its text comes out, and a report of everything that is wrong with it."""

from __future__ import annotations

import io
import os
import re
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ...errors import ConfigError, DataError, DataWarning, Fault

FilePath = str | os.PathLike[str]
T = TypeVar("T")
# What becomes of the items of a file between two passes: `in_memory`, or `Passes`.
Held = Callable[[Callable[["Report"], Iterator[Any]], "Report"], Iterable[Any]]


class Report:
    """What is wrong with a file, and what its user should know; `finish` reports it.

    Attributes:
        most: faults that are kept; the others are only counted.
        counts: what the user should know, and how often it occurred.
        unread: the fields that are not read, and in how many records.
    """

    def __init__(self, path: FilePath, on_error: str) -> None:
        if on_error not in ("stop", "skip"):
            fix = 'use "stop" to list all bad records, or "skip" to leave them out'
            raise ConfigError("on_error is unknown", found=repr(on_error), fix=fix)
        self.path = str(path)
        self.skip = on_error == "skip"
        self.faults: list[Fault] = []
        self.most = sys.maxsize
        self.not_kept = 0
        self.bad_records = 0
        self.notes: list[str] = []
        self.counts: Counter[str] = Counter()
        self.unread: Counter[str] = Counter()

    def quiet(self) -> Report:
        """Another one of the same file, for what was reported before."""
        other = Report(self.path, "skip")
        other.most = 0
        return other

    @contextmanager
    def record(self, line: int | None, where: str = "") -> Generator[None]:
        """Collect what is raised about one record, and say where in the file it is."""
        try:
            yield
        except DataError as error:
            self.bad_records += 1
            for fault in error.faults:
                place = {"path": self.path, "line": fault.line or line}
                self._keep(replace(fault, what=fault.what + where, **place))
        # Python's own limit; one record nested too deeply is no reason to lose the others.
        except RecursionError:
            self.bad_records += 1
            what = f"lists or objects are nested too deeply{where}"
            self._keep(Fault(what, self.path, line, fix="write it with fewer levels"))

    def _keep(self, fault: Fault) -> None:
        # A wrong field is a fault of every line, and a file may be larger than memory.
        if len(self.faults) < self.most:
            self.faults.append(fault)
        else:
            self.not_kept += 1

    def note_strays(
        self, n: int, first: Sequence[tuple[str, str, str]], scheme: str, about: str = ""
    ) -> None:
        """Note the tags that break their scheme.

        Args:
            n: how many there are.
            first: of the first, its place, the tag before, and itself; or of more.
            about: how the note begins.
        """
        if n:
            place, before, tag = first[0]
            self.notes.append(
                f"{about}tags that break {scheme}, read as conlleval reads them: "
                f"{n:,} (the first at {place}: {tag} after {before}); "
                "--strict refuses them"
            )

    def finish(self, examples: list[Any], kind: str) -> list[Any]:
        """The examples, or one error that holds every fault."""
        for note, category in self.verdict(len(examples), kind):
            # Level 3 is the caller of the reader, the line that a user knows.
            warnings.warn(note, category, stacklevel=3)
        return examples

    def verdict(self, n_examples: int, kind: str) -> list[tuple[str, type[DataWarning]]]:
        """What a user should know, as messages with their category; or the error of `finish`."""
        # Faults of several passes over the file, in the order of its lines.
        faults = sorted(self.faults, key=lambda fault: fault.line or 0)
        if faults and not self.skip:
            raise DataError.collect(faults, self.not_kept)
        notes: list[tuple[str, type[DataWarning]]] = [(note, DataWarning) for note in self.notes]
        if faults:
            left_out = f"bad records left out: {self.bad_records}. The first: {faults[0]}"
            notes.append((left_out, LeftOutWarning))
        # An empty list would only fail much later, far from the file that is to blame.
        if not n_examples:
            found = "; ".join(note for note, _ in notes) or None
            what, fix = f"the file holds no {kind}", "give it at least one"
            raise DataError(what, path=self.path, found=found, fix=fix)
        return [(f"{self.path}: {note}", category) for note, category in notes]


def in_memory(make: Callable[[Report], Iterator[T]], report: Report) -> list[T]:
    """The items of the first pass over a file, kept for the others."""
    return list(make(report))


class Passes(Iterable[T]):
    """What a function makes of a file, made anew in each pass over it, so that memory holds one.

    The first pass must go to its end: it is the one that reports what is wrong.

    Args:
        make: gives the items of a pass, and reports to what it is called with.
    """

    def __init__(self, make: Callable[[Report], Iterator[T]], report: Report) -> None:
        self.make, self.report = make, report

    def __iter__(self) -> Iterator[T]:
        report, self.report = self.report, self.report.quiet()
        return self.make(report)


def only_set(**options: Any) -> dict[str, Any]:
    """The reader options that somebody set: 0 counts as a value, None does not."""
    # Compared by identity first: 0 == False, but column 0 is something that somebody asked for.
    unset = (None, False, "", (), [])
    return {n: v for n, v in options.items() if not any(v is u or v == u != 0 for u in unset)}


_AT_ONCE = 2**16  # bytes of a file that are lines at once


class SoundDataError(DataError):
    """Nothing is wrong with the data: there is a choice to make, or no task can learn it yet.

    Training stops at it; `mtl check` reports it as a fact, not as a problem.
    """


_JSON_LINES = 'write it as JSON lines: {}.to_json(NEW, orient="records", lines=True)'


class LeftOutWarning(DataWarning):
    """Bad records were left out, as `on_error="skip"` asks; `mtl check` lists them one by one."""


BINARY_FORMS = {  # the first bytes of a file: what it is, and what to do
    b"\x1f\x8b": ("a gzip file", "unpack it first: gunzip FILE"),
    b"BZh": ("a bzip2 file", "unpack it first: bunzip2 FILE"),
    b"\xfd7zXZ": ("an xz file", "unpack it first: unxz FILE"),
    b"\x28\xb5\x2f\xfd": ("a zstd file", "unpack it first: unzstd FILE"),
    b"PAR1": ("a Parquet file", _JSON_LINES.format("pandas.read_parquet(FILE)")),
    b"ARROW1": ("an Arrow file", _JSON_LINES.format("datasets.Dataset.from_file(FILE)")),
    b"\xd0\xcf\x11\xe0": ("an old Excel or Word file", "save it as CSV (UTF-8)"),
    b"SQLite format 3": ("an SQLite database", "write the table you need as CSV"),
    b"\x78\x9c": (
        "a compressed file, such as spaCy's .spacy",
        "write each Doc as one line of JSON: json.dumps(doc.to_json())",
    ),
    b"version https://git-lfs": ("a pointer of Git LFS", "fetch the file itself: git lfs pull"),
    b"<!DOCTYPE html": (
        "a web page",
        "download the file itself ('raw'), not the page that shows it",
    ),
    b"%PDF": ("a PDF file", "save its text, with labels, in one of the forms of docs/data.md"),
}


def read_text(path: FilePath) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        DataError: the file cannot be opened, is empty, or is not text in UTF-8; another well-known
            form (gzip, Excel, Parquet, ...) is named.
    """
    try:
        raw = Path(path).read_bytes()
        # By the first bytes, before decoding: "not UTF-8" would not help anybody with an Excel
        # file.
        refuse_binary(path, raw)
        text = beginning_of(raw)
    except OSError as error:
        raise unreadable(path, error) from None
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error, 0, raw) from None
    refuse_utf16(path, raw)
    if not text.strip():
        fix = "check that it was written to the end"
        raise DataError("the file is empty", path=path, found=f"{len(raw)} bytes, no text", fix=fix)
    return text


def unreadable(path: FilePath, error: OSError) -> DataError:
    """The error for a file that cannot be opened, or not be read to its end."""
    found, fix = error.strerror, f"check the path (you are in {Path.cwd()})"
    return DataError("the file cannot be read", path=path, found=found, fix=fix)


def refuse_utf16(path: FilePath, raw: bytes) -> None:
    """Raise DataError for UTF-16, which without its mark is also valid UTF-8."""
    if raw.count(0) > len(raw) // 4:
        fix = "save the file as UTF-8: iconv -f UTF-16LE -t UTF-8 OLD > NEW"
        found = f"every other byte is zero, as in {raw[:8]!r}"
        raise DataError("the file is UTF-16, not UTF-8", path=path, found=found, fix=fix)


def texts_in(path: FilePath) -> Iterator[str]:
    """The text of a file, cut after line breaks, so that only some lines at a time are in memory.

    Raises:
        DataError: the file cannot be read, or is not UTF-8.
    """
    n_above = 0
    try:
        with Path(path).open("rb") as file:
            while raw := b"".join(file.readlines(_AT_ONCE)):
                try:
                    text = raw.decode() if n_above else beginning_of(raw)
                except UnicodeDecodeError as error:
                    raise _not_utf8(path, error, n_above, raw) from None
                n_above += text.count("\n") + text.count("\r") - text.count("\r\n")
                yield text
    except OSError as error:
        raise unreadable(path, error) from None


def lines_in(path: FilePath) -> Iterator[str]:
    """The lines of a file as `lines_of` cuts them; errors as in `texts_in`."""
    for text in texts_in(path):
        *lines, last = lines_of(text)
        yield from lines
        # What comes after the line break is the next line.
        if last:
            yield last


def whole_lines_in(path: FilePath) -> Iterator[str]:
    """The lines of a file with their ends; errors as in `texts_in`."""
    for text in texts_in(path):
        yield from whole_lines_of(text)


def whole_lines_of(text: str) -> Iterator[str]:
    """The lines of a text with their ends."""
    return io.StringIO(text, newline="")


def beginning_of(raw: bytes) -> str:
    """The text of a file, or of its first lines, in UTF-8."""
    # utf-8-sig: otherwise the byte order mark of Windows would become part of the first word.
    return re.sub(r"\Asep=.(?=\r?\n)", "", raw.decode("utf-8-sig"))  # Excel's first line


def _not_utf8(path: FilePath, error: UnicodeDecodeError, n_above: int, raw: bytes) -> DataError:
    """The error for a byte that is not UTF-8, in what follows after `n_above` lines."""
    # What comes before the bad byte can be decoded, so its line can be counted.
    *above, before = lines_of(error.object[: error.start].decode())
    found = f"byte 0x{error.object[error.start]:02x} after {before[-30:]!r}"
    line = n_above + len(above) + 1
    fix = how_to_convert(raw)
    return DataError("the file is not UTF-8", path=path, line=line, found=found, fix=fix)


def refuse_binary(path: FilePath, raw: bytes) -> None:
    """Raise DataError for a file that is not text, and say what it is."""
    form, fix = next((v for start, v in BINARY_FORMS.items() if raw.startswith(start)), ("", ""))
    if raw.startswith(b"PK\x03\x04"):
        form, fix = "a zip archive", "unpack it first: unzip FILE"
        # Excel and Word files are zip archives; what is inside tells them apart.
        if b"xl/" in raw:
            form, fix = "an Excel file", "save the sheet as CSV (UTF-8)"
        elif b"word/" in raw:
            form, fix = "a Word file", "save it as plain text (UTF-8)"
    # Pickle protocols 2 to 5 begin with these two bytes.
    elif re.match(rb"\x80[\x02-\x05]", raw):
        form = "a Python pickle"
        fix = "write its content as JSON; a pickle can run code and is never loaded"
    if form:
        raise DataError(f"this is {form}, not text", path=path, found=repr(raw[:8]), fix=fix)


def how_to_convert(raw: bytes) -> str:
    """What to do about a file that is not UTF-8, by what it may be instead."""
    if b"\0" in raw and raw[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        return "zero bytes show that this is not text: export it as text (UTF-8)"
    code, who = "CP1252", "CP1252 is what Windows writes for western languages"
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        code, who = "UTF-16", 'which Windows calls "Unicode"'
    else:
        try:
            raw.decode("cp1252")
        except UnicodeDecodeError:
            return "save the file as UTF-8: iconv -f ITS-ENCODING -t UTF-8 OLD > NEW"
    return f"save the file as UTF-8, for example: iconv -f {code} -t UTF-8 OLD > NEW ({who})"


def decode_line(number: int, line: bytes) -> str:
    """A line as text, without its end; some programs put a byte order mark before the first one.

    Raises:
        DataError: it is not UTF-8.
    """
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise DataError("the input is not UTF-8", fix="convert it to UTF-8 first") from None
    return text.removesuffix("\n").removesuffix("\r")


def lines_of(text: str) -> list[str]:
    """The lines of a text. `str.splitlines` would also cut at characters that tokens may hold."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def short(value: object, limit: int = 300) -> str:
    """How Python prints a value, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
