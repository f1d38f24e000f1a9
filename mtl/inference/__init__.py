"""A model and texts, or labelled examples, go in; predictions or scores come out."""

from .bulk import predict_file
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
from .inputs import pair_of, words_in
from .job import Job, Progress, check_paths
from .labelled import check_examples, check_kind
from .loop import Model, Predictions, check_model, encode_for, predict_encoded, predict_examples
from .prediction import (
    Neighbour,
    answer,
    check_n_answers,
    encode,
    keep_best_answers,
    nearest,
    predict,
)

__all__ = [
    "BASELINES",
    "Job",
    "Model",
    "Neighbour",
    "Predictions",
    "Progress",
    "answer",
    "check_examples",
    "check_kind",
    "check_model",
    "check_n_answers",
    "check_paths",
    "encode",
    "encode_for",
    "encode_labelled",
    "evaluate",
    "evaluate_baselines",
    "evaluate_encoded",
    "keep_best_answers",
    "nearest",
    "pair_of",
    "predict",
    "predict_encoded",
    "predict_examples",
    "predict_file",
    "predict_labelled",
    "predictions_of",
    "score_baselines",
    "validate_encoded",
    "words_in",
]
