"""A trained model goes in; folders that other programs load come out."""

from .check import Checked, check_export
from .for_onnx import Report, export_onnx
from .for_sentence_transformers import export_for_sentence_transformers
from .for_transformers import export_for_transformers
from .onnx_model import OnnxModel, load_onnx

__all__ = [
    "Checked",
    "OnnxModel",
    "Report",
    "check_export",
    "export_for_sentence_transformers",
    "export_for_transformers",
    "export_onnx",
    "load_onnx",
]
