"""README's example of a method of one's own is complete, short, and runs as it stands."""

import ast
import re
import runpy
import warnings
from pathlib import Path

import pytest
from processes import Process

from mtl.errors import ConfigError
from mtl.experiments.recipe import load_recipe

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def example():
    """The block of code under the heading."""
    text = README.read_text(encoding="utf-8")
    section = text.split("### A method of your own", 1)[1]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


def test_the_message_about_an_unknown_key_is_the_real_one():
    with pytest.raises(ConfigError) as error:
        load_recipe("practical7", ["train.epoch=5"])
    lines = str(error.value).splitlines()
    assert "\n  ".join(["mtl: error: " + lines[0], *lines[1:]]) in README.read_text(
        encoding="utf-8"
    )


def test_a_method_is_one_class_of_under_40_lines(example):
    classes = [node for node in ast.parse(example).body if isinstance(node, ast.ClassDef)]
    assert [ast.unparse(c.bases[0]) for c in classes] == [
        "mtl.training.Weighting",
        "mtl.training.Aggregation",
    ]
    assert all(c.end_lineno - c.lineno + 1 < 40 for c in classes)


def run_strictly(script):
    warnings.filterwarnings("error", category=UserWarning, module="mtl")
    runpy.run_path(str(script), run_name="__main__")


def test_the_example_trains_with_both_methods_through_a_recipe(example, tmp_path):
    small = example.replace("toy_train=200", "toy_train=40")
    assert small != example
    checks = """
model = mtl.experiments.build.build_model(recipe, tasks)
run = mtl.training.run.Run(model, tasks, mtl.TrainConfig(**recipe.train))
assert type(run.update.weighting) is EqualLosses and type(run.update.aggregation) is EqualLengths
weights = [r.weights for r in history.rounds]
assert abs(weights[0]["ner"] * history.rounds[0].losses["ner"] - 1) < 1e-5  # its own mean so far
assert weights[0] != weights[-1]
rows = EqualLengths()(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
assert torch.allclose(rows, torch.tensor([2.0, 2.0]))
"""
    script = tmp_path / "example.py"
    script.write_text(small + checks)
    status, out, err = Process(run_strictly, script, cwd=tmp_path).finish()
    assert status == 0, err
    assert re.search(r"\{'ner': .*, 'qa': .*\}", out)


def test_a_recipe_names_the_methods_as_the_text_says(example, tmp_path):
    """In a process, since a class of this name would stay known."""
    section = README.read_text(encoding="utf-8").split("### A method of your own", 1)[1]
    train = re.search(r"```toml\n(.*?)```", section, re.DOTALL)[1]
    classes = example.split("small = [")[0]
    (tmp_path / "equal.py").write_text(classes)
    tasks = '[tasks.ner]\nkind = "ner"\ntoy = "ner"\n'
    (tmp_path / "my.toml").write_text(f"{tasks}{train}")
    status, _, err = Process(check_methods, "my.toml", cwd=tmp_path).finish()
    assert status == 0, err


def check_methods(recipe):
    ((config, _),) = load_recipe(recipe).train_configs
    names = [type(config.build_weighting()).__name__, type(config.build_aggregation()).__name__]
    assert names == ["EqualLosses", "EqualLengths"]
