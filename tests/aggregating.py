"""Gradients, and aggregators of TorchJD to compare with."""

import pytest
import torch

from mtl.training.loop import TrainConfig

JOINT = TrainConfig(epochs=3, batch_size=6, learning_rate=1e-2, sampling="joint", device="cpu")


def their(name, **options):
    """A new aggregator of TorchJD."""
    jd = pytest.importorskip("torchjd.aggregation")
    try:
        return getattr(jd, name)(**options)
    except ImportError as error:
        pytest.skip(str(error))


def some_gradients(n_tasks, seed=0):
    """Some of them against each other."""
    return torch.randn(n_tasks, 50, generator=torch.Generator().manual_seed(seed))
