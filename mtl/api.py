"""The public names, each imported once from where it lives; `mtl` shows them as its own."""

from .data.augment import augment
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
    write_conllu,
    write_jsonl,
    write_squad,
)
from .data.tokenizers import SubwordTokenizer, WhitespaceTokenizer
from .errors import ConfigError, DataError, DataWarning, ModelError, MTLError, TrainingWarning
from .experiments.build import build_model, build_tasks
from .experiments.compare import compare
from .experiments.recipe import load_recipe
from .experiments.run import run_recipe
from .experiments.summary import comparison_tables, read_comparison
from .inference import answer, encode, evaluate, evaluate_baselines, nearest, predict
from .metrics import (
    accuracy,
    confusion,
    entity_f1,
    entity_scores,
    exact_match,
    macro_f1,
    spearman,
    token_accuracy,
    token_f1,
)
from .model import MultiTaskModel
from .nn.config import EncoderConfig
from .nn.encoder import TransformerEncoder
from .nn.export import save_for_transformers
from .nn.pretrained import load_pretrained
from .reports.cases import cases_table, check_cases
from .reports.files import write_reports
from .reports.plots import (
    plot_architecture,
    plot_attention,
    plot_comparison,
    plot_conflict,
    plot_confusion,
    plot_losses,
    plot_validation,
    plot_weights,
)
from .tables import metrics_table, scores_table
from .tasks.base import Task
from .tasks.classification import ClassificationTask
from .tasks.embedding import EmbeddingTask
from .tasks.ner import NERTask
from .tasks.qa import QATask
from .toy import handmade_ner, handmade_qa, ner_examples, qa_examples, toy_dataset
from .training.aggregation import Aggregation, PCGrad, Sum, TorchJD
from .training.config import TrainConfig
from .training.conflict import gradient_conflict
from .training.history import Conflict, History
from .training.loop import train
from .training.weighting import (
    DynamicWeightAverage,
    FixedWeighting,
    GradNorm,
    RandomWeighting,
    UncertaintyWeighting,
    Weighting,
)

__all__ = [
    "Aggregation",
    "Answer",
    "ClassificationTask",
    "ConfigError",
    "Conflict",
    "DataError",
    "DataWarning",
    "Dataset",
    "DynamicWeightAverage",
    "EmbeddingTask",
    "EncoderConfig",
    "FixedWeighting",
    "GradNorm",
    "History",
    "MTLError",
    "ModelError",
    "MultiTaskModel",
    "NERExample",
    "NERTask",
    "PCGrad",
    "PairExample",
    "QAExample",
    "QATask",
    "RandomWeighting",
    "SubwordTokenizer",
    "Sum",
    "Task",
    "TextExample",
    "TorchJD",
    "TrainConfig",
    "TrainingWarning",
    "TransformerEncoder",
    "UncertaintyWeighting",
    "Weighting",
    "WhitespaceTokenizer",
    "accuracy",
    "answer",
    "augment",
    "build_model",
    "build_tasks",
    "cases_table",
    "check_cases",
    "check_file",
    "compare",
    "comparison_tables",
    "confusion",
    "encode",
    "entity_f1",
    "entity_scores",
    "evaluate",
    "evaluate_baselines",
    "exact_match",
    "gradient_conflict",
    "handmade_ner",
    "handmade_qa",
    "load_pretrained",
    "load_recipe",
    "macro_f1",
    "metrics_table",
    "nearest",
    "ner_examples",
    "plot_architecture",
    "plot_attention",
    "plot_comparison",
    "plot_conflict",
    "plot_confusion",
    "plot_losses",
    "plot_validation",
    "plot_weights",
    "predict",
    "qa_examples",
    "read",
    "read_comparison",
    "read_conll",
    "read_jsonl",
    "read_pairs",
    "read_squad",
    "run_recipe",
    "save_for_transformers",
    "scores_table",
    "spearman",
    "token_accuracy",
    "token_f1",
    "toy_dataset",
    "train",
    "write_conll",
    "write_conllu",
    "write_jsonl",
    "write_reports",
    "write_squad",
]
