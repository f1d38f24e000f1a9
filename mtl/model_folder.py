"""The parts of a model go into a folder, and come out of it again; nothing there is ever code.

A folder holds `config.json` (the encoder's shape, the tasks with their labels), the weights in
`model.safetensors`, and the tokenizer's file. No pickle is read, and no module that a folder names
is imported.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from .data.tokenizers.base import Tokenizer
from .data.tokenizers.subwords import SubwordTokenizer
from .data.tokenizers.whitespace import WhitespaceTokenizer
from .data.words import Joining
from .errors import ConfigError, ModelError
from .files import read_json, write_atomically
from .nn.adapters import AdapterConfig
from .nn.config import EncoderConfig
from .nn.encoder import TransformerEncoder
from .tasks import Task

WEIGHTS, CONFIG = "model.safetensors", "config.json"
# What a config.json of an older version may lack, with the values that held then.
ADDED_LATER = {
    **{"overlap": 32, "pretrained": "", "private_layers": 0},
    **{"words_given": {}, "thresholds": {}},
    **{"adapters": {}, "adapter_config": {}, "task_embeddings": []},
}
TOKENIZERS: dict[str, type[Tokenizer]] = {
    cls.__name__: cls for cls in (WhitespaceTokenizer, SubwordTokenizer)
}


@dataclass(frozen=True)
class Parts:
    """What a model is made of, by the names of its arguments; the weights are not included."""

    encoder: TransformerEncoder
    tokenizer: Tokenizer
    tasks: Sequence[Task]
    private_layers: int
    overlap: int
    adapters: Mapping[str, int]
    adapter_config: AdapterConfig
    task_embeddings: Collection[str]


def write_folder(folder: Path, parts: Parts, weights: Mapping[str, Tensor]) -> None:
    """Write the parts of a model and its weights; missing folders are created."""
    write_parts(folder, parts)
    # The weights last: a folder that has them is complete.
    on_cpu = {name: tensor.detach().contiguous().cpu() for name, tensor in weights.items()}
    write_atomically(folder / WEIGHTS, save(on_cpu))


def write_parts(folder: Path, parts: Parts) -> None:
    """Write the parts of a model without its weights; missing folders are created."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "encoder": parts.encoder.config.to_dict(),
        "pretrained": parts.encoder.pretrained,
        "private_layers": parts.private_layers,
        "overlap": parts.overlap,
        "adapters": dict(parts.adapters),
        "adapter_config": asdict(parts.adapter_config),
        "task_embeddings": list(parts.task_embeddings),
        "tokenizer": type(parts.tokenizer).__name__,
        "words_given": {task.name: asdict(task.joining) for task in parts.tasks if task.joining},
        "thresholds": {task.name: task.thresholds for task in parts.tasks if task.thresholds},
        "tasks": {task.name: {"kind": task.kind, **task.settings()} for task in parts.tasks},
    }
    parts.tokenizer.save(folder)
    write_atomically(folder / CONFIG, json.dumps(config, indent=2))


def read_folder(
    folder: Path, build_encoder: Callable[[EncoderConfig], Any] = TransformerEncoder
) -> Parts:
    """The parts of the model that `write_parts` wrote.

    Args:
        build_encoder: what makes the encoder from its config; by default one with fresh weights.

    Raises:
        ModelError: a file is missing or broken, or is not what `write_folder` writes; a task of a
            kind that is not known here.
    """
    config = read_json(folder / CONFIG)
    if "model_type" in config and "tasks" not in config:
        raise ModelError(
            "this is a checkpoint of transformers, an encoder without tasks",
            path=folder,
            found=f"model_type {config['model_type']!r}",
            fix="encoder, tokenizer = mtl.load_pretrained(FOLDER), then "
            "mtl.MultiTaskModel(encoder, tokenizer, [mtl.NERTask(...), ...])",
        )
    try:
        config = _as_of_today(config)
        tokenizer_class = TOKENIZERS[config["tokenizer"]]
        encoder = build_encoder(EncoderConfig(**config["encoder"]))
        encoder.pretrained = config["pretrained"]
        tasks = [_saved_task(name, saved, folder) for name, saved in config["tasks"].items()]
        adapter_config = AdapterConfig(**config["adapter_config"])
        by_name = {task.name: task for task in tasks}
        for name, joining in config["words_given"].items():
            by_name[name].joining = Joining(**joining | {"whole": tuple(joining["whole"])})
        for name, thresholds in config["thresholds"].items():
            by_name[name].thresholds = {key: float(x) for key, x in thresholds.items()}
    except (KeyError, TypeError, ValueError, AttributeError, ConfigError) as error:
        raise bad_config(folder, error) from None
    # Not in the `try`: if a library is missing, the error must say that, and not blame the config.
    tokenizer = tokenizer_class.load(folder)
    return Parts(
        encoder,
        tokenizer,
        tasks,
        config["private_layers"],
        config["overlap"],
        config["adapters"],
        adapter_config,
        config["task_embeddings"],
    )


def _saved_task(name: str, saved: dict[str, Any], folder: Path) -> Task:
    """A task as config.json describes it.

    Raises:
        ModelError: its kind is not known, and the folder cannot make it known by naming a module.
    """
    try:
        task_class = Task.of_kind(saved["kind"], f"the kind of the task {name!r}")
    except ConfigError as error:
        raise ModelError.collect(error.faults).at(folder / CONFIG) from None
    return task_class.from_settings(name, {k: x for k, x in saved.items() if k != "kind"})


def bad_config(folder: Path, error: Exception) -> ModelError:
    """The error for a config that cannot be used, from what Python or a check says about it."""
    return ModelError(
        "config.json is not one that save_pretrained wrote",
        path=folder / CONFIG,
        found=f"{type(error).__name__}: {error.args[0] if error.args else error}",
        fix="copy the whole model folder again",
    )


def _as_of_today(config: dict[str, Any]) -> dict[str, Any]:
    """The config of a model folder, whichever version wrote it, as this one would write it."""
    shape = dict(config["encoder"])
    # Up to version 0.3 these two were kept with the shape of the encoder.
    moved = {key: shape.pop(key) for key in ("overlap", "pretrained") if key in shape}
    return ADDED_LATER | moved | config | {"encoder": shape}
