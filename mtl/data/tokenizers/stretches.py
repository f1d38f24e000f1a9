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
from itertools import accumulate, chain, groupby

from ..words import Place
from .base import Encoding

MOST_CHARACTERS = 500_000  # of all stretches that are kept: some 25 MB


class Stretch:
    """What lies between two blanks, with its encoding.

    Attributes:
        step: characters to the next stretch.
        words: of each word, the first character, one past the last, and the number of its pieces;
            empty until `find_words` was called.
    """

    def __init__(self, encoding: Encoding) -> None:
        self.encoding, self.ids = encoding, encoding.ids
        self.step = len(encoding.text) + 1
        self.words: list[tuple[int, int, int]] = []

    def find_words(self) -> list[tuple[int, int, int]]:
        """`words`, which not every task asks for."""
        counts = [len([*pieces]) for _, pieces in groupby(self.encoding.word_ids)]
        self.words = [(*place, n) for place, n in zip(self.encoding.words, counts, strict=True)]
        return self.words


class JoinedEncoding(Encoding):
    """The encoding of a text, of which all but the ids is made when it is asked for.

    Args:
        stretches: all that the text consists of.
    """

    _stretches: list[Stretch]

    def __init__(self, text: str, stretches: list[Stretch]) -> None:
        # Past the frozen dataclass, whose fields would all have to be there.
        ids = [i for stretch in stretches for i in stretch.ids]
        vars(self).update(text=text, ids=ids, _stretches=stretches)

    @cached_property
    def tokens(self) -> list[str]:
        return [token for stretch in self._stretches for token in stretch.encoding.tokens]

    @cached_property
    def offsets(self) -> list[Place]:
        starts = accumulate((stretch.step for stretch in self._stretches), initial=0)
        placed = zip(self._stretches, starts, strict=False)
        return [(at + s, at + e) for stretch, at in placed for s, e in stretch.encoding.offsets]

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
            for start, end, n_pieces in stretch.words or stretch.find_words():
                words.append((at + start, at + end))
                first_pieces.append(piece)
                piece += n_pieces
            at += stretch.step
        return words, first_pieces


class Stretches:
    """All stretches that were cut before, up to a limit in their characters.

    Args:
        cut: gives the encoding of each of some stretches.
    """

    def __init__(self, cut: Callable[[list[str]], Iterable[Encoding]]) -> None:
        self._cut = cut
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
        known.update(zip(unknown, map(Stretch, self._cut(unknown)), strict=True))
        self._characters += sum(map(len, unknown))
        find = known.__getitem__
        return [
            JoinedEncoding(text, [*map(find, of_text)])
            for text, of_text in zip(texts, parts, strict=True)
        ]
