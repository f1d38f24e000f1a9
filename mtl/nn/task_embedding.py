"""What the first layer of an encoder reads goes in; it comes out with the vector of one task added.

Letters: B batch, T tokens, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TaskEmbedding(nn.Module):
    """A learned vector that says which task a text is read for, added to every token.

    It tells the layers above the task as a segment embedding tells them the segment (akin to the
    language embeddings of Conneau and Lample 2019). Attention then depends on the task: a query
    holds the vector too, so it also looks for keys that matter to the task.

    It is called like an encoder layer, below the first one.
    """

    sees = "global"  # see `EncoderLayer`; it looks at no other token, so either kind would do

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(d_model))  # so that at first nothing is added

    def forward(self, x: Tensor, mask: Tensor | None, rotation: Tensor | None = None) -> Tensor:
        """`(B, T, D)` to `(B, T, D)`."""
        return x + self.vector
