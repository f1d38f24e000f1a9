"""A text goes in; its pieces, as ids and character places, come out, and the rows of the encoder.

A tokenizer turns one text into an `Encoding` (pieces, ids, character offsets), and one or two
encodings into `Row`s, which the encoder reads:

    [CLS] sentence [SEP]            one text
    [CLS] question [SEP] context [SEP]      a pair; the second text has segment (type) 1

A text longer than a row becomes several rows, windows that overlap.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import DataError
from ...files import write_atomically
from ..examples import Input
from ..words import Place


@dataclass(frozen=True, eq=False)
class Encoding:
    """One text as pieces.

    A subclass may make its parts when they are asked for; it is equal to one that has them all.

    Attributes:
        text: the text itself.
        tokens: the pieces as strings.
        ids: their vocabulary ids.
        offsets: start and end character of each piece in `text`.
        word_ids: which word each piece belongs to.
        words: start and end character of each word in `text`; words sharing a piece are one.
    """

    text: str
    tokens: list[str]
    ids: list[int]
    offsets: list[Place]
    word_ids: list[int]
    words: list[Place]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def first_pieces(self) -> list[int]:
        """The index of each word's first piece."""
        ids = self.word_ids
        return [i for i in range(len(ids)) if i == 0 or ids[i] != ids[i - 1]]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Encoding):
            return NotImplemented
        return all(getattr(self, f.name) == getattr(other, f.name) for f in fields(Encoding))


class LateEncoding(Encoding):
    """An encoding that is made when something of it is asked for, and costs nothing until then.

    Args:
        text: gives the text.
        encode: makes the encoding of a text.
    """

    def __init__(self, text: Callable[[], str], encode: Callable[[str], Encoding]) -> None:
        # Past the frozen dataclass, whose fields would come first.
        vars(self).update(_text=text, _encode=encode)

    @cached_property
    def _whole(self) -> Encoding:
        return self._encode(self.text)

    def __getattr__(self, name: str) -> Any:
        # Only called for what is not there; kept, so that it is called once for each name.
        if name not in (f.name for f in fields(Encoding)):
            raise AttributeError(name)
        value = self._text() if name == "text" else getattr(self._whole, name)
        vars(self)[name] = value
        return value


@dataclass(frozen=True)
class Row:
    """What the encoder reads at once: special tokens, and a window of the text that is labelled.

    The row's position `text_start + i` holds piece `first_piece + i` of `text`, for `i` from 0 to
    `n_pieces - 1`. In a pair, `text` is the second of the two (the context), and its type is 1.
    """

    input_ids: list[int]
    text: Encoding
    text_type: int
    text_start: int
    first_piece: int
    n_pieces: int

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def token_type_ids(self) -> list[int]:
        """The segment of each token: 0, then `text_type` from `text_start` on."""
        # To the end: the last [SEP] belongs to the text before it, as in BERT.
        return [0] * self.text_start + [self.text_type] * (len(self) - self.text_start)


def window_starts(n: int, size: int, overlap: int) -> list[int]:
    """Where windows of `size` begin so that they cover `n` pieces and overlap by `overlap`."""
    if n <= size:
        return [0]
    step = size - overlap
    # The last window ends where the text does: moved back rather than short.
    return [*range(0, n - size, step), n - size]


def pad_lists(lists: Sequence[Sequence[int] | NDArray[Any]], fill: int, length: int = 0) -> Tensor:
    """Lists of different lengths as one tensor `(B, T)`, padded on the right.

    `T` is the length of the longest list, or `length` if that is more.
    """
    longest = max(length, *map(len, lists)) if lists else length
    padded = np.full((len(lists), longest), fill, np.int64)
    for row, numbers in zip(padded, lists, strict=True):
        row[: len(numbers)] = numbers
    return torch.from_numpy(padded)


class Tokenizer(ABC):
    """What every tokenizer offers: `encode` a text, `rows` of one or two texts, `save`, `load`.

    Attributes:
        is_slow: whether encoding a text takes longer than reading the result from a file, so that
            it is worth caching (see `mtl.data.cache`).
    """

    is_slow: ClassVar[bool] = True
    pad_id: int
    cls_id: int
    sep_id: int
    pair_separator: list[int]
    file_name: ClassVar[str]

    @abstractmethod
    def __len__(self) -> int:
        """Number of ids, special ones included."""

    @abstractmethod
    def encode(self, text: str) -> Encoding:
        """Pieces of a text; each belongs to one of the words that `split_words` finds."""

    def encode_batch(self, texts: Sequence[str], places: bool = True) -> list[Encoding]:
        """`encode` of every text; a tokenizer that is faster with many at once does it here.

        Args:
            places: whether more than the ids will be asked for. It may be in any case, but a
                tokenizer that finds it at a cost would have to cut the text again.
        """
        return [self.encode(text) for text in texts]

    @abstractmethod
    def decode(self, ids: Iterable[int]) -> list[str]:
        """The pieces of `ids`, special ones included."""

    @abstractmethod
    def to_json(self) -> str:
        """Everything that decides what `encode` returns."""

    def save(self, folder: Path) -> None:
        """Write the tokenizer's file into `folder`."""
        write_atomically(Path(folder) / self.file_name, self.to_json())

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Tokenizer:
        """Read what `save` wrote."""

    def pad(self, sequences: Sequence[Sequence[int] | NDArray[Any]], length: int = 0) -> Tensor:
        """Id lists of different lengths as one tensor `(B, T)`, padded with `pad_id`."""
        return pad_lists(sequences, self.pad_id, length)

    def rows(
        self,
        texts: Input,
        max_length: int,
        overlap: int = 32,
        encodings: Mapping[str, Encoding] | None = None,
    ) -> list[Row]:
        """The rows of one text or of a pair, each at most `max_length` long.

        Args:
            texts: `(text, None)` or `(first, second)`; the last text is cut into windows.
            max_length: most tokens in a row, special tokens included.
            overlap: pieces that neighbouring windows share (at most half a window).
            encodings: of both texts, from `encode_batch`; by default they are encoded here.

        Raises:
            DataError: an empty text, or a first text that leaves no room for the second.
        """
        first, second = texts
        # The prefix is what comes before the text that is cut: every window repeats it, so that a
        # question is read with each part of its context.
        encode = self.encode if encodings is None else encodings.__getitem__
        prefix, before = [self.cls_id], None
        text, text_type = _filled(encode(first)), 0
        if second is not None:
            prefix, before = [self.cls_id, *text.ids, *self.pair_separator], text
            text, text_type = _filled(encode(second)), 1
        size = max_length - len(prefix) - 1  # [SEP] follows
        # Nobody can find an answer in a window of a few words: it has a quarter of the row or more.
        if size < min(len(text), max_length // 4):
            n_question = len(prefix) - 1 - len(self.pair_separator)
            raise DataError(
                f"the question has {n_question} tokens, which leaves too little room for its "
                f"context: the model reads {max_length} tokens at once",
                found=f"{first[:80]!r} ...",
                fix="shorten the question, or train a model with a larger encoder.max_length",
            )
        rows = []
        # At most half a window is shared, so that each window brings something new.
        for start in window_starts(len(text), size, min(overlap, size // 2)):
            ids = text.ids[start : start + size]
            # Unknown words are numbered by row, not by text: a word has the same number in the
            # question and in the context, which is how an unseen name can be found.
            numbered = self.number_unknowns([*prefix, *ids], before, text, start)
            rows.append(
                Row(
                    input_ids=[*numbered, self.sep_id],
                    text=text,
                    text_type=text_type,
                    text_start=len(prefix),
                    first_piece=start,
                    n_pieces=len(ids),
                )
            )
        return rows

    def number_unknowns(
        self, ids: list[int], first: Encoding | None, text: Encoding, start: int
    ) -> list[int]:
        """The same ids; a tokenizer whose vocabulary can lack words tells them apart here.

        Args:
            ids: [CLS], the first text of a pair and its separator, and pieces of `text`.
            first: the first text of a pair.
            text: the only text, or the second.
            start: the first of its pieces in the row.
        """
        return ids

    def hide_words(self, input_ids: Tensor, share: float, generator: torch.Generator) -> Tensor:
        """The same ids; a tokenizer whose vocabulary can lack words hides some in training."""
        return input_ids


def _filled(encoding: Encoding) -> Encoding:
    """The encoding; DataError if it has no piece."""
    # A text of nothing but control characters has a length, yet no piece.
    if not len(encoding):
        raise DataError(
            "the text is empty", found=repr(encoding.text), fix="give at least one word or sign"
        )
    return encoding
