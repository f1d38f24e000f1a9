"""Several texts in one row, against a batch of texts of similar length.

    python tests/benchmarks/packing.py
    python tests/benchmarks/packing.py checkpoints/minilm snli/train.tsv

The sides take turns on the same texts, forward and backward through the encoder:

    similar lengths   as in training: each batch padded to its longest text
    few shapes        the same, filled up as for captured graphs: rows to 8, lengths to 32
    packed            texts one after the other in rows of `--row` tokens, in which attention does
                      not cross from one to the next (a block-diagonal mask)

Without arguments: toy sentences, and an encoder of MiniLM's size with fresh weights.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
from encode import task_for
from ranks import machine
from step import MINILM
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

import mtl
from mtl.devices import autocast, choose_device, choose_precision, describe_device
from mtl.nn.encoder import run_layers
from mtl.tables import format_table

Batch = tuple[Tensor, Tensor, Tensor]  # ids and positions (B, T), mask (B, 1, 1 or T, T)


def main() -> None:
    options = parse()
    device = choose_device()
    dtype = choose_precision(options.precision, device)
    encoder, texts = build(options)
    batches = in_batches(texts, options.batch_size)
    batches = batches[:: max(1, len(batches) // options.batches)]  # short and long ones
    sides = {
        "similar lengths": [padded(batch) for batch in batches],
        "few shapes": [padded(batch, 8, 32) for batch in batches],
        "packed": [packed(batch, options.row) for batch in batches],
    }
    check_equal(encoder, sides["similar lengths"][0], sides["packed"][0])
    print(machine())
    print(describe_device(device, dtype, torch.get_num_threads()))
    n_texts, n_tokens = sum(map(len, batches)), sum(len(text) for b in batches for text in b)
    print(f"{n_texts} texts of {n_tokens / n_texts:.1f} tokens, {options.batch_size} at a time")
    seconds = take_turns(encoder.to(device), sides, options.repeats, device, dtype)
    rows = []
    for name, side in sides.items():
        padding = 1 - n_tokens / sum(ids.numel() for ids, _, _ in side)
        speed = seconds["similar lengths"] / seconds[name]
        rows.append([name, 1000 * seconds[name] / len(side), padding, speed])
    print(format_table(["", "ms per batch", "padding", "speed"], rows))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?", type=Path, help="a folder")
    parser.add_argument("data", nargs="?", type=Path, help="a file in any form `mtl.read` knows")
    parser.add_argument(
        "--texts",
        type=int,
        default=1600,
        help="that batches are made of; training sorts 50 batches at a time",
    )
    parser.add_argument("--batches", type=int, default=10, help="how many of them are timed")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--row", type=int, default=128, help="tokens in a packed row")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each side")
    return parser.parse_args()


def build(options: argparse.Namespace) -> tuple[mtl.TransformerEncoder, list[Tensor]]:
    """An encoder, and the token ids of each text."""
    torch.manual_seed(0)
    examples = (
        list(mtl.read(options.data))
        if options.data
        else mtl.toy_dataset("ner", options.texts).train
    )
    task = task_for(examples[:: max(1, len(examples) // options.texts)][: options.texts])
    if options.checkpoint:
        encoder, tokenizer = mtl.load_pretrained(options.checkpoint, max_length=options.row)
    else:
        tokenizer = mtl.WhitespaceTokenizer.train(task.dataset.training_texts())
        config = mtl.EncoderConfig(
            len(tokenizer), max_length=options.row, positions="learned", norm="post", **MINILM
        )
        encoder = mtl.TransformerEncoder(config)
    encoded = mtl.data.encoded.encode(task.dataset.train, tokenizer, [task], options.row)
    return encoder.eval(), [torch.tensor(item.rows[0].input_ids) for item in encoded]


def in_batches(texts: list[Tensor], size: int) -> list[list[Tensor]]:
    """Texts of similar length together."""
    by_length = sorted(texts, key=len)
    return [by_length[i : i + size] for i in range(0, len(by_length), size)]


def padded(texts: list[Tensor], rows: int = 1, length: int = 1) -> Batch:
    """A row for each text; rows and length filled up to a multiple of these."""
    ids = pad_sequence(texts, batch_first=True)
    lengths = torch.tensor([len(text) for text in texts])
    n_rows, longest = (-(-n // m) * m for n, m in zip(ids.shape, (rows, length), strict=True))
    full = ids.new_zeros(n_rows, longest)
    full[: len(ids), : ids.shape[1]] = ids
    positions = torch.arange(longest).expand(n_rows, longest)
    mask = torch.zeros(n_rows, longest, dtype=torch.bool)
    mask[: len(ids)] = positions[: len(ids)] < lengths[:, None]
    mask[len(ids) :, 0] = True  # a row that may look nowhere has no softmax
    return full, positions, mask[:, None, None]


def packed(texts: list[Tensor], length: int) -> Batch:
    """Texts one after the other, the longest first, each in the first row that has room for it."""
    rows: list[list[Tensor]] = []
    for text in reversed(texts):
        room = (row for row in rows if sum(map(len, row)) + len(text) <= length)
        row = next(room, None)
        if row is None:
            rows.append(row := [])
        row.append(text)
    ids = pad_sequence([torch.cat(row) for row in rows], batch_first=True)
    positions = [torch.cat([torch.arange(len(text)) for text in row]) for row in rows]
    owners = [torch.cat([torch.full((len(t),), i + 1) for i, t in enumerate(row)]) for row in rows]
    owner = pad_sequence(owners, batch_first=True)  # 0 is padding, which sees itself only
    return (
        ids,
        pad_sequence(positions, batch_first=True),
        owner[:, None, :, None] == owner[:, None, None],
    )


def encode(encoder: mtl.TransformerEncoder, ids: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
    """`encoder.forward`, with positions that begin anew at each text."""
    x = encoder.token_embedding(ids) + encoder.position_embedding.weight[positions]
    if encoder.type_embedding is not None:
        x = x + encoder.type_embedding.weight[0]
    return run_layers(encoder.layers, encoder.norm(x), {"global": (mask, None)})


@torch.no_grad()
def check_equal(encoder: mtl.TransformerEncoder, similar: Batch, packed: Batch) -> None:
    """The sum of all vectors is the same, however the texts lie in rows."""
    sums = []
    for batch, real in ((similar, similar[2][:, 0, 0]), (packed, packed[0] != 0)):
        sums.append(encode(encoder, *batch)[real].double().sum(0))
    torch.testing.assert_close(*sums, rtol=1e-3, atol=1e-2)


def take_turns(
    encoder: mtl.TransformerEncoder,
    sides: dict[str, list[Batch]],
    repeats: int,
    device: torch.device,
    dtype: torch.dtype,
) -> dict[str, float]:
    """Seconds of each side for all its batches, forward and backward: the median of its turns."""
    moved = {name: [tuple(t.to(device) for t in b) for b in side] for name, side in sides.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, side in moved.items():
            start = time.perf_counter()
            for batch in side:
                with autocast(device, dtype):
                    vectors = encode(encoder, *batch)
                vectors.float().square().mean().backward()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(of_side) for name, of_side in seconds.items()}


if __name__ == "__main__":
    main()
