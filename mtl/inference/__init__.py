"""A model and texts, or labelled examples, go in; predictions or scores come out."""

from .evaluation import (
    BASELINES,
    encode_labelled,
    evaluate,
    evaluate_baselines,
    evaluate_encoded,
    predict_labelled,
    predictions_of,
    score_baselines,
    validate_encoded,
)
from .inputs import pair_of
from .labelled import check_examples, check_kind
from .loop import Model, Predictions, check_model, encode_for, predict_encoded, predict_examples
from .prediction import Neighbour, answer, check_n_answers, encode, nearest, predict

__all__ = [
    "BASELINES",
    "Model",
    "Neighbour",
    "Predictions",
    "answer",
    "check_examples",
    "check_kind",
    "check_model",
    "check_n_answers",
    "encode",
    "encode_for",
    "encode_labelled",
    "evaluate",
    "evaluate_baselines",
    "evaluate_encoded",
    "nearest",
    "pair_of",
    "predict",
    "predict_encoded",
    "predict_examples",
    "predict_labelled",
    "predictions_of",
    "score_baselines",
    "validate_encoded",
]
