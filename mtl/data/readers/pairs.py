"""Pairs of sentences: records go in, pairs with a score from -1 to 1 come out.

The field that says how similar two sentences are may be a score, on any usual scale, or a class. A
pair with a class other than "the same or not" is refused by name: reading it as a paraphrase would
teach a model that contradictions mean the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ...errors import DataError
from ..examples import PairExample
from .json_source import Row, json_rows, outline, unread_fields
from .source import FilePath, Report, SoundDataError, read_text, short

_PAIR_FORM = (
    'a pair looks like {"sentence1": "...", "sentence2": "...", "score": 0.8}; the score may be '
    "missing where both mean the same"
)
FIRST_FIELDS = (
    *("sentence1", "anchor", "premise", "text1", "question1", "sent1", "s1", "text_a"),
    *("sentence_a", "sentence_A", "sentenceA", "query", "question"),
)
SECOND_FIELDS = (
    *("sentence2", "positive", "hypothesis", "text2", "question2", "sent2", "s2", "text_b"),
    *("sentence_b", "sentence_B", "sentenceB", "pos", "sentence"),
)
NEGATIVE_FIELDS = ("negative", "neg", "hard_negative")
SCORE_FIELDS = ("score", "similarity", "similarity_score", "relatedness_score", "sim")
CLASS_FIELDS = (
    *("label", "gold_label", "class", "category", "is_duplicate", "target", "entailment_judgment"),
)
_LISTS = "lists of two texts"
SCALES = (5, 10, 100)  # the highest score of STS; of ratings up to 10; of percentages


class PairRow(NamedTuple):
    """Two sentences as in the file, and what it says about them."""

    line: int | None
    where: str
    first: Any
    second: Any
    value: Any = None  # a score or a class
    negative: Any = None


def read_pairs(path: FilePath, on_error: str = "stop") -> list[PairExample]:
    """Read pairs of sentences: a JSON array of records, or one record per line.

    `{"sentence1": ..., "sentence2": ..., "score": ...}`; a pair without a score means the same.
    `{"anchor": ..., "positive": ..., "negative": ...}` adds a sentence that means something else.
    Scores from 0 to 5, to 10 or to 100 are divided by the highest; a label that is 0 or 1 is a
    score too. A `DataWarning` says so.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the pairs that have one.

    Raises:
        DataError: the file cannot be read, is empty or not JSON; a pair with an empty or missing
            sentence; a score that is not a number from -1 to 1; pairs with classes.
        ConfigError: `on_error` is something else.
    """
    report = Report(path, on_error)
    pairs = pairs_of_records(json_rows(read_text(path), report), report)
    return report.finish(pairs, "pair of sentences")


def pairs_of_records(rows: Iterable[Row], report: Report) -> list[PairExample]:
    """The pairs of JSON records; errors as in `read_pairs`."""
    unused: Counter[str] = Counter()
    keys: Counter[str] = Counter()
    left: Counter[str] = Counter()
    pairs: list[PairRow] = []
    for row in rows:
        with report.record(row.line, row.where):
            pairs += _pairs_in(row, keys, unused, left)
    examples = pairs_from(pairs, report, next(iter(keys), "label"))
    if left.pop(_LISTS, 0):
        report.notes.append(f"{_LISTS} are read as pairs that mean the same")
    report.notes += unread_fields(unused)
    report.notes += [f"{what}: {n:,}" for what, n in left.items()]
    return examples


def _pairs_in(
    row: Row, keys: Counter[str], unused: Counter[str], left: Counter[str]
) -> Iterator[PairRow]:
    """The pairs of one record: one, or one for each second sentence."""
    record = row.value
    match record:
        case [str(), str()] | [str(), str(), str()]:
            left[_LISTS] += len(record) == 2
            record = dict(zip(("anchor", "positive", "negative"), record, strict=False))
        case {"texts": [first, second], **rest}:
            record = {"sentence1": first, "sentence2": second, **rest}
    if not isinstance(record, dict):
        raise DataError("this is not a record", found=outline(record), fix=_PAIR_FORM)
    values: dict[str, Any] = {}
    names = (FIRST_FIELDS, SECOND_FIELDS, NEGATIVE_FIELDS, (*SCORE_FIELDS, *CLASS_FIELDS))
    for part, aliases in zip(("first", "second", "negative", "value"), names, strict=True):
        # Of several known names the first; the others are counted as not read.
        key = next((alias for alias in aliases if record.get(alias) is not None), None)
        values[part] = record.get(key) if key else None
        record = {k: v for k, v in record.items() if k != key and not (v is None and k in aliases)}
        if part == "value" and key:
            keys[key] += 1
    unused.update(record.keys())
    # sentence-transformers and DPR give one query with lists of positives and negatives.
    seconds = values["second"] if isinstance(values["second"], list) else [values["second"]]
    negatives = values["negative"] if isinstance(values["negative"], list) else [values["negative"]]
    if len(negatives) > len(seconds):
        left["negatives beyond one per pair, which are not read"] += len(negatives) - len(seconds)
    for i, second in enumerate(seconds):
        negative = negatives[i] if i < len(negatives) else None
        _check_sentences(values["first"], second, row.value)
        yield PairRow(row.line, row.where, values["first"], second, values["value"], negative)


def _check_sentences(first: Any, second: Any, record: Any) -> None:
    for n, value in ((1, first), (2, second)):
        if not (isinstance(value, str) and value.strip()):
            found = f'"sentence{n}" is {outline(value)}'
            if value is None:
                found = f"null, or no such field, in {outline(record)}"
            raise DataError(f'there is no text "sentence{n}"', found=found, fix=_PAIR_FORM)


def pairs_from(
    rows: Iterable[Sequence[Any]], report: Report, name: str = "label"
) -> list[PairExample]:
    """Pairs of any file, once the meaning of its numbers or classes is known.

    Args:
        rows: `PairRow`s, or tuples of their first parts; cells of tables may be numbers in
            quotes.
        name: of the field that the values come from; whole numbers in a `label` are classes, in a
            `score` they are scores.

    Raises:
        DataError: the pairs have classes.
    """
    pairs = [PairRow(*row) for row in rows]
    values = [pair.value for pair in pairs if pair.value is not None]
    as_score = _reading_of(values, name, report) if values else _as_it_is
    examples, unlabelled = [], 0
    for pair in pairs:
        with report.record(pair.line, pair.where):
            score = None if pair.value is None else as_score(pair.value)
            if score is None and pair.value is not None:
                unlabelled += 1
                continue
            examples.append(PairExample(pair.first, pair.second, score, pair.negative))
    if unlabelled:
        report.notes.append(f'pairs whose "{name}" is -1 (not labelled), left out: {unlabelled:,}')
    return examples


def _as_it_is(value: Any) -> Any:
    return value


def _reading_of(values: Sequence[Any], name: str, report: Report) -> Callable[[Any], Any]:
    """How the values of a file become scores; a note says what was done.

    Raises:
        DataError: they are classes.
    """
    words = [value for value in values if isinstance(value, str)]
    # Cells of a table are texts: if all of them are numbers, they are read again as numbers.
    if len(words) == len(values) and all(_number(word) is not None for word in words):
        numbers = [_number(word) for word in words]
        read = _reading_of(numbers, name, report)
        return lambda value: read(_number(value))
    truths = {"true": 1, "false": 0, "yes": 1, "no": 0}
    if all(str(value).strip().lower() in truths for value in values):
        report.notes.append(f'"{name}" is true or false: read as the scores 1 and 0')
        return lambda value: truths[str(value).strip().lower()]
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    # By majority: a few words among numbers are faults to be reported, not classes.
    if len(words) > len(numbers):
        raise _classes(words, name, report)
    if not numbers:
        return _as_it_is
    whole = all(isinstance(number, int) for number in numbers)
    if whole and name not in SCORE_FIELDS:
        if not set(numbers) <= {-1, 0, 1}:  # 0, 1, 2 are entailment, neutral, contradiction
            raise _classes(numbers, name, report)
        report.notes.append(f'"{name}" is 0 or 1: read as the scores 0 (not the same) and 1')
        # -1 is how SNLI marks pairs on which its annotators did not agree.
        return lambda value: None if value == -1 else value
    highest = _highest(numbers)
    if highest == 1:
        return _as_it_is  # PairExample refuses anything but a number from -1 to 1
    report.notes.append(f'"{name}" goes from 0 to {highest}: divided by {highest}')
    return lambda value: value / highest if _is_real(value) else value


def _number(word: Any) -> int | float | None:
    """The number in a cell of a table; None if there is none."""
    # int first: whole numbers may be classes, and 1.0 would hide that.
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return None


def _is_real(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _highest(numbers: Sequence[float]) -> int:
    """The highest possible score, by a fixed ladder: 1, 5, 10 or 100.

    A few numbers above 1 among many below are faults, not another scale.
    """
    real = [number for number in numbers if _is_real(number) and number]
    above = [number for number in real if number > 1]
    # Not by the highest number that occurs: train and test would be divided by different numbers.
    if 2 * len(above) < len(real) or not above or min(real) < 0:
        return 1
    return next((scale for scale in SCALES if max(above) <= scale), 1)


def _classes(values: Sequence[Any], name: str, report: Report) -> SoundDataError:
    counts = Counter(values).most_common()
    shown = ", ".join(f"{short(value, 40)} ({n:,})" for value, n in counts[:8])
    more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
    return SoundDataError(
        "pairs with classes are not a task yet",
        path=report.path,
        found=f'"{name}" is {shown}{more}',
        fix='give pairs a "score" from 0 (nothing in common) to 1 (the same), or keep only the '
        "pairs that mean the same, without this field",
    )
