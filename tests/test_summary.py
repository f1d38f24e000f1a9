"""The summary of a comparison, from made-up runs: differences, intervals and costs by hand."""

from types import SimpleNamespace

import pytest

import mtl
from mtl.errors import ConfigError, DataError
from mtl.experiments.summary import costs, read_comparison, summarise

T_OF_3_DEGREES = 3.182


def made_up_runs(alone, together, longer=None):
    """Runs of one task; alone with 5 rounds, and with 10 where `longer` is given."""
    runs = []
    for method, rounds, scores in (
        *(("alone", 5, alone), ("alone", 10, longer or [])),
        ("fixed", 5, together),
    ):
        for seed, score in enumerate(scores):
            run = {"size": "", "seed": seed, "method": method, "rounds": rounds}
            run |= {"task": "a" if method == "alone" else "", "test": {"a": {"f1": score}}}
            runs.append(run)
    return runs


TASK_A = [SimpleNamespace(name="a", main_score=lambda scores: ("f1", scores["f1"]))]


def test_a_difference_is_paired_by_seed():
    """The seeds differ far more than the methods; the order of the runs plays no role."""
    alone, together = [0.1, 0.5, 0.3, 0.7], [0.2, 0.7, 0.6, 1.1]
    runs = made_up_runs(alone, together)
    for some in (runs, runs[4:][::-1] + runs[:4]):
        _, row = summarise(some, TASK_A, 5, {"fixed": 5})[:2]
        assert row["mean"] == pytest.approx(0.65)
        assert row["difference"] == pytest.approx(0.25)
        half = T_OF_3_DEGREES * (0.05 / 3) ** 0.5 / 2  # of 0.1, 0.2, 0.3, 0.4
        assert row["difference_interval"] == pytest.approx([0.25 - half, 0.25 + half])
        assert row["distinguishable"] is True
        low, high = row["interval"]
        assert low < 0.4 < high  # the mean alone would not have told them apart


@pytest.mark.parametrize(
    ("together", "told_apart"),
    [([0.4, 0.6], False), ([0.5, 0.5], False), ([0.6, 0.6], True), ([0.4, 0.4], True)],
)
def test_distinguishable_either_way_or_not(together, told_apart):
    _, row = summarise(made_up_runs([0.5, 0.5], together), TASK_A, 5, {"fixed": 5})[:2]
    assert row["distinguishable"] is told_apart


def test_each_budget_has_its_own_control():
    runs = made_up_runs([0.1, 0.1], [0.5, 0.5], longer=[0.9, 0.9])
    rows = summarise(runs, TASK_A, 5, {"fixed": 10})
    found = [(row["budget"], row["method"], row["mean"], row.get("difference")) for row in rows]
    assert [pytest.approx(row) for row in found] == [
        ("per task", "alone", 0.1, None),
        ("per task", "fixed", 0.5, 0.4),
        ("total", "alone", 0.9, None),
        ("total", "fixed", 0.5, -0.4),
    ]


def test_cost_of_made_up_runs():
    what = ("parameters", "train_seconds", "inference_seconds")

    def run(method, rounds, numbers):
        return {"size": "", "seed": 0, "method": method, "rounds": rounds} | dict(
            zip(what, numbers, strict=True)
        )

    runs = [run("alone", 5, (10, 1.0, 0.1)), run("alone", 5, (20, 2.0, 0.2))]
    runs += [run("alone", 10, (10, 99.0, 9.9)), run("fixed", 5, (25, 4.0, 0.4))]
    (cost,) = costs(runs, 5, {"fixed": 10})
    assert cost["parameters"] == [25, 30]
    assert cost["train_seconds"] == pytest.approx([4.0, 3.0])
    assert cost["inference_seconds"] == pytest.approx([0.4, 0.3])


def test_without_a_comparison_there_is_no_picture():
    with pytest.raises(ConfigError, match=r"no comparison to draw(.|\n)*give the summary"):
        mtl.plots.plot_comparison([])


@pytest.mark.parametrize("content", [None, "# mtl compare\ntask,size\nner,all\n"])
def test_a_summary_that_cannot_be_read_names_the_file(tmp_path, content):
    path = tmp_path / "compare.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_comparison(path)
    assert str(path) in str(caught.value)
