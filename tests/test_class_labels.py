"""Fields, rare classes and unknown classes of classification: what counts, and who is told."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mtl.data.batching import collate
from mtl.data.dataset import Dataset
from mtl.data.encoded import encode_examples
from mtl.data.examples import TextExample
from mtl.errors import ConfigError, DataWarning
from mtl.inference import evaluate, predict
from mtl.model import MultiTaskModel
from mtl.tasks.classification import ClassificationTask
from mtl.training.loop import TrainConfig, train


def texts(labels, **fields):
    return [TextExample(f"Ann met Bob {i} .", label=x, **fields) for i, x in enumerate(labels)]


# --- fields ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def with_fields():
    return [
        TextExample(
            f"{('Bob', 'Oslo')[i % 2]} {i} {('ran', 'met')[i // 2 % 2]}",
            label="never read",
            fields={"who": ("person", "city")[i % 2], "what": ("run", "meet")[i // 2 % 2]},
        )
        for i in range(12)
    ]


def test_two_tasks_learn_two_fields_of_one_text_in_one_pass(build_model, with_fields):
    dataset = Dataset(train=with_fields)
    tasks = [ClassificationTask(name, dataset, field=name) for name in ("who", "what")]
    assert [task.labels for task in tasks] == [["city", "person"], ["meet", "run"]]
    model = build_model(tasks)
    config = TrainConfig(epochs=25, batch_size=6, learning_rate=1e-2, hide_words=0.0)
    history = train(model, tasks, config, progress=False)
    assert set(history.rounds[0].examples) == {"who", "what"}
    for task in ("who", "what"):
        assert evaluate(model, task, with_fields)["accuracy"] == 1


def test_the_field_is_saved_with_the_model(build_model, with_fields, tmp_path):
    model = build_model([ClassificationTask("a", Dataset(train=with_fields), field="who")]).eval()
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    assert loaded.tasks["a"].field == "who"
    assert evaluate(loaded, "a", with_fields) == evaluate(model, "a", with_fields)


def test_a_model_saved_before_there_were_fields_can_be_read():
    settings = {"id2label": {"0": "x", "1": "y"}, "label2id": {}, "pooling": "cls"}
    task = ClassificationTask.from_settings("topic", settings)
    assert (task.labels, task.pooling, task.field) == (["x", "y"], "cls", "")


def test_a_text_without_the_field_is_not_labelled(with_fields):
    task = ClassificationTask("a", Dataset(train=with_fields), field="who")
    assert not task.is_labelled(TextExample("Ann", label="city"))
    assert task.is_labelled(with_fields[0])


# --- rare classes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "told"), [(19, False), (20, True)])
def test_a_class_ten_times_as_frequent_as_another_is_told_with_the_key(n, told):
    dataset = Dataset(train=texts(["ok"] * n + ["bad"] * 2 + ["so so"] * 9))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ClassificationTask("topic", dataset)
    assert bool(caught) == told
    for warning in caught:
        assert "20 training texts are 'ok' and 2 'bad'" in str(warning.message)
        assert 'tasks.topic.class_weights = "balanced"' in str(warning.message)


def test_nobody_is_told_where_classes_are_weighted():
    dataset = Dataset(train=texts(["ok"] * 40 + ["bad"]))
    ClassificationTask("topic", dataset, class_weights="balanced")
    with pytest.raises(ConfigError, match="class_weights of the task 'topic' is unknown"):
        ClassificationTask("topic", dataset, class_weights="balance")


def test_balanced_weights_are_those_of_scikit_learn():
    utils = pytest.importorskip("sklearn.utils.class_weight")
    labels = ["a"] * 7 + ["b"] * 2 + ["c"] * 3
    task = ClassificationTask("topic", Dataset(train=texts(labels)), class_weights="balanced")
    expected = utils.compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    assert task.weights.tolist() == pytest.approx(expected.tolist())


labels_of_rows = st.lists(st.sampled_from([0, 1, 2, -100]), min_size=2, max_size=12)


@given(targets=labels_of_rows, cut=st.integers(1, 11), seed=st.integers(0, 99))
def test_weighted_losses_of_the_parts_of_a_batch_add_up(targets, cut, seed):
    """As the training loop adds them: each part counts by its share of the labels."""
    examples = texts(["a"] * 8 + ["b"] * 3 + ["c"])
    task = ClassificationTask("topic", Dataset(train=examples), class_weights="balanced")
    outputs = torch.randn(len(targets), 3, generator=torch.Generator().manual_seed(seed))
    targets = torch.tensor(targets)
    known = targets != -100
    if not known.any():
        return
    whole = task.loss(outputs, targets, None)
    parts = [(outputs[:cut], targets[:cut]), (outputs[cut:], targets[cut:])]
    added = sum(
        task.loss(o, t, None) * (t != -100).sum() / known.sum()
        for o, t in parts
        if known.any()
        if (t != -100).any()
    )
    torch.testing.assert_close(whole, added)
    one_by_one = F.cross_entropy(outputs[known], targets[known], reduction="none")
    torch.testing.assert_close(whole, (task.weights[targets[known]] * one_by_one).mean())


def test_weights_let_a_rare_class_be_found(build_model):
    """Words say nothing here: without weights the frequent class wins everywhere."""
    examples = [TextExample("Ann met Bob .", label="ok")] * 18
    examples += [TextExample("Ann met Bob .", label="bad")] * 2
    score = {}
    for weights in ("", "balanced"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            task = ClassificationTask("topic", Dataset(train=examples), class_weights=weights)
        model = build_model([task])
        config = TrainConfig(epochs=40, batch_size=20, learning_rate=1e-2, hide_words=0.0)
        train(model, [task], config, progress=False)
        score[weights] = predict(model, "Ann met Bob .")["topic"].scores["bad"]
    assert score[""] == pytest.approx(0.1, abs=0.05)
    assert score["balanced"] == pytest.approx(0.5, abs=0.05)


# --- classes that training does not have ----------------------------------------------------------


@pytest.fixture
def model(build_model):
    return build_model([ClassificationTask("topic", labels=["x", "y"])], embedding_std=1.0).eval()


def test_a_class_of_the_test_file_only_is_named_and_counts_as_wrong(model):
    known = texts(["x", "y", "x"])
    unknown = [*known, TextExample("Oslo .", label="z")]
    with pytest.warns(DataWarning, match=r"does not know count as wrong: 'z' \(1\)"):
        scores = evaluate(model, "topic", unknown)
    assert scores["accuracy"] == pytest.approx(evaluate(model, "topic", known)["accuracy"] * 3 / 4)


def test_unknown_classes_are_not_targets(model):
    task = model.tasks["topic"]
    examples = texts(["x", "z", None, "y"])
    items, _ = encode_examples(examples, model.tokenizer, [task], 64)
    assert collate(items, model.tokenizer, [task]).targets["topic"].tolist() == [0, -100, -100, 1]


def test_minus_one_says_that_nobody_labelled_a_text():
    """GLUE hides the labels of its test files this way."""
    test = texts(["-1"] * 5)
    with pytest.warns(DataWarning, match="5 of 5 texts in test have the label -1"):
        task = ClassificationTask("topic", Dataset(train=texts(["0", "1"]), test=test))
    assert task.labels == ["0", "1"]
    assert task.labelled(test) == []


def test_minus_one_is_a_class_where_training_has_it():
    examples = texts(["-1", "1", "-1"])
    task = ClassificationTask("topic", Dataset(train=examples, test=examples))
    assert task.labels == ["-1", "1"]
    assert len(task.labelled(examples)) == 3
