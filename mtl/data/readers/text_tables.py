"""Tables of texts, and lines of fastText, go in; texts with a class or with tags come out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import islice
from typing import Any, NoReturn

from ...errors import DataError
from ..examples import TextExample
from ..validity import is_real
from ..words import split_words
from .cells import list_in
from .classes import ClassNames, Said, one_hot
from .schemes import Spelling, spelling_of
from .source import FilePath, Held, Report, SoundDataError, short
from .table import (
    BODIES,
    GENERIC_LABELS,
    LABELS,
    TEXTS,
    WHAT_WE_KNOW,
    WORD_TAGS,
    Table,
    counts_rows,
    plain_name,
)
from .tag_columns import HOW_TO_CHOOSE
from .taglists import TaggedRow, tagged_texts, unnamed_numbers

_SHOWN = 100_000  # rows that show what the columns of a table without a header are
_MARKS = ("0", "1", "0.0", "1.0", "-1", "")  # in a column for one class; the last two: not labelled


def texts_of_table(
    lines: Callable[[Report], Iterator[str]],
    report: Report,
    held: Held,
    *,
    strict: bool = False,
    column: int | str | None = None,
    label_names: Sequence[str] | None = None,
    fields: Sequence[str] = (),
    scores: Sequence[str] = (),
    delimiter: str | None = None,
) -> Iterator[TextExample]:
    """The texts of a table with one or several classes, or one tag per word between blanks.

    Several classes are joined in a cell (`8,20`, `joy|fear`, `['a', 'b']`), or each has a column
    of its own with 1 for the texts that have it and 0 for the others.

    Args:
        lines: gives the lines of the table, with their ends.
        report: of the file.
        held: what becomes of rows between two passes, `in_memory` or `Passes`.
        strict: refuse tags that break their scheme, as `read_conll` does.
        column: of the class or the tags, by name or number, if it is not found by its name.
        label_names: what classes written as whole numbers mean, in order from 0.
        fields: further columns to keep as labels, in `TextExample.fields`.
        scores: columns that hold numbers, kept in `TextExample.scores`; by default `score`, if it
            holds nothing else.
        delimiter: between the cells of a table without a header.

    Raises:
        SoundDataError: several columns that may be the label.
        DataError: the file cannot be read; a row without a text; tags that count something else; a
            number without a name.
        ConfigError: there is no such column.
    """
    table = Table(lines, report, held, lambda names: not names.isdisjoint(TEXTS), delimiter)
    # Which column is what: the text by its name, tags by what they count; what is left is the
    # class.
    texts = _text_columns(table, column)
    tags = _tag_column(table, texts, column, label_names)
    numbers = _score_columns(table, scores)
    taken = (*texts, *(tags or ())[:1], *numbers.values())
    label = _label_column(table, texts, taken, column, fields)
    others = {name: table.chosen(name) for name in fields}
    marks = _marks(table, texts) if tags is None and label is None and not fields else []
    if len(texts) > 1:
        names = " and ".join(table.names[i] if table.names else f"column {i + 1}" for i in texts)
        report.notes.append(f"{names} are read as one text")
    table.note_unread([*taken, label, *others.values(), *marks], report)
    places = {"label": label, **others} if label is not None else others
    classes = {
        name: ClassNames(partial(table.cells, i), label_names, table.path)
        for name, i in places.items()
    }
    report.notes += [note for column in classes.values() for note in column.notes()]

    def parsed(report: Report) -> Iterator[TaggedRow]:
        """What each row says."""
        for line, row in table.full:
            with report.record(line):
                said = {name: classes[name].of(row[i], report.counts) for name, i in places.items()}
                if marks:
                    said["label"] = _marked(table, row, marks)
                text = _written(row, texts)
                given = _items(row[tags[0]], label_names) if tags else None
                tokens = () if given is None else _tokens(text, given) or text.split()
                # The cell is a list as Python prints it, not a text that anybody would write.
                text = text if list_in(text) is None else " ".join(tokens)
                kept = {name: value for name in others if (value := said[name]) is not None}
                known = {name: _number(row[i]) for name, i in numbers.items() if row[i].strip()}
                yield TaggedRow(line, text, tokens, given, said.get("label"), kept, known)

    spelling = tags[1] if tags else None
    yield from tagged_texts(held(parsed, report), spelling, report, held, strict)


def _written(row: Sequence[str], texts: Sequence[int]) -> str:
    """The text of a row, after its title if it has one."""
    return " ".join(row[i].strip() for i in texts if row[i].strip())


def refuse_columns(
    path: FilePath, on_error: str = "stop", *, header: list[str], **_: Any
) -> NoReturn:
    """Raise DataError for a table with columns that we do not know."""
    found = f"the columns {', '.join(short(name, 40) for name in header)}"
    what = "no column of this table has a name that we know"
    raise DataError(what, path=path, found=found, fix=WHAT_WE_KNOW)


def _text_columns(table: Table, column: int | str | None) -> list[int]:
    """The column of the text; with that of its title, if there is one next to a longer text."""
    if not table.names:
        rows = _first_rows(table)
        clear = bare_columns(rows, None if column is None else table.chosen(column))
        if clear is None:
            refuse_columns(table.path, header=rows[0] if rows else [])
        return clear[0]
    text, title = table.needed(TEXTS), table.find(["title"])
    # A title says much about an article, and reviews and news have both.
    is_longer = plain_name(table.names[text]) in BODIES
    return [text] if title is None or title == text or not is_longer else [title, text]


def _first_rows(table: Table) -> list[list[str]]:
    """The rows that show which column is what in a table without a header."""
    return [row for _, row in islice(table.full, _SHOWN)]


def _score_columns(table: Table, scores: Sequence[str]) -> dict[str, int]:
    """The columns of numbers, by name: those asked for, or `score` if all its cells are numbers."""
    if scores:
        return {name: table.chosen(name) for name in scores}
    place = table.find(["score"])
    if place is None or not any(cell.strip() for cell in table.cells(place)):
        return {}
    cells = (cell for cell in table.cells(place) if cell.strip())
    return {"score": place} if all(is_real(_number(cell)) for cell in cells) else {}


def _number(cell: str) -> float | str:
    """The number in a cell; any other cell as it is."""
    with suppress(ValueError):
        return float(cell)
    return cell


def _label_column(
    table: Table,
    texts: Sequence[int],
    taken: Sequence[int],
    column: int | str | None,
    fields: Sequence[str],
) -> int | None:
    """The column of the class; None if tags, or the columns named in `fields`, are all there is."""
    if column is not None:
        place = table.chosen(column)
        # The named column may be the tags, and then there is no class.
        return None if place in taken else place
    if not table.names:
        clear = bare_columns(_first_rows(table))
        return clear[1] if clear else None
    plain = [plain_name(name) for name in table.names]
    labels = [plain.index(name) for name in LABELS if name in plain]
    labels = [place for place in labels if place not in taken]
    generic = [place for place in labels if plain[place] in GENERIC_LABELS]
    # `label` and the like are clear; of topic and sentiment either may be meant.
    if len(labels) > 1 and not generic and not fields:
        found = "; ".join(_describe(table, i) for i in labels)
        name = table.names[labels[0]]
        fix = f'say which: tasks.NAME.column = "{name}", or column="{name}" in Python'
        what = f"{len(labels)} columns may be the label"
        raise SoundDataError(what, path=table.path, found=found, fix=fix)
    nothing_else = len(taken) == len(texts)
    if not labels and not fields and nothing_else and not _marks(table, taken):
        found = f"the columns {', '.join(map(repr, table.names))}"
        fix = 'say which it is: tasks.NAME.column = "NAME", or column="NAME" in Python'
        raise DataError("no column is known as the label", path=table.path, found=found, fix=fix)
    return None if fields and not generic else (generic or labels or [None])[0]


def _describe(table: Table, place: int) -> str:
    cells = Counter(table.cells(place)).most_common(4)
    return f"{table.names[place]!r} ({', '.join(short(cell, 30) for cell, _ in cells)}, ...)"


def bare_columns(
    rows: list[list[str]], label: int | None = None
) -> tuple[list[int], int | None] | None:
    """Which columns of a table without a header are text and class; None if that is not clear.

    A class has few words and is repeated; most cells of a text have three words or more. The class
    in the first row must be repeated too: else it may be a header.
    """
    # In fewer rows nobody can tell what repeats.
    if len(rows) < 4:
        return None
    columns = list(zip(*rows, strict=False))
    labels = (
        [i for i, cells in enumerate(columns) if _is_class(cells)] if label is None else [label]
    )
    texts = [i for i, cells in enumerate(columns) if i not in labels and _is_text(cells)]
    if len(labels) != 1 or not texts or columns[labels[0]][0] not in columns[labels[0]][1:]:
        return None
    # AG News, DBpedia and Amazon reviews are written as class, title, text.
    news = len(texts) == 2 and labels == [0] and all(cell.isdecimal() for cell in columns[0])
    return (texts, labels[0]) if len(texts) == 1 or news else None


def _is_text(cells: Sequence[str]) -> bool:
    return 2 * sum(len(cell.split()) > 2 or len(cell) > 20 for cell in cells) >= len(cells)


def _is_class(cells: Sequence[str]) -> bool:
    few = 2 * len(set(cells)) <= len(cells) + 1
    return few and all(0 < len(cell.split()) <= 4 and len(cell) <= 60 for cell in cells)


def _marks(table: Table, texts: Sequence[int]) -> list[int]:
    """The columns that hold 0 or 1, each for one class, if there are two or more of them."""
    held = Counter(
        i for _, row in table.full for i in range(table.width) if row[i].strip() in _MARKS
    )
    # A few cells may be faults; but numbers that are often more than 1 count something.
    marks = [i for i in range(table.width) if i not in texts and held[i] >= 0.9 * table.n]
    marks = [i for i in marks if table.names and not counts_rows(table.names[i])]
    return marks if len(marks) > 1 else []


def _marked(table: Table, row: Sequence[str], marks: Sequence[int]) -> Said:
    """The names of the columns that are marked in a row; None if one of them says nothing."""
    said = {table.names[i]: one_hot(row[i], table.names[i]) for i in marks}
    return None if None in said.values() else tuple(name for name, has in said.items() if has)


def _tag_column(
    table: Table,
    texts: Sequence[int],
    column: int | str | None,
    names: Sequence[str] | None,
) -> tuple[int, Spelling] | None:
    """The column whose cells hold one tag for each word, and how they are written.

    Raises:
        SoundDataError: several columns do; or tags are numbers, and nothing says what they mean.
    """
    places = [i for i in range(table.width) if i not in texts]
    if column is not None:
        places = [i for i in places if i == table.chosen(column)]
    lists = [i for i in places if _count_words(table, i, texts)]
    named = [i for i in lists if table.names and plain_name(table.names[i]) in WORD_TAGS]
    found: dict[int, Spelling] = {}
    # A name that tags usually have settles it; without one, every column is examined.
    for place in named[:1] if len(named) == 1 else lists:
        counts = Counter(item for cell in table.cells(place) for item in _items(cell, names))
        read = spelling_of(counts)
        if read is not None and read[1] >= 0.9 and read[0].pattern is not None:
            found[place] = read[0]
        elif all(item.isdecimal() for item in counts):
            raise unnamed_numbers(map(int, counts), table.path)
    if len(found) > 1:
        raise SoundDataError(
            f"{len(found)} columns hold tags",
            path=table.path,
            found="; ".join(_describe(table, i) for i in found),
            fix=HOW_TO_CHOOSE.format(next(iter(found)) + 1),
        )
    return next(iter(found.items()), None)


def _count_words(table: Table, place: int, texts: Sequence[int]) -> bool:
    """Whether most cells of a column hold several items, one for each word of their text."""
    if 2 * sum(len(_items(cell, None)) > 1 for cell in table.cells(place)) <= table.n:
        return False
    rows = (row for _, row in table.full)
    fitting = (_tokens(_written(row, texts), _items(row[place], None)) for row in rows)
    return 2 * sum(tokens is not None for tokens in fitting) > table.n


def _items(cell: str, names: Sequence[str] | None) -> list[str]:
    """The tags of a cell, a list or separated by blanks; numbers become their names."""
    items = list_in(cell)
    items = [str(i) for i in items] if items is not None else re.split(r"[\s,]+", cell.strip())
    # `label_names` with an O names tags; without one, classes.
    if names and "O" in names and all(i.isdecimal() and int(i) < len(names) for i in items):
        return [names[int(i)] for i in items]
    return items


def _tokens(text: str, tags: Sequence[str]) -> list[str] | None:
    """The words that tags count: a list, words between blanks, or words and marks."""
    given = list_in(text)
    tokens = text.split() if given is None else [str(item) for item in given]
    if given is None and len(tokens) != len(tags):
        tokens = [text[start:end] for start, end in split_words(text)]
    return tokens if len(tokens) == len(tags) else None


def texts_of_fasttext(
    lines: Callable[[Report], Iterator[str]], report: Report, held: Held
) -> Iterator[TextExample]:
    """The texts of fastText: `__label__NAME text`, with one or several labels at either end.

    Args:
        lines: gives the lines of the file.

    Raises:
        DataError: the file cannot be read; a line without a label or a text, or with a label twice.

    Source: fasttext.cc/docs/en/supervised-tutorial.html.
    """
    # Only at the start of a word: a text may mention __label__ itself.
    mark = re.compile(r"(?<!\S)__label__\S+")
    full = held(
        lambda report: ((n, s.rstrip("\r\n")) for n, s in enumerate(lines(report), 1) if s.strip()),
        report,
    )
    several = any(len(mark.findall(line)) > 1 for _, line in full)
    for number, line in full:
        with report.record(number):
            labels = tuple(label.removeprefix("__label__") for label in mark.findall(line))
            if not labels:
                fix = "write __label__NAME and a blank before the text, or after it"
                raise DataError("the line has no label", found=short(line, 80), fix=fix)
            text = mark.sub("", line).strip()
            said = {"labels": labels} if several else {"label": labels[0]}
            yield TextExample(text, (), **said)
