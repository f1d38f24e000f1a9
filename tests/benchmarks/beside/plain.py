"""Tasks and a budget go in; what a plain loop took, and what its models predict, come out.

The loop is what one writes around `transformers`: a model for each task, rows in random order, each
batch padded to its longest row, AdamW with one rate, linear warm-up and decay, clipping, and in the
end the weights of the epoch that did best on validation.
"""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import mtl
from mtl.devices import autocast, choose_precision

from .cases import Case, Outcome

CPU = torch.device("cpu")
EVAL_ROWS = 32  # in a batch of prediction


@dataclass(frozen=True)
class Row:
    """What the model gets (in training the labels too), and the number of the row's example.

    `pieces` is what decoding needs of each token: its word, or its characters.
    """

    inputs: dict[str, Any]
    example: int
    pieces: Sequence[Any] = ()


class PlainTask(ABC):
    """What differs between tasks: the model, rows with labels, and decoding.

    Args:
        task: of ours; it names the labels, chooses thresholds, and scores predictions.
        case: the budget.
        checkpoint: the folder with pretrained weights.
    """

    def __init__(self, task: mtl.tasks.Task, case: Case, checkpoint: str) -> None:
        from transformers import AutoTokenizer, DataCollatorWithPadding, logging

        logging.set_verbosity_error()  # a fresh head is what we want
        logging.disable_progress_bar()
        self.task, self.case = task, case
        self.tokenizer = AutoTokenizer.from_pretrained(checkpoint)
        self.collator = DataCollatorWithPadding(self.tokenizer)
        self.model = self.build_model(checkpoint)

    @abstractmethod
    def build_model(self, checkpoint: str) -> Any:
        """The pretrained encoder with a fresh head."""

    @abstractmethod
    def rows(self, examples: Sequence[Any], training: bool = False) -> list[Row]:
        """The tokenized rows of the examples, in their order."""

    @abstractmethod
    def decode(self, examples: Sequence[Any], rows: Sequence[Row], outputs: list[Any]) -> list[Any]:
        """From the outputs for the rows, what our task would predict for each example."""

    def outputs_of_rows(self, output: Any) -> list[Tensor]:
        """The logits of each row of a batch."""
        return list(output.logits.float())

    def collate(self, rows: Sequence[Row]) -> Any:
        """A batch, padded to its longest row."""
        return self.collator([row.inputs for row in rows])


def run(models: Iterable[PlainTask], precision: str) -> Outcome:
    """Train the model of each task and predict the task's test examples, one after the other."""
    dtype = choose_precision(precision, CPU)
    train_seconds = predict_seconds = 0.0
    predictions = {}
    for one in models:
        started = time.perf_counter()
        train(one, dtype)
        trained = time.perf_counter()
        test = one.task.labelled(one.task.dataset.test)
        predictions[one.task.name] = predict(one, test, dtype)
        train_seconds += trained - started
        predict_seconds += time.perf_counter() - trained
        del one  # before the next is made: it should not count twice in the memory
    return Outcome(train_seconds, predict_seconds, predictions)


def train(plain: PlainTask, dtype: torch.dtype) -> None:
    """Epochs of updates; the model ends with the weights that did best on validation."""
    case, model, task = plain.case, plain.model, plain.task
    loader = DataLoader(
        plain.rows(task.labelled(task.dataset.train), training=True),
        batch_size=case.rows or case.batch_size,
        shuffle=True,
        collate_fn=plain.collate,
    )
    optimizer, schedule = optimizer_of(model, case.plain_rate, case.epochs * len(loader))
    best = float("-inf")
    for _ in range(case.epochs):
        model.train()
        for batch in loader:
            with autocast(CPU, dtype):
                loss = model(**batch).loss
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
        score = validate(plain, dtype)
        if score >= best:  # of equal ones, the weights that have learned longer
            best = score
            kept = copy.deepcopy(model.state_dict()), task.thresholds
    weights, task.thresholds = kept
    model.load_state_dict(weights)


def optimizer_of(model: nn.Module, rate: float, steps: int) -> tuple[Any, Any]:
    """AdamW, without weight decay for biases and norms, and its schedule."""
    from transformers import get_linear_schedule_with_warmup

    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() > 1], "weight_decay": 0.01},
        {"params": [p for p in parameters if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate)
    return optimizer, get_linear_schedule_with_warmup(optimizer, steps // 10, steps)


def validate(plain: PlainTask, dtype: torch.dtype) -> float:
    """The main score on validation, the task's thresholds chosen on it first, as ours does."""
    task = plain.task
    examples = task.labelled(task.dataset.validation)
    predictions = predict(plain, examples, dtype)
    task.thresholds = task.choose_thresholds(examples, predictions)
    decided = [task.decide(prediction) for prediction in predictions]
    return task.main_score(task.score(examples, decided))[1]


@torch.inference_mode()
def predict(plain: PlainTask, examples: Sequence[Any], dtype: torch.dtype) -> list[Any]:
    """What the model says of each example, under the task's thresholds."""
    plain.model.eval()
    rows = plain.rows(examples)
    outputs: list[Any] = []
    for batch in DataLoader(rows, batch_size=EVAL_ROWS, collate_fn=plain.collate):
        with autocast(CPU, dtype):
            output = plain.model(**batch)
        outputs += plain.outputs_of_rows(output)
    return [plain.task.decide(p) for p in plain.decode(examples, rows, outputs)]
