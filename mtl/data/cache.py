"""Examples go in; what encoding them gave last time comes out, if it is still on disk.

A file holds some thousand neighbouring examples and is mapped, not read: what is not used takes no
memory. It is named by a hash of everything that shaped its content: the examples, the tokenizer,
the tasks with their labels, the length and overlap of the rows, and the code of this package. So it
is never stale and needs no care: the folder may be deleted at any time. What a kill interrupts goes
on with the first file that is missing.

Nothing that a user's own classes shape is cached. The targets that a task makes follow from its
code, and from whatever that code calls: helpers in other cells of a notebook, constants, other
modules. No hash covers all of it, and one that covers most of it would one day return old targets.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ..errors import DataError
from ..files import write_atomically
from ..version import __version__
from .packed import Packed, TargetColumn
from .remembered import examples_hash, own_code
from .rows import Target
from .stored import StoredExamples
from .tokenizers.base import Tokenizer


class Cache:
    """A folder with encoded examples, for one way of encoding them.

    A cache that cannot be read or written costs nothing but time. With a task, a tokenizer or
    examples of a class that is not this package's, nothing is read or written.
    """

    def __init__(
        self,
        folder: str | Path,
        tokenizer: Tokenizer,
        tasks: Sequence[Target],
        max_length: int,
        overlap: int,
    ) -> None:
        self.folder = Path(folder)
        self.is_ours = all(map(_is_ours, [tokenizer, *tasks]))  # see the top of this file
        self.settings = settings_hash(tokenizer, tasks, max_length, overlap)

    def path(self, examples: Sequence[Any]) -> Path | None:
        """The file for some examples; None if nothing of theirs is kept."""
        # Those that know their hash were made from a file by this package.
        known = isinstance(examples, StoredExamples)
        if not self.is_ours or not (known or all(map(_is_ours, examples))):
            return None
        return self.folder / f"{_joined_hash(self.settings, examples)}.encoded"

    def read(self, path: Path, n_examples: int) -> Packed | None:
        """What `write` wrote, mapped from the file; None if it is missing, or not what it was."""
        try:
            packed = _unpacked({name: t.numpy() for name, t in load_file(path).items()})
        # Cut off, on a broken disk, or gone while torch opens it a second time.
        except (OSError, RuntimeError, SafetensorError, ValueError, KeyError):
            return None
        return packed if len(packed) == n_examples else None

    def write(self, path: Path, packed: Packed) -> Packed:
        """Write a file; the same rows and targets come back, mapped from it."""
        try:
            write_atomically(path, save(_tensors(packed)))
        # A full disk, or a folder without write permission, should not stop a training.
        except DataError:
            return packed
        return self.read(path, len(packed)) or packed


def cache_key(
    examples: Iterable[Any],
    tokenizer: Tokenizer,
    tasks: Sequence[Target],
    max_length: int,
    overlap: int,
) -> str:
    """A hash of everything that decides what the encoded examples are."""
    return _joined_hash(settings_hash(tokenizer, tasks, max_length, overlap), examples)


def _joined_hash(settings: str, examples: Iterable[Any]) -> str:
    return sha256(f"{settings}\n{examples_hash(examples)}".encode()).hexdigest()[:32]


def settings_hash(
    tokenizer: Tokenizer, tasks: Sequence[Target], max_length: int, overlap: int
) -> str:
    """A hash of everything but the examples."""
    parts = [__version__, own_code(), f"{max_length} {overlap}", tokenizer_hash(tokenizer)]
    return sha256("\n".join([*parts, *map(task_hash, tasks)]).encode()).hexdigest()


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """A hash of what a tokenizer says about itself."""
    return sha256(f"{type(tokenizer).__qualname__}\n{tokenizer.to_json()}".encode()).hexdigest()


def task_hash(task: Target) -> str:
    """A hash of a task's class, name and settings, and of what holds its words together."""
    settings = json.dumps(task.settings(), sort_keys=True)
    what = f"{type(task).__qualname__} {task.name} {settings} {task.joining}"
    return sha256(what.encode()).hexdigest()


def _is_ours(thing: Any) -> bool:
    """Whether its class comes with this package."""
    return type(thing).__module__.split(".")[0] == __name__.split(".")[0]


def _tensors(packed: Packed) -> dict[str, torch.Tensor]:
    """All arrays, and the rest as the bytes of JSON, since safetensors holds tensors alone."""
    columns = {name: column.as_json() for name, column in packed.targets.items()}
    plain = {"notes": packed.notes, "kinds": {name: c.kind for name, c in columns.items()}}
    arrays = packed.arrays | {
        f"{name}/{part}": array
        for name, column in columns.items()
        for part, array in column.arrays.items()
    }
    arrays["plain"] = np.frombuffer(bytearray(json.dumps(plain).encode()), np.uint8)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _unpacked(arrays: dict[str, np.ndarray]) -> Packed:
    plain = json.loads(arrays.pop("plain").tobytes())
    columns = {
        task: TargetColumn(
            kind,
            {
                name.removeprefix(f"{task}/"): array
                for name, array in arrays.items()
                if name.startswith(f"{task}/")
            },
        )
        for task, kind in plain["kinds"].items()
    }
    return Packed(arrays, columns, Counter(plain["notes"]))
