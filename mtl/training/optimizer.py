"""A model and settings come in; AdamW and the schedule of its learning rate go out."""

from __future__ import annotations

import torch
from torch import nn

from ..model import MultiTaskModel
from .config import TrainConfig


def build_optimizer(
    model: MultiTaskModel, weighting: nn.Module, config: TrainConfig
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019); only weight matrices and embeddings decay.

    A pretrained encoder has its own learning rate: at the rate that fresh weights need, it would
    lose what it knows.
    """
    is_pretrained = bool(model.encoder.pretrained)
    # Private layers are copies of the encoder's, so they are pretrained too.
    layers = [*model.encoder.parameters(), *model.private.parameters()]
    pretrained = set(layers) if is_pretrained else set()
    parameters = [p for p in model.parameters() if p.requires_grad]
    fresh = [p for p in parameters if p not in pretrained]
    kept = [p for p in parameters if p in pretrained]
    groups = []
    for of_a_kind, rate in (
        (fresh, config.learning_rate),
        (kept, config.pretrained_learning_rate),
    ):
        matrices = [p for p in of_a_kind if p.dim() > 1]
        vectors = [p for p in of_a_kind if p.dim() <= 1]  # biases and norms
        groups.append({"params": matrices, "lr": rate, "weight_decay": config.weight_decay})
        groups.append({"params": vectors, "lr": rate, "weight_decay": 0.0})
    # Decay would pull the learned loss weights towards a value that means nothing.
    groups.append({"params": list(weighting.parameters()), "weight_decay": 0.0})
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(0.9, config.adam_beta2),
        # Fewer, larger kernels: there are many parameters, and most are small.
        fused=True,
    )


class Schedule:
    """The factor of the learning rate at each step: it rises to 1, may stay there, and falls to 0.

    With a `decay_ratio` of 1 it falls as soon as it has risen. With less it first stays at its
    peak: warm-up, stable, decay (WSD; Hu et al. 2024, "MiniCPM", section 4). Until it falls,
    training need not know how long it will last, so `fall_now` may let it fall early.

    Args:
        steps: those of the whole run, after which it is 0.
        warmup_ratio: share of the steps over which it rises linearly.
        decay_ratio: share of the steps, at the end, over which it falls linearly; at most those
            left after the rise.

    Attributes:
        rising, falling: the number of steps over which it rises, and falls.
        end: the step at which it is 0.
    """

    # Plain numbers only: LambdaLR keeps them in its state, so a resumed run falls as it would have.
    def __init__(self, steps: int, warmup_ratio: float, decay_ratio: float = 1.0) -> None:
        self.rising = round(warmup_ratio * steps)
        self.falling = min(round(decay_ratio * steps), steps - self.rising)
        self.end = steps

    def __call__(self, step: int) -> float:
        # Adam's first steps rest on few statistics: small steps do less harm.
        rise = (step + 1) / (self.rising + 1)  # not 0 in the first step, which would be wasted
        fall = (self.end - step) / max(1, self.falling)
        return max(0.0, min(1.0, rise, fall))

    def fall_now(self, step: int, falling: int) -> None:
        """Fall from this step on, within `falling` steps."""
        self.falling, self.end = falling, step + falling
