"""What the package says goes through `logging`; for those who have not set it up, it is shown here.

Every module has a logger of its own name (`mtl.training.loop`, ...), and says what it does at the
level INFO. An application decides as usual what becomes of that, with `logging.basicConfig` or
handlers of its own. A script or a notebook that has set up nothing sees the lines on stderr.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager

LOGGER = logging.getLogger(__package__)


class StderrHandler(logging.Handler):
    """Shows a message above the progress bars, which would otherwise be torn in two."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm  # here: it loads too slowly for `mtl --help`

        try:
            # stderr is looked up each time: a notebook, or a test, may put another in its place.
            tqdm.write(self.format(record), file=sys.stderr)
        except Exception:
            self.handleError(record)


@contextmanager
def shown(progress: bool) -> Generator[None]:
    """While it lasts, messages are shown on stderr, unless the application listens itself.

    Args:
        progress: False keeps all messages back, also from the application's handlers.
    """
    level, propagate, handler = LOGGER.level, LOGGER.propagate, StderrHandler()
    if not progress:
        LOGGER.setLevel(max(level, logging.WARNING))
    elif not _application_decides():
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.INFO)
        # The root logger's handlers do not look at its level: they would show all of it once more.
        LOGGER.propagate = False
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate


def _application_decides() -> bool:
    """Whether somebody has said what should become of our messages, or an outer `shown` has.

    Handlers of the root logger count only if they would get them: some notebooks bring one along
    that is for warnings, and their users would see nothing.
    """
    silenced = LOGGER.level > logging.INFO
    has_own = any(not isinstance(handler, logging.NullHandler) for handler in LOGGER.handlers)
    return silenced or has_own or (LOGGER.isEnabledFor(logging.INFO) and LOGGER.hasHandlers())
