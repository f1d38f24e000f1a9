"""Two texts go in; what one says about the other comes out: the base of such tasks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import is_dataclass, replace
from itertools import chain
from typing import Any

from torch import Tensor, nn

from ..data.batching import Batch
from ..data.examples import Input, PairExample
from ..data.words import split_words
from ..nn.heads import COMPARE, PairHead, SequenceClassificationHead
from .base import Task
from .spans import excerpt


class PairTask(Task):
    """Read two texts at once, such as a question and a context, or a premise and a hypothesis.

    A base for your own tasks: a subclass gives its `kind`, head, targets, loss, decoding and score.
    The `inputs` of its examples are `[(first, second)]`. Where the second text is too long for the
    encoder, each row (window) holds the whole first text and part of the second.

    `text_names` says what the two texts are called, such as `("premise", "hypothesis")`: in the
    menu of `mtl interactive`, in lines of JSON and in the dicts that `predict` takes. Examples
    should have fields with these names.
    """

    reads_pairs = True

    def inputs_of(self, example: Any) -> list[Input]:
        return both_texts(example)

    def controls(self, examples: Sequence[Any]) -> dict[str, list[Any]]:
        """`model_with_other_question`: each context is asked the question of another example.

        A model that does as well with another question has not read it (for premises and
        hypotheses: Gururangan et al. 2018, "Annotation Artifacts"). "question" stands for the first
        name in `text_names`; there is no control if examples have no field of that name. The other
        text is never longer, so that it fits beside the second; an example without such a text is
        left out.
        """
        first, _ = self.text_names
        if not all(is_dataclass(example) and hasattr(example, first) for example in examples):
            return {}
        return with_other_first(examples, first, first)


def both_texts(example: Any) -> list[Input]:
    """Both texts of an example in one row, also those of a `PairExample`.

    Its own `inputs` are a row for each text, which is what a task that compares vectors reads.
    """
    return [(example.first, example.second)] if isinstance(example, PairExample) else example.inputs


def pair_head(d_model: int, n_classes: int, pooling: str) -> nn.Module:
    """A fresh head for two texts in one row, by its pooling, one of `PAIR_POOLINGS`."""
    if pooling == COMPARE:
        return PairHead(d_model, n_classes)
    return SequenceClassificationHead(d_model, n_classes, pooling)


def run_pair_head(head: nn.Module, hidden: Tensor, batch: Batch) -> Tensor:
    """Its outputs `(B, C)` for a batch."""
    if isinstance(head, PairHead):
        return head(hidden, batch.attention_mask, batch.token_type_ids)
    return head(hidden, batch.attention_mask)


def pair_in_short(first: str, second: str | None) -> str:
    """Both texts on one line, cut where they get long; or the only one."""
    return " | ".join(excerpt(text, 0, 80) for text in (first, second) if text is not None)


def with_other_first(examples: Sequence[Any], field: str, name: str) -> dict[str, list[Any]]:
    """The control `model_with_other_NAME`, with the first texts in a field of the examples."""
    others = other_texts([getattr(example, field) for example in examples])
    spoiled = [
        replace(example, **{field: other})
        for example, other in zip(examples, others, strict=True)
        if other is not None
    ]
    return {f"model_with_other_{name}": spoiled} if spoiled else {}


def other_texts(texts: Sequence[str]) -> list[str | None]:
    """For each text, another with no more characters and no more words; None without one."""
    sizes = [(len(text), len(split_words(text))) for text in texts]
    # By length, so that the longest text that still fits is a near neighbour.
    order = sorted(range(len(texts)), key=sizes.__getitem__)
    lengths = [sizes[i][0] for i in order]
    others: list[str | None] = [None] * len(texts)
    for rank, i in enumerate(order):
        after = range(rank + 1, bisect_right(lengths, sizes[i][0]))
        for other in (order[r] for r in chain(after, range(rank - 1, -1, -1))):
            if sizes[other][1] <= sizes[i][1] and texts[other] != texts[i]:
                others[i] = texts[other]
                break
    return others
