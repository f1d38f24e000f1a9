"""JSON records: a file's text goes in, every record comes out with its line.

Records are in a list, one per line, one after the other, or in an object that wraps their list
(`{"data": [...]}`). pandas writes tables in further ways (`orient="columns"` or `"split"`), and so
does the `datasets` library; all become records.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ...errors import DataError
from .source import Report, lines_of, short

WRAPPERS = ("data", "examples", "records", "rows", "items", "annotations", "common_examples")
SPLITS = {"train", "validation", "valid", "val", "dev", "test"}
TEXTS = ("text", "sentence", "sentence1", "question", "context", "anchor", "premise", "tokens")
DEEP = (ValueError, RecursionError)


class Row(NamedTuple):
    """A record and where it is: its line and, in a list, its number, in words."""

    line: int | None
    where: str
    value: Any

    @property
    def place(self) -> str:
        """Where it is, in words: `line 3 (record 2)`."""
        return f"line {self.line}{self.where}" if self.line else self.where.strip(" ()")


def json_rows(text: str, report: Report) -> Iterator[Row]:
    """Every record of a JSON text; what is broken goes into `report`.

    Raises:
        DataError: the text is not JSON at all.
    """
    first = text.lstrip()[:1]
    # The cheapest way that can be right: one list, one object that wraps the records, one record
    # per line; and only for what is left, objects over several lines, one after the other.
    if first not in ("[", "{"):
        found = short(text.lstrip()[:60])
        fix = "a file of records is a list [{...}, ...], or has one record {...} per line"
        what = "this is not a file of JSON records"
        raise DataError(what, path=report.path, found=found, fix=fix)
    if first == "[" and not _one_list_a_line(text):
        yield from _list_rows(text, text.index("["), report)
        return
    whole = _one_object(text) if first == "{" else None
    if whole is not None:
        yield from _unwrapped(whole, text, report)
    elif one_record_a_line(text):
        yield from line_rows(lines_of(text), report)
    else:
        yield from _object_rows(text, report)


def looks_like_json(text: str) -> bool:
    """Whether a text begins as JSON does; a `[` may also be the first word of a sentence."""
    begins = r"""\s*(\{\s*(["'}]|$)|\[\s*([{"'\]]|\[\s*[{\["'\]\d]|$))"""
    # What follows the bracket decides, so that "[1] Smith" remains a text.
    return re.match(begins, text) is not None


def _one_object(text: str) -> Any:
    """The object that the whole text is; None if it is not one."""
    try:
        return json.loads(text)
    except DEEP:
        return None


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except DEEP:
        return False
    return True


def _some_lines(text: str, most: int = 20) -> list[str]:
    # A single line may hold the whole file, so the characters are limited too.
    return [line for line in text.strip()[:1_000_000].splitlines() if line.strip()][:most]


def one_record_a_line(text: str) -> bool:
    """Whether lines are records; some may be broken.

    A record over several lines begins with a line such as `{`, which is not valid JSON alone.
    """
    lines = _some_lines(text)
    good = [_is_json(line) for line in lines]
    return good[0] or sum(good) * 2 >= len(good)


def _one_list_a_line(text: str) -> bool:
    """Whether each line is a separate list, such as spaCy's `["text", {...}]`."""
    lines = _some_lines(text)
    # An empty list alone on a line is more likely the inside of a longer one.
    return len(lines) > 1 and all(_is_filled_list(line) for line in lines)


def _is_filled_list(line: str) -> bool:
    return line.strip() != "[]" and line.lstrip()[:1] == "[" and _is_json(line)


def line_rows(lines: Iterable[str], report: Report) -> Iterator[Row]:
    """The record of each line; what is broken goes into `report`."""
    for line, content in enumerate(lines, start=1):
        with report.record(line):
            if content.strip():
                try:
                    record = json.loads(content)
                except DEEP as error:
                    fix = "write each record on one line, or all records in one list: [..., ...]"
                    found = f"{reason_of(error)} in {short(content, 80)}"
                    raise DataError("the line is not JSON", found=found, fix=fix) from None
                yield Row(line, "", record)


def _object_rows(text: str, report: Report) -> Iterator[Row]:
    """Objects over several lines, one after the other."""
    position = _next_sign(text, 0)
    while position < len(text):
        start = position
        try:
            record, position = json.JSONDecoder().raw_decode(text, start)
        except DEEP as error:
            _report_broken(report, text, getattr(error, "pos", start), reason_of(error))
            return
        yield Row(1 + text.count("\n", 0, start), "", record)
        position = _next_sign(text, position)


def _list_rows(text: str, start: int, report: Report, is_whole: bool = True) -> Iterator[Row]:
    """The elements of the JSON list at `start` one by one, so that the line of each is known.

    `json.loads` of the whole list would be simpler, but that keeps no lines, and one broken record
    would cost all those before it.
    """
    decoder = json.JSONDecoder()
    position = start + 1
    is_open = text[_next_sign(text, position) :][:1] != "]"
    if not is_open:
        position = _next_sign(text, position) + 1
    line, counted = 1, 0
    number = 0
    while is_open:
        position = _next_sign(text, position)
        # Counted from the last record on: from the start, it would be quadratic in the file.
        line, counted = line + text.count("\n", counted, position), position
        try:
            record, position = decoder.raw_decode(text, position)
        except DEEP as error:
            position = getattr(error, "pos", position)
            return _report_broken(report, text, position, reason_of(error))
        number += 1
        yield Row(line, f" (record {number})", record)
        position = _next_sign(text, position) + 1
        is_open = text[position - 1 : position] == ","
        if not is_open and text[position - 1 : position] != "]":
            return _report_broken(report, text, position - 1, "a comma or ] is missing")
    if is_whole and text[position:].strip():
        _report_broken(report, text, position, "there is something after the list")


def _unwrapped(whole: Any, text: str, report: Report) -> Iterator[Row]:
    """The records that one object holds: those of a list in it, those of its columns, or itself."""
    if not isinstance(whole, dict):
        yield Row(1, "", whole)
        return
    # {"train": [...], "test": [...]}: reading all as training data would train on the test.
    splits = [key for key in whole if key in SPLITS and isinstance(whole[key], list | dict)]
    if "train" in splits and len(splits) > 1:
        found = f"an object with the keys {', '.join(map(repr, whole))}"
        fix = "write the records of each split into a file of its own"
        what = "the file holds several splits"
        raise DataError(what, path=report.path, found=found, fix=fix)
    columns = records_of_columns(whole)
    if columns is not None:
        numbered = enumerate(columns, start=1)
        yield from (Row(1, f" (record {number})", record) for number, record in numbered)
        return
    path = _path_of_list(whole)
    if not path:
        yield Row(1, "", whole)
        return
    # The object was read whole; now read its list again in the text, for the line of each record.
    position = text.index("{")
    for key in path:
        position = _place_of(text, position, key)
    rows = list(_list_rows(text, position, report, is_whole=False))
    skipped = sum(row.value is None for row in rows)
    if skipped and path == ["annotations"]:  # spaCy's annotators write null for what was skipped
        report.notes.append(f"records that are null, left out: {skipped:,}")
        rows = [row for row in rows if row.value is not None]
    for row in rows:
        record = _without_row_number(row.value)
        yield row._replace(value=with_class_names(record, whole.get("features")))


def _path_of_list(whole: dict[str, Any]) -> list[str]:
    """The keys that lead to the list of records inside an object; none if it is a record."""
    for key in WRAPPERS:
        value = whole.get(key)
        # A text with "annotations" is one record with its spans, not a list of records.
        if isinstance(value, list) and value and isinstance(value[0], dict | list):
            wraps_spans = key == "annotations" and not isinstance(value[0], list)
            if not (wraps_spans or _is_text_record(whole)):
                return [key]
    for key in ("rasa_nlu_data", "data"):
        value = whole.get(key)
        if isinstance(value, dict) and _path_of_list(value) and len(whole) < 3:
            return [key, *_path_of_list(value)]
    return []


def _is_text_record(record: dict[str, Any]) -> bool:
    return any(isinstance(record.get(key), str) for key in TEXTS)


def _place_of(text: str, position: int, key: str) -> int:
    """Where the value of `key` begins in the object at `position`; the text is valid JSON."""
    decoder = json.JSONDecoder()
    while True:
        name, position = decoder.raw_decode(text, _next_sign(text, position + 1))
        position = _next_sign(text, _next_sign(text, position) + 1)  # after the colon
        if name == key:
            return position
        position = _next_sign(text, decoder.raw_decode(text, position)[1])


def _without_row_number(record: Any) -> Any:
    """The row that the viewer of the `datasets` library wraps: `{"row_idx": 0, "row": {...}}`."""
    is_wrapped = isinstance(record, dict) and {"row_idx", "row"} <= record.keys()
    return record["row"] if is_wrapped else record


def records_of_columns(table: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The records of a table given by columns, `{"text": [...], "label": [...]}`; None if the
    object is not such a table.

    pandas writes a column as an object, `{"0": ..., "1": ...}`, or all cells as `"data"` beside
    `"columns"`.
    """
    columns, data = table.get("columns"), table.get("data")
    if isinstance(columns, list) and isinstance(data, list):
        # A row that is too short lacks its last fields, which the reader will then report.
        return [dict(zip(columns, cells, strict=False)) for cells in data]
    if table and all(isinstance(column, dict) for column in table.values()):
        keys = [tuple(column) for column in table.values()]
        # Columns with different keys are objects that happen to be in one: not a table.
        if any(name in table for name in TEXTS) and len(set(keys)) == 1:
            return [{name: table[name][key] for name in table} for key in keys[0]]
        return None
    if not table or not all(isinstance(column, list) for column in table.values()):
        return None
    lengths = {len(column) for column in table.values()}
    texts = [table[name] for name in TEXTS if name in table]
    is_record = "tokens" in table and all(isinstance(token, str) for token in table["tokens"])
    # A single record may also have lists of one length: its tokens and its tags.
    if len(lengths) != 1 or not texts or is_record:
        return None
    return [dict(zip(table, cells, strict=True)) for cells in zip(*table.values(), strict=True)]


def with_class_names(record: Any, features: Any) -> Any:
    """A record with names for its class numbers, where `features` says what they mean.

    Args:
        features: as the `datasets` library describes columns: by name, or a list of descriptions.
    """
    if not features or not isinstance(record, dict):
        return record
    if isinstance(features, list | tuple):
        features = {f.get("name"): f.get("type", f) for f in features if isinstance(f, dict)}
    names = {key: class_names(features.get(key)) for key in record}
    return {key: _named(value, names[key]) for key, value in record.items()}


def class_names(feature: Any) -> list[str]:
    """The names of a `ClassLabel`, even inside a list; none for any other kind of column."""
    if feature is None or isinstance(feature, str | int):
        return []
    names = _part(feature, "names")
    if isinstance(names, Mapping):
        names = list(names.values())
    if isinstance(names, Sequence) and not isinstance(names, str):
        return list(names)
    inner = (_part(feature, key) for key in ("feature", "sequence", "list", "class_label"))
    return next((found for part in inner if (found := class_names(part))), [])


def _part(feature: Any, key: str) -> Any:
    return feature.get(key) if isinstance(feature, Mapping) else getattr(feature, key, None)


def _named(value: Any, names: Sequence[str]) -> Any:
    """A class number as its name; -1 is how the library marks a missing label."""
    if not names:
        return value
    if isinstance(value, list | tuple):
        return [_named(item, names) for item in value]
    # True is an int in Python, and would become the name of class 1.
    if isinstance(value, int) and not isinstance(value, bool) and -1 <= value < len(names):
        return names[value] if value >= 0 else None
    return value


_SIGN = re.compile(r"\S")


def _next_sign(text: str, position: int) -> int:
    """The position of the next character that is not a blank; the end, if there is none."""
    match = _SIGN.search(text, position)
    return match.start() if match else len(text)


def _report_broken(report: Report, text: str, position: int, reason: str) -> None:
    line = 1 + text.count("\n", 0, position)
    report.notes.append(f"the JSON is broken on line {line}; what comes after it was not read")
    with report.record(line):
        found = f"{reason}, at {short(text[position : position + 40])}"
        fix = "correct the JSON there; what comes after it was not read"
        if text[position : position + 1] == "'":
            fix = "write it with json.dumps: JSON has double quotes. What comes after was not read"
        raise DataError("this is not JSON", found=found, fix=fix)


def reason_of(error: Exception) -> str:
    """Why a text could not be read as JSON."""
    if isinstance(error, RecursionError):
        return "lists or objects nested too deeply"
    return getattr(error, "msg", str(error)).removesuffix(" at")


def unread_fields(unused: Counter[str]) -> list[str]:
    """A note on the fields that are not read, and in how many records; none if all are read."""
    names = ", ".join(f"{short(key, 40)} ({n:,})" for key, n in unused.most_common(8))
    return [f"fields that are not read, and in how many records: {names}"] if names else []


def outline(value: Any) -> str:
    """What a JSON value is, in a few words."""
    if isinstance(value, dict):
        keys = list(map(repr, value))
        shown = ", ".join(keys[:20]) + (f" and {len(keys) - 20} more" if len(keys) > 20 else "")
        return f"an object with the keys {shown or '(none)'}"
    return f"a list of {len(value)}" if isinstance(value, list) else short(value, 80)
