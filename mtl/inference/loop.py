"""Encoded examples go in; predictions come out: one loop over encoder, heads and tasks.

All prediction and evaluation goes through it, so what is scored is what users get. The loop does
not depend on a model class; `Model` says what it needs of one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from ..data.batching import Batch, sorted_batches
from ..data.encoded import EncodedExample, check_on_error, encode_examples, warn_of_encoding
from ..data.tokenizers.base import Tokenizer
from ..devices import choose_threads, use_threads
from ..errors import ConfigError, Fault
from ..nn.config import EncoderConfig
from ..progress import progress_bar
from ..tasks.base import Task, predictions_from

# Per pass of the encoder, padding included, unless a batch size is given: bounds the memory.
MAX_TOKENS = 8192


class Encoder(Protocol):
    """What turns token ids into vectors, as `mtl.TransformerEncoder` does."""

    @property
    def config(self) -> EncoderConfig: ...

    def __call__(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor: ...


class Model(Protocol):
    """A shared encoder, its tokenizer, and a head for each task, as `mtl.MultiTaskModel` has them.

    Called with a batch and names of tasks, it returns the outputs of the heads of these tasks.
    """

    tokenizer: Tokenizer
    tasks: dict[str, Task]
    overlap: int
    training: bool

    @property
    def encoder(self) -> Encoder: ...

    @property
    def device(self) -> torch.device: ...

    def __call__(self, batch: Batch, tasks: Iterable[str]) -> dict[str, Any]: ...

    def task(self, name: str) -> Task: ...

    def train(self, mode: bool = True) -> Any: ...

    def eval(self) -> Any: ...

    def untrained(self) -> Model: ...


class Predictions(dict):
    """The predictions of several heads for one text, by task name; prints and draws itself."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {name: prediction.to_dict() for name, prediction in self.items()}

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def __str__(self) -> str:
        return "\n".join(f"{name}: {prediction}" for name, prediction in self.items())

    def _repr_html_(self) -> str:
        return "".join(prediction._repr_html_() for prediction in self.values())


def check_model(model: Any) -> None:
    """Raise ConfigError unless this is a model, rather than its folder or a bare encoder."""
    if not callable(getattr(model, "task", None)):
        raise ConfigError(
            "the first argument is not a model",
            found=repr(model)[:80],
            fix="give an mtl.MultiTaskModel; mtl.MultiTaskModel.from_pretrained(FOLDER) reads one",
        )


def encode_for(
    model: Model,
    examples: Sequence[Any],
    tasks: Sequence[Task] = (),
    on_error: str = "stop",
    where: str = "",
) -> list[EncodedExample]:
    """The rows of examples as the model reads them, made once and usable any number of times.

    Args:
        tasks: those that make the targets; prediction needs none.
        on_error: "stop" raises everything wrong with the examples; "skip" leaves out those that
            cannot be used and says how many (DataWarning).
        where: what to call the data in such a warning; by default the names of the tasks.

    Raises:
        DataError: an example with an empty text, a question that leaves no room for a context, or
            labels that a task does not know.
    """
    check_on_error(on_error)
    max_length = model.encoder.config.max_length
    faults: list[Fault] | None = [] if on_error == "skip" else None
    encoded, notes = encode_examples(
        examples, model.tokenizer, tasks, max_length, model.overlap, faults
    )
    names = " and ".join(task.name for task in tasks)
    warn_of_encoding(where or names or "input", notes, faults or [])
    return encoded


def predict_examples(
    model: Model,
    examples: Sequence[Any],
    tasks: Sequence[str],
    progress: bool = False,
    batch_size: int | None = None,
) -> list[Predictions]:
    """The predictions of several heads for every example, all from the same encoder passes.

    Args:
        progress: show a progress bar on stderr if it takes more than two seconds.
        batch_size: rows in one pass of the encoder, see `rows_at_once`.

    Raises:
        DataError: an example with an empty text, or a question that leaves no room for a context.
    """
    return predict_encoded(model, encode_for(model, examples), tasks, progress, batch_size)


# Cheaper than no_grad; plain lists come out, for which nobody needs a gradient.
@torch.inference_mode()
def predict_encoded(
    model: Model,
    encoded: Sequence[EncodedExample],
    tasks: Sequence[str],
    progress: bool = False,
    batch_size: int | None = None,
) -> list[Predictions]:
    """The same for examples that `encode_for` has encoded."""
    # Filled by index: batches come sorted by length, answers in the order of the questions.
    results = [Predictions() for _ in encoded]
    n_rows = sum(item.n_rows for item in encoded)
    # delay: no bar for what takes only a moment.
    with progress_bar(progress=progress, total=n_rows, unit="row", delay=2) as bar:
        for indices, batch in batches(model, encoded, batch_size):
            said = in_parts(model, batch, lambda part: model(part, tasks), batch_size, bar.update)
            for name, outputs in said.items():
                # Decoded once the whole batch is there: a text is merged from all its windows.
                predictions = predictions_from(model.tasks[name], outputs, batch)
                for i, prediction in zip(indices, predictions, strict=True):
                    results[i][name] = prediction
    return results


def rows_at_once(length: int, batch_size: int | None) -> int:
    """How many rows of `length` tokens go through the encoder in one pass.

    Args:
        batch_size: this many, however long they are; None for as many as `MAX_TOKENS` allows.

    Raises:
        ConfigError: an invalid batch size.
    """
    if batch_size is None:
        # At least one: a row longer than the limit must be read too.
        return max(1, MAX_TOKENS // length)
    if type(batch_size) is not int or batch_size < 1:
        what = "batch_size must be a whole number, at least 1"
        raise ConfigError(what, found=repr(batch_size))
    return batch_size


def batches(
    model: Model, encoded: Sequence[EncodedExample], batch_size: int | None = None
) -> Iterator[tuple[list[int], Batch]]:
    """Batches of the examples, with their indices; meanwhile the model is in evaluation mode.

    After the last batch, or when the caller stops early, the model returns to its former mode.
    """
    was_training = model.training
    # Without dropout, or the same text would get a different answer each time.
    model.eval()
    try:
        max_rows = partial(rows_at_once, batch_size=batch_size)
        for indices, batch in sorted_batches(encoded, model.tokenizer, max_rows):
            yield indices, batch.to(model.device)
    finally:
        model.train(was_training)


def in_parts(
    model: Model,
    batch: Batch,
    run: Callable[[Batch], Any],
    batch_size: int | None = None,
    advance: Callable[[int], Any] = lambda rows: None,
) -> Any:
    """What `run` returns for all rows of a batch, computed part by part.

    A long text is a single example with many rows; memory is needed for one part at a time.
    `advance` receives the number of rows done.
    """
    n_rows, length = batch.input_ids.shape
    max_rows = rows_at_once(length, batch_size)
    tokens = min(n_rows, max_rows) * length
    outputs = []
    # Threads depend on the work: a small model's takes longer to divide than to do.
    with use_threads(choose_threads(tokens * model.encoder.config.multiply_adds)):
        for part in batch.row_parts(max_rows):
            outputs.append(run(part))
            advance(len(part.rows))
    return _joined(outputs)


def _joined(parts: Sequence[Any]) -> Any:
    """Tensors concatenated; for dicts and tuples of tensors, entry by entry.

    A head returns whatever its task decodes: one tensor, or start and end logits as a tuple.
    """
    first = parts[0]
    if isinstance(first, dict):
        return {key: _joined([part[key] for part in parts]) for key in first}
    if isinstance(first, tuple):
        return tuple(map(_joined, zip(*parts, strict=True)))
    # The usual case is a single part, which need not be copied.
    return first if len(parts) == 1 else torch.cat(list(parts))
