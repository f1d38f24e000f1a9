"""The state of one training: what an update does, and all that is needed to go on from any step."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from ..data.batching import Batch, BatchStream
from ..data.cache import examples_hash, task_hash, tokenizer_hash
from ..devices import (
    autocast,
    choose_precision,
    choose_threads,
    describe_device,
    is_out_of_memory,
    random_state,
    set_random_state,
)
from ..errors import ConfigError, MTLError
from ..metrics import mean
from ..model import MultiTaskModel
from ..tasks import Task
from ..tasks.base import IGNORED
from ..version import __version__
from .aggregation import Aggregation, SharedGradients, Sum
from .config import TrainConfig, check, warn_of_idle_weighting, warn_of_spoiled_heads
from .conflict import gradient_conflict
from .history import Conflict, History, Metrics, Round, StepRecord, mean_by_task
from .optimizer import build_optimizer, warmup_then_decay
from .preflight import EncodedDataset, encode_datasets, of_tasks
from .sampling import SAMPLERS, Step
from .weighting import Weighting, weigh


class Run:
    """The state of one training: streams, optimiser, schedule, history, best weights so far."""

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Sequence[Task],
        config: TrainConfig,
        weighting: Weighting | None = None,
        data: Sequence[EncodedDataset] | None = None,
        aggregation: Aggregation | None = None,
    ) -> None:
        self.model = model
        self.tasks = list(tasks)
        self.config = config
        self.weighting = weighting or config.build_weighting()
        self.aggregation = aggregation or config.build_aggregation()
        check(model, self.tasks, config, self.weighting, self.aggregation)
        self.weighting.start([task.name for task in self.tasks])
        self.weighting.to(model.device)
        shared = [p for part in model.shared_parts.values() for p in part]
        self.shared_gradients = SharedGradients(shared)
        self.last_shared = model.last_shared
        warn_of_spoiled_heads(model, self.tasks)
        warn_of_idle_weighting(self.weighting, config.epochs)
        torch.manual_seed(config.seed)  # dropout draws from the global generator
        self.dtype = choose_precision(config.precision, model.device)
        # float16 has few small numbers: without scaling, gradients would become 0.
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=self.dtype == torch.float16)
        if data is None:
            data = encode_datasets(model, self.tasks)
        self.data = of_tasks(data, self.tasks)
        self.streams = [self._build_stream(i, one) for i, one in enumerate(self.data)]
        sizes = [len(stream.items) for stream in self.streams]
        self.sampler = SAMPLERS[config.steps](sizes, config.alpha, config.anneal, config.seed)
        longest = max(stream.batches_per_pass for stream in self.streams)
        self.rounds_per_epoch = config.rounds or longest
        steps = config.epochs * self.rounds_per_epoch * self.sampler.steps_per_round
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(model, self.weighting, config)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, partial(warmup_then_decay, steps=steps, warmup=config.warmup)
        )
        on_cpu = model.device.type == "cpu"
        self.history = History(threads=self._choose_threads() if on_cpu else 0)
        self.epoch = self.step = 0
        self.pending: list[Step] = []  # the steps that are left of the current round
        self.records: list[StepRecord] = []  # those of it that are done
        self.conflict: dict[str, Conflict] = {}  # as it was measured before them
        self.examples = Counter({task.name: 0 for task in self.tasks})
        self.best_score = -math.inf
        self.best_weights: dict[str, Tensor] = {}

    def _build_stream(self, index: int, data: EncodedDataset) -> BatchStream:
        """The stream of one dataset; tasks that share a dataset share its batches."""
        tokenizer, longest = self.model.tokenizer, self.model.encoder.config.max_length
        return BatchStream(
            data.splits["train"],
            tokenizer,
            data.tasks,
            batch_size=self.config.batch_size,
            seed=self.config.seed * 1000 + 2 * index,
            hide=partial(_hide_words, tokenizer, self.config.hide_words),
            # Kernels for half precision are built for a shape: few shapes save time and memory.
            sizes=() if self.dtype == torch.float32 else range(32, longest + 1, 32),
        )

    def _choose_threads(self) -> int:
        """By the largest of the datasets' usual batches, as far as it goes through at once."""
        config, tokens = self.config, 0.0
        for stream in self.streams:
            lengths = [len(row) for item in stream.items for row in item.rows]
            tokens = max(tokens, config.batch_size * sum(lengths) / len(stream.items))
        tokens = min(tokens, config.max_tokens or tokens)
        return choose_threads(tokens * self.model.encoder.config.multiply_adds, config.threads)

    def describe(self) -> str:
        """Where the run computes, and what an epoch is in it."""
        where = describe_device(self.model.device, self.dtype, self.history.threads)
        return f"{where}; {self.describe_epoch()}"

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

    @property
    def epoch_ended(self) -> bool:
        """Whether the last step was the last of an epoch that is still to be validated."""
        rounds = (self.epoch + 1) * self.rounds_per_epoch
        return not self.pending and len(self.history.rounds) == rounds

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are done, or the last ones were of no use (early stopping)."""
        waited = self.epoch - self.history.best_epoch
        gives_up = 0 < self.config.patience <= waited
        return self.epoch == self.config.epochs or gives_up

    def round(self) -> dict[str, float]:
        """Train on one batch of every dataset.

        Returns:
            the loss of each task.
        """
        losses = self.next_step()
        while self.pending:
            losses = self.next_step()
        return losses

    def next_step(self) -> dict[str, float]:
        """One update, from the losses of one or more batches.

        Returns:
            the mean loss of each task so far in the round.
        """
        if not self.pending:
            progress = len(self.history.rounds) / (self.config.epochs * self.rounds_per_epoch)
            self.conflict = self.measure_conflict() if self._is_time_to_measure() else {}
            self.pending, self.records = self.sampler.round(progress), []
        if not self.model.training:
            self.model.train()
        step = self.pending.pop(0)
        try:
            self.records.append(self._train_on(step))
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                raise self._out_of_memory(step) from error
            raise
        if not self.pending:
            self.history.rounds.append(self._close_round())
        return mean_by_task(record.losses for record in self.records)

    def _is_time_to_measure(self) -> bool:
        every, rounds = self.config.conflict_every, self.history.rounds
        if not every or len(self.tasks) < 2:
            return False
        if not rounds:
            return True
        before = rounds[-2].step if len(rounds) > 1 else 0
        return self.step // every > before // every

    def measure_conflict(self) -> dict[str, Conflict]:
        """How the tasks' gradients lie to each other now, on the batches that come next.

        Without dropout; the streams stay where they are, so that training goes on unchanged.
        """
        states = [stream.state_dict() for stream in self.streams]
        parts = [self._next_parts(stream) for stream in self.streams]
        for stream, state in zip(self.streams, states, strict=True):
            stream.load_state_dict(state)
        self.model.eval()
        return gradient_conflict(self.model, self._losses(parts), self._loss_scale())

    def _train_on(self, step: Step) -> StepRecord:
        learning_rate = self.schedule.get_last_lr()[0]  # the step moves it on
        parts = [self._next_parts(self.streams[i]) for i in step]
        for batch in (batch for batches in parts for batch in batches):
            self.examples.update({name: batch.n_labelled(name) for name in batch.targets})
        self.optimizer.zero_grad()
        names = [n for n in self.examples if any(n in b.targets for part in parts for b in part)]
        if not names:  # no row of the batches is labelled: nothing to learn from
            return StepRecord(step, 0.0, 0.0, learning_rate, {}, {})
        sums, weights, total = self._backward(parts, names)
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self.trained, self.config.clip_norm)
        learned = [p.grad for p in self.weighting.parameters() if p.grad is not None]
        of_weights = nn.utils.get_total_norm(learned).to(norm)
        # All numbers in one transfer: on a GPU this is the step's only synchronisation.
        numbers = torch.stack([total, norm, of_weights, *sums.values(), *weights.values()]).tolist()
        total_value, norm_value, norm_of_weights, *values = numbers
        losses = dict(zip(sums, values, strict=False))
        counted = dict(zip(weights, values[len(sums) :], strict=True))
        if all(map(math.isfinite, losses.values())):
            self._check_weights(counted)
        weighted = sum(counted[name] * losses[name] for name in losses)
        record = StepRecord(step, weighted, norm_value, learning_rate, losses, counted)
        if not math.isfinite(total_value) or not (
            math.isfinite(norm_value) or self.scaler.is_enabled()
        ):
            raise self._not_finite(record, [batch for batches in parts for batch in batches])
        self.scaler.step(self.optimizer)  # with float16, an update that overflowed is left out
        self.scaler.update()
        overflowed = not math.isfinite(norm_value + norm_of_weights)
        if not (overflowed and self.scaler.is_enabled()):
            self.schedule.step()
            self.step += 1
        return record

    def _loss_scale(self) -> Tensor | float:
        """What the losses are multiplied by on their way back: 1, but in float16."""
        is_scaled = self.scaler.is_enabled()
        return self.scaler.scale(torch.ones((), device=self.model.device)) if is_scaled else 1.0

    def _backward(
        self, parts: list[list[Batch]], names: list[str]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Give all parameters their gradients.

        Returns:
            the loss of each task and how much it counts, and the total that the weighting made.
        """
        sums: dict[str, Tensor] = {}
        weights: dict[str, Tensor] = {}
        total = torch.zeros((), device=self.model.device)
        separately = len(names) > 1 and not isinstance(self.aggregation, Sum)
        if separately:
            self.shared_gradients.clear(len(names))
        for losses in self._losses(parts):
            values = {name: loss.detach() for name, loss in losses.items()}
            of_part, penalty = weigh(self.weighting, values)
            part = torch.stack([of_part[name] * values[name] for name in values]).sum() + penalty
            if part.requires_grad:  # the weighting learns
                part.backward()
            for name, value in values.items():
                weights[name] = of_part[name].detach()
                sums[name] = sums.get(name, 0.0) + value
            total = total + part.detach()
            self.weighting.loss_scale = self._loss_scale()
            self.weighting.observe(losses, self.last_shared)
            for parameter in self.weighting.parameters():  # to be unscaled with the model's
                if parameter.grad is not None:
                    parameter.grad = self.scaler.scale(parameter.grad)
            pulls = {name: self.scaler.scale(weights[name]) for name in losses}
            if separately:
                last = list(losses)[-1]
                for name, loss in losses.items():
                    row = names.index(name)
                    self.shared_gradients.backward(row, loss, pulls[name], name != last)
            else:
                torch.autograd.backward(list(losses.values()), list(pulls.values()))
        if separately:
            self.shared_gradients.combine(self.aggregation)
        return sums, weights, total

    def _check_weights(self, weights: dict[str, float]) -> None:
        """Raise ConfigError if a weighting lets losses count less than nothing, or NaN."""
        for name, weight in weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ConfigError(
                    f"{self.weighting.title} gives the task {name!r} a weight that is not a finite "
                    f"number, 0 or more, at step {self.step + 1}",
                    found=str(weight),
                    fix="look at its forward, or lower train.learning_rate if it learns; the "
                    "weights of the model are those before this step",
                )

    def _next_parts(self, stream: BatchStream) -> list[Batch]:
        """The next batch of a stream, in parts; whole where a loss compares its rows."""
        can_split = all(task.rows_alone for task in stream.tasks)
        return stream.next_parts(self.config.max_tokens if can_split else 0)

    def _losses(self, parts: list[list[Batch]]) -> Iterator[dict[str, Tensor]]:
        """The losses of a step, ready for backward: of all its batches at once, or of each part.

        A part's loss counts by the share of its labels, so that the parts add up to the whole.
        """
        batches = [batch for parts_of_one in parts for batch in parts_of_one]
        is_whole = len(batches) == len(parts)
        n_labels: Counter[str] = Counter()
        for batch in [] if is_whole else batches:
            n_labels.update(count_labels(batch))
        for together in [batches] if is_whole else [[batch] for batch in batches]:
            losses: dict[str, Tensor] = {}
            with autocast(self.model.device, self.dtype):
                for batch in together:
                    losses |= self.model.losses(batch.to(self.model.device))
            if losses and is_whole:
                yield losses
            elif losses:
                share = {name: n / n_labels[name] for name, n in count_labels(together[0]).items()}
                yield {name: share[name] * loss for name, loss in losses.items()}

    def _close_round(self) -> Round:
        by_step: dict[Step, list[float]] = {}
        for record in self.records:
            if record.losses:  # a step without any labelled row is no step
                by_step.setdefault(record.step, []).append(record.total)
        norms = [record.grad_norm for record in self.records if record.losses]
        return Round(
            epoch=self.epoch + 1,
            step=self.step,
            total=sum(mean(totals) for totals in by_step.values()),
            losses=mean_by_task(record.losses for record in self.records),
            learning_rate=self.records[-1].learning_rate,
            grad_norm=mean(norms),
            examples=dict(self.examples),
            weights=mean_by_task(record.weights for record in self.records),
            conflict=self.conflict,
        )

    def _not_finite(self, record: StepRecord, batches: list[Batch]) -> MTLError:
        """The error for a loss or gradient that is no number; it names the examples."""
        spoiled = [name for name, loss in record.losses.items() if not math.isfinite(loss)]
        examples = {
            task: [item.name for b in batches if task in b.targets for item in b.labelled(task)]
            for task in spoiled or record.losses
        }
        names = [f"{task}: {', '.join(of_task)}" for task, of_task in examples.items()]
        of_gradients = not (spoiled or isinstance(self.aggregation, Sum))
        also = f", at what {self.aggregation.title} returns" if of_gradients else ""
        return MTLError(
            f"the loss or its gradient is not finite at step {self.step + 1}",
            found=f"{show_losses(record.losses)}  gradient norm {record.grad_norm}; examples of "
            f"the step: {'; '.join(names)}",
            fix=f"look at these examples{also}, or lower the learning rate (train.learning_rate, "
            "train.pretrained_learning_rate); the weights are those before this step",
        )

    def _out_of_memory(self, step: Step) -> MTLError:
        config, shape = self.config, self.model.encoder.config
        names = [task.name for i in step for task in self.streams[i].tasks]
        return MTLError(
            f"there is not enough memory for a step of {' and '.join(names)}",
            found=f"train.batch_size {config.batch_size}, train.max_tokens {config.max_tokens}, "
            f"encoder.max_length {shape.max_length}, train.precision {config.precision!r} on "
            f"{describe_device(self.model.device, self.dtype, self.history.threads)}",
            fix="set train.max_tokens, say to 2048 (the same update, in parts); then lower "
            'encoder.max_length or train.batch_size; train.precision = "auto" may halve it too',
        )

    def finish_epoch(self) -> Metrics:
        """Validate, and keep the weights if they are the best so far.

        What a task raises when it is scored leaves the run as it was: at the end of an epoch that
        is still to be validated.
        """
        scores = self.validate()
        joint_score = self.joint_score(scores) if scores else None
        self.epoch += 1
        self.weighting.end_epoch()
        self.history.validation.append(scores)
        if joint_score is not None and self._is_best(joint_score):
            self.best_score = joint_score
            self.history.best_epoch = self.epoch
            self.best_weights = {
                name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()
            }
        return scores

    def validate(self) -> Metrics:
        """Scores on validation; tasks that share a dataset share the encoder's passes.

        In the precision of the weights, as in the test and in use.
        """
        scores: Metrics = {}
        for data in self.data:
            scores |= data.scores(self.model, "validation")
        return {task.name: scores[task.name] for task in self.tasks if task.name in scores}

    def _is_best(self, score: float) -> bool:
        """Whether an epoch is better than all before; while none scores at all, the latest is."""
        return score > self.best_score or score == self.best_score == 0

    def joint_score(self, scores: Metrics) -> float:
        """The mean of the tasks' main metrics: what "best" means."""
        return mean([t.main_score(scores[t.name])[1] for t in self.tasks if t.name in scores])

    def restore_best(self) -> None:
        """Put the best weights back; without validation data the last ones stay."""
        if self.best_weights:
            self.model.load_state_dict(self.best_weights)
        self.model.trained |= {task.name for task in self.tasks}
        self.model.eval()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What has to be the same for a run to go on from the state of another, by its name."""
        shape = self.model.encoder.config
        identity = {f"train.{key}": value for key, value in asdict(self.config).items()}
        identity |= {f"encoder.{key}": value for key, value in shape.to_dict().items()}
        identity["encoder.overlap"] = self.model.overlap
        identity["encoder.pretrained"] = self.model.encoder.pretrained
        for stream in self.streams:
            names = " and ".join(task.name for task in stream.tasks)
            data = stream.tasks[0].dataset
            identity[f"the training data of {names}"] = examples_hash(data.train)
            identity[f"the validation data of {names}"] = examples_hash(data.validation)
        identity["the tokenizer"] = tokenizer_hash(self.model.tokenizer)
        identity |= {f"the task {task.name}": task_hash(task) for task in self.tasks}
        return {"version": __version__} | json.loads(json.dumps(identity))

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides how the run goes on."""
        return {
            "identity": self.identity,
            "model": self.model.state_dict(),
            "weighting": self.weighting.state_dict(),
            "aggregation": self.aggregation.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "sampler": self.sampler.state_dict(),
            "streams": [stream.state_dict() for stream in self.streams],
            "history": self.history.to_dict(),
            "pending": self.pending,
            "records": [asdict(record) for record in self.records],
            "conflict": {pair: asdict(conflict) for pair, conflict in self.conflict.items()},
            "epoch": self.epoch,
            "step": self.step,
            "examples": dict(self.examples),
            "best_score": self.best_score,
            "best_weights": self.best_weights,
            "random_state": random_state(self.model.device),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where the run that gave `state` stood.

        Raises:
            ConfigError: that run had other settings or other data.
        """
        self._check_identity(state["identity"])
        self.model.load_state_dict(state["model"])
        self.weighting.load_state_dict(state["weighting"])
        self.aggregation.load_state_dict(state["aggregation"])
        optimizer = state["optimizer"]
        optimizer["state"] = {int(i): values for i, values in optimizer["state"].items()}
        self.optimizer.load_state_dict(optimizer)
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.sampler.load_state_dict(state["sampler"])
        for stream, stream_state in zip(self.streams, state["streams"], strict=True):
            stream.load_state_dict(stream_state)
        self.history = History.from_dict(state["history"])
        self.pending = [tuple(step) for step in state["pending"]]
        self.records = [StepRecord(**r | {"step": tuple(r["step"])}) for r in state["records"]]
        self.conflict = {pair: Conflict(**c) for pair, c in state["conflict"].items()}
        self.epoch, self.step = state["epoch"], state["step"]
        self.examples = Counter(state["examples"])
        self.best_score, self.best_weights = state["best_score"], state["best_weights"]
        set_random_state(state["random_state"], self.model.device)

    def _check_identity(self, then: dict[str, Any]) -> None:
        now = self.identity
        if then.get("version") != now["version"]:  # it may compute something else
            raise ConfigError(
                "the checkpoint was written by another version of mtl",
                found=f"{then.get('version', 'an earlier one')} then, {now['version']} now",
                fix="resume with that version, or start afresh",
            )
        changed = [key for key in {**now, **then} if then.get(key) != now.get(key)]
        if changed:
            raise ConfigError(
                "the checkpoint is of another training",
                found=f"changed since: {', '.join(changed)}",
                fix="resume with what it was started with, or start afresh",
            )


def count_labels(batch: Batch) -> dict[str, int]:
    """How many numbers each task's loss is a mean over."""
    return {name: int((target != IGNORED).sum()) for name, target in batch.targets.items()}


def _hide_words(tokenizer, share: float, input_ids: Tensor, generator: torch.Generator) -> Tensor:
    return tokenizer.hide_words(input_ids, share, generator)


def show_losses(losses: dict[str, float]) -> str:
    """For people: `ner loss 0.123  qa loss 2.345`."""
    return "  ".join(f"{name} loss {loss:.3f}" for name, loss in losses.items())
