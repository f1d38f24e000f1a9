"""A trained model goes in; scores, baselines, reports and pictures come out, whatever fails."""

from __future__ import annotations

import json
import traceback
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import DataWarning, MTLError, TrainingWarning
from ..files import write_atomically
from ..inference import BASELINES, predictions_of
from ..model import MultiTaskModel
from ..reports.cases import check_cases
from ..reports.curves import plot_conflict, plot_losses, plot_weights
from ..reports.files import report_parts
from ..tasks import Task
from ..tasks.base import score_of
from ..training.history import History, Metrics
from ..training.preflight import EncodedDataset
from .folder import CASES_FILE, CONFLICT_FILE, CURVES_FILE, WEIGHTS_FILE

# By task: labelled test examples, and the model's prediction for each.
Tested = dict[str, tuple[list[Any], list[Any]]]


class Parts:
    """Things done one after the other. If one fails, a warning says so, it is remembered, and the
    others continue.

    Attributes:
        failed: what failed, with what it raised.
    """

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}

    @contextmanager
    def part(self, what: str) -> Generator[None]:
        """Do one part; whatever it raises becomes a TrainingWarning that names the part."""
        try:
            yield
        except Exception as error:  # a user's task may raise anything
            self.failed[what] = _describe(error)
            message = f"{what}: failed; everything else continues. {self.failed[what]}"
            warnings.warn(message, TrainingWarning, stacklevel=4)


def _describe(error: Exception) -> str:
    """The kind and the text of an error, and where it was raised if that was not on purpose."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MTLError):
        return text
    # An unexpected error is a bug, maybe the user's own: its place helps to find it.
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{text} (in {last.name}, {last.filename}:{last.lineno})"


def score_everything(
    model: MultiTaskModel, data: Sequence[EncodedDataset], parts: Parts, progress: bool = False
) -> tuple[dict[str, Metrics], Tested]:
    """Scores on all held-out splits and of the baselines, and the predictions on the test split."""
    metrics: dict[str, Any] = {}
    tested: Tested = {}
    for split in ("validation", "test", "test_unseen"):
        metrics[split] = {}
        for one in data:
            for task in one.tasks:
                with parts.part(f"{split} scores of {task.name}"):
                    said = predictions_of(model, task.name, one.splits[split], progress)
                    if said[0] and split == "test":
                        tested[task.name] = said
                    if said[0]:
                        metrics[split][task.name] = score_of(task, *said)
                        _warn_of_remarks(task, split, metrics[split][task.name])
    # A score alone says little: beside it go those of methods without understanding.
    metrics["baselines"] = {}
    for one in data:
        for task in one.tasks:
            if encoded := one.labelled("test", task):
                found = metrics["baselines"][task.name] = {}
                for what, score in BASELINES.items():
                    with parts.part(f"{what} of {task.name}"):
                        found |= score(model, task, encoded)
    return metrics, tested


def _warn_of_remarks(task: Task, split: str, scores: dict[str, float]) -> None:
    """Pass on what a task remarks on its test scores, as a DataWarning."""
    for remark in task.remarks(scores) if split == "test" else ():
        warnings.warn(f"{task.name}: {remark}", DataWarning, stacklevel=4)


def write_findings(
    model: MultiTaskModel,
    tasks: Sequence[Task],
    history: History,
    tested: Tested,
    output: Path,
    parts: Parts,
) -> None:
    """Curves, a report of each task on its test data, and the well-known facts."""
    with parts.part("loss curves"):
        plot_losses(history).savefig(output / CURVES_FILE, dpi=120)
    _draw_balance(history, output, parts)
    for task in tasks:
        if task.name in tested:
            for what, write in report_parts(task, *tested[task.name], output).items():
                with parts.part(what):
                    write()
    with parts.part("well-known facts"):
        if cases := check_cases(model):
            content = json.dumps([case.to_dict() for case in cases], indent=2, ensure_ascii=False)
            write_atomically(output / CASES_FILE, content + "\n")


def _draw_balance(history: History, output: Path, parts: Parts) -> None:
    """Pictures of the tasks' weights and gradients over time, if there is anything to see."""
    for name in (WEIGHTS_FILE, CONFLICT_FILE):
        # A picture left by an earlier attempt would be taken for this run's.
        (output / name).unlink(missing_ok=True)
    weights = {item for r in history.rounds for item in r.weights.items()}
    with parts.part("picture of the tasks' weights"):
        if len(weights) > len(history.tasks):  # the weight of some task changed
            plot_weights(history).savefig(output / WEIGHTS_FILE, dpi=120)
    with parts.part("picture of the gradients' conflict"):
        if history.conflicts:
            plot_conflict(history).savefig(output / CONFLICT_FILE, dpi=120)
