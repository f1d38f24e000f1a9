"""The cache and the code that makes targets; and several processes that encode at once."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from processes import Process

import mtl
from mtl.data import cache
from mtl.data.cache import encode_cached
from mtl.data.encoded import encode_examples
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.tasks.ner import NERTask
from mtl.toy import ner_examples

TYPES = ["LOC", "MISC", "ORG", "PER"]
SENTENCES = ner_examples("train", 12)
TOKENIZER = WhitespaceTokenizer.train([e.text for e in SENTENCES])
PACKAGE = Path(mtl.__file__).parent

offset = 0  # a helper of the task below, in its own module as in another cell of a notebook


class MyTask(NERTask):
    """A task of a user, whose targets depend on more than its own lines."""

    def targets(self, example, rows, notes):
        return [[offset] * len(row) for row in rows]


class MyTokenizer(WhitespaceTokenizer):
    pass


@dataclass(frozen=True)
class MyExample:
    text: str
    tags: tuple[str, ...]

    @property
    def inputs(self):
        return [(self.text + " too" * offset, None)]


def targets_now(folder):
    task = MyTask("mine", types=TYPES)
    encoded, _ = encode_cached(folder, SENTENCES, TOKENIZER, [task], 64, 6)
    return encoded[0].targets["mine"][0][0]


def test_when_the_code_of_a_users_task_changes_its_targets_do(tmp_path, monkeypatch):
    assert targets_now(tmp_path) == 0
    monkeypatch.setitem(globals(), "offset", 1)
    assert targets_now(tmp_path) == 1


def test_a_users_classes_are_encoded_anew_each_time(tmp_path):
    tokenizer = MyTokenizer(TOKENIZER.counts)
    ours = NERTask("ner", types=TYPES)
    theirs = MyTask("ner", types=TYPES)
    mine = [MyExample(e.text, e.tags) for e in SENTENCES]
    for examples, with_tokenizer, task in (
        (SENTENCES, TOKENIZER, theirs),
        (SENTENCES, tokenizer, ours),
        (mine, TOKENIZER, theirs),
    ):
        encode_cached(tmp_path, examples, with_tokenizer, [task], 64, 6)
        assert list(tmp_path.iterdir()) == []
    encode_cached(tmp_path, SENTENCES, TOKENIZER, [ours], 64, 6)
    assert len(list(tmp_path.iterdir())) == 1


def test_when_the_code_of_the_package_changes_the_key_does(tmp_path, monkeypatch):
    """Its version stays the same while someone works on it."""
    copy = tmp_path / "mtl"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cache, "__file__", str(copy / "data" / "cache.py"))
    keys = []
    for file in (
        None,
        "tasks/ner.py",
        "data/tokenizers/base.py",
        "data/readers/squad.py",
        "toy/world.py",
    ):
        if file:
            with (copy / file).open("a") as source:
                source.write("# more\n")
        cache.own_code.cache_clear()
        keys.append(cache.cache_key(SENTENCES, TOKENIZER, [NERTask("ner", types=TYPES)], 64, 6))
    cache.own_code.cache_clear()
    assert len(set(keys)) == 4
    assert keys[-2] == keys[-1]  # the toy world has no say in how it is encoded


def encode_again_and_again(folder):
    examples = ner_examples("train", 100)
    tokenizer = WhitespaceTokenizer.train([e.text for e in examples])
    what = (examples, tokenizer, [NERTask("ner", types=TYPES)], 64, 6)
    expected, _ = encode_examples(*what)
    for _ in range(8):
        encoded, _ = encode_cached(folder, *what)
        assert encoded == expected
        for path in folder.glob("*.encoded"):
            path.unlink(missing_ok=True)


def test_processes_that_encode_the_same_at_once_all_succeed(tmp_path):
    for process in [Process(encode_again_and_again, tmp_path) for _ in range(4)]:
        status, _, told = process.finish()
        assert status == 0, told
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".encoded"]


def test_a_file_of_other_examples_is_written_anew(tmp_path):
    what = (SENTENCES, TOKENIZER, [NERTask("ner", types=TYPES)], 64, 6)
    encode_cached(tmp_path, SENTENCES[:3], *what[1:])
    (other,) = tmp_path.iterdir()
    other.rename(tmp_path / f"{cache.cache_key(*what)}.encoded")
    assert encode_cached(tmp_path, *what)[0] == encode_examples(*what)[0]
