"""Do the tasks pull the shared parameters the same way? Measured beside the training, not in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

import torch
from torch import Tensor

from ..model import MultiTaskModel
from .aggregation import lengths_and_cosines
from .history import Conflict


def gradient_conflict(
    model: MultiTaskModel, losses: Iterable[Mapping[str, Tensor]]
) -> dict[str, Conflict]:
    """The cosine and the ratio of length of the tasks' gradients, for each part of the encoder.

    Args:
        losses: by task, once or several times, with the model behind them; the gradients of a task
            add up. No `.grad` is touched.

    Returns:
        for each pair of tasks, in the model's order, `ner/qa` for example; empty if fewer than two
        have a loss. It takes the memory of two gradients for each task meanwhile.
    """
    parts = model.shared_parts
    parameters = [p for part in parts.values() for p in part]
    rows: dict[str, Tensor] = {}
    width = sum(p.numel() for p in parameters)
    for group in losses:
        for name, loss in group.items():
            row = rows.setdefault(name, parameters[0].new_zeros(width))
            gradients = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            pieces = row.split([p.numel() for p in parameters])
            for piece, gradient in zip(pieces, gradients, strict=True):
                if gradient is not None:
                    piece += gradient.flatten()
    if len(rows) < 2:  # batches without labels of a second task
        return {}
    names = [name for name in model.tasks if name in rows]  # a pair is always called the same
    matrix = torch.stack([rows[name] for name in names])  # (tasks, parameters)
    widths = [sum(p.numel() for p in part) for part in parts.values()]
    measured = dict(zip(parts, matrix.split(widths, dim=1), strict=True)) | {"all": matrix}
    found = {part: lengths_and_cosines(gradients) for part, gradients in measured.items()}
    return {
        f"{first}/{second}": Conflict(
            cosine={part: cosines[i, j].item() for part, (_, cosines) in found.items()},
            ratio={part: (lengths[i] / lengths[j]).item() for part, (lengths, _) in found.items()},
        )
        for (i, first), (j, second) in combinations(enumerate(names), 2)
    }
