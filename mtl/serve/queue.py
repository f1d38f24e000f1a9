"""Requests go in, from many connections; their texts come out in fair order, for one thread."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .calls import Item
from .problems import RefusedError

PATIENCE = 4  # how many times its own tokens a text lets others go first, see `WorkQueue`


class Job:
    """A request that waits: its texts, and a future for the results of all of them."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.future: Future[list[Any]] = Future()
        self._results: list[Any] = [None] * len(items)
        self._left = len(items)

    @property
    def is_over(self) -> bool:
        """Whether nobody waits any more: the client is gone, or knows that a text has failed."""
        return self.future.done()

    def finish(self, index: int, result: Any) -> None:
        """Take the result of one text; with the last, the request is answered."""
        self._results[index] = result
        self._left -= 1
        if not self._left:
            with suppress(InvalidStateError):  # the client may leave at this very moment
                self.future.set_result(self._results)

    def fail(self, error: BaseException) -> None:
        """Answer the request with an error."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


@dataclass(order=True)
class Entry:
    """A text in the queue; the one that is due first sorts first."""

    due: int
    number: int
    job: Job = field(compare=False)
    index: int = field(compare=False)

    @property
    def item(self) -> Item:
        return self.job.items[self.index]


class WorkQueue:
    """Texts that wait for the model, in order of when they are due (earliest deadline first).

    Time is counted in tokens that left the queue. A text is due when `PATIENCE` times as many have
    left as it has, together with the texts before it in its request. So a short text that comes
    later overtakes a long one, but no long one waits for more than a few times its own length.

    Args:
        most: texts that may wait.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._entries: list[Entry] = []
        self._numbers = itertools.count()  # among texts that are due together, the first to come
        self._tokens_left = 0
        self._tokens_taken = self._tokens_done = 0  # now being computed; computed
        self._seconds = 0.0  # that the latter took
        self._taken_at = 0.0
        self._is_closed = False
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, job: Job) -> None:
        """Let a request wait, with all of its texts or not at all.

        Raises:
            RefusedError: 503, the queue is full, or closed.
        """
        with self._changed:
            if self._is_closed:
                raise RefusedError(
                    503, "the service is shutting down", headers={"Retry-After": "5"}
                )
            if len(self._entries) + len(job.items) > self.most:
                self._entries = [entry for entry in self._entries if not entry.job.is_over]
                heapq.heapify(self._entries)
            if len(self._entries) + len(job.items) > self.most:
                raise self._full()
            due = self._tokens_left
            for index, item in enumerate(job.items):
                due += PATIENCE * item.tokens
                heapq.heappush(self._entries, Entry(due, next(self._numbers), job, index))
            self._changed.notify()

    def take(self, tokens: int, wait: float) -> list[Entry]:
        """The texts that are due first, of about so many tokens in all, but at least one.

        Args:
            wait: after the first text has come into an empty queue, others may come for so many
                seconds.

        Returns:
            nothing once the queue is closed and empty.
        """
        with self._changed:
            if self._tokens_taken:  # the thread is back: they have been computed
                self._tokens_done += self._tokens_taken
                self._seconds += time.monotonic() - self._taken_at
                self._tokens_taken = 0
            while not (taken := self._pop(tokens)):
                if self._is_closed:
                    return []
                self._changed.wait_for(lambda: self._entries or self._is_closed)
                self._changed.wait_for(lambda: self._is_closed, timeout=wait)
            self._tokens_taken = sum(entry.item.tokens for entry in taken)
            self._tokens_left += self._tokens_taken
            self._taken_at = time.monotonic()
            return taken

    def _pop(self, tokens: int) -> list[Entry]:
        """The texts that are due first; those that nobody waits for any more are dropped."""
        taken: list[Entry] = []
        while self._entries and tokens > 0:
            entry = heapq.heappop(self._entries)
            if not entry.job.is_over:
                taken.append(entry)
                tokens -= entry.item.tokens
        return taken

    def _full(self) -> RefusedError:
        """The error for a full queue; it says when all that is here will have been computed."""
        ahead = self._tokens_taken + sum(entry.item.tokens for entry in self._entries)
        seconds = math.ceil(ahead * self._seconds / max(self._tokens_done, 1))
        return RefusedError(
            503,
            "the service is busy",
            found=f"{len(self._entries):,} texts wait",
            fix="try again later",
            headers={"Retry-After": str(max(seconds, 1))},
        )

    def close(self) -> None:
        """Refuse further requests; those that wait still come out of `take`."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
