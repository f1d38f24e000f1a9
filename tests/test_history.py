"""The history of a training: its CSV, its dict, and stages joined to one."""

import csv
import math
import sys
from dataclasses import replace

import pytest
import small_training
from small_training import FAST

from mtl.errors import ConfigError
from mtl.training.history import Conflict, History, Round
from mtl.training.loop import train

# pytest looks for a fixture by its name in this module.
tasks = small_training.tasks


ROUNDS = [
    replace(
        Round(1, 2, 3.0, {"ner": 1.0, "qa": 2.0}, 0.1, 0.5, {"ner": 8, "qa": 8}),
        weights={"ner": 1.0, "qa": 2.0},
        conflict={"ner/qa": Conflict({"layer 1": -0.5}, {"layer 1": 4.0})},
    ),
    Round(1, 4, 2.0, {"qa": 2.0}, 0.2, 0.6, {"ner": 8, "qa": 16}),  # a round without NER labels
    Round(2, 6, 1.0, {"ner": 0.5, "qa": 0.5}, 0.1, 0.7, {"ner": 16, "qa": 24}),
]
VALIDATION = [{"ner": {"entity_f1": 0.25}}, {"ner": {"entity_f1": 0.75}}]


def test_the_csv_of_a_history(tmp_path):
    History(ROUNDS, VALIDATION, best_epoch=2).write_csv(tmp_path / "out" / "metrics.csv")
    with open(tmp_path / "out" / "metrics.csv", newline="") as file:
        first, second, third = csv.DictReader(file)
    assert list(first) == [
        *("epoch", "step", "total_loss", "ner_loss", "qa_loss", "learning_rate", "grad_norm"),
        *("ner_examples", "qa_examples", "ner_weight", "qa_weight", "ner_qa_cosine_layer_1"),
        *("ner_qa_ratio_layer_1", "validation_ner_entity_f1"),
    ]
    values = ["1", "2", "3.0", "1.0", "2.0", "0.1", "0.5", "8", "8", "1.0", "2.0", "-0.5", "4.0"]
    values.append("")
    assert list(first.values()) == values
    assert (second["ner_loss"], second["qa_loss"]) == ("", "2.0")
    assert second["validation_ner_entity_f1"] == "0.25"
    assert third["validation_ner_entity_f1"] == "0.75"


def test_the_frame_of_a_history_is_its_csv(tmp_path):
    pandas = pytest.importorskip("pandas")
    history = History(ROUNDS, VALIDATION, best_epoch=2)
    frame = history.to_frame()
    history.write_csv(tmp_path / "metrics.csv")
    pandas.testing.assert_frame_equal(frame, pandas.read_csv(tmp_path / "metrics.csv"))
    assert frame["qa_loss"].tolist() == [2.0, 2.0, 0.5]
    assert len(History().to_frame()) == 0


def test_without_pandas_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)  # to `import`, what is not installed
    with pytest.raises(ConfigError, match="pip install pandas"):
        History(ROUNDS).to_frame()


def test_the_losses_of_a_history():
    history = History(ROUNDS)
    assert history.losses() == [3.0, 2.0, 1.0]
    assert history.losses("qa") == [2.0, 2.0, 0.5]
    first, second, third = history.losses("ner")
    assert (first, math.isnan(second), third) == (1.0, True, 0.5)
    with pytest.raises(ConfigError, match='did you mean "ner"'):
        history.losses("NER")


def test_the_csv_of_a_run(build_model, tasks, tmp_path):
    history = train(build_model(tasks), tasks, FAST, progress=False)
    history.write_csv(tmp_path / "metrics.csv")
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    for row, r in zip(rows, history.rounds, strict=True):
        assert float(row["total_loss"]) == r.total
        assert int(row["qa_examples"]) == r.examples["qa"]
        assert float(row["grad_norm"]) == r.grad_norm > 0


def test_a_history_survives_its_dict(build_model, tasks):
    history = train(build_model(tasks), tasks, FAST, progress=False)
    assert History.from_dict(history.to_dict()) == history
    assert history.tasks == ["ner", "qa"]
    assert history.seconds > 0


def test_stages_joined_count_on(tmp_path):
    first = History(
        [
            Round(1, 2, 3.0, {"a": 3.0}, 0.1, 0.5, {"a": 8}),
            Round(2, 4, 2.0, {"a": 2.0}, 0.1, 0.5, {"a": 16}),
        ],
        [{"a": {"accuracy": 0.5}}, {"a": {"accuracy": 0.25}}],
        best_epoch=1,
        seconds=2.0,
    )
    second = History(
        [
            Round(1, 1, 9.0, {"b": 9.0}, 0.2, 0.6, {"b": 4}),
            Round(1, 2, 8.0, {"b": 7.0, "a": 1.0}, 0.2, 0.6, {"b": 8, "a": 4}),
        ],
        [{"b": {"accuracy": 1.0}}],
        best_epoch=1,
        seconds=3.0,
    )
    joined = History.join([first, second])
    assert [r.epoch for r in joined.rounds] == [1, 2, 3, 3]
    assert [r.step for r in joined.rounds] == [2, 4, 5, 6]
    assert [r.total for r in joined.rounds] == [3.0, 2.0, 9.0, 8.0]
    counts = [{"a": 8}, {"a": 16}, {"a": 16, "b": 4}, {"a": 20, "b": 8}]
    assert [r.examples for r in joined.rounds] == counts
    assert joined.validation == first.validation + second.validation
    assert (joined.best_epoch, joined.seconds) == (3, 5.0)
    assert joined.best_validation == {"b": {"accuracy": 1.0}}
    assert joined.tasks == ["a", "b"]
    assert [r.epoch for r in second.rounds] == [1, 1]  # the stages themselves are as they were
    joined.write_csv(tmp_path / "metrics.csv")
    with open(tmp_path / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["validation_a_accuracy"] for row in rows] == ["0.5", "0.25", "", ""]
    assert [row["validation_b_accuracy"] for row in rows] == ["", "", "", "1.0"]
    assert [row["a_examples"] for row in rows] == ["8", "16", "16", "20"]
    assert [row["b_loss"] for row in rows] == ["", "", "9.0", "7.0"]


def test_one_stage_joined_is_itself(build_model, tasks):
    history = train(build_model(tasks), tasks, FAST, progress=False)
    assert History.join([history]) == history


def test_joined_with_a_last_stage_that_was_not_validated_no_epoch_is_the_best():
    validated = History(validation=[{"a": {"accuracy": 0.5}}], best_epoch=1)
    assert History.join([validated, History(validation=[{}])]).best_epoch == 0
    assert History.join([History(validation=[{}]), validated]).best_epoch == 2
