"""What was found in a context goes in; answers that print and draw themselves come out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..data.encoded import EncodedExample
from ..metrics import normalize_answer
from ..tables import format_table
from .spans import highlight_html, highlight_text

MOST_SPANS = 20  # best spans considered per question, like `n_best_size` in BERT's scripts
NO_ANSWER = "no answer"  # how an empty answer is shown


@dataclass(frozen=True)
class QAPrediction:
    """An answer: its probability, where it is in the context, and the next best answers.

    The probability is a softmax over every valid span of every window, plus "not here" once. The
    logit of a span is how far its score is above that of [CLS] in its window; "not here" has 0.
    So scores compare across windows, and those of different answers sum to at most 1.

    A model that has met questions without an answer may say that there is none: then `answer` is
    empty, `score` is the probability of "not here", and the best span is `best_guess`.

    Attributes:
        margin: the logit of that softmax. An answer is given if the best span's is high enough.
        alternatives: the next best answers, "no answer" among them for such a model.
    """

    question: str
    context: str
    answer: str
    score: float
    start: int
    end: int
    alternatives: tuple[QAPrediction, ...] = field(default=(), repr=False)
    margin: float = 0.0

    @property
    def best_guess(self) -> QAPrediction:
        """The best span, whether or not it is the answer; itself if no span is known."""
        return next((p for p in (self, *self.alternatives) if p.answer), self)

    @property
    def said(self) -> str:
        """The answer in words, "no answer" included."""
        return self.answer or NO_ANSWER

    def to_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("answer", "score", "start", "end")}

    def _spans(self) -> list[tuple[int, int, str]]:
        guess = self.best_guess
        label = "answer" if self.answer else "best guess"
        return [(guess.start, guess.end, label)] if guess.answer else []

    def __str__(self) -> str:
        if self.answer:
            more = f", characters {self.start} to {self.end})"
        else:
            more = f"); best guess: {self.best_guess.said} (score {self.best_guess.score:.2f})"
        return (
            f"{self.question}\n  {self.said}  (score {self.score:.2f}{more}\n"
            f"  {highlight_text(self.context, self._spans())}"
        )

    def _repr_html_(self) -> str:
        question = highlight_html(self.question, [])
        none = "" if self.answer else f" <i>{NO_ANSWER}</i> (score {self.score:.2f})"
        context = highlight_html(self.context, self._spans())
        return f"<p><b>{question}</b>{none}<br>{context}</p>"


def best_of(answers: Sequence[QAPrediction]) -> QAPrediction:
    """The first of some answers without alternatives; the others are its alternatives."""
    return replace(answers[0], alternatives=tuple(answers[1:]))


class Answers(list[QAPrediction]):
    """The best answers to one question, best first; prints and draws itself."""

    def to_dict(self) -> dict[str, Any]:
        """The best answer, with the others as `alternatives`."""
        best, *others = self
        return best.to_dict() | {"alternatives": [other.to_dict() for other in others]}

    def __str__(self) -> str:
        header = ["", "answer", "score", "start", "end"]
        rows = [
            [f"{rank}.", p.said, f"{p.score:.2f}", p.start, p.end] for rank, p in enumerate(self, 1)
        ]
        return f"{self[0]}\n\n{format_table(header, rows)}"

    def _repr_html_(self) -> str:
        return "".join(prediction._repr_html_() for prediction in self)


# Of one window: first and last positions and margins of its best spans, and the log of the summed
# exponentials of all its margins.
Window = tuple[list[int], list[int], list[float], float]


def found_in(
    item: EncodedExample, windows: list[Window]
) -> tuple[list[QAPrediction], QAPrediction]:
    """The spans farthest above [CLS], back in characters, the best first; and "no answer".

    Only the `MOST_SPANS` best spans of the context are considered; one that two windows see counts
    once, where it is best. Of spans with the same text (normalised as in SQuAD) the best stays.
    """
    encoding = item.rows[0].text
    margins: dict[tuple[int, int], float] = {}  # by characters
    for row, (firsts, lasts, window_margins, _) in zip(item.rows, windows, strict=True):
        shift = row.first_piece - row.text_start
        for first, last, margin in zip(firsts, lasts, window_margins, strict=True):
            if margin > float("-inf"):
                span = encoding.offsets[first + shift][0], encoding.offsets[last + shift][1]
                # Where windows overlap, both see the same span, and it must not count twice.
                margins[span] = max(margin, margins.get(span, margin))
    # Cut again, since each window has brought that many.
    best = sorted(margins, key=margins.__getitem__, reverse=True)[:MOST_SPANS]
    spans: dict[str, tuple[int, int]] = {}  # by normalised text
    for start, end in best:
        # "Oslo" and "Oslo." are one answer to SQuAD's score, not alternatives to each other.
        spans.setdefault(normalize_answer(encoding.text[start:end]), (start, end))
    # "Not here" has margin 0, and counts once however many windows there are.
    logits = [0.0, *(window[-1] for window in windows)]
    highest = max(logits)  # taken out of the sum, so that no exponential overflows
    total = highest + math.log(math.fsum(math.exp(logit - highest) for logit in logits))
    question = item.example.inputs[0][0]

    def answer(start: int, end: int, margin: float) -> QAPrediction:
        score, text = math.exp(margin - total), encoding.text[start:end]
        return QAPrediction(question, encoding.text, text, score, start, end, margin=margin)

    return [answer(*span, margins[span]) for span in spans.values()], answer(0, 0, 0.0)
