"""Hidden states go in; a score for every short span of words and every entity type comes out.

Su et al. (2022), "Global Pointer: Novel Efficient Span-based Approach for Named Entity
Recognition": its Efficient GlobalPointer, and its loss.

Letters: N words, W words in the longest span, K width of queries and keys, C entity types.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import position_angles, rotate

WIDTH = 64  # K, as in the paper

# Queries and keys `(B, N, K)`; start and end scores of each type `(B, N, C)`.
Parts = tuple[Tensor, Tensor, Tensor, Tensor]


class GlobalPointerHead(nn.Module):
    """What the scores of spans are made of, at each token: `(B, T, D)` to `Parts`.

    The score of an entity of type c from word i to word j is `q_i · k_j / sqrt(K)`, which says
    whether they begin and end an entity at all, and `start_c(i) + end_c(j)`, which says of which
    type. So a further type costs two numbers per word, not two more projections.
    """

    def __init__(self, d_model: int, n_types: int, width: int = WIDTH) -> None:
        super().__init__()
        self.query_and_key = nn.Linear(d_model, 2 * width)
        # They read queries and keys rather than hidden states: fewer parameters for each type.
        self.start_and_end = nn.Linear(2 * width, 2 * n_types)

    def forward(self, hidden: Tensor) -> Parts:
        both = self.query_and_key(hidden)  # (B, T, 2K)
        query, key = both.chunk(2, dim=-1)
        start, end = self.start_and_end(both).chunk(2, dim=-1)  # (B, T, C) each
        return query, key, start, end


def span_scores(parts: Sequence[Tensor], longest: int) -> Tensor:
    """The score of every span of at most `longest` words, for every type.

    Args:
        parts: `Parts` of words, in the order of the text.
        longest: W.

    Returns:
        `(B, N, W, C)`: at `[b, n, w, c]` the span from word n to word n + w (inclusive). One that
        would end after the last word has a score too, without a meaning.
    """
    query, key, start, end = (part.float() for part in parts)
    n_words, width = query.shape[1:]
    angles = position_angles(n_words, width).to(query.device)
    rotation = torch.polar(torch.ones_like(angles), angles)  # (N, K/2)
    # Rotated, their product also says how many words the span has.
    query, key = rotate(query, rotation) / math.sqrt(width), rotate(key, rotation)
    key, end = (F.pad(x, (0, 0, 0, longest - 1)) for x in (key, end))  # (B, N + W - 1, ...)
    # Not all N x N pairs, most of which are far too long: for each word the W words from it on.
    scores = []
    for w in range(longest):
        lasts = slice(w, w + n_words)
        pair = (query * key[:, lasts]).sum(-1, keepdim=True)  # (B, N, 1)
        scores.append(pair + start + end[:, lasts])  # (B, N, C)
    return torch.stack(scores, dim=2)


def span_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Small if the spans that are entities score above 0, and all others below: `(R,)`.

    `log(1 + sum exp(-s))` over the entities plus `log(1 + sum exp(s))` over the other spans. It
    pushes most where a score is most wrong, so that the thousands of spans that are no entity do
    not drown the few that are.

    Args:
        scores: `(R, M)`, such as the M spans of a row for one type.
        targets: `(R, M)`: 1 for an entity, 0 for none, and anything else where there is no span.
    """
    nothing = scores.new_zeros(len(scores), 1)  # exp(0): the 1 in log(1 + ...)
    present = (-scores).masked_fill(targets != 1, float("-inf"))
    absent = scores.masked_fill(targets != 0, float("-inf"))
    both = [torch.cat((nothing, part), dim=1).logsumexp(1) for part in (present, absent)]
    return both[0] + both[1]
