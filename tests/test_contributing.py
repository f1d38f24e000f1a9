"""docs/CONTRIBUTING.md: the task that it shows is complete, and its pages and tests exist."""

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from processes import Process

from mtl.cli.main import main
from mtl.data.dataset import Dataset
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.inference import evaluate, evaluate_baselines, predict
from mtl.model import MultiTaskModel
from mtl.tasks import Task
from mtl.training.config import TrainConfig
from mtl.training.loop import train

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "CONTRIBUTING.md").read_text(encoding="utf-8")
(RECIPE,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
TASK, USE, TAGS, PAIRS, RELATIVE_IMPORTS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """A function that imports a source text as a module; none of it is left after the test."""
    ours = {k: cls for k, cls in Task.kinds.items() if cls.__module__.startswith("mtl.")}
    monkeypatch.setattr(Task, "kinds", ours)

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


def trained(build_model, task):
    model = build_model([task], tokenizer=WhitespaceTokenizer.train(task.dataset.training_texts()))
    train(model, [task], TrainConfig(epochs=20, learning_rate=3e-2), progress=False)
    return model


def test_the_task_on_the_base_for_words_learns(load, build_model):
    task = load("part_of_speech", TAGS).task
    model = trained(build_model, task)
    assert predict(model, "The old dog sleeps")["pos"].tags == ["DET", "ADJ", "NOUN", "VERB"]


def test_the_task_on_the_base_for_pairs_learns(load, build_model):
    module = load("entailment", PAIRS)
    texts = ("Ann has a cat", "Bob has a dog")
    # The premise alone decides, which is quickly learned.
    claims = [module.Claim(a, b, "yes" if a == texts[0] else "no") for a in texts for b in texts]
    data = Dataset([*claims, module.Claim("Ann", "Bob")], test=claims)
    model = trained(build_model, module.EntailmentTask("nli", data))
    assert evaluate(model, "nli", data.test) == {"accuracy": 1.0}
    controls = evaluate_baselines(model, "nli", data.test)
    assert controls["model_with_other_premise"]["accuracy"] == 0
    assert predict(model, texts)["nli"].label == "yes"


def test_a_recipe_trains_it_and_the_command_predicts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("stars.py").write_text(TASK, encoding="utf-8")
    Path("my.toml").write_text(RECIPE, encoding="utf-8")
    texts = {"a superb film": "4.5", "a dull film": "1.5", "a film": "3"}
    records = [{"text": f"{t} {i}", "label": texts[t]} for i in range(8) for t in texts]
    Path("reviews.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    commands = re.findall(r"^mtl (\w+ .*?)(?:  +#.*)?$", PAGE, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        status, out, err = Process(main, shlex.split(command)).finish()
        assert status == 0, err
    assert re.search(r"prediction: Stars\(stars=-?\d+\.\d+\)", out)


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
