"""A step that failed comes in; the error that explains it goes out: not finite, out of memory."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..data.batching import Batch
from ..errors import ConfigError, MTLError
from .config import TrainConfig
from .history import StepRecord, show_losses
from .ranks import gathered


def check_weights(weighting: str, weights: Mapping[str, float], step: int) -> None:
    """Raise ConfigError if a weighting gives a negative weight, or one that is not finite.

    Args:
        weighting: its name in errors.
        step: the number of the step, from 1.
    """
    for name, weight in weights.items():
        if not (math.isfinite(weight) and weight >= 0):
            raise ConfigError(
                f"{weighting} gives the task {name!r} a weight that is not a finite "
                f"number, 0 or more, at step {step}",
                found=str(weight),
                fix="check its forward, or lower train.learning_rate if it learns; the "
                "weights of the model are those before this step",
            )


def not_finite(
    step: int, record: StepRecord, batches: Sequence[Batch], aggregation: str | None
) -> MTLError:
    """The error for a loss or gradient that is not finite; it names the examples.

    Args:
        step: its number, from 1.
        aggregation: what combined the gradients, if anything did: it may be to blame.
    """
    spoiled = [name for name, loss in record.losses.items() if not math.isfinite(loss)]
    own = {
        task: [item.name for b in batches if task in b.targets for item in b.labelled(task)]
        for task in spoiled or record.losses  # no loss is to blame: any example may be
    }
    # All processes fail in the same step; whichever tells, tells it of all of them.
    shares = gathered(own)
    examples = {task: [name for share in shares for name in share[task]] for task in own}
    names = [f"{task}: {', '.join(of_task)}" for task, of_task in examples.items()]
    look_at = "look at these examples"
    if aggregation and not spoiled:
        look_at += f", at what {aggregation} returns"
    return MTLError(
        f"the loss or its gradient is not finite at step {step}",
        found=f"{show_losses(record.losses)}  gradient norm {record.grad_norm}; examples of "
        f"the step: {'; '.join(names)}",
        fix=f"{look_at}, or lower the learning rate (train.learning_rate, "
        "train.pretrained_learning_rate); the weights are those before this step",
    )


def out_of_memory(
    tasks: Sequence[str], config: TrainConfig, max_length: int, where: str
) -> MTLError:
    """The error for a step that needs more memory than there is; it says what would need less.

    Args:
        tasks: the names of those in the step.
        max_length: most tokens that the encoder reads at once.
        where: device, precision and threads, in words.
    """
    return MTLError(
        f"there is not enough memory for a step of {' and '.join(tasks)}",
        found=f"train.batch_size {config.batch_size}, train.max_tokens {config.max_tokens}, "
        f"encoder.max_length {max_length}, train.precision {config.precision!r} on {where}",
        fix="set train.max_tokens, say to 2048 (the same update, in parts); then lower "
        'encoder.max_length or train.batch_size; train.precision = "auto" may halve it too',
    )
