"""Size, latency and throughput of a model with several heads: torch, ONNX, and pipelines.

    python tests/benchmarks/exported.py RUN [--threads 2]

RUN is the folder of a model with a BERT encoder, and tasks that read single texts: a class,
entities, a vector. It is exported to a temporary folder first, and to one folder for `transformers`
for each task. All then predict the same texts in this process, taking turns:

    torch float32, bfloat16    the run itself; bfloat16 in matrix products (autocast)
    ONNX float32, int8         exported with `mtl export`, with and without `--int8`
    pipelines                  one `transformers` pipeline for each task, one after the other

Each is measured with all heads in one pass, and with one head; pipelines take one pass for each
head anyway. Latency is the median for one short text, throughput that of texts of mixed length,
none longer than a row, in batches as each of them makes them (pipelines: 32 texts).
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from serve import mixed_texts
from transformers import pipeline

import mtl
from mtl.export import export_for_transformers, export_onnx
from mtl.tables import format_table

SHORT = "The committee said on Monday that it would meet in Paris to discuss the budget."
PIPELINES = {"classification": "text-classification", "ner": "token-classification"}

Predict = Callable[[Sequence[str], Sequence[str]], Any]  # texts and names of tasks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--texts", type=int, default=256, help="for the throughput")
    parser.add_argument("--repeat", type=int, default=30, help="short texts, one at a time")
    parser.add_argument("--rounds", type=int, default=5, help="in which all take turns")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = mtl.MultiTaskModel.from_pretrained(options.run)
    print(f"{os.cpu_count()} cores, {options.threads} threads, torch {torch.__version__}; {model}")
    with tempfile.TemporaryDirectory() as folder:
        sides, sizes = build(model, Path(folder), options.threads)
        print(table(measure(sides, list(model.tasks), options), sizes))


def build(
    model: mtl.MultiTaskModel, folder: Path, threads: int
) -> tuple[dict[str, Predict], dict[str, float]]:
    """What predicts, by name, and how many megabytes each of them has on disk."""
    model.save_pretrained(folder / "torch")
    for weights in ("float32", "int8"):
        export_onnx(model, folder / weights, weights)
    onnx = {weights: mtl.load_onnx(folder / weights, threads) for weights in ("float32", "int8")}

    def in_bfloat16(texts: Sequence[str], tasks: Sequence[str]) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return model.predict(texts, tasks=tasks)

    sides: dict[str, Predict] = {
        "torch float32": lambda texts, tasks: model.predict(texts, tasks=tasks),
        "torch bfloat16": in_bfloat16,
        "ONNX float32": lambda texts, tasks: onnx["float32"].predict(texts, tasks=tasks),
        "ONNX int8": lambda texts, tasks: onnx["int8"].predict(texts, tasks=tasks),
        "pipelines": pipelines_of(model, folder),
    }
    sizes = {"torch float32": megabytes(folder / "torch")}
    sizes |= {f"ONNX {weights}": megabytes(folder / weights) for weights in onnx}
    sizes["pipelines"] = sum(megabytes(folder / name) for name in model.tasks)
    return sides, sizes


def pipelines_of(model: mtl.MultiTaskModel, folder: Path) -> Predict:
    """A pipeline for each task, as its users would make it."""
    pipelines = {}
    for name, task in model.tasks.items():
        place = folder / name
        if task.kind in PIPELINES:
            export_for_transformers(model, name, place)
        else:  # its encoder gives the vectors; the mean over them would come on top
            mtl.save_for_transformers(model.encoder_for(name), model.tokenizer, place)
        kind = PIPELINES.get(task.kind, "feature-extraction")
        pipelines[name] = pipeline(kind, str(place), device="cpu")

    def predict(texts: Sequence[str], tasks: Sequence[str]) -> Any:
        return [pipelines[name](list(texts), batch_size=32) for name in tasks]

    return predict


def measure(
    sides: dict[str, Predict], tasks: Sequence[str], options: argparse.Namespace
) -> dict[tuple[str, int], tuple[float, float]]:
    """For each side and number of heads: milliseconds for a short text, and texts per second."""
    # Pipelines read one row of each text, so none is longer than that.
    texts = [text for text in mixed_texts(2 * options.texts) if len(text) < 400][: options.texts]
    heads = [tasks[:1], tasks]
    latencies: dict[tuple[str, int], list[float]] = {}
    rates: dict[tuple[str, int], list[float]] = {}
    for predict in sides.values():  # warm
        for some in heads:
            predict([SHORT] * 2, some)
            predict(texts[:32], some)
    for _ in range(options.rounds):
        for name, predict in sides.items():
            for some in heads:
                seconds = [timed(predict, [SHORT], some) for _ in range(options.repeat)]
                latencies.setdefault((name, len(some)), []).extend(1000 * s for s in seconds)
                rate = len(texts) / timed(predict, texts, some)
                rates.setdefault((name, len(some)), []).append(rate)
    return {
        key: (statistics.median(latencies[key]), statistics.median(rates[key])) for key in latencies
    }


def timed(predict: Predict, texts: Sequence[str], tasks: Sequence[str]) -> float:
    started = time.perf_counter()
    predict(texts, tasks)
    return time.perf_counter() - started


def table(results: dict[tuple[str, int], tuple[float, float]], sizes: dict[str, float]) -> str:
    """A row for each side, with one head and with all of them."""
    (one, every) = sorted({n for _, n in results})
    columns = ["", "MB"]
    heads = {one: "1 head", every: f"{every} heads"}
    columns += [f"{what}, {heads[n]}" for what in ("ms", "texts/s") for n in (one, every)]
    rows = []
    for name in dict.fromkeys(side for side, _ in results):
        (ms_one, rate_one), (ms_all, rate_all) = results[name, one], results[name, every]
        numbers = [f"{value:.1f}" for value in (ms_one, ms_all, rate_one, rate_all)]
        rows.append([name, f"{sizes[name]:.1f}" if name in sizes else "", *numbers])
    return format_table(columns, rows)


def megabytes(folder: Path) -> float:
    """The size of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    main()
