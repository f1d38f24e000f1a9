"""Questions and contexts go in; spans of the contexts come out: extractive question answering."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batching import Batch
from ..data.dataset import Dataset
from ..data.examples import Answer, QAExample
from ..data.tokenizers.base import Row
from ..errors import ConfigError
from ..metrics import best_threshold, confusion, exact_match, mean, normalize_answer, token_f1
from ..nn.heads import SpanHead
from ..tables import scores_table
from .answers import MOST_SPANS, NO_ANSWER, Answers, QAPrediction, best_of, found_in
from .base import IGNORED, Mistake
from .guesses import candidate_answers, candidates_in_closest_sentence, sentences_of
from .pairs import PairTask
from .spans import best_spans, excerpt, pieces_of_span, span_scores
from .windows import by_example

NOT_HERE = (0, 0)  # [CLS], the first token of every row: "the answer is not in this window"


class QATask(PairTask):
    """Point at the first and the last token of the answer, or say that there is none.

    Where training questions have no answer (SQuAD v2.0; Rajpurkar et al. 2018), the model may say
    so. A span is the answer if its score is far enough above that of [CLS], which stands for "not
    here" (Devlin et al. 2019, section 4.3): by `thresholds["margin"]`, which is chosen on
    validation. Where each of them has an answer, the model always answers.

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
        # Without validation 0 remains: the answer is what is more likely than "not here".
        # Examples of another class are refused later, in words; here they just have no such thing.
        train = self.dataset.train
        if self.remembered(
            "unanswerable questions", lambda: any(map(_is_unanswerable, train)), train
        ):
            self.thresholds = {"margin": 0.0}

    def build_head(self, d_model: int) -> nn.Module:
        return SpanHead(d_model)

    def targets(
        self, example: QAExample, rows: list[Row], notes: Counter[str]
    ) -> list[tuple[int, int] | None]:
        """First and last token of the first reference answer, in each window that holds it whole.

        A window without it points at [CLS]. If no window holds it, no row is labelled. If the
        question has no answer, every window points at [CLS].
        """
        if not example.answers:
            return [NOT_HERE] * len(rows)
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
        pairs = zip(batch.items, of_examples, strict=True)
        return [best_of(self._ranked(*found_in(*pair))) for pair in pairs]

    def _ranked(self, spans: list[QAPrediction], none: QAPrediction) -> list[QAPrediction]:
        """The answers, best first; "no answer" stands where the threshold is."""
        if not self.thresholds:
            return spans
        least = self.thresholds["margin"]
        above = sum(span.margin >= least for span in spans)
        return [*spans[:above], none, *spans[above:]]

    def decide(self, prediction: QAPrediction) -> QAPrediction:
        if not self.thresholds:
            return prediction
        answers = [replace(prediction, alternatives=()), *prediction.alternatives]
        (none,) = (answer for answer in answers if not answer.answer)
        return best_of(self._ranked([answer for answer in answers if answer.answer], none))

    def choose_thresholds(
        self, examples: Sequence[QAExample], predictions: Sequence[QAPrediction]
    ) -> dict[str, float]:
        """The margin that the best span needs to be the answer, for the highest `exact_match`."""
        if not self.thresholds:  # all training questions have an answer
            return {}
        guesses = [prediction.best_guess for prediction in predictions]
        pairs = list(zip(guesses, map(_texts, examples), strict=True))
        answering = [exact_match(guess.answer, texts) for guess, texts in pairs]
        silent = [exact_match("", texts) for _, texts in pairs]
        return {"margin": best_threshold([g.margin for g in guesses], answering, silent)}

    def best_answers(self, prediction: QAPrediction, n: int) -> Answers:
        return Answers([prediction, *prediction.alternatives[: n - 1]])

    def score(
        self, examples: Sequence[QAExample], predictions: Sequence[QAPrediction]
    ) -> dict[str, float]:
        """`exact_match` and `token_f1` as in SQuAD; `span_accuracy`: the very same characters.

        If some questions have no answer, also these for each kind, as in SQuAD v2.0's script:
        `has_answer_exact_match`, `has_answer_token_f1` and `no_answer_exact_match`, the share of
        questions without an answer that were left without one.
        """
        pairs = list(zip(examples, predictions, strict=True))
        exact = [exact_match(p.answer, _texts(e)) for e, p in pairs]
        f1 = [token_f1(p.answer, _texts(e)) for e, p in pairs]
        # Stricter than exact_match: "Oslo" elsewhere in the context has the right text only.
        spans = [float((p.start, p.end) in _places(e)) for e, p in pairs]
        scores = {"exact_match": mean(exact), "token_f1": mean(f1), "span_accuracy": mean(spans)}
        has_answer = [i for i, example in enumerate(examples) if example.answers]
        no_answer = [i for i, example in enumerate(examples) if not example.answers]
        if has_answer and no_answer:
            scores["has_answer_exact_match"] = mean([exact[i] for i in has_answer])
            scores["has_answer_token_f1"] = mean([f1[i] for i in has_answer])
        if no_answer:
            scores["no_answer_exact_match"] = mean([exact[i] for i in no_answer])
        return scores

    def remarks(self, scores: dict[str, float]) -> list[str]:
        if "no_answer_exact_match" not in scores or self.thresholds:
            return []
        return ["some questions have no answer; the model answers all, as in its training data"]

    def report(self, examples: Sequence[QAExample], predictions: Sequence[QAPrediction]) -> str:
        """What the threshold does, beside always answering and never; "" if all have answers."""
        if all(example.answers for example in examples):
            return ""
        ways = {
            "always answer": [prediction.best_guess for prediction in predictions],
            "never answer": list(map(_no_answer, examples)),
            "as decided": predictions,
        }
        scores = {way: self.score(examples, said) for way, said in ways.items()}
        least = self.thresholds.get("margin")
        decided = "" if least is None else f"an answer needs a margin of {least:.2f} to [CLS]\n"
        return decided + scores_table(scores)

    def confusion(
        self, examples: Sequence[QAExample], predictions: Sequence[QAPrediction]
    ) -> tuple[list[str], list[list[int]]] | None:
        """Questions with and without an answer, by whether they got one."""
        if all(example.answers for example in examples):
            return None
        labels = ["answer", NO_ANSWER]
        there = [labels[not example.answers] for example in examples]
        said = [labels[not prediction.answer] for prediction in predictions]
        return labels, confusion(there, said, labels)

    def prediction_file(
        self, examples: Sequence[QAExample], predictions: Sequence[QAPrediction]
    ) -> tuple[str, str]:
        """What SQuAD's official evaluation script reads: the text of each answer by question id.

        An empty text says that there is no answer.

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
        `missed the answer`: there is one. `answered the unanswerable`: there is none.
        """
        return [
            Mistake(
                _kind_of_mistake(example, prediction),
                example.id,
                f"{example.question}  |  " + _surroundings(example, prediction),
                " / ".join(dict.fromkeys(answer.text for answer in example.answers)),
                prediction.answer,
            )
            for example, prediction in zip(examples, predictions, strict=True)
            if not exact_match(prediction.answer, _texts(example))
        ]

    def controls(self, examples: Sequence[QAExample]) -> dict[str, list[QAExample]]:
        """As for any pair, but only with questions that have an answer: "none" stays right."""
        return super().controls([example for example in examples if example.answers])

    def baselines(self, examples: Sequence[QAExample]) -> dict[str, list[QAPrediction]]:
        """What can be predicted without understanding.

        `random_candidate`: any candidate of the right type. `most_shared_words`: a candidate of the
        right type in the sentence that shares the most words with the question. `never_answer`, if
        there are questions without an answer.
        """
        # A baseline is a fixed number: the same in every run.
        rng = random.Random(0)
        never = [] if all(e.answers for e in examples) else [_no_answer(e) for e in examples]
        return {
            "random_candidate": [
                _as_prediction(e, rng.choice(candidate_answers(e))) for e in examples
            ],
            "most_shared_words": [
                _as_prediction(e, rng.choice(candidates_in_closest_sentence(e))) for e in examples
            ],
            **({"never_answer": never} if never else {}),
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


def _texts(example: QAExample) -> list[str]:
    """The references; those without a word do not count, as in SQuAD v2.0's script."""
    return [answer.text for answer in example.answers if normalize_answer(answer.text)]


def _places(example: QAExample) -> set[tuple[int, int]]:
    """Where the answers are; "no answer" is at (0, 0), as in pipelines of transformers."""
    return {(answer.start, answer.end) for answer in example.answers} or {(0, 0)}


def _surroundings(example: QAExample, prediction: QAPrediction) -> str:
    """The part of the context around the answer; around what was predicted if there is none."""
    answer = example.answers[0] if example.answers else prediction
    return excerpt(example.context, answer.start, answer.end)


def _kind_of_mistake(example: QAExample, prediction: QAPrediction) -> str:
    if not example.answers:
        return "answered the unanswerable"
    if not prediction.answer:
        return "missed the answer"
    here = (prediction.start, prediction.end)
    gold = _places(example)
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


def _is_unanswerable(example: Any) -> bool:
    return getattr(example, "answers", True) == ()


def _no_answer(example: QAExample) -> QAPrediction:
    return QAPrediction(example.question, example.context, "", 1.0, 0, 0)
