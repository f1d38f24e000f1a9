"""An example goes in; what to learn from it, a prediction and its score come out.

To add a task, write its file and name it here: importing its class makes its kind known. A task of
your own needs neither; its class may be anywhere.
"""

from .base import Task
from .classification import ClassificationTask
from .embedding import EmbeddingTask
from .ner import NERTask
from .qa import QATask

__all__ = ["ClassificationTask", "EmbeddingTask", "NERTask", "QATask", "Task"]
