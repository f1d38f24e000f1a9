"""A training state goes into two files that hold no code, and back, if the run is the same.

Tensors go into one (safetensors), the rest into the other (JSON).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ..data.cache import examples_hash, task_hash, tokenizer_hash
from ..errors import ConfigError, ModelError
from ..files import write_atomically
from ..model import MultiTaskModel
from ..tasks import Task
from ..version import __version__
from .config import TrainConfig
from .preflight import by_dataset

REST = "training_state.json"
MARK = "tensor:"


def save_state(folder: str | Path, state: dict[str, Any]) -> None:
    """Write a nested dict of tensors and JSON values.

    The tensors get a new file; the JSON, which names it, is moved into place last. So a kill at any
    moment leaves either the old state or the new one whole.
    """
    folder = Path(folder)
    tensors: dict[str, Tensor] = {}
    rest = _take_tensors(state, tensors)
    content = save(tensors)
    # Named by its content: the file that the old JSON names is never written over.
    name = f"training_state-{sha256(content).hexdigest()[:12]}.safetensors"
    write_atomically(folder / name, content)
    write_atomically(folder / REST, json.dumps({"tensors": name, "state": rest}))
    # Only now is the old one useless.
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
        # JSON and safetensors hold no code: a state from somebody else is safe to open.
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


def identity_of(
    model: MultiTaskModel, tasks: Sequence[Task], config: TrainConfig
) -> dict[str, Any]:
    """What must be the same for a run to continue from the state of another, by name.

    The data is hashed, since it may be too large to keep.
    """
    shape = model.encoder.config
    identity = {f"train.{key}": value for key, value in asdict(config).items()}
    identity |= {f"encoder.{key}": value for key, value in shape.to_dict().items()}
    identity["encoder.overlap"] = model.overlap
    identity["encoder.pretrained"] = model.encoder.pretrained
    for name, rank in model.adapter_ranks.items():
        identity[f"the adapter of {name}"] = asdict(model.adapter_config) | {"rank": rank}
    identity |= {f"the task embedding of {name}": True for name in model.task_embeddings}
    for dataset, sharing in by_dataset(tasks):
        names = " and ".join(task.name for task in sharing)
        identity[f"the training data of {names}"] = examples_hash(dataset.train)
        identity[f"the validation data of {names}"] = examples_hash(dataset.validation)
    identity["the tokenizer"] = tokenizer_hash(model.tokenizer)
    identity |= {f"the task {task.name}": task_hash(task) for task in tasks}
    # Through JSON, so that it equals what is read back from a file (tuples become lists).
    return {"version": __version__} | json.loads(json.dumps(identity))


def check_identity(now: dict[str, Any], then: dict[str, Any]) -> None:
    """Raise ConfigError unless training can continue now from a state with identity `then`."""
    if then.get("version") != now["version"]:  # it may compute something else
        raise ConfigError(
            "the checkpoint was written by another version of mtl",
            found=f"{then.get('version', 'an earlier one')} then, {now['version']} now",
            fix="resume with that version, or start afresh",
        )
    # Keys of either side: a setting that is new, or gone, is a change too.
    changed = [key for key in {**now, **then} if then.get(key) != now.get(key)]
    if changed:
        raise ConfigError(
            "the checkpoint belongs to a different run",
            found=f"changed since: {', '.join(changed)}",
            fix="resume with what it was started with, or start afresh",
        )


def _take_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """`value` with each tensor moved into `tensors`, and its name, a number, left in its place."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # clone: safetensors refuses tensors that share memory, such as slices of one.
        tensors[name] = value.detach().cpu().contiguous().clone()
        return MARK + name
    if isinstance(value, dict):
        # JSON keys can only be text; readers that need numbers convert them back.
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
