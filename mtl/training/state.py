"""A training state goes into files that hold no code, and back, if the run is the same.

Tensors go into one (safetensors), rounds into another (a line of JSON each), the rest into a third
(JSON), which names the others. Rounds are appended: at the end of a long training, saving takes no
longer than at its beginning.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..data.cache import examples_hash, task_hash, tokenizer_hash
from ..errors import ConfigError, ModelError
from ..files import append_lines, write_atomically, write_tensors
from ..model import MultiTaskModel
from ..tasks import Task
from ..version import __version__
from .config import TrainConfig
from .history import Round
from .preflight import by_dataset

REST = "training_state.json"
MARK = "tensor:"
ROUNDS = "rounds"


def save_state(folder: str | Path, state: dict[str, Any]) -> None:
    """Write a nested dict of tensors and JSON values.

    The tensors get a new file, and new rounds are appended to theirs; the JSON, which names both
    and says how many rounds count, is moved into place last. So a kill at any moment leaves either
    the old state or the new one whole.

    Args:
        state: may have all `rounds` of a run so far, which `id` names; those of the same run that
            the folder has already stay as they are.
    """
    folder = Path(folder)
    tensors: dict[str, Tensor] = {}
    rest = _take_tensors({k: v for k, v in state.items() if k != ROUNDS}, tensors, set())
    # A new name: the file that the old JSON names is never written over.
    name = f"training_state-{secrets.token_hex(6)}.safetensors"
    write_tensors(folder / name, tensors)
    content: dict[str, Any] = {"tensors": name, "state": rest}
    if ROUNDS in state:
        content[ROUNDS] = _append(folder, state[ROUNDS], state["id"])
    write_atomically(folder / REST, json.dumps(content))
    # Only now are the old ones useless.
    for old in (*folder.glob("training_state-*.safetensors"), *folder.glob("training_rounds-*")):
        if old.name not in (name, content.get(ROUNDS, {}).get("file")):
            old.unlink()


def _append(folder: Path, rounds: Sequence[Round], run: str) -> dict[str, Any]:
    """Append the rounds that the folder does not have yet; the file, their number, and its size."""
    file = f"training_rounds-{run}.jsonl"
    known = _read_rest(folder).get(ROUNDS, {}) if has_state(folder) else {}
    if known.get("file") != file or known["n"] > len(rounds):  # of another run, or of its future
        known = {"n": 0, "size": 0}
    lines = (json.dumps(asdict(one)) for one in islice(rounds, known["n"], None))
    size = append_lines(folder / file, known["size"], lines)
    return {"file": file, "n": len(rounds), "size": size}


def _read_rest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / REST).read_text(encoding="utf-8"))


def _read_rounds(folder: Path, known: dict[str, Any]) -> list[dict[str, Any]]:
    """What `_append` wrote; ValueError if it is not all there."""
    with (folder / known["file"]).open("rb") as file:
        # What comes after them was written by a save that did not come to its end.
        lines = file.read(known["size"]).splitlines()
    if len(lines) != known["n"]:
        raise ValueError(f"{len(lines):,} of {known['n']:,} rounds in {known['file']}")
    return list(map(json.loads, lines))


def load_state(folder: str | Path) -> dict[str, Any]:
    """What `save_state` wrote, with rounds as plain values.

    Raises:
        ModelError: a file is missing or broken.
    """
    folder = Path(folder)
    try:
        content = _read_rest(folder)
        # JSON and safetensors hold no code: a state from somebody else is safe to open.
        state = _put_tensors(content["state"], load_file(folder / content["tensors"]))
        rounds = content.get(ROUNDS)
        return state if rounds is None else state | {ROUNDS: _read_rounds(folder, rounds)}
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


def _take_tensors(value: Any, tensors: dict[str, Tensor], memory: set[int]) -> Any:
    """`value` with each tensor moved into `tensors`, and its name, a number, left in its place.

    Args:
        memory: the addresses of what is in `tensors`.
    """
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = _with_own_memory(value.detach().cpu().contiguous(), memory)
        return MARK + name
    if isinstance(value, dict):
        # JSON keys can only be text; readers that need numbers convert them back.
        return {str(k): _take_tensors(v, tensors, memory) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_take_tensors(v, tensors, memory) for v in value]
    return value


def _with_own_memory(tensor: Tensor, memory: set[int]) -> Tensor:
    """The tensor, or a copy if it shares memory, which safetensors refuses: most share none."""
    storage = tensor.untyped_storage()
    is_part = storage.nbytes() != tensor.nbytes
    if is_part or storage.data_ptr() in memory:
        return tensor.clone()
    memory.add(storage.data_ptr())
    return tensor


def _put_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, str) and value.startswith(MARK):
        return tensors[value.removeprefix(MARK)]
    if isinstance(value, dict):
        return {k: _put_tensors(v, tensors) for k, v in value.items()}
    if isinstance(value, list):
        return [_put_tensors(v, tensors) for v in value]
    return value
