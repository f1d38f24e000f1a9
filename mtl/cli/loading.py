"""A run folder goes in; its model comes out, on the best device available."""

from __future__ import annotations

from ..devices import choose_device
from ..model import MultiTaskModel


def load_model(folder: str) -> MultiTaskModel:
    """The model of a run folder, on the best device available."""
    return MultiTaskModel.from_pretrained(folder).to(choose_device())
