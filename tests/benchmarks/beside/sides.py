"""A case and the name of a side go in; its scores, time and memory come out."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from typing import Any

import torch

import mtl
from mtl.data.nesting import outermost
from mtl.metrics import f1_of_sets
from mtl.tasks.own_words import in_characters

from . import ours, plain
from .cases import Case, Outcome
from .data import read_tasks
from .peers.runner import peak_megabytes
from .plain_answers import Answers
from .plain_texts import OneLabel, Score, SeveralLabels
from .plain_words import OuterEntities, Words

PLAIN = {
    "classification": OneLabel,
    "ner": Words,
    "nested-ner": OuterEntities,
    "pair-classification": OneLabel,
    "qa": Answers,
    "regression": Score,
    "tokens": Words,
}


def run_side(side: str, case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """Train, predict and score in this process.

    Args:
        side: `ours` or `plain`.
        options: those of the command line.

    Returns:
        scores by task and metric; seconds of training (tokenization and validation included) and of
        prediction; the most memory that the process took, in MB.
    """
    warnings.simplefilter("ignore", mtl.errors.DataWarning)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    folder = options.data / case.folder
    tasks = read_tasks(case, folder, options.held_out)
    if side == "ours":
        config = ours.config_of(case, options.seed, options.precision, options.threads)
        outcome = ours.run(case, tasks, options.checkpoint, config)
    else:
        models = (plain_class(task)(task, case, options.checkpoint) for task in tasks)
        outcome = plain.run(models, options.precision)
    return report(tasks, outcome, peak_megabytes())


def report(tasks: Sequence[mtl.tasks.Task], outcome: Outcome, peak_mb: float) -> dict[str, Any]:
    """What the table shows of a side, see `run_side`."""
    return {
        "scores": {t.name: scores_of(t, outcome.predictions[t.name]) for t in tasks},
        "train_seconds": outcome.train_seconds,
        "predict_seconds": outcome.predict_seconds,
        "peak_mb": peak_mb,
        "train_examples": len(tasks[0].dataset.train),
        "test_examples": len(tasks[0].dataset.test),
    }


def plain_class(task: mtl.tasks.Task) -> type[plain.PlainTask]:
    """The class of the plain side for a task of ours."""
    if task.main_metric == "micro_f1":  # a classification task whose texts have several labels
        return SeveralLabels
    return PLAIN[task.kind]


def scores_of(task: mtl.tasks.Task, predictions: Sequence[Any]) -> dict[str, float]:
    """The scores of our task, whoever made the predictions.

    For nested entities also `outer_f1`, of those that lie in no other: what tags can say, too.
    """
    examples = task.labelled(task.dataset.test)
    scores = task.score(examples, predictions)
    if task.kind == "nested-ner":
        right = [in_characters(outermost(e.entities), e.word_places) for e in examples]
        found = [outermost(prediction.spans) for prediction in predictions]
        scores["outer_f1"] = f1_of_sets([set(x) for x in right], [set(x) for x in found])
    return scores
