"""What records may be: texts, pairs of sentences or questions; and how each become examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from .json_source import Row
from .pairs import pairs_of
from .records import texts_of
from .source import Report, in_memory
from .squad import questions_of


class Kind(NamedTuple):
    """A kind of records.

    Attributes:
        name: of their form, in words.
        examples_of: gives their examples, one after the other: see `texts_of`.
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
        self, rows: Callable[[Report], Iterator[Row]], report: Report, options: Mapping[str, Any]
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
