"""Rows of sentences go in; tagged sentences come out, and what is wrong with them.

A table of words has the same rows, so it is read here, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ...errors import DataError, Fault
from ...metrics import entity_spans
from ..examples import NERExample, TokenExample
from ..nesting import iob2_tags, outermost
from .layout import Block, Layout
from .schemes import (
    KNOWN_TAGS,
    PLAIN_TYPES,
    RULES,
    Spelling,
    scheme_of_pairs,
    strays,
    tag_pairs,
    to_iob2,
    what_breaks,
)
from .source import Held, Report, short
from .tag_columns import NOT_KNOWN, TagColumn


class _Sentence(NamedTuple):
    lines: list[int]  # one per word
    tokens: list[str]
    tags: dict[str, list[str]]  # by column; _MAIN is the one that the layout calls its tags
    never_closed: dict[str, list[int]]  # words whose bracket opens but never closes, by column

    def __str__(self) -> str:
        return f"tokens {short(self.tokens)}, tags {short(self.tags[_MAIN])}"


_MAIN = ""


def tagged_examples(
    blocks: Iterable[Block], layout: Layout, report: Report, held: Held, strict: bool
) -> Iterator[NERExample | TokenExample]:
    """The sentences of a file whose layout is known; what is wrong with them goes to `report`.

    Args:
        blocks: the rows of each sentence; they are gone through twice.
        layout: with a column of tags.
        report: of the file.
        held: what becomes of the sentences between two passes, `in_memory` or `Passes`.
        strict: a tag that breaks the scheme of the file is a fault.
    """
    sentences = held(lambda report: _sentences(blocks, layout, report), report)
    columns = [
        _Entities(name, column.spelling)
        for name, column in _columns_of(layout)
        if column.spelling is not None
    ]
    longest = 0
    # Two passes: a tag can only be called wrong once it is known which scheme its column has.
    for sentence in sentences if columns else ():
        longest = max(longest, len(sentence.tokens))
        for column in columns:
            column.see(sentence)
    for column in columns:
        column.settle()
    for sentence in sentences:
        with report.record(sentence.lines[0]):
            for column in columns:
                column.convert(sentence, strict)
            yield _example(sentence, layout)
    if layout.remark:
        report.notes.append(layout.remark)
    for column in columns:
        # The first field may be the same column: what is wrong with it is said once.
        if column.name != _MAIN or layout.tag not in layout.fields.values():
            column.report(report)
    # Then each I- would be read as a separate entity, which is easily overlooked.
    if longest == 1 and any(column.n_repaired for column in columns):
        report.notes.append("every sentence is one word: does a blank line follow every word?")


def _sentences(blocks: Iterable[Block], layout: Layout, report: Report) -> Iterator[_Sentence]:
    for block in blocks:
        with report.record(block[0].line):
            yield _sentence(block, layout)


class _Entities:
    """A column of entity tags in all sentences of a file: its scheme, and what breaks it.

    First `see` all sentences, then `convert` them.
    """

    def __init__(self, name: str, spelling: Spelling) -> None:
        self.name, self.spelling = name, spelling
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.scheme = ""
        self.n_repaired, self.first_repaired = 0, ("", "", "")
        self.n_never_closed, self.first_never_closed = 0, 0  # the line of the first

    def see(self, sentence: _Sentence) -> None:
        """Count its pairs of tags, which show the scheme."""
        self.pairs.update(tag_pairs(sentence.tags[self.name]))

    def settle(self) -> None:
        """Decide which scheme the file has, once all sentences have been seen."""
        self.scheme = scheme_of_pairs(self.pairs)

    def convert(self, sentence: _Sentence, strict: bool) -> None:
        """Turn the tags of a sentence into IOB2."""
        tags, lines = sentence.tags[self.name], sentence.lines
        broken, never_closed = strays(tags, self.scheme), sentence.never_closed[self.name]
        if strict:
            _refuse_strays(sentence, never_closed, broken, self.scheme)
        if never_closed and not self.n_never_closed:
            self.first_never_closed = lines[never_closed[0]]
        if broken and not self.n_repaired:
            place, before, tag = broken[0]
            self.first_repaired = (f"line {lines[place]}", before, tag)
        self.n_never_closed += len(never_closed)
        self.n_repaired += len(broken)
        sentence.tags[self.name] = list(to_iob2(tags))

    def report(self, report: Report) -> None:
        """Note what its user should know."""
        about = _about(self.name)
        report.note_strays(self.n_repaired, [self.first_repaired], self.scheme, about)
        if self.spelling.is_plain:
            report.notes.append(f"{about}{PLAIN_TYPES}")
        if self.n_never_closed:
            report.notes.append(
                f"{about}brackets that open but never close, read as entities of "
                f"one word: {self.n_never_closed:,} (the first at line {self.first_never_closed}); "
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


def _columns_of(layout: Layout) -> list[tuple[str, TagColumn]]:
    """All columns of tags, with the names that a sentence knows them by."""
    assert layout.tag is not None
    return [(_MAIN, layout.tag), *layout.fields.items(), *layout.layers.items()]


def _about(name: str) -> str:
    """How a note or fault begins that is about a further column."""
    return f"column {name}: " if name else ""


def _sentence(rows: Block, layout: Layout) -> _Sentence:
    """The tokens and tags of a sentence, once every line is known to have both."""
    # Faulty rows stay out of the tags, but each is named below.
    fitting = [row for row in rows if len(row.cells) == layout.width]
    tags = {
        name: [layout.tag_of(row.cells, column) for row in fitting]
        for name, column in _columns_of(layout)
    }
    tokens = [row.cells[min(layout.token, len(row.cells) - 1)] for row in rows]
    # Made before anything is checked, so that a fault can show the whole sentence.
    shown = _Sentence([row.line for row in rows], tokens, tags, {})
    faults = [
        _width_fault(row.line, row.cells, layout.width, shown)
        for row in rows
        if len(row.cells) != layout.width
    ]
    canonical = dict(tags)
    for name, column in _columns_of(layout):
        if column.spelling is None:
            continue
        shown.never_closed[name] = column.spelling.never_closed(tags[name])
        found = column.spelling.canonical(tags[name])
        canonical[name] = [tag or "" for tag in found]
        faults += [
            _tag_fault(name, cell, row.line, row.cells[layout.token])
            for row, cell, tag in zip(fitting, tags[name], found, strict=True)
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
