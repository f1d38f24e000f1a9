"""Texts and pairs of texts go in; what the model says about them comes out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.batching import Batch
from ..data.encoded import EncodedExample
from ..errors import ConfigError, DataError
from ..nn.heads import merge_rows, pool, unit_vectors
from ..settings import names_checked
from ..tasks.base import Task
from .inputs import Given, as_list, one_or_many, queries_of
from .loop import (
    Model,
    Predictions,
    batches,
    check_model,
    encode_for,
    in_parts,
    predict_examples,
)


@names_checked
def predict(
    model: Model,
    texts: Given | Sequence[Given],
    tasks: str | Sequence[str] | None = None,
    progress: bool = False,
    batch_size: int | None = None,
) -> Predictions | list[Predictions]:
    """The model's predictions for a text or a pair of texts, or for each of a list of them.

    Args:
        texts: one, or a list of as many as you like, of
            a text: a string, or the list of its words, `["王", "小", "明"]` (inside a list of
            texts, since a list of strings is several texts);
            a pair: a tuple `(question, context)`, or a dict with keys such as `question` and
            `context`, `text` and `text_pair`, `premise` and `hypothesis`, `sentence1` and
            `sentence2`, or the `text_names` of a task.
            A text too long for the encoder is read in windows; in a pair, the second text is.
        tasks: name (or kind) of a task, or several; by default all that can read what is given: in
            a mixed list, texts go to some tasks, pairs to others.
        progress: show a progress bar on stderr if it takes more than two seconds.
        batch_size: rows that go through the encoder at once: texts, or windows of long ones. By
            default as many as add up to 8,192 tokens.

    Returns:
        for each text or pair a dict from task name to prediction; for a single one, just that dict.

    Raises:
        ConfigError: an unknown task, one that cannot read what is given, or a model without a task
            that can; a batch size below 1.
        DataError: neither a text nor a pair, an empty text, or an empty word.
    """
    check_model(model)
    # Anything but several names is looked up like a name, whose error says what to give.
    several = isinstance(tasks, Iterable) and not isinstance(tasks, str)
    wanted: Any = tasks if several else [tasks]
    chosen = None if tasks is None else [model.task(name) for name in wanted]
    given, single = one_or_many(texts)
    readers = model.tasks.values() if chosen is None else chosen
    queries = queries_of(given, [task.text_names for task in readers if task.reads_pairs])
    results = [Predictions() for _ in queries]
    for pairs in (False, True):
        asked = [i for i, query in enumerate(queries) if (query.second is not None) == pairs]
        if not asked:
            continue
        names = names_of_readers(model, chosen, pairs)
        found = predict_examples(model, [queries[i] for i in asked], names, progress, batch_size)
        for i, predictions in zip(asked, found, strict=True):
            results[i] = predictions
    # One thing in, one prediction out; a list in, a list out, even of one.
    return results[0] if single else results


def names_of_readers(model: Model, chosen: list[Task] | None, pairs: bool) -> list[str]:
    """Names of the tasks that read pairs, or single texts: those chosen, or all of the model.

    Raises:
        ConfigError: a chosen task reads the other, or no task of the model reads this.
    """
    if chosen is None:
        fitting = [task.name for task in model.tasks.values() if task.reads_pairs == pairs]
        if not fitting:
            raise ConfigError(
                f"no task of the model reads {'pairs of texts' if pairs else 'single texts'}",
                found=", ".join(model.tasks) or "no tasks",
                fix="; ".join(
                    f"{task.name}: {_what_to_give(task)}" for task in model.tasks.values()
                )
                or "give the model a task",
            )
        return fitting
    for task in chosen:
        if task.reads_pairs != pairs:
            reads = "pairs of texts" if task.reads_pairs else "single texts"
            raise ConfigError(f"the task {task.name!r} reads {reads}", fix=_what_to_give(task))
    return [task.name for task in chosen]


def _what_to_give(task: Task) -> str:
    if not task.reads_pairs:
        return "give a string, or the list of its words"
    first, second = task.text_names
    return f'give a tuple ({first}, {second}), or {{"{first}": ..., "{second}": ...}}'


@names_checked
def answer(
    model: Model,
    question: str | Sequence[str],
    context: str | Sequence[str],
    task: str = "qa",
    n: int = 1,
    batch_size: int | None = None,
) -> Any:
    """Answer a question from a context, or each question of a list from its context.

    Like `predict` for pairs, but one context may serve many questions, and more answers than the
    best are available.

    Args:
        question: one question, or several.
        context: one context (used for every question), or one for each question.
        task: name of the question-answering task.
        n: how many different answers to each question, the best first, at most the `most_answers`
            of the task. There are fewer if the task finds no more that differ.
        batch_size: as in `predict`.

    Returns:
        a prediction, or for n above 1 a list of them (which prints and draws itself); a list of
        either where lists were given.

    Raises:
        ConfigError: lists of different length, no such task, or an `n` that the task cannot give.
        DataError: an empty question or context, or something that is not text.
    """
    check_model(model)
    chosen = model.task(task)
    if not chosen.reads_pairs:
        raise ConfigError(
            f"the task {chosen.name!r} reads single texts",
            fix=f"call mtl.predict(model, text, tasks=[{chosen.name!r}])",
        )
    check_n_answers(chosen, n)
    results = predict(model, question_pairs(question, context), chosen.name, batch_size=batch_size)
    answers = [result[chosen.name] for result in results]
    if n > 1:
        answers = [chosen.best_answers(prediction, n) for prediction in answers]
    return answers[0] if isinstance(question, str) and isinstance(context, str) else answers


def check_n_answers(task: Task, n: int) -> None:
    """Raise ConfigError unless the task can give the `n` best answers."""
    if type(n) is not int or not 1 <= n <= task.most_answers:
        what = f"the number of answers must be from 1 to {task.most_answers}"
        if task.most_answers == 1:
            what = f"the task {task.name!r} gives one prediction, not a list of the best"
        raise ConfigError(what, found=repr(n))


def keep_best_answers(model: Model, predictions: Predictions, n: int) -> None:
    """Put the `n` best answers in the place of each prediction about a pair; 1 changes nothing."""
    for name, prediction in predictions.items():
        if n > 1 and model.tasks[name].reads_pairs:
            predictions[name] = model.tasks[name].best_answers(prediction, n)


def question_pairs(
    question: str | Sequence[str], context: str | Sequence[str]
) -> list[tuple[Any, Any]]:
    """Each question with its context; a single one is paired with each of the others.

    Raises:
        ConfigError: lists of different length.
    """
    questions, contexts = (
        [texts] if isinstance(texts, str) else as_list(texts) for texts in (question, context)
    )
    if len(contexts) == 1:
        contexts *= len(questions)
    if len(questions) == 1:
        questions *= len(contexts)
    if len(questions) != len(contexts):
        raise ConfigError(
            "questions and contexts differ in number",
            found=f"{len(questions)} questions, {len(contexts)} contexts",
        )
    return list(zip(questions, contexts, strict=True))


@dataclass(frozen=True)
class Neighbour:
    """A text of a list, its place in the list, and its cosine with the query."""

    text: str
    index: int
    score: float


@names_checked
def encode(
    model: Model,
    texts: str | Sequence[str],
    task: str | None = None,
    batch_size: int | None = None,
) -> Tensor:
    """A unit vector for each text.

    Args:
        texts: one text, or several.
        task: name of the embedding task, if the model has several. A model without one gives
            the mean of its encoder's hidden states, which were not trained for this.
        batch_size: as in `predict`.

    Returns:
        `(N, E)`, or `(E,)` for one text, on the CPU.

    Raises:
        ConfigError: no such task, a task that gives no vectors, or several tasks that do.
        DataError: an empty text.
    """
    check_model(model)
    chosen = embedding_task(model, task)
    queries = queries_of([texts] if isinstance(texts, str) else as_list(texts))
    if any(query.second is not None for query in queries):
        raise DataError("a vector is for one text, not for a pair", fix="give single texts")
    vectors = encode_encoded(model, encode_for(model, queries), chosen, batch_size)
    return vectors[0] if isinstance(texts, str) else vectors


@torch.no_grad()  # not inference_mode: these vectors may be what a user's own model learns from
def encode_encoded(
    model: Model,
    encoded: Sequence[EncodedExample],
    chosen: Task | None,
    batch_size: int | None = None,
) -> Tensor:
    """The same, `(N, E)`, for texts that `encode_for` has encoded.

    Args:
        chosen: the embedding task; None for the mean of the encoder's hidden states.
    """
    width = model.encoder.config.d_model
    # Made once and filled by index: batches do not come in the order of the texts.
    vectors = torch.empty(len(encoded), width if chosen is None else chosen.vector_width(width))

    def vectors_of_rows(part: Batch) -> Tensor:
        if chosen is None:
            return _mean_of_tokens(model, part)
        return model(part, [chosen.name])[chosen.name]

    for indices, batch in batches(model, encoded, batch_size):
        rows = in_parts(model, batch, vectors_of_rows, batch_size)  # (B, E)
        # The mean of windows is shorter than 1: it is brought back to unit length below.
        merged = merge_rows(rows.float(), batch.rows, len(batch))
        vectors[indices] = unit_vectors(merged).cpu()
    return vectors


def _mean_of_tokens(model: Model, batch: Batch) -> Tensor:
    """The mean of the encoder's hidden states, `(B, D)`."""
    hidden = model.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    return pool(hidden, batch.attention_mask, "mean")


def embedding_task(model: Model, name: str | None) -> Task | None:
    """The embedding task with this name, or the only one; None if the model has none.

    Raises:
        ConfigError: as in `encode`.
    """
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


@names_checked
def nearest(
    model: Model, query: str, texts: Sequence[str], n: int = 5, task: str | None = None
) -> list[Neighbour]:
    """The `n` texts closest to a query, closest first.

    Args:
        query: one text.
        texts: those to search.
        n: how many to return; all of them if there are fewer.
        task: as in `encode`.

    Raises:
        ConfigError: as in `encode`; or an `n` that is not a whole number, at least 1.
        DataError: an empty text, no texts, or several queries.
    """
    check_model(model)
    if type(n) is not int or n < 1:
        raise ConfigError("n must be a whole number, at least 1", found=repr(n))
    if not isinstance(query, str):
        raise DataError(
            "the query is not one text",
            found=repr(query)[:80],
            fix="give a string; for several queries, call `nearest` for each",
        )
    texts = [texts] if isinstance(texts, str) else as_list(texts)
    if not texts:
        raise DataError("there are no texts to search", fix="give at least one")
    return closest(encode(model, query, task), encode(model, texts, task), texts, n)


def closest(query: Tensor, vectors: Tensor, texts: Sequence[str], n: int) -> list[Neighbour]:
    """The `n` texts whose unit vectors, `(N, E)`, are closest to that of a query, `(E,)`."""
    cosines = vectors @ query  # (N,): for unit vectors, the dot product is the cosine
    # stable: texts with equal scores stay in the order in which they were given.
    scores, indices = cosines.sort(descending=True, stable=True)
    found = zip(indices[:n].tolist(), scores[:n].tolist(), strict=True)
    return [Neighbour(texts[i], i, score) for i, score in found]
