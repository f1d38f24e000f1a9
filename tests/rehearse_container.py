"""The steps of the Dockerfile, done in a fresh environment where no container can be built.

    python tests/rehearse_container.py RUN [--torch-index ADDRESS]

It makes an empty virtual environment, copies the files that the Dockerfile copies, runs its `pip
install` lines, starts its entry point on the model in RUN, waits for its health check, asks for a
prediction, and stops it with SIGTERM. What it cannot try is what only a container has: the base
image, the user, the volume.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "mtl" / "serve" / "container" / "Dockerfile"


def instructions(text):
    """The instructions of a Dockerfile, each with the rest of its line."""
    joined = text.replace("\\\n", " ")
    lines = (line.strip() for line in joined.splitlines())
    return [tuple(line.split(None, 1)) for line in lines if line and not line.startswith("#")]


def command_of(rest):
    """The words of an instruction in exec form, after its options: `--timeout=5s CMD ["a"]`."""
    return json.loads(rest[rest.index("[") :])


def copy(rest, folder):
    *sources, target = rest.split()
    for source in sources:
        if (ROOT / source).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / source, folder / target, ignore=ignored)
        else:
            shutil.copy(ROOT / source, folder / target)


def rehearse(run, torch_index):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "app")
        folder.mkdir()
        subprocess.run([sys.executable, "-m", "venv", Path(place, "venv")], check=True)
        path = f"{Path(place, 'venv', 'bin')}{os.pathsep}{os.environ['PATH']}"
        environment = {"PATH": path, "HOME": place, "MTL_API_KEY": "rehearsal"}
        environment |= {k: v for k, v in os.environ.items() if k.startswith(("PIP_", "OMP_"))}
        words, health = [], []
        for name, rest in instructions(DOCKERFILE.read_text()):
            print(name, rest, flush=True)
            if name == "COPY":
                copy(rest, folder)
            elif name == "RUN" and not rest.startswith("useradd"):
                built = environment | {"TORCH_INDEX": torch_index}
                subprocess.run(["sh", "-c", rest], cwd=folder, env=built, check=True)
            elif name == "HEALTHCHECK":
                health = command_of(rest)
            elif name in ("ENTRYPOINT", "CMD"):
                words += [word.replace("/model", run) for word in command_of(rest)]
        process = subprocess.Popen(words, cwd=place, env=environment)
        try:
            wait_until_healthy(health, environment, process)
            print(ask())
        finally:
            process.send_signal(signal.SIGTERM)
        print("ended with", process.wait(60))


def wait_until_healthy(health, environment, process):
    for _ in range(60):
        if process.poll() is not None:
            raise SystemExit("it ended before it was healthy")
        if not subprocess.run(health, env=environment, stderr=subprocess.DEVNULL).returncode:
            return
        time.sleep(1)
    raise SystemExit("it is not healthy")


def ask():
    """The prediction for a text, as JSON."""
    request = urllib.request.Request(
        "http://127.0.0.1:8000/v1/predict",
        data=json.dumps({"texts": ["Alice lives in Oslo."]}).encode(),
        headers={"Content-Type": "application/json", "Authorization": "Bearer rehearsal"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.read().decode()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN", help="the folder of a model that reads single texts")
    parser.add_argument("--torch-index", default="", metavar="ADDRESS")
    options = parser.parse_args()
    rehearse(str(Path(options.run).absolute()), options.torch_index)
