"""Runs of a comparison go in; means, paired differences and costs come out, as tables and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import write_atomically
from ..metrics import interval
from ..tables import BUDGETS, format_table, without_repeats
from ..tasks import Task

ALONE = "alone"
TEXT_COLUMNS = ("task", "size", "method", "budget", "metric")
# A comparison that comes with the package.
MEASURED = Path(__file__).parent / "measured" / "sharing.csv"


def summarise(
    runs: Sequence[dict[str, Any]], tasks: Sequence[Task], rounds: int, total: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Over the seeds: each task's mean test score, and its difference from the model alone.

    Args:
        runs: results of all runs.
        tasks: they name their main metrics.
        rounds: those of an epoch of the shared training.
        total: its steps in an epoch, by method.

    Returns:
        a dict for each size, budget, task and method, including the models alone. Intervals are
        95% (see `mtl.metrics.interval`), None for a single seed; the difference is method minus
        alone, and `distinguishable` if its interval excludes 0. `control_rounds` is how
        many rounds per epoch the model alone trained. `n` counts the seeds that have what a row
        needs; a row without any is left out.
    """
    metric = {task.name: _common_metric(task, runs) for task in tasks}
    scores = {
        (run["size"], run["method"], name, run["rounds"], run["seed"]): found[metric[name]]
        for run in runs
        for name, found in run["test"].items()
        if metric[name] in found
    }
    tested = dict.fromkeys(name for run in runs for name in run["test"])
    sizes = dict.fromkeys(run["size"] for run in runs)
    seeds = dict.fromkeys(run["seed"] for run in runs)
    rows = []
    for size, budget, task in product(sizes, BUDGETS, tested):
        # How many rounds the model alone trains, for each method compared with it.
        controls = {m: rounds if budget == BUDGETS[0] else n for m, n in total.items()}
        for method, control in {ALONE: max(controls.values()), **controls}.items():
            trained = control if method == ALONE else rounds
            pairs = [
                (own, alone)
                for seed in seeds
                if (own := scores.get((size, method, task, trained, seed))) is not None
                and (alone := scores.get((size, ALONE, task, control, seed))) is not None
            ]
            if pairs:
                row = {"task": task, "size": size, "method": method, "budget": budget}
                row |= {"metric": metric[task], "n": len(pairs), "control_rounds": control}
                rows.append(row | _statistics(pairs, is_alone=method == ALONE))
    return rows


def _statistics(pairs: Sequence[tuple[float, float]], is_alone: bool) -> dict[str, Any]:
    """The means of scores and of their differences from the model alone, with intervals.

    Args:
        pairs: for each seed, the score of a model and that of the model alone. With the same seed
            both saw the same examples, so their difference says more than that of two means.
    """
    found = _with_interval("", [own for own, _ in pairs])
    if not is_alone:
        found |= _with_interval("difference", [own - alone for own, alone in pairs])
        # One seed cannot distinguish anything.
        low, high = found["difference_interval"] or (-math.inf, math.inf)
        found["distinguishable"] = low > 0 or high < 0
    return found


def _common_metric(task: Task, runs: Sequence[dict[str, Any]]) -> str:
    """The main metric of a task's tests; of several, the first that most runs have.

    A task may choose it from its test data, and each seed may hold out different examples.
    """
    tests = [run["test"][task.name] for run in runs if task.name in run["test"]]
    names = dict.fromkeys(task.main_score(scores)[0] for scores in tests)
    # One for all seeds: a mean over different metrics means nothing.
    return max(names, key=lambda name: sum(name in scores for scores in tests), default="")


def _with_interval(what: str, values: Sequence[float]) -> dict[str, Any]:
    centre, half = interval(values)
    # A single seed has no spread, and JSON has no infinity.
    ends = [centre - half, centre + half] if math.isfinite(half) else None
    return {what or "mean": centre, f"{what}_interval".lstrip("_"): ends}


def costs(
    runs: Sequence[dict[str, Any]], rounds: int, total: Mapping[str, int]
) -> list[dict[str, Any]]:
    """What one shared model costs, and what all separate ones cost together: means over the seeds.

    The separate models are those of the budget "per task". A seed counts if all these models
    are there.

    Returns:
        for each size and method `parameters`, `train_seconds` and `inference_seconds` (the whole
        test data once), each as `[shared, separate]`.
    """
    rows = []
    for size, method in product(dict.fromkeys(run["size"] for run in runs), total):
        of_size = [run for run in runs if run["size"] == size]
        alone = [run for run in of_size if run["method"] == ALONE and run["rounds"] == rounds]
        n_alone = Counter(run["seed"] for run in alone)
        # A seed with a failed model would make the separate ones look cheaper.
        whole = {seed for seed, n in n_alone.items() if n == max(n_alone.values())}
        shared = [run for run in of_size if run["method"] == method and run["seed"] in whole]
        seeds = {run["seed"] for run in shared}
        alone = [run for run in alone if run["seed"] in seeds]
        if not shared:
            continue
        row: dict[str, Any] = {"size": size, "method": method}
        for what in ("parameters", "train_seconds", "inference_seconds"):
            one, separate = (sum(run[what] for run in some) for some in (shared, alone))
            row[what] = [one / len(shared), separate / len(shared)]
        rows.append(row)
    return rows


def write_summary(path: Path, summary: Sequence[Mapping[str, Any]], command: str) -> None:
    """Write a CSV with a line for each dict of `summarise`, under the command as a comment."""
    ends = ("interval", "difference_interval")
    longest = max(summary, key=len)  # a row of a shared model, which has more than one of ALONE
    columns = [key for key in longest if key not in ends]
    columns += [f"{key}_{end}" for key in ends for end in ("low", "high")]
    table = io.StringIO()
    table.write(f"# {command}\n")
    writer = csv.DictWriter(table, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in summary:
        flat = {key: value for key, value in row.items() if key not in ends}
        for key in ends:
            low, high = row.get(key) or ("", "")
            flat |= {f"{key}_low": low, f"{key}_high": high}
        writer.writerow(flat)
    write_atomically(path, table.getvalue())


def read_comparison(path: str | Path | None = None) -> tuple[list[dict[str, Any]], str]:
    """The summary of a comparison from its `compare.csv`, and the command that repeats it.

    Args:
        path: the file; by default that of practical7, which comes with the package.

    Raises:
        DataError: the file cannot be read, or `mtl compare` did not write it.
    """
    file = MEASURED if path is None else Path(path)
    try:
        comment, _, text = file.read_text(encoding="utf-8").partition("\n")
        return _read_rows(text), comment.removeprefix("# ")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            "the summary of a comparison cannot be read",
            path=file,
            found=str(error),
            fix="give the compare.csv that mtl compare wrote",
        ) from None


def _read_rows(text: str) -> list[dict[str, Any]]:
    rows = []
    for line in csv.DictReader(io.StringIO(text)):
        row: dict[str, Any] = {key: line[key] for key in TEXT_COLUMNS}
        row |= {key: int(line[key]) for key in ("n", "control_rounds")}
        keys = ["mean", "interval"]
        if line["difference"]:
            keys += ["difference", "difference_interval"]
            # bool("False") would be True.
            row["distinguishable"] = line["distinguishable"] == "True"
        for key in keys:
            if key in line:
                row[key] = float(line[key])
            else:
                ends = [line[f"{key}_low"], line[f"{key}_high"]]
                # Empty where a single seed had no interval.
                row[key] = [float(end) for end in ends] if all(ends) else None
        rows.append(row)
    return rows


def comparison_tables(
    summary: Sequence[Mapping[str, Any]],
    cost: Sequence[Mapping[str, Any]] = (),
    layout: Callable[[Sequence[str], Sequence[Sequence[Any]]], str] = format_table,
) -> str:
    """The scores, one table per budget, and what the models cost.

    Args:
        summary, cost: those of `compare.json`.
        layout: `format_table`, or `format_markdown`.
    """
    n = max(row["n"] for row in summary)
    text = [
        f"Test scores, mean of {n} seeds ± half a 95% confidence interval; in brackets the "
        "difference from the model alone, paired by seed; * where its interval excludes 0."
        if n > 1
        else "Test scores of one seed; in brackets the difference from the model alone. One seed "
        "cannot tell methods apart: give --seeds 5."
    ]
    for budget, whose in zip(BUDGETS, ("its task", "the whole shared training"), strict=True):
        rows = [row for row in without_repeats(summary) if row["budget"] == budget]
        methods = list(dict.fromkeys(row["method"] for row in rows))
        if not methods:
            continue
        by_line: dict[tuple[str, str], dict[str, str]] = {}
        for row in rows:
            line = (f"{row['task']} {row['metric'].replace('_', ' ')}", row["size"] or "all data")
            by_line.setdefault(line, {})[row["method"]] = _cell(row, n)
        # `get`: a method may lack a row, if none of its seeds is complete.
        lines = [[*line, *map(cells.get, methods)] for line, cells in by_line.items()]
        text.append(f"A model alone makes as many steps as {whose}:")
        text.append(layout(["", "", *methods], lines))
    if cost:
        header = ["", "", "parameters", "seconds of training", "seconds of inference"]
        text.append("One shared model / all separate models:")
        text.append(layout(header, [_cost_line(row) for row in cost]))
    return "\n\n".join(text)


def _cost_line(row: Mapping[str, Any]) -> list[str]:
    return [
        row["method"],
        row["size"] or "all data",
        "{:,.0f} / {:,.0f}".format(*row["parameters"]),
        "{:.0f} / {:.0f}".format(*row["train_seconds"]),
        "{:.2f} / {:.2f}".format(*row["inference_seconds"]),
    ]


def _cell(row: Mapping[str, Any], n: int) -> str:
    text = _plus_minus(row["mean"], row["interval"], "")
    if "difference" in row:
        star = " *" if row["distinguishable"] else ""
        text += f" ({_plus_minus(row['difference'], row['difference_interval'], '+')}{star})"
    return text + (f" [{row['n']} of {n} seeds]" if row["n"] < n else "")


def _plus_minus(centre: float, ends: Sequence[float] | None, sign: str) -> str:
    return f"{centre:{sign}.3f}" + (f" ± {(ends[1] - ends[0]) / 2:.3f}" if ends else "")
