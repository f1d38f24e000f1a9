"""Token ids go in; the vectors of each task come out, from one encoder and what the task has added.

A task may have layers of its own on top, an adapter in the shared layers, and a vector that tells
the encoder which task a text is read for.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn

from ..errors import ConfigError
from .adapters import Adapter, AdapterConfig, check_adapter
from .encoder import TransformerEncoder
from .task_embedding import TaskEmbedding

SHARED = ""  # among the names of tasks, it stands for what they share: the encoder as it is


class SharedEncoder(nn.Module):
    """An encoder that several tasks read, each along its own path.

    Args:
        encoder: the shared one.
        private_layers: how many of its layers, from the top, each task has for itself.
        adapter_config: what the adapters have in common.
    """

    def __init__(
        self, encoder: TransformerEncoder, private_layers: int, adapter_config: AdapterConfig
    ) -> None:
        super().__init__()
        # The first task will take its private layers off the encoder (see `_next_private_layers`).
        self.encoder = copy.deepcopy(encoder) if private_layers else encoder
        self.private_layers = private_layers
        self.adapter_config = adapter_config
        # By the names of the tasks:
        self.private = nn.ModuleDict()
        self.adapters = nn.ModuleDict()
        self.task_embeddings = nn.ModuleDict()

    def add_path(self, task: str, adapter: int, task_embedding: bool) -> None:
        """Give one more task what it has of its own.

        Raises:
            ConfigError: an impossible adapter.
        """
        n_shared = self.encoder.config.n_layers - self.private_layers
        check_adapter(adapter, self.adapter_config, n_shared)
        if self.private_layers:
            # Trained, even if those of the first task are frozen.
            self.private[task] = self._next_private_layers().requires_grad_()
        # The encoder may be on a GPU already when a task is added.
        device = next(self.encoder.parameters()).device
        if adapter:
            own = Adapter(list(self.encoder.layers), adapter, self.adapter_config)
            self.adapters[task] = own.to(device)
        if task_embedding:
            self.task_embeddings[task] = TaskEmbedding(self.encoder.config.d_model).to(device)

    def _next_private_layers(self) -> nn.Module:
        """The private layers of one more task.

        The first task gets the encoder's top layers themselves, and leaves the encoder those that
        all tasks share. Every other task gets a copy of the first task's.
        """
        if self.private:
            first = next(iter(self.private.values()))
            return copy.deepcopy(first)
        layers = self.encoder.layers
        n_shared = len(layers) - self.private_layers
        self.encoder.layers = layers[:n_shared]
        return layers[n_shared:]

    def encode_for(
        self,
        tasks: Iterable[str],
        input_ids: Tensor,
        attention_mask: Tensor | None,
        token_type_ids: Tensor | None,
    ) -> dict[str, Tensor]:
        """What each task reads, `(B, T, D)`; whatever their paths begin with is run once.

        Args:
            tasks: their names, or `SHARED`.
        """
        inputs = (input_ids, attention_mask, token_type_ids)
        if not (self.private or self.adapters or self.task_embeddings):
            return dict.fromkeys(tasks, self.encoder(*inputs))
        paths = {task: self._path(task) for task in tasks}
        # By path: tasks that have the same one share its vectors too.
        states = self.encoder.branch(*inputs, dict.fromkeys(paths.values()))
        return {task: states[path] for task, path in paths.items()}

    def _path(self, task: str) -> tuple[nn.Module, ...]:
        """The layers that a text goes through for a task, from the first to the last."""
        first = [self.task_embeddings[task]] if task in self.task_embeddings else []
        layers, adapter = list(self.encoder.layers), self._adapter(task)
        if adapter is not None:
            layers = adapter.adapted(layers)
        return (*first, *layers, *self._private(task))

    def own_layers(self, task: str) -> list[nn.Module]:
        """What a task has of its own below its head: private layers, an adapter, an embedding."""
        kinds = (self.private, self.adapters, self.task_embeddings)
        return [parts[task] for parts in kinds if task in parts]

    def encoder_for(self, task: str) -> TransformerEncoder:
        """The encoder as one task reads it, as a copy that needs no adapter and no other task.

        The task's adapter is merged into the weights, and its private layers are on top.

        Raises:
            ConfigError: the task has an embedding, which has no place in an encoder.
        """
        if task in self.task_embeddings:
            raise ConfigError(
                f"the task {task!r} has a task embedding, which an encoder alone cannot hold",
                fix="MultiTaskModel.save_pretrained saves the whole model",
            )
        adapter = self._adapter(task)
        encoder = adapter.merged(self.encoder) if adapter else copy.deepcopy(self.encoder)
        encoder.layers.extend(copy.deepcopy(self._private(task)))
        return encoder

    @property
    def adapter_ranks(self) -> dict[str, int]:
        """The rank of each task's adapter, by the name of the task."""
        return {name: cast("Adapter", adapter).rank for name, adapter in self.adapters.items()}

    def _adapter(self, task: str) -> Adapter | None:
        return cast("Adapter", self.adapters[task]) if task in self.adapters else None

    def _private(self, task: str) -> list[nn.Module]:
        return list(self.private[task].children()) if task in self.private else []

    @property
    def shared_parts(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that all tasks share and that are trained, from the bottom to the top.

        Keys are `embeddings`, `layer 1` and so on; the norm after the last layer counts with it.
        """
        encoder = self.encoder
        parts = {"embeddings": [getattr(encoder, name) for name in encoder.embedding_parts]}
        parts |= {f"layer {i}": [layer] for i, layer in enumerate(encoder.layers, 1)}
        if "norm" not in encoder.embedding_parts:
            list(parts.values())[-1].append(encoder.norm)
        trained = {
            name: [p for module in modules for p in module.parameters() if p.requires_grad]
            for name, modules in parts.items()
        }
        return {name: parameters for name, parameters in trained.items() if parameters}

    @property
    def last_shared(self) -> nn.Parameter | None:
        """The last weight matrix that all tasks share and that is trained, if any."""
        # GradNorm compares gradients at one matrix (Chen et al. 2018, section 3.1); the norms and
        # biases beside it have too few numbers to say much.
        matrices = [p for part in self.shared_parts.values() for p in part if p.dim() > 1]
        return matrices[-1] if matrices else None

    def own_parts_in_words(self) -> str:
        """What the tasks have of their own, with the number of parameters; "" for nothing."""
        words = ""
        if self.private:
            each = count_parameters(next(iter(self.private.values())))
            words += f", {self.private_layers} private layers per task ({each:,} parameters each)"
        for task, rank in self.adapter_ranks.items():
            size = count_parameters(self.adapters[task])
            words += f", adapter of rank {rank} for {task} ({size:,} parameters)"
        if self.task_embeddings:
            words += f", task embeddings for {', '.join(self.task_embeddings)}"
        return words


def count_parameters(module: nn.Module) -> int:
    """How many numbers there are to learn in a module."""
    return sum(p.numel() for p in module.parameters())
