"""Task embeddings: at first nothing is added, then a vector tells the encoder the task."""

import json
from dataclasses import replace

import pytest
import torch
from comparing import TINY

import mtl
from mtl.data.batching import collate
from mtl.data.dataset import Dataset
from mtl.data.encoded import encode_examples
from mtl.data.examples import TextExample
from mtl.errors import ConfigError, ModelError
from mtl.experiments.build import build_model, build_tasks
from mtl.experiments.recipe import load_recipe
from mtl.model import MultiTaskModel
from mtl.nn.config import EncoderConfig
from mtl.nn.encoder import TransformerEncoder
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.ner import NERTask
from mtl.training.config import TrainConfig
from mtl.training.loop import train
from mtl.training.optimizer import build_optimizer
from mtl.training.weighting import FixedWeighting

FAST = TrainConfig(epochs=1, batch_size=4, learning_rate=1e-2, warmup_ratio=0.0)
TEXTS = ["Ann Lee lives in Oslo.", "Bob bought a car."]


@pytest.fixture
def tasks(sentences):
    """Two on the same texts."""
    data = Dataset(
        train=[
            TextExample(s.text, s.tokens, "long" if len(s.tokens) > 9 else "short", s.tags)
            for s in sentences[:8]
        ]
    )
    return [
        ClassificationTask("topic", data, labels=["long", "short"]),
        NERTask("ner", data, types=["LOC", "MISC", "ORG", "PER"]),
    ]


@pytest.fixture
def build(tokenizer):
    def build(tasks, names, norm="pre", **own):
        torch.manual_seed(0)
        shape = {"d_model": 16, "n_heads": 2, "n_layers": 2, "max_length": 64, "dropout": 0.0}
        encoder = TransformerEncoder(EncoderConfig(len(tokenizer), norm=norm, **shape))
        return MultiTaskModel(encoder, tokenizer, tasks, task_embeddings=names, **own)

    return build


def batch_of(model, tasks):
    items, _ = encode_examples(tasks[0].dataset.train, model.tokenizer, tasks, 64)
    return collate(items, model.tokenizer, tasks)


def moved(before, model):
    return {name for name, tensor in model.state_dict().items() if not before[name].equal(tensor)}


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_vector_is_added_at_every_token(build, tasks, norm):
    """As if all word vectors, or the bias of the norm above them, were moved by it."""
    model = build(tasks, ["ner"], norm)
    batch = batch_of(model, tasks)
    inputs = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
    plain = model.encoder(*inputs)
    for states in model.hidden(batch, ["topic", "ner"]).values():
        assert torch.equal(states, plain)
    vector = torch.linspace(-2, 2, 16)
    model.task_embeddings["ner"].vector.data.copy_(vector)
    found = model.hidden(batch, ["topic", "ner"])
    with torch.no_grad():
        encoder = model.encoder
        (encoder.norm.bias if norm == "post" else encoder.token_embedding.weight).add_(vector)
    assert torch.equal(found["topic"], plain)
    torch.testing.assert_close(found["ner"], encoder(*inputs), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found["ner"], plain, atol=1e-2)


def test_each_task_with_one_needs_a_pass_of_its_own(build, tasks):
    model = build(tasks, ["ner"])
    calls = []
    for i, layer in enumerate(model.encoder.layers):
        layer.register_forward_hook(lambda *_, i=i: calls.append(i))
    embedded = []
    model.encoder.token_embedding.register_forward_hook(lambda *_: embedded.append(1))
    batch = batch_of(model, tasks)
    model(batch, ["ner"])
    assert calls == [0, 1]
    calls.clear()
    model(batch, ["topic", "ner"])
    assert sorted(calls) == [0, 0, 1, 1]
    assert len(embedded) == 2


def test_it_is_trained_with_its_own_task_alone_at_the_rate_of_fresh_weights(build, tasks):
    model = build(tasks, ["topic", "ner"])
    model.encoder.pretrained = "some-checkpoint"
    config = replace(FAST, pretrained_learning_rate=1e-4, weight_decay=0.5, freeze=["encoder"])
    groups = build_optimizer(model, FixedWeighting(), config).param_groups
    (group,) = (
        g for g in groups if any(p is model.task_embeddings["ner"].vector for p in g["params"])
    )
    assert (group["lr"], group["weight_decay"]) == (1e-2, 0.0)
    before = weights_of(model)
    train(model, tasks[1:], config, progress=False)
    own = {"task_embeddings.ner.vector", "heads.ner.classifier.weight", "heads.ner.classifier.bias"}
    assert moved(before, model) == own
    shared = {id(p) for part in model.shared_parts.values() for p in part}
    assert shared == {id(p) for p in model.encoder.parameters()}


def test_it_goes_with_an_adapter_and_private_layers(build, tasks):
    model = build(tasks, ["ner"], private_layers=1, adapters={"ner": 2})
    before = weights_of(model)
    train(model, tasks[1:], FAST, progress=False)
    beginnings = ("encoder.", "task_embeddings.ner", "adapters.ner", "private.ner", "heads.ner")
    assert moved(before, model) == {n for n in before if n.startswith(beginnings)}


def test_saved_and_loaded_it_predicts_the_same(build, tasks, tmp_path):
    model = build(tasks, ["ner"])
    train(model, tasks, FAST, progress=False)
    assert model.task_embeddings["ner"].vector.any()
    model.save_pretrained(tmp_path)
    again = MultiTaskModel.from_pretrained(tmp_path)
    assert repr(again) == repr(model)
    assert "task embeddings for ner" in repr(model)
    assert not moved(weights_of(model), again)
    for name in model.tasks:
        assert mtl.predict(again, TEXTS, name) == mtl.predict(model, TEXTS, name)
    config = json.loads((tmp_path / "config.json").read_text())
    for names in (["topic"], [], ["nre"], 3):
        (tmp_path / "config.json").write_text(json.dumps(config | {"task_embeddings": names}))
        with pytest.raises(ModelError):
            MultiTaskModel.from_pretrained(tmp_path)
    del config["task_embeddings"]  # as in a folder from before there were any
    build(tasks, []).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert not MultiTaskModel.from_pretrained(tmp_path).task_embeddings


def test_a_run_goes_on_only_with_the_same(build, tasks, tmp_path):
    options = {"checkpoint": tmp_path / "state", "progress": False}
    config = replace(FAST, epochs=3)

    def stop(history):
        if len(history.validation) == 2:
            raise KeyboardInterrupt

    whole, resumed = build(tasks, ["ner"]), build(tasks, ["ner"])
    train(whole, tasks, config, progress=False)
    with pytest.raises(KeyboardInterrupt):
        train(build(tasks, ["ner"]), tasks, config, on_epoch=stop, **options)
    with pytest.raises(ConfigError, match="the task embedding of topic"):
        train(build(tasks, ["ner", "topic"]), tasks, config, resume=True, **options)
    train(resumed, tasks, config, resume=True, **options)
    assert not moved(weights_of(whole), resumed)


def test_a_later_task_may_have_one_and_the_baseline_has_it_too(build, tasks):
    model = build(tasks[:1], [])
    model.add_task(tasks[1], task_embedding=True)
    assert list(model.task_embeddings) == ["ner"]
    assert list(model.untrained().task_embeddings) == ["ner"]


def test_what_has_no_place_in_an_encoder_and_what_is_no_task(build, tasks):
    model = build(tasks, ["ner"])
    model.encoder_for("topic")
    with pytest.raises(ConfigError, match="'ner' has a task embedding"):
        model.encoder_for("ner")
    with pytest.raises(ConfigError, match='did you mean "ner"'):
        build(tasks, ["nre"])
    with pytest.raises(ConfigError, match="named by a list"):
        build(tasks, "ner")


def test_a_recipe_sets_it(tmp_path):
    recipe = load_recipe("practical7", [*TINY, "tasks.ner.task_embedding=true"])
    (tmp_path / "again.toml").write_text(recipe.to_toml())
    assert load_recipe(tmp_path / "again.toml") == recipe
    ner, qa = build_tasks(recipe)
    assert list(build_model(recipe, [ner, qa]).task_embeddings) == ["ner"]
    assert not build_model(recipe, [qa]).task_embeddings  # alone, as in a comparison
    with pytest.raises(ConfigError, match="must be true or false"):
        load_recipe("practical7", [*TINY, "tasks.ner.task_embedding=1"])
