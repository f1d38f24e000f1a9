"""Examples go in; what encoding them gave last time comes out, if it is still on disk.

A file is named by a hash of everything that shaped its content: the examples, the tokenizer, the
tasks with their labels, the length and overlap of the rows, and the code of this package. So it is
never stale and needs no care: the folder may be deleted at any time.

Nothing that a user's own classes shape is cached. The targets that a task makes follow from its
code, and from whatever that code calls: helpers in other cells of a notebook, constants, other
modules. No hash covers all of it, and one that covers most of it would one day return old targets.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from ..errors import DataError, ModelError
from ..files import read_tensors, write_atomically
from ..version import __version__
from .encoded import EncodedExample, Target, encode_examples
from .remembered import examples_hash, own_code
from .tokenizers.base import Encoding, Row, Tokenizer

ROW_NUMBERS = ("text_type", "text_start", "first_piece", "n_pieces")


def encode_cached(
    folder: str | Path,
    examples: Sequence[Any],
    tokenizer: Tokenizer,
    tasks: Sequence[Target],
    max_length: int,
    overlap: int,
) -> tuple[list[EncodedExample], Counter[str]]:
    """Like `encode_examples`; read from `folder` if encoded before, otherwise written there.

    A cache that cannot be read or written costs nothing but time. With a task, a tokenizer or
    examples of a class that is not this package's, nothing is read or written.
    """
    if not all(map(_is_ours, [tokenizer, *tasks, *examples])):  # see the top of this file
        return encode_examples(examples, tokenizer, tasks, max_length, overlap)
    path = Path(folder) / f"{cache_key(examples, tokenizer, tasks, max_length, overlap)}.encoded"
    try:
        return _unpack(read_tensors(path), examples)
    except (OSError, ModelError, ValueError, KeyError):
        pass  # missing, cut off by a kill, or on a broken disk: encode again
    encoded, notes = encode_examples(examples, tokenizer, tasks, max_length, overlap)
    # A full disk, or a folder without write permission, should not stop a training.
    with suppress(DataError):
        write_atomically(path, save(_pack(encoded, notes)))
    return encoded, notes


def cache_key(
    examples: Iterable[Any],
    tokenizer: Tokenizer,
    tasks: Sequence[Target],
    max_length: int,
    overlap: int,
) -> str:
    """A hash of everything that decides what the encoded examples are."""
    parts = [__version__, own_code(), f"{max_length} {overlap}", tokenizer_hash(tokenizer)]
    parts += [*map(task_hash, tasks), examples_hash(examples)]
    return sha256("\n".join(parts).encode()).hexdigest()[:32]


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    """A hash of what a tokenizer says about itself."""
    return sha256(f"{type(tokenizer).__qualname__}\n{tokenizer.to_json()}".encode()).hexdigest()


def task_hash(task: Target) -> str:
    """A hash of a task's class, name and settings, and of what holds its words together."""
    settings = json.dumps(task.settings(), sort_keys=True)
    what = f"{type(task).__qualname__} {task.name} {settings} {task.joining}"
    return sha256(what.encode()).hexdigest()


def _is_ours(thing: Any) -> bool:
    """Whether its class comes with this package."""
    return type(thing).__module__.split(".")[0] == __name__.split(".")[0]


def _pack(encoded: Sequence[EncodedExample], notes: Counter[str]) -> dict[str, Tensor]:
    """All lists of numbers, one after the other in one tensor, with their lengths in another."""
    rows = [row for item in encoded for row in item.rows]
    # The windows of a long text share its Encoding: it is stored once, and shared again when read.
    texts = list({id(row.text): row.text for row in rows}.values())
    index = {id(text): i for i, text in enumerate(texts)}
    lists = {
        "ids": [text.ids for text in texts],
        "word_ids": [text.word_ids for text in texts],
        "offsets": [[x for span in text.offsets for x in span] for text in texts],
        "words": [[x for span in text.words for x in span] for text in texts],
        "input_ids": [row.input_ids for row in rows],
        "numbers": [[index[id(row.text)], *(getattr(row, n) for n in ROW_NUMBERS)] for row in rows],
        "n_rows": [[len(item.rows) for item in encoded]],
    }
    plain = {
        "texts": [text.text for text in texts],
        "tokens": [text.tokens for text in texts],
        "targets": [item.targets for item in encoded],
        "names": [item.name for item in encoded],
        "notes": notes,
    }
    content = json.dumps(plain, ensure_ascii=False).encode()
    # safetensors holds tensors alone, so the text travels as bytes.
    packed = {"json": torch.frombuffer(bytearray(content), dtype=torch.uint8)}
    for name, many in lists.items():
        # int32 holds every id and offset, in half the space of int64.
        packed[name] = torch.tensor([x for one in many for x in one], dtype=torch.int32)
        packed[f"{name}.lengths"] = torch.tensor([len(one) for one in many], dtype=torch.int32)
    return packed


def _unpack(
    packed: dict[str, Tensor], examples: Sequence[Any]
) -> tuple[list[EncodedExample], Counter[str]]:
    plain = json.loads(packed["json"].numpy().tobytes())
    texts = [
        Encoding(text, tokens, ids, _pairs(offsets), word_ids, _pairs(words))
        for text, tokens, ids, offsets, word_ids, words in zip(
            plain["texts"],
            plain["tokens"],
            *(_lists(packed, name) for name in ("ids", "offsets", "word_ids", "words")),
            strict=True,
        )
    ]
    rows = iter(
        [
            Row(input_ids, texts[text], *numbers)
            for input_ids, (text, *numbers) in zip(
                *(_lists(packed, name) for name in ("input_ids", "numbers")), strict=True
            )
        ]
    )
    parts = zip(examples, packed["n_rows"].tolist(), plain["targets"], plain["names"], strict=True)
    encoded = [
        EncodedExample(example, [next(rows) for _ in range(n)], targets, name)
        for example, n, targets, name in parts
    ]
    return encoded, Counter(plain["notes"])


def _lists(packed: dict[str, Tensor], name: str) -> list[list[int]]:
    values = packed[name].tolist()
    borders = accumulate(packed[f"{name}.lengths"].tolist(), initial=0)
    return [values[start:end] for start, end in pairwise(borders)]


def _pairs(numbers: list[int]) -> list[tuple[int, int]]:
    return list(zip(numbers[::2], numbers[1::2], strict=True))
