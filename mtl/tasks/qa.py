"""Questions and contexts go in; spans of the contexts come out: extractive question answering."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batching import Batch
from ..data.dataset import Dataset
from ..data.encoded import EncodedExample
from ..data.examples import Answer, QAExample
from ..data.tokenizers.base import Row
from ..errors import ConfigError
from ..metrics import exact_match, mean, normalize_answer, token_f1
from ..nn.heads import SpanHead
from ..tables import format_table
from .base import IGNORED, Mistake
from .guesses import candidate_answers, candidates_in_closest_sentence, sentences_of
from .pairs import PairTask
from .spans import (
    best_spans,
    excerpt,
    highlight_html,
    highlight_text,
    pieces_of_span,
    span_scores,
)
from .windows import by_example

NOT_HERE = (0, 0)  # [CLS], the first token of every row: "the answer is not in this window"
MOST_SPANS = 20  # best spans considered per question, like `n_best_size` in BERT's scripts


@dataclass(frozen=True)
class QAPrediction:
    """An answer: its probability, where it is in the context, and the next best answers.

    The probability is a softmax over every valid span of every window, plus "not here" once. The
    logit of a span is how far its score is above that of [CLS] in its window; "not here" has 0.
    So scores compare across windows, and those of different answers sum to at most 1.
    """

    question: str
    context: str
    answer: str
    score: float
    start: int
    end: int
    alternatives: tuple[QAPrediction, ...] = field(default=(), repr=False)

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


class Answers(list[QAPrediction]):
    """The best answers to one question, best first; prints and draws itself."""

    def to_dict(self) -> dict[str, Any]:
        """The best answer, with the others as `alternatives`."""
        best, *others = self
        return best.to_dict() | {"alternatives": [other.to_dict() for other in others]}

    def __str__(self) -> str:
        header = ["", "answer", "score", "start", "end"]
        rows = [
            [f"{rank}.", p.answer, f"{p.score:.2f}", p.start, p.end]
            for rank, p in enumerate(self, 1)
        ]
        return f"{self[0]}\n\n{format_table(header, rows)}"

    def _repr_html_(self) -> str:
        return "".join(prediction._repr_html_() for prediction in self)


class QATask(PairTask):
    """Point at the first and the last token of the answer.

    Args:
        name: of the task.
        dataset: examples of class `QAExample`.
        max_answer_tokens: longer spans are never answers.
    """

    kind = "qa"
    main_metric = "exact_match"
    text_names = ("question", "context")
    example = QAExample
    answers_with = "start and end of the answer"
    most_answers = MOST_SPANS

    def __init__(
        # 30, as in BERT's script for SQuAD.
        self,
        name: str,
        dataset: Dataset | None = None,
        max_answer_tokens: int = 30,
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
        # The others are equally right, but a softmax has one target; scoring takes the best of all.
        answer = example.answers[0]
        encoding = rows[0].text
        span = pieces_of_span(encoding, answer.start, answer.end)
        if span is None:
            notes["answers hold no token: they can be neither learned nor found"] += 1
            return [None] * len(rows)
        first, last = span
        # It is trained on all the same: the borders are right, only decoding cannot reach them.
        if last - first >= self.max_answer_tokens:
            notes[
                f"answers are longer than tasks.{self.name}.max_answer_tokens = "
                f"{self.max_answer_tokens}, and cannot be found whole"
            ] += 1
        targets: list[tuple[int, int] | None] = [_span_in_row(row, first, last) for row in rows]
        # Its windows would all teach that this question has no answer.
        if all(target == NOT_HERE for target in targets):
            notes["answers fit no window: they can be neither learned nor found"] += 1
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
        # Masked like this, the softmax is over the tokens that can be right, and the model need not
        # learn that an answer is never in the question or at padding.
        allowed = _context_and_cls(batch)
        start, end = (logits.masked_fill(~allowed, float("-inf")) for logits in outputs)
        start_loss = F.cross_entropy(start, targets[:, 0], ignore_index=IGNORED)
        end_loss = F.cross_entropy(end, targets[:, 1], ignore_index=IGNORED)
        return (start_loss + end_loss) / 2

    def decode(self, outputs: tuple[Tensor, Tensor], batch: Batch) -> list[QAPrediction]:
        start_logits, end_logits = (logits.float() for logits in outputs)
        scores = span_scores(start_logits, end_logits, batch.text_mask, self.max_answer_tokens)
        # Which window has the answer? The softmax of training is over one window, so a constant
        # added to all of a window's logits changes nothing in it: logits of two windows have no
        # common zero, and the larger one need not be the better one. But every window was trained
        # to point at its [CLS] if it lacks the answer. How far a span is above that says how
        # much more likely the answer is here than not, and by this, windows can be compared.
        not_here = start_logits[:, 0] + end_logits[:, 0]  # (B,)
        margins = scores - not_here[:, None, None]  # (B, T, W)
        firsts, lasts, best = best_spans(margins, MOST_SPANS)  # (B, N) each
        # Over all spans, not only the best: the sum that turns them into probabilities.
        totals = margins.flatten(1).logsumexp(1)  # (B,)
        windows = zip(*(t.tolist() for t in (firsts, lasts, best, totals)), strict=True)
        of_examples = by_example(windows, batch)
        return [_best_answer(*both) for both in zip(batch.items, of_examples, strict=True)]

    def best_answers(self, prediction: QAPrediction, n: int) -> Answers:
        return Answers([prediction, *prediction.alternatives[: n - 1]])

    def score(
        self, examples: Sequence[QAExample], predictions: Sequence[QAPrediction]
    ) -> dict[str, float]:
        """`exact_match` and `token_f1` as in SQuAD; `span_accuracy`: the very same characters."""
        pairs = list(zip(examples, predictions, strict=True))
        references = [[answer.text for answer in example.answers] for example in examples]
        scored = list(zip(predictions, references, strict=True))
        return {
            "exact_match": mean([exact_match(p.answer, texts) for p, texts in scored]),
            "token_f1": mean([token_f1(p.answer, texts) for p, texts in scored]),
            # Stricter than exact_match: "Oslo" elsewhere in the context has the right text only.
            "span_accuracy": mean(
                [float((p.start, p.end) in {(a.start, a.end) for a in e.answers}) for e, p in pairs]
            ),
        }

    def prediction_file(
        self, examples: Sequence[QAExample], predictions: Sequence[QAPrediction]
    ) -> tuple[str, str]:
        """What SQuAD's official evaluation script reads: the text of each answer by question id.

        Where an id is repeated, `-2`, `-3` and so on are added to it.
        """
        answers: dict[str, str] = {}
        ids = Counter(example.id for example in examples)
        seen: Counter[str] = Counter()  # how often an id came up, and the last number tried for it
        for example, prediction in zip(examples, predictions, strict=True):
            seen[example.id] += 1
            name = example.id
            while name in answers or (name in ids and name != example.id):
                seen[example.id] += name != example.id
                name = f"{example.id}-{seen[example.id]}"
            answers[name] = prediction.answer
        return "json", json.dumps(answers, ensure_ascii=False, indent=0) + "\n"

    def mistakes(
        self, examples: Sequence[QAExample], predictions: Sequence[QAPrediction]
    ) -> list[Mistake]:
        """Answers whose `exact_match` is 0, by how far they are from the nearest reference.

        `wrong boundary`: it shares characters with a reference. `no overlap`: it is in a sentence
        of a reference, or touches it. `wrong sentence`: neither. Sentences end at `.`, `!` and `?`.
        """
        return [
            Mistake(
                _kind_of_mistake(example, prediction),
                example.id,
                f"{example.question}  |  "
                + excerpt(example.context, example.answers[0].start, example.answers[0].end),
                " / ".join(dict.fromkeys(answer.text for answer in example.answers)),
                prediction.answer,
            )
            for example, prediction in zip(examples, predictions, strict=True)
            if not exact_match(prediction.answer, [answer.text for answer in example.answers])
        ]

    def baselines(self, examples: Sequence[QAExample]) -> dict[str, list[QAPrediction]]:
        """What can be predicted without understanding.

        `random_candidate`: any candidate of the right type. `most_shared_words`: a candidate of the
        right type in the sentence that shares the most words with the question.
        """
        # A baseline is a fixed number: the same in every run.
        rng = random.Random(0)
        return {
            "random_candidate": [
                _as_prediction(e, rng.choice(candidate_answers(e))) for e in examples
            ],
            "most_shared_words": [
                _as_prediction(e, rng.choice(candidates_in_closest_sentence(e))) for e in examples
            ],
        }

    def settings(self) -> dict[str, Any]:
        return {"max_answer_tokens": self.max_answer_tokens}


def _context_and_cls(batch: Batch) -> Tensor:
    allowed = batch.text_mask.clone()
    # [CLS], which says that the answer is not in this window.
    allowed[:, 0] = True
    return allowed


def _span_in_row(row: Row, first: int, last: int) -> tuple[int, int]:
    """The row's positions of pieces `first` to `last` of its text; NOT_HERE if it cuts them."""
    if first < row.first_piece or last >= row.first_piece + row.n_pieces:
        return NOT_HERE
    shift = row.text_start - row.first_piece
    return first + shift, last + shift


# Of one window: first and last positions and margins of its best spans, and the log of the summed
# exponentials of all its margins.
Window = tuple[list[int], list[int], list[float], float]


def _best_answer(item: EncodedExample, windows: list[Window]) -> QAPrediction:
    """The span farthest above [CLS], back in characters, with the next best answers.

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
    total = torch.tensor([0.0, *(window[-1] for window in windows)]).logsumexp(0).item()
    question = item.example.inputs[0][0]
    answers = [
        QAPrediction(
            question,
            encoding.text,
            encoding.text[start:end],
            math.exp(margins[start, end] - total),
            start,
            end,
        )
        for start, end in spans.values()
    ]
    return replace(answers[0], alternatives=tuple(answers[1:]))


def _kind_of_mistake(example: QAExample, prediction: QAPrediction) -> str:
    here = (prediction.start, prediction.end)
    gold = [(answer.start, answer.end) for answer in example.answers]
    if any(_overlap(here, span) for span in gold):
        return "wrong boundary"
    for sentence in sentences_of(example.context):
        if _overlap(here, sentence) and any(_overlap(span, sentence) for span in gold):
            return "no overlap"
    return "wrong sentence"


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _as_prediction(example: QAExample, answer: Answer) -> QAPrediction:
    return QAPrediction(
        example.question, example.context, answer.text, 1.0, answer.start, answer.end
    )
