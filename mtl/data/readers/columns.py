"""Columns, one word with its tag per line, go in; tagged sentences come out, and back again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...errors import DataError, Fault
from ..examples import NERExample, TextExample
from ..words import find_words, join_words
from .blocks import Lines
from .layout import PART_OF_SPEECH, Block, Layout, first_word_column, layout_of
from .schemes import (
    KNOWN_TAGS,
    PLAIN_TYPES,
    RULES,
    scheme_of,
    strays,
    to_iob2,
    what_breaks,
)
from .source import FilePath, Report, read_text, short

_SENTENCE_ENDS = frozenset(".!?。！？।؟")
# Words in a "sentence" that has several ends. A model would cut it and never say so.
_TOO_LONG = 100


class _Sentence(NamedTuple):
    lines: list[int]  # one per word
    tokens: list[str]
    tags: list[str]
    never_closed: Sequence[int] = ()  # words whose bracket opens but never closes

    def __str__(self) -> str:
        return f"tokens {short(self.tokens)}, tags {short(self.tags)}"


def read_conll(
    path: FilePath,
    on_error: str = "stop",
    *,
    strict: bool = False,
    column: int | str | None = None,
    label_names: Sequence[str] | None = None,
) -> list[NERExample] | list[TextExample]:
    """Read columns: one word per line with its tag, a blank line after each sentence.

    Columns are separated by tabs or blanks. The tags are recognised by how they look, in whichever
    column, and in all the spellings and schemes of `mtl.data.readers.schemes`; they become IOB2.
    Comment lines (`# ...`, `-DOCSTART-`), a leading column that counts, and columns that name the
    document are skipped. In CoNLL-U, ranges and empty nodes are left out; a CoNLL-U file without
    entity tags gives untagged texts.

    Sources: Tjong Kim Sang and De Meulder (2003), "Introduction to the CoNLL-2003 shared task",
    section 2.2; for the schemes, Ratinov and Roth (2009), "Design challenges and misconceptions in
    named entity recognition", section 3.2; for tags that break them, the script `conlleval`;
    for CoNLL-U, universaldependencies.org/format.html.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the sentences that have one.
        strict: a tag that breaks the scheme of the file is a fault; else it is read as `conlleval`
            does, and a `DataWarning` counts them.
        column: of the tags, as a number from 1, or by name in CoNLL-U.
        label_names: what tags written as whole numbers mean, in order from 0.

    Raises:
        DataError: the file cannot be read or is empty; a line has too few or too many columns; a
            tag is of no known scheme; no column, or more than one, holds entity tags.
        ConfigError: `on_error` or `column` is something else.
    """
    report = Report(path, on_error)
    # The whole file is looked at before any sentence is made: all sentences have the same column of
    # tags, spelling and scheme, and one sentence alone seldom shows them.
    lines = Lines(read_text(path))
    layout = layout_of(
        lines.certain_blocks(),
        str(path),
        names=lines.header,
        column=column,
        label_names=label_names,
    )
    blocks = lines.blocks(layout)
    if layout.tag is None:
        report.notes.append(_what_else(blocks, layout))
        examples = [_untagged(block, layout, lines.text_before(block[0][0])) for block in blocks]
    else:
        _check_blank_lines(blocks, layout, report.path)
        _take_off_language(blocks, layout, report)
        examples = tagged_examples(blocks, layout, report, strict)
    return report.finish(examples, "sentence")


def read_words(path: FilePath) -> list[list[str]]:
    """The words of a file with one word per line, sentence by sentence; any tags are ignored.

    Raises:
        DataError: the file cannot be read or is empty.
    """
    lines = Lines(read_text(path))
    blocks = list(
        lines.split(lambda row, begins: begins and bool(re.match(r"#\s", lines.lines[row[0] - 1])))
    )
    # One word per line needs no layout.
    token = 0
    if any(len(cells) > 1 for block in blocks for _, cells in block):
        try:
            token = layout_of(blocks, str(path), names=lines.header).token
        except DataError:  # no tags, or several columns of them: here it does not matter which
            token = first_word_column(blocks, lines.header)
    # A short row still has its word; its tags are not needed here.
    return [[cells[min(token, len(cells) - 1)] for _, cells in block] for block in blocks]


def tagged_examples(
    blocks: Iterable[Block], layout: Layout, report: Report, strict: bool
) -> list[NERExample]:
    """The sentences of a file whose layout is known; what is wrong with them goes to `report`."""
    sentences = []
    for block in blocks:
        with report.record(block[0][0]):
            sentences.append(_sentence(block, layout))
    # Two passes: a tag can only be called wrong once it is known which scheme the file has.
    scheme = scheme_of(sentence.tags for sentence in sentences)
    examples, repaired = [], []
    never_closed = []
    for sentence in sentences:
        with report.record(sentence.lines[0]):
            broken = strays(sentence.tags, scheme)
            if strict:
                _refuse_strays(sentence, broken, scheme)
            never_closed += [sentence.lines[i] for i in sentence.never_closed]
            repaired += [(f"line {sentence.lines[i]}", before, tag) for i, before, tag in broken]
            examples.append(NERExample(tuple(sentence.tokens), tuple(to_iob2(sentence.tags))))
    report.note_strays(repaired, scheme)
    # Then each I- would be read as a separate entity, which is easily overlooked.
    if repaired and all(len(sentence.tokens) == 1 for sentence in sentences):
        report.notes.append("every sentence is one word: does a blank line follow every word?")
    if layout.spelling.is_plain:
        report.notes.append(PLAIN_TYPES)
    if never_closed:
        report.notes.append(
            f"brackets that open but never close, read as entities of one word: "
            f"{len(never_closed):,} (the first at line {never_closed[0]}); --strict refuses them"
        )
    return examples


def _check_blank_lines(blocks: Sequence[Block], layout: Layout, path: str) -> None:
    """Raise DataError if the whole file looks like one sentence, but is not."""
    tokens = [c[layout.token] for b in blocks for _, c in b if len(c) == layout.width]
    ends = sum(token in _SENTENCE_ENDS for token in tokens)
    # Cut into windows, such a "sentence" would train badly, and without any complaint.
    if len(blocks) == 1 and len(tokens) > _TOO_LONG and ends > 2:
        raise DataError(
            "the whole file is one sentence: are the blank lines missing?",
            path=path,
            found=f"{len(tokens):,} words without a blank line, {ends:,} of which end a sentence",
            fix="put a blank line after each sentence",
        )


def _take_off_language(blocks: Iterable[Block], layout: Layout, report: Report) -> None:
    """Strip what WikiANN writes before every word, such as the `en:` of `en:Paris`.

    Source: Pan et al. (2017), "Cross-lingual name tagging and linking for 282 languages".
    """
    rows = [cells for block in blocks for _, cells in block if len(cells) == layout.width]
    words = [cells[layout.token] for cells in rows]
    language = re.match(r"[a-z]{2,3}(-[a-z]+)*:", words[0]) if len(words) > 1 else None
    # Every word or none: a text may well hold an `it:` or `de:`.
    if language and all(w.startswith(language[0]) and w != language[0] for w in words):
        for cells in rows:
            cells[layout.token] = cells[layout.token].removeprefix(language[0])
        report.notes.append(f"{language[0]!r} comes before every word and is left out")


def _sentence(rows: Block, layout: Layout) -> _Sentence:
    """The tokens and tags of a sentence, once every line is known to have both."""
    # Faulty rows stay out of the tags, but each is named below.
    fitting = [row for row in rows if len(row[1]) == layout.width]
    cells = [layout.tag_of(columns) for _, columns in fitting]
    # Made before anything is checked, so that a fault can show the whole sentence.
    shown = _Sentence([], [c[min(layout.token, len(c) - 1)] for _, c in rows], cells)
    faults = [
        _width_fault(line, columns, layout.width, shown)
        for line, columns in rows
        if len(columns) != layout.width
    ]
    tags = layout.spelling.canonical(cells)
    for (line, columns), cell, tag in zip(fitting, cells, tags, strict=True):
        if tag is None:
            found = f"{cell!r} at the token {columns[layout.token]!r}"
            faults.append(Fault("the tag is of no known scheme", None, line, found, KNOWN_TAGS))
    if faults:
        raise DataError.collect(faults)
    lines = [line for line, _ in rows]
    never_closed = layout.spelling.never_closed(cells)
    return _Sentence(lines, shown.tokens, [tag or "" for tag in tags], never_closed)


def _width_fault(line: int, columns: list[str], width: int, sentence: _Sentence) -> Fault:
    what = f"{len(columns)} column(s) where {width} are needed, in a sentence of "
    what += f"{len(sentence.tokens)} tokens with {len(sentence.tags)} tags"
    found = f"{' '.join(columns)!r} in the sentence with {sentence}"
    fix = "write the token first and its tag last, with a tab between them"
    return Fault(what, line=line, found=found, fix=fix)


def _refuse_strays(
    sentence: _Sentence, broken: Sequence[tuple[int, str, str]], scheme: str
) -> None:
    faults: dict[int, Fault] = {}  # one per line
    for i in sentence.never_closed:
        line, found = sentence.lines[i], str(sentence)
        fix = "write (PER) for an entity of one word, and (PER* *) for a longer one"
        faults[line] = Fault("a bracket opens but never closes", None, line, found, fix)
    for i, before, tag in broken:
        what, line = what_breaks(scheme, before, tag), sentence.lines[i]
        faults.setdefault(line, Fault(what, None, line, str(sentence), RULES[scheme]))
    if faults:
        raise DataError.collect(list(faults.values()))


def _what_else(blocks: Iterable[Block], layout: Layout) -> str:
    """What a CoNLL-U file has instead of entity tags."""
    kinds = []
    for name in ("upos", "xpos"):
        place = layout.names.index(name)
        cells = {row[place] for block in blocks for _, row in block if len(row) == layout.width}
        kinds += [f"{name} ({len(cells)} kinds)"] if cells != {"_"} else []
    note = "no column holds entity tags"
    return f"{note}; {' and '.join(kinds)}: {PART_OF_SPEECH}" if kinds else note


def _untagged(block: Block, layout: Layout, text: str | None) -> TextExample:
    """A CoNLL-U sentence as its `# text` comment spells it, or else its words joined."""
    tokens = [cells[layout.token] for _, cells in block if len(cells) == layout.width]
    # The comment may be out of date; only the words can be trusted then.
    if text is None or find_words(text, tokens) is None:
        text, _ = join_words(tokens)
    return TextExample(text, tuple(tokens))
