"""Tables (CSV, TSV, with semicolons): texts with a class or tags, pairs, words; fastText lines.

What the columns are is read from their header, or, without one, from what stands in them where that
is clear. Tables of questions go to `mtl.data.readers.squad`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...errors import ConfigError, DataError, suggest
from ..examples import NERExample, PairExample, TextExample
from ..words import split_words
from .cells import Rows, first_cells, head_rows, list_in, table_rows
from .columns import tagged_examples
from .layout import Block, layout_of
from .schemes import KNOWN_TAGS, Spelling, scheme_of, spelling_of, strays, to_iob2
from .source import FilePath, Report, SoundDataError, lines_of, read_text, short
from .squad import read_squad

SEVERAL_LABELS = "several labels per text are not a task yet"
PAIR_CLASSES = "pairs with classes are not a task yet"

# Names of columns, without case, blanks and punctuation; the first that is there is taken.
SENTENCE_IDS = (
    *("sentence", "sentenceid", "sentenceidx", "sentenceno", "sentencenum", "sentid", "sid"),
)
WORDS = ("word", "token", "form", "words", "tokens")
WORD_TAGS = ("tag", "ner", "nertag", "entity", "tags", "label", "bio", "iob", "nertags", "labels")
TEXTS = (
    *("text", "sentence", "review", "content", "utterance", "tweet", "comment", "message", "body"),
    *("description", "document", "article", "abstract", "post", "email", "sms", "reviewtext"),
    *("commenttext", "tweettext", "sentences", "texts", "input", "question", "query", "headline"),
    *("title", "tokens", "words", "phrase", "prompt", "transcript", "statement", "v2"),
)
LABELS = (
    *("label", "class", "category", "target", "labels", "classes", "classindex", "classlabel"),
    *("goldlabel", "intent", "sentiment", "emotion", "topic", "polarity", "stars", "rating"),
    *("categories", "intents", "emotions", "topics", "airlinesentiment", "domain", "output"),
    *("tags", "tag", "nertags", "wordlabels", "slots", "y", "v1"),
)
GENERIC_LABELS = LABELS[:9]
PAIRS = (
    *(("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2")),
    *(("texta", "textb"), ("text1", "text2"), ("sentencea", "sentenceb"), ("anchor", "positive")),
    *(("source1", "source2"), ("1string", "2string"), ("s1", "s2"), ("query", "passage")),
)
PAIR_VALUES = (
    *("score", "similarity", "similarityscore", "relatednessscore", "label", "goldlabel", "class"),
    *("isduplicate", "quality", "entailment", "entailmentjudgment", "target"),
)
QUESTIONS = ("question", "query", "questiontext", "q")
ANSWERS = ("answer", "answers", "answertext", "answerstext")
CONTEXTS = ("context", "passage", "paragraph", "ctx")
WHAT_WE_KNOW = (
    "name them text and label; sentence1, sentence2 and score; word and tag; text and tags; or "
    "context, question and answer (see docs/data.md)"
)

Reader = Callable[..., list[Any]]


def plain_name(name: str) -> str:
    """A column's name without case, blanks and punctuation."""
    return re.sub(r"[\W_]+", "", name.lower())


def table_form(text: str) -> tuple[str, Reader] | None:
    """The form of a table whose header we know, in words, and its reader; None for another file."""
    for delimiter in _delimiters(text):
        header = [plain_name(name) for name in first_cells(text, delimiter)]
        form = _form_of_header(header, delimiter) if len(header) > 1 else None
        if form is not None:
            return form
    lines = [line for line in lines_of(text) if line.strip()]
    if sum(line.startswith("__label__") for line in lines) >= 0.9 * len(lines):
        return "fastText lines", read_fasttext
    return None


def bare_table_form(text: str) -> tuple[str, Reader] | None:
    """The same of a table without a header, where its columns are clear; or with one unknown."""
    for delimiter in _delimiters(text):
        rows = [row for row in head_rows(text, delimiter) if row[1]]
        width = len(rows[0][1])
        if width > 1 and sum(len(cells) == width for _, cells in rows) >= 0.9 * len(rows):
            if _bare_columns([cells for _, cells in rows if len(cells) == width]) is not None:
                return "table of texts with a class, without a header", read_text_table
            return "table", partial(_refuse, header=rows[0][1])
    return None


def _delimiters(text: str) -> list[str]:
    """What may stand between the cells, the likeliest first."""
    first = next((line for line in lines_of(text) if line.strip()), "")
    return sorted((sign for sign in "\t,;|" if sign in first), key=first.count, reverse=True)


def _form_of_header(names: list[str], delimiter: str) -> tuple[str, Reader] | None:
    known = set(names)
    lacks = known.isdisjoint
    if not lacks(QUESTIONS) and (not lacks(ANSWERS) or (not lacks(CONTEXTS) and lacks(LABELS))):
        return "table of questions (CSV, TSV)", read_squad
    words = WORDS[:3] if lacks(SENTENCE_IDS) else WORDS  # `tokens` alone may hold lists of them
    if not lacks(words) and not lacks((*WORD_TAGS, "pos", *SENTENCE_IDS)):
        # Tabs and blank lines are columns with a header; with commas, or sentence ids, a table.
        if delimiter != "\t" or not lacks(SENTENCE_IDS):
            return "table of words with tags", read_word_table
        return None
    if any(known.issuperset(pair) for pair in PAIRS):
        return "table of pairs", read_pair_table
    if not lacks(TEXTS):
        return "table of texts", read_text_table
    return None


def _refuse(path: FilePath, on_error: str = "stop", *, header: list[str], **options: Any) -> list:
    found = f"the columns {', '.join(short(name, 40) for name in header)}"
    what = "the columns of this table are unknown"
    raise DataError(what, path=path, found=found, fix=WHAT_WE_KNOW)


@dataclass
class _Table:
    """A table in parts: the names of its columns, and its rows with the lines they begin in."""

    path: str
    names: list[str]
    rows: Rows

    @classmethod
    def read(cls, path: FilePath, known: Callable[[set[str]], bool]) -> _Table:
        """The table at a path, cut at the sign that gives a known header."""
        text = read_text(path)
        delimiters = _delimiters(text)
        for delimiter in delimiters:
            if known({plain_name(name) for name in first_cells(text, delimiter)}):
                rows = table_rows(text, delimiter, str(path))
                return cls(str(path), rows[0][1], rows[1:])
        rows = table_rows(text, delimiters[0], str(path)) if delimiters else []
        return cls(str(path), [], rows)

    def find(self, names: Iterable[str]) -> int | None:
        """The column of the first of some names."""
        plain = [plain_name(name) for name in self.names]
        return next((plain.index(name) for name in names if name in plain), None)

    def chosen(self, column: int | str) -> int:
        """The column that somebody named or numbered.

        Raises:
            ConfigError: there is no such column.
        """
        text = str(column).strip()
        if text in self.names:
            return self.names.index(text)
        place = self.find([plain_name(text)]) if plain_name(text) else None
        if place is not None:
            return place
        width = len(self.names or self.rows[0][1])
        if text.isdecimal() and 1 <= int(text) <= width:
            return int(text) - 1
        fix = f"give its number, from 1 to {width}"
        fix += f", or its name: {suggest(text, self.names)}" if self.names else ""
        raise ConfigError(f"there is no column {text!r}", path=self.path, fix=fix)

    def full_rows(self, report: Report) -> Iterator[tuple[int, list[str]]]:
        """The rows that hold something; one of another width than the header is a fault."""
        width = len(self.names or self.rows[0][1])
        for line, cells in self.rows:
            if not cells:
                continue
            with report.record(line):
                if len(cells) != width:
                    what = f"{len(cells)} cells where the header has {width}"
                    fix = "put double quotes around a cell with a separator or line break in it"
                    raise DataError(what, found=short(cells), fix=fix)
                yield line, cells

    def note_unread(self, read: Iterable[int | None], report: Report) -> None:
        unread = [name for i, name in enumerate(self.names) if i not in set(read) and name.strip()]
        if unread:
            report.notes.append(f"columns that are not read: {', '.join(unread)}")


# --- words -------------------------------------------------------------------------------------


def read_word_table(
    path: FilePath,
    on_error: str = "stop",
    *,
    strict: bool = False,
    column: int | str | None = None,
    label_names: Sequence[str] | None = None,
    **_: Any,
) -> list[NERExample]:
    """Read a table with one word per row, such as Kaggle's `Sentence #,Word,POS,Tag`.

    A sentence begins where its column names another one (an empty cell goes on with the sentence),
    or without such a column after an empty row. Arguments and errors as `read_conll`.
    """
    report = Report(path, on_error)
    table = _Table.read(path, lambda names: not names.isdisjoint(WORDS))
    ids = table.find(SENTENCE_IDS)
    blocks: list[Block] = []
    last, begins = None, True
    full = dict(table.full_rows(report))
    for line, cells in table.rows:
        if line not in full:
            begins = begins or not cells
            continue
        name = cells[ids] if ids is not None else None
        begins = begins or (bool(name) and name != last)
        last = name or last
        if begins:
            blocks.append([])
        blocks[-1].append((line, cells))
        begins = False
    ignored = [i for i, name in enumerate(table.names) if i == ids or _counts_rows(name)]
    layout = layout_of(
        blocks,
        str(path),
        names=table.names,
        column=column,
        label_names=label_names,
        ignored=ignored,
    )
    return report.finish(tagged_examples(blocks, layout, report, strict), "sentence")


def _counts_rows(name: str) -> bool:
    """Whether a column only counts the rows: pandas writes one without a name."""
    return plain_name(name) in ("", "unnamed0", "index", "idx", "id")


# --- texts -------------------------------------------------------------------------------------


def read_text_table(
    path: FilePath,
    on_error: str = "stop",
    *,
    strict: bool = False,
    column: int | str | None = None,
    label_names: Sequence[str] | None = None,
    fields: Sequence[str] = (),
    **_: Any,
) -> list[TextExample]:
    """Read a table of texts with a class, or with one tag per word between blanks.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the rows that have one.
        strict: refuse tags that break their scheme, as `read_conll` does.
        column: of the class or the tags, by name or number, where it is not found by its name.
        label_names: what classes written as whole numbers mean, in order from 0.
        fields: further columns to keep as labels, in `TextExample.fields`.

    Raises:
        SoundDataError: several labels for one text; several columns that may be the label.
        DataError: the file cannot be read; a row without a text; tags that count something else.
        ConfigError: there is no such column.
    """
    report = Report(path, on_error)
    table = _Table.read(path, lambda names: not names.isdisjoint(TEXTS))
    rows = list(table.full_rows(report))
    texts, label = _text_columns(table, [cells for _, cells in rows], column, fields)
    others = {name: table.chosen(name) for name in fields}
    for place in dict.fromkeys([label, *others.values()]):
        if place is not None:
            _refuse_several(table, place, [cells[place].strip() for _, cells in rows])
    if len(texts) > 1:
        names = " and ".join(table.names[i] if table.names else f"column {i + 1}" for i in texts)
        report.notes.append(f"{names} are read as one text")
    table.note_unread([*texts, label, *others.values()], report)
    given = [(line, " ".join(c[i].strip() for i in texts if c[i].strip()), c) for line, c in rows]
    if label is not None and (spelling := _tag_spelling(given, label)) is not None:
        return _with_tags(given, label, spelling, report, strict)
    names = {i: _Names([cells[i] for _, cells in rows], label_names) for i in others.values()}
    if label is not None:
        names[label] = _Names([cells[label] for _, cells in rows], label_names)
    examples = []
    for line, text, cells in given:
        with report.record(line):
            kept = {name: names[i].of(cells[i]) for name, i in others.items()}
            kept = {name: value for name, value in kept.items() if value is not None}
            value = None if label is None else names[label].of(cells[label])
            more = {"fields": kept} if kept else {}
            examples.append(TextExample(text, (), value, **more))
    return report.finish(examples, "text")


def _text_columns(
    table: _Table,
    rows: list[list[str]],
    column: int | str | None,
    fields: Sequence[str],
) -> tuple[list[int], int | None]:
    """The columns of the text, and the one of the label."""
    if not table.names:
        clear = _bare_columns(rows, None if column is None else table.chosen(column))
        if clear is None:
            _refuse(table.path, header=rows[0] if rows else [])
        return clear
    plain = [plain_name(name) for name in table.names]
    text = table.find(TEXTS)
    label = table.chosen(column) if column is not None else None
    if label is None:
        labels = [
            plain.index(name) for name in LABELS if name in plain and plain.index(name) != text
        ]
        generic = [i for i in labels if plain[i] in GENERIC_LABELS]
        if len(labels) > 1 and not generic and not fields:
            found = "; ".join(_describe(table, i, rows) for i in labels)
            name = table.names[labels[0]]
            fix = f'say which: tasks.NAME.column = "{name}", or column="{name}" in Python'
            what = f"{len(labels)} columns may be the label"
            raise SoundDataError(what, path=table.path, found=found, fix=fix)
        label = (generic or labels or [None])[0]
    if label is None and not fields:
        _refuse_one_hot(table, rows, text)
        found = f"the columns {', '.join(map(repr, table.names))}"
        fix = 'say which it is: tasks.NAME.column = "NAME", or column="NAME" in Python'
        raise DataError("no column is known as the label", path=table.path, found=found, fix=fix)
    title = table.find(["title"])
    body = table.find(
        name
        for name in TEXTS
        if name in ("text", "description", "content", "body", "article", "abstract")
    )
    if title is not None and text == body and title not in (text, label):
        return [title, text], label
    return [text], label


def _describe(table: _Table, place: int, rows: list[list[str]]) -> str:
    cells = Counter(row[place] for row in rows).most_common(4)
    return f"{table.names[place]!r} ({', '.join(short(cell, 30) for cell, _ in cells)}, ...)"


def _bare_columns(
    rows: list[list[str]], label: int | None = None
) -> tuple[list[int], int | None] | None:
    """Which columns of a table without a header are text and class; None where it is not clear.

    A class has few words and comes again; of a text most cells have three words or more. The class
    in the first row must come again too: else it may be a header.
    """
    if len(rows) < 4:
        return None
    columns = list(zip(*rows, strict=False))
    labels = (
        [i for i, cells in enumerate(columns) if _is_class(cells)] if label is None else [label]
    )
    texts = [i for i, cells in enumerate(columns) if i not in labels and _is_text(cells)]
    if len(labels) != 1 or not texts or columns[labels[0]][0] not in columns[labels[0]][1:]:
        return None
    # Class, title, text is how AG News, DBpedia and Amazon reviews are written.
    news = len(texts) == 2 and labels == [0] and all(cell.isdecimal() for cell in columns[0])
    return (texts, labels[0]) if len(texts) == 1 or news else None


def _is_text(cells: Sequence[str]) -> bool:
    return 2 * sum(len(cell.split()) > 2 or len(cell) > 20 for cell in cells) >= len(cells)


def _is_class(cells: Sequence[str]) -> bool:
    few = 2 * len(set(cells)) <= len(cells) + 1
    return few and all(0 < len(cell.split()) <= 4 and len(cell) <= 60 for cell in cells)


_SEPARATORS = (",", "|", ";", "#")


def _refuse_several(table: _Table, place: int, cells: Sequence[str]) -> None:
    """Raise SoundDataError if cells name several classes each, such as `8,20` or `['a', 'b']`."""
    several = [cell for cell in cells if len(list_in(cell) or ()) > 1]
    if several and spelling_of(Counter(i for cell in several for i in map(str, list_in(cell)))):
        return  # lists of tags
    counts = Counter(cells)
    for sign in _SEPARATORS:
        joined = [
            cell for cell in counts if sign in cell and " " not in cell.replace(f"{sign} ", "")
        ]
        parts = Counter(p.strip() for cell in joined for p in cell.split(sign))
        again = sum(n for part, n in parts.items() if part and (part in counts or n > 1))
        if joined and again >= 0.9 * sum(parts.values()):
            several += [cell for cell in cells if cell in set(joined)]
    if several:
        name = f" {table.names[place]!r}" if table.names else ""
        raise SoundDataError(
            SEVERAL_LABELS,
            path=table.path,
            found=f"{len(several):,} of {len(cells):,} cells of column {place + 1}{name} name more "
            f"than one, such as {short(several[0], 60)}",
            fix="keep one label per text for now",
        )


def _refuse_one_hot(table: _Table, rows: list[list[str]], text: int) -> None:
    """Raise SoundDataError if two columns or more say 0 or 1 of a text, each for one class."""
    columns = {i: {row[i] for row in rows} for i in range(len(table.names)) if i != text}
    marks = [i for i, cells in columns.items() if cells <= {"0", "1", "0.0", "1.0"}]
    if len(marks) > 1:
        found = f"0 or 1 in each of the columns {', '.join(table.names[i] for i in marks[:8])}"
        fix = "make one column of them that names the class of each text"
        raise SoundDataError(SEVERAL_LABELS, path=table.path, found=found, fix=fix)


class _Names:
    """The classes of a column: as they stand there, or by `label_names` where they are numbers."""

    def __init__(self, cells: Sequence[str], names: Sequence[str] | None) -> None:
        self.names = tuple(names or ())
        self.numbered = all(re.fullmatch(r"-?\d+(\.0)?", c.strip()) for c in cells if c.strip())

    def of(self, cell: str) -> str | None:
        """The class that a cell names; None for an empty one."""
        cell = cell.strip()
        if cell and self.numbered:
            cell = cell.removesuffix(".0")  # a table with gaps turns whole numbers into 1.0
            if self.names and not 0 <= int(cell) < len(self.names):
                found = f"{cell}, and {len(self.names)} names"
                fix = "give label_names as many names as there are classes, from 0"
                raise DataError("the class is a number without a name", found=found, fix=fix)
            return self.names[int(cell)] if self.names else cell
        return cell or None


def _tag_spelling(rows: Sequence[tuple[int, str, list[str]]], label: int) -> Spelling | None:
    """How tags are written, if most cells hold as many as their text has words; else None."""
    tags = [_items(cells[label]) for _, _, cells in rows]
    read = spelling_of(Counter(tag for row in tags for tag in row))
    if read is None or read[1] < 0.9 or read[0].pattern is None:
        return None
    long = sum(len(row) > 1 for row in tags)
    fits = sum(_tokens(text, row) is not None for (_, text, _), row in zip(rows, tags, strict=True))
    return read[0] if 2 * long > len(rows) and 2 * fits > len(rows) else None


def _items(cell: str) -> list[str]:
    """The tags of a cell: a list as JSON or Python print it, or what stands between blanks."""
    items = list_in(cell)
    return [str(item) for item in items] if items is not None else re.split(r"[\s,]+", cell.strip())


def _tokens(text: str, tags: Sequence[str]) -> list[str] | None:
    """The words that tags count: a list, what stands between blanks, or words and marks."""
    given = list_in(text)
    words = [text[start:end] for start, end in split_words(text)]
    ways = [[str(item) for item in given]] if given is not None else [text.split(), words]
    return next((tokens for tokens in ways if len(tokens) == len(tags)), None)


def _with_tags(
    rows: Sequence[tuple[int, str, list[str]]],
    label: int,
    spelling: Spelling,
    report: Report,
    strict: bool,
) -> list[TextExample]:
    """Texts with one tag per word."""
    read: list[tuple[int, str, list[str], list[str]]] = []
    for line, text, cells in rows:
        with report.record(line):
            given = _items(cells[label])
            tokens = _tokens(text, given)
            if tokens is None:
                what = f"{len(given)} tags, but the sentence has {len(text.split())} words"
                fix = "write one tag per word, with blanks between them"
                raise DataError(what, found=f"{short(text)} with {short(given)}", fix=fix)
            tags = spelling.canonical(given)
            if None in tags:
                found = f"{given[tags.index(None)]!r} in the row of {short(text, 80)}"
                raise DataError("the tag is of no known scheme", found=found, fix=KNOWN_TAGS)
            read.append((line, text if list_in(text) is None else " ".join(tokens), tokens, tags))
    scheme = scheme_of(tags for *_, tags in read)
    examples, repaired = [], []
    for line, text, tokens, tags in read:
        with report.record(line):
            broken = strays(tags, scheme)
            repaired += [(line, before, tag) for _, before, tag in broken]
            if broken and strict:
                _, before, tag = broken[0]
                what = f"{tag} after {before} breaks {scheme}, the tag scheme of this file"
                raise DataError(what, found=f"tokens {short(tokens)}, tags {short(tags)}")
            examples.append(TextExample(text, tuple(tokens), None, tuple(to_iob2(tags))))
    report.note_strays(repaired, scheme)
    return report.finish(examples, "text")


def read_fasttext(
    path: FilePath, on_error: str = "stop", *, strict: bool = False, **_: Any
) -> list[TextExample]:
    """Read lines of fastText: `__label__NAME text`.

    Raises:
        SoundDataError: some lines have several labels.
        DataError: the file cannot be read; a line without a label or a text.

    Source: fasttext.cc/docs/en/supervised-tutorial.html.
    """
    report = Report(path, on_error)
    examples = []
    for number, line in enumerate(lines_of(read_text(path)), start=1):
        if not line.strip():
            continue
        match = re.match(r"\s*((?:__label__\S+\s+)*)(.*)", line)
        labels = match[1].split()
        if len(labels) > 1:
            place = {"path": path, "line": number}
            fix = "keep one label per text for now"
            raise SoundDataError(SEVERAL_LABELS, found=short(line, 80), fix=fix, **place)
        with report.record(number):
            if not labels:
                fix = "write __label__NAME and a blank before the text"
                raise DataError("the line has no label", found=short(line, 80), fix=fix)
            examples.append(TextExample(match[2], (), labels[0].removeprefix("__label__")))
    return report.finish(examples, "text")


# --- pairs -------------------------------------------------------------------------------------


def read_pair_table(
    path: FilePath, on_error: str = "stop", *, column: int | str | None = None, **_: Any
) -> list[PairExample]:
    """Read a table of pairs of sentences, with a score if there is one.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the rows that have one.
        column: of the score, by name or number, where it is not found by its name.

    Raises:
        SoundDataError: the pairs have classes.
        DataError: the file cannot be read; a row without two sentences; a score that is none.
    """
    report = Report(path, on_error)
    table = _Table.read(path, lambda names: any(names.issuperset(pair) for pair in PAIRS))
    first, second = next(
        (table.find([a]), table.find([b]))
        for a, b in PAIRS
        if table.find([a]) is not None and table.find([b]) is not None
    )
    value = table.find(PAIR_VALUES) if column is None else table.chosen(column)
    table.note_unread([first, second, value], report)
    rows = (
        (line, "", cells[first], cells[second], None if value is None else cells[value])
        for line, cells in table.full_rows(report)
    )
    return report.finish(pair_examples(rows, report), "pair of sentences")


def pair_examples(
    rows: Iterable[tuple[int, str, str, str, str | None]], report: Report
) -> list[PairExample]:
    """Pairs from line, place in words, first and second sentence, and a score or class as text."""
    rows = list(rows)
    values = {row[4].strip() for row in rows if row[4] and row[4].strip()}
    classes = sorted(value for value in values if _number(value) is None)
    if classes and 2 * len(classes) > len(values):
        shown = ", ".join(classes[:8])
        fix = "give pairs a score, or keep only those that mean the same, without this column"
        raise SoundDataError(f"{PAIR_CLASSES}: {shown}", path=report.path, fix=fix)
    highest = max((_number(value) or 0 for value in values), default=0)
    scale = 5 if 1 < highest <= 5 else 1
    if scale > 1:
        report.notes.append("scores from 0 to 5 are divided by 5")
    examples = []
    for line, where, first, second, value in rows:
        with report.record(line, where):
            score = None if not value or not value.strip() else _number(value.strip())
            if value and value.strip() and score is None:
                raise DataError("the score of a pair is not a number", found=short(value))
            score = None if score is None else score / scale
            examples.append(PairExample(first, second, score))
    return examples


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
