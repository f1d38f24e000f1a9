"""Sentences go in; one IOB2 tag per word comes out: named-entity recognition."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batching import Batch
from ..data.dataset import Dataset
from ..data.encoded import EncodedExample
from ..data.examples import NERExample, TextExample
from ..data.tokenizers.base import Encoding, Row, pad_lists
from ..data.words import Entity as CharacterSpan
from ..data.words import Joining, Place, join_parts, learn_joining, split_words, tags_of_entities
from ..errors import ConfigError, DataError
from ..metrics import (
    confusion,
    entity_scores,
    entity_spans,
    f1_of_sets,
    token_accuracy,
)
from ..nn.heads import TokenClassificationHead
from ..tables import format_table, types_table
from .base import IGNORED, Mistake, Task, check_names
from .entities import Tagged, compare_entities, entity_characters, in_words
from .spans import excerpt, highlight_html, highlight_text
from .windows import best_windows, by_example, first_pieces

MOST_GAP = 0.01  # largest gap in entity F1 between given words and plain text without a warning


@dataclass(frozen=True)
class Entity:
    """A named entity: its type, the mean probability of its tags, and where it stands."""

    entity_group: str
    score: float
    word: str
    start: int
    end: int

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class NERPrediction:
    """A text, its words, and for each word the tag and its probability.

    Where somebody said what the words are, `plain` is what the same text says on words of our own.
    """

    text: str
    words: list[Place]
    tags: list[str]
    scores: list[float]
    plain: NERPrediction | None = field(default=None, repr=False)

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
        return {"text": self.text, "entities": [entity.to_dict() for entity in self.entities]}

    def _spans(self) -> list[tuple[int, int, str]]:
        return [(e.start, e.end, e.entity_group) for e in self.entities]

    def __str__(self) -> str:
        words = [self.text[start:end] for start, end in self.words]
        width, tag_width = (max(map(len, column), default=0) for column in (words, self.tags))
        rows = zip(words, self.tags, self.scores, strict=True)
        lines = [f"  {word:{width}}  {tag:{tag_width}}  {score:.2f}" for word, tag, score in rows]
        return "\n".join([highlight_text(self.text, self._spans()), *lines])

    def _repr_html_(self) -> str:
        return f"<p>{highlight_html(self.text, self._spans())}</p>"


class NERTask(Task):
    """Tag every word; an entity is right only with its type and both borders.

    Args:
        name: of the task.
        dataset: of `NERExample`s, or of `TextExample`s, of which some may have no tags.
        types: the entity types; by default those of all splits (a type that only held-out
            examples have is then missed, and counted as missed).

    Raises:
        ConfigError: neither types nor examples with entities.
    """

    kind = "ner"
    main_metric = "entity_f1"
    answers_with = "one tag a word"
    example = (NERExample, TextExample)

    def __init__(
        self, name: str, dataset: Dataset | None = None, types: Sequence[str] | None = None
    ) -> None:
        super().__init__(name, dataset)
        if types is not None and (
            not isinstance(types, list | tuple) or not all(isinstance(t, str) for t in types)
        ):
            raise ConfigError(
                f"types of the task {name!r} must be a list of names",
                found=repr(types),
                fix='for example ["PER", "ORG"]',
            )
        tags = {tag for e in self.dataset.all() if self.is_labelled(e) for tag in e.tags}
        # Sorted, since a set has no order, and ids must be the same in every run.
        told = sorted({tag[2:] for tag in tags if tag != "O"})
        if types is None:
            types = told
            if not told and any(self.dataset.all()):
                raise DataError(
                    f"the task {name!r} learns from tagged entities, and its data has none",
                    found="only the tag O" if tags else "no example has tags",
                    fix="tag some, or leave the task out",
                )
        if not types:
            raise ConfigError(
                f"the task {name!r} has no entity types",
                fix="give types=[...], or a dataset whose examples have entities",
            )
        check_names(name, "type", types, told)
        self.types = list(types)
        # In a fixed order: the ids are what the saved head was trained for.
        self.tags = ["O", *(f"{prefix}-{kind}" for kind in self.types for prefix in "BI")]
        self.tag_id = {tag: i for i, tag in enumerate(self.tags)}

    def build_head(self, d_model: int) -> nn.Module:
        return TokenClassificationHead(d_model, len(self.tags))

    def is_labelled(self, example: Tagged) -> bool:
        return getattr(example, "tags", None) is not None

    def targets(
        self, example: Tagged, rows: list[Row], notes: Counter[str]
    ) -> list[list[int] | None]:
        """For each row, the tag at each word's first piece and -100 everywhere else.

        The words are those of plain text, which the model will meet in use. Signs that hold words
        together in the training file do so in plain text too, so `Jean-Luc` is one word or three,
        and if it is three, all three are tagged.
        """
        if not self.is_labelled(example):
            return [None] * len(rows)
        self._check_types([example])
        # All windows share the encoding of the whole text.
        words, first = self._words(rows[0].text)
        # By characters: the words of the file need not be those that the model reads.
        entities = entity_characters(example)
        tags = tags_of_entities(words, entities)
        lost = len(entities) - sum(tag.startswith("B-") for tag in tags)
        # Two entities in one word, or one between words: told, never dropped in silence.
        if lost:
            notes["entities have no word of their own and are left out of training"] += lost
        return [self._row_target(tags, first, row) for row in rows]

    def _row_target(self, tags: list[str], first: list[int], row: Row) -> list[int] | None:
        """The tags of the words that begin in a window.

        Args:
            tags: of every word of the text.
            first: each word's first piece.
        """
        # Special tokens, and all pieces of a word but its first, stay ignored: one label per word.
        target = [IGNORED] * len(row)
        # `first` rises, so the words that begin in the window are neighbours.
        begin = bisect_left(first, row.first_piece)
        end = bisect_left(first, row.first_piece + row.n_pieces)
        for word in range(begin, end):
            target[row.text_start + first[word] - row.first_piece] = self.tag_id[tags[word]]
        return target if begin < end else None

    def collate(self, targets: Sequence[list[int] | None], length: int) -> Tensor:
        """`(B, T)` tag ids, -100 where nothing is asked."""
        # A row that is not labelled becomes a row of -100.
        return pad_lists([target or [] for target in targets], IGNORED, length)

    def loss(self, outputs: Tensor, targets: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy, the mean over labelled words."""
        logits = outputs.flatten(0, 1)  # (B, T, C) -> (B*T, C)
        return F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED)

    def decode(self, outputs: Tensor, batch: Batch) -> list[NERPrediction]:
        probabilities, best = outputs.float().softmax(-1).max(-1)  # (B, T) each
        of_rows = by_example(zip(best.tolist(), probabilities.tolist(), strict=True), batch)
        return [self._merge(*both) for both in zip(batch.items, of_rows, strict=True)]

    def _merge(
        self, item: EncodedExample, outputs: list[tuple[list[int], list[float]]]
    ) -> NERPrediction:
        """Tags from each word's first piece, in the window where it is farthest from a cut."""
        encoding = item.rows[0].text
        words, pieces = self._words(encoding)
        tags, scores = [], []
        for piece, window in zip(pieces, best_windows(item.rows, pieces), strict=True):
            row = item.rows[window]
            position = row.text_start + piece - row.first_piece
            best, probabilities = outputs[window]
            tags.append(self.tags[best[position]])
            scores.append(probabilities[position])
        plain = NERPrediction(encoding.text, words, tags, scores)
        given = getattr(item.example, "word_places", None)
        # Tagged on our own words first: these are what the model was trained on.
        return plain if given in (None, words) else on_given_words(plain, given)

    def score(
        self, examples: Sequence[NERExample], predictions: Sequence[NERPrediction]
    ) -> dict[str, float]:
        """`token_accuracy`, entity precision, recall and F1, and these by type.

        Where examples say what their words are and plain text has others, `entity_f1_plain_text`
        is the F1 of the same predictions on plain text: an entity is right by its characters.
        """
        self._check_types(examples)
        references = [example.tags for example in examples]
        predicted = [prediction.tags for prediction in predictions]
        scores = {"token_accuracy": token_accuracy(references, predicted)}
        # Most words are O, so token accuracy reads high: entities are what counts.
        scores |= entity_scores(references, predicted)
        if any(prediction.plain for prediction in predictions):
            # Characters are all that two ways of cutting a text into words have in common.
            gold = [set(entity_characters(example)) for example in examples]
            found = [_characters(p.plain or p) for p in predictions]
            scores["entity_f1_plain_text"] = f1_of_sets(gold, found)
        return scores

    def remarks(self, scores: dict[str, float]) -> list[str]:
        """A warning if plain text is tagged differently from the words of a file."""
        given, plain = scores["entity_f1"], scores.get("entity_f1_plain_text")
        if plain is None or abs(given - plain) <= MOST_GAP:
            return []
        return [
            f"entity F1 is {given:.3f} on the words of the file, but {plain:.3f} on the same "
            "sentences as plain text, whose words differ; to predict on words of your own, give "
            "lists of words (mtl predict --words)"
        ]

    def report(self, examples: Sequence[NERExample], predictions: Sequence[NERPrediction]) -> str:
        """Precision, recall and F1 of each entity type, and the confusion matrix of the words."""
        labels, counts = self.confusion(examples, predictions)
        rows = [[label, *row] for label, row in zip(labels, counts, strict=True)]
        matrix = format_table(["right \\ predicted", *labels], rows)
        return f"{types_table(self.score(examples, predictions))}\n\nwords by type\n{matrix}"

    def confusion(
        self, examples: Sequence[NERExample], predictions: Sequence[NERPrediction]
    ) -> tuple[list[str], list[list[int]]]:
        """Words by entity type, whatever the borders; O is none."""
        references, predicted = (
            [tag[2:] or "O" for tagged in both for tag in tagged.tags]
            for both in (examples, predictions)
        )
        labels = ["O", *self.types]
        return labels, confusion(references, predicted, labels)

    def prediction_file(
        self, examples: Sequence[NERExample], predictions: Sequence[NERPrediction]
    ) -> tuple[str, str]:
        """What the conlleval script reads: `token right predicted` between single blanks, one token
        a line, an empty line between sentences. Blanks inside a token become underscores."""
        sentences = [
            "".join(
                " ".join("_".join(part.split()) for part in line) + "\n"
                for line in zip(example.tokens, example.tags, prediction.tags, strict=True)
            )
            for example, prediction in zip(examples, predictions, strict=True)
        ]
        return "txt", "\n".join(sentences)

    def mistakes(
        self, examples: Sequence[NERExample], predictions: Sequence[NERPrediction]
    ) -> list[Mistake]:
        """Entities that are not exactly right; for the kinds see `compare_entities`."""
        found = []
        for n, (example, prediction) in enumerate(zip(examples, predictions, strict=True), 1):
            for kind, gold, guess in compare_entities(example.tags, prediction.tags):
                first = min(span[1] for span in gold + guess)
                last = max(span[2] for span in gold + guess)
                # Single blanks, so that its length is where the entity begins in the text below.
                before = " ".join([*example.tokens[:first], ""])
                place = (len(before), len(before + " ".join(example.tokens[first:last])))
                text = excerpt(" ".join(example.tokens), *place)
                expected, predicted = (in_words(example.tokens, spans) for spans in (gold, guess))
                found.append(Mistake(kind, f"sentence {n}", text, expected, predicted))
        return found

    def _check_types(self, examples: Sequence[Tagged]) -> None:
        unknown = {tag for example in examples for tag in example.tags or ()} - self.tag_id.keys()
        # Types that the model never learned could only be missed, and no score would say why.
        if unknown:
            raise DataError(
                f"the task {self.name!r} does not know these entity types",
                found=", ".join(sorted({tag[2:] for tag in unknown})),
                fix=f"it was trained on {', '.join(self.types)}; rename the types in the file, or "
                "train on data that has them all",
            )

    def baselines(self, examples: Sequence[NERExample]) -> dict[str, list[NERPrediction]]:
        """`all_o`: no word is ever part of an entity."""
        return {
            "all_o": [
                NERPrediction(e.text, [], ["O"] * len(e.tags), [1.0] * len(e.tags))
                for e in examples
            ]
        }

    @cached_property
    def joining(self) -> Joining | None:
        """What holds words together in the training file; None if its words are those of plain
        text."""
        given = [e for e in self.labelled(self.dataset.train) if e.word_places is not None]
        # The usual case; then nothing needs to be learned, or saved with the model.
        if all(example.word_places == split_words(example.inputs[0][0]) for example in given):
            return None
        return learn_joining([example.tokens for example in given])

    def _words(self, encoding: Encoding) -> tuple[list[Place], list[int]]:
        """The words that are tagged, and the first piece of each."""
        first = first_pieces(encoding)
        if self.joining is None:
            return encoding.words, first
        words = join_parts(encoding.text, encoding.words, self.joining)
        # By where a word begins: a joined word begins where its first part does.
        first_of = dict(zip((start for start, _ in encoding.words), first, strict=True))
        return words, [first_of[start] for start, _ in words]

    def settings(self) -> dict[str, Any]:
        return {"id2label": dict(enumerate(self.tags)), "label2id": self.tag_id}

    @classmethod
    def from_settings(cls, name: str, settings: dict[str, Any]) -> NERTask:
        # JSON has made text of the numbers, and "10" comes before "2".
        by_id = sorted(settings["id2label"].items(), key=lambda pair: int(pair[0]))
        return cls(name, types=[tag[2:] for _, tag in by_id if tag.startswith("B-")])


def _characters(prediction: NERPrediction) -> set[CharacterSpan]:
    return {(e.entity_group, e.start, e.end) for e in prediction.entities}


def on_given_words(plain: NERPrediction, given: list[Place]) -> NERPrediction:
    """A prediction on our own words, carried over to the words that the user gave.

    A given word has the tag of the entity that touches it, with the probability of its first part.
    """
    spans = [(e.entity_group, e.start, e.end) for e in plain.entities]
    scores, word = [], 0
    for start, _ in given:
        while word + 1 < len(plain.words) and plain.words[word][1] <= start:
            word += 1
        scores.append(plain.scores[word])
    return NERPrediction(plain.text, given, tags_of_entities(given, spans), scores, plain)
