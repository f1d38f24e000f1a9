"""One of several processes that train together comes in; what they have in common goes out.

`torchrun` starts the processes; its environment variables tell each which one it is, its rank, and
how many there are. torch.distributed carries tensors between them: gloo on CPUs, NCCL on GPUs.
A process that was started alone is the only one: nothing is sent, and every function here returns
what it was given.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..devices import is_out_of_memory
from ..errors import ConfigError, DataWarning, MTLError, TrainingWarning

T = TypeVar("T")
# A process that dies is noticed at once. This is for one that hangs; it must be longer than
# whatever the first does alone while the others wait, such as writing a large model.
TIMEOUT = timedelta(minutes=30)
HEARD_OUT = 3.0  # seconds for the process that failed first to say why


@contextmanager
def started() -> Generator[None]:
    """In this context, train together with the other processes that `torchrun` started.

    If one fails, all end: it says why, the others leave quietly (SystemExit). The first process
    gives the warnings of all.

    Raises:
        ConfigError: environment variables are missing or contradict each other.
    """
    # Within another `started`, or alone.
    if world() > 1 or n_started() == 1:
        yield
        return
    store = _join()
    with warnings.catch_warnings():
        if not is_first():
            warnings.simplefilter("ignore", DataWarning)
            warnings.simplefilter("ignore", TrainingWarning)
        try:
            yield
        except Exception as error:
            # The connections stay open meanwhile: the others notice when this process has ended.
            if not _fails_first(store):
                # Most likely because another did. If this one left at once, torchrun might end the
                # other before that has said why.
                time.sleep(HEARD_OUT)
                raise SystemExit(getattr(error, "exit_code", 1)) from error
            if isinstance(error, MTLError):
                raise error.at(what=f"rank {rank()}: ") from error
            raise
    dist.destroy_process_group()


def _join() -> dist.Store:
    """Connect to the other processes; returns the store that all of them can read and write."""
    try:
        store, own, size = next(dist.rendezvous("env://", timeout=TIMEOUT))
        # Two processes cannot share a GPU in NCCL, but in gloo.
        backend = "gloo"
        if n_gpus := torch.cuda.device_count():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", own)) % n_gpus)
            if int(os.environ.get("LOCAL_WORLD_SIZE", size)) <= n_gpus:
                backend = "cpu:gloo,cuda:nccl"
        dist.init_process_group(backend, store=store, rank=own, world_size=size, timeout=TIMEOUT)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"WORLD_SIZE = {n_started()} says that several processes train together, but this one "
            "cannot reach the others",
            found=_in_short(error),
            fix="start them with torchrun, or unset WORLD_SIZE to train alone",
        ) from error
    return store


def _fails_first(store: dist.Store) -> bool:
    """Whether no other process has failed before; to be asked once."""
    try:
        return store.add("mtl/failed", 1) == 1
    except RuntimeError:  # the process that kept the store is gone
        return True


def _in_short(error: Exception) -> str:
    """The first sentence of what torch says, without the line of its source."""
    return re.sub(r"^\[\S+\] ", "", str(error)).splitlines()[0].split(". ")[0]


def n_started() -> int:
    """How many processes `torchrun` started."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def world() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of the processes this is, from 0."""
    return dist.get_rank() if world() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that shows progress and writes files."""
    return rank() == 0


# --- what the processes tell each other -----------------------------------------------------------
# All of them must make the same calls in the same order: nothing that only one of them knows may
# decide whether one of these functions is called.


@contextmanager
def _in_touch() -> Generator[None]:
    """Say in our words that another process is gone."""
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        raise MTLError(
            "another process of this training has ended, or does not answer",
            found=_in_short(error),
            fix="see what it said last; --resume continues from the last state that was saved",
        ) from error


def all_sum(tensor: Tensor) -> Tensor:
    """The sum of the tensors of all processes, written over this one."""
    if world() > 1:
        with _in_touch():
            dist.all_reduce(tensor)
    return tensor


def from_first(value: T) -> T:
    """What the first process gave; the others' own values are not looked at."""
    if world() == 1:
        return value
    box = [value if is_first() else None]
    with _in_touch():
        dist.broadcast_object_list(box)
    return box[0]  # ty: ignore[invalid-explicit-return]


def copy_first(tensors: Iterable[Tensor]) -> None:
    """Write the tensors of the first process over those of all others."""
    if world() > 1:
        with _in_touch():
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)


def gathered(value: T) -> list[T]:
    """What each process gave, by rank."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    with _in_touch():
        dist.all_gather_object(values, value)
    return values


# --- what is made of that -------------------------------------------------------------------------


def spread(function: Callable[[Sequence[Any]], Sequence[T]], items: Sequence[Any]) -> Sequence[T]:
    """`function(items)`, which gives a result for each item: every process computes its part."""
    if world() == 1:
        return function(items)
    results: list[Any] = [None] * len(items)
    for of_rank, part in enumerate(gathered(function(items[rank() :: world()]))):
        results[of_rank :: world()] = part
    return results


def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Add up the gradients of all processes; a parameter that none of them reached stays without.

    A sum after backward, not DistributedDataParallel: which heads have a gradient changes from step
    to step, and from process to process, since labels may be missing. DDP would have to search the
    graph for that in every step (`find_unused_parameters`), and it cannot add up the gradients of
    each task, which aggregations need. What it would gain is to send the gradients of the upper
    layers during backward through the lower ones: between the GPUs of one machine, and encoders of
    some hundred million parameters at most, a few milliseconds.
    """
    if world() == 1:
        return
    # On the CPU, where nothing has to wait for a GPU.
    reached = all_sum(torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32))
    moved = [p for p, n in zip(parameters, reached.tolist(), strict=True) if n]
    if not moved:
        return
    flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in moved])
    pieces = all_sum(flat).split([p.numel() for p in moved])
    for parameter, piece in zip(moved, pieces, strict=True):
        parameter.grad = piece.view_as(parameter)


def check_same_weights(model: nn.Module) -> None:
    """Raise MTLError if the weights of this process are not, to the bit, those of the first."""
    if world() == 1:
        return
    # The bits as whole numbers: their sum is exact, in whatever order a device adds them.
    sums = {
        name: int(p.detach().flatten().view(torch.int16).sum(dtype=torch.int64))
        for name, p in model.named_parameters()
    }
    differ = [name for name, of_first in from_first(sums).items() if sums[name] != of_first]
    if differ:
        raise MTLError(
            "the processes no longer have the same weights",
            found=f"{len(differ):,} of {len(sums):,} tensors differ, such as {differ[0]}",
            fix="what decides a step must not be drawn from torch's global generator, which each "
            "process has for itself: give a weighting or an aggregation of your own a generator "
            "(mtl.training.methods.Drawing)",
        )


def check_same(what: dict[str, Any]) -> None:
    """Raise ConfigError unless all processes train the same, on the same.

    Args:
        what: settings and hashes by name; see `mtl.training.state.identity_of`.
    """
    of_first = from_first(what)
    differ = [key for key in {**what, **of_first} if what.get(key) != of_first.get(key)]
    if differ:
        raise ConfigError(
            "the processes do not all train the same",
            found=f"other than in the first: {', '.join(differ)}",
            fix="start all of them with the same command, on copies of the same files",
        )
