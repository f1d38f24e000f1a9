"""A service goes in; the FastAPI application with its endpoints comes out."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from typing import Any

import torch
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from ..errors import DataError, MTLError
from ..inference.prediction import closest
from ..version import __version__
from .browser import FILES, add_page
from .calls import items_to_answer, items_to_encode, items_to_predict
from .guard import Guard, Measured
from .problems import NO_OBJECT, RefusedError, faults_in_body, response_to
from .schemas import (
    AnswerRequest,
    AnswerResponse,
    EncodeRequest,
    EncodeResponse,
    ModelsResponse,
    NearestRequest,
    NearestResponse,
    PredictRequest,
    PredictResponse,
    Problems,
    Status,
)
from .service import ClientGoneError, Service

STATUSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problems, "description": description}
    for status, description in {
        401: "The API key is missing or wrong.",
        408: "The request took too long to arrive.",
        413: "The request is too large.",
        422: "Something in the request cannot be used.",
        503: "Too many texts wait already; Retry-After says when to try again.",
        504: "The answer took too long.",
    }.items()
}


def build_app(service: Service) -> FastAPI:
    """The application; the service answers from its start-up to its shutdown."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        service.start()
        _reload_on_hangup(service)
        yield
        service.close()

    app = FastAPI(title="mtl", version=__version__, lifespan=lifespan)
    _add_endpoints(app, service)
    add_page(app)
    _add_handlers(app)
    # The last is the outermost: browsers ask about CORS without a key, and everything is counted.
    app.add_middleware(Guard, settings=service.settings)
    if service.settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(service.settings.cors),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    endpoints = frozenset(app.openapi()["paths"]) | {"/metrics", *FILES}
    app.add_middleware(Measured, metrics=service.metrics, endpoints=endpoints)
    return app


def _add_endpoints(app: FastAPI, service: Service) -> None:
    settings = service.settings
    # The key is checked by `Guard`, before the body is read; this shows it in the docs.
    needs_key = [Depends(HTTPBearer(auto_error=False))] if settings.key else []
    post: dict[str, Any] = {"responses": STATUSES, "dependencies": needs_key}

    @app.post("/v1/predict", response_model=PredictResponse, **post)
    async def predict(asked: PredictRequest, request: Request) -> Response:
        """What the tasks predict for texts, pairs of texts, or both: one pass serves all tasks."""
        items = items_to_predict(service.model(asked.model), asked, settings)
        return JSONResponse({"predictions": await service.answer(items, request)})

    @app.post("/v1/answer", response_model=AnswerResponse, **post)
    async def answer(asked: AnswerRequest, request: Request) -> Response:
        """The best answers to questions, from their contexts."""
        items = items_to_answer(service.model(asked.model), asked, settings)
        return JSONResponse({"answers": await service.answer(items, request)})

    @app.post("/v1/encode", response_model=EncodeResponse, **post)
    async def encode(asked: EncodeRequest, request: Request) -> Response:
        """A unit vector for each text."""
        items = items_to_encode(service.model(asked.model), asked, settings)
        return JSONResponse({"vectors": await service.answer(items, request)})

    @app.post("/v1/nearest", response_model=NearestResponse, **post)
    async def nearest(asked: NearestRequest, request: Request) -> Response:
        """The texts closest to a query, by the cosine of their vectors."""
        items = items_to_encode(service.model(asked.model), asked, settings)
        query, *vectors = map(torch.tensor, await service.answer(items, request))
        found = closest(query, torch.stack(vectors), asked.texts, asked.n)
        return JSONResponse({"neighbours": [asdict(neighbour) for neighbour in found]})

    @app.get("/v1/models", response_model=ModelsResponse, dependencies=needs_key)
    async def models() -> Response:
        """The models that are served, and their tasks."""
        return JSONResponse(_models_in_words(service))

    @app.post("/v1/reload", response_model=ModelsResponse, **post)
    async def reload() -> Response:
        """Load all folders again; if one cannot be used, all models stay as they were."""
        if not settings.key:
            raise RefusedError(
                403,
                "models are only loaded again for clients with a key",
                fix="start the service with MTL_API_KEY set, or send it the signal SIGHUP",
            )
        try:
            await service.reload()
        except MTLError as error:
            return response_to(error, status=500)
        if settings.workers > 1:
            os.kill(os.getppid(), signal.SIGHUP)  # the other workers follow
        return JSONResponse(_models_in_words(service))

    @app.get("/health", response_model=Status)
    async def health() -> Response:
        """Whether the process is alive."""
        return JSONResponse({"status": "alive"})

    @app.get("/ready", response_model=Status, responses={503: STATUSES[503]})
    async def ready() -> Response:
        """Whether the models are loaded, and requests are answered."""
        if not service.is_ready:
            raise RefusedError(503, "the service is not ready", headers={"Retry-After": "1"})
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _models_in_words(service: Service) -> dict[str, Any]:
    return {
        "models": [
            {
                "name": name,
                "tasks": [
                    {
                        "name": task.name,
                        "kind": task.kind,
                        "reads": list(task.text_names) if task.reads_pairs else ["text"],
                    }
                    for task in model.tasks.values()
                ],
            }
            for name, model in service.models.items()
        ]
    }


def _add_handlers(app: FastAPI) -> None:
    """Whatever goes wrong is answered in the same words and form."""

    @app.exception_handler(MTLError)
    async def known(_: Request, error: MTLError) -> Response:
        return response_to(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return response_to(DataError.collect(faults_in_body(error.errors())))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        if error.status_code == 400:  # JSON that no reader follows, such as 100,000 brackets
            what, fix = NO_OBJECT
            return response_to(DataError(what, path="body", fix=fix))
        return response_to(
            RefusedError(
                error.status_code,
                "there is nothing here" if error.status_code == 404 else str(error.detail),
                path=f"{request.method} {request.url.path}"[:200],
                fix="/docs lists all endpoints",
                headers=error.headers,
            )
        )

    @app.exception_handler(ClientGoneError)
    async def gone(_: Request, error: ClientGoneError) -> Response:
        return Response(status_code=499)  # for the metrics alone: nobody reads it

    @app.exception_handler(Exception)
    async def unknown(_: Request, error: Exception) -> Response:
        return response_to(
            RefusedError(
                500, "something went wrong in the service", fix="see the log of the service"
            )
        )


def _reload_on_hangup(service: Service) -> None:
    """Let SIGHUP load the models again, where the system has it and this is the main thread."""
    tasks = set()  # the event loop itself holds no task for long

    def begin() -> None:
        task = asyncio.create_task(_reload_quietly(service))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    with suppress(AttributeError, NotImplementedError, RuntimeError):
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, begin)


async def _reload_quietly(service: Service) -> None:
    with suppress(MTLError):  # the log says so, and the old models go on
        await service.reload()
