"""What balancing costs: the time of a step with each method against the plain joint step.

    python tests/benchmarks/balancing.py

NER and QA on separate texts, one batch of each in every step; for the toy recipe, and an encoder
of 6 layers, 384 wide. The methods take turns, step by step, in one run, so that a slow moment of
the machine hits all of them; shown are medians. A weighting's own share is its forward and backward
on the losses alone, timed many times over, divided by the median plain step.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

import mtl
from mtl.tables import format_table
from mtl.training.run import Run
from mtl.training.weighting import weigh

WIDE = {"n_layers": 6, "d_model": 384, "n_heads": 12, "d_ff": 1536}
METHODS = {
    "fixed": {},
    "uncertainty": {"weighting": "uncertainty"},
    "dwa": {"weighting": "dwa"},
    "random": {"weighting": "random"},
    "gradnorm": {"weighting": "gradnorm"},
    "pcgrad": {"aggregation": "pcgrad"},
    "UPGrad": {"aggregation": "UPGrad"},
}


def build_run(
    recipe: mtl.experiments.recipe.Recipe, tasks: list[mtl.tasks.Task], **settings: str
) -> Run:
    """A training that is ready for its first step; the same for all but the settings."""
    config = mtl.TrainConfig(**recipe.train)
    return Run(mtl.experiments.build.build_model(recipe, tasks), tasks, replace(config, **settings))


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def weigh_and_learn(weighting: mtl.training.Weighting, losses: dict[str, torch.Tensor]) -> None:
    weights, penalty = weigh(weighting, losses)
    total = torch.stack([weights[name] * losses[name] for name in losses]).sum() + penalty
    if total.requires_grad:
        total.backward()


def own_seconds(run: Run, repeats: int = 300) -> float:
    """What the weighting does in a step, without the model."""
    times = []
    losses = {task.name: torch.tensor(1.5) for task in run.tasks}
    for _ in range(repeats):
        times.append(seconds(lambda: weigh_and_learn(run.update.weighting, losses)))
    return statistics.median(times)


def measure(recipe: mtl.experiments.recipe.Recipe, steps: int) -> str:
    """A table: one line a method."""
    tasks = mtl.experiments.build.build_tasks(recipe)
    runs = {name: build_run(recipe, tasks, **settings) for name, settings in METHODS.items()}
    for run in runs.values():
        run.next_step()  # the first step of a method sets things up
    times: dict[str, list[float]] = {name: [] for name in runs}
    conflict: list[float] = []
    for _ in range(steps):
        for name, run in runs.items():
            times[name].append(seconds(run.next_step))
        conflict.append(seconds(runs["fixed"].measure_conflict))
    plain = statistics.median(times["fixed"])
    rows = []
    for name, run in runs.items():
        middle = statistics.median(times[name])
        own = own_seconds(run) / plain if not run.update.aggregation.needs_joint_steps else None
        rows.append([name, f"{1000 * middle:.1f}", middle / plain, own])
    middle = statistics.median(conflict)
    rows.append(["one measurement of conflict", f"{1000 * middle:.1f}", middle / plain, None])
    return format_table(["", "ms a step", "times plain", "own share of a step"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60, help="of each method")
    parser.add_argument("--wide-steps", type=int, default=12, help="the same, for the wide encoder")
    options = parser.parse_args()
    small = [f"tasks.{task}.toy_train=1000" for task in ("ner", "qa")]
    recipe = mtl.load_recipe("practical7", ["train.sampling=joint", *small])
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"practical7\n{measure(recipe, options.steps)}\n", flush=True)
    wide = replace(recipe, encoder=recipe.encoder | WIDE)
    print(f"6 layers, 384 wide\n{measure(wide, options.wide_steps)}")


if __name__ == "__main__":
    main()
