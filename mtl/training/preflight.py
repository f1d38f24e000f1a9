"""Before the first update: rows and targets of every split, and all that is wrong with them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ..data.cache import encode_cached
from ..data.dataset import Dataset
from ..data.encoded import EncodedExample, check_on_error, encode_examples, warn_of_encoding
from ..errors import DataError, Fault
from ..inference import evaluate_encoded
from ..messages import shown
from ..model import MultiTaskModel
from ..tasks import Task

logger = logging.getLogger(__name__)

SPLITS = tuple(f.name for f in fields(Dataset))


@dataclass(frozen=True, eq=False)
class EncodedDataset:
    """One dataset as the model reads it.

    Attributes:
        dataset: the examples, including those that are left out.
        tasks: that share it.
        splits: by name, the encoded examples with the targets of all these tasks.
    """

    dataset: Dataset
    tasks: list[Task]
    splits: dict[str, list[EncodedExample]]

    def labelled(self, split: str, task: Task) -> list[EncodedExample]:
        """The examples of a split that have a label for a task."""
        return [item for item in self.splits[split] if task.is_labelled(item.example)]

    def scores(self, model: MultiTaskModel, split: str) -> dict[str, dict[str, float]]:
        """Scores of each task that has labelled examples in the split; see `evaluate_encoded`."""
        return evaluate_encoded(model, self.splits[split], [task.name for task in self.tasks])


def encode_datasets(
    model: MultiTaskModel,
    tasks: Sequence[Task],
    *,
    on_error: str = "stop",
    cache: str | Path | None = None,
    progress: bool = False,
) -> list[EncodedDataset]:
    """Encode every split of the tasks' datasets, each dataset once.

    So a fault in the last line of the test data costs no training. One DataWarning per split says
    what was changed, or lost because a text is read in windows.

    Args:
        on_error: "stop" raises the faults of all splits together; "skip" leaves out the examples
            that have one, and says how many.
        cache: a folder that keeps encoded datasets for the next run; see `mtl.data.cache`.
        progress: say on stderr what is being done.

    Raises:
        ConfigError: `on_error` is something else.
        DataError: examples that the model cannot read or a task cannot use; each fault names its
            tasks, its split and its example. Or a task without training examples that can be used.
    """
    check_on_error(on_error)
    with shown(progress):
        n = sum(len(list(dataset.all())) for dataset, _ in by_dataset(tasks))
        logger.info("encoding %s examples", f"{n:,}")
    faults: list[Fault] = []
    found = []
    for dataset, sharing in by_dataset(tasks):
        splits = {}
        for split in SPLITS:
            where = f"{' and '.join(task.name for task in sharing)}, {split}"
            examples = dataset.split(split)
            splits[split], of_split = _encode_split(model, examples, sharing, where, cache)
            faults += [replace(fault, what=f"{where}: {fault.what}") for fault in of_split]
            if on_error == "skip":
                warn_of_encoding(where, Counter(), of_split)
        found.append(EncodedDataset(dataset, sharing, splits))
    if faults and on_error == "stop":
        raise DataError.collect(faults)
    for data in found:
        _check_something_is_left(data)
    return found


def by_dataset(tasks: Sequence[Task]) -> list[tuple[Dataset, list[Task]]]:
    """Each dataset with the tasks that share it."""
    sharing: dict[int, tuple[Dataset, list[Task]]] = {}
    for task in tasks:
        sharing.setdefault(id(task.dataset), (task.dataset, []))[1].append(task)
    return list(sharing.values())


def of_tasks(data: Sequence[EncodedDataset], tasks: Sequence[Task]) -> list[EncodedDataset]:
    """Of encoded datasets those that some tasks learn from, for these tasks alone."""
    encoded = {id(one.dataset): one for one in data}
    return [replace(encoded[id(dataset)], tasks=sharing) for dataset, sharing in by_dataset(tasks)]


def _encode_split(
    model: MultiTaskModel,
    examples: Sequence[object],
    tasks: list[Task],
    where: str,
    cache: str | Path | None,
) -> tuple[list[EncodedExample], list[Fault]]:
    """The examples that can be used, and what is wrong with the others."""
    if not examples:
        return [], []
    shape = model.encoder.config
    what = (examples, model.tokenizer, tasks, shape.max_length, model.overlap)
    faults: list[Fault] = []
    try:
        encoded, notes = encode_cached(cache, *what) if cache else encode_examples(*what)
    except DataError:  # the cache holds only datasets without faults
        encoded, notes = encode_examples(*what, faults=faults)
    warn_of_encoding(where, notes, [])
    return encoded, faults


def _check_something_is_left(data: EncodedDataset) -> None:
    for task in data.tasks:
        if task.labelled(data.dataset.train) and not data.labelled("train", task):
            raise DataError(
                f"none of the training examples of the task {task.name!r} can be used",
                found=f"{len(data.dataset.train):,} examples, all of them left out",
                fix='see what is wrong with them: on_error = "stop"',
            )
