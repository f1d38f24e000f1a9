"""What records say in their fields for classes goes in; the classes of each, by name, come out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ...errors import DataError
from .classes import Said, names_beside
from .json_source import Row
from .record_fields import Record, is_class
from .source import FilePath, short

KINDS: dict[type, str] = {str: "a text", int: "a number", bool: "true or false"}


class RecordClasses:
    """Labels as names: all labels of a field must be of one kind. First `see` all records, then
    `settle` what they mean.
    """

    def __init__(self) -> None:
        # How often a field has labels of a type, and the first of them with its row.
        self.types: dict[str, Counter[type]] = {}
        self.first: dict[tuple[str, type], tuple[Any, Row]] = {}
        self.several: set[str] = set()  # fields that name several classes for some text
        self.found: Counter[str] = Counter()  # what users should know, and how often

    def see(self, record: Record) -> None:
        """Note what the fields of a record hold."""
        for field, value in (("label", record.label), *record.fields):
            items = [item for item in _items(value) if is_class(item)]
            for item in items:
                self.types.setdefault(field, Counter())[type(item)] += 1
                self.first.setdefault((field, type(item)), (item, record.row))
            self.several |= {field} if len(items) > 1 else set()

    def settle(self, names: Sequence[str], path: FilePath) -> None:
        """Decide what the labels are, once all records have been seen.

        Args:
            names: what labels that are numbers mean, in order from 0; by default those of
                `names_beside`.
            path: of the file.
        """
        # The most common type is the right one: whatever differs from it is a fault.
        self.kinds = {field: types.most_common(1)[0][0] for field, types in self.types.items()}
        numbered = int in self.kinds.values()
        self.names = names or (names_beside(path, self.found) if numbered else ())

    def of(
        self, record: Record
    ) -> tuple[str | None, tuple[str, ...] | None, dict[str, str | tuple[str, ...]]]:
        """The label of a record, all its labels if they are a list, and its named fields."""
        said = self._named("label", record.label)
        others = {field: self._named(field, value) for field, value in record.fields}
        named = {field: value for field, value in others.items() if value is not None}
        if not isinstance(said, tuple):
            return said, None, named
        # A list that holds one label in every record is just another way to write a label.
        alone = said[0] if len(said) == 1 and "label" not in self.several else None
        return alone, said, named

    def notes(self) -> list[str]:
        """What a user should know about the labels."""
        return [f"{what}: {n:,}" for what, n in self.found.items()]

    def _named(self, field: str, value: Any) -> Said:
        """What a field says, by name: several in a list, or where other records have several."""
        if value is None:
            return None
        named = [self._name(field, item) for item in _items(value)]
        if not isinstance(value, list) and field not in self.several:
            return named[0]
        distinct = dict.fromkeys(name for name in named if name is not None)
        if len(distinct) < len(named) and None not in named:
            self.found["records that name a label twice, which counts once"] += 1
        return tuple(distinct) if distinct or not named else None  # None: all of them are -1

    def _name(self, field: str, value: Any) -> str | None:
        if value is None:  # what the `datasets` library has for -1 in a list
            return None
        if not is_class(value):
            fix = "write a name in quotes or a whole number, or leave the label out"
            raise DataError(f"the {field} is not a class", found=short(value), fix=fix)
        kind = self.kinds[field]
        # `type` and not `isinstance`: True must not pass for the number 1.
        if type(value) is not kind:
            raise self._mixed(field, value, kind)
        if kind is str:
            return value
        # As JSON spells them, so that true and 1 are told apart by their names too.
        if kind is bool or not self.names:
            return json.dumps(value)
        if not -1 <= value < len(self.names):
            found = f"{value}, and {len(self.names)} names"
            fix = "give label_names as many names as there are labels, from 0"
            raise DataError(f"the {field} is a number without a name", found=found, fix=fix)
        return self.names[value] if value >= 0 else None  # -1: not labelled

    def _mixed(self, field: str, value: Any, kind: type) -> DataError:
        other, row = self.first[field, kind]
        return DataError(
            f"the {field} is {KINDS[type(value)]} here, but {KINDS[kind]} in most records",
            found=f"{short(value)} here, {short(other)} in {row.place}",
            fix="write all labels the same way",
        )


def _items(value: Any) -> list[Any]:
    """What a field holds, as a list; nothing for null."""
    items = value if isinstance(value, list) else [] if value is None else [value]
    # A table with gaps turns whole numbers into 1.0.
    return [int(i) if isinstance(i, float) and i.is_integer() else i for i in items]
