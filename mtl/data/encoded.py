"""Examples go in; their rows and, for each task, their targets come out: all encoded once."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ..errors import ConfigError, DataError, DataWarning, Fault
from .examples import Input
from .tokenizers.base import Encoding, Row, Tokenizer
from .words import Joining

# Texts that a tokenizer gets at once: enough to keep all cores busy, few enough to hold.
MOST_TEXTS, MOST_CHARACTERS = 1024, 2_000_000


# A protocol, since data lies below the tasks and must not import them.
class Target(Protocol):
    """What data needs to know about a task: how its targets are made and stacked, and by what."""

    name: str

    @property
    def joining(self) -> Joining | None: ...

    def settings(self) -> dict[str, Any]: ...

    def inputs_of(self, example: Any) -> list[Input]: ...

    def targets(self, example: Any, rows: list[Row], notes: Counter[str]) -> list[Any]: ...

    def collate(self, targets: Sequence[Any], length: int) -> Tensor: ...


@dataclass(frozen=True)
class EncodedExample:
    """An example with its rows and, for each task, one target per row (None: not labelled).

    `name` tells people which example it is: its id, or its number among the examples.
    """

    example: Any
    rows: list[Row]
    targets: dict[str, list[Any]]
    name: str = ""

    def __len__(self) -> int:
        return max(len(row) for row in self.rows)


def encode_examples(
    examples: Iterable[Any],
    tokenizer: Tokenizer,
    tasks: Sequence[Target],
    max_length: int,
    overlap: int = 32,
    faults: list[Fault] | None = None,
) -> tuple[list[EncodedExample], Counter[str]]:
    """Rows and targets of every example.

    Args:
        examples: objects with `inputs`, the texts that their rows are made of.
        tasks: they make the targets, and may read the texts in another way, all of them in the
            same; prediction needs none.
        max_length: most tokens in a row.
        overlap: pieces that neighbouring windows of a long text share.
        faults: a list that takes one fault for each example that cannot be encoded; such examples
            are then left out. Without it, all faults are raised together.

    Returns:
        the encoded examples, and notes: what had to be adapted or left out, and how often.

    Raises:
        DataError: examples that cannot be encoded, all of them, unless `faults` takes them.
        ConfigError: two tasks need different rows of one example.
    """
    notes: Counter[str] = Counter()
    encoded: list[EncodedExample] = []
    found: list[Fault] = []
    for number, example, inputs, encodings in _encoded_texts(examples, tokenizer, tasks):
        name = _name(example, number)
        try:  # every example is tried before anything is raised: all faults come together
            if isinstance(inputs, DataError):
                raise inputs
            rows = [
                row
                for texts in inputs
                for row in tokenizer.rows(texts, max_length, overlap, encodings)
            ]
            targets = {task.name: _targets_of(task, example, rows, notes) for task in tasks}
        except DataError as error:
            found += error.at(what=f"example {name}: ").faults[:1]  # one fault for each example
            continue
        encoded.append(EncodedExample(example, rows, targets, name))
    if found and faults is None:
        raise DataError.collect(found)
    if faults is not None:
        faults += found
    return encoded, notes


def _name(example: Any, number: int) -> str:
    return repr(example.id) if hasattr(example, "id") else str(number)


def _encoded_texts(
    examples: Iterable[Any], tokenizer: Tokenizer, tasks: Sequence[Target]
) -> Iterator[tuple[int, Any, list[Input] | DataError, Mapping[str, Encoding]]]:
    """Each example with its number, from 1; the texts of its rows, or what is wrong with them; and
    the encodings of these texts.

    Many texts are encoded at once, and one that several examples share, as questions share their
    context, is encoded once.
    """
    for some in _in_chunks(examples, tasks):
        texts = dict.fromkeys(
            text
            for _, _, inputs in some
            if not isinstance(inputs, DataError)
            for pair in inputs
            for text in pair
            if text is not None
        )
        encodings = dict(zip(texts, tokenizer.encode_batch(list(texts)), strict=True))
        yield from ((*one, encodings) for one in some)


def _in_chunks(
    examples: Iterable[Any], tasks: Sequence[Target]
) -> Iterator[list[tuple[int, Any, list[Input] | DataError]]]:
    """Numbered examples with the texts of their rows, so many at a time as a tokenizer gets."""
    chunk: list[tuple[int, Any, list[Input] | DataError]] = []
    characters = 0
    for number, example in enumerate(examples, 1):
        try:
            inputs = _inputs_of(example, tasks)
            characters += sum(len(text or "") for texts in inputs for text in texts)
        except DataError as error:
            inputs = error
        chunk.append((number, example, inputs))
        if len(chunk) == MOST_TEXTS or characters > MOST_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _inputs_of(example: Any, tasks: Sequence[Target]) -> list[Input]:
    """The texts that the rows of an example are made of, on which its tasks have to agree."""
    inputs = [task.inputs_of(example) for task in tasks] or [example.inputs]
    other = next((i for i, texts in enumerate(inputs) if texts != inputs[0]), None)
    if other is not None:
        raise ConfigError(
            f"the tasks {tasks[0].name!r} and {tasks[other].name!r} share a dataset, but one reads "
            "two texts together and the other each text alone",
            fix="give each of them a dataset of its own; it may be made of the same file",
        )
    return inputs[0]


def _targets_of(task: Target, example: Any, rows: list[Row], notes: Counter[str]) -> list[Any]:
    """`task.targets`; ConfigError if it does not give one for each row."""
    targets = task.targets(example, rows, notes)
    if not isinstance(targets, Sized) or len(targets) != len(rows):
        raise ConfigError(
            f"the task {task.name!r} does not give one target for each row of an example",
            found=f"{targets!r:.80} for {len(rows)} rows",
            fix=f"return a list of that length from {type(task).__name__}.targets; None stands "
            "for a row without a label",
        )
    return targets


def check_on_error(on_error: str) -> None:
    """Raise ConfigError unless it is "stop" or "skip"."""
    if on_error not in ("stop", "skip"):
        fix = 'use "stop" to list everything that is wrong, or "skip" to leave it out'
        raise ConfigError("on_error is unknown", found=repr(on_error), fix=fix)


def warn_of_encoding(where: str, notes: Counter[str], faults: Sequence[Fault]) -> None:
    """Report as DataWarnings what was adapted, and how many examples were left out."""
    # Counted and reported once: a warning for each example would bury all others.
    for note, count in notes.items():
        warnings.warn(f"{where}: {count:,} {note}", DataWarning, stacklevel=3)
    if faults:
        what = f"examples left out: {len(faults):,}. The first: {faults[0]}"
        warnings.warn(f"{where}: {what}", DataWarning, stacklevel=3)
