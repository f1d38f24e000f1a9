"""Datasets of recipes: shared by tasks, partly labelled, limited and augmented."""

import pytest
import recipes
from recipes import error_of, ner_dataset

import mtl
from mtl.data.examples import TextExample
from mtl.errors import ConfigError, DataError, DataWarning
from mtl.experiments.build import build_model, build_tasks
from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe
from mtl.training.config import TrainConfig
from mtl.training.loop import Run
from mtl.training.weighting import FixedWeighting

# pytest looks for a fixture by its name in this module.
own_sentences = recipes.own_sentences
shared = recipes.shared
tiny = recipes.tiny
write = recipes.write

pytestmark = pytest.mark.usefixtures("no_curves")


def test_a_dataset_that_no_task_uses_is_a_slip(shared):
    message = error_of(shared, "datasets.text.train='mine.jsonl'")
    assert "no task uses the dataset 'text'" in message
    assert 'did you mean "texts"' in message


def dataset_of(path, *settings):
    return {task.name: task.dataset for task in build_tasks(load_recipe(path, settings))}


def test_tasks_on_one_dataset_share_one_object_and_one_stream(shared):
    recipe = load_recipe(shared)
    tasks = build_tasks(recipe)
    assert tasks[0].dataset is tasks[1].dataset
    sizes = [len(tasks[0].dataset.split(split)) for split in ("train", "validation", "test")]
    assert sizes == [20, 8, 8]
    (config, names), *rest = recipe.train_configs
    assert (names, rest) == (["topic", "ner"], [])
    run = Run(build_model(recipe, tasks), tasks, config, FixedWeighting())
    assert [[task.name for task in stream.tasks] for stream in run.streams] == [["topic", "ner"]]
    assert run.streams.describe_epoch() == (
        "an epoch is 2 rounds, one batch of each: topic + ner 20 examples (1.0 passes)"
    )


def test_a_task_that_names_its_own_data_leaves_what_it_shared(shared):
    """Also where its own toy data are the very same: it asked for a dataset of its own."""
    same = ["tasks.ner.toy=news", "tasks.ner.toy_train=20", "tasks.ner.toy_held_out=8"]
    datasets = dataset_of(shared, *same)
    assert datasets["topic"] is not datasets["ner"]
    assert list(datasets["topic"].train) == list(datasets["ner"].train)
    recipe = load_recipe(shared, same)
    tasks = build_tasks(recipe)
    run = Run(build_model(recipe, tasks), tasks, TrainConfig(), FixedWeighting())
    assert [[task.name for task in stream.tasks] for stream in run.streams] == [["topic"], ["ner"]]


def test_an_own_file_replaces_the_shared_dataset_for_one_task(shared, own_sentences):
    path, sentences = own_sentences
    datasets = dataset_of(shared, f"tasks.ner.train={path}")
    assert list(datasets["topic"].train) == list(dataset_of(shared)["topic"].train)
    parts = [datasets["ner"].split(s) for s in ("train", "validation", "test")]
    assert sorted(e.text for part in parts for e in part) == sorted(e.text for e in sentences)
    assert list(datasets["ner"].test_unseen) == []


def record(i, label="ab", tags=True):
    tokens = (f"Item{i}", "fell")
    tags = ("B-THING", "O") if tags else None
    return TextExample(" ".join(tokens), tokens, label[i % 2] if label else None, tags)


def test_one_json_file_for_several_tasks(shared, tmp_path):
    """Held out together, so what one task is tested on the other has not trained on."""
    mtl.write_jsonl([record(i) for i in range(100)], tmp_path / "own.jsonl")
    datasets = dataset_of(shared, f"datasets.texts.train={tmp_path / 'own.jsonl'}")
    dataset = datasets["topic"]
    assert datasets["ner"] is dataset
    parts = [dataset.train, dataset.validation, dataset.test, dataset.test_unseen]
    assert [len(part) for part in parts] == [80, 10, 10, 0]
    assert sorted(e.text for part in parts for e in part) == sorted(
        record(i).text for i in range(100)
    )


def test_a_partly_labelled_file_trains_each_task_on_what_it_has(shared, tmp_path):
    """Of sixty records every other has a class and every third has tags; some have neither."""
    records = [record(i, "ab" if i % 4 < 2 else None, i % 3 == 0) for i in range(60)]
    held_out = [record(i) for i in range(60, 70)]
    mtl.write_jsonl(records, tmp_path / "train.jsonl")
    mtl.write_jsonl(held_out, tmp_path / "held_out.jsonl")
    files = {"train": "train", "validation": "held_out", "test": "held_out"}
    settings = [f"datasets.texts.{s}={tmp_path / f'{f}.jsonl'}" for s, f in files.items()]
    with pytest.warns(DataWarning, match="in both validation and test: 10 of the 10 in test"):
        metrics = run_recipe(load_recipe(shared, settings), tmp_path / "run", progress=False)
    assert metrics["test"].keys() == {"topic", "ner"}
    lines = (tmp_path / "run" / "training_metrics.csv").read_text().splitlines()
    last = dict(zip(lines[0].split(","), lines[-1].split(","), strict=True))
    assert (last["topic_examples"], last["ner_examples"]) == ("30", "20")


@pytest.mark.parametrize(
    ("label", "tags", "message"),
    [
        (None, True, "the task 'topic' learns from labels"),
        ("ab", False, "the task 'ner' learns from tagged entities"),
    ],
)
def test_a_task_whose_data_has_no_label_at_all_is_refused(shared, tmp_path, label, tags, message):
    mtl.write_jsonl([record(i, label, tags) for i in range(20)], tmp_path / "own.jsonl")
    recipe = load_recipe(shared, [f"datasets.texts.train={tmp_path / 'own.jsonl'}"])
    with pytest.raises(DataError, match=message) as caught:
        run_recipe(recipe, tmp_path / "run", progress=False)
    assert caught.value.faults[0].path == str(tmp_path / "own.jsonl")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("tasks.ner.data=txts", ["tasks.ner.data", "'txts'", 'did you mean "texts"']),
        ("tasks.ner.data=5", ["tasks.ner.data must be a text"]),
        ("datasets.texts.toi=ner", ["unknown key datasets.texts.toi", 'did you mean "toy"']),
        ("datasets.texts.kind=ner", ["unknown key datasets.texts.kind"]),
        ("datasets.texts=5", ["datasets.texts is a section"]),
        ("datasets.more.limit=5", ["has no dataset 'more'", "use one of texts"]),
        ("tasks.ner.limit=5", ["tasks.ner.limit has no effect", "set datasets.texts.limit"]),
        ("tasks.ner.test=x.jsonl", ["tasks.ner.test has no effect", "set datasets.texts.test"]),
        ("datasets.texts.test=x.jsonl", ["datasets.texts.test names a file", "never mixed"]),
        ("datasets.texts.toy=qa", []),
        ("datasets.texts.limit=-1", ["datasets.texts.limit must be at least 0", "-1"]),
        ("datasets.texts.augment=-1", ["datasets.texts.augment must be at least 0", "-1"]),
        ("datasets.texts.toy_train=0", ["datasets.texts.toy_train must be at least 1"]),
        ("datasets.texts.synonyms={big='large'}", ["synonyms.big must be a list", "'large'"]),
        ("datasets.texts.synonyms={big=[' ']}", ["synonyms.big must be a list"]),
        ("datasets.texts.synonyms={big=[]}", ["synonyms.big must be a list"]),
    ],
)
def test_what_cannot_be_said_of_a_dataset(shared, setting, words):
    with pytest.raises(ConfigError) as caught:
        build_tasks(load_recipe(shared, [setting]))
    for word in words:
        assert word in str(caught.value)


def test_a_dataset_of_another_kind_than_the_task_names_the_task(shared):
    with pytest.raises(
        ConfigError, match=r"data of the task 'topic' does not fit its kind"
    ) as caught:
        build_tasks(load_recipe(shared, ["datasets.texts.toy=ner"]))
    assert "sentences with one tag per word" in str(caught.value)
    assert "reads texts with labels or tags" in str(caught.value)


def test_a_recipe_without_datasets_says_how_to_add_one(tiny):
    message = error_of(tiny, "tasks.extra={kind='ner', data='texts'}")
    assert "'texts'" in message
    assert "[datasets.NAME]" in message


@pytest.mark.filterwarnings("ignore:.*has classes that train does not have:mtl.errors.DataWarning")
def test_limit_draws_from_the_training_split_alone(shared):
    full, few = dataset_of(shared)["ner"], dataset_of(shared, "datasets.texts.limit=5")["ner"]
    again, other = (
        dataset_of(shared, "datasets.texts.limit=5", f"seed={seed}")["ner"] for seed in (0, 1)
    )
    assert len(few.train) == 5
    assert all(example in full.train for example in few.train)
    assert len({id(example) for example in few.train}) == 5
    assert list(few.train) != list(full.train[:5])
    assert list(again.train) == list(few.train)
    assert list(other.train) != list(few.train)
    for split in ("validation", "test", "test_unseen"):
        assert list(few.split(split)) == list(full.split(split))
    everything = dataset_of(shared, "datasets.texts.limit=21")["ner"]
    assert list(everything.train) == list(full.train)


def test_limit_does_not_reach_what_is_held_out_of_a_file(tiny, own_sentences):
    path, _ = own_sentences
    settings = [f"tasks.ner.train={path}", "tasks.ner.limit=7"]
    dataset = ner_dataset(tiny, *settings)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [7, 20, 20]


def test_augment_adds_to_the_training_split_alone(shared):
    settings = ["datasets.texts.augment=2", "datasets.texts.limit=6"]
    plain, more = (dataset_of(shared, *some)["ner"] for some in (settings[1:], settings))
    assert list(more.train[:6]) == list(plain.train)
    assert len(more.train) == 18
    assert list(more.train[6:12]) != list(plain.train)
    assert [e.label for e in more.train] == [e.label for e in plain.train] * 3
    for split in ("validation", "test", "test_unseen"):
        assert list(more.split(split)) == list(plain.split(split))


@pytest.mark.filterwarnings("ignore:.*in both .*200 of the 200:mtl.errors.DataWarning")
def test_the_seed_draws_what_augment_changes(tiny, own_sentences):
    """All splits are files here, so the seed draws nothing else."""
    path, sentences = own_sentences
    files = [f"tasks.ner.{split}={path}" for split in ("train", "validation", "test")]
    made = []
    for seed in (0, 0, 1):
        train = ner_dataset(tiny, *files, "tasks.ner.augment=1", f"seed={seed}").train
        assert list(train[: len(sentences)]) == sentences
        made.append(list(train[len(sentences) :]))
    assert made[0] == made[1] != made[2]


def test_synonyms_reach_augment(shared, tmp_path):
    texts = [
        TextExample(f"A big Item{i}", ("A", "big", f"Item{i}"), "ab"[i % 2]) for i in range(40)
    ]
    mtl.write_jsonl(texts, tmp_path / "own.jsonl")
    settings = [f"tasks.topic.train={tmp_path / 'own.jsonl'}", "tasks.topic.augment=1"]
    settings.append('tasks.topic.synonyms={big=["very large"]}')
    train = dataset_of(shared, *settings)["topic"].train
    assert {" ".join(e.tokens[1:-1]) for e in train[:32]} == {"big"}
    assert {" ".join(e.tokens[1:-1]) for e in train[32:]} == {"big", "very large"}


def test_questions_cannot_be_augmented(tiny):
    with pytest.raises(ConfigError, match=r"can be augmented(.|\n)*QAExample"):
        build_tasks(load_recipe(tiny, ["tasks.qa.augment=1"]))
