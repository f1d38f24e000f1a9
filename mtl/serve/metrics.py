"""What happens in the service goes in; the text that Prometheus reads comes out."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # where several processes add up their numbers
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)


class Metrics:
    """Counters of one process; `text` sums those of all its workers."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "mtl_requests", "Requests answered.", ["endpoint", "status"], registry=registry
        )
        self.seconds = Histogram(
            "mtl_request_seconds",
            "From the first byte of a request to the last of its response.",
            ["endpoint"],
            buckets=SECONDS,
            registry=registry,
        )
        self.batch_texts = Histogram(
            "mtl_batch_texts", "Texts in one pass.", buckets=TEXTS, registry=registry
        )
        self.batch_tokens = Histogram(
            "mtl_batch_tokens", "Tokens in one pass.", buckets=TOKENS, registry=registry
        )
        self.waiting = Gauge(
            "mtl_queue_texts",
            "Texts that wait.",
            multiprocess_mode="livesum",
            registry=registry,
        )

    def text(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        registry = self._registry
        if FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        return generate_latest(registry)
