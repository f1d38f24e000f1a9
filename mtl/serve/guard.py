"""A request goes in as it arrives; only one that is allowed, small and quick enough goes on."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Mapping

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .metrics import Metrics
from .problems import RefusedError, response_to
from .settings import ServeSettings

PROTECTED = "/v1/"  # what the key is for; whether the service is well may be seen without


class Guard:
    """Checks key, size and speed of a request before anything in it is looked at.

    Args:
        app: what answers the requests that may pass.
    """

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        try:
            request = Request(scope, receive)
            if scope["path"].startswith(PROTECTED):
                check_key(request.headers, self.settings.key)
            async with asyncio.timeout(self.settings.timeout):
                body = await self._body(request)
        except RefusedError as error:
            return await response_to(error)(scope, receive, send)
        except TimeoutError:
            error = RefusedError(
                408,
                "the request took too long to arrive",
                found=f"more than {self.settings.timeout:g} s",
                headers={"Connection": "close"},  # or the rest of it would be waited for
            )
            return await response_to(error)(scope, receive, send)
        if body is not None:
            await self.app(scope, _replayed(body, receive), send)

    async def _body(self, request: Request) -> bytes | None:
        """The whole body; None if the client left before it was sent.

        Raises:
            RefusedError: 413, there is more than allowed.
        """
        most = self.settings.max_body
        announced = request.headers.get("content-length", "")
        if announced.isdecimal() and int(announced[:20]) > most:
            raise _too_large(most)
        body = bytearray()
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > most:
                raise _too_large(most)
            if not message.get("more_body", False):
                return bytes(body)


def check_key(headers: Mapping[str, str], key: str) -> None:
    """Refuse (401) a request that does not show the key, if there is one."""
    scheme, _, shown = headers.get("authorization", "").partition(" ")
    # compare_digest takes as long for a nearly right key as for any other: time tells nothing.
    is_right = hmac.compare_digest(shown.strip().encode(), key.encode())
    if key and not (is_right and scheme.lower() == "bearer"):
        raise RefusedError(
            401,
            "the API key is missing or wrong",
            path="header Authorization",
            fix="send Authorization: Bearer KEY",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _too_large(most: int) -> RefusedError:
    return RefusedError(
        413,
        "the request is too large",
        path="body",
        found=f"more than {most:,} bytes",
        fix="send fewer texts at once, or have --max-body raised",
    )


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body that has been read, then what comes after it: that the client disconnects."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


class Measured:
    """Counts requests by endpoint and status, and how long they took."""

    def __init__(self, app: ASGIApp, metrics: Metrics, endpoints: frozenset[str]) -> None:
        self.app = app
        self.metrics = metrics
        self.endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        # One name for all unknown paths: a scanner must not make a metric of each it tries.
        endpoint = scope["path"] if scope["path"] in self.endpoints else "other"
        status = 499  # as nginx has it: the client was gone before it was answered
        started = time.perf_counter()

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sent)
        except Exception:
            status = 500
            raise
        finally:
            self.metrics.requests.labels(endpoint, status).inc()
            self.metrics.seconds.labels(endpoint).observe(time.perf_counter() - started)
