"""Rows of a batch go in; what belongs to one example, and to one word of it, comes out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

from ..data.batching import Batch
from ..data.tokenizers.base import Row

T = TypeVar("T")


def by_example(of_rows: Iterable[T], batch: Batch) -> list[list[T]]:
    """What belongs to each row, in one list for each example of a batch."""
    # One iterator for all: each example takes its rows off the front.
    rest = iter(of_rows)
    return [list(islice(rest, item.n_rows)) for item in batch.items]


def words_in(row: Row, pieces: Sequence[int]) -> tuple[int, list[int]]:
    """The first word that begins in a row, and the position of each such word in it.

    Args:
        pieces: the first piece of each word of the text.
    """
    begin = bisect_left(pieces, row.first_piece)
    end = bisect_left(pieces, row.first_piece + row.n_pieces)
    return begin, [row.text_start + piece - row.first_piece for piece in pieces[begin:end]]


def best_windows(rows: Sequence[Row], pieces: Sequence[float]) -> list[int]:
    """For each piece, in rising order, the window where it is farthest from a cut.

    A number between two pieces stands for the middle of a span.

    Near a cut, a word is read without what comes before or after it. Windows overlap in order, so
    the best one only ever moves forward: the work is linear in the length of the text.
    """
    best, window = [], 0
    for piece in pieces:
        while window + 1 < len(rows) and (
            _room(rows[window], piece) < 0
            or _room(rows[window + 1], piece) > _room(rows[window], piece)
        ):
            window += 1
        best.append(window)
    return best


def at_positions(tensor: Tensor, positions: Tensor) -> Tensor:
    """Of each row, what is at some positions: `(B, T, F)` and `(B, N)` to `(B, N, F)`."""
    return tensor.gather(1, positions[..., None].expand(-1, -1, tensor.shape[2]))


def words_first(is_word: Tensor) -> Tensor:
    """The positions of each row's words in their order, then those of all else: `(B, T)`."""
    # As many as the row has tokens: to count the words would make a GPU wait.
    return (~is_word).to(torch.int8).argsort(dim=1, stable=True)


def _room(row: Row, piece: float) -> float:
    """How many pieces are between `piece` and the nearer end of the window; -1 outside it."""
    left, right = piece - row.first_piece, row.first_piece + row.n_pieces - 1 - piece
    if left < 0 or right < 0:
        return -1
    # An end of the window that is also an end of the text cuts nothing off: it is far away.
    if row.first_piece == 0:
        left += len(row.text)
    if row.first_piece + row.n_pieces == len(row.text):
        right += len(row.text)
    return min(left, right)
