"""Load on `mtl serve`, over loopback: latency, throughput, what a full queue does, memory.

    python tests/benchmarks/serve.py RUN [--requests 5000] [--clients 64] [--memory 20000]

RUN is the folder of a model that reads single texts. The service has one core, the clients have
another; nothing else may run on the machine meanwhile. One after the other:

- alone: the model's own batched rate on the same texts, `predict` on all of them, on the server's
  core and without the service;
- load: so many clients, each with one text at a time, as soon as the last is answered;
- overload: requests come at three times the rate that the load was answered at, whether or not
  others are answered; those that get 503 are not sent again;
- memory: of the server, while it answers further requests with short texts.
"""

import argparse
import asyncio
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx

from mtl.tables import format_table
from mtl.toy.news import news

CORES = sorted(os.sched_getaffinity(0))
SERVER, CLIENT = CORES[0], CORES[-1]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
ALONE = """
import sys, time
from mtl.cli.loading import load_model
model, texts = load_model(sys.argv[1]), open(sys.argv[2], encoding="utf-8").read().splitlines()
model.predict(texts[:50])
started = time.perf_counter()
model.predict(texts)
print(len(texts) / (time.perf_counter() - started))
"""


def mixed_texts(n: int) -> list[str]:
    """Most have one to three sentences, one in ten has ten to thirty."""
    rng = random.Random(0)
    sentences = [example.text for example in news("train", 2000)]

    def length() -> int:
        return rng.randint(10, 30) if rng.random() < 0.1 else rng.randint(1, 3)

    return [" ".join(rng.choices(sentences, k=length())) for _ in range(n)]


def rate_alone(run: str, texts: list[str]) -> float:
    """Texts that the model itself reads in a second, in a process on the server's core."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
        file.write("\n".join(texts))
        file.flush()
        command = ["taskset", "-c", str(SERVER), sys.executable, "-c", ALONE, run, file.name]
        done = subprocess.run(
            command, env=os.environ | ONE_THREAD, check=True, capture_output=True, text=True
        )
    return float(done.stdout)


@contextmanager
def serving(run: str, max_queue: int) -> Generator[tuple[str, int]]:
    """The address of a service on its core, and its process id."""
    options = ["--port", "0", "--threads", "1", "--max-texts", "1", "--max-queue", str(max_queue)]
    command = ["taskset", "-c", str(SERVER), sys.executable, "-m", "mtl", "serve", run, *options]
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, env=os.environ | ONE_THREAD)
        try:
            while not (found := re.search(r"http://\S+ serves", Path(log.name).read_text())):
                assert process.poll() is None, Path(log.name).read_text()
                time.sleep(0.1)
            time.sleep(1)  # it listens a moment later
            yield found[0].split()[0], process.pid
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


class Load:
    """Sends texts, and keeps the seconds until each was answered, by status."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client
        self.seconds: dict[int, list[float]] = {}

    async def send(self, text: str) -> None:
        started = time.perf_counter()
        response = await self.client.post("/v1/predict", json={"texts": [text]})
        taken = time.perf_counter() - started
        self.seconds.setdefault(response.status_code, []).append(taken)

    async def by_clients(self, texts: list[str], clients: int) -> float:
        """Each client sends when it has been answered; answers in a second."""
        left = iter(texts)

        async def one() -> None:
            for text in left:
                await self.send(text)

        started = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(clients)))
        return len(texts) / (time.perf_counter() - started)

    async def at_rate(self, texts: list[str], rate: float) -> None:
        """Texts are sent at a rate, at random moments (a Poisson process), answered or not."""
        rng, sent, due = random.Random(0), [], time.perf_counter()
        for text in texts:
            due += rng.expovariate(rate)
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sent.append(asyncio.create_task(self.send(text)))
        await asyncio.gather(*sent)

    def row(self, name: str, rate: float) -> list[str]:
        statuses = ", ".join(f"{n} x {s}" for s, n in Counter(self._statuses()).most_common())
        answered = self.seconds.get(200, [])
        refused = self.seconds.get(503, [])
        return [
            name,
            f"{rate:.1f}",
            statuses,
            *(f"{1000 * percentile(answered, p):.0f}" for p in (50, 99)),
            f"{1000 * percentile(refused, 99):.0f}" if refused else "",
        ]

    def _statuses(self) -> list[int]:
        return [status for status, seconds in self.seconds.items() for _ in seconds]


def percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def megabytes(pid: int) -> float:
    """The memory that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024


async def measure(address: str, pid: int, alone: float, options: argparse.Namespace) -> None:
    texts = mixed_texts(options.requests)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=120) as client:
        await Load(client).by_clients(texts[:100], options.clients)  # warm
        load, overload, short = Load(client), Load(client), Load(client)
        rate = await load.by_clients(texts, options.clients)
        await overload.at_rate(texts, 3 * rate)
        columns = ["", "texts/s", "answers", "p50 ms", "p99 ms", "p99 of 503, ms"]
        rows = [["alone", f"{alone:.1f}", "", "", "", ""]]
        rows += [load.row(f"{options.clients} clients", rate), overload.row("3 x", 3 * rate)]
        print(format_table(columns, rows))
        print(f"throughput: {rate / alone:.2f} of the model's own")
        for part in range(1, 6):
            before = megabytes(pid)
            await short.by_clients(["Rain fell all day."] * (options.memory // 5), options.clients)
            print(f"memory: {before:.1f} to {megabytes(pid):.1f} MB, part {part} of 5", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--memory", type=int, default=20_000, help="requests; 0 for none")
    options = parser.parse_args()
    alone = rate_alone(options.run, mixed_texts(options.requests))
    os.sched_setaffinity(0, {CLIENT})
    # As many may wait as there are clients: the load just fits, and what is beyond is refused.
    with serving(options.run, options.clients) as (address, pid):
        asyncio.run(measure(address, pid, alone, options))


if __name__ == "__main__":
    main()
