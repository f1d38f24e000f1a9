"""Time and memory of a training on 1, 2, 4 and 8 times the data, from reading to the last round.

python tests/benchmarks/growth.py                      1, 2, 4, 8 times 4,000 records
python tests/benchmarks/growth.py --records 250000     up to 2,000,000 (about half an hour)
python tests/benchmarks/growth.py --records 4000 --in-memory    as files below 64 MB are read

A record is a text of 40 words with a class and a tag per word, made by this script from a seed.
Each size starts twice, in processes of their own: the first start reads, stores and encodes, the
second finds all that. Shown are seconds after `import torch`, and anonymous memory (RssAnon: what
cannot be dropped and mapped again), the most of all phases and the most during the rounds, over
what the model takes. Both tasks, one encoder of two layers. Linux only. Nothing else should run
meanwhile.
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

WORDS, TEXT_WORDS, CLASSES = 20_000, 40, ("city", "food", "sport", "trade")
RECIPE = """\
name = "growth"
[datasets.records]
train = "{folder}/train.jsonl"
validation = "{folder}/held_out.jsonl"
test = "{folder}/held_out.jsonl"
[tasks.topic]
kind = "classification"
data = "records"
[tasks.ner]
kind = "ner"
data = "records"
[encoder]
n_layers = 2
d_model = 64
n_heads = 4
d_ff = 128
max_length = 64
[train]
sampling = "joint"
rounds = {rounds}
epochs = 1
"""


def write_records(path: Path, n: int, seed: int) -> None:
    """Records as JSON lines: in every text an entity of two words, whose class is the text's."""
    rng = random.Random(seed)
    with path.open("w") as file:
        for _ in range(n):
            # Some words are frequent and most are rare, as in language.
            words = [f"w{int(WORDS ** rng.random())}" for _ in range(TEXT_WORDS)]
            topic, first = rng.choice(CLASSES), rng.randrange(TEXT_WORDS - 1)
            words[first : first + 2] = [f"{topic}{rng.randrange(100)}", f"{topic}land"]
            tags = ["O"] * TEXT_WORDS
            tags[first : first + 2] = ["B-LOC", "I-LOC"]
            record = {"sentence": " ".join(words), "label": topic, "ner_tags": tags}
            file.write(json.dumps(record) + "\n")


def anonymous() -> float:
    """Anonymous memory of this process, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


class Phases:
    """Seconds and the most memory of each phase, watched from a thread."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}
        self.most, self.done = 0.0, threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()
        self.started = time.perf_counter()

    def _watch(self) -> None:
        while not self.done.wait(0.02):
            self.most = max(self.most, anonymous())

    def end(self, name: str) -> None:
        """The phase that ends now, and a new one begins."""
        now, most = time.perf_counter(), max(self.most, anonymous())
        self.found[name] = {"seconds": now - self.started, "most": most, "left": anonymous()}
        self.started, self.most = now, 0.0


def start(folder: Path, in_memory: bool) -> None:
    """One start of a training, in this process; its phases as JSON on stdout."""
    import torch  # noqa: F401 - before the clock runs

    import mtl
    from mtl.data.readers import large
    from mtl.experiments.build import build_model, build_tasks
    from mtl.files import cache_folder
    from mtl.training.preflight import encode_datasets
    from mtl.training.run import Run

    warnings.simplefilter("ignore")
    # So that small sizes show what large ones do.
    large.LARGE = 10**15 if in_memory else 0
    recipe = mtl.load_recipe(folder / "growth.toml")
    phases = Phases()
    tasks = build_tasks(recipe)
    phases.end("read")
    model = build_model(recipe, tasks)
    phases.end("model")
    data = encode_datasets(model, tasks, cache=cache_folder())
    phases.end("encode")
    ((config, _),) = recipe.train_configs
    run = Run(model, tasks, config, data=data)
    run.round()
    phases.end("first round")
    while not run.epoch_ended:
        run.round()
    phases.end("rounds")
    phases.done.set()
    weights = 4 * sum(p.numel() for p in model.parameters()) / 2**20
    # Weights, gradients, and the two moments of Adam.
    print(json.dumps({"phases": phases.found, "model": 4 * weights}))


def measure(folder: Path, n: int, rounds: int, in_memory: bool) -> list[dict]:
    """What the first and the second start on so many records take."""
    folder.mkdir()
    write_records(folder / "train.jsonl", n, seed=0)
    write_records(folder / "held_out.jsonl", 500, seed=1)
    (folder / "growth.toml").write_text(RECIPE.format(folder=folder, rounds=rounds))
    command = [sys.executable, __file__, "--start", str(folder), *["--in-memory"] * in_memory]
    environment = os.environ | {"MTL_CACHE": str(folder / "cache")}
    runs = (subprocess.run(command, env=environment, capture_output=True) for _ in range(2))
    found = []
    for run in runs:
        if run.returncode:
            sys.exit(run.stderr.decode())
        found.append(json.loads(run.stdout))
    return found


def machine() -> str:
    cores = len(os.sched_getaffinity(0))
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(names, platform.processor())
    return f"{name}, {cores} cores, {total:.0f} GB, Python {platform.python_version()}"


def show(n: int, starts: list[dict], size: float) -> None:
    for which, found in zip(("first", "second"), starts, strict=True):
        phases = found["phases"]
        seconds = [phases[name]["seconds"] for name in ("read", "model", "encode", "first round")]
        most = [max(p["most"] for p in phases.values()), phases["rounds"]["most"]]
        over = [f"{megabytes - found['model']:8,.0f}" for megabytes in most]
        cells = [f"{value:8.1f}" for value in [*seconds, sum(seconds)]]
        print(f"{n:>10,} {size:6,.0f} {which:>7}", *cells, *over, flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--records", type=int, default=4000, help="of the smallest size")
    options.add_argument("--times", type=int, nargs="+", default=[1, 2, 4, 8])
    options.add_argument("--rounds", type=int, default=100)
    options.add_argument("--folder", help="for the files; by default a temporary one")
    options.add_argument("--in-memory", action="store_true", help="as small files are read")
    options.add_argument("--start", type=Path, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.start:
        start(given.start, given.in_memory)
        return
    print(machine())
    print(f"{given.rounds} rounds of 32 texts; seconds until the first round is done, MB at most")
    phases = ("read", "model", "encode", "round 1", "all", "MB most", "MB train")
    print(f"{'records':>10} {'MB':>6} {'start':>7}", *(f"{name:>8}" for name in phases))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for times in given.times:
            n = given.records * times
            place = Path(folder) / str(n)
            starts = measure(place, n, given.rounds, given.in_memory)
            show(n, starts, (place / "train.jsonl").stat().st_size / 2**20)


if __name__ == "__main__":
    main()
