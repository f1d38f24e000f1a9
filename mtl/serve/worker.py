"""A queue of texts goes in; the one thread that computes with the models answers them."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import torch

from ..data.encoded import EncodedExample
from ..errors import DataError
from ..inference import encode_for
from .calls import Call
from .metrics import Metrics
from .problems import RefusedError
from .queue import Entry, WorkQueue

logger = logging.getLogger(__name__)

MOST_TOKENS = 2048  # taken from the queue, and in one pass: what comes next waits for no more
WAIT = 0.003  # seconds that the first of an empty queue waits for others
PASS_TOKENS = 64  # a further pass costs about as much as so many tokens more in this one

Encoded = tuple[Entry, EncodedExample]


class Worker(threading.Thread):
    """Answers what is in the queue until that is closed and empty.

    Only this thread computes, so that a pass has the threads of torch to itself.

    Args:
        threads: those that torch may use.
    """

    def __init__(self, queue: WorkQueue, metrics: Metrics, threads: int) -> None:
        super().__init__(name="mtl-serve", daemon=True)
        self.queue = queue
        self.metrics = metrics
        self.threads = threads

    def run(self) -> None:
        torch.set_num_threads(self.threads)  # here: the number is that of the calling thread
        while entries := self.queue.take(MOST_TOKENS, WAIT):
            self.metrics.waiting.set(len(self.queue))
            by_call: dict[Call, list[Entry]] = defaultdict(list)
            for entry in entries:
                by_call[entry.item.call].append(entry)
            for call, of_call in by_call.items():
                for group in passes(_encoded(call, of_call)):
                    self._compute(call, group)

    def _compute(self, call: Call, group: Sequence[Encoded]) -> None:
        """One pass: the results of all its texts whose clients are still there."""
        group = [(entry, item) for entry, item in group if not entry.job.is_over]
        if not group:
            return
        try:
            results = call.run([item for _, item in group])
        except Exception as error:  # a task of one's own may raise anything
            if len(group) == 1:
                _fail(group[0][0], error)
            else:
                for one in group:  # one text must not spoil the answers to the others
                    self._compute(call, [one])
            return
        self.metrics.batch_texts.observe(len(group))
        self.metrics.batch_tokens.observe(sum(len(row) for _, item in group for row in item.rows))
        for (entry, _), result in zip(group, results, strict=True):
            entry.job.finish(entry.index, result)


def _encoded(call: Call, entries: Sequence[Entry]) -> list[Encoded]:
    """The texts as the model reads them; requests with a text that it cannot read have failed."""
    encoded = []
    for entry in entries:
        try:
            encoded += [(entry, item) for item in encode_for(call.model, [entry.item.query])]
        except Exception as error:  # such as a question that leaves no room for its context
            _fail(entry, error)
    return encoded


def _fail(entry: Entry, error: Exception) -> None:
    """Answer the request of a text with an error; what went wrong inside is only logged."""
    if isinstance(error, DataError):
        faults = [replace(f, what=f.what.removeprefix("example 1: ")) for f in error.faults]
        entry.job.fail(DataError.collect(faults).at(path=entry.item.place))
        return
    logger.error("a text could not be computed", exc_info=error)
    what = "the model could not compute this"
    entry.job.fail(RefusedError(500, what, path=entry.item.place, fix="see the service's log"))


def passes(encoded: Sequence[Encoded]) -> list[list[Encoded]]:
    """The texts in groups of similar length, the shortest first.

    A group grows as long as its padding costs less than a pass of its own for the longer texts, and
    has at most `MOST_TOKENS` tokens, or one text.
    """
    groups: list[list[Encoded]] = []
    rows = padding = longest = 0
    for pair in sorted(encoded, key=lambda pair: len(pair[1])):
        length, more = len(pair[1]), len(pair[1].rows)
        # The others of the group would be padded to its length.
        padding += rows * (length - longest)
        rows, longest = rows + more, length
        if not groups or padding > PASS_TOKENS or rows * length > MOST_TOKENS:
            groups.append([])
            rows, padding = more, 0
        groups[-1].append(pair)
    return groups
