"""Token ids go in and one vector per token comes out: the Transformer encoder, from scratch.

After Vaswani et al. 2017, "Attention Is All You Need".

Letters: B batch, T tokens, D model width, H heads, K head width (D = H*K), F feed-forward width,
V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import Fault
from ..settings import check, setting

POSITIONS = ("sinusoidal", "learned", "rotary")
NORMS = ("pre", "post")
ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu}


@dataclass(frozen=True)
class EncoderConfig:
    """Shape and kind of a `TransformerEncoder`.

    Args:
        vocab_size: V, ids of the tokenizer.
        d_model: D, width of every hidden state.
        n_heads: H, attention heads; divides `d_model`.
        n_layers: encoder layers.
        d_ff: F, width of the feed-forward layer; 0 means `4 * d_model`.
        max_length: most tokens in a row, and how many positions there are.
        positions: `sinusoidal` (Vaswani et al. 2017, section 3.5), `learned` (BERT), or `rotary`
            (Su et al. 2021, equation 34).
        rotary_heads: with rotary positions, how many heads rotate; the others do not see where a
            word stands. 0 means all.
        norm: `pre` (before each sublayer, and once at the end) or `post` (after each sublayer, and
            once after the embeddings, as BERT).
        activation: of the feed-forward layer, `relu` or `gelu`.
        dropout: after embeddings, attention weights and each sublayer.
        attention_dropout: of the attention weights, if it is another. At 0, attention is one fused
            kernel on every device; a CPU has none with dropout, and is slower with it.
        n_types: segments, 2 for question and context; 0 for none.
        match_heads: in heads that do not rotate, start the key projection as a copy of the query
            projection, so that a fresh head attends to words equal to its own (kin to Trockman and
            Kolter 2023).
        embedding_std: standard deviation of fresh token and position embeddings.
        type_std: standard deviation of fresh segment embeddings. If it is small beside
            `embedding_std`, a word looks nearly the same in question and context.
        layer_norm_eps: added to the variance in layer norm.

    Raises:
        ConfigError: values that cannot be, all of them together; of an unknown kind the nearest
            known one is named.
    """

    vocab_size: int = setting(least=1)
    d_model: int = setting(64, least=1)
    n_heads: int = setting(4, least=1)
    n_layers: int = setting(2, least=1)
    d_ff: int = setting(0, least=0)
    max_length: int = setting(128, least=8)
    positions: str = setting("sinusoidal", choices=POSITIONS)
    rotary_heads: int = 0
    norm: str = setting("pre", choices=NORMS)
    activation: str = setting("gelu", choices=ACTIVATIONS)
    dropout: float = setting(0.1, least=0, below=1)
    attention_dropout: float | None = setting(None, least=0, below=1)
    n_types: int = setting(2, least=0)
    match_heads: bool = False
    embedding_std: float = setting(0.02, least=0)
    type_std: float = setting(0.02, least=0)
    layer_norm_eps: float = setting(1e-5, least=0)

    def __post_init__(self) -> None:
        check(self, "encoder.")

    def contradictions(self, wrong: Collection[str]) -> Iterator[Fault]:
        """What cannot be together; nothing is said of settings that are `wrong` already."""
        fine = set(wrong).isdisjoint
        if not fine(["d_model", "n_heads"]):
            return
        if self.d_model % self.n_heads:
            yield Fault(
                "encoder.d_model must be a multiple of encoder.n_heads",
                found=f"d_model {self.d_model}, n_heads {self.n_heads}",
            )
        elif self.positions == "rotary" and self.head_width % 2:
            yield Fault(
                "rotary positions need an even head width (d_model / n_heads)",
                found=str(self.head_width),
            )
        if not fine(["rotary_heads", "positions", "match_heads"]):
            return
        if not 0 <= self.rotary_heads <= self.n_heads:
            yield Fault(
                "encoder.rotary_heads must lie between 0 and encoder.n_heads",
                found=str(self.rotary_heads),
            )
        elif self.match_heads and self.n_rotating == self.n_heads:
            yield Fault(
                "encoder.match_heads needs a head that does not rotate",
                found=f"n_heads {self.n_heads}, rotary_heads {self.rotary_heads} (0 means all)",
                fix="set encoder.rotary_heads to at least 1 and below encoder.n_heads",
            )

    @property
    def head_width(self) -> int:
        """K."""
        return self.d_model // self.n_heads

    @property
    def n_rotating(self) -> int:
        """How many heads rotate, the first ones."""
        return (self.rotary_heads or self.n_heads) if self.positions == "rotary" else 0

    @property
    def feed_forward_width(self) -> int:
        """F."""
        return self.d_ff or 4 * self.d_model

    @property
    def multiply_adds(self) -> int:
        """What the linear layers do to one token: four D x D and two D x F matrices in a layer."""
        return self.n_layers * self.d_model * (4 * self.d_model + 2 * self.feed_forward_width)

    def to_dict(self) -> dict:
        """Plain values, for `config.json`."""
        return asdict(self)


def sinusoidal_positions(length: int, width: int) -> Tensor:
    """`(T, D)`: `sin(t / 10000^(2i/D))` at even columns, `cos` at odd (Vaswani et al. 2017)."""
    angles = position_angles(length, width)  # (T, D/2)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :width]


def position_angles(length: int, width: int) -> Tensor:
    """`(T, ceil(width/2))`: position t times the frequencies `10000^(-2i/width)`."""
    frequencies = 10_000 ** (-torch.arange(0, width, 2) / width)
    return torch.arange(length)[:, None] * frequencies


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn each pair of features by its position's angle (Su et al. 2021, equation 34).

    A pair of features is a point in the plane, and so a complex number; to turn it by an angle is
    to multiply it by `e^(i angle)`. The dot product of a turned query and a turned key then depends
    on how far apart they stand, not on where.

    Args:
        x: `(..., H, T, K)`; features 0 and 1 are a pair, 2 and 3, and so on.
        rotation: `(H, T, K/2)` complex; 1 leaves a pair as it is.
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))  # (..., H, T, K/2)
    return torch.view_as_real(pairs * rotation).flatten(-2).type_as(x)


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention, readable (Vaswani et al. 2017, equation 1).

    Args:
        q, k, v: `(B, H, T, K)`.
        mask: True where a key may be attended to, broadcastable to `(B, H, T, T)`; None for all.
        dropout: share of the weights that are set to 0, the others scaled up.

    Returns:
        `(B, H, T, K)` mixed values, and `(B, H, T, T)` weights; each row of weights sums to 1.
    """
    # A dot product of K random numbers grows like sqrt(K). Undivided, the softmax would give nearly
    # all its weight to one key, and hardly any gradient to the others.
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, H, T, T)
    if mask is not None:
        # Minus infinity becomes a weight of exactly 0: padding has no say at all.
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = F.dropout(scores.softmax(dim=-1), dropout)
    return weights @ v, weights


class MultiHeadSelfAttention(nn.Module):
    """Every token looks at every token, in H ways at once (Vaswani et al. 2017, section 3.2).

    `forward` uses PyTorch's fused attention; `explain` computes the same with `attention`, step by
    step, and returns the weights too.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        own = config.attention_dropout
        self.dropout = config.dropout if own is None else own
        self.query_key_value = nn.Linear(config.d_model, 3 * config.d_model)
        self.output = nn.Linear(config.d_model, config.d_model)

    def project(self, x: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of each head: `(B, T, D)` to three times `(B, H, T, K)`."""
        # One matrix for all three: one large product is faster than three small ones.
        parts = self.query_key_value(x).chunk(3, dim=-1)  # (B, T, D) each
        # D = H*K features are the K features of H heads; each head works alone from here on.
        q, k, v = (
            part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, T, H, K) -> (B, H, T, K)
            for part in parts
        )
        if rotation is not None:  # values say what a word means, which does not depend on where
            q, k = rotate(q, rotation), rotate(k, rotation)
        return q, k, v

    def merge(self, heads: Tensor) -> Tensor:
        """The heads side by side again, mixed: `(B, H, T, K)` to `(B, T, D)`."""
        return self.output(heads.transpose(1, 2).flatten(2))  # (B, T, H, K) -> (B, T, H*K)

    def forward(self, x: Tensor, mask: Tensor | None, rotation: Tensor | None = None) -> Tensor:
        """`(B, T, D)` to `(B, T, D)`; `mask` as in `attention`."""
        q, k, v = self.project(x, rotation)
        dropout = self.dropout if self.training else 0.0
        if dropout and q.device.type == "cpu" and q.dtype == torch.bfloat16:
            # The CPU's fused kernel has no dropout, and what stands in for it is slow in bfloat16.
            return self.merge(attention(q, k, v, mask, dropout)[0])
        return self.merge(F.scaled_dot_product_attention(q, k, v, mask, dropout))

    def match_keys_to_queries(self, first: int) -> None:
        """Copy the query projection to the key projection, in the features from `first` on.

        A query of these heads then scores highest with the key of an equal word.
        """
        with torch.no_grad():
            query, key, _ = self.query_key_value.weight.chunk(3)  # (D, D) each, views of the weight
            key[first:] = query[first:]

    def explain(
        self, x: Tensor, mask: Tensor | None, rotation: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """`forward` without dropout, and the weights `(B, H, T, T)`."""
        mixed, weights = attention(*self.project(x, rotation), mask)
        return self.merge(mixed), weights


class FeedForward(nn.Module):
    """Two linear layers with a nonlinearity between them, at each token alone (section 3.3)."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.d_model, config.feed_forward_width)
        self.contract = nn.Linear(config.feed_forward_width, config.d_model)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        """`(B, T, D)` to `(B, T, D)`, through width F."""
        return self.contract(self.activation(self.expand(x)))


class EncoderLayer(nn.Module):
    """Attention, then feed-forward, each with a residual connection, dropout and layer norm.

    Pre-norm normalises what a sublayer reads (Xiong et al. 2020); post-norm normalises the sum it
    is added to, as in the original.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.pre_norm = config.norm == "pre"
        self.attention = MultiHeadSelfAttention(config)
        self.feed_forward = FeedForward(config)
        self.attention_norm = nn.LayerNorm(config.d_model, config.layer_norm_eps)
        self.feed_forward_norm = nn.LayerNorm(config.d_model, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None, rotation: Tensor | None = None) -> Tensor:
        """`(B, T, D)` to `(B, T, D)`."""
        # A residual connection adds what a sublayer found to what was there: the gradient has a
        # straight way down, and a layer need only learn what to change.
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
        pretrained: name of the checkpoint that the weights came from; "" if they began fresh.
            Training gives pretrained weights a learning rate of their own.

    Example:
        >>> encoder = TransformerEncoder(EncoderConfig(vocab_size=100))
        >>> encoder(torch.tensor([[2, 40, 3]])).shape
        torch.Size([1, 3, 64])
    """

    position_table: Tensor  # (T, D), for sinusoidal positions
    rotation_table: Tensor  # (H, T, K/2) complex, for rotary positions

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.pretrained = ""
        self.token_embedding = nn.Embedding(config.vocab_size, config.d_model)
        self.type_embedding = (
            nn.Embedding(config.n_types, config.d_model) if config.n_types else None
        )
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.max_length, config.d_model)
        elif config.positions == "sinusoidal":
            # Sines and cosines have a standard deviation of 1 / sqrt(2). Scaled to that of the
            # embeddings they are added to, neither drowns the other.
            table = sinusoidal_positions(config.max_length, config.d_model)
            self.register_buffer(
                "position_table", table * math.sqrt(2) * config.embedding_std, persistent=False
            )
        else:
            self.register_buffer("rotation_table", rotations(config), persistent=False)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model, config.layer_norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=self.config.embedding_std)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
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
        parts = [name for name in parts if getattr(self, name, None) is not None]
        return [*parts, "norm"] if self.config.norm == "post" else parts

    def embed(self, input_ids: Tensor, type_ids: Tensor | None) -> Tensor:
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
            zeros = torch.zeros_like(input_ids) if type_ids is None else type_ids
            x = x + self.type_embedding(zeros)
        if self.config.positions == "learned":
            x = x + self.position_embedding.weight[:length]
        elif self.config.positions == "sinusoidal":
            x = x + self.position_table[:length]
        if self.config.norm == "post":
            x = self.norm(x)
        return self.dropout(x)

    def _mask_and_rotation(
        self, length: int, attention_mask: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None]:
        # (B, 1, 1, T): the same keys are hidden from every head and every query.
        mask = None if attention_mask is None else attention_mask.bool()[:, None, None, :]
        if self.config.positions != "rotary":
            return mask, None
        return mask, self.rotation_table[:, :length]

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        type_ids: Tensor | None = None,
    ) -> Tensor:
        """Encode.

        Args:
            input_ids: `(B, T)`.
            attention_mask: `(B, T)`, 1 or True = keep, 0 or False = padding; None keeps all.
            type_ids: `(B, T)` segments; None means all 0.

        Returns:
            `(B, T, D)`; what stands at padding means nothing.

        Raises:
            ValueError: more tokens than the encoder has positions.
        """
        x = self.embed(input_ids, type_ids)
        mask, rotation = self._mask_and_rotation(x.shape[1], attention_mask)
        return self._finish(run_layers(self.layers, x, mask, rotation))

    def branch(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        type_ids: Tensor | None,
        tops: Mapping[str, Iterable[nn.Module]],
    ) -> dict[str, Tensor]:
        """Encode once, and go on from the last layer along several branches.

        Args:
            input_ids, attention_mask, type_ids: as in `forward`.
            tops: by name, the further layers of each branch; none is a branch too.

        Returns:
            `(B, T, D)` for each branch.
        """
        x = self.embed(input_ids, type_ids)
        mask, rotation = self._mask_and_rotation(x.shape[1], attention_mask)
        shared = run_layers(self.layers, x, mask, rotation)
        return {
            name: self._finish(run_layers(layers, shared, mask, rotation))
            for name, layers in tops.items()
        }

    def _finish(self, x: Tensor) -> Tensor:
        """The last norm of a pre-norm encoder, whose layers leave their sums as they are."""
        return self.norm(x) if self.config.norm == "pre" else x

    def attention_maps(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        type_ids: Tensor | None = None,
    ) -> list[Tensor]:
        """The attention weights of every layer, each `(B, H, T, T)`: where each token looks."""
        x = self.embed(input_ids, type_ids)
        mask, rotation = self._mask_and_rotation(x.shape[1], attention_mask)
        maps = []
        for layer in cast("Iterable[EncoderLayer]", self.layers):
            maps.append(layer.attention_weights(x, mask, rotation))
            x = layer(x, mask, rotation)
        return maps

    def __repr__(self) -> str:
        c = self.config
        return (
            f"TransformerEncoder({len(self.layers)} layers, width {c.d_model}, {c.n_heads} heads, "
            f"{c.positions} positions, {sum(p.numel() for p in self.parameters()):,} parameters)"
        )


def run_layers(
    layers: Iterable[nn.Module], x: Tensor, mask: Tensor | None, rotation: Tensor | None
) -> Tensor:
    """`(B, T, D)` through some encoder layers, one after the other."""
    for layer in layers:
        x = layer(x, mask, rotation)
    return x


def rotations(config: EncoderConfig) -> Tensor:
    """What `rotate` multiplies by, `(H, T, K/2)` complex; heads that do not rotate have angle 0."""
    angles = position_angles(config.max_length, config.head_width)  # (T, K/2)
    rotates = torch.arange(config.n_heads) < config.n_rotating
    angles = angles * rotates[:, None, None]  # (H, T, K/2)
    table = torch.polar(torch.ones_like(angles), angles)
    # The heads of a token are neighbours in memory, as in the queries and keys: that is faster.
    return table.transpose(0, 1).contiguous().transpose(0, 1)
