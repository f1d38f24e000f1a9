"""Rows of columns go in, one after the other; what each column holds comes out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice, pairwise

MOST_CELLS = 200_000  # different ones that are counted in a column; tags are far fewer
_AT_ONCE = 10_000  # rows
_NO_WORD = re.compile(r"\d+[-.]\d+")  # CoNLL-U counts ranges and empty nodes in this way


class ColumnFacts:
    """What a column holds, once all its cells have been seen.

    Attributes:
        cells: how often each occurs. Where there are very many different ones, so that they must be
            words, those that are new beyond `MOST_CELLS` are left out.
    """

    def __init__(self) -> None:
        self.cells: Counter[str] = Counter()
        self._may_count = self._is_constant = True
        # Of the numbers seen so far: the last, how many there are, how many follow each other.
        self._last: list[int] = []
        self._numbers = self._steps = self._highest = 0
        self._last_cell: list[tuple[int, str]] = []  # with the number of its sentence
        self._longer: set[int] = set()  # sentences of several words; two are enough

    def see(self, cells: Sequence[str]) -> None:
        """Count some cells."""
        if len(self.cells) > MOST_CELLS:
            cells = [cell for cell in cells if cell in self.cells]
        self.cells.update(cells)

    def see_order(self, sentences: Sequence[int], cells: Sequence[str]) -> None:
        """See the same cells in their order, with the number of the sentence of each."""
        if self._may_count:
            self._see_numbers(cells)
        if self._is_constant:
            self._see_sentences(sentences, cells)

    def _see_numbers(self, cells: Sequence[str]) -> None:
        # Longer numbers are telephones or ids; Python refuses to read thousands of digits.
        plain = [int(cell) for cell in cells if cell.isdecimal() and len(cell) < 10]
        self._may_count = all(c.isdecimal() or _NO_WORD.fullmatch(c) for c in cells)
        # Numbers may be skipped where somebody deleted a line, and start again in each sentence.
        steps = pairwise([*self._last, *plain])
        self._steps += sum(after == before + 1 or after in (0, 1) for before, after in steps)
        self._numbers += len(plain)
        self._highest = max([self._highest, *plain])
        self._last = plain[-1:] or self._last

    def _see_sentences(self, sentences: Sequence[int], cells: Sequence[str]) -> None:
        found = [*self._last_cell, *zip(sentences, cells, strict=True)]
        # In a sentence of one word, every column is constant.
        inside = [(before, after) for before, after in pairwise(found) if before[0] == after[0]]
        self._is_constant = all(before == after for before, after in inside)
        longer = self._longer.union(sentence for (sentence, _), _ in inside)
        self._longer = set(islice(longer, 2))
        self._last_cell = found[-1:]

    @property
    def may_lead(self) -> bool:
        """Whether it may still count, or be constant."""
        return self._may_count or self._is_constant

    @property
    def counts(self) -> bool:
        """Whether it counts 1, 2, 3 or 0, 1, 2, starting again or not."""
        enough = self._numbers > 1 and self._steps >= 0.9 * (self._numbers - 1)
        return self._may_count and enough and self._highest > 1

    @property
    def is_constant(self) -> bool:
        """Whether it has one cell per sentence, such as the name of its document."""
        return self._is_constant and len(self._longer) > 1


def column_facts(rows: Iterable[tuple[int, Sequence[str]]], width: int) -> list[ColumnFacts]:
    """What each column holds; rows of another width do not count.

    Args:
        rows: the cells of each, with the number of its sentence.
        width: how many columns there are.
    """
    facts = [ColumnFacts() for _ in range(width)]
    fitting = (row for row in rows if len(row[1]) == width)
    # Some rows at a time: to count a list of cells is faster than to count them one by one.
    while some := list(islice(fitting, _AT_ONCE)):
        sentences, cells = zip(*some, strict=True)
        columns = list(zip(*cells, strict=True))
        for fact, column in zip(facts, columns, strict=True):
            fact.see(column)
        for fact, column in zip(facts, columns, strict=True):
            # Of the columns after the first that is neither, it does not matter.
            if not fact.may_lead:
                break
            fact.see_order(sentences, column)
    return facts
