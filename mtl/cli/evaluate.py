"""`mtl evaluate` and `mtl validate`: a run folder goes in; its scores come out."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.readers import file_to_score
from ..data.remembered import examples_hash
from ..errors import ConfigError, DataError, DataWarning
from ..experiments.build import build_tasks
from ..experiments.data import reader_options
from ..experiments.data_option import split_data
from ..experiments.folder import METRICS_FILE, RECIPE_FILE
from ..experiments.recipe import Recipe, recipe_of_run
from ..files import read_json
from ..inference import check_kind, encode_labelled, predictions_of, score_baselines
from ..reports.cases import cases_summary, cases_table, check_cases, why_left_out
from ..tables import scores_table
from ..tasks import Task
from ..tasks.base import score_of
from .loading import load_model


def run_evaluate(options: argparse.Namespace) -> None:
    """`mtl evaluate`."""
    model = load_model(options.folder)
    chosen = [model.task(options.task)] if options.task else list(model.tasks.values())
    read = _given_examples if options.data else _test_examples
    examples = read(options, chosen)
    results = {}
    for name, split in examples.items():
        if not model.tasks[name].labelled(split):
            path = ", ".join(options.data) or None
            raise DataError(f"no example has a label for the task {name!r}", path=path)
        # Encoded once, for the scores, the report and the baselines.
        task, encoded = encode_labelled(model, name, split, options.on_error)
        labelled, predictions = predictions_of(model, name, encoded, progress=True)
        scores = {"model": score_of(task, labelled, predictions)}
        for remark in task.remarks(scores["model"]):
            warnings.warn(f"{name}: {remark}", DataWarning, stacklevel=1)
        results[name] = scores | score_baselines(model, task, encoded)
        if not options.json:
            report = model.tasks[name].report(labelled, predictions)
            print(f"{name}, {len(labelled):,} examples\n{scores_table(results[name])}\n")
            print(f"{report}\n\n" if report else "", end="")
    if options.json:
        print(json.dumps(results, indent=2))


def _given_examples(options: argparse.Namespace, chosen: list[Task]) -> dict[str, Sequence[Any]]:
    """The examples that --data names, by task; its reader gets the options of the recipe."""
    path = Path(options.folder) / RECIPE_FILE
    recipe = recipe_of_run(path) if path.exists() else None
    examples: dict[str, Sequence[Any]] = {}
    for item in options.data:
        key, file = split_data(item)
        tasks = _tasks_of_key(key, chosen, recipe)
        for task in tasks:
            data, fields = None, {}
            if recipe is not None and task.name in recipe.tasks:
                data, fields = recipe.source_of(task.name), recipe.fields_of(task.name)
            scored = file_to_score(file)
            if scored != Path(file):
                print(f"{task.name}: scored on {scored}", file=sys.stderr)
            strict = options.strict or (recipe is not None and recipe.strict)
            given = reader_options(data, strict, fields)
            examples[task.name] = task.read(scored, options.on_error, **given)
            check_kind(task.name, type(task), examples[task.name], scored)
    return examples


def _tasks_of_key(key: str | None, chosen: list[Task], recipe: Recipe | None) -> list[Task]:
    """The tasks that data is for: those its key names, or all if they share one dataset."""
    of = {t: recipe.tasks[t].data for t in recipe.tasks} if recipe is not None else {}
    if key is None:
        shared = {of.get(task.name) or task.name for task in chosen}
        found = chosen if len(shared) == 1 else []
    else:
        kind, _, name = key.rpartition(".")
        of_task = [task for task in chosen if task.name == name and kind in ("", "tasks")]
        of_dataset = [t for t in chosen if of.get(t.name) == name and kind in ("", "datasets")]
        found = of_task or of_dataset
    if not found:
        names = ", ".join(task.name for task in chosen)
        raise ConfigError(
            "which task is the data for?",
            found=key,
            fix=f"add --task, one of {names}; or write --data {chosen[0].name}=PATH",
        )
    return found


def _test_examples(options: argparse.Namespace, chosen: list[Task]) -> dict[str, Sequence[Any]]:
    """The test split of each task; the options then say about faults what the recipe says."""
    examples, on_error = test_split(options.folder, chosen)
    if on_error == "skip":
        options.on_error = on_error
    return examples


def test_split(folder: str, chosen: list[Task]) -> tuple[dict[str, Sequence[Any]], str]:
    """The test split of each task, from the recipe that the run folder holds, and its `on_error`.

    Raises:
        DataError: the folder has no recipe, or the recipe no test data; or that has changed.
    """
    path = Path(folder) / RECIPE_FILE
    if not path.exists():
        raise DataError(
            f"the folder has no {RECIPE_FILE} to say what the test data is",
            path=folder,
            fix="give --task and --data",
        )
    recipe = recipe_of_run(path)
    tests = {task.name: task.dataset.test for task in build_tasks(recipe)}
    examples = {
        task.name: tests[task.name] for task in chosen if task.labelled(tests.get(task.name, ()))
    }
    if not examples:
        raise DataError("the recipe has no test data", path=path, fix="give --task and --data")
    _check_unchanged(path.with_name(METRICS_FILE), examples)
    # As the run itself did when it tested.
    return examples, recipe.on_error


def _check_unchanged(path: Path, examples: dict[str, Sequence[Any]]) -> None:
    """Raise DataError if the run at `path`, the file of its metrics, was tested on other data."""
    then = read_json(path).get("test_data", {}) if path.exists() else {}
    changed = [
        name for name in examples if name in then and then[name] != examples_hash(examples[name])
    ]
    if changed:
        raise DataError(
            f"the test data of {', '.join(changed)} is not that of the run",
            path=path.parent,
            found="a file that has changed since; what is held out of it is drawn anew, and the "
            "model may have trained on it",
            fix="restore the file, or name other data with --data",
        )


def run_validate(options: argparse.Namespace) -> None:
    """`mtl validate`."""
    model = load_model(options.folder)
    results, left_out = check_cases(model), why_left_out(model)
    if not results:
        raise ConfigError(
            "the cases are for tasks that find entities or answer questions",
            path=options.folder,
            found="; ".join(left_out) or "a model with neither",
            fix="use mtl predict, or mtl evaluate",
        )
    for line in left_out:
        print(f"mtl: note: {line}", file=sys.stderr)
    if options.json:
        print(json.dumps([result.to_dict() for result in results], ensure_ascii=False, indent=2))
        return
    print(f"{cases_table(results)}\n\n{cases_summary(results)}")
