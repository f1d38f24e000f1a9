"""`mtl serve`: its endpoints give what the model gives, and every fault is told in our words."""

import asyncio
import json
import logging
import random
from dataclasses import asdict

import pytest
from serving import Gate, ask, fault_of, running, service_of
from small_models import LONG, many_task_model  # noqa: F401

from mtl.errors import ConfigError, ModelError
from mtl.serve import schemas
from mtl.serve.settings import ServeSettings, named_folders

TEXTS = [
    "Alice lives in Oslo .",
    "Rain .",
    LONG,
    "Bob left Acme in Lima after a long day , he said .",
]
QUESTION, CONTEXT = "Where does Alice live ?", "Alice lives in Oslo . Bob lives in Lima ."


@pytest.fixture
def model(many_task_model):  # noqa: F811
    return many_task_model


@pytest.fixture
def service(model):
    return service_of({"small": model})


def close(one, other):
    """Plain values are the same, but for the rounding of numbers."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        assert all(close(one[key], other[key]) for key in one)
    elif isinstance(one, list):
        assert len(one) == len(other)
        assert all(map(close, one, other))
    else:
        assert one == (pytest.approx(other, abs=1e-5) if isinstance(other, float) else other)
    return True


# --- what the endpoints give ----------------------------------------------------------------------


def test_texts_of_many_requests_get_what_each_gets_alone(model, service):
    """They are batched with each other, in any order and with padding."""
    texts = TEXTS * 3

    async def talk():
        async with running(service) as client:
            return await asyncio.gather(
                *(client.post("/v1/predict", json={"texts": [text]}) for text in texts),
                client.post("/v1/predict", json={"texts": texts}),
                client.post("/v1/predict", json={"pairs": [[QUESTION, CONTEXT]] * 3}),
            )

    *single, together, pairs = [response.json()["predictions"] for response in asyncio.run(talk())]
    alone = [model.predict(text).to_dict() for text in texts]
    close([prediction for (prediction,) in single], alone)
    close(together, alone)
    close(pairs, [model.predict((QUESTION, CONTEXT)).to_dict()] * 3)


def test_texts_come_before_pairs_each_with_the_tasks_that_read_it(model, service):
    body = {"pairs": [[QUESTION, CONTEXT]], "texts": TEXTS[:2]}
    (response,) = ask(service, ("/v1/predict", body))
    one, other, pair = response.json()["predictions"]
    assert one.keys() == other.keys() == {"topic", "ner", "vector"}
    assert pair.keys() == {"qa"}


def test_one_pass_of_the_encoder_serves_every_task(model, service, monkeypatch):
    gate = Gate(monkeypatch, model)
    gate.open.set()
    body = {"texts": TEXTS[:1], "tasks": ["ner", "topic", "vector"]}
    (response,) = ask(service, ("/v1/predict", body))
    assert response.json()["predictions"][0].keys() == {"ner", "topic", "vector"}
    assert gate.rows == [1]


def test_requests_that_come_together_share_a_pass(model, service, monkeypatch):
    gate = Gate(monkeypatch, model)

    async def talk():
        async with running(service) as client:
            body = {"texts": ["Alice left ."], "tasks": ["ner"]}
            first = asyncio.create_task(client.post("/v1/predict", json=body))
            await gate.wait_until_reached()
            others = [asyncio.create_task(client.post("/v1/predict", json=body)) for _ in range(8)]
            while len(service.queue) < 8:
                await asyncio.sleep(0.001)
            gate.open.set()
            return await asyncio.gather(first, *others)

    assert all(response.status_code == 200 for response in asyncio.run(talk()))
    assert gate.rows == [1, 8]


@pytest.mark.parametrize("n", [1, 3])
def test_answers_are_those_of_the_model(model, service, n):
    questions = [QUESTION, "Who lives in Lima ?"]
    body = {"questions": questions, "contexts": [CONTEXT], "n": n}
    (response,) = ask(service, ("/v1/answer", body))
    expected = [answer.to_dict() for answer in model.answer(questions, CONTEXT, n=n)]
    close(response.json()["answers"], expected)


def test_vectors_and_neighbours_are_those_of_the_model(model, service):
    encoded, found = ask(
        service,
        ("/v1/encode", {"texts": TEXTS}),
        ("/v1/nearest", {"query": "Alice left .", "texts": TEXTS, "n": 2}),
    )
    close(encoded.json()["vectors"], model.encode(TEXTS).tolist())
    neighbours = [asdict(neighbour) for neighbour in model.nearest("Alice left .", TEXTS, n=2)]
    close(found.json()["neighbours"], neighbours)


def test_a_model_without_an_embedding_task_gives_the_mean_of_its_hidden_states(build_model):
    from mtl.tasks.ner import NERTask

    bare = build_model([NERTask("ner", types=["PER"])]).eval()
    (response,) = ask(service_of({"bare": bare}), ("/v1/encode", {"texts": TEXTS[:2]}))
    close(response.json()["vectors"], bare.encode(TEXTS[:2]).tolist())


def test_the_models_and_their_tasks_are_listed(service):
    (response,) = ask(service, ("/v1/models",))
    (small,) = response.json()["models"]
    assert small["name"] == "small"
    reads = {task["name"]: task["reads"] for task in small["tasks"]}
    assert reads["ner"] == ["text"]
    assert reads["qa"] == ["question", "context"]


def test_each_of_several_models_answers_for_itself(model, build_model):
    from mtl.tasks.ner import NERTask

    other = build_model([NERTask("names", types=["PER"])]).eval()
    services = {"one": model, "other": other}
    body = {"texts": ["Alice left ."]}
    right, unknown, unnamed = ask(
        service_of(services),
        ("/v1/predict", body | {"model": "other"}),
        ("/v1/predict", body | {"model": "othr"}),
        ("/v1/predict", body),
    )
    assert right.json()["predictions"][0].keys() == {"names"}
    assert 'did you mean "other"?' in fault_of(unknown)["fix"]
    assert fault_of(unnamed)["what"] == "which model?"


def test_what_is_answered_is_what_the_docs_say(service):
    schema, *responses = ask(
        service,
        ("/openapi.json",),
        ("/v1/predict", {"texts": TEXTS[:1]}),
        ("/v1/answer", {"questions": [QUESTION], "contexts": [CONTEXT]}),
        ("/v1/encode", {"texts": TEXTS[:1]}),
        ("/v1/nearest", {"query": "a", "texts": TEXTS}),
        ("/v1/models",),
        ("/v1/predict", {"texts": [""]}),
    )
    names = ("Predict", "Answer", "Encode", "Nearest", "Models")
    for name, response in zip(names, responses, strict=False):
        getattr(schemas, f"{name}Response").model_validate(response.json())
    schemas.Problems.model_validate(responses[-1].json())
    described = schema.json()
    assert {"/v1/predict", "/v1/reload", "/health", "/ready"} <= described["paths"].keys()
    example = described["components"]["schemas"]["AnswerRequest"]["properties"]["questions"]
    assert example["examples"]


# --- what cannot be used --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "where", "what"),
    [
        ({"texts": ["a", " "]}, "texts[1]", "the text is empty"),
        ({"texts": ["a", "\ud83d"]}, "texts[1]", "half a character"),
        ({"texts": ["a", 3]}, "texts[1]", "not a text"),
        ({"texts": "a"}, "texts", "not a list"),
        ({"texts": None}, "texts", "not a list"),
        ({"texts": ["a"], "tasks": [1]}, "tasks[0]", "not a text"),
        ({"texts": ["a"], "tasks": []}, "tasks", "no task is named"),
        ({"texts": ["a"], "tasks": ["nre"]}, "tasks", "no such task"),
        ({"texts": ["a"], "tasks": ["qa"]}, "tasks", "reads pairs of texts"),
        ({"texts": ["a"], "text": "b"}, "body", "unknown key"),
        ({"texts": ["a"], "\ud83d": "b"}, "body", "unknown key"),
        ({"texts": ["a"], "model": "\ud83d"}, "model", "no such model"),
        ({"texts": []}, "texts and pairs", "nothing to read"),
        ({}, "texts and pairs", "nothing to read"),
        ({"pairs": [["a", ""]]}, "pairs[0]", "second text"),
        ({"pairs": [["a"]]}, "pairs[0]", "too short"),
        ({"pairs": [["a", "b", "c"]]}, "pairs[0]", "too long"),
        ({"pairs": [{"question": "a"}]}, "pairs[0]", "not a list"),
        ({"pairs": [["Who ? " * 40, "Alice ."]]}, "pairs[0]", "the question has"),
        ({"texts": ["word " * 30]}, "texts[0]", "too long"),
        ({"texts": ["a"] * 6}, "texts and pairs", "too many"),
        ([1], "body", "not a JSON object"),
        (float("nan"), "body", "not a JSON object"),
    ],
)
def test_a_bad_request_is_told_what_where_and_what_to_do(model, body, where, what):
    longest = 300 if "pairs" in str(body) else 120
    service = service_of({"small": model}, max_texts=5, max_length=longest)

    async def talk():
        async with running(service) as client:
            headers = {"Content-Type": "application/json"}
            return await client.post("/v1/predict", content=json.dumps(body), headers=headers)

    fault = fault_of(asyncio.run(talk()))
    assert fault["where"] == where
    assert what in fault["what"]
    assert not fault["what"].startswith("example")  # its number among others means nothing here


def test_every_text_that_cannot_be_used_is_listed(service):
    (response,) = ask(service, ("/v1/predict", {"texts": ["", "a", "  "]}))
    assert [fault["where"] for fault in response.json()["errors"]] == ["texts[0]", "texts[2]"]


@pytest.mark.parametrize(
    ("path", "body", "what"),
    [
        ("/v1/answer", {"questions": ["a"], "contexts": ["b"], "n": 0}, "too small"),
        ("/v1/answer", {"questions": ["a"], "contexts": ["b"], "n": 99}, "number of answers"),
        ("/v1/answer", {"questions": ["a"], "contexts": ["b"], "n": "1"}, "not a whole number"),
        ("/v1/answer", {"questions": ["a"], "contexts": ["b"], "task": "ner"}, "single texts"),
        ("/v1/answer", {"questions": ["a", "b"], "contexts": ["b"] * 3}, "differ in number"),
        ("/v1/answer", {"questions": ["a"]}, "missing"),
        ("/v1/encode", {"texts": ["a"], "task": "ner"}, "gives no vectors"),
        ("/v1/nearest", {"query": "", "texts": ["a"]}, "empty"),
        ("/v1/nearest", {"query": "a", "texts": []}, "nothing to read"),
        ("/v1/nearest", {"query": ["a"], "texts": ["a"]}, "not a text"),
    ],
)
def test_the_other_endpoints_check_too(service, path, body, what):
    (response,) = ask(service, (path, body))
    assert what in fault_of(response)["what"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"n": 1' + b"0" * 5000 + b"}", b'{"texts": ["a"'],
    ids=["empty", "cut", "no UTF-8", "deep", "huge number", "cut list"],
)
def test_a_body_that_is_no_json_is_refused(service, content):
    async def talk():
        async with running(service) as client:
            headers = {"Content-Type": "application/json"}
            return await client.post("/v1/predict", content=content, headers=headers)

    assert "JSON" in fault_of(asyncio.run(talk()))["what"]


def test_a_form_is_not_taken_for_json(service):
    """A page in a browser can send one to any address, without asking first (CORS)."""

    async def talk():
        async with running(service) as client:
            headers = {"Content-Type": "text/plain"}
            return await client.post("/v1/predict", content='{"texts": ["a"]}', headers=headers)

    assert "Content-Type: application/json" in fault_of(asyncio.run(talk()))["fix"]


def random_value(rng, depth=0):
    """Any JSON, nested a little, with strange texts and numbers."""
    kinds = ["text", "number", "none", "bool"] + ["list", "dict"] * (depth < 3)
    kind = rng.choice(kinds)
    if kind == "list":
        return [random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == "dict":
        keys = ["texts", "pairs", "tasks", "model", "n", "", "\ud800"]
        return {rng.choice(keys): random_value(rng, depth + 1) for _ in range(rng.randrange(4))}
    if kind == "text":
        return rng.choice(["", "a", "\ud800", "\x00", "é" * 50, "ner", "small", "<script>"])
    return {"number": rng.choice([0, -1, 1e308, 10**30, float("inf")]), "bool": True}.get(kind)


def test_random_requests_never_break_it(service, caplog):
    rng = random.Random(0)
    paths = ["/v1/predict", "/v1/answer", "/v1/encode", "/v1/nearest"]
    headers = {"Content-Type": "application/json"}

    async def talk():
        async with running(service) as client:
            for _ in range(200):
                content = json.dumps(random_value(rng))
                if rng.random() < 0.2:
                    content = content[: rng.randrange(len(content))]
                response = await client.post(rng.choice(paths), content=content, headers=headers)
                assert response.status_code in (200, 422), content
                assert "Traceback" not in response.text
            return await client.post("/v1/predict", json={"texts": ["Alice left ."]})

    assert asyncio.run(talk()).status_code == 200
    assert "Traceback" not in caplog.text


def test_an_unknown_place_or_method_is_told_so(service):
    unknown, method = ask(service, ("/v1/nothing",), ("/v1/predict",))
    assert fault_of(unknown, 404)["where"] == "GET /v1/nothing"
    assert fault_of(method, 405)["fix"] == "/docs lists all endpoints"


def test_an_error_inside_a_task_is_not_shown_and_spoils_no_other_text(
    model, service, monkeypatch, caplog
):
    decode = model.tasks["ner"].decode

    def broken(outputs, batch):
        if any("Bob" in item.example.text for item in batch.items):
            raise ZeroDivisionError("a secret of the model")
        return decode(outputs, batch)

    monkeypatch.setattr(model.tasks["ner"], "decode", broken)
    gate = Gate(monkeypatch, model)

    async def talk():
        async with running(service) as client:
            texts = ["Rain .", "Alice left .", "Bob left .", "Zoe left ."]
            asked = []
            for text in texts:
                body = {"texts": [text], "tasks": ["ner"]}
                asked.append(asyncio.create_task(client.post("/v1/predict", json=body)))
                await gate.wait_until_reached()  # by the first; then the others share a pass
            while len(service.queue) < 3:
                await asyncio.sleep(0.001)
            gate.open.set()
            return await asyncio.gather(*asked)

    first, alice, bob, zoe = asyncio.run(talk())
    assert [response.status_code for response in (first, alice, zoe)] == [200] * 3
    assert fault_of(bob, 500)["what"] == "the model could not compute this"
    assert "secret" not in bob.text
    assert "a secret of the model" in caplog.text


# --- the log, and the settings --------------------------------------------------------------------


@pytest.mark.parametrize("log_texts", [False, True])
def test_texts_are_logged_only_if_asked_for(model, caplog, log_texts):
    caplog.set_level(logging.DEBUG)
    service = service_of({"small": model}, log_texts=log_texts)
    ask(service, ("/v1/predict", {"texts": ["Alice left ."]}), ("/v1/predict", {"text": "Bob ."}))
    assert ("Alice" in caplog.text) == log_texts
    assert "Bob" not in caplog.text


def test_a_run_is_called_by_its_folder_unless_it_is_named(tmp_path):
    assert named_folders(["runs/practical7/1", "my-model/", "x=runs/a"]) == {
        "practical7/1": "runs/practical7/1",
        "my-model": "my-model/",
        "x": "runs/a",
    }
    (tmp_path / "a=b").mkdir()
    assert named_folders([str(tmp_path / "a=b")]) == {"a=b": str(tmp_path / "a=b")}
    with pytest.raises(ConfigError, match=r"same name(.|\n)*OTHER=b/mine"):
        named_folders(["a/mine", "b/mine"])


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match="would never fit") as error:
        ServeSettings({}, max_texts=9, max_queue=8, timeout=0)
    assert len(error.value.faults) == 2


def test_the_key_does_not_appear_where_settings_are_printed():
    assert "secret" not in repr(ServeSettings({}, key="secret"))


def test_only_an_open_door_without_a_key_is_open():
    assert ServeSettings({}, host="0.0.0.0").is_open
    assert not ServeSettings({}, host="0.0.0.0", key="secret").is_open
    assert not ServeSettings({}).is_open


def test_a_folder_that_cannot_be_used_is_an_error_before_anything_is_served():
    def load(folder):
        raise ModelError("there is no such model folder", path=folder)

    from mtl.serve.service import Service

    with pytest.raises(ModelError, match="no such model folder"):
        Service(ServeSettings({"a": "nowhere"}), load)
