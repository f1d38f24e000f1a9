"""One family of errors: each says what is wrong, where, what was found and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

MOST_PRINTED = 20


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, worded so that its reader knows what to do next."""

    what: str
    path: str | None = None
    line: int | None = None
    found: str | None = None
    fix: str | None = None

    def __str__(self) -> str:
        where = f"{self.path}:{self.line}: " if self.line else f"{self.path}: " if self.path else ""
        found = f"\n  found: {self.found}" if self.found else ""
        fix = f"\n  to do: {self.fix}" if self.fix else ""
        return f"{where}{self.what}{found}{fix}"


class MTLError(Exception):
    """Base of every error this package raises on purpose; `faults` lists all that is wrong.

    Of a file with very many faults, the first ones; `not_kept` then says how many more there are.
    """

    # What a shell sees; 2 means wrong usage, as in argparse.
    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        path: object | None = None,
        line: int | None = None,
        found: str | None = None,
        fix: str | None = None,
    ) -> None:
        self.faults = [Fault(what, None if path is None else str(path), line, found, fix)]
        self.not_kept = 0
        super().__init__(what)

    @classmethod
    def collect(cls, faults: Sequence[Fault], not_kept: int = 0) -> Self:
        """One error that holds every fault found, not only the first.

        Args:
            not_kept: how many more there are, which were counted but not kept.
        """
        error = cls(faults[0].what)
        error.faults = list(faults)
        error.not_kept = not_kept
        return error

    def at(self, path: object | None = None, what: str = "") -> Self:
        """The same faults, from a caller who knows more about where they are: `raise error.at(p)`.

        Args:
            path: the file that the faults are in; None keeps theirs.
            what: goes before each fault, such as `example 3: `.
        """
        return self.collect(
            [
                replace(
                    fault,
                    path=fault.path if path is None else str(path),
                    what=what + fault.what,
                )
                for fault in self.faults
            ],
            self.not_kept,
        )

    def __str__(self) -> str:
        # A file with a wrong column has a fault on every line: nobody reads thousands of them.
        lines = [str(fault) for fault in self.faults[:MOST_PRINTED]]
        n = len(self.faults) + self.not_kept
        if n > 1:
            lines.append(f"{n} problems in all" + self._unprinted(n))
        return "\n".join(lines)

    def _unprinted(self, n: int) -> str:
        more = n - MOST_PRINTED
        return f" (the first {MOST_PRINTED} are shown)" if more > 0 else ""


class DataError(MTLError):
    """The data cannot be used as it is."""


class ModelError(MTLError):
    """A model, or the folder it should be in, cannot be used."""


class ConfigError(MTLError):
    """A setting is unknown, of the wrong type, or contradicts another."""

    exit_code = 2


class DataWarning(UserWarning):
    """Something that users should know about their data, but that stops nothing."""


class TrainingWarning(UserWarning):
    """Something about a training run that is allowed but seldom intended."""


def missing_extra(library: str, extra: str, what: str = "this") -> ConfigError:
    """The error for a library that is not installed because its extra was not asked for."""
    return ConfigError(f"{what} needs the extra {extra!r} of mtl: pip install {library}")


# What version 0.4 called by another name.
OLD_NAMES = {
    "after_epoch": "on_epoch",
    "beta2": "adam_beta2",
    "clip_norm": "max_grad_norm",
    "examples": "data",
    "steps": "sampling",
    "type_ids": "token_type_ids",
    "warmup": "warmup_ratio",
}
# What transformers calls by another name: the ones that its users will try first.
NAMES_ELSEWHERE = {
    "attention_probs_dropout_prob": "attention_dropout",
    "bf16": "precision",
    "dev": "validation",
    "early_stopping_patience": "patience",
    "embedding_size": "d_embedding",
    "eval": "validation",
    "fp16": "precision",
    "global_attn_every_n_layers": "global_every",
    "global_rope_theta": "rotary_theta",
    "gradient_accumulation_steps": "max_tokens",
    "hidden_dropout_prob": "dropout",
    "hidden_size": "d_model",
    "intermediate_size": "d_ff",
    "local_rope_theta": "local_rotary_theta",
    "logging_dir": "tensorboard",
    "lr": "learning_rate",
    "lr_scheduler_type": "decay_ratio",
    "max_position_embeddings": "max_length",
    "num_attention_heads": "n_heads",
    "num_hidden_layers": "n_layers",
    "num_train_epochs": "epochs",
    "output_dir": "output",
    "per_device_train_batch_size": "batch_size",
    "resume_from_checkpoint": "resume",
    "rope_theta": "rotary_theta",
    "stride": "overlap",
    "top_k": "n",
    "torch_compile": "compile",
    "type_vocab_size": "n_types",
    "val": "validation",
}


# What is asked for in another way here.
OTHER_WAYS = {"nested": 'entities inside others are a task of their own: kind = "nested-ner"'}


def suggest(name: str, known: Iterable[str]) -> str:
    """What to do about an unknown name: what it is called here; or the nearest, and all of them."""
    if name in OTHER_WAYS:
        return OTHER_WAYS[name]
    known = sorted(known)
    called = (OLD_NAMES | NAMES_ELSEWHERE).get(name)
    if called in known:
        return (
            f'it is called "{called}" here'
            if name in NAMES_ELSEWHERE
            else f'it is now called "{called}"'
        )
    in_lower_case = {other.lower(): other for other in known}
    # In lower case: difflib would count `NER` and `ner` as having nothing in common.
    near = difflib.get_close_matches(name.lower(), in_lower_case, n=1, cutoff=0.5)
    guess = f'did you mean "{in_lower_case[near[0]]}"? ' if near else ""
    return f"{guess}use one of {', '.join(known)}"
