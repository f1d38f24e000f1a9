"""Examples go in; a dataset with its splits comes out, with parts held out if asked."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from ..errors import ConfigError, suggest
from ..settings import class_names_checked
from .held_out import check_enough_groups, groups_of, hold_out_stored
from .readers import as_examples, short
from .stored import StoredExamples

Example = TypeVar("Example", bound=Any)


@class_names_checked
@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples in splits; one or more tasks attach to it (the same object, for tasks that share
    their batches).

    An example is any object with `inputs`, the texts its rows are made of, and `group` (or
    several `groups`), which keeps related examples on one side of a split.

    Args:
        train: what the model learns from.
        validation: what every choice is made on (best epoch, settings).
        test: read once, at the end.
        test_unseen: a second test split, harder on purpose: names never seen in training.

    Each may also be a list of dicts, a pandas frame or a `datasets.Dataset`; see `as_examples`.

    Raises:
        ConfigError: a split of another name.
        DataError: a dict that is not a record of any form we know, or something that is
            not an example.
    """

    train: Sequence[Any] = ()
    validation: Sequence[Any] = ()
    test: Sequence[Any] = ()
    test_unseen: Sequence[Any] = ()

    def __post_init__(self) -> None:
        for f in fields(self):
            # Frozen, since tasks share it; so even its own `__post_init__` has to go this way.
            object.__setattr__(self, f.name, as_examples(getattr(self, f.name)))

    def split(self, name: str) -> Sequence[Any]:
        """The examples of one split, by its name; ConfigError if there is no such split."""
        if name not in SPLITS:
            fix = suggest(str(name), SPLITS)
            raise ConfigError("a dataset has no such split", found=repr(name)[:80], fix=fix)
        return getattr(self, name)

    def splits(self) -> list[Sequence[Any]]:
        """The examples of each split, in the order of `SPLITS`."""
        return [getattr(self, f.name) for f in fields(self)]

    def all(self) -> Iterator[Any]:
        """The examples of every split, one after the other."""
        return (example for split in self.splits() for example in split)

    def training_texts(self) -> Iterator[str]:
        """Every text of the training split: all that a vocabulary may be built from."""
        return (
            text
            for example in self.train
            for texts in example.inputs
            for text in texts
            if text is not None
        )

    def __repr__(self) -> str:
        sizes = (f"{f.name}={len(getattr(self, f.name))}" for f in fields(self))
        return f"Dataset({', '.join(sizes)})"


SPLITS = tuple(f.name for f in fields(Dataset))


def as_dataset(data: Dataset | Mapping[str, Any] | None) -> Dataset:
    """A dataset unchanged, or one with the splits of a dict, such as a `datasets.DatasetDict`.

    Raises:
        ConfigError: a split of another name, or something else, such as a list of examples.
        DataError: as `Dataset`.
    """
    if isinstance(data, Dataset):
        return data
    if data is None or isinstance(data, Mapping):
        return Dataset(**(data or {}))
    # A list might be for learning or for testing: its user has to say which.
    raise ConfigError(
        "a task takes a Dataset, which says what to learn from and what to test on",
        found=short(data),
        fix="give mtl.Dataset(train=..., validation=..., test=...); a file is read with "
        "mtl.read(PATH)",
    )


def hold_out(
    examples: Sequence[Example], seed: int, share: float = 0.1, parts: int = 2
) -> Sequence[Sequence[Example]]:
    """Split off `parts` held-out parts of about `share` each, whole groups at a time.

    Examples that share a group (for pairs: either sentence) are linked, and so are those linked to
    the same third. Linked examples stay together; where more than `share` of the examples are
    linked, they stay in the rest. Of examples on disk other groups are drawn than of the same in
    memory, where they are sorted first.

    Returns:
        the remaining examples, then each held-out part.

    Raises:
        DataError: fewer than ten groups, so that a tenth is not even one; or too many of the
            examples are linked.
    """
    # Whole groups: a question about a context that was trained on, or a sentence of a pair that
    # was, would make held-out scores too good.
    if isinstance(examples, StoredExamples):
        return hold_out_stored(examples, seed, share, parts)
    group_of = _linked_groups(examples)
    counts = Counter(group_of)
    # Counted in groups, not in examples: a whole group goes into one part.
    size = round(share * len(counts))
    most = max(1, share * len(examples))
    # Sorted before it is shuffled: the split depends on the seed, not on the order of the file.
    groups = sorted(group for group, n in counts.items() if n <= most)
    check_enough_groups(len(groups), len(counts), share, parts)
    random.Random(seed).shuffle(groups)
    part_of = {group: i // size for i, group in enumerate(groups[: parts * size])}
    held_out: list[list[Example]] = [[] for _ in range(parts)]
    rest: list[Example] = []
    for example, group in zip(examples, group_of, strict=True):
        part = part_of.get(group)
        (rest if part is None else held_out[part]).append(example)
    return [rest, *held_out]


def _linked_groups(examples: Sequence[Any]) -> list[Any]:
    """For each example, the first of all groups that it is linked to (union-find)."""
    parent: dict[Any, Any] = {}

    def root(group: Any) -> Any:
        while parent.setdefault(group, group) != group:
            # Every visit halves the path, so that long chains of links stay cheap.
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    firsts = []
    for example in examples:
        first, *others = groups_of(example)
        firsts.append(first)
        for other in others:
            # The smaller one wins, so that the order of the examples does not matter.
            one, two = sorted((root(first), root(other)))
            parent[two] = one
    return [root(first) for first in firsts]
