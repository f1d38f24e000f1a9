"""Columns, one word with its tag per line, go in; tagged sentences come out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

from ...errors import DataError
from ..examples import NERExample, TextExample, TokenExample
from ..words import find_words, join_words
from .blocks import Lines, NumberedRow, documents
from .column_facts import column_facts
from .layout import Block, Layout, Row, first_word_column, layout_of, usual_width
from .sentences import tagged_examples
from .source import FilePath, Held, Report, in_memory, lines_of, read_text

_SENTENCE_ENDS = frozenset(".!?。！？।؟")
# Words in a "sentence" that has several ends. A model would cut it and never say so.
_TOO_LONG = 100


def read_conll(
    path: FilePath,
    on_error: str = "stop",
    *,
    strict: bool = False,
    column: int | str | list[int | str] | None = None,
    label_names: Sequence[str] | None = None,
    fields: Sequence[int | str] = (),
    whole_documents: bool = False,
    speech: bool = False,
) -> list[NERExample] | list[TokenExample] | list[TextExample]:
    """Read columns: one word per line with its tag, a blank line after each sentence.

    Columns are separated by tabs or blanks. The tags are recognised by how they look, in whichever
    column, and in all the spellings and schemes of `mtl.data.readers.schemes`; they become IOB2.
    In a file without entity tags, the parts of speech are the tags, as they are written; so are
    tags of any other kind in a column that somebody chose. Comment lines (`# ...`, `-DOCSTART-`), a
    leading column that counts, and columns that name the document are skipped. In CoNLL-U, ranges
    and empty nodes are left out; a CoNLL-U file without any tags gives untagged texts.

    Sources: Tjong Kim Sang and De Meulder (2003), "Introduction to the CoNLL-2003 shared task",
    section 2.2; for the schemes, Ratinov and Roth (2009), "Design challenges and misconceptions in
    named entity recognition", section 3.2; for tags that break them, the script `conlleval`;
    for CoNLL-U, universaldependencies.org/format.html.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the sentences that have one.
        strict: a tag that breaks the scheme of the file is a fault; else it is read as `conlleval`
            does, and a `DataWarning` counts them.
        column: of the tags, as a number from 1, or by its name in a header or in CoNLL-U. Where the
            file leaves open which column it is, the first of `fields` counts. A list of columns
            holds nested entities, in any order: the outermost become the tags, the others `inner`.
        label_names: what tags written as whole numbers mean, in order from 0.
        fields: further columns of tags, as numbers or names; each becomes a field of the examples.
        whole_documents: an example is a document rather than a sentence; a line such as `# newdoc`,
            `# doc_id = ...` or `-DOCSTART-` begins one; without any, blank lines do.
        speech: where a file has both, its parts of speech are the tags, rather than its entities.

    Returns:
        `NERExample`s where the tags are those of entities, `TokenExample`s where they are not. A
        sentence whose tags are all `_` is not tagged.

    Raises:
        DataError: the file cannot be read or is empty; a line has too few or too many columns; a
            tag is of no known scheme; it is not clear which column holds the tags; an entity of
            one column crosses one of another.
        ConfigError: `on_error`, `column` or one of `fields` is something else.
    """
    report = Report(path, on_error)
    lines = lines_of(read_text(path))
    examples = sentences_of(
        lambda _: iter(lines),
        report,
        in_memory,
        strict=strict,
        column=column,
        label_names=label_names,
        fields=fields,
        whole_documents=whole_documents,
        speech=speech,
    )
    return report.finish(list(examples), "sentence")


def sentences_of(
    lines: Callable[[Report], Iterator[str]],
    report: Report,
    held: Held,
    *,
    strict: bool = False,
    whole_documents: bool = False,
    label_names: Sequence[str] | None = None,
    **options: Any,
) -> Iterator[NERExample | TokenExample | TextExample]:
    """The sentences of a file, one after the other; options and errors as in `read_conll`.

    Args:
        lines: gives the lines of the file.
        held: what becomes of the rows between two passes, `in_memory` or `Passes`.
    """
    # The whole file is looked at before any sentence is made: all sentences have the same column of
    # tags, spelling and scheme, and one sentence alone seldom shows them.
    found = Lines(lines, report, held)
    facts = column_facts(_cells(found.certain_rows()), found.width)
    options |= {"names": found.header, "label_names": label_names}
    layout = layout_of(facts, report.path, **options)
    if layout.tag is None:
        report.notes.append("no column holds entity tags or parts of speech")
        yield from (_untagged(block, layout) for block in found.blocks(layout))
        return
    _check_blank_lines(found.words(layout), layout, report.path)
    language = _language(found.words(layout), layout)
    if language:
        report.notes.append(f"{language!r} comes before every word and is left out")
    if whole_documents and not found.has_documents:
        report.notes.append(
            "no line such as `# newdoc` says where a document begins: what blank lines separate "
            "counts as documents"
        )

    def blocks(_: Report) -> Iterator[Block]:
        each = found.blocks(layout)
        if language:
            each = _without_language(each, layout, language)
        return documents(each) if whole_documents and found.has_documents else each

    yield from tagged_examples(held(blocks, report), layout, report, held, strict)


def read_words(path: FilePath) -> list[list[str]]:
    """The words of a file with one word per line, sentence by sentence; any tags are ignored.

    Raises:
        DataError: the file cannot be read or is empty.
    """
    lines = lines_of(read_text(path))
    found = Lines(lambda _: iter(lines), Report(path, "stop"), in_memory)
    rows = list(found.numbered(lambda row, begins: begins and bool(re.match(r"#\s", row.text))))
    # One word per line needs no layout.
    widths = Counter(len(row.cells) for _, row in rows)
    token = 0
    if max(widths, default=1) > 1:
        facts = column_facts(_cells(rows), usual_width(widths))
        try:
            token = layout_of(facts, str(path), names=found.header).token
        except DataError:  # no tags, or several columns of them: here it does not matter which
            token = first_word_column(facts, found.header)
    # A short row still has its word; its tags are not needed here.
    return [
        [row.cells[min(token, len(row.cells) - 1)] for _, row in sentence]
        for _, sentence in groupby(rows, key=itemgetter(0))
    ]


def _cells(rows: Iterable[NumberedRow]) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row, with the number of its sentence."""
    return ((sentence, row.cells) for sentence, row in rows)


def _check_blank_lines(rows: Iterable[NumberedRow], layout: Layout, path: str) -> None:
    """Raise DataError if the whole file looks like one sentence, but is not."""
    n_words = n_ends = 0
    for sentence, row in rows:
        if sentence > 1:
            return
        if len(row.cells) == layout.width:
            n_words += 1
            n_ends += row.cells[layout.token] in _SENTENCE_ENDS
    # Cut into windows, such a "sentence" would train badly, and without any complaint.
    if n_words > _TOO_LONG and n_ends > 2:
        raise DataError(
            "the whole file is one sentence: are the blank lines missing?",
            path=path,
            found=f"{n_words:,} words without a blank line, {n_ends:,} of which end a sentence",
            fix="put a blank line after each sentence",
        )


def _language(rows: Iterable[NumberedRow], layout: Layout) -> str:
    """What WikiANN writes before every word, such as the `en:` of `en:Paris`; "" in other files.

    Source: Pan et al. (2017), "Cross-lingual name tagging and linking for 282 languages".
    """
    words = (row.cells[layout.token] for _, row in rows if len(row.cells) == layout.width)
    first, second = next(words, ""), next(words, "")
    language = re.match(r"[a-z]{2,3}(-[a-z]+)*:", first)
    if not language or not second:
        return ""
    # Every word or none: a text may well hold an `it:` or `de:`.
    every = all(
        w.startswith(language[0]) and w != language[0] for w in chain([first, second], words)
    )
    return language[0] if every else ""


def _without_language(blocks: Iterable[Block], layout: Layout, language: str) -> Iterator[Block]:
    """The same rows without what comes before every word."""

    def without(row: Row) -> Row:
        cells = list(row.cells)
        cells[layout.token] = cells[layout.token].removeprefix(language)
        return row._replace(cells=cells)

    for block in blocks:
        yield [without(row) if len(row.cells) == layout.width else row for row in block]


def _untagged(block: Block, layout: Layout) -> TextExample:
    """A CoNLL-U sentence as its `# text` comment spells it, or else its words joined."""
    tokens = [row.cells[layout.token] for row in block if len(row.cells) == layout.width]
    text = block[0].said
    # The comment may be out of date; only the words can be trusted then.
    if text is None or find_words(text, tokens) is None:
        text, _ = join_words(tokens)
    return TextExample(text, tuple(tokens))
