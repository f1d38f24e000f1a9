"""An example goes in; what to learn from it, a prediction and its score come out.

`TokenTask` (one tag for each word) and `PairTask` (two texts) are bases for your own tasks. To
add a task here, write its file and name it below: importing its class registers its kind. Your own
tasks need neither; their classes may be anywhere.
"""

from .base import Task
from .classification import ClassificationTask
from .embedding import EmbeddingTask
from .ner import NERTask
from .nested_ner import NestedNERTask
from .pair_classification import PairClassificationTask
from .pairs import PairTask
from .qa import QATask
from .regression import RegressionTask
from .tagging import TaggingTask
from .tokens import TokenTask

__all__ = [
    "ClassificationTask",
    "EmbeddingTask",
    "NERTask",
    "NestedNERTask",
    "PairClassificationTask",
    "PairTask",
    "QATask",
    "RegressionTask",
    "TaggingTask",
    "Task",
    "TokenTask",
]
