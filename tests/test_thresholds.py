"""Thresholds are chosen on validation after each epoch; the best epoch's are kept, and saved."""

from dataclasses import dataclass

import pytest

from mtl.data.dataset import Dataset
from mtl.inference import evaluate, predict
from mtl.model import MultiTaskModel
from mtl.tasks.classification import ClassificationTask, ClassPrediction
from mtl.toy.facts import records as toy_records
from mtl.training.config import TrainConfig
from mtl.training.loop import train

CONFIG = TrainConfig(epochs=3, batch_size=8)


@dataclass(frozen=True)
class Decided(ClassPrediction):
    is_sure: bool = False


class SureTask(ClassificationTask):
    """Is the model sure? A number of its own for each epoch says what sure means."""

    kind = "tests_sure"
    main_metric = "sure"

    def decode(self, outputs, batch):
        found = super().decode(outputs, batch)
        return [self.decide(Decided(p.text, p.label, p.scores)) for p in found]

    def decide(self, prediction):
        sure = prediction.score >= self.thresholds.get("sure", 1.1)
        return Decided(prediction.text, prediction.label, prediction.scores, sure)

    def choose_thresholds(self, examples, predictions):
        # The best is the second epoch of three: its number is the largest.
        self.seen = [*getattr(self, "seen", []), [0.3, 0.1, 0.2][len(getattr(self, "seen", []))]]
        return {"sure": self.seen[-1]}

    def score(self, examples, predictions):
        assert all(p == self.decide(p) for p in predictions)
        return {"sure": 1 - self.thresholds["sure"]} if self.thresholds else {"sure": 0.0}


@pytest.fixture
def model(build_model):
    records = toy_records("train", 32)
    data = Dataset(train=records[:16], validation=records[16:24], test=records[24:32])
    return build_model([SureTask("topic", data)])


def test_each_epoch_is_scored_under_its_own_and_the_best_are_kept(model):
    history = train(model, config=CONFIG, progress=False)
    assert [scores["topic"]["sure"] for scores in history.validation] == [0.7, 0.9, 0.8]
    assert model.tasks["topic"].seen == [0.3, 0.1, 0.2]
    assert model.tasks["topic"].thresholds == {"sure": 0.1}
    assert evaluate(model, "topic") == {"sure": 0.9}


def test_they_are_saved_with_the_model(model, tmp_path):
    train(model, config=CONFIG, progress=False)
    model.save_pretrained(tmp_path)
    again = MultiTaskModel.from_pretrained(tmp_path)
    assert again.tasks["topic"].thresholds == {"sure": 0.1}
    # With two classes the winner has at least 0.5, which is more than 0.1.
    assert predict(again, "Alice works in Paris.")["topic"].is_sure


def test_without_training_there_are_none(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert MultiTaskModel.from_pretrained(tmp_path).tasks["topic"].thresholds == {}
