"""The files of a case go in; its tasks, with examples to train, choose and score on, come out."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mtl
from mtl.data.dataset import hold_out

from .cases import Case


def read_tasks(case: Case, folder: Path, held_out: bool = False) -> list[mtl.tasks.Task]:
    """The tasks of a case on one dataset: `train`, `validation` and `test`.

    Validation is a tenth of the training file. The test is the dev file, or with `held_out`, for
    choosing rates, another tenth of the training file. Of each part at most as many examples are
    taken as the case says.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mtl.errors.DataWarning)
        examples = mtl.read(folder / case.train, **case.read)
        train, validation, *other = hold_out(examples, seed=0, parts=1 + held_out)
        test = other[0] if held_out else mtl.read(folder / case.dev, **case.read)
        train = some(train, case.limit)
        if case.crop:
            train = [cropped(example, case.crop) for example in train]
        dataset = mtl.Dataset(train, some(validation, case.validation), some(test, case.test))
        return [build(name, options, dataset) for name, options in case.tasks.items()]


def build(name: str, settings: Any, dataset: mtl.Dataset) -> mtl.tasks.Task:
    """A task from its section of a recipe."""
    options = {key: value for key, value in settings.items() if key != "kind"}
    return mtl.tasks.Task.of_kind(settings["kind"])(name, dataset, **options)


def some(examples: Sequence[Any], n: int) -> Sequence[Any]:
    """So many of them, drawn at random, always the same; 0 for all."""
    return random.Random(0).sample(list(examples), n) if 0 < n < len(examples) else examples


def cropped(example: mtl.QAExample, n: int) -> mtl.QAExample:
    """The question with about `n` characters of its context, the first answer somewhere in them."""
    context, draw = example.context, random.Random(example.id)
    # Without an answer, any part of the context will do.
    start, end = 2 * [draw.randint(0, len(context))]
    if example.answers:
        start, end = example.answers[0].start, example.answers[0].end
    # Not always in the middle, or that would be all there is to learn.
    before = draw.randint(0, max(0, n - (end - start)))
    first = max(0, min(start - before, len(context) - n))
    first = 0 if not first else context.rfind(" ", 0, first + 1) + 1  # where a word begins
    kept = context[first : max(first + n, end)].rstrip()
    answers = [mtl.Answer(answer.text, start - first) for answer in example.answers[:1]]
    return replace(example, context=kept, answers=answers, candidates=())
