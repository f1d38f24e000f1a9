"""A drawing and its description go in; a picture with alt text, for notebooks, comes out."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from io import BytesIO
from typing import Any

from matplotlib.figure import Figure


class Picture(Figure):
    """A matplotlib figure with a description, for readers who cannot see it.

    It is made without pyplot, so that none stays open; a notebook draws it as the cell's result.

    Attributes:
        alt: what there is to see, in a sentence or two.
    """

    alt: str = ""

    # What Jupyter asks an object for: the forms it can be shown in, and what to know about each.
    def _repr_mimebundle_(
        self, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        image = BytesIO()
        self.savefig(image, format="png", bbox_inches="tight")
        shown = {"image/png": b64encode(image.getvalue()).decode(), "text/plain": self.alt}
        # From here nbconvert and others take the `alt` of the image in HTML.
        return shown, {"image/png": {"alt": self.alt}}
