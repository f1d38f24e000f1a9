"""JSON records of single texts: with a label, with tags for their words, with spans, or several."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import DataError, suggest
from ..examples import TextExample, check_unicode
from ..words import find_words, join_words, split_words
from .exports import TEXT_FIELDS, plain_record
from .json_source import Row, json_rows, outline
from .schemes import KNOWN_TAGS, RULES, Spelling, scheme_of, spelling_of, strays, to_iob2
from .source import FilePath, Report, SoundDataError, read_text, short
from .spans import (
    INCLUSIVE,
    SPAN_FIELDS,
    Span,
    in_tokens,
    last_token_counts,
    spans_of,
    tags_of_spans,
)

_RECORD_FORM = (
    'a record looks like {"sentence": "John lives here.", "label": "home", "ner_tags": ["B-PER", '
    '"O", "O", "O"]}; every field but the sentence may be missing'
)
_TOKEN_FIELDS = ("tokens", "words", "tokenized_text")
_TAG_FIELDS = ("ner_tags", "tags")
_MAYBE_TAG_FIELDS = ("ner", "bio_tags", "iob_tags", "labels", "label", "slots", "entities")
_LABEL_FIELDS = (
    *("label", "class", "category", "labels", "gold_label", "target", "intent", "sentiment"),
    *("topic", "emotion", "classes", "categories", "intents", "topics", "emotions"),
)
_TAG = re.compile("O|(?P<letter>[BIESLUMW])-(?P<type>.+)")
SEVERAL = "several labels per text are not a task yet"
BETWEEN_BLANKS = "words between blanks"


@dataclass
class _Record:
    row: Row
    sentence: str
    tokens: list[str]
    given: list[str] | None  # the tokens that the record names
    label: Any = None
    fields: tuple[tuple[str, Any], ...] = ()
    tags: list[str] | None = None
    spans: list[Span] | None = None
    counted: str = "tokens"  # what the tags count, in words

    def __str__(self) -> str:
        return f"tokens {short(self.tokens)}, tags {short(self.tags)}"


def read_jsonl(
    path: FilePath,
    on_error: str = "stop",
    *,
    strict: bool = False,
    label_names: Sequence[str] | None = None,
    fields: Sequence[str] = (),
) -> list[TextExample]:
    """Read texts with labels, tags or spans: a JSON array of records, or one record a line.

    `{"sentence": ..., "label": ..., "ner_tags": [...]}`; every field but the sentence may be
    missing in some records. If a record has `"tokens"`, the tags count these. Else they count words
    and punctuation marks, or, if only that fits, what stands between blanks; a `DataWarning` says
    in how many records each. Tags may keep to any scheme that `read_conll` knows and become IOB2.
    Labels are names or whole numbers, the same in all records. Instead of tags there may be spans,
    as annotation tools export them; see `mtl.data.readers.spans`.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the records that have one.
        strict: a tag that breaks the scheme of the file is a fault; else it is read as `conlleval`
            does, and a `DataWarning` counts them.
        label_names: what the numbers 0, 1, ... of tags (where "O" is among the names) or of labels
            stand for.
        fields: further fields of the records to keep as labels, in `TextExample.fields`.

    Raises:
        DataError: the file cannot be read, is empty or not JSON; a record without a sentence; tags
            that count something else; labels that are numbers in some records and names in others;
            several labels for one text; numbers for tags without `label_names`; no such field.
        ConfigError: `on_error` is something else.
    """
    report = Report(path, on_error)
    rows = json_rows(read_text(path), report)
    examples = texts_from(rows, report, strict=strict, label_names=label_names, fields=fields)
    return report.finish(examples, "record with a sentence")


def texts_from(
    rows: Iterable[Row],
    report: Report,
    *,
    strict: bool = False,
    label_names: Sequence[str] | None = None,
    fields: Sequence[str] = (),
) -> list[TextExample]:
    """The texts of records; arguments and errors as `read_jsonl`."""
    notes: Counter[str] = Counter()
    plain: list[Row] = []
    for row in rows:
        with report.record(row.line, row.where):
            record = plain_record(row.value, notes)
            if record is None and row.value is not None:
                continue
            if not isinstance(record, dict):
                raise DataError("this is not a record", found=outline(record), fix=_RECORD_FORM)
            plain.append(row._replace(value=record))
    keys = _Keys(plain, fields, label_names, report)
    parsed = []
    for row in plain:
        with report.record(row.line, row.where):
            parsed.append(keys.parse(row))
    names_of_tags, names_of_labels = _sorted_out(label_names)
    _name_tags(parsed, names_of_tags, report)
    last_counts = keys.spans in INCLUSIVE or last_token_counts(
        (r.spans, len(r.given)) for r in parsed if r.spans and r.given
    )
    examples = []
    schemes, classes = _Schemes(parsed, strict), _Classes(parsed, names_of_labels)
    for record in parsed:
        with report.record(record.row.line, record.row.where):
            label, others = classes.of(record)
            if record.spans is None:
                tags = schemes.of(record)
            else:
                tags = _tags_of_spans(record, last_counts, notes)
            examples.append(TextExample(record.sentence, tuple(record.tokens), label, tags, others))
    report.notes += [*keys.notes(), *schemes.notes()]
    report.notes += [f"{what}: {n:,}" for what, n in notes.items()]
    report.notes += _notes_on_tokens(parsed)
    return examples


class _Keys:
    """Which field of a file's records holds what."""

    def __init__(
        self,
        rows: Sequence[Row],
        fields: Sequence[str],
        label_names: Sequence[str] | None,
        report: Report,
    ) -> None:
        self.named = tuple(fields)
        self.unused: Counter[str] = Counter()
        self.several = ""  # says that the labels were left out
        records = [row.value for row in rows]
        present = Counter(key for r in records for key, value in r.items() if value is not None)
        for field in self.named:
            if records and field not in present:
                found = f"the fields {', '.join(map(repr, present))}"
                what = f"no record has the field {field!r}"
                raise DataError(what, path=report.path, found=found, fix=suggest(field, present))
        self.spans = _first_key(
            (*SPAN_FIELDS, "label", "labels", "tags"), records, lambda r, v: bool(_some_spans(v))
        )
        self.tags = next((k for k in _TAG_FIELDS if present[k] and k != self.spans), None)
        self.tags = self.tags or _first_key(_MAYBE_TAG_FIELDS, records, _is_list_of_tags)
        taken = {self.spans, self.tags}
        self.likely = [k for k in _LABEL_FIELDS if present[k] and k not in taken]
        self.label = self.likely[0] if self.likely else None
        self._look_for_several(rows, report)
        if self.spans is None:  # records without any span, such as {"entities": []}
            self.empty_spans = {k for k in SPAN_FIELDS if present[k]} - {self.tags, self.label}
        else:
            self.empty_spans = set()

    def _look_for_several(self, rows: Sequence[Row], report: Report) -> None:
        """Refuse several labels for one text; where there is more to read, only leave them out."""
        for field in (*self.named, self.label):
            several = [r for r in rows if field and _n_classes(r.value.get(field)) > 1]
            if several and (field in self.named or not (self.spans or self.tags)):
                raise SoundDataError(
                    SEVERAL,
                    path=report.path,
                    line=several[0].line,
                    found=f'"{field}" holds several in {len(several):,} records, the first '
                    f"{short(several[0].value[field], 80)}{several[0].where}",
                    fix='give each text one label, or name another field: tasks.NAME.field = "..."',
                )
            if several:
                self.several = f'"{field}" is not read: {SEVERAL} ({len(several):,} records)'
                self.label = None

    def parse(self, row: Row) -> _Record:
        """What a record says, its tags brought together with what they count."""
        record, used = row.value, {self.spans, self.tags, self.label, *self.named}
        text_key, sentence = _first_value(record, TEXT_FIELDS)
        tokens_key, given = _first_value(record, _TOKEN_FIELDS)
        used |= {text_key, tokens_key, *self.empty_spans}
        # An empty field under another name for something that is read is not worth a note.
        others = (*TEXT_FIELDS, *_TOKEN_FIELDS, *_TAG_FIELDS, *_LABEL_FIELDS)
        used |= {key for key in others if key in record and record[key] is None}
        self.unused.update(key for key in record if key not in used)
        _check_texts(tokens_key or "tokens", given)
        if text_key is None and given:
            check_unicode(*given)
            sentence = join_words(given)[0]
        _check_sentence(sentence, record, text_key)
        tags = record.get(self.tags) if self.tags else None
        spans = self._spans(record)
        if spans is not None:
            words = [sentence[start:end] for start, end in split_words(sentence)]
            tokens, counted = given or words, "tokens"
        else:
            if not (tags and isinstance(tags, list) and all(map(_is_number, tags))):
                _check_texts(self.tags, tags)
                check_unicode(*(tags or ()))
            tokens, counted = _tokens(sentence, given, tags)
        fields = tuple((name, record.get(name)) for name in self.named)
        label = record.get(self.label) if self.label else None
        return _Record(row, sentence, tokens, given, label, fields, tags, spans, counted)

    def _spans(self, record: dict[str, Any]) -> list[Span] | None:
        if self.spans is None or record.get(self.spans) is None:
            return None
        spans = spans_of(record[self.spans])
        if spans is None:
            fix = 'a span looks like [0, 5, "PER"] or {"start": 0, "end": 5, "label": "PER"}'
            what = f'"{self.spans}" holds something that is no span'
            raise DataError(what, found=short(record[self.spans]), fix=fix)
        return spans

    def notes(self) -> list[str]:
        """What is not read."""
        notes = []
        if self.unused:
            names = ", ".join(f"{short(k, 40)} ({n:,})" for k, n in self.unused.most_common(8))
            notes.append(f"fields that are not read, and in how many records: {names}")
        if self.several:
            notes.append(self.several)
        others = [key for key in self.likely if key in self.unused and key != self.label]
        if self.label and others and not self.named and not self.several:
            notes.append(
                f'the label is "{self.label}"; {", ".join(map(repr, others))} may be labels too: '
                f'tasks.NAME.field = "{others[0]}" reads one of them instead'
            )
        return notes


def _first_key(keys: Sequence[str], records: Sequence[dict], holds: Any) -> str | None:
    """The first of the keys whose value is what we look for, in any record."""
    for key in keys:
        if any(key in record and holds(record, record[key]) for record in records):
            return key
    return None


def _some_spans(value: Any) -> bool:
    """Whether a value holds at least one span."""
    if isinstance(value, dict):
        return bool(spans_of(value))
    return isinstance(value, list | tuple) and any(spans_of([item]) for item in value)


def _is_list_of_tags(record: dict[str, Any], value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    tokens = _first_value(record, _TOKEN_FIELDS)[1]
    if isinstance(tokens, list) and len(tokens) == len(value):
        return all(isinstance(item, str | int) for item in value)
    return len(value) > 1 and all(isinstance(i, str) and _TAG.fullmatch(i) for i in value)


def _first_value(record: dict[str, Any], names: Sequence[str]) -> tuple[str | None, Any]:
    """The first of some fields that a record has, and its value."""
    name = next((name for name in names if record.get(name) is not None), None)
    return name, record.get(name) if name else None


def _check_sentence(sentence: Any, record: dict[str, Any], key: str | None) -> None:
    if isinstance(sentence, str) and sentence.strip():
        return
    found = f"null, or no such field, in {outline(record)}"
    if key:
        found = f'"{key}" is {outline(sentence)}'
    raise DataError('there is no text "sentence"', found=found, fix=_RECORD_FORM)


def _check_texts(name: str, value: Any) -> None:
    if value is not None and not (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    ):
        fix = 'write a list of texts, such as ["B-PER", "O"]'
        raise DataError(f"{name} is not a list of texts", found=short(value), fix=fix)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _tokens(
    sentence: str, given: list[str] | None, tags: list[Any] | None
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


def _sorted_out(names: Sequence[str] | None) -> tuple[Sequence[str], Sequence[str]]:
    """Names of tags and names of labels: the tag O is among the names of tags."""
    if not names:
        return (), ()
    return (names, ()) if "O" in names else ((), names)


def _name_tags(records: Sequence[_Record], names: Sequence[str], report: Report) -> None:
    """Put names in the place of numbers.

    Raises:
        DataError: nobody says what the numbers stand for.
    """
    numbered = [r for r in records if r.tags and _is_number(r.tags[0])]
    numbers = sorted({number for record in numbered for number in record.tags})
    if numbered and not names:
        raise SoundDataError(
            "tags are numbers, and nobody says what they stand for",
            path=report.path,
            line=numbered[0].row.line,
            found=f"the numbers {', '.join(map(str, numbers[:30]))}",
            fix='name them in order: tasks.NAME.label_names = ["O", "B-PER", "I-PER", ...]',
        )
    if numbers and not 0 <= numbers[0] <= numbers[-1] < len(names):
        raise DataError(
            "a tag has a number without a name",
            path=report.path,
            found=f"the numbers {', '.join(map(str, numbers[:30]))}, and {len(names)} names",
            fix="give label_names as many names as there are tags, from 0",
        )
    for record in numbered:
        record.tags = [names[number] for number in record.tags]


class _Schemes:
    """Tags as IOB2: those of a file are of one spelling and one scheme."""

    def __init__(self, records: Sequence[_Record], strict: bool) -> None:
        self.strict = strict
        tagged = [record for record in records if record.tags]
        found = spelling_of(Counter(tag for record in tagged for tag in record.tags))
        self.spelling = found[0] if found else Spelling("B-PER", "O", _TAG)
        canonical = (self.spelling.canonical(record.tags) for record in tagged)
        self.scheme = scheme_of(tags for tags in canonical if None not in tags)
        self.repaired: list[tuple[Row, str]] = []

    def of(self, record: _Record) -> tuple[str, ...] | None:
        """The tags of a record; what breaks the scheme is read as `conlleval` reads it."""
        if record.tags is None:
            return None
        tags = self.spelling.canonical(record.tags)
        if None in tags:
            tag = record.tags[tags.index(None)]
            found = f"{tag!r} in the record with the sentence {short(record.sentence, 80)}"
            raise DataError("the tag is of no known scheme", found=found, fix=KNOWN_TAGS)
        for _, before, tag in strays(tags, self.scheme):
            if self.strict:
                what = f"{tag} after {before} breaks {self.scheme}, the tag scheme of this file"
                raise DataError(what, found=str(record), fix=RULES[self.scheme])
            self.repaired.append((record.row, f"{tag} after {before}"))
        return tuple(to_iob2(tags))

    def notes(self) -> list[str]:
        if not self.repaired:
            return []
        row, pair = self.repaired[0]
        return [
            f"tags that break {self.scheme}, read as conlleval reads them: "
            f"{len(self.repaired):,} (the first in line {row.line}{row.where}: {pair}); "
            "--strict refuses them"
        ]


def _tags_of_spans(record: _Record, last_counts: bool, notes: Counter[str]) -> tuple[str, ...]:
    """Spans count tokens where the record has tokens and no text of its own, else characters."""
    text, spans = record.sentence, record.spans
    words = split_words(text)
    if record.given:
        places = find_words(text, record.given)
        if places is None:
            text, places = join_words(record.given)
        has_text = _first_value(record.row.value, TEXT_FIELDS)[0] is not None
        spans = spans if has_text else in_tokens(spans, places, last_counts)
        words = places
    return tuple(tags_of_spans(text, words, spans, notes))


def _n_classes(value: Any) -> int:
    return len(value) if isinstance(value, list) and all(_is_class(v) for v in value) else 0


def _is_class(value: Any) -> bool:
    return isinstance(value, str | int) and bool(str(value).strip())


class _Classes:
    """Labels as names: the whole column of a file has to be of one kind."""

    def __init__(self, records: Sequence[_Record], names: Sequence[str]) -> None:
        self.names = names
        self.columns: dict[str, list[tuple[Any, Row]]] = {}
        for record in records:
            for name, value in (("label", record.label), *record.fields):
                value = _plain_class(value)
                if _is_class(value):
                    self.columns.setdefault(name, []).append((value, record.row))
        self.kinds = {
            name: Counter(type(value) for value, _ in column).most_common(1)[0][0]
            for name, column in self.columns.items()
        }

    def of(self, record: _Record) -> tuple[str | None, dict[str, str]]:
        """The label of a record, and its named fields."""
        label = self._name("label", record.label)
        others = {name: self._name(name, value) for name, value in record.fields}
        return label, {name: value for name, value in others.items() if value is not None}

    def _name(self, field: str, value: Any) -> str | None:
        value = _plain_class(value)
        if value is None:
            return None
        if not _is_class(value):
            fix = "write a name in quotes or a whole number, or leave the label out"
            raise DataError(f"the {field} is not a class", found=short(value), fix=fix)
        kind = self.kinds[field]
        if type(value) is not kind:
            raise self._mixed(field, value, kind)
        if kind is str:
            return value
        if kind is bool or not self.names:
            return json.dumps(value)
        if not -1 <= value < len(self.names):
            found = f"{value}, and {len(self.names)} names"
            fix = "give label_names as many names as there are labels, from 0"
            raise DataError(f"the {field} is a number without a name", found=found, fix=fix)
        return self.names[value] if value >= 0 else None  # -1: nobody said

    def _mixed(self, field: str, value: Any, kind: type) -> DataError:
        names = {str: "a text", int: "a number", bool: "true or false"}
        other, row = next(pair for pair in self.columns[field] if type(pair[0]) is kind)
        return DataError(
            f"the {field} is {names[type(value)]} here, but {names[kind]} in most records",
            found=f"{short(value)} here, {short(other)} in line {row.line}{row.where}",
            fix="write all labels in the same way",
        )


def _plain_class(value: Any) -> Any:
    """A class, also where it stands alone in a list; None for an empty list."""
    if isinstance(value, list) and len(value) <= 1:
        value = value[0] if value else None
    if isinstance(value, float) and value.is_integer():
        return int(value)  # a table with gaps turns whole numbers into 1.0
    return value


def _notes_on_tokens(records: Sequence[_Record]) -> list[str]:
    tagged = [r for r in records if r.tags is not None and r.counted != "tokens"]
    counted = Counter(r.counted for r in tagged)
    notes = [f"ner_tags count {what} in {n:,} records" for what, n in counted.items()]
    if BETWEEN_BLANKS in counted:
        notes.append(
            "in plain text, punctuation marks are words of their own: tags that count them too fit "
            "what is predicted later"
        )
    odd = [r for r in records if "".join(r.sentence.split()) != "".join("".join(r.tokens).split())]
    if odd:
        notes.append(
            f"tokens that do not spell the sentence in {len(odd):,} records, first in line "
            f"{odd[0].row.line}{odd[0].row.where}; the tokens are what is read"
        )
    return notes
