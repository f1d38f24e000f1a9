"""A checked request goes in; what to ask of the model about each of its texts comes out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ..data.encoded import EncodedExample
from ..data.examples import Query
from ..errors import ConfigError, DataError, Fault
from ..inference import Model, check_n_answers, predict_encoded
from ..inference.inputs import queries_of
from ..inference.prediction import (
    embedding_task,
    encode_encoded,
    names_of_readers,
    question_pairs,
)
from .schemas import AnswerRequest, EncodeRequest, NearestRequest, PredictRequest
from .settings import ServeSettings

BYTES_PER_TOKEN = 4  # about as many as in English
SPECIAL_TOKENS = 2


@dataclass(frozen=True)
class Call(ABC):
    """What is asked about a text; texts with equal calls may go through the model together."""

    model: Model

    @abstractmethod
    def run(self, encoded: Sequence[EncodedExample]) -> list[Any]:
        """The result for each text, as plain values."""


@dataclass(frozen=True)
class Predict(Call):
    """The predictions of several tasks, all from one pass of the encoder."""

    tasks: tuple[str, ...]

    def run(self, encoded: Sequence[EncodedExample]) -> list[Any]:
        return [said.to_dict() for said in predict_encoded(self.model, encoded, self.tasks)]


@dataclass(frozen=True)
class Answer(Call):
    """The `n` best answers to a question."""

    task: str
    n: int

    def run(self, encoded: Sequence[EncodedExample]) -> list[Any]:
        task = self.model.tasks[self.task]
        said = predict_encoded(self.model, encoded, [self.task])
        answers: list[Any] = [predictions[self.task] for predictions in said]
        if self.n > 1:
            answers = [task.best_answers(answer, self.n) for answer in answers]
        return [answer.to_dict() for answer in answers]


@dataclass(frozen=True)
class Encode(Call):
    """The unit vector of a text."""

    task: str | None

    def run(self, encoded: Sequence[EncodedExample]) -> list[Any]:
        chosen = None if self.task is None else self.model.tasks[self.task]
        with torch.inference_mode():
            return encode_encoded(self.model, encoded, chosen).tolist()


@dataclass(frozen=True)
class Item:
    """One text, or pair, of a request: what is asked about it, and where the request has it."""

    call: Call
    query: Query
    place: str

    @property
    def tokens(self) -> int:
        """About how many there are; how many exactly is known when the text is encoded."""
        texts = (self.query.text, self.query.second or "")
        return SPECIAL_TOKENS + sum(len(text.encode()) for text in texts) // BYTES_PER_TOKEN


def items_to_predict(model: Model, request: PredictRequest, settings: ServeSettings) -> list[Item]:
    """The texts of a request, then its pairs.

    Raises:
        ConfigError: unknown tasks, or tasks that do not read what is given.
        DataError: texts that cannot be used, or none.
    """
    if request.tasks == []:
        raise ConfigError("no task is named", path="tasks", fix="name one, or leave tasks out")
    with _at("tasks"):
        chosen = None if request.tasks is None else [model.task(name) for name in request.tasks]
    _check_number(len(request.texts) + len(request.pairs), "texts and pairs", settings)
    items = []
    for name, given in (("texts", request.texts), ("pairs", list(map(tuple, request.pairs)))):
        if given:
            with _at("tasks"):
                tasks = names_of_readers(model, chosen, pairs=name == "pairs")
            items += _items(Predict(model, tuple(tasks)), given, name, settings)
    return items


def items_to_answer(model: Model, request: AnswerRequest, settings: ServeSettings) -> list[Item]:
    """The questions of a request, each with its context; raises as `items_to_predict`."""
    with _at("task"):
        task = model.task(request.task)
        names_of_readers(model, [task], pairs=True)
    with _at("n"):
        check_n_answers(task, request.n)
    for name, given in (("questions", request.questions), ("contexts", request.contexts)):
        _check_number(len(given), name, settings)
    with _at("contexts"):
        pairs = question_pairs(request.questions, request.contexts)
    return list(_items(Answer(model, task.name, request.n), pairs, "questions", settings))


def items_to_encode(
    model: Model, request: EncodeRequest | NearestRequest, settings: ServeSettings
) -> list[Item]:
    """The texts of a request, the query before them; raises as `items_to_predict`."""
    with _at("task"):
        task = embedding_task(model, request.task)
    call = Encode(model, None if task is None else task.name)
    _check_number(len(request.texts), "texts", settings)
    items = list(_items(call, request.texts, "texts", settings))
    if isinstance(request, NearestRequest):
        items.insert(0, Item(call, _query(request.query, "query", settings), "query"))
    return items


@contextmanager
def _at(path: str) -> Generator[None]:
    """Errors in this context say which key of the request they are about."""
    try:
        yield
    except ConfigError as error:
        raise error.at(path=path) from None


def _check_number(n: int, name: str, settings: ServeSettings) -> None:
    if n < 1:
        raise DataError("there is nothing to read", path=name, fix="give at least one text")
    if n > settings.max_texts:
        raise DataError(
            "there are too many for one request",
            path=name,
            found=f"{n:,}",
            fix=f"send at most {settings.max_texts:,} at once, or have --max-texts raised",
        )


def _items(call: Call, given: Sequence[Any], name: str, settings: ServeSettings) -> Iterator[Item]:
    """An item for each text or pair; DataError with every one that cannot be used."""
    queries, faults = [], list[Fault]()
    for i, thing in enumerate(given):
        try:
            queries.append(_query(thing, f"{name}[{i}]", settings))
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError.collect(faults)
    for i, query in enumerate(queries):
        yield Item(call, query, f"{name}[{i}]")


def _query(thing: Any, place: str, settings: ServeSettings) -> Query:
    """A text or pair, ready to be encoded; DataError if it is empty, too long or broken."""
    try:
        (query,) = queries_of([thing])
    except DataError as error:
        raise error.at(path=place) from None
    longest = max(len(query.text), len(query.second or ""))
    if longest > settings.max_length:
        raise DataError(
            "the text is too long",
            path=place,
            found=f"{longest:,} characters",
            fix=f"cut it to {settings.max_length:,} characters, or have --max-length raised",
        )
    return query
