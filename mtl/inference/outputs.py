"""Records with their predictions go in; the bytes of a JSONL, CSV, TSV or Parquet file come out.

While a file grows it has a form that can be cut after any part and continued: that of the file
itself, but for Parquet, which ends in a list of its contents. It grows as a stream of Arrow.
"""

from __future__ import annotations

import csv
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..data.readers.raw_records import import_parquet
from ..errors import ConfigError, DataError
from ..files import beside

PREDICTIONS, ERROR = "predictions", "error"
ROW_GROUP = 1 << 25  # bytes of rows that a Parquet file keeps together

Said = dict[str, dict[str, Any]]  # by task, what `to_dict` of its prediction gives


class Predicted(NamedTuple):
    """A record: its line, its own fields, and its predictions as plain values, or its error."""

    line: int
    fields: dict[str, Any]
    said: Said
    error: str | None = None


class Output(ABC):
    """A form of file."""

    def start(self, records: Sequence[Predicted], schema: Any = None) -> bytes:
        """The beginning of the file, once its first records are known.

        Args:
            schema: the pyarrow schema of the fields of the records, where it is known.
        """
        return b""

    def resume(self, partial: Path) -> None:
        """Read from the beginning of a file how to continue it; lines of JSON need nothing."""
        return

    @abstractmethod
    def encode(self, records: Sequence[Predicted]) -> bytes:
        """The records as a part of the file.

        Raises:
            DataError: a field has the name of something that is added, or fits no column.
        """

    def publish(self, partial: Path, path: Path) -> None:
        """Turn what has been written into the file; harmless if a kill interrupts it."""
        os.replace(partial, path)


def _flat(said: Said) -> dict[str, Any]:
    """Predictions as columns: `topic.label`, `topic.score`, ..."""
    return {f"{task}.{key}": value for task, keys in said.items() for key, value in keys.items()}


def _parts(records: Sequence[Predicted]) -> dict[str, Any]:
    """All columns that predictions for these records have, each with the first that it holds."""
    sample: Said = {}
    for record in records:
        sample = record.said | sample
    return _flat(sample)


def _check_names(record: Predicted, added: Sequence[str]) -> None:
    """Raise DataError if a record has a field of a name that is needed for what is added."""
    taken = next((name for name in added if name in record.fields), None)
    if taken is not None:
        raise DataError(
            f"the record already has a field {taken!r}, a name that the output needs",
            line=record.line,
            fix="rename that field in the input",
        )


def _as_json(value: Any) -> str:
    # str: Parquet has values that JSON lacks, such as dates.
    return json.dumps(value, ensure_ascii=False, default=str)


class JsonLines(Output):
    """One object per line: the fields of the record, and `predictions` by task, or an `error`."""

    def encode(self, records: Sequence[Predicted]) -> bytes:
        lines = []
        for record in records:
            _check_names(record, (PREDICTIONS, ERROR))
            added = {PREDICTIONS: record.said} if record.error is None else {ERROR: record.error}
            value = {**record.fields, **added}
            try:
                line = _as_json(value).encode()
            except UnicodeEncodeError:  # half a character, which only an escape can write
                line = json.dumps(value, default=str).encode()
            lines.append(line + b"\n")
        return b"".join(lines)


class TableOutput(Output):
    """A table: the fields of a record, a column for each part of its predictions, and `error`."""

    columns: Sequence[str]

    def _row(self, record: Predicted) -> dict[str, Any]:
        said = {name: self._part(name, value) for name, value in _flat(record.said).items()}
        _check_names(record, (*said, ERROR))
        unknown = next((n for n in (*record.fields, *said) if n not in self.columns), None)
        if unknown is not None:
            raise DataError(
                f"there is no column for {unknown!r}: the first records did not have it",
                line=record.line,
                fix="give an --output that ends in .jsonl, where records may differ",
            )
        return {**record.fields, **said, ERROR: record.error}

    def _part(self, name: str, value: Any) -> Any:
        """A part of a prediction, as its column holds it."""
        return value


class Csv(TableOutput):
    """Texts as they are, nothing for a null, everything else as JSON."""

    delimiter = ","

    def start(self, records: Sequence[Predicted], schema: Any = None) -> bytes:
        own = dict.fromkeys(name for record in records for name in record.fields)
        self.columns = [*own, *_parts(records), ERROR]
        return self._encoded([self.columns])

    def resume(self, partial: Path) -> None:
        with partial.open(encoding="utf-8", newline="") as file:
            self.columns = next(csv.reader(file, delimiter=self.delimiter))

    def encode(self, records: Sequence[Predicted]) -> bytes:
        rows = map(self._row, records)
        return self._encoded([[_cell(row.get(name)) for name in self.columns] for row in rows])

    def _encoded(self, rows: Sequence[Sequence[str]]) -> bytes:
        text = io.StringIO()
        csv.writer(text, delimiter=self.delimiter, lineterminator="\n").writerows(rows)
        return text.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else _as_json(value)


class Tsv(Csv):
    """The same with tabs."""

    delimiter = "\t"


class Parquet(TableOutput):
    """Numbers and vectors with their types; other lists and objects of a prediction as JSON."""

    def __init__(self) -> None:
        import_parquet("a Parquet file")  # before anything is predicted

    def start(self, records: Sequence[Predicted], schema: Any = None) -> bytes:
        import pyarrow

        own = schema or _schema_of(records)
        types = {
            **{field.name: _plain_type(field.type) for field in own},
            **{name: _arrow_type(value) for name, value in _parts(records).items()},
            ERROR: pyarrow.string(),
        }
        self._schema = pyarrow.schema(list(types.items()))
        self.columns = list(types)
        return self._schema.serialize().to_pybytes()

    def resume(self, partial: Path) -> None:
        import pyarrow

        with partial.open("rb") as file:
            self._schema = pyarrow.ipc.open_stream(file).schema
        self.columns = self._schema.names

    def encode(self, records: Sequence[Predicted]) -> bytes:
        import pyarrow

        rows = [self._row(record) for record in records]
        try:
            batch = pyarrow.RecordBatch.from_pylist(rows, schema=self._schema)
        except (pyarrow.ArrowException, TypeError, OverflowError) as error:
            raise _mixed_types(records[0].line, error) from None
        return batch.serialize().to_pybytes()

    def _part(self, name: str, value: Any) -> Any:
        import pyarrow

        is_text = name in self.columns and pyarrow.types.is_string(self._schema.field(name).type)
        return _as_json(value) if is_text and isinstance(value, list | dict) else value

    def publish(self, partial: Path, path: Path) -> None:
        import pyarrow

        parquet = import_parquet("a Parquet file")
        with (
            beside(path) as whole,
            partial.open("rb") as file,
            pyarrow.ipc.open_stream(file) as stream,
            parquet.ParquetWriter(whole, stream.schema) as writer,
        ):
            for table in _row_groups(stream):
                writer.write_table(table)
        partial.unlink()


def _arrow_type(value: Any) -> Any:
    """The type of a column for parts of predictions that are like this one."""
    import pyarrow

    if isinstance(value, list) and value and all(isinstance(item, float) for item in value):
        return pyarrow.list_(pyarrow.float64())
    types = {bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64()}
    return types.get(type(value), pyarrow.string())


def _schema_of(records: Sequence[Predicted]) -> Any:
    """The schema that fits the fields of all these records; DataError if there is none."""
    import pyarrow

    names = dict.fromkeys(name for record in records for name in record.fields)
    columns = {name: [record.fields.get(name) for record in records] for name in names}
    try:
        return pyarrow.table(columns).schema
    except (pyarrow.ArrowException, TypeError, OverflowError) as error:
        raise _mixed_types(records[0].line, error) from None


def _mixed_types(line: int, error: Exception) -> DataError:
    return DataError(
        "a field does not hold the same type in all records, from this one on",
        line=line,
        found=str(error)[:200],
        fix="give an --output that ends in .jsonl, where records may differ",
    )


def _plain_type(kind: Any) -> Any:
    """The type of a column of the input, as it can be written batch by batch."""
    import pyarrow

    if pyarrow.types.is_null(kind):  # empty at first; texts are the likeliest to come
        return pyarrow.string()
    return kind.value_type if pyarrow.types.is_dictionary(kind) else kind


def _row_groups(stream: Any) -> Iterator[Any]:
    """The batches of an Arrow stream, put together until they make a row group."""
    import pyarrow

    batches, n_bytes = [], 0
    for batch in stream:
        batches.append(batch)
        n_bytes += batch.nbytes
        if n_bytes >= ROW_GROUP:
            yield pyarrow.Table.from_batches(batches)
            batches, n_bytes = [], 0
    if batches:
        yield pyarrow.Table.from_batches(batches)


FORMS: dict[str, type[Output]] = {
    **{".jsonl": JsonLines, ".ndjson": JsonLines},
    **{".csv": Csv, ".tsv": Tsv, ".parquet": Parquet},
}


def output_form(path: Path) -> type[Output]:
    """The form of file that the ending of a name asks for; ConfigError for another ending."""
    form = FORMS.get(path.suffix.lower())
    if form is None:
        raise ConfigError(
            "the ending of the output says which form it is to have, and this is none we know",
            found=path.name,
            fix=f"end its name in {', '.join(FORMS)}",
        )
    return form
