"""A budget goes in as a JSON file; predictions, seconds and memory come out as another.

    python run_PEER.py BUDGET RESULT

The scripts beside this file run in environments that have one peer each, and `mtl` in none of them:
nothing but the standard library and the peer is imported here.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

Budget = dict[str, Any]  # as `exchange.budget_for` writes it
Predictions = dict[str, list[Any]]  # by task, one for each test example
Model = TypeVar("Model")


def run(
    build: Callable[[Budget], Model],
    train: Callable[[Model, Budget], object],
    predict: Callable[[Model, Budget], Predictions],
) -> None:
    """Build a model, train it and predict, as the command line says; building is not timed."""
    budget_file, result_file = map(Path, sys.argv[1:])
    budget = json.loads(budget_file.read_text(encoding="utf-8"))
    model = build(budget)
    started = time.perf_counter()
    train(model, budget)
    trained = time.perf_counter()
    predictions = predict(model, budget)
    result = {
        "predictions": predictions,
        "train_seconds": trained - started,
        "predict_seconds": time.perf_counter() - trained,
        "peak_mb": peak_megabytes(),
    }
    result_file.write_text(json.dumps(result), encoding="utf-8")


def peak_megabytes() -> float:
    """The most memory that this process has taken so far."""
    status = Path("/proc/self/status")
    if status.is_file():
        # On Linux, `ru_maxrss` is at least what the process that started this one had.
        (peak,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
