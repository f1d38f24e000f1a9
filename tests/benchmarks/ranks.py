"""Rounds per second of several processes that train together, and how much of N times that is.

    python tests/benchmarks/ranks.py
    python tests/benchmarks/ranks.py --processes 1 2 4 8 --recipe my.toml --set train.batch_size=256

Every number of processes trains the same steps, on the same global batches: with N processes each
reads one Nth. torchrun starts them, as a user would. By default it is the recipe `practical7`, with
an encoder of 4 layers, 256 wide. Nothing else may run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from mtl.experiments.build import build_model, build_tasks
from mtl.experiments.recipe import load_recipe
from mtl.tables import format_table
from mtl.training.ranks import all_sum, is_first, started, world
from mtl.training.run import Run

DEFAULTS = ["encoder.d_model=256", "encoder.n_layers=4", "encoder.n_heads=4"]
WARM_UP = 4  # rounds: the first ones allocate memory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--recipe", default="practical7")
    parser.add_argument("--set", nargs="+", default=DEFAULTS, help="settings of the recipe")
    parser.add_argument("--rounds", type=int, default=20, help="that are timed")
    parser.add_argument("--into", type=Path, help="where a process writes what it measured")
    options = parser.parse_args()
    if options.into:
        measure(options)
        return
    print(machine())
    found = {n: run_with(n, options) for n in options.processes}
    fewest = min(found)
    rows = [
        [
            *(str(n), one["rounds_per_second"], 1000 / one["rounds_per_second"]),
            # Of N times the rate of one: what is missing is exchange, and waiting for each other.
            one["rounds_per_second"] / found[fewest]["rounds_per_second"] * fewest / n,
            one["sums_ms"],
        ]
        for n, one in sorted(found.items())
    ]
    head = ["processes", "rounds per s", "ms per round", "efficiency", "ms to add up a gradient"]
    print(f"{found[fewest]['parameters']:,} parameters, {found[fewest]['device']}")
    print(format_table(head, rows))


def machine() -> str:
    """What it runs on, in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    where = f"{platform.system()} {platform.machine()}, {cores} cores to use"
    return f"{where}, {', '.join(gpus) or 'no GPU'}, torch {torch.__version__}"


def run_with(n: int, options: argparse.Namespace) -> dict:
    """What `n` processes measured."""
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "measured.json"
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        own = [__file__, "--recipe", options.recipe, "--set", *options.set]
        own += ["--rounds", str(options.rounds), "--into", str(into)]
        # As torchrun sets it for several; one alone would use all cores.
        environment = {"OMP_NUM_THREADS": "1", **os.environ}
        subprocess.run([*launch, f"--nproc-per-node={n}", *own], check=True, env=environment)
        return json.loads(into.read_text(encoding="utf-8"))


def measure(options: argparse.Namespace) -> None:
    """Time some rounds, as one of the processes."""
    with started():
        recipe = load_recipe(options.recipe, options.set)
        tasks = build_tasks(recipe)
        (config, names), *_ = recipe.train_configs
        model = build_model(recipe, tasks)
        run = Run(model, [task for task in tasks if task.name in names], config)
        for _ in range(WARM_UP):
            run.round()
        seconds = timed(run.round, options.rounds)
        flat = torch.zeros(sum(p.numel() for p in run.update.trained), device=model.device)
        sums = timed(lambda: all_sum(flat), 10) if world() > 1 else 0.0
        if is_first():
            measured = {
                "rounds_per_second": 1 / seconds,
                "sums_ms": 1000 * sums,
                "parameters": sum(p.numel() for p in model.parameters()),
                "device": str(model.device),
            }
            options.into.write_text(json.dumps(measured), encoding="utf-8")


def timed(call, n: int) -> float:
    """Seconds for one of `n` calls."""
    wait()
    began = time.perf_counter()
    for _ in range(n):
        call()
    wait()
    return (time.perf_counter() - began) / n


def wait() -> None:
    """Until all processes, and their GPUs, are here."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    all_sum(torch.zeros(1))


if __name__ == "__main__":
    main()
