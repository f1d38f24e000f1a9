"""The encoder's hidden states go in; logits come out of a small layer for each task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import ConfigError, suggest

POOLINGS = ("cls", "mean", "max")
COMPARE = "compare"  # of pairs: see `PairHead`
PAIR_POOLINGS = (COMPARE, *POOLINGS)


def check_pooling(how: str, what: str, known: Sequence[str] = POOLINGS) -> None:
    """Raise ConfigError unless `how` is one of those known; `what` says whose it is."""
    if how not in known:
        raise ConfigError(f"{what} is unknown", found=repr(how), fix=suggest(str(how), known))


def pool(hidden: Tensor, mask: Tensor, how: str) -> Tensor:
    """One vector per row: `(B, T, D)` to `(B, D)`; padding has no say.

    Args:
        hidden: of every token.
        mask: `(B, T)`, 1 or True where there is a token.
        how: `cls` (the first token's), `mean` or `max` (of each feature, over the tokens).
    """
    keep = mask.bool()[:, :, None]  # (B, T, 1)
    if how == "cls":
        return hidden[:, 0]
    if how == "max":
        # -inf, not 0: all real features of a row may be negative.
        return hidden.masked_fill(~keep, float("-inf")).amax(dim=1)
    # Divided by the row's own number of tokens, so that more padding changes nothing.
    # clamp: of a text that a row lacks, the mean is 0, since NaN would spread.
    return hidden.masked_fill(~keep, 0.0).sum(dim=1) / keep.sum(dim=1).clamp(min=1)


class TokenClassificationHead(nn.Module):
    """One linear layer that scores every class at every token: `(B, T, D)` to `(B, T, C)`."""

    def __init__(self, d_model: int, n_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(d_model, n_classes)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.classifier(hidden)


class SpanHead(nn.Module):
    """How well each token serves as the start, and as the end, of the answer.

    `(B, T, D)` to start logits `(B, T)` and end logits `(B, T)` (Devlin et al. 2019, section 4.2).
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.start_and_end = nn.Linear(d_model, 2)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        start, end = self.start_and_end(hidden).unbind(-1)  # (B, T, 2) -> (B, T) each
        return start, end


class SequenceClassificationHead(nn.Module):
    """One score per class from the pooled tokens: `(B, T, D)` and mask `(B, T)` to `(B, C)`."""

    def __init__(self, d_model: int, n_classes: int, pooling: str = "mean") -> None:
        super().__init__()
        self.pooling = pooling
        self.classifier = nn.Linear(d_model, n_classes)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return self.classifier(pool(hidden, mask, self.pooling))


class PairHead(nn.Module):
    """One score per class from two texts in one row, compared.

    `(B, T, D)`, mask and segments `(B, T)` to `(B, C)`. With u and v the means over the tokens of
    either text, one linear layer reads u, v, |u - v| and u * v (Conneau et al. 2017, "Supervised
    Learning of Universal Sentence Representations", section 3.1). What the two have in common need
    not be found by attention first, which takes many examples.
    """

    def __init__(self, d_model: int, n_classes: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(4 * d_model, n_classes)

    def forward(self, hidden: Tensor, mask: Tensor, token_type_ids: Tensor) -> Tensor:
        u, v = (pool(hidden, mask.bool() & (token_type_ids == i), "mean") for i in (0, 1))  # (B, D)
        return self.classifier(torch.cat([u, v, (u - v).abs(), u * v], dim=-1))


class EmbeddingHead(nn.Module):
    """A unit vector for each row: `(B, T, D)` and mask `(B, T)` to `(B, E)`.

    Mean over the tokens, a linear layer to another width if one is given, layer norm, and division
    by the length (mean pooling as in Reimers and Gurevych 2019, "Sentence-BERT", section 3).

    Args:
        d_model: D.
        width: E; 0 keeps D, without the linear layer.
    """

    def __init__(self, d_model: int, width: int = 0) -> None:
        super().__init__()
        self.project = nn.Linear(d_model, width) if width else nn.Identity()
        self.norm = nn.LayerNorm(width or d_model)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return unit_vectors(self.norm(self.project(pool(hidden, mask, "mean"))))


def unit_vectors(vectors: Tensor) -> Tensor:
    """Each vector `(..., E)` divided by its length."""
    return F.normalize(vectors, dim=-1)


def merge_rows(vectors: Tensor, owner: Tensor, n: int) -> Tensor:
    """The mean of the rows that belong to each of `n` owners: `(B, E)` to `(n, E)`.

    Args:
        vectors: one per row, such as the windows of long texts.
        owner: `(B,)`, from 0 to n - 1; an owner without rows gets zeros.
        n: how many owners.
    """
    # index_add sums all rows of an owner at once; a loop over owners would be slow on a GPU.
    sums = vectors.new_zeros(n, vectors.shape[1]).index_add(0, owner, vectors)
    # clamp: an owner without rows would be 0 / 0, and NaN spreads.
    return sums / torch.bincount(owner, minlength=n).clamp(min=1)[:, None]


def largest_of_rows(vectors: Tensor, owner: Tensor, n: int) -> Tensor:
    """The largest value of each feature in the rows of each of `n` owners: `(B, E)` to `(n, E)`.

    Arguments as in `merge_rows`.
    """
    index = owner[:, None].expand_as(vectors)  # (B,) -> (B, E)
    start = vectors.new_zeros(n, vectors.shape[1])
    return start.scatter_reduce(0, index, vectors, "amax", include_self=False)
