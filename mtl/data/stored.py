"""Examples go in one after the other; a sequence that reads them back from disk comes out.

A folder holds them: `examples.jsonl`, one line of JSON per example; `places.i64`, where each line
begins and the last one ends; `about.json`, what they are. It is written beside its place and moved
there once it is whole, so a kill leaves nothing that could be taken for a finished one. Nothing in
it is code.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import fields
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

from ..errors import ConfigError, DataError
from ..files import whole_folder, write_atomically
from .examples import Answer, NERExample, PairExample, QAExample, TextExample, TokenExample

if TYPE_CHECKING:
    from numpy.typing import NDArray

CLASSES = {
    kind.__name__: kind for kind in (TokenExample, NERExample, TextExample, PairExample, QAExample)
}
PLACE = struct.Struct("=q")
LINES, PLACES, ABOUT = "examples.jsonl", "places.i64", "about.json"


def to_line(example: Any) -> bytes:
    """An example as one line of JSON: the name of its class, then its fields in their order.

    Raises:
        ConfigError: its class is not one of this package's.
    """
    kind = type(example)
    if CLASSES.get(kind.__name__) is not kind:
        raise ConfigError(
            "only examples of the package's own classes are stored on disk",
            found=f"a {kind.__module__}.{kind.__qualname__}",
            fix=f"make it one of {', '.join(CLASSES)}, or keep the examples in a list",
        )
    values = [getattr(example, name) for name in _names(kind)]
    if kind is QAExample:
        values = [[[a.text, a.start] for a in v] if isinstance(v, tuple) else v for v in values]
    return json.dumps([kind.__name__, *values], separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> Any:
    """The example that `to_line` was given."""
    name, *values = json.loads(line)
    kind = CLASSES[name]
    if kind is QAExample:
        values = [tuple(Answer(*a) for a in v) if isinstance(v, list) else v for v in values]
    example = object.__new__(kind)
    # Without `__init__`: it was checked when it was first made, and the check is what takes time.
    example.__dict__.update(zip(_names(kind), map(_with_tuples, values), strict=True))
    return example


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _with_tuples(value: Any) -> Any:
    """A value of an example, in which every list was a tuple before JSON."""
    if isinstance(value, list):
        return tuple(map(_with_tuples, value)) if value and type(value[0]) is list else tuple(value)
    if isinstance(value, dict):
        return {key: _with_tuples(item) for key, item in value.items()}
    return value


class StoredExamples(Sequence[Any]):
    """Examples on disk, each made when it is asked for; as a sequence, it never changes.

    What is mapped here is read by the system when it is needed and dropped when memory is, so the
    sequence costs next to nothing, however long it is. Slices and `select` read the same files.

    Args:
        folder: written by `store`.
        chosen: the numbers of the examples that belong to it, in its order; by default all.

    Attributes:
        form: the form of the file that they were read from, in words.
        notes: what the reader of that file had to say.

    Raises:
        DataError: the folder is not whole.
    """

    def __init__(self, folder: Path, chosen: NDArray[Any] | None = None) -> None:
        # Here, since reading a small file, which needs no numpy, should not wait for it.
        import numpy as np

        self.folder, self.chosen = Path(folder), chosen
        try:
            self.about = json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
            self._places = np.memmap(self.folder / PLACES, dtype=np.int64, mode="r")
            self._lines = _mapped(self.folder / LINES)
        except (OSError, ValueError) as error:
            raise DataError(
                "the stored examples cannot be read",
                path=folder,
                found=str(error),
                fix="remove the folder: it will be made again",
            ) from None
        self.form: str = self.about.get("form", "")
        self.notes: list[list[str]] = self.about.get("notes", [])

    @property
    def kinds(self) -> list[type]:
        """The classes of the examples in its folder, in order of appearance."""
        return [CLASSES[name] for name in self.about["kinds"]]

    @property
    def hash(self) -> str:
        """A hash of all that the examples are, and of their order."""
        if self.chosen is None:
            return self.about["hash"]
        return sha256(self.about["hash"].encode() + self.chosen.tobytes()).hexdigest()

    def select(self, numbers: NDArray[Any]) -> Self:
        """The examples with these numbers, in this order."""
        chosen = numbers if self.chosen is None else self.chosen[numbers]
        part = copy(self)  # which shares what is mapped
        # No copy of numbers that are mapped from disk.
        part.chosen = chosen.astype("int64", order="C", copy=False)
        return part

    def __len__(self) -> int:
        return len(self._places) - 1 if self.chosen is None else len(self.chosen)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            import numpy as np

            return self.select(np.arange(len(self))[index])
        if not -len(self) <= index < len(self):
            raise IndexError(f"there are {len(self):,} examples, and none has the number {index}")
        index %= len(self)
        return self._at(index if self.chosen is None else self.chosen[index])

    def __iter__(self) -> Iterator[Any]:
        return map(self._at, range(len(self)) if self.chosen is None else self.chosen)

    def _at(self, number: int) -> Any:
        return from_line(self._lines[self._places[number] : self._places[number + 1]])

    def __repr__(self) -> str:
        return f"StoredExamples({len(self):,} examples in {self.folder})"


def store(
    examples: Iterable[Any], folder: Path, about: Callable[[int], dict[str, Any]] = lambda n: {}
) -> StoredExamples:
    """Write examples into a folder, one after the other, and open it.

    Args:
        examples: any number of them; none is kept in memory.
        folder: where they go; if it is there already, it is used as it is.
        about: called with their number once all are written; gives `form` and `notes`. What it
            raises ends the writing, and nothing is left.

    Raises:
        DataError: the folder cannot be written.
        ConfigError: as `to_line`.
    """
    try:
        with whole_folder(folder) as new:
            facts = _write_lines(examples, new)
            facts |= about(facts.pop("n"))
            write_atomically(new / ABOUT, json.dumps(facts))
    except OSError as error:
        raise DataError(
            "the examples of a large file cannot be stored on disk",
            path=folder,
            found=str(error),
            fix="free some space, or set MTL_CACHE to a folder that has it",
        ) from None
    return StoredExamples(folder)


def _write_lines(examples: Iterable[Any], folder: Path) -> dict[str, Any]:
    """Write the two large files; the number of the examples, their classes and their hash."""
    n, end, digest = 0, 0, sha256()
    kinds: dict[str, None] = {}  # a set that keeps its order
    with (folder / LINES).open("wb") as lines, (folder / PLACES).open("wb") as places:
        places.write(PLACE.pack(0))
        for example in examples:
            line = to_line(example)
            n, end = n + 1, end + len(line)
            lines.write(line)
            places.write(PLACE.pack(end))
            digest.update(line)
            kinds[type(example).__name__] = None
    return {"n": n, "kinds": list(kinds), "hash": digest.hexdigest()}


def _mapped(path: Path) -> mmap.mmap | bytes:
    with path.open("rb") as file:
        # The system maps no empty file.
        is_empty = not path.stat().st_size
        return b"" if is_empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def chosen(examples: Sequence[Any], numbers: Sequence[int]) -> Sequence[Any]:
    """The examples with these numbers, in this order; of stored ones, they stay on disk."""
    if isinstance(examples, StoredExamples):
        import numpy as np

        return examples.select(np.array(numbers, dtype=np.int64))
    return [examples[number] for number in numbers]


def kinds_of(examples: Sequence[Any]) -> list[type]:
    """The classes of some examples, in order of appearance."""
    if isinstance(examples, StoredExamples):
        return examples.kinds
    return list(dict.fromkeys(map(type, examples)))
