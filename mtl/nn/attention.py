"""Token vectors go in; each token's mixture of the others comes out: attention, fused or by hand.

Letters: B batch, T tokens, D model width, H heads, K head width (D = H*K).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import EncoderConfig


def sinusoidal_positions(length: int, width: int) -> Tensor:
    """`(T, D)`: `sin(t / 10000^(2i/D))` at even columns, `cos` at odd (Vaswani et al. 2017)."""
    angles = position_angles(length, width)  # (T, D/2)
    # `[:, :width]`: an odd width has one more sine than cosines.
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)[:, :width]


def position_angles(length: int, width: int, theta: float = 10_000) -> Tensor:
    """`(T, ceil(width/2))`: position t times the frequencies `theta^(-2i/width)`."""
    frequencies = theta ** (-torch.arange(0, width, 2) / width)
    return torch.arange(length)[:, None] * frequencies


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn each pair of features by its position's angle (Su et al. 2021, equation 34).

    A pair of features is a point in the plane, that is, a complex number; multiplying it by
    `e^(i angle)` turns it by that angle. The dot product of a turned query and a turned key then
    depends on how far apart they are, not on where.

    Args:
        x: `(..., H, T, K)`; features 0 and 1 are a pair, 2 and 3, and so on.
        rotation: `(H, T, K/2)` complex; 1 leaves a pair as it is.
    """
    # float(): there are no complex numbers made of bfloat16.
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))  # (..., H, T, K/2)
    return torch.view_as_real(pairs * rotation).flatten(-2).type_as(x)


def rotations(config: EncoderConfig, theta: float) -> Tensor:
    """What `rotate` multiplies by, `(H, T, K/2)` complex; heads that do not rotate have angle 0."""
    angles = position_angles(config.max_length, config.head_width, theta)  # (T, K/2)
    rotates = torch.arange(config.n_heads) < config.n_rotating
    # Angle 0 is multiplication by 1: such a head sees the words, but not where they are.
    angles = angles * rotates[:, None, None]  # (H, T, K/2)
    table = torch.polar(torch.ones_like(angles), angles)
    # The heads of a token are neighbours in memory, as in the queries and keys: that is faster.
    return table.transpose(0, 1).contiguous().transpose(0, 1)


def local_mask(x: Tensor, window: int, mask: Tensor | None) -> Tensor:
    """Where a key is at most half a window away, and not hidden by `mask`.

    Args:
        x: `(B, T, D)`, what the layers read.
        window: tokens, half of them on either side.
        mask: `(B, 1, 1, T)`, True where a key may be attended to; None for all.

    Returns:
        `(1, 1, T, T)`, or `(B, 1, T, T)` with a mask.
    """
    positions = torch.arange(x.shape[1], device=x.device)
    distance = (positions[:, None] - positions).abs()  # (T, T)
    near = (distance <= window // 2)[None, None]
    if mask is None:
        return near
    # Far from the text, padding would see nothing; a softmax over nothing is NaN, which spreads.
    return near & mask | (distance == 0)


def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention, readable (Vaswani et al. 2017, equation 1).

    Args:
        q, k, v: `(B, H, T, K)`.
        mask: True where a key may be attended to, broadcastable to `(B, H, T, T)`; None for all.
        dropout: share of the weights set to 0; the others are scaled up.

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
        self.query_key_value = nn.Linear(config.d_model, 3 * config.d_model, config.bias)
        self.output = nn.Linear(config.d_model, config.d_model, config.bias)

    def project(self, x: Tensor, rotation: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of each head: `(B, T, D)` to three times `(B, H, T, K)`."""
        # One matrix for all three: one large product is faster than three small ones.
        parts = self.query_key_value(x).chunk(3, dim=-1)  # (B, T, D) each
        # D = H*K features are the K features of H heads; each head works alone from here on.
        q, k, v = (
            part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, T, H, K) -> (B, H, T, K)
            for part in parts
        )
        if rotation is not None:  # values say what a word means, wherever it is
            q, k = rotate(q, rotation), rotate(k, rotation)
        return q, k, v

    def merge(self, heads: Tensor) -> Tensor:
        """The heads side by side again, mixed: `(B, H, T, K)` to `(B, T, D)`."""
        return self.output(heads.transpose(1, 2).flatten(2))  # (B, T, H, K) -> (B, T, H*K)

    def forward(self, x: Tensor, mask: Tensor | None, rotation: Tensor | None = None) -> Tensor:
        """`(B, T, D)` to `(B, T, D)`; `mask` as in `attention`."""
        q, k, v = self.project(x, rotation)
        # Unlike nn.Dropout, a function does not know about `eval()`.
        dropout = self.dropout if self.training else 0.0
        if dropout and q.device.type == "cpu" and q.dtype == torch.bfloat16:
            # The CPU's fused kernel has no dropout, and its fallback is slow in bfloat16.
            return self.merge(attention(q, k, v, mask, dropout)[0])
        return self.merge(F.scaled_dot_product_attention(q, k, v, mask, dropout))

    def match_keys_to_queries(self, first: int) -> None:
        """Copy the query projection to the key projection, in the features from `first` on.

        In these heads a query then scores highest with the key of an equal word.
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
