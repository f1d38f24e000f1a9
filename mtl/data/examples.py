"""What a reader found goes in; an example of a known kind comes out, checked.

Every example validates itself when it is made, so nothing further down has to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from functools import cached_property

from ..errors import DataError
from ..metrics import Span, entity_spans
from .nesting import in_order
from .validity import (
    as_inner,
    as_labels,
    as_words,
    check_label,
    check_number,
    check_tag_count,
    check_tags,
    check_text,
    check_tokens,
    check_unicode,
)
from .words import Place, find_words, join_words

# What the encoder's rows are made of: one text, or a pair such as (question, context).
Input = tuple[str, str | None]


@dataclass(frozen=True)
class TokenExample:
    """A sentence as words, each with one tag from any set, such as its part of speech.

    Args:
        tokens: the words of the sentence.
        tags: one per word; None if the sentence is not tagged.
        fields: further tags of the words, one per word, by the name or number of their column.

    Raises:
        DataError: no tokens, an empty token or tag, or a tag count that differs.
    """

    tokens: tuple[str, ...]
    tags: tuple[str, ...] | None = None
    # hash=False: a dict has no hash, and an example should have one.
    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    # A frozen dataclass forbids `self.tokens = ...`, even to itself: hence object.__setattr__.
    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", as_words(self.tokens))
        check_tokens(self.tokens)
        if self.tags is not None:
            object.__setattr__(self, "tags", tuple(self.tags))
        fields = {str(name): tuple(tags) for name, tags in self.fields.items()}
        object.__setattr__(self, "fields", fields)
        for tags in fields.values():
            self._check_any_tags(tags)
        self._check_tags()

    def _check_tags(self) -> None:
        if self.tags is not None:
            self._check_any_tags(self.tags)

    def _check_any_tags(self, tags: Sequence[str]) -> None:
        check_tag_count(self.tokens, tags)
        for tag in tags:
            check_text("a tag", tag)

    @cached_property
    def _joined(self) -> tuple[str, list[Place]]:
        return join_words(self.tokens)

    @property
    def text(self) -> str:
        """The words joined by blanks (none between Han or kana); offsets refer to this string."""
        return self._joined[0]

    @property
    def word_places(self) -> list[Place]:
        """Where each token is in `text`, as (first character, one past the last)."""
        return self._joined[1]

    @property
    def inputs(self) -> list[Input]:
        return [(self.text, None)]

    @property
    def group(self) -> str:
        """Examples with the same group stay on one side when data is split.

        Testing on a sentence that was trained on tests nothing.
        """
        return self.text


@dataclass(frozen=True)
class NERExample(TokenExample):
    """A sentence as words, each with one tag in IOB2 (Tjong Kim Sang and Veenstra 1999).

    Args:
        tokens: the words of the sentence.
        tags: `O`, `B-TYPE` (an entity begins) or `I-TYPE` (it continues), one per word.
        fields: further tags of the words, of any set.
        inner: entities inside those of `tags`, as (type, first word, one past the last).

    Raises:
        DataError: no tokens, an empty token, a tag count that differs, a tag that is not IOB2, an
            inner entity that is not inside one of `tags` or crosses another.
    """

    tags: tuple[str, ...]
    inner: tuple[Span, ...] = ()

    def _check_tags(self) -> None:
        check_tags(self.tokens, self.tags or ())
        object.__setattr__(self, "inner", as_inner(self.tokens, self.tags, self.inner))

    @property
    def entities(self) -> list[Span]:
        """All entities, those of `tags` and the inner ones, from left to right."""
        return in_order([*entity_spans(self.tags or ()), *self.inner])


def labels_in(example: object, field: str = "") -> tuple[str, ...] | None:
    """What an example says in a field, as several labels; None if it says nothing.

    Args:
        field: a name in `TextExample.fields`; "" for the text's own `labels`, or its `label`.
    """
    named = getattr(example, "fields", {})  # an example of another task may have none
    # A named field never falls back on the label, which may be about something else.
    if field in named or field not in ("", "label"):
        said = named.get(field)
    else:
        several = getattr(example, "labels", None)
        said = getattr(example, "label", None) if several is None else several
    return (said,) if isinstance(said, str) else None if said is None else tuple(said)


@dataclass(frozen=True)
class TextExample:
    """A text with what is known about it: class labels, one tag per token, both, or neither.

    Args:
        text: as it was written.
        tokens: its words, which the tags count. Without them the tokenizer decides what a word is.
        label: the class of the whole text; None if not labelled.
        tags: IOB2 as in `NERExample`, one per token; None if not tagged.
        fields: further labels of the text, by the name of their field: one, or a tuple of several.
        inner: entities inside those of `tags`, as in `NERExample`.
        labels: the classes of a text that may have several; () for none of them, None if not
            labelled, or where `label` says it all.
        scores: numbers that are known about the text, by the name of their field.

    Raises:
        DataError: an empty text, token or label, a label that is twice among several, a tag count
            that differs, a tag that is not IOB2, an inner entity that is not inside one of `tags`
            or crosses another, a score that is not a finite number.
    """

    text: str
    tokens: tuple[str, ...] = ()
    label: str | None = None
    tags: tuple[str, ...] | None = None
    # hash=False: a dict has no hash, and an example should have one.
    fields: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict, hash=False)
    inner: tuple[Span, ...] = ()
    labels: tuple[str, ...] | None = None
    scores: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", as_words(self.tokens))
        check_text("the sentence", self.text)
        if self.tokens:
            check_tokens(self.tokens)
        if self.labels is not None:
            object.__setattr__(self, "labels", as_labels("labels", self.labels))
        if self.label is not None:
            check_label("label", self.label)
        for name, said in self.fields.items():
            if isinstance(said, list | tuple):
                as_labels(name, said)
            else:
                check_label(name, said)
        for name, score in self.scores.items():
            check_number(f"the {name}", score)
        if self.tags is not None:
            object.__setattr__(self, "tags", tuple(self.tags))
            check_tokens(self.tokens)
            check_tags(self.tokens, self.tags)
        object.__setattr__(self, "inner", as_inner(self.tokens, self.tags, self.inner))

    @property
    def entities(self) -> list[Span]:
        """All entities, those of `tags` and the inner ones, from left to right, in tokens."""
        return in_order([*entity_spans(self.tags or ()), *self.inner])

    @cached_property
    def _read(self) -> tuple[str, list[Place] | None]:
        """The text that the encoder reads, and where the tokens are in it."""
        places = find_words(self.text, self.tokens) if self.tokens else None
        if self.tokens and places is None:
            # The file changed the tokens ("" for a quote, -LRB- for a bracket): the tags count
            # these, so these are what the model reads.
            return join_words(self.tokens)
        return self.text, places

    @property
    def word_places(self) -> list[Place] | None:
        """Where each token is in the text of `inputs`; None without tokens."""
        return self._read[1]

    @property
    def inputs(self) -> list[Input]:
        """The text as written; the joined tokens where these do not spell it."""
        return [(self._read[0], None)]

    @property
    def group(self) -> str:
        """Records of the same text stay on one side when data is split."""
        return self.text


@dataclass(frozen=True)
class PairExample:
    """Two sentences, how similar their meanings are, and what one says about the other.

    Args:
        first, second: the sentences.
        score: from 1 (the same) through 0 (nothing in common) to -1; None for two sentences that
            mean the same, without a number, or that have a label alone.
        negative: a third sentence, which looks like the first but means something else.
        label: the class of the pair, such as `entailment`; None if not labelled.
        raw_score: the score on the scale of its file, such as 3.8 of 5; by default `score`.

    Raises:
        DataError: an empty sentence or label, a score that is not a number from -1 to 1.
    """

    first: str
    second: str
    score: float | None = None
    negative: str | None = None
    label: str | None = None
    raw_score: float | None = None

    def __post_init__(self) -> None:
        check_text("the first sentence of a pair", self.first)
        check_text("the second sentence of a pair", self.second)
        if self.negative is not None:
            check_text("the negative of a pair", self.negative)
        if self.label is not None:
            check_text("the label of a pair", self.label)
        if self.raw_score is None:
            object.__setattr__(self, "raw_score", self.score)
        for score in (self.score, self.raw_score):
            if score is not None:
                check_number("the score of a pair", score)
        if self.score is not None and not -1 <= self.score <= 1:
            raise DataError(
                "the score of a pair must lie between -1 and 1",
                found=repr(self.score),
                fix="divide all scores by the highest there can be, for example 5",
            )

    @property
    def inputs(self) -> list[Input]:
        texts = (self.first, self.second, self.negative)
        return [(text, None) for text in texts if text is not None]

    @property
    def group(self) -> str:
        """The sentence that stands for the pair where one must: its first."""
        return self.first

    @property
    def groups(self) -> tuple[str, str]:
        """Pairs that share a sentence stay on one side when data is split."""
        return self.first, self.second


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
    """A question, a context, and the answers that the context gives to it (SQuAD v1.1 and v2.0).

    Args:
        id: names the question in predictions and messages.
        question, context: texts; the answer is part of the context.
        answers: all that are right, each an `Answer` with its offset in the context. None at all
            says that the context does not answer the question.
        candidates: spans of the context of the same type as the answer, the answer among them,
            where they are known (as in the toy data); only trivial baselines read it.

    Raises:
        DataError: an empty question or context, an answer that is not in the context at its
            offset.
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
        for answer in (*self.answers, *self.candidates):
            self._check(answer)

    def _check(self, answer: Answer) -> None:
        if not answer.text.strip():
            raise DataError(f"question {self.id!r} has an empty answer", fix="give it a text")
        # An offset that is off by one would train the model to begin answers inside words, and no
        # score would say why: so a wrong one is an error, and we do not search nearby.
        # max: a negative index would count from the end, and might even find the text there.
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
    def inputs(self) -> list[Input]:
        return [(self.question, self.context)]

    @property
    def group(self) -> str:
        """Questions about one context stay together when data is split."""
        return self.context


@dataclass(frozen=True)
class Query:
    """A text, or a pair such as (question, context), to make a prediction for.

    Args:
        given: the text as a string, or as the list of its words, which are then joined.
        second: the other text of a pair.

    Attributes:
        text: what the encoder reads.
        word_places: where the words of a list are in the text; None for a string.

    Raises:
        DataError: an empty list of words, or an empty word.
    """

    given: InitVar[str | Sequence[str]]
    second: str | None = None
    text: str = field(init=False)
    word_places: list[Place] | None = field(default=None, init=False)

    def __post_init__(self, given: str | Sequence[str]) -> None:
        if isinstance(given, str):
            object.__setattr__(self, "text", given)
            return
        check_tokens(given)
        text, places = join_words(given)
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "word_places", places)

    @property
    def inputs(self) -> list[Input]:
        return [(self.text, self.second)]
