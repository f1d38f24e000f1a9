"""The public names, each imported once from where it lives; `mtl` shows them as its own."""

from .data.check import check_file
from .data.dataset import Dataset
from .data.examples import Answer, NERExample, PairExample, QAExample, TextExample
from .data.readers import (
    read,
    read_conll,
    read_jsonl,
    read_pairs,
    read_squad,
    write_conll,
    write_jsonl,
    write_squad,
)
from .data.tokenizers import SubwordTokenizer, WhitespaceTokenizer
from .errors import ConfigError, DataError, ModelError, MTLError
from .experiments.compare import compare
from .experiments.recipe import load_recipe
from .experiments.run import run_recipe
from .export import load_onnx
from .inference import answer, encode, evaluate, nearest, predict
from .metrics import entity_f1, exact_match, token_f1
from .model import MultiTaskModel
from .nn.config import EncoderConfig
from .nn.encoder import TransformerEncoder
from .nn.export import save_for_transformers
from .nn.pretrained import load_pretrained
from .tasks.classification import ClassificationTask
from .tasks.embedding import EmbeddingTask
from .tasks.ner import NERTask
from .tasks.qa import QATask
from .toy import toy_dataset
from .training.config import TrainConfig
from .training.loop import train
from .training.streams import batches

__all__ = [
    "Answer",
    "ClassificationTask",
    "ConfigError",
    "DataError",
    "Dataset",
    "EmbeddingTask",
    "EncoderConfig",
    "MTLError",
    "ModelError",
    "MultiTaskModel",
    "NERExample",
    "NERTask",
    "PairExample",
    "QAExample",
    "QATask",
    "SubwordTokenizer",
    "TextExample",
    "TrainConfig",
    "TransformerEncoder",
    "WhitespaceTokenizer",
    "answer",
    "batches",
    "check_file",
    "compare",
    "encode",
    "entity_f1",
    "evaluate",
    "exact_match",
    "load_onnx",
    "load_pretrained",
    "load_recipe",
    "nearest",
    "predict",
    "read",
    "read_conll",
    "read_jsonl",
    "read_pairs",
    "read_squad",
    "run_recipe",
    "save_for_transformers",
    "token_f1",
    "toy_dataset",
    "train",
    "write_conll",
    "write_jsonl",
    "write_squad",
]

# `mtl.NAME` finds these too, so that all tasks are in one place; `import *` and completion, which
# should stay short, leave them out.
ALSO = {
    "NestedNERTask": "tasks",
    "PairClassificationTask": "tasks",
    "RegressionTask": "tasks",
    "TaggingTask": "tasks",
    "TokenExample": "data.examples",
}

# Names that were at the top up to version 0.4, and the module that has them now.
MOVED = {
    "Aggregation": "training",
    "Conflict": "training",
    "DataWarning": "errors",
    "DynamicWeightAverage": "training",
    "FixedWeighting": "training",
    "GradNorm": "training",
    "History": "training",
    "PCGrad": "training",
    "RandomWeighting": "training",
    "Sum": "training",
    "Task": "tasks",
    "TorchJD": "training",
    "TrainingWarning": "errors",
    "UncertaintyWeighting": "training",
    "Weighting": "training",
    "accuracy": "metrics",
    "augment": "data.augment",
    "build_model": "experiments.build",
    "build_tasks": "experiments.build",
    "cases_table": "reports.cases",
    "check_cases": "reports.cases",
    "comparison_tables": "experiments.summary",
    "confusion": "metrics",
    "entity_scores": "metrics",
    "evaluate_baselines": "inference",
    "gradient_conflict": "training",
    "handmade_ner": "toy",
    "handmade_qa": "toy",
    "macro_f1": "metrics",
    "metrics_table": "tables",
    "ner_examples": "toy",
    "plot_architecture": "plots",
    "plot_attention": "plots",
    "plot_comparison": "plots",
    "plot_conflict": "plots",
    "plot_confusion": "plots",
    "plot_losses": "plots",
    "plot_validation": "plots",
    "plot_weights": "plots",
    "qa_examples": "toy",
    "read_comparison": "experiments.summary",
    "scores_table": "tables",
    "spearman": "metrics",
    "token_accuracy": "metrics",
    "write_conllu": "data.readers",
    "write_reports": "reports.files",
}
