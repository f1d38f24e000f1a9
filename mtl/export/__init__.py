"""A trained model goes in; folders that other programs load come out."""

from .for_sentence_transformers import export_for_sentence_transformers
from .for_transformers import export_for_transformers

__all__ = ["export_for_sentence_transformers", "export_for_transformers"]
