"""Which field holds what: the records of a file go in; their texts, tags and spans come out.

What a name such as `labels` or `tags` means is decided once for the whole file, from what it holds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import DataError, suggest
from ..validity import check_unicode, is_real
from ..words import join_words, split_words
from .exports import TEXT_FIELDS
from .json_source import Row, outline, unread_fields
from .schemes import spelling_of
from .source import Report, short
from .spans import INCLUSIVE, SPAN_FIELDS, SPAN_FORM, Span, spans_of

RECORD_FORM = (
    'a record looks like {"sentence": "John lives here.", "label": "home", "ner_tags": ["B-PER", '
    '"O", "O", "O"]}; every field but the sentence may be missing'
)
_TOKEN_FIELDS = ("tokens", "words", "tokenized_text")
_TAG_FIELDS = ("ner_tags", "tags")
_MAYBE_TAG_FIELDS = ("ner", "bio_tags", "iob_tags", "labels", "label", "slots", "entities")
_MAYBE_TEXTS_OF_TAGS = (*_TAG_FIELDS, *_MAYBE_TAG_FIELDS)
_MAYBE_SPANS = (*SPAN_FIELDS, "label", "labels", "tags")
_LABEL_FIELDS = (
    *("label", "class", "category", "labels", "gold_label", "target", "intent", "sentiment"),
    *("topic", "emotion", "classes", "categories", "intents", "topics", "emotions"),
)
TAG = re.compile("O|(?P<letter>[BIESLUMW])-(?P<type>.+)")
BETWEEN_BLANKS = "words between blanks"


@dataclass
class Record:
    """What one record says, before the labels and tags of the whole file are put into one form."""

    row: Row
    sentence: str
    tokens: list[str]
    given: list[str] | None  # the tokens that the record lists
    label: Any = None
    fields: tuple[tuple[str, Any], ...] = ()
    tags: list[str] | None = None
    numbers: Sequence[int] = ()  # tags that are numbers, until they get names
    spans: list[Span] | None = None
    counted: str = "tokens"  # what the tags count, in words
    scores: tuple[tuple[str, Any], ...] = ()


class _Held:
    """What the fields of all records hold, by name, found in one pass."""

    def __init__(self, records: Iterable[dict[str, Any]]) -> None:
        self.n = 0
        self.present: Counter[str] = Counter()  # records in which a field is not null
        self.filled: set[str] = set()  # fields for spans that hold something
        self.spans = len(_MAYBE_SPANS)  # the place in `_MAYBE_SPANS` of the first that holds spans
        self.lists: Counter[str] = Counter()  # records with a filled list in a field
        self.tags: Counter[str] = Counter()  # those of them in which the list is of tags
        self.has_real_score = True  # unless one is found that is no number
        for record in records:
            self._look_at(record)

    def _look_at(self, record: dict[str, Any]) -> None:
        self.n += 1
        self.present.update(key for key, value in record.items() if value is not None)
        self.filled.update(key for key in SPAN_FIELDS if record.get(key))
        for place, key in enumerate(_MAYBE_SPANS[: self.spans]):
            if key in record and _some_spans(record[key]):
                self.spans = place
                break
        for key in _MAYBE_TAG_FIELDS:
            if isinstance(record.get(key), list) and record[key]:
                self.lists[key] += 1
                self.tags[key] += _is_list_of_tags(record, record[key])
        score = record.get("score")
        self.has_real_score &= score is None or is_real(score)


class Keys:
    """Which field of a file's records holds what."""

    def __init__(
        self,
        rows: Iterable[Row],
        fields: Sequence[str],
        scores: Sequence[str],
        report: Report,
    ) -> None:
        self.named = tuple(fields)
        held = _Held(row.value for row in rows)
        present = held.present
        # Nobody asked for the field `score`, so what it holds is never a fault.
        unasked = ("score",) if present["score"] and held.has_real_score else ()
        self.scores = tuple(scores) or unasked
        for field in (*self.named, *self.scores):
            if held.n and field not in present:
                found = f"the fields {', '.join(map(repr, present))}"
                what = f"no record has the field {field!r}"
                raise DataError(what, path=report.path, found=found, fix=suggest(field, present))
        # Spans first, since they cannot be mistaken; then tags, which are lists as long as the
        # tokens; the label is what is left, whatever its name: "labels" may be any of the three.
        self.spans = next(iter(_MAYBE_SPANS[held.spans :]), None)
        self.tags = next((k for k in _TAG_FIELDS if present[k] and k != self.spans), None)
        self.tags = self.tags or _tags_by_content(held)
        taken = {self.spans, self.tags, *self.scores}
        # Field names differ in case from tool to tool: `Label`, `label`.
        spelled = {key.lower(): key for key in present if key not in taken}
        self.likely = [spelled[name] for name in _LABEL_FIELDS if name in spelled]
        self.label = self.likely[0] if self.likely else None
        # They are read after all, as "no span": no note should claim otherwise.
        empty = set(SPAN_FIELDS) - held.filled if self.spans is None else set()
        self.empty_spans = empty - {self.tags, self.label}

    def parse(self, row: Row, unread: Counter[str]) -> Record:
        """What a record says, its tags matched with what they count.

        Args:
            unread: counts the fields that are not read.
        """
        record, used = row.value, {self.spans, self.tags, self.label, *self.named, *self.scores}
        text_key, sentence = first_value(record, TEXT_FIELDS)
        tokens_key, given = first_value(record, _TOKEN_FIELDS)
        used |= {text_key, tokens_key, *self.empty_spans}
        # An empty field under another name for something that is read is not worth a note.
        others = (*TEXT_FIELDS, *_TOKEN_FIELDS, *_TAG_FIELDS, *_LABEL_FIELDS)
        used |= {key for key in others if key in record and record[key] is None}
        unread.update(key for key in record if key not in used)
        _check_texts(tokens_key or "tokens", given)
        if text_key is None and given:
            check_unicode(*given)
            sentence = join_words(given)[0]
        _check_sentence(sentence, record, text_key)
        spans = self._spans(record)
        if spans is not None:
            if text_key and self.spans not in INCLUSIVE:
                given = None  # the spans count characters, whatever the tokens are
            words = [sentence[start:end] for start, end in split_words(sentence)]
            tokens, counted = given or words, "tokens"
            tags, numbers = None, []  # the spans say it all
        else:
            tags, numbers = self._tags(record)
            tokens, counted = _tokens(sentence, given, numbers or tags)
        fields = tuple((name, record.get(name)) for name in self.named)
        label = record.get(self.label) if self.label else None
        scores = tuple((s, record[s]) for s in self.scores if record.get(s) is not None)
        said = (tags, numbers, spans, counted, scores)
        return Record(row, sentence, tokens, given, label, fields, *said)

    def _tags(self, record: dict[str, Any]) -> tuple[list[str] | None, list[int]]:
        """The tags of a record: texts, or numbers without names so far."""
        tags = record.get(self.tags) if self.tags else None
        if isinstance(tags, list) and tags and all(map(is_number, tags)):
            return None, tags
        _check_texts(self.tags or "tags", tags)
        check_unicode(*(tags or ()))
        return tags, []

    def _spans(self, record: dict[str, Any]) -> list[Span] | None:
        if self.spans is None:
            return None
        if record.get(self.spans) is None:  # Label Studio's JSON-MIN leaves the field out
            return [] if record.keys() & {"annotator", "annotation_id"} else None
        spans = spans_of(record[self.spans])
        if spans is None:
            what = f'"{self.spans}" holds something that is not a span'
            raise DataError(what, found=short(record[self.spans]), fix=SPAN_FORM)
        return spans

    def notes(self, unread: Counter[str]) -> list[str]:
        """What is not read."""
        notes = unread_fields(unread)
        others = [key for key in self.likely if key in unread and key != self.label]
        if self.label and others and not self.named:
            notes.append(
                f'the label is "{self.label}"; {", ".join(map(repr, others))} may be labels too: '
                f'tasks.NAME.field = "{others[0]}" reads one of them instead'
            )
        return notes


def tags_in_one_text(rows: Iterable[Row]) -> set[str]:
    """The fields that hold all tags of a record in one text, such as `"tags": "O B-PER O"`."""
    counts: dict[str, Counter[str]] = {key: Counter() for key in _MAYBE_TEXTS_OF_TAGS}
    texts: Counter[str] = Counter()
    for row in rows:
        for key in _texts_of(row.value):
            texts[key] += 1
            counts[key].update(row.value[key].split())
    read = {key: spelling_of(cells) for key, cells in counts.items() if cells}
    # A plain type may be any word, so a text of the file could be taken for tags.
    likely = {key for key, of in read.items() if of and not of[0].is_plain and of[1] >= 0.9}
    if not likely:
        return set()
    fitting: Counter[str] = Counter()
    for row in rows:
        for key in likely.intersection(_texts_of(row.value)):
            fitting[key] += _counts_words(row.value, row.value[key].split())
    # In most records, since a single text may happen to look like as many tags.
    return {key for key in likely if 2 * fitting[key] > texts[key]}


def _texts_of(record: dict[str, Any]) -> list[str]:
    return [key for key in _MAYBE_TEXTS_OF_TAGS if isinstance(record.get(key), str)]


def with_split_tags(rows: Iterable[Row], keys: set[str]) -> Iterator[Row]:
    """The rows with a list of tags where one text holds them all."""
    for row in rows:
        split = {key: row.value[key].split() for key in keys.intersection(_texts_of(row.value))}
        yield row._replace(value=row.value | split)


def _counts_words(record: dict[str, Any], tags: Sequence[str]) -> bool:
    """Whether there are several tags, exactly one per word of the record."""
    text = first_value(record, TEXT_FIELDS)[1]
    words = first_value(record, _TOKEN_FIELDS)[1]
    if isinstance(text, str) and not isinstance(words, list):
        words = text.split() if len(text.split()) == len(tags) else split_words(text)
    return isinstance(words, list) and 1 < len(tags) == len(words)


def _tags_by_content(held: _Held) -> str | None:
    """A field whose name does not show it, but whose lists are tags in half of the records.

    In a few records, several labels may happen to be as many as the tokens.
    """
    found = (k for k in _MAYBE_TAG_FIELDS if held.lists[k] and 2 * held.tags[k] >= held.lists[k])
    return next(found, None)


def _some_spans(value: Any) -> bool:
    """Whether a value holds at least one span."""
    if isinstance(value, dict):
        return bool(spans_of(value))
    return isinstance(value, list | tuple) and any(spans_of([item]) for item in value)


def _is_list_of_tags(record: dict[str, Any], value: Any) -> bool:
    if not isinstance(value, list) or not value:
        return False
    tokens = first_value(record, _TOKEN_FIELDS)[1]
    if isinstance(tokens, list) and len(tokens) == len(value):
        return all(isinstance(item, str | int) for item in value)
    return len(value) > 1 and all(isinstance(i, str) and TAG.fullmatch(i) for i in value)


def first_value(record: dict[str, Any], names: Sequence[str]) -> tuple[str | None, Any]:
    """The first of some fields that a record has, and its value."""
    # A null says as little as a missing field.
    present = {key.lower(): key for key, value in record.items() if value is not None}
    name = next((present[name] for name in names if name in present), None)
    return name, record[name] if name else None


def _check_sentence(sentence: Any, record: dict[str, Any], key: str | None) -> None:
    if isinstance(sentence, str) and sentence.strip():
        return
    found = f"null, or no such field, in {outline(record)}"
    if key:
        found = f'"{key}" is {outline(sentence)}'
    raise DataError('there is no text "sentence"', found=found, fix=RECORD_FORM)


def _check_texts(name: str, value: Any) -> None:
    if value is not None and not (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    ):
        fix = 'write a list of texts, such as ["B-PER", "O"]'
        raise DataError(f"{name} is not a list of texts", found=short(value), fix=fix)


def is_number(value: Any) -> bool:
    """Whether a value is a whole number, and not true or false."""
    return isinstance(value, int) and not isinstance(value, bool)


def _tokens(
    sentence: str, given: list[str] | None, tags: Sequence[Any] | None
) -> tuple[list[str], str]:
    """The tokens that the tags count, and what these are, in words."""
    words = [sentence[start:end] for start, end in split_words(sentence)]
    ways = {"words and punctuation marks": words, BETWEEN_BLANKS: sentence.split()}
    if given:
        # If the tokens are listed, the tags count them, and nothing needs to be guessed.
        ways = {"tokens": given}
    if tags is None:
        counted, tokens = next(iter(ways.items()))
        return tokens, counted
    for counted, tokens in ways.items():
        if len(tokens) == len(tags):
            return tokens, counted
    counts = " or ".join(f"{len(tokens)} {counted}" for counted, tokens in ways.items())
    what = f"{len(tags)} tags, but the sentence has {counts}"
    found = f"tokens {short(next(iter(ways.values())))}, tags {short(tags)}"
    fix = 'give every token one tag; "tokens": [...] in the record says what the tokens are'
    raise DataError(what, found=found, fix=fix)


def is_class(value: Any) -> bool:
    """Whether a value can name a class: a text that is not empty, or a whole number."""
    return isinstance(value, str | int) and bool(str(value).strip())
