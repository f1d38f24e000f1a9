"""A path goes in; content comes out with clear errors, or is written whole or not at all.

A kill leaves the old file or the new one, never half of one.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DataError, ModelError

if TYPE_CHECKING:
    from torch import Tensor


def write_atomically(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write beside `path`, then move over it; missing folders are created.

    Each call writes a temporary file of its own, so that processes writing the same file at once
    never mix their contents: the last one wins. It is gone when the call is over.

    Raises:
        DataError: the file cannot be written; what was there before is untouched.
    """
    with _written(Path(path)) as partial:
        # Bytes: on Windows, text mode would write other line endings.
        partial.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def write_tensors(path: str | os.PathLike[str], tensors: dict[str, Tensor]) -> None:
    """Write a safetensors file as `write_atomically` does, without holding its content at once.

    Args:
        tensors: by name; no two share memory.
    """
    from safetensors.torch import save_file  # here, as in `read_tensors`

    with _written(Path(path)) as partial:
        save_file(tensors, partial)


@contextmanager
def _written(path: Path) -> Generator[Path]:
    """The same as `beside`, in a folder that is made if need be, with our error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside(path) as partial:
            yield partial
    except (OSError, UnicodeEncodeError) as error:
        raise unwritable(path, error) from None


@contextmanager
def beside(path: Path) -> Generator[Path]:
    """A name of its own beside `path`; what is written there in this context moves over `path`."""
    # In the same folder, since `os.replace` is atomic only within one file system.
    partial = _own_name(path)
    try:
        yield partial
        # From here on the new file is there, whole; until here the old one was.
        os.replace(partial, path)
    finally:
        with suppress(OSError):
            partial.unlink()  # still there only if something went wrong, a Ctrl-C included


def _own_name(path: Path) -> Path:
    """A name that nobody else uses, in the same folder."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")


def unwritable(path: Path, error: Exception) -> DataError:
    """The error for a file that cannot be written."""
    return DataError(
        "the file cannot be written",
        path=path,
        found=str(error),
        fix="check the path, its folder and the free space",
    )


def append_lines(path: Path, size: int, lines: Iterable[str]) -> int:
    """Write lines into a file after its first `size` bytes; what came after these is gone.

    Whoever calls it keeps the size that it returns: after a kill, the bytes up to the size that was
    kept last are as they were.

    Returns:
        the size of the file now.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        with path.open("r+b" if size else "wb") as file:
            file.truncate(size)
            file.seek(size)
            file.writelines(f"{line}\n".encode() for line in lines)
            return file.tell()
    except OSError as error:
        raise unwritable(path, error) from None


@contextmanager
def whole_folder(path: Path) -> Generator[Path]:
    """A new folder to write in; when the context ends well, it is moved to `path`, else removed.

    If another process has put one there meanwhile, that one stays.
    """
    partial = _own_name(path)
    try:
        partial.mkdir(parents=True)
        yield partial
        if not path.exists():
            os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)  # there only if something went wrong


def cache_folder() -> Path:
    """Where things are kept that can be made again: `MTL_CACHE`, or `~/.cache/mtl`."""
    return Path(os.environ.get("MTL_CACHE") or Path.home() / ".cache" / "mtl")


MOST_NAMED = 10
EXPORTED = "model.onnx"  # a model as mtl export writes it


def missing_file(path: Path) -> ModelError:
    """The error for a model folder that lacks a file; it lists what is there."""
    if not path.parent.is_dir():
        return ModelError("there is no such model folder", path=path.parent, fix="check the path")
    names = sorted(p.name for p in path.parent.iterdir())
    there = ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
    fix = "copy the whole folder that a training run wrote, or that the checkpoint came in"
    # The model is written at the end of training, its state from the start.
    if "training_state" in names:
        fix = "its training did not finish: run the same mtl train command with --resume"
        saved = [*path.parent.glob("checkpoint-*"), *path.parent.glob("best-*")]
        if saved:
            # The newest.
            fix += f", or use {max(saved, key=lambda p: p.stat().st_mtime)}"
    if EXPORTED in names:
        fix = "it holds a model that mtl export wrote: mtl.load_onnx reads it"
    return ModelError(
        f"the model folder has no {path.name}",
        path=path.parent,
        found=there or "nothing",
        fix=fix,
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a model folder.

    Raises:
        ModelError: the file is missing, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"a {type(content).__name__}, not an object in braces")
        return content
    except FileNotFoundError:
        raise missing_file(path) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path.name} cannot be read as JSON",
            path=path,
            found=str(error),
            fix="copy the whole model folder again",
        ) from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, which holds no code.

    Raises:
        ModelError: the file is missing or broken, or holds numbers that are not finite.
    """
    # Here, since torch takes seconds to load, and reading data files needs none of it.
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except FileNotFoundError:
        raise missing_file(path) from None
    # RuntimeError: torch opens the file a second time, and it may be gone by then.
    except (OSError, RuntimeError, SafetensorError) as error:
        raise broken_weights(path, str(error)) from None
    for name, tensor in tensors.items():
        # A model with NaN would load without complaint, and predict nonsense.
        if not tensor.isfinite().all():
            raise broken_weights(path, f"{name} holds numbers that are not finite")
    return tensors


def broken_weights(path: Path, found: str) -> ModelError:
    """The error for weights that cannot be used."""
    return ModelError(
        "the weights cannot be loaded into this model",
        path=path,
        # The last line: torch's message begins with a heading that says nothing.
        found=found.strip().splitlines()[-1].strip(),
        fix="copy the whole model folder again",
    )
