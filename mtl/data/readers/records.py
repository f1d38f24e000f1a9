"""JSON records of single texts go in; texts with a label, and tags from tags or spans, come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress

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
    split_tags,
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
from .source import FilePath, Report, read_text, short
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
    rows = json_rows(read_text(path), report)
    options = {"label_names": label_names, "fields": fields, "scores": scores}
    examples = texts_from(rows, report, strict=strict, **options)
    return report.finish(examples, "record with a sentence")


def texts_from(
    rows: Iterable[Row],
    report: Report,
    *,
    strict: bool = False,
    label_names: Sequence[str] | None = None,
    fields: Sequence[str] = (),
    scores: Sequence[str] = (),
) -> list[TextExample]:
    """The texts of records; arguments and errors as in `read_jsonl`."""
    notes: Counter[str] = Counter()
    plain = _plain_rows(rows, report, notes)
    split_tags(plain)
    # Three passes: which field holds what, what it says, and what that means (a scheme of tags, the
    # names of classes) are each the same for all records, and only all of them together show it.
    keys = Keys(plain, fields, scores, report)
    parsed = []
    for row in plain:
        with report.record(row.line, row.where):
            parsed.append(keys.parse(row))
    names_of_tags, names_of_labels = _sorted_out(label_names)
    _name_tags(parsed, names_of_tags, report)
    # Once for the file: a single record seldom shows which of the two ways it counts in.
    last_counts = keys.spans in INCLUSIVE or last_token_counts(
        (r.spans, len(r.given)) for r in parsed if r.spans and r.given
    )
    examples = []
    schemes, classes = _Schemes(parsed, strict), RecordClasses(parsed, names_of_labels, report.path)
    for record in parsed:
        with report.record(record.row.line, record.row.where):
            label, labels, others = classes.of(record)
            if record.spans is None:
                tags, inner = schemes.of(record), ()
            else:
                tags, inner = _entities(record, record.spans, last_counts, notes)
            known = (label, tags, others, inner, labels, dict(record.scores))
            examples.append(TextExample(record.sentence, tuple(record.tokens), *known))
    report.notes += keys.notes() + classes.notes()
    report.note_strays(schemes.repaired, schemes.scheme)
    if schemes.spelling.is_plain:
        report.notes.append(PLAIN_TYPES)
    report.notes += [f"{what}: {n:,}" for what, n in notes.items()]
    report.notes += _notes_on_tokens(parsed)
    return examples


def _plain_rows(rows: Iterable[Row], report: Report, notes: Counter[str]) -> list[Row]:
    """The rows with plain records; what annotators rejected is left out and counted in `notes`."""
    plain: list[Row] = []
    for row in rows:
        with report.record(row.line, row.where):
            record = plain_record(row.value, notes)
            # Rejected by its annotator; a null in the file itself is not a record, but a fault.
            if record is None and row.value is not None:
                continue
            if not isinstance(record, dict):
                raise DataError("this is not a record", found=outline(record), fix=RECORD_FORM)
            plain.append(row._replace(value=record))
    return plain


def _sorted_out(names: Sequence[str] | None) -> tuple[Sequence[str], Sequence[str]]:
    """Names of tags and names of labels: the tag O is among the names of tags."""
    if not names:
        return (), ()
    # One option serves both, since a recipe can hardly say which of the two it means.
    return (names, ()) if "O" in names else ((), names)


def _name_tags(records: Sequence[Record], names: Sequence[str], report: Report) -> None:
    """Replace numbers by names.

    Raises:
        SoundDataError: nothing says what the numbers mean.
    """
    numbered = [record for record in records if record.numbers]
    numbers = sorted({number for record in numbered for number in record.numbers})
    # A guess at the names would train a model whose answers mean something else.
    if numbered and not names:
        raise unnamed_numbers(numbers, report.path, numbered[0].row.line)
    if numbers and not 0 <= numbers[0] <= numbers[-1] < len(names):
        raise DataError(
            "a tag has a number without a name",
            path=report.path,
            found=f"the numbers {', '.join(map(str, numbers[:30]))}, and {len(names)} names",
            fix="give label_names as many names as there are tags, from 0",
        )
    for record in numbered:
        record.tags = [names[number] for number in record.numbers]


class _Schemes:
    """Tags as IOB2: those of a file are of one spelling and one scheme."""

    def __init__(self, records: Sequence[Record], strict: bool) -> None:
        self.strict = strict
        found = spelling_of(Counter(tag for record in records for tag in record.tags or ()))
        self.spelling = found[0] if found else Spelling("B-PER", "O", TAG)
        sentences = []
        for record in records:
            with suppress(DataError):  # what is not a tag is a fault of its own record: see `of`
                sentences.append(self._known(record, record.tags or ()))
        self.scheme = scheme_of(sentences)
        self.repaired: list[tuple[str, str, str]] = []

    def of(self, record: Record) -> tuple[str, ...] | None:
        """The tags of a record; what breaks the scheme is read as `conlleval` reads it."""
        if record.tags is None:
            return None
        tags = self._known(record, record.tags)
        for _, before, tag in strays(tags, self.scheme):
            if self.strict:
                what = what_breaks(self.scheme, before, tag)
                raise DataError(what, found=str(record), fix=RULES[self.scheme])
            self.repaired.append((record.row.place, before, tag))
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


def _notes_on_tokens(records: Sequence[Record]) -> list[str]:
    tagged = [r for r in records if r.tags is not None and r.counted != "tokens"]
    counted = Counter(r.counted for r in tagged)
    notes = [f"ner_tags count {what} in {n:,} records" for what, n in counted.items()]
    if BETWEEN_BLANKS in counted:
        notes.append(
            "in plain text, punctuation marks are separate words: tags that count them too fit "
            "what is predicted later"
        )
    # Blanks do not count, since words may be cut with and without them.
    odd = [r for r in records if "".join(r.sentence.split()) != "".join("".join(r.tokens).split())]
    if odd:
        notes.append(
            f"tokens that do not spell the sentence in {len(odd):,} records, first at "
            f"{odd[0].row.place}; the tokens are read"
        )
    return notes
