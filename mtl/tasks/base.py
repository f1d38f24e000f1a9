"""What a task is: all that the training loop and the prediction loop know about any task."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from torch import Tensor, nn

from ..data.batching import Batch
from ..data.dataset import Dataset, as_dataset
from ..data.examples import Input
from ..data.readers import read
from ..data.remembered import numbers_where, remembered
from ..data.rows import IGNORED as IGNORED
from ..data.stored import StoredExamples
from ..data.tokenizers.base import Row
from ..data.words import Joining
from ..errors import ConfigError
from ..registry import Named, find_class
from ..settings import settings_of

T = TypeVar("T")


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction: its kind, where it is (an id or a number), its text, and both answers.

    `expected` is empty where there was nothing to find, `predicted` where nothing was found.
    """

    kind: str
    where: str
    text: str
    expected: str
    predicted: str


class Task(Named, ABC):
    """One thing to learn from a dataset: its targets, head, loss, decoding and score.

    A subclass that sets `kind` is registered under it, so that recipes and model folders find it;
    one that takes the kind of another class is refused with a ConfigError. One without a kind is
    known by its place, `mymodule:MyTask`.

    Args:
        name: what the task is called in models, recipes and results.
        dataset: its examples, or a dict of them by split; none are needed to predict. Tasks that
            are given the same `Dataset` object share its batches.

    Attributes:
        kind: what recipes and model folders call the class: a short name, or its place.
        main_metric: the one metric of `score` that choices are based on.
        reads_pairs: whether it reads pairs (question and context) rather than single texts. A
            class that can learn either sets it for each task, from its data.
        text_names: what users call the two texts of a pair.
        answers_with: what it predicts, in words.
        most_answers: how many different answers to one question a prediction can hold.
        example: the class, or classes, of its examples.
        beats_untrained: whether a model with fresh weights is a baseline worth beating.
        rows_alone: whether its loss is a mean over independent rows.
        reads_places: whether its targets depend on where words and pieces are in the text. Without
            it, texts are encoded faster, and a task that asks all the same is told.
        field_holds: what the field named by an option `field` holds, as the readers call it:
            `fields` (names) or `scores` (numbers).
        usual_field: the field that the task reads where the option does not name one.
        joining: what holds words together in its training file; None where the file has the same
            words as plain text.
        thresholds: what turns probabilities into decisions, by name, such as the least probability
            at which a label is given; chosen on validation, and saved with the model.
    """

    kind: ClassVar[str]
    main_metric: str = ""
    reads_pairs: bool = False
    text_names: ClassVar[tuple[str, str]] = ("text", "text_pair")
    answers_with: str = "a prediction"
    most_answers: ClassVar[int] = 1
    example: ClassVar[type | tuple[type, ...]] = object
    beats_untrained: ClassVar[bool] = False
    rows_alone: ClassVar[bool] = True
    reads_places: ClassVar[bool] = True
    field_holds: ClassVar[str] = "fields"
    usual_field: ClassVar[str] = ""
    joining: Joining | None = None
    kinds: ClassVar[dict[str, type[Task]]] = {}
    name_in: ClassVar[str] = "kind"
    entry_points: ClassVar[str] = "mtl.tasks"

    def __init__(self, name: str, dataset: Dataset | Mapping[str, Any] | None = None) -> None:
        check_task_name(name)
        _check_is_whole(type(self))
        self.name = name
        self.dataset = as_dataset(dataset)
        self.thresholds: dict[str, float] = {}

    @abstractmethod
    def build_head(self, d_model: int) -> nn.Module:
        """A fresh head; it reads hidden states `(B, T, D)` and returns logits."""

    def run_head(self, head: nn.Module, hidden: Tensor, batch: Batch) -> Any:
        """The head's outputs for a batch; a head that pools tokens also needs their mask."""
        return head(hidden)

    def vector_width(self, d_model: int) -> int:
        """E, if its head turns each row into one vector `(B, E)` of its meaning; else 0."""
        return 0

    def main_score(self, scores: dict[str, float]) -> tuple[str, float]:
        """Name and value of the metric that choices are based on; ConfigError if it is missing."""
        if self.main_metric not in scores:
            raise ConfigError(
                f"the scores of the task {self.name!r} lack its main metric, {self.main_metric!r}",
                found=", ".join(scores),
                fix=f"return it from {type(self).__name__}.score, or set another main_metric",
            )
        return self.main_metric, scores[self.main_metric]

    def is_labelled(self, example: Any) -> bool:
        """Whether an example has a label for this task; one without is not scored."""
        return True

    def labelled(self, examples: Sequence[Any]) -> Sequence[Any]:
        """The examples that have a label for this task."""
        if not isinstance(examples, StoredExamples):
            return [example for example in examples if self.is_labelled(example)]
        settings = json.dumps(self.settings())
        question = f"labelled for {type(self).__qualname__} {settings}" if self._is_ours else None
        wanted = numbers_where(examples, question, self.is_labelled)
        return examples if len(wanted) == len(examples) else examples.select(wanted)

    def remembered(self, question: str, answer: Callable[[], T], *splits: Sequence[Any]) -> T:
        """What a walk over all examples gives; see `mtl.data.remembered`.

        Args:
            question: all that decides the answer, besides the task's class and the examples.
            answer: walks over them, and gives a value of JSON.
            splits: the examples; by default those of all splits.
        """
        if not self._is_ours:
            return answer()
        asked = f"{question} for {type(self).__qualname__}"
        return remembered(splits or self.dataset.splits(), asked, answer)

    @property
    def _is_ours(self) -> bool:
        """Whether its class comes with this package: no hash covers a user's own code."""
        return type(self).__module__.split(".")[0] == __name__.split(".")[0]

    def inputs_of(self, example: Any) -> list[Input]:
        """The texts, or pairs of texts, that the rows of an example are made of."""
        return example.inputs

    @abstractmethod
    def targets(self, example: Any, rows: list[Row], notes: Counter[str]) -> list[Any]:
        """One target for each row of an example; None where the row is not labelled.

        Whatever had to be adjusted or left out is counted in `notes`, in words for the user.
        """

    @abstractmethod
    def collate(self, targets: Sequence[Any], length: int) -> Tensor:
        """Stack one batch's targets, `B` rows padded to `length` tokens; None becomes -100."""

    @abstractmethod
    def loss(self, outputs: Any, targets: Tensor, batch: Batch) -> Tensor:
        """A scalar: the mean over what is labelled (there is at least one labelled row)."""

    @abstractmethod
    def decode(self, outputs: Any, batch: Batch) -> list[Any]:
        """One prediction for each of `batch.items`, its rows (windows) merged."""

    def choose_thresholds(
        self, examples: Sequence[Any], predictions: Sequence[Any]
    ) -> dict[str, float]:
        """The thresholds under which these predictions score best; {} for a task without any."""
        return {}

    def decide(self, prediction: Any) -> Any:
        """What a prediction says under the task's thresholds, after they have changed."""
        return prediction

    def best_answers(self, prediction: Any, n: int) -> Sequence[Any]:
        """The `n` best answers that a prediction holds, from 1 to `most_answers`; best first."""
        return [prediction]

    @abstractmethod
    def score(self, examples: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        """Metrics of predictions against labelled examples; the main one is 1 at best."""

    def remarks(self, scores: dict[str, float]) -> list[str]:
        """What to warn the user of, given these scores."""
        return []

    def report(self, examples: Sequence[Any], predictions: Sequence[Any]) -> str:
        """More about the same predictions than a few numbers can say; a text to print."""
        return ""

    def prediction_file(
        self, examples: Sequence[Any], predictions: Sequence[Any]
    ) -> tuple[str, str] | None:
        """Predictions beside the right answers, for other programs: file extension and content."""
        return None

    def mistakes(self, examples: Sequence[Any], predictions: Sequence[Any]) -> list[Mistake] | None:
        """Every wrong prediction; None if the task cannot say which are wrong."""
        return None

    def confusion(
        self, examples: Sequence[Any], predictions: Sequence[Any]
    ) -> tuple[list[str], list[list[int]]] | None:
        """The labels, and how often each (row) was predicted as each (column)."""
        return None

    def baselines(self, examples: Sequence[Any]) -> dict[str, list[Any]]:
        """Predictions of trivial methods, by name, for `score`."""
        return {}

    def controls(self, examples: Sequence[Any]) -> dict[str, list[Any]]:
        """The examples spoiled on purpose, by name: a model that still does well on them cheats."""
        return {}

    def settings(self) -> dict[str, Any]:
        """What `from_settings` needs to build the task again, as JSON values."""
        return {}

    @property
    def words_given(self) -> bool:
        """Whether the words of its training file differ from those of plain text."""
        return self.joining is not None

    @classmethod
    def from_settings(cls, name: str, settings: dict[str, Any]) -> Task:
        """The task as it was saved with a model."""
        return cls(name, **settings)

    @classmethod
    def read(cls, path: Path, on_error: str = "stop", **options: Any) -> Sequence[Any]:
        """Examples from a file in any form that `mtl.read` knows; it also describes the options.

        A task's own `read` need not take options: it is given only those that a recipe sets.
        """
        return read(path, on_error, **options)

    @classmethod
    def of_kind(cls, kind: str, where: str = "the kind of a task") -> type[Task]:
        """The task class of a kind; errors are those of `find_class` and begin with `where`."""
        return find_class(cls, kind, where)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {self.dataset!r})"


def fields_named(options: Mapping[str, Any]) -> list[str]:
    """The fields of records, or columns of words, that the options of a task name.

    Args:
        options: `field` names one of them, `fields` a list; a task may have either, or neither.
    """
    several = options.get("fields")
    named = [options.get("field"), *(several if isinstance(several, list | tuple) else ())]
    return [str(field) for field in named if field]


def loss_of(task: Task, outputs: Any, targets: Tensor, batch: Batch) -> Tensor:
    """`task.loss`; ConfigError if it is not a tensor of one number."""
    loss = task.loss(outputs, targets, batch)
    if not isinstance(loss, Tensor) or loss.dim():
        is_tensor = isinstance(loss, Tensor)
        raise ConfigError(
            f"the loss of the task {task.name!r} is not a tensor of one number",
            found=f"shape {tuple(loss.shape)}" if is_tensor else repr(loss)[:80],
            fix=f"return the mean over what is labelled from {type(task).__name__}.loss",
        )
    return loss


def predictions_from(task: Task, outputs: Any, batch: Batch) -> Sequence[Any]:
    """`task.decode`; ConfigError if it does not give one prediction for each example."""
    predictions = task.decode(outputs, batch)
    found = f"{len(predictions)}" if hasattr(predictions, "__len__") else repr(predictions)[:80]
    if found != f"{len(batch)}":
        raise ConfigError(
            f"the task {task.name!r} does not give one prediction for each example",
            found=f"{found} for {len(batch)} examples",
            fix=f"return a list from {type(task).__name__}.decode, the rows (windows) of each "
            "example merged: mtl.nn.heads.merge_rows",
        )
    return predictions


def score_of(task: Task, examples: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
    """`task.score` as plain floats, which any file can hold; a tensor of one number counts as one.

    Raises:
        ConfigError: it is not a dict of numbers.
    """
    scores = task.score(examples, predictions)
    try:
        # A 0-dimensional tensor would stop json.dumps only at the very end of training.
        return {name: float(value) for name, value in scores.items()}
    except (AttributeError, TypeError, ValueError, RuntimeError):
        raise ConfigError(
            f"the score of the task {task.name!r} is not a dict of numbers",
            found=repr(scores)[:80],
            fix=f"return a float for each metric from {type(task).__name__}.score",
        ) from None


def as_tasks(tasks: Any) -> list[Task]:
    """Tasks as a list, whether they come as a list, as a single task or as a dict by name.

    Raises:
        ConfigError: something that is not a task, or a task under a name that is not its own.
    """
    if isinstance(tasks, Mapping):
        for name, task in tasks.items():
            if isinstance(task, Task) and task.name != name:
                raise ConfigError(
                    f"a task is given under the name {name!r} but is called {task.name!r}",
                    fix="give the tasks as a list: each has its own name",
                )
        tasks = tasks.values()
    elif isinstance(tasks, str) or not isinstance(tasks, Iterable):
        tasks = [tasks]
    tasks = list(tasks)
    for task in tasks:
        if not isinstance(task, Task):
            raise ConfigError(
                "this is not a task",
                found=repr(task)[:80],
                fix='give the tasks themselves, such as [mtl.NERTask("ner", dataset)]',
            )
    return tasks


def _check_is_whole(cls: type[Task]) -> None:
    """Raise ConfigError for what a class lacks, which would otherwise show only after training."""
    if not cls.main_metric and cls.main_score is Task.main_score:
        raise ConfigError(
            f"{cls.__name__} has no main_metric",
            fix='name the score that picks the best epoch, such as main_metric = "accuracy"',
        )
    options = settings_of(cls, "name", "dataset")
    if options and cls.settings is Task.settings:
        raise ConfigError(
            f"{cls.__name__} has options that a model folder would not remember",
            found=", ".join(options),
            fix="return them from its settings method, as {option: value}",
        )


def check_can_be_saved(task: Task) -> None:
    """Raise ConfigError unless the task can be made again from what a model folder keeps of it."""
    cls = type(task)
    try:
        kept = json.loads(json.dumps(task.settings()))  # through JSON, as in a folder
        again = json.loads(json.dumps(cls.from_settings(task.name, kept).settings()))
        lost = [key for key in kept if again.get(key) != kept[key]]
        found = f"other values then of {', '.join(lost)}" if lost else ""
    except Exception as error:  # of any kind: the methods may be anybody's
        found = f"{type(error).__name__}: {error}"
    if found:
        raise ConfigError(
            f"the task {task.name!r} could be saved, but not loaded again",
            found=found,
            fix=f"{cls.__name__}.__init__ must take all that its settings method returns, and "
            "settings must return all options as JSON values; where the class above has options, "
            "take them too, and return {**super().settings(), ...}",
        )


def check_task_name(name: str) -> None:
    """Raise ConfigError if a task cannot have this name."""
    # No dots: they separate the parts of parameter names and of recipe keys.
    if not isinstance(name, str) or not re.fullmatch(r"[^\W\d][\w-]*", name):
        raise ConfigError(
            "a task's name must be a letter, then letters, digits, underscores or hyphens",
            found=repr(name),
            fix="for example ner or topic-2",
        )
    if name == "all":
        raise ConfigError(
            'the name "all" stands for every task', found=repr(name), fix="for example all_1"
        )
    if hasattr(nn.ModuleDict(), name):  # where the heads are kept by name
        raise ConfigError(
            "PyTorch needs this name for itself", found=repr(name), fix=f"for example {name}_1"
        )
