"""A training state as two files that hold no code: tensors (safetensors) and the rest (JSON)."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ..errors import ModelError
from ..files import write_atomically

REST = "training_state.json"
MARK = "tensor:"


def save_state(folder: str | Path, state: dict[str, Any]) -> None:
    """Write a nested dict of tensors and JSON values.

    The tensors get a new file; the JSON, which names it, is moved into place last. So a kill at any
    moment leaves the old state or the new one whole.
    """
    folder = Path(folder)
    tensors: dict[str, Tensor] = {}
    rest = _take_tensors(state, tensors)
    content = save(tensors)
    name = f"training_state-{sha256(content).hexdigest()[:12]}.safetensors"
    write_atomically(folder / name, content)
    write_atomically(folder / REST, json.dumps({"tensors": name, "state": rest}))
    for old in folder.glob("training_state-*.safetensors"):
        if old.name != name:
            old.unlink()


def load_state(folder: str | Path) -> dict[str, Any]:
    """What `save_state` wrote.

    Raises:
        ModelError: a file is missing or broken.
    """
    folder = Path(folder)
    try:
        content = json.loads((folder / REST).read_text(encoding="utf-8"))
        return _put_tensors(content["state"], load_file(folder / content["tensors"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise ModelError(
            "the training state cannot be read",
            path=folder,
            found=str(error),
            fix="start afresh: --overwrite, or without resume",
        ) from None


def has_state(folder: str | Path) -> bool:
    """Whether `folder` holds a whole training state."""
    return (Path(folder) / REST).is_file()


def _take_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` with each tensor moved into `tensors` and its name, a number, left in its place."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return MARK + name
    if isinstance(value, dict):
        return {str(k): _take_tensors(v, tensors) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_take_tensors(v, tensors) for v in value]
    return value


def _put_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, str) and value.startswith(MARK):
        return tensors[value.removeprefix(MARK)]
    if isinstance(value, dict):
        return {k: _put_tensors(v, tensors) for k, v in value.items()}
    if isinstance(value, list):
        return [_put_tensors(v, tensors) for v in value]
    return value
