"""The page of `mtl serve`, as far as it can be seen without a browser."""

import re

import pytest
from serving import ask, service_of
from small_models import many_task_model  # noqa: F401

from mtl.serve.browser import FILES, FOLDER


@pytest.fixture
def service(many_task_model):  # noqa: F811
    return service_of({"small": many_task_model}, key="secret")


def test_the_page_and_its_files_are_served_without_the_key(service):
    html, style, script = ask(service, ("/",), ("/page.css",), ("/page.js",))
    assert html.headers["content-type"].startswith("text/html")
    assert style.headers["content-type"].startswith("text/css")
    assert "javascript" in script.headers["content-type"]
    for response, name in zip((html, style, script), FILES.values(), strict=True):
        assert response.text == (FOLDER / name).read_text(encoding="utf-8")


def test_nothing_may_be_loaded_from_outside(service):
    for response in ask(service, *((path,) for path in FILES)):
        policy = dict(
            part.split(" ", 1) for part in response.headers["content-security-policy"].split("; ")
        )
        assert policy.pop("img-src") == "data:"
        assert policy.pop("default-src") == "'none'"
        assert set(policy.values()) == {"'self'", "'none'"}
        assert "://" not in response.text


def test_the_html_loads_only_what_is_served(service):
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    loaded = set(re.findall(r'(?:src|href)="([^"]+)"', html))
    assert loaded - {"data:,", "docs"} == {path[1:] for path in FILES} - {""}
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script>", html)  # the policy forbids them


def test_texts_are_never_read_as_html():
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", script)


def test_every_field_has_a_label():
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    fields = set(re.findall(r'<(?:input|select|textarea) id="([^"]+)"', html))
    assert len(fields) == 9
    assert fields == set(re.findall(r'<label for="([^"]+)"', html))


def test_the_schema_and_the_metrics_know_the_page(service):
    schema, _, _, metrics = ask(service, ("/openapi.json",), ("/",), ("/page.js",), ("/metrics",))
    assert not set(FILES) & set(schema.json()["paths"])
    for path in ("/", "/page.js"):
        assert f'mtl_requests_total{{endpoint="{path}",status="200"}} 1.0' in metrics.text
