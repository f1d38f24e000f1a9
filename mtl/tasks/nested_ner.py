"""Texts go in; named entities come out, which may lie inside one another: nested entities."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from ..data.batching import Batch
from ..data.dataset import Dataset
from ..data.encoded import EncodedExample
from ..data.examples import NERExample, TextExample
from ..data.nesting import in_order, outermost, without_crossing
from ..data.tokenizers.base import Row, pad_lists
from ..data.words import Joining, Place
from ..errors import ConfigError, DataError
from ..metrics import Span, entity_scores_of_sets, f1_of_sets
from ..nn.global_pointer import GlobalPointerHead, Parts, span_loss, span_scores
from ..tables import types_table
from .base import IGNORED, Mistake, Task
from .entities import compare_entities
from .labels import check_names, names_by_id, unknown_names
from .nested import NestedNERPrediction
from .own_words import in_characters, in_these_words, joining_in, remarks_on_words, words_of
from .spans import excerpt
from .windows import at_positions, best_windows, by_example, words_first, words_in

ROWS_AT_ONCE = 32  # windows whose spans are scored together: bounds the memory of a long text

# Least probabilities of an entity to choose from; below the first, a span is not even a candidate.
THRESHOLDS = [percent / 100 for percent in range(10, 95, 5)]

# Of a row: where its words begin in it, and its entities as (type id, first word, words after it).
RowTarget = tuple[list[int], list[tuple[int, int, int]]]


class NestedNERTask(Task):
    """Score every span of up to `max_entity_words` words for each type; entities may be nested.

    The head and its loss are those of Efficient GlobalPointer (Su et al. 2022, "Global Pointer:
    Novel Efficient Span-based Approach for Named Entity Recognition"). A span is an entity if its
    probability reaches a threshold, which is chosen on validation. One that crosses a better one is
    dropped, one inside it or around it is not (as in Yu et al. 2020, "Named Entity Recognition as
    Dependency Parsing").

    Of the windows of a long text, each span is scored in the one where it is farthest from a cut.
    The work grows with words x `max_entity_words` x types, never with the square of the text.

    Args:
        name: of the task.
        dataset: examples of class `NERExample` or `TextExample`; those without tags are skipped.
        types: the entity types; by default those of all splits (a type that only held-out
            examples have is never predicted, and counts as missed).
        max_entity_words: longer entities are neither learned nor found; they count as missed.

    Raises:
        ConfigError: neither types nor examples with entities, or `max_entity_words` below 1.
    """

    kind = "nested-ner"
    main_metric = "entity_f1"
    answers_with = "named entities, also inside one another"
    example = (NERExample, TextExample)

    def __init__(
        self,
        name: str,
        dataset: Dataset | Mapping[str, Any] | None = None,
        types: Sequence[str] | None = None,
        max_entity_words: int = 20,
    ) -> None:
        super().__init__(name, dataset)
        if type(max_entity_words) is not int or max_entity_words < 1:
            what = f"max_entity_words of the task {name!r} must be a whole number, at least 1"
            raise ConfigError(what, found=repr(max_entity_words))
        self.max_entity_words = max_entity_words
        n_labelled, in_data = self.remembered("types", self._types_in_data)
        if types is None and not in_data and any(self.dataset.all()):
            raise DataError(
                f"the task {name!r} learns from entities, and its data has none",
                found="only the tag O" if n_labelled else "no example has tags or spans",
                fix="mark some, or leave the task out",
            )
        types = in_data if types is None else types
        check_names(name, "type", types, in_data)
        if not types:
            raise ConfigError(
                f"the task {name!r} has no entity types",
                fix="give types=[...], or a dataset whose examples have entities",
            )
        self.types = list(types)
        self.type_id = {kind: i for i, kind in enumerate(self.types)}

    def _types_in_data(self) -> tuple[int, list[str]]:
        """How many examples are labelled, and all types of their entities."""
        n, types = 0, set()
        for example in filter(self.is_labelled, self.dataset.all()):
            n += 1
            types.update(kind for kind, _, _ in example.entities)
        return n, sorted(types)

    def is_labelled(self, example: Any) -> bool:
        return getattr(example, "tags", None) is not None

    @cached_property
    def joining(self) -> Joining | None:
        """What holds words together in the training file; None if it has the same words as
        plain text."""
        return joining_in(self)

    # --- training -----------------------------------------------------------------------------

    def build_head(self, d_model: int) -> nn.Module:
        return GlobalPointerHead(d_model, len(self.types))

    def targets(self, example: Any, rows: list[Row], notes: Counter[str]) -> list[RowTarget | None]:
        """For each row, where its words begin, and the entities that are whole in it."""
        if not self.is_labelled(example):
            return [None] * len(rows)
        self._check_types([example])
        words, pieces = words_of(rows[0].text, self.joining)
        given = in_characters(example.entities, example.word_places)
        # Longest first: of two that cross once they take whole words, the longer stays.
        entities = list(in_these_words(sorted(given, key=lambda e: e[1] - e[2]), words))
        short = [e for e in entities if e[2] - e[1] <= self.max_entity_words]
        targets: list[RowTarget | None] = []
        learned: set[Span] = set()
        for row in rows:
            begin, positions = words_in(row, pieces)
            found = _inside(short, begin, begin + len(positions))
            learned.update(found)
            spans = [(self.type_id[kind], s - begin, e - s - 1) for kind, s, e in found]
            targets.append((positions, spans) if positions else None)
        for what, lost in {
            "have no words of their own": len(given) - len(entities),
            f"are longer than tasks.{self.name}.max_entity_words": len(entities) - len(short),
            "fit no window": len(short) - len(learned),
        }.items():
            if lost:
                notes[f"entities {what}, and are left out of training"] += lost
        return targets

    def collate(self, targets: Sequence[RowTarget | None], length: int) -> Tensor:
        """`(B, T, W, C)`: at `[b, t, w, c]`, whether the w + 1 words from the one that begins at
        token t on are an entity of type c, as 1 or 0; -100 where there are no such words."""
        longest = self.max_entity_words
        # int8 holds all three values, in an eighth of the space.
        shape = (len(targets), length, longest, len(self.types))
        stacked = torch.full(shape, IGNORED, dtype=torch.int8)
        for row, target in zip(stacked, targets, strict=True):
            if target is None:
                continue
            positions, entities = target
            first, w = torch.arange(len(positions))[:, None], torch.arange(longest)
            fits = (first + w < len(positions))[:, :, None]  # (N, W, 1)
            row[positions] = row[positions].masked_fill(fits, 0)
            for kind, word, more in entities:
                row[positions[word], more, kind] = 1
        return stacked

    def loss(self, outputs: Parts, targets: Tensor, batch: Batch) -> Tensor:
        """`span_loss`, the mean over rows and types; a row counts by how many spans it has.

        It is divided by what it is if all scores are 0, the logarithm of the number of spans: so it
        is about as large as other tasks' losses, and as large in long rows as in short ones.
        """
        is_word = targets[:, :, 0, 0] != IGNORED  # (B, T)
        # What is scored is spans of words, not of pieces.
        order = words_first(is_word)  # (B, T)
        parts = [at_positions(part, order) for part in outputs]
        scores = span_scores(parts, self.max_entity_words)  # (B, T, W, C)
        wanted = at_positions(targets.flatten(2), order)
        by_type = (len(targets) * len(self.types), -1)
        losses = span_loss(
            scores.flatten(1, 2).transpose(1, 2).reshape(by_type),  # (B*C, T*W)
            wanted.unflatten(2, scores.shape[2:]).flatten(1, 2).transpose(1, 2).reshape(by_type),
        ).view(len(targets), -1)
        # Rows without a label have no spans. By spans, so that a batch in parts sums up to itself.
        n_spans = (targets != IGNORED).flatten(1).sum(1)
        chance = (1 + n_spans / len(self.types)).log().clamp(min=1)
        return (losses.mean(1) / chance * n_spans).sum() / n_spans.sum()

    # --- prediction ---------------------------------------------------------------------------

    def decode(self, outputs: Parts, batch: Batch) -> list[NestedNERPrediction]:
        read = [words_of(item.rows[0].text, self.joining) for item in batch.items]
        pieces_of_rows = [pieces for i in batch.rows.tolist() for _, pieces in (read[i],)]
        rows = [row for item in batch.items for row in item.rows]
        in_rows = [words_in(*both) for both in zip(rows, pieces_of_rows, strict=True)]
        found = by_example(self._found(outputs, in_rows), batch)
        parts = zip(batch.items, read, found, strict=True)
        return [self._merge(item, *words, spans) for item, words, spans in parts]

    def _found(
        self, outputs: Parts, in_rows: Sequence[tuple[int, list[int]]]
    ) -> list[list[tuple[Span, float]]]:
        """Of each row, the spans that may be entities, by words of the text, with probability."""
        found: list[list[tuple[Span, float]]] = [[] for _ in in_rows]
        device = outputs[0].device
        for start in range(0, len(in_rows), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            positions = [positions for _, positions in in_rows[part]]
            words = pad_lists(positions, 0).to(device)  # (B, N)
            parts = [at_positions(output[part], words) for output in outputs]
            chances = span_scores(parts, self.max_entity_words).sigmoid()  # (B, N, W, C)
            lasts = torch.arange(words.shape[1])[:, None] + torch.arange(self.max_entity_words)
            n_words = torch.tensor([len(p) for p in positions])
            fits = (lasts < n_words[:, None, None]).to(device)  # (B, N, W)
            places = ((chances >= THRESHOLDS[0]) & fits[..., None]).nonzero()  # (M, 4)
            said = zip(places.tolist(), chances[tuple(places.T)].tolist(), strict=True)
            for (row, n, w, kind), chance in said:
                first = in_rows[start + row][0] + n
                found[start + row].append(((self.types[kind], first, first + w + 1), chance))
        return found

    def _merge(
        self,
        item: EncodedExample,
        words: list[Place],
        pieces: list[int],
        of_windows: list[list[tuple[Span, float]]],
    ) -> NestedNERPrediction:
        """The entities of a text, each from the window where it is farthest from a cut."""
        found = [(span, p, i) for i, part in enumerate(of_windows) for span, p in part]
        # Windows are of one length, so a span is farthest from a cut where its middle is.
        middles = [(pieces[s] + pieces[e - 1]) / 2 for (_, s, e), _, _ in found]
        order = sorted(range(len(found)), key=middles.__getitem__)
        best = best_windows(item.rows, [middles[i] for i in order])
        chances = {
            found[i][0]: found[i][1]
            for i, window in zip(order, best, strict=True)
            if found[i][2] == window
        }
        kept = in_order(without_crossing(sorted(chances, key=chances.__getitem__, reverse=True)))
        spans, text = in_characters(kept, words), item.rows[0].text.text
        scores = [chances[span] for span in kept]
        chances_of = dict(zip(spans, scores, strict=True))
        plain = NestedNERPrediction.of(text, chances_of, self.threshold)
        given = getattr(item.example, "word_places", None)
        # Predicted on our own words first: the model was trained on these.
        return plain if given in (None, words) else plain.on_given_words(given)

    @property
    def threshold(self) -> float:
        """The least probability of an entity."""
        return self.thresholds.get("score", 0.5)

    def choose_thresholds(
        self, examples: Sequence[Any], predictions: Sequence[NestedNERPrediction]
    ) -> dict[str, float]:
        """That of `THRESHOLDS` with the best F1; of several, the one nearest to 0.5."""
        gold = [_gold(example) for example in examples]

        def goodness(threshold: float) -> tuple[float, float]:
            found = [prediction.under(threshold).spans for prediction in predictions]
            return f1_of_sets(gold, found), -abs(threshold - 0.5)

        return {"score": max(THRESHOLDS, key=goodness)}

    def decide(self, prediction: NestedNERPrediction) -> NestedNERPrediction:
        return prediction.under(self.threshold)

    # --- scores -------------------------------------------------------------------------------

    def score(
        self, examples: Sequence[Any], predictions: Sequence[NestedNERPrediction]
    ) -> dict[str, float]:
        """Entity precision, recall and F1, and these by type; an entity is right with its type and
        both borders. `nested_f1` counts only entities inside others. If examples give words that
        differ from those of plain text, also `entity_f1_plain_text`.
        """
        self._check_types(examples)
        gold = [_gold(example) for example in examples]
        found = [prediction.spans for prediction in predictions]
        scores = entity_scores_of_sets(gold, found)
        if any(map(_inner, gold)):
            scores["nested_f1"] = f1_of_sets([*map(_inner, gold)], [*map(_inner, found)])
        if any(prediction.plain for prediction in predictions):
            plain = [(prediction.plain or prediction).spans for prediction in predictions]
            scores["entity_f1_plain_text"] = f1_of_sets(gold, plain)
        return scores

    def remarks(self, scores: dict[str, float]) -> list[str]:
        """A warning if plain text gets other entities than the words of a file."""
        return remarks_on_words(self.main_metric, scores)

    def report(self, examples: Sequence[Any], predictions: Sequence[NestedNERPrediction]) -> str:
        """Precision, recall and F1 of each entity type."""
        return types_table(self.score(examples, predictions))

    def mistakes(
        self, examples: Sequence[Any], predictions: Sequence[NestedNERPrediction]
    ) -> list[Mistake]:
        """Entities that are not exactly right; for the kinds see `compare_entities`."""
        found = []
        for n, (example, prediction) in enumerate(zip(examples, predictions, strict=True), 1):
            text = prediction.text
            for kind, gold, guess in compare_entities(_gold(example), prediction.spans):
                start = min(span[1] for span in gold + guess)
                end = max(span[2] for span in gold + guess)
                sides = [", ".join(f"{text[s:e]} ({t})" for t, s, e in p) for p in (gold, guess)]
                found.append(Mistake(kind, f"text {n}", excerpt(text, start, end), *sides))
        return found

    def prediction_file(
        self, examples: Sequence[Any], predictions: Sequence[NestedNERPrediction]
    ) -> tuple[str, str]:
        """One JSON object per text: `text`, `entities` (as `[start, end, type]`), `predicted`."""
        lines = []
        for example, prediction in zip(examples, predictions, strict=True):
            record: dict[str, Any] = {"text": prediction.text}
            for name, spans in (("entities", _gold(example)), ("predicted", prediction.spans)):
                record[name] = [[start, end, kind] for kind, start, end in in_order(spans)]
            lines.append(json.dumps(record, ensure_ascii=False) + "\n")
        return "jsonl", "".join(lines)

    def baselines(self, examples: Sequence[Any]) -> dict[str, list[NestedNERPrediction]]:
        """`none_found`: no entity at all. `outermost_only`: the right entities that are in no
        other, which is the most that tags, one per word, could say."""
        outer = [outermost(_gold(example)) for example in examples]
        return {
            name: [
                NestedNERPrediction.of(example.inputs[0][0], dict.fromkeys(spans, 1.0))
                for example, spans in zip(examples, found, strict=True)
            ]
            for name, found in {"none_found": [()] * len(outer), "outermost_only": outer}.items()
        }

    def _check_types(self, examples: Sequence[Any]) -> None:
        said = {kind for example in examples for kind, _, _ in example.entities}
        # Types that the model never learned could only be missed, and no score would say why.
        if unknown := said - self.type_id.keys():
            found = ", ".join(map(repr, sorted(unknown)))
            raise unknown_names(self.name, "entity type", found, self.types)

    # --- saving -------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        labels = {"id2label": dict(enumerate(self.types)), "label2id": self.type_id}
        return labels | {"max_entity_words": self.max_entity_words}

    @classmethod
    def from_settings(cls, name: str, settings: dict[str, Any]) -> Self:
        rest = {k: v for k, v in settings.items() if k not in ("id2label", "label2id")}
        return cls(name, types=names_by_id(settings["id2label"]), **rest)


def _inside(entities: Sequence[Span], begin: int, end: int) -> list[Span]:
    """Those of the entities, given from left to right, that lie within some words."""
    first, last = (bisect_left(entities, word, key=lambda e: e[1]) for word in (begin, end))
    return [entity for entity in entities[first:last] if entity[2] <= end]


def _gold(example: Any) -> set[Span]:
    """The right entities as (type, first character, one past the last)."""
    return {*in_characters(example.entities, example.word_places)}


def _inner(entities: set[Span]) -> set[Span]:
    """The entities that lie inside others."""
    return entities - {*outermost(entities)}
