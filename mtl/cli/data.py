"""`mtl check`, `convert`, `toy` and `recipes`: data files, and what comes with the package.

None of them needs torch.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ..data.check import check_file
from ..data.readers import read, write_examples
from ..errors import ConfigError, suggest
from ..experiments.bundled import bundled_recipes
from ..tables import format_table
from ..toy import GENERATORS


def _options_of_reading(options: argparse.Namespace) -> dict[str, Any]:
    names = ("strict", "column", "label_names")
    return {name: getattr(options, name) for name in names}


def run_check(options: argparse.Namespace) -> int:
    """`mtl check`."""
    report = check_file(options.file, **_options_of_reading(options))
    print(report)
    # So that a script, or continuous integration, can stop at bad data.
    return 1 if report.problems else 0


def run_convert(options: argparse.Namespace) -> None:
    """`mtl convert`."""
    output = Path(options.output)
    if output.exists() and not options.overwrite:
        raise ConfigError("the file exists", path=output, fix="add --overwrite to replace it")
    examples = read(options.input, options.on_error, **_options_of_reading(options))
    write_examples(examples, output, options.to)
    print(f"wrote {len(examples):,} examples ({examples.form}) to {output}", file=sys.stderr)


def run_toy(options: argparse.Namespace) -> None:
    """`mtl toy`."""
    if options.kind not in GENERATORS:
        raise ConfigError(
            "unknown kind of toy data",
            found=repr(options.kind),
            fix=suggest(options.kind, GENERATORS),
        )
    if options.n < 1:
        raise ConfigError("--n must be at least 1", found=str(options.n))
    output = Path(options.output)
    if output.exists() and not options.overwrite:
        raise ConfigError("the file exists", path=output, fix="add --overwrite to replace it")
    write_examples(GENERATORS[options.kind](options.split, options.n, options.seed), output)
    print(f"wrote {options.n:,} examples to {output}", file=sys.stderr)


def run_recipes(options: argparse.Namespace) -> None:
    """`mtl recipes`."""
    print(format_table(["recipe", "what it does"], list(bundled_recipes().items())))
