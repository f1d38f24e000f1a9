"""Encoded examples go in; batches of similar length come out, padded, in an endless stream.

Each random choice here comes from the stream's own generator, so a stream loaded from its
`state_dict` continues exactly where the saved one was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from ..settings import class_names_checked
from .encoded import EncodedExample, lengths_of
from .packed import Array
from .rows import IGNORED, Target
from .tokenizers.base import Tokenizer


@class_names_checked
@dataclass(frozen=True)
class Batch:
    """`B` rows from examples of one dataset, padded to `T` tokens.

    Attributes:
        items: the examples; all rows of an example are in the batch.
        rows: `(B,)`, the index in `items` of the example that each row belongs to.
        input_ids: `(B, T)` token ids.
        attention_mask: `(B, T)`, True where there is a token, False at padding.
        token_type_ids: `(B, T)`, the segment: 0, and 1 for the second text of a pair.
        text_mask: `(B, T)`, True at the pieces of the text that is labelled or searched: the
            sentence, or the context; not at special tokens, question or padding.
        targets: for each task with at least one labelled row here, its targets.
        n_labels: how many numbers in them each task's loss is a mean over.
    """

    items: list[EncodedExample]
    rows: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    token_type_ids: Tensor
    text_mask: Tensor
    targets: dict[str, Tensor] = field(default_factory=dict)
    # Counted once, on the CPU: to ask a GPU would mean to wait until it has done all it was given.
    n_labels: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.items)

    def labelled(self, task: str) -> list[EncodedExample]:
        """The examples that have a label for a task."""
        return [item for item in self.items if any(t is not None for t in item.targets[task])]

    def n_labelled(self, task: str) -> int:
        """How many of the batch's examples have a label for a task."""
        return len(self.labelled(task))

    def row_parts(self, max_rows: int) -> Iterator[Batch]:
        """The rows in parts of at most that many.

        Each part keeps all of `items`; their other rows are in other parts.
        """
        starts = range(0, len(self.rows), max_rows)
        for part in (slice(start, start + max_rows) for start in starts):
            targets = {name: target[part] for name, target in self.targets.items()}
            yield replace(
                self,
                rows=self.rows[part],
                input_ids=self.input_ids[part],
                attention_mask=self.attention_mask[part],
                token_type_ids=self.token_type_ids[part],
                text_mask=self.text_mask[part],
                targets=targets,
                n_labels=count_labels(targets),
            )

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`; a copy to a GPU is started, not awaited."""
        return replace(
            self,
            rows=_moved(self.rows, device),
            input_ids=_moved(self.input_ids, device),
            attention_mask=_moved(self.attention_mask, device),
            token_type_ids=_moved(self.token_type_ids, device),
            text_mask=_moved(self.text_mask, device),
            targets={name: _moved(target, device) for name, target in self.targets.items()},
        )


def _moved(tensor: Tensor, device: torch.device | str) -> Tensor:
    if torch.device(device).type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    # A GPU reads pinned memory by itself, which the system does not move: the CPU can go on. What
    # is computed there afterwards waits its turn, since both are in one stream.
    return tensor.pin_memory().to(device, non_blocking=True)


def count_labels(targets: Mapping[str, Tensor]) -> dict[str, int]:
    """How many numbers each task's loss is a mean over."""
    return {name: int((target != IGNORED).sum()) for name, target in targets.items()}


def _stacked(task: Target, targets: Sequence[Any], length: int) -> Tensor:
    """`task.collate`; ConfigError if it does not give a tensor with an entry for each row."""
    stacked = task.collate(targets, length)
    if not isinstance(stacked, Tensor) or len(stacked) != len(targets):
        shape = f"shape {tuple(stacked.shape)}" if isinstance(stacked, Tensor) else repr(stacked)
        raise ConfigError(
            f"the targets of the task {task.name!r} are not a tensor with one entry for each row",
            found=f"{shape:.80} for {len(targets)} rows",
            fix=f"return one from {type(task).__name__}.collate, with -100 for None",
        )
    return stacked


def collate(
    items: Sequence[EncodedExample],
    tokenizer: Tokenizer,
    tasks: Sequence[Target],
    sizes: Sequence[int] = (),
) -> Batch:
    """Pad the rows of some examples to the longest and stack them.

    With `sizes`, which must rise, rows are padded to the first that holds the longest.
    """
    ids = [row for item in items for row in item.row_ids]
    length = padded_length(max(map(len, ids)), sizes)
    input_ids = tokenizer.pad(ids, length)
    positions = torch.arange(length)
    # (T,) against (B, 1) broadcasts to (B, T).
    attention_mask = positions < torch.tensor([len(row) for row in ids])[:, None]
    # The text that is labelled: after [CLS], or after the question; up to the last [SEP].
    places = torch.tensor([of_row for item in items for of_row in item.row_places])
    text_type, text_start, _, n_pieces = places.unbind(1)  # (B,) each
    text_end = text_start + n_pieces
    is_text_or_end = (positions >= text_start[:, None]) & attention_mask
    targets = {}
    for task in tasks:
        per_row = [target for item in items for target in item.targets[task.name]]
        if any(target is not None for target in per_row):  # else the task sits this batch out
            targets[task.name] = _stacked(task, per_row, length)
    return Batch(
        items=list(items),
        rows=torch.tensor([i for i, item in enumerate(items) for _ in range(item.n_rows)]),
        input_ids=input_ids,
        attention_mask=attention_mask,
        token_type_ids=is_text_or_end * text_type[:, None],  # as `Row.token_type_ids`
        text_mask=is_text_or_end & (positions < text_end[:, None]),
        targets=targets,
        n_labels=count_labels(targets),
    )


def padded_length(longest: int, sizes: Sequence[int]) -> int:
    """The first of `sizes` that is enough for the longest row; its own length if none is."""
    return next((size for size in sizes if size >= longest), longest)


def length_buckets(
    lengths: Sequence[int] | Array, batch_size: int, generator: torch.Generator, pool: int = 50
) -> list[Array]:
    """Indices in batches of similar length, in random order.

    All indices are shuffled, cut into pools of `pool` batches, sorted by length within each pool
    and cut into batches, so that batches waste little on padding and still differ in each pass.
    """
    # Sorting all of them would give the same batches in each pass; sorting none would pad short
    # texts to the longest of their batch.
    # In 4 bytes for each: the same numbers, and there may be millions.
    order = torch.randperm(len(lengths), generator=generator, dtype=torch.int32).numpy()
    for start in range(0, len(order), pool * batch_size):
        bucket = order[start : start + pool * batch_size]
        # Stable: what is equally long stays in its random order.
        bucket[:] = bucket[np.asarray(lengths)[bucket].argsort(kind="stable")]
    # A pool is a whole number of batches, so all of them are cut from the order in one go.
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    # Shuffled again: otherwise the batches of a pool would go from short to long.
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


EVERY = slice(0, None, 1)  # all examples of a batch


class BatchStream:
    """An endless stream of batches of one dataset, reshuffled in each pass; it can be resumed.

    Args:
        items: the encoded examples.
        batch_size: examples in a batch; the last of a pass may have fewer.
        seed: of the stream's own generator.
        hide: what hides words in `(B, T)` ids with a generator; see `Tokenizer.hide_words`.
        sizes: lengths that batches may have; see `collate`.
    """

    def __init__(
        self,
        items: Sequence[EncodedExample],
        tokenizer: Tokenizer,
        tasks: Sequence[Target],
        *,
        batch_size: int,
        seed: int,
        hide: Callable[[Tensor, torch.Generator], Tensor],
        sizes: Sequence[int] = (),
    ) -> None:
        self.items = items
        self.tokenizer = tokenizer
        self.tasks = tasks
        self.batch_size = batch_size
        self.hide = hide
        self.sizes = sizes
        # Once: they decide the batches of every pass.
        self.lengths = lengths_of(items)
        # Two generators, so that the order of the batches does not depend on how words are hidden.
        self.order_generator = torch.Generator().manual_seed(seed)
        self.hide_generator = torch.Generator().manual_seed(seed + 1)
        self._start_pass()

    @property
    def batches_per_pass(self) -> int:
        return len(self.order)

    def _start_pass(self) -> None:
        # What a saved stream needs to shuffle this pass again: the order itself is not saved.
        self.state_at_start = self.order_generator.get_state()
        self.order = length_buckets(self.lengths, self.batch_size, self.order_generator)
        self.position = 0

    def next(self) -> Batch:
        """The next batch; after the last of a pass, the first of a new one."""
        batch = self._collate(self._next_items())
        # Afresh in each pass: the same sentence shows other gaps, and cannot be learned by heart.
        return replace(batch, input_ids=self.hide(batch.input_ids, self.hide_generator))

    def next_parts(self, max_tokens: int, share: slice = EVERY) -> list[Batch]:
        """The next batch in parts of at most that many tokens, padding included; 0 for no limit.

        Each part has at least one example, however long. Words are hidden in the whole batch before
        it is cut, so that the parts hold what the batch would.

        Args:
            share: which examples of the batch to give, such as every second one. If there are none,
                there are no parts.
        """
        if not max_tokens and share == EVERY:
            return [self.next()]
        whole = collate(self._next_items(), self.tokenizer, [], self.sizes)
        hidden = self.hide(whole.input_ids, self.hide_generator)
        # A part is made afresh, not cut out: it is only as long as its own longest row. The ids are
        # those of the batch, in which words are hidden.
        numbers = list(range(len(whole))[share])
        own = whole.items[share]
        parts, first = [], 0
        for items in filter(None, self._cut(own, max_tokens) if max_tokens else [own]):
            part = self._collate(items)
            rows = torch.isin(whole.rows, torch.tensor(numbers[first : first + len(items)]))
            input_ids = hidden[rows, : part.input_ids.shape[1]]
            parts.append(replace(part, input_ids=input_ids))
            first += len(items)
        return parts

    def _next_items(self) -> list[EncodedExample]:
        """The examples of the next batch, from the shortest to the longest."""
        if self.position == len(self.order):
            self._start_pass()
        self.position += 1
        return [self.items[i] for i in self.order[self.position - 1]]

    def _cut(self, items: list[EncodedExample], max_tokens: int) -> list[list[EncodedExample]]:
        """The examples in groups, none of which has more tokens than allowed, if possible."""
        parts: list[list[EncodedExample]] = [[]]
        for item in items:
            # The items rise in length, so the last one added is the longest: it sets the width.
            rows = sum(other.n_rows for other in [*parts[-1], item])
            if parts[-1] and rows * padded_length(len(item), self.sizes) > max_tokens:
                parts.append([])
            parts[-1].append(item)
        return parts

    def _collate(self, items: list[EncodedExample]) -> Batch:
        return collate(items, self.tokenizer, self.tasks, self.sizes)

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides which batches come next."""
        return {
            "order": self.state_at_start,
            "position": self.position,
            "hide": self.hide_generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the stream that gave `state` was."""
        self.order_generator.set_state(state["order"])
        self._start_pass()
        # `_start_pass` set it to 0.
        self.position = state["position"]
        self.hide_generator.set_state(state["hide"])


def sorted_batches(
    items: Sequence[EncodedExample], tokenizer: Tokenizer, max_rows: Callable[[int], int]
) -> Iterable[tuple[list[int], Batch]]:
    """Every example once, longest first, without targets: the batches of prediction.

    Longest first, so that memory runs out in the first batch, if at all. A batch that is padded to
    `T` tokens has at most `max_rows(T)` rows, or a single example.

    Yields:
        the indices of a batch's examples in `items`, and the batch.
    """
    indices: list[int] = []
    n_rows = 0
    lengths = lengths_of(items)
    for i in (-lengths).argsort(kind="stable").tolist():
        # The first of a batch is its longest, and all others are padded to it.
        longest = int(lengths[indices[0] if indices else i])
        n_rows += items[i].n_rows
        if indices and n_rows > max_rows(longest):
            yield indices, collate([items[j] for j in indices], tokenizer, [])
            indices, n_rows = [], items[i].n_rows
        indices.append(i)
    if indices:
        yield indices, collate([items[j] for j in indices], tokenizer, [])
