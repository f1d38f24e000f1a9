"""The history of a training run goes in; curves over its rounds and epochs come out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, suggest
from ..training.history import History
from .style import INK, RUN_COLOURS, legend_above, subplots, task_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .picture import Picture

# At a loss this small, a batch is predicted with 95% and more: the gradient that is left comes
# from the few words that are not, and points a different way in every batch.
LEARNED = 0.05


def plot_losses(history: History, window: int = 20) -> Picture:
    """The total loss of each round, and each task's: raw values pale, the running mean on top.

    Args:
        history: of a training run.
        window: rounds in the running mean.
    """
    series = {"total": ([r.total for r in history.rounds], INK)}
    for i, name in enumerate(history.tasks):
        series[name.upper()] = (_losses(history, name), task_colour(i))
    picture, axes = subplots(4 * len(series), 3.2, columns=len(series))
    told = []
    for axis, (name, (losses, colour)) in zip(axes, series.items(), strict=True):
        means = _draw_smoothed(axis, history, losses, window, colour)
        # From 0: a cut axis makes a small drop look like a large one.
        axis.set(title=f"{name} loss", xlabel="epoch", ylim=(0, None))
        told.append(f"the {name} loss {_course(means)}")
    axes[0].set_ylabel("loss")
    picture.alt = f"Loss curves: {_listed(told)}."
    return picture


def plot_runs(
    runs: Mapping[str, History],
    task: str,
    levels: Mapping[str, float] | None = None,
    window: int = 20,
) -> Picture:
    """The loss of one task in several runs, with levels to compare it with.

    Args:
        runs: histories by the names to show.
        task: the one whose loss is drawn.
        levels: losses by name, such as `{"a guess among 4": math.log(4)}`; each becomes a
            grey line with its name at the right end.
        window: rounds in the running mean.

    Raises:
        ConfigError: no run, or one without this task.
    """
    if not runs:
        raise ConfigError("there are no runs to draw", fix='give {"a name": its history}')
    picture, (axis,) = subplots(8, 3.8)
    levels, told = levels or {}, []
    for i, (name, history) in enumerate(runs.items()):
        colour = RUN_COLOURS[i % len(RUN_COLOURS)]
        if task not in history.tasks:
            what = f"the run {name!r} has no losses of this task"
            raise ConfigError(what, found=repr(task), fix=suggest(task, history.tasks))
        losses = _losses(history, task)
        means = _draw_smoothed(axis, history, losses, window, colour, name)
        told.append(f"with {name} it {_course(means)}")
    for name, level in levels.items():
        axis.axhline(level, color="#868e96", linewidth=1, linestyle="--", zorder=1)
        # Right of the axes, where no curve can run into it, at its height on the axis.
        axis.text(1.01, level, name, transform=axis.get_yaxis_transform(), va="center")
    axis.set(xlabel="epoch", ylabel=f"{task.upper()} loss", ylim=(0, None))
    legend_above(axis)
    grey = [f"{level:.2f} ({name})" for name, level in levels.items()]
    lines = f" Grey lines at {_listed(grey)}." if grey else ""
    picture.alt = f"The {task.upper()} loss: {_listed(told)}.{lines}"
    return picture


def plot_validation(history: History, metrics: dict[str, str]) -> Picture:
    """One metric of each task on validation data, after every epoch.

    Args:
        history: of a training run with validation data.
        metrics: which metric to draw for each task, for example `{"ner": "entity_f1"}`.
    """
    picture, (axis,) = subplots(6, 3.4)
    epochs = range(1, len(history.validation) + 1)
    told = []
    for i, (task, metric) in enumerate(metrics.items()):
        values = [scores.get(task, {}).get(metric, math.nan) for scores in history.validation]
        label = f"{task.upper()} {metric.replace('_', ' ')}"
        axis.plot(epochs, values, marker="o", color=task_colour(i), label=label, clip_on=False)
        told.append(f"{label} {_course(values)}")
    if history.best_epoch:
        axis.axvline(history.best_epoch, color="#868e96", linestyle=":", label="kept", zorder=1)
        told.append(f"epoch {history.best_epoch} was kept")
    axis.set(xlabel="epoch", ylabel="validation score", ylim=(0, 1.03), xticks=list(epochs))
    axis.grid(alpha=0.3)
    legend_above(axis)
    picture.alt = f"Validation scores over {len(epochs)} epochs: {_listed(told)}."
    return picture


def plot_weights(history: History, window: int = 20) -> Picture:
    """How much each task's loss counted: the running mean of each round's weights.

    Raises:
        ConfigError: nothing was trained.
    """
    if not history.rounds:
        raise ConfigError("there are no weights to draw", fix="train the model first")
    picture, (axis,) = subplots(6, 3.4)
    told = []
    for i, name in enumerate(history.tasks):
        weights = [r.weights.get(name, math.nan) for r in history.rounds]
        means = _draw_smoothed(axis, history, weights, window, task_colour(i), name.upper())
        told.append(f"that of {name.upper()} {_course(means)}")
    highest = max((w for r in history.rounds for w in r.weights.values()), default=1.0)
    axis.set(xlabel="epoch", ylabel="weight of the loss", ylim=(0, 1.15 * highest))
    legend_above(axis)
    picture.alt = f"The weights of the tasks' losses: {_listed(told)}."
    return picture


def plot_conflict(history: History, pair: str | None = None, window: int = 20) -> Picture:
    """How the gradients of two tasks compare, in each part of the encoder, over training.

    Where one of the two tasks has a running loss below 0.05, the lines are grey: the task has been
    learned, and the direction of what little gradient is left is mostly chance.

    Args:
        history: of a run with `conflict_every`.
        pair: such as `ner/qa`; by default the first.
        window: rounds in the running mean of the losses.

    Raises:
        ConfigError: nothing was measured, or not this pair.
    """
    from matplotlib import colormaps

    known = list(dict.fromkeys(name for _, measured in history.conflicts for name in measured))
    if not known:
        raise ConfigError("no conflict was measured", fix="train with conflict_every=20, say")
    pair = pair or known[0]
    if pair not in known:
        raise ConfigError("this pair was not measured", found=repr(pair), fix=suggest(pair, known))
    first, second = pair.split("/")
    measured = [(step, found[pair]) for step, found in history.conflicts if pair in found]
    steps = [step for step, _ in measured]
    picture, (left, right) = subplots(10, 3.6, columns=2)
    viridis = colormaps["viridis"]
    for i, part in enumerate(parts := list(measured[0][1].cosine)):
        style: dict[str, Any] = {"color": INK, "linewidth": 4, "alpha": 0.4, "zorder": 1}
        if part != "all":
            style = {"color": viridis(i / len(parts)), "linewidth": 1.2}
        left.plot(steps, [c.cosine[part] for _, c in measured], label=part, **style)
        right.plot(steps, [c.ratio[part] for _, c in measured], **style)
    left.axhline(0, color="black", linewidth=0.8, linestyle=":")
    left.set(title=f"cosine of the gradients of {first} and {second}", xlabel="step", ylim=(-1, 1))
    right.axhline(1, color="black", linewidth=0.8, linestyle=":")
    # On a log scale, 2 and 1/2 are equally far from 1.
    right.set(title=f"length: {first} / {second}", xlabel="step", yscale="log")
    right.yaxis.set_major_formatter("{x:g}")
    learned = _learned(history, (first, second), window)
    for axis in (left, right):
        axis.grid(alpha=0.3)
        # Over the lines, so that they show through it, pale.
        axis.fill_between(
            [r.step for r in history.rounds],
            *(0, 1),
            where=learned,
            transform=axis.get_xaxis_transform(),
            **{"color": "#e9ecef", "alpha": 0.8, "linewidth": 0, "zorder": 3},
            label=f"mostly noise: a loss is below {LEARNED}",
        )
    picture.legend(
        *left.get_legend_handles_labels(), loc="outside upper center", ncols=7, frameon=False
    )
    cosines = [c.cosine["all"] for _, c in measured]
    ratios = [c.ratio["all"] for _, c in measured]
    picture.alt = (
        f"The gradients of {first} and {second}, measured {len(steps)} times. Over the whole "
        f"encoder their cosine lies between {min(cosines):.2f} and {max(cosines):.2f}; that of "
        f"{first} is {min(ratios):.2g} to {max(ratios):.2g} times as long as that of {second}."
    )
    return picture


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and its neighbours, leaving out NaN.

    There are up to `window // 2` on either side: a mean of only the earlier values would lag
    behind, and lie above a falling curve.
    """
    means, reach = [], window // 2
    for i in range(len(values)):
        # NaN is the only number that does not equal itself.
        near = [v for v in values[max(0, i - reach) : i + reach + 1] if v == v]
        means.append(sum(near) / len(near) if near else math.nan)
    return means


def _losses(history: History, task: str) -> list[float]:
    """The loss of each round; NaN, a gap in the curve, where a round had none for this task."""
    return [r.losses.get(task, math.nan) for r in history.rounds]


def _epochs(history: History) -> list[float]:
    """Each round as a point in time, in epochs."""
    in_epoch = Counter(r.epoch for r in history.rounds)  # stages may have longer or shorter ones
    seen: Counter[int] = Counter()
    points = []
    for r in history.rounds:
        seen[r.epoch] += 1
        points.append(r.epoch - 1 + seen[r.epoch] / in_epoch[r.epoch])
    return points


def _draw_smoothed(
    axis: Axes,
    history: History,
    values: Sequence[float],
    window: int,
    colour: str,
    label: str | None = None,
) -> list[float]:
    """Draw one pale value per round and over them the running mean, which is returned."""
    points, means = _epochs(history), running_mean(values, window)
    axis.plot(points, values, color=colour, alpha=0.25, linewidth=0.8)
    axis.plot(points, means, color=colour, linewidth=1.8, label=label)
    axis.grid(alpha=0.3)
    return means


def _learned(history: History, tasks: Sequence[str], window: int) -> list[bool]:
    """For each round, whether the running loss of one of the tasks is below `LEARNED`."""
    means = [running_mean(_losses(history, task), window) for task in tasks]
    return [min(losses) < LEARNED for losses in zip(*means, strict=True)]


def _course(values: Sequence[float]) -> str:
    """How a curve goes, in words: `falls from 2.31 to 0.02`."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return "was not measured"
    first, last = known[0], known[-1]
    goes = "stays" if f"{first:.2f}" == f"{last:.2f}" else "falls" if last < first else "rises"
    return f"{goes} at {last:.2f}" if goes == "stays" else f"{goes} from {first:.2f} to {last:.2f}"


def _listed(parts: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
