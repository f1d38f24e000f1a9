"""Examples go in; the rows of each and, for each task, its targets come out, one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ClassVar, Protocol

from torch import Tensor

from ..errors import ConfigError, DataError, Fault
from .examples import Input
from .tokenizers.base import Encoding, Row, Tokenizer
from .words import Joining

# Texts that a tokenizer gets at once: enough to keep all cores busy, few enough to hold.
MOST_TEXTS, MOST_CHARACTERS = 512, 1_000_000

IGNORED = -100  # the target where nothing is asked; cross-entropy skips it

EncodeBatch = Callable[[list[str]], list[Encoding]]
Numbered = tuple[int, Any, list[Input] | DataError]  # an example, and the texts of its rows


# A protocol, since data lies below the tasks and must not import them.
class Target(Protocol):
    """What data needs to know about a task: how its targets are made and stacked, and by what."""

    name: str
    reads_places: ClassVar[bool]

    @property
    def joining(self) -> Joining | None: ...

    def settings(self) -> dict[str, Any]: ...

    def inputs_of(self, example: Any) -> list[Input]: ...

    def targets(self, example: Any, rows: list[Row], notes: Counter[str]) -> list[Any]: ...

    def collate(self, targets: Sequence[Any], length: int) -> Tensor: ...


def rows_and_targets(
    examples: Iterable[tuple[int, Any]],
    tokenizer: Tokenizer,
    tasks: Sequence[Target],
    max_length: int,
    overlap: int,
    notes: Counter[str],
    faults: list[Fault],
) -> Iterator[tuple[int, Any, list[Row], dict[str, list[Any]]]]:
    """The number of each example, the example, its rows, and one target per row for each task.

    Args:
        examples: with their numbers, by which people know them.
        notes: takes what had to be adapted or left out, and how often.
        faults: takes one fault for each example that cannot be encoded; it is left out.

    Raises:
        ConfigError: two tasks need different rows of one example.
    """
    # Prediction, which has no task here, will ask where its pieces are.
    places = not tasks or any(task.reads_places for task in tasks)
    encode = partial(tokenizer.encode_batch, places=places)
    for chunk, encodings in _with_encodings(_in_chunks(examples, tasks), encode):
        for number, example, inputs in chunk:
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
                # One fault for each example.
                faults += error.at(what=f"example {name_of(example, number)}: ").faults[:1]
                continue
            yield number, example, rows, targets


def name_of(example: Any, number: int) -> str:
    """What tells people which example it is: its id, or its number."""
    return repr(example.id) if hasattr(example, "id") else str(number)


def _in_chunks(
    examples: Iterable[tuple[int, Any]], tasks: Sequence[Target]
) -> Iterator[list[Numbered]]:
    """So many examples at a time as a tokenizer gets; with what is wrong, if they have no texts."""
    chunk: list[Numbered] = []
    characters = 0
    for number, example in examples:
        try:
            inputs: list[Input] | DataError = inputs_of(example, tasks)
            characters += sum(len(text or "") for texts in inputs for text in texts)
        except DataError as error:
            inputs = error
        chunk.append((number, example, inputs))
        if len(chunk) == MOST_TEXTS or characters > MOST_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _with_encodings(
    chunks: Iterable[list[Numbered]], encode: EncodeBatch
) -> Iterator[tuple[list[Numbered], Mapping[str, Encoding]]]:
    """Each chunk with the encodings of its texts; the next one is encoded meanwhile."""
    chunks = iter(chunks)
    chunk = next(chunks, None)
    if chunk is None:
        return
    encodings = _encoded_once(chunk, encode)
    # The library that cuts subwords does not hold up Python. The pool starts its thread with the
    # second chunk: a few texts would be encoded before it has started.
    with ThreadPoolExecutor(1) as pool:
        for coming in chunks:
            future = pool.submit(_encoded_once, coming, encode)
            yield chunk, encodings
            chunk, encodings = coming, future.result()
    yield chunk, encodings


def _encoded_once(chunk: Sequence[Numbered], encode: EncodeBatch) -> Mapping[str, Encoding]:
    """The encoding of each text, also of one that many share, as questions share their context."""
    several = (inputs for _, _, inputs in chunk if not isinstance(inputs, DataError))
    texts = [text for inputs in several for pair in inputs for text in pair if text is not None]
    unique = list(dict.fromkeys(texts))
    return dict(zip(unique, encode(unique), strict=True))


def inputs_of(example: Any, tasks: Sequence[Target]) -> list[Input]:
    """The texts that the rows of an example are made of, on which its tasks have to agree."""
    if len(tasks) < 2:
        return tasks[0].inputs_of(example) if tasks else example.inputs
    inputs = [task.inputs_of(example) for task in tasks]
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
