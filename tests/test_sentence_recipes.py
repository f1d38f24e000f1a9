"""The recipes for whole sentences reach their bars on held-out data."""

import pytest

from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe
from mtl.model import MultiTaskModel

pytestmark = pytest.mark.slow

# So many epochs are enough to reach the bars; the unseen names of `news-ner` take all of them.
EPOCHS = {"jsonl": 4, "news-ner": 12, "sentence-embeddings": 3}


@pytest.fixture(scope="module", params=EPOCHS)
def run(request, tmp_path_factory, without_curves):
    """Metrics of one recipe, and its folder."""
    recipe = load_recipe(request.param, [f"train.epochs={EPOCHS[request.param]}"])
    folder = tmp_path_factory.mktemp("recipe") / "run"
    with without_curves():
        return run_recipe(recipe, folder, progress=False), folder


def test_every_task_reaches_its_bar(run):
    metrics, _ = run
    assert metrics["seed"] == 0
    assert metrics["test"]["topic"]["accuracy"] >= 0.95
    assert metrics["test"]["ner"]["entity_f1"] >= 0.95
    if "embedding" in metrics["test"]:
        assert metrics["test"]["embedding"]["accuracy_at_1"] >= 0.90


def test_trivial_methods_are_far_below(run):
    metrics, _ = run
    assert metrics["baselines"]["topic"]["majority_class"]["accuracy"] <= 0.5
    assert metrics["baselines"]["ner"]["all_o"]["entity_f1"] == 0
    for scores in metrics["baselines"].get("embedding", {}).values():
        assert scores["accuracy_at_1"] <= 0.1


def test_unseen_names_are_tagged_too(run):
    metrics, _ = run
    assert metrics["test_unseen"]["ner"]["entity_f1"] >= 0.9


def test_the_folder_holds_one_encoder_and_all_heads(run):
    metrics, folder = run
    model = MultiTaskModel.from_pretrained(folder)
    assert sum(p.numel() for p in model.parameters()) == metrics["parameters"]
    assert list(model.tasks) == list(metrics["test"])
