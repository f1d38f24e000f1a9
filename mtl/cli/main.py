"""The command `mtl`: a command line goes in, an exit status comes out.

Results go to stdout, progress and messages to stderr. Exit 0: done; 1: the data or the model could
not be used; 2: wrong usage, unknown recipe or key included.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TextIO

from ..errors import DataWarning, MTLError, TrainingWarning
from ..registry import import_named
from .parser import build_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = build_parser().parse_args(arguments)
    # Kept with the results of a comparison, so that it can be repeated.
    options.line = _without_output(arguments)
    with warnings.catch_warnings():
        # By default Python shows a warning once per place, and hides those of other files.
        warnings.simplefilter("always", DataWarning)
        warnings.simplefilter("always", TrainingWarning)
        # `warnings` documents that it may be replaced; to ty every function is a constant.
        warnings.showwarning = _show_warning  # ty: ignore[invalid-assignment]
        try:
            status = _run(options)
            # Here a closed pipe is still our error; at exit, Python would print a traceback.
            sys.stdout.flush()
            return status or 0
        except MTLError as error:
            print(f"mtl: error: {error}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            print("\nmtl: stopped", file=sys.stderr)
            # 128 + 2 (SIGINT), as in shells.
            return 130
        except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
            # Python flushes stdout once more at exit, and would fail again without this.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0


def _run(options: argparse.Namespace) -> int | None:
    """Run the chosen command: `mtl train` is `run_train` in `mtl/cli/train.py`.

    Only its own file is imported, and only now: most of them need torch, which takes seconds to
    load, while `mtl check`, `mtl recipes` and every `--help` answer at once.
    """
    for module in getattr(options, "modules", ()):  # not every command has --import
        import_named(module, "--import")
    group = import_module(f".{options.group}", __package__)
    return getattr(group, f"run_{options.command}")(options)


def _without_output(arguments: Sequence[str]) -> str:
    """The command as one line; where it wrote does not change what it did."""
    words = [word for word in arguments if not word.startswith("--output=")]
    if "--output" in words:
        at = words.index("--output")
        del words[at : at + 2]
    return shlex.join(["mtl", *words])


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Our own warnings are notes to the user; the place in the code means nothing to them."""
    if issubclass(category, DataWarning | TrainingWarning):
        print(f"mtl: note: {message}", file=sys.stderr)
    else:
        print(f"mtl: warning: {category.__name__}: {message}", file=sys.stderr)
