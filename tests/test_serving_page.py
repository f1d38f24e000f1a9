"""docs/serving.md: what its tables say is what `mtl serve` does."""

import json
import re
from pathlib import Path

import pytest
from serving import ask, service_of
from small_models import many_task_model  # noqa: F401

from mtl.serve import schemas
from mtl.serve.queue import PATIENCE
from mtl.serve.settings import ServeSettings
from mtl.serve.worker import WAIT

PAGE = (Path(__file__).parents[1] / "docs" / "serving.md").read_text(encoding="utf-8")


@pytest.fixture
def service(many_task_model):  # noqa: F811
    return service_of({"small": many_task_model})


def test_every_endpoint_is_in_the_table(service):
    (response,) = ask(service, ("/openapi.json",))
    ours = {
        (method.upper(), path)
        for path, methods in response.json()["paths"].items()
        for method in methods
    }
    assert set(re.findall(r"^\| `(\w+) (/\S+)` \|", PAGE, re.MULTILINE)) == ours | {
        ("GET", "/metrics")
    }


def test_the_limits_are_the_defaults():
    rows = re.findall(r"^\| `--([\w-]+)` \| ([\d,]+) \|", PAGE, re.MULTILINE)
    assert len(rows) == 5
    for name, default in rows:
        assert getattr(ServeSettings, name.replace("-", "_")) == float(default.replace(",", ""))


def test_the_example_of_an_error_is_what_is_answered(service):
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    schemas.Problems.model_validate_json(block)
    (response,) = ask(service, ("/v1/predict", {"texts": ["a", ""]}))
    assert response.json() == json.loads(block)


def test_the_metrics_that_are_named_are_there(service):
    *_, metrics = ask(service, ("/v1/predict", {"texts": ["a"]}), ("/metrics",))
    named = set(re.findall(r"`(mtl_\w+)`", PAGE))
    assert len(named) == 5
    assert all(re.search(rf"^# HELP {name} ", metrics.text, re.MULTILINE) for name in named)


def test_the_order_is_as_it_says():
    assert "four times" in PAGE
    assert PATIENCE == 4
    assert "three milliseconds" in PAGE
    assert WAIT == 0.003
