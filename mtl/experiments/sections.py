"""The sections of a recipe, as TOML gives them, go in; every fault in them comes out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any

from ..data.tokenizers.whitespace import WhitespaceTokenizer
from ..errors import ConfigError, Fault, suggest
from ..model import MultiTaskModel
from ..nn.adapters import AdapterConfig
from ..nn.config import EncoderConfig
from ..registry import Find, Named
from ..settings import (
    Rules,
    Setting,
    check,
    contradictions_in,
    faults_by_key,
    raised_by,
    setting,
    settings_of,
)
from ..tasks import Task
from ..tasks.base import check_task_name
from ..toy import GENERATORS
from ..training.aggregation import Aggregation
from ..training.config import TrainConfig
from ..training.weighting import Weighting
from .overrides import HELD_OUT

FILE_KEYS = ("train", *HELD_OUT)
OF_MODEL = ("adapter", "task_embedding")  # what a task says about its part of the model


def _check_toy(kind: str, name: str) -> None:
    if kind and kind not in GENERATORS:
        fix = suggest(kind, GENERATORS)
        raise ConfigError(f"{name} is an unknown kind of toy data", found=repr(kind), fix=fix)


def _check_filled(names: list[str], name: str) -> None:
    if not all(text.strip() for text in names):
        raise ConfigError(f"{name} must be a list of names", found=repr(names))


def _check_synonyms(synonyms: Mapping[str, list[str]], name: str) -> None:
    for word, others in synonyms.items():
        if not (others and all(text.strip() for text in others)):
            raise ConfigError(f"{name}.{word} must be a list of texts", found=repr(others))


@dataclass(frozen=True, kw_only=True)
class DatasetRecipe:
    """Where examples come from.

    Args:
        toy: kind of toy data, if no file is given.
        toy_train: how many toy examples to train on.
        toy_held_out: how many in each of the other splits.
        train: a file to train on, instead of toy data. Without a validation (test) file, a tenth
            of its texts, drawn by the seed, is held out for validation (test).
            It may be a folder with a file for each split.
        validation, test, test_unseen: files for the other splits.
        column: that of the tags, or of the label in a table, in all files: a number from 1 or a
            name; by default it is detected. A list of columns holds layers of nested entities.
        whole_documents: an example of a file of columns is a document rather than a sentence.
        label_names: the meanings of tags or labels that are whole numbers, in order from 0.
        limit: train on at most this many examples, drawn by the seed; 0 for all.
        share: train on this share of the examples, drawn by the seed; the smaller one applies.
        augment: how many changed copies of each training example to add; see `augment`.
        synonyms: for `augment`, by word.

    Raises:
        ConfigError: impossible values, all reported together.
    """

    toy: str = setting("", check=_check_toy)
    toy_train: int = setting(2000, least=1)
    toy_held_out: int = setting(500, least=0)
    train: str = ""
    validation: str = ""
    test: str = ""
    test_unseen: str = ""
    column: int | str | list[int | str] | None = None
    whole_documents: bool = False
    label_names: list[str] = setting(factory=list, check=_check_filled)
    limit: int = setting(0, least=0)
    share: float = setting(1.0, above=0, most=1)
    augment: int = setting(0, least=0)
    synonyms: dict[str, list[str]] = setting(factory=dict, check=_check_synonyms)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class TaskRecipe(DatasetRecipe):
    """One task of a recipe, with its own dataset or one that it shares.

    Args:
        kind: of the task class, such as `ner`, or the place of your own class, `mymodule:MyTask`.
        data: name of a dataset of the recipe; a task that names its own `toy` or `train` does not
            use it. Tasks on one dataset share its batches: one pass of the encoder serves them all.
        adapter: the rank of the task's adapter, see `AdapterConfig`; 0 for none.
        task_embedding: whether the encoder is told of the task by a learned vector; the task then
            needs a pass of its own.
        options: what the task's class takes besides its name and dataset.
    """

    kind: str
    data: str = ""
    adapter: int = setting(0, least=0)
    task_embedding: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def has_own_data(self) -> bool:
        return bool(self.toy or self.train)


# What a model takes that has its own place in a recipe.
SET_ELSEWHERE = (
    "encoder",
    "tokenizer",
    "tasks",
    "overlap",
    "adapters",
    "adapter_config",
    "task_embeddings",
)
# Whose settings a section holds, and which of them the package itself sets.
OWNERS: dict[str, tuple[Any, ...]] = {
    "tokenizer": (WhitespaceTokenizer.train, "texts"),
    "encoder": (EncoderConfig, "vocab_size"),
    "model": (MultiTaskModel, *SET_ELSEWHERE),
    "adapters": (AdapterConfig,),
    "train": (TrainConfig, "seed"),
}
# What the encoder's section says besides its shape: how texts are cut, where weights come from.
BESIDE_SHAPE = {"overlap": Setting(int, rules=Rules(least=0)), "pretrained": Setting(str)}


def content_faults(
    content: Mapping[str, Any], top: Mapping[str, Setting], find: Find
) -> list[Fault]:
    """Everything wrong with the content of a recipe file, in the order of the file.

    Args:
        top: the settings at the top of a recipe, its sections among them.
        find: how the classes of tasks and methods are found, see `mtl.registry`.
    """
    wrong = faults_by_key(content, top)
    # If it is not a section at all, there is no more to say, not even that it lacks a name.
    sections = {key: None if key in wrong else value for key, value in content.items()}
    checks: dict[str, Callable[[Mapping[str, Any]], Iterable[Fault]]] = {
        "encoder": _encoder_faults,
        "adapters": _adapters_faults,
        "train": partial(_train_faults, find=find),
        "datasets": _datasets_faults,
        "tasks": partial(_tasks_faults, find=find),
        "stages": partial(_stages_faults, find=find),
    }
    faults: list[Fault] = []
    for key, section in content.items():
        if key in wrong:
            faults += wrong[key]
            continue
        if key in OWNERS:
            more = BESIDE_SHAPE if key == "encoder" else {}
            faults += _faults(section, settings_of(*OWNERS[key]) | more, f"{key}.")
        if key in checks:
            faults += checks[key](sections)
    return faults


def _faults(section: Any, settings: Mapping[str, Setting], where: str) -> list[Fault]:
    """Unknown, missing and wrong keys of a section."""
    if not isinstance(section, Mapping):
        return [Fault(f"{where.rstrip('.')} is a section, not a value")]
    return [f for faults in faults_by_key(section, settings, where).values() for f in faults]


# --- the encoder, its adapters, and how they are trained ------------------------------------------


def _encoder_faults(sections: Mapping[str, Any]) -> list[Fault]:
    shape = {"vocab_size": 1} | sections["encoder"]  # the tokenizer will set the size
    return contradictions_in(EncoderConfig, shape, "encoder.")


def _adapters_faults(sections: Mapping[str, Any]) -> Iterator[Fault]:
    """Settings of adapters where no task has one; an empty section claims nothing."""
    tasks = (sections["tasks"] or {}).values()
    has_any = any(isinstance(task, Mapping) and task.get("adapter") for task in tasks)
    if sections["adapters"] and not has_any:
        fix = "set tasks.NAME.adapter = 8, or remove the section"
        yield Fault("the section [adapters] has no effect: no task has an adapter", fix=fix)


def _train_faults(sections: Mapping[str, Any], find: Find) -> Iterator[Fault]:
    train = sections["train"]
    yield from _weights_faults(train, sections["tasks"], "train.loss_weights")
    wrong = _method_faults(train, "train.", find)
    yield from chain(*wrong.values())
    if not sections.get("stages"):  # they may set what is contradicted here
        yield from contradictions_in(TrainConfig, _without(train, wrong), "train.")


def _method_faults(section: Mapping[str, Any], where: str, find: Find) -> dict[str, list[Fault]]:
    """What is wrong with the user's own weighting or aggregation, by its key.

    Names without a colon are left to `TrainConfig`: they may be TorchJD's.
    """
    bases: dict[str, type[Named]] = {"weighting": Weighting, "aggregation": Aggregation}
    named = {key: section[key] for key in bases if ":" in str(section.get(key))}
    faults = {k: raised_by(find, bases[k], name, f"{where}{k}") for k, name in named.items()}
    return {key: wrong for key, wrong in faults.items() if wrong}


def _without(train: Mapping[str, Any], methods: Iterable[str]) -> dict[str, Any]:
    """The settings without some methods and their options."""
    return {key: x for key, x in train.items() if key.removesuffix("_options") not in methods}


def _weights_faults(train: Mapping[str, Any], tasks: Any, what: str) -> Iterator[Fault]:
    """Loss weights for unknown tasks."""
    weights = train.get("loss_weights")
    if isinstance(weights, Mapping):
        yield from _unknown_tasks(weights, tasks, what)


def _unknown_tasks(names: Iterable[Any], tasks: Any, what: str) -> Iterator[Fault]:
    """Names that no task has; if there is no task at all, that is a different fault."""
    for name in names:
        if tasks and isinstance(name, str) and name not in tasks:
            yield Fault(f"{what} names an unknown task", found=repr(name), fix=suggest(name, tasks))


def _stages_faults(sections: Mapping[str, Any], find: Find) -> Iterable[Fault]:
    # No seed: the recipe has one, for everything random.
    settings = settings_of(TrainConfig, "seed") | {"tasks": Setting(list[str])}
    faults: list[Fault] = []
    together: list[Fault] = []
    for i, stage in enumerate(sections["stages"]):
        faults += _faults(stage, settings, f"stages.{i}.")
        if isinstance(stage, Mapping):
            faults += _names_faults(stage, sections["tasks"], f"stages.{i}.tasks")
            faults += _weights_faults(stage, sections["tasks"], f"stages.{i}.loss_weights")
            wrong = _method_faults(stage, f"stages.{i}.", find)
            faults += chain(*wrong.values())
            # A stage says only what differs, so it is checked together with the section `train`.
            values = _without({**(sections.get("train") or {}), **stage}, wrong)
            together += contradictions_in(TrainConfig, values, "train.")
    faults += dict.fromkeys(together)  # two stages may have the same
    return faults or _resting_faults(sections)


def _names_faults(stage: Mapping[str, Any], tasks: Any, what: str) -> Iterator[Fault]:
    """What is wrong with the names of the tasks of a stage."""
    names = stage.get("tasks")
    if not isinstance(names, list):  # all take part, or it is not a list at all
        return
    if not names:
        yield Fault(f"{what} is empty", fix="name a task, or leave it out")
    yield from _unknown_tasks(names, tasks, what)


def _resting_faults(sections: Mapping[str, Any]) -> Iterator[Fault]:
    """Tasks that no stage trains; known only when the stages have no other fault."""
    tasks, stages = sections["tasks"] or {}, sections["stages"]
    trained = {name for stage in stages for name in stage.get("tasks", tasks)}
    for name in tasks:
        if stages and name not in trained:
            fix = "name it in the tasks of a stage, or remove its section"
            yield Fault(f"no stage trains the task {name!r}", fix=fix)


# --- datasets and tasks ---------------------------------------------------------------------------


def _datasets_faults(sections: Mapping[str, Any]) -> Iterator[Fault]:
    datasets, tasks = sections["datasets"], sections["tasks"]
    used = {task["data"] for task in (tasks or {}).values() if _names_a_dataset(task)}
    for name, section in datasets.items():
        where = f"datasets.{name}."
        if tasks is None or name in used:
            yield from _faults(section, settings_of(DatasetRecipe), where)
            yield from _source_faults(section, where)
            continue
        known = datasets.keys() & used
        add = f'add data = "{name}" to a task, or remove the section'
        fix = suggest(name, known) if known else add
        yield Fault(f"no task uses the dataset {name!r}", found=f"[datasets.{name}]", fix=fix)


def _names_a_dataset(task: Any) -> bool:
    return isinstance(task, Mapping) and isinstance(task.get("data"), str)


def _tasks_faults(sections: Mapping[str, Any], find: Find) -> Iterator[Fault]:
    for name, section in sections["tasks"].items():
        yield from raised_by(check_task_name, name)
        yield from _task_faults(name, section, sections.get("datasets", {}), find)


def _task_faults(
    name: str, section: Any, datasets: Mapping[str, Any] | None, find: Find
) -> Iterator[Fault]:
    where, settings = f"tasks.{name}.", settings_of(TaskRecipe, "options")
    if not isinstance(section, Mapping) or "kind" not in section:
        fix = f"kind is one of {', '.join(sorted(Task.kinds))}"
        yield Fault(f"the section [tasks.{name}] needs a kind", fix=fix)
        return
    try:
        settings |= settings_of(find(Task, section["kind"], f"{where}kind"), "name", "dataset")
    except ConfigError as error:  # then it is unknown which other keys there may be
        yield from error.faults
        section = {key: section[key] for key in section if key in settings and key != "kind"}
        settings.pop("kind")
    data = section.get("data")
    if section.get("toy") or section.get("train") or not data:
        yield from _faults(section, settings, where)
        yield from _source_faults(section, where)
        return
    # Whatever it says about its own data has no effect, and is not checked any further.
    stray = settings_of(DatasetRecipe)
    rest = {key: value for key, value in section.items() if key not in stray}
    yield from _faults(rest, settings, where)
    if isinstance(data, str) and datasets is not None:
        yield from _shared_faults(section, where, data, datasets)


def _shared_faults(
    section: Mapping[str, Any], where: str, data: str, datasets: Mapping[str, Any]
) -> Iterator[Fault]:
    """What is wrong with a task that uses the dataset `data` of the recipe."""
    if data not in datasets:
        yield Fault(
            f"{where}data names an unknown dataset",
            found=repr(data),
            fix=suggest(data, datasets) if datasets else "add a section [datasets.NAME]",
        )
        return
    for key in section:
        if key in settings_of(DatasetRecipe):
            yield Fault(
                f"{where}{key} has no effect, since the task uses the dataset {data!r}",
                fix=f"set datasets.{data}.{key}",
            )


def _source_faults(section: Any, where: str) -> Iterator[Fault]:
    """Faults unless it says, exactly once, where the examples come from."""
    if not isinstance(section, Mapping) or section.get("train"):
        return
    for split in HELD_OUT:
        if section.get(split):
            yield Fault(
                f"{where}{split} names a file, but {where}train does not",
                fix=f"set {where}train=FILE too; toy data is never mixed with your own files",
            )
            return
    if not section.get("toy"):
        yield Fault(
            f"the section [{where.rstrip('.')}] does not say what to train on",
            fix='add train = "FILE", or toy = "KIND"',
        )
