"""The libraries people use: our training beside each of them, with the same weights and budget.

    python tests/benchmarks/peers.py CHECKPOINT DATA [--only snips-flair,snips-spacy] [--held-out]

CHECKPOINT is a folder with pretrained weights (BERT), DATA a folder of datasets as
`beside/comparisons.py` names them; one that is not there is skipped, and a line says so.

    snips-flair                 intents and slots, beside flair's MultitaskModel
    snips-spacy                 the same, beside a spaCy pipeline with one shared transformer
    stsb-sentence-transformers  similarity, beside SentenceTransformerTrainer
    ner-qa-plain                NER and QA in turn, beside a plain loop around `transformers`

Both sides have the same examples, epochs, batch size and threads, train in float32, and keep the
last weights: nothing is scored during training. Each is a process of its own, one after the other,
ours first. The dev file is scored by the same functions. A peer lives in a virtual environment of
its own, in the folder `--environments`, which is made by pip at first; a peer that cannot be
installed or run is skipped, and a line says why.

Nothing is chosen on the dev file. For choosing rates there is `--held-out`: a tenth of the training
file is scored instead.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from beside import ours
from beside.cases import Outcome
from beside.comparisons import COMPARISONS, REQUIREMENTS, Comparison
from beside.data import build, read_tasks
from beside.environments import UnavailableError, interpreter
from beside.exchange import budget_for, predictions_of
from beside.peers.runner import peak_megabytes
from beside.sides import report
from tasks import asked, chosen, in_its_own_process, parser_of, table, variables_of

import mtl
from mtl.files import write_atomically

BUDGET = ("limit", "test", "epochs", "batch_size", "max_length")
RATES = ("rate", "head_rate")
SIDES = ("ours", "peer")
SCRIPTS = Path(__file__).parent / "beside" / "peers"


def main() -> None:
    warnings.simplefilter("ignore", mtl.errors.DataWarning)
    options = parse()
    if options.ours:
        ((_, comparison),) = comparisons(options).items()
        print(json.dumps(run_ours(comparison, options)))
        return
    results: dict[str, Any] = {}
    for name, comparison in comparisons(options).items():
        try:
            results[name] = compare(name, comparison, options)
        except UnavailableError as error:
            print(f"{name} is skipped: {error}", file=sys.stderr)
            continue
        print(table({name: results[name]}, SIDES), file=sys.stderr)
        # After each, so that nothing is lost if a later one fails.
        write_atomically(options.output, json.dumps(results, indent=1) + "\n")
    if results:
        print(table(results, SIDES))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    output = Path("runs/benchmark-peers.json")
    parser = parser_of(__doc__, COMPARISONS, (*BUDGET, *RATES), output)
    parser.add_argument("--peer-rate", type=float, help="of all weights of the peer")
    parser.add_argument("--environments", type=Path, default=Path("runs/peers"), help="see above")
    parser.add_argument("--ours", action="store_true", help="run our side, in this process")
    return parser.parse_args(arguments)


def comparisons(options: argparse.Namespace) -> dict[str, Comparison]:
    """Those asked for, with the budget asked for."""
    budget = asked(options, (*BUDGET, *RATES))
    if options.peer_rate is not None:
        budget["plain_rate"] = options.peer_rate
    found = {}
    for name in chosen(options, COMPARISONS):
        cases = (dataclasses.replace(case, **budget) for case in COMPARISONS[name].cases)
        found[name] = dataclasses.replace(COMPARISONS[name], cases=tuple(cases))
    return found


def compare(name: str, comparison: Comparison, options: argparse.Namespace) -> dict[str, Any]:
    """The budget, and what each side took and scored.

    Raises:
        UnavailableError: there is no data, or the peer cannot be installed or run.
    """
    for case in comparison.cases:
        if not (options.data / case.folder).is_dir():
            raise UnavailableError(f"there is no {options.data / case.folder}")
    python = interpreter(options.environments / comparison.peer, REQUIREMENTS[comparison.peer])
    cases = [dataclasses.asdict(case) for case in comparison.cases]
    return {
        "budget": {"cases": cases, "metrics": comparison.metrics},
        "requirements": REQUIREMENTS[comparison.peer],
        "ours": in_its_own_process(["--only", name, "--ours"], options.threads),
        "peer": run_peer(python, comparison, options),
    }


def tasks_of(comparison: Comparison, options: argparse.Namespace) -> list[mtl.tasks.Task]:
    """The tasks of all cases. The part for choosing epochs is left out: neither side chooses."""
    tasks = []
    for case in comparison.cases:
        first, *_ = read_tasks(case, options.data / case.folder, options.held_out)
        dataset = mtl.Dataset(first.dataset.train, test=first.dataset.test)
        tasks += [build(name, settings, dataset) for name, settings in case.tasks.items()]
    return tasks


def run_ours(comparison: Comparison, options: argparse.Namespace) -> dict[str, Any]:
    """Train and score our side, in this process."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    tasks = tasks_of(comparison, options)
    case = comparison.cases[0]
    config = ours.config_of(case, options.seed, "float32", options.threads)
    return report(tasks, ours.run(case, tasks, options.checkpoint, config), peak_megabytes())


def run_peer(python: Path, comparison: Comparison, options: argparse.Namespace) -> dict[str, Any]:
    """Let the peer train and predict in a process of its own; score it here.

    Raises:
        UnavailableError: it failed; it has said why.
    """
    tasks = tasks_of(comparison, options)
    datasets = list({id(task.dataset): task.dataset for task in tasks}.values())
    budget = budget_for(comparison.cases[0], datasets, options.checkpoint, options.seed)
    script = SCRIPTS / f"run_{comparison.peer}.py"
    # Without PYTHONPATH, which leads to packages of ours.
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as folder:
        asks, says = Path(folder, "budget.json"), Path(folder, "result.json")
        asks.write_text(json.dumps(budget), encoding="utf-8")
        variables = kept | variables_of(options.threads)
        # What a peer prints is no part of our table: to stderr with it.
        done = subprocess.run([python, script, asks, says], stdout=2, env=variables)
        if done.returncode:
            raise UnavailableError(f"{script.name} failed")
        said = json.loads(says.read_text(encoding="utf-8"))
    predictions = {t.name: predictions_of(t, said["predictions"][t.name]) for t in tasks}
    outcome = Outcome(said["train_seconds"], said["predict_seconds"], predictions)
    return report(tasks, outcome, said["peak_mb"])


if __name__ == "__main__":
    main()
