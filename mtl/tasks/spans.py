"""Spans of a text go in: their pieces, the best valid ones, and how to show them come out."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from html import escape
from operator import itemgetter

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.tokenizers.base import Encoding

COLOURS = {"PER": "#ffd8a8", "ORG": "#a5d8ff", "LOC": "#b2f2bb", "MISC": "#eebefa"}
OTHER_COLOUR = "#ffec99"


def pieces_of_span(encoding: Encoding, start: int, end: int) -> tuple[int, int] | None:
    """First and last piece that touch the characters from `start` to `end`; None if none does.

    A span that begins or ends inside a piece is snapped outward to the piece's border.
    """
    # The pieces are in the order of the text: the first that ends after the span begins, and the
    # last that begins before it ends.
    first = bisect_right(encoding.offsets, start, key=itemgetter(1))
    last = bisect_left(encoding.offsets, end, key=itemgetter(0)) - 1
    return (first, last) if first <= last else None


def span_scores(
    start_logits: Tensor, end_logits: Tensor, allowed: Tensor, max_tokens: int
) -> Tensor:
    """The score of every span: the logit of its start plus that of its end.

    Args:
        start_logits, end_logits: `(B, T)`.
        allowed: `(B, T)`, True where a span may begin and end.
        max_tokens: most tokens in a span.

    Returns:
        `(B, T, W)` with `W = min(max_tokens, T)`: at `[b, t, w]` the span from `t` to `t + w`
        (inclusive), -inf where it is not valid. A span that ends before it starts has no place.
    """
    # -inf stays -inf in any sum, so that such a span can never be the best.
    blocked = torch.full_like(start_logits, float("-inf"))
    starts = torch.where(allowed, start_logits, blocked)
    ends = torch.where(allowed, end_logits, blocked)
    longest = min(max_tokens, starts.shape[1])
    ends = F.pad(ends, (0, longest - 1), value=float("-inf"))  # (B, T + W - 1)
    # Instead of all T x T pairs, most of which are not valid: for each start, the next W ends.
    return starts[:, :, None] + ends.unfold(1, longest, 1)  # (B, T, W)


def best_spans(scores: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `n` best-scoring spans of each row, the best first.

    Args:
        scores: `(B, T, W)`, from `span_scores`.

    Returns:
        start, end (inclusive) and score, each `(B, N)` with `N = min(n, T * W)`; the score is -inf
        where a row has no further valid span.
    """
    longest = scores.shape[2]
    # Starts and ends are chosen together: two argmaxes could put the end before the start.
    best, index = scores.flatten(1).topk(min(n, scores[0].numel()))  # (B, T*W) -> (B, N)
    start = index // longest
    return start, start + index % longest, best


def excerpt(text: str, start: int, end: int, room: int = 80) -> str:
    """The characters from `start` to `end` with up to `room` more on either side, on one line."""
    before, after = max(0, start - room), end + room
    left = "... " if before > 0 else ""
    right = " ..." if after < len(text) else ""
    return left + " ".join(text[before:after].split()) + right


def highlight_html(text: str, spans: Sequence[tuple[int, int, str]]) -> str:
    """`text` as HTML with marked spans `(start, end, label)`, which may be inside one another."""

    def opened(label: str, depth: int) -> str:
        colour = COLOURS.get(label, OTHER_COLOUR)
        # Inside a mark of the same colour, a mark would not be seen without its outline.
        outline = ";outline:1px solid #555" if depth else ""
        return (
            f'<mark style="background:{colour};color:#111;padding:0.1em 0.3em;border-radius:0.3em'
            f'{outline}">'
        )

    def closed(label: str) -> str:
        return f'<small style="margin-left:0.4em;font-weight:bold">{escape(label)}</small></mark>'

    # Escaped: a text may hold < and &, and a notebook would take them for HTML.
    return _marked(text, spans, escape, opened, closed)


def highlight_text(text: str, spans: Sequence[tuple[int, int, str]]) -> str:
    """`text` with its spans in brackets: `[Alice PER] is at [University of [Paris LOC] ORG].`"""
    return _marked(text, spans, str, lambda label, depth: "[", lambda label: f" {label}]")


def _marked(
    text: str,
    spans: Sequence[tuple[int, int, str]],
    plain: Callable[[str], str],
    opened: Callable[[str, int], str],
    closed: Callable[[str], str],
) -> str:
    """`text` with its spans marked; what opens a mark depends on label and depth."""
    parts, position = [], 0
    open_: list[
        tuple[int, str]
    ] = []  # end and label of the spans around the place, the last inside
    # The last one only closes what is still open.
    for start, end, label in [*sorted(spans, key=lambda s: (s[0], -s[1])), (len(text) + 1, 0, "")]:
        while open_ and open_[-1][0] <= start:
            last, name = open_.pop()
            parts += [plain(text[position:last]), closed(name)]
            position = last
        parts.append(plain(text[position:start]))
        position = start
        if end:
            parts.append(opened(label, len(open_)))
            open_.append((end, label))
    return "".join(parts)
