"""Sentences go in; one IOB2 tag per word comes out: named-entity recognition."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from ..data.batching import Batch
from ..data.dataset import Dataset
from ..data.examples import TextExample, TokenExample
from ..data.validity import check_iob2
from ..data.words import Entity as CharacterSpan
from ..data.words import Place, tags_of_entities
from ..errors import ConfigError, DataError, suggest
from ..metrics import confusion, entity_scores, entity_spans, token_accuracy
from ..nn.crf import (
    ChainHead,
    best_sequence,
    iob2_rules,
    log_partition,
    marginals,
    sequence_score,
)
from ..nn.heads import TokenClassificationHead
from ..tables import format_table, types_table
from .base import IGNORED, Mistake
from .entities import Entity, compare_entities, entity_places, in_words
from .labels import check_names, names_by_id, unknown_names
from .tagged import TokenPrediction, excerpt_of_words
from .tokens import TokenTask
from .windows import at_positions, words_first

DECODINGS = ("greedy", "constrained", "crf")


@dataclass(frozen=True)
class NERPrediction(TokenPrediction):
    """A text, its words, and for each word the tag and its probability.

    Where the words were given, `plain` is the prediction for the same text on words of our own.
    """

    @property
    def entities(self) -> list[Entity]:
        """The entities that the tags spell out, with character offsets in `text`."""
        found = []
        for kind, first, last in entity_spans(self.tags):
            start, end = self.words[first][0], self.words[last - 1][1]
            score = sum(self.scores[first:last]) / (last - first)
            found.append(Entity(kind, score, self.text[start:end], start, end))
        return found

    def to_dict(self) -> dict[str, Any]:
        """The text, its entities, and each word with its tag."""
        entities = [entity.to_dict() for entity in self.entities]
        return {"text": self.text, "entities": entities} | super().to_dict()

    def _spans(self) -> list[tuple[int, int, str]]:
        return [(e.start, e.end, e.entity_group) for e in self.entities]


class NERTask(TokenTask):
    """Tag every word; an entity is right only with its type and both borders.

    Args:
        name: of the task.
        dataset: examples of class `NERExample` or `TextExample`, some of which may have no tags; or
            any `TokenExample` with tags in IOB2.
        types: the entity types; by default those of all splits (a type that only held-out
            examples have is never predicted, and counts as missed).
        field: which of the examples' `fields` holds the tags, as for `TokenTask`.
        decoding: how the words' scores become tags. `greedy`: each word gets its best tag, and an
            `I-X` that continues nothing begins an entity. `constrained`: the best sequence of all
            that are valid IOB2, from the same weights. `crf`: this too, with learned scores for
            transitions (a linear-chain CRF, see `mtl.nn.crf`); it is trained for whole sequences.
            In the last two, the score of a word is the probability of its tag over all valid
            sequences of its text.

    Raises:
        ConfigError: neither types nor examples with entities, or another decoding.
        DataError: tags that are not IOB2.
    """

    kind = "ner"
    main_metric = "entity_f1"
    example = (TokenExample, TextExample)
    prediction = NERPrediction

    def __init__(
        self,
        name: str,
        dataset: Dataset | None = None,
        types: Sequence[str] | None = None,
        field: int | str = "",
        decoding: str = "greedy",
    ) -> None:
        super().__init__(name, dataset, types, field)
        if decoding not in DECODINGS:
            what, fix = f"the task {name!r} has no such decoding", suggest(str(decoding), DECODINGS)
            raise ConfigError(what, found=repr(decoding), fix=fix)
        self.decoding = decoding

    def choose_tags(self, given: Sequence[str] | None, in_data: list[str]) -> list[str]:
        """`O`, and `B-` and `I-` for each entity type, those given or those of the data."""
        self._check_are_iob2(in_data)
        told = sorted({tag[2:] for tag in in_data if tag != "O"})
        if given is None:
            given = told
            if not told and any(self.dataset.all()):
                raise DataError(
                    f"the task {self.name!r} learns from tagged entities, and its data has none",
                    found="only the tag O" if in_data else "no example has tags",
                    fix="tag some, or leave the task out",
                )
        check_names(self.name, "type", given, told)
        if not given:
            raise ConfigError(
                f"the task {self.name!r} has no entity types",
                fix="give types=[...], or a dataset whose examples have entities",
            )
        self.types = list(given)
        # In a fixed order: the ids are what the saved head was trained for.
        return ["O", *(f"{prefix}-{kind}" for kind in self.types for prefix in "BI")]

    def build_head(self, d_model: int) -> nn.Module:
        head = ChainHead if self.decoding == "crf" else TokenClassificationHead
        return head(d_model, len(self.tags))

    def loss(self, outputs: Any, targets: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy, the mean over labelled words; of a CRF, that of the whole sequence of tags
        in a row, divided by its words."""
        if self.decoding != "crf":
            return super().loss(outputs, targets, batch)
        scores, transitions = outputs
        order = words_first(targets != IGNORED)
        tags = targets.gather(1, order)  # (B, T)
        is_word = tags != IGNORED
        rules = iob2_rules(self.tags)
        rules[0] = 0  # a window may begin inside an entity
        chain = transitions[0].float() + rules.to(transitions.device)
        scores, tags = at_positions(scores.float(), order), tags.clamp(min=0)
        right = sequence_score(scores, chain, tags, is_word)
        surprise = log_partition(scores, chain, is_word) - right  # (B,): -log p(tags)
        return (surprise * is_word[:, 0]).sum() / is_word.sum()  # a row without words has no say

    def decode(self, outputs: Any, batch: Batch) -> list[TokenPrediction]:
        if self.decoding == "greedy":
            return super().decode(outputs, batch)
        logits, chain = outputs if self.decoding == "crf" else (outputs, None)
        # On the CPU: one small step for each word would keep a GPU waiting.
        logits, rules = logits.float().cpu(), iob2_rules(self.tags)
        chain = rules if chain is None else rules + chain[0].float().cpu()
        read = [self.places(item) for item in batch.items]
        # A sequence is a whole text, whatever its windows: each word from the best of them.
        of_texts, first_row = [], 0
        for item, (_, places) in zip(batch.items, read, strict=True):
            windows, positions = map(torch.tensor, zip(*places, strict=True))
            of_texts.append(logits[first_row + windows, positions])  # (N, C)
            first_row += item.n_rows
        scores = pad_sequence(of_texts, batch_first=True)  # (B, N, C)
        lengths = torch.tensor([len(words) for words, _ in read])
        is_word = torch.arange(scores.shape[1]) < lengths[:, None]  # (B, N)
        best = best_sequence(scores, chain, is_word)
        chances = marginals(scores, chain, is_word).gather(2, best[..., None])[..., 0]
        said = zip(batch.items, read, best.tolist(), chances.tolist(), strict=True)
        return [
            self.predicted(item, words, [self.tags[i] for i in ids[: len(words)]], p[: len(words)])
            for item, (words, _), ids, p in said
        ]

    def tags_of_words(
        self, words: list[Place], example: Any, notes: Counter[str]
    ) -> list[str | None]:
        """The tags of the entities that touch the words: a word partly in an entity is in it."""
        inner = () if self.field else getattr(example, "inner", ())
        if inner:
            notes["entities are inside others and left out: nested-ner learns them"] += len(inner)
        given = self.tags_of(example) or ()
        if words == example.word_places:  # the usual case
            return [*given]
        # By characters: the words of the file are not those that the model reads.
        entities = self.found_in(example.word_places, given)
        tags = tags_of_entities(words, entities)
        lost = len(entities) - sum(tag.startswith("B-") for tag in tags)
        # Two entities in one word, or one between words: reported, never dropped silently.
        if lost:
            notes["entities have no word of their own and are left out of training"] += lost
        return [*tags]

    def tags_of_given(self, given: list[Place], plain: TokenPrediction) -> list[str]:
        """A given word gets the tag of the entity that touches it."""
        return tags_of_entities(given, self.found_in(plain.words, plain.tags))

    def score_tags(
        self, references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        """`token_accuracy`, entity precision, recall and F1, and these by type."""
        scores = {"token_accuracy": token_accuracy(references, predictions)}
        # Most words are O, so token accuracy reads high: entities are what counts.
        return scores | entity_scores(references, predictions)

    def found_in(self, words: Sequence[Place], tags: Sequence[str]) -> list[CharacterSpan]:
        return entity_places(words, tags)

    def report(self, examples: Sequence[Any], predictions: Sequence[TokenPrediction]) -> str:
        """Precision, recall and F1 of each entity type, and the confusion matrix of the words."""
        labels, counts = self.confusion(examples, predictions)
        rows = [[label, *row] for label, row in zip(labels, counts, strict=True)]
        matrix = format_table(["right \\ predicted", *labels], rows)
        return f"{types_table(self.score(examples, predictions))}\n\nwords by type\n{matrix}"

    def confusion(
        self, examples: Sequence[Any], predictions: Sequence[TokenPrediction]
    ) -> tuple[list[str], list[list[int]]]:
        """Words by entity type, whatever the borders; O for none."""
        of_words = self._tags_of_all(examples, predictions)
        references, predicted = ([tag[2:] or "O" for tag in tags] for tags in of_words)
        labels = ["O", *self.types]
        return labels, confusion(references, predicted, labels)

    def mistakes(
        self, examples: Sequence[Any], predictions: Sequence[TokenPrediction]
    ) -> list[Mistake]:
        """Entities that are not exactly right; for the kinds see `compare_entities`."""
        found = []
        for n, (example, prediction) in enumerate(zip(examples, predictions, strict=True), 1):
            right, said = (
                {*entity_spans(t)} for t in (self.tags_of(example) or (), prediction.tags)
            )
            for kind, gold, guess in compare_entities(right, said):
                first = min(span[1] for span in gold + guess)
                last = max(span[2] for span in gold + guess)
                text = excerpt_of_words(example.tokens, first, last)
                expected, predicted = (in_words(example.tokens, spans) for spans in (gold, guess))
                found.append(Mistake(kind, f"sentence {n}", text, expected, predicted))
        return found

    def baselines(self, examples: Sequence[Any]) -> dict[str, list[TokenPrediction]]:
        """`all_o`: no word is ever part of an entity."""
        return {"all_o": [self.always("O", example) for example in examples]}

    def _check_tags(self, examples: Sequence[Any]) -> None:
        super()._check_tags(examples)
        for example in examples:
            check_iob2(self.tags_of(example) or ())

    def _check_are_iob2(self, tags: Iterable[str]) -> None:
        """Raise DataError for tags of another kind, such as parts of speech."""
        # Each kind of tag once: a sentence has few of them.
        others = [t for t in dict.fromkeys(tags) if t != "O" and not re.match("[BI]-.", t)]
        if others:
            raise DataError(
                f"the tags of the task {self.name!r} are not entity tags in IOB2",
                found=", ".join(map(repr, others[:8])),
                fix="say which column holds entities (column = ...), or learn these tags as they "
                'are, with kind = "tokens"; what whole numbers mean, label_names says',
            )

    def unknown_tags(self, tags: set[str]) -> DataError:
        """The error for entity types that the task never learned.

        Raises:
            DataError: they are no entity types at all.
        """
        self._check_are_iob2(sorted(tags))
        types = ", ".join(sorted({repr(tag[2:]) for tag in tags}))
        return unknown_names(self.name, "entity type", types, self.types)

    def settings(self) -> dict[str, Any]:
        # Only where it is set: a class of your own need not take it.
        chain = {} if self.decoding == "greedy" else {"decoding": self.decoding}
        return super().settings() | chain

    @classmethod
    def from_settings(cls, name: str, settings: dict[str, Any]) -> Self:
        rest = {k: v for k, v in settings.items() if k not in ("id2label", "label2id")}
        tags = names_by_id(settings["id2label"])
        return cls(name, types=[tag[2:] for tag in tags if tag.startswith("B-")], **rest)
