"""An encoder comes in; for the time of a `with` block, its forward pass is compiled code.

`torch.compile` reads the Python code of the pass once and makes fewer and larger kernels of it
(Ansel et al. 2024, "PyTorch 2"). The encoder remains what it is: it is saved, scored and used as if
there were no compiler.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError
from ..model import MultiTaskModel
from .config import CAPTURED

ROWS = 8  # batches are filled up to a multiple of this

Forward = Callable[..., Tensor]


class Compiled:
    """Compiles the forward pass of a model's encoder; the heads are few kernels, and stay as is.

    Args:
        how: True; `CAPTURED`, which also saves the CPU the launching; False does nothing.
    """

    def __init__(self, model: MultiTaskModel, how: bool | str) -> None:
        self.encoder = model.encoder
        self.captures = how == CAPTURED
        self.forward: Forward | None = None
        if how:
            self.forward = _compiled(self.encoder.forward, CAPTURED if self.captures else None)

    @contextmanager
    def in_use(self) -> Generator[None]:
        """In this context an encoder in training runs as compiled code."""
        # Not where gradients are compared, without dropout: that would be compiled once more.
        if self.forward is None or not self.encoder.training:
            yield
            return
        if self.captures:  # what a graph wrote in the last step may be written over
            torch.compiler.cudagraph_mark_step_begin()
        # Of the object, not of its class; a wrapper would change the names of its weights.
        self.encoder.forward = self.forward
        try:
            yield
        finally:
            del self.encoder.forward


def _compiled(forward: Forward, mode: str | None) -> Forward:
    """The same function, compiled, for batches of any number of rows."""
    # dynamic: one compilation, which takes a minute or so, serves all shapes; one for each shape
    # would be a little faster, after many minutes.
    compiled = torch.compile(forward, dynamic=True, mode=mode)

    def run(input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        # A graph is captured for each shape, and a single row would be compiled by itself. The rows
        # that are added may be seen: from one that is all hidden, some kernels make NaN.
        inputs = (input_ids, 0), (attention_mask, 1), (token_type_ids, 0)
        more = -len(input_ids) % ROWS
        filled = [F.pad(tensor, (0, 0, 0, more), value=value) for tensor, value in inputs]
        return compiled(*filled)[: len(input_ids)]

    return run


def check_can_compile(model: MultiTaskModel, how: bool | str, device: torch.device) -> None:
    """Raise ConfigError unless the encoder of a model can be compiled here, if it is to be.

    There may be no compiler that torch can use, no GPU to capture kernels on, or tasks with layers
    of their own.
    """
    if not how:
        return
    if how == CAPTURED and device.type != "cuda":
        raise ConfigError(
            f'train.compile = "{CAPTURED}" captures the kernels of a GPU (CUDA)',
            found=f"device {device.type}",
            fix="set train.compile = true",
        )
    # Each task has a path of its own through the layers then, which would be compiled by itself.
    if own := [name for name in model.tasks if model.own_layers(name)]:
        raise ConfigError(
            "train.compile is for tasks that read the same encoder, with nothing of their own",
            found=f"private layers, an adapter or an embedding of {', '.join(own)}",
            fix="set train.compile = false",
        )
    _check_compiler(device)


def _check_compiler(device: torch.device) -> None:
    """Raise ConfigError unless torch can compile for a device, which it tries."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:  # of whatever kind: a compiler that is missing, or is too old
        *_, last = (line for line in str(error).splitlines() if line.strip())
        needs = (
            "Triton and a C compiler" if device.type == "cuda" else "a C++ compiler, such as g++"
        )
        raise ConfigError(
            "torch cannot compile here, as train.compile asks it to",
            found=f"{type(error).__name__}: {last.strip():.200}",
            fix=f"install {needs}, or set train.compile = false",
        ) from None
