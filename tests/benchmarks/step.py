"""Milliseconds per round of training, and how busy the machine is meanwhile.

    python tests/benchmarks/step.py
    python tests/benchmarks/step.py checkpoints/minilm wnut17/train.conll squad/train.json
    python tests/benchmarks/step.py checkpoints/minilm --profile

The sides take turns in one process, each with the same examples, batch size and precision:

    eager, compiled, captured   rounds of `mtl.train`, with train.compile = false, true (by default
                                on a GPU only) and "reduce-overhead" (there only)
    transformers                a plain loop around `AutoModel`: AdamW, clipping, and batches in
                                random order that are padded to their longest row

Without DATA there are toy sentences and questions; without CHECKPOINT, an encoder of MiniLM's size
with fresh weights, and no plain loop. A round is one batch of every dataset. Batches of different
sides hold different texts, so sides are compared by tokens per second, padding left out.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from encode import task_for
from plain_loop import Reference
from ranks import machine
from torch import nn
from torch.profiler import ProfilerActivity, profile

import mtl
from mtl.data.batching import Batch, collate
from mtl.devices import autocast, choose_device, choose_precision, describe_device
from mtl.tables import format_table
from mtl.tasks.base import loss_of
from mtl.training.preflight import EncodedDataset, encode_datasets
from mtl.training.run import Run

MINILM = {"n_layers": 6, "d_model": 384, "n_heads": 12, "d_ff": 1536}
COMPILE = {"eager": False, "compiled": True, "captured": "reduce-overhead"}
TOY = 640  # examples of each kind
LIMIT = 200  # seconds for all turns; the rest of four minutes is for reading and encoding

Rounds = Callable[[], None]


def main() -> None:
    options = parse()
    device = choose_device()
    dtype = choose_precision(options.precision, device)
    tasks = read_tasks(options)
    model = build_model(options, tasks).to(device)
    data = encode_datasets(model, tasks, progress=False)
    print(machine())
    print(describe_device(device, dtype, torch.get_num_threads()))
    sides, batches = build_sides(options, model, data, dtype)
    if options.profile:
        show_profile(sides["eager"], device)
        return
    seconds, rate = take_turns(sides, options.repeats, device, dtype)
    rows: list[list[Any]] = []
    of_first = 0.0
    for name, times in seconds.items():
        one = statistics.median(times)
        fastest, slowest = (1000 * one / options.rounds for one in (min(times), max(times)))
        flops = sum(map(flops_of(model), batches[name]))
        places = sum(b.attention_mask.numel() for b in batches[name])
        tokens = sum(int(b.attention_mask.sum()) for b in batches[name])
        tokens_per_second = tokens / one
        of_first = of_first or tokens_per_second
        rows.append(
            [
                *(name, 1000 * one / options.rounds),
                f"{fastest:.1f} to {slowest:.1f}",
                busy_share(sides[name], one) if device.type == "cuda" else "-",
                *(flops / one / rate, 1 - tokens / places),
                *(sum(map(len, batches[name])) / one, round(tokens_per_second)),
                tokens_per_second / of_first,
            ]
        )
    head = ["", "ms per round", "range", "device busy", "of the matrix rate", "padding"]
    print(f"one large matrix product: {rate / 1e12:.3g} TFLOP/s")
    print(format_table([*head, "examples/s", "tokens/s", "of the first"], rows))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", nargs="?", type=Path, help="a folder")
    parser.add_argument("data", nargs="*", type=Path, help="files in any form `mtl.read` knows")
    parser.add_argument("--examples", type=int, default=4000, help="of each file")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=256)
    parser.add_argument("--precision", default="auto")
    gpu = torch.cuda.is_available()
    parser.add_argument("--sides", nargs="+", default=list(COMPILE) if gpu else ["eager"])
    parser.add_argument("--rounds", type=int, default=20 if gpu else 2, help="in each turn")
    parser.add_argument("--repeats", type=int, default=7, help="turns of each side, if time allows")
    parser.add_argument("--profile", action="store_true", help="show what eager rounds spend it on")
    return parser.parse_args()


def read_tasks(options: argparse.Namespace) -> list[mtl.tasks.Task]:
    """A task for each file, with as many of its examples as asked for, from all of it."""
    if not options.data:
        toy = (("ner", mtl.NERTask), ("qa", mtl.QATask))
        return [task(name, mtl.toy_dataset(name, TOY)) for name, task in toy]
    tasks = []
    for i, path in enumerate(options.data):
        examples = list(mtl.read(path, on_error="skip"))
        task = task_for(examples[:: max(1, len(examples) // options.examples)])
        task.name = f"{path.parent.name}-{i}"
        tasks.append(task)
    return tasks


def build_model(options: argparse.Namespace, tasks: list[mtl.tasks.Task]) -> mtl.MultiTaskModel:
    torch.manual_seed(0)
    if options.checkpoint:
        encoder, tokenizer = mtl.load_pretrained(
            options.checkpoint, max_length=options.max_length, attention_dropout=0.0
        )
        return mtl.MultiTaskModel(encoder, tokenizer, tasks)
    texts = (text for task in tasks for text in task.dataset.training_texts())
    tokenizer = mtl.WhitespaceTokenizer.train(texts)
    config = mtl.EncoderConfig(len(tokenizer), max_length=options.max_length, **MINILM)
    return mtl.MultiTaskModel(mtl.TransformerEncoder(config), tokenizer, tasks)


def build_sides(
    options: argparse.Namespace,
    model: mtl.MultiTaskModel,
    data: list[EncodedDataset],
    dtype: torch.dtype,
) -> tuple[dict[str, Rounds], dict[str, list[Batch]]]:
    """What trains some rounds, by name, and the batches of these rounds."""
    sides, batches = {}, {}
    tasks = list(model.tasks.values())
    for name in options.sides:
        config = mtl.TrainConfig(
            epochs=10_000,
            batch_size=options.batch_size,
            precision=options.precision,
            compile=COMPILE[name],
        )
        own = build_model(options, tasks).to(model.device)
        run = Run(own, tasks, config, data=data)
        start = run.streams.state_dict()
        step = tuple(range(len(data)))
        batches[name] = [
            part for _ in range(options.rounds) for (part,) in run.streams.batches(step)
        ]
        sides[name] = rounds_of(run, start, options.rounds)
    if options.checkpoint and find_spec("transformers"):
        plain = Plain(options, model, data, dtype)
        sides["transformers"], batches["transformers"] = plain, list(plain.batches())
    return sides, batches


def rounds_of(run: Run, start: dict[str, Any], n: int) -> Rounds:
    """What trains `n` rounds, each time on the same batches."""

    def rounds() -> None:
        run.streams.load_state_dict(start)
        for _ in range(n):
            run.round()

    return rounds


class Plain:
    """A loop as one writes it around `transformers`; heads and losses are those of our tasks."""

    def __init__(
        self,
        options: argparse.Namespace,
        model: mtl.MultiTaskModel,
        data: list[EncodedDataset],
        dtype: torch.dtype,
    ) -> None:
        self.options, self.data, self.dtype = options, data, dtype
        self.model, self.device = model, model.device
        self.encoder = Reference(str(options.checkpoint), "sdpa").to(model.device).train()
        self.heads = copy.deepcopy(model.heads).train()
        self.parameters = [*self.encoder.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, lambda step: 1.0)

    def batches(self) -> Iterator[Batch]:
        """One of every dataset in each round, the same ones each time."""
        order, size = random.Random(0), self.options.batch_size
        for i in range(self.options.rounds * len(self.data)):
            of_dataset = self.data[i % len(self.data)]
            items = of_dataset.splits["train"]
            numbers = order.sample(range(len(items)), min(size, len(items)))
            yield collate([items[j] for j in numbers], self.model.tokenizer, of_dataset.tasks)

    def __call__(self) -> None:
        for batch in self.batches():
            batch = batch.to(self.device)
            self.optimizer.zero_grad()
            with autocast(self.device, self.dtype):
                hidden = self.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids)
            losses = []
            for name, target in batch.targets.items():
                task = self.model.tasks[name]
                outputs = task.run_head(self.heads[name], hidden.float(), batch)
                losses.append(loss_of(task, outputs, target, batch))
            torch.stack(losses).sum().backward()
            nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.optimizer.step()
            self.schedule.step()


def take_turns(
    sides: dict[str, Rounds], repeats: int, device: torch.device, dtype: torch.dtype
) -> tuple[dict[str, list[float]], float]:
    """Seconds of each turn of each side, and the FLOP per second of one large matrix product."""
    began = time.perf_counter()
    for name, rounds in sides.items():  # compiles, captures, allocates
        print(f"{name}: {timed(rounds, device):.1f} s for the first turn", file=sys.stderr)
    n = 8192 if device.type == "cuda" else 1536
    a, b = torch.randn(2, n, n, device=device, dtype=dtype)
    seconds, of_product = {name: [] for name in sides}, []
    for i in range(repeats):
        # After some turns, and the first ones, there must be time for one more.
        if i and (time.perf_counter() - began) * (i + 2) / (i + 1) > LIMIT:
            break
        for name, rounds in sides.items():
            of_product += [timed(lambda: torch.mm(a, b), device) for _ in range(2)]
            seconds[name].append(timed(rounds, device))
    return seconds, 2 * n**3 / statistics.median(of_product)


def timed(action: Callable[[], Any], device: torch.device) -> float:
    synchronize(device)
    began = time.perf_counter()
    action()
    synchronize(device)
    return time.perf_counter() - began


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def flops_of(model: mtl.MultiTaskModel) -> Callable[[Batch], float]:
    """The floating-point operations of a batch's matrix products, forward and backward."""
    config = model.encoder.config

    def flops(batch: Batch) -> float:
        rows, length = batch.input_ids.shape
        # Queries by keys, and weights by values: D multiply-adds each, for every pair of tokens.
        attention = config.n_layers * 2 * config.d_model * length
        # Backward takes two products for each of forward: for the input and for the weights.
        return 3 * 2 * rows * length * (config.multiply_adds + attention)

    return flops


def busy_share(rounds: Rounds, seconds: float) -> float:
    """The time in which a GPU computes or copies, of the time that rounds take unobserved."""
    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as watched:
        rounds()
        torch.cuda.synchronize()
    on_device = [
        (event.time_range.start, event.time_range.end)
        for event in watched.events()
        # Without the spans that only say which optimiser it was.
        if event.device_type == torch.autograd.DeviceType.CUDA
        and not getattr(event, "is_user_annotation", False)
        and not event.name.startswith("Optimizer.")
    ]
    busy, until = 0.0, 0.0
    for start, end in sorted(on_device):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy / 1e6 / seconds


def show_profile(rounds: Rounds, device: torch.device) -> None:
    rounds()
    with profile(record_shapes=False) as watched:
        rounds()
        synchronize(device)
    where = "self_cuda_time_total" if device.type == "cuda" else "self_cpu_time_total"
    print(watched.key_averages().table(sort_by=where, row_limit=25, max_name_column_width=60))


if __name__ == "__main__":
    main()
