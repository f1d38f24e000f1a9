"""The parts of a model go in; a ConfigError comes out unless they fit together."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping
from typing import Any

from torch import nn

from .data.tokenizers.base import Tokenizer
from .errors import ConfigError, suggest
from .nn.encoder import TransformerEncoder
from .tasks import Task


def check_fit(encoder: TransformerEncoder, tokenizer: Tokenizer, private_layers: int) -> None:
    """Raise ConfigError unless these are the parts of a model, and fit together."""
    if not isinstance(encoder, TransformerEncoder) or not isinstance(tokenizer, Tokenizer):
        raise ConfigError(
            "a model takes an encoder of mtl, then its tokenizer, then tasks",
            found=f"{type(encoder).__name__}, {type(tokenizer).__name__}",
            fix="MultiTaskModel(encoder, tokenizer, tasks); mtl.load_pretrained(NAME) gives the "
            "first two",
        )
    if len(tokenizer) > encoder.config.vocab_size:
        raise ConfigError(
            "the tokenizer has more ids than the encoder has embeddings",
            found=f"{len(tokenizer)} ids, vocab_size {encoder.config.vocab_size}",
            fix="build the encoder with vocab_size=len(tokenizer)",
        )
    if len(encoder.layers) < encoder.config.n_layers:
        raise ConfigError(
            "the encoder is incomplete: some of its layers are private to the tasks of a model",
            found=f"{len(encoder.layers)} of {encoder.config.n_layers} layers",
            fix="build another encoder",
        )
    if type(private_layers) is not int or not 0 <= private_layers <= len(encoder.layers):
        raise ConfigError(
            "model.private_layers must be a whole number from 0 to the encoder's "
            f"{len(encoder.layers)} layers",
            found=repr(private_layers),
            fix=f"at most {len(encoder.layers)}, or give the encoder more layers",
        )


def check_overlap(overlap: int) -> None:
    """Raise ConfigError unless windows can share that many pieces."""
    if type(overlap) is not int or overlap < 0:
        raise ConfigError("encoder.overlap must be a whole number, at least 0", found=repr(overlap))


def check_ranks(ranks: Mapping[str, int], tasks: Iterable[Task]) -> None:
    """Raise ConfigError unless this is a dict of ranks by the names of tasks."""
    if not isinstance(ranks, Mapping):
        raise ConfigError(
            "adapters are given by the names of their tasks",
            found=repr(ranks)[:80],
            fix='a dict of ranks, such as {"ner": 8}',
        )
    check_names(ranks, tasks)


def check_names(names: Collection[str], tasks: Iterable[Task]) -> None:
    """Raise ConfigError unless these are names of tasks."""
    if isinstance(names, str) or not isinstance(names, Collection):
        fix = 'a list of names, such as ["ner"]'
        raise ConfigError("several tasks are named by a list", found=repr(names)[:80], fix=fix)
    known = [task.name for task in tasks]
    for name in names:
        if name not in known:
            raise ConfigError(
                "an adapter or embedding is for a task that the model does not have",
                found=repr(name),
                fix=suggest(str(name), known),
            )


def check_new_task(task: Task, encoder: TransformerEncoder, known: Container[str]) -> None:
    """Raise ConfigError unless a model with this encoder and these tasks can have one more."""
    if task.name in known:
        raise ConfigError(
            "two tasks have the same name", found=repr(task.name), fix="give one another name"
        )
    if task.reads_pairs and encoder.config.n_types == 1:
        raise ConfigError(
            "pairs of texts have two segments, but the encoder has one",
            found="encoder.n_types = 1",
            fix="set encoder.n_types to 2, or to 0 for none",
        )


def check_head(head: Any, task: Task) -> None:
    """Raise ConfigError unless the head that a task has built is a module."""
    if not isinstance(head, nn.Module):
        raise ConfigError(
            f"the head of the task {task.name!r} is not a module of PyTorch",
            found=repr(head)[:80],
            fix=f"return one from {type(task).__name__}.build_head, such as nn.Linear",
        )
