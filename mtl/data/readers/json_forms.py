"""A JSON text, or records in memory, go in; their form, and examples, come out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from os import PathLike
from typing import Any

from ...errors import DataError
from ..examples import PairExample, QAExample, TextExample
from ..stored import StoredExamples
from . import large
from .exports import TEXT_FIELDS
from .json_source import Row, json_rows, looks_like_json, records_of_columns, with_class_names
from .kinds import PAIRS, QUESTIONS, TEXTS, Kind
from .large import head_of, json_lines, read_large, stored_examples
from .pairs import FIRST_FIELDS, SECOND_FIELDS, read_pairs
from .records import read_jsonl, texts_of
from .source import FilePath, Held, Report, short
from .spans import SPAN_FIELDS
from .squad import read_squad

Examples = list[QAExample] | list[TextExample] | list[PairExample]  # of one kind in one file
Reader = Callable[..., Examples | StoredExamples]
SAMPLE = 100  # records to look at

# The name of a form may say more than its kind, such as the tool.
_CONTEXTS = {"context", "passage", "paragraph", "document", "article", "Context", "Passage"}
_CLASSES: tuple[set[type], ...] = ({str}, {int}, {bool})  # what a class may be, in all records
_NUMBERS: set[type] = {int, float}
_ANSWERS = {"answer", "answers", "answer_start", "answer_text", "is_impossible"}


def json_form(text: str) -> tuple[str, Reader] | None:
    """The form of a JSON text in words, and its reader; None if it is not JSON.

    The reader takes a path, `on_error`, and those of the options `strict`, `label_names`, `fields`
    and `scores` that it uses; it ignores others (`column`).
    """
    if not looks_like_json(text):
        return None
    try:
        # A generator: of a long list, or of many lines, only the first records are parsed.
        rows = list(islice(json_rows(text, Report("", "stop")), SAMPLE))
    except DataError:
        rows = []  # the reader will say what is wrong
    # Even broken JSON shows its keys, so that the right reader explains what is wrong.
    broken = [dict.fromkeys(re.findall(r'"(\w+)"\s*:', text[:2000]))]
    kind, name = form_of([row.value for row in rows] or broken)
    return name, partial(_read, kind, name)


def _read(
    kind: Kind,
    name: str,
    path: FilePath,
    on_error: str = "stop",
    *,
    strict: bool = False,
    label_names: Sequence[str] | None = None,
    fields: Sequence[str] = (),
    scores: Sequence[str] = (),
    **_: Any,
) -> Examples | StoredExamples:
    options = {"strict": strict, "label_names": label_names, "fields": fields, "scores": scores}
    if head_of(path) is not None:
        return read_large(kind, name, path, on_error, rows=json_lines, **options)
    if kind is QUESTIONS:
        return read_squad(path, on_error)
    if kind is PAIRS:
        return read_pairs(path, on_error, label_names=label_names, scores=scores)
    return read_jsonl(path, on_error, **options)


def form_of(records: Sequence[Any]) -> tuple[Kind, str]:
    """What records are, by what they hold: questions, pairs or texts; and their form's name.

    A field may mean several things: `question` is in a pair of questions too, `query` may be a text
    with an intent, `label` a class or a list of spans. So the order decides: first what only one
    kind has (paragraphs), then two sentences, then a question; what is left is a text.
    """
    keys: set[str] = set()
    inside: set[str] = set()  # keys of objects in them
    for record in records:
        if isinstance(record, dict):
            keys |= record.keys()
            inside |= {key for value in record.values() if isinstance(value, dict) for key in value}
    if keys & {"paragraphs", "qas"}:
        return QUESTIONS, "SQuAD JSON"
    is_pair = keys & set(FIRST_FIELDS) and keys & set(SECOND_FIELDS)
    asks = keys & {"question", "Question"} or ("query" in keys and keys & (_CONTEXTS | _ANSWERS))
    asks = asks or (keys | inside) & {"questions", "qa_pairs"}  # CoQA, RACE, DROP
    if not is_pair and (asks or ("context" in keys and not keys & set(TEXT_FIELDS))):
        return QUESTIONS, QUESTIONS.name
    if _have_classes(records):
        return TEXTS, TEXTS.name
    if is_pair or keys & {"sentence1", "sentence2", "anchor", "premise"} or _are_texts(records):
        return PAIRS, PAIRS.name
    return TEXTS, _name_of_texts(records, keys)


def _have_classes(records: Sequence[Any]) -> bool:
    """Whether records are lists of a text and its class, a name that recurs."""
    pairs = [r for r in records if isinstance(r, list) and len(r) == 2]
    seconds = [second for _, second in pairs if isinstance(second, str)]
    # Paraphrases hardly repeat; names of classes do, and are single words.
    few = 4 <= len(seconds) == len(records) and 2 * len(set(seconds)) <= len(seconds)
    return few and all(len(second.split()) == 1 for second in seconds)


def _are_texts(records: Sequence[Any]) -> bool:
    """Whether records are lists of two or three texts, or hold one under "texts"."""
    lists = [r.get("texts") if isinstance(r, dict) else r for r in records]
    return bool(records) and all(
        isinstance(r, list) and 2 <= len(r) <= 3 and all(isinstance(t, str) for t in r)
        for r in lists
    )


def _name_of_texts(records: Sequence[Any], keys: set[str]) -> str:
    """The name of a form of texts: the tool that exported them, if they show it."""
    if "data" in keys and keys & {"annotations", "completions"}:
        return f"{TEXTS.name} of Label Studio"
    if any(isinstance(record, list) for record in records):
        return f"{TEXTS.name} of spaCy"
    if "tokenized_text" in keys:
        return f"{TEXTS.name} of GLiNER"
    if "_input_hash" in keys:
        return f"{TEXTS.name} of Prodigy"
    values = [r.get(key) for r in records for key in ("label", "labels") if isinstance(r, dict)]
    is_list = any(isinstance(v, list) and v and isinstance(v[0], list | dict) for v in values)
    if is_list or keys & set(SPAN_FIELDS):
        return f"{TEXTS.name} with spans"
    return TEXTS.name


def as_examples(data: Any, **options: Any) -> Sequence[Any]:
    """Examples from what people hold in memory: examples themselves, or records of any JSON form.

    Args:
        data: a list of examples, of dicts, or of spaCy's `(text, {"entities": [...]})`; a table,
            such as a pandas frame or a `datasets.Dataset`, whose class names are used; or one given
            by columns, `{"text": [...], "label": [...]}`.
        options: `on_error`, `strict`, `label_names`, `fields` and `scores`, as the readers take
            them. Without `fields` and `scores`, every field that may be a label or a number is
            kept.

    Raises:
        DataError: a record that cannot be used, each named by its number; something that is
            neither an example nor a record.
    """
    if isinstance(data, str | PathLike):
        fix = "read it first: mtl.read(PATH)"
        raise DataError("this is the name of a file, not its examples", found=repr(data), fix=fix)
    if isinstance(data, StoredExamples):
        return data
    if (stored := _as_stored(data, **options)) is not None:
        return stored
    records = _records(data)
    if not any(map(_is_record, records)):
        _check_are_examples(records)
        return data if isinstance(data, list | tuple) else records
    report = Report("the records", options.pop("on_error", "stop"))
    rows = []
    for number, record in enumerate(records, start=1):
        with report.record(None, f" (record {number})"):
            rows.append(Row(None, f" (record {number})", plain_record_of(record)))
    kind, _ = form_of([row.value for row in rows[:SAMPLE]])
    if kind is TEXTS:
        options = _named_fields(rows) | options
    return kind.read(lambda _: iter(rows), report, options)


def _as_stored(data: Any, **options: Any) -> StoredExamples | None:
    """The examples of a large `datasets.Dataset`, which is on disk; None for anything else."""
    table = getattr(data, "data", None)
    name, size = getattr(data, "_fingerprint", None), getattr(table, "nbytes", 0)
    if name is None or size < large.LARGE:
        return None

    def rows(report: Report) -> Iterator[Row]:
        for number, record in enumerate(data, start=1):
            with report.record(None, f" (record {number})"):
                value = with_class_names(plain_record_of(record), data.features)
                yield Row(None, f" (record {number})", value)

    report = Report("the records", options.pop("on_error", "stop"))
    kind, form = form_of([row.value for row in islice(rows(report.quiet()), SAMPLE)])
    if kind is TEXTS:
        # Only when they are read: to look for the fields is a walk over all records.
        kind = kind._replace(examples_of=_texts_with_all_fields)
    return stored_examples(kind, form, rows, report, options, lambda: [name, len(data)])


def _texts_with_all_fields(
    rows: Callable[[Report], Iterator[Row]], report: Report, held: Held, **options: Any
) -> Iterator[TextExample]:
    options = _named_fields(rows(report.quiet())) | options
    return texts_of(rows, report, held, **options)


def _named_fields(rows: Iterable[Row]) -> dict[str, Any]:
    """The options `fields` and `scores` that keep every field that may be a label or a number."""
    kinds = _kinds_of_fields(row.value for row in rows)
    return {
        "fields": [key for key, of in kinds.items() if of in _CLASSES],
        "scores": [key for key, of in kinds.items() if float in of <= _NUMBERS],
    }


def _is_record(item: Any) -> bool:
    # Examples have `inputs`; one that is also a tuple (a NamedTuple) is not a record.
    return isinstance(item, dict | list | tuple) and not hasattr(item, "inputs")


def _check_are_examples(items: Sequence[Any]) -> None:
    """Raise DataError at the first item that rows cannot be made of."""
    for number, item in enumerate(items, start=1):
        # Its class first: an item's own `inputs` may be a property that joins a whole text.
        if not hasattr(type(item), "inputs") and not hasattr(item, "inputs"):
            raise DataError(
                f"this is not an example (number {number})",
                found=short(item),
                fix="give mtl.NERExample, TextExample, QAExample or PairExample, or dicts with the "
                "same fields; mtl.read(PATH) makes them from a file",
            )


def _kinds_of_fields(records: Iterable[Any]) -> dict[str, set[type]]:
    """The kinds of values that each field has, besides the text and the label."""
    kinds: dict[str, set[type]] = {}
    for record in records:
        for key, value in record.items() if isinstance(record, dict) else ():
            kinds.setdefault(key, set()).update({type(value)} - {type(None)})
    others = {*TEXT_FIELDS, "label", "answer"}
    return {key: found for key, found in kinds.items() if key not in others}


def _records(data: Any) -> list[Any]:
    """The rows of a table as dicts; the items of anything else as they are."""
    if isinstance(data, Mapping):
        columns = records_of_columns({key: list(value) for key, value in data.items()})
        return columns or [dict(data)]
    # By what they can do, not by their class: neither library need be installed.
    if hasattr(data, "to_dicts"):  # a polars frame
        return data.to_dicts()
    if hasattr(data, "to_dict") and hasattr(data, "columns"):  # a pandas frame
        return data.to_dict("records")
    features = getattr(data, "features", None)  # of a `datasets.Dataset`
    if not isinstance(data, Iterable) and not hasattr(data, "__getitem__"):
        fix = "give a list of examples or of dicts, a pandas frame or a datasets.Dataset"
        raise DataError("these are not examples", found=short(data), fix=fix)
    return [with_class_names(record, features) for record in data]


def plain_record_of(record: Any) -> Any:
    """A record as JSON would have it; DataError if it is nested too deeply."""
    try:
        return _clean(record)
    except RecursionError:
        fix = "give texts, labels and lists of tags or spans"
        raise DataError("lists or objects are nested too deeply", fix=fix) from None


def _clean(value: Any) -> Any:
    """A record as JSON would have it: arrays are lists, numbers are Python's, NaN is missing."""
    if isinstance(value, dict):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if hasattr(value, "tolist"):  # numpy
        return _clean(value.tolist())
    # NaN is the only number that differs from itself; pandas writes it for a missing cell.
    is_nan = value != value if isinstance(value, float) else type(value).__name__ == "NAType"
    return None if is_nan else value
