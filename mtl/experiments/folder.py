"""A run folder goes in; where its files are, and whether they may be written, comes out.

DIR/                        a model folder, with metrics, history, reports and pictures
DIR/best-TASK/              the model of the epoch that was best for one task
DIR/checkpoint-epochN/      the model after epoch N, if asked for
DIR/training_state/         what a stopped run resumes from; gone once all is tested and written
DIR/unfinished/             the same for a run that will replace another, until it is trained
DIR/.lock                   held by the process that is training here
"""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .recipe import Recipe, read_run_toml
from .toml_text import lines_by_place

RECIPE_FILE, METRICS_FILE = "recipe.toml", "metrics.json"
HISTORY_FILE, CASES_FILE = "training_metrics.csv", "validation_cases.json"
CURVES_FILE = "loss_curves.png"
WEIGHTS_FILE, CONFLICT_FILE = "task_weights.png", "gradient_conflict.png"
CHECKPOINT, BEST, STATE = "checkpoint-epoch", "best-", "training_state"
UNFINISHED, LOCK = "unfinished", ".lock"
OLD_STATE = f".{STATE}"  # while it is deleted
BEFORE_THE_END = (f"{CHECKPOINT}[0-9]*", f"{BEST}*", STATE, OLD_STATE)  # written while it trains


@contextmanager
def claimed(output: Path) -> Generator[None]:
    """Lock a run folder, created if missing; if still empty at the end, it is removed again.

    The lock is the operating system's. It goes with the process that holds it, however that ends,
    so a killed run can be resumed at once.

    Raises:
        ConfigError: another process holds the folder, or it cannot be made.
    """
    # First of all, with an error that names what is in the way.
    _check_place(output)
    # Remembered, so that a rejected run leaves no empty folders behind.
    made = _missing(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = _lock(output / LOCK)
    except OSError as error:
        raise _cannot_be_made(output, str(error)) from None
    try:
        yield
    finally:
        with suppress(OSError):
            # Before the file is closed: afterwards it might be the lock of another process.
            (output / LOCK).unlink()
        os.close(lock)
        _remove_empty([output, *made])


def _lock(path: Path) -> int:
    """The open file of a lock that this process holds from now on."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            _lock_file(file)
        except BlockingIOError:
            os.close(file)
            raise ConfigError(
                "another process is working in the output folder",
                path=path.parent,
                fix="wait for it, stop it, or choose another --output",
            ) from None
        with suppress(OSError):
            # The file that we locked may be one that its last holder just deleted.
            if os.path.samestat(os.fstat(file), os.stat(path)):
                return file
        os.close(file)  # the process that held it before has just removed it


def _lock_file(file: int) -> None:
    """Lock an open file; BlockingIOError if another process has. Some systems have no locks."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        try:
            # LOCK_NB: report at once that the folder is taken, rather than wait for hours.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # a network folder without locks
            pass


def _check_place(output: Path) -> None:
    """Raise ConfigError if the folder is a file, or is where nothing can be written."""
    if output.exists() and not output.is_dir():
        raise ConfigError(
            "the output is a file, not a folder", path=output, fix="give another --output"
        )
    # The nearest folder that exists decides whether the others can be made.
    there = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        what = "not writable" if there.is_dir() else "a file"
        raise _cannot_be_made(output, f"{there} is {what}")


def _cannot_be_made(output: Path, found: str) -> ConfigError:
    return ConfigError(
        "the output folder cannot be made", path=output, found=found, fix="give another --output"
    )


def holds_run(output: Path) -> bool:
    """Whether a trained model is there, tested or not."""
    return any((output / name).exists() for name in (METRICS_FILE, HISTORY_FILE))


def is_finished(output: Path) -> bool:
    """Whether a run is done, including all its reports."""
    is_going_on = (output / STATE).exists() or (output / UNFINISHED).exists()
    return (output / METRICS_FILE).exists() and not is_going_on


def check_folder(output: Path, overwrite: bool, resume: bool = False) -> None:
    """Raise ConfigError if the folder holds something that would be lost."""
    there = {path for path in output.iterdir() if path.name != LOCK}
    if not there:
        return
    is_run = (output / METRICS_FILE).exists()
    was_stopped = any((place / STATE).exists() for place in (output, output / UNFINISHED))
    # What a run writes while it trains: if nothing else is there, one was killed here.
    known = {path for pattern in BEFORE_THE_END for path in output.glob(pattern)}
    if not (holds_run(output) or was_stopped) and not known.issuperset(there):
        raise ConfigError(
            "the output folder holds other files", path=output, fix="give an empty folder"
        )
    if not (overwrite or resume):
        raise ConfigError(
            "the output folder already holds a run"
            if is_run
            else "the output folder holds a stopped run",
            path=output,
            fix="give another --output, or --overwrite to replace it"
            + (", or --resume to continue" if was_stopped or not is_run else ""),
        )


def choose_place(output: Path, resume: bool) -> Path:
    """Where the run writes while it trains.

    A run that is being replaced stays whole until then. A resumed run continues where its state is.
    """
    unfinished = output / UNFINISHED
    goes_on_there = resume and (unfinished / STATE).exists()
    goes_on_here = resume and (output / STATE).exists()
    return unfinished if goes_on_there or (holds_run(output) and not goes_on_here) else output


def prepare(output: Path, place: Path, resume: bool) -> None:
    """Remove what a stopped run left, unless it is to continue."""
    if resume:
        return
    try:
        shutil.rmtree(output / UNFINISHED, ignore_errors=True)
        clear(place)
    except OSError as error:
        raise _cannot_be_made(output, str(error)) from None


def check_same_recipe(
    path: Path,
    recipe: Recipe,
    fix: str = "resume with the settings it was started with, or --overwrite it",
) -> None:
    """Raise ConfigError if the run to continue had a different recipe, which is in `path`.

    Args:
        fix: what to do then.
    """
    if not path.exists():
        return
    # Both through TOML, so that 1 and 1.0, lists and tuples, compare as the file has them.
    before, now = _values_of(read_run_toml(path)), _values_of(tomllib.loads(recipe.to_toml()))
    gone = [line for place, line in before.items() if now.get(place) != line]
    new = [line for place, line in now.items() if before.get(place) != line]
    if gone or new:
        raise ConfigError(
            "the run to continue had a different recipe",
            path=path,
            found=f"then: {'; '.join(gone) or 'nothing more'}; now: "
            f"{'; '.join(new) or 'nothing more'}",
            fix=fix,
        )


def _values_of(content: dict[str, Any]) -> dict[Any, str]:
    """The values of a recipe file by their place in it.

    The order of keys does not matter, except for the tasks: their heads are drawn one by one.
    """
    order = f"tasks in the order {', '.join(content.get('tasks', {}))}"
    return lines_by_place(content) | {"order of tasks": order}


def clear(place: Path) -> None:
    """Remove what a run wrote while it trained."""
    for pattern in BEFORE_THE_END:
        for old in place.glob(pattern):
            shutil.rmtree(old)


def put_in_place(place: Path, output: Path) -> None:
    """Move what the run wrote while it trained to where the earlier run has its files.

    A kill at any moment leaves what `choose_place` finds again: the state moves last.
    """
    if place == output:
        return
    if holds_run(output):
        # Not earlier: until now, the old run was all there was.
        clear(output)
        (output / METRICS_FILE).unlink(missing_ok=True)
        (output / HISTORY_FILE).unlink(missing_ok=True)  # from now on this is a stopped run
    # False sorts before True: the state is last.
    for new in sorted(place.iterdir(), key=lambda path: path.name == STATE):
        new.rename(output / new.name)
    place.rmdir()


def finish(output: Path) -> None:
    """Remove what --resume would continue from; the run is then finished."""
    clear_away(output)  # or the renaming below would fail
    with suppress(FileNotFoundError):
        (output / STATE).rename(output / OLD_STATE)  # renaming takes one moment, deleting does not
    clear_away(output)
    shutil.rmtree(output / UNFINISHED, ignore_errors=True)


def clear_away(output: Path) -> None:
    """Remove what `finish` left if it was killed while deleting."""
    shutil.rmtree(output / OLD_STATE, ignore_errors=True)


@contextmanager
def next_run_folder(name: str) -> Generator[Path]:
    """`runs/NAME/1`, or the first free number; created, so that no other run takes it.

    If it is still empty at the end, it is removed again.
    """
    runs = Path("runs") / name
    made = _missing(runs)
    number = 1
    while True:
        folder = runs / str(number)
        try:
            # mkdir itself is the test: of two processes at once, only one can create it.
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            number += 1
        except OSError as error:
            raise _cannot_be_made(folder, str(error)) from None
    try:
        yield folder
    finally:
        _remove_empty([folder, *made])


def _missing(folder: Path) -> list[Path]:
    """Those of the folder and its parents that do not exist yet, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # it is not empty, or does not exist
            folder.rmdir()
