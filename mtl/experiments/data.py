"""A dataset of a recipe goes in; its examples, read from its files and compared, come out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..data.check import names_not_in_train, texts_in_two_splits
from ..data.dataset import Dataset, hold_out
from ..data.readers import files_of, only_set
from ..data.remembered import remembered
from ..errors import DataError, DataWarning
from ..tasks import Task
from .recipe import Recipe
from .sections import FILE_KEYS, DatasetRecipe


def read_dataset(
    task_class: type[Task],
    data: DatasetRecipe,
    recipe: Recipe,
    fields: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Dataset:
    """Read a dataset's files, or those of the folder it names; missing splits are held out.

    A `DataWarning` says what two splits have in common, and which entity types training lacks.

    Args:
        task_class: that of its first task, which reads the files.
        fields: those of the records that its tasks learn from, as `Recipe.fields_of` gives them.
    """
    named = {split: Path(file) for split in FILE_KEYS if (file := getattr(data, split))}
    found = files_of(named.pop("train"))
    # A dev file that is named as the test is not what is chosen on, too.
    taken = {file.resolve() for file in named.values()}
    files = {s: f for s, f in found.items() if s == "train" or f.resolve() not in taken} | named
    if "train" not in files:
        raise DataError(
            "the folder has no training file",
            path=data.train,
            found=f"files for {', '.join(files) or 'nothing'}",
            fix="give it one with train in its name, or name the files in the recipe",
        )
    options = reader_options(data, recipe.strict, fields)
    splits = {s: task_class.read(f, recipe.on_error, **options) for s, f in files.items()}
    # The task that learns classes warns about new ones itself.
    for name, value in remembered(
        list(splits.values()),
        f"what {', '.join(splits)} have in common",
        lambda: texts_in_two_splits(splits) + names_not_in_train(splits, "type"),
    ):
        warnings.warn(f"{data.train}: {name}: {value}", DataWarning, stacklevel=2)
    missing = [split for split in ("validation", "test") if split not in splits]
    if missing:
        try:
            # By the seed: the same recipe holds out the same examples, even when resumed.
            splits["train"], *parts = hold_out(splits["train"], recipe.seed, parts=len(missing))
        except DataError as error:
            raise error.at(data.train) from None
        splits |= dict(zip(missing, parts, strict=True))
    return Dataset(**splits)


def reader_options(
    data: DatasetRecipe | None,
    strict: bool,
    fields: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> dict[str, Any]:
    """The options that a reader gets: only those that are set, so that a task's own `read` need not
    know the others.
    """
    options: dict[str, Any] = {"strict": strict, **fields}
    if data is not None:
        names = ("column", "label_names", "whole_documents")
        options |= {name: getattr(data, name) for name in names}
    return only_set(**options)
