"""A file's text or JSON records, and a report of all that is wrong with it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
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


def read_text(path: FilePath) -> str:
    """The text of a file in UTF-8, with or without a byte order mark."""
    try:
        raw = Path(path).read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        found, fix = error.strerror, f"check the path (you are in {Path.cwd()})"
        raise DataError("the file cannot be read", path=path, found=found, fix=fix) from None
    except UnicodeDecodeError as error:
        *above, before = lines_of(error.object[: error.start].decode())
        place = {"path": path, "line": len(above) + 1}
        found = f"byte 0x{error.object[error.start]:02x} after {before[-30:]!r}"
        code = "UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "LATIN1"
        fix = f"save the file as UTF-8, for example: iconv -f {code} -t UTF-8 OLD > NEW"
        raise DataError("the file is not UTF-8", found=found, fix=fix, **place) from None
    if not text.strip():
        fix = "check that it was written to the end"
        raise DataError("the file is empty", path=path, found=f"{len(raw)} bytes, no text", fix=fix)
    return text


def lines_of(text: str) -> list[str]:
    """The lines of a text. `str.splitlines` would also cut at characters that tokens may hold."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def short(value: object, limit: int = 300) -> str:
    """How Python prints a value, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
