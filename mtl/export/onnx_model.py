"""A folder with an exported graph goes in; a model that predicts like the original comes out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data.batching import Batch
from ..errors import ConfigError, ModelError, missing_extra
from ..files import EXPORTED, missing_file
from ..inference.predictor import Predictor
from ..model import MultiTaskModel, untrained_model
from ..model_folder import WEIGHTS, Parts, read_folder
from ..nn.config import EncoderConfig
from .onnx_graph import HIDDEN, OUTPUTS, leaves, outputs_named


class OnnxGraph:
    """A graph that is ready to run, by onnxruntime.

    Args:
        content: of the file.
        threads: how many cores it computes on; 0 for as many as torch would use.

    Raises:
        ConfigError: onnxruntime is not installed.
        ModelError: no graph, or not one that `export_onnx` made.
    """

    def __init__(self, content: bytes, threads: int = 0) -> None:
        try:
            import onnxruntime
        except ImportError:
            what = "running an exported graph"
            raise missing_extra("onnx onnxscript onnxruntime", "onnx", what) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        # A thread that waits would keep its core busy, and with it whatever else needs the core.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3  # errors only
        try:
            self.session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
            metadata = self.session.get_modelmeta().custom_metadata_map
            self.outputs: dict[str, Any] = json.loads(metadata[OUTPUTS])
        except Exception as error:  # it has a class of its own for each thing that may be wrong
            raise ModelError(
                "this is not a graph that mtl export wrote",
                found=f"{type(error).__name__}: {error}"[:200],
                fix="export the model again",
            ) from None
        self.inputs = [value.name for value in self.session.get_inputs()]
        self.run_options = onnxruntime.RunOptions()
        # Heads that nobody asked for, and private layers below them, are not computed.
        self.run_options.only_execute_path_to_fetches = True

    def run(self, names: Iterable[str], **inputs: Tensor) -> dict[str, Tensor]:
        """The outputs of these names, for inputs `(B, T)` of the names that the graph has."""
        # A graph whose encoder has no segments may lack an input for them.
        given = {name: inputs[name].long().numpy() for name in self.inputs}
        names = list(names)
        found = self.session.run(names, given, self.run_options)
        return dict(zip(names, map(torch.from_numpy, found), strict=True))


class OnnxEncoder(nn.Module):
    """The encoder of a graph; like `TransformerEncoder`, it gives one vector per token."""

    def __init__(self, config: EncoderConfig, graph: OnnxGraph) -> None:
        super().__init__()
        self.config = config
        self.graph = graph
        self.pretrained = ""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:
        """`(B, T)` to `(B, T, D)`; arguments as in `TransformerEncoder.forward`."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
        inputs = {"input_ids": input_ids, "attention_mask": mask, "token_type_ids": types}
        return self.graph.run([HIDDEN], **inputs)[HIDDEN]


class OnnxModel(Predictor, nn.Module):
    """An exported graph with its tokenizer and tasks: a model to predict with, not to train.

    It has the methods `predict`, `answer`, `encode`, `nearest` and `evaluate` of `MultiTaskModel`,
    with the same decoding: only the outputs of the heads are computed elsewhere.
    """

    device = torch.device("cpu")

    def __init__(self, parts: Parts, graph: OnnxGraph) -> None:
        super().__init__()
        self.parts = parts
        self.encoder = OnnxEncoder(parts.encoder.config, graph)
        self.tokenizer = parts.tokenizer
        self.tasks = {task.name: task for task in parts.tasks}
        self.overlap = parts.overlap
        self.graph = graph
        self.eval()

    def forward(self, batch: Batch, tasks: Iterable[str]) -> dict[str, Any]:
        """The output of each head of `tasks` for a batch; what the tasks share is run once."""
        names = {task: self.graph.outputs[task] for task in tasks}
        found = self.graph.run(
            dict.fromkeys(leaves(names)),
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            token_type_ids=batch.token_type_ids,
        )
        return {task: outputs_named(names[task], found) for task in names}

    def untrained(self) -> MultiTaskModel:
        """A model of the same parts with fresh weights: what training had to beat."""
        return untrained_model(self.parts)

    def __repr__(self) -> str:
        heads = ", ".join(f"{name} ({task.kind})" for name, task in self.tasks.items())
        c = self.encoder.config
        return f"OnnxModel({c.n_layers} layers, width {c.d_model}, heads: {heads})"


def load_onnx(folder: str | Path, threads: int = 0) -> OnnxModel:
    """Read a model that `mtl export` wrote as an ONNX graph; nothing is ever unpickled.

    Args:
        folder: the folder with the graph, its config and its tokenizer.
        threads: how many cores it computes on; 0 for as many as torch would use.

    Returns:
        the model. Its tasks have no examples.

    Raises:
        ConfigError: onnxruntime is not installed, or a number of threads below 0.
        ModelError: no such folder; a file is missing, broken or does not fit the others.
    """
    folder = Path(folder)
    if type(threads) is not int or threads < 0:
        raise ConfigError("threads must be a whole number, at least 0", found=repr(threads))
    path = folder / EXPORTED
    if not path.exists():
        if (folder / WEIGHTS).exists():
            raise ModelError(
                "this is a model of PyTorch, not an exported one",
                path=folder,
                fix="mtl export FOLDER --output DIR exports it, and "
                "mtl.MultiTaskModel.from_pretrained(FOLDER) reads it as it is",
            )
        raise missing_file(path)
    try:
        graph = OnnxGraph(path.read_bytes(), threads)
    except ModelError as error:
        raise error.at(path) from None
    parts = read_folder(folder, partial(OnnxEncoder, graph=graph))
    lost = [task.name for task in parts.tasks if task.name not in graph.outputs]
    if lost:
        raise ModelError(
            "the graph and config.json are not of the same model",
            path=folder,
            found=f"no output for {', '.join(lost)}",
            fix="copy the whole folder again",
        )
    return OnnxModel(parts, graph)
