"""History, models and attention go in; figures come out, and nothing is drawn on the screen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..errors import ConfigError, suggest
from ..model import MultiTaskModel
from ..tables import without_repeats
from ..training.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOTAL_COLOUR = "#495057"
TASK_COLOURS = ("#e8590c", "#1971c2", "#2f9e44", "#9c36b5", "#c2255c")


def plot_losses(history: History, window: int = 20) -> Figure:
    """The total loss of each round, and each task's: raw in pale, the running mean over it.

    Args:
        history: of a training run.
        window: rounds in the running mean.
    """
    series = {"total": ([r.total for r in history.rounds], TOTAL_COLOUR)}
    for i, name in enumerate(history.tasks):
        # NaN leaves a gap in the curve where a round had no loss of this task.
        losses = history.losses(name)
        series[name.upper()] = (losses, _colour(i))
    # squeeze=False: a 2-D array of axes even where there is only one.
    figure, axes = _pyplot().subplots(1, len(series), figsize=(4 * len(series), 3.2), squeeze=False)
    for axis, (name, (losses, colour)) in zip(axes[0], series.items(), strict=True):
        axis.plot(_epochs(history), losses, color=colour, alpha=0.25, linewidth=0.8)
        axis.plot(_epochs(history), running_mean(losses, window), color=colour, linewidth=1.8)
        # From 0: a cut axis makes a small drop look like a large one.
        axis.set(title=f"{name} loss", xlabel="epoch", ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("loss")
    return _finished(figure)


def plot_validation(history: History, metrics: dict[str, str]) -> Figure:
    """One metric of each task on validation data, after every epoch.

    Args:
        history: of a training run with validation data.
        metrics: which metric to draw for each task, for example `{"ner": "entity_f1"}`.
    """
    figure, axis = _pyplot().subplots(figsize=(6, 3.4))
    epochs = range(1, len(history.validation) + 1)
    for i, (task, metric) in enumerate(metrics.items()):
        values = [scores.get(task, {}).get(metric, float("nan")) for scores in history.validation]
        label = f"{task.upper()} {metric.replace('_', ' ')}"
        axis.plot(epochs, values, marker="o", color=_colour(i), label=label)
    if history.best_epoch:
        axis.axvline(history.best_epoch, color="#adb5bd", linestyle=":", label="kept")
    axis.set(title="validation", xlabel="epoch", ylim=(0, 1.03), xticks=list(epochs))
    axis.grid(alpha=0.3)
    axis.legend()
    return _finished(figure)


def plot_weights(history: History, window: int = 20) -> Figure:
    """How much each task's loss counted: the running mean of each round's weights.

    Raises:
        ConfigError: nothing was trained.
    """
    if not history.rounds:
        raise ConfigError("there are no weights to draw", fix="train the model first")
    figure, axis = _pyplot().subplots(figsize=(6, 3.4))
    for i, name in enumerate(history.tasks):
        weights = [r.weights.get(name, float("nan")) for r in history.rounds]
        axis.plot(_epochs(history), weights, color=_colour(i), alpha=0.25, linewidth=0.8)
        means = running_mean(weights, window)
        axis.plot(_epochs(history), means, color=_colour(i), linewidth=1.8, label=name.upper())
    highest = max((w for r in history.rounds for w in r.weights.values()), default=1.0)
    axis.set(title="task weights", xlabel="epoch", ylim=(0, 1.15 * highest))
    axis.grid(alpha=0.3)
    axis.legend()
    return _finished(figure)


def plot_conflict(history: History, pair: str | None = None) -> Figure:
    """How the gradients of two tasks lay to each other, in each part of the encoder, over training.

    Args:
        history: of a training with `conflict_every`.
        pair: such as `ner/qa`; by default the first.

    Raises:
        ConfigError: nothing was measured, or not this pair.
    """
    known = list(dict.fromkeys(name for _, measured in history.conflicts for name in measured))
    if not known:
        raise ConfigError("no conflict was measured", fix="train with conflict_every=20, say")
    pair = pair or known[0]
    if pair not in known:
        raise ConfigError("this pair was not measured", found=repr(pair), fix=suggest(pair, known))
    measured = [(step, found[pair]) for step, found in history.conflicts if pair in found]
    steps = [step for step, _ in measured]
    parts = list(measured[0][1].cosine)
    figure, (left, right) = _pyplot().subplots(1, 2, figsize=(10, 3.6))
    for i, part in enumerate(parts):
        style = {"color": TOTAL_COLOUR, "linewidth": 4, "alpha": 0.4, "zorder": 1}
        if part != "all":
            style = {"color": _pyplot().get_cmap("viridis")(i / len(parts)), "linewidth": 1.2}
        left.plot(steps, [c.cosine[part] for _, c in measured], label=part, **style)
        right.plot(steps, [c.ratio[part] for _, c in measured], **style)
    first, second = pair.split("/")
    left.axhline(0, color="black", linewidth=0.8, linestyle=":")
    left.set(title=f"cosine of the gradients of {first} and {second}", xlabel="step", ylim=(-1, 1))
    right.axhline(1, color="black", linewidth=0.8, linestyle=":")
    # On a log scale, 2 and 1/2 are equally far from 1.
    right.set(title=f"length: {first} / {second}", xlabel="step", yscale="log")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    left.legend(fontsize=8, ncols=2)
    return _finished(figure)


def plot_comparison(summary: Sequence[Mapping[str, Any]]) -> Figure:
    """What sharing changed: for each task the paired difference from the model alone.

    Args:
        summary: of `compare.json`; filled points are of the budget "per task", open ones of
            "total". Lines are 95% confidence intervals.

    Raises:
        ConfigError: there is no difference to draw.
    """
    if not any("difference" in row for row in summary):
        raise ConfigError("there is no comparison to draw", fix="give the summary of one")
    rows = [row for row in without_repeats(summary) if "difference" in row]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    lines = list(dict.fromkeys((row["size"], row["method"]) for row in rows))
    height = 0.38 * len(lines) + 1.4
    figure, axes = _pyplot().subplots(
        1, len(tasks), figsize=(4.5 * len(tasks) + 1.5, height), sharey=True, squeeze=False
    )
    for i, (task, axis) in enumerate(zip(tasks, axes[0], strict=True)):
        for row in rows:
            if row["task"] != task:
                continue
            # The two budgets of a method side by side, a little above and below its line.
            is_total = row["budget"] == "total"
            y = lines.index((row["size"], row["method"])) + (0.14 if is_total else -0.14)
            if row["difference_interval"]:
                axis.plot(row["difference_interval"], [y, y], color=_colour(i), linewidth=1.6)
            face = "white" if is_total else _colour(i)
            axis.plot(row["difference"], y, "o", color=_colour(i), markerfacecolor=face)
        metric = next(row["metric"] for row in rows if row["task"] == task).replace("_", " ")
        axis.axvline(0, color="black", linewidth=0.8, linestyle=":")
        axis.set(title=f"{task.upper()}: {metric}, together minus alone")
        axis.grid(alpha=0.3, axis="x")
    names = [f"{method}  {size or 'all data'}" for size, method in lines]
    axes[0][0].set_yticks(range(len(lines)), names)
    # Upside down, so that the first line is on top, as in the table.
    axes[0][0].set_ylim(len(lines) - 0.5, -0.5)
    figure.supxlabel(
        "filled: the model alone made as many steps as its task has together; "
        "open: as many as all tasks have",
        fontsize=9,
    )
    return _finished(figure)


def plot_confusion(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> Figure:
    """How often each label (row) was predicted as each label (column).

    The colour grows with the logarithm of the count, or a frequent label would be all one sees.

    Args:
        counts: from `mtl.metrics.confusion`.
        labels: in the order of rows and columns.
    """
    from matplotlib.colors import FuncNorm

    most = max((n for row in counts for n in row), default=0)
    # Wide enough for the longest number in a cell.
    size = max(0.7, 0.11 * len(f"{most:,}")) * len(labels) + 1.6
    figure, axis = _pyplot().subplots(figsize=(size + 0.6, size))
    colours = FuncNorm((np.log1p, np.expm1), vmin=0, vmax=max(most, 1))
    axis.imshow(counts, cmap="Blues", norm=colours)
    for i, row in enumerate(counts):
        for j, n in enumerate(row):
            # Dark cells need light numbers.
            colour = "white" if colours(n) > 0.6 else "black"
            axis.text(j, i, f"{n:,}", ha="center", va="center", color=colour)
    axis.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    axis.set_yticks(range(len(labels)), labels)
    axis.set(xlabel="predicted", ylabel="right")
    return _finished(figure)


def plot_attention(
    weights: Tensor, tokens: Sequence[str], row_names: Sequence[str], title: str = ""
) -> Figure:
    """Where tokens look: one picture per head, a column for each token that is looked at.

    Args:
        weights: `(H, R, T)`; `R` is `T` for one layer's whole map, or fewer chosen rows.
        tokens: the `T` tokens.
        row_names: who looks, `R` names.
        title: over the whole figure.
    """
    heads, n_rows, length = weights.shape
    size = (max(4.0, 0.17 * length + 1.2), (0.2 * n_rows + 0.4) * heads + 1.4)
    figure, axes = _pyplot().subplots(heads, 1, figsize=size, squeeze=False)
    for i, axis in enumerate(axes[:, 0]):
        axis.imshow(weights[i].detach().cpu().numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axis.set_ylabel(f"head {i + 1}", fontsize=9)
        axis.set_yticks(range(n_rows), row_names, fontsize=7)
        axis.set_xticks(range(length), tokens if i == heads - 1 else [], rotation=90, fontsize=7)
    figure.suptitle(title)
    return _finished(figure)


def plot_architecture(model: MultiTaskModel) -> Figure:
    """The model as boxes: text, tokenizer, embeddings, shared layers, one head a task."""
    config = model.encoder.config
    figure, axis = _pyplot().subplots(figsize=(8, 6.2))
    axis.set(xlim=(0, 10), ylim=(0, 10.4))
    axis.axis("off")
    segments = " + segments" if config.n_types else ""
    layer = (
        f"encoder layer × {len(model.encoder.layers)}\n"
        f"self-attention ({config.n_heads} heads of width {config.head_width})\n"
        f"feed-forward (width {config.feed_forward_width}), {config.norm}-norm, residuals"
    )
    boxes = [
        (0.3, 0.9, "text: a sentence, or a question with its context", "#f1f3f5"),
        (1.9, 0.9, f"tokenizer, {len(model.tokenizer):,} ids:  [CLS] ... [SEP]", "#f1f3f5"),
        (3.5, 0.9, f"token embeddings{segments}, {config.positions} positions", "#d0ebff"),
        (5.1, 1.8, layer, "#a5d8ff"),
    ]
    for y, height, text, colour in boxes:
        _box(axis, 1.2, y, 7.6, height, text, colour)
    for y, height, *_ in boxes[:-1]:
        _arrow(axis, 5, y + height, 5, y + height + 0.7)
    axis.text(9.0, 6.0, "shared", rotation=90, va="center", color="#1971c2", fontsize=11)
    axis.text(5.9, 7.03, f"(B, T, {config.d_model})", fontsize=9, color=TOTAL_COLOUR)
    width = 7.6 / len(model.tasks)
    for i, (name, head) in enumerate(model.heads.items()):
        parameters = sum(p.numel() for p in head.parameters())
        text = f"{name.upper()} head\n{type(head).__name__}\n{parameters:,} parameters"
        if model.private:
            layers = sum(p.numel() for p in model.private[name].parameters())
            text += f"\non {model.private_layers} private layer(s), {layers:,}"
        x = 1.2 + i * width
        size = 10 if len(model.tasks) < 3 else 8
        _box(axis, x + 0.1, 7.7, width - 0.2, 1.5, text, _colour(i), alpha=0.35, size=size)
        _arrow(axis, 5, 6.9, x + width / 2, 7.7)
        _arrow(axis, x + width / 2, 9.2, x + width / 2, 9.7)
        what = model.tasks[name].answers_with
        axis.text(x + width / 2, 9.95, what, ha="center", va="center", fontsize=10)
    total = sum(p.numel() for p in model.parameters())
    shared = sum(p.numel() for p in model.encoder.parameters())
    axis.text(5, -0.15, f"{total:,} parameters, {shared / total:.1%} of them shared", ha="center")
    return _finished(figure)


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """The mean of each value and up to `window - 1` before it, leaving out NaN."""
    means = []
    for i in range(len(values)):
        # NaN is the one number that does not equal itself.
        recent = [v for v in values[max(0, i + 1 - window) : i + 1] if v == v]
        means.append(sum(recent) / len(recent) if recent else float("nan"))
    return means


def _pyplot() -> ModuleType:
    """pyplot, loaded by the first figure: most that is trained is never drawn, and it loads slowly.

    A figure made without it would not be drawn in a notebook.
    """
    import matplotlib.pyplot

    return matplotlib.pyplot


def _epochs(history: History) -> list[float]:
    """Each round as a point in time, in epochs."""
    in_epoch = Counter(r.epoch for r in history.rounds)  # stages may have longer or shorter ones
    seen: Counter[int] = Counter()
    points = []
    for r in history.rounds:
        seen[r.epoch] += 1
        points.append(r.epoch - 1 + seen[r.epoch] / in_epoch[r.epoch])
    return points


def _colour(i: int) -> str:
    return TASK_COLOURS[i % len(TASK_COLOURS)]


def _box(
    axis: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    text: str,
    colour: str,
    alpha: float = 1.0,
    size: int = 10,
) -> None:
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0.02,rounding_size=0.15"
    axis.add_patch(
        FancyBboxPatch(
            (x, y), width, height, style, facecolor=colour, edgecolor=TOTAL_COLOUR, alpha=alpha
        )
    )
    axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size)


def _arrow(axis: Axes, x0: float, y0: float, x1: float, y1: float) -> None:
    axis.annotate("", (x1, y1), (x0, y0), arrowprops={"arrowstyle": "->", "color": TOTAL_COLOUR})


def _finished(figure: Figure) -> Figure:
    """Laid out, and closed for pyplot, so that a notebook draws it once: as the cell's result."""
    figure.tight_layout()
    _pyplot().close(figure)
    return figure
