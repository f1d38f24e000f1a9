"""What is trained on a large file is what is trained on a small one, and what was learned from all
examples once is not asked of them again."""

import warnings
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading import tmp_path_shared

import mtl
from mtl.data import stored
from mtl.data.augment import augment
from mtl.data.dataset import Dataset, hold_out
from mtl.data.examples import PairExample, QAExample, TextExample
from mtl.data.readers import large
from mtl.data.stored import StoredExamples, store
from mtl.errors import ConfigError, DataError
from mtl.experiments.build import build_model, build_tasks
from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe
from mtl.inference import check_examples
from mtl.tasks.classification import ClassificationTask

RECIPE = """\
name = "tiny"
[datasets.records]
train = "{folder}/train.jsonl"
{others}
{limit}
[tasks.topic]
kind = "classification"
data = "records"
[tasks.ner]
kind = "ner"
data = "records"
[tasks.nested]
kind = "nested-ner"
data = "records"
[encoder]
n_layers = 1
d_model = 16
n_heads = 2
d_ff = 16
[train]
epochs = 1
batch_size = 20
sampling = "joint"
"""
OTHERS = 'validation = "{0}/validation.jsonl"\ntest = "{0}/test.jsonl"'


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """A recipe on files of JSON lines; with `held_out`, on one file alone."""
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    data = mtl.toy_dataset("records", 60, 20, 20, seed=0)
    for split in ("train", "validation", "test"):
        mtl.write_jsonl(data.split(split), tmp_path / f"{split}.jsonl")

    def load(held_out=False, limit=""):
        others = "" if held_out else OTHERS.format(tmp_path)
        path = tmp_path / "tiny.toml"
        path.write_text(RECIPE.format(folder=tmp_path, others=others, limit=limit))
        return load_recipe(path)

    return load


@pytest.mark.filterwarnings("ignore::mtl.errors.DataWarning")
@pytest.mark.parametrize("limit", ["", "limit = 30"])
def test_the_same_weights_as_in_memory(recipe, tmp_path, monkeypatch, no_curves, limit):
    run_recipe(recipe(limit=limit), tmp_path / "small", progress=False)
    monkeypatch.setattr(large, "LARGE", 0)
    for again in ("stored", "again"):
        run_recipe(recipe(limit=limit), tmp_path / again, progress=False)
    names = ("model.safetensors", "config.json", "training_metrics.csv")
    for name in names:
        small = (tmp_path / "small" / name).read_bytes()
        assert (tmp_path / "stored" / name).read_bytes() == small
        assert (tmp_path / "again" / name).read_bytes() == small


@pytest.fixture
def read_lines(monkeypatch):
    """Every line of stored examples that an example was made of."""
    made, make = [], stored.from_line
    monkeypatch.setattr(stored, "from_line", lambda line: made.append(line) or make(line))
    return made


@pytest.mark.filterwarnings("ignore::mtl.errors.DataWarning")
@pytest.mark.parametrize("held_out", [False, True])
def test_the_second_start_walks_over_no_examples(recipe, monkeypatch, read_lines, held_out):
    monkeypatch.setattr(large, "LARGE", 0)

    def start():
        read_lines.clear()
        chosen = recipe(held_out=held_out)
        tasks = build_tasks(chosen)
        model = build_model(chosen, tasks)
        assert isinstance(tasks[0].dataset.train, StoredExamples)
        assert all(task.labelled(task.dataset.train) for task in tasks)
        assert [task.joining for task in tasks] == [None] * 3
        return [task.settings() for task in tasks], model.tokenizer.counts, len(read_lines)

    *first, walked = start()
    assert walked >= 60
    *second, left = start()
    assert second == first
    # Whether a split has any example is seen from its first.
    assert left <= 8


COLUMNS_AND_TABLES = """\
name = "tiny"
[tasks.ner]
kind = "ner"
train = "{0}/train.conll"
[tasks.topic]
kind = "classification"
train = "{0}/texts.csv"
[encoder]
n_layers = 1
d_model = 16
n_heads = 2
d_ff = 16
[train]
epochs = 1
batch_size = 20
"""


@pytest.mark.filterwarnings("ignore::mtl.errors.DataWarning")
def test_training_on_columns_and_tables(tmp_path, monkeypatch, read_lines):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    data = mtl.toy_dataset("records", 60, 5, 5, seed=0).train
    mtl.write_conll([example for example in data if example.tags], tmp_path / "train.conll")
    rows = [f'"{example.text}",{example.label}' for example in data]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]))
    (tmp_path / "tiny.toml").write_text(COLUMNS_AND_TABLES.format(tmp_path))
    recipe = load_recipe(tmp_path / "tiny.toml")
    monkeypatch.setattr(large, "LARGE", 0)
    run_recipe(recipe, tmp_path / "stored", progress=False)
    assert all(isinstance(t.dataset.train, StoredExamples) for t in build_tasks(recipe))
    read_lines.clear()
    build_model(recipe, build_tasks(recipe))
    assert len(read_lines) <= 8  # of the second start
    # In memory, other texts are held out: so the same settings, not the same weights.
    monkeypatch.setattr(large, "LARGE", 10**9)
    small = [task.settings() for task in build_tasks(recipe)]
    monkeypatch.setattr(large, "LARGE", 0)
    assert [task.settings() for task in build_tasks(recipe)] == small


PAIRS_AND_QUESTIONS = """\
name = "tiny"
[tasks.same]
kind = "embedding"
train = "{0}/pairs.jsonl"
[tasks.near]
kind = "regression"
train = "{0}/scored.jsonl"
[tasks.qa]
kind = "qa"
train = "{0}/questions.jsonl"
[encoder]
n_layers = 1
d_model = 16
n_heads = 2
d_ff = 16
"""


@pytest.mark.filterwarnings("ignore::mtl.errors.DataWarning")
def test_the_second_start_on_pairs_and_questions(tmp_path, monkeypatch, read_lines):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(large, "LARGE", 0)
    for name, toy in (("pairs", "paraphrases"), ("scored", "similarity"), ("questions", "qa")):
        examples = mtl.toy_dataset(toy, 60, 5, 5, seed=0).train
        mtl.write_jsonl(examples, tmp_path / f"{name}.jsonl")
    path = tmp_path / "tiny.toml"
    path.write_text(PAIRS_AND_QUESTIONS.format(tmp_path))

    def start():
        read_lines.clear()
        recipe = load_recipe(path)
        tasks = build_tasks(recipe)
        build_model(recipe, tasks)
        assert all(isinstance(task.dataset.train, StoredExamples) for task in tasks)
        assert all(task.labelled(task.dataset.train) for task in tasks)
        return [task.settings() for task in tasks], len(read_lines)

    first, walked = start()
    assert walked >= 180
    second, left = start()
    assert second == first
    assert left <= 8


def distinct(n):
    return [TextExample(f"text {i // 2}", label="ab"[i % 2]) for i in range(2 * n)]


def test_stored_examples_are_held_out_by_whole_groups(tmp_path):
    examples = store(distinct(100), tmp_path / "them")
    parts = hold_out(examples, seed=0)
    assert [len(part) for part in parts] == [160, 20, 20]
    texts = [{example.text for example in part} for part in parts]
    assert all(one.isdisjoint(other) for one, other in combinations(texts, 2))
    assert Counter(e for part in parts for e in map(repr, part)) == Counter(map(repr, examples))
    # By the seed, and whatever the order of the file.
    assert hold_out(examples, seed=0)[1].hash == parts[1].hash
    assert hold_out(examples, seed=1)[1].hash != parts[1].hash
    turned = store(distinct(100)[::-1], tmp_path / "turned")
    assert {e.text for e in hold_out(turned, seed=0)[1]} == texts[1]


def message_of(function, examples):
    try:
        function(examples, seed=0)
    except DataError as error:
        return str(error)


@tmp_path_shared
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=30, max_size=80))
def test_stored_pairs_are_held_out_with_all_that_they_are_linked_to(tmp_path_factory, links):
    pairs = [PairExample(f"text {a}", f"text {b}") for a, b in links]
    examples = store(pairs, tmp_path_factory.mktemp("pairs") / "them")
    fault = message_of(hold_out, pairs)
    assert message_of(hold_out, examples) == fault  # in memory and on disk
    if fault:
        return
    parts = hold_out(examples, seed=0)
    assert sum(map(len, parts)) == len(pairs)
    texts = [{text for pair in part for text in pair.groups} for part in parts]
    assert all(one.isdisjoint(other) for one, other in combinations(texts, 2))


def test_too_few_to_hold_out_are_refused(tmp_path):
    with pytest.raises(DataError, match="too few different texts"):
        hold_out(store(distinct(5), tmp_path / "them"), seed=0)


def test_a_task_of_another_kind_is_refused(tmp_path):
    examples = store([QAExample("1", "Who?", "Ann", ())], tmp_path / "them")
    task = ClassificationTask("topic", Dataset(train=examples), labels=["a", "b"])
    with pytest.raises(ConfigError, match="does not fit its kind"):
        check_examples(task, *task.dataset.splits())


class Shouting(ClassificationTask):
    """Of a user's own; what it learns follows from code that no hash covers."""

    labels_are = str.upper

    def labels_of(self, example):
        return tuple(type(self).labels_are(label) for label in super().labels_of(example))

    def is_labelled(self, example):
        return example.label in self.wanted


def test_nothing_that_a_users_own_task_learns_is_remembered(tmp_path, monkeypatch):
    data = Dataset(train=store(distinct(20), tmp_path / "them"))
    assert Shouting("a", data).labels == ["A", "B"]
    monkeypatch.setattr(Shouting, "labels_are", lambda label: label * 2)
    task = Shouting("a", data)
    assert task.labels == ["aa", "bb"]
    for task.wanted in ("a", "b"):
        assert {example.label for example in task.labelled(data.train)} == {task.wanted}


def test_augmented_examples_are_a_list(tmp_path):
    """They are not in any file, so they have to be in memory."""
    examples = store(distinct(5), tmp_path / "them")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        more = augment(examples, 1, 0, {"text": ["words"]})
    assert len(more) == 20
