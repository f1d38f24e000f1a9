"""What a model said on a split, as files: predictions, scores, confusions, mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from .files import write_atomically
from .inference import predict_examples
from .model import MultiTaskModel
from .plots import plot_confusion
from .tables import format_table, scores_table
from .tasks import Task
from .tasks.base import Mistake

MOST_SHOWN = 200  # mistakes of a kind


def predict_split(
    model: MultiTaskModel, tasks: Sequence[Task], split: str = "test"
) -> dict[str, tuple[list[Any], list[Any]]]:
    """By task: its labelled examples of a split, and what the model says about each.

    A task without labelled examples in the split is left out.
    """
    said = {}
    for task in tasks:
        examples = task.labelled(task.dataset.split(split))
        if examples:
            results = predict_examples(model, examples, [task.name])
            said[task.name] = (examples, [result[task.name] for result in results])
    return said


def write_reports(
    model: MultiTaskModel, tasks: Sequence[Task], folder: str | Path, split: str = "test"
) -> None:
    """Predict a split of every task's dataset, and write what `write_report` does.

    Args:
        tasks: of the model, with their datasets.
        folder: where the files go; made if missing.

    Raises:
        DataError: labels that a task does not know, or a file that cannot be written.
    """
    for name, (examples, predictions) in predict_split(model, tasks, split).items():
        write_report(model.tasks[name], examples, predictions, folder)


def write_report(
    task: Task, examples: Sequence[Any], predictions: Sequence[Any], folder: str | Path
) -> None:
    """Write the files that a task has something to say for, each named after the task.

    `_predictions.txt` or `.json`: what evaluation scripts of others read. `_report.txt`: metrics,
    the task's report, how many mistakes of each kind. `_confusion.png`, `_mistakes.txt`.

    Args:
        examples: labelled ones.
        predictions: one an example.

    Raises:
        DataError: labels that the task does not know, or a file that cannot be written.
    """
    folder = Path(folder)
    scores = {"model": task.score(examples, predictions)}
    parts = [f"{task.name}, {len(examples):,} examples\n{scores_table(scores)}"]
    parts += filter(None, [task.report(examples, predictions)])
    mistakes = task.mistakes(examples, predictions)
    if mistakes is not None:
        parts.append(_count_mistakes(mistakes))
        write_atomically(folder / f"{task.name}_mistakes.txt", describe_mistakes(mistakes))
    write_atomically(folder / f"{task.name}_report.txt", "\n\n".join(parts) + "\n")
    if (predicted := task.prediction_file(examples, predictions)) is not None:
        ending, content = predicted
        write_atomically(folder / f"{task.name}_predictions.{ending}", content)
    if (confused := task.confusion(examples, predictions)) is not None:
        labels, counts = confused
        picture = BytesIO()
        plot_confusion(counts, labels).savefig(picture, format="png", dpi=120)
        write_atomically(folder / f"{task.name}_confusion.png", picture.getvalue())


def describe_mistakes(mistakes: Sequence[Mistake]) -> str:
    """All mistakes by kind, the most frequent kind first, at most `MOST_SHOWN` of a kind."""
    parts = [_count_mistakes(mistakes)]
    for kind, n in _by_kind(mistakes).most_common():
        of_kind = [mistake for mistake in mistakes if mistake.kind == kind]
        parts.append(f"== {kind}: {n:,} ==")
        parts += map(_describe, of_kind[:MOST_SHOWN])
        if n > MOST_SHOWN:
            parts.append(f"({n - MOST_SHOWN:,} more of this kind are not shown)")
    return "\n\n".join(parts) + "\n"


def _count_mistakes(mistakes: Sequence[Mistake]) -> str:
    if not mistakes:
        return "no mistakes"
    return format_table(["mistake", "count"], _by_kind(mistakes).most_common())


def _by_kind(mistakes: Sequence[Mistake]) -> Counter[str]:
    return Counter(mistake.kind for mistake in mistakes)


def _describe(mistake: Mistake) -> str:
    return (
        f"{mistake.where}: {mistake.text}\n"
        f"  expected:  {mistake.expected or '-'}\n"
        f"  predicted: {mistake.predicted or '-'}"
    )
