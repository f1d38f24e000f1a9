"""The tasks' losses come in; how far their gradients on shared parameters agree goes out.

Only a measurement: it moves no weight.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from ..model import MultiTaskModel
from .aggregation import lengths_and_cosines
from .history import Conflict
from .methods import scaled_gradients
from .ranks import all_sum


def gradient_conflict(
    model: MultiTaskModel,
    losses: Iterable[Mapping[str, Tensor]],
    scale: Tensor | float = 1.0,
) -> dict[str, Conflict]:
    """The cosine and the length ratio of the tasks' gradients, for each part of the encoder.

    Args:
        losses: by task, one dict or several, with the model's graph; the gradients of a task
            add up. No `.grad` is touched.
        scale: what losses are multiplied by for backward, see `scaled_gradients`.

    Returns:
        for each pair of tasks, in the model's order, for example `ner/qa`; empty if fewer than two
        have a loss. Meanwhile it takes the memory of two gradients per task.
    """
    parts = model.shared_parts
    parameters = [p for part in parts.values() for p in part]
    rows: dict[str, Tensor] = {}
    width = sum(p.numel() for p in parameters)
    for group in losses:
        for name, loss in group.items():
            if name not in rows:
                rows[name] = parameters[0].new_zeros(width)
            gradients = _finite_gradients(loss, parameters, scale)
            pieces = rows[name].split([p.numel() for p in parameters])
            for piece, gradient in zip(pieces, gradients, strict=True):
                if gradient is not None:
                    # `split` gives views, so this adds to the row itself.
                    piece += gradient.flatten()
    if len(rows) < 2:  # no labels for a second task in the batches
        return {}
    names = [name for name in model.tasks if name in rows]  # so that a pair has one name
    matrix = all_sum(torch.stack([rows[name] for name in names]))  # (tasks, parameters)
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


def _finite_gradients(
    loss: Tensor, parameters: Sequence[Tensor], scale: Tensor | float
) -> list[Tensor | None]:
    """As `scaled_gradients`, halving the scale until it is not too large for these losses."""
    # The scale is chosen for gradients that are clipped and summed; those of one loss alone may be
    # too large for it. Below 1 it does not help: then the gradient itself is not finite.
    while True:
        gradients = scaled_gradients(loss, parameters, scale)
        if scale <= 1 or all(g.isfinite().all() for g in gradients if g is not None):
            return gradients
        scale = scale / 2
