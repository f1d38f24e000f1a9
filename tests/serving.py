"""A service around models that are in memory, and a client for it, without a network."""

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")

import httpx

from mtl.serve.app import build_app
from mtl.serve.service import Service
from mtl.serve.settings import ServeSettings


def service_of(models, **settings):
    """Models by name; a folder of the settings is the name of the model in it."""
    return Service(ServeSettings({name: name for name in models}, **settings), models.__getitem__)


@asynccontextmanager
async def running(service):
    """A client of the service, which runs meanwhile."""
    app = build_app(service)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://mtl", timeout=20) as client,
    ):
        yield client


def ask(service, *requests):
    """The responses to some requests, one after the other: each a path, and a body for POST."""

    async def talk():
        async with running(service) as client:
            return [
                await (client.post(path, json=body[0]) if body else client.get(path))
                for path, *body in requests
            ]

    return asyncio.run(talk())


def fault_of(response, status=422):
    """The only fault that a response tells of."""
    assert response.status_code == status, response.text
    (fault,) = response.json()["errors"]
    assert fault.keys() == {"what", "where", "found", "fix"}
    return fault


ADDRESS = r"http://127\.0\.0\.1:\d+"


class Gate:
    """Holds a model back until it is opened, and counts the passes that come through."""

    def __init__(self, monkeypatch, model):
        self.open = threading.Event()
        self.reached = threading.Event()
        self.rows = []  # of each pass
        forward = model.encoder.forward

        def held(input_ids, *args, **kwargs):
            self.reached.set()
            assert self.open.wait(10)
            self.rows.append(len(input_ids))
            return forward(input_ids, *args, **kwargs)

        monkeypatch.setattr(model.encoder, "forward", held)

    async def wait_until_reached(self):
        assert await asyncio.to_thread(self.reached.wait, 10)
