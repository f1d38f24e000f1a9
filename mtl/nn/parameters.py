"""The name of a part goes in, such as `encoder.layers[:2]`; its parameters' names come out."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import nn

from ..errors import ConfigError, suggest
from .encoder import TransformerEncoder


def parameters_called(
    names: Iterable[str], model: nn.Module, encoder: TransformerEncoder
) -> list[str]:
    """All parameters that these names stand for; every name is looked up before any is used.

    Args:
        names: `encoder`, `encoder.embeddings`, `encoder.layers[:2]` (the first two layers), or any
            beginning of parameter names, such as `heads.ner`.
        model: the module with the parameters.
        encoder: its submodule `encoder`.

    Raises:
        ConfigError: a name that matches no parameter; the nearest known one is named.
    """
    return [parameter for name in names for parameter in _parameters_of(name, model, encoder)]


def _parameters_of(name: str, model: nn.Module, encoder: TransformerEncoder) -> list[str]:
    if not isinstance(name, str):
        raise ConfigError(
            "parameters are named by texts, one after the other",
            found=repr(name)[:80],
            fix='for example model.freeze("encoder", "heads.ner")',
        )
    parts = [name]
    # "encoder.layers[:2]" is not how any parameter's name begins; those of its parts are.
    first_layers = re.fullmatch(r"encoder\.layers\[:(\d+)\]", name)
    if first_layers and 1 <= int(first_layers[1]) <= len(encoder.layers):
        parts = [f"encoder.layers.{i}" for i in range(int(first_layers[1]))]
    elif name == "encoder.embeddings":
        parts = [f"encoder.{part}" for part in encoder.embedding_parts]
    parameters = [parameter for parameter, _ in model.named_parameters()]
    # With the dots, so that "heads.ner" does not match "heads.ner_2.weight".
    starts = tuple(f"{part}." for part in parts)
    found = [parameter for parameter in parameters if f"{parameter}.".startswith(starts)]
    if not found:
        layers = f"encoder.layers[:N] (N from 1 to {len(encoder.layers)})"
        # Heads, private layers and adapters are stored under the name of their task: "heads.ner".
        of_tasks = {".".join(parameter.split(".")[:2]) for parameter in parameters}
        of_tasks = {part for part in of_tasks if not part.startswith("encoder.")}
        raise ConfigError(
            "the model has no parameters of this name",
            found=repr(name),
            fix=suggest(name, ["encoder", "encoder.embeddings", layers, *of_tasks]),
        )
    return found
