"""A table goes in; its form comes out, and examples of tables of words or of pairs.

The header says what the columns are; without one, their content does, if it is clear. Tables of
questions go to `mtl.data.readers.squad`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

from ..examples import NERExample, PairExample, TokenExample
from .cells import first_cells, head_rows
from .column_facts import column_facts
from .kinds import Kind
from .large import head_of, read_large
from .layout import Block, Row, layout_of
from .pairs import PairRow, pairs_from
from .sentences import tagged_examples
from .source import FilePath, Held, Report, lines_of, read_text, whole_lines_in, whole_lines_of
from .squad import questions_of_table
from .table import (
    ANSWERS,
    CONTEXTS,
    LABELS,
    PAIR_CLASSES,
    PAIR_SCORES,
    PAIRS,
    QUESTIONS,
    SENTENCE_IDS,
    TEXTS,
    WORD_TAGS,
    WORDS,
    Table,
    counts_rows,
    delimiters,
    plain_name,
)
from .text_tables import bare_columns, refuse_columns, texts_of_fasttext, texts_of_table

Reader = Callable[..., Sequence[Any]]


def table_form(text: str) -> tuple[str, Reader] | None:
    """The form of a table whose header we know, in words, and its reader; None for other files."""
    for delimiter in delimiters(text):
        header = [plain_name(name) for name in first_cells(text, delimiter)]
        form = _form_of_header(header, delimiter) if len(header) > 1 else None
        if form is not None:
            return form
    lines = [line for line in lines_of(text) if line.strip()]
    # Not all of them: a line that lacks its label is a fault to report, not another form.
    if sum("__label__" in line for line in lines) >= 0.9 * len(lines):
        return _form(FASTTEXT)
    return None


def clear_table_form(text: str) -> tuple[str, Reader] | None:
    """The form of a table without a header, if it is clear which column is the class."""
    for delimiter, rows in _bare_tables(text):
        if bare_columns(rows) is not None:
            texts = partial(texts_of_table, delimiter=delimiter)
            name = "table of texts with a class, without a header"
            return _form(TABLE_OF_TEXTS._replace(name=name, examples_of=texts))
    return None


def unknown_table_form(text: str) -> tuple[str, Reader] | None:
    """A table whose columns we do not know: its reader lists them."""
    for _, rows in _bare_tables(text):
        return "table", partial(refuse_columns, header=rows[0])
    return None


def _bare_tables(text: str) -> Iterator[tuple[str, list[list[str]]]]:
    """The separators that cut nearly all first rows into equally many cells, and these rows."""
    for delimiter in delimiters(text):
        rows = [cells for _, cells in head_rows(text, delimiter) if cells]
        width = len(rows[0]) if rows else 0
        fitting = [cells for cells in rows if len(cells) == width]
        # Prose with a comma here and there does not have equally many on each line; a table does.
        if width > 1 and len(fitting) >= 0.9 * len(rows):
            yield delimiter, fitting


def _form_of_header(names: list[str], delimiter: str) -> tuple[str, Reader] | None:
    known = set(names)
    lacks = known.isdisjoint
    answered = not lacks(ANSWERS) or any(name.startswith("answer") for name in names)
    # Questions first: `question` and `query` may also name a text, or one of a pair.
    if not lacks(QUESTIONS) and (answered or (not lacks(CONTEXTS) and lacks(LABELS))):
        return _form(TABLE_OF_QUESTIONS)
    words = WORDS[:3] if lacks(SENTENCE_IDS) else WORDS  # `tokens` alone may hold lists of them
    if not lacks(words) and not lacks((*WORD_TAGS, "pos", *SENTENCE_IDS)):
        # With tabs and blank lines: columns with a header; with commas, or sentence ids: a table.
        if delimiter != "\t" or not lacks(SENTENCE_IDS):
            return _form(TABLE_OF_WORDS)
        return None
    # Before texts: `query` beside `passage` is one of a pair, `query` alone is a text.
    if any(known.issuperset(pair) for pair in PAIRS):
        return _form(TABLE_OF_PAIRS)
    if not lacks(TEXTS):
        return _form(TABLE_OF_TEXTS)
    return None


def _form(kind: Kind) -> tuple[str, Reader]:
    return kind.name, partial(_read, kind)


def _read(kind: Kind, path: FilePath, on_error: str = "stop", **options: Any) -> Sequence[Any]:
    if head_of(path) is not None:
        rows = _whole_lines
        return read_large(kind, kind.name, path, on_error, rows=rows, **options)
    text = read_text(path)
    return kind.read(lambda _: whole_lines_of(text), Report(path, on_error), options)


def _whole_lines(path: FilePath, _: Report) -> Iterator[str]:
    return whole_lines_in(path)


def sentences_of_table(
    lines: Callable[[Report], Iterator[str]],
    report: Report,
    held: Held,
    *,
    strict: bool = False,
    **options: Any,
) -> Iterator[NERExample | TokenExample]:
    """The sentences of a table with one word per row, such as Kaggle's `Sentence #,Word,POS,Tag`.

    A sentence begins where its column names a new one (an empty cell continues the sentence),
    or, without such a column, after an empty row.

    Args:
        lines: gives the lines of the table, with their ends.
        report: of the file.
        held: what becomes of rows between two passes, `in_memory` or `Passes`.
        strict: refuse tags that break their scheme, as `read_conll` does.
        options: those of `read_conll` that say which column is what.
    """
    table = Table(lines, report, held, lambda names: not names.isdisjoint(WORDS))
    if not table.n:  # every row has a fault
        return
    ids = table.find(SENTENCE_IDS)
    # Otherwise ids that look like words or tags might be taken for them.
    ignored = [i for i, name in enumerate(table.names) if i == ids or counts_rows(name)]
    # Rows become blocks, as in files of columns; from there on the same code reads both.
    numbered = ((number, row.cells) for number, row in _numbered(table, ids))
    facts = column_facts(numbered, table.width)
    layout = layout_of(facts, table.path, names=table.names, ignored=ignored, **options)

    def blocks(_: Report) -> Iterator[Block]:
        for _, group in groupby(_numbered(table, ids), key=itemgetter(0)):
            yield [row for _, row in group]

    yield from tagged_examples(held(blocks, report), layout, report, held, strict)


def _numbered(table: Table, ids: int | None) -> Iterator[tuple[int, Row]]:
    """The rows with the number of their sentence."""
    number, last, begins = 0, None, True
    for line, cells in table.rows:
        if not cells:
            # An empty row ends a sentence if no column of ids does.
            begins = True
        # Rows of another width are already faults, and must neither begin nor end a sentence.
        elif len(cells) == table.width:
            name = cells[ids] if ids is not None else None
            number += begins or (bool(name) and name != last)
            # Kaggle's file writes the id only at the first word; the cells below are empty.
            last, begins = name or last, False
            yield number, Row(line, cells)


def pairs_of_table(
    lines: Callable[[Report], Iterator[str]],
    report: Report,
    held: Held,
    *,
    column: int | str | None = None,
    label_names: Sequence[str] | None = None,
    scores: Sequence[str] = (),
) -> Iterator[PairExample]:
    """The pairs of sentences of a table, with a score, a class or both, if there are any.

    Args:
        lines: gives the lines of the table, with their ends.
        report: of the file.
        held: what becomes of rows between two passes, `in_memory` or `Passes`.
        column: of the score or the class, by name or number, if it is not found by its name.
        label_names: what classes written as whole numbers mean, in order from 0.
        scores: names of the column with the score, besides those that we know.

    Raises:
        DataError: the file cannot be read; a row without two sentences; an invalid score.
    """
    table = Table(lines, report, held, lambda names: any(names.issuperset(pair) for pair in PAIRS))
    names = {plain_name(name) for name in table.names}
    first, second = (
        table.needed([name]) for name in next(pair for pair in PAIRS if names.issuperset(pair))
    )
    of_scores = (*map(plain_name, scores), *PAIR_SCORES)
    score, label = table.find(of_scores), table.find(PAIR_CLASSES)
    if column is not None:
        chosen = table.chosen(column)
        is_score = plain_name(table.names[chosen]) in of_scores
        score, label = (chosen, None) if is_score else (None, chosen)
    table.note_unread([first, second, score, label], report)

    def pairs(_: Report) -> Iterator[PairRow]:
        for line, cells in table.full:
            said = (None if i is None else cells[i] for i in (score, label))
            yield PairRow(line, "", cells[first], cells[second], *said)

    named = [None if i is None else table.names[i].strip().lower() for i in (score, label)]
    yield from pairs_from(held(pairs, report), report, *named, label_names)


TABLE_OF_QUESTIONS = Kind(
    *("table of questions (CSV, TSV)", questions_of_table, "question with an answer")
)
TABLE_OF_WORDS = Kind(
    *("table of words with tags", sentences_of_table, "sentence"),
    options=("strict", "column", "label_names", "fields", "speech"),
)
TABLE_OF_PAIRS = Kind(
    *("table of pairs", pairs_of_table, "pair of sentences"),
    options=("column", "label_names", "scores"),
)
TABLE_OF_TEXTS = Kind(
    *("table of texts", texts_of_table, "text"),
    options=("strict", "column", "label_names", "fields", "scores"),
)
FASTTEXT = Kind("fastText lines", texts_of_fasttext, "text")
