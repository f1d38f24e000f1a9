"""JSON records of single texts go in; texts with a label, and tags from tags or spans, come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from ...errors import DataError
from ..examples import TextExample
from ..words import Entity, find_words, join_words, split_words
from .exports import plain_record
from .json_source import Row, json_rows, outline
from .record_classes import RecordClasses
from .record_fields import (
    BETWEEN_BLANKS,
    RECORD_FORM,
    TAG,
    Keys,
    Record,
    tags_in_one_text,
    with_split_tags,
)
from .schemes import (
    PLAIN_TYPES,
    RULES,
    Spelling,
    scheme_of,
    spelling_of,
    strays,
    to_iob2,
    what_breaks,
)
from .source import FilePath, Held, Report, in_memory, read_text, short
from .spans import INCLUSIVE, Span, entities_of_spans, in_tokens, last_token_counts
from .taglists import known_tags, unnamed_numbers


def read_jsonl(
    path: FilePath,
    on_error: str = "stop",
    *,
    strict: bool = False,
    label_names: Sequence[str] | None = None,
    fields: Sequence[str] = (),
    scores: Sequence[str] = (),
) -> list[TextExample]:
    """Read texts with labels, tags or spans: a JSON array of records, or one record per line.

    `{"sentence": ..., "label": ..., "ner_tags": [...]}`; every field but the sentence may be
    missing in some records. If a record has `"tokens"`, the tags count these. Otherwise they count
    words and punctuation marks, or, if only that fits, the words between blanks; a `DataWarning`
    says which, and in how many records. Tags may be in any scheme that `read_conll` knows, and
    become IOB2. Labels are names or whole numbers, the same kind in all records; a list holds all
    labels of a text, [] none of them. Instead of tags
    there may be spans, as annotation tools export them; see `mtl.data.readers.spans`.

    Args:
        path: a UTF-8 file.
        on_error: "stop" raises all faults together; "skip" leaves out the records that have one.
        strict: a tag that breaks the scheme of the file is a fault; else it is read as `conlleval`
            does, and a `DataWarning` counts them.
        label_names: what the numbers 0, 1, ... of tags (where "O" is among the names) or of labels
            stand for.
        fields: further fields of the records to keep as labels, in `TextExample.fields`.
        scores: fields that hold numbers, kept in `TextExample.scores`; by default `score`, if it
            holds nothing else.

    Raises:
        DataError: the file cannot be read, is empty or not JSON; a record without a sentence; tags
            that count something else; labels that are numbers in some records and names in others;
            a score that is not a number; numbers for tags without `label_names`, or beyond them; no
            such field.
        ConfigError: `on_error` is something else.
    """
    report = Report(path, on_error)
    text = read_text(path)
    options = {"label_names": label_names, "fields": fields, "scores": scores}
    examples = texts_of(partial(json_rows, text), report, in_memory, strict=strict, **options)
    return report.finish(list(examples), "record with a sentence")


def texts_of(
    rows: Callable[[Report], Iterator[Row]],
    report: Report,
    held: Held,
    *,
    strict: bool = False,
    label_names: Sequence[str] | None = None,
    fields: Sequence[str] = (),
    scores: Sequence[str] = (),
) -> Iterator[TextExample]:
    """The texts of records, one after the other; options and errors as in `read_jsonl`.

    Args:
        rows: gives the records, with what is broken reported to its argument.
        held: what becomes of them between two passes, `in_memory` or `Passes`.
    """
    # Several passes: which field holds what, what it says, and what that means (a scheme of tags,
    # the names of classes) are each the same for all records, and only all of them together show
    # it.
    plain = held(lambda report: _plain_rows(rows(report), report), report)
    if split := tags_in_one_text(plain):
        unsplit = plain
        plain = held(lambda _: with_split_tags(unsplit, split), report)
    keys = Keys(plain, fields, scores, report)
    parsed = held(lambda report: _parsed(plain, keys, report), report)
    names_of_tags, names_of_labels = _sorted_out(label_names)
    classes, tags, tokens = RecordClasses(), _Tags(), _Tokens()
    for record in parsed:
        for facts in (classes, tags, tokens):
            facts.see(record)
    classes.settle(names_of_labels, report.path)
    tags.settle(names_of_tags, report)
    schemes = _Schemes(parsed, tags, strict)
    # Once for the file: a single record seldom shows which of the two ways it counts in.
    last_counts = keys.spans in (None, *INCLUSIVE) or last_token_counts(
        (r.spans, len(r.given)) for r in parsed if r.spans and r.given
    )
    for record in parsed:
        with report.record(record.row.line, record.row.where):
            label, labels, others = classes.of(record)
            if record.spans is None:
                iob2, inner = schemes.of(record), ()
            else:
                iob2, inner = _entities(record, record.spans, last_counts, report.counts)
            known = (label, iob2, others, inner, labels, dict(record.scores))
            yield TextExample(record.sentence, tuple(record.tokens), *known)
    report.notes += keys.notes(report.unread) + classes.notes()
    report.note_strays(schemes.n_repaired, schemes.first_repaired, schemes.scheme)
    if schemes.spelling.is_plain:
        report.notes.append(PLAIN_TYPES)
    report.notes += [f"{what}: {n:,}" for what, n in report.counts.items()]
    report.notes += tokens.notes()


def _plain_rows(rows: Iterable[Row], report: Report) -> Iterator[Row]:
    """The rows with plain records; what annotators rejected is left out and counted."""
    for row in rows:
        with report.record(row.line, row.where):
            record = plain_record(row.value, report.counts)
            # Rejected by its annotator; a null in the file itself is not a record, but a fault.
            if record is None and row.value is not None:
                continue
            if not isinstance(record, dict):
                raise DataError("this is not a record", found=outline(record), fix=RECORD_FORM)
            yield row._replace(value=record)


def _parsed(rows: Iterable[Row], keys: Keys, report: Report) -> Iterator[Record]:
    for row in rows:
        with report.record(row.line, row.where):
            yield keys.parse(row, report.unread)


def _sorted_out(names: Sequence[str] | None) -> tuple[Sequence[str], Sequence[str]]:
    """Names of tags and names of labels: the tag O is among the names of tags."""
    if not names:
        return (), ()
    # One option serves both, since a recipe can hardly say which of the two it means.
    return (names, ()) if "O" in names else ((), names)


class _Tags:
    """Which tags the records of a file have, and what those mean that are numbers."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.numbers: Counter[int] = Counter()
        self.first_line: int | None = None  # of a record whose tags are numbers
        self.names: Sequence[str] = ()

    def see(self, record: Record) -> None:
        self.counts.update(record.tags or ())
        if record.numbers and not self.numbers:
            self.first_line = record.row.line
        self.numbers.update(record.numbers)

    def settle(self, names: Sequence[str], report: Report) -> None:
        """Give numbers their names.

        Raises:
            SoundDataError: nothing says what the numbers mean.
            DataError: a number without a name.
        """
        numbers = sorted(self.numbers)
        # A guess at the names would train a model whose answers mean something else.
        if numbers and not names:
            raise unnamed_numbers(numbers, report.path, self.first_line)
        if numbers and not 0 <= numbers[0] <= numbers[-1] < len(names):
            raise DataError(
                "a tag has a number without a name",
                path=report.path,
                found=f"the numbers {', '.join(map(str, numbers[:30]))}, and {len(names)} names",
                fix="give label_names as many names as there are tags, from 0",
            )
        self.names = names
        for number, n in self.numbers.items():
            self.counts[names[number]] += n

    def of(self, record: Record) -> list[str] | None:
        """The tags of a record as the file writes them, by name."""
        return [self.names[n] for n in record.numbers] if record.numbers else record.tags


class _Schemes:
    """Tags as IOB2: those of a file are of one spelling and one scheme."""

    def __init__(self, records: Iterable[Record], tags: _Tags, strict: bool) -> None:
        self.strict, self.tags = strict, tags
        found = spelling_of(tags.counts)
        self.spelling = found[0] if found else Spelling("B-PER", "O", TAG)
        # No pass for a file without tags.
        self.scheme = scheme_of(self._sentences(records) if tags.counts else [])
        self.n_repaired = 0
        self.first_repaired: list[tuple[str, str, str]] = []

    def _sentences(self, records: Iterable[Record]) -> Iterator[list[str]]:
        for record in records:
            with suppress(DataError):  # what is not a tag is a fault of its own record: see `of`
                yield self._known(record, self.tags.of(record) or ())

    def of(self, record: Record) -> tuple[str, ...] | None:
        """The tags of a record; what breaks the scheme is read as `conlleval` reads it."""
        written = self.tags.of(record)
        if written is None:
            return None
        tags = self._known(record, written)
        for _, before, tag in strays(tags, self.scheme):
            if self.strict:
                what = what_breaks(self.scheme, before, tag)
                found = f"tokens {short(record.tokens)}, tags {short(written)}"
                raise DataError(what, found=found, fix=RULES[self.scheme])
            self.n_repaired += 1
            self.first_repaired = self.first_repaired or [(record.row.place, before, tag)]
        return tuple(to_iob2(tags))

    def _known(self, record: Record, tags: Sequence[str]) -> list[str]:
        where = f"the record with the sentence {short(record.sentence, 80)}"
        return known_tags(tags, self.spelling, where)


def _entities(
    record: Record, spans: Sequence[Span], last_counts: bool, notes: Counter[str]
) -> tuple[tuple[str, ...], tuple[Entity, ...]]:
    """The tags of a record with spans, and the entities inside others.

    Spans count the tokens that the record lists, otherwise the characters of its text.
    """
    text = record.sentence
    if not record.given:
        return entities_of_spans(text, split_words(text), spans, notes)
    places = find_words(text, record.given)
    if places is None:
        text, places = join_words(record.given)
    found = in_tokens(spans, places, last_counts)
    return entities_of_spans(text, places, found, notes)


class _Tokens:
    """What the tags of a file count, and where tokens do not spell their sentence."""

    def __init__(self) -> None:
        self.counted: Counter[str] = Counter()
        self.odd = 0
        self.first_odd = ""

    def see(self, record: Record) -> None:
        if record.counted != "tokens" and (record.tags is not None or record.numbers):
            self.counted[record.counted] += 1
        # Blanks do not count, since words may be cut with and without them.
        if "".join(record.sentence.split()) != "".join("".join(record.tokens).split()):
            self.first_odd = self.first_odd or record.row.place
            self.odd += 1

    def notes(self) -> list[str]:
        notes = [f"ner_tags count {what} in {n:,} records" for what, n in self.counted.items()]
        if BETWEEN_BLANKS in self.counted:
            notes.append(
                "in plain text, punctuation marks are separate words: tags that count them too fit "
                "what is predicted later"
            )
        if self.odd:
            notes.append(
                f"tokens that do not spell the sentence in {self.odd:,} records, first at "
                f"{self.first_odd}; the tokens are read"
            )
        return notes
