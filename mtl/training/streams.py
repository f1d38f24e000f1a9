"""Encoded datasets come in; the batches of each step go out, in an order that can be resumed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..data.batching import EVERY, Batch, BatchStream
from ..data.encoded import EncodedExample, tokens_of
from ..inference import check_model, encode_for
from ..model import MultiTaskModel
from ..settings import names_checked
from ..tasks import Task
from .config import TrainConfig
from .preflight import EncodedDataset, by_dataset, check_has_examples
from .ranks import rank, world
from .sampling import SAMPLERS, Step


class Streams:
    """A stream of batches for each dataset, and the steps left in the current round.

    Tasks that share a dataset share its batches. Indexing and iterating give the streams.

    Args:
        data: encoded; the training splits are read.
        model: its tokenizer pads, and hides words.
        dtype: the one that the model computes in.

    Attributes:
        pending: the steps left in the current round.
        device: where batches go.
        rounds_per_epoch: one pass over the dataset with the most batches, or as the config says.
    """

    def __init__(
        self,
        data: Sequence[EncodedDataset],
        model: MultiTaskModel,
        config: TrainConfig,
        dtype: torch.dtype,
    ) -> None:
        self.data = list(data)
        self.config = config
        self.device = model.device
        # Kernels for half precision, and captured graphs, are made for each shape: with few shapes
        # they take less time and memory.
        longest = model.encoder.config.max_length
        any_size = dtype == torch.float32 and not config.compile
        sizes = () if any_size else range(32, longest + 1, 32)
        self._streams = [
            stream_of(one.splits["train"], model, one.tasks, i, config, sizes)
            for i, one in enumerate(self.data)
        ]
        n_examples = [len(stream.items) for stream in self]
        self.sampler = SAMPLERS[config.sampling](
            n_examples, config.alpha, config.anneal, config.seed
        )
        # By the largest: stopping at the shortest would never show the rest of the others.
        self.rounds_per_epoch = config.rounds_per_epoch(max(s.batches_per_pass for s in self))
        self.steps_per_epoch = self.rounds_per_epoch * self.sampler.steps_per_round
        self.n_rounds = config.epochs * self.rounds_per_epoch
        self.n_steps = config.epochs * self.steps_per_epoch
        self.pending: list[Step] = []
        # Batches that were made before their turn, with the state that their stream had before.
        self._ahead: dict[int, tuple[dict[str, Any], list[Batch]]] = {}

    def __iter__(self) -> Iterator[BatchStream]:
        return iter(self._streams)

    def __getitem__(self, index: int) -> BatchStream:
        return self._streams[index]

    def start_round(self, rounds_done: int) -> None:
        """Decide the steps of the next round."""
        # Decided for the whole round and saved with it, so a run may stop within a round.
        self.pending = self.sampler.round(rounds_done / self.n_rounds)

    def batches(self, step: Step) -> list[list[Batch]]:
        """The next batch of each dataset of a step, in parts (`train.max_tokens`).

        Of several processes, each gets its own share of the same batches, which may be nothing.
        """
        self.make_ahead(step)
        return [self._ahead.pop(i)[1] for i in step]

    def coming_batches(self) -> list[list[Batch]]:
        """What `batches` will return for every dataset; none of them counts as taken."""
        every = range(len(self._streams))
        self.make_ahead(every)
        return [self._ahead[i][1] for i in every]

    def make_ahead(self, indices: Iterable[int]) -> None:
        """Make the next batch of some datasets, and start to copy it to the device.

        For the state nothing has happened until `batches` gives it out.
        """
        # By dataset: whichever step comes next, the next batch of each dataset is the same.
        for i in indices:
            if i not in self._ahead:
                before = self[i].state_dict()
                parts = [part.to(self.device) for part in self._next_parts(i)]
                self._ahead[i] = before, parts

    def task_names(self, step: Step) -> list[str]:
        """The tasks that learn from the datasets of a step."""
        return [task.name for i in step for task in self.data[i].tasks]

    def usual_tokens(self) -> float:
        """Tokens that go through the model at once, in the largest of the usual batches."""
        largest = max(self.config.batch_size * _mean_tokens(stream.items) for stream in self)
        return min(largest, self.config.max_tokens or largest)

    def describe_epoch(self) -> str:
        """What an epoch is, in words."""
        rounds = self.rounds_per_epoch
        parts = []
        for i, share in enumerate(self.sampler.batches_per_round()):
            passes = rounds * share / self[i].batches_per_pass
            names = " + ".join(self.task_names((i,)))
            parts.append(f"{names} {len(self[i].items):,} examples ({passes:.1f} passes)")
        how = self.sampler.describe.format(n=len(parts))
        unit = "round" if rounds == 1 else "rounds"
        return f"an epoch is {rounds} {unit}, {how}: {', '.join(parts)}"

    def state_dict(self) -> dict[str, Any]:
        """What decides which batches come next."""
        return {
            "streams": [
                self._ahead[i][0] if i in self._ahead else stream.state_dict()
                for i, stream in enumerate(self)
            ],
            "sampler": self.sampler.state_dict(),
            "pending": self.pending,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the streams that gave `state` were."""
        self._ahead.clear()
        for stream, of_stream in zip(self, state["streams"], strict=True):
            stream.load_state_dict(of_stream)
        self.sampler.load_state_dict(state["sampler"])
        # JSON turned the tuples into lists.
        self.pending = [tuple(step) for step in state["pending"]]

    def _next_parts(self, index: int) -> list[Batch]:
        """The next batch of a dataset; whole where a loss compares its rows with each other."""
        if all(task.rows_alone for task in self.data[index].tasks):
            # The items of a batch rise in length: taken in turn, the shares are equally long.
            share = slice(rank(), None, world())
            return self[index].next_parts(self.config.max_tokens, share)
        # InfoNCE compares every pair with all others: in parts it would be a different loss. One
        # process gets the whole batch, not all of them: then, too, each example is read once.
        is_ours = index % world() == rank()
        return self[index].next_parts(0, EVERY if is_ours else slice(0))


class Batches:
    """The batches of one dataset without end: `next()` gives one, and a `for` loop one pass.

    Its length is the number of batches in a pass. Each pass has its own order.
    """

    def __init__(self, stream: BatchStream, model: MultiTaskModel) -> None:
        self._stream = stream
        self._model = model

    def __len__(self) -> int:
        return self._stream.batches_per_pass

    def __iter__(self) -> Iterator[Batch]:
        return (self.next() for _ in range(len(self)))

    def next(self) -> Batch:
        """The next batch, on the model's device; after the last of a pass, a new pass begins."""
        return self._stream.next().to(self._model.device)


@names_checked
def batches(
    model: MultiTaskModel,
    task: str,
    *,
    seed: int = TrainConfig.seed,
    batch_size: int = TrainConfig.batch_size,
    hide_words: float = TrainConfig.hide_words,
) -> Batches:
    """The batches of a task that `train` sees, for your own training loop::

        ner, qa = mtl.batches(model, "ner"), mtl.batches(model, "qa")
        for _ in range(max(len(ner), len(qa))):  # one epoch, taking turns
            for batch in (ner.next(), qa.next()):
                loss = sum(model.losses(batch).values())

    They are those of `train(model)` with the same settings, in the same order, and so are the
    losses, to the last bit, if dropout (`torch.manual_seed(seed)`) and the optimiser are the same
    too: docs/python.md has the whole loop.

    Args:
        task: its name; tasks that share its dataset have their targets in the same batches.
        seed, batch_size, hide_words: as in `TrainConfig`. With precisions other than
            float32, and with `compile`, `train` also pads its batches to multiples of 32 tokens.

    Raises:
        ConfigError: no such task, or impossible settings.
        DataError: a task without training examples, or examples that cannot be used.
    """
    check_model(model)
    chosen = model.task(task)
    config = TrainConfig(seed=seed, batch_size=batch_size, hide_words=hide_words)
    check_has_examples(chosen)
    datasets = by_dataset(list(model.tasks.values()))
    # Its number decides what the stream draws, in training too.
    (index,) = (i for i, (_, sharing) in enumerate(datasets) if chosen in sharing)
    dataset, sharing = datasets[index]
    items = encode_for(model, dataset.train, sharing)
    return Batches(stream_of(items, model, sharing, index, config), model)


def stream_of(
    items: Sequence[EncodedExample],
    model: MultiTaskModel,
    tasks: Sequence[Task],
    index: int,
    config: TrainConfig,
    sizes: Sequence[int] = (),
) -> BatchStream:
    """The stream of one of the datasets in training, by its number among them."""

    def hide(input_ids: Tensor, generator: torch.Generator) -> Tensor:
        return model.tokenizer.hide_words(input_ids, config.hide_words, generator)

    return BatchStream(
        items,
        model.tokenizer,
        tasks,
        batch_size=config.batch_size,
        seed=config.seed * 1000 + 2 * index,  # a stream also uses the seed after its own
        hide=hide,
        sizes=sizes,
    )


def _mean_tokens(items: Sequence[EncodedExample]) -> float:
    """Mean number of tokens per example."""
    return tokens_of(items) / len(items)
