"""Settings come in; how to train, with every value checked, goes out."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..devices import PRECISIONS, check_device_name
from ..errors import ConfigError, Fault, suggest
from ..settings import check as check_settings
from ..settings import class_names_checked, raised_by, setting
from .aggregation import Aggregation, build_aggregation
from .methods import Method, build_method
from .sampling import SAMPLERS, check_exponents
from .weighting import FixedWeighting, Weighting

CAPTURED = "reduce-overhead"  # torch's name for kernels launched together, as a CUDA graph


def check_rounds(rounds: float, name: str) -> None:
    """Raise ConfigError for rounds that are neither whole nor a share below 1."""
    if rounds >= 1 and rounds != int(rounds):
        raise ConfigError(
            f"{name} must be a whole number, or a share of a pass below 1", found=str(rounds)
        )


def check_compile(value: bool | str, name: str) -> None:
    """Raise ConfigError for a string that does not name a way to compile."""
    if isinstance(value, str) and value != CAPTURED:
        what = f'{name} must be true, false or "{CAPTURED}"'
        raise ConfigError(what, found=repr(value), fix=suggest(value, ["true", "false", CAPTURED]))


@class_names_checked
@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    Args:
        epochs: passes over the largest dataset.
        rounds: per epoch, each with one batch of every dataset; 0 for one pass over the largest,
            a number below 1 for that share of a pass, to validate more often.
        batch_size: examples per batch.
        max_tokens: a batch of more tokens, padding included, goes through the model in parts, whose
            gradients add up (gradient accumulation): the same update, less memory. 0 for never.
        learning_rate: for fresh weights, at its peak.
        pretrained_learning_rate: for an encoder loaded with `load_pretrained`, at its peak.
        warmup_ratio: share of all steps over which the rate rises linearly from 0.
        decay_ratio: share of all steps, at the end, over which it falls linearly to 0. By default
            all steps after the rise; with less, the rate stays at its peak until then
            (warm-up, stable, decay: see `mtl.training.optimizer.Schedule`).
        stop_at: end early: once the score on validation (the mean of the tasks' main metrics) has
            reached this, the rate starts to fall, and training ends with the epoch in which it has
            fallen for `decay_ratio` of all steps; 0 for never.
        adam_beta2: decay of AdamW's second moment (the first is 0.9).
        weight_decay: for weight matrices; biases and norms have none.
        max_grad_norm: the gradient is scaled down to this norm if it is longer.
        hide_words: share of training rows in which words are hidden; see
            `WhitespaceTokenizer.hide_words`.
        sampling: `alternating` (one dataset per step, in turn), `joint` (all in every step) or
            `sampled` (one dataset per step, drawn by size; see `Sampled`).
        alpha, anneal: for `sampled` steps.
        loss_weights: the lambda of each task, 1.0 if not named; for `fixed` weighting.
        weighting: how losses are combined, see `mtl.training.weighting`: `fixed`, `uncertainty`,
            `dwa`, `gradnorm`, `random`, or the name of your own class.
        weighting_options: those of its class, such as `{"alpha": 0.5}` for `gradnorm`.
        aggregation: how gradients are combined, see `mtl.training.aggregation`: `sum`, `pcgrad`, or
            a class of TorchJD, such as `UPGrad`.
        aggregation_options: those of its class, such as `{"c": 0.4}` for `CAGrad`.
        conflict_every: at the start and every `conflict_every` steps, the tasks' gradients are
            compared (`History`, `plot_conflict`); 0 for never. It costs one more batch of each
            dataset, forward and backward, and does not change training.
        freeze: what not to train, named as in `MultiTaskModel.freeze`.
        patience: stop after this many epochs in a row without better validation; 0 for never.
        threads: on the CPU; 0 for the rule of `mtl.devices.choose_threads`: one for small batches
            of a small model, else all cores. The number is shown, and a resumed run keeps it,
            even on another machine.
        device: `cuda`, `mps`, `cpu`, or `auto`, the first that is available; `cuda:1` is the
            second GPU.
        precision: for matrix products: `float32`, `bfloat16`, `float16` (CUDA only), or `auto`,
            the fastest on the device (Micikevicius et al. 2018, "Mixed Precision Training").
        compile: whether the encoder's code is compiled (`torch.compile`), which takes a minute or
            more at the start. "reduce-overhead" also captures its kernels as graphs (CUDA only), so
            that launching them one by one does not hold up a GPU.
        seed: for everything random in training.

    Raises:
        ConfigError: impossible values, all reported together.
    """

    epochs: int = setting(8, least=1)
    rounds: float = setting(0, least=0, check=check_rounds)
    batch_size: int = setting(32, least=1)
    max_tokens: int = setting(0, least=0)
    learning_rate: float = setting(1e-3, above=0, below=math.inf)
    pretrained_learning_rate: float = setting(1e-4, above=0, below=math.inf)
    warmup_ratio: float = setting(0.1, least=0, most=1)
    decay_ratio: float = setting(1.0, least=0, most=1)
    stop_at: float = setting(0.0, least=0, most=1)
    # 0.98, as in Vaswani et al.: a shorter memory than PyTorch's 0.999, for short training runs.
    adam_beta2: float = setting(0.98, least=0, below=1)
    weight_decay: float = setting(0.01, least=0)
    max_grad_norm: float = setting(1.0, above=0, below=math.inf)
    hide_words: float = setting(0.5, least=0, most=1)
    sampling: str = setting("alternating", choices=SAMPLERS)
    alpha: float = 1.0
    anneal: float = 0.0
    loss_weights: dict[str, float] = field(default_factory=dict)
    weighting: str = "fixed"
    weighting_options: dict[str, Any] = field(default_factory=dict)
    aggregation: str = "sum"
    aggregation_options: dict[str, Any] = field(default_factory=dict)
    conflict_every: int = setting(0, least=0)
    freeze: Sequence[str] = ()
    patience: int = setting(0, least=0)
    threads: int = setting(0, least=0, below=1025)
    # Only its name is checked here: a recipe may be written on a machine without the GPU.
    device: str = setting("auto", check=check_device_name)
    precision: str = setting("float32", choices=PRECISIONS)
    compile: bool | str = setting(False, check=check_compile)
    seed: int = setting(0, least=0, below=2**32)

    def __post_init__(self) -> None:
        check_settings(self, "train.")

    def contradictions(self, wrong: Collection[str]) -> Iterator[Fault]:
        """Settings that contradict each other; those already `wrong` are left out."""
        fine = set(wrong).isdisjoint
        if fine(["alpha", "anneal"]):
            yield from raised_by(check_exponents, self.alpha, self.anneal)
        if fine(["warmup_ratio", "decay_ratio", "stop_at"]):
            yield from raised_by(check_early_end, self)
        builders: list[Callable[[], Method]] = []
        if fine(["weighting", "weighting_options", "loss_weights", "seed"]):
            builders.append(self.build_weighting)
        if fine(["aggregation", "aggregation_options", "seed"]):
            builders.append(self.build_aggregation)
        for build in builders:
            try:
                method = build()
            # Collected, so that a recipe with three mistakes needs one run to find them.
            except ConfigError as error:
                yield from error.faults
                continue
            if fine(["sampling"]):
                yield from raised_by(check_sampling, method, self.sampling)
            if fine(["max_tokens"]) and isinstance(method, Weighting):
                yield from raised_by(check_parts, method, self.max_tokens)
            if fine(["compile"]):
                yield from raised_by(check_one_pass, method, self.compile)
        if fine(["compile", "max_tokens"]):
            yield from raised_by(check_captured_whole, self)

    def rounds_per_epoch(self, in_a_pass: int) -> int:
        """Rounds per epoch, given those in one pass over the largest dataset."""
        if self.rounds >= 1:
            return int(self.rounds)
        return max(1, round((self.rounds or 1) * in_a_pass))

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
        # Weights of 1 change nothing, so nobody needs to remove them.
        elif any(weight != 1 for weight in self.loss_weights.values()):
            raise ConfigError(
                f"train.loss_weights has no effect with train.weighting = {self.weighting!r}",
                found=str(self.loss_weights),
                fix='leave it out, or set train.weighting = "fixed"',
            )
        return build_method(Weighting, self.weighting, options, self.seed, "train.weighting")

    def build_aggregation(self) -> Aggregation:
        """A fresh aggregation; errors are those of `mtl.training.aggregation.build_aggregation`."""
        return build_aggregation(self.aggregation, self.aggregation_options, self.seed)


def check_one_pass(method: Method, compiled: bool | str) -> None:
    """Raise ConfigError if a method goes backward more than once, which compiled code cannot."""
    if compiled and method.needs_joint_steps:
        raise ConfigError(
            f"{method.title} takes the gradients of each task, and compiled code can go backward "
            "through a batch only once",
            found=f"train.compile = {compiled!r}",
            fix="set train.compile = false",
        )


def check_captured_whole(config: TrainConfig) -> None:
    """Raise ConfigError if batches come in parts and each would write over the last's gradients."""
    if config.compile == CAPTURED and config.max_tokens:
        raise ConfigError(
            f'train.compile = "{CAPTURED}" uses the same memory for every part of a batch',
            found=f"train.max_tokens = {config.max_tokens}",
            fix="set train.compile = true, or train.max_tokens = 0",
        )


def check_early_end(config: TrainConfig) -> None:
    """Raise ConfigError if the learning rate should fall early, but has no peak to fall from."""
    if config.stop_at and config.warmup_ratio + config.decay_ratio >= 1:
        raise ConfigError(
            "train.stop_at has no effect: the learning rate falls as soon as it has risen",
            found=f"train.warmup_ratio = {config.warmup_ratio}, "
            f"train.decay_ratio = {config.decay_ratio}",
            fix="set train.decay_ratio = 0.1, or train.stop_at = 0",
        )


def check_sampling(method: Method, sampling: str) -> None:
    """Raise ConfigError if a method needs all tasks in each step and does not get them."""
    if method.needs_joint_steps and not SAMPLERS[sampling].joint:
        what = "gradient" if isinstance(method, Aggregation) else "loss"
        raise ConfigError(
            f"{method.title} needs every task's {what} in the same step",
            found=f"train.sampling = {sampling!r}",
            fix='set train.sampling = "joint"',
        )


def check_parts(weighting: Weighting, max_tokens: int) -> None:
    """Raise ConfigError if batches come in parts and the weighting needs them whole."""
    # Others weight a part by the losses of that part, so parts no longer add up to the batch.
    if max_tokens and not isinstance(weighting, FixedWeighting):
        raise ConfigError(
            "only fixed weights add up over the parts of a batch",
            found=f"train.max_tokens = {max_tokens}, {weighting.title}",
            fix="set train.max_tokens to 0",
        )
