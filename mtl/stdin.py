"""Lines of standard input, in groups as they arrive, so that the first is answered at once."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator

from .errors import DataError

MOST_LINES = 256  # that are answered together

Line = tuple[int, bytes]  # its number, from 1, and what is in it


def arriving_lines() -> Iterator[list[Line]]:
    """All lines that have arrived by the time they are asked for; waits for at least one."""
    arrived: queue.Queue[Line | None] = queue.Queue(MOST_LINES)

    def read() -> None:
        for line in enumerate(sys.stdin.buffer, start=1):
            arrived.put(line)
        arrived.put(None)

    # A thread of its own waits for the input, so that we can see what is there without waiting.
    threading.Thread(target=read, daemon=True).start()
    while (line := arrived.get()) is not None:
        lines = [line]
        while len(lines) < MOST_LINES and not arrived.empty():
            if (line := arrived.get()) is None:
                yield lines
                return
            lines.append(line)
        yield lines


def decode_line(number: int, line: bytes) -> str:
    """A line as text, without its end; some shells put a byte order mark before the first one.

    Raises:
        DataError: it is not UTF-8.
    """
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError:
        raise DataError("the input is not UTF-8", fix="convert it to UTF-8 first") from None
    return text.removesuffix("\n").removesuffix("\r")
