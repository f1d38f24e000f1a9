"""Sentence classification: pooled, masked, partly labelled, merged over windows, and scored."""

import json
import math

import pytest
import torch
import torch.nn.functional as F

from mtl.data.batching import collate
from mtl.data.dataset import Dataset
from mtl.data.encoded import encode_examples
from mtl.data.examples import TextExample
from mtl.errors import ConfigError, DataError, DataWarning
from mtl.inference import evaluate, evaluate_baselines, predict
from mtl.metrics import confusion
from mtl.model import MultiTaskModel
from mtl.nn.heads import POOLINGS
from mtl.tasks.classification import ClassificationTask, ClassPrediction
from mtl.tasks.ner import NERTask
from mtl.training.loop import Run, TrainConfig, train
from mtl.training.weighting import FixedWeighting

LABELS = ["sports", "city", "9", "10"]
LONG = " ".join(f"Word{i}" for i in range(150)) + " ."


@pytest.fixture(scope="module")
def examples(sentences):
    """Thirty texts; every third has no label."""
    return [
        TextExample(e.text, label=None if i % 3 == 0 else LABELS[i % 4])
        for i, e in enumerate(sentences)
    ]


@pytest.fixture(scope="module")
def model(build_model):
    return build_model([ClassificationTask("topic", labels=LABELS)], embedding_std=1.0).eval()


def batch_of(examples, model, tasks=()):
    length = model.encoder.config.max_length
    items, _ = encode_examples(examples, model.tokenizer, tasks, length)
    return collate(items, model.tokenizer, tasks)


# --- prediction -----------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_prediction_is_the_softmax_of_a_linear_layer_on_pooled_tokens(build_model, pooling):
    task = ClassificationTask("topic", labels=LABELS, pooling=pooling)
    model = build_model([task], embedding_std=1.0).eval()
    text = "Ann met Bob in Oslo ."
    (row,) = model.tokenizer.rows((text, None), 64)
    hidden = model.encoder(torch.tensor([row.input_ids]), None, torch.tensor([row.token_type_ids]))[
        0
    ]
    by_hand = {"cls": hidden[0], "mean": hidden.mean(0), "max": hidden.max(0).values}
    layer = model.heads["topic"].classifier
    expected = (layer.weight @ by_hand[pooling] + layer.bias).softmax(0).tolist()
    prediction = predict(model, text)["topic"]
    assert list(prediction.scores) == LABELS
    assert list(prediction.scores.values()) == pytest.approx(expected, abs=1e-6)
    assert prediction.label == LABELS[expected.index(max(expected))]
    assert prediction.score == max(prediction.scores.values())
    assert prediction.to_dict() == {
        "label": prediction.label,
        "score": prediction.score,
        "scores": prediction.scores,
    }


def test_scores_are_probabilities(model, examples):
    for prediction in predict(model, [e.text for e in examples] + [LONG]):
        scores = prediction["topic"].scores.values()
        assert sum(scores) == pytest.approx(1, abs=1e-5)
        assert all(0 <= score <= 1 for score in scores)


def test_windows_of_a_text_are_averaged_and_belong_to_their_own_text(model):
    task = model.tasks["topic"]
    texts = ["Ann ran .", LONG, "Oslo ."]
    batch = batch_of([TextExample(text) for text in texts], model)
    assert batch.rows.tolist() == [0, 1, 1, 1, 1, 2]
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    probabilities = logits.softmax(-1)
    expected = [probabilities[0], probabilities[1:5].mean(0), probabilities[5]]
    for text, row, prediction in zip(texts, expected, task.decode(logits, batch), strict=True):
        assert prediction.text == text
        assert list(prediction.scores.values()) == pytest.approx(row.tolist(), abs=1e-6)
        assert prediction.label == LABELS[row.argmax()]


def test_a_text_longer_than_the_model_gets_one_prediction(model):
    batch = batch_of([TextExample(LONG)], model)
    expected = model(batch, ["topic"])["topic"].softmax(-1).mean(0).tolist()
    assert len(batch.rows) == 4
    prediction = predict(model, LONG)["topic"]
    assert list(prediction.scores.values()) == pytest.approx(expected, abs=1e-5)


def test_a_prediction_shows_itself():
    prediction = ClassPrediction("<i>Ann</i>", "a&b", {"x": 0.1, "a&b": 0.6, "y": 0.26, "z": 0.04})
    assert str(prediction) == "a&b  (score 0.60, y 0.26, x 0.10)"
    html = prediction._repr_html_()
    assert "&lt;i&gt;Ann" in html
    assert "a&amp;b" in html
    assert "<i>" not in html


# --- scores ---------------------------------------------------------------------------------------


def test_evaluation_equals_scikit_learn_on_the_predictions(model, examples):
    sklearn = pytest.importorskip("sklearn.metrics")
    labelled = [e for e in examples if e.label is not None]
    gold = [e.label for e in labelled]
    guess = [p["topic"].label for p in predict(model, [e.text for e in labelled])]
    assert len(set(guess)) > 1
    assert evaluate(model, "topic", labelled) == pytest.approx(
        {
            "accuracy": sklearn.accuracy_score(gold, guess),
            "macro_f1": sklearn.f1_score(gold, guess, average="macro", zero_division=0),
        }
    )


def test_examples_without_a_label_are_not_scored(model, examples):
    labelled = [e for e in examples if e.label is not None]
    assert 0 < len(labelled) < len(examples)
    assert evaluate(model, "topic", examples) == evaluate(model, "topic", labelled)
    with pytest.raises(DataError, match="no labelled examples to evaluate 'topic'"):
        evaluate(model, "topic", [e for e in examples if e.label is None])


def test_the_report_is_the_confusion_matrix(model, examples):
    labelled = [e for e in examples if e.label is not None]
    predictions = [p["topic"] for p in predict(model, [e.text for e in labelled])]
    gold, guess = [e.label for e in labelled], [p.label for p in predictions]
    report = model.tasks["topic"].report(labelled, predictions)
    header, _, *rows = (line.split() for line in report.splitlines())
    assert header == ["right", "\\", "predicted", *LABELS, "precision", "recall", "F1"]
    counts = confusion(gold, guess, LABELS)
    assert [row[:5] for row in rows] == [
        [label, *map(str, numbers)] for label, numbers in zip(LABELS, counts, strict=True)
    ]


def test_the_report_names_a_class_that_never_occurs():
    task = ClassificationTask("topic", labels=["a", "b", "unused"])
    prediction = ClassPrediction("Ann", "b", {"b": 1.0})
    report = task.report([TextExample("Ann", label="a")], [prediction])
    assert report.splitlines()[-1].split() == ["unused", "0", "0", "0", "0.000", "0.000", "0.000"]


def test_the_majority_baseline_by_hand(model):
    labels = ["city", "sports", "sports", None, None, None, "10"]
    examples = [TextExample(f"Ann {i}", label=label) for i, label in enumerate(labels)]
    # Always sports: 2 of 4 right; its F1 is 2 * 2 / (4 + 2), that of city and 10 is 0.
    assert evaluate_baselines(model, "topic", examples) == {
        "majority_class": pytest.approx({"accuracy": 2 / 4, "macro_f1": 2 / 3 / 3})
    }


# --- loss -----------------------------------------------------------------------------------------


def test_the_loss_is_torchs_over_labelled_rows_only(model, examples):
    task = model.tasks["topic"]
    batch = batch_of(examples, model, [task])
    targets = batch.targets["topic"]
    outputs = torch.randn(30, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    known = [i for i, e in enumerate(examples) if e.label is not None]
    right = torch.tensor([LABELS.index(examples[i].label) for i in known])
    loss = task.loss(outputs, targets, batch)
    torch.testing.assert_close(loss, F.cross_entropy(outputs[known], right))
    loss.backward()
    unknown = [i for i in range(30) if i not in known]
    assert len(unknown) == 10
    assert not outputs.grad[unknown].any()
    assert outputs.grad[known].all()


def test_each_window_of_a_text_has_the_texts_label(model):
    examples = [TextExample("Ann", label="9"), TextExample(LONG, label="city"), TextExample(LONG)]
    batch = batch_of(examples, model, [model.tasks["topic"]])
    assert batch.targets["topic"].tolist() == [2, 1, 1, 1, 1, -100, -100, -100, -100]
    assert batch.n_labelled("topic") == 2


def test_half_a_batch_without_labels_has_a_finite_loss_and_gradients(model, examples):
    loss = model.losses(batch_of(examples, model, [model.tasks["topic"]]))["topic"]
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert loss.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_batch_without_any_label_has_no_loss(model):
    batch = batch_of([TextExample("Ann"), TextExample("Oslo")], model, [model.tasks["topic"]])
    assert model.losses(batch) == {}


def test_a_step_without_its_labels_leaves_a_head_alone(build_model, sentences):
    """Batches of one example with a label, or tags, or neither; weight decay moves all it can."""
    examples = [TextExample(e.text, e.tokens, tags=e.tags) for e in sentences[:4]]
    examples += [TextExample(e.text, label="xy"[i % 2]) for i, e in enumerate(sentences[4:8])]
    examples += [TextExample(e.text) for e in sentences[8:12]]
    dataset = Dataset(train=examples)
    tasks = [NERTask("ner", dataset), ClassificationTask("topic", dataset)]
    model = build_model(tasks)
    config = TrainConfig(epochs=2, batch_size=1, weight_decay=0.5, learning_rate=1e-2)
    run = Run(model, tasks, config, FixedWeighting())
    seen = []
    for _ in range(24):  # in the second pass the optimiser has momentum for both heads
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        seen.append(tuple(run.round()))
        for name, parameter in model.named_parameters():
            takes_part = any(name.startswith(("encoder.", f"heads.{task}.")) for task in seen[-1])
            if seen[-1]:  # without any label there is no backward pass, and the old ones stay
                assert (parameter.grad is not None) == takes_part, name
            if not takes_part:
                assert torch.equal(parameter, before[name]), name
            elif name.startswith("heads."):
                assert not torch.equal(parameter, before[name]), name
    assert {kind: seen.count(kind) for kind in seen} == {("ner",): 8, ("topic",): 8, (): 8}


def test_training_learns_a_label_that_a_word_gives_away(build_model, sentences):
    examples = [
        TextExample(f"{e.text} {('Oslo', 'Bob')[i % 2]}", label=("city", "person")[i % 2])
        for i, e in enumerate(sentences[:16])
    ]
    unlabelled = [TextExample(e.text) for e in sentences[16:24]]
    task = ClassificationTask("topic", Dataset(examples + unlabelled, validation=examples))
    model = build_model([task])
    config = TrainConfig(epochs=12, batch_size=8, learning_rate=1e-2, hide_words=0.0)
    history = train(model, [task], config, progress=False)
    assert all(math.isfinite(r.total) for r in history.rounds)
    assert evaluate(model, "topic", examples)["accuracy"] == 1


# --- labels ---------------------------------------------------------------------------------------


def test_labels_are_those_of_training():
    train = [TextExample("a", label="y"), TextExample("b"), TextExample("c", label="x")]
    dataset = Dataset(train=train, test=[TextExample("d", label="z"), TextExample("e", label="x")])
    with pytest.warns(DataWarning, match=r"test has classes that train does not have, 'z' \(1\)"):
        task = ClassificationTask("topic", dataset)
    assert task.labels == ["x", "y"]
    assert ClassificationTask("topic", Dataset(test=train)).labels == ["x", "y"]


def test_labels_that_are_numbers(build_model, tmp_path):
    records = [{"sentence": f"Ann met Bob {i} times .", "label": i} for i in range(12)]
    path = tmp_path / "records.jsonl"
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    examples = ClassificationTask.read(path, "stop")
    task = ClassificationTask("topic", Dataset(train=examples))
    model = build_model([task]).eval()
    assert sorted(task.labels) == sorted(map(str, range(12)))
    assert predict(model, "Ann")["topic"].label in task.labels
    assert 0 <= evaluate(model, "topic", examples)["accuracy"] <= 1
    targets = batch_of(examples, model, [task]).targets["topic"].tolist()
    assert [task.labels[i] for i in targets] == list(map(str, range(12)))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_labels_and_pooling_survive_saving(build_model, tmp_path, pooling):
    labels = [f"class {i}" for i in reversed(range(12))]
    model = build_model([ClassificationTask("topic", labels=labels, pooling=pooling)]).eval()
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    assert loaded.tasks["topic"].labels == labels
    assert loaded.tasks["topic"].settings() == model.tasks["topic"].settings()
    assert predict(loaded, ["Ann met Bob .", LONG]) == predict(model, ["Ann met Bob .", LONG])
    saved = json.loads((tmp_path / "config.json").read_text())["tasks"]["topic"]
    assert saved["id2label"]["10"] == "class 1"
    assert saved["label2id"]["class 1"] == 10


def test_labels_the_task_does_not_know(model):
    examples = [TextExample("Ann", label="beer"), TextExample("Bob", label="wine")]
    examples.append(TextExample("."))
    for use in (evaluate, evaluate_baselines):
        with pytest.raises(DataError, match="does not know these labels") as error:
            use(model, "topic", examples)
        assert "'beer' (1), 'wine' (1)" in str(error.value)
        assert "trained on 'sports', 'city', '9', '10'" in str(error.value)


def test_labels_that_lack_one_of_the_data():
    examples = [TextExample("Ann", label="a"), TextExample("Bob", label="wine")]
    with pytest.raises(ConfigError, match="lacks labels that its data has") as caught:
        ClassificationTask("topic", Dataset(train=examples), labels=["a", "b"])
    assert caught.value.faults[0].found == "'wine'"


def test_one_class_alone_needs_the_others_named(build_model):
    dataset = Dataset(train=[TextExample("Ann", label="a"), TextExample("Bob", label="a")])
    with pytest.raises(DataError, match="needs at least two") as caught:
        ClassificationTask("topic", dataset)
    assert caught.value.faults[0].found == "the only label 'a'"
    task = ClassificationTask("topic", dataset, labels=["a", "b"])
    model = build_model([task])
    train(model, [task], TrainConfig(epochs=6, learning_rate=1e-2), progress=False)
    assert evaluate(model, "topic", dataset.train) == {"accuracy": 1, "macro_f1": 1}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"labels": ["a", "b", "a"]}, "a label twice"),
        ({"labels": ["a"]}, "at least two labels"),
        ({"labels": []}, "at least two labels"),
        ({}, "at least two labels"),
        ({"labels": "ab"}, "must be a list of names"),
        ({"labels": [1, 2]}, "must be a list of names"),
        ({"labels": ["a", "b"], "pooling": "maen"}, 'did you mean "mean"'),
    ],
)
def test_tasks_that_cannot_be(settings, words):
    with pytest.raises(ConfigError) as error:
        ClassificationTask("topic", **settings)
    assert words in str(error.value)
    assert "'topic'" in str(error.value)
