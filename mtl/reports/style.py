"""A size goes in; an empty picture in the package's style comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from .picture import Picture

INK = "#343a40"  # words and lines
EDGE = "#adb5bd"  # frames
CARD = "#fcfcfd"  # what diagrams lie on
TASK_COLOURS = ("#e8590c", "#1971c2", "#2f9e44", "#9c36b5", "#c2255c")

RUN_COLOURS = ("#5f3dc4", "#0b7285", "#c2255c", "#66a80f", "#862e9c")  # not those of the tasks


def task_colour(i: int) -> str:
    """The colour of a model's task number `i`, the same in every picture."""
    return TASK_COLOURS[i % len(TASK_COLOURS)]


def subplots(
    width: float, height: float, rows: int = 1, columns: int = 1, **options: Any
) -> tuple[Picture, list[Axes]]:
    """A picture of a size in inches, and its axes, row by row."""
    # Loaded by the first picture: most runs draw nothing, and matplotlib loads slowly.
    from .picture import Picture

    picture = Picture(figsize=(width, height), layout="constrained")
    # squeeze=False: an array of axes even where there is only one.
    return picture, list(picture.subplots(rows, columns, squeeze=False, **options).flat)


def legend_above(axis: Axes) -> None:
    """Put the legend above the axes, where it covers no line."""
    names = axis.get_legend_handles_labels()[1]
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(names), frameon=False)
