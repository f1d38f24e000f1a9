"""The tasks people have, on real text: our training beside a plain loop around `transformers`.

    python tests/benchmarks/tasks.py CHECKPOINT DATA [--only snli,stsb] [--limit 500] [--held-out]

CHECKPOINT is a folder with pretrained weights (BERT), DATA a folder of datasets as
`beside/cases.py` names them; one that is not there is skipped, and a line says so. Both sides have
the same training examples, epochs, batch size, threads and precision, choose the best epoch and
thresholds on the same tenth of the training file, and are scored on the dev file by the same
functions. Each side is a process of its own, one after the other:

    ours    mtl.train: one model with a head for each task
    plain   AutoModelFor... for each task, batches in random order padded to their longest row

Nothing is chosen on the dev file. For choosing rates there is `--held-out`: another tenth of the
training file is scored instead.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from beside.cases import CASES, Case

from mtl.files import write_atomically
from mtl.tables import format_table

SIDES = ("ours", "plain")
BUDGET = ("limit", "validation", "test", "epochs", "batch_size", "rows", "max_length")
RATES = ("rate", "head_rate", "plain_rate")


def main() -> None:
    options = parse()
    if options.side:
        from beside.sides import run_side

        ((_, case),) = cases(options).items()
        print(json.dumps(run_side(options.side, case, options)))
        return
    results: dict[str, Any] = {}
    for name, case in cases(options).items():
        if not (options.data / case.folder).is_dir():
            print(f"{name} is skipped: there is no {options.data / case.folder}", file=sys.stderr)
            continue
        sides = {
            side: in_its_own_process(["--only", name, "--side", side], options.threads)
            for side in options.sides
        }
        results[name] = {"budget": dataclasses.asdict(case)} | sides
        print(table({name: results[name]}), file=sys.stderr)
        # After each dataset, so that nothing is lost if a later one fails.
        write_atomically(options.output, json.dumps(results, indent=1) + "\n")
    if results:
        print(table(results))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = parser_of(__doc__, CASES, (*BUDGET, *RATES), Path("runs/benchmark-tasks.json"))
    parser.add_argument("--sides", nargs="+", default=SIDES, choices=SIDES)
    parser.add_argument("--precision", default="auto", help="of both sides, as in TrainConfig")
    parser.add_argument("--side", choices=SIDES, help="run this one, in this process")
    return parser.parse_args(arguments)


def parser_of(
    description: str, names: Iterable[str], budget: Iterable[str], output: Path
) -> argparse.ArgumentParser:
    """Options of any benchmark with datasets and a budget: which of them, and how much."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("checkpoint", help="a folder with a pretrained BERT")
    parser.add_argument("data", type=Path, help="a folder of datasets")
    parser.add_argument("--only", default=",".join(names), help="these, with commas between")
    parser.add_argument("--held-out", action="store_true", help="score a tenth of train, see above")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0, help="of heads, order and dropout")
    parser.add_argument("--output", type=Path, default=output)
    for name in budget:  # of every case, instead of its own
        kind = int if name in BUDGET else float
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help="see beside/cases.py")
    return parser


def cases(options: argparse.Namespace) -> dict[str, Case]:
    """The cases asked for, with the budget asked for."""
    budget = asked(options, (*BUDGET, *RATES))
    return {name: dataclasses.replace(CASES[name], **budget) for name in chosen(options, CASES)}


def asked(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Those of the options that the command line has."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def chosen(options: argparse.Namespace, names: Iterable[str]) -> list[str]:
    """The names after `--only`; others than these end the program."""
    only = options.only.split(",")
    if unknown := set(only) - set(names):
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return only


def in_its_own_process(arguments: Sequence[str], threads: int) -> dict[str, Any]:
    """What this program prints with these further arguments; its peak memory is its own."""
    command = [sys.executable, *sys.argv, *arguments]
    variables = os.environ | variables_of(threads)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=variables)
    if done.returncode:  # it has said why
        sys.exit(f"{' '.join(arguments)}: failed")
    return json.loads(done.stdout.splitlines()[-1])


def variables_of(threads: int) -> dict[str, str]:
    """What torch and fast tokenizers read when they are loaded; nothing is downloaded."""
    n = str(threads)
    return {"OMP_NUM_THREADS": n, "RAYON_NUM_THREADS": n, "HF_HUB_OFFLINE": "1"}


def table(results: dict[str, Any], names: Sequence[str] = SIDES) -> str:
    """One line for each metric; time and memory of a case are in its first line.

    `names` are those of the two sides.
    """
    rows = []
    for name, result in results.items():
        sides = [result.get(side, {}) for side in names]
        metrics = result["budget"]["metrics"]
        pairs = [(task, metric) for task in metrics for metric in metrics[task]]
        for i, (task, metric) in enumerate(pairs):
            scores = [side["scores"][task].get(metric) if side else None for side in sides]
            costs = [
                round(side[cost]) if side and not i else None
                for cost in ("train_seconds", "predict_seconds", "peak_mb")
                for side in sides
            ]
            rows.append([name, f"{task} {metric}", *scores, *costs])
    costs = [f"{cost} {side}" for cost in ("s", "predict s", "MB") for side in names]
    return format_table(["dataset", "metric", *names, *costs], rows)


if __name__ == "__main__":
    main()
