"""The recipe of the practical reaches what it promises."""

import pytest

from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def metrics(tmp_path_factory):
    folder = tmp_path_factory.mktemp("practical7") / "run"
    return run_recipe(load_recipe("practical7"), folder, progress=False)


@pytest.mark.parametrize(("split", "bar"), [("test", 0.98), ("test_unseen", 0.95)])
@pytest.mark.parametrize(("task", "metric"), [("ner", "entity_f1"), ("qa", "exact_match")])
def test_the_recipe_reaches_its_bars(metrics, split, bar, task, metric):
    assert metrics["seed"] == 0
    assert metrics[split][task][metric] >= bar


@pytest.mark.parametrize(
    "baseline", ["random_candidate", "most_shared_words", "model_with_other_question"]
)
def test_nothing_but_reading_the_question_answers_it(metrics, baseline):
    assert metrics["baselines"]["qa"][baseline]["exact_match"] <= 0.45


def test_the_all_o_baseline_shows_why_token_accuracy_misleads(metrics):
    all_o = metrics["baselines"]["ner"]["all_o"]
    assert all_o["entity_f1"] == 0
    assert all_o["token_accuracy"] > 0.5
