"""The names of a device and a precision go in; what torch calls them comes out, if it is there."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from .errors import ConfigError, suggest

DEVICES = ("auto", "cuda", "mps", "cpu")
LARGE = 2e9  # multiply-adds: about a tenth of a second on one core
PRECISIONS = ("float32", "bfloat16", "float16", "auto")
# What CUDA says, and torch on the CPU under Linux and Windows; see `is_out_of_memory`.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def check_device_name(name: str, what: str = "the device") -> None:
    """Raise ConfigError unless a name is in `DEVICES` or is one of several GPUs, such as `cuda:1`.

    Whether this machine has the device is another matter: see `choose_device`.
    """
    if name not in DEVICES and not re.fullmatch(r"cuda:[0-9]+", str(name)):
        nearest = "cuda" if str(name).lower() == "gpu" else str(name)  # by spelling, cpu would be
        fix = f"{suggest(nearest, DEVICES)}; or cuda:0, cuda:1 and so on"
        raise ConfigError(f"{what} is unknown", found=repr(name), fix=fix)


def choose_device(name: str = "auto") -> torch.device:
    """The device with this name; `auto` takes CUDA, else MPS (Apple silicon), else the CPU.

    Args:
        name: one of `DEVICES`, or one GPU of several: `cuda:0` is the first.

    Raises:
        ConfigError: an unknown device, or one that this machine does not have.
    """
    check_device_name(name)
    kind, _, number = name.partition(":")
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        # A dict keeps its order, and the CPU is last and always there.
        name = next(device for device, is_there in present.items() if is_there)
        kind = name
    if not present[kind]:
        raise ConfigError(
            f"this machine has no device {name!r} that torch can use",
            found=", ".join(device for device, is_there in present.items() if is_there),
            fix='use "auto", or install the torch that was built for the device',
        )
    # torch would say so only at the first tensor, and in its own words.
    if number and int(number) >= torch.cuda.device_count():
        n = torch.cuda.device_count()
        raise ConfigError(
            f"this machine has no device {name!r}",
            found="one GPU, cuda:0" if n == 1 else f"{n} GPUs, cuda:0 to cuda:{n - 1}",
            fix="the first one is cuda:0",
        )
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The type that matrix products are computed in; weights and sums stay float32.

    `auto` takes bfloat16 where the device computes in it, else float16 on CUDA, else float32.

    Raises:
        ConfigError: an unknown precision, or float16 without CUDA (elsewhere gradients would
            vanish, since nothing scales them).
    """
    if name not in PRECISIONS:
        raise ConfigError("unknown precision", found=repr(name), fix=suggest(str(name), PRECISIONS))
    if name == "auto":
        if has_bfloat16(device):
            name = "bfloat16"
        else:
            name = "float16" if device.type == "cuda" else "float32"
    if name == "float16" and device.type != "cuda":
        raise ConfigError(
            "float16 is for CUDA", found=f"device {device.type}", fix='use "auto" or "bfloat16"'
        )
    return getattr(torch, name)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16, so that it is faster than float32."""
    if device.type == "cuda":
        # Emulated, it would be slower than float32.
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # older torch cannot tell
        return capabilities.get("avx512_bf16", False)
    return False


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """In this context, matrix products are computed in `dtype` (Micikevicius et al. 2018)."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def full_precision(device: torch.device) -> torch.autocast:
    """In this context, everything is computed in the type it has, even inside `autocast`."""
    return torch.autocast(device.type, enabled=False)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The states of torch's global generators that a model on this device draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_random_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore what `random_state` returned; the state of another kind of device is skipped."""
    # Always there, since much is drawn on the CPU whatever the model's device.
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])


@contextmanager
def kept_random_state(device: torch.device) -> Generator[None]:
    """Drawing or seeding in this context leaves no trace in torch's global generators."""
    states = random_state(device)
    try:
        yield
    finally:
        set_random_state(states, device)


def choose_threads(multiply_adds: float, asked: int = 0) -> int:
    """How many threads a CPU should use for batches of one size.

    A small batch is computed by one thread. The threads of an operation wait for each other, and
    if another program keeps one core busy, all of them wait for the one that has to share it,
    hundreds of times in each step. That is worth it only where operations are long. The rule looks
    at sizes and never at a clock, so that a run can be repeated.

    Args:
        multiply_adds: in one pass of the encoder; see `EncoderConfig.multiply_adds`.
        asked: use this many, whatever the size; 0 for the rule.

    Returns:
        1, or as many as torch has: the cores that this process may use, or fewer if
        `OMP_NUM_THREADS` or `torch.set_num_threads` say so.
    """
    return asked or (torch.get_num_threads() if multiply_adds >= LARGE else 1)


@contextmanager
def use_threads(n: int) -> Generator[None]:
    """In this context, torch computes with `n` threads on the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        # The number holds for the whole process, and the caller may have set it.
        torch.set_num_threads(before)


def describe_device(device: torch.device, dtype: torch.dtype, threads: int) -> str:
    """For people: `cpu, float32, 1 thread`, or `cuda:0 (NVIDIA T4), float16`."""
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    text = f"{device}{name}, {str(dtype).removeprefix('torch.')}"
    if device.type != "cpu":
        return text
    return f"{text}, {threads} {'thread' if threads == 1 else 'threads'}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # Nothing else in this package decides by the text of an error. Here there is nothing else to
    # look at: torch raises a bare RuntimeError where a CPU, or cuBLAS on a GPU, runs out of memory.
    told = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in told for words in OUT_OF_MEMORY)
