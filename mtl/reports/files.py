"""Predictions on a split go in; files of predictions, scores and mistakes come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from ..files import write_atomically
from ..inference import predict_labelled
from ..model import MultiTaskModel
from ..tables import format_table, scores_table
from ..tasks import Task
from ..tasks.base import Mistake, score_of
from .plots import plot_confusion

MOST_SHOWN = 200  # mistakes of a kind


def write_reports(
    model: MultiTaskModel, tasks: Sequence[Task], folder: str | Path, split: str = "test"
) -> None:
    """Predict a split of every task's dataset, and write the files of `write_report`.

    Args:
        tasks: the model's, with their datasets; one without labelled examples in the split is
            left out.
        folder: where the files go; created if missing.

    Raises:
        DataError: labels that a task does not know, or a file that cannot be written.
    """
    for task in tasks:
        if examples := task.labelled(task.dataset.split(split)):
            said = predict_labelled(model, task.name, examples)
            write_report(model.tasks[task.name], *said, folder)


def write_report(
    task: Task, examples: Sequence[Any], predictions: Sequence[Any], folder: str | Path
) -> None:
    """Write the files that a task has content for, each named after the task.

    `_predictions.txt` or `.json`: for others' evaluation scripts. `_report.txt`: metrics, the
    task's report, how many mistakes of each kind. `_confusion.png`, `_mistakes.txt`.

    Args:
        examples: labelled ones.
        predictions: one per example.

    Raises:
        DataError: labels that the task does not know, or a file that cannot be written.
    """
    for write in report_parts(task, examples, predictions, folder).values():
        write()


def report_parts(
    task: Task, examples: Sequence[Any], predictions: Sequence[Any], folder: str | Path
) -> dict[str, Callable[[], None]]:
    """What writes each file of `write_report`, by name: if one fails, the others still run."""
    name = task.name
    said = (examples, predictions)

    @cache  # two files need it, and neither may be written
    def mistakes() -> list[Mistake] | None:
        return task.mistakes(*said)

    def write(ending: str, content: str | bytes) -> None:
        write_atomically(Path(folder) / f"{name}_{ending}", content)

    def write_predictions() -> None:
        if (predicted := task.prediction_file(*said)) is not None:
            ending, content = predicted
            write(f"predictions.{ending}", content)

    def write_mistakes() -> None:
        if (found := mistakes()) is not None:
            write("mistakes.txt", describe_mistakes(found))

    def write_text() -> None:
        scores = {"model": score_of(task, *said)}
        parts = [f"{name}, {len(examples):,} examples\n{scores_table(scores)}"]
        parts += filter(None, [task.report(*said)])
        if (found := mistakes()) is not None:
            parts.append(_count_mistakes(found))
        write("report.txt", "\n\n".join(parts) + "\n")

    def draw_confusion() -> None:
        if (confused := task.confusion(*said)) is not None:
            labels, counts = confused
            picture = BytesIO()
            # Into memory first, so that the picture, too, is written whole or not at all.
            plot_confusion(counts, labels).savefig(picture, format="png", dpi=120)
            write("confusion.png", picture.getvalue())

    return {
        f"predictions of {name}": write_predictions,
        f"mistakes of {name}": write_mistakes,
        f"report of {name}": write_text,
        f"confusion matrix of {name}": draw_confusion,
    }


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
