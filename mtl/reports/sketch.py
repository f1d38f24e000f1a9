"""A size goes in; a card to draw boxes, arrows and words on comes out."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Arc, Circle, FancyBboxPatch, Patch

from .picture import Picture
from .style import CARD, EDGE, INK

# Everything is drawn in one layer, so that later parts cover earlier ones.
LAYER = 2


class Sketch:
    """A card to draw boxes, arrows and words on; places are in inches from the lower left corner.

    It is a light card with dark ink, so that it can be read on a page of any colour.
    """

    def __init__(self, width: float, height: float) -> None:
        self.picture = Picture(figsize=(width, height))
        # Nothing but the card itself covers the page: its round corners stay round.
        self.picture.patch.set_alpha(0)
        self.axis: Axes = self.picture.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(0, height))
        self.axis.axis("off")
        self.box(0.04, 0.04, width - 0.08, height - 0.08, fill=CARD, rounding=0.15)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        words: str = "",
        fill: str = "white",
        edge: str = EDGE,
        size: float = 10,
        rounding: float = 0.06,
        linewidth: float = 1,
        **style: Any,
    ) -> None:
        """A box with words in the middle; `(x, y)` is its lower left corner."""
        corners = f"round,pad=0,rounding_size={rounding}"
        patch = FancyBboxPatch(
            (x, y), width, height, corners, facecolor=fill, edgecolor=edge, linewidth=linewidth
        )
        self._add(patch)
        self.write(x + width / 2, y + height / 2, words, size=size, **style)

    def write(self, x: float, y: float, words: str, size: float = 10, **style: Any) -> None:
        """Words centred at `(x, y)`."""
        style = {"ha": "center", "va": "center", "color": INK, "parse_math": False} | style
        style["zorder"] = LAYER
        if words:
            self.axis.text(x, y, words, fontsize=size, **style)

    def arrow(
        self, start: tuple[float, float], end: tuple[float, float], colour: str = INK, **style: Any
    ) -> None:
        """An arrow, straight unless the style bends it."""
        style = {"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0} | style
        self.axis.annotate("", end, start, arrowprops=style, zorder=LAYER)

    def circle(self, x: float, y: float, radius: float, words: str = "", size: float = 10) -> None:
        """A circle around `(x, y)` with words in it."""
        self._add(Circle((x, y), radius, facecolor="white", edgecolor=INK))
        self.write(x, y, words, size=size)

    def column(self, x: float, y: float, width: float, height: float, values: list[float]) -> None:
        """Numbers as a column of coloured cells, red above 0 and blue below."""
        edges = [y + height * i / len(values) for i in range(len(values) + 1)]
        # The largest is as dark as possible, whatever the scale of the numbers.
        most = max(map(abs, values)) or 1
        cells = [[value] for value in reversed(values)]
        mesh = self.axis.pcolormesh([x, x + width], edges, cells, vmin=-most, vmax=most)
        mesh.set(cmap="RdBu_r", zorder=LAYER)

    def arc(self, x: float, y: float, radius: float, start: float, end: float) -> None:
        """The shorter arc around `(x, y)` from one angle to another, in degrees."""
        if (end - start) % 360 > 180:
            start, end = end, start
        size = 2 * radius
        self._add(Arc((x, y), size, size, theta1=start, theta2=end, color=INK, linewidth=1.2))

    def _add(self, patch: Patch) -> None:
        self.axis.add_patch(patch).set_zorder(LAYER)
