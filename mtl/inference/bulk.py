"""A file of records of any size goes in; a file of the same records with predictions comes out.

Records are read, predicted and written in chunks, so memory does not grow with the file. What has
been written grows in `OUTPUT.partial`, and after each chunk `OUTPUT.progress.json` says how far it
is: a run that was stopped, at any moment and in any way, goes on from there. The output itself
appears when it is complete.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from ..data.readers.raw_records import RawRecord, RecordFile
from ..errors import DataError, Fault
from ..files import unwritable
from ..messages import shown
from ..progress import progress_bar
from .job import Job, Progress, cannot_go_on, check_paths
from .loop import Model, Predictions
from .outputs import Predicted, output_form
from .records import FieldReader, predict_records

LOGGER = logging.getLogger(__name__)
# What is lost at most when a run is killed, and what is sorted by length together.
CHUNK_RECORDS, CHUNK_CHARACTERS = 2048, 1 << 20


def predict_file(model: Model, job: Job, progress: bool = False) -> Progress:
    """Predict for all records of a file; go on where an earlier run of the same job was stopped.

    Args:
        progress: show a progress bar and messages on stderr.

    Raises:
        ConfigError: the output has an unknown form or is the input; a library is missing.
        DataError: the input cannot be read, or has a bad record; the output was begun in another
            way, or cannot be written. What was predicted before is kept.
    """
    check_paths(job.input, job.output)
    with shown(progress):
        return _Run(model, job, progress).run()


class _Run:
    """One run of a job, from where the last one ended."""

    def __init__(self, model: Model, job: Job, show: bool) -> None:
        self.model, self.job, self.show = model, job, show
        self.source = RecordFile(job.input)
        self.reader = FieldReader(
            [model.tasks[name] for name in job.tasks],
            self.source.text_names,
            self.source.joins_titles,
            job.fields,
            job.words,
        )
        self.output = output_form(job.output)()
        self.progress = Progress.of(job)
        self.seen = hashlib.sha256()  # of all records so far

    def run(self) -> Progress:
        progress, job = self.progress, self.job
        done, started = progress.records, time.perf_counter()
        records = iter(self.source)
        self._pass_over(records)
        chunks = _chunks(records)
        first = next(chunks, None)
        if first and progress.finished:
            raise cannot_go_on(job, f"{job.input} has more records than the finished output")
        if first:
            self._tell_fields(first)
        elif not done:
            what, fix = "there are no records in the file", "give it at least one"
            raise DataError(what, path=job.input, fix=fix)
        if not progress.finished:
            self._predict(chain([first] if first else [], chunks))
            progress.finished = True
            progress.save(job)
        if job.partial.exists():
            try:
                self.output.publish(job.partial, job.output)
            except OSError as error:  # such as a full disk; the partial file is still there
                raise unwritable(job.output, error) from None
        self._report(progress.records - done, time.perf_counter() - started)
        return progress

    def _pass_over(self, records: Iterator[RawRecord]) -> None:
        """Read the records that are written already, and make sure that they are the same."""
        progress, job = self.progress, self.job
        if progress.records and not progress.finished:
            LOGGER.info("going on after the %s records in %s", f"{progress.records:,}", job.partial)
        for record in islice(records, progress.records):
            self._note(record)
        if progress.records and self.seen.hexdigest() != progress.input:
            written = f"{progress.records:,} records"
            raise cannot_go_on(job, f"another input: its first {written} are not those written")

    def _note(self, record: RawRecord) -> None:
        content = (record.fields, str(record.fault or ""))
        self.seen.update(repr(content).encode("utf-8", "replace"))

    def _tell_fields(self, records: list[RawRecord]) -> None:
        """Say which fields are read: here, since a wrong one should not be found out at the end."""
        for record in records:
            with suppress(DataError):
                list(self.reader.queries(record.fields))
        LOGGER.info("%s: reading %s", self.job.input, self.reader.describe() or "nothing so far")

    def _predict(self, chunks: Iterable[list[RawRecord]]) -> None:
        """Predict and write all that is left."""
        progress, job = self.progress, self.job
        bar = progress_bar(progress=self.show, unit=" records", initial=progress.records, delay=2)
        with _growing(job.partial, progress.bytes) as file, bar:
            if progress.bytes:
                self.output.resume(job.partial)
            for chunk in chunks:
                bar.total = round((progress.records + len(chunk)) / (self.source.share or 1))
                results = predict_records(
                    self.model, chunk, self.reader, job.top, job.batch_size, bar.update
                )
                self._write(file, chunk, results)
                # Records with a fault were not counted meanwhile; those with two queries, twice.
                bar.update(progress.records - bar.n)

    def _write(
        self, file: BinaryIO, chunk: list[RawRecord], results: list[Predictions | DataError]
    ) -> None:
        """Write a chunk; or what comes before its first fault, and raise all its faults."""
        faults = _faults(self.job.input, chunk, results) if self.job.on_error == "stop" else {}
        n_good = min(faults, default=len(chunk))
        if n_good:
            self._append(file, chunk[:n_good], results[:n_good])
        if faults:
            LOGGER.info(
                "stopped after %s records, which are kept. Correct the input and give the same "
                "command to go on, or add --on-error skip",
                f"{self.progress.records:,}",
            )
            raise DataError.collect([fault for found in faults.values() for fault in found])

    def _append(
        self, file: BinaryIO, chunk: list[RawRecord], results: list[Predictions | DataError]
    ) -> None:
        """Put records at the end of the partial file, then say so in the progress file."""
        progress = self.progress
        records = list(map(_predicted, chunk, results))
        try:
            start = b"" if progress.bytes else self.output.start(records, self.source.schema)
            part = start + self.output.encode(records)
        except DataError as error:
            raise error.at(path=self.job.input) from None
        try:
            file.write(part)
            file.flush()
            os.fsync(file.fileno())  # on the disk before the progress file counts it
        except OSError as error:
            raise unwritable(self.job.partial, error) from None
        for record in chunk:
            self._note(record)
        progress.records += len(chunk)
        progress.bad += sum(isinstance(result, DataError) for result in results)
        progress.bytes += len(part)
        progress.input = self.seen.hexdigest()
        progress.save(self.job)

    def _report(self, n_new: int, seconds: float) -> None:
        """What was done, in a line."""
        output, records = self.job.output, f"{self.progress.records:,} records"
        if not n_new:
            LOGGER.info("%s is finished already: %s", output, records)
            return
        now = "" if n_new == self.progress.records else f", {n_new:,} of them now,"
        took = f"in {seconds:,.1f} s ({n_new / seconds:,.0f} per second)"
        LOGGER.info("%s is finished: %s%s %s", output, records, now, took)
        if self.progress.bad:
            LOGGER.info("with an error in the place of predictions: %s", f"{self.progress.bad:,}")
        if self.source.n_empty:
            LOGGER.info("empty lines left out: %s", f"{self.source.n_empty:,}")


def _chunks(records: Iterator[RawRecord]) -> Iterator[list[RawRecord]]:
    """The records in lists that are never large; the last, if the file breaks off, before that."""
    chunk: list[RawRecord] = []
    n_characters = 0
    try:
        for record in records:
            chunk.append(record)
            n_characters += sum(len(v) for v in record.fields.values() if isinstance(v, str))
            if len(chunk) == CHUNK_RECORDS or n_characters > CHUNK_CHARACTERS:
                yield chunk
                chunk, n_characters = [], 0
    except DataError:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


@contextmanager
def _growing(path: Path, n_bytes: int) -> Generator[BinaryIO]:
    """A file to write on after its first bytes; what follows them was cut off by a kill.

    Raises:
        DataError: it cannot be written, has become shorter, or another process is writing it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab+")
    except OSError as error:
        raise unwritable(path, error) from None
    with file:
        _lock(file, path)
        if file.seek(0, os.SEEK_END) < n_bytes:
            what, fix = "the file has become shorter", "delete it, and its progress file"
            raise DataError(what, path=path, found=f"less than {n_bytes:,} bytes", fix=fix)
        file.truncate(n_bytes)
        try:
            yield file
        finally:
            if not file.tell():  # the first record was bad
                path.unlink()


def _lock(file: BinaryIO, path: Path) -> None:
    """Keep a second run off the file until this process ends, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        what, fix = "another process is writing this file", "wait for it, or stop it"
        raise DataError(what, path=path, fix=fix) from None
    except OSError:  # a file system without locks
        return


def _faults(
    path: Path, chunk: list[RawRecord], results: list[Predictions | DataError]
) -> dict[int, list[Fault]]:
    """What is wrong with the records of a chunk, by their places in it."""
    return {
        i: [replace(fault, path=str(path), line=record.line) for fault in result.faults]
        for i, (record, result) in enumerate(zip(chunk, results, strict=True))
        if isinstance(result, DataError)
    }


def _predicted(record: RawRecord, result: Predictions | DataError) -> Predicted:
    """A record as it is written."""
    if isinstance(result, DataError):
        error = "; ".join(fault.what for fault in result.faults)
        return Predicted(record.line, record.fields, {}, f"line {record.line}: {error}")
    return Predicted(record.line, record.fields, result.to_dict())
