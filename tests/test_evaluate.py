"""What `evaluate` scores: a split, a file, a folder, examples; and the methods of a model."""

import inspect
from pathlib import Path

import pytest
import torch

import mtl
from mtl.errors import ConfigError, DataError
from mtl.tasks import Task


@pytest.fixture(scope="module")
def tasks(sentences, questions):
    """NER with three splits, QA with one to learn from and one to be tested on."""
    parts = {"train": sentences[:10], "validation": sentences[10:18], "test": sentences[18:]}
    return [
        mtl.NERTask("ner", mtl.Dataset(**parts)),
        mtl.QATask("qa", mtl.Dataset(train=questions[:10], test=questions[10:15])),
    ]


@pytest.fixture(scope="module")
def model(build_model, tasks):
    return build_model(tasks, embedding_std=1.0).eval()


@pytest.fixture
def asked(monkeypatch, model):
    """The examples that each evaluation scores, one list after the other."""
    lists = []
    score = mtl.NERTask.score

    def remember(task, examples, predictions):
        lists.append(list(examples))
        return score(task, examples, predictions)

    monkeypatch.setattr(mtl.NERTask, "score", remember)
    return lists


# --- methods --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["predict", "answer", "encode", "nearest", "evaluate"])
def test_a_method_is_the_function_with_the_model_first(name):
    function, method = getattr(mtl, name), getattr(mtl.MultiTaskModel, name)
    model, *others = inspect.signature(function).parameters
    assert model == "model"
    assert inspect.getdoc(method) == inspect.getdoc(function)
    bound = inspect.signature(method.__get__(object()))  # as an editor shows it
    assert list(bound.parameters) == others
    assert not any(p.kind is p.VAR_POSITIONAL for p in bound.parameters.values())


def test_methods_say_what_the_functions_say(model, sentences, questions):
    texts = [example.text for example in sentences[:4]]
    assert model.predict(texts) == mtl.predict(model, texts)
    asked = (questions[0].question, questions[0].context)
    assert model.answer(*asked) == mtl.answer(model, *asked)
    assert torch.equal(model.encode(texts), mtl.encode(model, texts))
    assert model.nearest(texts[0], texts, n=2) == mtl.nearest(model, texts[0], texts, n=2)
    assert model.evaluate("ner") == mtl.evaluate(model, "ner")


# --- what is scored -------------------------------------------------------------------------------


def test_the_test_split_is_what_is_scored_unless_another_is_named(model, tasks, asked):
    model.evaluate("ner")
    model.evaluate("ner", "validation")
    model.evaluate("ner", data="train")
    dataset = tasks[0].dataset
    assert asked == [dataset.test, dataset.validation, dataset.train]


def test_without_a_task_all_are_scored_that_have_the_split(model):
    assert model.evaluate() == {name: model.evaluate(name) for name in ("ner", "qa")}
    assert model.evaluate(data="validation") == {"ner": model.evaluate("ner", "validation")}
    with pytest.raises(DataError, match="no task of the model has test_unseen examples"):
        model.evaluate(data="test_unseen")
    with pytest.raises(ConfigError, match=r"which task are the examples for\?") as caught:
        model.evaluate(data="dev.conll")
    assert "to do: name the task: evaluate(TASK, ...), one of ner, qa" in str(caught.value)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_is_read_and_scored(model, sentences, tmp_path, kind, asked):
    mtl.write_conll(sentences[:7], tmp_path / "mine.conll")
    scores = model.evaluate("ner", kind(tmp_path / "mine.conll"))
    assert scores == model.evaluate("ner", sentences[:7])
    assert asked[0] == sentences[:7]


def test_of_a_folder_the_test_file_is_scored_and_never_what_was_trained_on(
    model, sentences, tmp_path, asked
):
    mtl.write_conll(sentences[:9], tmp_path / "train.conll")
    with pytest.raises(DataError, match="no test or dev file"):
        model.evaluate("ner", tmp_path)
    mtl.write_conll(sentences[9:14], tmp_path / "dev.conll")
    model.evaluate("ner", tmp_path)
    mtl.write_conll(sentences[14:], tmp_path / "test.conll")
    model.evaluate("ner", str(tmp_path))
    assert asked == [sentences[9:14], sentences[14:]]


def test_the_name_of_a_split_wins_over_a_file_of_that_name(
    model, tasks, sentences, tmp_path, monkeypatch, asked
):
    monkeypatch.chdir(tmp_path)
    mtl.write_conll(sentences[:3], tmp_path / "test")
    model.evaluate("ner", "test")
    model.evaluate("ner", "./test")
    assert asked == [tasks[0].dataset.test, sentences[:3]]


def test_a_task_reads_a_file_with_its_own_reader(build_model, tmp_path, monkeypatch, sentences):
    monkeypatch.setattr(Task, "kinds", dict(Task.kinds))

    class Mine(mtl.NERTask):
        kind = "mine"

        @classmethod
        def read(cls, path, on_error="stop"):
            assert Path(path).read_text() == "anything"
            return sentences[:4]

    (tmp_path / "own.format").write_text("anything")
    model = build_model([Mine("mine", mtl.Dataset(train=sentences))])
    assert model.evaluate("mine", tmp_path / "own.format") == model.evaluate("mine", sentences[:4])


def test_the_field_that_a_task_learns_is_read_from_the_file(build_model, tmp_path):
    records = [mtl.TextExample(f"Ann {i}", fields={"room": "ab"[i % 2]}) for i in range(6)]
    mtl.write_jsonl(records, tmp_path / "rooms.jsonl")
    task = mtl.ClassificationTask("where", mtl.Dataset(train=records), field="room")
    model = build_model([task])
    scores = model.evaluate("where", tmp_path / "rooms.jsonl")
    assert scores == model.evaluate("where", "train")


# --- what cannot be scored ------------------------------------------------------------------------


def test_a_split_that_a_task_does_not_have(model):
    with pytest.raises(DataError, match="the task 'qa' has no validation examples") as caught:
        model.evaluate("qa", "validation")
    assert "found: only train and test" in str(caught.value)
    assert 'to do: give a file or examples: evaluate("qa", "FILE"), or "test"' in str(caught.value)


def test_a_model_that_was_loaded_has_no_data(model, sentences, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = mtl.MultiTaskModel.from_pretrained(tmp_path)
    with pytest.raises(DataError, match="the task 'ner' has no test examples") as caught:
        loaded.evaluate("ner")
    assert "a loaded model does not hold its data" in str(caught.value)
    assert 'to do: give a file or examples: evaluate("ner", "FILE")' in str(caught.value)
    with pytest.raises(DataError, match="a loaded model does not hold its data"):
        loaded.evaluate()
    assert loaded.evaluate("ner", sentences) == model.evaluate("ner", sentences)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("dev", 'it is called "validation" here'),
        ("tset", 'did you mean "test"? use one of'),
        ("dev.conll", "or give the path of a file"),
        ("x" * 5000, "or give the path of a file"),
    ],
)
def test_a_name_of_neither_a_split_nor_a_file(model, name, fix):
    with pytest.raises(
        DataError, match="there is neither a split nor a file of this name"
    ) as caught:
        model.evaluate("ner", name)
    assert fix in caught.value.faults[0].fix


def test_a_file_of_another_kind(model, questions, tmp_path):
    mtl.write_squad(questions[:5], tmp_path / "squad.json")
    with pytest.raises(ConfigError, match="the data of the task 'ner' does not fit its kind"):
        model.evaluate("ner", tmp_path / "squad.json")


def test_a_task_is_asked_for_by_its_name(model, tasks, sentences):
    for slip in (tasks[0], sentences, ["ner"]):
        with pytest.raises(ConfigError, match="ask for a task by its name") as caught:
            model.evaluate(slip)
        assert "to do: use one of ner, qa" in str(caught.value)
    with pytest.raises(ConfigError, match="evaluate has no split"):
        model.evaluate("ner", split="test")


def test_examples_of_another_kind_and_a_whole_dataset(model, tasks, sentences):
    with pytest.raises(ConfigError, match=r"(?s)'qa' does not fit its kind.*reads questions with"):
        model.evaluate("qa", sentences[:3])
    with pytest.raises(DataError, match=r"(?s)several splits.*dataset\.test"):
        model.evaluate("ner", tasks[0].dataset)


def test_a_split_of_all_tasks_that_is_mistyped(model):
    with pytest.raises(ConfigError, match=r"(?s)'vali'.*or a split: train, validation, test"):
        model.evaluate(None, "vali")
