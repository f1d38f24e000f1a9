"""Our pretrained encoder against `transformers`: speed, memory, prediction, machine's limit.

    python tests/benchmarks/pretrained.py FOLDER [encoder | buckets | predict]

FOLDER is a BERT checkpoint. Both sides have the same weights, batches and precision and are run in
turn; what counts is the ratio, since absolute times vary with the machine.

    encoder   tokens per second and peak memory of training and inference: ours against transformers
              with its `eager` and `sdpa` attention; beside them the share of the machine's own rate
              of matrix products, measured in the same run
    buckets   a step of the recipe with batches by length against batches padded to 256
    predict   sentences per second of mtl.predict against a transformers pipeline
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from plain_loop import Reference, pad
from torch import Tensor, nn

import mtl
from mtl.devices import autocast, choose_device, choose_precision
from mtl.tables import format_table
from mtl.training.run import Run

SIDES = ("ours", "eager", "sdpa")
SHAPES = ((32, 64), (32, 192), (8, 384))  # rows, tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="a BERT checkpoint")
    parser.add_argument("parts", nargs="*", default=["encoder", "buckets", "predict"])
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--dropout", type=float, help="of everything; by default the checkpoint's")
    parser.add_argument("--side", choices=SIDES, help="measure this one, in this process")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options)))
        return
    for part in options.parts:
        {"encoder": encoder, "buckets": buckets, "predict": predict}[part](options)


def encoder(options: argparse.Namespace) -> None:
    """Each side is a process of its own, so that its peak memory is its own."""
    results = {side: [] for side in SIDES}
    for side in SIDES * 2:  # in turn, the better of two counts
        command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        results[side].append(json.loads(done.stdout.splitlines()[-1]))
    best = {
        side: [
            [max(a, b) for a, b in zip(*rows, strict=True)] if len(rows[0]) > 1 else rows[0]
            for rows in zip(*runs, strict=True)
        ]
        for side, runs in results.items()
    }
    rows = []
    for i, shape in enumerate(SHAPES):
        ours = best["ours"][i]
        for side in SIDES:
            train, infer, share = best[side][i]
            row = [f"{shape[0]} x {shape[1]}", side, round(train), ours[0] / train]
            rows.append([*row, round(infer), ours[1] / infer, f"{share:.0%}"])
    header = ["batch", "side", "training tokens/s", "ours / it", "inference tokens/s"]
    print(format_table([*header, "ours / it", "of matmul rate"], rows))
    peaks = {side: best[side][-1][0] for side in SIDES}
    rows = [[side, round(peak), peaks["ours"] / peak] for side, peak in peaks.items()]
    print(f"\n{format_table(['side', 'peak MB', 'ours / it'], rows)}\n")


def measure(options: argparse.Namespace) -> list[list[float]]:
    """For every shape training and inference tokens per second and share; then the peak in MB."""
    device = choose_device()
    dtype = choose_precision(options.precision, device)
    if options.side == "ours":
        model, _ = mtl.load_pretrained(options.folder, dropout=options.dropout)
    else:
        model = Reference(options.folder, options.side)
        for module in model.modules():
            if isinstance(module, nn.Dropout) and options.dropout is not None:
                module.p = options.dropout
            if hasattr(module, "dropout_prob") and options.dropout is not None:
                module.dropout_prob = options.dropout
    model.to(device)
    rate = matmul_rate(device, dtype)
    results = []
    for rows, length in SHAPES:
        ids, mask, types = batch_of(rows, length, device)

        def train(ids: Tensor = ids, mask: Tensor = mask, types: Tensor = types) -> None:
            with autocast(device, dtype):
                hidden = model(ids, mask, types)
            hidden.float().pow(2).mean().backward()
            model.zero_grad()

        @torch.inference_mode()
        def infer(ids: Tensor = ids, mask: Tensor = mask, types: Tensor = types) -> None:
            with autocast(device, dtype):
                model(ids, mask, types)

        tokens = rows * length
        training = tokens / seconds_of(model.train() and train)
        inference = tokens / seconds_of(model.eval() and infer)
        # Two operations a weight and token forward, four backward; embeddings are looked up.
        weights = sum(
            p.numel() for m in model.modules() if isinstance(m, nn.Linear) for p in m.parameters()
        )
        results.append([training, inference, 6 * weights * training / rate])
    peak = (
        torch.cuda.max_memory_allocated() / 2**20
        if device.type == "cuda"
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )
    return [*results, [peak]]


def batch_of(rows: int, length: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Random ids; half of the rows are half padding."""
    ids = torch.randint(1000, 20_000, (rows, length), device=device)
    mask = torch.ones(rows, length, dtype=torch.bool, device=device)
    mask[::2, length // 2 :] = False
    return ids, mask, torch.zeros_like(ids)


def matmul_rate(device: torch.device, dtype: torch.dtype, size: int = 2048) -> float:
    """Operations per second of a square matrix product."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds_of(lambda: a @ b, repeats=10)


def seconds_of(function: Callable[[], object], repeats: int = 4) -> float:
    """The shortest time of some calls, after one that warms up."""
    times = []
    for _ in range(repeats + 1):
        synchronise()
        started = time.perf_counter()
        function()
        synchronise()
        times.append(time.perf_counter() - started)
    return min(times[1:])


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def toy_tasks(n: int) -> list[mtl.tasks.Task]:
    """Sentences, and questions whose contexts are of 20 to 200 words, as SQuAD's."""
    rng = random.Random(0)
    facts = [example.context for example in mtl.toy.qa_examples("train", 400)]
    questions = []
    for example in mtl.toy.qa_examples("test", n):
        more = " ".join(rng.choices(facts, k=rng.randint(0, 7)))
        context = f"{example.context} {more}"
        questions.append(mtl.QAExample(example.id, example.question, context, example.answers))
    ner = mtl.Dataset(train=mtl.toy.ner_examples("train", n))
    return [mtl.NERTask("ner", ner), mtl.QATask("qa", mtl.Dataset(train=questions))]


def buckets(options: argparse.Namespace, rounds: int = 6) -> None:
    """Steps with the recipe's settings; the same examples, padded as little or to 256."""
    recipe = mtl.load_recipe("conll-squad")
    tasks = toy_tasks(32 * rounds)
    device = choose_device()
    rows = []
    for padded in (False, True):
        loaded = mtl.load_pretrained(options.folder, max_length=256, attention_dropout=0.0)
        model = mtl.MultiTaskModel(*loaded, tasks).to(device)
        settings = recipe.train | {"precision": options.precision}
        run = Run(model, tasks, mtl.TrainConfig(**settings), mtl.training.FixedWeighting())
        for stream in run.streams:
            if padded:
                give = stream.next_parts
                stream.next_parts = lambda n, give=give: [pad(part, 256) for part in give(n)]
        run.round()  # warms up
        seconds = sum(seconds_of_one(run.round) for _ in range(rounds - 1)) / (rounds - 1)
        rows.append(["padded to 256" if padded else "by length", seconds])
    ratio = rows[1][1] / rows[0][1]
    print(format_table(["batches", "seconds a round"], rows))
    print(f"by length is {ratio:.2f} times as fast\n")


def seconds_of_one(function: Callable[[], object]) -> float:
    synchronise()
    started = time.perf_counter()
    function()
    synchronise()
    return time.perf_counter() - started


def predict(options: argparse.Namespace, n: int = 400) -> None:
    """Entities of the same sentences, one by one label set, from the same encoder."""
    from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

    sentences = [example.text for example in mtl.toy.ner_examples("train", n)]
    task = mtl.NERTask("ner", types=["PER", "ORG", "LOC", "MISC"])
    encoder, tokenizer = mtl.load_pretrained(options.folder)
    model = mtl.MultiTaskModel(encoder, tokenizer, [task]).to(choose_device()).eval()
    with tempfile.TemporaryDirectory() as folder:
        mtl.save_for_transformers(encoder, tokenizer, folder)
        reference = AutoModelForTokenClassification.from_pretrained(folder, num_labels=9)
        reference.classifier.load_state_dict(model.heads["ner"].classifier.state_dict())
        theirs = pipeline(
            "token-classification",
            model=reference,
            tokenizer=AutoTokenizer.from_pretrained(folder),
            aggregation_strategy="first",
            batch_size=64,
            device=choose_device(),
        )
    times = {"mtl.predict": [], "pipeline": []}
    for _ in range(3):  # in turn
        times["mtl.predict"].append(seconds_of_one(lambda: mtl.predict(model, sentences, "ner")))
        times["pipeline"].append(seconds_of_one(lambda: theirs(sentences)))
    best = {name: min(values) for name, values in times.items()}
    rows = [[name, round(n / s), best["pipeline"] / s] for name, s in best.items()]
    print(format_table(["", "sentences/s", "times the pipeline"], rows))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
