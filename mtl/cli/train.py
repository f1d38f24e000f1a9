"""`mtl train` and `mtl compare`: a recipe goes in; a run folder and a table come out."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..experiments.compare import compare
from ..experiments.folder import CASES_FILE, next_run_folder
from ..experiments.recipe import Recipe, load_recipe
from ..experiments.run import run_recipe
from ..experiments.summary import comparison_tables
from ..reports.cases import CaseResult, cases_summary
from ..tables import metrics_table
from ..training.ranks import is_first, n_started, started


@started()
def run_train(options: argparse.Namespace) -> int:
    """`mtl train`; exit status 1 if something about the trained model could not be reported."""
    recipe = _chosen_recipe(options)
    if options.resume and not options.output:
        raise ConfigError("--resume needs to know which run", fix="add --output DIR")
    with _output_folder(options, recipe.name) as output:
        metrics = run_recipe(
            recipe,
            output,
            overwrite=options.overwrite,
            resume=options.resume,
            save_every=options.save_every,
            save_every_steps=options.save_every_steps,
            tensorboard=options.tensorboard,
        )
    if not is_first():
        return 0
    if options.json:
        print(json.dumps(metrics, indent=2))
    else:
        _print_run(metrics, output)
    for what, why in metrics.get("not_reported", {}).items():
        print(f"mtl: error: {what}: {why}", file=sys.stderr)
    if "not_reported" in metrics:
        fix = f"fix this, then run the same command with --output {output} --resume"
        print(f"  to do: the model is trained and saved; {fix}", file=sys.stderr)
        return 1
    return 0


def _print_run(metrics: dict[str, Any], output: Path) -> None:
    print(metrics_table(metrics))
    cases_file = output / CASES_FILE
    if cases_file.exists():
        content = json.loads(cases_file.read_text(encoding="utf-8"))
        cases = [CaseResult(**case) for case in content]
        print(f"\nwell-known facts (mtl validate {output}): {cases_summary(cases)}")
    print(
        f"\na model of {metrics['parameters']:,} parameters was trained in "
        f"{metrics['train_seconds']:.1f} s; it is in {output}, with its metrics and curves"
    )


def _output_folder(options: argparse.Namespace, name: str) -> AbstractContextManager[Path]:
    """The folder that --output names, or a new one."""
    if not is_first():  # it writes nothing
        return nullcontext(Path(options.output or ""))
    return nullcontext(Path(options.output)) if options.output else next_run_folder(name)


def _chosen_recipe(options: argparse.Namespace) -> Recipe:
    settings = list(options.set)
    # After --set: a dedicated option is the more deliberate one, and the later setting wins.
    settings += [f"seed={options.seed}"] if options.seed is not None else []
    settings += [f'on_error="{options.on_error}"'] if options.on_error else []
    settings += ["strict=true"] if options.strict else []
    return load_recipe(
        options.recipe,
        settings,
        data=options.data,
        preset=options.preset,
        hardware=options.hardware,
    )


def run_compare(options: argparse.Namespace) -> int:
    """`mtl compare`; exit status 1 if a run failed."""
    if n_started() > 1:
        raise ConfigError(
            "mtl compare trains its models one after the other, in one process",
            found=f"WORLD_SIZE = {n_started()}",
            fix="start it without torchrun",
        )
    recipe = _chosen_recipe(options)
    with _output_folder(options, f"compare-{recipe.name}") as output:
        content = compare(
            recipe,
            output,
            seeds=options.seeds,
            methods=options.methods,
            sizes=options.sizes,
            command=options.line,
        )
    if options.json:
        print(json.dumps(content, indent=2))
    else:
        print(comparison_tables(content["summary"], content["cost"]))
        print(f"\nevery run, tables and picture are in {output}")
    for plan, why in content.get("failed", {}).items():
        print(f"mtl: error: {plan}: {why}", file=sys.stderr)
    return 1 if "failed" in content else 0
