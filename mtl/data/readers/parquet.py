"""Parquet goes in, one file or many; the examples of their records come out, from disk if large.

The columns are the fields of a record, as in JSON. Where the `datasets` library wrote the file, it
says there which numbers are classes, and what they are called.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ...errors import DataError, missing_extra
from . import large
from .json_forms import SAMPLE, form_of, plain_record_of
from .json_source import Row, with_class_names
from .kinds import Kind
from .large import identity_of_files, stored_examples
from .source import FilePath, Report

MARK, ENDING = b"PAR1", ".parquet"
BATCH = 1000  # records that are Python objects at once


def parquet_files(path: FilePath) -> list[Path]:
    """The Parquet files behind a path: the file; those of a folder; or those that a pattern such as
    `data/train-*.parquet` names. Empty if there are none.
    """
    path = Path(path)
    if path.is_dir():
        return sorted(path.glob(f"*{ENDING}"))
    if path.is_file():
        with path.open("rb") as file:
            return [path] if file.read(len(MARK)) == MARK else []
    is_pattern = "*" in path.name and path.suffix.lower() == ENDING
    return sorted(path.parent.glob(path.name)) if is_pattern else []


def parquet_form(files: Sequence[Path]) -> tuple[str, Callable[..., Sequence[Any]]]:
    """The form of Parquet files in words, and its reader, as `json_forms.json_form` gives them.

    Raises:
        ConfigError: pyarrow is not installed.
        DataError: a file is broken.
    """
    rows = islice(_rows(files, Report(files[0], "stop")), SAMPLE)
    kind, name = form_of([row.value for row in rows])
    name = name.replace("JSON", "Parquet")
    return name, partial(_read, kind, name, files)


def _read(
    kind: Kind,
    name: str,
    files: Sequence[Path],
    path: FilePath,
    on_error: str = "stop",
    **options: Any,
) -> Sequence[Any]:
    report = Report(path, on_error)
    rows = partial(_rows, files)
    if sum(file.stat().st_size for file in files) < large.LARGE:
        return kind.read(rows, report, options)
    return stored_examples(kind, name, rows, report, options, lambda: identity_of_files(files))


def _rows(files: Sequence[Path], report: Report) -> Iterator[Row]:
    """Every record, a few of them in memory at a time."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise missing_extra("pyarrow", "scale", "reading Parquet") from None
    number = 0
    for file in files:
        try:
            parquet = ParquetFile(file)
            features = _features(parquet.schema_arrow.metadata or {})
            for batch in parquet.iter_batches(batch_size=BATCH):
                for record in batch.to_pylist():
                    number += 1
                    where = f" (record {number})"
                    with report.record(None, where):
                        value = with_class_names(plain_record_of(record), features)
                        yield Row(None, where, value)
        except (ArrowException, OSError) as error:
            fix = "write the file again, or fetch it again"
            what = "the Parquet file cannot be read"
            raise DataError(what, path=file, found=str(error), fix=fix) from None


def _features(metadata: dict[bytes, bytes]) -> Any:
    """How the `datasets` library describes the columns; None if it did not write the file."""
    with suppress(ValueError, KeyError, TypeError):
        return json.loads(metadata[b"huggingface"])["info"]["features"]
