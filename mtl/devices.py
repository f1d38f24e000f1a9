"""Where the numbers are computed, and with how many bits."""

from __future__ import annotations

import torch

from .errors import ConfigError, suggest

DEVICES = ("auto", "cuda", "mps", "cpu")
PRECISIONS = ("float32", "bfloat16", "float16", "auto")
# What CUDA, and the CPU of Linux and of Windows, say.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name; `auto` takes CUDA before MPS (Apple silicon) before the CPU.

    Raises:
        ConfigError: an unknown device, or one that this machine does not have.
    """
    if name not in DEVICES:
        raise ConfigError("unknown device", found=repr(name), fix=suggest(str(name), DEVICES))
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        name = next(device for device, is_there in present.items() if is_there)
    if not present[name]:
        raise ConfigError(
            f"this machine has no device {name!r} that torch can use",
            found=", ".join(device for device, is_there in present.items() if is_there),
            fix='use "auto", or install the torch that was built for the device',
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
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # older torch cannot tell
        return capabilities.get("avx512_bf16", False)
    return False


def autocast(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Within it matrix products are computed in `dtype` (Micikevicius et al. 2018)."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def full_precision(device: torch.device) -> torch.autocast:
    """Within it everything is computed in the type it has, even inside `autocast`."""
    return torch.autocast(device.type, enabled=False)


def describe_device(device: torch.device, dtype: torch.dtype) -> str:
    """For people: `cuda (NVIDIA T4), float16`."""
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    return f"{device.type}{name}, {str(dtype).removeprefix('torch.')}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the machine, has no memory left."""
    told = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in told for words in OUT_OF_MEMORY)
    )
