"""The batches of a step come in, the weights move, and a record of the update goes out.

losses -> weights -> backward -> clip -> optimiser -> schedule
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..data.batching import Batch
from ..devices import autocast
from ..model import MultiTaskModel
from .aggregation import Aggregation, SharedGradients, Sum
from .compiled import Compiled
from .config import TrainConfig
from .faults import check_weights, not_finite
from .history import StepRecord
from .optimizer import Schedule, build_optimizer
from .ranks import all_sum, sum_gradients, world
from .sampling import Step
from .weighting import Weighting, weigh


class Update:
    """Updates the weights of a model, and those that a weighting learns, step by step.

    Args:
        model: everything in it that is not frozen is trained.
        tasks: names, in the order in which an aggregation sees their gradients.
        config: learning rates and their schedule, weight decay, clipping.
        weighting: how much each loss counts; already started.
        aggregation: how the tasks' gradients on the shared parameters become one.
        dtype: the one that matrix products are computed in.
        n_steps: updates in the whole run, after which the learning rate is 0.

    Attributes:
        step: updates made so far.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        tasks: Sequence[str],
        config: TrainConfig,
        weighting: Weighting,
        aggregation: Aggregation,
        dtype: torch.dtype,
        n_steps: int,
    ) -> None:
        self.model = model
        self.tasks = list(tasks)
        self.max_grad_norm = config.max_grad_norm
        self.in_parts = config.max_tokens > 0
        self.weighting = weighting.to(model.device)
        self.aggregation = aggregation
        self.dtype = dtype
        self.compiled = Compiled(model, config.compile)
        shared = [p for part in model.shared_parts.values() for p in part]
        self.shared_gradients = SharedGradients(shared)
        self.last_shared = model.last_shared
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = build_optimizer(model, weighting, config)
        self.factor = Schedule(n_steps, config.warmup_ratio, config.decay_ratio)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.factor)
        # float16 has few small numbers: without scaling, small gradients would become 0.
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=dtype == torch.float16)
        self.step = 0

    def __call__(
        self,
        step: Step,
        parts: Sequence[list[Batch]],
        meanwhile: Callable[[], None] = lambda: None,
    ) -> StepRecord:
        """Make one update.

        Args:
            step: the datasets that the batches come from.
            parts: the batch of each, in one part or several. Of several processes, each has a
                share of every batch, which may be nothing; the update is that of whole batches.
            meanwhile: what else there is to do while a GPU computes.

        Raises:
            MTLError: a loss or a gradient is not finite; the weights are those before this step.
            ConfigError: the weighting or the aggregation returned something invalid.
        """
        learning_rate = float(self.schedule.get_last_lr()[0])  # the update moves it on
        batches = [batch for of_dataset in parts for batch in of_dataset]
        examples, n_labels = self.count(batches)
        # In the order of the tasks, so that an aggregation sees the same rows in every step.
        names = [name for name in self.tasks if name in examples]
        # Sets them to None: a task that sits out the step leaves its head and momentum untouched.
        self.optimizer.zero_grad()
        if not names:  # no row of the batches is labelled: nothing to learn from
            return StepRecord(step, 0.0, 0.0, learning_rate, {}, {}, examples)
        sums, weights, total = self._backward(parts, n_labels)
        self.scaler.unscale_(self.optimizer)  # only now do gradients have their true size
        # The model's alone: a weighting's gradients are on their own scale.
        norm = nn.utils.clip_grad_norm_(self.trained, self.max_grad_norm)
        # Not clipped, but checked: a NaN in it would spoil the weights of the losses.
        learned = [p.grad for p in self.weighting.parameters() if p.grad is not None]
        norm_of_weights = nn.utils.get_total_norm(learned).to(norm)
        # A GPU has been told all this, and has hardly begun; the next line waits for it.
        meanwhile()
        losses, counted, measured = _to_numbers(
            sums, weights, {"total": total, "norm": norm, "norm of weights": norm_of_weights}
        )
        # Without the penalty, which may be negative: only losses are plotted.
        weighted = sum(counted[name] * losses[name] for name in losses)
        record = StepRecord(
            step, weighted, measured["norm"], learning_rate, losses, counted, examples
        )
        if all(map(math.isfinite, losses.values())):  # else it is not the weighting's fault
            check_weights(self.weighting.title, counted, self.step + 1)
        is_total_finite, is_norm_finite, are_weights_finite = map(math.isfinite, measured.values())
        # The total of parts is this process's alone; the losses are everybody's.
        is_total_finite = is_total_finite and math.isfinite(weighted)
        # With float16 a gradient may overflow: the scaler then skips the update and halves
        # its scale. That does not count as a step.
        may_overflow = self.scaler.is_enabled()
        if not (is_total_finite and (is_norm_finite or may_overflow)):
            method = None if isinstance(self.aggregation, Sum) else self.aggregation.title
            raise not_finite(self.step + 1, record, batches, method)
        # Only here does the model change: an error above leaves its weights as they were.
        self.scaler.step(self.optimizer)
        self.scaler.update()
        # The schedule counts updates, so a skipped one must not advance it.
        if not may_overflow or (is_norm_finite and are_weights_finite):
            self.schedule.step()
            self.step += 1
        return record

    def fall_now(self, n_steps: int) -> None:
        """Let the learning rate fall to 0 over the next `n_steps` steps."""
        self.factor.fall_now(self.step, n_steps)

    def count(self, batches: Sequence[Batch]) -> tuple[dict[str, int], dict[str, int]]:
        """How many examples have a label for each task in a step, and how many labels there are.

        Tasks without any are left out. The batches of all processes count.
        """
        examples: Counter[str] = Counter()
        labels: Counter[str] = Counter()
        for batch in batches:
            examples.update({name: batch.n_labelled(name) for name in batch.targets})
            labels.update(batch.n_labels)
        counted = all_sum(torch.tensor([[examples[name], labels[name]] for name in self.tasks]))
        of_tasks = dict(zip(self.tasks, counted.tolist(), strict=True))
        with_any = {name: numbers for name, numbers in of_tasks.items() if numbers[0]}
        return {k: n for k, (n, _) in with_any.items()}, {k: n for k, (_, n) in with_any.items()}

    def losses(
        self, parts: Sequence[list[Batch]], n_labels: Mapping[str, int]
    ) -> Iterator[dict[str, Tensor]]:
        """The losses of a step, ready for backward: of all its batches at once, or of each part.

        Each is weighted by its share of the labels, so that parts and processes add up to the
        whole: a mean of means would give labels in small parts more weight.

        Args:
            n_labels: of each task in the whole step, see `count`.
        """
        batches = [batch for of_dataset in parts for batch in of_dataset]
        in_parts = any(len(of_dataset) > 1 for of_dataset in parts)
        for i, together in enumerate([[b] for b in batches] if in_parts else [batches]):
            here = {name: n for batch in together for name, n in batch.n_labels.items()}
            losses = {
                name: here[name] / max(1, n_labels[name]) * loss
                for name, loss in self._forward(together).items()
            }
            if i == 0 and world() > 1:
                # All processes know of the same tasks, in the same order, or they could not add up
                # what they have. Without a label here, a loss is 0 and leads nowhere.
                losses = {name: losses.get(name, self._nothing()) for name in n_labels}
            if losses:
                yield losses

    def _nothing(self) -> Tensor:
        return self.trained[0].new_zeros(()).requires_grad_()

    @property
    def loss_scale(self) -> Tensor | float:
        """What the losses are multiplied by for backward: 1, except in float16."""
        if not self.scaler.is_enabled():
            return 1.0
        return self.scaler.scale(torch.ones((), device=self.model.device))

    def _forward(self, batches: Sequence[Batch]) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        with autocast(self.model.device, self.dtype), self.compiled.in_use():
            for batch in batches:
                losses |= self.model.losses(batch)
        return losses

    def _backward(
        self, parts: Sequence[list[Batch]], n_labels: Mapping[str, int]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Give all parameters their gradients.

        Returns:
            the loss of each task, how much each counts, and the total that is minimised.
        """
        names = list(n_labels)
        sums: dict[str, Tensor] = {}
        weights: dict[str, Tensor] = {}
        total = torch.zeros((), device=self.model.device)
        # The sum of the gradients is the gradient of the sum: no need for one per task.
        separately = len(names) > 1 and not isinstance(self.aggregation, Sum)
        if separately:
            self.shared_gradients.clear(len(names))
        for losses in self.losses(parts, n_labels):
            # detach: the sum would keep the graphs of all parts in memory.
            values = {name: loss.detach() for name, loss in losses.items()}
            # Only fixed weights go with parts, and those do not depend on the losses.
            values = values if self.in_parts else _of_all(values)
            of_part, total_of_part = self._weigh(losses, values)
            weights |= of_part
            total = total + total_of_part
            for name, value in values.items():
                sums[name] = sums[name] + value if name in sums else value
            pulls = {name: self.scaler.scale(of_part[name]) for name in losses}
            if separately:
                last = list(losses)[-1]  # the losses share a graph, which the last one may free
                for name, loss in losses.items():
                    row = names.index(name)
                    self.shared_gradients.backward(row, loss, pulls[name], name != last)
            else:
                # One pass for all losses: the parts of the model they share are traversed once.
                torch.autograd.backward(list(losses.values()), list(pulls.values()))
        if self.in_parts:
            sums = _of_all(sums)
        shared = set()
        if separately:
            self.shared_gradients.combine(self.aggregation)
            shared = set(self.shared_gradients.parameters)
        sum_gradients([p for p in self.trained if p not in shared])
        return sums, weights, total

    def _weigh(
        self, losses: Mapping[str, Tensor], values: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """How much each loss counts, and their total; the weighting gets its own gradients."""
        # Values alone: a weighting must not reach into the model through its weights.
        weights, penalty = weigh(self.weighting, values)
        total = torch.stack([weights[name] * values[name] for name in values]).sum() + penalty
        if total.requires_grad:  # the weighting learns
            total.backward()
        self.weighting.loss_scale = self.loss_scale
        # Before backward, which frees the graph that gradients are taken from.
        self.weighting.observe(losses, self.last_shared)
        for parameter in self.weighting.parameters():
            if parameter.grad is not None:  # one optimiser: it is unscaled with the model's
                parameter.grad = self.scaler.scale(parameter.grad)
        return {name: weight.detach() for name, weight in weights.items()}, total.detach()

    def state_dict(self) -> dict[str, Any]:
        """What decides the next updates, except for the model."""
        return {
            "step": self.step,
            "weighting": self.weighting.state_dict(),
            "aggregation": self.aggregation.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the one that gave `state` was."""
        self.step = state["step"]
        self.weighting.load_state_dict(state["weighting"])
        self.aggregation.load_state_dict(state["aggregation"])
        # The optimiser numbers its parameters, but JSON, which held the state, has only text keys.
        of_parameter = {int(i): values for i, values in state["optimizer"]["state"].items()}
        self.optimizer.load_state_dict(state["optimizer"] | {"state": of_parameter})
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])


def _of_all(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The sums over all processes."""
    if world() == 1:
        return values
    return dict(zip(values, all_sum(torch.stack([*values.values()])).unbind(), strict=True))


def _to_numbers(*groups: dict[str, Tensor]) -> list[dict[str, float]]:
    """Tensors of shape () as numbers, in one transfer: the only time a step waits for a GPU."""
    numbers = iter(torch.stack([t for group in groups for t in group.values()]).tolist())
    return [{name: next(numbers) for name in group} for group in groups]
