"""Records of steps come in; what happened in training goes out, round by round, epoch by epoch."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, suggest
from ..files import write_atomically
from ..metrics import mean

if TYPE_CHECKING:
    from pandas import DataFrame

Metrics = dict[str, dict[str, float]]


@dataclass(frozen=True)
class StepRecord:
    """One update: its datasets, and what `Round` records, for this step alone.

    Without any labelled row there are no losses, and it does not count as a step.
    """

    step: tuple[int, ...]
    total: float
    grad_norm: float
    learning_rate: float
    losses: dict[str, float]
    weights: dict[str, float]
    examples: dict[str, int]


@dataclass(frozen=True)
class Conflict:
    """How the gradients of two tasks' unweighted losses compare.

    Keys are the parts of the shared encoder, from bottom to top, and `all` for the whole.

    Attributes:
        cosine: of the angle between the two gradients: 1 same direction, -1 opposite.
        ratio: length of the first task's gradient divided by the second's.
    """

    cosine: dict[str, float]
    ratio: dict[str, float]


@dataclass
class Round:
    """One batch of every dataset.

    Attributes:
        epoch: from 1.
        step: optimiser steps made so far.
        total: weighted sum of the round's task losses.
        losses: mean loss of each task in the round, unweighted.
        learning_rate: at the last step of the round.
        grad_norm: mean over the round's steps, before clipping.
        examples: how many of each task have been seen so far.
        weights: how much each task's loss counted (mean over the steps of the round).
        conflict: if measured, before the first step of the round: see `Conflict`.
    """

    epoch: int
    step: int
    total: float
    losses: dict[str, float]
    learning_rate: float
    grad_norm: float
    examples: dict[str, int]
    weights: dict[str, float] = field(default_factory=dict)
    conflict: dict[str, Conflict] = field(default_factory=dict)


@dataclass
class OpenRound:
    """A round whose steps are still being made."""

    conflict: dict[str, Conflict] = field(default_factory=dict)
    records: list[StepRecord] = field(default_factory=list)

    def losses(self) -> dict[str, float]:
        """The mean loss of each task so far."""
        return mean_by_task(record.losses for record in self.records)

    def close(self, epoch: int, step: int, examples: dict[str, int]) -> Round:
        """The round as it enters the history.

        Args:
            epoch: from 1.
            step: optimiser steps made so far.
            examples: of each task, seen before this round.
        """
        seen = Counter(examples)
        of_datasets: dict[tuple[int, ...], list[float]] = {}
        for record in self.records:
            seen.update(record.examples)
            if record.losses:
                of_datasets.setdefault(record.step, []).append(record.total)
        return Round(
            epoch=epoch,
            step=step,
            # A sampled round may hold several steps of a dataset: they count as one, on average.
            total=sum(mean(totals) for totals in of_datasets.values()),
            losses=self.losses(),
            learning_rate=self.records[-1].learning_rate,
            grad_norm=mean([record.grad_norm for record in self.records if record.losses]),
            examples=dict(seen),
            weights=mean_by_task(record.weights for record in self.records),
            conflict=self.conflict,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> OpenRound:
        """What `to_dict` gave."""
        # A tuple again, since it is a key in `close`.
        records = [StepRecord(**r | {"step": tuple(r["step"])}) for r in content["records"]]
        return cls(_read_conflict(content["conflict"]), records)


@dataclass
class History:
    """Rounds in order; validation metrics after each epoch; which epoch was best.

    Attributes:
        validation: for each finished epoch, metrics by task.
        best_epoch: the epoch whose weights were kept; 0 if nothing was validated.
        seconds: training time, validation included.
        threads: CPU threads it ran on; 0 if it ran on another device.
    """

    rounds: list[Round] = field(default_factory=list)
    validation: list[Metrics] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float = 0.0
    threads: int = 0

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks, in order of appearance."""
        return list(dict.fromkeys(name for r in self.rounds for name in r.examples))

    @property
    def examples(self) -> dict[str, int]:
        """Examples of each task seen so far; empty before the first round."""
        return self.rounds[-1].examples if self.rounds else {}

    @property
    def conflicts(self) -> list[tuple[int, dict[str, Conflict]]]:
        """For each measurement: steps made before it, and its result by pair (`ner/qa`)."""
        # A round counts the steps up to its end; the measurement is from before it.
        before = [0, *(r.step for r in self.rounds)]
        return [(s, r.conflict) for s, r in zip(before, self.rounds, strict=False) if r.conflict]

    @property
    def best_validation(self) -> Metrics:
        """Validation metrics of the epoch that was kept."""
        return self.validation[self.best_epoch - 1] if self.best_epoch else {}

    def losses(self, task: str | None = None) -> list[float]:
        """The loss of a task in each round, unweighted; by default the total of all tasks.

        It is NaN where no row of the round has a label for the task.

        Raises:
            ConfigError: no such task.
        """
        if task is None:
            return [r.total for r in self.rounds]
        if task not in self.tasks:
            fix = suggest(str(task), self.tasks)
            raise ConfigError("no such task was trained", found=repr(task), fix=fix)
        return [r.losses.get(task, float("nan")) for r in self.rounds]

    @classmethod
    def join(cls, stages: Sequence[History]) -> History:
        """One history from several runs of the same model; epochs, steps and examples add up."""
        joined = cls()
        for stage in stages:
            epoch, step = len(joined.validation), joined.rounds[-1].step if joined.rounds else 0
            seen = joined.examples
            for r in stage.rounds:
                # Each stage counts from 0, and may train other tasks.
                examples = seen | {t: seen.get(t, 0) + n for t, n in r.examples.items()}
                moved = {"epoch": r.epoch + epoch, "step": r.step + step, "examples": examples}
                joined.rounds.append(replace(r, **moved))
            joined.validation += stage.validation
            # A stage begins with the best weights of the one before; the last one's best stay.
            joined.best_epoch = epoch + stage.best_epoch if stage.best_epoch else 0
            joined.seconds += stage.seconds
            joined.threads = max(joined.threads, stage.threads)
        return joined

    def write_csv(self, path: str | Path) -> None:
        """One line per round; validation metrics appear in the last line of their epoch."""
        table = io.StringIO()
        # restval: a task may have no loss in a round; "\n", since csv writes "\r\n" by default.
        writer = csv.DictWriter(table, self._columns(), restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._rows())
        write_atomically(path, table.getvalue())

    def to_frame(self) -> DataFrame:
        """A pandas table with the rows and columns of `write_csv`; NaN where there is nothing.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ConfigError("a table needs pandas", fix="pip install pandas") from None
        return pandas.DataFrame(list(self._rows()), columns=self._columns())

    def _columns(self) -> list[str]:
        columns = ["epoch", "step", "total_loss", *(f"{t}_loss" for t in self.tasks)]
        columns += ["learning_rate", "grad_norm", *(f"{t}_examples" for t in self.tasks)]
        columns += [f"{t}_weight" for t in self.tasks]
        # dict.fromkeys: each once, in order of appearance.
        columns += dict.fromkeys(key for r in self.rounds for key in _flat_conflict(r.conflict))
        columns += dict.fromkeys(name for scores in self.validation for name in _flat(scores))
        return columns

    def _rows(self) -> Iterator[dict[str, Any]]:
        """For each round, those of the columns that it has."""
        for i, r in enumerate(self.rounds):
            row: dict[str, Any] = {"epoch": r.epoch, "step": r.step, "total_loss": r.total}
            row |= {f"{t}_loss": loss for t, loss in r.losses.items()}
            row |= {"learning_rate": r.learning_rate, "grad_norm": r.grad_norm}
            row |= {f"{t}_examples": n for t, n in r.examples.items()}
            row |= {f"{t}_weight": weight for t, weight in r.weights.items()}
            row |= _flat_conflict(r.conflict)
            ends_epoch = i + 1 == len(self.rounds) or self.rounds[i + 1].epoch > r.epoch
            # A run stopped within an epoch has no scores for it yet.
            if ends_epoch and r.epoch <= len(self.validation):
                row |= _flat(self.validation[r.epoch - 1])
            yield row

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> History:
        """What `to_dict` gave."""
        rounds = [
            Round(**r | {"conflict": _read_conflict(r["conflict"])}) for r in content["rounds"]
        ]
        rest = {name: value for name, value in content.items() if name != "rounds"}
        return cls(rounds, **rest)

    def __repr__(self) -> str:
        return (
            f"History({len(self.rounds)} rounds, {len(self.validation)} epochs, "
            f"best epoch {self.best_epoch}, {self.seconds:.1f} s)"
        )


def show_losses(losses: dict[str, float]) -> str:
    """For people: `ner loss 0.123  qa loss 2.345`."""
    return "  ".join(f"{name} loss {loss:.3f}" for name, loss in losses.items())


def mean_by_task(values: Iterable[dict[str, float]]) -> dict[str, float]:
    """The mean of each task over some steps, each with a value for some tasks."""
    of_task: dict[str, list[float]] = {}
    for step in values:
        for name, value in step.items():
            of_task.setdefault(name, []).append(value)
    return {name: mean(values) for name, values in of_task.items()}


def _read_conflict(content: dict[str, Any]) -> dict[str, Conflict]:
    return {pair: Conflict(**measured) for pair, measured in content.items()}


def _flat_conflict(conflict: dict[str, Conflict]) -> dict[str, float]:
    """Columns such as `ner_qa_cosine_layer_1`."""
    return {
        f"{pair.replace('/', '_')}_{what}_{part.replace(' ', '_')}": value
        for pair, measured in conflict.items()
        for what, values in asdict(measured).items()
        for part, value in values.items()
    }


def _flat(scores: Metrics) -> dict[str, float]:
    return {f"validation_{t}_{m}": v for t, metrics in scores.items() for m, v in metrics.items()}
