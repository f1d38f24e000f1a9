"""Validation: encoded once, one encoder pass for tasks that share texts, the scores of evaluate."""

import pytest
import torch

from mtl.data import encoded as encoded_module
from mtl.data.dataset import Dataset
from mtl.data.examples import TextExample
from mtl.inference import encode_for, evaluate, evaluate_encoded, predict_encoded, predict_examples
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.toy import ner_examples, qa_examples
from mtl.training.loop import TrainConfig, train


def record(i, example):
    """A sentence that may have a class, tags, both, or neither."""
    label = ("long" if len(example.tokens) > 12 else "short") if i % 3 else None
    return TextExample(example.text, example.tokens, label, example.tags if i % 4 else None)


RECORDS = [record(i, example) for i, example in enumerate(ner_examples("train", 90))]
QUESTIONS = qa_examples("train", 30)


@pytest.fixture
def tasks():
    texts = Dataset(train=RECORDS[:20], validation=RECORDS[20:])
    return [
        ClassificationTask("topic", texts, labels=["long", "short"]),
        QATask("qa", Dataset(train=QUESTIONS[:15], validation=QUESTIONS[15:])),
        NERTask("ner", texts, types=["LOC", "MISC", "ORG", "PER"]),
    ]


@pytest.fixture
def model(tasks, build_model):
    return build_model(tasks, max_length=24)


def test_the_scores_are_those_of_evaluate(model, tasks):
    config = TrainConfig(epochs=2, batch_size=5, learning_rate=1e-2, device="cpu")
    scored = []
    history = train(
        *(model, tasks, config),
        on_epoch=lambda history: scored.append(
            {task.name: evaluate(model, task.name, task.dataset.validation) for task in tasks}
        ),
        progress=False,
    )
    assert history.validation == scored
    assert list(scored[0]) == list(history.validation[0]) == ["topic", "qa", "ner"]


def test_in_half_precision_they_are_those_of_evaluate_too(model, tasks):
    """Training computes in bfloat16; validation as the test and use do, in float32."""
    config = TrainConfig(
        epochs=1, batch_size=5, learning_rate=1e-2, device="cpu", precision="bfloat16"
    )
    seen = set()
    layer = model.encoder.layers[0].feed_forward.expand
    layer.register_forward_hook(lambda layer, _, out: seen.add((layer.training, out.dtype)))
    history = train(model, tasks, config, progress=False)
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}
    (scores,) = history.validation
    assert scores == {t.name: evaluate(model, t.name, t.dataset.validation) for t in tasks}


def test_each_text_is_encoded_once_and_read_once_per_epoch(model, tasks, monkeypatch):
    encoded, read = [], []
    real = encoded_module.rows_and_targets

    def made(examples, *args):
        examples = list(examples)
        encoded.append(len(examples))
        return real(examples, *args)

    monkeypatch.setattr(encoded_module, "rows_and_targets", made)
    model.encoder.register_forward_hook(
        lambda encoder, given, _: None if encoder.training else read.append(len(given[0]))
    )
    config = TrainConfig(epochs=3, batch_size=5, device="cpu")
    train(model, tasks, config, progress=False)
    assert sorted(encoded) == [15, 15, 20, 70]
    labelled = [r for r in RECORDS[20:] if r.label or r.tags]
    items = [*encode_for(model, labelled), *encode_for(model, QUESTIONS[15:])]
    assert sum(read) == 3 * sum(len(item.rows) for item in items)


def test_encoded_once_the_predictions_are_the_same(model):
    encoded = encode_for(model, RECORDS)
    assert [item.example for item in encoded] == RECORDS
    expected = predict_examples(model, RECORDS, ["topic", "ner"])
    for _ in range(2):
        assert predict_encoded(model, encoded, ["topic", "ner"]) == expected


def test_a_task_without_labels_there_has_no_scores(model):
    encoded = encode_for(model, [TextExample("Ann ran .", label="short")])
    assert list(evaluate_encoded(model, encoded, ["topic", "ner"])) == ["topic"]
    assert evaluate_encoded(model, [], ["topic", "ner"]) == {}
