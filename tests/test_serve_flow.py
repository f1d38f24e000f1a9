"""`mtl serve` under stress: a full queue, slow and vanished clients, keys, reloads, the end."""

import asyncio

import httpx
import pytest
from serving import Gate, ask, fault_of, running, service_of
from small_models import many_task_model  # noqa: F401

from mtl.errors import ModelError

BODY = {"texts": ["Alice left ."], "tasks": ["ner"]}
KEY = {"Authorization": "Bearer secret"}


@pytest.fixture
def model(many_task_model):  # noqa: F811
    return many_task_model


def post(client, body=BODY, path="/v1/predict", **options):
    return asyncio.create_task(client.post(path, json=body, **options))


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def metric(text, name):
    return next(line.split()[-1] for line in text.splitlines() if line.startswith(name))


# --- more than it can bear ------------------------------------------------------------------------


def test_a_full_queue_refuses_at_once_and_answers_what_waits(model, monkeypatch):
    gate = Gate(monkeypatch, model)
    service = service_of({"small": model}, max_texts=2, max_queue=3)

    async def talk():
        async with running(service) as client:
            first = post(client)
            await gate.wait_until_reached()
            waiting = [post(client) for _ in range(3)]
            await until(lambda: len(service.queue) == 3)
            refused = await post(client)
            metrics = await client.get("/metrics")
            gate.open.set()
            return refused, metrics, await asyncio.gather(first, *waiting)

    refused, metrics, answered = asyncio.run(talk())
    assert fault_of(refused, 503)["what"] == "the service is busy"
    assert int(refused.headers["Retry-After"]) >= 1
    assert metric(metrics.text, "mtl_queue_texts") == "3.0"
    assert [response.status_code for response in answered] == [200] * 4


def test_a_text_that_took_too_long_is_told_so_and_not_computed(model, monkeypatch):
    gate = Gate(monkeypatch, model)
    service = service_of({"small": model}, timeout=0.05)

    async def talk():
        async with running(service) as client:
            first = post(client)
            await gate.wait_until_reached()
            late = await post(client)
            gate.open.set()
            return await first, late, await post(client)

    first, late, after = asyncio.run(talk())
    assert fault_of(first, 504)["found"] == fault_of(late, 504)["found"] == "more than 0.05 s"
    assert after.status_code == 200
    assert gate.rows == [1, 1]  # the first, which was being computed, and the last


def test_a_client_that_leaves_is_not_computed_for(model, monkeypatch):
    gate = Gate(monkeypatch, model)
    service = service_of({"small": model})

    async def talk():
        async with running(service) as client:
            first = post(client)
            await gate.wait_until_reached()
            messages = [
                {"type": "http.request", "body": httpx.Request("POST", "/", json=BODY).content}
            ]
            left = asyncio.Event()

            async def receive():
                if messages:
                    return messages.pop()
                await left.wait()
                return {"type": "http.disconnect"}

            app = client._transport.app
            headers = [(b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": "/v1/predict", "headers": headers}
            scope |= {"query_string": b"", "http_version": "1.1", "asgi": {"version": "3.0"}}

            async def send(message):
                pass

            gone = asyncio.create_task(app(scope, receive, send))
            await until(lambda: len(service.queue) == 1)
            left.set()
            await gone
            gate.open.set()
            await first
            return await client.get("/metrics")

    metrics = asyncio.run(talk())
    assert gate.rows == [1]
    assert metric(metrics.text, 'mtl_requests_total{endpoint="/v1/predict",status="499"}') == "1.0"


def test_a_body_that_does_not_arrive_is_told_so(model):
    async def slow():
        yield b'{"texts"'
        await asyncio.sleep(5)

    async def talk():
        async with running(service_of({"small": model}, timeout=0.05)) as client:
            headers = {"Content-Type": "application/json"}
            return await client.post("/v1/predict", content=slow(), headers=headers)

    response = asyncio.run(talk())
    assert "took too long to arrive" in fault_of(response, 408)["what"]
    assert response.headers["Connection"] == "close"


def test_a_large_body_is_refused_before_it_is_read(model):
    read = 0

    async def pieces():
        nonlocal read
        for _ in range(100):
            read += 50
            yield b"x" * 50

    async def talk():
        async with running(service_of({"small": model}, max_body=120)) as client:
            announced = {"Content-Type": "application/json", "Content-Length": "5000"}
            one = await client.post("/v1/predict", content=pieces(), headers=announced)
            after_one = read
            other = await client.post("/v1/predict", content=pieces())
            body = {"texts": ["a" * 80]}
            return one, after_one, other, await client.post("/v1/predict", json=body)

    announced, after_announced, unannounced, small = asyncio.run(talk())
    assert fault_of(announced, 413)["found"] == "more than 120 bytes"
    assert after_announced == 0
    assert fault_of(unannounced, 413)["where"] == "body"
    assert read <= 200
    assert small.status_code == 200


# --- who may ask ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "secret"},
        {"Authorization": "Basic secret"},
        {"Authorization": "Bearer secret\xe9"},
    ],
)
def test_without_the_key_nothing_is_answered_but_whether_it_is_well(model, headers):
    async def talk():
        async with running(service_of({"small": model}, key="secret")) as client:
            paths = ("/v1/predict", "/v1/encode", "/v1/reload", "/v1/nothing")
            raw = {name: value.encode("latin-1") for name, value in headers.items()}
            # The body is not even looked at.
            refused = [await client.post(path, content="{", headers=raw) for path in paths]
            refused.append(await client.get("/v1/models", headers=raw))
            return refused, [await client.get(path) for path in ("/health", "/ready", "/metrics")]

    refused, well = asyncio.run(talk())
    for response in refused:
        assert "API key" in fault_of(response, 401)["what"]
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert [response.status_code for response in well] == [200] * 3


def test_with_the_key_everything_is_answered(model):
    async def talk():
        async with running(service_of({"small": model}, key="secret")) as client:
            lower = {"Authorization": "bearer secret"}
            return await post(client, headers=KEY), await client.get("/v1/models", headers=lower)

    assert [response.status_code for response in asyncio.run(talk())] == [200, 200]


def test_pages_of_other_origins_may_not_call_it_unless_asked_for(model):
    origin = {"Origin": "https://page.example"}
    before = origin | {"Access-Control-Request-Method": "POST"}

    async def talk(**settings):
        async with running(service_of({"small": model}, key="secret", **settings)) as client:
            return (
                await client.options("/v1/predict", headers=before),
                await post(client, headers=KEY | origin),
            )

    allow = "Access-Control-Allow-Origin"
    for response in asyncio.run(talk()):
        assert allow not in response.headers
    for response in asyncio.run(talk(cors=["https://page.example"])):
        assert response.status_code == 200
        assert response.headers[allow] == origin["Origin"]
    for response in asyncio.run(talk(cors=["https://other.example"])):
        assert response.headers.get(allow) != origin["Origin"]


# --- other models, and the end --------------------------------------------------------------------


def test_a_reload_changes_the_model_and_drops_no_request(model, build_model, monkeypatch):
    from mtl.tasks.ner import NERTask

    gate = Gate(monkeypatch, model)
    models = {"small": model}
    service = service_of(models, key="secret")
    body = {"texts": ["Alice left ."]}

    async def talk():
        async with running(service) as client:
            before = [post(client, body, headers=KEY)]
            await gate.wait_until_reached()
            before.append(post(client, body, headers=KEY))  # waits, and was meant for the old one
            await until(lambda: len(service.queue) == 1)
            models["small"] = build_model([NERTask("names", types=["PER"])]).eval()
            reloaded = await client.post("/v1/reload", headers=KEY)
            after = post(client, body, headers=KEY)
            gate.open.set()
            return reloaded, await asyncio.gather(*before), await after

    reloaded, before, after = asyncio.run(talk())
    assert [task["name"] for task in reloaded.json()["models"][0]["tasks"]] == ["names"]
    for response in before:
        assert response.json()["predictions"][0].keys() == {"topic", "ner", "vector"}
    assert after.json()["predictions"][0].keys() == {"names"}


def test_a_broken_folder_leaves_all_models_as_they_were(model, caplog):
    folders = {"one": model, "two": model}
    service = service_of(folders, key="secret")

    def load(folder):
        if folder == "two":
            raise ModelError("the file is broken", path="two/model.safetensors", fix="train again")
        return object()

    async def talk():
        async with running(service) as client:
            service.load = load
            broken = await client.post("/v1/reload", headers=KEY)
            return broken, await post(client, BODY | {"model": "one"}, headers=KEY)

    broken, after = asyncio.run(talk())
    fault = fault_of(broken, 500)
    assert fault["where"] == "two/model.safetensors"
    assert fault["fix"] == "train again"
    assert "the old ones stay" in caplog.text
    assert after.status_code == 200


def test_without_a_key_nobody_may_reload_over_http(model):
    async def talk():
        service = service_of({"small": model})
        async with running(service) as client:
            service.load = None
            return await client.post("/v1/reload")

    assert "MTL_API_KEY" in fault_of(asyncio.run(talk()), 403)["fix"]


def test_what_has_arrived_is_answered_before_it_ends(model, monkeypatch):
    gate = Gate(monkeypatch, model)
    service = service_of({"small": model})

    async def talk():
        async with running(service) as client:
            answers = [post(client)]
            await gate.wait_until_reached()
            answers += [post(client) for _ in range(5)]
            await until(lambda: len(service.queue) == 5)
            closing = asyncio.create_task(asyncio.to_thread(service.close))
            await until(lambda: service.queue._is_closed)
            refused = await post(client)
            gate.open.set()
            await closing
            return await asyncio.gather(*answers), refused, await client.get("/ready")

    answers, refused, ready = asyncio.run(talk())
    assert [response.status_code for response in answers] == [200] * 6
    assert "shutting down" in fault_of(refused, 503)["what"]
    assert ready.status_code == 503


def test_what_it_does_is_counted(model):
    (*_, metrics) = ask(
        service_of({"small": model}),
        ("/v1/predict", {"texts": ["Alice left .", "Bob left ."]}),
        ("/v1/predict", {"texts": [""]}),
        ("/nothing/1",),
        ("/nothing/2",),
        ("/metrics",),
    )
    text = metrics.text
    assert metric(text, 'mtl_requests_total{endpoint="/v1/predict",status="200"}') == "1.0"
    assert metric(text, 'mtl_requests_total{endpoint="/v1/predict",status="422"}') == "1.0"
    assert metric(text, 'mtl_requests_total{endpoint="other",status="404"}') == "2.0"
    assert metric(text, 'mtl_request_seconds_count{endpoint="/v1/predict"}') == "2.0"
    assert metric(text, "mtl_batch_texts_sum") == "2.0"
    # [CLS], three words or four, [SEP]
    assert metric(text, "mtl_batch_tokens_sum") == "10.0"
    assert metric(text, "mtl_queue_texts") == "0.0"
