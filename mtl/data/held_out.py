"""Stored examples go in; parts of them come out, held out by whole groups.

`hold_out` in `dataset` keeps the groups of all examples, which are texts. Here each is a number, a
hash of it, so that what is kept is two numbers per example.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from .remembered import remembered_numbers
from .stored import StoredExamples

if TYPE_CHECKING:
    from numpy.typing import NDArray


def hold_out_stored(
    examples: StoredExamples, seed: int, share: float, parts: int
) -> list[StoredExamples]:
    """As `mtl.data.dataset.hold_out`; each part is a view of the same files."""
    found: list[NDArray[Any]] = []

    def numbers(part: int) -> NDArray[Any]:
        found.extend([] if found else _numbers_of_parts(examples, seed, share, parts))
        return found[part]

    return [
        examples.select(
            remembered_numbers(
                examples,
                f"part {part} of {parts} held out, {share} each, seed {seed}",
                lambda part=part: numbers(part),
            )
        )
        for part in range(parts + 1)
    ]


def _numbers_of_parts(
    examples: StoredExamples, seed: int, share: float, parts: int
) -> list[NDArray[Any]]:
    """The numbers of the remaining examples, then of those in each part."""
    import numpy as np

    group_of = _linked_groups(examples)
    groups, counts = np.unique(group_of, return_counts=True)
    size = round(share * len(groups))
    small = groups[counts <= max(1, share * len(examples))]
    check_enough_groups(len(small), len(groups), share, parts)
    drawn = np.random.default_rng(seed).permutation(small)[: parts * size]
    # One for each group: 0 for the rest, then the parts from 1 on.
    part_of_group = np.zeros(int(group_of.max()) + 1, dtype=np.int8)
    part_of_group[drawn] = 1 + np.arange(len(drawn)) // size
    part_of = part_of_group[group_of]
    return [np.flatnonzero(part_of == part) for part in range(parts + 1)]


def _linked_groups(examples: StoredExamples) -> NDArray[Any]:
    """For each example, the first of all groups that it is linked to, as a number.

    Groups are numbered in the order of their hashes, and not of the file.
    """
    import numpy as np

    hashes = np.fromiter(_hashes(examples), dtype=np.uint64).reshape(-1, 2)
    unique, numbers = np.unique(hashes, return_inverse=True)
    first, second = numbers.reshape(-1, 2).T
    linked = np.arange(len(unique))
    while True:
        # Each example gives both its groups the smaller number of the two, and each group takes
        # that of the group it points to, so that even long chains need few rounds.
        before, smaller = linked.copy(), np.minimum(linked[first], linked[second])
        np.minimum.at(linked, first, smaller)
        np.minimum.at(linked, second, smaller)
        linked = linked[linked]
        if (linked == before).all():
            return linked[first]


def _hashes(examples: StoredExamples) -> Iterator[int]:
    """Two for each example, the same one twice for an example of one group."""
    for example in examples:
        groups = groups_of(example)
        for group in (groups[0], groups[-1]):
            yield int.from_bytes(blake2b(group.encode(), digest_size=8).digest(), "little")


def groups_of(example: Any) -> Sequence[Any]:
    """What keeps an example on one side of a split: it stays with all that share one of these."""
    return example.groups if hasattr(example, "groups") else (example.group,)


def check_enough_groups(n_small: int, n: int, share: float, parts: int) -> None:
    """Raise DataError unless each part gets a group, of those that are small enough."""
    if share * n < 1 or n_small < parts * round(share * n):
        raise DataError(
            "there are too few different texts or contexts to hold out a tenth of them",
            found=f"{n}; at least {math.ceil(1 / share)} of about the same size are needed",
            fix="give separate validation and test files",
        )
