"""A model and settings come in, AdamW goes out; and how its learning rate rises and falls."""

from __future__ import annotations

import torch
from torch import nn

from ..model import MultiTaskModel
from .config import TrainConfig


def build_optimizer(
    model: MultiTaskModel, weighting: nn.Module, config: TrainConfig
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019); only weight matrices and embeddings decay.

    A pretrained encoder has a learning rate of its own: what it knows is lost at the rate that
    fresh weights need.
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
    # Decay would pull the learned weights of losses towards a value that means nothing.
    groups.append({"params": list(weighting.parameters()), "weight_decay": 0.0})
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.learning_rate,
        betas=(0.9, config.adam_beta2),
        # Fewer and larger kernels: the parameters are many, and most of them small.
        fused=True,
    )


def warmup_then_decay(step: int, steps: int, warmup: float) -> float:
    """The factor of the learning rate: linear from 0 to 1, then linear back to 0."""
    # Adam's first steps rest on hardly any statistics: small ones do less harm.
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / (rising + 1)  # not 0 in the first step, which would be lost
    return max(0.0, (steps - step) / max(1, steps - rising))
