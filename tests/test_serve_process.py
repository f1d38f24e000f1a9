"""`mtl serve` as a process: signals, workers, and a port."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from processes import Process
from serving import ADDRESS

import mtl
from mtl.cli.main import main
from mtl.serve.server import serve
from mtl.serve.settings import ServeSettings
from mtl.tasks.ner import NERTask

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
BODY = {"texts": ["Alice lives in Oslo ."]}
KEY = {"Authorization": "Bearer secret"}


def slow_model(folder):
    """A model whose passes take a moment, so that there is something to wait for at the end."""
    model = mtl.MultiTaskModel.from_pretrained(folder)
    forward = model.encoder.forward

    def slow(*args, **kwargs):
        time.sleep(0.3)
        return forward(*args, **kwargs)

    model.encoder.forward = slow
    return model


def serve_slowly(folder):
    serve(ServeSettings({"slow": folder}, port=0), slow_model)


@pytest.fixture
def folder(build_model, tmp_path):
    build_model([NERTask("ner", types=["PER"])]).save_pretrained(tmp_path / "model")
    return str(tmp_path / "model")


def wait_until_ready(address):
    for _ in range(400):
        with contextlib.suppress(httpx.ConnectError):  # it listens a moment after it says where
            return httpx.get(f"{address}/ready").raise_for_status()
        time.sleep(0.05)
    raise AssertionError("it does not listen")


@contextlib.contextmanager
def started(function, *arguments):
    """A process that serves, and its address."""
    process = Process(function, *arguments)
    try:
        address = next(found[0] for line in process.stderr if (found := re.search(ADDRESS, line)))
        wait_until_ready(address)
        yield process, address
    finally:
        process.kill()


def test_sigterm_answers_what_has_arrived_and_refuses_the_rest(folder):
    async def talk(process, address):
        async with httpx.AsyncClient(base_url=address, timeout=20) as client:
            answers = [asyncio.create_task(client.post("/v1/predict", json=BODY)) for _ in range(9)]
            await asyncio.sleep(0.2)  # one is being computed, the others wait
            os.kill(process._process.pid, signal.SIGTERM)
            answered = await asyncio.gather(*answers)
            with pytest.raises(httpx.ConnectError):
                await client.post("/v1/predict", json=BODY)
            return answered

    with started(serve_slowly, folder) as (process, address):
        answered = asyncio.run(talk(process, address))
        assert [response.status_code for response in answered] == [200] * 9
        status, _, err = process.finish(timeout=20)
    assert status == -signal.SIGTERM  # as any process that ends by this signal
    assert "Traceback" not in err


def test_sighup_loads_the_folder_again_and_a_broken_one_changes_nothing(folder, build_model):
    def tasks(address):
        (model,) = httpx.get(f"{address}/v1/models").json()["models"]
        return [task["name"] for task in model["tasks"]]

    def hang_up(process, until):
        os.kill(process._process.pid, signal.SIGHUP)
        return next(line for line in process.stderr if until in line)

    with started(main, ["serve", folder, "--port", "0"]) as (process, address):
        assert tasks(address) == ["ner"]
        build_model([NERTask("names", types=["PER"])]).save_pretrained(folder)
        hang_up(process, "loaded again: model")
        assert tasks(address) == ["names"]
        (Path(folder) / "model.safetensors").write_bytes(b"broken")
        hang_up(process, "the old ones stay")
        assert httpx.post(f"{address}/v1/predict", json=BODY).status_code == 200


def test_a_client_that_hangs_up_or_stammers_disturbs_nobody(folder):
    with started(main, ["serve", folder, "--port", "0", "--timeout", "0.3"]) as (process, address):
        where = ("127.0.0.1", int(address.split(":")[-1]))
        head = b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        idle = [socket.create_connection(where) for _ in range(20)]  # say nothing at all
        for sent in (b"\x00\xff\r\n\r\n", head, head + b"Content-Length: 40\r\n\r\n{"):
            with socket.create_connection(where) as gone:
                gone.sendall(sent)
        with socket.create_connection(where, timeout=10) as slow:
            slow.sendall(head + b"Content-Length: 40\r\n\r\n{")
            assert slow.recv(1000).startswith(b"HTTP/1.1 408")
        assert httpx.post(f"{address}/v1/predict", json=BODY).status_code == 200
        for connection in idle:
            connection.close()
        process.kill()
        assert "Traceback" not in process.stderr.read()


def test_a_port_that_is_taken_is_an_error(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        status, _, err = Process(main, ["serve", folder, "--port", port]).finish(timeout=20)
    assert status == 2
    assert "Address already in use" in err
    assert "--port" in err


def test_a_folder_that_is_not_there_is_an_error(mtl_, tmp_path):
    status, _, err = mtl_("serve", tmp_path / "nothing", "--port", 0)
    assert status == 1
    assert "no such model folder" in err


def test_an_impossible_option_is_an_error(mtl_, folder):
    status, _, err = mtl_("serve", folder, "--timeout", "-1", "--max-queue", 0)
    assert status == 2
    assert "timeout must" in err
    assert "max_queue must" in err


def test_without_its_libraries_it_says_how_to_get_them(mtl_, folder, monkeypatch):
    monkeypatch.delitem(sys.modules, "mtl.serve.server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    status, _, err = mtl_("serve", folder)
    assert status == 2
    assert "needs the extra 'serve'" in err


def test_an_open_door_is_noted(mtl_, folder, monkeypatch):
    monkeypatch.setattr("mtl.serve.server.serve", lambda *_: None)
    monkeypatch.delenv("MTL_API_KEY", raising=False)
    assert "MTL_API_KEY" in mtl_("serve", folder, "--host", "0.0.0.0")[2]
    assert not mtl_("serve", folder)[2]
    monkeypatch.setenv("MTL_API_KEY", "secret")
    assert not mtl_("serve", folder, "--host", "0.0.0.0")[2]


@pytest.mark.slow
def test_workers_answer_are_replaced_and_reload(folder, build_model, tmp_path):
    """Workers are fresh interpreters, each of which has to load torch: some ten seconds in all."""
    command = [sys.executable, "-m", "mtl", "serve", folder, "--workers", "2", "--port", "0"]
    environment = os.environ | {"MTL_API_KEY": "secret", "PYTHONPATH": os.pathsep.join(sys.path)}
    log = tmp_path / "log"

    def wait_for(pattern, times=1):
        for _ in range(1200):
            if len(found := re.findall(pattern, log.read_text())) >= times:
                return found
            time.sleep(0.05)
        raise AssertionError(log.read_text())

    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, stdout=file, env=environment)
    try:
        address = wait_for(ADDRESS, 2)[0]
        wait_until_ready(address)
        pids = [int(pid) for pid in wait_for(r"Started server process \[(\d+)\]", 2)]

        def predict():
            return httpx.post(f"{address}/v1/predict", json=BODY, headers=KEY, timeout=20)

        assert [predict().status_code for _ in range(20)] == [200] * 20
        metrics = httpx.get(f"{address}/metrics").text  # of both, whichever answers
        assert 'mtl_requests_total{endpoint="/v1/predict",status="200"} 20.0' in metrics

        os.kill(pids[0], signal.SIGKILL)
        wait_for("startup complete", 3)
        assert [predict().status_code for _ in range(10)] == [200] * 10

        build_model([NERTask("names", types=["PER"])]).save_pretrained(folder)
        reloaded = httpx.post(f"{address}/v1/reload", headers=KEY, timeout=20)
        assert reloaded.status_code == 200
        wait_for("loaded again", 3)  # the one that was asked, then both by the signal
        for _ in range(20):
            assert predict().json()["predictions"][0].keys() == {"names"}

        (Path(folder) / "config.json").write_text("{")
        process.send_signal(signal.SIGHUP)
        wait_for("the old ones stay", 2)
        assert [predict().status_code for _ in range(10)] == [200] * 10
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert "Traceback" not in log.read_text()
