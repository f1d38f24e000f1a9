"""A model, tasks and a configuration go in; a trained model and its history come out."""

from .aggregation import Aggregation, PCGrad, Sum, TorchJD
from .config import TrainConfig
from .conflict import gradient_conflict
from .history import Conflict, History
from .loop import train
from .tensorboard import TensorBoard
from .weighting import (
    DynamicWeightAverage,
    FixedWeighting,
    GradNorm,
    RandomWeighting,
    UncertaintyWeighting,
    Weighting,
)

__all__ = [
    "Aggregation",
    "Conflict",
    "DynamicWeightAverage",
    "FixedWeighting",
    "GradNorm",
    "History",
    "PCGrad",
    "RandomWeighting",
    "Sum",
    "TensorBoard",
    "TorchJD",
    "TrainConfig",
    "UncertaintyWeighting",
    "Weighting",
    "gradient_conflict",
    "train",
]
