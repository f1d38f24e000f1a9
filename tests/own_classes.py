"""A user's own module, as small as can be: tests copy it to where a recipe finds it.

Nothing here is known by a short name but `lengths`; it must not be imported from here.
"""

import os
from dataclasses import asdict, dataclass

import torch
from torch import nn

import mtl
from mtl.nn.heads import merge_rows, pool
from mtl.tasks import Task
from mtl.training import Aggregation, Weighting


@dataclass(frozen=True)
class Length:
    words: float

    def to_dict(self):
        return asdict(self)


class LengthTask(Task):
    """How many words a text has; what it predicts is rounded to `step`."""

    main_metric = "within_one"
    example = mtl.TextExample

    def __init__(self, name, dataset=None, step: float = 0.5):
        super().__init__(name, dataset)
        self.step = step

    def settings(self):
        return {"step": self.step}

    def build_head(self, d_model):
        return nn.Linear(d_model, 1)

    def run_head(self, head, hidden, batch):
        return head(pool(hidden, batch.attention_mask, "mean"))

    def targets(self, example, rows, notes):
        return [float(len(example.text.split()))] * len(rows)

    def collate(self, targets, length):
        return torch.tensor(targets)

    def loss(self, outputs, targets, batch):
        return (outputs[:, 0] - targets).square().mean()

    def decode(self, outputs, batch):
        lengths = merge_rows(outputs, batch.rows, len(batch))[:, 0]
        return [Length(n) for n in ((lengths / self.step).round() * self.step).tolist()]

    def score(self, examples, predictions):
        pairs = zip(examples, predictions, strict=True)
        near = [abs(len(example.text.split()) - said.words) <= 1 for example, said in pairs]
        return {"within_one": sum(near) / len(near)}


class NamedLengthTask(LengthTask):
    kind = "lengths"


class Unfinished(Task):
    def build_head(self, d_model):
        return nn.Linear(d_model, 1)


class Scaled(Weighting):
    """The same weight for all; it ends the training like Ctrl-C where STOP_AT says so."""

    def __init__(self, factor: float = 0.5):
        super().__init__()
        self.factor = factor
        self.calls = 0

    def forward(self, losses):
        self.calls += 1
        if self.calls == int(os.environ.get("STOP_AT", 0)):
            raise KeyboardInterrupt
        return dict.fromkeys(losses, self.factor)


class Mean(Aggregation):
    def forward(self, gradients):
        return gradients.mean(0)


class Silent(Weighting):
    """It has no `forward`."""


NUMBER = 3
