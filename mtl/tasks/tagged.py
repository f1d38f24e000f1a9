"""Words and their tags go in; a prediction that prints itself, a file, and mistakes come out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from ..data.words import Place
from .base import Mistake
from .spans import excerpt, highlight_html, highlight_text

# The words of a sentence, their right tags and the predicted ones.
Sentence = tuple[Sequence[str], Sequence[str], Sequence[str]]


@dataclass(frozen=True)
class TokenPrediction:
    """A text, its words, and for each word the tag and its probability.

    Where the words were given, `plain` is the prediction for the same text on words of our own.
    """

    text: str
    words: list[Place]
    tags: list[str]
    scores: list[float]
    plain: Self | None = field(default=None, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The text, and each word with its tag."""
        rows = zip(self.words, self.tags, self.scores, strict=True)
        return {
            "text": self.text,
            "words": [
                {"tag": tag, "score": score, "word": self.text[s:e], "start": s, "end": e}
                for (s, e), tag, score in rows
            ],
        }

    def _spans(self) -> list[tuple[int, int, str]]:
        """What is highlighted: start, end and label."""
        return [(s, e, tag) for (s, e), tag in zip(self.words, self.tags, strict=True)]

    def __str__(self) -> str:
        words = [self.text[start:end] for start, end in self.words]
        width, tag_width = (max(map(len, column), default=0) for column in (words, self.tags))
        rows = zip(words, self.tags, self.scores, strict=True)
        lines = [f"  {word:{width}}  {tag:{tag_width}}  {score:.2f}" for word, tag, score in rows]
        return "\n".join([highlight_text(self.text, self._spans()), *lines])

    def _repr_html_(self) -> str:
        return f"<p>{highlight_html(self.text, self._spans())}</p>"


def conll_text(sentences: Iterable[Sentence]) -> str:
    """What the conlleval script reads: `token right predicted` with single spaces, one token per
    line, an empty line between sentences. Spaces inside a token become underscores."""
    return "\n".join(
        "".join(
            " ".join("_".join(part.split()) for part in line) + "\n"
            for line in zip(*sentence, strict=True)
        )
        for sentence in sentences
    )


def wrong_tags(sentences: Iterable[Sentence]) -> list[Mistake]:
    """Every word whose tag is not right."""
    return [
        Mistake(
            "wrong tag",
            f"sentence {n}",
            excerpt_of_words(tokens, i, i + 1),
            f"{word} ({expected})",
            f"{word} ({predicted})",
        )
        for n, (tokens, right, said) in enumerate(sentences, 1)
        for i, (word, expected, predicted) in enumerate(zip(tokens, right, said, strict=True))
        if expected != predicted
    ]


def excerpt_of_words(tokens: Sequence[str], first: int, last: int) -> str:
    """The words from `first` to before `last` with some of their sentence, on one line."""
    # Single spaces, so that its length is where the words begin in the text below.
    before = " ".join([*tokens[:first], ""])
    end = len(before + " ".join(tokens[first:last]))
    return excerpt(" ".join(tokens), len(before), end)
