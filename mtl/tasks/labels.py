"""Label names go in; those that a task learns, their ids and their tables come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigError, DataError
from ..metrics import class_scores, confusion
from ..tables import format_table


def choose_names(
    task: str, what: str, given: Any, in_data: Sequence[str], has_examples: bool
) -> list[str]:
    """The names that a task learns to tell apart: those given, or those of its data.

    Args:
        task: its name.
        what: what the names are for, `label` or `tag`.
        given: the names that the task should know; None for those of its data.
        in_data: the names that its examples have.
        has_examples: whether the task has examples at all; prediction needs none.

    Raises:
        DataError: the examples have fewer than two names.
        ConfigError: fewer than two names, and what `check_names` refuses.
    """
    if given is None:
        given = in_data
        if len(in_data) < 2 and has_examples:
            raise DataError(
                f"the task {task!r} learns from {what}s, and needs at least two",
                found=f"the only {what} {in_data[0]!r}" if in_data else f"no example has a {what}",
                fix=f"{what} the examples, or leave the task out",
            )
    check_names(task, what, given, in_data)
    if len(given) < 2:
        raise ConfigError(
            f"the task {task!r} needs at least two {what}s",
            found=", ".join(map(repr, given)) or "none",
            fix=f"give {what}s=[...], or a dataset whose examples have {what}s",
        )
    return list(given)


def check_names(task: str, what: str, given: Any, in_data: Sequence[str]) -> None:
    """Raise ConfigError unless the names are a list without repeats that covers the data's.

    Args:
        task: its name.
        what: what the names are for, such as `label` or `type`.
        given: the names that the task should know.
        in_data: the names that its examples have.
    """
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        raise ConfigError(
            f"{what}s of the task {task!r} must be a list of names",
            found=repr(given),
            fix=f'for example {what}s = ["A", "B"]',
        )
    # Of two classes with one name, the second could never be predicted.
    twice = [name for name, n in Counter(given).items() if n > 1]
    if twice:
        raise ConfigError(
            f"the task {task!r} has a {what} twice",
            found=", ".join(map(repr, twice)),
            fix=f"name every {what} once",
        )
    lacking = [name for name in in_data if name not in given]
    if lacking:
        raise ConfigError(
            f"the task {task!r} lacks {what}s that its data has",
            found=", ".join(map(repr, lacking)),
            fix=f"add them, or leave {what}s out to use those of the data",
        )


def unknown_names(task: str, what: str, found: str, known: Sequence[str]) -> DataError:
    """The error for examples whose names a task never learned.

    Args:
        task: its name.
        what: what the names are for, such as `label` or `entity type`.
        found: the names that it does not know.
        known: all that it knows.
    """
    return DataError(
        f"the task {task!r} does not know these {what}s",
        found=found,
        fix=f"it was trained on {', '.join(map(repr, known))}; rename the {what}s in the file, or "
        "train on data that has them all",
    )


def names_by_id(id2label: Mapping[str | int, str]) -> list[str]:
    """The labels in the order of their ids, as `config.json` holds them."""
    # JSON turned the numbers into text, and as text "10" comes before "2".
    return [name for _, name in sorted(id2label.items(), key=lambda pair: int(pair[0]))]


def confusion_table(
    references: Sequence[str], predictions: Sequence[str], labels: Sequence[str]
) -> str:
    """The confusion matrix as text, with precision, recall and F1 of each label."""
    scores = class_scores(references, predictions)
    none = dict.fromkeys(("precision", "recall", "f1"), 0.0)
    rows = [
        [label, *row, *scores.get(label, none).values()]
        for label, row in zip(labels, confusion(references, predictions, labels), strict=True)
    ]
    return format_table(["right \\ predicted", *labels, "precision", "recall", "F1"], rows)
