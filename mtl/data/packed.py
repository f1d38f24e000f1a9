"""Rows and targets of many examples go in; flat arrays that hold them go out, and any row of them.

A Python list takes some 40 bytes for each of its numbers, an array 4. All rows lie one after the
other in one array, and another says where each begins:

    ids        2 15 8 3 2 9 3 2 7 7 4 3
    first_ids  0       4     7         12       row 1 is ids[4:7]

Arrays can be written to a file as they are, and mapped from it instead of read.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .tokenizers.base import Row

Array = NDArray[Any]


class TargetColumn:
    """One target for each row, None for a row without a label.

    Whole numbers, decimal ones, and lists of whole numbers are arrays. What else a task has for a
    target stays as it is until it is written, as JSON: a tuple then becomes a list.

    Args:
        kind: what the targets are: `int`, `float`, `list`, `tuple`, `json`, or `any`.
        arrays: `known`, for each row whether it has a label; `values`; and where a row has several
            values, `first`, where they begin.
        objects: the targets themselves, for the kind `any`.
    """

    _MAKE: ClassVar[dict[str, Callable[[Array], Any]]] = {
        "list": lambda values: values.tolist(),
        "tuple": lambda values: tuple(values.tolist()),
        "json": lambda values: json.loads(values.tobytes()),
    }

    def __init__(self, kind: str, arrays: dict[str, Array], objects: Sequence[Any] = ()) -> None:
        self.kind, self.arrays, self.objects = kind, arrays, objects

    @classmethod
    def of(cls, targets: list[Any]) -> TargetColumn:
        """The column of some targets, which comes back exactly as they are."""
        given = [target for target in targets if target is not None]
        types = set(map(type, given))
        arrays = {"known": np.array([target is not None for target in targets], bool)}
        if types <= {int}:
            return cls("int", arrays | {"values": _whole(0 if t is None else t for t in targets)})
        if types == {float}:
            numbers = [0.0 if target is None else target for target in targets]
            return cls("float", arrays | {"values": np.array(numbers)})
        if types in ({list}, {tuple}) and set(map(type, chain.from_iterable(given))) <= {int}:
            values = _whole(chain.from_iterable(given))
            lengths = (0 if target is None else len(target) for target in targets)
            return cls(types.pop().__name__, arrays | {"values": values, "first": starts(lengths)})
        return cls("any", {}, targets)

    def as_json(self) -> TargetColumn:
        """The same targets in arrays, whatever they are, as long as JSON knows it."""
        if self.kind != "any":
            return self
        texts = [json.dumps(target).encode() for target in self.objects]
        # A bytearray: torch warns of arrays that nobody may write into.
        values = np.frombuffer(bytearray(b"".join(texts)), np.uint8)
        return TargetColumn("json", {"values": values, "first": starts(map(len, texts))})

    def of_rows(self, first: int, last: int) -> list[Any]:
        """The targets of the rows from `first` up to `last`."""
        if self.kind == "any":
            return list(self.objects[first:last])
        values = self.arrays["values"]
        if self.kind in ("int", "float"):
            found = values[first:last].tolist()
        else:
            borders = self.arrays["first"][first : last + 1].tolist()
            make = self._MAKE[self.kind]
            found = [make(values[a:b]) for a, b in pairwise(borders)]
        if self.kind == "json":  # which knows None itself
            return found
        known = self.arrays["known"][first:last]
        if known.all():
            return found
        return [target if has else None for target, has in zip(found, known, strict=True)]


class Packed:
    """Rows and targets of neighbouring examples, without the examples.

    Args:
        arrays: by name: of all rows `ids` `(N,)` and `first_ids` `(R + 1,)`; `rows` `(R, 4)`, for
            each the type of its text, the position and the number of its first piece, and how many
            there are; `first_rows` `(E + 1,)`, the first row of each example; `lengths` `(E,)`, of
            its longest row; `numbers` `(E,)`, which of the examples these are: those that cannot be
            used are left out.
        targets: by task.
        notes: what had to be adapted or left out, and how often.
    """

    def __init__(
        self, arrays: dict[str, Array], targets: dict[str, TargetColumn], notes: Counter[str]
    ) -> None:
        self.arrays, self.targets, self.notes = arrays, targets, notes
        # Names of their own: they are read for each example of each batch.
        self.ids, self.first_ids = arrays["ids"], arrays["first_ids"]
        self.rows, self.first_rows = arrays["rows"], arrays["first_rows"]
        self.lengths, self.numbers = arrays["lengths"], arrays["numbers"]

    def __len__(self) -> int:
        return len(self.numbers)

    def rows_of(self, example: int) -> tuple[int, int]:
        """The first row of an example, and the first of the next."""
        first, last = self.first_rows[example : example + 2].tolist()
        return first, last

    def ids_of(self, first: int, last: int) -> list[Array]:
        """The ids of each row from `first` up to `last`."""
        borders = self.first_ids[first : last + 1].tolist()
        return [self.ids[a:b] for a, b in pairwise(borders)]


class Packer:
    """Takes the rows and targets of examples, some at a time, and gives them back as `Packed`."""

    def __init__(self, tasks: Iterable[str]) -> None:
        self._ids = array("i")
        self._lengths: list[int] = []  # of each row
        self._rows: list[tuple[int, int, int, int]] = []
        self._n_rows: list[int] = []  # of each example
        self._numbers: list[int] = []
        self._targets: dict[str, list[Any]] = {name: [] for name in tasks}

    def add(self, number: int, rows: Sequence[Row], targets: dict[str, list[Any]]) -> None:
        """Add the example with a number, which must rise."""
        self._numbers.append(number)
        self._n_rows.append(len(rows))
        for row in rows:
            self._ids.fromlist(row.input_ids)
            self._lengths.append(len(row.input_ids))
            self._rows.append((row.text_type, row.text_start, row.first_piece, row.n_pieces))
        for name, of_task in targets.items():
            self._targets[name] += of_task

    def packed(self, notes: Counter[str]) -> Packed:
        """All that was added."""
        first_rows = starts(self._n_rows).astype(np.int32)
        lengths = np.array(self._lengths, np.int32)
        arrays: dict[str, Array] = {
            "ids": np.array(self._ids, np.int32),
            "first_ids": starts(self._lengths),
            "rows": np.array(self._rows, np.int32).reshape(-1, 4),
            "first_rows": first_rows,
            "lengths": np.maximum.reduceat(lengths, first_rows[:-1]) if len(lengths) else lengths,
            "numbers": np.array(self._numbers, np.int32),
        }
        columns = {name: TargetColumn.of(targets) for name, targets in self._targets.items()}
        return Packed(arrays, columns, notes)


def starts(lengths: Iterable[int]) -> Array:
    """Where each of several parts begins, one after the other, and where the last one ends."""
    return np.array([*accumulate(lengths, initial=0)], np.int64)


def _whole(numbers: Iterable[int]) -> Array:
    """Whole numbers in as few bytes as hold them all: most fit in 4."""
    wide = np.fromiter(numbers, np.int64)
    narrow = wide.astype(np.int32)
    return narrow if np.array_equal(wide, narrow) else wide
