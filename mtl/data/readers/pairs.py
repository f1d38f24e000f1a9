"""Pairs of sentences: records go in, pairs with a score from -1 to 1, or a class, come out.

A pair may have a field for a score, on any usual scale, and one for a class. If it has one field
alone, its values show which they are; "the same or not" is both.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from ...errors import DataError
from ..examples import PairExample
from ..validity import is_real
from .classes import ClassNames
from .json_source import Row, json_rows, outline, unread_fields
from .source import FilePath, Held, Report, in_memory, read_text, short

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
NOT_LABELLED = ("-1", "-", "")  # annotators who did not agree (SNLI), and hidden labels (GLUE)
TRUTHS = {"true": 1, "false": 0, "yes": 1, "no": 0}
_LISTS = "lists of two texts"
SCALES = (5, 10, 100)  # the highest score of STS; of ratings up to 10; of percentages


class PairRow(NamedTuple):
    """Two sentences as in the file, and what it says about them."""

    line: int | None
    where: str
    first: Any
    second: Any
    score: Any = None
    label: Any = None  # a class; if the file has no scores, perhaps one of these
    negative: Any = None
    raw_score: Any = None


class Said(NamedTuple):
    """What the value of a pair means; nothing at all if the pair is not labelled."""

    score: Any = None
    raw_score: Any = None
    label: str | None = None


def read_pairs(
    path: FilePath,
    on_error: str = "stop",
    *,
    label_names: Sequence[str] | None = None,
    scores: Sequence[str] = (),
) -> list[PairExample]:
    """Read pairs of sentences: a JSON array of records, or one record per line.

    `{"sentence1": ..., "sentence2": ..., "score": ...}`; a pair with neither a score nor a label
    means the same. `{"anchor": ..., "positive": ..., "negative": ...}` adds a sentence that means
    something else. Scores from 0 to 5, to 10 or to 100 are divided by the highest, and kept as they
    are in `raw_score`; a label that is 0 or 1 is a score too. A `DataWarning` says so. Pairs whose
    label is -1 or - are not labelled, and left out.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the pairs that have one.
        label_names: what labels that are whole numbers stand for, in order from 0.
        scores: names of the field with the score, besides those that we know.

    Raises:
        DataError: the file cannot be read, is empty or not JSON; a pair with an empty or missing
            sentence; a score that is not a number from -1 to 1; a label that is a number without a
            name.
        ConfigError: `on_error` is something else.
    """
    report = Report(path, on_error)
    rows = partial(json_rows, read_text(path))
    pairs = pairs_of(rows, report, in_memory, label_names=label_names, scores=scores)
    return report.finish(list(pairs), "pair of sentences")


def pairs_of(
    rows: Callable[[Report], Iterator[Row]],
    report: Report,
    held: Held,
    *,
    label_names: Sequence[str] | None = None,
    scores: Sequence[str] = (),
) -> Iterator[PairExample]:
    """The pairs of JSON records, one after the other; options and errors as in `read_pairs`.

    Args:
        rows: gives the records, with what is broken reported to its argument.
        held: what becomes of them between two passes, `in_memory` or `Passes`.
    """
    keys: dict[str, str] = {}  # the field that the scores, or the labels, come from

    def pairs(report: Report) -> Iterator[PairRow]:
        for row in rows(report):
            with report.record(row.line, row.where):
                yield from _pairs_in(row, (*scores, *SCORE_FIELDS), keys, report)

    yield from _examples(held(pairs, report), report, keys, label_names)
    if report.counts.pop(_LISTS, 0):
        report.notes.append(f"{_LISTS} are read as pairs that mean the same")
    report.notes += unread_fields(report.unread)
    report.notes += [f"{what}: {n:,}" for what, n in report.counts.items()]


def _pairs_in(
    row: Row,
    score_fields: Sequence[str],
    keys: dict[str, str],
    report: Report,
) -> Iterator[PairRow]:
    """The pairs of one record: one, or one for each second sentence."""
    record = row.value
    match record:
        case [str(), str()] | [str(), str(), str()]:
            report.counts[_LISTS] += len(record) == 2
            record = dict(zip(("anchor", "positive", "negative"), record, strict=False))
        case {"texts": [first, second], **rest}:
            record = {"sentence1": first, "sentence2": second, **rest}
    if not isinstance(record, dict):
        raise DataError("this is not a record", found=outline(record), fix=_PAIR_FORM)
    values: dict[str, Any] = {}
    names = {
        **{"first": FIRST_FIELDS, "second": SECOND_FIELDS, "negative": NEGATIVE_FIELDS},
        **{"score": score_fields, "label": CLASS_FIELDS, "raw_score": ("raw_score",)},
    }
    for part, aliases in names.items():
        # Of several known names the first; the others are counted as not read.
        key = next((alias for alias in aliases if record.get(alias) is not None), None)
        # Beside a score, a number with a fraction is not a class.
        if part == "label" and values["score"] is not None and isinstance(record.get(key), float):
            key = None
        values[part] = record.get(key) if key else None
        record = {k: v for k, v in record.items() if k != key and not (v is None and k in aliases)}
        if key:
            keys.setdefault(part, key)
    report.unread.update(record.keys())
    # sentence-transformers and DPR give one query with lists of positives and negatives.
    first, second, negative, *said = values.values()
    seconds = second if isinstance(second, list) else [second]
    negatives = negative if isinstance(negative, list) else [negative]
    if len(negatives) > len(seconds):
        what = "negatives beyond one per pair, which are not read"
        report.counts[what] += len(negatives) - len(seconds)
    score, label, raw_score = said
    for i, second in enumerate(seconds):
        negative = negatives[i] if i < len(negatives) else None
        _check_sentences(first, second, row.value)
        yield PairRow(row.line, row.where, first, second, score, label, negative, raw_score)


def _check_sentences(first: Any, second: Any, record: Any) -> None:
    for n, value in ((1, first), (2, second)):
        if not (isinstance(value, str) and value.strip()):
            found = f'"sentence{n}" is {outline(value)}'
            if value is None:
                found = f"null, or no such field, in {outline(record)}"
            raise DataError(f'there is no text "sentence{n}"', found=found, fix=_PAIR_FORM)


def pairs_from(
    pairs: Iterable[PairRow],
    report: Report,
    score_name: str | None = None,
    label_name: str | None = None,
    label_names: Sequence[str] | None = None,
) -> Iterator[PairExample]:
    """Pairs of any file, once the meaning of its numbers or classes is known.

    Args:
        pairs: they are gone through twice; cells of tables may be numbers in quotes.
        score_name, label_name: of the fields that scores and labels come from.
        label_names: as in `read_pairs`.
    """
    keys = {"score": score_name or "score", "label": label_name or "label"}
    return _examples(pairs, report, keys, label_names)


def _examples(
    pairs: Iterable[PairRow],
    report: Report,
    keys: Mapping[str, str],
    label_names: Sequence[str] | None,
) -> Iterator[PairExample]:
    """The pairs, which are read twice: `keys` need be known only after the first time."""
    scores: list[Any] = []  # of the pairs, values alone are kept, which are small
    labels: list[Any] = []
    for pair in pairs:
        scores += [] if pair.score is None else [pair.score]
        labels += [] if pair.label is None else [pair.label]
    words = (_class_word(label) for label in labels)
    known = [word for word in words if word not in NOT_LABELLED]
    classes = ClassNames(lambda: known, label_names, report.path)
    # Whole numbers in a score are scores. In a label they are classes, unless they are 0 and 1.
    has_scores = bool(scores)
    label_name = keys.get("label", "label")
    name = keys.get("score", "score") if has_scores else label_name
    read = _reading_of(scores if has_scores else labels, name, has_scores, classes, report)
    del scores, labels
    unlabelled: Counter[str] = Counter()
    for pair in pairs:
        value = pair.score if has_scores else pair.label
        with report.record(pair.line, pair.where):
            said = Said() if value is None else read(value)
            if has_scores and pair.label is not None:
                said = said._replace(label=_class_of(pair.label, classes))
            if said == Said() and pair.label is not None:
                unlabelled[_class_word(pair.label)] += 1
                continue
            raw_score = said.raw_score if pair.raw_score is None else pair.raw_score
            texts = (pair.first, pair.second)
            yield PairExample(*texts, said.score, pair.negative, said.label, raw_score)
    for word, n in unlabelled.items():
        what = f'pairs whose "{label_name}" is {word or "empty"} (not labelled), left out'
        report.notes.append(f"{what}: {n:,}")


def _reading_of(
    values: Sequence[Any], name: str, are_scores: bool, classes: ClassNames, report: Report
) -> Callable[[Any], Said]:
    """What the values of a file mean; a note says what was done."""
    silent = ("",) if are_scores else NOT_LABELLED
    known = [value for value in values if str(value).strip() not in silent]
    words = [value for value in known if isinstance(value, str)]
    # Cells of a table are texts: if most of them are numbers, they are read again as numbers.
    numbers = [number for word in words if (number := _number(word)) is not None]
    if len(words) == len(known) < 2 * len(numbers):
        read = _reading_of(numbers, name, are_scores, classes, report)
        return lambda value: read(value if _number(value) is None else _number(value))
    if known and all(str(value).strip().lower() in TRUTHS for value in known):
        report.notes.append(f'"{name}" is true or false: a class, and also the score 1 or 0')
        return lambda value: _truth(value, classes)
    numbers = [v for v in known if isinstance(v, int | float) and not isinstance(v, bool)]
    whole = bool(numbers) and all(isinstance(number, int) for number in numbers) and not are_scores
    # By majority: a few words among numbers are faults to be reported, not classes.
    if not known or len(words) > len(numbers) or (whole and not set(numbers) <= {0, 1}):
        return lambda value: Said(label=_class_of(value, classes))
    if whole:
        report.notes.append(
            f'"{name}" is 0 or 1: a class, and also the score 0 (not the same) or 1'
        )
        return lambda value: _truth(value, classes)
    highest = _highest(numbers)
    if highest == 1:
        return Said  # PairExample refuses anything but a number from -1 to 1
    report.notes.append(
        f'"{name}" goes from 0 to {highest}: divided by {highest} where vectors are learned'
    )
    return lambda value: Said(value / highest, value) if is_real(value) else Said(value)


def _truth(value: Any, classes: ClassNames) -> Said:
    """What 0, 1, true or false means: it is a score as well as a class."""
    label = _class_of(value, classes)
    return (
        Said()
        if label is None
        else Said(TRUTHS.get(str(value).strip().lower(), value), label=label)
    )


def _class_of(value: Any, classes: ClassNames) -> str | None:
    """The class that a value names; None if it says that the pair is not labelled."""
    if not isinstance(value, str | int):
        fix = "write a name in quotes or a whole number, or leave the label out"
        raise DataError("the label of a pair is not a class", found=short(value), fix=fix)
    word = _class_word(value)
    named = None if word in NOT_LABELLED else classes.of(word, Counter())
    if isinstance(named, tuple):
        raise DataError("a pair has several classes", found=short(value), fix="keep one of them")
    return named


def _class_word(value: Any) -> str:
    """A class as JSON spells it, without quotes."""
    return value.strip() if isinstance(value, str) else json.dumps(value)


def _number(word: Any) -> int | float | None:
    """The number in a cell of a table; None if there is none."""
    # int first: whole numbers may be classes, and 1.0 would hide that.
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return None


def _highest(numbers: Sequence[float]) -> int:
    """The highest possible score, by a fixed ladder: 1, 5, 10 or 100.

    A few numbers above 1 among many below are faults, not another scale.
    """
    real = [number for number in numbers if is_real(number) and number]
    above = [number for number in real if number > 1]
    # Not by the highest number that occurs: train and test would be divided by different numbers.
    if 2 * len(above) < len(real) or not above or min(real) < 0:
        return 1
    return next((scale for scale in SCALES if max(above) <= scale), 1)
