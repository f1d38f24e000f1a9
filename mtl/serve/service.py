"""Folders and settings go in; a service that answers the texts of requests comes out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from fastapi import Request

from ..errors import ConfigError, MTLError, suggest
from ..inference import Model
from ..registry import import_named
from .calls import Item
from .metrics import Metrics
from .problems import RefusedError
from .queue import Job, WorkQueue
from .settings import ServeSettings
from .worker import Worker

logger = logging.getLogger(__name__)

Load = Callable[[str], Model]  # what makes a model of a folder


class ClientGoneError(Exception):
    """Nobody is there any more to be answered."""


class Service:
    """The models, the queue before them, and the thread that computes.

    Args:
        load: what makes a model of its folder.

    Raises:
        ModelError, ConfigError: a folder that cannot be used.
    """

    def __init__(self, settings: ServeSettings, load: Load) -> None:
        self.settings = settings
        self.load = load
        self.metrics = Metrics()
        self.models = self._load_all()
        self.queue = WorkQueue(settings.max_queue)
        threads = settings.threads or max(1, torch.get_num_threads() // settings.workers)
        self.worker = Worker(self.queue, self.metrics, threads)
        self._loading = asyncio.Lock()

    def _load_all(self) -> dict[str, Model]:
        for module in self.settings.modules:
            import_named(module, "--import")
        return {name: self.load(folder) for name, folder in self.settings.folders.items()}

    def start(self) -> None:
        """Begin to answer."""
        self.worker.start()
        tasks = "; ".join(f"{name} ({', '.join(m.tasks)})" for name, m in self.models.items())
        logger.info("%s serves %s; threads: %d", self.settings.address, tasks, self.worker.threads)

    def close(self) -> None:
        """Refuse what comes from now on, and answer what waits."""
        self.queue.close()
        self.worker.join()

    @property
    def is_ready(self) -> bool:
        """Whether requests are answered: the thread that computes is alive."""
        return self.worker.is_alive()

    def model(self, name: str | None) -> Model:
        """The model with this name, or the only one.

        Raises:
            ConfigError: there is none, or several and no name.
        """
        models = self.models  # a reload may put others in their place meanwhile
        if name is None and len(models) == 1:
            (name,) = models
        if name not in models:
            raise ConfigError(
                "which model?" if name is None else "there is no such model",
                path="model",
                found=None if name is None else repr(name),
                fix=suggest(name or "", models),
            )
        return models[name]

    async def answer(self, items: Sequence[Item], request: Request) -> list[Any]:
        """The results for the texts of a request, in order.

        Raises:
            RefusedError: 503, too many wait; 504, it took too long; 500, it cannot be computed.
            DataError: a text that the model cannot read.
            ClientGoneError: the client has disconnected; what was not computed yet never is.
        """
        if self.settings.log_texts:
            logger.info("texts: %r", [(i.query.text, i.query.second) for i in items])
        job = Job(items)
        self.queue.put(job)
        self.metrics.waiting.set(len(self.queue))
        results = asyncio.wrap_future(job.future)
        gone = asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait(
                {results, gone}, timeout=self.settings.timeout, return_when="FIRST_COMPLETED"
            )
            if results.done():
                return results.result()
            if gone.done():
                raise ClientGoneError
            raise RefusedError(
                504,
                "the answer took too long",
                found=f"more than {self.settings.timeout:g} s",
                fix="send fewer or shorter texts, or try again later",
            )
        finally:
            results.cancel()  # if there are none yet, the texts that wait are dropped
            gone.cancel()

    async def reload(self) -> None:
        """Load all folders again; requests go on being answered by the old models until then.

        Raises:
            ModelError, ConfigError: a folder that cannot be used; all models stay as they were.
        """
        async with self._loading:
            try:
                self.models = await asyncio.to_thread(self._load_all)
            except MTLError as error:
                logger.error("the new models cannot be loaded, the old ones stay: %s", error)
                raise
        logger.info("loaded again: %s", ", ".join(self.models))


async def _disconnected(request: Request) -> None:
    """Returns when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
