"""Questions and contexts go in; spans come out of AutoModelForQuestionAnswering.

Features and decoding are those of the script `run_qa.py` of `transformers`: a window without the
answer points at [CLS]; of all windows, the span with the highest sum of start and end logit wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from mtl.tasks.qa import QAPrediction

from .plain import PlainTask, Row

BEST = 20  # starts and ends that are tried in each window
CLS = 0


class Answers(PlainTask):
    """The context is cut into overlapping windows, each with the whole question."""

    def build_model(self, checkpoint: str) -> Any:
        from transformers import AutoModelForQuestionAnswering

        return AutoModelForQuestionAnswering.from_pretrained(checkpoint)

    def rows(self, examples: Sequence[Any], training: bool = False) -> list[Row]:
        encoded = self.tokenizer(
            [example.question for example in examples],
            [example.context for example in examples],
            truncation="only_second",
            max_length=self.case.max_length,
            stride=self.case.overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        rows = []
        offsets = encoded.pop("offset_mapping")
        for i, example in enumerate(encoded.pop("overflow_to_sample_mapping")):
            inputs = {name: values[i] for name, values in encoded.items()}
            in_context = encoded.sequence_ids(i)
            places = [
                place if of == 1 else None for place, of in zip(offsets[i], in_context, strict=True)
            ]
            if training:
                start, end = span_of(examples[example], places)
                inputs |= {"start_positions": start, "end_positions": end}
            rows.append(Row(inputs, example, places))
        return rows

    def outputs_of_rows(self, output: Any) -> list[tuple[Tensor, Tensor]]:
        starts, ends = output.start_logits.float(), output.end_logits.float()
        return list(zip(starts, ends, strict=True))

    def decode(
        self, examples: Sequence[Any], rows: Sequence[Row], outputs: list[tuple[Tensor, Tensor]]
    ) -> list[Any]:
        """The best span of all windows, and how far it is above the lowest score of [CLS]."""
        best: list[tuple[float, int, int]] = [(float("-inf"), 0, 0)] * len(examples)
        null = [float("inf")] * len(examples)
        for row, (starts, ends) in zip(rows, outputs, strict=True):
            i = row.example
            best[i] = max([best[i], *self.spans(row, starts, ends)])
            null[i] = min(null[i], float(starts[CLS] + ends[CLS]))
        return [self.prediction(*parts) for parts in zip(examples, best, null, strict=True)]

    def prediction(self, example: Any, best: tuple[float, int, int], null: float) -> Any:
        """What our task would return: the span, with "no answer" as its alternative."""
        score, start, end = best
        texts = example.question, example.context
        none = QAPrediction(*texts, "", 0.0, 0, 0)
        answer = example.context[start:end]
        if not answer:  # the best starts and ends fit no span
            return none
        return QAPrediction(*texts, answer, 0.0, start, end, (none,), margin=score - null)

    def spans(self, row: Row, starts: Tensor, ends: Tensor) -> list[tuple[float, int, int]]:
        """The score of each span of the best starts and ends of a window, and its characters."""
        first, last = (logits.topk(min(BEST, len(logits))) for logits in (starts, ends))
        return [
            (s_score + e_score, row.pieces[s][0], row.pieces[e][1])
            for s_score, s in zip(*map(Tensor.tolist, first), strict=True)
            for e_score, e in zip(*map(Tensor.tolist, last), strict=True)
            if s <= e < min(s + self.task.max_answer_tokens, len(row.pieces))
            and row.pieces[s]
            and row.pieces[e]
        ]


def span_of(example: Any, places: Sequence[tuple[int, int] | None]) -> tuple[int, int]:
    """First and last piece of the answer in a window that holds it whole, else [CLS] twice."""
    if not example.answers:
        return CLS, CLS
    answer = example.answers[0]
    inside = [i for i, p in enumerate(places) if p and p[1] > answer.start and p[0] < answer.end]
    whole = inside and any(p and p[0] <= answer.start for p in places)
    whole = whole and any(p and p[1] >= answer.end for p in places)
    return (inside[0], inside[-1]) if whole else (CLS, CLS)
