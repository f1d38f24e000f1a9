"""The amount of work comes in; a progress bar goes out, on stderr or in the cell of a notebook."""

from __future__ import annotations

import io
import sys
from typing import Any

from tqdm import tqdm


def progress_bar(*, progress: bool, **options: Any) -> tqdm:
    """A bar where the reader looks; none without `progress`.

    Args:
        options: of `tqdm`, such as `total` and `unit`.
    """
    if _display() is None:
        # stderr, since stdout is for results.
        return tqdm(disable=not progress, file=sys.stderr, **options)
    return NotebookBar(disable=not progress, **options)


class NotebookBar(tqdm):
    """A bar that keeps one place in the output of its cell, where it is redrawn.

    tqdm's own needs ipywidgets, and in a saved notebook its text stays at 0%. Written to
    stderr, each change would be one more line of a saved notebook.
    """

    def __init__(self, **options: Any) -> None:
        self._place: Any = None
        # tqdm's own output is not needed. It would also take this file for one that can show
        # nothing but ASCII.
        super().__init__(file=io.StringIO(), ascii=False, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar as it is now; called by tqdm, at most ten times a second."""
        text = {"text/plain": str(self) if msg is None else msg}
        if self._place is None:
            self._place = _display()(text, raw=True, display_id=True)
        else:
            self._place.update(text, raw=True)


def _display() -> Any:
    """What draws in the cell of a notebook; None where there is no notebook."""
    # Not imported: where it is of use, it is loaded already.
    ipython = sys.modules.get("IPython")
    # IPython in a terminal has no kernel.
    if ipython is None or getattr(ipython.get_ipython(), "kernel", None) is None:
        return None
    return ipython.display.display
