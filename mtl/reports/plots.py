"""Scores, counts and attention go in; pictures of them come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ..errors import ConfigError
from ..tables import without_repeats
from .style import INK, subplots, task_colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .picture import Picture


def plot_comparison(summary: Sequence[Mapping[str, Any]]) -> Picture:
    """What sharing changed: for each task, the paired difference from training it alone.

    Args:
        summary: that of `compare.json`; filled points are for the budget "per task", open ones for
            "total". Lines are 95% confidence intervals, thick where they exclude 0.

    Raises:
        ConfigError: there is no difference to draw.
    """
    from matplotlib.lines import Line2D

    if not any("difference" in row for row in summary):
        raise ConfigError("there is no comparison to draw", fix="give the summary of one")
    rows = [row for row in without_repeats(summary) if "difference" in row]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    lines = list(dict.fromkeys((row["size"], row["method"]) for row in rows))
    size = (4.5 * len(tasks) + 1.5, 0.45 * len(lines) + 1.6)
    picture, axes = subplots(*size, columns=len(tasks), sharey=True)
    for i, (task, axis) in enumerate(zip(tasks, axes, strict=True)):
        of_task = [row for row in rows if row["task"] == task]
        for row in of_task:
            # The two budgets of a method side by side, a little above and below its line.
            is_total = row["budget"] == "total"
            y = lines.index((row["size"], row["method"])) + (0.15 if is_total else -0.15)
            _draw_difference(axis, row, y, task_colour(i), "white" if is_total else task_colour(i))
        axis.axvline(0, color="black", linewidth=0.8, linestyle=":")
        metric = of_task[0]["metric"].replace("_", " ")
        axis.set(title=f"{task.upper()}: {metric}, together minus alone")
        axis.set_xlabel("← better alone        better together →")
        axis.grid(alpha=0.3, axis="x")
    names = [f"{method}  {size or 'all data'}" for size, method in lines]
    axes[0].set_yticks(range(len(lines)), names)
    # Inverted, so that the first line is on top, as in the table.
    axes[0].set_ylim(len(lines) - 0.5, -0.5)
    told: dict[str, dict[str, Any]] = {
        "alone: as many steps as its task has together": {"marker": "o"},
        "as many as all tasks have": {"marker": "o", "markerfacecolor": "white"},
        "the interval excludes 0": {"linewidth": 4},
    }
    handles = [Line2D([], [], color=INK, label=label, **style) for label, style in told.items()]
    picture.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False)
    picture.alt = _told_of_differences(rows)
    return picture


def _draw_difference(axis: Axes, row: Mapping[str, Any], y: float, colour: str, face: str) -> None:
    """A point for the mean difference, on a line for its interval."""
    if row["difference_interval"]:
        width = 4 if _excludes_0(row) else 1.4
        axis.plot(row["difference_interval"], [y, y], color=colour, linewidth=width)
    axis.plot(row["difference"], y, "o", color=colour, markerfacecolor=face, markersize=7)


def _excludes_0(row: Mapping[str, Any]) -> bool:
    low, high = row["difference_interval"]
    return low > 0 or high < 0


def _told_of_differences(rows: Sequence[Mapping[str, Any]]) -> str:
    """How many differences there are, and which of their intervals exclude 0."""
    clear = [
        f"{row['task'].upper()} {row['method']} {row['size'] or 'all data'} ({row['budget']}) "
        f"{row['difference']:+.3f}"
        for row in rows
        if row["difference_interval"] and _excludes_0(row)
    ]
    return (
        f"Together minus alone: {len(rows)} differences with 95% confidence intervals. "
        f"{len(clear)} of the intervals exclude 0{': ' if clear else ''}{', '.join(clear)}."
    )


def plot_confusion(counts: Sequence[Sequence[int]], labels: Sequence[str]) -> Picture:
    """How often each label (row) was predicted as each label (column).

    The colour is the share of the row: of the texts that truly have this label. So a frequent label
    is no darker than a rare one, and a guess looks as pale as it should.

    Args:
        counts: from `mtl.metrics.confusion`.
        labels: in the order of rows and columns.
    """
    from matplotlib.ticker import PercentFormatter  # here, as matplotlib takes long to load

    table = np.asarray(counts)
    # An empty row has no shares; it stays white.
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    # Wide enough for the longest number in a cell.
    size = max(0.8, 0.11 * len(f"{table.max(initial=0):,}")) * len(labels) + 1.6
    picture, (axis,) = subplots(size + 1, size)
    image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (i, j), n in np.ndenumerate(table):
        # Dark cells need light numbers.
        colour = "white" if shares[i, j] > 0.6 else "black"
        axis.text(j, i, f"{n:,}\n{shares[i, j]:.0%}", ha="center", va="center", color=colour)
    axis.set_xticks(range(len(labels)), labels, rotation=30, ha="right")
    axis.set_yticks(range(len(labels)), labels)
    axis.set(xlabel="predicted", ylabel="true")
    percent = PercentFormatter(xmax=1)
    bar = picture.colorbar(image, label="share of the row", format=percent, shrink=0.8)
    bar.outline.set_visible(False)
    right = [f"{label} {shares[i, i]:.0%}" for i, label in enumerate(labels)]
    picture.alt = f"Confusion matrix. Predicted as what they are: {', '.join(right)}."
    return picture


def plot_attention(
    weights: Tensor, tokens: Sequence[str], row_names: Sequence[str], title: str = ""
) -> Picture:
    """Where tokens look: one picture per head, one column per token looked at.

    Args:
        weights: `(H, R, T)`; `R` is `T` for one layer's whole map, or fewer chosen rows.
        tokens: the `T` tokens.
        row_names: who is looking, `R` names.
        title: for the whole figure.
    """
    heads, n_rows, length = weights.shape
    size = (max(4.0, 0.22 * length + 1.6), (0.22 * n_rows + 0.25) * heads + 1.4)
    picture, axes = subplots(*size, rows=heads, sharex=True)
    for i, axis in enumerate(axes):
        shown = weights[i].detach().cpu().numpy()
        image = axis.imshow(shown, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axis.set_ylabel(f"head {i + 1}")
        axis.set_yticks(range(n_rows), row_names, fontsize=8)
        # White lines between the cells, so that a column can be followed down to its token.
        axis.set_xticks(np.arange(length + 1) - 0.5, minor=True)
        axis.grid(which="minor", axis="x", color="#dee2e6", linewidth=0.5)
        axis.tick_params(which="both", length=0)
    axes[-1].set_xticks(range(length), tokens, rotation=90, fontsize=9)
    picture.colorbar(image, ax=axes, label="attention weight", fraction=0.02, pad=0.01)
    picture.suptitle(title)
    picture.alt = _told_of_attention(weights, tokens, row_names, title)
    return picture


def _told_of_attention(
    weights: Tensor, tokens: Sequence[str], row_names: Sequence[str], title: str
) -> str:
    """What each row of each head looks at most, in words; for large maps, only their size."""
    what = f"Attention: {title}." if title else "Attention."
    if len(row_names) > 8:
        return f"{what} {len(weights)} heads, {len(row_names)} rows of {len(tokens)} tokens each."
    most, places = weights.max(dim=-1)  # (H, R)
    heads = [
        f"Head {i + 1}: "
        + ", ".join(
            f"{name} most at '{tokens[place]}' ({weight:.2f})"
            for name, place, weight in zip(row_names, columns, shares, strict=True)
        )
        for i, (columns, shares) in enumerate(zip(places.tolist(), most.tolist(), strict=True))
    ]
    return f"{what} {'. '.join(heads)}."
