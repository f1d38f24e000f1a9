"""JSON records: labelled and tagged texts, and pairs of sentences."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, NamedTuple

from ...errors import DataError
from ..examples import PairExample, TextExample, check_unicode
from ..words import split_words
from .schemes import BREAKS, RULES, scheme_of, tag_pairs, to_iob2
from .source import FilePath, Report, is_list, json_records, outline, read_text, short

_RECORD_FORM = (
    'a record looks like {"sentence": "John lives here.", "label": "home", "ner_tags": ["B-PER", '
    '"O", "O", "O"]}; every field but the sentence may be missing'
)
_PAIR_FORM = (
    'a pair looks like {"sentence1": "...", "sentence2": "...", "score": 0.8}; the score may be '
    "missing where both mean the same"
)
_RECORD_FIELDS = {  # the first name is ours; the others are common ones for the same thing
    "sentence": ("sentence", "text"),
    "tokens": ("tokens", "words"),
    "label": ("label", "class", "category"),
    "ner_tags": ("ner_tags", "tags"),
}
_PAIR_FIELDS = {
    "sentence1": ("sentence1", "anchor"),
    "sentence2": ("sentence2", "positive"),
    "score": ("score", "similarity"),
}


BETWEEN_BLANKS = "words between blanks"


class _Record(NamedTuple):
    line: int
    where: str
    sentence: str
    tokens: list[str]
    label: str | int | None
    tags: list[str] | None
    counted: str  # what the tags count, in words

    def __str__(self) -> str:
        return f"tokens {short(self.tokens)}, tags {short(self.tags)}"


def read_jsonl(path: FilePath, on_error: str = "stop") -> list[TextExample]:
    """Read texts with labels and tags: a JSON array of records, or one record a line.

    `{"sentence": ..., "label": ..., "ner_tags": [...]}`; every field but the sentence may be
    missing in some records. If a record has `"tokens"`, the tags count these. Else they count words
    and punctuation marks, or, if only that fits, what stands between blanks; a `DataWarning` says
    in how many records each. Tags may keep to any scheme that `read_conll` knows and become IOB2.
    Labels are names or whole numbers, the same in all records.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the records that have one.

    Raises:
        DataError: the file cannot be read, is empty or not JSON; a record without a sentence; tags
            that count something else; labels that are numbers in some records and names in others.
        ConfigError: `on_error` is something else.
    """
    report = Report(path, on_error)
    parsed = []
    unused: Counter[str] = Counter()
    text = read_text(path)
    for number, (line, record) in enumerate(json_records(text, report), start=1):
        where = f" (record {number})" if is_list(text) else ""
        with report.record(line, where):
            fields = _named(record, _RECORD_FIELDS, _RECORD_FORM, unused)
            parsed.append(_text_record(line, where, fields))
    scheme = scheme_of(record.tags for record in parsed if record.tags)
    kind = _label_kind(parsed)
    examples = []
    for record in parsed:
        with report.record(record.line, record.where):
            if record.label is not None and type(record.label) is not kind:
                raise _mixed_label(record, kind, parsed)
            tags = record.tags
            if tags is not None:
                _check_record_scheme(record, scheme)
                tags = tuple(to_iob2(tags))
            label = record.label
            if label is not None and kind is not str:
                label = json.dumps(label)
            examples.append(TextExample(record.sentence, tuple(record.tokens), label, tags))
    _note_unused(unused, report)
    counted = Counter(r.counted for r in parsed if r.tags is not None and r.counted != "tokens")
    report.notes += [f"ner_tags count {what} in {n:,} records" for what, n in counted.items()]
    if BETWEEN_BLANKS in counted:
        report.notes.append(
            "in plain text, punctuation marks are words of their own: tags that count them too fit "
            "what is predicted later"
        )
    odd = [r for r in parsed if "".join(r.sentence.split()) != "".join("".join(r.tokens).split())]
    if odd:
        report.notes.append(
            f"tokens that do not spell the sentence in {len(odd):,} records, first in line "
            f"{odd[0].line}{odd[0].where}; the tokens are what is read"
        )
    return report.finish(examples, "record with a sentence")


def read_pairs(path: FilePath, on_error: str = "stop") -> list[PairExample]:
    """Read pairs of sentences: a JSON array of records, or one record a line.

    `{"sentence1": ..., "sentence2": ..., "score": ...}`; a pair without a score means the same.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the pairs that have one.

    Raises:
        DataError: the file cannot be read, is empty or not JSON; a pair with an empty or missing
            sentence; a score that is not a number from -1 to 1.
        ConfigError: `on_error` is something else.
    """
    report = Report(path, on_error)
    examples = []
    unused: Counter[str] = Counter()
    text = read_text(path)
    for number, (line, record) in enumerate(json_records(text, report), start=1):
        with report.record(line, f" (record {number})" if is_list(text) else ""):
            fields = _named(record, _PAIR_FIELDS, _PAIR_FORM, unused)
            first, second = (_text_of(fields, f"sentence{n}", _PAIR_FORM) for n in (1, 2))
            examples.append(PairExample(first, second, fields.get("score")))
    _note_unused(unused, report)
    return report.finish(examples, "pair of sentences")


def _named(
    record: Any, names: dict[str, tuple[str, ...]], form: str, unused: Counter[str]
) -> dict[str, Any]:
    """The fields of a record by our names; others are counted in `unused`, null is missing."""
    if not isinstance(record, dict):
        raise DataError("this is not a record", found=outline(record), fix=form)
    fields = {}
    others = dict.fromkeys(record)
    for name, aliases in names.items():
        found = [alias for alias in aliases if record.get(alias) is not None]
        if found:
            fields[name] = record[found[0]]
        for alias in aliases:
            if alias not in found[1:]:
                others.pop(alias, None)
    unused.update(others.keys())
    return fields


def _note_unused(unused: Counter[str], report: Report) -> None:
    if unused:
        names = ", ".join(f"{short(key, 40)} ({n:,})" for key, n in unused.most_common(8))
        report.notes.append(f"fields that are not read, and in how many records: {names}")


def _text_of(fields: dict[str, Any], name: str, form: str) -> str:
    value = fields.get(name)
    if isinstance(value, str) and value.strip():
        return value
    found = "null, or no such field" if value is None else f'"{name}" is {outline(value)}'
    raise DataError(f'there is no text "{name}"', found=found, fix=form)


def _text_record(line: int, where: str, fields: dict[str, Any]) -> _Record:
    """What a record says, its tags brought together with what they count."""
    sentence = _text_of(fields, "sentence", _RECORD_FORM)
    label, tags, given = (fields.get(name) for name in ("label", "ner_tags", "tokens"))
    if isinstance(label, float) and label.is_integer():
        label = int(label)  # a table with gaps turns whole numbers into 1.0
    if label is not None and not (isinstance(label, str | int) and str(label).strip()):
        fix = "write a name in quotes or a whole number, or leave the label out"
        raise DataError("the label is not a class", found=short(label), fix=fix)
    for name, value in (("ner_tags", tags), ("tokens", given)):
        if value is not None and not (
            isinstance(value, list) and all(isinstance(item, str) for item in value)
        ):
            fix = 'write a list of texts, such as ["B-PER", "O"]'
            raise DataError(f"{name} is not a list of texts", found=short(value), fix=fix)
    check_unicode(*(tags or ()))
    for tag in tags or ():
        if not re.fullmatch("O|[BIESLU]-.+", tag):
            fix = "use O, B-TYPE and I-TYPE (IOB1, IOB2, BIOES, BILOU are known)"
            found = f"{tag!r} in the record with the sentence {short(sentence, 80)}"
            raise DataError("the tag is of no known scheme", found=found, fix=fix)
    tokens, counted = _tokens(sentence, given, tags)
    return _Record(line, where, sentence, tokens, label, tags, counted)


def _tokens(
    sentence: str, given: list[str] | None, tags: list[str] | None
) -> tuple[list[str], str]:
    """The tokens that the tags count, and in words what they are."""
    words = [sentence[start:end] for start, end in split_words(sentence)]
    ways = {"words and punctuation marks": words, BETWEEN_BLANKS: sentence.split()}
    if given:
        ways = {"tokens": given}
    for counted, tokens in ways.items():
        if tags is None or len(tokens) == len(tags):
            return tokens, counted
    counts = " or ".join(f"{len(tokens)} {counted}" for counted, tokens in ways.items())
    what = f"{len(tags)} tags, but the sentence has {counts}"
    found = f"tokens {short(next(iter(ways.values())))}, tags {short(tags)}"
    fix = 'give every token one tag; "tokens": [...] in the record says what the tokens are'
    raise DataError(what, found=found, fix=fix)


def _label_kind(records: list[_Record]) -> type:
    """What most labels are: names or numbers."""
    kinds = Counter(type(r.label) for r in records if r.label is not None)
    return kinds.most_common(1)[0][0] if kinds else str


def _mixed_label(record: _Record, kind: type, records: list[_Record]) -> DataError:
    names = {str: "a text", int: "a number", bool: "true or false"}
    other = next(r for r in records if type(r.label) is kind)
    return DataError(
        f"the label is {names[type(record.label)]} here, but {names[kind]} in most records",
        found=f"{short(record.label)} here, {short(other.label)} in line {other.line}{other.where}",
        fix="write all labels in the same way",
    )


def _check_record_scheme(record: _Record, scheme: str) -> None:
    for before, tag in tag_pairs(record.tags):
        if BREAKS[scheme](before, tag):
            what = f"{tag} after {before} breaks {scheme}, the tag scheme of this file"
            raise DataError(what, found=str(record), fix=RULES[scheme])
