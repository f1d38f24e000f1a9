"""The page of `mtl serve` in a real browser: what is marked is what the service found."""

import json
import re
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
import torch
from serving import service_of
from small_models import TYPES

from mtl.serve.app import build_app
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.embedding import EmbeddingTask
from mtl.tasks.ner import NERTask
from mtl.tasks.pair_classification import PairClassificationTask
from mtl.tasks.qa import QATask
from mtl.tasks.tagging import TaggingTask

playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
uvicorn = pytest.importorskip("uvicorn")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")

QUESTION, CONTEXT = "Who lives in Lima?", "🎉 Alice lives in Oslo. Bob lives in Lima."
TEXTS = {
    "plain": "Alice lives in Oslo.",
    "emoji": "👩‍👩‍👧 Zoë 🎉🎉 met Bob 🇳🇴 in Oslo 🏳️‍🌈.",
    "combining marks": "Ame\u0301lie moved to Sa\u0303o Paulo; Z\u0351\u036b\u0343alg\u0321o too.",
    "right to left": "أليس تعيش في أوسلو, and דנה lives in תל אביב 🎉.",
    "html": "<script>document.title = 'bad'</script> <b>Bob</b> &amp; <img src=x onerror=f()>",
    "lines": "Alice left.\n\n  Bob\tstayed in 𝔒𝔰𝔩𝔬.",
}
# What is marked: of each mark its text, and where it begins, in code points and without labels.
MARKS = """result => {
    const copy = result.cloneNode(true);
    const labels = [...copy.querySelectorAll("mark")].map(mark => mark.lastChild.textContent);
    copy.querySelectorAll("small").forEach(label => label.remove());
    return [...copy.querySelectorAll("mark")].map((mark, i) => {
        const before = document.createRange();
        before.setStart(mark.closest(".marked"), 0);
        before.setEndBefore(mark);
        return [[...before.toString()].length, mark.textContent, labels[i]];
    });
}"""


@contextmanager
def served(models, **settings):
    """The address of a service in a thread, on a port of its own."""
    app = build_app(service_of(models, **settings))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as play:
        options = {"executable_path": CHROMIUM, "args": ["--no-sandbox"]}
        yield (chromium := play.chromium.launch(**options))
        chromium.close()


@pytest.fixture(scope="module")
def model(build_model):
    """A model with random weights that finds an entity in every word."""
    tasks = [
        ClassificationTask("topic", labels=["a", "b", "<i>c</i>"]),
        NERTask("ner", types=TYPES),
        TaggingTask("pos", tags=["NOUN", "VERB"]),
        EmbeddingTask("vector", width=6),
        QATask("qa"),
    ]
    model = build_model(tasks, embedding_std=1.0).eval()
    ner = model.tasks["ner"]
    begins = [i for i, tag in enumerate(ner.tags) if tag.startswith("B-")]
    bias = dict(model.heads["ner"].named_parameters())["classifier.bias"]
    with torch.no_grad():
        bias[begins] += 50
    return model


@pytest.fixture(scope="module")
def address(model):
    with served({"small": model}) as address:
        yield address


@pytest.fixture
def page(browser, address):
    """The page; errors in it, and all that its policy forbids, are errors here."""
    page = browser.new_page()
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.goto(address)
    page.set_default_timeout(5000)
    yield page
    page.close()
    assert not faults


def submit(page, form, **fields):
    for name, value in fields.items():
        page.fill(f"#{name}", value)
    page.click(f"#{form} > button")
    page.wait_for_selector(f"#{form} > button:enabled")
    page.wait_for_selector(f"#{form} details:not([hidden])")
    return page.locator(f"#{form} .result")


def marks_of(result):
    return [tuple(mark) for mark in result.evaluate(MARKS)]


def expected_marks(spans):
    return [(start, word, f"{label} {score:.2f}") for start, word, label, score in spans]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_marks_are_where_the_response_says(page, address, text):
    result = submit(page, "read", text=text)
    (said,) = httpx.post(f"{address}/v1/predict", json={"texts": [text]}).json()["predictions"]
    entities = said["ner"]["entities"]
    assert len(entities) > 2
    assert all(text[e["start"] : e["end"]] == e["word"] for e in entities)
    spans = [(e["start"], e["word"], e["entity_group"], e["score"]) for e in entities]
    spans += [(w["start"], w["word"], w["tag"], w["score"]) for w in said["pos"]["words"]]
    assert marks_of(result) == expected_marks(spans)
    assert result.locator("script, img, b").count() == 0
    assert page.title() == "mtl: try the model"


def answered(page, path, response):
    """Let the service answer this."""
    page.route(f"**/{path}", lambda route: route.fulfill(json=response))


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_entities_inside_others_are_marked_inside_them(page, text):
    n = len(text)
    places = [
        (0, n, "ALL"),
        (0, 9, "A"),
        (0, 5, "B"),
        (1, 2, "C"),
        (5, 9, "D"),
        (n - 3, n, "<u>E</u>"),
    ]
    entities = [
        {"entity_group": kind, "score": 0.5, "word": text[start:end], "start": start, "end": end}
        for start, end, kind in places
    ]
    answered(page, "v1/predict", {"predictions": [{"nested": {"entities": entities[::-1]}}]})
    result = submit(page, "read", text=text)
    expected = [(start, text[start:end], f"{kind} 0.50") for start, end, kind in places]
    assert marks_of(result) == expected
    assert result.locator("mark mark mark mark").text_content().startswith(text[1:2])
    assert result.locator("u, b, script").count() == 0


def test_classes_are_bars_the_highest_first(page, address):
    result = submit(page, "read", text=TEXTS["plain"])
    body = {"texts": [TEXTS["plain"]], "tasks": ["topic"]}
    (said,) = httpx.post(f"{address}/v1/predict", json=body).json()["predictions"]
    scores = sorted(said["topic"]["scores"].items(), key=lambda pair: -pair[1])
    assert result.locator("tr th").all_text_contents() == [label for label, _ in scores]
    bars = result.locator("meter").evaluate_all("bars => bars.map(bar => bar.value)")
    assert bars == pytest.approx([score for _, score in scores])
    assert result.locator(".chosen th").text_content() == said["topic"]["label"]
    assert "a vector of 6 numbers" in result.text_content()


def test_a_score_is_a_number(page):
    answered(page, "v1/predict", {"predictions": [{"stars": {"score": 3.456}}]})
    assert submit(page, "read", text="Fine.").locator("p").all_text_contents() == ["3.46"]


def test_the_answer_is_in_its_place_with_the_next_best(page, address):
    result = submit(page, "ask", first=QUESTION, second=CONTEXT)
    body = {"questions": [QUESTION], "contexts": [CONTEXT], "n": 4}
    (best,) = httpx.post(f"{address}/v1/answer", json=body).json()["answers"]
    answer = [(best["start"], best["answer"], "answer", best["score"])]
    assert marks_of(result) == expected_marks(answer)
    all_best = [best, *best["alternatives"]]
    assert len(all_best) > 1
    shown = result.locator("tr td:first-child").all_text_contents()
    assert shown == [one["answer"] for one in all_best]


def test_two_texts_are_called_as_their_task_calls_them(browser, build_model):
    tasks = [QATask("qa"), PairClassificationTask("nli", labels=["yes", "no"])]
    with served({"pairs": build_model(tasks).eval()}) as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#ask:not([hidden])")
        names = page.locator("#first-name, #second-name")
        assert names.all_text_contents() == ["question", "context"]
        page.select_option("#ask-task", "nli")
        assert names.all_text_contents() == list(tasks[1].text_names)
        result = submit(page, "ask", first="Rain fell.", second="It was dry.")
        assert sorted(result.locator("tr th").all_text_contents()) == ["no", "yes"]
        assert not page.is_visible("#read")
        page.close()


def test_no_answer_is_said_and_the_best_guess_is_marked(page):
    none = {"answer": "", "score": 0.9, "start": 0, "end": 0}
    guess = {"answer": "Alice", "score": 0.1, "start": 2, "end": 7}
    answered(page, "v1/answer", {"answers": [none | {"alternatives": [guess]}]})
    result = submit(page, "ask", first=QUESTION, second=CONTEXT)
    assert marks_of(result) == [(2, "Alice", "best guess 0.10")]
    assert result.locator("tr td:first-child").all_text_contents() == ["no answer", "Alice"]


def test_nearest_texts_come_in_order_and_empty_lines_are_passed_over(page, address):
    texts = ["Rain fell.", "<b>Alice</b> lives in Oslo.", "أوسلو 🎉"]
    result = submit(page, "find", query="Who is in Norway?", texts="\n\n".join(texts))
    body = {"query": "Who is in Norway?", "texts": texts}
    found = httpx.post(f"{address}/v1/nearest", json=body).json()["neighbours"]
    assert result.locator("tr td:first-child").all_text_contents() == [x["text"] for x in found]


def test_the_request_as_code_does_the_same(page, address):
    text = 'It\'s "Zoë" \\ $HOME `ls` 🎉\n<script>.'
    submit(page, "read", text=text)
    expected = httpx.post(f"{address}/v1/predict", json={"texts": [text]}).json()
    curl, python = page.locator("#read details pre").all_text_contents()
    done = subprocess.run([sys.executable, "-c", python], capture_output=True, check=True)
    assert done.stdout.decode().strip() == str(expected)
    if shutil.which("curl"):
        done = subprocess.run(["sh", "-c", curl], capture_output=True, check=True)
        assert json.loads(done.stdout) == expected


def test_the_code_is_copied_or_where_that_is_forbidden_selected(browser, address):
    read = {"copied": "navigator.clipboard.readText()", "selected": "getSelection().toString()"}
    for done, allowed in (("copied", ["clipboard-read", "clipboard-write"]), ("selected", [])):
        context = browser.new_context(permissions=allowed)
        page = context.new_page()
        page.goto(address)
        if not allowed:  # as on a page that comes over HTTP from another machine
            page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
        submit(page, "read", text="Alice 🎉 left.")
        page.click("#read summary")
        button = page.locator("#read details button").first
        button.click()
        playwright.expect(button).to_have_text(re.compile(f"^{done}", re.IGNORECASE))
        code = page.locator("#read details pre").first.text_content()
        assert page.evaluate(read[done]).strip() == code
        context.close()


def test_faults_are_told_in_the_words_of_the_service(browser, address):
    page = browser.new_page()  # one whose console may speak of the status 422
    page.goto(address)
    result = submit(page, "read", text=" ")
    said = httpx.post(f"{address}/v1/predict", json={"texts": [" "]}).json()["errors"][0]
    for words in (said["what"], said["where"], said["fix"]):
        assert words in result.locator(".error").text_content()
    page.close()


def test_a_key_is_asked_for_where_there_is_one_and_is_not_kept(browser, model):
    with served({"small": model}, key="secret") as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#unlock:not([hidden])")
        assert "the API key is missing or wrong" in page.locator("#problem").text_content()
        assert not page.is_visible("#read")
        page.fill("#key", "secret")
        page.keyboard.press("Enter")
        assert submit(page, "read", text="Alice left.").locator("mark").count()
        code = page.locator("#read details").text_content()
        assert "MTL_API_KEY" in code
        assert "secret" not in code
        kept = "[localStorage.length, sessionStorage.length, document.cookie]"
        assert page.evaluate(kept) == [0, 0, ""]
        page.close()


def test_a_model_offers_what_its_tasks_can_do(browser, model, build_model):
    other = build_model([NERTask("names", types=["PER"])]).eval()
    with served({"all": model, "names": other}) as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#find:not([hidden])")
        page.select_option("#model", "names")
        assert [page.is_visible(f"#{form}") for form in ("read", "ask", "find")] == [1, 0, 0]
        assert submit(page, "read", text="Alice left.").locator("h3").all_text_contents() == [
            "names"
        ]
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_can_be_read_in(browser, address, scheme):
    page = browser.new_page(viewport={"width": 360, "height": 640}, color_scheme=scheme)
    page.goto(address)
    submit(page, "read", text=TEXTS["emoji"] + "x" * 200)
    page.locator("#read summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    first = [int(colour[4:].split(",")[0]) for colour in (ink, paper)]
    assert (first[0] < 60 < 200 < first[1]) == (scheme == "light")
    page.close()


def test_the_keyboard_is_enough(page):
    page.focus("#text")
    page.keyboard.type("Alice left.")
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_selector("#read mark")
