"""docs/balancing.md: its method of your own is complete, short, and runs as it stands."""

import ast
import re
import runpy
import warnings
from pathlib import Path

import pytest
from processes import Process

PAGE = Path(__file__).parents[1] / "docs" / "balancing.md"


@pytest.fixture(scope="module")
def example():
    """The block of code under the heading."""
    text = PAGE.read_text(encoding="utf-8")
    section = text.split("## A method of your own", 1)[1]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


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
run = mtl.training.run.Run(model, list(model.tasks.values()), recipe.train_config())
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
