"""How to train, and whether it can be done."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ..devices import PRECISIONS, check_device_name, choose_device, choose_precision
from ..errors import ConfigError, DataError, Fault, TrainingWarning, suggest
from ..model import MultiTaskModel
from ..settings import check as check_settings
from ..settings import raised_by, setting
from ..tasks import Task
from .aggregation import Aggregation, build_aggregation
from .methods import Method, build_method, check_is_method
from .sampling import SAMPLERS, check_exponents
from .weighting import FixedWeighting, Weighting


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Args:
        epochs: passes over the largest dataset.
        rounds: of an epoch, each with one batch of every dataset; 0 for one pass over the largest.
        batch_size: examples in a batch.
        max_tokens: a batch of more tokens, padding included, goes through the model in parts, whose
            gradients add up (gradient accumulation): the same update, less memory. 0 for never.
        learning_rate: of fresh weights, at its peak.
        pretrained_learning_rate: of an encoder that was loaded with `load_pretrained`, at its peak.
        warmup: share of all steps in which the rate rises from 0; then it falls to 0 (linearly).
        beta2: decay of AdamW's second moment (the first is 0.9).
        weight_decay: of weight matrices; biases and norms have none.
        clip_norm: the gradient is scaled down to this norm if it is longer.
        hide_words: share of training rows in which words are hidden; see
            `WhitespaceTokenizer.hide_words`.
        steps: `alternating` (one dataset a step, in turn), `joint` (all in every step) or `sampled`
            (one dataset a step, drawn by size; see `Sampled`).
        alpha, anneal: of `sampled` steps.
        loss_weights: the lambda of each task, 1.0 if not named; with `fixed` weighting.
        weighting: how losses become one, see `mtl.training.weighting`: `fixed`, `uncertainty`,
            `dwa`, `gradnorm`, `random`.
        weighting_options: of its class, such as `{"alpha": 0.5}` for `gradnorm`.
        aggregation: how gradients become one, see `mtl.training.aggregation`: `sum`, `pcgrad`, or a
            class of TorchJD, such as `UPGrad`.
        aggregation_options: of its class, such as `{"c": 0.4}` for `CAGrad`.
        conflict_every: after every so many steps, and at the start, the tasks' gradients are
            compared (`History`, `plot_conflict`); 0 for never. It costs one more batch of each
            dataset, forward and backward, and does not change the training.
        freeze: what is not trained, named as in `MultiTaskModel.freeze`.
        patience: stop when so many epochs in a row have not been better on validation; 0 for never.
        threads: of the CPU; 0 for the rule of `mtl.devices.choose_threads`: one for small batches
            of a small model, else all cores. The number is shown, and a run that is resumed keeps
            it, also on another machine.
        device: `cuda`, `mps`, `cpu`, or `auto`, the first of them that is there; `cuda:1` is the
            second GPU.
        precision: of matrix products: `float32`, `bfloat16`, `float16` (CUDA only), or `auto`, what
            is fastest on the device (Micikevicius et al. 2018, "Mixed Precision Training").
        seed: of everything random in training.

    Raises:
        ConfigError: values that cannot be, all of them together.
    """

    epochs: int = setting(8, least=1)
    rounds: int = setting(0, least=0)
    batch_size: int = setting(32, least=1)
    max_tokens: int = setting(0, least=0)
    learning_rate: float = setting(1e-3, above=0, below=math.inf)
    pretrained_learning_rate: float = setting(1e-4, above=0, below=math.inf)
    warmup: float = setting(0.1, least=0, most=1)
    beta2: float = setting(0.98, least=0, below=1)
    weight_decay: float = setting(0.01, least=0)
    clip_norm: float = setting(1.0, above=0, below=math.inf)
    hide_words: float = setting(0.5, least=0, most=1)
    steps: str = setting("alternating", choices=SAMPLERS)
    alpha: float = 1.0
    anneal: float = 0.0
    loss_weights: dict[str, float] = field(default_factory=dict)
    weighting: str = setting("fixed", choices=Weighting.kinds)
    weighting_options: dict[str, Any] = field(default_factory=dict)
    aggregation: str = "sum"
    aggregation_options: dict[str, Any] = field(default_factory=dict)
    conflict_every: int = setting(0, least=0)
    freeze: Sequence[str] = ()
    patience: int = setting(0, least=0)
    threads: int = setting(0, least=0)
    device: str = setting("auto", check=check_device_name)
    precision: str = setting("float32", choices=PRECISIONS)
    seed: int = setting(0, least=0, below=2**32)

    def __post_init__(self) -> None:
        check_settings(self, "train.")

    def contradictions(self, wrong: Collection[str]) -> Iterator[Fault]:
        """What cannot be together; nothing is said of settings that are `wrong` already."""
        fine = set(wrong).isdisjoint
        if fine(["alpha", "anneal"]):
            yield from raised_by(check_exponents, self.alpha, self.anneal)
        builders: list[Callable[[], Method]] = []
        if fine(["weighting", "weighting_options", "loss_weights", "seed"]):
            builders.append(self.build_weighting)
        if fine(["aggregation", "aggregation_options", "seed"]):
            builders.append(self.build_aggregation)
        for build in builders:
            try:
                method = build()
            except ConfigError as error:
                yield from error.faults
                continue
            if fine(["steps"]):
                yield from raised_by(check_steps, method, self.steps)
            if fine(["max_tokens"]) and isinstance(method, Weighting):
                yield from raised_by(check_parts, method, self.max_tokens)

    def build_weighting(self) -> Weighting:
        """A fresh weighting.

        Raises:
            ConfigError: see `build_method`; or `loss_weights` that it would not use.
        """
        options = self.weighting_options
        if self.weighting == FixedWeighting.name:
            if options:
                raise ConfigError(
                    "fixed weighting has no options",
                    found=f"train.weighting_options = {options}",
                    fix="set train.loss_weights",
                )
            options = {"weights": self.loss_weights}
        elif any(weight != 1 for weight in self.loss_weights.values()):
            raise ConfigError(
                f"train.loss_weights has no effect with train.weighting = {self.weighting!r}",
                found=str(self.loss_weights),
                fix='leave it out, or set train.weighting = "fixed"',
            )
        return build_method(Weighting, self.weighting, options, self.seed, "train.weighting")

    def build_aggregation(self) -> Aggregation:
        """A fresh aggregation; errors as of `mtl.training.aggregation.build_aggregation`."""
        return build_aggregation(self.aggregation, self.aggregation_options, self.seed)


def check_steps(method: Method, steps: str) -> None:
    """Raise ConfigError if a method needs all tasks in each step and does not get them."""
    if method.needs_joint_steps and not SAMPLERS[steps].joint:
        what = "gradient" if isinstance(method, Aggregation) else "loss"
        raise ConfigError(
            f"{method.title} needs every task's {what} in the same step",
            found=f"train.steps = {steps!r}",
            fix='set train.steps = "joint"',
        )


def check_parts(weighting: Weighting, max_tokens: int) -> None:
    """Raise ConfigError if batches come in parts and the weighting needs them whole."""
    if max_tokens and not isinstance(weighting, FixedWeighting):
        raise ConfigError(
            "only fixed weights add up over the parts of a batch",
            found=f"train.max_tokens = {max_tokens}, {weighting.title}",
            fix="set train.max_tokens to 0",
        )


def check_training(model: MultiTaskModel, tasks: Sequence[Task], config: TrainConfig) -> None:
    """Raise at once what `train` would raise about its arguments; nothing is changed."""
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
    """Raise ConfigError or DataError unless the model can be trained on the tasks, here."""
    choose_precision(config.precision, choose_device(config.device))
    if not tasks:
        raise ConfigError("there is no task to train")
    for task in tasks:
        _check_known(model, task)
    for method, base in ((weighting, Weighting), (aggregation, Aggregation)):
        check_is_method(method, base)
        check_steps(method, config.steps)
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
    if config.patience and not any(task.labelled(task.dataset.validation) for task in tasks):
        raise ConfigError(
            "train.patience waits for better scores on validation, and there is no validation data",
            found=f"train.patience = {config.patience}",
            fix="give the tasks validation examples, or set train.patience to 0",
        )
    for task in tasks:
        if not task.labelled(task.dataset.train):
            raise DataError(
                f"the task {task.name!r} has no labelled training examples",
                found=f"{len(task.dataset.train):,} examples",
                fix="give it a Dataset with train=[...]",
            )
        parts = [model.encoder, model.heads[task.name], *_private(model, task.name)]
        if not any(map(_is_trainable, parts)):
            raise ConfigError(
                f"there is nothing to train for the task {task.name!r}: encoder and head are "
                "frozen",
                fix="unfreeze one, or leave the task out",
            )


def _check_known(model: MultiTaskModel, task: Task) -> None:
    """The model must have been built for a task of this name with the same labels."""
    known = model.tasks
    if task.name not in known:
        raise ConfigError(
            "the model has no head for this task",
            found=repr(task.name),
            fix=suggest(task.name, known),
        )
    if known[task.name].settings() != task.settings():
        raise ConfigError(
            f"the model's task {task.name!r} was built with other settings",
            found=f"the model has {known[task.name].settings()}, the task {task.settings()}",
            fix="train with the tasks that the model was built with",
        )


def warn_of_spoiled_heads(model: MultiTaskModel, tasks: Sequence[Task]) -> None:
    """A head that stands still while the encoder moves no longer fits it: TrainingWarning."""
    trained = {task.name for task in tasks}
    for name, head in model.heads.items():
        if not any(map(_is_trainable, [model.encoder, *_private(model, name)])):
            continue
        is_frozen = not _is_trainable(head)
        if is_frozen or (name not in trained and name in model.trained):
            warnings.warn(
                f"the head of {name!r} is {'frozen' if is_frozen else 'not trained'} while the "
                "encoder goes on training: what it learned before will no longer fit",
                TrainingWarning,
                stacklevel=4,
            )


def warn_of_idle_weighting(weighting: Weighting, epochs: int) -> None:
    """A weighting that has too few epochs to change anything: TrainingWarning."""
    if epochs < weighting.needs_epochs:
        warnings.warn(
            f"{weighting.title} needs {weighting.needs_epochs} epochs to change a weight and gets "
            f"{epochs}: all weights stay 1",
            TrainingWarning,
            stacklevel=4,
        )


def _private(model: MultiTaskModel, task: str) -> list[nn.Module]:
    """The task's private layers, if it has any."""
    return [model.private[task]] if model.private else []


def _is_trainable(module: nn.Module) -> bool:
    return any(p.requires_grad for p in module.parameters())
