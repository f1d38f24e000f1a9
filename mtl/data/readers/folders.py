"""A folder goes in, the file (or folder of parallel files) of each split comes out."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from ...errors import DataError
from .parallel import parallel_files
from .parquet import ENDING
from .source import FilePath

SPLIT_NAMES = {
    "train": ("train", "training", "trn"),
    "validation": ("dev", "devel", "development", "valid", "validation", "val", "testa", "eval"),
    "test": ("test", "testing", "testb", "tst"),
}
NO_DATA = {".md", ".rst", ".py", ".sh", ".toml", ".yaml", ".yml", ".pdf", ".html", ".log"}
NO_DATA_NAMES = {"readme", "license", "licence", "labels", "label", "classes", "vocab", "intents"}


def splits_in(folder: FilePath) -> dict[str, Path]:
    """The train, validation, test and test_unseen files of a folder, those that are there.

    A file's name shows its split, with any ending and anything around it: `train.conll`,
    `eng.testa`, `train-v1.1.json`, `wnut17train.conll`. A subfolder counts if it holds parallel
    files. A single file that shows nothing is the training file. Many Parquet files of one split
    are one set of data, and the path that stands for them is a pattern, `train-*.parquet`.

    Raises:
        DataError: no file of any split, or two files for one.
    """
    folder = Path(folder)
    files = [path for path in sorted(folder.iterdir()) if _may_be_data(path)]
    found: dict[str, list[Path]] = {}
    for path in files:
        split = split_of(path.name)
        if split:
            found.setdefault(split, []).append(path)
    # A lone file, whatever its name, cannot be mistaken for another split; nor can many parts of
    # one.
    if not found and (len(files) == 1 or _are_shards(files)):
        found["train"] = files
    for split, paths in found.items():
        if len(paths) > 1 and _are_shards(paths):
            found[split] = paths = [folder / _pattern_of(paths)]
        if len(paths) > 1:  # a guess might train on the wrong one, and nobody would know
            raise DataError(
                f"the folder has {len(paths)} files for {split}",
                path=folder,
                found=", ".join(path.name for path in paths),
                fix="leave one of them there, or name the files in the recipe; parallel files "
                "(seq.in, seq.out, label) go into a folder for each split",
            )
    if not found:
        names = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) or "nothing"
        fix = "name its files train.ENDING, dev.ENDING and test.ENDING, or name one of them"
        what = "the folder has no file whose name shows its split"
        raise DataError(what, path=folder, found=names, fix=fix)
    # In this order, whatever the file system's, so that reports look the same everywhere.
    order = ("train", "validation", "test", "test_unseen")
    return {split: found[split][0] for split in order if split in found}


def _are_shards(paths: Sequence[Path]) -> bool:
    """Whether files are parts of one set of data, and a pattern names them and no others."""
    return bool(paths) and sorted(paths[0].parent.glob(_pattern_of(paths))) == sorted(paths)


def _pattern_of(paths: Sequence[Path]) -> str:
    # Of names, which have no folders in them: sign by sign.
    return f"{os.path.commonprefix([path.name for path in paths])}*{ENDING}"  # noqa: RUF071


def files_of(path: FilePath) -> dict[str, Path]:
    """The files of each split behind a path: a file, or a folder of parallel files, is training
    data; any other folder holds a file for each split.
    """
    path = Path(path)
    if path.is_dir() and not parallel_files(path):
        return splits_in(path)
    return {"train": path}


def file_to_score(path: FilePath) -> Path:
    """The file itself, or the test (or else dev) file of a folder; never what it trains on."""
    files = files_of(path)
    if files == {"train": Path(path)}:  # a file, or parallel files, that show no split
        return Path(path)
    for split in ("test", "validation"):
        if split in files:
            return files[split]
    fix = "name the file to score"
    raise DataError("the folder has no test or dev file", path=path, fix=fix)


def split_of(name: str) -> str | None:
    """The split that a file's name shows; None if it shows none."""
    # Whole words: "contest.txt" is not a test file.
    words = re.findall(r"[a-z]+", name.lower())
    for split, names in SPLIT_NAMES.items():
        if not set(words).isdisjoint(names):
            return "test_unseen" if split == "test" and "unseen" in words else split
    # Joined to another word, as in `nertrain.txt`; not so for "test", which "latest" ends in.
    glued = [word for word in words if word.startswith("train") or word.endswith("train")]
    return "train" if glued else None


def _may_be_data(path: Path) -> bool:
    # Hidden files, and what tools leave next to the data, such as __MACOSX.
    if path.name.startswith((".", "_")):
        return False
    if path.is_dir():
        return bool(parallel_files(path))
    return path.suffix.lower() not in NO_DATA and path.stem.lower() not in NO_DATA_NAMES
