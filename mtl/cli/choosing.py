"""A model and the options of a command go in; the tasks that it asks come out."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

from ..errors import ConfigError
from ..inference import Model, check_n_answers
from ..tasks import Task

ALL = "all"


def tasks_to_predict(model: Model, name: str | None, pairs: bool | None) -> list[Task]:
    """The one task with this name or of this kind, or all tasks that read what is given.

    Args:
        pairs: whether two texts are given; None if that is not known yet.
    """
    what = "two texts" if pairs else "a single text"
    if name is not None and name != ALL:
        task = model.task(name)
        if pairs not in (None, task.reads_pairs):
            raise ConfigError(
                f"the task {task.name!r} reads {options_of(task)}, not {what}",
                fix=f"give {options_of(task)}",
            )
        return [task]
    fitting = [task for task in model.tasks.values() if pairs in (None, task.reads_pairs)]
    if not fitting:
        others = dict.fromkeys(map(options_of, model.tasks.values()))
        raise ConfigError(f"no task of the model reads {what}", fix=f"give {', or '.join(others)}")
    # One task for texts and one for pairs: the input shows which of them is meant.
    several = max(Counter(task.reads_pairs for task in fitting).values()) > 1
    if name is None and several:
        known = ", ".join([*model.tasks, ALL])
        raise ConfigError("which task?", fix=f"add --task, one of {known}")
    return fitting


def options_of(task: Task) -> str:
    """The options that give a task what it reads."""
    if not task.reads_pairs:
        return "a --text"
    asks = task.text_names == ("question", "context")
    return "--question and --context" if asks else "--text and --text-pair"


def check_top(tasks: Sequence[Task], n: int) -> None:
    """Raise ConfigError unless those of the tasks that read pairs can give `n` answers."""
    read_pairs = [task for task in tasks if task.reads_pairs]
    if n != 1 and not read_pairs:
        raise ConfigError("--top goes with a question", found=f"--top {n}")
    for task in read_pairs if n != 1 else ():
        check_n_answers(task, n)


def note_own_words(tasks: Sequence[Task]) -> None:
    """Say which tasks learned from a file whose words may not be those of plain text."""
    guessed = [task.name for task in tasks if task.words_given]
    if guessed:
        print(
            f"mtl: note: {', '.join(guessed)} learned from a file with its own words; plain "
            "text is split by our own rule. If you have words, give them with --words",
            file=sys.stderr,
        )
