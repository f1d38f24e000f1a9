"""What requests and responses hold: JSON goes in, checked objects come out; shown at `/docs`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from ..errors import suggest

LONGEST_KEY = 80

Pair = Annotated[list[str], Field(min_length=2, max_length=2)]
TASK = "name or kind of a task"
CONTEXT = "Alice lives in Oslo. Bob lives in Lima."


class Request(BaseModel):
    """What all requests have in common; nothing is converted, and no unknown key is passed over."""

    model_config = ConfigDict(strict=True)
    model: str | None = Field(None, description="a model's name; needed if several are served")

    @model_validator(mode="before")
    @classmethod
    def _know_all_keys(cls, given: Any) -> Any:
        for key in given if isinstance(given, dict) else ():
            if key not in cls.model_fields:
                shown = key[:LONGEST_KEY]
                told = {"found": repr(shown), "fix": suggest(shown, cls.model_fields)}
                raise PydanticCustomError("unknown_key", "unknown key", told)
        return given


class PredictRequest(Request):
    """Texts, pairs of texts, or both."""

    texts: list[str] = Field(default=[], examples=[["Alice lives in Oslo."]])
    pairs: list[Pair] = Field(default=[], examples=[[["Where does Alice live?", CONTEXT]]])
    tasks: list[str] | None = Field(
        None, description="names or kinds; by default every task that reads what is given"
    )


class AnswerRequest(Request):
    """Questions, each with its context, or all with one."""

    questions: list[str] = Field(examples=[["Where does Alice live?", "Who lives in Lima?"]])
    contexts: list[str] = Field(examples=[[CONTEXT]])
    n: int = Field(1, ge=1, description="how many answers to each question, the best first")
    task: str = Field("qa", description=TASK)


class EncodeRequest(Request):
    """Texts to be turned into vectors."""

    texts: list[str] = Field(examples=[["Alice lives in Oslo."]])
    task: str | None = Field(None, description=f"{TASK}, if several give vectors")


class NearestRequest(Request):
    """A query, and the texts to search."""

    query: str = Field(examples=["Who is in Norway?"])
    texts: list[str] = Field(examples=[["Alice lives in Oslo.", "Rain fell all day."]])
    n: int = Field(5, ge=1, description="how many texts, the closest first")
    task: str | None = Field(None, description=f"{TASK}, if several give vectors")


class PredictResponse(BaseModel):
    """For each text, then for each pair, the prediction of every task by its name."""

    predictions: list[dict[str, Any]]


class AnswerResponse(BaseModel):
    """For each question its answer, the next best ones in `alternatives`."""

    answers: list[dict[str, Any]]


class EncodeResponse(BaseModel):
    """A unit vector for each text."""

    vectors: list[list[float]]


class Neighbour(BaseModel):
    """A text, its place in the list, and its cosine with the query."""

    text: str
    index: int
    score: float


class NearestResponse(BaseModel):
    """The texts closest to the query, the closest first."""

    neighbours: list[Neighbour]


class TaskInfo(BaseModel):
    """A task, and what the texts that it reads are called."""

    name: str
    kind: str
    reads: list[str] = Field(examples=[["question", "context"]])


class ModelInfo(BaseModel):
    """A model and its tasks."""

    name: str
    tasks: list[TaskInfo]


class ModelsResponse(BaseModel):
    """The models that are served."""

    models: list[ModelInfo]


class Status(BaseModel):
    """Whether the service is well."""

    status: str


class Problem(BaseModel):
    """One thing that is wrong: what, where, what was found there, and what to do."""

    what: str
    where: str | None
    found: str | None
    fix: str | None


class Problems(BaseModel):
    """Everything that is wrong with a request."""

    errors: list[Problem]
