"""Spans: what annotation tools export goes in; tags of words and entities inside others come out.

Character spans: doccano, Prodigy, Label Studio, spaCy, Rasa and the like; token spans: GLiNER and
SpERT. Offsets count characters from 0, the end is one past the last character.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ...errors import DataError
from ..nesting import crossing, iob2_tags
from ..validity import crossing_entities
from ..words import Entity, Place
from .source import short

SPAN_FIELDS = ("entities", "spans", "ents", "annotation", "annotations", "slots", "ner")
INCLUSIVE = ("ner",)  # fields whose token spans name their last token, as in GLiNER
_STARTS = ("start", "start_offset", "start_char", "startOffset", "begin", "offset", "from")
_ENDS = ("end", "end_offset", "end_char", "endOffset", "stop", "to")
_KINDS = ("label", "labels", "type", "entity", "entity_type", "entity_group", "tag", "category")
SPAN_FORM = 'a span looks like [0, 5, "PER"] or {"start": 0, "end": 5, "label": "PER"}'


class Span(NamedTuple):
    """A stretch of a text, or of its tokens, with its type; `text`: what the file says is there."""

    start: Any
    end: Any
    kind: Any
    text: str | None = None


def spans_of(value: Any) -> list[Span] | None:
    """The spans in a field of a record; None if it holds anything else."""
    if isinstance(value, dict):  # by type: {"date": {"text": "today", "span": [3, 8]}}
        filled = {kind: found for kind, found in value.items() if found is not None}
        items = [(kind, item) for kind, found in filled.items() for item in _listed(found)]
        spans = [_with_kind(_span(item), kind) for kind, item in items]
    elif isinstance(value, list | tuple):
        spans = [_span(item) for item in value]
    else:
        return None
    good = [span for span in spans if span is not None]
    # All or nothing: a field that is only half spans is some other field.
    return good if len(good) == len(spans) else None


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _with_kind(span: Span | None, kind: str) -> Span | None:
    return span._replace(kind=kind) if span and span.kind is None else span


def _span(item: Any) -> Span | None:
    span = _as_written(item)
    return span and span._replace(start=_whole(span.start), end=_whole(span.end))


def _whole(value: Any) -> Any:
    """A whole number, even if a table turned it into 3.0, or into a text."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


def _as_written(item: Any) -> Span | None:
    match item:
        case [int() | float() as start, int() | float() as end, str(kind), *_]:
            return Span(start, end, kind)
        case [str(kind), int(start), int(end), *_]:  # Argilla
            return Span(start, end, kind)
        # Its end is the last character, not the one after it.
        case {"points": [{"start": start, "end": int(last), **rest}, *_]}:  # Dataturks
            return Span(start, last + 1, _kind(item), rest.get("text"))
        case {"span": [start, end]}:
            return Span(start, end, _kind(item), item.get("text"))
        case {"value": {"start": start, "end": end, **rest}}:  # Label Studio
            return Span(start, end, _kind(rest), rest.get("text"))
        case dict():
            start = next((item[key] for key in _STARTS if key in item), None)
            end = next((item[key] for key in _ENDS if key in item), None)
            if end is None and isinstance(start, int) and isinstance(item.get("length"), int):
                end = start + item["length"]
            text = item.get("text")
            if start is None or end is None:
                return None
            return Span(start, end, _kind(item), text if isinstance(text, str) else None)
    return None


def _kind(item: dict[str, Any]) -> Any:
    """The type of a span; of several, the first."""
    kind = next((item[key] for key in _KINDS if item.get(key)), None)
    return kind[0] if isinstance(kind, list) and kind else kind


def in_tokens(spans: Iterable[Span], places: Sequence[Place], last_counts: bool) -> list[Span]:
    """Spans of tokens as spans of the text that contains the tokens.

    Args:
        places: of the tokens in the text.
        last_counts: whether the end is the last token of a span, rather than the one after it.

    Raises:
        DataError: a span that is not within the tokens.
    """
    found = []
    for span in spans:
        end = span.end + last_counts if isinstance(span.end, int) else span.end
        _check(span, end, len(places), "tokens")
        found.append(Span(places[span.start][0], places[end - 1][1], span.kind))
    return found


def entities_of_spans(
    text: str, words: Sequence[Place], spans: Sequence[Span], notes: Counter[str]
) -> tuple[tuple[str, ...], tuple[Entity, ...]]:
    """What spans of characters say about words: IOB2 tags, and the entities inside others.

    A span with a border inside a word takes the whole word; of neighbours that then share a word,
    the longest counts, then the first. Both are counted in `notes`.

    Returns:
        the tags of the outermost entities, and the others as (type, first word, one past the last).

    Raises:
        DataError: a span that is not within the text, is not what the file says, has no type, or
            crosses another: they overlap, but neither is inside the other.
    """
    faults, found = [], []
    for span in spans:  # all faults of a text, not only the first
        try:
            found.append(_checked(text, span))
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError.collect(faults)
    if pair := crossing((span.kind, span.start, span.end) for span in found):
        raise crossing_entities(*(f"{text[start:end]} ({kind})" for kind, start, end in pair))
    # Both lists rise, so the words that a span touches are found by bisection.
    starts, ends = [start for start, _ in words], [end for _, end in words]
    holder: dict[int, Span] = {}  # of a word, the innermost span that has it
    outer, inner = [], set()
    # Longest first, so that a span comes after those that it lies in.
    for span in sorted(found, key=lambda span: (span.start - span.end, span.start)):
        # The words that the span touches: from the first that ends after its start, to the last
        # that starts before its end.
        first, last = bisect_right(ends, span.start), bisect_left(starts, span.end)
        holders = {holder.get(word) for word in range(first, last)}
        around = holders.pop() if len(holders) == 1 else None
        if last <= first:
            notes["spans without a word in them, which are left out"] += 1
            continue
        # Two neighbours may share a word, `12` and `km` in `12km`: the longer one keeps it.
        if holders or (around and not around.start <= span.start < span.end <= around.end):
            notes["spans that share a word with a longer one, which are left out"] += 1
            continue
        holder |= dict.fromkeys(range(first, last), span)
        if around:
            inner.add((span.kind, first, last))
        else:
            outer.append((span.kind, first, last))
        if (starts[first], ends[last - 1]) != (span.start, span.end):
            notes["spans that begin or end inside a word, which take the whole word"] += 1
    return iob2_tags(len(words), outer), tuple(inner)


def _checked(text: str, span: Span) -> Span:
    """The span without outer blanks, once it is known to be valid."""
    _check(span, span.end, len(text), "characters")
    there = text[span.start : span.end]
    # Line breaks may have become blanks on the way; anything else is another place.
    if isinstance(span.text, str) and span.text.split() != there.split():
        raise _other_text(text, span, span.text)
    start = span.start + len(there) - len(there.lstrip())
    end = max(start, span.end - len(there) + len(there.rstrip()))
    return Span(start, end, span.kind)


def _check(span: Span, end: Any, length: int, unit: str) -> None:
    """Raise DataError unless a span is within `length` units and has a type."""
    if not (isinstance(span.kind, str) and span.kind.strip()):
        raise DataError("a span has no type", found=short(span.kind), fix=SPAN_FORM)
    # JSON may hold true where a number belongs, and Python would count it as 1.
    places = (span.start, end)
    if not all(isinstance(p, int) and not isinstance(p, bool) for p in places):
        found = short([span.start, span.end])
        raise DataError("a span's start and end are not whole numbers", found=found, fix=SPAN_FORM)
    if not 0 <= span.start < end <= length:
        what = "a span ends before it begins" if span.start >= end else "a span leaves the text"
        found = f"{span.kind} from {span.start} to {span.end}, of {length} {unit}"
        raise DataError(what, found=found, fix=f"count {unit} from 0, with start below end")


def _other_text(text: str, span: Span, said: str) -> DataError:
    """The error for a span whose text is not at its offsets; it guesses the unit they count."""
    at = text.find(said)
    fix = f"its text occurs at character {at}" if at >= 0 else "export the spans again"
    # Java and JavaScript count UTF-16 units, C and Go bytes: the usual reasons.
    for unit, code, width in (("bytes", "utf-8", 1), ("UTF-16 units", "utf-16-le", 2)):
        raw = text.encode(code, "replace")[span.start * width : span.end * width]
        if raw.decode(code, "ignore") == said:
            fix = f"the offsets seem to count {unit}; let them count Unicode characters"
    there = text[span.start : span.end]
    found = f"characters {span.start} to {span.end} are {short(there, 80)}, the file says "
    found += short(said, 80)
    return DataError("a span's text is not at its offsets", found=found, fix=fix)


def last_token_counts(all_spans: Iterable[tuple[Sequence[Span], int]]) -> bool:
    """Whether token spans name their last token, rather than the one after it.

    Args:
        all_spans: of each record, its spans and how many tokens it has.

    A span of one token shows it: its first and last are the same. An end equal to the number of
    tokens shows the opposite. If nothing shows it, the last token is meant, as in GLiNER.
    """
    ends_after_last = False
    for spans, n in all_spans:
        if any(span.start == span.end for span in spans):
            return True
        ends_after_last = ends_after_last or any(span.end == n for span in spans)
    return not ends_after_last
