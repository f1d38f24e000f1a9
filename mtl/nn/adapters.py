"""The layers of an encoder go in; they come out with one task's own low-rank additions (LoRA).

After Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models".

Letters: B batch, T tokens, D model width, r rank.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError, suggest
from ..settings import check, class_names_checked, setting
from .encoder import TransformerEncoder

# The linear layers of an encoder layer, and the matrices that are stacked in the weight of each.
LINEAR_LAYERS = {
    "attention.query_key_value": ("query", "key", "value"),
    "attention.output": ("output",),
    "feed_forward.expand": ("expand",),
    "feed_forward.contract": ("contract",),
}
MATRICES = tuple(chain(*LINEAR_LAYERS.values()))


def _check_matrices(matrices: Sequence[str], name: str) -> None:
    for matrix in matrices:
        if matrix not in MATRICES:
            raise ConfigError(
                f"{name} names an unknown matrix",
                found=repr(matrix),
                fix=suggest(matrix, MATRICES),
            )
    if not matrices or len(set(matrices)) < len(matrices):
        raise ConfigError(
            f"{name} must name at least one matrix, and each once",
            found=repr(list(matrices)),
            fix='for example ["query", "value"]',
        )


@class_names_checked
@dataclass(frozen=True)
class AdapterConfig:
    """What the adapters of a model have in common; each task has its own rank.

    Args:
        matrices: which matrices of a layer are adapted: `query`, `key`, `value` and `output` of
            the attention, `expand` and `contract` of the feed-forward layer.
        alpha: an addition is scaled by `alpha / rank`.
        layers: how many layers are adapted, from the top; 0 means all. What lies below is run once
            for all tasks.

    Raises:
        ConfigError: impossible values, all reported together.
    """

    # Queries and values, as in the paper's section 7.1.
    matrices: Sequence[str] = setting(("query", "value"), check=_check_matrices)
    alpha: float = setting(16.0, above=0, below=math.inf)
    layers: int = setting(0, least=0)

    def __post_init__(self) -> None:
        check(self, "adapters.")


def as_adapter_config(config: AdapterConfig | Mapping[str, Any] | None) -> AdapterConfig:
    """A config unchanged, or one made from a dict; ConfigError if it is neither."""
    if config is None or isinstance(config, Mapping):
        return AdapterConfig(**(config or {}))
    if not isinstance(config, AdapterConfig):
        raise ConfigError(
            "what adapters have in common is an AdapterConfig",
            found=repr(config)[:80],
            fix='a dict will do, such as {"matrices": ["query", "value"], "alpha": 16}',
        )
    return config


def check_adapter(rank: int, config: AdapterConfig, n_layers: int) -> None:
    """Raise ConfigError unless a task can have an adapter of this rank, or none (0).

    Args:
        n_layers: how many layers the tasks share.
    """
    if type(rank) is not int or rank < 0:
        raise ConfigError(
            "the rank of an adapter must be a whole number, at least 0", found=repr(rank)
        )
    if rank and config.layers > n_layers:
        raise ConfigError(
            f"adapters.layers must be at most the {n_layers} layers that the tasks share",
            found=str(config.layers),
            fix="set it to 0 for all layers",
        )


class LowRank(nn.Module):
    """What is added to one matrix: `(alpha / r) B A`; here A is `down` and B is `up`."""

    def __init__(self, n_in: int, n_out: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.down = nn.Parameter(torch.empty(rank, n_in))
        self.up = nn.Parameter(torch.zeros(n_out, rank))  # so that at first nothing is added
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # as PyTorch's linear layers, and PEFT

    def forward(self, x: Tensor) -> Tensor:
        """`(B, T, n_in)` to `(B, T, n_out)`, through width r."""
        return self.scale * F.linear(F.linear(x, self.down), self.up)

    def matrix(self) -> Tensor:
        """The same as one matrix, `(n_out, n_in)`."""
        return self.scale * self.up @ self.down


class AdaptedLinear(nn.Module):
    """A linear layer with what is added to it: `W0 x + (alpha / r) B A x` (equation 3).

    Args:
        linear: the layer, shared with other tasks.
        additions: one for each matrix stacked in its weight; None for those that stay as they are.
    """

    def __init__(self, linear: nn.Module, additions: Iterable[LowRank | None]) -> None:
        super().__init__()
        self.linear = linear
        self.additions = list(additions)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, T, n_in)` to `(B, T, n_out)`."""
        parts = self.linear(x).chunk(len(self.additions), dim=-1)
        added = [
            part if addition is None else part + addition(x)
            for part, addition in zip(parts, self.additions, strict=True)
        ]
        return torch.cat(added, dim=-1)


class LayerAdapter(nn.ModuleDict):
    """The additions to one encoder layer: a `LowRank` for each adapted matrix, by its name."""

    def __init__(self, layer: nn.Module, rank: int, config: AdapterConfig) -> None:
        super().__init__()
        for path, names in LINEAR_LAYERS.items():
            n_out, n_in = _linear(layer, path).weight.shape
            for name in names:
                if name in config.matrices:
                    self[name] = LowRank(n_in, n_out // len(names), rank, config.alpha)

    def additions(self, names: Iterable[str]) -> list[LowRank | None]:
        """Those to the matrices of these names; None where there is none."""
        return [cast("LowRank", self[name]) if name in self else None for name in names]

    def adapted(self, layer: nn.Module) -> nn.Module:
        """A view of the layer that makes the additions; the layer itself stays as it is."""
        for path, names in LINEAR_LAYERS.items():
            if not self.keys().isdisjoint(names):
                linear = AdaptedLinear(_linear(layer, path), self.additions(names))
                layer = _with_part(layer, path, linear)
        return layer

    @torch.no_grad()
    def merge_into(self, layer: nn.Module) -> None:
        """Make the additions to the weights themselves: `W0 + (alpha / r) B A`."""
        for path, names in LINEAR_LAYERS.items():
            matrices = _linear(layer, path).weight.chunk(len(names))  # views of the weight
            for matrix, addition in zip(matrices, self.additions(names), strict=True):
                if addition is not None:
                    matrix += addition.matrix()


class Adapter(nn.Module):
    """The additions of one task to the layers of an encoder; the layers themselves stay shared.

    Args:
        layers: those of the encoder.
        rank: r, at least 1.
        config: which matrices of which layers are adapted.
    """

    def __init__(self, layers: Sequence[nn.Module], rank: int, config: AdapterConfig) -> None:
        super().__init__()
        self.rank = rank
        first = len(layers) - (config.layers or len(layers))
        # By the number of the layer, so that the names of the weights say which it is.
        self.layers = nn.ModuleDict(
            {
                str(i): LayerAdapter(layer, rank, config)
                for i, layer in enumerate(layers)
                if i >= first
            }
        )

    def of_layer(self, i: int) -> LayerAdapter | None:
        """The additions to a layer, if it has any."""
        return cast("LayerAdapter", self.layers[str(i)]) if str(i) in self.layers else None

    def adapted(self, layers: Iterable[nn.Module]) -> list[nn.Module]:
        """The layers of the encoder, those with additions as views that share its weights."""
        pairs = [(layer, self.of_layer(i)) for i, layer in enumerate(layers)]
        return [layer if own is None else own.adapted(layer) for layer, own in pairs]

    def merged(self, encoder: TransformerEncoder) -> TransformerEncoder:
        """A copy of the encoder with the additions in its weights: it needs no adapter any more."""
        whole = copy.deepcopy(encoder)
        for i, layer in enumerate(whole.layers):
            if (own := self.of_layer(i)) is not None:
                own.merge_into(layer)
        return whole


def _linear(layer: nn.Module, path: str) -> nn.Linear:
    """The linear layer at a dotted path inside an encoder layer."""
    return cast("nn.Linear", layer.get_submodule(path))


def _with_part(module: nn.Module, path: str, part: nn.Module) -> nn.Module:
    """A shallow copy of a module with another submodule at a dotted path; all else is shared."""
    name, _, rest = path.partition(".")
    new = _with_part(module.get_submodule(name), rest, part) if rest else part
    view = object.__new__(type(module))
    # A dict of its own for the submodules, or the change would reach the module itself.
    view.__dict__.update(module.__dict__, _modules=module._modules | {name: new})
    return view
