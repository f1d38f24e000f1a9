"""What a training refuses, before it starts or at the step where it goes wrong."""

import math
from dataclasses import replace

import pytest
import small_training
from small_training import FAST, TYPES, same_weights, weights_of

from mtl.data.dataset import Dataset
from mtl.data.examples import TextExample
from mtl.errors import ConfigError, DataError, MTLError
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.training.config import TrainConfig
from mtl.training.loop import train
from mtl.training.run import Run
from mtl.training.state import load_state
from mtl.training.weighting import FixedWeighting

# pytest looks for a fixture by its name in this module.
tasks = small_training.tasks


class Spoiled(NERTask):
    """Its second loss is multiplied by a value."""

    value, calls = 1.0, 0

    def loss(self, outputs, targets, batch):
        self.calls += 1
        return super().loss(outputs, targets, batch) * (self.value if self.calls == 2 else 1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_training_and_names_the_step(build_model, tasks, value):
    ner = Spoiled("ner", tasks[0].dataset, tasks[0].types)
    ner.value = value
    tasks = [ner, tasks[1]]
    with pytest.raises(MTLError, match="loss or its gradient is not finite at step 3") as error:
        train(build_model(tasks), tasks, FAST, progress=False)
    assert f"ner loss {value}" in str(error.value)


class Poisoned(QATask):
    """Its loss is spoiled by one example."""

    poison = None

    def loss(self, outputs, targets, batch):
        poisoned = any(item.example is self.poison for item in batch.items)
        return super().loss(outputs, targets, batch) * (math.nan if poisoned else 1.0)


@pytest.mark.parametrize("max_tokens", [0, 150])
@pytest.mark.parametrize("sampling", ["alternating", "joint"])
def test_an_example_that_spoils_a_loss_is_named_and_the_state_before_is_kept(
    build_model, tasks, tmp_path, sampling, max_tokens
):
    config = replace(FAST, epochs=4, sampling=sampling, max_tokens=max_tokens)
    items = _items_of_the_last_qa_batch(build_model(tasks), tasks, config)
    qa = Poisoned("qa", tasks[1].dataset)
    qa.poison = items[0].example
    tasks = [tasks[0], qa]
    model = build_model(tasks)
    step = (
        3 if sampling == "joint" else 6
    )  # the third batch of questions, the last of the first pass
    with pytest.raises(MTLError, match=f"not finite at step {step}\\b") as error:
        train(model, tasks, config, checkpoint=tmp_path, save_every=1, progress=False)
    message = str(error.value)
    assert "qa loss nan" in message
    named = message.split("examples of the step: ")[1].split("\n")[0]
    assert named == f"qa: {', '.join(item.name for item in items)}"
    assert repr(qa.poison.id) in named
    state = load_state(tmp_path)
    assert state["update"]["step"] == step - 1
    assert same_weights(weights_of(model), state["model"])
    assert not same_weights(weights_of(model), weights_of(build_model(tasks)))


def _items_of_the_last_qa_batch(model, tasks, config):
    run = Run(model, tasks, config, FixedWeighting())
    parts = [run.streams[1].next_parts(config.max_tokens) for _ in range(3)]
    return [item for part in parts[-1] for item in part.items]


def test_examples_without_a_label_are_not_named(build_model):
    said = [TextExample("Ann ran .", label="a"), TextExample("Eve ran .", label="b")]
    data = Dataset(train=[TextExample("Bob sat ."), *said])
    tasks = [ClassificationTask("topic", data), ClassificationTask("again", data)]
    config = replace(FAST, loss_weights={"topic": 1e38, "again": 1e38})
    with pytest.raises(MTLError, match="gradient is not finite at step 1") as error:
        train(build_model(tasks), tasks, config, progress=False)
    named = str(error.value).split("examples of the step: ")[1].split("\n")[0]
    examples = dict(part.split(": ") for part in named.split("; "))
    assert list(examples) == ["topic", "again"]
    assert [sorted(numbers.split(", ")) for numbers in examples.values()] == [["2", "3"]] * 2


def test_a_gradient_that_is_not_finite_stops_training_too(build_model, tasks):
    """The loss may be a fine number, where its slope is none."""

    class Steep(NERTask):
        def loss(self, outputs, targets, batch):
            loss = super().loss(outputs, targets, batch)
            return loss + (loss - loss.detach()).abs().sqrt()

    tasks = [Steep("ner", tasks[0].dataset, tasks[0].types), tasks[1]]
    model = build_model(tasks)
    before = weights_of(model)
    with pytest.raises(MTLError, match=r"step 1\n(.|\n)*ner loss \d(.|\n)*norm (nan|inf)"):
        train(model, tasks, FAST, progress=False)
    assert same_weights(before, weights_of(model))


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_weights_that_cannot_be(weight):
    with pytest.raises(ConfigError, match="weight of task 'ner'"):
        FixedWeighting({"ner": weight})


def test_a_weight_for_an_unknown_task(build_model, tasks):
    config = replace(FAST, loss_weights={"nre": 1.0})
    with pytest.raises(ConfigError, match='did you mean "ner"'):
        train(build_model(tasks), tasks, config, progress=False)


def test_a_weighting_that_needs_joint_steps(build_model, tasks):
    class NeedsAll(FixedWeighting):
        needs_joint_steps = True

    model = build_model(tasks)
    before = weights_of(model)
    with pytest.raises(ConfigError, match=r'NeedsAll(.|\n)*train\.sampling = "joint"'):
        train(model, tasks, FAST, weighting=NeedsAll(), progress=False)
    assert same_weights(before, weights_of(model))
    train(model, tasks, replace(FAST, sampling="joint"), weighting=NeedsAll(), progress=False)
    assert not same_weights(before, weights_of(model))


def test_a_task_without_training_examples(build_model):
    task = NERTask("ner", types=TYPES)
    with pytest.raises(DataError, match="'ner' has no labelled training examples"):
        train(build_model([task]), [task], FAST, progress=False)


def test_a_task_whose_training_examples_say_nothing_of_it(build_model):
    """Examples there are, and labels in the held-out part, but none to learn from."""
    said = [TextExample("Ann ran.", ("Ann", "ran."), "a", ("B-PER", "O"))]
    unsaid = [TextExample("Bob sat.", ("Bob", "sat."))] * 3
    data = Dataset(train=unsaid, validation=said)
    tasks = [NERTask("ner", data), ClassificationTask("topic", data, labels=["a", "b"])]
    for task in tasks:
        model = build_model([task])
        before = weights_of(model)
        with pytest.raises(DataError, match=f"'{task.name}' has no labelled training(.|\n)*3 exa"):
            train(model, [task], FAST, progress=False)
        assert same_weights(before, weights_of(model))


def test_no_task_or_one_that_the_model_does_not_have(build_model, tasks):
    with pytest.raises(ConfigError, match="no task"):
        train(build_model(tasks), [], FAST, progress=False)
    with pytest.raises(ConfigError, match=r"no head for this task\n  found: 'qa'"):
        train(build_model(tasks[:1]), tasks, FAST, progress=False)


def test_a_task_with_other_labels_than_the_models(build_model, sentences):
    model = build_model([NERTask("ner", types=["LOC", "PER"])])
    task = NERTask("ner", Dataset(train=sentences[:8]), types=TYPES)
    with pytest.raises(ConfigError, match="other settings"):
        train(model, [task], FAST, progress=False)


def test_a_task_named_as_the_kind_of_another(build_model, sentences):
    """The model has a head `tags` of kind ner; a task named `ner` is not that one."""
    model = build_model([NERTask("tags", types=TYPES)])
    task = NERTask("ner", Dataset(train=sentences[:8]), types=TYPES)
    with pytest.raises(ConfigError, match="no head"):
        train(model, [task], FAST, progress=False)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0"),
        ({"weight_decay": math.nan}, "weight_decay must be at least 0"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number"),
        ({"learning_rate": math.inf}, "learning_rate must be a positive number"),
        ({"max_grad_norm": math.nan}, "max_grad_norm must be a positive number"),
        ({"warmup_ratio": 1.1}, "warmup_ratio must lie between 0 and 1"),
        ({"hide_words": -0.1}, "hide_words must lie between 0 and 1"),
        ({"adam_beta2": 1.0}, "adam_beta2"),
        ({"max_tokens": -1}, "max_tokens must be at least 0"),
        ({"patience": -1}, "patience must be at least 0"),
        ({"decay_ratio": 1.1}, "decay_ratio must lie between 0 and 1"),
        ({"stop_at": 1.5, "decay_ratio": 0.1}, "stop_at must lie between 0 and 1"),
        ({"stop_at": 0.9}, r"stop_at has no effect(.|\n)*set train\.decay_ratio = 0\.1"),
        ({"stop_at": 0.9, "decay_ratio": 0.9}, "stop_at has no effect"),  # 0.1 is its rise
        ({"pretrained_learning_rate": 0.0}, "pretrained_learning_rate must be a positive number"),
        ({"sampling": "alternate"}, 'did you mean "alternating"'),
    ],
)
def test_settings_that_cannot_be(setting, message):
    with pytest.raises(ConfigError, match=message):
        replace(FAST, **setting)


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("epochs", "3", "a whole number"),
        ("batch_size", 2.5, "a whole number"),
        ("patience", True, "a whole number"),
        ("seed", "a", "a whole number"),
        ("learning_rate", "x", "a number"),
        ("warmup_ratio", None, "a number"),
    ],
)
def test_settings_of_another_type_are_refused(name, value, what):
    with pytest.raises(ConfigError, match=f"train.{name} must be {what}"):
        TrainConfig(**{name: value})
