"""Parts of an example go in; what is wrong with them comes out, in errors that say what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache

from ..errors import DataError
from ..metrics import Span, entity_spans
from .nesting import crossing, in_order, outermost


def check_unicode(*texts: str) -> None:
    """Raise DataError if a text holds half a character (a lone surrogate, which JSON can spell)."""
    for text in texts:
        try:
            # Tokenizers and files need UTF-8, which has no half characters: better here than there.
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            before = text[max(0, error.start - 20) : error.start]
            raise DataError(
                "the text holds half a character",
                found=f"{text[error.start]!a} after {before!r}",
                fix="remove it, or write the whole character",
            ) from None


def check_text(what: str, text: str) -> None:
    """Raise DataError unless this is a text that is not empty."""
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{what} is empty", found=repr(text), fix="leave it out, or write it")
    check_unicode(text)


def as_words(tokens: Iterable[str]) -> tuple[str, ...]:
    """Words as a tuple; DataError for a text, which would fall apart into its letters."""
    if isinstance(tokens, str) or not isinstance(tokens, Iterable):
        raise DataError(
            "the tokens of an example are not a list of words",
            found=repr(tokens)[:80],
            fix="give a list of its words; the class of a text is label=...",
        )
    return tuple(tokens)


def check_tokens(tokens: Sequence[str]) -> None:
    """Raise DataError unless there is at least one token and none is empty."""
    # An empty token has no piece that a tag could go to.
    if not tokens or not all(token.strip() for token in tokens):
        raise DataError(
            "a sentence needs at least one token, and none may be empty",
            found=repr(list(tokens)),
            fix="leave out empty sentences and empty tokens",
        )
    check_unicode(*tokens)


def check_tag_count(tokens: Sequence[str], tags: Sequence[str]) -> None:
    """Raise DataError unless every token has one tag."""
    if len(tokens) != len(tags):
        raise DataError(
            f"{len(tokens)} tokens but {len(tags)} tags",
            found=f"tokens {list(tokens)}, tags {list(tags)}",
            fix="give every token exactly one tag",
        )


def check_tags(tokens: Sequence[str], tags: Sequence[str]) -> None:
    """Raise DataError unless every token has one tag and the tags are valid IOB2."""
    check_tag_count(tokens, tags)
    check_unicode(*tags)
    check_iob2(tags)


def check_iob2(tags: Sequence[str]) -> None:
    """Raise DataError unless `tags` is valid IOB2: `I-X` only after `B-X` or `I-X`."""
    befores = ("O", *tags)
    are_right = [*map(_may_follow, befores, tags)]
    if all(are_right):
        return
    i = are_right.index(False)
    before, tag = befores[i], tags[i]
    if _may_follow(f"B{tag[1:]}", tag):  # right after the beginning of its entity
        raise DataError(
            f"tag {i + 1} continues an entity that did not begin",
            found=f"{tag} after {before}",
            fix=f"begin every entity with B{tag[1:]}",
        )
    raise DataError(
        f"tag {i + 1} is not an IOB2 tag",
        found=repr(tag),
        fix="use O, B-TYPE and I-TYPE, for example B-PER I-PER O",
    )


@lru_cache(maxsize=4096)  # few pairs of tags make up all sentences
def _may_follow(before: str, tag: str) -> bool:
    """Whether a tag is one of IOB2, and may come after another."""
    # At the first hyphen only: types such as `geo-loc` contain one.
    prefix, _, kind = tag.partition("-")
    begins = tag == "O" or (prefix == "B" and kind != "")
    return begins or (prefix == "I" and kind != "" and before in (f"B-{kind}", f"I-{kind}"))


def as_inner(
    tokens: Sequence[str], tags: Sequence[str] | None, inner: Sequence[Span]
) -> tuple[Span, ...]:
    """Inner entities from left to right, without repeats of each other or of those in the tags.

    Raises:
        DataError: one that crosses another, is in none of the tags' entities, or has no type.
    """
    if not inner:  # the usual case
        return ()
    outer = entity_spans(tags or ())
    found = in_order({(kind, first, last) for kind, first, last in inner} - {*outer})
    for kind, _, _ in found:
        check_text("the type of an inner entity", kind)
    if pair := crossing([*outer, *found]):
        raise crossing_entities(*(f"{' '.join(tokens[s:e])} ({kind})" for kind, s, e in pair))
    holders = {entity[1:] for entity in outer}
    wrong = [e for e in outermost([*outer, *found]) if e[1:] not in holders]
    if wrong:
        kind, first, last = wrong[0]
        raise DataError(
            "an inner entity is not inside an entity of the tags",
            found=f"{kind} from word {first} to before word {last}; the tags {list(tags or ())}",
            fix="give the outermost entities as tags, and those inside them as inner",
        )
    return tuple(found)


def crossing_entities(one: str, other: str) -> DataError:
    """The error for two entities, such as `Paris (LOC)`, that overlap although neither holds the
    other."""
    return DataError(
        "an entity crosses another: they overlap, but neither is inside the other",
        found=f"{one[:120]!r} and {other[:120]!r}",
        fix="correct the borders of one of them, or leave one out",
    )


def as_labels(name: str, labels: Iterable[str]) -> tuple[str, ...]:
    """Several labels as a tuple; DataError for a text, and for a label that is there twice."""
    if isinstance(labels, str) or not isinstance(labels, Iterable):
        found, fix = repr(labels)[:80], 'give a list, such as ["joy", "surprise"]'
        raise DataError(f"the {name} of a text are not a list", found=found, fix=fix)
    labels = tuple(labels)
    for label in labels:
        check_label(name, label)
    if len(set(labels)) < len(labels):
        raise DataError(f"a label is twice among the {name}", found=repr(list(labels))[:80])
    return labels


def check_label(name: str, label: str) -> None:
    """Raise DataError unless this is a text that can name a class."""
    if not isinstance(label, str):
        raise DataError(f"a {name} must be text", found=repr(label), fix="put it in quotes")
    check_text(f"the {name}", label)


def is_real(value: object) -> bool:
    """Whether a value is a finite number, and not true or false."""
    # bool is a kind of int: True would pass for 1.0.
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Not math.isfinite: a whole number may be larger than any float.
    return is_number and abs(value) <= sys.float_info.max


def check_number(what: str, value: object) -> None:
    """Raise DataError unless a value is a finite number."""
    if not is_real(value):
        raise DataError(f"{what} is not a number", found=repr(value), fix="write 0.8, for example")
