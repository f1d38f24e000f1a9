"""Token ids go in and one vector per token comes out: the Transformer encoder, from scratch.

After Vaswani et al. 2017, "Attention Is All You Need".

Letters: B batch, T tokens, D model width, H heads, K head width (D = H*K), F feed-forward width,
V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import takewhile
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..settings import names_checked
from .attention import MultiHeadSelfAttention, local_mask, rotations, sinusoidal_positions
from .config import EncoderConfig, as_encoder_config

ACTIVATION = {"relu": F.relu, "gelu": F.gelu}
# What a layer is told besides its input: which keys may be seen, and how positions rotate.
Pattern = tuple[Tensor | None, Tensor | None]


def layer_norm(width: int, config: EncoderConfig) -> nn.LayerNorm:
    """Layer norm (Ba et al. 2016) as the config has it."""
    return nn.LayerNorm(width, config.layer_norm_eps, bias=config.bias)


class FeedForward(nn.Module):
    """Two linear layers with a nonlinearity between them, for each token alone (section 3.3)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.d_model, config.feed_forward_width, config.bias)
        self.contract = nn.Linear(config.feed_forward_width, config.d_model, config.bias)
        self.activation = ACTIVATION[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        """`(B, T, D)` to `(B, T, D)`, through width F."""
        # Without the nonlinearity between them, two linear layers would be one.
        return self.contract(self.activation(self.expand(x)))


class GatedFeedForward(nn.Module):
    """Feed-forward whose features are each multiplied by a gate (GEGLU; Shazeer 2020, equation 6).

    The gate is linear in the input too, so that a token decides how much of each feature counts.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        # One matrix for features and gates: one large product is faster than two small ones.
        self.expand = nn.Linear(config.d_model, 2 * config.feed_forward_width, config.bias)
        self.contract = nn.Linear(config.feed_forward_width, config.d_model, config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`(B, T, D)` to `(B, T, D)`, through width F."""
        features, gates = self.expand(x).chunk(2, dim=-1)  # (B, T, F) each
        return self.contract(F.gelu(features) * gates)


FEED_FORWARD: dict[str, Callable[[EncoderConfig], nn.Module]] = {
    "relu": FeedForward,
    "gelu": FeedForward,
    "geglu": GatedFeedForward,
}


class EncoderLayer(nn.Module):
    """Attention, then feed-forward, each with a residual connection, dropout and layer norm.

    Pre-norm normalises what a sublayer reads (Xiong et al. 2020); post-norm normalises the sum it
    is added to, as in the original.

    Args:
        config: the shape of the encoder.
        index: which of its layers this is; the first is 0.

    Attributes:
        sees: `global` if tokens see all others, `local` if only those around them.
    """

    def __init__(self, config: EncoderConfig, index: int = 0) -> None:
        super().__init__()
        self.pre_norm = config.norm == "pre"
        self.sees = "local" if config.is_local(index) else "global"
        self.attention = MultiHeadSelfAttention(config)
        self.feed_forward = FEED_FORWARD[config.activation](config)
        # What the first layer reads may have its norm already.
        has_norm = index > 0 or not config.embedding_norm
        self.attention_norm = layer_norm(config.d_model, config) if has_norm else nn.Identity()
        self.feed_forward_norm = layer_norm(config.d_model, config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None, rotation: Tensor | None = None) -> Tensor:
        """`(B, T, D)` to `(B, T, D)`."""
        # A residual connection adds a sublayer's output to its input: the gradient has a straight
        # way down, and a layer need only learn what to change.
        if self.pre_norm:
            x = x + self.dropout(self.attention(self.attention_norm(x), mask, rotation))
            return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        x = self.attention_norm(x + self.dropout(self.attention(x, mask, rotation)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))

    def attention_weights(
        self, x: Tensor, mask: Tensor | None, rotation: Tensor | None = None
    ) -> Tensor:
        """Where each token of `x` looks in this layer: `(B, H, T, T)`."""
        read = self.attention_norm(x) if self.pre_norm else x
        _, weights = self.attention.explain(read, mask, rotation)
        return weights


class TransformerEncoder(nn.Module):
    """Token ids in, one vector per token out; the part that all tasks share.

    Attributes:
        pretrained: name of the checkpoint that the weights came from; "" if they started fresh.
            Training gives pretrained weights their own learning rate.

    Example:
        >>> encoder = TransformerEncoder(EncoderConfig(vocab_size=100))
        >>> encoder(torch.tensor([[2, 40, 3]])).shape
        torch.Size([1, 3, 64])
    """

    position_table: Tensor  # (T, D), for sinusoidal positions
    rotation_table: Tensor  # (H, T, K/2) complex, for rotary positions
    local_rotation_table: Tensor  # the same for layers with local attention

    @names_checked
    def __init__(self, config: EncoderConfig | Mapping[str, Any]) -> None:
        super().__init__()
        self.config = config = as_encoder_config(config)
        self.pretrained = ""
        width = config.embedding_width
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.type_embedding = nn.Embedding(config.n_types, width) if config.n_types else None
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.max_length, width)
        self.embedding_norm = layer_norm(width, config) if config.embedding_norm else nn.Identity()
        self.embedding_projection = (
            nn.Identity()
            if width == config.d_model
            else nn.Linear(width, config.d_model, config.bias)
        )
        self.layers = nn.ModuleList(EncoderLayer(config, i) for i in range(config.n_layers))
        # In post-norm it comes after the embeddings, in pre-norm at the end.
        self.norm = layer_norm(width if config.norm == "post" else config.d_model, config)
        self.dropout = nn.Dropout(config.dropout)
        self.compute_tables()
        self._initialise()

    def compute_tables(self) -> None:
        """Sines and cosines of the positions; the config is enough, so they are never saved."""
        config = self.config
        if config.positions == "sinusoidal":
            # Sines and cosines have a standard deviation of 1 / sqrt(2). Scaled to that of the
            # embeddings they are added to, neither drowns out the other.
            table = sinusoidal_positions(config.max_length, config.embedding_width)
            table = table * math.sqrt(2) * config.embedding_std
            self.register_buffer("position_table", table, persistent=False)
        if config.positions == "rotary":
            table = rotations(config, config.rotary_theta)
            self.register_buffer("rotation_table", table, persistent=False)
        if config.positions == "rotary" and config.local_attention:
            table = rotations(config, config.local_rotary_theta)
            self.register_buffer("local_rotation_table", table, persistent=False)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                # PyTorch's default has deviation 1, and would drown out what the layers add.
                nn.init.normal_(module.weight, std=self.config.embedding_std)
            elif isinstance(module, nn.Linear):
                # Values and gradients keep about the same size through every layer (Glorot and
                # Bengio 2010), so that no layer learns much faster than another.
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.type_embedding is not None:
            nn.init.normal_(self.type_embedding.weight, std=self.config.type_std)
        if self.config.match_heads:
            # The first heads rotate; the features of those that do not see positions come after.
            first = self.config.n_rotating * self.config.head_width
            for module in self.modules():
                if isinstance(module, MultiHeadSelfAttention):
                    module.match_keys_to_queries(first)

    @property
    def embedding_parts(self) -> list[str]:
        """Names of the submodules that `embed` uses."""
        parts = ["token_embedding", "type_embedding", "position_embedding"]
        parts += ["norm" if self.config.norm == "post" else "embedding_norm"]
        parts += ["embedding_projection"]
        # Those that the config does without have no parameters.
        present = {name.split(".")[0] for name, _ in self.named_parameters()}
        return [name for name in parts if name in present]

    def embed(self, input_ids: Tensor, token_type_ids: Tensor | None) -> Tensor:
        """What the first layer reads, `(B, T)` to `(B, T, D)`: token + segment (+ position).

        Raises:
            ValueError: more tokens than the encoder has positions.
        """
        length = input_ids.shape[1]
        if length > self.config.max_length:
            raise ValueError(
                f"{length} tokens, but the encoder has {self.config.max_length} positions; "
                "cut the text into windows with Tokenizer.rows"
            )
        x = self.token_embedding(input_ids)
        if self.type_embedding is not None:
            # Segment 0 has a vector too; a pretrained encoder has never seen a token without one.
            zeros = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
            x = x + self.type_embedding(zeros)
        if self.config.positions == "learned":
            x = x + self.position_embedding.weight[:length]
        elif self.config.positions == "sinusoidal":
            x = x + self.position_table[:length]
        if self.config.norm == "post":  # as in BERT, where each layer also ends with a norm
            x = self.norm(x)
        return self.embedding_projection(self.dropout(self.embedding_norm(x)))

    def _patterns(self, x: Tensor, attention_mask: Tensor | None) -> dict[str, Pattern]:
        """Mask and rotation for each kind of layer (see `EncoderLayer.sees`)."""
        # (B, 1, 1, T): the same keys are hidden from every head and every query.
        mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]
        patterns = {"global": (mask, self._rotation("rotation_table", x))}
        if self.config.local_attention:
            near = local_mask(x, self.config.local_attention, mask)
            patterns["local"] = (near, self._rotation("local_rotation_table", x))
        return patterns

    def _rotation(self, table: str, x: Tensor) -> Tensor | None:
        """The rows of a table that `x`, `(B, T, D)`, needs."""
        if self.config.positions != "rotary":
            return None
        return getattr(self, table)[:, : x.shape[1]]  # (H, T, K/2)

    @names_checked
    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """Encode.

        Args:
            input_ids: `(B, T)`.
            attention_mask: `(B, T)`, 1 or True = keep, 0 or False = padding; None keeps all.
            token_type_ids: `(B, T)` segments; None means all 0.

        Returns:
            `(B, T, D)`; the vectors at padding mean nothing.

        Raises:
            ValueError: more tokens than the encoder has positions.
        """
        x = self.embed(input_ids, token_type_ids)
        return self._finish(run_layers(self.layers, x, self._patterns(x, attention_mask)))

    def branch(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
        paths: Collection[tuple[nn.Module, ...]],
    ) -> dict[tuple[nn.Module, ...], Tensor]:
        """Encode along several paths; the layers that all of them begin with are run once.

        Args:
            input_ids, attention_mask, token_type_ids: as in `forward`.
            paths: the layers of each, from the first to the last.

        Returns:
            `(B, T, D)` for each path.
        """
        x = self.embed(input_ids, token_type_ids)
        patterns = self._patterns(x, attention_mask)
        common = _common_beginning(paths)
        x = run_layers(common, x, patterns)
        return {path: self._finish(run_layers(path[len(common) :], x, patterns)) for path in paths}

    def _finish(self, x: Tensor) -> Tensor:
        """The last norm of a pre-norm encoder, whose layers leave their sums as they are."""
        return self.norm(x) if self.config.norm == "pre" else x

    def attention_maps(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> list[Tensor]:
        """The attention weights of every layer, each `(B, H, T, T)`: where each token looks."""
        x = self.embed(input_ids, token_type_ids)
        patterns = self._patterns(x, attention_mask)
        maps = []
        # The layers one by one, since `forward` uses a fused kernel that keeps no weights.
        for layer in cast("Iterable[EncoderLayer]", self.layers):
            maps.append(layer.attention_weights(x, *patterns[layer.sees]))
            x = layer(x, *patterns[layer.sees])
        return maps

    def __repr__(self) -> str:
        c = self.config
        return (
            f"TransformerEncoder({len(self.layers)} layers, width {c.d_model}, {c.n_heads} heads, "
            f"{c.positions} positions, {sum(p.numel() for p in self.parameters()):,} parameters)"
        )


def run_layers(layers: Iterable[nn.Module], x: Tensor, patterns: Mapping[str, Pattern]) -> Tensor:
    """`(B, T, D)` through some encoder layers, one after the other, each with its pattern."""
    for layer in cast("Iterable[EncoderLayer]", layers):
        x = layer(x, *patterns[layer.sees])
    return x


def _common_beginning(paths: Iterable[tuple[nn.Module, ...]]) -> list[nn.Module]:
    """The very same layers with which all paths begin."""
    in_step = zip(*paths, strict=False)  # the first layers of all paths, then the second ones, ...
    return [layers[0] for layers in takewhile(lambda layers: len(set(layers)) == 1, in_step)]
