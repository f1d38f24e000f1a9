"""Freezing: what a name stands for, what stands still to the last bit, what is free again."""

import warnings
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch

import mtl
from mtl.data.batching import collate
from mtl.data.dataset import Dataset
from mtl.data.encoded import encode_examples
from mtl.data.examples import TextExample
from mtl.errors import ConfigError, MTLError, TrainingWarning
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.training.config import TrainConfig
from mtl.training.loop import Run, train
from mtl.training.preflight import check_training
from mtl.training.weighting import FixedWeighting

TYPES = ["LOC", "MISC", "ORG", "PER"]
FAST = TrainConfig(
    epochs=1, batch_size=4, learning_rate=1e-2, weight_decay=0.5, warmup_ratio=0.0, sampling="joint"
)
SHAPES = [
    {},
    {"positions": "learned"},
    {"positions": "rotary", "norm": "post"},
    {"positions": "learned", "norm": "post", "n_types": 0},
    {"positions": "learned", "norm": "post", "d_embedding": 8},
    {"positions": "rotary", "embedding_norm": True, "bias": False},
]


@pytest.fixture
def tasks(sentences, questions):
    return [
        NERTask("ner", Dataset(train=sentences[:8]), types=TYPES),
        QATask("qa", Dataset(train=questions[:8])),
    ]


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def moved(before, model):
    return {name for name, tensor in model.state_dict().items() if not before[name].equal(tensor)}


def frozen_in(model):
    return {name for name, p in model.named_parameters() if not p.requires_grad}


def names_in(model, *beginnings):
    return {name for name, _ in model.named_parameters() if name.startswith(beginnings)}


# --- what a name stands for -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "beginnings"),
    [
        ("encoder", ["encoder."]),
        ("encoder.layers", ["encoder.layers."]),
        ("encoder.layers[:1]", ["encoder.layers.0."]),
        ("encoder.layers[:2]", ["encoder.layers.0.", "encoder.layers.1."]),
        ("encoder.layers[:11]", ["encoder.layers."]),
        ("encoder.layers.1", ["encoder.layers.1."]),  # and not layers.10
        ("encoder.layers.10", ["encoder.layers.10."]),
        ("encoder.layers.0.attention.output.bias", ["encoder.layers.0.attention.output.bias"]),
        ("heads", ["heads."]),
        ("heads.ner", ["heads.ner."]),  # and not heads.ner2
    ],
)
def test_what_a_name_freezes(build_model, name, beginnings):
    tasks = [NERTask(name, types=TYPES) for name in ("ner", "ner2")]
    model = build_model(tasks, d_model=8, n_layers=11)
    expected = names_in(model, *beginnings)
    assert set(model.freeze(name)) == expected != set()
    assert frozen_in(model) == expected
    model.unfreeze(name)
    assert not frozen_in(model)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_embeddings_are_all_that_the_first_layer_reads_through(build_model, tasks, shape):
    model = build_model(tasks, **shape)
    ids = torch.tensor([[2, 5, 6, 3]])
    # Squared and weighted, since the plain sum of what a layer norm returns has no gradient.
    read = model.encoder.embed(ids, torch.tensor([[0, 0, 1, 1]]) if shape != SHAPES[3] else None)
    (read**2 * torch.arange(read.numel()).view_as(read)).sum().backward()
    used = {name for name, p in model.named_parameters() if p.grad is not None}
    assert set(model.freeze("encoder.embeddings")) == used


def test_freezing_twice_returns_what_is_new(build_model, tasks):
    model = build_model(tasks, n_layers=2)
    first = model.freeze("encoder.layers.0")
    assert model.freeze("encoder.layers.0") == []
    both = model.freeze("encoder.layers[:2]", "encoder.layers.1", "heads.qa")
    assert set(both) == names_in(model, "encoder.layers.1", "heads.qa")
    assert len(both) == len(set(both))
    model.unfreeze(*both)
    assert frozen_in(model) == set(first)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("encodr", 'did you mean "encoder"'),
        ("heads.nre", 'did you mean "heads.ner"'),
        ("encoder.embedding", 'did you mean "encoder.embeddings"'),
        ("encoder.layers[:0]", "N from 1 to 2"),
        ("encoder.layers[:3]", "N from 1 to 2"),
        ("encoder.layers[:-1]", "N from 1 to 2"),
        ("encoder.layers[1:]", "N from 1 to 2"),
        ("encoder.layers.2", "N from 1 to 2"),
        ("ner", "heads.ner"),
        ("", "encoder"),
    ],
)
def test_unknown_names_and_layers_out_of_range(build_model, tasks, name, words):
    model = build_model(tasks, n_layers=2)
    with pytest.raises(ConfigError) as error:
        model.freeze(name)
    assert repr(name) in str(error.value)
    assert words in str(error.value)
    with pytest.raises(ConfigError):
        train(model, tasks, replace(FAST, freeze=[name]), progress=False)
    assert not frozen_in(model)


def test_one_unknown_name_among_known_ones_freezes_nothing(build_model, tasks):
    model = build_model(tasks)
    names = ["encoder", "heads.ner", "heads.nre"]
    with pytest.raises(ConfigError, match=r"did you mean \"heads\.ner\""):
        model.freeze(*names)
    assert not frozen_in(model)
    with pytest.raises(ConfigError):
        train(model, tasks, replace(FAST, freeze=names), progress=False)
    assert not frozen_in(model)


def test_one_unknown_name_among_known_ones_unfreezes_nothing(build_model, tasks):
    model = build_model(tasks)
    model.freeze("encoder")
    frozen = frozen_in(model)
    with pytest.raises(ConfigError, match=r"did you mean \"heads\.ner\""):
        model.unfreeze("encoder", "heads.nre")
    assert frozen_in(model) == frozen


@pytest.mark.parametrize("freeze", ["encoder", [3], ["encoder", None]])
def test_freeze_is_a_list_of_names(freeze):
    with pytest.raises(ConfigError, match=r"train\.freeze must be a list of names"):
        replace(FAST, freeze=freeze)


# --- what stands still, and what moves ------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "freeze",
    [
        ["encoder"],
        ["encoder.embeddings"],
        ["encoder.layers[:1]"],
        ["encoder.layers.1"],
        ["encoder", "heads.qa.start_and_end.bias"],
    ],
    ids=str,
)
@pytest.mark.parametrize("by_hand", [False, True])
def test_the_frozen_do_not_change_by_a_bit_and_all_else_does(
    build_model, tasks, shape, freeze, by_hand
):
    model = build_model(tasks, n_layers=2, dropout=0.1, **shape)
    before = weights_of(model)
    frozen = set(model.freeze(*freeze))
    if by_hand:
        train(model, tasks, FAST, progress=False)
    else:
        model.unfreeze(*frozen)
        train(model, tasks, replace(FAST, freeze=freeze), progress=False)
    assert moved(before, model) == {n for n, _ in model.named_parameters()} - frozen


def test_a_frozen_head_does_not_change_while_the_encoder_does_and_that_is_warned_of(
    build_model, tasks
):
    model = build_model(tasks)
    before = weights_of(model)
    with pytest.warns(TrainingWarning, match="head of 'ner' is frozen while the encoder") as caught:
        train(model, tasks, replace(FAST, freeze=["heads.ner"]), progress=False)
    assert [warning.filename for warning in caught] == [__file__]
    assert moved(before, model) == names_in(model, "encoder.", "heads.qa")


@pytest.mark.parametrize("freeze", [[], ["encoder.layers"]])
def test_the_head_of_a_task_that_is_not_trained_is_warned_of_too(build_model, tasks, freeze):
    model = build_model(tasks)
    train(model, tasks[:1], replace(FAST, freeze=freeze), progress=False)  # qa has nothing to lose
    train(model, tasks, FAST, progress=False)
    message = "head of 'qa' is not trained while the encoder keeps training"
    with pytest.warns(TrainingWarning, match=message) as caught:
        train(model, tasks[:1], replace(FAST, freeze=freeze), progress=False)
    assert [warning.filename for warning in caught] == [__file__]


def test_a_head_that_is_frozen_and_not_trained_is_warned_of_once(build_model, tasks):
    model = build_model(tasks)
    with pytest.warns(TrainingWarning, match="head of 'qa' is frozen") as caught:
        train(model, tasks[:1], replace(FAST, freeze=["heads.qa"]), progress=False)
    assert len(caught) == 1


@pytest.mark.parametrize("freeze", [[], ["encoder"], ["encoder.layers[:1]"], ["encoder.norm"]])
def test_without_a_frozen_head_on_a_moving_encoder_nothing_is_warned_of(build_model, tasks, freeze):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(build_model(tasks), tasks, replace(FAST, freeze=freeze), progress=False)


@pytest.mark.parametrize("freeze", [["encoder"], ["encoder", "heads.qa"]])
def test_on_an_encoder_that_stands_still_no_head_is_warned_of(build_model, tasks, freeze):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(build_model(tasks), tasks[:1], replace(FAST, freeze=freeze), progress=False)


def test_the_frozen_have_no_gradient_and_no_optimiser_state(build_model, tasks):
    model = build_model(tasks, n_layers=2)
    train(model, tasks, FAST, progress=False)
    assert all(p.grad is not None for p in model.parameters())
    frozen = model.freeze("encoder.layers.0", "encoder.embeddings")
    run = Run(model, tasks, FAST, FixedWeighting())
    without_gradient = []

    def look(optimizer, *_):
        without_gradient.append({n for n, p in model.named_parameters() if p.grad is None})

    run.update.optimizer.register_step_pre_hook(look)
    run.round()
    assert without_gradient == [set(frozen)]
    free = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for p in run.update.optimizer.state} == free
    assert {id(p) for group in run.update.optimizer.param_groups for p in group["params"]} == free


def test_nothing_is_kept_for_a_backward_pass_through_a_frozen_encoder(build_model, tasks):
    model = build_model(tasks)
    outputs = []
    model.encoder.register_forward_hook(lambda *args: outputs.append(args[2].requires_grad))
    train(model, tasks, replace(FAST, freeze=["encoder"]), progress=False)
    assert not any(outputs)
    train(model, tasks, replace(FAST, freeze=["encoder.layers"]), progress=False)
    assert all(outputs[len(outputs) // 2 :])


def test_gradients_that_the_frozen_still_have_do_not_count_when_clipping(build_model, tasks):
    """Frozen by hand, as users of PyTorch do, after a training that left gradients behind."""
    norms = []
    for leftover in (0.0, 1e6):
        model = build_model(tasks)
        for parameter in model.encoder.parameters():
            parameter.requires_grad_(False)
            parameter.grad = torch.full_like(parameter, leftover)
        history = train(model, tasks, FAST, progress=False)
        norms.append([r.grad_norm for r in history.rounds])
    assert norms[0] == norms[1]


def test_the_gradients_of_the_rest_are_what_they_were(build_model, tasks):
    """Against the same model with nothing frozen."""
    gradients = []
    for names in ([], ["encoder.layers[:1]", "heads.qa"]):
        model = build_model(tasks, n_layers=2)
        model.freeze(*names)
        for task in tasks:
            items, _ = encode_examples(task.dataset.train, model.tokenizer, [task], 64)
            sum(model.losses(collate(items, model.tokenizer, [task])).values()).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    every, rest = gradients
    assert every.keys() - rest.keys() == names_in(model, "encoder.layers.0.", "heads.qa.")
    for name, gradient in rest.items():
        torch.testing.assert_close(gradient, every[name])


# --- before and after -----------------------------------------------------------------------------


class Stop(FixedWeighting):
    """Raises at the second step."""

    def __init__(self, error):
        super().__init__()
        self.error, self.calls = error, 0

    def forward(self, losses):
        self.calls += 1
        if self.calls == 2:
            raise self.error
        return super().forward(losses)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt(), MTLError("the loss is not finite")])
def test_what_the_config_froze_is_free_again_and_what_the_user_froze_is_not(
    build_model, tasks, error
):
    model = build_model(tasks, n_layers=2)
    own = set(model.freeze("encoder.layers.0", "heads.ner.classifier.bias"))
    config = replace(FAST, freeze=["encoder.layers", "heads.ner.classifier.bias", "encoder.norm"])
    before = weights_of(model)
    if error is None:
        train(model, tasks, config, progress=False)
        still = names_in(model, "encoder.layers", "encoder.norm") | own
        assert moved(before, model) == {n for n, _ in model.named_parameters()} - still
    else:
        with pytest.raises(type(error)):
            train(model, tasks, config, weighting=Stop(error), progress=False)
    assert frozen_in(model) == own


def test_two_trainings_one_after_the_other(build_model, tasks):
    """First the heads on the encoder as it is, then everything: each time what should move does."""
    model = build_model(tasks)
    before = weights_of(model)
    train(model, tasks, replace(FAST, freeze=["encoder"]), progress=False)
    assert not moved(before, model) & names_in(model, "encoder.")
    train(model, tasks, FAST, progress=False)
    assert moved(before, model) == {n for n, _ in model.named_parameters()}


@pytest.mark.parametrize(
    ("freeze", "error"), [([], None), (["heads"], None), (["encoder", "heads.ner"], ConfigError)]
)
def test_checking_a_training_leaves_the_model_as_it_was(build_model, tasks, freeze, error):
    """Nothing of it is trained, warned of, frozen or set free."""
    model = build_model(tasks)
    own = set(model.freeze("heads.qa"))
    before = weights_of(model)
    with pytest.raises(error, match="'ner'") if error else nullcontext():
        check_training(model, tasks, replace(FAST, freeze=freeze))
    assert not moved(before, model)
    assert frozen_in(model) == own


def test_nothing_to_train_for_a_task_is_refused(build_model, tasks):
    model = build_model(tasks)
    before = weights_of(model)
    config = replace(FAST, freeze=["encoder", "heads.ner"])
    with pytest.raises(ConfigError, match="nothing to train for the task 'ner'") as error:
        train(model, tasks, config, progress=False)
    assert error.value.exit_code == 2
    assert not frozen_in(model)
    assert not moved(before, model)
    train(model, tasks[1:], config, progress=False)  # of QA there is: its head
    assert moved(before, model) == names_in(model, "heads.qa")


# --- a task that comes later ----------------------------------------------------------------------

TEXTS = ["Ann Lee lives in Oslo.", "Bob bought a car.", "Eve works at Acme Corp."]


def test_a_task_added_on_a_frozen_model_leaves_the_old_predictions_as_they_were(build_model, tasks):
    model = build_model(tasks)
    train(model, tasks, FAST, progress=False)
    predictions, before = mtl.predict(model, TEXTS, "ner"), weights_of(model)
    data = Dataset(train=[TextExample(text, label="ab"[i % 2]) for i, text in enumerate(TEXTS)])
    topic = ClassificationTask("topic", data)
    model.add_task(topic)
    old = set(before)
    head = weights_of(model)
    train(
        model, [topic], replace(FAST, freeze=["encoder", "heads.ner", "heads.qa"]), progress=False
    )
    assert moved(head, model) == names_in(model, "heads.topic") == set(head) - old
    assert mtl.predict(model, TEXTS, "ner") == predictions
    assert {p["topic"].label for p in mtl.predict(model, TEXTS)} <= {"a", "b"}


def test_a_task_that_cannot_be_added_changes_nothing(build_model, tasks):
    model = build_model(tasks[:1], n_types=1)
    before = weights_of(model)
    with pytest.raises(ConfigError, match=r"two tasks have the same name(.|\n)*'ner'"):
        model.add_task(NERTask("ner", types=["OTHER"]))
    with pytest.raises(ConfigError, match=r"pairs of texts have two segments(.|\n)*n_types"):
        model.add_task(tasks[1])
    assert weights_of(model).keys() == before.keys()
    assert list(model.tasks) == ["ner"]
    assert not moved(before, model)


@pytest.mark.parametrize("name", ["type", "keys", "to", "training", "values", "forward"])
def test_a_task_named_as_something_that_every_module_has(name):
    """Said when the task is made, not when its head is added to a model."""
    with pytest.raises(ConfigError, match=f"name(.|\n)*'{name}'(.|\n)*{name}_1"):
        NERTask(name, types=["PER"])


@pytest.mark.parametrize("name", ["", "a.b", "two words", "9lives", "-a"])
def test_a_task_whose_name_is_not_a_single_word(name):
    with pytest.raises(ConfigError, match="letters, digits, underscores or hyphens") as error:
        NERTask(name, types=["PER"])
    assert repr(name) in str(error.value)
