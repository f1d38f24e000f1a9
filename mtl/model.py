"""One shared encoder with a named head for each task; saved to and loaded from a folder."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from .data.batching import Batch
from .data.tokenizers.base import Tokenizer
from .devices import full_precision
from .errors import ConfigError, suggest
from .files import broken_weights, read_tensors
from .inference import evaluation, prediction
from .model_checks import check_fit, check_head, check_new_task, check_overlap, check_ranks
from .model_folder import WEIGHTS, Parts, bad_config, read_folder, write_folder
from .nn.adapters import Adapter, AdapterConfig, as_adapter_config, check_adapter
from .nn.encoder import TransformerEncoder
from .nn.parameters import parameters_called
from .nn.pretrained import find_checkpoint
from .settings import names_checked
from .tasks import Task
from .tasks.base import as_tasks, loss_of

OVERLAP = 32  # pieces that neighbouring windows share, unless set otherwise


class MultiTaskModel(nn.Module):
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

    Raises:
        ConfigError: two tasks of the same name, a vocabulary the encoder cannot hold, more private
            or adapted layers than layers, the encoder of a model that has private layers, an
            overlap below 0, or an adapter for an unknown task.
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
    ) -> None:
        super().__init__()
        check_fit(encoder, tokenizer, private_layers)
        check_overlap(overlap)
        tasks, ranks = as_tasks(tasks), adapters or {}
        check_ranks(ranks, tasks)
        # The first task will take its private layers off the encoder (see `_next_private_layers`).
        self.encoder = copy.deepcopy(encoder) if private_layers else encoder
        self.tokenizer = tokenizer
        self.tasks: dict[str, Task] = {}
        self.trained: set[str] = set()  # names of the tasks that have been trained
        self.heads = nn.ModuleDict()
        self.private = nn.ModuleDict()
        self.private_layers = private_layers
        self.adapters = nn.ModuleDict()
        self.adapter_config = as_adapter_config(adapter_config)
        self.overlap = overlap
        for task in tasks:
            self.add_task(task, adapter=ranks.get(task.name, 0))

    def add_task(self, task: Task, adapter: int = 0) -> None:
        """Add a fresh head for a task; the encoder and the other heads stay as they are.

        Its private layers, if the model has any, start as copies of the first task's.

        Args:
            task: its name must be new.
            adapter: the rank of its adapter; 0 for none.

        Raises:
            ConfigError: there is a task of this name already, the encoder cannot read its pairs, or
                an impossible adapter.
        """
        as_tasks([task])  # its error says what to give
        check_new_task(task, self.encoder, self.tasks)
        n_shared = self.encoder.config.n_layers - self.private_layers
        check_adapter(adapter, self.adapter_config, n_shared)
        head = task.build_head(self.encoder.config.d_model)
        check_head(head, task)
        # The model may be on a GPU already when a task is added.
        device = next(self.encoder.parameters()).device
        self.heads[task.name] = head.to(device)
        if self.private_layers:
            # Trained, even if those of the first task are frozen.
            self.private[task.name] = self._next_private_layers().requires_grad_()
        if adapter:
            own = Adapter(list(self.encoder.layers), adapter, self.adapter_config)
            self.adapters[task.name] = own.to(device)
        self.tasks[task.name] = task

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

    def freeze(self, *names: str) -> list[str]:
        """Take parameters out of training; they keep their values to the last bit.

        A frozen head fits the encoder it was trained on: if the encoder keeps training, the head no
        longer fits, and `train` warns.

        Args:
            names: `encoder`, `encoder.embeddings`, `encoder.layers[:2]` (the first two layers),
                `heads.NAME`, `private.NAME` (a task's private layers), `adapters.NAME`, or any
                beginning of parameter names, such as `encoder.layers.1`.

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
    def last_shared(self) -> nn.Parameter | None:
        """The last weight matrix that all tasks share and that is trained, if any."""
        # GradNorm compares gradients at one matrix (Chen et al. 2018, section 3.1); the norms and
        # biases beside it have too few numbers to say much.
        matrices = [p for part in self.shared_parts.values() for p in part if p.dim() > 1]
        return matrices[-1] if matrices else None

    # What to do with a model once it is trained: the functions of `mtl.inference`, here as methods.
    predict = prediction.predict
    answer = prediction.answer
    encode = prediction.encode
    nearest = prediction.nearest
    evaluate = evaluation.evaluate

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def task(self, name: str) -> Task:
        """The task with this name, or the only one of this kind.

        Raises:
            ConfigError: there is none, or several of the kind; the known names are listed.
        """
        if not isinstance(name, str):
            raise ConfigError(
                "ask for a task by its name",
                found=repr(name)[:80],
                fix=f"use one of {', '.join(self.tasks)}",
            )
        if name in self.tasks:
            return self.tasks[name]
        of_kind = [task for task in self.tasks.values() if task.kind == name]
        # A kind is enough where it cannot be mistaken: "qa" for a task called "questions".
        if len(of_kind) == 1:
            return of_kind[0]
        raise ConfigError(
            "the model has no such task" if not of_kind else "several tasks are of this kind",
            found=repr(name),
            fix=suggest(name, self.tasks),
        )

    def forward(self, batch: Batch, tasks: Iterable[str]) -> dict[str, Any]:
        """The output of each head of `tasks` for a batch, from one pass of the encoder."""
        hidden = self.hidden(batch, tasks)
        with full_precision(self.device):  # the heads are small, and scores need all digits
            return {
                name: self.tasks[name].run_head(self.heads[name], states.float(), batch)
                for name, states in hidden.items()
            }

    def hidden(self, batch: Batch, tasks: Iterable[str]) -> dict[str, Tensor]:
        """What the head of each task reads, `(B, T, D)`, from one pass of the shared layers."""
        inputs = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
        if not (self.private or self.adapters):
            return dict.fromkeys(tasks, self.encoder(*inputs))
        paths = {name: self._path(name) for name in tasks}
        # By path: tasks that have the same one share its vectors too.
        states = self.encoder.branch(*inputs, dict.fromkeys(paths.values()))
        return {name: states[path] for name, path in paths.items()}

    def _path(self, task: str) -> tuple[nn.Module, ...]:
        """The layers that a text goes through for a task, from the first to the last."""
        layers, adapter = list(self.encoder.layers), self._adapter(task)
        if adapter is not None:
            layers = adapter.adapted(layers)
        return (*layers, *self._private(task))

    @property
    def adapter_ranks(self) -> dict[str, int]:
        """The rank of each task's adapter, by the name of the task."""
        return {name: cast("Adapter", adapter).rank for name, adapter in self.adapters.items()}

    def _adapter(self, task: str) -> Adapter | None:
        return cast("Adapter", self.adapters[task]) if task in self.adapters else None

    def _private(self, task: str) -> list[nn.Module]:
        return list(self.private[task].children()) if self.private else []

    def own_layers(self, task: str) -> list[nn.Module]:
        """What a task has of its own between encoder and head: private layers and an adapter."""
        return [parts[task] for parts in (self.private, self.adapters) if task in parts]

    def encoder_for(self, task: str) -> TransformerEncoder:
        """The encoder as one task reads it, as a copy that needs no adapter and no other task.

        The adapter of the task is merged into the weights, and its private layers are on top.

        Raises:
            ConfigError: there is no such task.
        """
        name = self.task(task).name
        adapter = self._adapter(name)
        encoder = adapter.merged(self.encoder) if adapter else copy.deepcopy(self.encoder)
        encoder.layers.extend(copy.deepcopy(self._private(name)))
        return encoder

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
        # A baseline must not change the random state that training continues from.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)  # torch.manual_seed would seed the GPU too
            encoder = TransformerEncoder(self.encoder.config)
            fresh = MultiTaskModel(**vars(replace(self._parts, encoder=encoder)))
        # Drawn on the CPU and moved, so that they are the same on every device.
        return fresh.to(self.device)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the whole model: weights, `config.json` with tasks and labels, tokenizer."""
        write_folder(Path(folder), self._parts, self.state_dict())

    @property
    def _parts(self) -> Parts:
        """What the model is made of, without its weights."""
        return Parts(
            self.encoder,
            self.tokenizer,
            list(self.tasks.values()),
            self.private_layers,
            self.overlap,
            self.adapter_ranks,
            self.adapter_config,
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
        own = ""
        if self.private:
            each = _count(next(iter(self.private.values())))
            own += f", {self.private_layers} private layers per task ({each:,} parameters each)"
        for name, rank in self.adapter_ranks.items():
            size = _count(self.adapters[name])
            own += f", adapter of rank {rank} for {name} ({size:,} parameters)"
        return f"MultiTaskModel({self.encoder!r}{own}, heads: {heads}, {_count(self):,} parameters)"


def _count(module: nn.Module) -> int:
    """Its parameters."""
    return sum(p.numel() for p in module.parameters())
