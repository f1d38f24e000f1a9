"""Adapters: the same function at first, then each task's own; the encoder may stand still."""

import json
from dataclasses import replace

import pytest
import torch
from checkpoints import write_word_pieces
from torch import nn

import mtl
from mtl.data.batching import collate
from mtl.data.dataset import Dataset
from mtl.data.encoded import encode_examples
from mtl.data.examples import TextExample
from mtl.data.tokenizers.subwords import SubwordTokenizer
from mtl.errors import ConfigError, ModelError
from mtl.files import read_tensors
from mtl.model import MultiTaskModel
from mtl.nn.adapters import LINEAR_LAYERS, MATRICES, AdaptedLinear, AdapterConfig, LowRank
from mtl.nn.config import EncoderConfig
from mtl.nn.encoder import TransformerEncoder
from mtl.nn.export import save_for_transformers
from mtl.reports.diagrams import plot_architecture
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.ner import NERTask
from mtl.training.config import TrainConfig
from mtl.training.loop import Run, train
from mtl.training.optimizer import build_optimizer
from mtl.training.weighting import FixedWeighting

TYPES = ["LOC", "MISC", "ORG", "PER"]
RANKS = {"topic": 2, "ner": 3}
FAST = TrainConfig(epochs=1, batch_size=4, learning_rate=1e-2, warmup_ratio=0.0)
FROZEN = replace(FAST, freeze=["encoder"])
SHAPES = [
    {"norm": norm, "positions": positions}
    for norm in ("pre", "post")
    for positions in ("rotary", "learned", "sinusoidal")
]
TEXTS = ["Ann Lee lives in Oslo.", "Bob bought a car.", "Eve works at Acme Corp."]


@pytest.fixture
def tasks(sentences):
    """Two tasks with an adapter, and two without, on the same texts; not all have each label."""

    def record(i, example):
        label = ("long" if len(example.tokens) > 9 else "short") if i % 3 else None
        return TextExample(example.text, example.tokens, label, example.tags if i % 4 else None)

    data = Dataset(train=[record(i, example) for i, example in enumerate(sentences[:12])])
    return [
        ClassificationTask("topic", data, labels=["long", "short"]),
        NERTask("ner", data, types=TYPES),
        ClassificationTask("plain", data, labels=["long", "short"]),
        NERTask("plain2", data, types=TYPES),
    ]


@pytest.fixture
def build(tokenizer):
    """A function that makes a tiny model of three layers; the same seed gives the same weights."""

    def build(tasks, ranks=RANKS, config=None, private_layers=0, **settings):
        torch.manual_seed(0)
        shape = {"d_model": 16, "n_heads": 2, "n_layers": 3, "max_length": 64, "dropout": 0.0}
        encoder = TransformerEncoder(EncoderConfig(len(tokenizer), **(shape | settings)))
        return MultiTaskModel(
            *(encoder, tokenizer, tasks, private_layers), adapters=ranks, adapter_config=config
        )

    return build


def disturb(model):
    """Give every adapter something to add."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.adapters.named_parameters():
            if name.endswith("up"):
                parameter.normal_()
    return model


def batch_of(model, *tasks):
    items, _ = encode_examples(tasks[0].dataset.train, model.tokenizer, tasks, 64)
    return collate(items, model.tokenizer, tasks)


def inputs_of(batch):
    return batch.input_ids, batch.attention_mask, batch.token_type_ids


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def names_in(model, *beginnings):
    return {name for name, _ in model.named_parameters() if name.startswith(beginnings)}


def moved(before, model):
    return {name for name, tensor in model.state_dict().items() if not before[name].equal(tensor)}


# --- what an adapter computes ---------------------------------------------------------------------


def test_one_matrix_by_hand():
    """W0 x + (alpha / r) B A x, with numbers that can be checked on paper."""
    addition = LowRank(n_in=2, n_out=2, rank=1, alpha=3.0)
    addition.down.data = torch.tensor([[1.0, 2.0]])  # A
    addition.up.data = torch.tensor([[1.0], [-1.0]])  # B
    linear = nn.Linear(2, 4, bias=False)
    linear.weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]])
    x = torch.tensor([[[1.0, 1.0]]])
    # A x = 3, times B and alpha / r = 3 that is (9, -9), added to the second half of W0 x.
    found = AdaptedLinear(linear, [None, addition])(x)
    assert found.tolist() == [[[1.0, 1.0, 2.0 + 9.0, 0.0 - 9.0]]]
    assert addition.matrix().tolist() == [[3.0, 6.0], [-3.0, -6.0]]


def test_a_scale_is_of_alpha_and_the_own_rank(build, tasks):
    model = build(tasks, {"topic": 2, "ner": 8}, {"alpha": 4.0})
    scales = {
        name: {part.scale for part in model.adapters[name].modules() if isinstance(part, LowRank)}
        for name in RANKS
    }
    assert scales == {"topic": {2.0}, "ner": {0.5}}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_fresh_model_computes_what_the_encoder_does(build, tasks, shape):
    model = build(tasks, config={"matrices": MATRICES}, **shape)
    batch = batch_of(model, *tasks)
    assert not batch.attention_mask.all()
    expected = model.encoder(*inputs_of(batch))
    for states in model.hidden(batch, model.tasks).values():
        assert torch.equal(states, expected)


def with_weights_changed(model, task, config):
    """The encoder with `W0 + (alpha / r) B A` for its weights, from the names of the weights."""
    encoder = TransformerEncoder(model.encoder.config)
    weights = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    width = model.encoder.config.d_model
    rows = {"query": slice(width), "key": slice(width, 2 * width), "value": slice(2 * width, None)}
    paths = {name: path for path, names in LINEAR_LAYERS.items() for name in names}
    for name, up in model.adapters[task].named_parameters():
        *beginning, matrix, part = name.split(".")
        if part == "up":
            down = model.adapters[task].get_parameter(".".join([*beginning, matrix, "down"]))
            weight = weights[f"{'.'.join(beginning)}.{paths[matrix]}.weight"]
            weight[rows.get(matrix, slice(None))] += config.alpha / len(down) * (up @ down).detach()
    encoder.load_state_dict(weights)
    return encoder


@pytest.mark.parametrize("matrices", [("query", "value"), ("key",), ("output", "expand"), MATRICES])
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[4]], ids=str)
def test_it_is_the_encoder_with_other_weights(build, tasks, matrices, shape):
    config = AdapterConfig(matrices, alpha=5.0, layers=2)
    model = disturb(build(tasks, config=config, **shape))
    batch = batch_of(model, *tasks)
    plain = model.encoder(*inputs_of(batch))
    hidden = model.hidden(batch, model.tasks)
    for name, states in hidden.items():
        if name not in RANKS:
            assert torch.equal(states, plain)
            continue
        assert not torch.allclose(states, plain, atol=1e-2)
        expected = with_weights_changed(model, name, config)
        torch.testing.assert_close(states, expected(*inputs_of(batch)), rtol=1e-4, atol=1e-4)
        merged = model.encoder_for(name)
        torch.testing.assert_close(merged.state_dict(), expected.state_dict())
    assert not torch.allclose(hidden["topic"], hidden["ner"], atol=1e-2)


def test_merging_and_running_leave_the_encoder_as_it_was(build, tasks):
    model = disturb(build(tasks))
    before, modules = weights_of(model), [type(part) for part in model.modules()]
    merged = model.encoder_for("topic")
    model.hidden(batch_of(model, *tasks), model.tasks)
    assert not moved(before, model)
    assert [type(part) for part in model.modules()] == modules
    assert set(merged.state_dict()) == set(model.encoder.state_dict())
    shared = {p.data_ptr() for p in merged.parameters()} & {
        p.data_ptr() for p in model.parameters()
    }
    assert not shared


def test_dropout_in_adapted_layers_is_that_of_the_mode(build, tasks):
    model = build(tasks, dropout=0.5)
    batch = batch_of(model, *tasks)
    once, again = (model.train().hidden(batch, ["ner"])["ner"] for _ in range(2))
    assert not torch.equal(once, again)
    once, again = (model.eval().hidden(batch, ["ner"])["ner"] for _ in range(2))
    assert torch.equal(once, again)


@pytest.mark.parametrize(
    ("names", "layers", "runs"),
    [
        (["topic"], 1, [1, 1, 1]),
        (["plain", "plain2"], 1, [1, 1, 1]),
        (["topic", "ner"], 1, [1, 1, 2]),
        (["topic", "ner", "plain", "plain2"], 1, [1, 1, 3]),  # those without one share a run
        (["topic", "ner", "plain", "plain2"], 2, [1, 3, 3]),
        (["topic", "ner"], 0, [2, 2, 2]),
    ],
)
def test_the_layers_below_the_adapted_ones_are_run_once(build, tasks, names, layers, runs):
    model = build(tasks, config={"layers": layers})
    calls = []
    for i, layer in enumerate(model.encoder.layers):
        layer.register_forward_hook(lambda *_, i=i: calls.append(i))
    embedded = []
    model.encoder.token_embedding.register_forward_hook(lambda *_: embedded.append(1))
    model(batch_of(model, *tasks), names)
    assert [calls.count(i) for i in range(3)] == runs
    assert len(embedded) == 1


@pytest.mark.parametrize("matrices", [("query", "value"), MATRICES])
def test_parameters_by_formula(build, tasks, matrices):
    model = build(tasks, config={"matrices": matrices, "layers": 2}, d_ff=24)
    D, F = 16, 24  # noqa: N806
    of_rank_one = 2 * (2 * D * 2) if len(matrices) == 2 else 2 * (4 * 2 * D + 2 * (D + F))
    for name, rank in RANKS.items():
        size = sum(p.numel() for p in model.adapters[name].parameters())
        assert size == rank * of_rank_one
        assert f"adapter of rank {rank} for {name} ({size:,} parameters)" in repr(model)
        figure = plot_architecture(model)
        texts = "\n".join(text.get_text() for text in figure.axes[0].texts)
        assert texts.count("with an adapter") == 2
        assert f"with an adapter, {size:,}" in texts
    assert model.adapters.keys() == RANKS.keys()
    assert "adapter" not in repr(build(tasks, {}))


# --- what learns ----------------------------------------------------------------------------------


def test_a_gradient_reaches_the_own_adapter_and_the_shared_and_no_other(build, tasks):
    for task in tasks:
        model = disturb(build(tasks))
        batch = batch_of(model, task)
        model.losses(batch)[task.name].backward()
        reached = {name for name, p in model.named_parameters() if p.grad is not None}
        own = (f"adapters.{task.name}.", f"heads.{task.name}.")
        assert reached == names_in(model, "encoder.", *own)
        model.zero_grad()
        model.freeze("encoder")
        model.losses(batch)[task.name].backward()
        assert {n for n, p in model.named_parameters() if p.grad is not None} == names_in(
            model, *own
        )


def test_a_batch_without_labels_of_a_task_leaves_its_adapter_alone(build, tasks):
    model = disturb(build(tasks))
    examples = [example for example in tasks[0].dataset.train if example.label is None]
    items, _ = encode_examples(examples, model.tokenizer, tasks, 64)
    losses = model.losses(collate(items, model.tokenizer, tasks))
    assert "ner" in losses
    assert "topic" not in losses
    sum(losses.values()).backward()
    assert all(p.grad is None for p in model.adapters["topic"].parameters())
    assert all(p.grad is not None for p in model.adapters["ner"].parameters())


@pytest.mark.parametrize("sampling", ["alternating", "joint"])
def test_a_frozen_encoder_does_not_change_by_a_bit(build, tasks, sampling):
    model = build(tasks, dropout=0.1)
    before = weights_of(model)
    train(model, tasks, replace(FROZEN, epochs=2, sampling=sampling), progress=False)
    assert moved(before, model) == names_in(model, "adapters.", "heads.")
    assert all(p.requires_grad for p in model.parameters())


def test_training_one_task_leaves_the_others_as_they_were(build, tasks):
    model = build(tasks)
    train(model, tasks, FROZEN, progress=False)
    before, predicted = weights_of(model), mtl.predict(model, TEXTS, "ner")
    train(model, tasks[:1], FROZEN, progress=False)
    assert moved(before, model) == names_in(model, "adapters.topic.", "heads.topic.")
    assert mtl.predict(model, TEXTS, "ner") == predicted


@pytest.mark.parametrize(
    "freeze", [["adapters"], ["adapters.ner"], ["adapters.ner.layers.1.value"]]
)
def test_adapters_are_frozen_by_their_names(build, tasks, freeze):
    model = build(tasks)
    before = weights_of(model)
    frozen = names_in(model, *(f"{name}." for name in freeze))
    assert frozen
    train(model, tasks, replace(FAST, freeze=freeze), progress=False)
    assert moved(before, model) == {n for n, _ in model.named_parameters()} - frozen


def test_an_adapter_is_something_to_learn(build, tasks):
    """With encoder and heads frozen, tasks with an adapter can be trained, the others cannot."""
    model = build(tasks)
    config = replace(FAST, freeze=["encoder", "heads"])
    with pytest.warns(mtl.errors.TrainingWarning, match="the head of 'topic' is frozen"):
        train(model, tasks[:1], config, progress=False)
    with pytest.raises(ConfigError, match="nothing to train for the task 'plain'"):
        train(model, tasks[2:3], config, progress=False)


def test_a_fresh_adapter_learns_at_the_rate_of_fresh_weights(build, tasks):
    config = replace(FAST, learning_rate=1e-2, pretrained_learning_rate=1e-4)
    model = build(tasks)
    model.encoder.pretrained = "some-checkpoint"
    groups = build_optimizer(model, FixedWeighting(), config).param_groups
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == (1e-4 if name.startswith("encoder.") else 1e-2)


def gradients_of_first_step(model, tasks, **settings):
    """By name; of one batch with all examples, as they are."""
    config = replace(
        FAST, batch_size=12, sampling="joint", max_grad_norm=1e9, hide_words=0.0, **settings
    )
    run = Run(model, tasks, config, FixedWeighting())
    found = {}
    run.update.optimizer.register_step_pre_hook(
        lambda *_: found.update({n: p.grad.clone() for n, p in model.named_parameters()})
    )
    run.round()
    return found


def test_surgery_is_on_shared_gradients_alone(build, tasks, monkeypatch):
    """By hand; with a loss turned round, so that tasks are in conflict one time of the two."""
    pair, loss_of, conflicts = tasks[:2], NERTask.loss, 0
    for sign in (1, -1):
        monkeypatch.setattr(NERTask, "loss", lambda *args, sign=sign: sign * loss_of(*args))
        alone = []
        for task in pair:
            model = disturb(build(pair))
            model.losses(batch_of(model, task))[task.name].backward()
            alone.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        shared = sorted(names_in(model, "encoder."))
        topic, ner = (torch.cat([found[name].flatten() for name in shared]) for found in alone)
        dot = (topic @ ner).clamp(max=0)
        conflicts += int(dot < 0)
        expected = topic - dot / (ner @ ner) * ner + ner - dot / (topic @ topic) * topic
        found = gradients_of_first_step(disturb(build(pair)), pair, aggregation="pcgrad")
        torch.testing.assert_close(
            torch.cat([found[n].flatten() for n in shared]), expected, rtol=1e-4, atol=1e-6
        )
        for of_task in alone:
            for name in of_task.keys() - set(shared):
                torch.testing.assert_close(found[name], of_task[name], rtol=1e-4, atol=1e-6)
    assert conflicts == 1


@pytest.mark.parametrize("method", [{"weighting": "gradnorm"}, {"conflict_every": 1}])
def test_adapters_are_nothing_to_be_in_conflict_about(build, tasks, method):
    model = build(tasks)
    shared = {id(p) for part in model.shared_parts.values() for p in part}
    assert shared == {id(p) for p in model.encoder.parameters()}
    train(model, tasks, replace(FAST, sampling="joint", **method), progress=False)
    with pytest.raises(ConfigError, match="there is no shared parameter that is trained"):
        train(model, tasks, replace(FROZEN, sampling="joint", **method), progress=False)


def test_a_stopped_training_goes_on_to_the_same_weights(build, tasks, tmp_path):
    config = replace(FROZEN, epochs=3, sampling="joint")
    whole = build(tasks, dropout=0.1)
    train(whole, tasks, config, progress=False)

    def stop(history):
        if len(history.validation) == 2:
            raise KeyboardInterrupt

    options = {"checkpoint": tmp_path / "state", "progress": False}
    with pytest.raises(KeyboardInterrupt):
        train(build(tasks, dropout=0.1), tasks, config, on_epoch=stop, **options)
    for other in ({"config": {"alpha": 8.0}}, {"ranks": {"topic": 2}}):
        with pytest.raises(ConfigError, match=r"different run(.|\n)*the adapter of ner"):
            train(build(tasks, dropout=0.1, **other), tasks, config, resume=True, **options)
    resumed = build(tasks, dropout=0.1)
    train(resumed, tasks, config, resume=True, **options)
    assert not moved(weights_of(whole), resumed)


# --- a task that comes later, private layers, what is refused -------------------------------------


def test_a_task_that_comes_later_changes_nothing_for_the_others(build, tasks):
    model = build(tasks[1:], {"ner": 3}, {"layers": 1})
    train(model, tasks[1:], FROZEN, progress=False)
    predicted = {name: mtl.predict(model, TEXTS, name) for name in model.tasks}
    model.add_task(tasks[0], adapter=4)
    assert model.adapter_ranks == {"ner": 3, "topic": 4}
    before = weights_of(model)
    train(model, tasks[:1], FROZEN, progress=False)
    assert moved(before, model) == names_in(model, "adapters.topic.layers.2.", "heads.topic.")
    for name, then in predicted.items():
        assert mtl.predict(model, TEXTS, name) == then


def test_beside_private_layers_the_shared_ones_are_adapted(build, tasks):
    model = disturb(build(tasks, config={"layers": 1}, private_layers=1))
    assert list(model.adapters["ner"].layers) == ["1"]
    batch = batch_of(model, *tasks)
    for name in model.tasks:
        whole = model.encoder_for(name)
        assert len(whole.layers) == 3
        states = model.hidden(batch, [name])[name]
        torch.testing.assert_close(states, whole(*inputs_of(batch)))
    before = weights_of(model)
    train(model, tasks[1:2], FAST, progress=False)
    own = ("encoder.", "adapters.ner.", "private.ner.", "heads.ner.")
    assert moved(before, model) == names_in(model, *own)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ranks": {"topics": 8}}, r"'topics'(.|\n)*did you mean \"topic\""),
        ({"ranks": {"ner": -1}}, "rank of an adapter must be a whole number, at least 0"),
        ({"ranks": {"ner": 2.0}}, "rank of an adapter must be a whole number"),
        ({"ranks": {"ner": True}}, "rank of an adapter must be a whole number"),
        ({"config": {"layers": 4}}, "at most the 3 layers that the tasks share"),
        ({"config": {"layers": 2}, "private_layers": 2}, "at most the 1 layers"),
        ({"config": {"matrices": ["querry"]}}, 'did you mean "query"'),
        ({"config": {"matrices": []}}, "at least one matrix"),
        ({"config": {"matrices": ["key", "key"]}}, "each once"),
        ({"config": {"alpha": 0}}, "adapters.alpha must be a positive number"),
        ({"config": {"rank": 8}}, "AdapterConfig has no rank"),
        ({"config": "query"}, "is an AdapterConfig"),
        ({"ranks": 8}, "by the names of their tasks"),
    ],
)
def test_what_cannot_be_an_adapter(build, tasks, changes, words):
    with pytest.raises(ConfigError, match=words):
        build(tasks, **changes)


# --- saving and loading ---------------------------------------------------------------------------


def test_saved_and_loaded_it_predicts_the_same(build, tasks, tmp_path):
    model = build(tasks, config={"matrices": ["key", "output"], "alpha": 4, "layers": 1})
    train(model, tasks, FROZEN, progress=False)
    model.save_pretrained(tmp_path)
    names = set(read_tensors(tmp_path / "model.safetensors"))
    assert {n for n in names if n.startswith("adapters.ner.")} == {
        f"adapters.ner.layers.2.{matrix}.{part}"
        for matrix in ("key", "output")
        for part in ("down", "up")
    }
    again = MultiTaskModel.from_pretrained(tmp_path)
    assert repr(again) == repr(model)
    assert again.adapter_ranks == RANKS
    assert not moved(weights_of(model), again)
    for name in model.tasks:
        assert mtl.predict(again, TEXTS, name) == mtl.predict(model, TEXTS, name)


def rewrite_config(folder, **changes):
    path = folder / "config.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def test_a_folder_from_before_there_were_adapters(build, tasks, tmp_path):
    model = build(tasks, {})
    model.save_pretrained(tmp_path)
    rewrite_config(tmp_path, adapters=None, adapter_config=None)
    again = MultiTaskModel.from_pretrained(tmp_path)
    assert not again.adapters
    assert not moved(weights_of(model), again)


@pytest.mark.parametrize(
    "changes",
    [
        {"adapters": {"ner": 3}},  # topic's weights are left over
        {"adapters": {"ner": 3, "topic": 4}},
        {"adapters": {"ner": 3, "topic": "2"}},
        {"adapters": {"ner": 3, "topics": 2}},
        {"adapters": [3, 2]},
        {"adapter_config": {"layers": 1}},
        {"adapter_config": {"matrices": ["querry"]}},
        {"adapter_config": {"bias": True}},
        {"adapter_config": 8},
    ],
    ids=str,
)
def test_a_folder_whose_files_do_not_fit(build, tasks, tmp_path, changes):
    build(tasks).save_pretrained(tmp_path)
    rewrite_config(tmp_path, **changes)
    with pytest.raises(ModelError) as error:
        MultiTaskModel.from_pretrained(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_the_untrained_baseline_has_adapters_too(build, tasks):
    fresh = disturb(build(tasks)).untrained()
    assert fresh.adapter_ranks == RANKS
    assert all(not p.any() for n, p in fresh.adapters.named_parameters() if n.endswith("up"))


@pytest.mark.parametrize("private_layers", [0, 1])
def test_the_encoder_of_one_task_is_one_that_transformers_can_load(tasks, tmp_path, private_layers):
    pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    tokenizer = SubwordTokenizer.load(write_word_pieces(tmp_path / "tokenizer"))
    shape = {"d_model": 8, "n_heads": 2, "n_layers": 2, "norm": "post", "positions": "learned"}
    encoder = TransformerEncoder(EncoderConfig(len(tokenizer), **shape))
    model = disturb(MultiTaskModel(encoder, tokenizer, tasks, private_layers, adapters=RANKS))
    save_for_transformers(model.encoder_for("ner"), tokenizer, tmp_path / "ner")
    theirs = transformers.AutoModel.from_pretrained(tmp_path / "ner").eval()
    batch = batch_of(model, *tasks)
    ids, mask, segments = inputs_of(batch)
    found = theirs(ids, mask, segments).last_hidden_state
    expected = model.eval().hidden(batch, ["ner"])["ner"]
    kept = batch.attention_mask.bool()
    torch.testing.assert_close(found[kept], expected[kept], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found[kept], encoder(ids, mask, segments)[kept], atol=1e-2)
