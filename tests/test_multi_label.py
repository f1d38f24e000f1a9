"""Several labels per text: loss, decision, thresholds, scores, windows, and what is saved."""

import json

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mtl.data.batching import collate
from mtl.data.dataset import Dataset
from mtl.data.encoded import encode_examples
from mtl.data.examples import TextExample
from mtl.errors import ConfigError, DataError, DataWarning
from mtl.inference import evaluate, evaluate_baselines, predict
from mtl.metrics import f1_of_sets
from mtl.model import MultiTaskModel
from mtl.nn.heads import largest_of_rows
from mtl.reports.files import write_report
from mtl.tasks.any_of import THRESHOLD, LabelsPrediction, best_threshold
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.ner import NERTask
from mtl.training.loop import TrainConfig, train

LABELS = ["fear", "joy", "love"]
LONG = " ".join(f"Word{i}" for i in range(150)) + " ."


@pytest.fixture(scope="module")
def examples(sentences):
    """Twenty texts: with two labels, one, none, and not labelled."""
    said = [("joy", "love"), ("fear",), (), None]
    return [TextExample(e.text, labels=said[i % 4]) for i, e in enumerate(sentences[:20])]


@pytest.fixture(scope="module")
def model(build_model):
    task = ClassificationTask("mood", labels=LABELS, multi_label=True)
    return build_model([task], embedding_std=1.0).eval()


def batch_of(examples, model, tasks=()):
    items, _ = encode_examples(examples, model.tokenizer, tasks, model.encoder.config.max_length)
    return collate(items, model.tokenizer, tasks)


def said(labels, **scores):
    return LabelsPrediction("Ann", tuple(labels), scores)


# --- loss -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("class_weights", ["", "balanced"])
def test_the_loss_is_torchs_over_labelled_rows_only(model, examples, class_weights, smoothing):
    task = ClassificationTask(
        *("mood", Dataset(train=examples)),
        class_weights=class_weights,
        label_smoothing=smoothing,
        multi_label=True,
    )
    batch = batch_of(examples, model, [task])
    outputs = torch.randn(20, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = task.loss(outputs, batch.targets["mood"], batch)
    known = [i for i, e in enumerate(examples) if e.labels is not None]
    wanted = torch.tensor([[float(x in examples[i].labels) for x in LABELS] for i in known])
    # 15 labelled texts, 5 with each label: those without it are twice as many.
    weights = torch.full((3,), 2.0) if class_weights else None
    expected = F.binary_cross_entropy_with_logits(
        outputs[known], wanted * (1 - smoothing) + smoothing / 2, pos_weight=weights
    )
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert not outputs.grad[3::4].any()
    assert outputs.grad[known].all()


def test_the_weight_of_a_rare_label_is_bounded():
    examples = [TextExample(f"a {i}", labels=("often",)) for i in range(50)]
    examples.append(TextExample("b", labels=("rare",)))
    task = ClassificationTask(
        "mood", Dataset(train=examples), multi_label=True, class_weights="balanced"
    )
    assert task.weights.tolist() == pytest.approx([1 / 50, 10])


def test_smoothing_of_one_class_is_torchs():
    examples = [TextExample(f"a {i}", label=x) for i, x in enumerate("xyz")]
    task = ClassificationTask("mood", Dataset(train=examples), label_smoothing=0.1)
    outputs, targets = torch.randn(3, 3), torch.tensor([0, -100, 2])
    expected = F.cross_entropy(outputs[::2], targets[::2], label_smoothing=0.1)
    torch.testing.assert_close(task.loss(outputs, targets, None), expected)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_that_cannot_be(smoothing):
    with pytest.raises(ConfigError, match="label_smoothing of the task 'mood'"):
        ClassificationTask("mood", labels=LABELS, label_smoothing=smoothing)


def test_losses_of_the_parts_of_a_batch_add_up(model, examples):
    task = ClassificationTask("mood", Dataset(train=examples), multi_label=True)
    targets = batch_of(examples, model, [task]).targets["mood"]
    outputs = torch.randn(20, 3)
    known = targets != -100
    parts = [slice(0, 7), slice(7, 20)]
    added = sum(
        task.loss(outputs[p], targets[p], None) * known[p].sum() / known.sum() for p in parts
    )
    torch.testing.assert_close(added, task.loss(outputs, targets, None))


def test_targets_of_each_window(model):
    examples = [TextExample(LONG, labels=("joy", "fear")), TextExample(LONG), TextExample("a")]
    examples[2] = TextExample("a", labels=("love", "unknown"))
    targets = batch_of(examples, model, [model.tasks["mood"]]).targets["mood"]
    assert targets.tolist() == [[1, 1, 0]] * 4 + [[-100] * 3] * 4 + [[0, 0, 1]]


def test_a_fresh_head_says_how_frequent_each_label_is(examples):
    task = ClassificationTask("mood", Dataset(train=examples), multi_label=True)
    said = task.build_head(8)(torch.zeros(2, 5, 8), torch.ones(2, 5)).sigmoid()
    # 5 of 15 labelled texts have each label, and one more with and one without it are assumed.
    torch.testing.assert_close(said, torch.full((2, 3), 6 / 17))


# --- decision -------------------------------------------------------------------------------------


def test_a_label_is_given_from_its_threshold_on(model):
    task = ClassificationTask("mood", labels=LABELS, multi_label=True)
    scores = {"fear": 0.5, "joy": 0.8, "love": 0.3}
    assert task.decide(said([], **scores)).labels == ("joy", "fear")  # 0.5, until one is chosen
    for threshold, labels in [(0.6, ("joy",)), (0.3, ("joy", "fear", "love")), (0.9, ())]:
        task.thresholds = {THRESHOLD: threshold}
        assert task.decide(said([], **scores)) == said(labels, **scores)


def test_a_prediction_shows_itself():
    prediction = said(["joy", "a&b"], joy=0.814, **{"a&b": 0.6}, fear=0.1)
    assert str(prediction) == "joy 0.81, a&b 0.60"
    assert prediction.to_dict() == {"labels": ["joy", "a&b"], "scores": prediction.scores}
    assert "a&amp;b" in prediction._repr_html_()
    assert str(said([], joy=0.2, fear=0.1)) == "none  (the most probable: joy 0.20)"
    assert "none" in said([], joy=0.2)._repr_html_()


def test_the_surest_window_decides(model):
    task = model.tasks["mood"]
    batch = batch_of([TextExample(text) for text in ("Ann .", LONG, "Oslo .")], model)
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    p = logits.sigmoid()
    expected = [p[0], p[1:5].max(0).values, p[5]]
    for row, prediction in zip(expected, task.decode(logits, batch), strict=True):
        assert list(prediction.scores.values()) == pytest.approx(row.tolist(), abs=1e-6)


def test_the_largest_of_rows_may_be_negative():
    vectors = torch.tensor([[-3.0, 1.0], [-2.0, 0.0], [5.0, -1.0]])
    assert largest_of_rows(vectors, torch.tensor([1, 1, 0]), 2).tolist() == [[5, -1], [-2, 1]]


# --- thresholds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scored", "expected"),
    [
        # Two of two right at 0.7 and more; a third costs one wrong.
        ([(0.9, True), (0.7, True), (0.5, False), (0.1, False)], 0.6),
        # All three: 2 * 2 / (3 + 2) = 0.8 beats 2 / (1 + 2) = 0.67.
        ([(0.9, True), (0.7, False), (0.4, True), (0.2, False)], 0.3),
        # Equal scores cannot be told apart: 2 / (2 + 1), or nothing.
        ([(0.8, True), (0.8, False), (0.2, False)], 0.5),
        ([(0.8, True)], 0.4),
        ([(0.8, False)], 0.5),
        ([], 0.5),
    ],
)
def test_the_best_threshold_by_hand(scored, expected):
    assert best_threshold(scored) == pytest.approx(expected)


scored = st.lists(
    st.tuples(st.integers(0, 12).map(lambda n: n / 12), st.booleans()), min_size=1, max_size=12
)


@given(scored=scored)
def test_no_threshold_is_better_than_the_best(scored):
    def f1(threshold):
        guess = {i for i, (score, _) in enumerate(scored) if score >= threshold}
        return f1_of_sets([{i for i, (_, right) in enumerate(scored) if right}], [guess])

    best = f1(best_threshold(scored))
    assert all(f1(n / 24) <= best for n in range(1, 25))


def test_the_threshold_is_the_best_for_the_micro_f1_and_kept(build_model, sentences, tmp_path):
    examples = [
        TextExample(f"{e.text} {word}", labels=labels)
        for e, (word, labels) in zip(
            sentences[:24], [("Oslo", ("city",)), ("Bob", ("man",)), ("so", ())] * 8, strict=True
        )
    ]
    data = Dataset(train=examples, validation=examples, test=examples)
    task = ClassificationTask("mood", data, multi_label=True)
    model = build_model([task])
    config = TrainConfig(epochs=12, batch_size=6, learning_rate=1e-2, hide_words=0.0)
    history = train(model, config=config, progress=False)
    scores = evaluate(model, "mood")
    assert scores["micro_f1"] == max(s["mood"]["micro_f1"] for s in history.validation) == 1
    assert 0 < task.thresholds[THRESHOLD] < 1
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    assert loaded.tasks["mood"].thresholds == task.thresholds
    assert loaded.tasks["mood"].main_metric == "micro_f1"
    texts = [e.text for e in examples]
    assert predict(loaded, texts) == predict(model, texts)
    assert evaluate(loaded, "mood", examples) == scores


# --- scores ---------------------------------------------------------------------------------------

GOLD = [("joy", "love"), ("joy",), (), ("fear",), ("love",)]
GUESS = [("joy",), ("joy",), ("joy",), ("love",), ("love",)]


def test_scores_by_hand_and_as_scikit_learn_has_them():
    task = ClassificationTask("mood", labels=LABELS, multi_label=True)
    texts = [TextExample("Ann", labels=labels) for labels in GOLD]
    scores = task.score(texts, [said(labels) for labels in GUESS])
    # Right: 2 joy, 1 love; predicted 5, wanted 5. Joy 4/5, love 2/4, fear 0.
    by_hand = {"micro_f1": 6 / 10, "macro_f1": (4 / 5 + 1 / 2) / 3, "subset_accuracy": 2 / 5}
    assert scores == pytest.approx(by_hand)
    metrics = pytest.importorskip("sklearn.metrics")
    gold, guess = ([[x in labels for x in LABELS] for labels in many] for many in (GOLD, GUESS))
    for how in ("micro", "macro"):
        theirs = metrics.f1_score(gold, guess, average=how, zero_division=0)
        assert scores[f"{how}_f1"] == pytest.approx(theirs)
    assert scores["subset_accuracy"] == pytest.approx(metrics.accuracy_score(gold, guess))


def test_the_main_score_is_the_micro_f1():
    assert ClassificationTask("a", labels=LABELS, multi_label=True).main_score(
        {"micro_f1": 0.5, "macro_f1": 0.4}
    ) == ("micro_f1", 0.5)
    assert ClassificationTask("a", labels=LABELS).main_metric == "accuracy"
    assert ClassificationTask.main_metric == "accuracy"


def test_baselines_by_hand(model):
    texts = [TextExample(f"Ann {i}", labels=labels) for i, labels in enumerate([*GOLD, ()])]
    found = evaluate_baselines(model, "mood", texts)
    assert found["majority_labels"]["micro_f1"] == 0  # two texts of six have none
    assert found["majority_labels"]["subset_accuracy"] == pytest.approx(2 / 6)
    assert found["most_frequent_label"]["micro_f1"] == pytest.approx(2 * 2 / (6 + 5))


def test_reports_and_mistakes(model, tmp_path):
    task = model.tasks["mood"]
    texts = [TextExample(f"Ann {i}", labels=labels) for i, labels in enumerate(GOLD)]
    predictions = [said(labels, fear=0.1, joy=0.9, love=0.2) for labels in GUESS]
    assert [(m.kind, m.expected, m.predicted) for m in task.mistakes(texts, predictions)] == [
        ("missed labels", "joy, love", "joy"),
        ("invented labels", "", "joy"),
        ("other labels", "fear", "love"),
    ]
    write_report(task, texts, predictions, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mood_mistakes.txt",
        "mood_predictions.jsonl",
        "mood_report.txt",
    ]
    lines = (tmp_path / "mood_predictions.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {
        "text": "Ann",
        "labels": ["joy", "love"],
        "predicted": ["joy"],
        "scores": {"fear": 0.1, "joy": 0.9, "love": 0.2},
    }
    report = (tmp_path / "mood_report.txt").read_text()
    assert ["joy", "2", "3", "0.667", "1.000", "0.800"] in [x.split() for x in report.splitlines()]


def test_examples_with_one_label_are_read_too(model):
    examples = [TextExample("Ann", label="joy"), TextExample("Bob", labels=("joy", "fear"))]
    assert set(evaluate(model, "mood", examples)) == {"micro_f1", "macro_f1", "subset_accuracy"}


def test_labels_that_nobody_learned(model):
    texts = [TextExample("Ann", labels=("wine", "joy")), TextExample("Bob", labels=())]
    with pytest.warns(DataWarning, match=r"count as wrong: 'wine' \(1\)"):
        evaluate(model, "mood", texts)
    with pytest.raises(DataError, match="does not know these labels"):
        evaluate(model, "mood", [TextExample("Ann", labels=("wine",)), texts[1]])
    data = Dataset(train=[TextExample("a", labels=("x", "y"))], test=texts)
    with pytest.warns(DataWarning, match="'joy' .*: these labels count as missed"):
        ClassificationTask("mood", data, multi_label=True)


# --- one label, or several ------------------------------------------------------------------------


def test_a_task_of_one_label_says_how_to_learn_several(examples, build_model):
    with pytest.raises(DataError, match="mood: a text has several labels") as caught:
        ClassificationTask("mood", Dataset(train=examples))
    assert caught.value.faults[0].found == "'joy', 'love'"
    assert "multi_label = true" in caught.value.faults[0].fix
    model = build_model([ClassificationTask("mood", labels=LABELS)])
    with pytest.raises(DataError, match="mood: a text has several labels"):
        evaluate(model, "mood", examples)


def test_lists_of_one_label_are_labels_of_one():
    examples = [TextExample("a", labels=labels) for labels in [("x",), (), ("y",)]]
    task = ClassificationTask("mood", Dataset(train=examples))
    assert task.labels == ["x", "y"]
    assert [task.is_labelled(e) for e in examples] == [True, False, True]


def test_beside_another_task_on_one_text_partly_labelled(build_model, sentences):
    examples = [
        TextExample(e.text, e.tokens, tags=e.tags, labels=[("x", "y"), (), None][i % 3])
        for i, e in enumerate(sentences[:12])
    ]
    data = Dataset(train=examples, validation=examples)
    tasks = [NERTask("ner", data), ClassificationTask("mood", data, multi_label=True)]
    model = build_model(tasks)
    history = train(model, config=TrainConfig(epochs=2, batch_size=4), progress=False)
    assert set(history.validation[-1]) == {"ner", "mood"}
    assert history.rounds[-1].examples == {"ner": 24, "mood": 16}
    assert set(predict(model, "Ann met Bob .")) == {"ner", "mood"}
