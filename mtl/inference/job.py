"""What to predict, and where to, goes in; how far that is comes out, as kept beside the output."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..data.readers.source import unreadable
from ..errors import ConfigError, DataError
from ..files import write_atomically
from .outputs import output_form


@dataclass(frozen=True)
class Job:
    """What to predict, and where it goes.

    Attributes:
        model: anything that tells this model from another, such as a hash of its files.
        tasks: those to ask; a record goes to all of them that can read it.
        fields: the fields to read, where their names are not known: one for single texts, or two.
        words: whether texts are lists of words, with blanks between them.
        top: how many answers to give to a question.
        batch_size: as in `mtl.predict`.
        on_error: "stop" ends at the first bad record, after those before it are written; "skip"
            writes what is wrong with it in its place.
    """

    input: Path
    output: Path
    model: str
    tasks: tuple[str, ...]
    fields: tuple[str, ...] = ()
    words: bool = False
    top: int = 1
    batch_size: int | None = None
    on_error: str = "stop"

    @property
    def partial(self) -> Path:
        return self.output.with_name(f"{self.output.name}.partial")

    @property
    def progress_file(self) -> Path:
        return self.output.with_name(f"{self.output.name}.progress.json")

    @property
    def made_with(self) -> dict[str, Any]:
        """What decides the predictions, but for their last digits."""
        options = ("model", "tasks", "fields", "words", "top")
        # As JSON gives it back.
        return json.loads(json.dumps({name: getattr(self, name) for name in options}))


def check_paths(source: Path, output: Path) -> None:
    """Raise DataError if the input cannot be read; ConfigError if the output is the input, or if
    its name does not say which form it is to have."""
    output_form(output)
    try:
        source.open("rb").close()
    except OSError as error:
        raise unreadable(source, error) from None
    if output.exists() and output.samefile(source):
        fix = "give another --output"
        raise ConfigError("the output is the input", found=str(output), fix=fix)


@dataclass
class Progress:
    """How far a job is: what `OUTPUT.progress.json` holds.

    Attributes:
        made_with: see `Job.made_with`.
        records: how many are written, bad ones included.
        bad: how many of them have an error in the place of predictions.
        input: hash of these records, as they were read.
        bytes: of the partial file, up to the end of the last of them.
        finished: whether they are all there are.
    """

    made_with: dict[str, Any]
    records: int = 0
    bad: int = 0
    input: str = ""
    bytes: int = 0
    finished: bool = False

    def save(self, job: Job) -> None:
        write_atomically(job.progress_file, json.dumps(asdict(self), indent=1))

    @classmethod
    def of(cls, job: Job) -> Progress:
        """That of an earlier run of the same job; else of one that begins.

        Raises:
            DataError: the output is there already, or was begun in another way.
        """
        there = job.output.exists()
        try:
            progress = cls(**json.loads(job.progress_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            progress = cls(job.made_with)
        except (OSError, ValueError, TypeError) as error:
            raise cannot_go_on(job, f"{job.progress_file.name} is broken: {error}") from None
        if there and not progress.finished:
            what, fix = "the output is there already", "delete it, or give another --output"
            raise DataError(what, path=job.output, fix=fix)
        before, now = progress.made_with, job.made_with
        differing = [
            "another model" if name == "model" else f"{name} {before.get(name)}, now {now[name]}"
            for name in now
            if before.get(name) != now[name]
        ]
        if differing:
            raise cannot_go_on(job, "; ".join(differing))
        # A run may be stopped after it has finished, just before the output appears.
        is_kept = job.partial.exists() or (progress.finished and there)
        if progress.records and not is_kept:
            raise cannot_go_on(job, "what was written is gone")
        return progress


def cannot_go_on(job: Job, found: str) -> DataError:
    """The error for what would mix two outputs."""
    return DataError(
        "this output cannot be continued: it was made in another way",
        path=job.output,
        found=found,
        fix=f"delete {job.output.name}, {job.partial.name} and {job.progress_file.name}, as far as "
        "they are there, to begin anew; or give another --output",
    )
