"""A run folder, or an exported one, goes in; its model comes out, ready to predict."""

from __future__ import annotations

from pathlib import Path

from ..devices import choose_device
from ..export import OnnxModel, load_onnx
from ..files import EXPORTED
from ..model import MultiTaskModel


def load_model(folder: str) -> MultiTaskModel | OnnxModel:
    """The model of a run folder, on the best device available; or an exported one, on the CPU."""
    if (Path(folder) / EXPORTED).exists():
        return load_onnx(folder)
    return MultiTaskModel.from_pretrained(folder).to(choose_device())
