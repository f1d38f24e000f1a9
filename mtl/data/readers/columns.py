"""Columns, one word with its tag per line, go in; tagged sentences come out, and back again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ...errors import DataError, Fault
from ...metrics import entity_spans
from ..examples import NERExample, TextExample, TokenExample
from ..nesting import iob2_tags, outermost
from ..words import find_words, join_words
from .blocks import Lines
from .layout import Block, Layout, first_word_column, layout_of
from .schemes import (
    KNOWN_TAGS,
    PLAIN_TYPES,
    RULES,
    Spelling,
    scheme_of,
    strays,
    to_iob2,
    what_breaks,
)
from .source import FilePath, Report, read_text, short
from .tag_columns import NOT_KNOWN, TagColumn

_SENTENCE_ENDS = frozenset(".!?。！？।؟")
# Words in a "sentence" that has several ends. A model would cut it and never say so.
_TOO_LONG = 100


class _Sentence(NamedTuple):
    lines: list[int]  # one per word
    tokens: list[str]
    tags: dict[str, list[str]]  # by column; _MAIN is the one that the layout calls its tags
    never_closed: dict[str, list[int]]  # words whose bracket opens but never closes, by column

    def __str__(self) -> str:
        return f"tokens {short(self.tokens)}, tags {short(self.tags[_MAIN])}"


_MAIN = ""


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
    # The whole file is looked at before any sentence is made: all sentences have the same column of
    # tags, spelling and scheme, and one sentence alone seldom shows them.
    lines = Lines(read_text(path))
    layout = layout_of(
        lines.certain_blocks(),
        str(path),
        names=lines.header,
        column=column,
        label_names=label_names,
        fields=fields,
        speech=speech,
    )
    blocks = lines.blocks(layout)
    if layout.tag is None:
        report.notes.append("no column holds entity tags or parts of speech")
        examples = [_untagged(block, layout, lines.text_before(block[0][0])) for block in blocks]
    else:
        _check_blank_lines(blocks, layout, report.path)
        _take_off_language(blocks, layout, report)
        if whole_documents:
            blocks = _documents(lines, blocks, report)
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
) -> list[NERExample] | list[TokenExample]:
    """The sentences of a file whose layout is known; what is wrong with them goes to `report`."""
    sentences = []
    for block in blocks:
        with report.record(block[0][0]):
            sentences.append(_sentence(block, layout))
    # Two passes: a tag can only be called wrong once it is known which scheme its column has.
    columns = [
        _Entities(name, column.spelling, sentences)
        for name, column in _columns_of(layout)
        if column.spelling is not None
    ]
    examples = []
    for sentence in sentences:
        with report.record(sentence.lines[0]):
            for column in columns:
                column.convert(sentence, strict)
            examples.append(_example(sentence, layout))
    if layout.remark:
        report.notes.append(layout.remark)
    for column in columns:
        # The first field may be the same column: what is wrong with it is said once.
        if column.name != _MAIN or layout.tag not in layout.fields.values():
            column.report(report)
    # Then each I- would be read as a separate entity, which is easily overlooked.
    repaired = any(column.repaired for column in columns)
    if repaired and all(len(sentence.tokens) == 1 for sentence in sentences):
        report.notes.append("every sentence is one word: does a blank line follow every word?")
    return examples


def _columns_of(layout: Layout) -> list[tuple[str, TagColumn]]:
    """All columns of tags, with the names that a sentence knows them by."""
    assert layout.tag is not None
    return [(_MAIN, layout.tag), *layout.fields.items(), *layout.layers.items()]


def _about(name: str) -> str:
    """How a note or fault begins that is about a further column."""
    return f"column {name}: " if name else ""


class _Entities:
    """A column of entity tags in all sentences of a file: its scheme, and what breaks it."""

    def __init__(self, name: str, spelling: Spelling, sentences: Sequence[_Sentence]) -> None:
        self.name, self.spelling = name, spelling
        self.scheme = scheme_of(sentence.tags[name] for sentence in sentences)
        self.repaired: list[tuple[str, str, str]] = []
        self.never_closed: list[int] = []

    def convert(self, sentence: _Sentence, strict: bool) -> None:
        """Turn the tags of a sentence into IOB2."""
        tags = sentence.tags[self.name]
        broken = strays(tags, self.scheme)
        if strict:
            _refuse_strays(sentence, sentence.never_closed[self.name], broken, self.scheme)
        self.never_closed += [sentence.lines[i] for i in sentence.never_closed[self.name]]
        self.repaired += [(f"line {sentence.lines[i]}", before, tag) for i, before, tag in broken]
        sentence.tags[self.name] = list(to_iob2(tags))

    def report(self, report: Report) -> None:
        """Note what its user should know."""
        about = _about(self.name)
        report.note_strays(len(self.repaired), self.repaired, self.scheme, about)
        if self.spelling.is_plain:
            report.notes.append(f"{about}{PLAIN_TYPES}")
        if self.never_closed:
            report.notes.append(
                f"{about}brackets that open but never close, read as entities of "
                f"one word: {len(self.never_closed):,} (the first at line {self.never_closed[0]}); "
                "--strict refuses them"
            )


def _example(sentence: _Sentence, layout: Layout) -> Any:
    """A sentence whose entity tags are in IOB2 as an example."""
    known = {n: tuple(tags) for n, tags in sentence.tags.items() if set(tags) != {NOT_KNOWN}}
    tokens, tags = tuple(sentence.tokens), known.get(_MAIN)
    fields = {name: known[name] for name in layout.fields if name in known}
    if tags is None or layout.tag is None or layout.tag.spelling is None:
        return TokenExample(tokens, tags, fields)
    if not layout.layers:
        return NERExample(tokens, tags, fields)
    # A set, since some corpora repeat an entity in a second layer.
    found = {e for name in (_MAIN, *layout.layers) for e in entity_spans(known.get(name, ()))}
    outer = outermost(found)
    return NERExample(tokens, iob2_tags(len(tokens), outer), fields, (*(found - {*outer}),))


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


def _documents(lines: Lines, blocks: list[Block], report: Report) -> list[Block]:
    """The rows of each document; of each sentence if the file does not say where one begins."""
    if found := lines.documents(blocks):
        return found
    report.notes.append(
        "no line such as `# newdoc` says where a document begins: what blank lines separate counts "
        "as documents"
    )
    return blocks


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
    tags = {
        name: [layout.tag_of(cells, column) for _, cells in fitting]
        for name, column in _columns_of(layout)
    }
    tokens = [cells[min(layout.token, len(cells) - 1)] for _, cells in rows]
    # Made before anything is checked, so that a fault can show the whole sentence.
    shown = _Sentence([line for line, _ in rows], tokens, tags, {})
    faults = [
        _width_fault(line, columns, layout.width, shown)
        for line, columns in rows
        if len(columns) != layout.width
    ]
    canonical = dict(tags)
    for name, column in _columns_of(layout):
        if column.spelling is None:
            continue
        shown.never_closed[name] = column.spelling.never_closed(tags[name])
        found = column.spelling.canonical(tags[name])
        canonical[name] = [tag or "" for tag in found]
        faults += [
            _tag_fault(name, cell, line, cells[layout.token])
            for (line, cells), cell, tag in zip(fitting, tags[name], found, strict=True)
            if tag is None
        ]
    if faults:
        raise DataError.collect(faults)
    return shown._replace(tags=canonical)


def _tag_fault(column: str, cell: str, line: int, token: str) -> Fault:
    what = f"{_about(column)}the tag is of no known scheme"
    return Fault(what, None, line, f"{cell!r} at the token {token!r}", KNOWN_TAGS)


def _width_fault(line: int, columns: list[str], width: int, sentence: _Sentence) -> Fault:
    what = f"{len(columns)} column(s) where {width} are needed, in a sentence of "
    what += f"{len(sentence.tokens)} tokens with {len(sentence.tags[_MAIN])} tags"
    found = f"{' '.join(columns)!r} in the sentence with {sentence}"
    fix = "write the token first and its tag last, with a tab between them"
    return Fault(what, line=line, found=found, fix=fix)


def _refuse_strays(
    sentence: _Sentence,
    never_closed: Sequence[int],
    broken: Sequence[tuple[int, str, str]],
    scheme: str,
) -> None:
    faults: dict[int, Fault] = {}  # one per line
    for i in never_closed:
        line, found = sentence.lines[i], str(sentence)
        fix = "write (PER) for an entity of one word, and (PER* *) for a longer one"
        faults[line] = Fault("a bracket opens but never closes", None, line, found, fix)
    for i, before, tag in broken:
        what, line = what_breaks(scheme, before, tag), sentence.lines[i]
        faults.setdefault(line, Fault(what, None, line, str(sentence), RULES[scheme]))
    if faults:
        raise DataError.collect(list(faults.values()))


def _untagged(block: Block, layout: Layout, text: str | None) -> TextExample:
    """A CoNLL-U sentence as its `# text` comment spells it, or else its words joined."""
    tokens = [cells[layout.token] for _, cells in block if len(cells) == layout.width]
    # The comment may be out of date; only the words can be trusted then.
    if text is None or find_words(text, tokens) is None:
        text, _ = join_words(tokens)
    return TextExample(text, tuple(tokens))
