"""Predict and evaluate, through one loop: what is scored is what users get."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch

from .data.batching import encode_examples, sorted_batches
from .data.examples import Query
from .errors import ConfigError, DataError
from .model import MultiTaskModel

BATCH_SIZE = 64


class Predictions(dict):
    """What several heads said about one text, by task name; prints and draws itself."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {name: prediction.to_dict() for name, prediction in self.items()}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __str__(self) -> str:
        return "\n".join(f"{name}: {prediction}" for name, prediction in self.items())

    def _repr_html_(self) -> str:
        return "".join(prediction._repr_html_() for prediction in self.values())


@torch.inference_mode()
def predict_examples(
    model: MultiTaskModel, examples: Sequence[Any], tasks: Sequence[str]
) -> list[Predictions]:
    """The predictions of several heads for every example, from one encoder pass a batch.

    Raises:
        DataError: an example with an empty text, or a question that leaves no room for a context.
    """
    encoded, _ = encode_examples(examples, model.tokenizer, [], model.encoder.config.max_length)
    was_training = model.training
    model.eval()
    results = [Predictions() for _ in examples]
    for indices, batch in sorted_batches(encoded, model.tokenizer, BATCH_SIZE):
        batch = batch.to(model.device)
        for name, outputs in model(batch, tasks).items():
            for i, prediction in zip(
                indices, model.tasks[name].decode(outputs, batch), strict=True
            ):
                results[i][name] = prediction
    model.train(was_training)
    return results


def predict(
    model: MultiTaskModel, texts: str | Sequence[str], tasks: str | Sequence[str] | None = None
) -> Predictions | list[Predictions]:
    """What the model says about a text, or about each of a list of texts.

    Args:
        texts: one text, or several. A text longer than the encoder's positions is read in windows.
        tasks: name (or kind) of a task that reads single texts, or several; by default all.

    Returns:
        for each text a dict from task name to prediction; for one text just that dict.

    Raises:
        ConfigError: an unknown task, or one that reads pairs (use `answer`).
        DataError: an empty text.
    """
    if tasks is None:
        fitting = [name for name, task in model.tasks.items() if not task.reads_pairs]
        tasks = fitting or list(model.tasks)
    chosen = [model.task(name) for name in ([tasks] if isinstance(tasks, str) else tasks)]
    for task in chosen:
        if task.reads_pairs:
            raise ConfigError(
                f"the task {task.name!r} reads a question and a context",
                fix="call mtl.answer(model, question=..., context=...)",
            )
    single = isinstance(texts, str)
    queries = [Query(text) for text in ([texts] if single else texts)]
    _check_filled(queries)
    results = predict_examples(model, queries, [task.name for task in chosen])
    return results[0] if single else results


def answer(
    model: MultiTaskModel,
    question: str | Sequence[str],
    context: str | Sequence[str],
    task: str = "qa",
) -> Any:
    """Answer a question from a context, or each question of a list from its context.

    Args:
        question: one question, or several.
        context: one context (used for every question), or one a question.
        task: name of the question-answering task.

    Returns:
        a `QAPrediction`, or a list of them where lists were given.

    Raises:
        ConfigError: lists of different length, or no such task.
        DataError: an empty question or context.
    """
    chosen = model.task(task)
    if not chosen.reads_pairs:
        raise ConfigError(
            f"the task {chosen.name!r} reads single texts",
            fix=f"call mtl.predict(model, text, tasks=[{chosen.name!r}])",
        )
    name = chosen.name
    single = isinstance(question, str) and isinstance(context, str)
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
    queries = [Query(q, c) for q, c in zip(questions, contexts, strict=True)]
    _check_filled(queries)
    answers = [result[name] for result in predict_examples(model, queries, [name])]
    return answers[0] if single else answers


def evaluate(model: MultiTaskModel, task: str, examples: Sequence[Any]) -> dict[str, float]:
    """Predict the examples and score the predictions of one task.

    Raises:
        ConfigError: no such task.
        DataError: no examples, or labels that the task does not know.
    """
    chosen = model.task(task)
    if not examples:
        raise DataError(f"there are no examples to evaluate {chosen.name!r} on")
    predictions = predict_examples(model, examples, [chosen.name])
    return chosen.score(examples, [p[chosen.name] for p in predictions])


def evaluate_baselines(
    model: MultiTaskModel, task: str, examples: Sequence[Any]
) -> dict[str, dict[str, float]]:
    """Scores of the task's trivial baselines, and of the model on its spoiled examples."""
    chosen = model.task(task)
    trivial = {
        name: chosen.score(examples, predictions)
        for name, predictions in chosen.baselines(examples).items()
    }
    spoiled = {
        name: evaluate(model, task, changed) for name, changed in chosen.controls(examples).items()
    }
    return trivial | spoiled


def _check_filled(queries: Sequence[Query]) -> None:
    for i, query in enumerate(queries, 1):
        for text in (query.text, query.second):
            if text is not None and not text.strip():
                raise DataError(
                    f"text {i} is empty or only blanks"
                    if len(queries) > 1
                    else "the text is empty",
                    found=repr(text),
                    fix="give at least one word",
                )
