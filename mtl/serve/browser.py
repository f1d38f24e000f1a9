"""A browser comes in; the page on which people try the models goes out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, Response

FOLDER = Path(__file__).parent / "page"
FILES = {"/": "index.html", "/page.css": "page.css", "/page.js": "page.js"}
HEADERS = {
    # Only these files and this service; nothing from outside, no script or style inside the HTML.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # a browser asks whether it has changed
}


def add_page(app: FastAPI) -> None:
    """Serve the page at `/`, and the two files that it loads."""
    for path, name in FILES.items():
        app.add_api_route(path, _gives(FOLDER / name), include_in_schema=False)


def _gives(file: Path) -> Callable[[], Awaitable[Response]]:
    async def give() -> Response:
        return FileResponse(file, headers=HEADERS)

    return give
