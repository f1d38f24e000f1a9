"""Cells that name classes go in; the classes of each text, one or several, come out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ...errors import DataError
from .cells import list_in
from .schemes import spelling_of
from .source import FilePath, lines_of, read_text, short

Said = str | tuple[str, ...] | None  # a class, or several; None: nobody labelled the text
SEPARATORS = ("|", ";", ",", "#")
NAME_FILES = ("labels.txt", "classes.txt")


class ClassNames:
    """The classes of a column: as they are written, or by their names if they are numbers.

    A column may name several for a text, as `8,20`, `joy|fear` or `['a', 'b']`. If numbers have
    names, -1 means that the text is not labelled.

    Args:
        cells: gives the whole column, which shows how it is written, in each pass.
        names: what the numbers mean, in order from 0; by default those of `names_beside`.
        path: of the file.
    """

    def __init__(
        self,
        cells: Callable[[], Iterable[str]],
        names: Sequence[str] | None,
        path: FilePath,
    ) -> None:
        self.sign = _separator(cells())
        self.several = bool(self.sign) or _are_lists(cells())
        # One name among the numbers, and all of them are names: "7" may be a class too.
        parts = (part for cell in cells() for part in self._parts(cell))
        self.numbered = all(re.fullmatch(r"-?\d+(\.0)?", part) for part in parts)
        self.found: Counter[str] = Counter()  # what users should know, and how often
        self.names = tuple(names or (names_beside(path, self.found) if self.numbered else ()))

    def of(self, cell: str, counts: Counter[str]) -> Said:
        """The class that a cell names, or several in a column that does; None if it names none.

        Args:
            counts: counts what users should know.

        Raises:
            DataError: a number without a name.
        """
        if not self.several:
            return self._named(cell.strip())
        parts = self._parts(cell)
        if not parts and self.sign:
            # What joins no labels: an empty list would be "[]", and then "" is a missing one.
            counts["empty cells, read as none of the labels"] += 1
            return ()
        if not cell.strip():
            return None
        named = [name for part in parts if (name := self._named(part)) is not None]
        if len(set(named)) < len(named):
            counts["cells that name a label twice, which counts once"] += 1
        return tuple(dict.fromkeys(named)) if named or not parts else None  # None: all are -1

    def notes(self) -> list[str]:
        """What a user should know about the column."""
        return [f"{what}: {n:,}" for what, n in self.found.items()]

    def _parts(self, cell: str) -> list[str]:
        """What a cell names, as it is written."""
        items = list_in(cell) if self.several else None
        if items is None:
            items = cell.split(self.sign) if self.sign else [cell]
        return [text for item in items if (text := str(item).strip())]

    def _named(self, part: str) -> str | None:
        if part and self.numbered:
            part = part.removesuffix(".0")  # a table with gaps turns whole numbers into 1.0
            if self.names and int(part) == -1:
                return None
            if self.names and not 0 <= int(part) < len(self.names):
                found = f"{part}, and {len(self.names)} names"
                fix = "give label_names as many names as there are classes, from 0"
                raise DataError("the class is a number without a name", found=found, fix=fix)
            return self.names[int(part)] if self.names else part
        return part or None


def _are_lists(cells: Iterable[str]) -> bool:
    """Whether cells hold lists, at least one of them of several classes."""
    lists = (list_in(cell) or [] for cell in cells)
    items = Counter(str(item) for items in lists if len(items) > 1 for item in items)
    # Lists of tags, one for each word, are no classes.
    return bool(items) and not spelling_of(items)


def _separator(cells: Iterable[str]) -> str:
    """What joins several classes in a cell; "" if each cell names one.

    A sign joins classes if half of what it joins recurs, alone or with others; otherwise it may be
    part of a name, as in "Arts, Crafts". Numbers are always joined.
    """
    counts = Counter(cell.strip() for cell in cells if list_in(cell) is None)
    for sign in SEPARATORS:
        # A blank inside suggests a sentence or a name rather than several classes.
        joined = [
            [part.strip() for part in cell.split(sign)]
            for cell in counts
            if sign in cell and " " not in cell.replace(f"{sign} ", "")
        ]
        joined = [parts for parts in joined if all(parts)]  # not the # of C#
        parts = Counter(part for parts in joined for part in parts)
        again = sum(n for part, n in parts.items() if part in counts or n > 1 or part.isdecimal())
        if joined and 2 * again >= parts.total():
            return sign
    return ""


def names_beside(path: FilePath, found: Counter[str]) -> list[str]:
    """What the class numbers of a file mean, if `labels.txt` or `classes.txt` beside it says so.

    Args:
        path: of the file with the numbers.
        found: counts the names, for the user.
    """
    for file in (Path(path).parent / name for name in NAME_FILES):
        if not file.is_file():
            continue
        names = [line.strip() for line in lines_of(read_text(file).rstrip())]
        # A list of one label for each text would repeat itself.
        if all(names) and len(set(names)) == len(names):
            found[f"names of the classes, from {file.name} beside the file"] = len(names)
            return names
    return []


def one_hot(cell: str, name: str) -> bool | None:
    """Whether a cell of a column for one class says that the text has it; None if it says nothing.

    Raises:
        DataError: something else than 0 or 1.
    """
    if cell.strip() in ("", "-1"):
        return None
    if cell.strip() not in ("0", "1", "0.0", "1.0"):
        what = f"{name} is neither 0 nor 1"
        raise DataError(what, found=short(cell, 60), fix="write 1 for a text that has this label")
    return cell.strip().startswith("1")
