"""Pair classification: both texts in one row, windows averaged, classes scored, controls."""

import json

import pytest
import torch

import mtl
from mtl.data.batching import collate
from mtl.data.encoded import encode_examples
from mtl.data.examples import PairExample, TextExample
from mtl.errors import ConfigError, DataError, DataWarning
from mtl.inference import evaluate, evaluate_baselines, predict
from mtl.tasks import EmbeddingTask, PairClassificationTask
from mtl.tasks.pair_classification import PairClassPrediction

LABELS = ["contradiction", "entailment", "neutral"]
LONG = " ".join(f"Word{i}" for i in range(150)) + " ."
PAIRS = [
    PairExample("Ann ran .", "Ann left .", label="entailment"),
    PairExample("Ann met Bob .", LONG, label="neutral"),
    PairExample("Oslo is far .", "Oslo is near .", label="contradiction"),
    PairExample("Rome .", "Bob ?"),
]


@pytest.fixture(scope="module")
def model(build_model):
    task = PairClassificationTask("nli", mtl.Dataset(PAIRS))
    return build_model([task], embedding_std=1.0).eval()


def batch_of(examples, model, tasks=()):
    length = model.encoder.config.max_length
    items, _ = encode_examples(examples, model.tokenizer, tasks, length)
    return collate(items, model.tokenizer, tasks)


def test_both_texts_stand_in_one_row_and_every_window_has_all_of_the_first(model):
    task = model.tasks["nli"]
    batch = batch_of(PAIRS, model, [task])
    assert batch.items[0].rows == model.tokenizer.rows(("Ann ran .", "Ann left ."), 64)
    windows = batch.items[1].rows
    assert len(windows) > 1
    assert {row.text_start for row in windows} == {1 + 4 + 1}  # [CLS], the premise, [SEP]
    assert len({tuple(row.input_ids[:6]) for row in windows}) == 1
    assert task.labels == LABELS
    assert batch.targets["nli"].tolist() == [1, *[2] * len(windows), 0, -100]


def test_the_probabilities_of_windows_are_averaged(model):
    batch = batch_of(PAIRS, model, [model.tasks["nli"]])
    outputs = model(batch, ["nli"])["nli"]
    expected = outputs[batch.rows == 1].softmax(-1).mean(0).tolist()
    prediction = predict(model, (PAIRS[1].first, LONG))["nli"]
    assert list(prediction.scores) == LABELS
    assert list(prediction.scores.values()) == pytest.approx(expected, abs=1e-5)
    assert (prediction.text, prediction.text_pair) == (PAIRS[1].first, LONG)


def test_the_order_of_the_texts_matters(model):
    forth = predict(model, ("Ann ran .", "Bob left ."))["nli"]
    assert forth.scores != pytest.approx(predict(model, ("Bob left .", "Ann ran ."))["nli"].scores)


def test_the_control_gives_each_pair_another_premise(model):
    labelled = PAIRS[:3]
    (name, spoiled), *rest = model.tasks["nli"].controls(labelled).items()
    assert (name, rest) == ("model_with_other_premise", [])
    for example in spoiled:
        (before,) = [e for e in labelled if e.second == example.second]
        assert example.label == before.label
        assert example.first != before.first
    table = evaluate_baselines(model, "nli", PAIRS)
    assert table.keys() == {"majority_class", "model_with_other_premise"}
    assert table["majority_class"]["accuracy"] == pytest.approx(1 / 3)


def test_scores_files_and_mistakes():
    task = PairClassificationTask("nli", labels=LABELS)
    said = ["entailment", "neutral", "entailment"]
    scores = {"entailment": 0.5, "neutral": 0.5}
    predictions = [
        PairClassPrediction(e.first, label, scores, e.second)
        for e, label in zip(PAIRS[:3], said, strict=True)
    ]
    assert task.score(PAIRS[:3], predictions) == {
        "accuracy": pytest.approx(2 / 3),
        "macro_f1": pytest.approx((2 / 3 + 1 + 0) / 3),
    }
    ending, content = task.prediction_file(PAIRS[:3], predictions)
    assert ending == "txt"
    assert content.splitlines()[2] == (
        "contradiction\tentailment\t0.5000\tOslo is far .\tOslo is near ."
    )
    (mistake,) = task.mistakes(PAIRS[:3], predictions)
    assert mistake.text == "Oslo is far . | Oslo is near ."
    assert (mistake.expected, mistake.predicted) == ("contradiction", "entailment")
    assert task.confusion(PAIRS[:3], predictions) == (LABELS, [[0, 1, 0], [0, 1, 0], [0, 0, 1]])
    assert str(predictions[0]) == "entailment  (score 0.50, neutral 0.50)"
    assert "Ann ran . | Ann left ." in predictions[0]._repr_html_()


def test_balanced_weights_and_options_that_cannot_be():
    pairs = [PairExample(f"a{i}", "b", label="x" if i else "y") for i in range(4)]
    task = PairClassificationTask("nli", mtl.Dataset(pairs), class_weights="balanced")
    torch.testing.assert_close(task.weights, torch.tensor([4 / 6, 2.0]))
    with pytest.raises(ConfigError, match="pooling of the task 'nli' is unknown"):
        PairClassificationTask("nli", mtl.Dataset(pairs), pooling="sum")
    with pytest.raises(DataError, match="the only label 'x'"):
        PairClassificationTask("nli", mtl.Dataset(pairs[1:]))
    with pytest.warns(DataWarning, match="classes that train does not have, 'y'"):
        PairClassificationTask("nli", mtl.Dataset([*pairs, *PAIRS[:1]][1:], test=pairs[:1]))


def test_saved_and_loaded_it_is_the_same(model, tmp_path):
    model.save_pretrained(tmp_path)
    loaded = mtl.MultiTaskModel.from_pretrained(tmp_path)
    given = [(e.first, e.second) for e in PAIRS]
    assert predict(loaded, given) == predict(model, given)
    assert evaluate(loaded, "nli", PAIRS) == evaluate(model, "nli", PAIRS)


def test_on_the_command_line(model, tmp_path, mtl_):
    model.save_pretrained(tmp_path / "model")
    expected = predict(model, ("Ann ran .", "Ann left ."))["nli"].to_dict()
    pair = ("--text", "Ann ran .", "--text-pair", "Ann left .")
    status, out, _ = mtl_("predict", tmp_path / "model", *pair, "--json")
    assert (status, json.loads(out)) == (0, expected)
    keyed = {"premise": "Ann ran .", "hypothesis": "Ann left ."}
    assert predict(model, keyed)["nli"].to_dict() == expected
    status, out, err = mtl_("predict", tmp_path / "model", "--text", "Ann ran .")
    assert (status, out) == (2, "")
    assert "give --text and --text-pair" in err


# --- beside an embedding --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def same_or_not(tmp_path_factory):
    """A file that both tasks can learn from."""
    path = tmp_path_factory.mktemp("same") / "pairs.tsv"
    rows = [f"a{i % 7} b\tc{i} d\t{i % 2}" for i in range(24)]
    path.write_text("\n".join(["sentence1\tsentence2\tlabel", *rows]) + "\n", encoding="utf-8")
    with pytest.warns(DataWarning, match="0 or 1"):
        return mtl.read(path)


def test_one_file_serves_an_embedding_and_a_classification(same_or_not, build_model):
    one, other = mtl.Dataset(same_or_not), mtl.Dataset(same_or_not)
    tasks = [EmbeddingTask("vector", one), PairClassificationTask("same", other)]
    model = build_model(tasks)
    config = mtl.TrainConfig(epochs=1, batch_size=8)
    history = mtl.train(model, tasks, config, progress=False)
    assert history.rounds[-1].examples == {"vector": 24, "same": 24}
    assert evaluate(model, "same", same_or_not).keys() == {"accuracy", "macro_f1"}
    assert "spearman" in evaluate(model, "vector", same_or_not)


def test_they_cannot_share_one_dataset(same_or_not, build_model):
    shared = mtl.Dataset(same_or_not)
    tasks = [EmbeddingTask("vector", shared), PairClassificationTask("same", shared)]
    with pytest.raises(ConfigError, match="'vector' and 'same' share a dataset"):
        mtl.train(build_model(tasks), tasks, mtl.TrainConfig(epochs=1), progress=False)


def test_an_embedding_refuses_pairs_with_classes(build_model):
    with pytest.raises(DataError) as caught:
        EmbeddingTask("vector", mtl.Dataset(PAIRS[:3]))
    (fault,) = caught.value.faults
    assert fault.found == "'entailment' (1), 'neutral' (1), 'contradiction' (1)"
    assert 'kind = "pair-classification"' in fault.fix
    model = build_model([EmbeddingTask("vector")])
    with pytest.raises(DataError, match="pair-classification"):
        evaluate(model, "vector", PAIRS[:3])


def test_a_pair_with_a_class_alone_is_not_learned_as_the_same():
    scored = PairExample("a", "b", 0.5)
    task = EmbeddingTask("vector", mtl.Dataset([scored, PAIRS[2], PairExample("c", "d")]))
    assert task.labelled(task.dataset.train) == [scored, PairExample("c", "d")]


def test_texts_that_are_no_pairs_are_refused():
    model_task = PairClassificationTask("nli", labels=LABELS)
    assert not model_task.is_labelled(TextExample("a"))
