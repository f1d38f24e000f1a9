"""Labelled examples go in; a model's scores, and others to compare them with, come out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from ..data.dataset import SPLITS
from ..data.encoded import EncodedExample, only
from ..errors import ConfigError, DataError, DataWarning
from ..settings import names_checked
from ..tasks.base import Task, score_of
from .labelled import examples_for
from .loop import Model, check_model, encode_for, predict_encoded


@names_checked
def evaluate(
    model: Model,
    task: str | None = None,
    data: Any = "test",
    on_error: str = "stop",
    batch_size: int | None = None,
) -> dict[str, Any]:
    """Predict examples, and score the predictions.

    Examples without a label for the task are left out. Remarks of the task about its scores come
    as a `DataWarning`.

    Args:
        task: its name; by default every task that has examples in the split that `data` names.
        data: a split of the task's dataset; or other examples: a file or folder, which the task
            reads (in a folder the test file, or else the dev file), or a list, as `Dataset` takes
            them. The name of a split takes precedence over a file of the same name.
        on_error: "skip" leaves out examples that cannot be used, such as a question that is too
            long for the model, and says how many (DataWarning); "stop" raises all of them.
        batch_size: as in `predict`.

    Returns:
        the metrics of the task by name; without `task`, those of each task by its name.

    Raises:
        ConfigError: no such task, or examples of another task's kind.
        DataError: a split that the task does not have (a loaded model has none), no such
            file, no labelled examples, labels that the task does not know, or texts that cannot be
            used.
    """
    check_model(model)
    if task is None:
        names = _tasks_with(model, data)
        return {name: evaluate(model, name, data, on_error, batch_size) for name in names}
    labelled, predictions = predict_labelled(model, task, data, on_error, batch_size)
    chosen = model.task(task)
    scores = score_of(chosen, labelled, predictions)
    for remark in chosen.remarks(scores):
        warnings.warn(f"{chosen.name}: {remark}", DataWarning, stacklevel=2)
    return scores


def _tasks_with(model: Model, split: Any) -> list[str]:
    """The tasks that have labelled examples in a split."""
    if not isinstance(split, str) or split not in SPLITS:
        raise ConfigError(
            "which task are the examples for? Only a split is for all of them",
            found=repr(split)[:80],
            fix=f"name the task: evaluate(TASK, ...), one of {', '.join(model.tasks)}; "
            f"or a split: {', '.join(SPLITS)}",
        )
    tasks = model.tasks.values()
    found = [task.name for task in tasks if task.labelled(task.dataset.split(split))]
    if not found:
        raise DataError(
            f"no task of the model has {split} examples",
            found=f"{', '.join(model.tasks)}; a loaded model does not hold its data",
            fix="give each task a file or examples: evaluate(TASK, FILE)",
        )
    return found


def predict_labelled(
    model: Model,
    task: str,
    data: Any = "test",
    on_error: str = "stop",
    batch_size: int | None = None,
) -> tuple[list[Any], list[Any]]:
    """The examples that have a label for a task, and its prediction for each; see `evaluate`."""
    chosen, encoded = encode_labelled(model, task, data, on_error)
    return predictions_of(model, chosen.name, encoded, batch_size=batch_size)


def evaluate_encoded(
    model: Model, encoded: Sequence[EncodedExample], tasks: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Scores of several tasks on the same examples, from one encoder pass per batch.

    A task without a labelled example among them has no scores.
    """
    of_tasks = _predict_all(model, encoded, tasks)
    return {task.name: score_of(task, *pairs) for task, *pairs in of_tasks}


def validate_encoded(
    model: Model, encoded: Sequence[EncodedExample], tasks: Sequence[str]
) -> dict[str, dict[str, float]]:
    """The same on validation examples: each task's thresholds are chosen on them first."""
    scores = {}
    for task, examples, predictions in _predict_all(model, encoded, tasks):
        task.thresholds = task.choose_thresholds(examples, predictions)
        scores[task.name] = score_of(task, examples, [task.decide(p) for p in predictions])
    return scores


def _predict_all(
    model: Model, encoded: Sequence[EncodedExample], tasks: Sequence[str]
) -> Iterator[tuple[Task, list[Any], list[Any]]]:
    """Each task, the examples that have a label for it, and its predictions for them."""
    chosen = [model.tasks[name] for name in tasks]
    # Reading examples without any label would be wasted work.
    encoded = only(encoded, lambda item: any(t.is_labelled(item.example) for t in chosen))
    results = predict_encoded(model, encoded, tasks)
    for task in chosen:
        # A record may have a label but no tags: each task is scored on its own.
        asked = [i for i, item in enumerate(encoded) if task.is_labelled(item.example)]
        if asked:
            examples = [encoded[i].example for i in asked]
            yield task, examples, [results[i][task.name] for i in asked]


@names_checked
def evaluate_baselines(
    model: Model, task: str, data: Any = "test", on_error: str = "stop"
) -> dict[str, dict[str, float]]:
    """Scores of the task's trivial baselines, and of the model on its spoiled examples.

    Where even the outputs of fresh weights carry information, the model with such weights is a
    baseline too (`untrained`). Spoiled examples that the model cannot read, such as a long context
    with another's long question, are left out and counted in a DataWarning.

    Args:
        data, on_error: as in `evaluate`.

    Raises:
        ConfigError, DataError: as in `evaluate`.
    """
    check_model(model)
    chosen, encoded = encode_labelled(model, task, data, on_error)
    return score_baselines(model, chosen, encoded)


def score_baselines(
    model: Model, task: Task, encoded: Sequence[EncodedExample]
) -> dict[str, dict[str, float]]:
    """The same for labelled examples that are already encoded."""
    scores: dict[str, dict[str, float]] = {}
    for part in BASELINES.values():
        scores |= part(model, task, encoded)
    return scores


def score_trivial(
    model: Model, task: Task, encoded: Sequence[EncodedExample]
) -> dict[str, dict[str, float]]:
    """Scores of trivial predictions, made without a model, by name."""
    examples = [item.example for item in encoded]
    baselines = task.baselines(examples)
    return {name: score_of(task, examples, predictions) for name, predictions in baselines.items()}


def score_untrained(
    model: Model, task: Task, encoded: Sequence[EncodedExample]
) -> dict[str, dict[str, float]]:
    """Scores of the model with fresh weights, where the task says that this is worth beating."""
    if not task.beats_untrained:
        return {}
    return {"untrained": score_of(task, *predictions_of(model.untrained(), task.name, encoded))}


def score_controls(
    model: Model, task: Task, encoded: Sequence[EncodedExample]
) -> dict[str, dict[str, float]]:
    """Scores of the model on examples spoiled on purpose, by name."""
    scores = {}
    for name, spoiled in task.controls([item.example for item in encoded]).items():
        # Spoiling may make an example unreadable; that is nobody's fault, so it is left out.
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
    labelled = only(encoded, lambda item: model.tasks[task].is_labelled(item.example))
    results = predict_encoded(model, labelled, [task], progress, batch_size)
    return [item.example for item in labelled], [result[task] for result in results]


def encode_labelled(
    model: Model, task: str, data: Any, on_error: str
) -> tuple[Task, list[EncodedExample]]:
    """The task with a name, and the examples that have a label for it; DataError if none has."""
    chosen = model.task(task)
    examples = examples_for(chosen, data, on_error)
    # Before encoding, so that faults in examples that are not scored do no harm.
    labelled = chosen.labelled(examples)
    encoded = encode_for(model, labelled, [chosen], on_error)
    if not encoded:
        raise DataError(
            f"there are no labelled examples to evaluate {chosen.name!r} on",
            found=f"{len(examples):,} examples"
            + (f", of which {len(labelled):,} are left out" if labelled else ""),
            fix='see what is wrong with them: on_error="stop"'
            if labelled
            else "give examples that have a label for this task",
        )
    return chosen, encoded
