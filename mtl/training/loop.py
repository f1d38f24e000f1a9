"""The training loop.

    for each epoch:
        for each round (one batch of every dataset):
            for each step of the round (alternating: one batch; joint: all of them):
                losses -> weighting -> backward -> clip -> one optimiser step
        validate; keep the weights that did best

An epoch is one pass over the dataset with most batches; smaller ones start over, reshuffled.
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..data.batching import Batch, BatchStream, encode_examples
from ..errors import DataWarning, MTLError
from ..inference import evaluate
from ..metrics import mean
from ..model import MultiTaskModel
from ..tasks import Task
from .checkpoint import has_state, load_state, save_state
from .config import TrainConfig, check, warn_of_spoiled_heads
from .history import History, Metrics, Round
from .sampling import SAMPLERS, Step
from .weighting import FixedWeighting, Weighting


def train(
    model: MultiTaskModel,
    tasks: Sequence[Task],
    config: TrainConfig | None = None,
    *,
    weighting: Weighting | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    after_epoch: Callable[[int], None] | None = None,
    progress: bool = True,
) -> History:
    """Train a model on several tasks; at the end it holds the best weights on validation.

    Args:
        model: with a head for each task.
        tasks: with their datasets.
        config: the settings.
        weighting: how losses are combined; by default fixed weights, `config.loss_weights`.
        checkpoint: a folder for the training state, written after each epoch.
        resume: go on from `checkpoint` where there is one; the end is the same, bit for bit, as
            that of a run that was never stopped (on a CPU).
        after_epoch: called with the number of each epoch that is finished, from 1; the model then
            has the weights of that epoch.
        progress: show a bar with losses and time left, on stderr.

    Returns:
        losses, learning rate, gradient norm and examples of every round, validation metrics of
        every epoch.

    Raises:
        ConfigError: settings that contradict each other.
        DataError: a task without training examples.
        MTLError: a loss that is not finite.
    """
    config = config or TrainConfig()
    frozen = model.freeze(*config.freeze)
    try:
        run = Run(model, tasks, config, weighting or FixedWeighting(config.loss_weights))
        if resume and checkpoint and has_state(checkpoint):
            run.load_state_dict(load_state(checkpoint))
        _run_epochs(run, checkpoint, after_epoch, progress)
    finally:
        model.unfreeze(*frozen)
    return run.history


def _run_epochs(
    run: Run,
    checkpoint: str | Path | None,
    after_epoch: Callable[[int], None] | None,
    progress: bool,
) -> None:
    if progress:
        tqdm.write(run.describe_epoch(), file=sys.stderr)
    bar = tqdm(
        total=run.config.epochs * run.rounds_per_epoch,
        initial=run.epoch * run.rounds_per_epoch,
        disable=not progress,
        unit="round",
        mininterval=0.5,
    )
    with bar:
        while run.epoch < run.config.epochs:
            started = time.perf_counter()
            for _ in range(run.rounds_per_epoch):
                losses = run.round()
                bar.set_postfix_str(_show_losses(losses), refresh=False)
                bar.update()
            scores = run.finish_epoch()
            run.history.seconds += time.perf_counter() - started
            if progress:
                tqdm.write(f"epoch {run.epoch}  {_show_scores(run, scores)}", file=sys.stderr)
            if checkpoint:
                save_state(checkpoint, run.state_dict())
            if after_epoch:
                after_epoch(run.epoch)
    run.restore_best()


class Run:
    """The state of one training: streams, optimiser, schedule, history, best weights so far."""

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Sequence[Task],
        config: TrainConfig,
        weighting: Weighting,
    ) -> None:
        self.model = model
        self.tasks = list(tasks)
        self.config = config
        self.weighting = weighting.to(model.device)
        check(model, self.tasks, config, weighting)
        warn_of_spoiled_heads(model, self.tasks)
        torch.manual_seed(config.seed)  # dropout draws from the global generator
        self.streams = self._build_streams()
        sizes = [len(stream.items) for stream in self.streams]
        self.sampler = SAMPLERS[config.steps](sizes, config.alpha, config.anneal, config.seed)
        self.rounds_per_epoch = max(stream.batches_per_pass for stream in self.streams)
        steps = config.epochs * self.rounds_per_epoch * self.sampler.steps_per_round
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(model, weighting, config)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, partial(warmup_then_decay, steps=steps, warmup=config.warmup)
        )
        self.history = History()
        self.epoch = self.step = 0
        self.examples = Counter({task.name: 0 for task in self.tasks})
        self.best_score = -math.inf
        self.best_weights: dict[str, Tensor] = {}

    def _build_streams(self) -> list[BatchStream]:
        """One stream for each dataset; tasks that share a dataset share its batches."""
        tasks_of: dict[int, list[Task]] = {}
        for task in self.tasks:
            tasks_of.setdefault(id(task.dataset), []).append(task)
        return [self._build_stream(i, tasks) for i, tasks in enumerate(tasks_of.values())]

    def _build_stream(self, index: int, tasks: list[Task]) -> BatchStream:
        tokenizer = self.model.tokenizer
        encoded, notes = encode_examples(
            tasks[0].dataset.train, tokenizer, tasks, self.model.encoder.config.max_length
        )
        names = " and ".join(task.name for task in tasks)
        for note, count in notes.items():
            warnings.warn(f"{names}: {count:,} {note}", DataWarning, stacklevel=2)
        return BatchStream(
            encoded,
            tokenizer,
            tasks,
            batch_size=self.config.batch_size,
            seed=self.config.seed * 1000 + 2 * index,
            hide=partial(_hide_words, tokenizer, self.config.hide_words),
        )

    def describe_epoch(self) -> str:
        """What an epoch is in this run, in words."""
        rounds = self.rounds_per_epoch
        parts = []
        for stream, share in zip(self.streams, self.sampler.batches_per_round(), strict=True):
            names = " + ".join(task.name for task in stream.tasks)
            passes = rounds * share / stream.batches_per_pass
            parts.append(f"{names} {len(stream.items):,} examples ({passes:.1f} passes)")
        how = SAMPLERS[self.config.steps].describe.format(n=len(self.streams))
        unit = "round" if rounds == 1 else "rounds"
        return f"an epoch is {rounds} {unit}, {how}: {', '.join(parts)}"

    def round(self) -> dict[str, float]:
        """Train on one batch of every dataset.

        Returns:
            the loss of each task.
        """
        self.model.train()
        norms = []
        totals: dict[Step, list[float]] = {}
        losses: dict[str, list[float]] = {}
        progress = len(self.history.rounds) / (self.config.epochs * self.rounds_per_epoch)
        for step in self.sampler.round(progress):
            batches = [self.streams[i].next() for i in step]
            learning_rate = self.schedule.get_last_lr()[0]  # the step moves it on
            total, norm, step_losses = self._step(batches)
            if step_losses:  # a step without any labelled row is no step
                totals.setdefault(step, []).append(total)
                norms.append(norm)
            for name, loss in step_losses.items():
                losses.setdefault(name, []).append(loss)
        means = {name: mean(values) for name, values in losses.items()}
        self.history.rounds.append(
            Round(
                epoch=self.epoch + 1,
                step=self.step,
                total=sum(mean(values) for values in totals.values()),
                losses=means,
                learning_rate=learning_rate,
                grad_norm=mean(norms),
                examples=dict(self.examples),
            )
        )
        return means

    def _step(self, batches: list[Batch]) -> tuple[float, float, dict[str, float]]:
        """One update from the losses of some batches; returns total, gradient norm, losses."""
        losses: dict[str, Tensor] = {}
        for batch in batches:
            losses |= self.model.losses(batch.to(self.model.device))
            self.examples.update({name: batch.n_labelled(name) for name in batch.targets})
        if not losses:  # no row of the batches is labelled: nothing to learn from
            return 0.0, 0.0, {}
        total = self.weighting(losses)
        self.optimizer.zero_grad()
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.trained, self.config.clip_norm)
        # All numbers in one transfer: on a GPU this is the step's only synchronisation.
        numbers = torch.stack([total.detach(), norm, *(t.detach() for t in losses.values())])
        total_value, norm_value, *values = numbers.tolist()
        by_name = dict(zip(losses, values, strict=True))
        if not (math.isfinite(total_value) and math.isfinite(norm_value)):
            raise MTLError(
                f"the loss or its gradient is not finite at step {self.step + 1}",
                found=f"{_show_losses(by_name)}  gradient norm {norm_value}",
                fix="lower train.learning_rate; the weights are those before this step",
            )
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        return total_value, norm_value, by_name

    def finish_epoch(self) -> Metrics:
        """Validate, and keep the weights if they are the best so far."""
        self.epoch += 1
        scores = {
            task.name: evaluate(self.model, task.name, task.dataset.validation)
            for task in self.tasks
            if task.labelled(task.dataset.validation)
        }
        self.history.validation.append(scores)
        if scores and self.joint_score(scores) > self.best_score:
            self.best_score = self.joint_score(scores)
            self.history.best_epoch = self.epoch
            self.best_weights = {
                name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()
            }
        return scores

    def joint_score(self, scores: Metrics) -> float:
        """The mean of the tasks' main metrics: what "best" means."""
        return mean([t.main_score(scores[t.name])[1] for t in self.tasks if t.name in scores])

    def restore_best(self) -> None:
        """Put the best weights back; without validation data the last ones stay."""
        if self.best_weights:
            self.model.load_state_dict(self.best_weights)
        self.model.trained |= {task.name for task in self.tasks}
        self.model.eval()

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides how the run goes on."""
        return {
            "model": self.model.state_dict(),
            "weighting": self.weighting.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "sampler": self.sampler.state_dict(),
            "streams": [stream.state_dict() for stream in self.streams],
            "history": self.history.to_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "examples": dict(self.examples),
            "best_score": self.best_score,
            "best_weights": self.best_weights,
            "torch_random_state": torch.get_rng_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the run that gave `state` stood."""
        self.model.load_state_dict(state["model"])
        self.weighting.load_state_dict(state["weighting"])
        optimizer = state["optimizer"]
        optimizer["state"] = {int(i): values for i, values in optimizer["state"].items()}
        self.optimizer.load_state_dict(optimizer)
        self.schedule.load_state_dict(state["schedule"])
        self.sampler.load_state_dict(state["sampler"])
        for stream, stream_state in zip(self.streams, state["streams"], strict=True):
            stream.load_state_dict(stream_state)
        self.history = History.from_dict(state["history"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.examples = Counter(state["examples"])
        self.best_score, self.best_weights = state["best_score"], state["best_weights"]
        torch.set_rng_state(state["torch_random_state"])


def build_optimizer(
    model: nn.Module, weighting: nn.Module, config: TrainConfig
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019); only weight matrices and embeddings decay."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
        {"params": list(weighting.parameters()), "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        fused=True,
    )


def warmup_then_decay(step: int, steps: int, warmup: float) -> float:
    """The factor of the learning rate: linear from 0 to 1, then linear back to 0."""
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)
    return max(0.0, (steps - step) / max(1, steps - rising))


def _hide_words(tokenizer, share: float, input_ids: Tensor, generator: torch.Generator) -> Tensor:
    return tokenizer.hide_words(input_ids, share, generator)


def _show_losses(losses: dict[str, float]) -> str:
    return "  ".join(f"{name} loss {loss:.3f}" for name, loss in losses.items())


def _show_scores(run: Run, scores: Metrics) -> str:
    if not scores:
        return "no validation data: the last weights will be kept"
    main = {t.name: t.main_score(scores[t.name]) for t in run.tasks if t.name in scores}
    shown = [f"{task} {metric} {value:.3f}" for task, (metric, value) in main.items()]
    return "validation: " + "  ".join(shown)
