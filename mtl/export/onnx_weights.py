"""A graph goes in; the same graph with smaller weights comes out."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ModelError

if TYPE_CHECKING:
    import onnx

HEADS = "model.heads."  # where the heads are in what was traced
LARGEST = 65_504  # of the numbers that float16 has


def as_they_are(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph unchanged, with weights in float32."""
    return proto


def in_int8(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Embeddings and matrices of the encoder in eight bits (dynamic quantization).

    What is multiplied by them is quantized too, by the range that it has at that moment; sums,
    norms and softmax stay in float32. So do the heads, which are small and need all digits.
    """
    from onnx import load
    from onnxruntime.quantization import QuantType, quantize_dynamic

    of_heads = [
        node.name
        for node in proto.graph.node
        if any(HEADS in entry.value for entry in node.metadata_props)
    ]
    # Before anything else, a product with a sum (Gemm) becomes two nodes, the first of this name.
    kept = [*of_heads, *(f"{name}_MatMul" for name in of_heads)]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it recommends a step that the exporter has done already
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            quantize_dynamic(
                proto, path, weight_type=QuantType.QInt8, per_channel=True, nodes_to_exclude=kept
            )
            return load(path)
    finally:
        root.setLevel(level)


def in_half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Embeddings and matrices are kept in float16; everything is computed in float32.

    A CPU has no operations in float16, and would convert back and forth at each of them. So the
    file is half as large, and the graph is as quick as before.

    Raises:
        ModelError: a weight that is too large for float16.
    """
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    small, casts = [], []
    for tensor in proto.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max(initial=0) > LARGEST:
            raise ModelError(
                "a weight is too large for half precision",
                found=f"{tensor.name}: {np.abs(values).max():g}",
                fix="export without --half",
            )
        name, kept = tensor.name, f"{tensor.name}.half"
        small.append((tensor, numpy_helper.from_array(values.astype(np.float16), kept)))
        casts.append(helper.make_node("Cast", [kept], [name], f"cast.{name}", to=TensorProto.FLOAT))
    for tensor, half in small:
        tensor.CopyFrom(half)
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def without_traces(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The graph without notes on where in whose files each operation came from."""
    for part in (proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        del part.metadata_props[:]
        part.doc_string = ""
    for value in (*proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    return proto


WEIGHTS: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "float32": as_they_are,
    "int8": in_int8,
    "half": in_half,
}
