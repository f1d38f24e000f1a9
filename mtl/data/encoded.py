"""Examples go in; their rows and, for each task, their targets come out: all encoded once.

`encode` is for a dataset: arrays hold it, in memory or on disk. `encode_examples` is for what is
predicted once: a list, which still has the pieces of each text and where they are.
"""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any, overload

import numpy as np

from ..errors import ConfigError, DataError, DataWarning, Fault
from ..progress import progress_bar
from .cache import Cache
from .packed import Array, Packed, Packer, starts
from .rows import Target, inputs_of, name_of, rows_and_targets
from .tokenizers.base import LateEncoding, Row, Tokenizer

EXAMPLES_A_PART = 4096  # few enough to hold as Python objects until they are arrays


@dataclass(frozen=True, eq=False)
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

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EncodedExample):
            return NotImplemented
        return all(getattr(self, f.name) == getattr(other, f.name) for f in fields(EncodedExample))

    @property
    def n_rows(self) -> int:
        """How many rows it has."""
        return len(self.rows)

    @property
    def row_ids(self) -> Sequence[Sequence[int] | Array]:
        """The ids of each row."""
        return [row.input_ids for row in self.rows]

    @property
    def row_places(self) -> Sequence[Sequence[int]]:
        """The text in each row: its type, the position and the number of its first piece, and how
        many pieces there are."""
        return [(r.text_type, r.text_start, r.first_piece, r.n_pieces) for r in self.rows]


class StoredExample(EncodedExample):
    """One of `EncodedExamples`: it makes of the arrays what it is asked for.

    What only prediction needs of a row, its pieces and their places in the text, is not stored: the
    text is encoded again.
    """

    _stored: EncodedExamples
    _packed: Packed
    _index: int  # in `_packed`
    _number: int  # among all examples, those left out too
    _rows: tuple[int, int]  # its first row in `_packed`, and the first of the next example

    def __init__(self, stored: EncodedExamples, packed: Packed, index: int, number: int) -> None:
        # Past the frozen dataclass, whose fields would come first; this runs for each example of
        # each batch.
        own = self.__dict__
        own["_stored"], own["_packed"], own["_index"] = stored, packed, index
        own["_number"], own["_rows"] = number, packed.rows_of(index)

    def __len__(self) -> int:
        return int(self._packed.lengths[self._index])

    @cached_property
    def example(self) -> Any:
        return self._stored.examples[self._number]

    @cached_property
    def name(self) -> str:
        return name_of(self.example, self._number + 1)

    @property
    def n_rows(self) -> int:
        first, last = self._rows
        return last - first

    @property
    def row_ids(self) -> Sequence[Array]:
        return self._packed.ids_of(*self._rows)

    @property
    def row_places(self) -> Sequence[Sequence[int]]:
        first, last = self._rows
        return self._packed.rows[first:last].tolist()

    @property
    def targets(self) -> dict[str, list[Any]]:
        return {name: column.of_rows(*self._rows) for name, column in self._packed.targets.items()}

    @cached_property
    def rows(self) -> list[Row]:
        rows, texts = [], -1
        for ids, places in zip(self.row_ids, self.row_places, strict=True):
            _, _, first_piece, _ = places
            if first_piece == 0:  # the first window of the next text
                texts += 1
                text = LateEncoding(partial(self._text, texts), self._stored.tokenizer.encode)
            rows.append(Row(ids.tolist(), text, *places))
        return rows

    def _text(self, number: int) -> str:
        """The text of the example with a number: of a pair, the second, which is cut into rows."""
        first, second = inputs_of(self.example, self._stored.tasks)[number]
        return first if second is None else second


class EncodedExamples(Sequence[EncodedExample]):
    """All examples of a dataset with their rows and targets, in arrays, in memory or on disk.

    Args:
        examples: those that were encoded.
        parts: the rows and targets of neighbouring examples, and the number of the first.
        tokenizer: encodes a text again where its pieces are asked for.
        tasks: those that made the targets.
        chosen: which of them it holds, in its order; by default all.

    Attributes:
        lengths: tokens in the longest row of each example.
        notes: what had to be adapted or left out, and how often.
    """

    def __init__(
        self,
        examples: Sequence[Any],
        parts: Sequence[tuple[int, Packed]],
        tokenizer: Tokenizer,
        tasks: Sequence[Target],
        chosen: Array | None = None,
    ) -> None:
        self.examples, self.parts = examples, parts
        self.tokenizer, self.tasks, self.chosen = tokenizer, tasks, chosen
        # The first example of each part among those that are usable.
        self._firsts = starts(len(packed) for _, packed in parts).tolist()
        lengths = np.concatenate([np.empty(0, np.int32), *(packed.lengths for _, packed in parts)])
        self.lengths = lengths if chosen is None else lengths[chosen]
        self.notes = sum((packed.notes for _, packed in parts), Counter[str]())

    @property
    def n_tokens(self) -> int:
        """Tokens in all rows of all examples."""
        of_parts = [np.diff(packed.first_ids[packed.first_rows]) for _, packed in self.parts]
        of_all = np.concatenate([np.empty(0, np.int64), *of_parts])
        return int(of_all.sum() if self.chosen is None else of_all[self.chosen].sum())

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> StoredExample: ...
    @overload
    def __getitem__(self, index: slice) -> EncodedExamples: ...
    def __getitem__(self, index: int | slice) -> StoredExample | EncodedExamples:
        if isinstance(index, slice):
            return self.select(np.arange(len(self))[index])
        n = len(self.lengths)
        if not -n <= index < n:
            raise IndexError(f"there are {n:,} examples, and none has the index {index}")
        index = int(index) % n
        place = index if self.chosen is None else int(self.chosen[index])
        part = bisect_right(self._firsts, place) - 1
        first, packed = self.parts[part]
        inside = place - self._firsts[part]
        return StoredExample(self, packed, inside, first + int(packed.numbers[inside]))

    def select(self, indices: Array) -> EncodedExamples:
        """The examples with these indices, in this order."""
        chosen = indices if self.chosen is None else self.chosen[indices]
        return EncodedExamples(self.examples, self.parts, self.tokenizer, self.tasks, chosen)

    def __repr__(self) -> str:
        return f"EncodedExamples({len(self):,} examples, {self.n_tokens:,} tokens)"


def lengths_of(items: Sequence[EncodedExample]) -> Array:
    """Tokens in the longest row of each example."""
    if isinstance(items, EncodedExamples):
        return items.lengths
    return np.array([len(item) for item in items], np.int32)


def tokens_of(items: Sequence[EncodedExample]) -> int:
    """Tokens in all rows of all examples."""
    if isinstance(items, EncodedExamples):
        return items.n_tokens
    return sum(len(ids) for item in items for ids in item.row_ids)


def only(
    items: Sequence[EncodedExample], wanted: Callable[[EncodedExample], bool]
) -> Sequence[EncodedExample]:
    """Those of the examples that are wanted."""
    if not isinstance(items, EncodedExamples):
        return [item for item in items if wanted(item)]
    # What an example makes of the arrays stays with it: it is made again where it is used.
    return items.select(np.array([i for i, item in enumerate(items) if wanted(item)], np.int64))


def encode(
    examples: Sequence[Any],
    tokenizer: Tokenizer,
    tasks: Sequence[Target],
    max_length: int,
    overlap: int = 32,
    faults: list[Fault] | None = None,
    *,
    cache: str | Path | None = None,
    progress: bool = False,
) -> EncodedExamples:
    """Rows and targets of a whole dataset, in arrays: for data of any size.

    Args:
        examples: they may be on disk, each read when it is asked for.
        tokenizer, tasks, max_length, overlap, faults: as in `encode_examples`.
        cache: a folder that keeps the arrays; they are mapped from there, now and in later runs. By
            default they are in memory. See `mtl.data.cache`.
        progress: show a bar on stderr if it takes more than two seconds.

    Raises:
        DataError, ConfigError: as in `encode_examples`.
    """
    kept = Cache(cache, tokenizer, tasks, max_length, overlap) if cache is not None else None
    parts: list[tuple[int, Packed]] = []
    found: list[Fault] = []
    with progress_bar(progress=progress, total=len(examples), unit="example", delay=2) as bar:
        for first in range(0, len(examples), EXAMPLES_A_PART):
            some = examples[first : first + EXAMPLES_A_PART]
            path = kept.path(some) if kept else None
            packed = kept.read(path, len(some)) if kept and path else None
            if packed is None:
                of_part: list[Fault] = []
                packed = _packed(some, first, tokenizer, tasks, max_length, overlap, of_part)
                # What has faults is encoded again each time, so that they are told again.
                if kept and path and not of_part:
                    packed = kept.write(path, packed)
                found += of_part
            parts.append((first, packed))
            bar.update(len(some))
    _raise_or_pass_on(found, faults)
    return EncodedExamples(examples, parts, tokenizer, tasks)


def _packed(
    examples: Iterable[Any],
    first: int,
    tokenizer: Tokenizer,
    tasks: Sequence[Target],
    max_length: int,
    overlap: int,
    faults: list[Fault],
) -> Packed:
    """Rows and targets of some neighbouring examples, the first of which has the number `first`."""
    notes: Counter[str] = Counter()
    packer = Packer(task.name for task in tasks)
    numbered = enumerate(examples, first + 1)
    for number, _, rows, targets in rows_and_targets(
        numbered, tokenizer, tasks, max_length, overlap, notes, faults
    ):
        packer.add(number - 1 - first, rows, targets)
    return packer.packed(notes)


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
    found: list[Fault] = []
    made = rows_and_targets(
        enumerate(examples, 1), tokenizer, tasks, max_length, overlap, notes, found
    )
    encoded = [
        EncodedExample(example, rows, targets, name_of(example, number))
        for number, example, rows, targets in made
    ]
    _raise_or_pass_on(found, faults)
    return encoded, notes


def _raise_or_pass_on(found: list[Fault], faults: list[Fault] | None) -> None:
    if found and faults is None:
        raise DataError.collect(found)
    if faults is not None:
        faults += found


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
