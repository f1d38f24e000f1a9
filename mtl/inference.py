"""Predict and evaluate, through one loop: what is scored is what users get."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from .data.batching import Batch, sorted_batches
from .data.encoded import EncodedExample, check_on_error, encode_examples, warn_of_encoding
from .data.examples import Query, check_unicode
from .data.readers import as_examples
from .devices import choose_threads, use_threads
from .errors import ConfigError, DataError, DataWarning
from .model import MultiTaskModel
from .nn.encoder import TransformerEncoder
from .nn.heads import merge_rows, pool, unit_vectors
from .tasks import Task
from .tasks.base import score_of
from .tasks.qa import MOST_SPANS, Answers

MAX_TOKENS = 8192  # in one pass of the encoder, padding included: this bounds the memory


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


def encode_for(
    model: MultiTaskModel,
    examples: Sequence[Any],
    tasks: Sequence[Task] = (),
    on_error: str = "stop",
    where: str = "",
) -> list[EncodedExample]:
    """The rows of examples as the model reads them, made once and used as often as you like.

    Args:
        tasks: they make the targets; to predict, no task is needed.
        on_error: "stop" raises all that is wrong with the examples; "skip" leaves out those that
            cannot be used, and says how many (DataWarning).
        where: the data, in words, for such a warning; by default the names of the tasks.

    Raises:
        DataError: an example with an empty text, a question that leaves no room for a context, or
            labels that a task does not know.
    """
    check_on_error(on_error)
    shape, faults = model.encoder.config, [] if on_error == "skip" else None
    encoded, notes = encode_examples(
        *(examples, model.tokenizer, tasks, shape.max_length, model.overlap), faults=faults
    )
    names = " and ".join(task.name for task in tasks)
    warn_of_encoding(where or names or "input", notes, faults or [])
    return encoded


def predict_examples(
    model: MultiTaskModel, examples: Sequence[Any], tasks: Sequence[str], progress: bool = False
) -> list[Predictions]:
    """The predictions of several heads for every example, all from the same encoder passes.

    Args:
        progress: show a bar on stderr if it takes more than two seconds.

    Raises:
        DataError: an example with an empty text, or a question that leaves no room for a context.
    """
    return predict_encoded(model, encode_for(model, examples), tasks, progress)


@torch.inference_mode()
def predict_encoded(
    model: MultiTaskModel,
    encoded: Sequence[EncodedExample],
    tasks: Sequence[str],
    progress: bool = False,
) -> list[Predictions]:
    """The same for examples that `encode_for` has encoded."""
    results = [Predictions() for _ in encoded]
    n_rows = sum(len(item.rows) for item in encoded)
    bar = tqdm(total=n_rows, unit="row", delay=2, disable=not progress, file=sys.stderr)
    with bar:
        for indices, batch in _batches(model, encoded):
            said = _in_parts(model, batch, lambda part: model(part, tasks), bar.update)
            for name, outputs in said.items():
                predictions = model.tasks[name].decode(outputs, batch)
                for i, prediction in zip(indices, predictions, strict=True):
                    results[i][name] = prediction
    return results


def _batches(
    model: MultiTaskModel, encoded: Sequence[EncodedExample]
) -> Iterator[tuple[list[int], Batch]]:
    """Batches of the examples with their indices; meanwhile the model predicts, without gradients.

    Gradients and dropout are as they were when the caller has seen the last batch.
    """
    was_training = model.training
    model.eval()
    try:
        for indices, batch in sorted_batches(encoded, model.tokenizer, MAX_TOKENS):
            yield indices, batch.to(model.device)
    finally:
        model.train(was_training)


def _in_parts(
    model: MultiTaskModel,
    batch: Batch,
    run: Callable[[Batch], Any],
    advance: Callable[[int], Any] = lambda rows: None,
) -> Any:
    """What `run` returns for all rows of a batch, computed part by part.

    A long text is a single example with many rows; memory is needed for one part at a time.
    `advance` is told how many rows are done.
    """
    tokens = min(batch.input_ids.numel(), MAX_TOKENS)
    outputs = []
    with use_threads(choose_threads(tokens * model.encoder.config.multiply_adds)):
        for part in batch.row_parts(MAX_TOKENS):
            outputs.append(run(part))
            advance(len(part.item_of_row))
    return _joined(outputs)


def _joined(parts: Sequence[Any]) -> Any:
    """Tensors one after the other; of dicts and tuples of tensors, each entry so."""
    first = parts[0]
    if isinstance(first, dict):
        return {key: _joined([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple):
        return tuple(map(_joined, zip(*parts, strict=True)))
    return first if len(parts) == 1 else torch.cat(list(parts))


def predict(
    model: MultiTaskModel,
    texts: str | Sequence[str | Sequence[str]],
    tasks: str | Sequence[str] | None = None,
    progress: bool = False,
) -> Predictions | list[Predictions]:
    """What the model says about a text, or about each of a list of texts.

    Args:
        texts: one text, or several. A text longer than the encoder's positions is read in windows.
            Instead of a string, a text may be the list of its words: `[["王", "小", "明"]]`.
        tasks: name (or kind) of a task that reads single texts, or several; by default all.
        progress: show a bar on stderr if it takes more than two seconds.

    Returns:
        for each text a dict from task name to prediction; for one text just that dict.

    Raises:
        ConfigError: an unknown task, or one that reads pairs (use `answer`).
        DataError: an empty text, or an empty word.
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
    queries = _queries([texts] if single else texts)
    results = predict_examples(model, queries, [task.name for task in chosen], progress)
    return results[0] if single else results


def answer(
    model: MultiTaskModel,
    question: str | Sequence[str],
    context: str | Sequence[str],
    task: str = "qa",
    n: int = 1,
) -> Any:
    """Answer a question from a context, or each question of a list from its context.

    Args:
        question: one question, or several.
        context: one context (used for every question), or one a question.
        task: name of the question-answering task.
        n: how many different answers to each question, the best first. There are fewer where fewer
            of the best `MOST_SPANS` spans of the context differ.

    Returns:
        a `QAPrediction`, or for n above 1 a list of them (which prints and draws itself); a list of
        either where lists were given.

    Raises:
        ConfigError: lists of different length, no such task, or `n` not from 1 to `MOST_SPANS`.
        DataError: an empty question or context.
    """
    if not 1 <= n <= MOST_SPANS:
        raise ConfigError(f"n, of answers, must be from 1 to {MOST_SPANS}", found=str(n))
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
    queries = _queries(questions, contexts)
    answers = [result[name] for result in predict_examples(model, queries, [name])]
    if n > 1:
        answers = [Answers([best, *best.alternatives[: n - 1]]) for best in answers]
    return answers[0] if single else answers


@dataclass(frozen=True)
class Neighbour:
    """A text of a list, where it stands in the list, and its cosine with what was asked for."""

    text: str
    index: int
    score: float


@torch.no_grad()
def encode(model: MultiTaskModel, texts: str | Sequence[str], task: str | None = None) -> Tensor:
    """A unit vector for each text.

    Args:
        texts: one text, or several.
        task: name of the embedding task, if the model has several. A model that has none gives the
            mean of its encoder's hidden states, which no training has made for this.

    Returns:
        `(N, E)`, or `(E,)` for one text, on the CPU.

    Raises:
        ConfigError: no such task, a task that gives no vectors, or several that do.
        DataError: an empty text.
    """
    chosen = _embedding_task(model, task)
    queries = _queries([texts] if isinstance(texts, str) else texts)
    width = model.encoder.config.d_model
    vectors = torch.empty(len(queries), width if chosen is None else chosen.vector_width(width))
    for indices, batch in _batches(model, encode_for(model, queries)):
        if chosen is None:
            rows = _in_parts(model, batch, lambda part: _mean_of_tokens(model, part))
        else:
            rows = _in_parts(model, batch, lambda part: model(part, [chosen.name]))[chosen.name]
        merged = merge_rows(rows.float(), batch.item_of_row, len(batch))
        vectors[indices] = unit_vectors(merged).cpu()
    return vectors[0] if isinstance(texts, str) else vectors


def _mean_of_tokens(model: MultiTaskModel, batch: Batch) -> Tensor:
    """The mean of the encoder's hidden states, `(B, D)`."""
    hidden = model.encoder(batch.input_ids, batch.attention_mask, batch.type_ids)
    return pool(hidden, batch.attention_mask, "mean")


def _embedding_task(model: MultiTaskModel, name: str | None) -> Task | None:
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
    model: MultiTaskModel, query: str, texts: Sequence[str], n: int = 5, task: str | None = None
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
    cosines = encode(model, texts, task) @ encode(model, query, task)  # (N,)
    scores, indices = cosines.sort(descending=True, stable=True)
    found = zip(indices[:n].tolist(), scores[:n].tolist(), strict=True)
    return [Neighbour(texts[i], i, score) for i, score in found]


def evaluate(
    model: MultiTaskModel, task: str, examples: Sequence[Any], on_error: str = "stop"
) -> dict[str, float]:
    """Predict the examples and score the predictions of one task.

    Examples without a label for the task are left out. What the task has to say about its scores
    is a `DataWarning`.

    Args:
        on_error: "skip" leaves out examples that cannot be used, such as a question that is too
            long for the model, and says how many (DataWarning); "stop" raises all of them.

    Raises:
        ConfigError: no such task.
        DataError: no labelled examples, labels that the task does not know, or texts that cannot
            be used.
    """
    labelled, predictions = predict_labelled(model, task, examples, on_error)
    chosen = model.task(task)
    scores = score_of(chosen, labelled, predictions)
    for remark in chosen.remarks(scores):
        warnings.warn(f"{chosen.name}: {remark}", DataWarning, stacklevel=2)
    return scores


def predict_labelled(
    model: MultiTaskModel, task: str, examples: Sequence[Any], on_error: str = "stop"
) -> tuple[list[Any], list[Any]]:
    """The examples that have a label for a task, and its prediction for each; as `evaluate`."""
    chosen, encoded = encode_labelled(model, task, examples, on_error)
    return predictions_of(model, chosen.name, encoded)


def evaluate_encoded(
    model: MultiTaskModel, encoded: Sequence[EncodedExample], tasks: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Scores of several tasks on the same examples, from one encoder pass per batch.

    A task that has no labelled example among them has no scores.
    """
    chosen = [model.tasks[name] for name in tasks]
    encoded = [item for item in encoded if any(t.is_labelled(item.example) for t in chosen)]
    results = predict_encoded(model, encoded, tasks)
    scores = {}
    for task in chosen:
        said = [
            (item.example, result[task.name])
            for item, result in zip(encoded, results, strict=True)
            if task.is_labelled(item.example)
        ]
        if said:
            scores[task.name] = score_of(task, *map(list, zip(*said, strict=True)))
    return scores


def evaluate_baselines(
    model: MultiTaskModel, task: str, examples: Sequence[Any], on_error: str = "stop"
) -> dict[str, dict[str, float]]:
    """Scores of the task's trivial baselines, and of the model on its spoiled examples.

    Where the outputs of fresh weights say something already, the model with such weights is a
    baseline too (`untrained`). Spoiled examples that the model cannot read, such as a long context
    with another one's long question, are left out and counted in a DataWarning.

    Raises:
        ConfigError, DataError: as `evaluate`.
    """
    chosen, encoded = encode_labelled(model, task, examples, on_error)
    return score_baselines(model, chosen, encoded)


def score_baselines(
    model: MultiTaskModel, task: Task, encoded: Sequence[EncodedExample]
) -> dict[str, dict[str, float]]:
    """The same for labelled examples that are encoded."""
    scores: dict[str, dict[str, float]] = {}
    for part in BASELINES.values():
        scores |= part(model, task, encoded)
    return scores


def score_trivial(
    model: MultiTaskModel, task: Task, encoded: Sequence[EncodedExample]
) -> dict[str, dict[str, float]]:
    """Scores of what one gets without a model, by name."""
    examples = [item.example for item in encoded]
    baselines = task.baselines(examples)
    return {name: score_of(task, examples, predictions) for name, predictions in baselines.items()}


def score_untrained(
    model: MultiTaskModel, task: Task, encoded: Sequence[EncodedExample]
) -> dict[str, dict[str, float]]:
    """Scores of the model with fresh weights, where the task says that they are worth beating."""
    if not task.beats_untrained:
        return {}
    return {"untrained": score_of(task, *predictions_of(_untrained(model), task.name, encoded))}


def score_controls(
    model: MultiTaskModel, task: Task, encoded: Sequence[EncodedExample]
) -> dict[str, dict[str, float]]:
    """Scores of the model on examples that were spoiled on purpose, by name."""
    scores = {}
    for name, spoiled in task.controls([item.example for item in encoded]).items():
        readable = encode_for(model, spoiled, on_error="skip", where=f"{task.name}, {name}")
        if readable:
            scores[name] = score_of(task, *predictions_of(model, task.name, readable))
    return scores


# What the scores of a model are compared with; each function returns scores by name.
BASELINES = {
    "trivial baselines": score_trivial,
    "untrained model": score_untrained,
    "controls": score_controls,
}


def predictions_of(
    model: MultiTaskModel, task: str, encoded: Sequence[EncodedExample], progress: bool = False
) -> tuple[list[Any], list[Any]]:
    """The encoded examples that have a label for a task, and what it predicts for each."""
    labelled = [item for item in encoded if model.tasks[task].is_labelled(item.example)]
    results = predict_encoded(model, labelled, [task], progress)
    return [item.example for item in labelled], [result[task] for result in results]


def encode_labelled(
    model: MultiTaskModel, task: str, examples: Sequence[Any], on_error: str
) -> tuple[Task, list[EncodedExample]]:
    """The task of a name, and the examples that have a label for it; DataError if none has."""
    chosen = model.task(task)
    labelled = chosen.labelled(as_examples(examples))
    encoded = encode_for(model, labelled, [chosen], on_error)
    if not encoded:
        raise DataError(
            f"there are no labelled examples to evaluate {chosen.name!r} on",
            found=f"{len(examples):,} examples"
            + (f", of which {len(labelled):,} are left out" if labelled else ""),
        )
    return chosen, encoded


def _untrained(model: MultiTaskModel) -> MultiTaskModel:
    """The same model with fresh weights, always the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed the GPU too
        encoder = TransformerEncoder(model.encoder.config)
        tasks = list(model.tasks.values())
        fresh = MultiTaskModel(encoder, model.tokenizer, tasks, model.private_layers)
    return fresh.to(model.device)


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
