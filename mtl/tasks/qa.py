"""Extractive question answering: the answer is a span of the context."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batching import Batch, EncodedExample
from ..data.examples import Answer, Dataset, QAExample
from ..data.readers import read_squad
from ..data.tokenization import Row, split_words
from ..errors import ConfigError
from ..heads import SpanHead
from ..metrics import exact_match, mean, token_f1
from .base import Task
from .spans import best_spans, highlight_html, highlight_text, pieces_of_span

IGNORED = -100
NOT_HERE = (0, 0)  # [CLS], the first token of every row: "the answer is not in this window"


@dataclass(frozen=True)
class QAPrediction:
    """An answer: its probability (start times end) and where it stands in the context."""

    question: str
    context: str
    answer: str
    score: float
    start: int
    end: int

    def to_dict(self) -> dict[str, Any]:
        return {key: getattr(self, key) for key in ("answer", "score", "start", "end")}

    def _spans(self) -> list[tuple[int, int, str]]:
        return [(self.start, self.end, "answer")]

    def __str__(self) -> str:
        return (
            f"{self.question}\n  {self.answer}  (score {self.score:.2f}, "
            f"characters {self.start} to {self.end})\n"
            f"  {highlight_text(self.context, self._spans())}"
        )

    def _repr_html_(self) -> str:
        question = highlight_html(self.question, [])
        return f"<p><b>{question}</b><br>{highlight_html(self.context, self._spans())}</p>"


class QATask(Task):
    """Point at the first and the last token of the answer.

    Args:
        name: of the task.
        dataset: of `QAExample`s.
        max_answer_tokens: longer spans are never answers.
    """

    kind = "qa"
    main_metric = "exact_match"
    reads_pairs = True
    example = QAExample
    answers_with = "start and end of the answer"

    def __init__(
        self, name: str, dataset: Dataset | None = None, max_answer_tokens: int = 30
    ) -> None:
        super().__init__(name, dataset)
        if max_answer_tokens < 1:
            raise ConfigError("max_answer_tokens must be at least 1", found=str(max_answer_tokens))
        self.max_answer_tokens = max_answer_tokens

    def build_head(self, d_model: int) -> nn.Module:
        return SpanHead(d_model)

    def targets(
        self, example: QAExample, rows: list[Row], notes: Counter[str]
    ) -> list[tuple[int, int] | None]:
        """First and last token of the first reference answer, in each window that holds it whole.

        A window without it points at [CLS]. If no window holds it, no row is labelled.
        """
        answer = example.answers[0]
        encoding = rows[0].text
        span = pieces_of_span(encoding, answer.start, answer.end)
        if span is None:
            notes["answers hold no token and are left out of training"] += 1
            return [None] * len(rows)
        first, last = span
        targets = [_span_in_row(row, first, last) for row in rows]
        if all(target == NOT_HERE for target in targets):
            notes["answers fit no window and are left out of training"] += 1
            return [None] * len(rows)
        borders = (encoding.offsets[first][0], encoding.offsets[last][1])
        if borders != (answer.start, answer.end):
            notes["answers do not fall on token borders and are snapped outward"] += 1
        return targets

    def collate(self, targets: Sequence[tuple[int, int] | None], length: int) -> Tensor:
        """`(B, 2)` start and end positions, -100 where nothing is asked."""
        return torch.tensor([target or (IGNORED, IGNORED) for target in targets])

    def loss(self, outputs: tuple[Tensor, Tensor], targets: Tensor, batch: Batch) -> Tensor:
        """Mean of start and end cross-entropy, over the context's tokens and [CLS]."""
        allowed = _context_and_cls(batch)
        start, end = (logits.masked_fill(~allowed, float("-inf")) for logits in outputs)
        start_loss = F.cross_entropy(start, targets[:, 0], ignore_index=IGNORED)
        end_loss = F.cross_entropy(end, targets[:, 1], ignore_index=IGNORED)
        return (start_loss + end_loss) / 2

    def decode(self, outputs: tuple[Tensor, Tensor], batch: Batch) -> list[QAPrediction]:
        start_logits, end_logits = (logits.float() for logits in outputs)
        start, end, span_score = best_spans(
            start_logits, end_logits, batch.text_mask, self.max_answer_tokens
        )
        allowed = _context_and_cls(batch)
        normaliser = sum(
            logits.masked_fill(~allowed, float("-inf")).logsumexp(-1)
            for logits in (start_logits, end_logits)
        )
        probability = (span_score - normaliser).exp()
        # Logits of different windows have no common zero; how far a span beats [CLS] does.
        margin = span_score - start_logits[:, 0] - end_logits[:, 0]
        rows = zip(*(t.tolist() for t in (start, end, probability, margin)), strict=True)
        return [_best_window(item, [next(rows) for _ in item.rows]) for item in batch.items]

    def score(
        self, examples: Sequence[QAExample], predictions: Sequence[QAPrediction]
    ) -> dict[str, float]:
        """`exact_match` and `token_f1` as SQuAD, and `span_accuracy`: the very same characters."""
        pairs = list(zip(examples, predictions, strict=True))
        references = [[answer.text for answer in example.answers] for example in examples]
        scored = list(zip(predictions, references, strict=True))
        return {
            "exact_match": mean([exact_match(p.answer, texts) for p, texts in scored]),
            "token_f1": mean([token_f1(p.answer, texts) for p, texts in scored]),
            "span_accuracy": mean(
                [float((p.start, p.end) in {(a.start, a.end) for a in e.answers}) for e, p in pairs]
            ),
        }

    def baselines(self, examples: Sequence[QAExample]) -> dict[str, list[QAPrediction]]:
        """What one gets without understanding.

        `random_candidate`: any candidate of the right type. `most_shared_words`: a candidate of the
        right type in the sentence that shares most words with the question.
        """
        rng = random.Random(0)
        return {
            "random_candidate": [
                _as_prediction(e, rng.choice(candidate_answers(e))) for e in examples
            ],
            "most_shared_words": [
                _as_prediction(e, rng.choice(candidates_in_closest_sentence(e))) for e in examples
            ],
        }

    def controls(self, examples: Sequence[QAExample]) -> dict[str, list[QAExample]]:
        """`model_with_other_question`: each context is asked the next example's question."""
        others = [*examples[1:], *examples[:1]]
        return {
            "model_with_other_question": [
                replace(example, question=other.question)
                for example, other in zip(examples, others, strict=True)
            ]
        }

    def settings(self) -> dict[str, Any]:
        return {"max_answer_tokens": self.max_answer_tokens}

    @classmethod
    def read(cls, path: Path, on_error: str) -> list[QAExample]:
        return read_squad(path, on_error)


def _context_and_cls(batch: Batch) -> Tensor:
    allowed = batch.text_mask.clone()
    allowed[:, 0] = True
    return allowed


def _span_in_row(row: Row, first: int, last: int) -> tuple[int, int]:
    """The row's positions of pieces `first` to `last` of its text; NOT_HERE if it cuts them."""
    if first < row.first_piece or last >= row.first_piece + row.n_pieces:
        return NOT_HERE
    shift = row.text_start - row.first_piece
    return first + shift, last + shift


def _best_window(
    item: EncodedExample, windows: list[tuple[int, int, float, float]]
) -> QAPrediction:
    """The span of the window whose span beats [CLS] by most, back in characters."""
    best = max(range(len(windows)), key=lambda i: windows[i][3])
    first, last, probability, _ = windows[best]
    row = item.rows[best]
    shift = row.first_piece - row.text_start
    start, end = row.text.offsets[first + shift][0], row.text.offsets[last + shift][1]
    question = item.example.rows[0][0]
    return QAPrediction(question, row.text.text, row.text.text[start:end], probability, start, end)


def _as_prediction(example: QAExample, answer: Answer) -> QAPrediction:
    return QAPrediction(
        example.question, example.context, answer.text, 1.0, answer.start, answer.end
    )


NUMBER_QUESTION = re.compile(r"\b(when|how (many|much|old|long|far)|what year)\b", re.IGNORECASE)
NUMBER = re.compile(r"\w*\d[\w.,:]*\b")
NAME = re.compile(r"\b[^\W\d_a-z]\w*(?: [^\W\d_a-z]\w*)*")
SENTENCE = re.compile(r"[^.!?]+[.!?]*\s*")


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
    """The candidates of the sentences that share most different words with the question."""
    asked = _words(example.question)
    sentences = [match.span() for match in SENTENCE.finditer(example.context)]
    candidates = candidate_answers(example)
    inside = [[c for c in candidates if s <= c.start < e] for s, e in sentences]
    shared = [
        len(asked & _words(example.context[s:e])) if found else -1
        for (s, e), found in zip(sentences, inside, strict=True)
    ]
    return [
        c for n, found in zip(shared, inside, strict=True) if n == max(shared) for c in found
    ] or candidates


def _words(text: str) -> set[str]:
    return {text[s:e].lower() for s, e in split_words(text)}
