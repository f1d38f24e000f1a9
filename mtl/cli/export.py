"""`mtl export`: a run folder goes in; a folder for other programs comes out."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError, DataError
from ..experiments.folder import RECIPE_FILE
from ..export import export_for_sentence_transformers, export_for_transformers, export_onnx
from ..files import write_atomically
from ..model import MultiTaskModel
from .evaluate import test_split


def run_export(options: argparse.Namespace) -> None:
    """`mtl export`."""
    output = Path(options.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(
            "the output is not an empty folder", path=output, fix="give another --output"
        )
    if options.format != "onnx" and (options.int8 or options.half):
        raise ConfigError("--int8 and --half are for --format onnx", found=options.format)
    if options.format == "onnx" and options.task:
        what = "--task is for the other formats: a graph has the heads of all tasks"
        raise ConfigError(what, found=options.task, fix="leave --task out")
    FORMATS[options.format](MultiTaskModel.from_pretrained(options.folder), options)


def _onnx(model: MultiTaskModel, options: argparse.Namespace) -> None:
    recipe = Path(options.folder) / RECIPE_FILE
    weights = "int8" if options.int8 else "half" if options.half else "float32"
    tests, on_error = _tests(model, options.folder)
    report = export_onnx(model, options.output, weights, tests, on_error, progress=True)
    if recipe.exists():  # so that `mtl evaluate` finds the test data of the export too
        copy = Path(options.output) / RECIPE_FILE
        write_atomically(copy, recipe.read_bytes())
    print(json.dumps(report.to_dict(), indent=2) if options.json else report)


def _tests(model: MultiTaskModel, folder: str) -> tuple[dict[str, Sequence[Any]], str]:
    """The test data of the run, as far as it is there, and what to do about faults in it."""
    try:
        return test_split(folder, list(model.tasks.values()))
    except DataError as error:
        print(f"mtl: note: no scores are compared: {error.faults[0].what}", file=sys.stderr)
        return {}, "stop"


def _transformers(model: MultiTaskModel, options: argparse.Namespace) -> None:
    task = _named_task(model, options)
    name = export_for_transformers(model, task, options.output)
    _say(options, {"format": options.format, "task": task, "class": name})


def _sentence_transformers(model: MultiTaskModel, options: argparse.Namespace) -> None:
    task = _named_task(model, options)
    modules = export_for_sentence_transformers(model, task, options.output)
    _say(options, {"format": options.format, "task": task, "modules": modules})


FORMATS = {
    "onnx": _onnx,
    "transformers": _transformers,
    "sentence-transformers": _sentence_transformers,
}


def _named_task(model: MultiTaskModel, options: argparse.Namespace) -> str:
    """The task that --task names, or the only one."""
    if options.task is None and len(model.tasks) > 1:
        raise ConfigError(
            "their models have one head: which task is it to be?",
            found=", ".join(model.tasks),
            fix="name it with --task",
        )
    return model.task(options.task or next(iter(model.tasks))).name


def _say(options: argparse.Namespace, what: dict[str, Any]) -> None:
    """What was written, as JSON or in words."""
    if options.json:
        print(json.dumps(what))
        return
    made = what.get("class") or " -> ".join(what["modules"])
    print(f"{what['task']}: {made}, in {options.output}")
