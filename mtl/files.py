"""Files: written so that a kill leaves the old one or the new one whole; and what is missing."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from .errors import DataError, ModelError


def write_atomically(path: str | Path, content: str | bytes) -> None:
    """Write beside `path` and move over it; missing folders are made.

    Raises:
        DataError: the file cannot be written; what stood there before still does.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        os.replace(beside, path)
    except (OSError, UnicodeEncodeError) as error:
        with suppress(OSError):
            beside.unlink()
        raise DataError(
            "the file cannot be written",
            path=path,
            found=str(error),
            fix="check the path, its folder and the free space",
        ) from None


MOST_NAMED = 10


def missing_file(path: Path) -> ModelError:
    """The error for a model folder that lacks a file; it lists what is there."""
    names = sorted(p.name for p in path.parent.iterdir())
    there = ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
    checkpoints = [name for name in names if name.startswith("checkpoint-")]
    return ModelError(
        f"the model folder has no {path.name}",
        path=path.parent,
        found=there or "nothing",
        fix=f"its training did not end; use {path.parent / checkpoints[-1]}"
        if checkpoints
        else "copy the whole folder that a training run wrote",
    )
