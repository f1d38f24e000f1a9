"""Processes of their own that start at once: they fork from a server that has torch and mtl.

A fresh `python -m mtl` imports torch first, which takes seconds each time. The server is a fresh
interpreter too: it has seen none of the tests, their patches or their tensors.
"""

import contextlib
import multiprocessing
import os
import sys

import torch

LOADED = [
    *("mtl.api", "mtl.cli.main", "mtl.cli.predict", "mtl.cli.train", "mtl.serve.server"),
    *("matplotlib.pyplot", "torch._dynamo"),  # the last is loaded by any optimizer
]
CONTEXT = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
if os.name == "posix":
    CONTEXT.set_forkserver_preload(LOADED)


class Process:
    """Calls `function(*arguments)` elsewhere; `stdin`, `stdout` and `stderr` are text files here.

    What the function returns is the exit status, as for `sys.exit`: None is 0.
    The function must be one of a module, so that the other process finds it by its name. What it
    prints to stdout and stderr without being read must fit into a pipe (64 KB).
    """

    def __init__(self, function, *arguments, cwd="."):
        pipes = [CONTEXT.Pipe(duplex=False) for _ in range(3)]  # (to read from, to write to)
        (stdin, self._stdin), (self._stdout, stdout), (self._stderr, stderr) = pipes
        theirs = (stdin, stdout, stderr)
        self._process = CONTEXT.Process(
            target=_run,
            args=(function, arguments, theirs, str(cwd), dict(os.environ)),
            daemon=True,  # it never outlives the tests
        )
        self._process.start()
        for end in theirs:
            end.close()  # here; or nobody would see the end of a file
        self.stdin = os.fdopen(os.dup(self._stdin.fileno()), "w")
        self.stdout = os.fdopen(os.dup(self._stdout.fileno()))
        self.stderr = os.fdopen(os.dup(self._stderr.fileno()))
        for end in (self._stdin, self._stdout, self._stderr):
            end.close()

    def kill(self):
        self._process.kill()

    def wait(self, timeout=None):
        """Its exit status; minus the number of the signal that killed it."""
        self._process.join(timeout)
        assert self._process.exitcode is not None, f"still running after {timeout} s"
        return self._process.exitcode

    def is_running(self):
        return self._process.is_alive()

    def finish(self, typed="", timeout=300):
        """Type this, then nothing more; its exit status, and the rest of its stdout and stderr."""
        with contextlib.suppress(BrokenPipeError):  # it does not read, or is gone
            self.stdin.write(typed)
            self.stdin.close()
        out, err = self.stdout.read(), self.stderr.read()
        return self.wait(timeout), out, err


def _run(function, arguments, pipes, cwd, environment):
    """In the new process: as if a shell had started it with these pipes, here, like this."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, pipe in enumerate(pipes):
        os.dup2(pipe.fileno(), number)
        pipe.close()
    sys.stdin = os.fdopen(0, encoding="utf-8")
    sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1)
    torch.set_num_threads(1)
    sys.exit(function(*arguments))
