"""A text goes in; pieces with ids and character offsets come out, and rows for the encoder."""

from .base import Encoding, Row, Tokenizer, pad_lists
from .subwords import SubwordTokenizer
from .whitespace import WhitespaceTokenizer

__all__ = ["Encoding", "Row", "SubwordTokenizer", "Tokenizer", "WhitespaceTokenizer", "pad_lists"]
