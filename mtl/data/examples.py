"""What one example of each kind of data is, and the splits that hold them.

Every example validates itself when it is made, so nothing further down has to.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeVar

from ..errors import DataError

# What a row of the encoder is made of: one text, or a pair such as (question, context). A text is
# a string, or the list of its words where someone already said what the words are.
Text = str | Sequence[str]
TextRow = tuple[Text, Text | None]


def check_unicode(*texts: str) -> None:
    """Raise DataError if a text holds half a character (a lone surrogate, as JSON can spell)."""
    for text in texts:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            before = text[max(0, error.start - 20) : error.start]
            raise DataError(
                "the text holds half a character",
                found=f"{text[error.start]!a} after {before!r}",
                fix="take it out, or write the whole character",
            ) from None


@dataclass(frozen=True)
class NERExample:
    """A sentence as words, each with one tag in IOB2 (Tjong Kim Sang and Veenstra 1999).

    Args:
        tokens: the words of the sentence.
        tags: `O`, `B-TYPE` (an entity begins) or `I-TYPE` (it goes on), one a word.

    Raises:
        DataError: no tokens, an empty token, a tag count that differs, a tag that is not IOB2.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(self.tokens))
        object.__setattr__(self, "tags", tuple(self.tags))
        check_tokens(self.tokens)
        check_tags(self.tokens, self.tags)

    @cached_property
    def text(self) -> str:
        """The words joined by single blanks; character offsets refer to this string."""
        return " ".join(self.tokens)

    @property
    def rows(self) -> list[TextRow]:
        return [(self.tokens, None)]

    @property
    def group(self) -> str:
        """Examples with the same group stay on one side when data is split."""
        return self.text


def check_tokens(tokens: Sequence[str]) -> None:
    """Raise DataError unless there is at least one token and none is empty."""
    if not tokens or not all(token.strip() for token in tokens):
        raise DataError(
            "a sentence needs at least one token, and none may be empty",
            found=repr(list(tokens)),
            fix="leave empty sentences and empty tokens out",
        )
    check_unicode(*tokens)


def check_tags(tokens: Sequence[str], tags: Sequence[str]) -> None:
    """Raise DataError unless every token has one tag and the tags are valid IOB2."""
    if len(tokens) != len(tags):
        raise DataError(
            f"{len(tokens)} tokens but {len(tags)} tags",
            found=f"tokens {list(tokens)}, tags {list(tags)}",
            fix="give every token exactly one tag",
        )
    check_unicode(*tags)
    check_iob2(tags)


def check_iob2(tags: Sequence[str]) -> None:
    """Raise DataError unless `tags` is valid IOB2: `I-X` only after `B-X` or `I-X`."""
    previous = "O"
    for i, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        if tag != "O" and (prefix not in ("B", "I") or not kind):
            raise DataError(
                f"tag {i + 1} is not an IOB2 tag",
                found=repr(tag),
                fix="use O, B-TYPE and I-TYPE, for example B-PER I-PER O",
            )
        if prefix == "I" and previous not in (f"B-{kind}", f"I-{kind}"):
            raise DataError(
                f"tag {i + 1} continues an entity that did not begin",
                found=f"{tag} after {previous}",
                fix=f"begin every entity with B-{kind}",
            )
        previous = tag


@dataclass(frozen=True)
class TextExample:
    """A text with what is known about it: a class label, one tag a token, both, or neither.

    Args:
        text: as somebody wrote it.
        tokens: its words; what the tags count. Without them the tokenizer says what the words are.
        label: the class of the whole text; None if nobody said.
        tags: IOB2 as in `NERExample`, one a token; None if nobody said.

    Raises:
        DataError: an empty text, token or label, a tag count that differs, a tag that is not IOB2.
    """

    text: str
    tokens: tuple[str, ...] = ()
    label: str | None = None
    tags: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", tuple(self.tokens))
        _check_text("the sentence", self.text)
        if self.tokens:
            check_tokens(self.tokens)
        if self.label is not None:
            if not isinstance(self.label, str):
                raise DataError("a label is a name", found=repr(self.label), fix="put it in quotes")
            _check_text("the label", self.label)
        if self.tags is not None:
            object.__setattr__(self, "tags", tuple(self.tags))
            check_tokens(self.tokens)
            check_tags(self.tokens, self.tags)

    @property
    def rows(self) -> list[TextRow]:
        return [(self.tokens or self.text, None)]

    @property
    def group(self) -> str:
        """Records of the same text stay on one side when data is split."""
        return self.text


@dataclass(frozen=True)
class PairExample:
    """Two sentences, and how much alike their meanings are.

    Args:
        first, second: the sentences.
        score: from 1 (the same) over 0 (nothing in common) to -1; None for two sentences that mean
            the same, without a number.

    Raises:
        DataError: an empty sentence, a score that is not a number from -1 to 1.
    """

    first: str
    second: str
    score: float | None = None

    def __post_init__(self) -> None:
        _check_text("the first sentence of a pair", self.first)
        _check_text("the second sentence of a pair", self.second)
        if self.score is None:
            return
        if isinstance(self.score, bool) or not isinstance(self.score, int | float):
            raise DataError(
                "the score of a pair is not a number", found=repr(self.score), fix="write 0.8"
            )
        if not -1 <= self.score <= 1:
            raise DataError(
                "the score of a pair must lie between -1 and 1",
                found=repr(self.score),
                fix="divide all scores by the highest there can be, for example 5",
            )

    @property
    def rows(self) -> list[TextRow]:
        return [(self.first, None), (self.second, None)]

    @property
    def group(self) -> str:
        """Pairs with the same first sentence stay on one side when data is split."""
        return self.first


def _check_text(what: str, text: str) -> None:
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{what} is empty", found=repr(text), fix="leave it out, or write it")
    check_unicode(text)


@dataclass(frozen=True)
class Answer:
    """A span of a context: its text and the character it starts at."""

    text: str
    start: int

    @property
    def end(self) -> int:
        """One past the last character."""
        return self.start + len(self.text)


@dataclass(frozen=True)
class QAExample:
    """A question, a context that holds its answer, and the reference answers (SQuAD v1.1).

    Args:
        candidates: spans of the context of the same type as the answer, the answer among them,
            where somebody knows them (the toy data does); only trivial baselines read it.

    Raises:
        DataError: an empty question or context, no answer, an answer that is not in the context
            at its offset.
    """

    id: str
    question: str
    context: str
    answers: tuple[Answer, ...]
    candidates: tuple[Answer, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "answers", tuple(self.answers))
        check_unicode(self.id, self.question, self.context)
        for name in ("question", "context"):
            if not getattr(self, name).strip():
                raise DataError(
                    f"question {self.id!r} has an empty {name}", fix=f"give it a {name}"
                )
        if not self.answers:
            raise DataError(f"question {self.id!r} has no answer", fix="give it an answer")
        for answer in (*self.answers, *self.candidates):
            self._check(answer)

    def _check(self, answer: Answer) -> None:
        if not answer.text.strip():
            raise DataError(f"question {self.id!r} has an empty answer", fix="give it a text")
        there = self.context[max(0, answer.start) : max(0, answer.end)]
        if answer.start < 0 or there != answer.text:
            at = self.context.find(answer.text)
            raise DataError(
                f"the answer of question {self.id!r} is not at its offset in the context",
                found=f"answer {answer.text!r}, but character {answer.start} has {there!r}",
                fix=f"the text occurs at character {at}"
                if at >= 0
                else "copy the answer letter by letter from the context",
            )

    @property
    def rows(self) -> list[TextRow]:
        return [(self.question, self.context)]

    @property
    def group(self) -> str:
        """Questions about one context stay together when data is split."""
        return self.context


@dataclass(frozen=True)
class Query:
    """A text, or a pair such as (question, context), that somebody wants a prediction for."""

    text: Text
    second: Text | None = None

    @property
    def rows(self) -> list[TextRow]:
        return [(self.text, self.second)]


Example = TypeVar("Example", bound=Any)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples in splits; one or more tasks attach to it (the same object, for tasks that share
    their batches).

    An example is any object with `rows`, the texts its encoder rows are made of, and `group`, which
    keeps related examples on one side of a split.

    Args:
        train: what the model learns from.
        validation: what every choice is made on (best epoch, settings).
        test: read once, at the end.
        test_unseen: a second test split, harder on purpose: names never seen in training.
    """

    train: Sequence[Any] = ()
    validation: Sequence[Any] = ()
    test: Sequence[Any] = ()
    test_unseen: Sequence[Any] = ()

    def split(self, name: str) -> Sequence[Any]:
        """The examples of one split, by its name."""
        return getattr(self, name)

    def all(self) -> Iterator[Any]:
        """The examples of every split."""
        return (example for f in fields(self) for example in getattr(self, f.name))

    def training_texts(self) -> Iterator[Text]:
        """Every text of the training split: what a vocabulary may be built from."""
        return (
            text
            for example in self.train
            for row in example.rows
            for text in row
            if text is not None
        )

    def __repr__(self) -> str:
        sizes = (f"{f.name}={len(getattr(self, f.name))}" for f in fields(self))
        return f"Dataset({', '.join(sizes)})"


def shared_texts(dataset: Dataset) -> dict[str, tuple[int, int]]:
    """For each held-out split: how many of its different texts training has too, and of how many.

    Which text counts says an example's `group`: the sentence, or the context of a question.
    """
    training = {example.group for example in dataset.train}
    found = {}
    for split in ("validation", "test", "test_unseen"):
        texts = {example.group for example in dataset.split(split)}
        found[split] = (len(texts & training), len(texts))
    return found


def hold_out(
    examples: Sequence[Example], seed: int, share: float = 0.1, parts: int = 2
) -> list[list[Example]]:
    """Split off `parts` held-out parts of about `share` each, whole groups at a time.

    Returns:
        the remaining examples, then each held-out part.

    Raises:
        DataError: fewer than ten groups, too few for a tenth to be anything.
    """
    groups = sorted({example.group for example in examples})
    size = round(share * len(groups))
    if share * len(groups) < 1:
        raise DataError(
            "there are too few different texts to hold out a tenth of them",
            found=f"{len(groups)}; at least {math.ceil(1 / share)} are needed",
            fix="give validation and test files of their own",
        )
    random.Random(seed).shuffle(groups)
    part_of = {group: i // size for i, group in enumerate(groups[: parts * size])}
    held_out: list[list[Example]] = [[] for _ in range(parts)]
    rest: list[Example] = []
    for example in examples:
        part = part_of.get(example.group)
        (rest if part is None else held_out[part]).append(example)
    return [rest, *held_out]
