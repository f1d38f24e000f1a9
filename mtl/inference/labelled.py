"""A split's name, a file or examples go in; the examples that a task is scored on come out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.check import examples_in_words
from ..data.dataset import SPLITS, Dataset
from ..data.examples import NERExample, PairExample, QAExample, TextExample
from ..data.readers import as_examples, detect, file_to_score, only_set
from ..data.stored import kinds_of
from ..errors import ConfigError, DataError, suggest
from ..tasks.base import Task, fields_named

# Unlike a TokenExample, or a class of a user's own, which tasks of any kind may read.
MADE_FOR_TASKS = {NERExample, PairExample, QAExample, TextExample}


def examples_for(task: Task, data: Any, on_error: str = "stop") -> Sequence[Any]:
    """The examples that `data` stands for.

    Args:
        data: the name of a split of the task's dataset; a file or folder, which the task reads (in
            a folder the test file, or else the dev file); or examples, as `as_examples` takes them.
            The name of a split takes precedence over a file of the same name.
        on_error: for a file: "skip" leaves out faulty records; "stop" raises all faults.

    Raises:
        ConfigError: examples of another task's kind.
        DataError: a split without examples, the name of neither a split nor a file, a file that
            cannot be read, or things that are not examples.
    """
    if isinstance(data, str) and data in SPLITS:
        return _split(task, data)
    if isinstance(data, str) and not os.path.exists(data):
        raise DataError(
            "there is neither a split nor a file of this name",
            found=repr(data),
            fix=f"{suggest(data, SPLITS)}, or give the path of a file",
        )
    if isinstance(data, str | os.PathLike):
        return _read(task, Path(data), on_error)
    if isinstance(data, Dataset):
        raise DataError(
            "a dataset has several splits, and one is scored",
            found=repr(data),
            fix="give one of them, such as dataset.test",
        )
    examples = as_examples(data)
    check_examples(task, examples)
    return examples


def _split(task: Task, name: str) -> Sequence[Any]:
    examples = task.dataset.split(name)
    if not examples:
        filled = [split for split in SPLITS if task.dataset.split(split)]
        raise DataError(
            f"the task {task.name!r} has no {name} examples",
            found=f"only {' and '.join(filled)}"
            if filled
            else "none of any split: a loaded model does not hold its data",
            fix=f'give a file or examples: evaluate("{task.name}", "FILE")'
            + "".join(f', or "{split}"' for split in filled if split != "train"),
        )
    return examples


def _read(task: Task, path: Path, on_error: str) -> Sequence[Any]:
    path = file_to_score(path)
    # What a recipe would tell the reader: the fields that hold the task's labels or tags.
    options = only_set(**{task.field_holds: tuple(fields_named(task.settings()))})
    examples = task.read(path, on_error, **options)
    check_kind(task.name, type(task), examples, path)
    return examples


def check_examples(task: Task, *splits: Sequence[Any]) -> None:
    """Raise ConfigError if examples that were made in Python are all made for other tasks.

    Some may be: tasks share datasets. And any class that has what a task needs will do: only ours
    are known not to fit each other.
    """
    kinds = task.example if isinstance(task.example, tuple) else (task.example,)
    found = list(dict.fromkeys(kind for split in splits for kind in kinds_of(split)))
    fitting = any(issubclass(kind, task.example) for kind in found)
    if MADE_FOR_TASKS.issuperset({*kinds, *found}) and not fitting:
        _refuse_others(task.name, type(task), found, None)


def check_kind(name: str, task_class: type[Task], examples: Sequence[Any], path: Any) -> None:
    """Raise ConfigError if a task cannot learn from, or be scored on, such examples."""
    _refuse_others(name, task_class, kinds_of(examples), path)


def _refuse_others(name: str, task_class: type[Task], kinds: Sequence[type], path: Any) -> None:
    """Raise ConfigError if one of the classes of examples does not fit a task."""
    other = next((kind for kind in kinds if not issubclass(kind, task_class.example)), None)
    if other is None:
        return
    found = examples_in_words(other)
    if path:
        found = f"{detect(path).name}: {found}" if not Path(path).is_dir() else found
    wanted = task_class.example
    fitting = map(examples_in_words, wanted if isinstance(wanted, tuple) else (wanted,))
    raise ConfigError(
        f"the data of the task {name!r} does not fit its kind",
        path=path or None,
        found=f"{found}, kind = {task_class.kind!r}",
        fix=f"a task of this kind reads {' or '.join(fitting)}: give it such data, or toy data of "
        "this kind; in a recipe, in the task's own section",
    )
