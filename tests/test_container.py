"""The files for a container: what they promise, as far as it can be seen without building one."""

import re
import shutil
import subprocess

import pytest
from rehearse_container import DOCKERFILE, ROOT, command_of, instructions

from mtl.cli.parser import build_parser

FOLDER = DOCKERFILE.parent
STEPS = instructions(DOCKERFILE.read_text(encoding="utf-8"))


def rest_of(name):
    return [rest for found, rest in STEPS if found == name]


def test_it_does_not_run_as_root():
    (user,) = rest_of("USER")
    assert int(user) > 0
    assert any(f"useradd --create-home --uid {user} " in rest for rest in rest_of("RUN"))
    names = [name for name, _ in STEPS]
    assert names.index("USER") > max(i for i, name in enumerate(names) if name == "RUN")


def test_where_torch_comes_from_has_no_default():
    assert rest_of("ARG") == ["TORCH_INDEX"]
    assert "://" not in " ".join(rest_of("RUN"))


def test_its_torch_is_the_one_that_is_tested():
    (pinned,) = re.findall(r"^torch==.+$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pinned in " ".join(rest_of("RUN"))


def test_the_index_is_given_to_pip_only_if_there_is_one():
    (line,) = (rest for rest in rest_of("RUN") if "torch==" in rest)
    said = line.replace("pip install", "echo")

    def words(environment):
        done = subprocess.run(["sh", "-c", said], env=environment, capture_output=True, text=True)
        return done.stdout.split()

    assert words({}) == ["--no-cache-dir", "torch==2.13.0"]
    assert words({"TORCH_INDEX": "a b"})[1:4] == ["--index-url", "a", "b"]


def test_what_is_copied_is_there_and_not_ignored():
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text().split()
    assert ignored[0] == "*"
    for rest in rest_of("COPY"):
        for source in rest.split()[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in ignored


def test_its_command_is_one_of_ours_and_the_model_is_a_volume():
    python, *words = command_of(rest_of("ENTRYPOINT")[0])
    assert (python, words[:2]) == ("python", ["-m", "mtl"])
    options = build_parser().parse_args([*words[2:], *command_of(rest_of("CMD")[0])])
    assert options.folders == ["model=/model"]
    assert rest_of("VOLUME") == ["/model"]
    assert rest_of("EXPOSE") == [str(options.port)]
    (health,) = rest_of("HEALTHCHECK")
    assert f"http://127.0.0.1:{options.port}/ready" in health
    compile(command_of(health)[2], "health", "exec")


def test_compose_builds_it_and_prometheus_finds_it():
    yaml = pytest.importorskip("yaml")
    services = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
    ours = services["mtl"]
    assert (FOLDER / ours["build"]["context"] / ours["build"]["dockerfile"]).samefile(DOCKERFILE)
    assert all(port.startswith("127.0.0.1:") for s in services.values() for port in s["ports"])
    (mounted,) = (v.split(":")[0] for v in services["prometheus"]["volumes"])
    (job,) = yaml.safe_load((FOLDER / mounted).read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"mtl:{rest_of('EXPOSE')[0]}"]}]


def test_the_linter_finds_nothing():
    if not (hadolint := shutil.which("hadolint")):
        pytest.skip("hadolint is not installed")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
