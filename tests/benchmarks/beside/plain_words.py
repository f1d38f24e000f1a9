"""Words with tags go in; a tag for each word comes out of AutoModelForTokenClassification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mtl.tasks.entities import entity_places
from mtl.tasks.nested import NestedNERPrediction

from .plain import PlainTask, Row

IGNORED = -100


class Words(PlainTask):
    """The first piece of each word has its tag; a long text is cut into overlapping windows."""

    def build_model(self, checkpoint: str) -> Any:
        from transformers import AutoModelForTokenClassification, DataCollatorForTokenClassification

        self.collator = DataCollatorForTokenClassification(self.tokenizer)
        self.tags = self.tags_of_task()
        return AutoModelForTokenClassification.from_pretrained(
            checkpoint, num_labels=len(self.tags)
        )

    def rows(self, examples: Sequence[Any], training: bool = False) -> list[Row]:
        encoded = self.tokenizer(
            [list(example.tokens) for example in examples],
            is_split_into_words=True,
            truncation=True,
            max_length=self.case.max_length,
            stride=self.case.overlap,
            return_overflowing_tokens=True,
        )
        number = {tag: i for i, tag in enumerate(self.tags)}
        rows = []
        for i, example in enumerate(encoded.pop("overflow_to_sample_mapping")):
            inputs = {name: values[i] for name, values in encoded.items()}
            words = encoded.word_ids(i)
            if training:
                tags = self.tags_of(examples[example])
                inputs["labels"] = [
                    number[tags[word]] if word is not None and word != before else IGNORED
                    for before, word in zip([None, *words], words, strict=False)
                ]
            rows.append(Row(inputs, example, words))
        return rows

    def tags_of_task(self) -> list[str]:
        """All tags, in the order of their ids."""
        return self.task.tags

    def tags_of(self, example: Any) -> Sequence[str]:
        """The tags that are learned, one for each word."""
        return self.task.tags_of(example)

    def decode(
        self, examples: Sequence[Any], rows: Sequence[Row], outputs: list[Tensor]
    ) -> list[Any]:
        """A word in two windows gets the mean of its logits in both."""
        sums = [torch.zeros(len(example.tokens), len(self.tags)) for example in examples]
        for row, logits in zip(rows, outputs, strict=True):
            for piece, word in enumerate(row.pieces):
                if word is not None and word != row.pieces[piece - 1]:
                    sums[row.example][word] += logits[piece]
        return [self.prediction(*both) for both in zip(examples, sums, strict=True)]

    def prediction(self, example: Any, logits: Tensor) -> Any:
        """What our task would return for these logits `(N, C)` of the words."""
        tags = [self.tags[i] for i in logits.argmax(-1).tolist()]
        scores = logits.softmax(-1).amax(-1).tolist()
        return self.task.prediction(example.inputs[0][0], example.word_places, tags, scores)


class OuterEntities(Words):
    """Nested entities, of which tags can say only those that lie in no other."""

    def tags_of_task(self) -> list[str]:
        return ["O", *(f"{prefix}-{kind}" for kind in self.task.types for prefix in "BI")]

    def tags_of(self, example: Any) -> Sequence[str]:
        return example.tags

    def prediction(self, example: Any, logits: Tensor) -> NestedNERPrediction:
        tags = [self.tags[i] for i in logits.argmax(-1).tolist()]
        entities = entity_places(example.word_places, tags)
        return NestedNERPrediction.of(example.inputs[0][0], dict.fromkeys(entities, 1.0))
