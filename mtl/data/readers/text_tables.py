"""Tables of texts, and lines of fastText, go in; texts with a class or with tags come out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from ...errors import DataError
from ..examples import TextExample
from ..validity import is_real
from ..words import split_words
from .cells import list_in
from .classes import ClassNames, Said, one_hot
from .schemes import IOB2_SPELLING, Spelling, spelling_of
from .source import FilePath, Report, SoundDataError, lines_of, read_text, short
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

_MARKS = ("0", "1", "0.0", "1.0", "-1", "")  # in a column for one class; the last two: not labelled


def read_text_table(
    path: FilePath,
    on_error: str = "stop",
    *,
    strict: bool = False,
    column: int | str | None = None,
    label_names: Sequence[str] | None = None,
    fields: Sequence[str] = (),
    scores: Sequence[str] = (),
    delimiter: str | None = None,
    **_: Any,
) -> list[TextExample]:
    """Read a table of texts with one or several classes, or one tag per word between blanks.

    Several classes are joined in a cell (`8,20`, `joy|fear`, `['a', 'b']`), or each has a column
    of its own with 1 for the texts that have it and 0 for the others.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the rows that have one.
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
    report = Report(path, on_error)
    table = Table.read(path, lambda names: not names.isdisjoint(TEXTS), delimiter)
    # Which column is what: the text by its name, tags by what they count; what is left is the
    # class.
    rows = list(table.full_rows(report))
    cells = [row for _, row in rows]
    texts = _text_columns(table, cells, column)
    written = [" ".join(row[i].strip() for i in texts if row[i].strip()) for row in cells]
    tags = _tag_column(table, cells, texts, written, column, label_names)
    numbers = _score_columns(table, cells, scores)
    taken = (*texts, *(tags or ())[:1], *numbers.values())
    label = _label_column(table, cells, texts, taken, column, fields)
    others = {name: table.chosen(name) for name in fields}
    marks = _marks(table, cells, texts) if tags is None and label is None and not fields else []
    if len(texts) > 1:
        names = " and ".join(table.names[i] if table.names else f"column {i + 1}" for i in texts)
        report.notes.append(f"{names} are read as one text")
    table.note_unread([*taken, label, *others.values(), *marks], report)
    places = {"label": label, **others} if label is not None else others
    classes = {
        name: ClassNames([row[i] for row in cells], label_names, path) for name, i in places.items()
    }
    parsed = []
    # What each row says.
    for (line, row), text in zip(rows, written, strict=True):
        with report.record(line):
            said = {name: classes[name].of(row[i]) for name, i in places.items()}
            if marks:
                said["label"] = _marked(table, row, marks)
            given = _items(row[tags[0]], label_names) if tags else None
            tokens = () if given is None else _tokens(text, given) or text.split()
            # The cell is a list as Python prints it, not a text that anybody would write.
            text = text if list_in(text) is None else " ".join(tokens)
            kept = {name: value for name in others if (value := said[name]) is not None}
            known = {name: _number(row[i]) for name, i in numbers.items() if row[i].strip()}
            parsed.append(TaggedRow(line, text, tokens, given, said.get("label"), kept, known))
    report.notes += [note for column in classes.values() for note in column.notes()]
    spelling = tags[1] if tags else IOB2_SPELLING
    return report.finish(tagged_texts(parsed, spelling, report, strict), "text")


def refuse_columns(
    path: FilePath, on_error: str = "stop", *, header: list[str], **_: Any
) -> NoReturn:
    """Raise DataError for a table with columns that we do not know."""
    found = f"the columns {', '.join(short(name, 40) for name in header)}"
    what = "no column of this table has a name that we know"
    raise DataError(what, path=path, found=found, fix=WHAT_WE_KNOW)


def _text_columns(table: Table, rows: list[list[str]], column: int | str | None) -> list[int]:
    """The column of the text; with that of its title, if there is one next to a longer text."""
    if not table.names:
        clear = bare_columns(rows, None if column is None else table.chosen(column))
        if clear is None:
            refuse_columns(table.path, header=rows[0] if rows else [])
        return clear[0]
    text, title = table.needed(TEXTS), table.find(["title"])
    # A title says much about an article, and reviews and news have both.
    is_longer = plain_name(table.names[text]) in BODIES
    return [text] if title is None or title == text or not is_longer else [title, text]


def _score_columns(table: Table, rows: list[list[str]], scores: Sequence[str]) -> dict[str, int]:
    """The columns of numbers, by name: those asked for, or `score` if all its cells are numbers."""
    if scores:
        return {name: table.chosen(name) for name in scores}
    place = table.find(["score"])
    cells = [] if place is None else [row[place] for row in rows if row[place].strip()]
    found = place is not None and cells and all(is_real(_number(cell)) for cell in cells)
    return {"score": place} if found else {}


def _number(cell: str) -> float | str:
    """The number in a cell; any other cell as it is."""
    with suppress(ValueError):
        return float(cell)
    return cell


def _label_column(
    table: Table,
    rows: list[list[str]],
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
        clear = bare_columns(rows)
        return clear[1] if clear else None
    plain = [plain_name(name) for name in table.names]
    labels = [plain.index(name) for name in LABELS if name in plain]
    labels = [place for place in labels if place not in taken]
    generic = [place for place in labels if plain[place] in GENERIC_LABELS]
    # `label` and the like are clear; of topic and sentiment either may be meant.
    if len(labels) > 1 and not generic and not fields:
        found = "; ".join(_describe(table, i, rows) for i in labels)
        name = table.names[labels[0]]
        fix = f'say which: tasks.NAME.column = "{name}", or column="{name}" in Python'
        what = f"{len(labels)} columns may be the label"
        raise SoundDataError(what, path=table.path, found=found, fix=fix)
    nothing_else = len(taken) == len(texts)
    if not labels and not fields and nothing_else and not _marks(table, rows, taken):
        found = f"the columns {', '.join(map(repr, table.names))}"
        fix = 'say which it is: tasks.NAME.column = "NAME", or column="NAME" in Python'
        raise DataError("no column is known as the label", path=table.path, found=found, fix=fix)
    return None if fields and not generic else (generic or labels or [None])[0]


def _describe(table: Table, place: int, rows: list[list[str]]) -> str:
    cells = Counter(row[place] for row in rows).most_common(4)
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


def _marks(table: Table, rows: list[list[str]], texts: Sequence[int]) -> list[int]:
    """The columns that hold 0 or 1, each for one class, if there are two or more of them."""
    marks = []
    for i, name in enumerate(table.names):
        cells = [row[i].strip() for row in rows]
        may_be = i not in texts and not counts_rows(name)
        # A few cells may be faults; but numbers that are often more than 1 count something.
        if may_be and sum(cell in _MARKS for cell in cells) >= 0.9 * len(cells):
            marks.append(i)
    return marks if len(marks) > 1 else []


def _marked(table: Table, row: Sequence[str], marks: Sequence[int]) -> Said:
    """The names of the columns that are marked in a row; None if one of them says nothing."""
    said = {table.names[i]: one_hot(row[i], table.names[i]) for i in marks}
    return None if None in said.values() else tuple(name for name, has in said.items() if has)


def _tag_column(
    table: Table,
    rows: list[list[str]],
    texts: Sequence[int],
    written: Sequence[str],
    column: int | str | None,
    names: Sequence[str] | None,
) -> tuple[int, Spelling] | None:
    """The column whose cells hold one tag for each word, and how they are written.

    Raises:
        SoundDataError: several columns do; or tags are numbers, and nothing says what they mean.
    """
    width = len(rows[0]) if rows else 0
    lists = {i: [row[i] for row in rows] for i in range(width) if i not in texts}
    if column is not None:
        lists = {i: cells for i, cells in lists.items() if i == table.chosen(column)}
    lists = {i: cells for i, cells in lists.items() if _count_words(cells, written)}
    named = [i for i in lists if table.names and plain_name(table.names[i]) in WORD_TAGS]
    found: dict[int, Spelling] = {}
    # A name that tags usually have settles it; without one, every column is examined.
    for place in named[:1] if len(named) == 1 else lists:
        counts = Counter(item for cell in lists[place] for item in _items(cell, names))
        read = spelling_of(counts)
        if read is not None and read[1] >= 0.9 and read[0].pattern is not None:
            found[place] = read[0]
        elif all(item.isdecimal() for item in counts):
            raise unnamed_numbers(map(int, counts), table.path)
    if len(found) > 1:
        raise SoundDataError(
            f"{len(found)} columns hold tags",
            path=table.path,
            found="; ".join(_describe(table, i, rows) for i in found),
            fix=HOW_TO_CHOOSE.format(next(iter(found)) + 1),
        )
    return next(iter(found.items()), None)


def _count_words(cells: Sequence[str], written: Sequence[str]) -> bool:
    """Whether most cells hold several items, one for each word of their text."""
    lists = [_items(cell, None) for cell in cells]
    if 2 * sum(len(items) > 1 for items in lists) <= len(cells):
        return False
    fitting = sum(_tokens(*pair) is not None for pair in zip(written, lists, strict=True))
    return 2 * fitting > len(cells)


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


def read_fasttext(
    path: FilePath, on_error: str = "stop", *, strict: bool = False, **_: Any
) -> list[TextExample]:
    """Read lines of fastText: `__label__NAME text`, with one or several labels at either end.

    Raises:
        DataError: the file cannot be read; a line without a label or a text, or with a label twice.

    Source: fasttext.cc/docs/en/supervised-tutorial.html.
    """
    report = Report(path, on_error)
    # Only at the start of a word: a text may mention __label__ itself.
    mark = re.compile(r"(?<!\S)__label__\S+")
    lines = [(n, line) for n, line in enumerate(lines_of(read_text(path)), 1) if line.strip()]
    several = any(len(mark.findall(line)) > 1 for _, line in lines)
    examples = []
    for number, line in lines:
        with report.record(number):
            labels = tuple(label.removeprefix("__label__") for label in mark.findall(line))
            if not labels:
                fix = "write __label__NAME and a blank before the text, or after it"
                raise DataError("the line has no label", found=short(line, 80), fix=fix)
            text = mark.sub("", line).strip()
            said = {"labels": labels} if several else {"label": labels[0]}
            examples.append(TextExample(text, (), **said))
    return report.finish(examples, "text")
