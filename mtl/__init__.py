"""mtl: one Transformer encoder, written from scratch, shared by several language tasks."""

from .data.examples import Answer, Dataset, NERExample, QAExample
from .data.readers import read_conll, read_squad, write_conll, write_jsonl, write_squad
from .data.tokenization import WhitespaceTokenizer
from .data.toy import handmade_ner, handmade_qa, ner_examples, qa_examples, toy_dataset
from .encoder import EncoderConfig, TransformerEncoder
from .errors import ConfigError, DataError, DataWarning, ModelError, MTLError
from .inference import answer, evaluate, evaluate_baselines, predict
from .metrics import entity_f1, entity_scores, exact_match, token_accuracy, token_f1
from .model import MultiTaskModel
from .plots import plot_architecture, plot_attention, plot_losses, plot_validation
from .recipe import build_model, build_tasks, load_recipe, run_recipe
from .tables import metrics_table, scores_table
from .tasks.base import Task
from .tasks.ner import NERTask
from .tasks.qa import QATask
from .training.history import History
from .training.loop import TrainConfig, train
from .training.weighting import FixedWeighting, Weighting
from .version import __version__

__all__ = [
    "Answer",
    "ConfigError",
    "DataError",
    "DataWarning",
    "Dataset",
    "EncoderConfig",
    "FixedWeighting",
    "History",
    "MTLError",
    "ModelError",
    "MultiTaskModel",
    "NERExample",
    "NERTask",
    "QAExample",
    "QATask",
    "Task",
    "TrainConfig",
    "TransformerEncoder",
    "Weighting",
    "WhitespaceTokenizer",
    "__version__",
    "answer",
    "build_model",
    "build_tasks",
    "entity_f1",
    "entity_scores",
    "evaluate",
    "evaluate_baselines",
    "exact_match",
    "handmade_ner",
    "handmade_qa",
    "load_recipe",
    "metrics_table",
    "ner_examples",
    "plot_architecture",
    "plot_attention",
    "plot_losses",
    "plot_validation",
    "predict",
    "qa_examples",
    "read_conll",
    "read_squad",
    "run_recipe",
    "scores_table",
    "token_accuracy",
    "token_f1",
    "toy_dataset",
    "train",
    "write_conll",
    "write_jsonl",
    "write_squad",
]
