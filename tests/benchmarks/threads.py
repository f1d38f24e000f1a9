"""How long `mtl train practical7` takes: against another checkout, and with a busy core.

    python tests/benchmarks/threads.py OTHER [--repeat N]

OTHER is a checkout of another commit. Whole commands take turns: the other commit with one and with
two threads, this one with the threads that it chooses, and this one again while an endless loop
keeps one core busy. Nothing else may run on the machine meanwhile.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from mtl.tables import format_table

HERE = Path(__file__).parents[2]
BUSY = [sys.executable, "-c", "while True: pass"]


@contextmanager
def one_core_busy():
    process = subprocess.Popen(BUSY)
    try:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})
        yield
    finally:
        process.kill()
        process.wait()


def seconds(checkout: Path, threads: int = 0) -> float:
    """Of one training, in a process and with a cache of its own."""
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {"PYTHONPATH": str(checkout), "MTL_CACHE": f"{folder}/cache"}
        env |= {"OMP_NUM_THREADS": str(threads)} if threads else {}
        command = [sys.executable, "-m", "mtl", "train", "practical7", "--output", f"{folder}/run"]
        started = time.perf_counter()
        subprocess.run(command, env=env, cwd=folder, check=True, capture_output=True)
        return time.perf_counter() - started


def busy() -> float:
    with one_core_busy():
        return seconds(HERE)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("other", type=Path)
    parser.add_argument("--repeat", type=int, default=2)
    options = parser.parse_args()
    other = options.other.resolve()
    cases = {
        "other commit, one thread": lambda: seconds(other, 1),
        "other commit, two threads": lambda: seconds(other, 2),
        "this commit": lambda: seconds(HERE),
        "this commit, one core busy": busy,
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(options.repeat):
        for name, run in cases.items():
            times[name].append(run())
            print(f"{name}: {times[name][-1]:.1f} s", file=sys.stderr, flush=True)
    rows = [[name, min(s), statistics.median(s), max(s)] for name, s in times.items()]
    print(format_table(["mtl train practical7, seconds", "least", "median", "most"], rows))


if __name__ == "__main__":
    main()
