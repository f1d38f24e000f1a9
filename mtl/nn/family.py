"""The names of our tensors go in; what one family of checkpoints calls them comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .config import EncoderConfig

WEIGHTS, CONFIG = "model.safetensors", "config.json"  # the files of a checkpoint

# position_ids are not a head but a buffer that old versions of transformers saved: 0, 1, 2, ...
HEADS = ("classifier.", "qa_outputs.", "pooler.", "score.", "embeddings.position_ids")

# Values of a config, ours or theirs.
Settings = dict[str, Any]
Weights = dict[str, Tensor]


def nothing_more(config: Mapping[str, Any] | EncoderConfig) -> Settings:
    """For a family whose config says all that there is to know by `Family.shape`."""
    return {}


def as_they_are(weights: Weights, config: EncoderConfig) -> Weights:
    """For a family that orders the numbers of each tensor as we do."""
    return weights


@dataclass(frozen=True)
class Family:
    """How one model type spells its config and its tensors.

    Attributes:
        prefix: how the names of the encoder's tensors begin if there is a head beside it.
        shape: their key for each of our config's fields.
        activations: their names of the activations that we have, with ours.
        fixed: fields of our config that are the same for the whole family.
        parts: what the parts around the layers are called, by our names.
        layers: what the layers are called.
        layer: what the parts of a layer are called, by our names; three for queries, keys, values.
        heads: how the names of its heads' tensors begin; tasks bring their own heads.
        reserved: rows of the position table before that of the first token.
        read: further fields of our config, from theirs; ConfigError if no encoder of ours fits.
        write: further keys of their config, from ours.
        reorder: our weights, from theirs under our names.
        restore: the reverse of `reorder`.
    """

    prefix: str
    shape: dict[str, str]
    activations: dict[str, str]
    fixed: Settings
    parts: dict[str, str]
    layers: str
    layer: dict[str, list[str]]
    heads: tuple[str, ...]
    reserved: int = 0
    read: Callable[[Settings], Settings] = nothing_more
    write: Callable[[EncoderConfig], Settings] = nothing_more
    reorder: Callable[[Weights, EncoderConfig], Weights] = as_they_are
    restore: Callable[[Weights, EncoderConfig], Weights] = as_they_are

    @property
    def has_segments(self) -> bool:
        """Whether there are segment (type) embeddings."""
        return "type_embedding" in self.parts

    def tensor_names(self, ours: Iterable[str]) -> dict[str, list[str]]:
        """Each of our tensors, with those of theirs that make it up: one, or several concatenated.

        Args:
            ours: the keys of the `state_dict` of an encoder.
        """
        return {name: self._tensor_names(name) for name in ours}

    def _tensor_names(self, ours: str) -> list[str]:
        part, kind = ours.rsplit(".", 1)  # kind: weight or bias
        if not part.startswith("layers."):
            return [f"{self.parts[part]}.{kind}"]
        _, i, part = part.split(".", 2)
        return [f"{self.layers}.{i}.{theirs}.{kind}" for theirs in self.layer[part]]
