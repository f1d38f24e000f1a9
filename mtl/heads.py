"""Task heads: small layers that read the encoder's hidden states. They return logits."""

from __future__ import annotations

from torch import Tensor, nn


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
        start, end = self.start_and_end(hidden).unbind(-1)
        return start, end
