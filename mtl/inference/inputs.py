"""What a user gives (a text, its words or a pair) goes in; a query for the encoder comes out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..data.examples import Query
from ..data.validity import check_tokens, check_unicode
from ..data.words import join_words
from ..errors import DataError

Text = str | list[str]  # as written, or as the list of its words
Given = Text | tuple[Text, Text] | Mapping[str, Any]
Names = tuple[str, str]  # what the two texts of a pair are called

# Names for the texts of a pair in a dict, besides those that the tasks of the model use.
PAIR_NAMES: tuple[Names, ...] = (
    ("question", "context"),
    ("text", "text_pair"),
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
)


def one_or_many(given: Any) -> tuple[list[Any], bool]:
    """Everything given, as a list; and whether it was one thing rather than a list of them.

    Raises:
        DataError: neither, such as None.
    """
    one = isinstance(given, str | tuple | Mapping)
    return [given] if one else as_list(given), one


def as_list(given: Any) -> list[Any]:
    """Several things as a list; DataError if they are not several."""
    if hasattr(given, "columns"):  # iterating over a pandas frame would give their names
        raise DataError(
            "this is a whole table, not its texts",
            found=f"the columns {', '.join(map(repr, given.columns))}"[:80],
            fix='give one column: frame["text"]; or pairs: zip(frame["first"], frame["second"])',
        )
    if not isinstance(given, str | bytes | Mapping) and isinstance(given, Iterable):
        return list(given)
    raise DataError(
        "this is neither a text, a pair of texts, nor a list of them",
        found=repr(given)[:80],
        fix="give a string, a tuple of two strings, or a list of either",
    )


def queries_of(given: Sequence[Any], names: Iterable[Names] = ()) -> list[Query]:
    """Texts and pairs, ready to be encoded.

    Args:
        given: each a string, a list of words, a tuple of two texts, or a dict with two known keys.
        names: what the tasks that read pairs call their two texts; see also `PAIR_NAMES`.

    Raises:
        DataError: none of these, an empty text, or a dict without known keys; among several, the
            message gives its number.
    """
    names = list(dict.fromkeys(names))
    return [
        _query(thing, f" {i}" if len(given) > 1 else "", names) for i, thing in enumerate(given, 1)
    ]


def _query(thing: Any, number: str, names: list[Names]) -> Query:
    """One text or pair; `number` names it among several."""
    if isinstance(thing, tuple | Mapping):
        first, second = pair_of(thing, names, f"pair{number}" if number else "the pair")
        return Query(first, second)
    name = f"text{number}" if number else "the text"
    _check_text(name, thing)
    try:
        return Query(thing)
    except DataError as error:  # its words
        raise error.at(what=f"{name}: ") from None


def pair_of(
    given: tuple[Any, ...] | Mapping[str, Any], names: Sequence[Names], where: str = "the pair"
) -> tuple[str, str]:
    """The two texts of a pair.

    Args:
        given: a tuple of both, or a dict whose keys say which is which.
        names: what the tasks call them; those in `PAIR_NAMES` are known too.
        where: which pair it is, for errors.

    Raises:
        DataError: not two texts, an empty one, or a dict without known keys.
    """
    if isinstance(given, Mapping):
        known = dict.fromkeys([*names, *PAIR_NAMES])
        keys = next((pair for pair in known if all(key in given for key in pair)), None)
        if keys is None:
            raise DataError(
                f"{where} does not hold two texts under known names",
                found=", ".join(map(repr, given)) or "an empty dict",
                fix=f"the keys may be {'; '.join(' and '.join(pair) for pair in known)}",
            )
        texts: Sequence[Any] = [given[key] for key in keys]
    else:
        keys = names[0] if len(names) == 1 else ("first text", "second text")
        texts = given
    if len(texts) != 2:
        raise DataError(
            f"{where} is a tuple, but does not hold two texts",
            found=repr(given)[:80],
            fix="give two texts as a tuple, and the words of one text as a list",
        )
    first, second = (
        _joined(f"the {key}" + ("" if where == "the pair" else f" of {where}"), text)
        for key, text in zip(keys, texts, strict=True)
    )
    return first, second


def _joined(name: str, text: Any) -> str:
    """A text of a pair as a string."""
    _check_text(name, text)
    if isinstance(text, str):
        return text
    check_tokens(text)
    return join_words(text)[0]


def _check_text(name: str, text: Any) -> None:
    """Raise DataError unless this is a text with something in it, or a list of words."""
    if isinstance(text, list) and all(isinstance(word, str) for word in text):
        return  # the words are checked when they are joined
    if not isinstance(text, str):
        fix = "give a string, a list of its words, or two texts as a tuple"
        raise DataError(
            f"{name} is neither a text nor a list of words", found=repr(text)[:80], fix=fix
        )
    check_unicode(text)
    if not text.strip():
        raise DataError(f"{name} is empty", found=repr(text), fix="give at least one word")


def words_in(line: str) -> list[str]:
    """The words of a line that holds words: between blanks, or in a JSON list.

    Raises:
        DataError: a list that holds something else than words.
    """
    if line.lstrip().startswith("["):
        with suppress(ValueError, RecursionError):
            words = json.loads(line)
            if all(isinstance(word, str) for word in words):
                return words
            if not all(isinstance(word, int | float) for word in words):  # "[ 1 ]" is three words
                fix = 'write every word in quotes: ["Ann", "left"]'
                raise DataError("the list holds more than words", found=repr(line[:80]), fix=fix)
    return line.split()
