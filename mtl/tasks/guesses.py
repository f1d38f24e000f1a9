"""A question and its context go in; answers guessed without understanding either come out."""

from __future__ import annotations

import re

from ..data.examples import Answer, QAExample
from ..data.words import split_words

NUMBER_QUESTION = re.compile(r"\b(when|how (many|much|old|long|far)|what year)\b", re.IGNORECASE)
NUMBER = re.compile(r"\w*\d[\w.,:]*\b")
NAME = re.compile(r"\b[^\W\d_a-z]\w*(?: [^\W\d_a-z]\w*)*")
SENTENCE = re.compile(r"[^.!?]+[.!?]*\s*")


def sentences_of(text: str) -> list[tuple[int, int]]:
    """Start and end character of each sentence; one ends at `.`, `!` or `?`."""
    return [match.span() for match in SENTENCE.finditer(text)]


def candidate_answers(example: QAExample) -> list[Answer]:
    """Spans of the context that have the answer's type: those the data names, or a guess.

    The guess: numbers for a question that asks when or how many, else runs of capitalised words;
    where there are none, every word.
    """
    if example.candidates:
        return list(example.candidates)
    pattern = NUMBER if NUMBER_QUESTION.search(example.question) else NAME
    found = [Answer(m.group(), m.start()) for m in pattern.finditer(example.context)]
    words = [Answer(example.context[s:e], s) for s, e in split_words(example.context)]
    return found or words


def candidates_in_closest_sentence(example: QAExample) -> list[Answer]:
    """The candidates of the sentences that share the most distinct words with the question."""
    asked = _words(example.question)
    sentences = sentences_of(example.context)
    candidates = candidate_answers(example)
    inside = [[c for c in candidates if s <= c.start < e] for s, e in sentences]
    # A sentence without a candidate is never the closest: hence -1.
    shared = [
        len(asked & _words(example.context[s:e])) if found else -1
        for (s, e), found in zip(sentences, inside, strict=True)
    ]
    most = max(shared)
    closest = [c for n, found in zip(shared, inside, strict=True) if n == most for c in found]
    # If no sentence has a candidate of its own, any of them will do.
    return closest or candidates


def _words(text: str) -> set[str]:
    return {text[s:e].lower() for s, e in split_words(text)}
