"""Labelled examples go in; a model's scores come out, and others to compare them with."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from ..data.encoded import EncodedExample
from ..data.readers import as_examples
from ..errors import DataError, DataWarning
from ..tasks.base import Task, score_of
from .loop import Model, encode_for, predict_encoded


def evaluate(
    model: Model,
    task: str,
    examples: Sequence[Any],
    on_error: str = "stop",
    batch_size: int | None = None,
) -> dict[str, float]:
    """Predict the examples and score the predictions of one task.

    Examples without a label for the task are left out. What the task has to say about its scores
    is a `DataWarning`.

    Args:
        on_error: "skip" leaves out examples that cannot be used, such as a question that is too
            long for the model, and says how many (DataWarning); "stop" raises all of them.
        batch_size: as in `predict`.

    Raises:
        ConfigError: no such task.
        DataError: no labelled examples, labels that the task does not know, or texts that cannot
            be used.
    """
    labelled, predictions = predict_labelled(model, task, examples, on_error, batch_size)
    chosen = model.task(task)
    scores = score_of(chosen, labelled, predictions)
    for remark in chosen.remarks(scores):
        warnings.warn(f"{chosen.name}: {remark}", DataWarning, stacklevel=2)
    return scores


def predict_labelled(
    model: Model,
    task: str,
    examples: Sequence[Any],
    on_error: str = "stop",
    batch_size: int | None = None,
) -> tuple[list[Any], list[Any]]:
    """The examples that have a label for a task, and its prediction for each; as `evaluate`."""
    chosen, encoded = encode_labelled(model, task, examples, on_error)
    return predictions_of(model, chosen.name, encoded, batch_size=batch_size)


def evaluate_encoded(
    model: Model, encoded: Sequence[EncodedExample], tasks: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Scores of several tasks on the same examples, from one encoder pass per batch.

    A task that has no labelled example among them has no scores.
    """
    chosen = [model.tasks[name] for name in tasks]
    # What no task asks about would be read for nothing.
    encoded = [item for item in encoded if any(t.is_labelled(item.example) for t in chosen)]
    results = predict_encoded(model, encoded, tasks)
    scores = {}
    for task in chosen:
        # A record may have a label and no tags: each task is scored on its own.
        asked = [i for i, item in enumerate(encoded) if task.is_labelled(item.example)]
        if asked:
            examples = [encoded[i].example for i in asked]
            predictions = [results[i][task.name] for i in asked]
            scores[task.name] = score_of(task, examples, predictions)
    return scores


def evaluate_baselines(
    model: Model, task: str, examples: Sequence[Any], on_error: str = "stop"
) -> dict[str, dict[str, float]]:
    """Scores of the task's trivial baselines, and of the model on its spoiled examples.

    Where the outputs of fresh weights say something already, the model with such weights is a
    baseline too (`untrained`). Spoiled examples that the model cannot read, such as a long context
    with another one's long question, are left out and counted in a DataWarning.

    Raises:
        ConfigError, DataError: as `evaluate`.
    """
    chosen, encoded = encode_labelled(model, task, examples, on_error)
    return score_baselines(model, chosen, encoded)


def score_baselines(
    model: Model, task: Task, encoded: Sequence[EncodedExample]
) -> dict[str, dict[str, float]]:
    """The same for labelled examples that are encoded."""
    scores: dict[str, dict[str, float]] = {}
    for part in BASELINES.values():
        scores |= part(model, task, encoded)
    return scores


def score_trivial(
    model: Model, task: Task, encoded: Sequence[EncodedExample]
) -> dict[str, dict[str, float]]:
    """Scores of what one gets without a model, by name."""
    examples = [item.example for item in encoded]
    baselines = task.baselines(examples)
    return {name: score_of(task, examples, predictions) for name, predictions in baselines.items()}


def score_untrained(
    model: Model, task: Task, encoded: Sequence[EncodedExample]
) -> dict[str, dict[str, float]]:
    """Scores of the model with fresh weights, where the task says that they are worth beating."""
    if not task.beats_untrained:
        return {}
    return {"untrained": score_of(task, *predictions_of(model.untrained(), task.name, encoded))}


def score_controls(
    model: Model, task: Task, encoded: Sequence[EncodedExample]
) -> dict[str, dict[str, float]]:
    """Scores of the model on examples that were spoiled on purpose, by name."""
    scores = {}
    for name, spoiled in task.controls([item.example for item in encoded]).items():
        # Spoiling may make an example unreadable; that is nobody's mistake, so it is left out.
        readable = encode_for(model, spoiled, on_error="skip", where=f"{task.name}, {name}")
        if readable:
            scores[name] = score_of(task, *predictions_of(model, task.name, readable))
    return scores


# What the scores of a model are compared with; each function returns scores by name.
BASELINES = {
    "trivial baselines": score_trivial,
    "untrained model": score_untrained,
    "controls": score_controls,
}


def predictions_of(
    model: Model,
    task: str,
    encoded: Sequence[EncodedExample],
    progress: bool = False,
    batch_size: int | None = None,
) -> tuple[list[Any], list[Any]]:
    """The encoded examples that have a label for a task, and what it predicts for each."""
    labelled = [item for item in encoded if model.tasks[task].is_labelled(item.example)]
    results = predict_encoded(model, labelled, [task], progress, batch_size)
    return [item.example for item in labelled], [result[task] for result in results]


def encode_labelled(
    model: Model, task: str, examples: Sequence[Any], on_error: str
) -> tuple[Task, list[EncodedExample]]:
    """The task of a name, and the examples that have a label for it; DataError if none has."""
    chosen = model.task(task)
    # Before encoding, so that a fault in an example that is not scored costs nothing.
    labelled = chosen.labelled(as_examples(examples))
    encoded = encode_for(model, labelled, [chosen], on_error)
    if not encoded:
        raise DataError(
            f"there are no labelled examples to evaluate {chosen.name!r} on",
            found=f"{len(examples):,} examples"
            + (f", of which {len(labelled):,} are left out" if labelled else ""),
        )
    return chosen, encoded
