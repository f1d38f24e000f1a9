"""Texts go in; their encodings come out, put together from stretches that were cut before.

A stretch is what lies between two blanks. BERT's tokenizer gives it the same pieces in every text,
and most of the stretches of a text are known from others:

    stretch       She   lives    in   Paris,       she      lives    ...
    pieces        she   lives    in   paris ,      she      lives
    its words     She   lives    in   Paris ,      she      lives

To look a stretch up takes a tenth of the time of cutting it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import chain, groupby

from ..words import Place
from .base import Encoding

Encode = Callable[[str], Encoding]

MOST_CHARACTERS = 500_000  # of all stretches that are kept: with their ids and words, some 33 MB


class Stretch:
    """What lies between two blanks, with the ids of its pieces.

    There are many, so each is small: the rest of its encoding is made when it is asked for.

    Attributes:
        step: characters to the next stretch.
        words: of each word, the first character, one past the last, and the number of its pieces;
            empty until `find_words` was called.
    """

    __slots__ = ("ids", "step", "text", "words")

    def __init__(self, text: str, ids: tuple[int, ...]) -> None:
        self.text, self.ids = text, ids
        self.step = len(text) + 1
        self.words: tuple[tuple[int, int, int], ...] = ()

    def find_words(self, encode: Encode) -> tuple[tuple[int, int, int], ...]:
        """`words`, which not every task asks for."""
        if self.ids and self.text.isascii() and self.text.isalnum():  # nothing but one word
            self.words = ((0, len(self.text), len(self.ids)),)
        else:
            found = encode(self.text)
            counts = [len([*pieces]) for _, pieces in groupby(found.word_ids)]
            self.words = tuple((*p, n) for p, n in zip(found.words, counts, strict=True))
        return self.words


class JoinedEncoding(Encoding):
    """The encoding of a text, of which all but the ids is made when it is asked for.

    Args:
        stretches: all that the text consists of.
        encode: makes the encoding of a text.
    """

    _stretches: list[Stretch]
    _encode: Encode

    def __init__(self, text: str, stretches: list[Stretch], encode: Encode) -> None:
        # Past the frozen dataclass, whose fields would all have to be there.
        ids = [i for stretch in stretches for i in stretch.ids]
        vars(self).update(text=text, ids=ids, _stretches=stretches, _encode=encode)

    @cached_property
    def _whole(self) -> Encoding:
        return self._encode(self.text)

    @property
    def tokens(self) -> list[str]:
        return self._whole.tokens

    @property
    def offsets(self) -> list[Place]:
        return self._whole.offsets

    @cached_property
    def words(self) -> list[Place]:
        return self._words_and_first_pieces[0]

    @cached_property
    def first_pieces(self) -> list[int]:
        return self._words_and_first_pieces[1]

    @cached_property
    def word_ids(self) -> list[int]:
        ends = [*self.first_pieces[1:], len(self)]
        of_words = zip(self.first_pieces, ends, strict=False)
        return [word for word, (first, end) in enumerate(of_words) for _ in range(first, end)]

    @cached_property
    def _words_and_first_pieces(self) -> tuple[list[Place], list[int]]:
        words, first_pieces = [], []
        at = piece = 0
        for stretch in self._stretches:
            for start, end, n_pieces in stretch.words or stretch.find_words(self._encode):
                words.append((at + start, at + end))
                first_pieces.append(piece)
                piece += n_pieces
            at += stretch.step
        return words, first_pieces


class Stretches:
    """All stretches that were cut before, up to a limit in their characters.

    Args:
        cut: gives the ids of each of some stretches.
        encode: makes the encoding of a text.
    """

    def __init__(self, cut: Callable[[list[str]], Iterable[list[int]]], encode: Encode) -> None:
        self._cut, self._encode = cut, encode
        self._known: dict[str, Stretch] = {}
        self._characters = 0

    def encode(self, texts: Sequence[str]) -> list[Encoding]:
        """The encoding of each text."""
        if self._characters > MOST_CHARACTERS:
            # A new dict: another thread may still read the old one.
            self._known, self._characters = {}, 0
        known = self._known
        parts = [text.split(" ") for text in texts]
        unknown = [*set(chain.from_iterable(parts)).difference(known)]
        for stretch, ids in zip(unknown, self._cut(unknown), strict=True):
            known[stretch] = Stretch(stretch, tuple(ids))
        self._characters += sum(map(len, unknown))
        find = known.__getitem__
        return [
            JoinedEncoding(text, [*map(find, of_text)], self._encode)
            for text, of_text in zip(texts, parts, strict=True)
        ]
