"""Encoded data on disk: the same as if it were encoded now, and never in the way."""

import json
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from checkpoints import write_modern
from processes import Process

import mtl
from mtl.data import cache, remembered
from mtl.data import encoded as encoded_module
from mtl.data.batching import collate
from mtl.data.cache import cache_key
from mtl.data.dataset import Dataset
from mtl.data.encoded import encode, encode_examples
from mtl.data.examples import PairExample, TextExample
from mtl.data.tokenizers.subwords import SubwordTokenizer
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import DataWarning
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.embedding import EmbeddingTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.toy import ner_examples, qa_examples
from mtl.training.loop import TrainConfig, train
from mtl.training.preflight import encode_datasets

TYPES = ["LOC", "MISC", "ORG", "PER"]
SENTENCES, QUESTIONS = ner_examples("train", 12), qa_examples("train", 8)
RECORDS = [
    TextExample(e.text, e.tokens, "ab"[i % 2] if i % 3 else None, e.tags if i % 2 else None)
    for i, e in enumerate(SENTENCES)
]
PAIRS = [PairExample("Ann ran home .", "Ann went home .", score) for score in (None, 0.5, 1, None)]
NER, QA = NERTask("ner", types=TYPES), QATask("qa")
TOPIC = ClassificationTask("topic", labels=["a", "b"])
DATA = {
    "sentences": (SENTENCES, [NER], 64),
    "sentences in windows": (SENTENCES, [NER], 12),
    "questions": (QUESTIONS, [QA], 64),
    "questions in windows": (QUESTIONS, [QA], 24),
    "records for two tasks": (RECORDS, [TOPIC, NER], 16),
    "pairs of sentences": (PAIRS, [EmbeddingTask("vector")], 64),
    "to predict": (SENTENCES, [], 64),
}


def bent_question():
    """A question whose answer begins inside a word, so that there is a note about it."""
    question = QUESTIONS[0]
    first, *_ = question.answers
    inside = replace(first, text=first.text[1:], start=first.start + 1)
    return replace(question, answers=(inside,))


def refuse(*args, **options):
    pytest.fail("encoded again")


@pytest.mark.parametrize(("examples", "tasks", "max_length"), DATA.values(), ids=DATA)
def test_what_is_read_is_what_would_be_encoded(
    tmp_path, tokenizer, monkeypatch, examples, tasks, max_length
):
    what = (examples, tokenizer, tasks, max_length, 6)
    expected, notes = encode_examples(*what)
    in_memory, written = encode(*what), encode(*what, cache=tmp_path)
    monkeypatch.setattr(encoded_module, "rows_and_targets", refuse)
    for encoded in (in_memory, written, encode(*what, cache=tmp_path)):
        in_windows = [item for item in encoded if len(item.rows) > len(item.example.inputs)]
        assert (max_length < 64) == bool(in_windows)
        assert encoded.notes == notes
        for item, other in zip(encoded, expected, strict=True):
            assert (item.example, item.name, item.rows) == (other.example, other.name, other.rows)
            assert json.dumps(item.targets) == json.dumps(other.targets)  # a tuple is a list there
        one, other = (collate(items, tokenizer, tasks) for items in (encoded, expected))
        for name in ("rows", "input_ids", "attention_mask", "token_type_ids", "text_mask"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert one.targets.keys() == other.targets.keys()
        for name, target in one.targets.items():
            torch.testing.assert_close(target, other.targets[name], rtol=0, atol=0, equal_nan=True)


def test_rows_of_one_text_share_it(tmp_path, tokenizer):
    """Windows are told apart by their text, and thousands of them must not copy it."""
    what = (QUESTIONS, tokenizer, [QA], 24, 6)
    encode(*what, cache=tmp_path)
    encoded = encode(*what, cache=tmp_path)
    for item in encoded:
        assert len({id(row.text) for row in item.rows}) == 1 < len(item.rows)


def test_a_piece_may_be_blanks(tmp_path):
    """As in ModernBERT's vocabulary, where several blanks are a token."""
    pytest.importorskip("tokenizers")
    tokenizer = SubwordTokenizer.load(write_modern(tmp_path / "tokenizer"))
    examples = [TextExample("the  work in    Paris")]
    expected, _ = encode_examples(examples, tokenizer, [], 64, 4)
    assert "    " in expected[0].rows[0].text.tokens
    for _ in range(2):  # written, then read
        found = encode(examples, tokenizer, [], 64, 4, cache=tmp_path)
        assert list(found) == expected


def test_the_sides_of_a_pair_stay_apart_though_their_texts_are_equal(tmp_path, tokenizer):
    task = EmbeddingTask("vector")
    what = ([PairExample("Ann ran .", "Ann ran .")], tokenizer, [task], 64, 6)
    encode(*what, cache=tmp_path)
    (item,) = encode(*what, cache=tmp_path)
    assert len(item.rows) == 2
    assert collate([item], tokenizer, [task]).targets["vector"].tolist() == [0, 1]


@pytest.fixture
def slow(monkeypatch):
    """The words of the tests' models are worth keeping, as if they took long to cut."""
    monkeypatch.setattr(WhitespaceTokenizer, "is_slow", True)


@pytest.mark.usefixtures("slow")
def test_what_was_bent_is_said_each_time(tmp_path, build_model):
    task = QATask("qa", Dataset(train=[bent_question()]))
    for _ in range(2):
        with pytest.warns(DataWarning, match="qa, train: 1 answers do not fall on token borders"):
            train(
                *(build_model([task]), [task], TrainConfig(epochs=1)),
                cache=tmp_path,
                progress=False,
            )
    assert len(list(tmp_path.iterdir())) == 1


# --- the key --------------------------------------------------------------------------------------

TOKENIZER = WhitespaceTokenizer.train([e.tokens for e in SENTENCES])
FIRST = SENTENCES[0]
WHAT = {
    "examples": SENTENCES,
    "tokenizer": TOKENIZER,
    "tasks": [NER],
    "max_length": 64,
    "overlap": 6,
}
CHANGES = {
    "text": {"examples": [replace(FIRST, tokens=("Bob", *FIRST.tokens[1:])), *SENTENCES[1:]]},
    "tag": {"examples": [replace(FIRST, tags=("B-MISC", *FIRST.tags[1:])), *SENTENCES[1:]]},
    "order": {"examples": SENTENCES[::-1]},
    "one less": {"examples": SENTENCES[:-1]},
    "vocabulary": {"tokenizer": WhitespaceTokenizer(TOKENIZER.counts | {"zebra": 1})},
    "order of the vocabulary": {
        "tokenizer": WhitespaceTokenizer(dict(reversed(TOKENIZER.counts.items())))
    },
    "lower case": {"tokenizer": WhitespaceTokenizer(TOKENIZER.counts, lower_case=True)},
    "unknowns": {"tokenizer": WhitespaceTokenizer(TOKENIZER.counts, numbered_unknowns=3)},
    "labels": {"tasks": [NERTask("ner", types=[*TYPES, "DATE"])]},
    "order of labels": {"tasks": [NERTask("ner", types=TYPES[::-1])]},
    "name": {"tasks": [NERTask("names", types=TYPES)]},
    "class": {"tasks": [type("OtherTask", (NERTask,), {})("ner", types=TYPES)]},
    "another task": {"tasks": [NER, TOPIC]},
    "no task": {"tasks": []},
    "length": {"max_length": 63},
    "overlap": {"overlap": 7},
}


def test_everything_that_shapes_the_rows_is_in_the_key():
    keys = {what: cache_key(**(WHAT | change)) for what, change in CHANGES.items()}
    keys["nothing"] = cache_key(**WHAT)
    assert len(set(keys.values())) == len(CHANGES) + 1, keys
    assert cache_key(**WHAT) == keys["nothing"]


def test_the_version_is_in_the_key(monkeypatch):
    key = cache_key(**WHAT)
    monkeypatch.setattr(cache, "__version__", "0.0.0")
    assert cache_key(**WHAT) != key


def test_examples_that_only_look_alike_have_other_keys():
    """One text that spells two examples is not those two."""
    one = [TextExample("a\nb")]
    assert cache_key(**WHAT | {"examples": one}) != cache_key(
        **WHAT | {"examples": [TextExample("a"), TextExample("b")]}
    )


def print_key():
    examples = [*ner_examples("train", 5), *qa_examples("train", 5)]
    tokenizer = WhitespaceTokenizer.train([e.text for e in examples[:5]])
    tasks = [NERTask("ner", types=["PER", "LOC"]), QATask("qa")]
    print(hash("a"), cache_key(examples, tokenizer, tasks, 64, 6))


def test_the_key_is_the_same_in_another_process(capsys):
    """Whatever order that process has its sets in."""
    print_key()
    hashed, key = capsys.readouterr().out.split()
    status, told, _ = Process(print_key).finish()
    hashed_there, key_there = told.split()
    assert status == 0
    assert hashed_there != hashed or "PYTHONHASHSEED" in os.environ  # so the order is another
    assert key_there == key


# --- never in the way -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"not a tensor file",
        lambda content: torch.zeros(3).numpy().tobytes(),
    ],
)
def test_a_broken_file_is_written_anew(tmp_path, spoil):
    encode(**WHAT, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(spoil(whole))
    encoded = encode(**WHAT, cache=tmp_path)
    assert list(encoded) == encode_examples(**WHAT)[0]
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_costs_nothing(tmp_path):
    (tmp_path / "file").write_text("mine")
    encoded = encode(**WHAT, cache=tmp_path / "file" / "cache")
    assert list(encoded) == encode_examples(**WHAT)[0]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_costs_nothing(tmp_path, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    encoded = encode(**WHAT, cache=tmp_path)
    assert list(encoded) == encode_examples(**WHAT)[0]
    assert list(tmp_path.iterdir()) == []


def test_what_is_encoded_quickly_is_not_kept(tmp_path, build_model, sentences):
    """Writing and reading it would take longer."""
    task = NERTask("ner", Dataset(train=sentences[:12]), types=TYPES)
    encode_datasets(build_model([task]), [task], cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert SubwordTokenizer.is_slow


@pytest.mark.usefixtures("slow")
def test_with_and_without_a_cache_a_run_is_the_same(tmp_path, build_model, sentences):
    task = NERTask("ner", Dataset(train=sentences[:12]), types=TYPES)
    weights = []
    for folder in (None, tmp_path, tmp_path):
        model = build_model([task], dropout=0.2)
        config = TrainConfig(epochs=2, batch_size=4, device="cpu")
        train(model, [task], config, cache=folder, progress=False)
        weights.append(model.state_dict())
    assert len(list(tmp_path.iterdir())) == 1
    for other in weights[1:]:
        assert all(torch.equal(weights[0][name], other[name]) for name in other)


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
    encoded = encode(SENTENCES, TOKENIZER, [task], 64, 6, cache=folder)
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
        encode(examples, with_tokenizer, [task], 64, 6, cache=tmp_path)
        assert list(tmp_path.iterdir()) == []
    encode(SENTENCES, TOKENIZER, [ours], 64, 6, cache=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_when_the_code_of_the_package_changes_the_key_does(tmp_path, monkeypatch):
    """Its version stays the same while someone works on it."""
    copy = tmp_path / "mtl"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(remembered, "__file__", str(copy / "data" / "remembered.py"))
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
        remembered.own_code.cache_clear()
        keys.append(cache.cache_key(SENTENCES, TOKENIZER, [NERTask("ner", types=TYPES)], 64, 6))
    remembered.own_code.cache_clear()
    assert len(set(keys)) == 4
    assert keys[-2] == keys[-1]  # the toy world has no say in how it is encoded


def encode_again_and_again(folder):
    examples = ner_examples("train", 100)
    tokenizer = WhitespaceTokenizer.train([e.text for e in examples])
    what = (examples, tokenizer, [NERTask("ner", types=TYPES)], 64, 6)
    expected, _ = encode_examples(*what)
    for _ in range(8):
        encoded = encode(*what, cache=folder)
        assert list(encoded) == expected
        for path in folder.glob("*.encoded"):
            path.unlink(missing_ok=True)


def test_processes_that_encode_the_same_at_once_all_succeed(tmp_path):
    for process in [Process(encode_again_and_again, tmp_path) for _ in range(4)]:
        status, _, told = process.finish()
        assert status == 0, told
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".encoded"]


def test_a_file_that_vanishes_while_it_is_read_is_made_again(tmp_path, monkeypatch):
    """safetensors opens a file, and torch opens it again; another process may delete it between."""
    what = (SENTENCES, TOKENIZER, [NERTask("ner", types=TYPES)], 64, 6)
    expected = encode(*what, cache=tmp_path)

    def vanished(*arguments, **options):
        return torch.UntypedStorage.from_file(str(tmp_path / "vanished"), False, 1)

    monkeypatch.setattr(safetensors.torch, "safe_open", vanished)
    assert list(encode(*what, cache=tmp_path)) == list(expected)


def test_a_file_of_other_examples_is_written_anew(tmp_path):
    what = (SENTENCES, TOKENIZER, [NERTask("ner", types=TYPES)], 64, 6)
    encode(SENTENCES[:3], *what[1:], cache=tmp_path)
    (other,) = tmp_path.iterdir()
    other.rename(tmp_path / f"{cache.cache_key(*what)}.encoded")
    assert list(encode(*what, cache=tmp_path)) == encode_examples(*what)[0]
