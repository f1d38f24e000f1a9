"""What a file may hold, such as texts or sentences in columns; and how it becomes examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from .columns import sentences_of
from .pairs import pairs_of
from .records import texts_of
from .source import Report, in_memory
from .squad import questions_of


class Kind(NamedTuple):
    """What the records of a file are, or its lines.

    Attributes:
        name: of their form, in words.
        examples_of: gives their examples, one after the other: see `texts_of`, `sentences_of`.
        lacks: what a file without any lacks.
        options: those of the options of `mtl.read` that it takes.
    """

    name: str
    examples_of: Callable[..., Iterator[Any]]
    lacks: str
    options: tuple[str, ...] = ()

    def chosen(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the options that it takes."""
        return {key: options[key] for key in self.options if key in options}

    def read(
        self, rows: Callable[[Report], Iterator[Any]], report: Report, options: Mapping[str, Any]
    ) -> list[Any]:
        """The examples of records in memory."""
        examples = self.examples_of(rows, report, in_memory, **self.chosen(options))
        return report.finish(list(examples), self.lacks)


TEXTS = Kind(
    *("JSON records", texts_of, "record with a sentence"),
    options=("strict", "label_names", "fields", "scores"),
)
PAIRS = Kind(
    *("JSON pairs of sentences", pairs_of, "pair of sentences"), options=("label_names", "scores")
)
QUESTIONS = Kind("JSON questions", questions_of, "question with an answer")
COLUMNS = Kind(
    *("CoNLL columns", sentences_of, "sentence"),
    options=("strict", "column", "label_names", "fields", "whole_documents", "speech"),
)
