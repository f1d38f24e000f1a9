"""Options come in; how to serve, with every value checked, goes out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import ConfigError, Fault
from ..settings import check, setting

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServeSettings:
    """How to serve.

    Args:
        folders: the folder of each model, by the name that requests call it; see `named_folders`.
        host: the address to listen on; by default only this machine can connect.
        port: 0 for any free one.
        workers: processes, each with its own copy of the models.
        threads: those that torch may use in each process; 0 for all cores, divided by the workers.
        max_body: most bytes in the body of a request.
        max_texts: most texts, or pairs of texts, in a request.
        max_length: most characters in a text.
        max_queue: most texts that wait in one process; requests beyond are refused (503).
        timeout: seconds until a request must have arrived (408) and been answered (504).
        cors: the origins whose pages may call the service from a browser.
        log_texts: whether the texts of requests appear in the log.
        key: what clients have to show, as `Authorization: Bearer KEY`; empty for no key.
        modules: to import first, for tasks of your own.

    Raises:
        ConfigError: an impossible value; a request that could never fit into the queue.
    """

    folders: dict[str, str]
    host: str = "127.0.0.1"
    port: int = setting(8000, least=0, most=65535)
    workers: int = setting(1, least=1)
    threads: int = setting(0, least=0)
    max_body: int = setting(1_000_000, least=1)
    max_texts: int = setting(128, least=1)
    max_length: int = setting(20_000, least=1)
    max_queue: int = setting(512, least=1)
    timeout: float = setting(30.0, above=0, most=3600)
    cors: Sequence[str] = ()
    log_texts: bool = False
    key: str = field(default="", repr=False)
    modules: Sequence[str] = ()

    def __post_init__(self) -> None:
        check(self)

    def contradictions(self, wrong: Collection[str]) -> list[Fault]:
        """What does not go together; see `mtl.settings.check`."""
        if {"max_texts", "max_queue"} & set(wrong) or self.max_texts <= self.max_queue:
            return []
        return [
            Fault(
                "a request with as many texts as allowed would never fit into the queue",
                found=f"max_texts {self.max_texts}, max_queue {self.max_queue}",
                fix="raise max_queue, or lower max_texts",
            )
        ]

    @property
    def address(self) -> str:
        """Where the service listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def is_open(self) -> bool:
        """Whether anybody on the network may use the service."""
        return self.host not in LOOPBACK and not self.key


def named_folders(runs: Sequence[str]) -> dict[str, str]:
    """The folder of each model by its name.

    Args:
        runs: each a folder, or `NAME=FOLDER`. A folder alone is called by its last part, a numbered
            run by the last two: `runs/practical7/1` is `practical7/1`.

    Raises:
        ConfigError: two models of the same name.
    """
    folders: dict[str, str] = {}
    for run in runs:
        name, _, folder = run.partition("=")
        if not folder or Path(run).is_dir():
            name, folder = _name_of(run), run
        if name in folders:
            raise ConfigError(
                "two models have the same name",
                found=f"{name!r}: {folders[name]} and {folder}",
                fix=f"name one of them: OTHER={folder}",
            )
        folders[name] = folder
    return folders


def _name_of(folder: str) -> str:
    parts = Path(folder).absolute().parts
    return "/".join(parts[-2:] if parts[-1].isdigit() else parts[-1:])
