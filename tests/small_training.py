"""Two small tasks that learn fast, and how to compare weights: for tests of the training loop."""

import pytest
import torch

from mtl.data.dataset import Dataset
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.training.config import TrainConfig

TYPES = ["LOC", "MISC", "ORG", "PER"]
FAST = TrainConfig(epochs=2, batch_size=8, learning_rate=1e-2)


@pytest.fixture
def tasks(sentences, questions):
    """NER with 8 sentences (1 batch) and QA with 20 questions (3 batches), none for validation."""
    return [
        NERTask("ner", Dataset(train=sentences[:8]), types=TYPES),
        QATask("qa", Dataset(train=questions[:20])),
    ]


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same_weights(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
