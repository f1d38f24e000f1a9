"""A user's texts go in; what the model says about them comes out: tags, answers, vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..data.batching import Batch
from ..data.examples import Query, check_unicode
from ..errors import ConfigError, DataError
from ..nn.heads import merge_rows, pool, unit_vectors
from ..tasks.base import Task
from .loop import (
    Model,
    Predictions,
    batches,
    check_model,
    encode_for,
    in_parts,
    predict_examples,
)


def predict(
    model: Model,
    texts: str | Sequence[str | Sequence[str]],
    tasks: str | Sequence[str] | None = None,
    progress: bool = False,
    batch_size: int | None = None,
) -> Predictions | list[Predictions]:
    """What the model says about a text, or about each of a list of texts.

    Args:
        texts: one text, or several. A text longer than the encoder's positions is read in windows.
            Instead of a string, a text may be the list of its words: `[["王", "小", "明"]]`.
        tasks: name (or kind) of a task that reads single texts, or several; by default all.
        progress: show a bar on stderr if it takes more than two seconds.
        batch_size: rows that go through the encoder at once: texts, or windows of long ones. By
            default as many as make 8,192 tokens.

    Returns:
        for each text a dict from task name to prediction; for one text just that dict.

    Raises:
        ConfigError: an unknown task, or one that reads pairs (use `answer`); a batch size below 1.
        DataError: an empty text, or an empty word.
    """
    check_model(model)
    if tasks is None:
        # A text alone has no question: tasks that need one are only asked by `answer`.
        fitting = [name for name, task in model.tasks.items() if not task.reads_pairs]
        # A model for questions alone: the loop below says what to call instead.
        tasks = fitting or list(model.tasks)
    chosen = [model.task(name) for name in ([tasks] if isinstance(tasks, str) else tasks)]
    for task in chosen:
        if task.reads_pairs:
            raise ConfigError(
                f"the task {task.name!r} reads a question and a context",
                fix="call mtl.answer(model, question=..., context=...)",
            )
    # A text in, a prediction out; a list in, a list out, even of one.
    single = isinstance(texts, str)
    queries = _queries([texts] if single else texts)
    names = [task.name for task in chosen]
    results = predict_examples(model, queries, names, progress, batch_size)
    return results[0] if single else results


def answer(
    model: Model,
    question: str | Sequence[str],
    context: str | Sequence[str],
    task: str = "qa",
    n: int = 1,
    batch_size: int | None = None,
) -> Any:
    """Answer a question from a context, or each question of a list from its context.

    Args:
        question: one question, or several.
        context: one context (used for every question), or one a question.
        task: name of the question-answering task.
        n: how many different answers to each question, the best first, at most the `most_answers`
            of the task. There are fewer where the task finds no more that differ.
        batch_size: as in `predict`.

    Returns:
        a prediction, or for n above 1 a list of them (which prints and draws itself); a list of
        either where lists were given.

    Raises:
        ConfigError: lists of different length, no such task, or an `n` that the task cannot give.
        DataError: an empty question or context.
    """
    check_model(model)
    chosen = model.task(task)
    if not chosen.reads_pairs:
        raise ConfigError(
            f"the task {chosen.name!r} reads single texts",
            fix=f"call mtl.predict(model, text, tasks=[{chosen.name!r}])",
        )
    if not 1 <= n <= chosen.most_answers:
        raise ConfigError(f"n, of answers, must be from 1 to {chosen.most_answers}", found=str(n))
    queries = _queries(*_pairs(question, context))
    results = predict_examples(model, queries, [chosen.name], batch_size=batch_size)
    answers = [result[chosen.name] for result in results]
    if n > 1:
        answers = [chosen.best_answers(prediction, n) for prediction in answers]
    return answers[0] if isinstance(question, str) and isinstance(context, str) else answers


def _pairs(
    question: str | Sequence[str], context: str | Sequence[str]
) -> tuple[list[str], list[str]]:
    """Questions and contexts of the same number; a single one goes with each of the others."""
    questions = [question] if isinstance(question, str) else list(question)
    contexts = [context] if isinstance(context, str) else list(context)
    if len(contexts) == 1:
        contexts *= len(questions)
    if len(questions) == 1:
        questions *= len(contexts)
    if len(questions) != len(contexts):
        raise ConfigError(
            "questions and contexts differ in number",
            found=f"{len(questions)} questions, {len(contexts)} contexts",
        )
    return questions, contexts


@dataclass(frozen=True)
class Neighbour:
    """A text of a list, its place in the list, and its cosine with what was asked for."""

    text: str
    index: int
    score: float


@torch.no_grad()  # not inference_mode: these vectors may be what a user's own model learns from
def encode(
    model: Model,
    texts: str | Sequence[str],
    task: str | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """A unit vector for each text.

    Args:
        texts: one text, or several.
        task: name of the embedding task, if the model has several. A model that has none gives the
            mean of its encoder's hidden states, which no training has made for this.
        batch_size: as in `predict`.

    Returns:
        `(N, E)`, or `(E,)` for one text, on the CPU.

    Raises:
        ConfigError: no such task, a task that gives no vectors, or several that do.
        DataError: an empty text.
    """
    check_model(model)
    chosen = _embedding_task(model, task)
    queries = _queries([texts] if isinstance(texts, str) else texts)
    width = model.encoder.config.d_model
    # Made once and filled by index: batches come in another order than the texts.
    vectors = torch.empty(len(queries), width if chosen is None else chosen.vector_width(width))

    def vectors_of_rows(part: Batch) -> Tensor:
        if chosen is None:
            return _mean_of_tokens(model, part)
        return model(part, [chosen.name])[chosen.name]

    for indices, batch in batches(model, encode_for(model, queries), batch_size):
        rows = in_parts(model, batch, vectors_of_rows, batch_size)  # (B, E)
        # The mean of windows is shorter than 1: it is brought back to unit length below.
        merged = merge_rows(rows.float(), batch.rows, len(batch))
        vectors[indices] = unit_vectors(merged).cpu()
    return vectors[0] if isinstance(texts, str) else vectors


def _mean_of_tokens(model: Model, batch: Batch) -> Tensor:
    """The mean of the encoder's hidden states, `(B, D)`."""
    hidden = model.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    return pool(hidden, batch.attention_mask, "mean")


def _embedding_task(model: Model, name: str | None) -> Task | None:
    width = model.encoder.config.d_model
    giving = [task.name for task in model.tasks.values() if task.vector_width(width)]
    if name is None and len(giving) > 1:
        raise ConfigError("several tasks give vectors", found=", ".join(giving), fix="name one")
    if name is None:
        return model.tasks[giving[0]] if giving else None
    chosen = model.task(name)
    if chosen.name not in giving:
        raise ConfigError(
            "this task gives no vectors",
            found=repr(name),
            fix=f"name one that does: {', '.join(giving)}" if giving else "leave the name out",
        )
    return chosen


def nearest(
    model: Model, query: str, texts: Sequence[str], n: int = 5, task: str | None = None
) -> list[Neighbour]:
    """The `n` texts closest to a query, the closest first.

    Raises:
        ConfigError: as `encode`; `n` below 1.
        DataError: an empty text, or no texts.
    """
    if n < 1:
        raise ConfigError("n must be at least 1", found=str(n))
    if not texts:
        raise DataError("there are no texts to search", fix="give at least one")
    texts = [texts] if isinstance(texts, str) else texts
    # Of unit vectors the dot product is the cosine.
    cosines = encode(model, texts, task) @ encode(model, query, task)  # (N,)
    # stable: texts with equal scores come in the order in which they were given.
    scores, indices = cosines.sort(descending=True, stable=True)
    found = zip(indices[:n].tolist(), scores[:n].tolist(), strict=True)
    return [Neighbour(texts[i], i, score) for i, score in found]


def _queries(
    texts: Sequence[str | Sequence[str]], seconds: Sequence[str] | None = None
) -> list[Query]:
    """Texts, or pairs of them, ready to be encoded; DataError, with its number, for a bad one."""
    queries = []
    for i, text in enumerate(texts):
        name = f"text {i + 1}" if len(texts) > 1 else "the text"
        second = None if seconds is None else seconds[i]
        _check_text(name, text)
        if second is not None:
            _check_text(name, second)
        try:
            queries.append(Query(text, second))
        except DataError as error:
            faults = [replace(fault, what=f"{name}: {fault.what}") for fault in error.faults]
            raise DataError.collect(faults) from None
    return queries


def _check_text(name: str, text: Any) -> None:
    """Raise DataError unless this is a text with something in it, or a list of words."""
    if isinstance(text, list | tuple) and all(isinstance(word, str) for word in text):
        return  # the words are checked where they are joined
    if not isinstance(text, str):
        fix = "give a string, or a list of its words"
        raise DataError(
            f"{name} is neither a text nor a list of words", found=repr(text)[:80], fix=fix
        )
    check_unicode(text)
    if not text.strip():
        raise DataError(f"{name} is empty", found=repr(text), fix="give at least one word")
