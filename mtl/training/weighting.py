"""The losses of a step come in; how much each of them counts goes out.

A weighting sees losses; an aggregation sees gradients. A step minimises the total

    sum over tasks of weight * loss, plus the penalty, if the weighting has one

The weights reach the model as the factors by which each loss is multiplied for backward. They
reach the weighting itself, if it learns, as the gradient of the same total for its parameters.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import ConfigError, suggest
from .methods import Drawing, Method, check_result, scaled_gradients, show_result
from .ranks import all_sum

Weights = Mapping[str, Tensor | float]


class Weighting(Method):
    """Base class: losses by task name in, weights by task name out.

    What a weighting learns are its parameters; what it remembers, its buffers. The loop trains the
    former (without weight decay) and saves both.

    Attributes:
        name: what recipes call the class (`train.weighting`): a short name, or its place.
        needs_joint_steps: True for a method that must see every task's loss in the same step.
        needs_epochs: with fewer it does nothing, and `train` warns.
        loss_scale: of the step, for gradients that are taken in `observe`: see `scaled_gradients`.
            It is 1, except in float16.
    """

    kinds: ClassVar[dict[str, type[Any]]] = {}
    entry_points: ClassVar[str] = "mtl.weightings"
    needs_epochs: ClassVar[int] = 1
    loss_scale: Tensor | float = 1.0

    def check_tasks(self, tasks: Sequence[str]) -> None:
        """Check that it can serve the tasks of these names; nothing is changed.

        Raises:
            ConfigError: it cannot.
        """

    def start(self, tasks: Sequence[str]) -> None:
        """Prepare for the tasks of these names, before the first step."""

    @abstractmethod
    def forward(self, losses: Mapping[str, Tensor]) -> Weights | tuple[Weights, Tensor]:
        """How much each loss of a step counts, and maybe a penalty.

        Args:
            losses: by task, for the tasks in this step alone. They are plain numbers, detached from
                the model.

        Returns:
            the weight of each of these tasks, a number or a tensor of shape (): finite, and 0 or
            more. A weighting that learns may return a pair: the weights, and a penalty, shape (),
            that is added to the total to keep the weights from running away.
        """
        raise NotImplementedError

    def observe(self, losses: Mapping[str, Tensor], last_shared: Tensor | None) -> None:
        """Look at the same losses with their graph, after `forward`.

        Args:
            losses: through which `scaled_gradients` reaches the model. Of several processes, each
                sees its part of every loss; `mtl.training.ranks.all_sum` adds up what it makes of
                them.
            last_shared: the last weight matrix that all tasks share and that is trained; None if
                there is none.
        """

    def end_epoch(self) -> None:
        """Called after the last step of each epoch."""


def weigh(weighting: Weighting, losses: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """Ask a weighting for its weights, and check its answer.

    Args:
        losses: by task, detached from the model; at least one.

    Returns:
        the weight of each task and the penalty (0 if there is none), tensors of shape () with the
        dtype and the device of the losses.

    Raises:
        ConfigError: `forward` returned anything else.
    """
    returned = weighting(losses)
    is_pair = isinstance(returned, tuple) and len(returned) == 2
    weights, penalty = returned if is_pair else (returned, 0.0)
    if not isinstance(weights, Mapping) or weights.keys() != losses.keys():
        raise ConfigError(
            f"{weighting.title} must return a weight for each of the tasks {', '.join(losses)}, "
            "or these weights and a penalty",
            found=show_result(weights),
            fix="return {name: weight for name in losses} from its forward; 0 leaves a task out",
        )
    beside = next(iter(losses.values()))
    of_task = {
        name: _as_number(weighting, weights[name], f"the weight of {name!r}", beside)
        for name in losses
    }
    return of_task, _as_number(weighting, penalty, "the penalty", beside)


def _as_number(weighting: Weighting, value: Any, what: str, beside: Tensor) -> Tensor:
    """A number as a tensor of shape (), with the dtype and the device of another."""
    if isinstance(value, Real):
        return beside.new_full((), float(value))  # created on the device: nothing waits for a copy
    check_result(weighting, value, (), f"{what} as a number, or a tensor of shape ()")
    return value.to(beside)


class FixedWeighting(Weighting):
    """The same weight in every step: `lambda` of each task, 1.0 for one that is not named.

    Raises:
        ConfigError: a weight that is negative or not finite, or no weight above 0.
    """

    name = "fixed"

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.weights = dict(weights or {})
        for name, weight in self.weights.items():
            if not (math.isfinite(weight) and weight >= 0):
                raise ConfigError(
                    f"the weight of task {name!r} must be a finite number, 0 or more",
                    found=str(weight),
                )

    def check_tasks(self, tasks: Sequence[str]) -> None:
        """Raise ConfigError if a weight is for a task that does not exist, or all are 0."""
        if not any(self.weights.get(task, 1.0) for task in tasks):
            raise ConfigError(
                "the weights of all tasks are 0, so there is nothing to learn",
                found=str(self.weights),
                fix="give one of them a weight above 0",
            )
        for name in self.weights:
            if name not in tasks:
                raise ConfigError(
                    "a weight is given for an unknown task", found=name, fix=suggest(name, tasks)
                )

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, float]:
        return {name: self.weights.get(name, 1.0) for name in losses}


class UncertaintyWeighting(Weighting):
    """Learned weights `exp(-s)` and a penalty `s / 2`, with `s = log sigma^2` of each task.

    Homoscedastic uncertainty (Kendall, Gal and Cipolla 2018, "Multi-Task Learning Using Uncertainty
    to Weigh Losses", equation 10; the form for cross-entropy). A task whose loss stays large gets a
    large `sigma` and counts less; `s / 2` keeps it from growing without end. All `s` begin at 0,
    that is, with weights 1, and learn at `learning_rate`, free of weight decay.

    When tasks alternate, a step moves only the `s` of its own tasks, from their losses in it.
    """

    name = "uncertainty"

    def start(self, tasks: Sequence[str]) -> None:
        # One parameter per task: a task without a loss in a step has no gradient either.
        self.log_variance = nn.ParameterDict({task: torch.zeros(()) for task in tasks})

    def forward(self, losses: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        s = {name: self.log_variance[name] for name in losses}
        # exp keeps them above 0, whatever the optimiser does to s.
        weights = {name: (-s[name]).exp() for name in losses}
        return weights, torch.stack([s[name] / 2 for name in losses]).sum()


class DynamicWeightAverage(Weighting):
    """Tasks whose loss falls more slowly count more (Liu, Johns and Davison 2019, equation 7).

    `lambda_k = K * softmax over tasks of (r_k / temperature)`, where `r_k` is the mean loss of the
    last epoch divided by that of the epoch before it ("End-to-End Multi-Task Learning with
    Attention"). In the first two epochs all weights are 1.

    The losses are means over epochs, so that it does not matter whether tasks alternate. With two
    epochs or fewer it does nothing.
    """

    name = "dwa"
    needs_epochs = 3

    # Buffers, `(K,)` each: sums and counts of this epoch's losses; the means of the two before.
    sums: Tensor
    counts: Tensor
    last: Tensor
    before_last: Tensor

    # 2, as in the paper.
    def __init__(self, temperature: float = 2.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ConfigError("the temperature of dwa must be above 0", found=str(temperature))
        self.temperature = temperature

    def start(self, tasks: Sequence[str]) -> None:
        self.tasks = list(tasks)
        # Buffers, so that they are saved with the state and move to the GPU with the module.
        for name in ("sums", "counts", "last", "before_last"):
            self.register_buffer(name, torch.zeros(len(tasks)))

    def weights(self) -> Tensor:
        """`(K,)`: the weight of each task in this epoch."""
        # 0 means that there is no such epoch yet: the task's speed is not known.
        ratios = torch.where(self.before_last > 0, self.last / self.before_last, 1.0)
        # Times K, so that the mean weight is 1 and the learning rate keeps its meaning.
        return len(self.tasks) * (ratios / self.temperature).softmax(0)

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        weights = self.weights()
        for name, loss in losses.items():
            i = self.tasks.index(name)
            self.sums[i] += loss
            self.counts[i] += 1
        return {name: weights[self.tasks.index(name)] for name in losses}

    def end_epoch(self) -> None:
        # A task without a loss in this epoch keeps the mean it had.
        means = torch.where(self.counts > 0, self.sums / self.counts, self.last)
        self.before_last.copy_(self.last)
        self.last.copy_(means)
        self.sums.zero_()
        self.counts.zero_()


class GradNorm(Weighting):
    """Weights that make all tasks pull equally hard (Chen et al. 2018, "GradNorm", algorithm 1).

    `G_i` is the length of the gradient of `w_i * loss_i` at the last weight matrix that all tasks
    share. It should be `mean(G) * r_i^alpha`, where `r_i` is how much of its first loss the task
    still has, divided by the mean of that over the tasks: one that lags behind should pull harder.
    The weights follow the gradient of `sum |G_i - mean(G) * r_i^alpha|`, with the optimiser of
    the model and `learning_rate`, and are scaled so that their sum is the number of tasks.

    Args:
        alpha: how strongly tasks are made to train at the same speed; 0 only equalises the pulls.
    """

    name = "gradnorm"
    needs_joint_steps = True

    first_losses: Tensor  # a buffer, `(K,)`; 0 for a task without a loss so far

    # 1.5, as in the paper for NYUv2.
    def __init__(self, alpha: float = 1.5) -> None:
        super().__init__()
        if not (math.isfinite(alpha) and alpha >= 0):
            raise ConfigError("the alpha of gradnorm must be 0 or more", found=str(alpha))
        self.alpha = alpha

    def start(self, tasks: Sequence[str]) -> None:
        self.tasks = list(tasks)
        self.weights = nn.Parameter(torch.ones(len(tasks)))
        self.register_buffer("first_losses", torch.zeros(len(tasks)))

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():  # the optimiser may have left negative weights, or changed their sum
            self.weights.clamp_(min=0)
            self.weights.mul_(len(self.tasks) / self.weights.sum())
        # Detached: they do not learn from the total, which all-zero weights would minimise, but
        # from the lengths of gradients, in `observe`.
        weights = self.weights.detach()
        return {name: weights[self.tasks.index(name)] for name in losses}

    def observe(self, losses: Mapping[str, Tensor], last_shared: Tensor | None) -> None:
        index = torch.tensor([self.tasks.index(n) for n in losses], device=self.weights.device)
        values = all_sum(torch.stack([loss.detach() for loss in losses.values()]).float())
        first = self.first_losses[index]
        # A task's first loss is that of its first step with labels, which may come later.
        first = torch.where(first > 0, first, values)
        self.first_losses[index] = first
        if last_shared is None:
            raise ConfigError(
                f"{self.title} needs the last weight matrix that all tasks share, but none is "
                "trained",
                fix="train one of the encoder's matrices, or choose another train.weighting",
            )
        lengths = torch.stack([self._length(loss, last_shared) for loss in losses.values()])
        gradient = torch.zeros_like(self.weights)
        gradient[index] = self.slope(values / first, lengths, self.weights[index].detach())
        # Set by hand: it is not the gradient of the total, which backward would compute.
        self.weights.grad = gradient

    def _length(self, loss: Tensor, last_shared: Tensor) -> Tensor:
        """The length of a loss's gradient at the matrix; 0 if the loss does not depend on it."""
        (gradient,) = scaled_gradients(loss, [last_shared], self.loss_scale)
        gradient = torch.zeros_like(last_shared) if gradient is None else gradient
        return all_sum(gradient).norm()

    def slope(self, remaining: Tensor, lengths: Tensor, weights: Tensor) -> Tensor:
        """The gradient of `sum |G_i - mean(G) * r_i^alpha|` for the weights, the target held fixed.

        Args:
            remaining: `(K,)`, each loss divided by its first value.
            lengths: `(K,)`, of the gradients of the unweighted losses.
            weights: `(K,)`.
        """
        pulls = weights * lengths  # G
        rates = remaining / remaining.mean()  # r
        # d|x|/dw is sign(x) times dG/dw, and G is w times the length.
        return (pulls - pulls.mean() * rates**self.alpha).sign() * lengths


class RandomWeighting(Drawing, Weighting):
    """New weights in each step: the softmax of normally distributed numbers (Lin et al. 2022).

    They are scaled so that their sum is the number of tasks ("Reasonable Effectiveness of Random
    Weighting", where it is 1), so that a loss counts 1 on average, as with fixed weights. When
    tasks alternate, each step draws weights for all and uses those of its own.
    """

    name = "random"

    def start(self, tasks: Sequence[str]) -> None:
        self.tasks = list(tasks)

    def forward(self, losses: Mapping[str, Tensor]) -> dict[str, float]:
        # Drawn on the CPU, so that a seed gives the same weights on every device.
        drawn = torch.randn(len(self.tasks), generator=self.generator)
        weights = (len(self.tasks) * drawn.softmax(0)).tolist()
        return {name: weights[self.tasks.index(name)] for name in losses}
