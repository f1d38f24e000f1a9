"""docs/CONTRIBUTING.md: the task that it shows is complete, and its pages and tests exist."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from mtl.inference import evaluate, predict
from mtl.model import MultiTaskModel
from mtl.tasks import Task

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "CONTRIBUTING.md").read_text(encoding="utf-8")
TASK, USE, RELATIVE_IMPORTS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """A function that imports a source text as a module; none of it is left after the test."""
    monkeypatch.setattr(Task, "kinds", dict(Task.kinds))

    def load(name, source):
        path = tmp_path / f"{name}.py"
        path.write_text(source, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_the_task_learns_and_is_saved_and_loaded(load, tmp_path, monkeypatch):
    load("stars", TASK)
    monkeypatch.chdir(tmp_path)
    use = load("use", USE)
    assert evaluate(use.model, "stars", use.task.dataset.test)["within_half"] > 0.8
    loaded = MultiTaskModel.from_pretrained("stars-model")
    for text in (use.reviews[-1].text, " ".join(["superb film"] * 100)):  # one row; windows
        assert predict(loaded, text) == predict(use.model, text)


def test_in_the_package_only_its_imports_change(load):
    theirs = "import mtl\nfrom mtl.nn.heads import merge_rows, pool\nfrom mtl.tasks import Task\n"
    assert theirs in TASK
    source = TASK.replace(theirs, RELATIVE_IMPORTS).replace("mtl.TextExample", "TextExample")
    assert "mtl." not in source
    module = load("mtl.tasks.stars", source)
    assert Task.of_kind("stars") is module.StarsTask


def test_what_the_page_names_is_there():
    named = re.findall(r"`((?:mtl|tests)/[\w/.]+|\.ci/run)`", PAGE)
    new = {"mtl/tasks/stars.py", "tests/test_stars.py"}
    assert len(named) > 8
    assert [name for name in named if name not in new and not (DOCS.parent / name).exists()] == []
