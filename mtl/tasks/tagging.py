"""Sentences go in; one tag per word comes out, such as its part of speech."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ..data.readers import read
from ..errors import DataWarning
from ..metrics import accuracy
from .tagged import TokenPrediction
from .tokens import TokenTask


class TaggingTask(TokenTask):
    """Say for each word which tag it has, such as its part of speech.

    Args:
        name: of the task.
        dataset: of `TokenExample`s, or of other examples with `tokens` and `word_places`; some may
            have no tags.
        tags: all of them; by default those of all splits (a tag that only held-out examples have
            is never predicted, and counts as missed).
        field: which of the examples' `fields` holds the tags: the name or number of a column; by
            default it is their `tags`.

    Raises:
        ConfigError: fewer than two tags, or a tag twice.
        DataError: neither tags nor tagged examples; no example has the field.
    """

    kind = "tokens"

    @classmethod
    def read(cls, path: Path, on_error: str = "stop", **options: Any) -> Sequence[Any]:
        """Examples from a file; of columns, the parts of speech are read rather than entities.

        If the options name columns, they alone decide, as in `mtl.read`.
        """
        if options.keys().isdisjoint({"column", "fields"}):
            options["speech"] = True
        return read(path, on_error, **options)

    def choose_tags(self, given: Sequence[str] | None, in_data: list[str]) -> list[str]:
        """All tags, in the order of their ids; a `DataWarning` if they are those of entities."""
        if any(re.match("[BI]-.", tag) for tag in in_data) and "O" in in_data:
            warnings.warn(
                f"{self.name}: the tags are those of entities ({', '.join(in_data[:4])}), each one "
                'alone; kind = "ner" finds entities, and column = ... chooses other tags',
                DataWarning,
                stacklevel=4,
            )
        return super().choose_tags(given, in_data)

    def score(
        self, examples: Sequence[Any], predictions: Sequence[TokenPrediction]
    ) -> dict[str, float]:
        """`accuracy`, `macro_f1` and `accuracy_unknown_words`, for words as they are written that
        no tagged training sentence has.

        The last is left out if there are no such words, or no training examples, as in a model that
        was loaded: only a dataset knows them.
        """
        scores = super().score(examples, predictions)
        unknown = [
            (right, said)
            for sentence in self._sentences(examples, predictions)
            for word, right, said in zip(*sentence, strict=True)
            if word not in self._tags_of_words
        ]
        if self._tags_of_words and unknown:
            right, said = zip(*unknown, strict=True)
            scores["accuracy_unknown_words"] = accuracy(right, said)
        return scores

    @cached_property
    def _tags_of_words(self) -> dict[str, Counter[str]]:
        """How often each word of the training split has each tag."""
        counts: dict[str, Counter[str]] = {}
        for example in self.labelled(self.dataset.train):
            for word, tag in zip(example.tokens, self.tags_of(example) or (), strict=True):
                counts.setdefault(word, Counter())[tag] += 1
        return counts

    def baselines(self, examples: Sequence[Any]) -> dict[str, list[TokenPrediction]]:
        """Two methods that look at no neighbours.

        `majority_tag`: every word has the most frequent tag of these examples. `tag_of_word`: every
        word has the tag that it has most often in training, and a word that training does not have
        the most frequent tag of all; left out without training examples. It is a strong baseline:
        about nine of ten words are right in English (Jurafsky and Martin, "Speech and Language
        Processing", section 17.2).
        """
        found = super().baselines(examples)
        if self._tags_of_words:
            found["tag_of_word"] = [self._by_word(example) for example in examples]
        return found

    def _by_word(self, example: Any) -> TokenPrediction:
        tags = [self._usual_tags.get(word, self._usual_tag) for word in example.tokens]
        places = example.word_places
        return self.prediction(example.inputs[0][0], places, tags, [1.0] * len(tags))

    @cached_property
    def _usual_tags(self) -> dict[str, str]:
        """The most frequent tag of each word of the training split."""
        return {word: _most_frequent(counts) for word, counts in self._tags_of_words.items()}

    @cached_property
    def _usual_tag(self) -> str:
        """The most frequent tag of the training split."""
        total: Counter[str] = Counter()
        for counts in self._tags_of_words.values():
            total.update(counts)
        return _most_frequent(total)


def _most_frequent(counts: Counter[str]) -> str:
    """The most frequent name; of several, the first in the alphabet."""
    return min(counts, key=lambda name: (-counts[name], name))
