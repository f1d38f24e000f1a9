"""Run a recipe: tasks with datasets, model -> train -> save -> test -> run folder."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..devices import choose_device, choose_precision
from ..errors import ConfigError
from ..files import write_atomically
from ..messages import shown
from ..model import MultiTaskModel
from ..settings import names_checked
from ..tasks import Task
from ..training.history import History
from ..training.loop import train
from ..training.preflight import EncodedDataset, check_training, encode_datasets
from ..training.state import has_state
from ..training.tensorboard import TensorBoard
from .assessment import Parts, score_everything, write_findings
from .build import FROM_RECIPE, build_model, build_tasks
from .folder import (
    BEST,
    CHECKPOINT,
    HISTORY_FILE,
    METRICS_FILE,
    RECIPE_FILE,
    STATE,
    check_folder,
    check_same_recipe,
    choose_place,
    claimed,
    clear,
    clear_away,
    finish,
    is_finished,
    prepare,
    put_in_place,
)
from .recipe import Recipe

logger = logging.getLogger(__name__)


@names_checked
def run_recipe(
    recipe: Recipe,
    output: str | Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    save_every: int = 0,
    save_every_steps: int = 0,
    tensorboard: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train, save, test once, and write the run folder (see `mtl.experiments.folder`).

    The rows of all splits are made before the first update, and all that is wrong with them is
    raised together; with the recipe's `on_error = "skip"` such examples are left out and counted.

    The trained model is on disk before anything is tested. What then fails, a task's metric or a
    picture, is a TrainingWarning that names the part, and costs only this part: everything else is
    written, and `metrics.json` lists what is not under `not_reported`. Resuming then repeats the
    tests and reports, without training.

    Args:
        output: the folder; made if missing.
        overwrite: replace the results of a run that is already there.
        resume: go on with a run that was stopped there; if there is none, start afresh.
        save_every: after so many epochs the model is saved in a folder `checkpoint-epochN`; 0 for
            never.
        save_every_steps: the training state is saved after so many steps, and after each epoch.
        tensorboard: a folder for curves that can be watched meanwhile; each stage has one in it.
        progress: show how it goes, on stderr.

    Returns:
        what `metrics.json` holds.

    Raises:
        ConfigError: the folder holds a run, or anything else, already; another process is working
            in it; or the run that was stopped had another recipe.
        DataError: files or examples that cannot be used; nothing is trained or changed then.
    """
    for name, value in (("save_every", save_every), ("save_every_steps", save_every_steps)):
        if value < 0:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{name} ({option}) must be at least 0", found=str(value))
    if overwrite and resume:
        raise ConfigError("a run is overwritten or resumed, not both", fix="leave one out")
    output = Path(output)
    boards = _boards(recipe, tensorboard)
    if resume and is_finished(output):
        with shown(progress):
            return _finished_metrics(recipe, output)
    with shown(progress), claimed(output):
        # Under the lock: between a look and the first write nobody else can come in.
        check_folder(output, overwrite, resume)
        for config, _ in recipe.train_configs:  # before data is read and weights are downloaded
            choose_precision(config.precision, choose_device(config.device))
        # Tasks before the model: their texts make its vocabulary, their labels its heads.
        tasks = build_tasks(recipe)
        model = build_model(recipe, tasks)
        logger.info("%s, seed %s\n%r", recipe.name, recipe.seed, model)
        if unused := _what_the_checkpoint_says(recipe):
            logger.info(unused)
        for config, names in recipe.train_configs:
            check_training(model, [task for task in tasks if task.name in names], config)
        data = encode_datasets(
            model, tasks, on_error=recipe.on_error, cache=cache_folder(), progress=progress
        )
        # From here on things are changed on disk: all that can be refused has been.
        place = choose_place(output, resume)
        if resume and not (place / STATE).exists():
            logger.info("%s has nothing to resume: starting afresh", output)
        check_same_recipe(place / STATE / RECIPE_FILE, recipe)
        prepare(output, place, resume)
        saver = Saver(recipe, model, tasks, place, save_every, boards)
        with _resumable(recipe, place), ExitStack() as opened:
            for board in boards:
                opened.enter_context(board)
            history = _train(recipe, saver, data, save_every_steps, progress)
        put_in_place(place, output)
        # Saved before it is tested: no fault in the test can cost the training.
        _save_trained(recipe, model, history, output)
        return _assess(recipe, model, tasks, data, history, output, progress)


@contextmanager
def _resumable(recipe: Recipe, place: Path) -> Generator[None]:
    """If what runs within it is stopped, the folder keeps what a resumed run needs, or nothing."""
    try:
        # First of all, so that a resumed run can be held against it.
        write_atomically(place / STATE / RECIPE_FILE, recipe.to_toml())
        yield
    except BaseException:
        can_go_on = any(map(has_state, (place / STATE).glob("stage*")))
        if not can_go_on:  # then what was written is of no use
            clear(place)
            with suppress(OSError):
                place.rmdir()
        else:
            logger.info("%s holds what --resume goes on from", place)
        raise


def _save_trained(recipe: Recipe, model: MultiTaskModel, history: History, output: Path) -> None:
    """Write all that the training produced; from now on the folder can predict."""
    model.save_pretrained(output)
    history.write_csv(output / HISTORY_FILE)
    write_atomically(output / RECIPE_FILE, recipe.to_toml())


def _assess(
    recipe: Recipe,
    model: MultiTaskModel,
    tasks: list[Task],
    data: list[EncodedDataset],
    history: History,
    output: Path,
    progress: bool,
) -> dict[str, Any]:
    """Test the model, write all that is said about it, and end the run if nothing failed."""
    parts = Parts()
    try:
        scores, tested = score_everything(model, data, parts, progress)
        write_findings(model, tasks, history, tested, output, parts)
    except BaseException:  # stopped by its user
        logger.info("the trained model is in %s; --resume does the tests and reports", output)
        raise
    metrics = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "train_seconds": round(history.seconds, 2),
        "threads": history.threads,
        "parameters": sum(p.numel() for p in model.parameters()),
        **scores,
    }
    if parts.failed:
        metrics["not_reported"] = parts.failed
    # With this file, and once `finish` has taken the state away, a run is done.
    write_atomically(output / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")
    if not parts.failed:
        finish(output)
    return metrics


def _finished_metrics(recipe: Recipe, output: Path) -> dict[str, Any]:
    """The metrics of a run that is done already."""
    check_same_recipe(output / RECIPE_FILE, recipe)
    clear_away(output)
    logger.info("the run in %s is finished: there is nothing to resume", output)
    return json.loads((output / METRICS_FILE).read_text(encoding="utf-8"))


def _what_the_checkpoint_says(recipe: Recipe) -> str:
    """A line about the settings of a recipe that a pretrained encoder leaves without effect."""
    if not recipe.encoder.get("pretrained"):
        return ""
    unused = [f"encoder.{key}" for key in recipe.encoder_shape if key not in FROM_RECIPE]
    unused += [f"tokenizer.{key}" for key in recipe.tokenizer]
    if not unused:
        return ""
    return f"without effect on the pretrained encoder: {', '.join(unused)}"


@dataclass
class Saver:
    """What is saved while it trains: the best model of each task, some epochs' models, curves.

    Args:
        place: the folder that the models are saved in.
        save_every: after so many epochs, counted over all stages, the model is saved; 0 for never.
        boards: for the curves of each stage, if they are wanted.
        earlier: the histories of the stages before this one.
    """

    recipe: Recipe
    model: MultiTaskModel
    tasks: list[Task]
    place: Path
    save_every: int
    boards: list[TensorBoard]
    earlier: list[History] = field(default_factory=list)

    @property
    def board(self) -> TensorBoard | None:
        """That of the present stage."""
        return self.boards[len(self.earlier)] if self.boards else None

    def on_round(self, history: History) -> None:
        """Add the last round of `history`, that of the present stage, to the curves."""
        if self.board:
            self.board.on_round(history)

    def on_epoch(self, history: History) -> None:
        """Save what the last epoch of `history` asks for."""
        if self.board:
            self.board.on_epoch(history)
        so_far = History.join([*self.earlier, history])
        epoch = len(so_far.validation)
        folders = [f"{BEST}{name}" for name in best_now(self.tasks, so_far)]
        if self.save_every and epoch % self.save_every == 0:
            folders.append(f"{CHECKPOINT}{epoch}")
        for folder in folders:
            self.model.save_pretrained(self.place / folder)
            # With its recipe, so that `mtl evaluate` finds the test data of this folder as well.
            write_atomically(self.place / folder / RECIPE_FILE, self.recipe.to_toml())


def _boards(recipe: Recipe, folder: str | Path | None) -> list[TensorBoard]:
    """One for each stage, in a folder of its own if there are several; none without a folder."""
    if folder is None:
        return []
    stages = [f"stage{number}" for number, _ in enumerate(recipe.stages, start=1)]
    return [TensorBoard(Path(folder) / stage) for stage in stages or [""]]


def _train(
    recipe: Recipe,
    saver: Saver,
    data: list[EncodedDataset],
    save_every_steps: int,
    progress: bool,
) -> History:
    """Every stage goes on from its own state; one that is done is only read."""
    for number, (config, names) in enumerate(recipe.train_configs, start=1):
        if recipe.stages:
            what = ", ".join(config.freeze) or "nothing"
            logger.info("stage %s: trains %s; frozen: %s", number, ", ".join(names), what)
        history = train(
            saver.model,
            [task for task in saver.tasks if task.name in names],
            config,
            checkpoint=saver.place / STATE / f"stage{number}",
            save_every=save_every_steps,
            # Always: `prepare` has taken away what must not be gone on from.
            resume=True,
            data=data,
            on_round=saver.on_round,
            on_epoch=saver.on_epoch,
            progress=progress,
        )
        saver.earlier.append(history)
    return History.join(saver.earlier)


def best_now(tasks: Sequence[Task], history: History) -> list[str]:
    """The tasks that the last epoch is the best for so far; of a single task it is the model."""
    if len(tasks) == 1:
        return []
    *earlier, last = history.validation
    names = []
    for task in tasks:
        before = [task.main_score(e[task.name])[1] for e in earlier if task.name in e]
        now = task.main_score(last[task.name])[1] if task.name in last else -math.inf
        # Strictly better: of two equal epochs the first.
        if now > max(before, default=-math.inf):
            names.append(task.name)
    return names


def cache_folder() -> Path:
    """Where encoded datasets are kept: `MTL_CACHE`, or `~/.cache/mtl`."""
    return Path(os.environ.get("MTL_CACHE") or Path.home() / ".cache" / "mtl")
