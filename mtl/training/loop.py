"""A model and its tasks come in; trained weights and a history go out: the training loop.

    for each epoch:
        for each round (one batch of every dataset):
            for each step of the round (alternating: one batch; joint: all of them):
                losses -> weighting -> backward -> clip -> one optimiser step
        validate; keep the weights that did best

An epoch is one pass over the dataset with the most batches; smaller ones start over, reshuffled.
The state of a run is written between steps, so that a killed run can resume from there. The rows
of all splits are made before the first step, so that no fault in the data stops training midway.
"""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from ..devices import choose_device, kept_random_state, use_threads
from ..errors import ConfigError
from ..inference import check_model
from ..messages import shown
from ..model import MultiTaskModel
from ..progress import progress_bar
from ..settings import names_checked
from ..tasks import Task
from ..tasks.base import as_tasks
from .aggregation import Aggregation
from .config import TrainConfig
from .history import History, Metrics, show_losses
from .preflight import EncodedDataset, check_has_weights, check_training, encode_datasets
from .ranks import from_first, is_first, started
from .run import Run
from .state import has_state, load_state, save_state
from .weighting import Weighting

logger = logging.getLogger(__name__)

Callback = Callable[[History], None]
MEASURED_ROUNDS = 20  # before the time left is estimated


@names_checked
@started()
def train(
    model: MultiTaskModel,
    tasks: Task | str | Iterable[Task | str] | Mapping[str, Task] | None = None,
    config: TrainConfig | Mapping[str, Any] | None = None,
    *,
    weighting: Weighting | None = None,
    aggregation: Aggregation | None = None,
    checkpoint: str | Path | None = None,
    save_every: int = 0,
    resume: bool = False,
    cache: str | Path | None = None,
    on_error: str = "stop",
    data: Sequence[EncodedDataset] | None = None,
    on_round: Callback | None = None,
    on_epoch: Callback | None = None,
    progress: bool = True,
) -> History:
    """Train a model on one or more tasks; it ends with the weights that did best on validation.

    Args:
        model: with a head for each task; it is moved to `config.device`.
        tasks: with their datasets, or names of the model's own; one, several, or a dict of them.
            By default, all that the model has.
        config: the settings, or a dict of those that differ from the defaults.
        weighting: how losses are combined; by default what `config.weighting` names.
        aggregation: how gradients are combined; by default what `config.aggregation` names.
        checkpoint: a folder for the training state, written after each epoch.
        save_every: also write it after every `save_every` steps; 0 for never.
        resume: continue from `checkpoint` if there is one; the result is the same, bit for bit,
            as that of a run that was never stopped (on a CPU).
        cache: a folder that keeps encoded datasets for the next run; see `mtl.data.cache`.
        on_error: what to do with examples that cannot be used, such as a question that is too long
            for the model, in any split: "stop" raises all of them before anything is trained;
            "skip" leaves them out and says how many (DataWarning).
        data: what `encode_datasets` returned for these tasks, and maybe others, if it was
            called already; `cache` and `on_error` are then ignored.
        on_round: called with the history after each round, `history.rounds[-1]`.
        on_epoch: called with the history after each epoch, once validated; the model then
            has the weights of that epoch.
        progress: show a progress bar with losses and time left, on stderr.

    Returns:
        losses, learning rate, gradient norm and examples of every round, validation metrics of
        every epoch. The model is in evaluation mode then, also after an error. Torch's global
        random state is left as it was.

    Raises:
        ConfigError: settings that contradict each other.
        DataError: a task without training examples, or examples of any split that cannot be used.
        MTLError: a loss that is not finite, or out of memory; the checkpoint stays as it was.

    What a task raises while being scored on validation is raised again, once the state has been
    written to `checkpoint`: with the task fixed, resume continues with this validation.
    """
    check_model(model)
    check_has_weights(model)
    if resume and not checkpoint:
        raise ConfigError("resume needs to know from where", fix="give checkpoint=FOLDER")
    _check_saving(checkpoint, save_every)
    _check_callback("on_round", on_round)
    _check_callback("on_epoch", on_epoch)
    tasks, config = _as_tasks(model, tasks), _as_config(config)
    if not is_first():  # of several processes, one writes and reports
        checkpoint, on_round, on_epoch, progress = None, None, None, False
    # Before the optimiser is made, since it must hold the parameters on the device.
    model.to(choose_device(config.device))
    if data is None:
        # Encoding may take minutes: faults that show without it are reported first.
        check_training(model, tasks, config)
        data = encode_datasets(model, tasks, on_error=on_error, cache=cache, progress=progress)
    frozen = model.freeze(*config.freeze)
    try:
        # Dropout draws from the global generator, which a Run seeds but the caller owns.
        with kept_random_state(model.device), shown(progress):
            run = Run(model, tasks, config, weighting, data, aggregation)
            # Without a state there is nothing to resume, and the run starts afresh.
            has_any = resume and checkpoint and has_state(checkpoint)
            if state := from_first(load_state(checkpoint) if has_any else None):
                run.load_state_dict(state)
                logger.info("resuming after epoch %s, step %s", run.epoch, run.step)
            # As many as it began with, even on another machine: the order of sums depends on it.
            with use_threads(run.history.threads or torch.get_num_threads()):
                _run_epochs(run, checkpoint, save_every, on_round, on_epoch, progress)
    finally:
        # Only what was trainable before: what the caller froze stays frozen.
        model.unfreeze(*frozen)
        # After an error too: whoever uses the model next must not get dropout.
        model.eval()
    return run.history


def _check_saving(checkpoint: Any, save_every: Any) -> None:
    """Raise ConfigError now for what would otherwise show after the first epoch, or never."""
    if not isinstance(checkpoint, str | PathLike | None):
        raise ConfigError("checkpoint must be the path of a folder", found=repr(checkpoint)[:80])
    if type(save_every) is not int or save_every < 0:
        what = "save_every must be a whole number, at least 0"
        raise ConfigError(what, found=repr(save_every), fix="0 stands for never")
    if save_every and not checkpoint:
        raise ConfigError("save_every needs to know where to save", fix="give checkpoint=FOLDER")


def _check_callback(name: str, callback: Any) -> None:
    """Raise ConfigError unless this is None, or can be called with a history alone."""
    if callback is None:
        return
    try:
        inspect.signature(callback).bind("a history")
    except TypeError as error:  # not callable at all, or with other arguments
        raise ConfigError(
            f"{name} cannot be called with the history alone",
            found=f"{callback!r:.80}: {error}",
            fix=f"give a function of one argument, such as {name}=lambda history: ...",
        ) from None
    except ValueError:  # written in C, and does not tell its arguments
        return


def _as_tasks(model: MultiTaskModel, tasks: Any) -> list[Task]:
    """The tasks to train: all of the model's, or those given or named."""
    if tasks is None:
        return list(model.tasks.values())
    # `train(model, config)` is an easy slip when the tasks are the model's own.
    has_tasks = isinstance(tasks, Mapping) and any(isinstance(t, Task) for t in tasks.values())
    if isinstance(tasks, TrainConfig | Mapping) and not has_tasks:
        raise ConfigError(
            "settings were given where the tasks belong",
            found=repr(tasks)[:80],
            fix="give the settings as config=...",
        )
    if isinstance(tasks, str):
        tasks = [tasks]
    if isinstance(tasks, Iterable) and not isinstance(tasks, Mapping):
        tasks = [model.task(task) if isinstance(task, str) else task for task in tasks]
    return as_tasks(tasks)


def _as_config(config: TrainConfig | Mapping[str, Any] | None) -> TrainConfig:
    """The settings; from a dict, with the defaults for all that it does not name."""
    if isinstance(config, TrainConfig):
        return config
    if config is None or isinstance(config, Mapping):
        return TrainConfig(**{str(name): value for name, value in (config or {}).items()})
    raise ConfigError(
        "config must be a TrainConfig, or a dict of its fields", found=repr(config)[:80]
    )


def _run_epochs(
    run: Run,
    checkpoint: str | Path | None,
    save_every: int,
    on_round: Callback | None,
    on_epoch: Callback | None,
    progress: bool,
) -> None:
    logger.info(run.describe())
    rounds, done = run.n_rounds, len(run.history.rounds)
    options = {"total": rounds, "initial": done, "unit": "round", "mininterval": 0.5}
    with progress_bar(progress=progress, **options) as bar:
        while not run.is_finished:
            started = time.perf_counter()
            if not run.epoch_ended:  # it has ended if a failed validation wrote the state
                losses = run.next_step()
                if run.round_ended:
                    bar.set_postfix_str(show_losses(losses), refresh=False)
                    bar.update()
                    # Not after the first round: it is slower than the others.
                    if len(run.history.rounds) == done + MEASURED_ROUNDS:
                        at_most = "at most " if run.config.stop_at else ""
                        logger.info("%sabout %s left", at_most, _time_left(bar))
                    if on_round:
                        on_round(run.history)
            epoch_ended = run.epoch_ended
            scores = _finish_epoch(run, checkpoint) if epoch_ended else {}
            # Kept in the state, so that a resumed run knows how long it took overall.
            run.history.seconds += time.perf_counter() - started
            if epoch_ended:
                logger.info("epoch %s  %s", run.epoch, _show_scores(run, scores))
                bar.total = run.n_rounds  # fewer, once it ends early
            # Before the state is saved: a kill in between then repeats the end of the epoch.
            if epoch_ended and on_epoch:
                on_epoch(run.history)
            if checkpoint and (epoch_ended or (save_every and run.step % save_every == 0)):
                save_state(checkpoint, run.state_dict())
    # The last epoch need not be the best.
    run.restore_best()


def _finish_epoch(run: Run, checkpoint: str | Path | None) -> Metrics:
    """Validate; if that fails, write the state, so that the steps of the epoch are not lost."""
    try:
        return run.finish_epoch()
    # Also Ctrl-C during a long validation, which is not an Exception.
    except BaseException:
        if checkpoint and run.epoch_ended:
            save_state(checkpoint, run.state_dict())
        raise


def _time_left(bar: tqdm) -> str:
    """How long the remaining rounds will take at the speed of those measured."""
    now = bar.format_dict
    seconds = now["elapsed"] / MEASURED_ROUNDS * (now["total"] - now["n"])
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


def _show_scores(run: Run, scores: Metrics) -> str:
    if not scores:
        return "no validation data: the last weights will be kept"
    main = {t.name: t.main_score(scores[t.name]) for t in run.tasks if t.name in scores}
    shown = [f"{task} {metric} {value:.3f}" for task, (metric, value) in main.items()]
    end = f"; ends with epoch {run.last_epoch}" if run.reached_in else ""
    return f"validation: {'  '.join(shown)}{end}"
