"""CoNLL columns: one token a line with its tag, a blank line after each sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from ...errors import DataError, Fault
from ...files import write_atomically
from ..examples import NERExample
from .schemes import BREAKS, RULES, scheme_of, tag_pairs, to_iob2
from .source import FilePath, Report, lines_of, read_text, short

Rows = list[tuple[int, list[str]]]  # line numbers and columns


class _Sentence(NamedTuple):
    line: int  # of its first token; the others follow, one a line
    tokens: list[str]
    tags: list[str]

    def __str__(self) -> str:
        return f"tokens {short(self.tokens)}, tags {short(self.tags)}"


def read_conll(path: FilePath, on_error: str = "stop") -> list[NERExample]:
    """Read a CoNLL file: one token a line, a blank line after each sentence.

    Columns stand between tabs or blanks; the token is the first, its tag the last. The tag scheme
    (IOB1, IOB2, BIOES or its twin BILOU) is the one that the file breaks least often; tags become
    IOB2. Sources: Tjong Kim Sang and De Meulder (2003), "Introduction to the CoNLL-2003 shared
    task", section 2.2; for the schemes, Ratinov and Roth (2009), "Design challenges and
    misconceptions in named entity recognition", section 3.2.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the sentences that have one.

    Raises:
        DataError: the file cannot be read or is empty; a line has too few or too many columns; a
            tag is of no known scheme or breaks the scheme of the file.
        ConfigError: `on_error` is something else.
    """
    report = Report(path, on_error)
    blocks = list(_blocks(read_text(path)))
    width = _usual_width(blocks)
    sentences = []
    for block in blocks:
        with report.record(block[0][0]):
            sentences.append(_sentence(block, width))
    scheme = scheme_of(sentence.tags for sentence in sentences)
    examples = []
    for sentence in sentences:
        with report.record(sentence.line):
            _check_scheme(sentence, scheme)
            examples.append(NERExample(tuple(sentence.tokens), tuple(to_iob2(sentence.tags))))
    return report.finish(examples, "sentence")


def _blocks(text: str) -> Iterator[Rows]:
    """The rows of each sentence."""
    rows = enumerate(map(_columns, lines_of(text)), start=1)
    for is_sentence, block in groupby(rows, key=lambda row: bool(row[1])):
        if is_sentence:
            yield list(block)


def _columns(line: str) -> list[str]:
    """The columns of a line; none where the line only parts sentences or documents."""
    line = line.rstrip(" \t")
    if "\t" in line:
        columns = [column.strip(" ") for column in line.split("\t")]
    else:
        columns = [column for column in line.split(" ") if column]
    return [] if not line.strip() or columns[0] == "-DOCSTART-" else columns


def _usual_width(blocks: list[Rows]) -> int:
    """The number of columns that most lines have, at least two."""
    counts = Counter(len(columns) for block in blocks for _, columns in block)
    return max(2, max(counts, key=lambda width: (counts[width], width), default=2))


def _sentence(rows: Rows, width: int) -> _Sentence:
    """The tokens and tags of a sentence, once every line is known to have both."""
    tags = [columns[-1] for _, columns in rows if len(columns) == width]
    sentence = _Sentence(rows[0][0], [columns[0] for _, columns in rows], tags)
    faults = [_fault(line, columns, width, sentence) for line, columns in rows]
    if any(faults):
        raise DataError.collect([fault for fault in faults if fault])
    return sentence


def _fault(line: int, columns: list[str], width: int, sentence: _Sentence) -> Fault | None:
    """What is wrong with a line, whatever the tag scheme."""
    if len(columns) != width:
        what = f"{len(columns)} column(s) where {width} are needed, in a sentence of "
        what += f"{len(sentence.tokens)} tokens with {len(sentence.tags)} tags"
        found = f"{' '.join(columns)!r} in the sentence with {sentence}"
        fix = "write the token first and its tag last, with a tab between them"
        return Fault(what, line=line, found=found, fix=fix)
    if not re.fullmatch("O|[BIESLU]-.+", columns[-1]):
        found = f"{columns[-1]!r} at the token {columns[0]!r}"
        fix = "use O, B-TYPE and I-TYPE, as in B-PER I-PER O (IOB1, IOB2, BIOES, BILOU are known)"
        return Fault("the tag is of no known scheme", line=line, found=found, fix=fix)
    return None


def _check_scheme(sentence: _Sentence, scheme: str) -> None:
    faults: dict[int, Fault] = {}  # one a line
    last_line = sentence.line + len(sentence.tokens) - 1
    for line, (before, tag) in enumerate(tag_pairs(sentence.tags), start=sentence.line):
        if BREAKS[scheme](before, tag):
            line = min(line, last_line)
            what = f"{tag} after {before} breaks {scheme}, the tag scheme of this file"
            fault = Fault(what, line=line, found=str(sentence), fix=RULES[scheme])
            faults.setdefault(line, fault)
    if faults:
        raise DataError.collect(list(faults.values()))


def write_conll(examples: Iterable[NERExample], path: FilePath) -> None:
    """Write sentences as `token TAB tag` lines in IOB2; `read_conll` gives equal examples back.

    Raises:
        DataError: a token or tag that the format cannot hold, such as one with a tab in it; the
            file cannot be written.
    """
    sentences = ["".join(map(_conll_line, e.tokens, e.tags)) for e in examples]
    write_atomically(path, "\n".join(sentences))


def _conll_line(token: str, tag: str) -> str:
    line = f"{token}\t{tag}"
    if lines_of(line) != [line] or _columns(line) != [token, tag] or token.startswith("\ufeff"):
        found = f"{token!r} with the tag {tag!r}"
        fix = "take out tabs, line breaks, outer blanks, byte order marks and -DOCSTART-"
        raise DataError("a CoNLL file cannot hold this token", found=found, fix=fix)
    return f"{line}\n"
