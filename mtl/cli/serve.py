"""`mtl serve`: run folders go in; their models answer over HTTP."""

from __future__ import annotations

import argparse
import os
import sys

from ..errors import missing_extra
from ..serve.settings import ServeSettings, named_folders
from .loading import load_model

LIBRARIES = ("fastapi", "uvicorn", "prometheus_client")


def run_serve(options: argparse.Namespace) -> None:
    """`mtl serve`: serve until SIGTERM or Ctrl-C."""
    settings = ServeSettings(
        named_folders(options.folders),
        host=options.host,
        port=options.port,
        workers=options.workers,
        threads=options.threads,
        max_body=options.max_body,
        max_texts=options.max_texts,
        max_length=options.max_length,
        max_queue=options.max_queue,
        timeout=options.timeout,
        cors=options.cors,
        log_texts=options.log_texts,
        key=os.environ.get("MTL_API_KEY", ""),
        modules=options.modules,
    )
    try:
        from ..serve.server import serve
    except ModuleNotFoundError as error:
        if error.name not in LIBRARIES:
            raise
        raise missing_extra("fastapi uvicorn prometheus-client", "serve", "mtl serve") from None
    if settings.is_open:
        print(
            f"mtl: note: everybody who reaches {settings.host} may use this service; set "
            "MTL_API_KEY to ask for a key",
            file=sys.stderr,
        )
    serve(settings, load_model)
