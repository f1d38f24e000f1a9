"""An embedding task goes in; a folder that `sentence-transformers` loads comes out.

There, a model is a chain of modules, each with a folder of its own. Ours is Transformer, Pooling
(the mean), Dense if the head projects, LayerNorm, and Normalize.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from safetensors.torch import save
from torch import nn

from ..data.tokenizers.subwords import SubwordTokenizer
from ..errors import ModelError
from ..files import write_atomically
from ..model import MultiTaskModel
from ..nn.export import save_for_transformers
from ..nn.family import CONFIG, WEIGHTS, Weights
from ..nn.heads import EmbeddingHead

# The name of a module, its config and its weights.
Module = tuple[str, dict[str, Any], Weights]


def export_for_sentence_transformers(
    model: MultiTaskModel, task: str, folder: str | Path
) -> list[str]:
    """Write the encoder as an embedding task reads it, its head and the tokenizer.

    They cut a text that is too long for one row; we read all of it, in windows.

    Args:
        task: the name of the task.
        folder: is created if it is missing.

    Returns:
        the names of the modules.

    Raises:
        ConfigError: there is no such task, or it has a task embedding.
        ModelError: a task of another kind, or an encoder or a tokenizer that `transformers` has no
            equal of.
    """
    chosen, folder = model.task(task), Path(folder)
    head = model.heads[chosen.name]
    if not isinstance(head, EmbeddingHead):
        raise ModelError(
            f"the task {chosen.name!r} gives no vectors",
            found=type(head).__name__,
            fix="name an embedding task, or use --format transformers",
        )
    config = model.encoder.config
    modules = [("Transformer", {}, {}), *_modules_of(head, config.d_model)]
    tokenizer = cast("SubwordTokenizer", model.tokenizer)  # others are refused
    save_for_transformers(model.encoder_for(chosen.name), tokenizer, folder)
    limits = {"max_seq_length": config.max_length, "do_lower_case": False}
    _write(folder / "sentence_bert_config.json", limits)
    _write(folder / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})
    # The first module is the folder itself.
    places = ["", *(f"{i}_{name}" for i, (name, _, _) in enumerate(modules) if i)]
    for place, (_, settings, weights) in list(zip(places, modules, strict=True))[1:]:
        _write(folder / place / CONFIG, settings)
        if weights:
            write_atomically(folder / place / WEIGHTS, save(weights))
    chain = [
        {"idx": i, "name": f"{i}", "path": place, "type": f"sentence_transformers.models.{name}"}
        for i, (place, (name, _, _)) in enumerate(zip(places, modules, strict=True))
    ]
    _write(folder / "modules.json", chain)
    return [name for name, _, _ in modules]


def _modules_of(head: EmbeddingHead, d_model: int) -> list[Module]:
    """What the head does, as modules."""
    pooling = {"word_embedding_dimension": d_model, "pooling_mode_mean_tokens": True}
    modules: list[Module] = [("Pooling", pooling, {})]
    width = len(head.norm.weight)
    if isinstance(head.project, nn.Linear):
        identity = "torch.nn.modules.linear.Identity"  # no activation
        dense = {"in_features": d_model, "out_features": width, "bias": True}
        weights = _weights("linear", head.project)
        modules.append(("Dense", dense | {"activation_function": identity}, weights))
    modules.append(("LayerNorm", {"dimension": width}, _weights("norm", head.norm)))
    return [*modules, ("Normalize", {}, {})]


def _weights(name: str, module: nn.Module) -> Weights:
    state = module.state_dict()
    return {f"{name}.{part}": tensor.cpu().contiguous() for part, tensor in state.items()}


def _write(path: Path, content: Any) -> None:
    write_atomically(path, json.dumps(content, indent=2))
