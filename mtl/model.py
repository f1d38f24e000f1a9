"""One shared encoder with a named head for each task; saved to and loaded from a folder."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .data.batching import Batch
from .data.tokenizers.base import Tokenizer
from .devices import full_precision
from .errors import ConfigError
from .files import broken_weights, read_tensors
from .inference.predictor import Predictor
from .model_checks import (
    check_fit,
    check_head,
    check_names,
    check_new_task,
    check_overlap,
    check_ranks,
)
from .model_folder import WEIGHTS, Parts, bad_config, read_folder, write_folder
from .nn.adapters import AdapterConfig, as_adapter_config
from .nn.encoder import TransformerEncoder
from .nn.parameters import parameters_called
from .nn.pretrained import find_checkpoint
from .nn.shared_encoder import SharedEncoder, count_parameters
from .settings import names_checked
from .tasks import Task
from .tasks.base import as_tasks, loss_of

OVERLAP = 32  # pieces that neighbouring windows share, unless set otherwise


class MultiTaskModel(SharedEncoder, Predictor):
    """A shared encoder, its tokenizer, and one head for each task (hard parameter sharing).

    Args:
        encoder: the shared encoder.
        tokenizer: what turns text into the encoder's ids.
        tasks: one head is built for each; their names must differ.
        private_layers: how many of the encoder's layers, from the top, are not shared: each task
            has its own, which all start as identical copies. The model then works on a copy of the
            encoder; the one you pass stays intact.
        overlap: pieces that neighbouring windows of a long text share (at most half a window).
        adapters: the ranks of the tasks that adapt the shared layers to themselves (LoRA), by name;
            the others read the encoder as it is.
        adapter_config: what the adapters have in common, an `AdapterConfig` or a dict of its
            fields.
        task_embeddings: names of the tasks whose texts are marked for the encoder by a learned
            vector. Each of these tasks needs a pass of its own.

    Raises:
        ConfigError: two tasks of the same name, a vocabulary the encoder cannot hold, more private
            or adapted layers than layers, the encoder of a model that has private layers, an
            overlap below 0, or an adapter or embedding for an unknown task.
    """

    @names_checked
    def __init__(
        self,
        encoder: TransformerEncoder,
        tokenizer: Tokenizer,
        tasks: Task | Iterable[Task] | Mapping[str, Task],
        private_layers: int = 0,
        overlap: int = OVERLAP,
        adapters: Mapping[str, int] | None = None,
        adapter_config: AdapterConfig | Mapping[str, Any] | None = None,
        task_embeddings: Collection[str] = (),
    ) -> None:
        check_fit(encoder, tokenizer, private_layers)
        check_overlap(overlap)
        super().__init__(encoder, private_layers, as_adapter_config(adapter_config))
        tasks, ranks = as_tasks(tasks), adapters or {}
        check_ranks(ranks, tasks)
        check_names(task_embeddings, tasks)
        self.tokenizer = tokenizer
        self.tasks: dict[str, Task] = {}
        self.trained: set[str] = set()  # names of the tasks that have been trained
        self.heads = nn.ModuleDict()
        self.overlap = overlap
        for task in tasks:
            self.add_task(task, ranks.get(task.name, 0), task.name in task_embeddings)

    def add_task(self, task: Task, adapter: int = 0, task_embedding: bool = False) -> None:
        """Add a fresh head for a task; the encoder and the other heads stay as they are.

        Its private layers, if the model has any, start as copies of the first task's.

        Args:
            task: its name must be new.
            adapter: the rank of its adapter; 0 for none.
            task_embedding: whether the encoder is told of the task by a learned vector.

        Raises:
            ConfigError: there is a task of this name already, the encoder cannot read its pairs, or
                an impossible adapter.
        """
        as_tasks([task])  # its error says what to give
        check_new_task(task, self.encoder, self.tasks)
        head = task.build_head(self.encoder.config.d_model)
        check_head(head, task)
        self.add_path(task.name, adapter, task_embedding)
        # The model may be on a GPU already when a task is added.
        self.heads[task.name] = head.to(next(self.encoder.parameters()).device)
        self.tasks[task.name] = task

    def freeze(self, *names: str) -> list[str]:
        """Take parameters out of training; they keep their values to the last bit.

        A frozen head fits the encoder it was trained on: if the encoder keeps training, the head no
        longer fits, and `train` warns.

        Args:
            names: `encoder`, `encoder.embeddings`, `encoder.layers[:2]` (the first two layers),
                `heads.NAME`, `private.NAME` (a task's private layers), `adapters.NAME`,
                `task_embeddings.NAME`, or any beginning of parameter names, such as
                `encoder.layers.1`.

        Returns:
            the parameters that were trained before, for `unfreeze`.

        Raises:
            ConfigError: a name that matches no parameter; the nearest known one is named.
        """
        frozen = []
        for name in parameters_called(names, self, self.encoder):
            parameter = self.get_parameter(name)
            if parameter.requires_grad:
                parameter.requires_grad_(False)
                # An optimiser that holds it would keep moving it by an old gradient.
                parameter.grad = None
                frozen.append(name)
        return frozen

    def unfreeze(self, *names: str) -> None:
        """Train parameters again; names as in `freeze`."""
        for name in parameters_called(names, self, self.encoder):
            self.get_parameter(name).requires_grad_(True)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def forward(self, batch: Batch, tasks: Iterable[str]) -> dict[str, Any]:
        """The output of each head of `tasks` for a batch; what the tasks share is run once."""
        hidden = self.hidden(batch, tasks)
        dtype = next(self.parameters()).dtype
        with full_precision(self.device):  # the heads are small, and scores need all digits
            return {
                name: self.tasks[name].run_head(self.heads[name], states.to(dtype), batch)
                for name, states in hidden.items()
            }

    def hidden(self, batch: Batch, tasks: Iterable[str]) -> dict[str, Tensor]:
        """What the head of each task reads, `(B, T, D)`; what the tasks share is run once."""
        return self.encode_for(tasks, batch.input_ids, batch.attention_mask, batch.token_type_ids)

    def encoder_for(self, task: str) -> TransformerEncoder:
        """The encoder as one task reads it, as a copy that needs no adapter and no other task.

        The task's adapter is merged into the weights, and its private layers are on top. That is
        what `save_for_transformers` takes.

        Raises:
            ConfigError: there is no such task, or it has a task embedding.
        """
        return super().encoder_for(self.task(task).name)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The loss of every task that has a labelled row in the batch."""
        outputs = self(batch, batch.targets)
        with full_precision(self.device):
            return {
                name: loss_of(self.tasks[name], outputs[name], target, batch)
                for name, target in batch.targets.items()
            }

    def untrained(self) -> MultiTaskModel:
        """The same model with fresh weights, always the same ones: what training has to beat."""
        # Drawn on the CPU and moved, so that they are the same on every device.
        return untrained_model(self.parts).to(self.device)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the whole model: weights, `config.json` with tasks and labels, tokenizer."""
        write_folder(Path(folder), self.parts, self.state_dict())

    @property
    def parts(self) -> Parts:
        """What the model is made of, without its weights."""
        return Parts(
            self.encoder,
            self.tokenizer,
            list(self.tasks.values()),
            self.private_layers,
            self.overlap,
            self.adapter_ranks,
            self.adapter_config,
            list(self.task_embeddings),
        )

    @classmethod
    def from_pretrained(cls, folder_or_name: str | Path) -> MultiTaskModel:
        """Read a model that `save_pretrained` wrote; nothing is ever unpickled.

        Args:
            folder_or_name: its folder, or its name on the Hugging Face hub (`OWNER/NAME`), which is
                then downloaded.

        Returns:
            the model, in evaluation mode. Its tasks have no examples.

        A task of your own must be imported first: the folder itself never names code to run.

        Raises:
            ModelError: no such folder or name; a file is missing, broken or does not fit the
                others; the folder holds something else; a task of a kind that is not known here.
            ConfigError: a library that is not installed.
        """
        folder = find_checkpoint(folder_or_name)
        parts = read_folder(folder)
        try:
            model = cls(**vars(parts))
        except ConfigError as error:
            raise bad_config(folder, error) from None
        model._load_weights(folder / WEIGHTS)
        model.trained = set(model.tasks)
        return model.eval()

    def _load_weights(self, path: Path) -> None:
        weights = read_tensors(path)
        try:
            # Strict: a missing or an unknown tensor is an error, not a fresh weight.
            self.load_state_dict(weights)
        except RuntimeError as error:
            raise broken_weights(path, str(error)) from None

    def __repr__(self) -> str:
        heads = ", ".join(f"{name} ({task.kind})" for name, task in self.tasks.items())
        return (
            f"MultiTaskModel({self.encoder!r}{self.own_parts_in_words()}, heads: {heads}, "
            f"{count_parameters(self):,} parameters)"
        )


def untrained_model(parts: Parts) -> MultiTaskModel:
    """A model of these parts with fresh weights, always the same ones."""
    # A baseline must not change the random state that training continues from.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would seed the GPU too
        encoder = TransformerEncoder(parts.encoder.config)
        return MultiTaskModel(**vars(replace(parts, encoder=encoder)))
