"""A model goes in; one ONNX graph of its encoder and all its heads comes out.

ONNX is a format for graphs of operations, which many programs run without PyTorch. The encoder is
in the graph once, as in the model, and each head reads from it. Decoding, which turns outputs into
tags and answers, stays in Python.

Letters: B batch, T tokens; both may be anything, up to the encoder's limit of tokens.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ..data.batching import Batch
from ..errors import ModelError, missing_extra
from ..model import MultiTaskModel
from ..nn.shared_encoder import SHARED
from ..version import __version__

if TYPE_CHECKING:
    import onnx

INPUTS = ("input_ids", "attention_mask", "token_type_ids")  # int64, (B, T) each
HIDDEN = "last_hidden_state"  # the output that is the encoder's, (B, T, D)
OUTPUTS = "outputs"  # in the metadata, what the outputs of each head are called
OURS, INSIDE = "mtl.", "graph."  # what the names of outputs, and of all that is inside, begin with
OPSET = 20  # the first with GELU as one operation
SAMPLE = (2, 7)  # B and T of the inputs that are traced: any above 1 would do

# What a head returns: a tensor, or a tuple or a dict of such; and the same with names for tensors.
Outputs = Any
Names = Any


class Graph(nn.Module):
    """What is traced: from token ids to the outputs of all heads, one tensor after the other."""

    def __init__(self, model: MultiTaskModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> list[Tensor]:
        hidden, outputs = self.run(input_ids, attention_mask, token_type_ids)
        return [hidden, *(tensor for output in outputs.values() for tensor in leaves(output))]

    def run(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ) -> tuple[Tensor, dict[str, Outputs]]:
        """The encoder's hidden states, and what each head returns."""
        # Heads read tensors: a graph knows no examples.
        batch = Batch([], Tensor(), input_ids, attention_mask.bool(), token_type_ids, Tensor())
        states = self.model.hidden(batch, [*self.model.tasks, SHARED])
        hidden = states.pop(SHARED)
        return hidden, {
            name: self.model.tasks[name].run_head(self.model.heads[name], state, batch)
            for name, state in states.items()
        }


def graph_of(model: MultiTaskModel) -> onnx.ModelProto:
    """The graph, with names and labels in its metadata.

    Raises:
        ConfigError: the libraries of the extra `onnx` are not installed.
        ModelError: an operation that ONNX does not have, or that needs a fixed size, such as in a
            head of your own; a task with a name that the graph needs.
    """
    check_can_export()
    # A copy: the model itself may be on a GPU, and in training.
    whole = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    graph, inputs = Graph(whole), _sample(model)
    with torch.no_grad():
        _, outputs = graph.run(*inputs)
    names = {task: names_of(output, task) for task, output in outputs.items()}
    final = [HIDDEN, *(name for n in names.values() for name in leaves(n))]
    if taken := {*INPUTS, HIDDEN} & names.keys():
        raise ModelError(
            "a task has the name of an input of the graph, or of its first output",
            found=", ".join(sorted(taken)),
            fix="train it under another name",
        )
    try:
        with _quiet():
            program = torch.export.export(
                graph, inputs, dynamic_shapes=_shapes(model.encoder.config.max_length), strict=False
            )
            exported = torch.onnx.export(
                program,
                (),
                dynamo=True,
                input_names=INPUTS,
                output_names=[OURS + name for name in final],
                dynamic_shapes=({0: "batch", 1: "tokens"},) * len(INPUTS),
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:  # torch raises many kinds, and so may a head of anybody's
        raise ModelError(
            "the model cannot be exported as a graph",
            found=f"{type(error).__name__}: {error}"[:300],
            fix="a head of your own must do everything with operations of torch, and for batches "
            "and lengths of any size",
        ) from error
    proto = cast("torch.onnx.ONNXProgram", exported).model_proto
    _name_outputs(proto.graph, final)
    for key, value in _metadata(model, names).items():
        proto.metadata_props.add(key=key, value=value)
    return proto


def check_can_export() -> None:
    """Raise ConfigError unless what writes graphs is installed."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise missing_extra("onnx onnxscript onnxruntime", "onnx", "exporting to ONNX") from None


def _sample(model: MultiTaskModel) -> tuple[Tensor, ...]:
    """Inputs to trace: a padded row beside a full one, and both segments."""
    input_ids = torch.full(SAMPLE, model.tokenizer.cls_id)
    attention_mask, token_type_ids = torch.ones(2, *SAMPLE, dtype=torch.long)
    attention_mask[1, -2:] = 0
    token_type_ids[:, :3] = 0
    return input_ids, attention_mask, token_type_ids


def _shapes(max_length: int) -> tuple[dict[int, Any], ...]:
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens", max=max_length)
    return ({0: batch, 1: tokens},) * len(INPUTS)


def _metadata(model: MultiTaskModel, names: Mapping[str, Names]) -> dict[str, str]:
    """What a program without this package needs to know."""
    settings = {name: task.settings() for name, task in model.tasks.items()}
    labels = {name: list(s["id2label"].values()) for name, s in settings.items() if "id2label" in s}
    return {
        "mtl": __version__,
        "max_length": str(model.encoder.config.max_length),
        OUTPUTS: json.dumps(names),
        "kinds": json.dumps({name: task.kind for name, task in model.tasks.items()}),
        "labels": json.dumps(labels, ensure_ascii=False),
    }


def _name_outputs(graph: onnx.GraphProto, final: Sequence[str]) -> None:
    """Give the outputs their final names, which nothing inside the graph may have.

    A step inside is called after its operation, such as `embedding`, and so may a task be.
    """
    from onnx.compose import add_prefix_graph

    add_prefix_graph(
        graph,
        INSIDE,
        rename_inputs=False,
        rename_outputs=False,
        inplace=True,
        name_map={OURS + name: name for name in final},
    )


@contextmanager
def _quiet() -> Generator[None]:
    """In this context, torch does not report how it exports."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def leaves(outputs: Outputs | Names) -> Iterator[Any]:
    """The tensors, or the names, in what a head returns, from the first to the last."""
    if isinstance(outputs, Mapping):
        outputs = outputs.values()
    if isinstance(outputs, Tensor | str):
        yield outputs
    else:
        for part in outputs:
            yield from leaves(part)


def names_of(outputs: Outputs, name: str) -> Names:
    """The same with a name for each tensor: `ner`, or `qa.0` and `qa.1` for a tuple of two."""
    if isinstance(outputs, Tensor):
        return name
    if isinstance(outputs, Mapping):
        return {key: names_of(part, f"{name}.{key}") for key, part in outputs.items()}
    return [names_of(part, f"{name}.{i}") for i, part in enumerate(outputs)]


def outputs_named(names: Names, tensors: Mapping[str, Tensor]) -> Outputs:
    """What a head returned, again, from tensors by their names."""
    if isinstance(names, str):
        return tensors[names]
    if isinstance(names, Mapping):
        return {key: outputs_named(part, tensors) for key, part in names.items()}
    return tuple(outputs_named(part, tensors) for part in names)
