"""Spans of a text: from characters to pieces, the best valid pair, and how to show them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import torch
from torch import Tensor

from ..data.tokenization import Encoding

COLOURS = {"PER": "#ffd8a8", "ORG": "#a5d8ff", "LOC": "#b2f2bb", "MISC": "#eebefa"}
OTHER_COLOUR = "#ffec99"


def pieces_of_span(encoding: Encoding, start: int, end: int) -> tuple[int, int] | None:
    """First and last piece that touch the characters from `start` to `end`; None if none does.

    A span that begins or ends inside a piece is snapped outward to the piece's border.
    """
    touched = [i for i, (s, e) in enumerate(encoding.offsets) if s < end and e > start]
    return (touched[0], touched[-1]) if touched else None


def best_spans(
    start_logits: Tensor, end_logits: Tensor, allowed: Tensor, max_tokens: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The best-scoring valid span of each row: start <= end, not too long, allowed positions only.

    Args:
        start_logits, end_logits: `(B, T)`.
        allowed: `(B, T)`, True where a span may begin and end; at least one in each row.
        max_tokens: most tokens in a span.

    Returns:
        start, end (inclusive) and score (sum of both logits), each `(B,)`.
    """
    length = start_logits.shape[1]
    blocked = torch.full_like(start_logits, float("-inf"))
    starts = torch.where(allowed, start_logits, blocked)
    ends = torch.where(allowed, end_logits, blocked)
    valid = torch.ones(length, length, dtype=torch.bool, device=allowed.device)
    valid = valid.triu().tril(max_tokens - 1)  # start <= end < start + max_tokens
    scores = (starts[:, :, None] + ends[:, None, :]).masked_fill(~valid, float("-inf"))  # (B, T, T)
    best, index = scores.flatten(1).max(dim=1)
    return index // length, index % length, best


def highlight_html(text: str, spans: Sequence[tuple[int, int, str]]) -> str:
    """`text` as HTML with marked spans `(start, end, label)`, in order and not overlapping."""
    parts, position = [], 0
    for start, end, label in spans:
        colour = COLOURS.get(label, OTHER_COLOUR)
        parts.append(escape(text[position:start]))
        parts.append(
            f'<mark style="background:{colour};color:#111;padding:0.1em 0.3em;border-radius:0.3em">'
            f"{escape(text[start:end])}"
            f'<small style="margin-left:0.4em;font-weight:bold">{escape(label)}</small></mark>'
        )
        position = end
    return "".join(parts) + escape(text[position:])


def highlight_text(text: str, spans: Sequence[tuple[int, int, str]]) -> str:
    """`text` with its spans in brackets: `[Alice PER] lives in [Paris LOC].`"""
    parts, position = [], 0
    for start, end, label in spans:
        parts += [text[position:start], f"[{text[start:end]} {label}]"]
        position = end
    return "".join(parts) + text[position:]
