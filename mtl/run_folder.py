"""What stands where in the folder of a run, and how nothing in it is lost.

DIR/                        a model folder, with metrics, history, reports and pictures
DIR/best-TASK/              the model of the epoch that was best for one task
DIR/checkpoint-epochN/      the model after epoch N, where asked for
DIR/training_state/         what a stopped run goes on from; gone when the run is done
DIR/unfinished/             all this of a run that is to replace a finished one, until it is done
"""

from __future__ import annotations

import difflib
import os
import shutil
from pathlib import Path

from .errors import ConfigError

RECIPE_FILE, METRICS_FILE, HISTORY_FILE, CURVES_FILE, CASES_FILE = (
    "recipe.toml",
    "metrics.json",
    "training_metrics.csv",
    "loss_curves.png",
    "validation_cases.json",
)
WEIGHTS_FILE, CONFLICT_FILE = "task_weights.png", "gradient_conflict.png"
CHECKPOINT, BEST, STATE = "checkpoint-epoch", "best-", "training_state"
UNFINISHED = "unfinished"
BEFORE_THE_END = (f"{CHECKPOINT}[0-9]*", f"{BEST}*", STATE)  # what a run writes while it trains


def check_folder(output: Path, overwrite: bool, resume: bool = False) -> None:
    """Raise ConfigError if the folder holds something that would be lost."""
    if output.exists() and not output.is_dir():
        raise ConfigError(
            "the output is a file, not a folder", path=output, fix="give another --output"
        )
    there = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigError(
            "the output folder cannot be made",
            path=output,
            found=f"{there} is {'not writable' if there.is_dir() else 'a file'}",
            fix="give another --output",
        )
    if not output.is_dir() or not any(output.iterdir()):
        return
    is_run = (output / METRICS_FILE).exists()
    was_stopped = (output / STATE).exists()  # maybe among its last files
    known = {path for pattern in BEFORE_THE_END for path in output.glob(pattern)}
    if not (is_run or was_stopped) and not known.issuperset(output.iterdir()):
        raise ConfigError(
            "the output folder holds other files", path=output, fix="give an empty folder"
        )
    if not (overwrite or resume):
        raise ConfigError(
            "the output folder already holds a run"
            if is_run
            else "the output folder holds a run that was stopped",
            path=output,
            fix="give another --output, or --overwrite to replace it"
            + ("" if is_run else ", or --resume to go on"),
        )


def make_folder(output: Path, resume: bool) -> Path:
    """Make the folder; return where the run writes while it trains.

    A finished run that is to be replaced stays whole until then. What a stopped run left is taken
    away, unless it is to go on.
    """
    place = output / UNFINISHED if (output / METRICS_FILE).exists() else output
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not resume:
            shutil.rmtree(output / UNFINISHED, ignore_errors=True)
            clear(place)
    except OSError as error:
        raise ConfigError(
            "the output folder cannot be made",
            path=output,
            found=str(error),
            fix="give another --output",
        ) from None
    return place


def check_same_recipe(path: Path, recipe: str) -> None:
    """Raise ConfigError if the run that is to go on had another recipe, which stands in `path`."""
    if not path.exists():
        return
    before = path.read_text(encoding="utf-8")
    lines = list(difflib.ndiff(before.splitlines(), recipe.splitlines()))
    then, now = ([line[2:] for line in lines if line.startswith(sign)] for sign in "-+")
    if then or now:
        raise ConfigError(
            "the run that is to go on had another recipe",
            path=path,
            found=f"then: {'; '.join(then) or 'nothing more'}; now: "
            f"{'; '.join(now) or 'nothing more'}",
            fix="resume with the settings it was started with, or --overwrite it",
        )


def clear(place: Path) -> None:
    """Take away what a run wrote while it trained."""
    for pattern in BEFORE_THE_END:
        for old in place.glob(pattern):
            shutil.rmtree(old)


def put_in_place(place: Path, output: Path) -> None:
    """Put what the run wrote while it trained in the place of that of the run before."""
    if place == output:
        return
    clear(output)
    if place.exists():
        for new in place.iterdir():
            new.rename(output / new.name)
        place.rmdir()
    (output / METRICS_FILE).unlink()  # now it is a stopped run, until its last files are written


def next_run_folder(name: str) -> Path:
    """`runs/NAME/1`, or the first number that is free."""
    number = 1
    while (folder := Path("runs") / name / str(number)).exists():
        number += 1
    return folder
