"""Methods, sizes and seeds of a comparison go in; its training runs come out, one `Plan` each."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ConfigError, suggest
from ..registry import find_class, import_named, known_class, known_names
from ..settings import raised_by
from ..training.aggregation import Aggregation, build_aggregation, torchjd_aggregators
from ..training.config import TrainConfig
from ..training.sampling import SAMPLERS
from ..training.weighting import FixedWeighting, Weighting
from .recipe import Recipe
from .summary import ALONE


@dataclass(frozen=True)
class Plan:
    """One training run: its share of the data, seed and method, and its rounds per epoch.

    `task` is the one trained alone; empty for all together.
    """

    size: str
    seed: int
    method: str
    task: str
    rounds: int

    @property
    def file(self) -> str:
        parts = [self.size or "all", f"seed{self.seed}", self.method, self.task, str(self.rounds)]
        # Commas, brackets and slashes do not belong in file names.
        return re.sub(r"[^\w.=-]+", "_", "-".join(filter(None, parts))) + ".json"

    def __str__(self) -> str:
        what = f"{self.task} alone" if self.task else f"together, {self.method}"
        data = self.size or "all data"
        return f"{data}, seed {self.seed}, {what}, {self.rounds} rounds per epoch"


def plans_of(
    recipe: Recipe, seeds: int, sizes: Sequence[str], rounds: int, total: Mapping[str, int]
) -> Iterator[Plan]:
    """All training runs, seed by seed, so that a table over fewer seeds is available early."""
    # Each length once: methods with the same number of steps share their models alone.
    alone = dict.fromkeys([rounds, *total.values()])
    for seed in range(recipe.seed, recipe.seed + seeds):
        for size in sizes:
            for n in alone:
                for task in recipe.tasks:
                    yield Plan(size, seed, ALONE, task, n)
            for method in total:
                yield Plan(size, seed, method, "", rounds)


def method_settings(method: str, recipe: Recipe) -> dict[str, Any]:
    """The `train` section of a recipe for one method of sharing.

    Raises:
        ConfigError: an unknown method (with the nearest known one) or option.
    """
    name, options = _name_and_options(method)
    own = {"weighting", "weighting_options", "aggregation", "aggregation_options"}
    # Only one thing differs from run to run, so the recipe's own method must not come on top.
    train = {key: value for key, value in recipe.train.items() if key not in own}
    # Set explicitly, since `compare` reads the steps from these settings.
    train.setdefault("sampling", TrainConfig().sampling)
    if name in SAMPLERS and not options:
        return train | {"sampling": name}
    if ":" in name:
        import_named(name.partition(":")[0], "--methods")
    weighting = known_class(Weighting, name)
    if weighting is not None:
        if name != FixedWeighting.name:
            train.pop("loss_weights", None)  # the method weights the losses itself
        train |= {"weighting": name, "weighting_options": options}
        needs_joint_steps = weighting.needs_joint_steps
    elif _is_aggregation(name):
        train |= {"aggregation": name, "aggregation_options": options}
        needs_joint_steps = build_aggregation(name, options, recipe.seed).needs_joint_steps
    else:
        raise _unknown_method(name, method)
    if needs_joint_steps:
        train["sampling"] = "joint"
    TrainConfig(**train)  # so that what it rejects is rejected before anything is trained
    return train


def _name_and_options(method: str) -> tuple[str, dict[str, Any]]:
    """`CAGrad(c=0.4)` as its name and `{"c": 0.4}`; values are written as in TOML."""
    match = re.fullmatch(r"([\w.:-]+)(?:\((.*)\))?", method.strip())
    if match is None:
        return method, {}
    name, inner = match.groups(default="")
    try:
        # TOML's own parser, so that values are written as in a recipe.
        return name, tomllib.loads(f"options = {{{inner}}}")["options"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            "the options of a method cannot be read",
            found=f"{method!r}: {error}",
            fix="write them like CAGrad(c=0.4)",
        ) from None


def _is_aggregation(name: str) -> bool:
    """Whether there is an aggregation of this name: ours, or TorchJD's in any case."""
    theirs = {known.lower() for known in torchjd_aggregators()}
    return name.lower() in theirs or known_class(Aggregation, name) is not None


def _unknown_method(name: str, method: str) -> ConfigError:
    if ":" in name and (faults := raised_by(find_class, Weighting, name, "--methods")):
        return ConfigError.collect(faults)
    theirs = torchjd_aggregators()
    known = [*SAMPLERS, *known_names(Weighting), *known_names(Aggregation), *theirs]
    more = "" if theirs else "; with the extra torchjd also UPGrad, CAGrad and others"
    fix = f"{suggest(name, known)}{more}"
    return ConfigError("unknown method of sharing", found=repr(method), fix=fix)


def settings_alone(recipe: Recipe) -> dict[str, Any]:
    """The `train` section for a model of a single task."""
    train_settings = method_settings(FixedWeighting.name, recipe) | {"sampling": "alternating"}
    # A single loss needs no weight, and one for a task that is not there is an error.
    train_settings.pop("loss_weights", None)
    return train_settings


def with_size(recipe: Recipe, size: str) -> Recipe:
    """The recipe with a share of some tasks' data: `qa=0.1`, or `ner=0.5,qa=0.1`.

    Raises:
        ConfigError: an unknown task, one that is named twice, or something that is not a share.
    """
    named = set()
    for part in filter(None, size.split(",")):
        name, _, number = part.strip().partition("=")
        if name in named:
            raise ConfigError("a size names a task twice", found=repr(size), fix="leave one out")
        named.add(name)
        if name not in recipe.tasks:
            raise ConfigError(
                "--sizes names an unknown task", found=repr(part), fix=suggest(name, recipe.tasks)
            )
        recipe = _with_share(recipe, name, _share(number, part))
    return recipe


def _share(number: str, part: str) -> float:
    """The number of a size; `part` is the size, for the message."""
    try:
        share = float(number)
    except ValueError:
        share = math.nan  # which is not between 0 and 1 either
    if not 0 < share <= 1:
        raise ConfigError(
            "--sizes takes shares above 0 and at most 1", found=repr(part), fix="such as qa=0.1"
        )
    return share


def _with_share(recipe: Recipe, name: str, share: float) -> Recipe:
    """The recipe with a share of the data of one task, and of those that share its dataset."""
    task = recipe.tasks[name]
    if task.has_own_data:
        tasks = recipe.tasks | {name: replace(task, share=share)}
        return replace(recipe, tasks=tasks)
    data = {task.data: replace(recipe.datasets[task.data], share=share)}
    return replace(recipe, datasets=recipe.datasets | data)


def check_distinct(methods: Iterable[str], sizes: Iterable[str], recipe: Recipe) -> None:
    """Raise ConfigError if two names mean the same, or a file system takes them for the same."""
    by_lower_case: dict[str, str] = {}
    for method in methods:
        other = by_lower_case.setdefault(method.lower(), method)
        if other != method:
            raise ConfigError(
                "two methods differ only in upper and lower case",
                found=f"{other}, {method}",
                fix="pcgrad, random and sum are ours, PCGrad, Random and Sum TorchJD's; compare "
                "them in two folders",
            )
    recipes: dict[str, Recipe] = {}
    for size in sizes:
        recipe_of_size = with_size(recipe, size)
        for other, seen in recipes.items():
            if seen == recipe_of_size:  # such as qa=0.1 and qa=0.10
                raise ConfigError(
                    "two sizes mean the same", found=f"{other}, {size}", fix="leave one out"
                )
        recipes[size] = recipe_of_size
