"""The tasks' gradients on the shared parameters come in; the one to follow goes out.

A weighting decides how much each loss counts; an aggregation looks at where the gradients point.
The heads keep their own gradients: the tasks compete only for shared parameters.
"""

from __future__ import annotations

import importlib.util
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import ConfigError, missing_extra, suggest
from ..registry import known_class, known_names
from .methods import Drawing, Method, build_method, check_result
from .ranks import all_sum, copy_first

COLUMNS = 2**20  # of the gradients handled at once, so that copies stay small


class Aggregation(Method):
    """Base class: the gradients of `m` tasks in, `(m, n)`, one gradient out, `(n,)`.

    Attributes:
        name: what recipes call the class (`train.aggregation`): a short name, or its place.
        needs_joint_steps: whether it needs the gradients of every task in the same step.
    """

    kinds: ClassVar[dict[str, type[Any]]] = {}
    entry_points: ClassVar[str] = "mtl.aggregations"
    needs_joint_steps = True

    @abstractmethod
    def forward(self, gradients: Tensor) -> Tensor:
        """The gradient to follow.

        Args:
            gradients: one row per task, of its weighted loss. They may be overwritten: for a
                large model they take most of the memory of a step.
        """
        raise NotImplementedError


class Sum(Aggregation):
    """The plain sum: the gradient of the total loss, which backward computes anyway."""

    name = "sum"
    needs_joint_steps = False

    def forward(self, gradients: Tensor) -> Tensor:
        return gradients.sum(0)


class PCGrad(Drawing, Aggregation):
    """Gradient surgery (Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", algorithm 1).

    Each task's gradient loses the part that points against another task's: if `g_i . g_j < 0`,
    then `g_i` becomes `g_i - (g_i . g_j / |g_j|^2) g_j`, for all other tasks `j` in random order.
    The sum of what is left is the gradient to follow.

    Every projected gradient is a weighted sum of the rows, so lengths and cosines are enough to
    find the weights, and the result overwrites the first row: no other copy is made.
    """

    name = "pcgrad"

    def forward(self, gradients: Tensor) -> Tensor:
        lengths, cosines = lengths_and_cosines(gradients)
        # Row i: the projected gradient of task i, in multiples of the rows scaled to length 1.
        projected = torch.eye(len(gradients), dtype=cosines.dtype, device=cosines.device)
        for i in range(len(gradients)):
            # In random order, as in the paper: with three tasks or more the order matters.
            for j in torch.randperm(len(gradients), generator=self.generator).tolist():
                if j != i:
                    # Row i against task j: only a negative part is removed, hence the clamp.
                    projected[i, j] -= (projected[i] @ cosines[:, j]).clamp(max=0)
        # `projected` counts in rows of length 1; a row of zeros stays zeros, not NaN.
        gradients.div_(torch.where(lengths > 0, lengths, 1.0)[:, None])
        return weighted_sum_of_rows(gradients, lengths @ projected)


class TorchJD(Aggregation):
    """Any aggregator of TorchJD (Quinton and Rey 2024, "Jacobian Descent for Multi-Objective
    Optimization"): UPGrad, CAGrad, MGDA, NashMTL, ConFIG, and whatever else the library has.

    Memory and time beyond the matrix of gradients are up to the library. What an aggregator such as
    NashMTL remembers between steps is not saved: a resumed run forgets it.

    Args:
        aggregator: an instance of `torchjd.aggregation.Aggregator`.
    """

    def __init__(self, aggregator: nn.Module) -> None:
        super().__init__()
        self.aggregator = aggregator

    @property
    def title(self) -> str:
        return f"TorchJD's {type(self.aggregator).__name__}"

    def forward(self, gradients: Tensor) -> Tensor:
        # An aggregator may fail on NaN in its own way, which says less than our error.
        if not torch.linalg.vector_norm(gradients, ord=float("inf")).isfinite():
            return gradients.sum(0)  # not finite either, which the loop finds and explains
        return self.aggregator(gradients)


def lengths_and_cosines(gradients: Tensor) -> tuple[Tensor, Tensor]:
    """The length of each row, `(m,)`, and the cosine of each pair, `(m, m)`; 0 for a row of zeros.

    Rows are scaled before they are multiplied, so that squares neither vanish nor overflow.
    """
    largest = torch.linalg.vector_norm(gradients, ord=float("inf"), dim=1)  # (m,)
    scale = torch.where(largest > 0, largest, 1.0)
    products = torch.zeros(len(gradients), len(gradients)).to(gradients)
    for part in gradients.split(COLUMNS, dim=1):
        rows = part / scale[:, None]
        products += rows @ rows.T
    lengths = products.diagonal().sqrt()  # of the scaled rows
    nonzero = torch.where(lengths > 0, lengths, 1.0)
    return lengths * largest, products / nonzero / nonzero[:, None]


def weighted_sum_of_rows(rows: Tensor, weights: Tensor) -> Tensor:
    """`sum of weights[i] * rows[i]`, written over the first row."""
    result = rows[0].mul_(weights[0])
    for row, weight in zip(rows[1:], weights[1:], strict=True):
        result.addcmul_(row, weight)
    return result


class SharedGradients:
    """The gradients of several tasks on the same parameters: a matrix with one row per task.

    Backward writes into the matrix itself, so that it is all the memory the gradients take.

    Args:
        parameters: the shared ones, all of the same type and on the same device.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        self.matrix = torch.empty(0, 0)  # (tasks, parameters), made at the first step

    def clear(self, n_tasks: int) -> None:
        """Begin a step with this many tasks."""
        width = sum(p.numel() for p in self.parameters)
        if len(self.matrix) != n_tasks:
            self.matrix = torch.empty(0, 0)  # free the old one before the new one is made
            self.matrix = self.parameters[0].new_empty(n_tasks, width)
        self.matrix.zero_()

    def backward(self, row: int, loss: Tensor, weight: Tensor, keep_graph: bool) -> None:
        """Add the gradient of `weight * loss` to a row; other parameters get theirs as usual."""
        # backward adds to the `.grad` it finds: here it is a row of the matrix.
        self._point_at(self.matrix[row])
        # `weight` as the incoming gradient: the same as calling backward on weight * loss.
        loss.backward(weight, retain_graph=keep_graph)

    def combine(self, aggregation: Aggregation) -> None:
        """Combine the rows, of all processes, into one gradient for the shared parameters.

        Raises:
            ConfigError: the aggregation returns something else.
        """
        n = self.matrix.shape[1]
        gradient = aggregation(all_sum(self.matrix))
        check_result(aggregation, gradient, (n,), f"one gradient, a tensor of shape ({n},)")
        # An aggregator of TorchJD may draw at random, which each process would do for itself.
        copy_first([gradient])
        self._point_at(gradient)

    def _point_at(self, gradient: Tensor) -> None:
        """Make pieces of `gradient`, `(n,)`, the `.grad` of the parameters, without a copy."""
        pieces = gradient.split([p.numel() for p in self.parameters])
        for parameter, piece in zip(self.parameters, pieces, strict=True):
            parameter.grad = piece.view_as(parameter)


def build_aggregation(name: str, options: Mapping[str, Any], seed: int) -> Aggregation:
    """An aggregation by its name: one of ours, or a class of `torchjd.aggregation` in any case.

    Args:
        options: those of its class, such as `{"c": 0.4}` for CAGrad.
        seed: for one that draws at random.

    Raises:
        ConfigError: an unknown name (with the nearest known one), or options that do not fit.
    """
    where = "train.aggregation"
    if is_ours(name):  # then TorchJD need not be loaded
        return build_method(Aggregation, name, options, seed, where)
    theirs = {known.lower(): cls for known, cls in torchjd_aggregators().items()}
    if str(name).lower() not in theirs:
        if known_class(Aggregation, name):  # of an installed package
            return build_method(Aggregation, name, options, seed, where)
        known = [*known_names(Aggregation), *torchjd_aggregators()]
        more = missing_extra("torchjd", "torchjd", "UPGrad, CAGrad, MGDA and others")
        fix = suggest(str(name), known) + ("" if theirs else f"; {more}")
        raise ConfigError(f"{where} is unknown", found=repr(name), fix=fix)
    try:
        return TorchJD(theirs[name.lower()](**options))
    except ImportError as error:  # some need a library of their own
        fix = "install what it names"
        raise ConfigError(f"TorchJD cannot make {name}", found=str(error), fix=fix) from None
    except (TypeError, ValueError, AttributeError) as error:  # wrong options: each has its own way
        raise ConfigError(
            f"TorchJD cannot make {name}",
            found=str(error),
            fix="give the options it needs, as CAGrad needs c: train.aggregation_options = "
            "{c = 0.4}, or CAGrad(c=0.4) in a comparison",
        ) from None


def is_ours(name: Any) -> bool:
    """Whether a name is that of an `Aggregation`, or its place, rather than TorchJD's."""
    return isinstance(name, str) and (name in Aggregation.kinds or ":" in name)


def torchjd_aggregators() -> dict[str, type[nn.Module]]:
    """The aggregators of TorchJD by name; empty where the library is not installed."""
    # Looked for without loading it: `mtl train` must not wait for what it does not use.
    if importlib.util.find_spec("torchjd") is None:
        return {}
    from torchjd import aggregation

    classes = {name: getattr(aggregation, name) for name in aggregation.__all__}
    return {
        name: cls
        for name, cls in classes.items()  # except the base classes, `Aggregator` and the like
        if issubclass(cls, aggregation.Aggregator) and not name.endswith("Aggregator")
    }
