"""Settings go in; uvicorn serves the application in one or more processes until told to stop."""

from __future__ import annotations

import copy
import os
import signal
import socket
import sys
import tempfile
from dataclasses import replace
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import LOGGING_CONFIG
from uvicorn.supervisors import Multiprocess

from ..errors import ConfigError, MTLError
from .app import build_app
from .metrics import FOLDER
from .service import Load, Service
from .settings import ServeSettings


def serve(settings: ServeSettings, load: Load) -> None:
    """Serve the models of some folders until SIGTERM or Ctrl-C.

    Args:
        load: what makes a model of its folder; a function that a new process can import.

    Raises:
        ModelError, ConfigError: a folder or an address that cannot be used; nothing has been served
            then.
    """
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # too early: what it asks for is being done
    with _bound_socket(settings.host, settings.port) as door:
        settings = replace(settings, port=door.getsockname()[1])  # if any free one was asked for
        # With workers too: better one clear error here than one in each of them.
        service = Service(settings, load)
        if settings.workers == 1:
            uvicorn.Server(_config(build_app(service), settings)).run(sockets=[door])
        else:
            del service  # each worker loads its own
            _serve_with_workers(settings, load, door)


def _serve_with_workers(settings: ServeSettings, load: Load, door: socket.socket) -> None:
    config = _config(partial(_build_worker, settings, load), settings, factory=True)
    with tempfile.TemporaryDirectory(prefix="mtl-serve-") as folder:
        os.environ[FOLDER] = folder  # the workers find it there, before they count anything
        try:
            Supervisor(config, [door]).run()
        finally:
            del os.environ[FOLDER]


def _bound_socket(host: str, port: int) -> socket.socket:
    """Takes the address; whoever connects is refused until the models are loaded."""
    door = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # also just after another ended
    try:
        door.bind((host, port))
    except OSError as error:
        door.close()
        raise ConfigError(
            "the address cannot be used",
            found=f"{host}, port {port}: {error.strerror}",
            fix="choose another --port (0 for any free one) or --host",
        ) from None
    return door


def _config(app: Any, settings: ServeSettings, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        lifespan="on",
        server_header=False,
        log_config=_log_config(),
        # Longer than any client keeps an idle connection. Many keep it for 5 seconds, uvicorn's own
        # default: a request that is sent in the moment in which it is closed would be lost.
        timeout_keep_alive=75,
        # What is still unanswered then has been told so already (504).
        timeout_graceful_shutdown=int(settings.timeout) + 1,
        **more,
    )


def _log_config() -> dict[str, Any]:
    """uvicorn's own, and our messages beside its."""
    config = copy.deepcopy(LOGGING_CONFIG)
    config["loggers"]["mtl"] = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return config


def _build_worker(settings: ServeSettings, load: Load) -> FastAPI:
    """The application of a worker; it ends with a clear line if a folder cannot be used any more.

    uvicorn then starts the next one, until the folder is whole again; the other workers go on.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        return build_app(Service(settings, load))
    except MTLError as error:
        print(f"mtl: error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


class Supervisor(Multiprocess):
    """uvicorn's supervisor, which replaces workers that die; SIGHUP goes on to all of them."""

    def handle_hup(self) -> None:
        """Have every worker load its models again. (uvicorn would start new workers instead.)"""
        for process in self.processes:
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, signal.SIGHUP)

    def keep_subprocess_alive(self) -> None:
        """Replace dead workers; what they counted stays, what they had waiting does not."""
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            mark_process_dead(pid)
