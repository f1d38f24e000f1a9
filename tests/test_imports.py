"""What is imported when: nobody waits for torch or matplotlib who does not need them."""

import os
import subprocess
import sys
from importlib import import_module, resources
from pathlib import Path

import pytest

import mtl
from mtl.cli.parser import build_parser

HEAVY = ("torch", "numpy", "matplotlib", "safetensors", "tqdm")
SENTENCES = resources.files("mtl.toy") / "handmade" / "ner.conll"
COMMAND = """
from mtl.cli.main import main
try:
    status = main({arguments})
except SystemExit as stop:
    status = stop.code
assert not status, status
"""
TRAINING = """
import mtl
mtl.TrainConfig()
examples = mtl.toy.ner_examples("train", 8)
tokenizer = mtl.WhitespaceTokenizer.train(example.text for example in examples)
shape = mtl.EncoderConfig(vocab_size=len(tokenizer), d_model=8, n_heads=1, n_layers=1)
task = mtl.NERTask("ner", mtl.Dataset(train=examples, validation=examples))
model = mtl.MultiTaskModel(mtl.TransformerEncoder(shape), tokenizer, [task])
mtl.train(model, [task], mtl.TrainConfig(epochs=1, device="cpu"), progress=False)
"""


def loaded_by(code, folder, modules=HEAVY):
    """Those of the modules that a new Python has loaded after the code."""
    code += f"\nimport sys\nprint(*(m for m in {modules!r} if m in sys.modules), file=sys.stderr)"
    environment = os.environ | {"PYTHONPATH": str(Path(mtl.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()[-1].split()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "--help"],
        ["serve", "--help"],
        ["recipes"],
        ["check", str(SENTENCES)],
        ["convert", str(SENTENCES), "sentences.jsonl"],
        ["toy", "qa", "--n", "3", "--output", "questions.json"],
    ],
    ids=" ".join,
)
def test_commands_that_need_no_torch_do_not_load_it(tmp_path, arguments):
    assert loaded_by(COMMAND.format(arguments=arguments), tmp_path) == []


@pytest.mark.parametrize(
    "module",
    [
        "mtl",
        "mtl.errors, mtl.messages, mtl.files, mtl.metrics, mtl.tables",
        "mtl.data.words, mtl.data.examples, mtl.data.dataset, mtl.data.readers, mtl.data.check",
        "mtl.toy",
        "mtl.experiments.bundled",
    ],
)
def test_modules_that_need_no_torch_do_not_load_it(tmp_path, module):
    assert loaded_by(f"import {module}", tmp_path) == []


def test_matplotlib_is_loaded_by_the_first_picture_only(tmp_path):
    without = "import sys\nassert 'torch' in sys.modules and 'matplotlib' not in sys.modules"
    draws = "mtl.plots.plot_confusion([[1, 2], [3, 4]], ['a', 'b'])"
    code = "\n".join([TRAINING, without, draws])
    # pyplot would choose a backend, and keep every figure open until it is closed.
    assert loaded_by(code, tmp_path, ("matplotlib", "matplotlib.pyplot")) == ["matplotlib"]


def test_every_command_has_the_function_that_runs_it():
    """`main` finds it by name, in the file that the parser says."""
    (commands,) = (a for a in build_parser()._actions if a.dest == "command")
    assert len(commands.choices) == 12
    for name, parser in commands.choices.items():
        group = import_module(f"mtl.cli.{parser.get_default('group')}")
        assert callable(getattr(group, f"run_{name}"))
