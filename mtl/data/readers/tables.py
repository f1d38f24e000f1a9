"""A table goes in; its reader comes out, and examples of tables of words or of pairs.

The header says what the columns are; without one, their content does, if it is clear. Tables of
questions go to `mtl.data.readers.squad`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from ..examples import NERExample, PairExample, QAExample, TokenExample
from .cells import first_cells, head_rows
from .column_facts import column_facts
from .layout import Block, Row, layout_of
from .pairs import pairs_from
from .sentences import tagged_examples
from .source import FilePath, Report, in_memory, lines_of
from .squad import read_squad
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
from .text_tables import bare_columns, read_fasttext, read_text_table, refuse_columns

Reader = Callable[..., list[Any]]


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
        return "fastText lines", read_fasttext
    return None


def clear_table_form(text: str) -> tuple[str, Reader] | None:
    """The form of a table without a header, if it is clear which column is the class."""
    for delimiter, rows in _bare_tables(text):
        if bare_columns(rows) is not None:
            name = "table of texts with a class, without a header"
            return name, partial(read_text_table, delimiter=delimiter)
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
        return "table of questions (CSV, TSV)", _read_questions
    words = WORDS[:3] if lacks(SENTENCE_IDS) else WORDS  # `tokens` alone may hold lists of them
    if not lacks(words) and not lacks((*WORD_TAGS, "pos", *SENTENCE_IDS)):
        # With tabs and blank lines: columns with a header; with commas, or sentence ids: a table.
        if delimiter != "\t" or not lacks(SENTENCE_IDS):
            return "table of words with tags", read_word_table
        return None
    # Before texts: `query` beside `passage` is one of a pair, `query` alone is a text.
    if any(known.issuperset(pair) for pair in PAIRS):
        return "table of pairs", read_pair_table
    if not lacks(TEXTS):
        return "table of texts", read_text_table
    return None


def _read_questions(path: FilePath, on_error: str = "stop", **_: Any) -> list[QAExample]:
    """A table of questions, which has no use for options about tags and labels."""
    return read_squad(path, on_error)


def read_word_table(
    path: FilePath,
    on_error: str = "stop",
    *,
    strict: bool = False,
    column: int | str | None = None,
    label_names: Sequence[str] | None = None,
    fields: Sequence[int | str] = (),
    speech: bool = False,
    **_: Any,
) -> list[NERExample] | list[TokenExample]:
    """Read a table with one word per row, such as Kaggle's `Sentence #,Word,POS,Tag`.

    A sentence begins where its column names a new one (an empty cell continues the sentence),
    or, without such a column, after an empty row. Arguments and errors as in `read_conll`.
    """
    report = Report(path, on_error)
    table = Table.read(path, lambda names: not names.isdisjoint(WORDS))
    ids = table.find(SENTENCE_IDS)
    # Rows become blocks, as in files of columns; from there on the same code reads both.
    blocks: list[Block] = []
    last, begins = None, True
    # Rows of another width are already faults, and must neither begin nor end a sentence.
    full = dict(table.full_rows(report))
    for line, cells in table.rows:
        if line not in full:
            # An empty row ends a sentence if no column of ids does.
            begins = begins or not cells
            continue
        name = cells[ids] if ids is not None else None
        begins = begins or (bool(name) and name != last)
        # Kaggle's file writes the id only at the first word; the cells below are empty.
        last = name or last
        if begins:
            blocks.append([])
        blocks[-1].append(Row(line, cells))
        begins = False
    if not blocks:  # every row has a fault
        return report.finish([], "sentence")
    # Otherwise ids that look like words or tags might be taken for them.
    ignored = [i for i, name in enumerate(table.names) if i == ids or counts_rows(name)]
    numbered = ((n, row.cells) for n, block in enumerate(blocks) for row in block)
    layout = layout_of(
        column_facts(numbered, len(table.names)),
        str(path),
        names=table.names,
        column=column,
        label_names=label_names,
        fields=fields,
        speech=speech,
        ignored=ignored,
    )
    examples = tagged_examples(blocks, layout, report, in_memory, strict)
    return report.finish(list(examples), "sentence")


def read_pair_table(
    path: FilePath,
    on_error: str = "stop",
    *,
    column: int | str | None = None,
    label_names: Sequence[str] | None = None,
    scores: Sequence[str] = (),
    **_: Any,
) -> list[PairExample]:
    """Read a table of pairs of sentences, with a score, a class or both, if there are any.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the rows that have one.
        column: of the score or the class, by name or number, if it is not found by its name.
        label_names: what classes written as whole numbers mean, in order from 0.
        scores: names of the column with the score, besides those that we know.

    Raises:
        DataError: the file cannot be read; a row without two sentences; an invalid score.
    """
    report = Report(path, on_error)
    table = Table.read(path, lambda names: any(names.issuperset(pair) for pair in PAIRS))
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
    rows = [
        (
            line,
            "",
            cells[first],
            cells[second],
            *(None if i is None else cells[i] for i in (score, label)),
        )
        for line, cells in table.full_rows(report)
    ]
    named = [None if i is None else table.names[i].strip().lower() for i in (score, label)]
    return report.finish(pairs_from(rows, report, *named, label_names), "pair of sentences")
