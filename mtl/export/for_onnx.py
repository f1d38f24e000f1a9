"""A model goes in; a folder with one ONNX graph comes out, with what the check of it found."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, ModelError, suggest
from ..files import EXPORTED, write_atomically
from ..model import MultiTaskModel
from ..model_folder import write_parts
from ..nn.shared_encoder import count_parameters
from ..version import __version__
from .check import Checked, check_export, check_markdown, check_table
from .onnx_graph import graph_of
from .onnx_model import OnnxGraph, OnnxModel
from .onnx_weights import WEIGHTS, without_traces

REPORT = "export"  # export.md and export.json
ALLOWED = {"float32": 1e-3}  # the difference of outputs that differ by rounding alone
MOST_BYTES = 2**31 - 1  # what one file of this format can hold


@dataclass(frozen=True)
class Report:
    """What was exported, and what its check found.

    Attributes:
        weights: `float32`, `int8` or `half`.
        bytes: the size of the graph.
        share: of the size of the model's weights in float32.
        tasks: what the check found, by task.
    """

    weights: str
    bytes: int
    share: float
    tasks: dict[str, Checked]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"mtl": __version__, "format": "onnx", **asdict(self)}

    def in_words(self) -> str:
        """How large the graph is."""
        return (
            f"{EXPORTED}, {self.weights}: {self.bytes / 1e6:.1f} MB, {self.share:.2f} of the "
            "model's weights in float32"
        )

    def __str__(self) -> str:
        return f"{self.in_words()}\n\n{check_table(self.tasks)}"

    def to_markdown(self) -> str:
        return f"{self.in_words()}\n\n{check_markdown(self.tasks)}\n"


def export_onnx(
    model: MultiTaskModel,
    folder: str | Path,
    weights: str = "float32",
    tests: Mapping[str, Sequence[Any]] | None = None,
    on_error: str = "stop",
    progress: bool = False,
) -> Report:
    """Write a model as one ONNX graph, with its tokenizer and config; `mtl.load_onnx` reads it.

    The graph is compared with the model before anything is written. What was found comes back, and
    is in the folder, in `export.md` and `export.json`.

    Args:
        folder: is created if it is missing.
        weights: `float32`; `int8` for the encoder's matrices in eight bits; `half` for weights
            that are kept in float16 and computed with in float32.
        tests: labelled examples by task, for the change of the main metrics.
        on_error: "skip" leaves out examples that cannot be used, as in `evaluate`.
        progress: show a progress bar on stderr for scores that take long.

    Raises:
        ConfigError: unknown weights, or a library of the extra `onnx` that is not installed.
        ModelError: a model that cannot be a graph (see `graph_of`), whose graph would have more
            than 2 GB, or whose graph gives other outputs.
    """
    if weights not in WEIGHTS:
        raise ConfigError("weights are unknown", found=repr(weights), fix=suggest(weights, WEIGHTS))
    proto = WEIGHTS[weights](graph_of(model))
    if proto.ByteSize() > MOST_BYTES:
        raise ModelError(
            "the graph has more than 2 GB, which one file cannot hold",
            found=f"{proto.ByteSize() / 1e9:.1f} GB",
            fix="use --half or --int8",
        )
    content = without_traces(proto).SerializeToString()
    exported = OnnxModel(model.parts, OnnxGraph(content))
    checked = check_export(model, exported, tests or {}, on_error, progress)
    _check_is_equal(checked, ALLOWED.get(weights, math.inf))
    share = len(content) / (4 * count_parameters(model))
    report = Report(weights, len(content), share, checked)
    folder = Path(folder)
    write_parts(folder, model.parts)
    write_atomically(folder / f"{REPORT}.json", json.dumps(report.to_dict(), indent=2) + "\n")
    write_atomically(folder / f"{REPORT}.md", report.to_markdown())
    # The graph last: a folder that has it is complete.
    write_atomically(folder / EXPORTED, content)
    return report


def _check_is_equal(checked: Mapping[str, Checked], allowed: float) -> None:
    """Raise ModelError if outputs of the graph and the model differ by more than allowed."""
    # Not `>`: a difference that is not a number must not pass.
    wrong = {name: found for name, found in checked.items() if not found.difference <= allowed}
    if wrong:
        raise ModelError(
            "the graph does not give the outputs of the model",
            found=", ".join(f"{name}: {found.difference:.1e}" for name, found in wrong.items()),
            fix="a head of your own must depend on its inputs alone, not on chance or on the size "
            "of the batch",
        )
