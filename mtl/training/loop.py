"""The training loop.

    for each epoch:
        for each round (one batch of every dataset):
            for each step of the round (alternating: one batch; joint: all of them):
                losses -> weighting -> backward -> clip -> one optimiser step
        validate; keep the weights that did best

An epoch is one pass over the dataset with most batches; smaller ones start over, reshuffled.
The state of a run is written between steps, so that a run that was killed goes on from there.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from ..devices import choose_device, use_threads
from ..errors import ConfigError
from ..model import MultiTaskModel
from ..tasks import Task
from .aggregation import Aggregation
from .checkpoint import has_state, load_state, save_state
from .config import TrainConfig
from .history import History, Metrics
from .run import Run, show_losses
from .weighting import Weighting

MEASURED_ROUNDS = 20  # before the time left is estimated


def train(
    model: MultiTaskModel,
    tasks: Sequence[Task],
    config: TrainConfig | None = None,
    *,
    weighting: Weighting | None = None,
    aggregation: Aggregation | None = None,
    checkpoint: str | Path | None = None,
    save_every: int = 0,
    resume: bool = False,
    cache: str | Path | None = None,
    after_epoch: Callable[[History], None] | None = None,
    progress: bool = True,
) -> History:
    """Train a model on several tasks; at the end it holds the best weights on validation.

    Args:
        model: with a head for each task; it is moved to `config.device`.
        tasks: with their datasets.
        config: the settings.
        weighting: how losses are combined; by default what `config.weighting` names.
        aggregation: how gradients are combined; by default what `config.aggregation` names.
        checkpoint: a folder for the training state, written after each epoch.
        save_every: write it after every so many steps too; 0 for never.
        resume: go on from `checkpoint` where there is one; the end is the same, bit for bit, as
            that of a run that was never stopped (on a CPU).
        cache: a folder that keeps encoded datasets for the next run; see `mtl.data.cache`.
        after_epoch: called with the history after each epoch; the model then has the weights of
            that epoch.
        progress: show a bar with losses and time left, on stderr.

    Returns:
        losses, learning rate, gradient norm and examples of every round, validation metrics of
        every epoch.

    Raises:
        ConfigError: settings that contradict each other.
        DataError: a task without training examples.
        MTLError: a loss that is not finite, or no memory left; the checkpoint stays as it was.
    """
    if resume and not checkpoint:
        raise ConfigError("resume needs to know from where", fix="give checkpoint=FOLDER")
    config = config or TrainConfig()
    model.to(choose_device(config.device))
    if progress:
        n = sum(len(dataset.train) for dataset in {task.dataset for task in tasks})
        tqdm.write(f"encoding {n:,} examples", file=sys.stderr)
    frozen = model.freeze(*config.freeze)
    try:
        run = Run(model, tasks, config, weighting, cache, aggregation)
        if resume and has_state(checkpoint):
            run.load_state_dict(load_state(checkpoint))
            if progress:
                at = f"going on after epoch {run.epoch}, step {run.step}"
                tqdm.write(at, file=sys.stderr)
        with use_threads(run.history.threads or torch.get_num_threads()):
            _run_epochs(run, checkpoint, save_every, after_epoch, progress)
    finally:
        model.unfreeze(*frozen)
    return run.history


def _run_epochs(
    run: Run,
    checkpoint: str | Path | None,
    save_every: int,
    after_epoch: Callable[[History], None] | None,
    progress: bool,
) -> None:
    if progress:
        tqdm.write(run.describe(), file=sys.stderr)
    rounds, done = run.config.epochs * run.rounds_per_epoch, len(run.history.rounds)
    bar = tqdm(total=rounds, initial=done, disable=not progress, unit="round", mininterval=0.5)
    with bar:
        while not run.is_finished:
            started = time.perf_counter()
            losses = run.next_step()
            epoch_ended = run.epoch_ended
            scores = run.finish_epoch() if epoch_ended else {}
            run.history.seconds += time.perf_counter() - started
            if not run.pending:
                bar.set_postfix_str(show_losses(losses), refresh=False)
                bar.update()
                if progress and len(run.history.rounds) == done + MEASURED_ROUNDS:
                    tqdm.write(f"about {_time_left(bar)} left", file=sys.stderr)
            if epoch_ended and progress:
                tqdm.write(f"epoch {run.epoch}  {_show_scores(run, scores)}", file=sys.stderr)
            if epoch_ended and after_epoch:
                after_epoch(run.history)
            if checkpoint and (epoch_ended or (save_every and run.step % save_every == 0)):
                save_state(checkpoint, run.state_dict())
    run.restore_best()


def _time_left(bar: tqdm) -> str:
    """What the rounds that are left will take at the rate of those that were measured."""
    seconds = bar.format_dict["elapsed"] / MEASURED_ROUNDS * (bar.total - bar.n)
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"


def _show_scores(run: Run, scores: Metrics) -> str:
    if not scores:
        return "no validation data: the last weights will be kept"
    main = {t.name: t.main_score(scores[t.name]) for t in run.tasks if t.name in scores}
    shown = [f"{task} {metric} {value:.3f}" for task, (metric, value) in main.items()]
    return "validation: " + "  ".join(shown)
