"""Regression: texts or pairs, learned on one scale and predicted on that of the data."""

import json
import statistics

import numpy as np
import pytest
import reading
import torch
from reading import faults_of, lines, notes_of

import mtl
from mtl.data.batching import collate
from mtl.data.encoded import encode_examples
from mtl.data.examples import PairExample, TextExample
from mtl.errors import ConfigError, DataError
from mtl.experiments.build import build_tasks
from mtl.inference import evaluate, evaluate_baselines, predict
from mtl.tasks import ClassificationTask, PairClassificationTask, RegressionTask
from mtl.tasks.regression import ScorePrediction

# pytest looks for a fixture by its name in this module.
file = reading.file

LONG = " ".join(f"Word{i}" for i in range(150)) + " ."
PAIRS = [
    PairExample("Ann ran .", "Ann left .", 0.9, raw_score=4.5),
    PairExample("Ann met Bob .", LONG, 0.4, raw_score=2.0),
    PairExample("Oslo is far .", "Rome .", 0.0, raw_score=0.0),
    PairExample("Rome .", "Bob ?", label="neutral"),
]
TEXTS = [
    TextExample("Ann ran .", scores={"stars": 4, "length": 3}),
    TextExample(LONG, scores={"stars": 1}),
    TextExample("Oslo .", scores={"length": 2}),
]


@pytest.fixture(scope="module")
def model(build_model):
    tasks = [
        RegressionTask("similar", mtl.Dataset(PAIRS)),
        RegressionTask("stars", mtl.Dataset(TEXTS), field="stars"),
    ]
    return build_model(tasks, embedding_std=1.0).eval()


def batch_of(examples, model, tasks=()):
    length = model.encoder.config.max_length
    items, _ = encode_examples(examples, model.tokenizer, tasks, length)
    return collate(items, model.tokenizer, tasks)


# --- targets, loss, predictions -------------------------------------------------------------------


def test_targets_are_scores_in_standard_deviations(model):
    task = model.tasks["similar"]
    raw = [4.5, 2.0, 0.0]
    assert (task.mean, task.deviation) == (statistics.fmean(raw), statistics.pstdev(raw))
    batch = batch_of(PAIRS, model, [task])
    targets = [batch.targets["similar"][batch.rows == i].tolist() for i in range(4)]
    assert len(targets[1]) > 1  # one for each window
    for right, of_example in zip(raw, targets, strict=False):
        expected = (right - np.mean(raw)) / np.std(raw)
        assert of_example == pytest.approx([expected] * len(of_example))
    assert targets[3] == [-100]


def test_the_loss_is_the_mean_squared_error_of_what_has_a_score(model):
    task = model.tasks["similar"]
    outputs = torch.tensor([[1.0], [5.0], [-1.0]])
    targets = torch.tensor([0.5, -100.0, 1.0])
    assert task.loss(outputs, targets, None).item() == pytest.approx((0.25 + 4) / 2)


def test_predictions_are_on_the_scale_of_the_data_and_windows_are_averaged(model):
    task = model.tasks["similar"]
    batch = batch_of(PAIRS, model, [task])
    outputs = model(batch, ["similar"])["similar"]
    said = predict(model, [(e.first, e.second) for e in PAIRS], "similar")
    for i, prediction in enumerate(said):
        merged = outputs[batch.rows == i].mean().item()
        expected = task.mean + task.deviation * merged
        assert prediction["similar"].score == pytest.approx(expected, abs=1e-4)
    assert (said[0]["similar"].text, said[0]["similar"].text_pair) == ("Ann ran .", "Ann left .")


def test_a_model_learns_the_scale_of_its_scores(build_model):
    """Scores about 1,000: an output that is not scaled back would be far from them."""
    animals = {"cat": 1000.0, "dog": 1010.0, "cow": 1030.0}
    examples = [
        PairExample(f"{name} has a {animal}", "an animal .", raw_score=score)
        for name in ("Ann", "Bob", "Eve", "Kim")
        for animal, score in animals.items()
    ]
    data = mtl.Dataset(examples)
    tokenizer = mtl.WhitespaceTokenizer.train(data.training_texts())
    model = build_model([RegressionTask("price", data)], tokenizer=tokenizer)
    config = mtl.TrainConfig(epochs=40, batch_size=4, learning_rate=1e-2, hide_words=0.0)
    mtl.train(model, config=config, progress=False)
    assert evaluate(model, "price", examples)["pearson"] > 0.95
    said = predict(model, ("Ann has a cow", "an animal ."))["price"].score
    assert said == pytest.approx(1030, abs=8)


# --- texts or pairs -------------------------------------------------------------------------------


def test_what_it_reads_comes_from_its_data_and_is_saved(model, tmp_path):
    assert model.tasks["similar"].reads_pairs
    assert not model.tasks["stars"].reads_pairs
    model.save_pretrained(tmp_path)
    loaded = mtl.MultiTaskModel.from_pretrained(tmp_path)
    for name, task in model.tasks.items():
        assert loaded.tasks[name].settings() == task.settings()
        assert loaded.tasks[name].reads_pairs == task.reads_pairs
    given = ["Ann ran .", ("Ann ran .", "Ann left .")]
    said = predict(loaded, given)
    assert said == predict(model, given)
    assert [list(of_one) for of_one in said] == [["stars"], ["similar"]]
    with pytest.raises(ConfigError, match="'stars' reads single texts"):
        predict(loaded, given[1], "stars")
    with pytest.raises(ConfigError, match="'similar' reads pairs"):
        predict(loaded, given[0], "similar")


def test_on_the_command_line(model, tmp_path, mtl_):
    model.save_pretrained(tmp_path / "model")
    for given, name in ((("Ann ran .", "Ann left ."), "similar"), ("Ann ran .", "stars")):
        expected = predict(model, given)[name]
        texts = [given] if isinstance(given, str) else [given[0], "--text-pair", given[1]]
        status, out, _ = mtl_("predict", tmp_path / "model", "--text", *texts, "--json")
        assert (status, json.loads(out)) == (0, {"score": expected.score})
        status, out, _ = mtl_("predict", tmp_path / "model", "--text", *texts)
        assert f"prediction: {expected.score:.2f}" in out


def test_texts_have_scores_of_their_own(model):
    stars, length = model.tasks["stars"], RegressionTask("length", mtl.Dataset(TEXTS), "length")
    assert stars.labelled(TEXTS) == TEXTS[:2]
    assert length.labelled(TEXTS) == [TEXTS[0], TEXTS[2]]
    assert (stars.mean, length.mean) == (2.5, 2.5)


def test_a_score_and_a_class_are_learned_from_one_text_in_one_pass(build_model):
    records = [
        {"text": f"{word} film {i}", "score": 1.5 * (word == "good"), "label": word}
        for i in range(8)
        for word in ("good", "bad")
    ]
    data = mtl.Dataset(records)
    tasks = [RegressionTask("stars", data), ClassificationTask("mood", data)]
    model = build_model(tasks)
    history = mtl.train(model, tasks, mtl.TrainConfig(epochs=1, batch_size=8), progress=False)
    assert history.rounds[-1].examples == {"stars": 16, "mood": 16}


def test_a_score_and_a_class_of_pairs_are_learned_in_one_pass(build_model):
    """As in SICK; some pairs have only one of the two."""
    pairs = [
        PairExample(f"a {i}", "b", *(None, None) if i % 4 == 0 else (i / 16, None), label=label)
        for i, label in enumerate(["yes", "no", "no", None] * 4)
    ]
    data = mtl.Dataset(pairs)
    tasks = [RegressionTask("similar", data), PairClassificationTask("nli", data)]
    model = build_model(tasks)
    history = mtl.train(model, tasks, mtl.TrainConfig(epochs=1, batch_size=16), progress=False)
    assert history.rounds[-1].examples == {"similar": 12, "nli": 12}
    assert [len(round.losses) for round in history.rounds] == [2]  # one batch for both


@pytest.mark.parametrize(
    ("examples", "found"),
    [
        ([TextExample("a")], "no example has a score"),
        ([TextExample("a", scores={"stars": 1})], "no example has a score"),
        ([PairExample("a", "b", label="x")], "no example has a score"),
        ([PairExample("a", "b", 0.5), PairExample("c", "d", 0.5)], "the only score 0.5"),
    ],
)
def test_two_different_scores_are_needed(examples, found):
    with pytest.raises(DataError, match="needs at least two different ones") as caught:
        RegressionTask("stars", mtl.Dataset(examples))
    assert caught.value.faults[0].found == found


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ConfigError, match='did you mean "mean"'):
        RegressionTask("stars", pooling="meen")


# --- scores, reports ------------------------------------------------------------------------------


def said_of(scores):
    return [ScorePrediction("a", score, "b") for score in scores]


def test_scores_equal_scipys():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    right = rng.uniform(0, 5, 40)
    said = right + rng.normal(size=40)
    examples = [PairExample("a", "b", raw_score=float(x)) for x in right]
    task = RegressionTask("similar", mtl.Dataset(examples))
    scores = task.score(examples, said_of(said.tolist()))
    assert scores == pytest.approx(
        {
            "spearman": stats.spearmanr(right, said).statistic,
            "pearson": stats.pearsonr(right, said).statistic,
        }
    )
    assert task.score(examples, said_of([2.5] * 40)) == {"spearman": 0, "pearson": 0}


def test_report_file_and_mistakes():
    examples = [PairExample(f"a {i}", "b", raw_score=i) for i in range(6)]
    task = RegressionTask("similar", mtl.Dataset(examples))
    said = [ScorePrediction(f"a {i}", x, "b") for i, x in enumerate([0.5, 1, 2, 3, 1, 9])]
    header, _, *rows = task.report(examples, said).splitlines()
    assert header.split("  ")[0] == "right score"
    assert [row.split()[:4] for row in rows[:-1]] == [
        ["0.00", "to", "1.00", "1"],
        ["1.00", "to", "2.00", "1"],
        ["2.00", "to", "3.00", "1"],
        ["3.00", "to", "4.00", "1"],
        ["4.00", "to", "5.00", "2"],
    ]
    assert rows[4].split()[4:] == ["4.500", "5.000", "3.500"]
    assert rows[5].split() == ["all", "6", "2.500", "2.750", "1.250"]
    ending, content = task.prediction_file(examples, said)
    assert (ending, content.splitlines()[5]) == ("txt", "5\t9.0000\ta 5\tb")
    worst, second = task.mistakes(examples, said)  # the deviation is 1.71
    assert (worst.where, worst.text, worst.expected, worst.predicted) == (
        *("example 6", "a 5 | b"),
        *("5", "9.00"),
    )
    assert (second.expected, second.predicted) == ("4", "1.00")
    assert worst.kind == second.kind == "off by more than 1.71"


def test_baselines_and_controls(model):
    table = evaluate_baselines(model, "similar", PAIRS)
    assert table.keys() == {"mean_score", "word_overlap", "model_with_other_sentence1"}
    assert table["mean_score"] == {"spearman": 0, "pearson": 0}
    said = model.tasks["similar"].baselines(PAIRS[:1])
    assert said["word_overlap"][0].score == 2 / 4  # Ann and the full stop; ran, left
    assert said["mean_score"][0].score == model.tasks["similar"].mean
    assert evaluate_baselines(model, "stars", TEXTS).keys() == {"mean_score"}


# --- scores in files ------------------------------------------------------------------------------


def test_scores_of_json_texts(file):
    path = file(lines({"text": "a", "score": 4.5}, {"text": "b", "score": 2}, {"text": "c"}))
    examples = mtl.read(path)
    assert [e.scores for e in examples] == [{"score": 4.5}, {"score": 2}, {}]
    path = file(lines({"text": "a", "stars": 4, "score": 1}, {"text": "b", "stars": 2.5}))
    examples, notes = notes_of(mtl.read_jsonl, path, scores=["stars"])
    assert [e.scores for e in examples] == [{"stars": 4}, {"stars": 2.5}]
    assert notes == ["fields that are not read, and in how many records: 'score' (1)"]


def test_scores_of_a_table(file):
    table = "text,label,stars,score\nso good,x,4,0.5\nso bad,y,,1\n"
    path = file(table)
    assert [(e.label, e.scores) for e in mtl.read(path, scores=["stars", "score"])] == [
        ("x", {"stars": 4, "score": 0.5}),
        ("y", {"score": 1}),
    ]
    path = file("text\tscore\nso good\t4.5\nso bad\t1\n")
    assert [(e.label, e.scores) for e in mtl.read(path)] == [
        (None, {"score": 4.5}),
        (None, {"score": 1}),
    ]
    path = file("text,stars\nso good,4\nso bad,1\n")
    examples = mtl.read(path, scores=["stars"])
    assert [(e.label, e.scores) for e in examples] == [(None, {"stars": 4}), (None, {"stars": 1})]


@pytest.mark.parametrize("value", ["high", "nan", "inf", "1,5"])
@pytest.mark.parametrize("form", ["json", "table"])
def test_a_score_that_is_no_number_is_a_fault(value, form, file):
    if form == "json":
        path = file(lines({"text": "a", "score": 1}, {"text": "b", "score": value}))
    else:
        path = file(f'text,score\na,1\nb,"{value}"\n')
    faults = faults_of(mtl.read, path, scores=["score"])
    assert [(fault.line, fault.what) for fault in faults] == [
        (2 if form == "json" else 3, "the score is not a number")
    ]
    with pytest.warns(mtl.errors.DataWarning, match="left out: 1"):
        (example,) = mtl.read(path, on_error="skip", scores=["score"])
    assert example.scores == {"score": 1}


def test_json_has_numbers_that_are_none(file):
    path = file('{"text": "a", "score": NaN}\n{"text": "b", "score": -Infinity}\n')
    faults = faults_of(mtl.read, path, scores=["score"])
    assert [(fault.line, fault.found) for fault in faults] == [(1, "nan"), (2, "-inf")]


def test_a_recipe_names_the_field_and_its_faults_stop_it(file, tmp_path):
    records = [{"text": f"text {i}", "stars": i % 5 + 0.5} for i in range(40)]
    toml = '[tasks.stars]\nkind = "regression"\nfield = "stars"\ntrain = "{}"\n'
    recipe = tmp_path / "r.toml"
    recipe.write_text(toml.format(file(lines(*records))), encoding="utf-8")
    (task,) = build_tasks(mtl.load_recipe(recipe))
    assert task.score_of(task.dataset.train[0]) in {0.5, 1.5, 2.5, 3.5, 4.5}
    records[6]["stars"] = "many"
    recipe.write_text(toml.format(file(lines(*records))), encoding="utf-8")
    with pytest.raises(DataError, match="the stars is not a number") as caught:
        build_tasks(mtl.load_recipe(recipe))
    assert [(fault.line, fault.found) for fault in caught.value.faults] == [(7, "'many'")]


def test_a_file_is_scored_on_the_field_that_the_task_learned(model, file):
    path = file(lines({"text": "Ann ran .", "stars": 4}, {"text": "Oslo .", "stars": 1}))
    assert evaluate(model, "stars", path).keys() == {"spearman", "pearson"}
    path = file(lines({"text": "Ann ran .", "stars": 4}, {"text": "Oslo .", "stars": "?"}))
    with pytest.raises(DataError, match="the stars is not a number"):
        evaluate(model, "stars", path)


def test_numbers_in_memory():
    records = [{"text": "a", "valence": 0.5, "n": 3}, {"text": "b", "valence": 1, "n": 4}]
    first, second = mtl.Dataset(records).train
    assert (first.scores, first.fields) == ({"valence": 0.5}, {"n": "3"})
    assert second.scores == {"valence": 1}
