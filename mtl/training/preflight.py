"""Model, tasks and settings come in; rows and targets, or all that prevents training, go out.

Cheap checks come first: settings, methods, labels. Then every split is encoded, so that
a fault in the last line of the test data is found before the first update.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from ..data.dataset import SPLITS, Dataset
from ..data.encoded import EncodedExample, check_on_error, encode, only, warn_of_encoding
from ..data.stored import StoredExamples
from ..devices import choose_device, choose_precision
from ..errors import ConfigError, DataError, Fault, TrainingWarning, suggest
from ..inference import check_examples, evaluate_encoded, validate_encoded
from ..messages import shown
from ..model import MultiTaskModel
from ..tasks import Task
from ..tasks.base import check_can_be_saved
from .aggregation import Aggregation
from .compiled import check_can_compile
from .config import TrainConfig, check_one_pass, check_parts, check_sampling
from .methods import check_is_method
from .ranks import spread, world
from .weighting import Weighting

logger = logging.getLogger(__name__)

MANY = 100_000  # examples that are kept on disk, if they can be, however fast they are encoded


@dataclass(frozen=True, eq=False)
class EncodedDataset:
    """One dataset as the model reads it.

    Attributes:
        dataset: the examples, including those left out.
        tasks: those that share it.
        splits: by name, the encoded examples with the targets of all these tasks.
    """

    dataset: Dataset
    tasks: list[Task]
    splits: dict[str, Sequence[EncodedExample]]

    def labelled(self, split: str, task: Task) -> Sequence[EncodedExample]:
        """The examples of a split that have a label for a task."""
        return only(self.splits[split], lambda item: task.is_labelled(item.example))

    def validate(self, model: MultiTaskModel) -> dict[str, dict[str, float]]:
        """Scores of each task that has labelled examples in validation, under thresholds that are
        chosen for them. Of several processes, each predicts a part."""
        names = [task.name for task in self.tasks]
        return validate_encoded(model, self.splits["validation"], names, spread)

    def scores(self, model: MultiTaskModel, split: str) -> dict[str, dict[str, float]]:
        """Scores of each task that has labelled examples in the split; see `evaluate_encoded`."""
        return evaluate_encoded(model, self.splits[split], [task.name for task in self.tasks])


def encode_datasets(
    model: MultiTaskModel,
    tasks: Sequence[Task],
    *,
    on_error: str = "stop",
    cache: str | Path | None = None,
    progress: bool = False,
) -> list[EncodedDataset]:
    """Encode every split of the tasks' datasets, each dataset once.

    So a fault in the last line of the test data costs no training. One DataWarning per split says
    what was changed, or lost because texts are read in windows.

    Args:
        on_error: "stop" raises the faults of all splits together; "skip" leaves out the examples
            that have one and says how many.
        cache: a folder that keeps encoded datasets for the next run, if the model's tokenizer is
            slow enough to be worth it, or the dataset large; see `mtl.data.cache`.
        progress: report on stderr what is being done.

    Raises:
        ConfigError: `on_error` is neither.
        DataError: examples that the model cannot read or a task cannot use; each fault names its
            tasks, its split and its example. Or a task has no usable training examples.
    """
    check_on_error(on_error)
    with shown(progress):
        n = sum(len(split) for dataset, _ in by_dataset(tasks) for split in dataset.splits())
        logger.info("encoding %s examples", f"{n:,}")
    faults: list[Fault] = []
    found = []
    for dataset, sharing in by_dataset(tasks):
        splits = {}
        for split in SPLITS:
            where = f"{' and '.join(task.name for task in sharing)}, {split}"
            examples = dataset.split(split)
            splits[split], of_split = _encode_split(
                model, examples, sharing, where, cache, progress
            )
            faults += [replace(fault, what=f"{where}: {fault.what}") for fault in of_split]
            if on_error == "skip":
                warn_of_encoding(where, Counter(), of_split)
        found.append(EncodedDataset(dataset, sharing, splits))
    if faults and on_error == "stop":
        raise DataError.collect(faults)
    # After all faults were raised: with "skip", a task may have lost every example.
    for data in found:
        _check_something_is_left(data)
    return found


def by_dataset(tasks: Sequence[Task]) -> list[tuple[Dataset, list[Task]]]:
    """Each dataset with the tasks that share it."""
    sharing: dict[int, tuple[Dataset, list[Task]]] = {}
    for task in tasks:
        # By identity: sharing batches means the very same object, not an equal one.
        sharing.setdefault(id(task.dataset), (task.dataset, []))[1].append(task)
    return list(sharing.values())


def of_tasks(data: Sequence[EncodedDataset], tasks: Sequence[Task]) -> list[EncodedDataset]:
    """The encoded datasets that some tasks learn from, for these tasks alone."""
    encoded = {id(one.dataset): one for one in data}
    return [replace(encoded[id(dataset)], tasks=sharing) for dataset, sharing in by_dataset(tasks)]


def _encode_split(
    model: MultiTaskModel,
    examples: Sequence[object],
    tasks: list[Task],
    where: str,
    cache: str | Path | None,
    progress: bool,
) -> tuple[Sequence[EncodedExample], list[Fault]]:
    """The usable examples, and what is wrong with the others."""
    if not examples:
        return [], []
    is_stored = isinstance(examples, StoredExamples)
    worth_keeping = model.tokenizer.is_slow or is_stored or len(examples) >= MANY
    faults: list[Fault] = []
    encoded = encode(
        examples,
        model.tokenizer,
        tasks,
        model.encoder.config.max_length,
        model.overlap,
        faults,
        cache=cache if worth_keeping else None,
        progress=progress,
    )
    warn_of_encoding(where, encoded.notes, [])
    return encoded, faults


def _check_something_is_left(data: EncodedDataset) -> None:
    for task in data.tasks:
        if task.labelled(data.dataset.train) and not any(
            task.is_labelled(item.example) for item in data.splits["train"]
        ):
            raise DataError(
                f"none of the training examples of the task {task.name!r} can be used",
                found=f"{len(data.dataset.train):,} examples, all of them left out",
                fix='see what is wrong with them: on_error = "stop"',
            )


def check_training(model: MultiTaskModel, tasks: Sequence[Task], config: TrainConfig) -> None:
    """Raise right away what `train` would raise about its arguments; nothing is changed."""
    # As in training itself: whether anything is left to train depends on the freezing.
    frozen = model.freeze(*config.freeze)
    try:
        check(model, tasks, config, config.build_weighting(), config.build_aggregation())
    finally:
        model.unfreeze(*frozen)


def check(
    model: MultiTaskModel,
    tasks: Sequence[Task],
    config: TrainConfig,
    weighting: Weighting,
    aggregation: Aggregation,
) -> None:
    """Raise ConfigError or DataError unless the model can be trained on the tasks here."""
    # What this machine lacks must show now, not after the data is encoded.
    device = choose_device(config.device)
    choose_precision(config.precision, device)
    _check_shared_device(device)
    if not tasks:
        raise ConfigError("there are no tasks to train")
    for task in tasks:
        check_can_be_saved(task)
        check_examples(task, *task.dataset.splits())
        _check_known(model, task)
    _check_methods(model, tasks, config, weighting, aggregation)
    check_can_compile(model, config.compile, device)
    waiting = {name: getattr(config, name) for name in ("patience", "stop_at")}
    is_validated = any(task.labelled(task.dataset.validation) for task in tasks)
    for name, value in waiting.items():
        if value and not is_validated:
            raise ConfigError(
                f"train.{name} depends on scores on validation, but there is no validation data",
                found=f"train.{name} = {value}",
                fix=f"give the tasks validation examples, or set train.{name} to 0",
            )
    for task in tasks:
        _check_something_to_learn(model, task)


def _check_shared_device(device: torch.device) -> None:
    """Raise ConfigError for a device on which several processes cannot train together."""
    # A GPU with a number would be that of all processes: each has its own, the current one.
    if world() > 1 and (device.type not in ("cpu", "cuda") or device.index is not None):
        raise ConfigError(
            f"{world()} processes cannot train together on the device {str(device)!r}",
            fix='set train.device = "cuda", a GPU for each process, or "cpu"',
        )


def _check_known(model: MultiTaskModel, task: Task) -> None:
    """Raise ConfigError unless the model was built for this task, with the same labels."""
    known = model.tasks
    if task.name not in known:
        raise ConfigError(
            "the model has no head for this task",
            found=repr(task.name),
            fix=suggest(task.name, known),
        )
    # With other labels, the head would be trained on ids that mean something else.
    if known[task.name].settings() != task.settings():
        raise ConfigError(
            f"the model's task {task.name!r} was built with other settings",
            found=f"the model has {known[task.name].settings()}, the task {task.settings()}",
            fix="train with the tasks that the model was built with",
        )


def _check_methods(
    model: MultiTaskModel,
    tasks: Sequence[Task],
    config: TrainConfig,
    weighting: Weighting,
    aggregation: Aggregation,
) -> None:
    """The methods, which the caller may have given, must fit settings, tasks and model."""
    check_is_method(weighting, Weighting)
    check_sampling(weighting, config.sampling)
    check_is_method(aggregation, Aggregation)
    check_sampling(aggregation, config.sampling)
    for method in (weighting, aggregation):
        check_one_pass(method, config.compile)
    compares = weighting.needs_joint_steps or aggregation.needs_joint_steps
    if (compares or config.conflict_every) and not model.shared_parts:
        raise ConfigError(
            "there is no shared parameter that is trained, so tasks cannot be in conflict",
            found=f"{weighting.title}, {aggregation.title}, "
            f"train.conflict_every = {config.conflict_every}",
            fix='set train.weighting = "fixed", train.aggregation = "sum" and '
            "train.conflict_every = 0, or train the encoder",
        )
    weighting.check_tasks([task.name for task in tasks])
    check_parts(weighting, config.max_tokens)


def _check_something_to_learn(model: MultiTaskModel, task: Task) -> None:
    """A task needs examples to learn from, and a parameter that its loss can move."""
    check_has_examples(task)
    parts = [model.encoder, model.heads[task.name], *model.own_layers(task.name)]
    if not any(map(_is_trainable, parts)):
        raise ConfigError(
            f"there is nothing to train for the task {task.name!r}: encoder and head are frozen",
            fix="unfreeze one, or leave the task out",
        )


def check_has_weights(model: nn.Module) -> None:
    """Raise ConfigError for a model without any weights, such as one that was exported."""
    if next(model.parameters(), None) is None:
        raise ConfigError(
            "this model has no weights to train",
            found=repr(model)[:80],
            fix="train the model that it was exported from, and export it again",
        )


def check_has_examples(task: Task) -> None:
    """Raise DataError unless a task has labelled training examples, of its own kind."""
    check_examples(task, task.dataset.train)
    if not task.labelled(task.dataset.train):
        raise DataError(
            f"the task {task.name!r} has no labelled training examples",
            found=f"{len(task.dataset.train):,} examples",
            fix="give it a Dataset with train=[...]",
        )


def warn_of_spoiled_heads(model: MultiTaskModel, tasks: Sequence[Task]) -> None:
    """Warn (TrainingWarning) of heads that stay fixed while the encoder they fit changes."""
    trained = {task.name for task in tasks}
    # All heads of the model, especially those of tasks that are not trained now.
    for name, head in model.heads.items():
        # What a task has of its own moves only while that task is trained.
        below = [model.encoder, *(model.own_layers(name) if name in trained else [])]
        # Nothing below the head changes, so it still fits.
        if not any(map(_is_trainable, below)):
            continue
        is_frozen = not _is_trainable(head)
        if is_frozen or (name not in trained and name in model.trained):
            warnings.warn(
                f"the head of {name!r} is {'frozen' if is_frozen else 'not trained'} while the "
                "encoder keeps training: what it learned before will no longer fit",
                TrainingWarning,
                # Points at the line that calls `train`, which makes a Run, which warns.
                stacklevel=6,
            )


def warn_of_idle_weighting(weighting: Weighting, epochs: int) -> None:
    """Warn (TrainingWarning) of a weighting with too few epochs to change anything."""
    if epochs < weighting.needs_epochs:
        warnings.warn(
            f"{weighting.title} needs {weighting.needs_epochs} epochs to change a weight, but gets "
            f"{epochs}: all weights stay 1",
            TrainingWarning,
            stacklevel=6,  # as above
        )


def _is_trainable(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())
