"""The text of a file of columns goes in; the rows of each sentence come out, without comments."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from .layout import Block, Layout, Row
from .source import lines_of

HEADER_NAMES = {  # a first line that holds nothing else is a header
    *("id", "idx", "index", "#", "prev", "next", "sentence", "sentence_id"),
    *("word", "words", "token", "tokens"),
    *("form", "lemma", "pos", "pos_tag", "upos", "xpos", "chunk", "chunk_tag", "ner", "ner_tag"),
    *("tag", "tags", "label", "labels", "entity", "bio", "iob", "feats", "head", "deprel", "misc"),
}
# CoNLL-U, CoNLL-2012, LitBank, CoNLL-2003
_NEW_DOCUMENT = re.compile(r"(?i)#\s*(newdoc|begin document|doc_?id)\b|-DOCSTART-")
_ENTITY_IN_MISC = re.compile(r"(?i)(?:^|\|)(?:ner|entity)=([^|]+)")


class Lines:
    """The lines of a file as rows; some that begin with # may be comments.

    Which of them are comments follows from the layout (`#Oslo  B-LOC` is a word with a tag), and
    the layout is found from rows. So it is found from `certain_blocks`, which leave out every line
    with a #, and `blocks` are cut once it is known.
    """

    def __init__(self, text: str) -> None:
        self.lines = lines_of(text)
        is_2012 = any(line.startswith("#begin document") for line in self.lines)
        # CoNLL-2012 adds one column per verb of the sentence after the eleventh.
        most = 11 if is_2012 else None
        self.rows = [(n, columns_of(line)[:most]) for n, line in enumerate(self.lines, start=1)]
        self._take_out_misc()
        self.header = self._take_header()
        # Blank lines before the first row and after the last separate no sentences.
        self.has_blanks = any(not cells for _, cells in self.rows[self._first() : self._last()])

    def _take_out_misc(self) -> None:
        """Only the entity tags of the last column of CoNLL-U (`SpaceAfter=No|NER=B-PER`)."""
        last = [cells[9] if len(cells) == 10 else "" for _, cells in self.rows]
        found = [_ENTITY_IN_MISC.search(cell) for cell in last]
        # If not, the last column stays as it is: in other files it may be the tags themselves.
        if not any(found):
            return
        for (_, cells), match in zip(self.rows, found, strict=True):
            if len(cells) == 10:
                # In such files, words outside entities are not marked at all.
                cells[9] = match[1] if match else "O"

    def _take_header(self) -> list[str]:
        """The names of the columns, if the first line holds nothing but known ones.

        All must be known: a first sentence may well begin with `Word` or `Index`.
        """
        first = self._first()
        cells = self.rows[first][1] if self.rows else []
        if len(cells) < 2 or not {cell.strip("#").lower() for cell in cells} <= HEADER_NAMES:
            return []
        self.rows = self.rows[first + 1 :]
        return cells

    def _first(self) -> int:
        return next((i for i, (_, cells) in enumerate(self.rows) if cells), 0)

    def _last(self) -> int:
        return max((i for i, (_, cells) in enumerate(self.rows) if cells), default=0)

    def certain_blocks(self) -> list[Block]:
        """The rows of each sentence that do not begin with #; all rows if every one does."""
        certain = list(self.split(lambda row, begins: self._may_be_comment(row)))
        # A file in which every line begins with # is a file of hashtags.
        return certain or list(self.split(lambda row, begins: False))

    def blocks(self, layout: Layout) -> list[Block]:
        """The rows of each sentence."""
        blocks = list(self.split(lambda row, begins: self._is_comment(row, begins, layout)))
        # Without blank lines, a column that counts 1, 2, 3, 1, 2 still shows where a sentence
        # begins.
        if not self.has_blanks and layout.index is not None:
            width, index = layout.width, layout.index
            blocks = [part for b in blocks for part in _where_counting_begins(b, width, index)]
        # Rows of another width stay: each is a fault, to be reported with its line.
        width = layout.width
        blocks = [[r for r in b if len(r[1]) != width or layout.is_word(r)] for b in blocks]
        return [block for block in blocks if block]

    def split(self, is_comment: Callable[[Row, bool], bool]) -> Iterator[Block]:
        """The rows of each sentence, without comments.

        Args:
            is_comment: tells whether a row is one, given the row and whether it begins a sentence.
        """
        block: Block = []
        for row in self.rows:
            comment = bool(row[1]) and is_comment(row, not block)
            # If no blank lines separate sentences, the comments above them do.
            if block and (not row[1] or (comment and not self.has_blanks)):
                yield block
                block = []
            if row[1] and not comment:
                block.append(row)
        if block:
            yield block

    def _may_be_comment(self, row: Row) -> bool:
        return self.lines[row[0] - 1].startswith("#")

    def _is_comment(self, row: Row, begins: bool, layout: Layout) -> bool:
        """Whether a line that begins with # is a comment, and not a word such as #tag.

        In a file that counts its words, it always is. Elsewhere it is one if it comes before a
        sentence, has a blank or = after the #, and has no tag in the column of the tags.
        """
        if not self._may_be_comment(row):
            return False
        line, (_, cells) = self.lines[row[0] - 1], row
        # A row of such a file begins with a number, so a # cannot be a word.
        if layout.index is not None:
            return True
        looks = re.match(r"#([\s#]|begin|end)", line) is not None or "=" in line
        if not looks or not (begins or not self.has_blanks):
            return False
        is_row = len(cells) == layout.width
        tag = layout.tag
        return not is_row or tag is None or not tag.knows(layout.tag_of(cells, tag))

    def documents(self, blocks: Sequence[Block]) -> list[Block]:
        """The rows of each document, from those of its sentences; none if no line begins one."""
        starts = [n for n, line in enumerate(self.lines, 1) if _NEW_DOCUMENT.match(line)]
        # What comes before the first such line is a document, too.
        grouped = groupby(blocks, key=lambda block: bisect_left(starts, block[0][0]))
        return [[row for block in group for row in block] for _, group in grouped if starts]

    def text_before(self, line: int) -> str | None:
        """What the comment `# text = ...` above a CoNLL-U sentence says."""
        for above in reversed(self.lines[: line - 1]):
            if not above.startswith("#"):
                return None
            if match := re.match(r"#\s*text\s*=\s*(.*\S)", above):
                return match[1]
        return None


def columns_of(line: str) -> list[str]:
    """The columns of a line; none if the line only separates sentences or documents."""
    # Editors and exports leave blanks at the end, which would count as one more column.
    line = line.rstrip(" \t")
    # One tab is enough: then a blank is part of a cell, such as a word of Vietnamese.
    if "\t" in line:
        columns = [column.strip(" ") for column in line.split("\t")]
    else:
        columns = [column for column in line.split(" ") if column]
    # CoNLL-2003 writes -DOCSTART- between documents: not a word, though it has a tag.
    return [] if not line.strip() or columns[0] == "-DOCSTART-" else columns


def _where_counting_begins(block: Block, width: int, index: int) -> Iterator[Block]:
    """A file without blank lines, cut where its index column starts again."""
    part: Block = []
    # Counting starts at 0 or at 1, depending on the tool.
    first = next((cells[index] for _, cells in block if len(cells) == width), "1")
    for row in block:
        if part and len(row[1]) == width and row[1][index] == first:
            yield part
            part = []
        part.append(row)
    yield part
