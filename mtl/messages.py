"""The package's messages go to `logging`; where nobody has set that up, they come out on stderr.

Every module has a logger of its own name (`mtl.training.loop`, ...) and reports what it does at
level INFO. As usual, an application decides what happens to that, with `logging.basicConfig` or its
own handlers. A script or a notebook that has set up nothing sees the lines on stderr.
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
    """In this context, messages are shown on stderr, unless the application handles them itself.

    Args:
        progress: False holds all messages back, even from the application's handlers.
    """
    level, propagate, handler = LOGGER.level, LOGGER.propagate, StderrHandler()
    if not progress:
        LOGGER.setLevel(max(level, logging.WARNING))
    elif not _application_decides():
        LOGGER.addHandler(handler)
        LOGGER.setLevel(logging.INFO)
        # The root logger's handlers do not look at its level: they would show all of it again.
        LOGGER.propagate = False
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate


def _application_decides() -> bool:
    """Whether somebody, or an outer `shown`, already handles our messages.

    Handlers of the root logger count only if our messages reach them: some notebooks come with one
    that is for warnings alone, and their users would see nothing.
    """
    silenced = LOGGER.level > logging.INFO
    has_own = any(not isinstance(handler, logging.NullHandler) for handler in LOGGER.handlers)
    return silenced or has_own or (LOGGER.isEnabledFor(logging.INFO) and LOGGER.hasHandlers())
