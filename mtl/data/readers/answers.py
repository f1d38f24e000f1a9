"""Answers go in, in any of the forms that files have; texts with their places come out."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

from ...errors import DataError
from ..examples import Answer
from .source import short

TEXT_NAMES = ("text", "answer_text", "answer", "value")
START_NAMES = (  # without case, blanks and punctuation
    *("answerstart", "answersanswerstart", "answeroffset", "start", "offset", "startchar"),
    *("answerstarts", "startposition", "begin"),
)


def plain_name(name: str) -> str:
    """A name without case, blanks and punctuation."""
    return re.sub(r"[\W_]+", "", name.lower())


def answers_of(value: Any) -> list[tuple[str, int | None]]:
    """Text and offset of each answer: from SQuAD's list, from the columns that the `datasets`
    library makes of it ({"text": [...], "answer_start": [...]}), or from bare texts. None, "" and
    -1 mean that there is no answer.
    """
    if is_empty(value):
        return []
    match value:
        case str(text):
            return [(text, None)]
        case bool():
            fix = "an answer is copied from its context; yes or no is a class of the question"
            raise DataError("the answer is yes or no", found=short(value), fix=fix)
        case [*items]:
            return [answer for item in items for answer in answers_of(item)]
        case dict():
            text = next((value[key] for key in TEXT_NAMES if key in value), None)
            start = next((v for key, v in value.items() if plain_name(key) in START_NAMES), None)
            if isinstance(text, str):
                return [(text, _offset(start))]
            if isinstance(text, list) and start is None:
                return answers_of(text)
            if isinstance(text, list) and isinstance(start, list) and len(text) == len(start):
                pairs = zip(text, start, strict=True)
                return answers_of([{"text": text, "answer_start": start} for text, start in pairs])
    fix = 'write it as {"text": "...", "answer_start": 0}'
    raise DataError("an answer is not a text with its offset", found=short(value), fix=fix)


def _offset(value: Any) -> int | None:
    if value is None or value == "":
        return None
    # Tables and JSON write offsets in all sorts of ways; int(inf) raises OverflowError.
    with suppress(TypeError, ValueError, OverflowError):  # 3, 3.0 and "3" alike
        if int(float(value)) == float(value):
            return int(float(value))
    fix = "count the characters of the context before the answer"
    raise DataError("an answer offset is not a whole number", found=short(value), fix=fix)


def located(text: str, start: int | None, context: str, id: str) -> Answer:
    """The answer at its offset or, without one, where its text first occurs."""
    if start is not None:
        return Answer(text, start)  # QAExample makes sure that the text is there
    # Only without an offset: an offset counts the blanks too.
    text = text.strip()
    if text not in context:
        what = f"the answer of question {id!r} is not in its context"
        found = f"answer {short(text)}, context {short(context)}"
        raise DataError(what, found=found, fix="copy the answer letter by letter from the context")
    return Answer(text, context.index(text))


def is_ambiguous(text: str, start: int | None, context: str) -> bool:
    """Whether nobody can know which of several places the answer is from."""
    return start is None and context.count(text.strip()) > 1


def is_empty(value: Any) -> bool:
    """Whether a field of answers holds nothing."""
    match value:
        case None | "" | -1 | [] | {"text": None | "" | []}:
            return True
    return False


def is_empty_list(value: Any) -> bool:
    """Whether these are the columns of an empty list, by which the `datasets` library says that a
    question of SQuAD v2.0 has no answer.
    """
    return isinstance(value, dict) and value.get("text") == []
