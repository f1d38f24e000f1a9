"""The lines of a file of columns go in; the rows of each sentence come out, without comments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from operator import itemgetter

from .layout import Block, Layout, Row, usual_width
from .source import Held, Report

HEADER_NAMES = {  # a first line that holds nothing else is a header
    *("id", "idx", "index", "#", "prev", "next", "sentence", "sentence_id"),
    *("word", "words", "token", "tokens"),
    *("form", "lemma", "pos", "pos_tag", "upos", "xpos", "chunk", "chunk_tag", "ner", "ner_tag"),
    *("tag", "tags", "label", "labels", "entity", "bio", "iob", "feats", "head", "deprel", "misc"),
}
NumberedRow = tuple[int, Row]  # a row with the number of its sentence
# CoNLL-U, CoNLL-2012, LitBank, CoNLL-2003
_NEW_DOCUMENT = re.compile(r"(?i)#\s*(newdoc|begin document|doc_?id)\b|-DOCSTART-")
_TEXT = re.compile(r"#\s*text\s*=\s*(.*\S)")  # the comment above a sentence of CoNLL-U
_ENTITY_IN_MISC = re.compile(r"(?i)(?:^|\|)(?:ner|entity)=([^|]+)")
_WIDTH_OF_2012 = 11  # CoNLL-2012 adds one column per verb of the sentence after the eleventh


class Lines:
    """The lines of a file as rows; some that begin with # may be comments.

    Which of them are comments follows from the layout (`#Oslo  B-LOC` is a word with a tag), and
    the layout is found from rows. So it is found from `certain_rows`, which leave out every line
    with a #, and `blocks` are cut once it is known. Each is a pass over the file.

    Args:
        lines: gives the lines of the file, without their ends.
        report: of the file.
        held: what becomes of the rows between two passes, `in_memory` or `Passes`.

    Attributes:
        header: the names of the columns, if the first line holds nothing but known ones.
        has_blanks: whether blank lines separate sentences.
        has_documents: whether a line says where a document begins.
        width: how many columns most rows have.
    """

    def __init__(
        self, lines: Callable[[Report], Iterator[str]], report: Report, held: Held
    ) -> None:
        raw = held(lambda report: _rows_of(lines(report)), report)
        self.header: list[str] = []
        self.has_blanks = self.has_documents = self._has_certain = False
        self._above = 0  # lines down to the header
        self._is_2012 = self._has_misc = False
        self.width = usual_width(self._look_at(raw))
        self.rows = held(lambda _: self._rows(raw), report)

    def _look_at(self, raw: Iterable[Row]) -> Counter[int]:
        """See what only the whole file shows; how many rows have each number of columns."""
        widths: Counter[int] = Counter()
        hashes: Counter[int] = Counter()  # of rows that may be comments
        # Blank lines before the first row and after the last separate no sentences.
        first, blank = True, False
        row = Row(0, [])
        for row in raw:
            if not row.cells:
                blank = not first
                continue
            if first and not self._above and _is_header(row.cells):
                self.header, self._above = row.cells, row.line
                continue
            first = False
            self.has_blanks = self.has_blanks or blank
            width = len(row.cells)
            if row.text.startswith("#"):
                self._is_2012 = self._is_2012 or row.text.startswith("#begin document")
                hashes[width] += 1
            else:
                widths[width] += 1
            if width == 10 and not self._has_misc:
                self._has_misc = _ENTITY_IN_MISC.search(row.cells[9]) is not None
        self.has_documents = row.document > 0 or _begins_document(row.text)
        self._has_certain = bool(widths)
        found: Counter[int] = Counter()
        for width, n in (widths or hashes).items():
            found[min(width, _WIDTH_OF_2012) if self._is_2012 else width] += n
        return found

    def _rows(self, raw: Iterable[Row]) -> Iterator[Row]:
        """The rows below the header, as their form is meant."""
        rows = islice(raw, self._above, None)
        if self._is_2012:
            rows = (row._replace(cells=row.cells[:_WIDTH_OF_2012]) for row in rows)
        # Else the last of ten columns stays as it is: it may be the tags themselves.
        return map(_with_entity_of_misc, rows) if self._has_misc else rows

    def certain_rows(self) -> Iterator[NumberedRow]:
        """The rows that do not begin with #; all rows if every one does."""
        # A file in which every line begins with # is a file of hashtags.
        return self.numbered(lambda row, begins: self._has_certain)

    def words(self, layout: Layout) -> Iterator[NumberedRow]:
        """The rows that are words; and those of another width, each of which is a fault."""
        rows = self.numbered(lambda row, begins: self._is_comment(row, begins, layout))
        if layout.index is None:
            return rows
        # Without blank lines, a column that counts 1, 2, 3, 1, 2 still shows where a sentence
        # begins.
        if not self.has_blanks:
            rows = _where_counting_begins(rows, layout.width, layout.index)
        width = layout.width
        return (item for item in rows if len(item[1].cells) != width or layout.is_word(item[1]))

    def blocks(self, layout: Layout) -> Iterator[Block]:
        """The rows of each sentence."""
        for _, group in groupby(self.words(layout), key=itemgetter(0)):
            yield [row for _, row in group]

    def numbered(self, is_comment: Callable[[Row, bool], bool]) -> Iterator[NumberedRow]:
        """The rows with the numbers of their sentences, without comments.

        Args:
            is_comment: tells whether a row that begins with # is one, given the row and whether it
                begins a sentence.
        """
        number, begins = 0, True
        for row in self.rows:
            comment = row.text.startswith("#") and is_comment(row, begins)
            # If no blank lines separate sentences, the comments above them do.
            if not row.cells or (comment and not self.has_blanks):
                begins = True
            elif not comment:
                number += begins
                begins = False
                yield number, row

    def _is_comment(self, row: Row, begins: bool, layout: Layout) -> bool:
        """Whether a line that begins with # is a comment, and not a word such as #tag.

        In a file that counts its words, it always is. Elsewhere it is one if it comes before a
        sentence, has a blank or = after the #, and has no tag in the column of the tags.
        """
        # A row of such a file begins with a number, so a # cannot be a word.
        if layout.index is not None:
            return True
        looks = re.match(r"#([\s#]|begin|end)", row.text) is not None or "=" in row.text
        if not looks or not (begins or not self.has_blanks):
            return False
        is_row = len(row.cells) == layout.width
        tag = layout.tag
        return not is_row or tag is None or not tag.knows(layout.tag_of(row.cells, tag))


def _rows_of(lines: Iterable[str]) -> Iterator[Row]:
    """Every line as a row, with what those above it say."""
    document, said = 0, None
    for line, text in enumerate(lines, start=1):
        yield Row(line, columns_of(text), text, document, said)
        document += _begins_document(text)
        is_hash = text.startswith("#")
        if said or is_hash:
            match = _TEXT.match(text)
            said = match[1] if match else said if is_hash else None


def _begins_document(text: str) -> bool:
    # By its first letter, since most lines are none.
    return text.startswith(("#", "-")) and _NEW_DOCUMENT.match(text) is not None


def _is_header(cells: list[str]) -> bool:
    """Whether the cells of a first line are names of columns.

    All must be known: a first sentence may well begin with `Word` or `Index`.
    """
    return len(cells) > 1 and {cell.strip("#").lower() for cell in cells} <= HEADER_NAMES


def _with_entity_of_misc(row: Row) -> Row:
    """Only the entity tag of the last column of CoNLL-U (`SpaceAfter=No|NER=B-PER`)."""
    if len(row.cells) != 10:
        return row
    match = _ENTITY_IN_MISC.search(row.cells[9])
    # In such files, words outside entities are not marked at all.
    return row._replace(cells=[*row.cells[:9], match[1] if match else "O"])


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


def _where_counting_begins(
    rows: Iterable[NumberedRow], width: int, index: int
) -> Iterator[NumberedRow]:
    """The rows of a file without blank lines, with a new sentence where its index starts again."""
    part, last, first = 0, 0, None
    for number, row in rows:
        fits = len(row.cells) == width
        if number != last:
            # Counting starts at 0 or at 1, depending on the tool.
            part, last, first = part + 1, number, row.cells[index] if fits else None
        elif fits and first in (None, row.cells[index]):
            part, first = part + 1, row.cells[index]
        yield part, row


def documents(blocks: Iterable[Block]) -> Iterator[Block]:
    """The rows of each document, from those of its sentences."""
    # What comes before the first line that begins a document is a document, too.
    for _, group in groupby(blocks, key=lambda block: block[0].document):
        yield [row for block in group for row in block]
