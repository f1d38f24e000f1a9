"""A recipe goes in; a run folder comes out: build tasks and model, train, save, test, report."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.remembered import examples_hash, is_ours
from ..devices import choose_device, choose_precision
from ..errors import ConfigError
from ..files import cache_folder, read_json, write_atomically
from ..messages import shown
from ..model import MultiTaskModel
from ..settings import names_checked
from ..tasks import Task
from ..training.history import History
from ..training.loop import train
from ..training.preflight import EncodedDataset, check_training, encode_datasets
from ..training.ranks import from_first, is_first, started
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
from .recipe import Recipe, check_recipe

logger = logging.getLogger(__name__)


@names_checked
@started()
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
    """Train, save, test once and write the run folder (see `mtl.experiments.folder`).

    The rows of all splits are made before the first update, and everything wrong with them is
    raised together; with the recipe's `on_error = "skip"` such examples are left out and counted.

    The trained model is on disk before anything is tested. If something then fails, such as a
    metric or a picture, a TrainingWarning names the part, and only this part is lost: everything
    else is written, and `metrics.json` lists what is missing under `not_reported`. Resuming then
    repeats the tests and reports, without training.

    Args:
        output: the folder; created if missing.
        overwrite: replace the results of an earlier run there.
        resume: continue a run that was stopped there; if there is none, start afresh.
        save_every: save the model every `save_every` epochs, in a folder `checkpoint-epochN`; 0
            for never.
        save_every_steps: save the training state every so many steps, besides after each epoch.
        tensorboard: a folder for curves to watch during training; each stage has one in it.
        progress: report progress on stderr.

    Returns:
        the content of `metrics.json`; nothing in a process that `torchrun` started to help the
        first one, which alone writes files, and tests the model.

    Raises:
        ConfigError: the folder already holds a run or anything else; another process is working
            in it; or the stopped run had a different recipe.
        DataError: files or examples that cannot be used; then nothing is trained or changed.
    """
    check_recipe(recipe)
    for name, value in (("save_every", save_every), ("save_every_steps", save_every_steps)):
        if value < 0:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{name} ({option}) must be at least 0", found=str(value))
    if overwrite and resume:
        raise ConfigError("a run can be overwritten or resumed, not both", fix="leave one out")
    output = Path(output)
    boards = _boards(recipe, tensorboard)
    is_done = from_first(resume and is_finished(output))
    if not is_first():
        return {} if is_done else _train_along(recipe)
    if is_done:
        with shown(progress):
            return _finished_metrics(recipe, output)
    with shown(progress), claimed(output):
        # Under the lock: nobody else can come in between this check and the first write.
        check_folder(output, overwrite, resume)
        tasks, model, data = _prepare(recipe, progress)
        # From here on, files change: whatever could be rejected has been.
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
        # Saved before testing: no fault in a test can cost the trained model.
        _save_trained(recipe, model, history, output)
        return _assess(recipe, model, tasks, data, history, output, progress)


def _prepare(
    recipe: Recipe, progress: bool
) -> tuple[list[Task], MultiTaskModel, list[EncodedDataset]]:
    """What is trained, and on what; everything that prevents it has been raised then."""
    for config, _ in recipe.train_configs:  # before data is read and weights are downloaded
        choose_precision(config.precision, choose_device(config.device))
    # Tasks before the model: their texts give its vocabulary, their labels its heads.
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
    return tasks, model, data


def _train_along(recipe: Recipe) -> dict[str, Any]:
    """All that the other processes do: they compute their part of every step, and write nothing."""
    with shown(False):
        tasks, model, data = _prepare(recipe, progress=False)
        for config, names in recipe.train_configs:
            train(model, [task for task in tasks if task.name in names], config, data=data)
    return {}


@contextmanager
def _resumable(recipe: Recipe, place: Path) -> Generator[None]:
    """If the code within is stopped, the folder keeps what a resumed run needs, or nothing."""
    try:
        # First of all, so that a resumed run can be compared with it.
        write_atomically(place / STATE / RECIPE_FILE, recipe.to_toml())
        yield
    except BaseException:
        can_go_on = any(map(has_state, (place / STATE).glob("stage*")))
        if not can_go_on:  # then what was written is useless
            clear(place)
            with suppress(OSError):
                place.rmdir()
        else:
            logger.info("%s holds what --resume continues from", place)
        raise


def _save_trained(recipe: Recipe, model: MultiTaskModel, history: History, output: Path) -> None:
    """Write everything that training produced; from now on the folder can predict."""
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
    """Test the model, write all reports, and end the run if nothing failed."""
    parts = Parts()
    try:
        scores, tested = score_everything(model, data, parts, progress)
        write_findings(model, tasks, history, tested, output, parts)
    except BaseException:  # stopped by the user
        logger.info("the trained model is in %s; --resume runs the tests and reports", output)
        raise
    tests = {task.name: task.dataset.test for task in tasks}
    metrics = {
        "recipe": recipe.name,
        "seed": recipe.seed,
        "train_seconds": round(history.seconds, 2),
        "threads": history.threads,
        "parameters": sum(p.numel() for p in model.parameters()),
        # What was held out is drawn anew when files change: `mtl evaluate` must notice.
        "test_data": {name: examples_hash(test) for name, test in tests.items() if is_ours(test)},
        **scores,
    }
    if parts.failed:
        metrics["not_reported"] = parts.failed
    # With this file, and once `finish` has removed the state, a run is done.
    write_atomically(output / METRICS_FILE, json.dumps(metrics, indent=2) + "\n")
    if not parts.failed:
        finish(output)
    return metrics


def _finished_metrics(recipe: Recipe, output: Path) -> dict[str, Any]:
    """The metrics of a run that is already done."""
    check_same_recipe(output / RECIPE_FILE, recipe)
    clear_away(output)
    logger.info("the run in %s is finished: there is nothing to resume", output)
    return read_json(output / METRICS_FILE)


def _what_the_checkpoint_says(recipe: Recipe) -> str:
    """A line about the settings of a recipe that have no effect on a pretrained encoder."""
    if not recipe.encoder.get("pretrained"):
        return ""
    unused = [f"encoder.{key}" for key in recipe.encoder_shape if key not in FROM_RECIPE]
    unused += [f"tokenizer.{key}" for key in recipe.tokenizer]
    if not unused:
        return ""
    return f"without effect on the pretrained encoder: {', '.join(unused)}"


@dataclass
class Saver:
    """Saves during training: the best model of each task, some epochs' models, and curves.

    Args:
        place: the folder that the models are saved in.
        save_every: epochs, counted over all stages, from one saved model to the next; 0 for never.
        boards: for the curves of each stage, if wanted.
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
        """The board of the current stage."""
        return self.boards[len(self.earlier)] if self.boards else None

    def on_round(self, history: History) -> None:
        """Add the last round of `history`, that of the current stage, to the curves."""
        if self.board:
            self.board.on_round(history)

    def on_epoch(self, history: History) -> None:
        """Save what is due after the last epoch of `history`."""
        if self.board:
            self.board.on_epoch(history)
        so_far = History.join([*self.earlier, history])
        epoch = len(so_far.validation)
        folders = [f"{BEST}{name}" for name in best_now(self.tasks, so_far)]
        if self.save_every and epoch % self.save_every == 0:
            folders.append(f"{CHECKPOINT}{epoch}")
        for folder in folders:
            self.model.save_pretrained(self.place / folder)
            # With its recipe, so that `mtl evaluate` finds the test data for this folder too.
            write_atomically(self.place / folder / RECIPE_FILE, self.recipe.to_toml())


def _boards(recipe: Recipe, folder: str | Path | None) -> list[TensorBoard]:
    """One board per stage, in its own folder if there are several; none without a folder."""
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
    """Every stage continues from its own state; a finished one is only read."""
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
            # Always: `prepare` has removed any state that must not be resumed.
            resume=True,
            data=data,
            on_round=saver.on_round,
            on_epoch=saver.on_epoch,
            progress=progress,
        )
        saver.earlier.append(history)
    return History.join(saver.earlier)


def best_now(tasks: Sequence[Task], history: History) -> list[str]:
    """The tasks for which the last epoch is the best so far; for a single task: the model."""
    if len(tasks) == 1:
        return []
    *earlier, last = history.validation
    names = []
    for task in tasks:
        before = [task.main_score(e[task.name])[1] for e in earlier if task.name in e]
        now = task.main_score(last[task.name])[1] if task.name in last else -math.inf
        # Strictly better: of two equal epochs, the first counts.
        if now > max(before, default=-math.inf):
            names.append(task.name)
    return names
