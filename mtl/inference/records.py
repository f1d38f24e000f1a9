"""Records with named fields go in; each comes out with the predictions of the tasks that read it.

A task that reads two texts is asked if a record has both of them under known names, such as
`question` and `context`; a task that reads a single text, if there is a `text`, `review` or the
like. The names are those that files to train on may have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

from ..data.encoded import EncodedExample
from ..data.examples import Query
from ..data.readers.cells import list_in
from ..data.readers.raw_records import RawRecord
from ..data.readers.table import BODIES, CONTEXTS, PAIRS, QUESTIONS, TEXTS, plain_name
from ..errors import DataError
from ..tasks.base import Task
from .inputs import PAIR_NAMES, pair_of, queries_of, words_in
from .loop import Model, Predictions, encode_for, predict_encoded
from .prediction import keep_best_answers

LISTS = ("tokens", "words")  # fields whose text may be given as the list of its words
BESIDE_A_PAIR = ("text", "sentence")  # another field, such as a title, is not meant to be read then


class Fields(NamedTuple):
    """The fields of a record that are read: one text (perhaps with its title), and two texts."""

    text: tuple[str, ...] = ()
    pair: tuple[str, str] | tuple[()] = ()


@dataclass
class FieldReader:
    """Finds in a record what the tasks read.

    Attributes:
        tasks: those to ask.
        text_names: plain names of fields that hold a single text, the likeliest first.
        joins_titles: whether a title and its text are read as one text.
        named: the fields to read instead: one for single texts, or two for pairs.
        words: whether a text is the list of its words, with blanks between them.
        found: which fields have been read so far.
    """

    tasks: Sequence[Task]
    text_names: Sequence[str] = TEXTS
    joins_titles: bool = False
    named: Sequence[str] = ()
    words: bool = False

    def __post_init__(self) -> None:
        self.found: dict[Fields, None] = {}
        # Most files have the same fields in all their records.
        self._fields_among = lru_cache(maxsize=1000)(self._find_fields)

    def queries(self, record: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Query]]:
        """What to ask about a record, each with the names of the tasks to ask.

        Raises:
            DataError: nothing that any of the tasks reads; an empty text; or something else.
        """
        fields = self._fields_among(tuple(k for k, value in record.items() if value is not None))
        if not (fields.text or fields.pair):
            raise self._nothing_to_read(record)
        self.found.setdefault(fields)
        if fields.pair:
            pair = pair_of({name: record[name] for name in fields.pair}, [fields.pair])
            yield self._names(pairs=True), queries_of([pair])[0]
        if fields.text:
            yield self._names(pairs=False), queries_of([self._text(record, fields.text)])[0]

    def _names(self, pairs: bool) -> tuple[str, ...]:
        return tuple(task.name for task in self.tasks if task.reads_pairs == pairs)

    def _find_fields(self, names: tuple[str, ...]) -> Fields:
        """Which of the fields of a record are read."""
        if self.named:
            if not set(self.named) <= set(names):
                return Fields()
            first, *second = self.named
            return Fields(pair=(first, second[0])) if second else Fields(text=(first,))
        fields = {plain_name(name): name for name in reversed(names)}  # of two the first
        pair = self._pair_among(fields) if self._names(pairs=True) else ()
        if not self._names(pairs=False):
            return Fields((), pair)
        known = BESIDE_A_PAIR if pair else self.text_names
        text = next((n for n in known if n in fields and fields[n] not in pair), None)
        if text is None:
            return Fields((), pair)
        with_title = self.joins_titles and text in BODIES and "title" in fields
        return Fields((fields["title"], fields[text]) if with_title else (fields[text],), pair)

    def _pair_among(self, fields: dict[str, str]) -> tuple[str, str] | tuple[()]:
        """The fields of two texts, from all fields by their plain names."""
        of_tasks = [task.text_names for task in self.tasks if task.reads_pairs]
        known = [(plain_name(a), plain_name(b)) for a, b in (*of_tasks, *PAIR_NAMES)]
        for first, second in (*known, *product(QUESTIONS, CONTEXTS), *PAIRS):
            if first in fields and second in fields:
                return fields[first], fields[second]
        return ()

    def _text(self, record: dict[str, Any], names: tuple[str, ...]) -> Any:
        """The text of a record, or the list of its words."""
        if len(names) > 1:
            return " ".join(text for name in names if (text := record[name].strip()))
        text = record[names[0]]
        if not isinstance(text, str):
            return text
        if self.words:
            return words_in(text)
        return (plain_name(names[0]) in LISTS and list_in(text)) or text

    def _nothing_to_read(self, record: dict[str, Any]) -> DataError:
        known = [" and ".join(t.text_names) if t.reads_pairs else "text" for t in self.tasks]
        if self.named:
            known = [" and ".join(self.named)]
        return DataError(
            f"the record has no {', or '.join(dict.fromkeys(known))}",
            found=f"the fields {', '.join(map(repr, record)) or '(none)'}"[:300],
            fix="rename its fields, or say with --fields which are read",
        )

    def describe(self) -> str:
        """Which fields have been read so far, by which tasks."""
        said = [
            f"{' and '.join(names)} ({', '.join(self._names(pairs))})"
            for fields in self.found
            for pairs, names in ((False, fields.text), (True, fields.pair))
            if names
        ]
        return "; ".join(dict.fromkeys(said))


def predict_records(
    model: Model,
    records: Sequence[RawRecord],
    reader: FieldReader,
    n_answers: int = 1,
    batch_size: int | None = None,
    advance: Callable[[int], Any] = lambda records: None,
) -> list[Predictions | DataError]:
    """The predictions for each record, or what is wrong with it.

    Args:
        n_answers: how many answers to give to a question, see `Task.best_answers`.
        batch_size: as in `predict`.
        advance: receives the number of texts in each batch that is done.
    """
    results: list[Predictions | DataError] = [record.fault or Predictions() for record in records]
    asked: dict[tuple[str, ...], list[tuple[int, Query]]] = {}
    for i, record in enumerate(records):
        if record.fault is None:
            try:
                for names, query in reader.queries(record.fields):
                    asked.setdefault(names, []).append((i, query))
            except DataError as error:
                results[i] = error
    for names, questions in asked.items():
        places, encoded = _encode(model, questions, results)
        for i, predictions in zip(
            places,
            predict_encoded(model, encoded, names, batch_size=batch_size, advance=advance),
            strict=True,
        ):
            keep_best_answers(model, predictions, n_answers)
            result = results[i]
            if isinstance(result, Predictions):  # else its other texts had a fault
                result.update(predictions)
    return results


def _encode(
    model: Model, questions: list[tuple[int, Query]], results: list[Predictions | DataError]
) -> tuple[list[int], list[EncodedExample]]:
    """The queries that can be encoded, with their places; the faults of others go to `results`."""
    try:
        return [i for i, _ in questions], encode_for(model, [query for _, query in questions])
    except DataError:
        # The error says nothing about places; alone, each query can only blame itself.
        for i, query in questions:
            try:
                for texts in query.inputs:
                    model.tokenizer.rows(texts, model.encoder.config.max_length, model.overlap)
            except DataError as error:
                results[i] = error
    good = [(i, query) for i, query in questions if isinstance(results[i], Predictions)]
    return [i for i, _ in good], encode_for(model, [query for _, query in good])
