"""Lines of standard input, in groups as they arrive, so that the first is answered at once."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator

from ..errors import DataError

MOST_LINES = 256  # to answer together

Line = tuple[int, bytes]  # its number, from 1, and its content


def arriving_lines() -> Iterator[list[Line]]:
    """All lines that have arrived by the time you ask; waits for at least one.

    Raises:
        DataError: the input cannot be read, at the start or at some later line.
    """
    # Bounded: a huge file must not be read into memory faster than it is answered.
    arrived: queue.Queue[Line | OSError | None] = queue.Queue(MOST_LINES)

    def read() -> None:
        try:
            # Bytes, so that a line that is not UTF-8 is a fault of its own and stops nothing.
            for line in enumerate(sys.stdin.buffer, start=1):
                arrived.put(line)
            arrived.put(None)
        except OSError as error:  # such as a terminal that is gone
            arrived.put(error)

    if sys.stdin is None:  # closed by whoever started us
        return
    # A separate thread waits for the input, so that we can see what is there without waiting.
    threading.Thread(target=read, daemon=True).start()
    last: Line | OSError | None = arrived.get()
    while isinstance(last, tuple):
        lines = [last]
        # Whatever has arrived is answered in one batch, which is quicker than one by one.
        while len(lines) < MOST_LINES and not arrived.empty():
            last = arrived.get()
            if not isinstance(last, tuple):
                break
            lines.append(last)
        yield lines
        if isinstance(last, tuple):
            last = arrived.get()
    if isinstance(last, OSError):
        fix = "check the program that writes it"
        raise DataError("the input cannot be read", path="stdin", found=str(last), fix=fix)
