"""A training state as two files that hold no code: tensors (safetensors) and the rest (JSON)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ..errors import ModelError
from ..files import write_atomically

TENSORS, REST = "training_state.safetensors", "training_state.json"
MARK = "tensor:"


def save_state(folder: str | Path, state: dict[str, Any]) -> None:
    """Write a nested dict of tensors and JSON values; the JSON comes last and makes it whole."""
    folder = Path(folder)
    tensors: dict[str, Tensor] = {}
    rest = _take_tensors(state, "", tensors)
    write_atomically(folder / TENSORS, save(tensors))
    write_atomically(folder / REST, json.dumps(rest))


def load_state(folder: str | Path) -> dict[str, Any]:
    """What `save_state` wrote.

    Raises:
        ModelError: a file is missing or broken.
    """
    folder = Path(folder)
    try:
        tensors = load_file(folder / TENSORS)
        rest = json.loads((folder / REST).read_text(encoding="utf-8"))
        return _put_tensors(rest, tensors)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(
            "the training state cannot be read",
            path=folder,
            found=str(error),
            fix="resume from another checkpoint folder, or start afresh",
        ) from None


def has_state(folder: str | Path) -> bool:
    """Whether `folder` holds a whole training state."""
    return (Path(folder) / REST).is_file()


def _take_tensors(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`value` with each tensor moved into `tensors` and its name left in its place."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().contiguous().clone()
        return MARK + name
    if isinstance(value, dict):
        return {str(k): _take_tensors(v, f"{name}/{k}", tensors) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_take_tensors(v, f"{name}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _put_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, str) and value.startswith(MARK):
        return tensors[value.removeprefix(MARK)]
    if isinstance(value, dict):
        return {k: _put_tensors(v, tensors) for k, v in value.items()}
    if isinstance(value, list):
        return [_put_tensors(v, tensors) for v in value]
    return value
