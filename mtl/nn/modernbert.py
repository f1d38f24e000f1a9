"""A config of ModernBERT goes in, and comes out, as a config of ours; and so do its weights.

ModernBERT (Warner et al. 2024, "Smarter, Better, Faster, Longer") is a pre-norm encoder with
rotary positions, a gate in its feed-forward layers and local attention in most of them:

    theirs                                        ours
    embeddings.tok_embeddings                     token_embedding
    embeddings.norm                               embedding_norm
    layers.0.attn.Wqkv                            layers.0.attention.query_key_value
    layers.0.attn.Wo                              layers.0.attention.output
    layers.1.attn_norm                            layers.1.attention_norm (the first has none)
    layers.0.mlp.Wi                               layers.0.feed_forward.expand
    layers.0.mlp.Wo                               layers.0.feed_forward.contract
    layers.0.mlp_norm                             layers.0.feed_forward_norm
    final_norm                                    norm

Rotary positions turn features in pairs. Ours are neighbours, 2i and 2i + 1; theirs are half a head
apart, i and i + K/2. So the rows that make queries and keys are put into another order: the pairs
are then the same, and so is every dot product of a query and a key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError
from .config import EncoderConfig
from .family import HEADS, Family, Settings, Weights

GLOBAL, LOCAL = "full_attention", "sliding_attention"  # what they call the kinds of layers
BIASES = ("norm_bias", "attention_bias", "mlp_bias")


def read(theirs: Settings) -> Settings:
    """The fields of our config that theirs spells in a way of its own.

    Raises:
        ConfigError: layers, rotations or biases that our encoder cannot have.
    """
    biases = {key: bool(theirs.get(key)) for key in BIASES}
    if len(set(biases.values())) > 1:
        raise ConfigError("all of the biases, or none, must be there", found=str(biases))
    return {
        "bias": biases["norm_bias"],
        "rotary_theta": _theta(theirs, GLOBAL, "global_rope_theta", 160_000.0),
        "local_rotary_theta": _theta(theirs, LOCAL, "local_rope_theta", 10_000.0),
        "local_attention": theirs.get("local_attention", 128),
        "global_every": _global_every(theirs),
    }


def write(config: EncoderConfig) -> Settings:
    """Their config, apart from `Family.shape`, as new and old versions of it are spelled."""
    every = config.global_every if config.local_attention else 1
    thetas = {GLOBAL: config.rotary_theta, LOCAL: config.local_rotary_theta}
    return {
        **dict.fromkeys(BIASES, config.bias),
        "mlp_dropout": config.dropout,
        "local_attention": config.local_attention,
        "layer_types": _layer_types(config.n_layers, every),
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in thetas.items()
        },
        "global_attn_every_n_layers": every,
        "global_rope_theta": config.rotary_theta,
        "local_rope_theta": config.local_rotary_theta,
    }


def _theta(theirs: Settings, kind: str, old_key: str, default: float) -> Any:
    """How fast the layers of one kind rotate; old versions had a key for each."""
    rope = (theirs.get("rope_parameters") or {}).get(kind) or {}
    scaled = theirs.get("rope_scaling") or rope.get("rope_type", "default")
    if scaled != "default":
        raise ConfigError("the angles of rotary positions are scaled", found=str(scaled))
    return rope.get("rope_theta", theirs.get(old_key, default))


def _global_every(theirs: Settings) -> Any:
    """Every how many layers one sees all tokens; old versions gave the number itself."""
    kinds = theirs.get("layer_types")
    if kinds is None:
        return theirs.get("global_attn_every_n_layers", 3)
    for every in range(1, len(kinds) + 1):
        if kinds == _layer_types(len(kinds), every):
            return every
    raise ConfigError(
        "layers that see all tokens must come at equal distances, from the first on",
        found=f"layer_types {kinds}",
    )


def _layer_types(n_layers: int, every: int) -> list[str]:
    return [LOCAL if i % every else GLOBAL for i in range(n_layers)]


def reorder(weights: Weights, config: EncoderConfig) -> Weights:
    """Our weights from theirs: pairs of features become neighbours."""
    # Rows i and i + K/2 of each head: (H, 2, K/2, ...) to (H, K/2, 2, ...).
    return _with_rows(weights, lambda x: x.unflatten(0, (config.n_heads, 2, -1)))


def restore(weights: Weights, config: EncoderConfig) -> Weights:
    """Their weights from ours: pairs of features move half a head apart."""
    # Rows 2i and 2i + 1 of each head: (H, K/2, 2, ...) to (H, 2, K/2, ...).
    return _with_rows(weights, lambda x: x.unflatten(0, (config.n_heads, -1, 2)))


def _with_rows(weights: Weights, split: Callable[[Tensor], Tensor]) -> Weights:
    """The same weights, with the rows of all queries and keys split, swapped and joined again."""
    changed = dict(weights)
    for name, tensor in weights.items():
        if ".query_key_value." in name:
            query, key, value = tensor.chunk(3)
            query, key = (split(x).transpose(1, 2).flatten(0, 2) for x in (query, key))
            changed[name] = torch.cat([query, key, value])
    return changed


MODERNBERT = Family(
    prefix="model",
    shape={
        "vocab_size": "vocab_size",
        "d_model": "hidden_size",
        "n_heads": "num_attention_heads",
        "n_layers": "num_hidden_layers",
        "d_ff": "intermediate_size",
        "max_length": "max_position_embeddings",
        "activation": "hidden_activation",
        "dropout": "embedding_dropout",
        "attention_dropout": "attention_dropout",
        "layer_norm_eps": "norm_eps",
    },
    activations={"gelu": "geglu"},
    fixed={
        "positions": "rotary",
        "rotary_heads": 0,
        "norm": "pre",
        "embedding_norm": True,
        "n_types": 0,
        "d_embedding": 0,
    },
    parts={
        "token_embedding": "embeddings.tok_embeddings",
        "embedding_norm": "embeddings.norm",
        "norm": "final_norm",
    },
    layers="layers",
    layer={
        "attention.query_key_value": ["attn.Wqkv"],
        "attention.output": ["attn.Wo"],
        "attention_norm": ["attn_norm"],
        "feed_forward.expand": ["mlp.Wi"],
        "feed_forward.contract": ["mlp.Wo"],
        "feed_forward_norm": ["mlp_norm"],
    },
    heads=("head.", "decoder.", *HEADS),
    read=read,
    write=write,
    reorder=reorder,
    restore=restore,
)
