"""Sentences go in; one tag per word comes out, from any set of tags: the base of such tasks."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batching import Batch
from ..data.dataset import Dataset
from ..data.encoded import EncodedExample
from ..data.examples import TokenExample
from ..data.tokenizers.base import Encoding, Row, pad_lists
from ..data.validity import check_tag_count
from ..data.words import (
    Entity,
    Joining,
    Place,
    first_parts,
    owners,
)
from ..errors import DataError
from ..metrics import accuracy, confusion, f1_of_sets, macro_f1
from ..nn.heads import TokenClassificationHead
from .base import IGNORED, Mistake, Task
from .labels import choose_names, confusion_table, names_by_id, unknown_names
from .own_words import joining_in, remarks_on_words, words_of
from .tagged import Sentence, TokenPrediction, conll_text, wrong_tags
from .windows import best_windows, by_example


class TokenTask(Task):
    """Tag every word: a base for parts of speech, entities and whatever else can be tagged.

    A subclass needs only a `kind`. If its examples keep their tags somewhere other than `tags`, it
    overrides `tags_of`; if there is more to measure than which tags are right, `score`.

    The words are those of plain text, which the model will meet in use: signs that hold words
    together in the training file do so there too (`joining`). A word of the file that is still cut
    gives its tag to each part; it is scored by the tag of its first part.

    Args:
        name: of the task.
        dataset: of `TokenExample`s, or of other examples with `tokens` and `word_places`; some may
            have no tags.
        tags: all of them; by default those of all splits (a tag that only held-out examples have
            is never predicted, and counts as missed).
        field: which of the examples' `fields` holds the tags: the name or number of a column; by
            default it is their `tags`.

    Attributes:
        prediction: the class of its predictions.

    Raises:
        ConfigError: fewer than two tags, or a tag twice.
        DataError: neither tags nor tagged examples.
    """

    main_metric = "accuracy"
    answers_with = "one tag for each word"
    example = TokenExample
    prediction: ClassVar[type[TokenPrediction]] = TokenPrediction
    field: str = ""

    def __init__(
        self,
        name: str,
        dataset: Dataset | None = None,
        tags: Sequence[str] | None = None,
        field: int | str = "",
    ) -> None:
        super().__init__(name, dataset)
        if field:  # a class of your own may have set it already
            self.field = str(field)
        n_labelled, in_data = self.remembered(f"tags in {self.field!r}", self._tags_in_data)
        if self.field and not n_labelled:
            self._check_has_field()
        self.tags = self.choose_tags(tags, in_data)
        self.tag_id = {tag: i for i, tag in enumerate(self.tags)}

    def _tags_in_data(self) -> tuple[int, list[str]]:
        """How many examples are labelled, and all tags that they have."""
        n, tags = 0, set()
        for example in filter(self.is_labelled, self.dataset.all()):
            n += 1
            tags.update(self.tags_of(example) or ())
        # Sorted, since a set has no order, and ids must be the same in every run.
        return n, sorted(tags)

    def choose_tags(self, given: Sequence[str] | None, in_data: list[str]) -> list[str]:
        """All tags, in the order of their ids: those given, or those of the data."""
        return choose_names(self.name, "tag", given, in_data, any(self.dataset.all()))

    def tags_of(self, example: Any) -> Sequence[str] | None:
        """The tags of an example, one for each of its `tokens`; None if it is not tagged."""
        if not self.field:
            return getattr(example, "tags", None)
        # A named field never falls back on `tags`, which may be of another kind.
        tags = getattr(example, "fields", {}).get(self.field)
        return None if isinstance(tags, str) else tags  # a text's fields hold labels

    def _check_has_field(self) -> None:
        """Raise DataError if there are examples, none of which has the field of the task."""
        known = {name: 0 for example in self.dataset.all() for name in example.fields}
        if any(self.dataset.all()):
            raise DataError(
                f"no example has tags in the field {self.field!r} of the task {self.name!r}",
                found=f"the fields {', '.join(map(repr, known))}" if known else "no fields",
                fix=f"read the file with mtl.read(PATH, fields=[{self.field!r}]), or give examples "
                f"that have it: fields={{{self.field!r}: [...]}}",
            )

    def is_labelled(self, example: Any) -> bool:
        return self.tags_of(example) is not None

    # --- training -----------------------------------------------------------------------------

    def build_head(self, d_model: int) -> nn.Module:
        return TokenClassificationHead(d_model, len(self.tags))

    def targets(self, example: Any, rows: list[Row], notes: Counter[str]) -> list[list[int] | None]:
        """For each row, the tag at each word's first piece and -100 everywhere else.

        The words are those of plain text, which the model will meet in use. Signs that hold words
        together in the training file do so in plain text too, so `Jean-Luc` is one word or three,
        and if it is three, all three are tagged.
        """
        if not self.is_labelled(example):
            return [None] * len(rows)
        self._check_tags([example])
        # All windows share the encoding of the whole text.
        words, first = self._words(rows[0].text)
        tags = self.tags_of_words(words, example, notes)
        ids = [IGNORED if tag is None else self.tag_id[tag] for tag in tags]
        return [_row_target(ids, first, row) for row in rows]

    def tags_of_words(
        self, words: list[Place], example: Any, notes: Counter[str]
    ) -> list[str | None]:
        """The tag that each word of plain text is trained on; None for a word without one.

        A word that spans several words of the file gets the tag of the first. What is left out is
        counted in `notes`.
        """
        tags = self.tags_of(example) or ()
        if words == example.word_places:  # the usual case
            return [*tags]
        found = owners(words, example.word_places)
        lost = len(tags) - len({owner for owner in found if owner is not None})
        if lost:
            notes["words share a word of plain text and are left out of training"] += lost
        return [None if owner is None else tags[owner] for owner in found]

    def collate(self, targets: Sequence[list[int] | None], length: int) -> Tensor:
        """`(B, T)` tag ids, -100 where nothing is asked."""
        # A row that is not labelled becomes a row of -100.
        return pad_lists([target or [] for target in targets], IGNORED, length)

    def loss(self, outputs: Tensor, targets: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy, the mean over labelled words."""
        logits = outputs.flatten(0, 1)  # (B, T, C) -> (B*T, C)
        return F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED)

    # --- prediction ---------------------------------------------------------------------------

    def decode(self, outputs: Tensor, batch: Batch) -> list[TokenPrediction]:
        probabilities, best = outputs.float().softmax(-1).max(-1)  # (B, T) each
        of_rows = by_example(zip(best.tolist(), probabilities.tolist(), strict=True), batch)
        return [self._merge(*both) for both in zip(batch.items, of_rows, strict=True)]

    def _merge(
        self, item: EncodedExample, outputs: list[tuple[list[int], list[float]]]
    ) -> TokenPrediction:
        """Tags from each word's first piece, in the window where it is farthest from a cut."""
        words, places = self.places(item)
        tags = [self.tags[outputs[window][0][position]] for window, position in places]
        scores = [outputs[window][1][position] for window, position in places]
        return self.predicted(item, words, tags, scores)

    def places(self, item: EncodedExample) -> tuple[list[Place], list[tuple[int, int]]]:
        """The words of an example; and for each of them the window where it is farthest from a cut,
        with the position of its first piece there."""
        words, pieces = self._words(item.rows[0].text)
        places = []
        for piece, window in zip(pieces, best_windows(item.rows, pieces), strict=True):
            row = item.rows[window]
            places.append((window, row.text_start + piece - row.first_piece))
        return words, places

    def predicted(
        self, item: EncodedExample, words: list[Place], tags: list[str], scores: list[float]
    ) -> TokenPrediction:
        """The prediction for an example, from what its words are tagged with."""
        plain = self.prediction(item.rows[0].text.text, words, tags, scores)
        given = getattr(item.example, "word_places", None)
        # Tagged on our own words first: the model was trained on these.
        return plain if given in (None, words) else self.on_given_words(plain, given)

    def on_given_words(self, plain: TokenPrediction, given: list[Place]) -> TokenPrediction:
        """A prediction on our own words, carried over to the words the user gave.

        A given word gets the probability of its first part.
        """
        scores = [plain.scores[i] for i in first_parts(plain.words, given)]
        return self.prediction(plain.text, given, self.tags_of_given(given, plain), scores, plain)

    def tags_of_given(self, given: list[Place], plain: TokenPrediction) -> list[str]:
        """The tag that each given word takes over from our own words: that of its first part."""
        return [plain.tags[i] for i in first_parts(plain.words, given)]

    @cached_property
    def joining(self) -> Joining | None:
        """What holds words together in the training file; None if it has the same words as
        plain text."""
        return joining_in(self)

    def _words(self, encoding: Encoding) -> tuple[list[Place], list[int]]:
        """The words that are tagged, and the first piece of each."""
        return words_of(encoding, self.joining)

    # --- scores -------------------------------------------------------------------------------

    def score(
        self, examples: Sequence[Any], predictions: Sequence[TokenPrediction]
    ) -> dict[str, float]:
        """The metrics of `score_tags`; if examples give words that differ from those of plain text,
        also the main metric on plain text, such as `accuracy_plain_text`: the F1 of what
        `found_in` finds, compared by characters.
        """
        self._check_tags(examples)
        references = [list(self.tags_of(example) or ()) for example in examples]
        scores = self.score_tags(references, [prediction.tags for prediction in predictions])
        if any(prediction.plain for prediction in predictions):
            # Characters are all that two ways of cutting a text into words have in common.
            gold = [
                set(self.found_in(example.word_places, tags))
                for example, tags in zip(examples, references, strict=True)
            ]
            plain = [prediction.plain or prediction for prediction in predictions]
            found = [set(self.found_in(p.words, p.tags)) for p in plain]
            scores[f"{self.main_metric}_plain_text"] = f1_of_sets(gold, found)
        return scores

    def score_tags(
        self, references: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        """`accuracy`, the share of words whose tag is right, and `macro_f1` over the tags."""
        right, said = _flat(references), _flat(predictions)
        return {"accuracy": accuracy(right, said), "macro_f1": macro_f1(right, said)}

    def found_in(self, words: Sequence[Place], tags: Sequence[str]) -> list[Entity]:
        """What tags mark, as label, first character and one past the last: here every word."""
        return [(tag, *word) for word, tag in zip(words, tags, strict=True)]

    def remarks(self, scores: dict[str, float]) -> list[str]:
        """A warning if plain text is tagged differently from the words of a file."""
        return remarks_on_words(self.main_metric, scores)

    def confusion(
        self, examples: Sequence[Any], predictions: Sequence[TokenPrediction]
    ) -> tuple[list[str], list[list[int]]]:
        """Words by tag."""
        return self.tags, confusion(*self._tags_of_all(examples, predictions), self.tags)

    def report(self, examples: Sequence[Any], predictions: Sequence[TokenPrediction]) -> str:
        """The confusion matrix of the words, with precision, recall and F1 of each tag."""
        return confusion_table(*self._tags_of_all(examples, predictions), self.tags)

    def _tags_of_all(
        self, examples: Sequence[Any], predictions: Sequence[TokenPrediction]
    ) -> tuple[list[str], list[str]]:
        """Of every word of every example, the right tag and the predicted one."""
        right = [self.tags_of(example) or () for example in examples]
        return _flat(right), _flat([prediction.tags for prediction in predictions])

    def prediction_file(
        self, examples: Sequence[Any], predictions: Sequence[TokenPrediction]
    ) -> tuple[str, str]:
        """What the conlleval script reads; see `conll_text`."""
        return "txt", conll_text(self._sentences(examples, predictions))

    def mistakes(
        self, examples: Sequence[Any], predictions: Sequence[TokenPrediction]
    ) -> list[Mistake]:
        """Words whose tag is not right (`wrong tag`)."""
        return wrong_tags(self._sentences(examples, predictions))

    def _sentences(
        self, examples: Sequence[Any], predictions: Sequence[TokenPrediction]
    ) -> list[Sentence]:
        """Words, right tags and predicted tags of each example."""
        return [
            (example.tokens, self.tags_of(example) or (), prediction.tags)
            for example, prediction in zip(examples, predictions, strict=True)
        ]

    def baselines(self, examples: Sequence[Any]) -> dict[str, list[TokenPrediction]]:
        """`majority_tag`: every word has the most frequent tag of these examples."""
        ((tag, _),) = Counter(_flat([self.tags_of(e) or () for e in examples])).most_common(1)
        return {"majority_tag": [self.always(tag, example) for example in examples]}

    def always(self, tag: str, example: Any) -> TokenPrediction:
        """The prediction of a method that gives every word the same tag."""
        n = len(example.tokens)
        return self.prediction(example.inputs[0][0], example.word_places, [tag] * n, [1.0] * n)

    def _check_tags(self, examples: Sequence[Any]) -> None:
        for example in examples:
            check_tag_count(example.tokens, self.tags_of(example) or ())
        said = set().union(*(self.tags_of(example) or () for example in examples))
        # Tags that the model never learned could only be missed, and no score would say why.
        if unknown := said - self.tag_id.keys():
            raise self.unknown_tags(unknown)

    def unknown_tags(self, tags: set[str]) -> DataError:
        """The error for tags that the task never learned."""
        return unknown_names(self.name, "tag", ", ".join(map(repr, sorted(tags))), self.tags)

    # --- saving -------------------------------------------------------------------------------

    def settings(self) -> dict[str, Any]:
        labels = {"id2label": dict(enumerate(self.tags)), "label2id": self.tag_id}
        # Only where it is set: a class of your own need not take it.
        return labels | ({"field": self.field} if self.field else {})

    @classmethod
    def from_settings(cls, name: str, settings: dict[str, Any]) -> Self:
        rest = {k: v for k, v in settings.items() if k not in ("id2label", "label2id")}
        return cls(name, tags=names_by_id(settings["id2label"]), **rest)


def _row_target(ids: Sequence[int], first: list[int], row: Row) -> list[int] | None:
    """The tags of the words that begin in a window; None if there are none.

    Args:
        ids: the tag of every word of the text, or `IGNORED`.
        first: each word's first piece.
    """
    # Special tokens, and all pieces of a word but its first, stay ignored: one label per word.
    target = [IGNORED] * len(row)
    # `first` is sorted, so the words that begin in the window are neighbours.
    begin = bisect_left(first, row.first_piece)
    end = bisect_left(first, row.first_piece + row.n_pieces)
    shift = row.text_start - row.first_piece
    inside = ids[begin:end]
    for piece, tag in zip(first[begin:end], inside, strict=True):
        target[piece + shift] = tag
    return target if any(tag != IGNORED for tag in inside) else None


def _flat(tags: Sequence[Sequence[str]]) -> list[str]:
    """The tags of all sentences, one after the other."""
    return [tag for of_sentence in tags for tag in of_sentence]
