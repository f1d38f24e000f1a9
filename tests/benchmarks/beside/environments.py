"""Packages go in; the interpreter of a virtual environment that has them comes out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class UnavailableError(Exception):
    """A peer that cannot be installed or run; the message says why in one line."""


def interpreter(folder: Path, requirements: Sequence[str]) -> Path:
    """That of the environment in `folder`, which is made if it is not there with these packages.

    Args:
        requirements: pinned, as pip takes them.

    Raises:
        UnavailableError: it cannot be made.
    """
    python = folder / "bin" / "python"
    installed, wanted = folder / "requirements.txt", "\n".join(requirements) + "\n"
    if installed.is_file() and installed.read_text() == wanted:
        return python
    print(f"{folder} is made: {' '.join(requirements)}", file=sys.stderr)
    command([sys.executable, "-m", "venv", "--clear", folder])
    # Without the check, whose notice would be the last line, and the reason for a failure.
    install = ["install", "--quiet", "--disable-pip-version-check"]
    command([python, "-m", "pip", *install, *requirements])
    installed.write_text(wanted)  # last, so that half an environment is made anew
    return python


def command(arguments: Sequence[str | Path]) -> None:
    """Run it.

    Raises:
        UnavailableError: it failed; with the last line of what it said.
    """
    try:
        done = subprocess.run(arguments, capture_output=True, text=True)
    except OSError as error:
        raise UnavailableError(str(error)) from None
    if done.returncode:
        said = (done.stderr or done.stdout).split("\n")
        raise UnavailableError(next((line for line in reversed(said) if line.strip()), "it failed"))
