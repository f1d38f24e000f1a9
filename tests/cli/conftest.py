"""What the tests of the command line share: recipes, the runs that they make, and bad files."""

import io
import json
import shutil
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from cli_files import GOOD_SENTENCES, NOT_UTF8
from recipes import ner_and_qa

from mtl.cli.main import main

RECIPE = ner_and_qa(40, 12, epochs=1, batch_size=20)
STAGED = """\
[datasets.news]
toy = "news"
toy_train = 30
toy_held_out = 9

[tasks.topic]
kind = "classification"
data = "news"

[tasks.tags]
kind = "ner"
data = "news"

[tasks.embedding]
kind = "embedding"
toy = "paraphrases"
toy_train = 20
toy_held_out = 12

[encoder]
d_model = 16
n_heads = 2
n_layers = 1
d_ff = 16
max_length = 64

[train]
epochs = 1
batch_size = 10
learning_rate = 0.01

[[stages]]
tasks = ["topic", "embedding"]
freeze = ["heads.tags"]

[[stages]]
tasks = ["tags"]
freeze = ["encoder"]
epochs = 2
"""


ONE_QUESTION = {
    "id": "q7",
    "question": "Who ran?",
    "answers": [{"text": "Ann", "answer_start": 0}],
}
NOT_IN_CONTEXT = {"data": [{"paragraphs": [{"context": "Bob ran.", "qas": [ONE_QUESTION]}]}]}
OTHER_COLUMNS = "context,question,reply\nBob ran.,Who ran?,Bob\n"

# task, file name, content (None: no such file), line of the fault, words of the message
BAD_FILES = {
    "missing": ("ner", "gone.conll", None, None, ["No such file", "check the path"]),
    "missing questions": ("qa", "gone.json", None, None, ["No such file", "check the path"]),
    "empty": ("ner", "x.conll", "", None, ["the file is empty", "0 bytes"]),
    "only blanks": ("qa", "x.json", " \n\n ", None, ["the file is empty", "4 bytes"]),
    "no tag": (
        *("ner", "x.conll", f"{GOOD_SENTENCES}Ann\tB-PER\nsat\n", 62),
        [
            "1 column(s) where 2",
            "2 tokens with 1 tags",
            "'sat'",
            "the token first and its tag last",
        ],
    ),
    "two words": (
        *("ner", "x.conll", f"{GOOD_SENTENCES}Ann\tB-PER\nsat\tdown\tO\n", 62),
        ["3 column(s) where 2", "'sat down O'"],
    ),
    "unknown tag scheme": (
        *("ner", "x.conll", f"{GOOD_SENTENCES}Ann\tPER\n", 61),
        ["the tag is of no known scheme", "'PER'", "use O, B-TYPE and I-TYPE"],
    ),
    "not UTF-8": ("ner", "x.conll", NOT_UTF8, 61, ["not UTF-8", "0xfc", "save the file as UTF-8"]),
    "answer not in its context": (
        *("qa", "x.json", json.dumps(NOT_IN_CONTEXT, indent=1), 9),
        ["'q7'", "'Ann'", "copy the answer letter by letter"],
    ),
    "answer not in its row": (
        *("qa", "x.csv", "context,question,answer\nBob ran.,Who ran?,Ann\n", 2),
        ["is not in its context", "'Ann'", "'Bob ran.'"],
    ),
    "other columns": (
        *("qa", "x.csv", OTHER_COLUMNS, 1),
        ["no column for the answer", "'context', 'question', 'reply'", "name the columns"],
    ),
    "not SQuAD": ("qa", "x.json", '{"data": 3}', 1, ["there is no text", "looks like"]),
    "not JSON": ("qa", "x.json", '{"data":\n [}', 2, ["not JSON", "Expecting value"]),
    "plain text": (
        "qa",
        "x.txt",
        "Bob ran.\n\nAnn sat down.\nJo slept all day.",
        None,
        ["plain text"],
    ),
}


@pytest.fixture(autouse=True)
def _no_curves(no_curves):
    """The shared runs below have theirs."""


@pytest.fixture(scope="session")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.fixture(scope="session")
def run(recipe, tmp_path_factory):
    """A run folder that nobody changes."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", recipe, "--output", str(folder)]) == 0
    return folder


@pytest.fixture
def copied_run(run, tmp_path):
    """A run folder to spoil, or to try to overwrite."""
    return Path(shutil.copytree(run, tmp_path / "copied"))


@pytest.fixture(scope="session")
def staged_recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "staged.toml"
    path.write_text(STAGED)
    return str(path)


@pytest.fixture(scope="session")
def staged_run(staged_recipe, tmp_path_factory):
    """Classes, tags and vectors, trained in two stages, every epoch saved; nobody changes it."""
    folder = tmp_path_factory.mktemp("runs") / "staged"
    with redirect_stderr(io.StringIO()) as told:
        assert main(["train", staged_recipe, "--save-every", "1", "--output", str(folder)]) == 0
    (folder.parent / "stderr.txt").write_text(told.getvalue())
    return folder


@pytest.fixture
def stdin(monkeypatch):
    """Put text, or bytes, on standard input."""

    def put(content):
        raw = content if isinstance(content, bytes) else content.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8"))

    return put


@pytest.fixture(params=BAD_FILES.values(), ids=BAD_FILES)
def bad_file(request, tmp_path):
    """A task, a file that it cannot read, and what the message has to say."""
    task, name, content, line, words = request.param
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return task, path, [f"{path}:{line}: " if line else f"{path}: ", "found: ", "to do: ", *words]
