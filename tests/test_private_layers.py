"""Private layers: the same function at first, each task's own in training, kept and loaded."""

import json
from dataclasses import replace

import pytest
import torch
from checkpoints import write_word_pieces

import mtl
from mtl.cli.main import main
from mtl.data.batching import collate
from mtl.data.dataset import Dataset
from mtl.data.encoded import encode_examples
from mtl.data.tokenizers.subwords import SubwordTokenizer
from mtl.errors import ConfigError, ModelError
from mtl.experiments.build import build_model as build_recipe_model
from mtl.experiments.build import build_tasks
from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe
from mtl.inference import evaluate, evaluate_baselines
from mtl.model import MultiTaskModel
from mtl.nn.config import EncoderConfig
from mtl.nn.encoder import TransformerEncoder
from mtl.nn.export import save_for_transformers
from mtl.reports.diagrams import plot_architecture
from mtl.tasks.embedding import EmbeddingTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.toy.paraphrases import paraphrases
from mtl.training.config import TrainConfig
from mtl.training.loop import train
from mtl.training.optimizer import build_optimizer
from mtl.training.run import Run
from mtl.training.weighting import FixedWeighting

TYPES = ["LOC", "MISC", "ORG", "PER"]
FAST = TrainConfig(epochs=1, batch_size=4, learning_rate=1e-2, warmup_ratio=0.0)
SHAPES = [
    {"norm": norm, "positions": positions}
    for norm in ("pre", "post")
    for positions in ("rotary", "learned", "sinusoidal")
]
SHAPES += [
    {
        **{"positions": "rotary", "embedding_norm": True, "activation": "geglu", "bias": False},
        **{"local_attention": 4, "global_every": 2, "d_embedding": 8},
    }
]
TEXTS = ["Ann Lee lives in Oslo.", "Bob bought a car.", "Eve works at Acme Corp."]
QUESTION, CONTEXT = "Where does Ann live?", "Ann Lee lives in Oslo. Bob bought a car."
TINY = [
    *("tasks.ner.toy_train=20", "tasks.ner.toy_held_out=8"),
    *("tasks.qa.toy_train=20", "tasks.qa.toy_held_out=8"),
    *("encoder.n_layers=2", "encoder.d_model=16", "encoder.d_ff=16", "encoder.max_length=64"),
    *("train.epochs=1", "train.batch_size=10"),
]


@pytest.fixture
def tasks(sentences, questions):
    return [
        NERTask("ner", Dataset(train=sentences[:8]), types=TYPES),
        QATask("qa", Dataset(train=questions[:8])),
    ]


@pytest.fixture
def build(tokenizer):
    """A function that makes a tiny model of three layers; the same seed gives the same weights."""

    def build(tasks, private_layers, **settings):
        torch.manual_seed(0)
        shape = {"d_model": 16, "n_heads": 2, "n_layers": 3, "max_length": 64, "dropout": 0.0}
        config = EncoderConfig(len(tokenizer), **(shape | settings))
        return MultiTaskModel(TransformerEncoder(config), tokenizer, tasks, private_layers)

    return build


def batch_of(model, task):
    items, _ = encode_examples(task.dataset.train, model.tokenizer, [task], 64)
    return collate(items, model.tokenizer, [task])


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def names_in(model, *beginnings):
    return {name for name, _ in model.named_parameters() if name.startswith(beginnings)}


def moved(before, model):
    return {name for name, tensor in model.state_dict().items() if not before[name].equal(tensor)}


def are_equal(first, second):
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(a.equal(b) for a, b in pairs)


# --- what the model is ----------------------------------------------------------------------------


def test_without_private_layers_nothing_is_as_it_was_not(build, tasks):
    model = build(tasks, 0)
    torch.manual_seed(0)
    encoder = TransformerEncoder(model.encoder.config)
    expected = {f"encoder.{name}" for name in encoder.state_dict()} | {
        *("heads.ner.classifier.weight", "heads.ner.classifier.bias"),
        *("heads.qa.start_and_end.weight", "heads.qa.start_and_end.bias"),
    }
    assert set(model.state_dict()) == expected
    assert are_equal(model.encoder, encoder)
    assert list(model.shared_parts) == ["embeddings", "layer 1", "layer 2", "layer 3"]
    assert "private" not in repr(model)
    batch = batch_of(model, tasks[0])
    inputs = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
    assert torch.equal(model.hidden(batch, ["ner"])["ner"], encoder(*inputs))


@pytest.mark.parametrize("private_layers", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_fresh_model_computes_what_the_unsplit_encoder_does(build, tasks, shape, private_layers):
    """All tops start as copies of the same layers: to the last bit, padding and segments too."""
    model, unsplit = build(tasks, private_layers, **shape), build(tasks, 0, **shape)
    for task in tasks:
        batch = batch_of(model, task)
        assert not batch.attention_mask.all()
        inputs = (batch.input_ids, batch.attention_mask, batch.token_type_ids)
        hidden = model.hidden(batch, ["ner", "qa"])
        assert list(hidden) == ["ner", "qa"]
        for states in hidden.values():
            assert torch.equal(states, unsplit.encoder(*inputs))
        ours, theirs = model(batch, [task.name]), unsplit(batch, [task.name])
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("private_layers", [1, 2, 3])
def test_the_top_layers_are_taken_off_and_the_lower_ones_shared(build, tasks, private_layers):
    model, unsplit = build(tasks, private_layers), build(tasks, 0)
    n_shared = 3 - private_layers
    assert len(model.encoder.layers) == n_shared
    for i, layer in enumerate(unsplit.encoder.layers):
        if i < n_shared:
            assert are_equal(layer, model.encoder.layers[i])
        else:
            assert are_equal(layer, model.private["ner"][i - n_shared])
            assert are_equal(layer, model.private["qa"][i - n_shared])
    distinct = {p.data_ptr() for p in model.parameters()}
    assert len(distinct) == len(list(model.parameters()))


@pytest.mark.parametrize("private_layers", [0, 1, 3])
def test_parameters_by_formula(build, tasks, private_layers):
    model = build(tasks, private_layers, d_ff=24)
    D, F, V = 16, 24, len(model.tokenizer)  # noqa: N806
    layer = 4 * D * D + 4 * D + 2 * D * F + F + D + 2 * 2 * D  # attention, feed-forward, norms
    outside = (V + 2) * D + 2 * D  # words, two segments, the last norm
    heads = 9 * (D + 1) + 2 * (D + 1)  # B- and I- of four types and O; start and end
    of_encoder = outside + (3 - private_layers) * layer
    total = of_encoder + 2 * private_layers * layer + heads
    assert sum(p.numel() for p in model.parameters()) == total
    shown = repr(model)
    assert f"({3 - private_layers} layers" in shown
    assert f"{of_encoder:,} parameters), " in shown
    assert shown.endswith(f"{total:,} parameters)")
    each = f"{private_layers * layer:,} parameters each"
    private = f"{private_layers} private layers per task ({each})"
    assert (private in shown) is bool(private_layers)


@pytest.mark.parametrize("private_layers", [-1, 4, True, 1.0, "1"])
def test_what_is_no_number_of_private_layers(build, tasks, private_layers):
    with pytest.raises(ConfigError, match="from 0 to the encoder's 3 layers") as error:
        build(tasks, private_layers)
    assert str(private_layers) in str(error.value)


@pytest.mark.parametrize("private_layers", [0, 1])
def test_an_encoder_that_another_model_took_layers_off_is_not_whole(build, tasks, private_layers):
    model = build(tasks, 1)
    with pytest.raises(ConfigError, match=r"incomplete(.|\n)*2 of 3 layers"):
        MultiTaskModel(model.encoder, model.tokenizer, tasks, private_layers)


# --- whose layers learn ---------------------------------------------------------------------------


@pytest.mark.parametrize("private_layers", [1, 3])
def test_a_gradient_reaches_the_own_and_the_shared_and_no_other(build, tasks, private_layers):
    for task, other in (tasks, tasks[::-1]):
        model = build(tasks, private_layers)
        sum(model.losses(batch_of(model, task)).values()).backward()
        reached = {name for name, p in model.named_parameters() if p.grad is not None}
        own = names_in(model, "encoder.", f"private.{task.name}.", f"heads.{task.name}.")
        assert reached == own
        assert names_in(model, f"private.{other.name}.") & reached == set()


@pytest.mark.parametrize("sampling", ["alternating", "joint"])
@pytest.mark.parametrize("private_layers", [1, 3])
def test_training_makes_them_differ(build, tasks, sampling, private_layers):
    model = build(tasks, private_layers)
    before = weights_of(model)
    assert are_equal(model.private["ner"], model.private["qa"])
    train(model, tasks, replace(FAST, sampling=sampling), progress=False)
    assert moved(before, model) == {name for name, _ in model.named_parameters()}
    ner, qa = (model.private[name].state_dict() for name in ("ner", "qa"))
    assert not any(ner[name].equal(qa[name]) for name in ner)


def test_training_one_task_leaves_what_is_private_to_the_other(build, tasks):
    model = build(tasks, 2)
    before = weights_of(model)
    train(model, tasks[:1], FAST, progress=False)
    expected = names_in(model, "encoder.", "private.ner.", "heads.ner.")
    assert moved(before, model) == expected


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize(
    "method", [{}, {"aggregation": "pcgrad"}, {"weighting": "gradnorm"}, {"conflict_every": 1}]
)
def test_all_layers_may_be_private(build, tasks, norm, method):
    """Then only the embeddings (and the norm) are shared, and fought over."""
    model = build(tasks, 3, norm=norm)
    before = weights_of(model)
    history = train(model, tasks, replace(FAST, sampling="joint", **method), progress=False)
    assert moved(before, model) == {name for name, _ in model.named_parameters()}
    assert list(model.shared_parts) == ["embeddings"]
    assert set(model.state_dict()) == set(before)
    for _, measured in history.conflicts:
        assert list(measured["ner/qa"].cosine) == ["embeddings", "all"]


def gradients_of_first_step(model, tasks, **settings):
    """By name; of one batch with all examples, as they are."""
    config = replace(
        FAST, batch_size=8, sampling="joint", max_grad_norm=1e9, hide_words=0.0, **settings
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
    loss_of, conflicts = QATask.loss, 0
    for sign in (1, -1):
        monkeypatch.setattr(QATask, "loss", lambda *args, sign=sign: sign * loss_of(*args))
        alone = []
        for task in tasks:
            model = build(tasks, 1)
            model.losses(batch_of(model, task))[task.name].backward()
            alone.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        shared = sorted(names_in(model, "encoder."))
        ner, qa = (torch.cat([found[name].flatten() for name in shared]) for found in alone)
        dot = (ner @ qa).clamp(max=0)
        conflicts += int(dot < 0)
        expected = ner - dot / (qa @ qa) * qa + qa - dot / (ner @ ner) * ner
        found = gradients_of_first_step(build(tasks, 1), tasks, aggregation="pcgrad")
        torch.testing.assert_close(torch.cat([found[n].flatten() for n in shared]), expected)
        private = names_in(model, "private.", "heads.")
        assert private == {n for of_task in alone for n in of_task} - set(shared)
        for of_task in alone:
            for name in of_task.keys() - set(shared):
                torch.testing.assert_close(found[name], of_task[name])
    assert conflicts == 1


def test_shared_parts_and_the_last_shared_weight(build, tasks):
    model = build(tasks, 1)
    parts = model.shared_parts
    assert list(parts) == ["embeddings", "layer 1", "layer 2"]
    shared = {id(p) for part in parts.values() for p in part}
    assert shared == {id(p) for p in model.encoder.parameters()}
    assert not shared & {id(p) for p in model.private.parameters()}
    assert model.last_shared is model.encoder.layers[-1].feed_forward.contract.weight
    model.freeze("encoder.layers.1")
    assert model.last_shared is model.encoder.layers[0].feed_forward.contract.weight


def test_a_pretrained_learning_rate_is_of_private_layers_too(build, tasks):
    """Weight matrices decay, biases and norms do not; no parameter is left out or twice in."""
    config = replace(FAST, learning_rate=1e-2, pretrained_learning_rate=1e-4, weight_decay=0.5)
    for pretrained, rate in (("some-checkpoint", 1e-4), ("", 1e-2)):
        model = build(tasks, 1)
        model.encoder.pretrained = pretrained
        groups = build_optimizer(model, FixedWeighting(), config).param_groups
        rates = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
        assert sum(len(group["params"]) for group in groups) == len(rates)
        assert rates.keys() == {id(p) for p in model.parameters()}
        for name, p in model.named_parameters():
            expected = 1e-2 if name.startswith("heads.") else rate
            assert rates[id(p)] == (expected, 0.5 if p.dim() > 1 else 0.0)


def test_a_stopped_training_goes_on_to_the_same_weights(build, tasks, tmp_path):
    config = replace(FAST, epochs=3, sampling="joint", aggregation="pcgrad")
    whole = build(tasks, 1, dropout=0.1)
    train(whole, tasks, config, progress=False)

    def stop(history):
        if len(history.validation) == 2:
            raise KeyboardInterrupt

    options = {"checkpoint": tmp_path / "state", "progress": False}
    with pytest.raises(KeyboardInterrupt):
        train(build(tasks, 1, dropout=0.1), tasks, config, on_epoch=stop, **options)
    resumed = build(tasks, 1, dropout=0.1)
    train(resumed, tasks, config, resume=True, **options)
    assert not moved(weights_of(whole), resumed)


# --- predicting -----------------------------------------------------------------------------------


def test_only_the_own_top_is_run_and_the_shared_layers_once(build, tasks):
    model = build(tasks, 1).eval()
    calls = []
    for name, layer in (
        *(("shared", model.encoder.layers[0]), ("shared", model.encoder.layers[1])),
        *(("ner", model.private["ner"][0]), ("qa", model.private["qa"][0])),
    ):
        layer.register_forward_hook(lambda *_, name=name: calls.append(name))
    mtl.predict(model, TEXTS[0], "ner")
    assert calls == ["shared", "shared", "ner"]
    calls.clear()
    mtl.answer(model, question=QUESTION, context=CONTEXT)
    assert calls == ["shared", "shared", "qa"]
    calls.clear()
    model(batch_of(model, tasks[1]), ["ner", "qa"])
    assert calls == ["shared", "shared", "ner", "qa"]


def test_each_task_reads_its_own_top(build, tasks):
    """Spoiling one's layers leaves the other's hidden states to the last bit."""
    model = build(tasks, 1).eval()
    batch = batch_of(model, tasks[0])
    before = model.hidden(batch, ["ner", "qa"])
    with torch.no_grad():
        for parameter in model.private["qa"].parameters():
            parameter.mul_(-3)
    after = model.hidden(batch, ["ner", "qa"])
    assert torch.equal(before["ner"], after["ner"])
    assert not torch.allclose(before["qa"], after["qa"])


def test_the_untrained_baseline_of_a_split_model(build):
    pairs = paraphrases("train", 12)
    similar = EmbeddingTask("similar", Dataset(train=pairs, validation=pairs, test=pairs))
    alike = EmbeddingTask("alike", Dataset(train=pairs))
    model = build([similar, alike], 1)
    train(model, [similar], FAST, progress=False)
    found = evaluate_baselines(model, "similar", pairs)["untrained"]
    fresh = build([similar, alike], 1)
    assert found == evaluate(fresh, "similar", pairs)
    assert found.keys() == evaluate(model, "similar", pairs).keys()


# --- tasks that come later, and what stands still -------------------------------------------------


def test_a_later_task_starts_with_the_layers_of_the_first(build, tasks):
    model = build(tasks, 1)
    train(model, tasks, FAST, progress=False)
    predictions = mtl.predict(model, TEXTS, "ner")
    model.add_task(NERTask("later", types=TYPES))
    assert are_equal(model.private["later"], model.private["ner"])
    assert not are_equal(model.private["later"], model.private["qa"])
    assert mtl.predict(model, TEXTS, "ner") == predictions
    with torch.no_grad():  # a copy, not the same
        for parameter in model.private["later"].parameters():
            parameter.zero_()
    assert mtl.predict(model, TEXTS, "ner") == predictions


def test_a_model_without_tasks_keeps_the_top_for_the_first(build, tasks):
    model, whole = build([], 1), build(tasks, 1)
    assert not model.private
    for task in tasks:
        model.add_task(task)
    assert are_equal(model.private, whole.private)


def test_a_later_task_may_train_its_layers_where_the_first_may_not(build, tasks):
    model = build(tasks[:1], 1)
    model.freeze("encoder", "private.ner", "heads.ner")
    model.add_task(tasks[1])
    before = weights_of(model)
    train(model, tasks[1:], FAST, progress=False)
    assert moved(before, model) == names_in(model, "private.qa.", "heads.qa.")


@pytest.mark.parametrize(
    ("name", "beginnings"),
    [
        ("encoder", ["encoder."]),
        ("encoder.layers", ["encoder.layers."]),
        ("private", ["private."]),
        ("private.ner", ["private.ner."]),  # and not ner2
        ("private.ner.0", ["private.ner.0."]),
        ("private.ner2.1.attention", ["private.ner2.1.attention."]),
    ],
)
def test_what_a_name_freezes(build, name, beginnings):
    model = build([NERTask(name, types=TYPES) for name in ("ner", "ner2")], 2)
    expected = names_in(model, *beginnings)
    assert set(model.freeze(name)) == expected != set()
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == expected


@pytest.mark.parametrize("freeze", [["private.ner"], ["encoder"], ["private"], ["private.qa.0"]])
def test_the_frozen_do_not_change_by_a_bit_and_all_else_does(build, tasks, freeze):
    model = build(tasks, 2)
    before = weights_of(model)
    frozen = names_in(model, *(f"{name}." for name in freeze))
    train(model, tasks, replace(FAST, freeze=freeze), progress=False)
    assert moved(before, model) == {n for n, _ in model.named_parameters()} - frozen


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("private.nre", 'did you mean "private.ner"'),
        ("privat.qa", 'did you mean "private.qa"'),
        ("encoder.layers[:3]", "N from 1 to 2"),  # the third is private
        ("encoder.layers.2", "N from 1 to 2"),
        ("private.ner.1", "private.ner"),
    ],
)
def test_unknown_names(build, tasks, name, words):
    with pytest.raises(ConfigError) as error:
        build(tasks, 1).freeze(name)
    assert words in str(error.value)


# --- saving and loading ---------------------------------------------------------------------------


@pytest.mark.parametrize("private_layers", [1, 3])
def test_saved_and_loaded_it_predicts_the_same(build, tasks, tmp_path, private_layers):
    model = build(tasks, private_layers)
    train(model, tasks, FAST, progress=False)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["private_layers"] == private_layers
    again = MultiTaskModel.from_pretrained(tmp_path)
    assert again.private_layers == private_layers
    assert repr(again) == repr(model)
    assert not moved(weights_of(model), again)
    for task in tasks:
        batch = batch_of(model, task)
        ours, theirs = model(batch, [task.name]), again(batch, [task.name])
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert mtl.predict(again, TEXTS, "ner") == mtl.predict(model, TEXTS, "ner")
    asked = {"question": QUESTION, "context": CONTEXT}
    assert mtl.answer(again, **asked) == mtl.answer(model, **asked)


def rewrite_config(folder, **changes):
    path = folder / "config.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def test_a_folder_from_before_there_were_private_layers(build, tasks, tmp_path):
    model = build(tasks, 0)
    model.save_pretrained(tmp_path)
    rewrite_config(tmp_path, private_layers=None)
    again = MultiTaskModel.from_pretrained(tmp_path)
    assert again.private_layers == 0
    assert not moved(weights_of(model), again)


@pytest.mark.parametrize("private_layers", [0, 2, 9, -1, "one", 1.5, [1]])
def test_a_folder_whose_files_do_not_fit(build, tasks, tmp_path, private_layers):
    build(tasks, 1).save_pretrained(tmp_path)
    rewrite_config(tmp_path, private_layers=private_layers)
    with pytest.raises(ModelError) as error:
        MultiTaskModel.from_pretrained(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_split_encoder_is_not_written_for_transformers(tasks, tmp_path):
    pytest.importorskip("tokenizers")
    tokenizer = SubwordTokenizer.load(write_word_pieces(tmp_path / "tokenizer"))
    shape = {"d_model": 8, "n_heads": 2, "n_layers": 2, "norm": "post", "positions": "learned"}
    encoder = TransformerEncoder(EncoderConfig(len(tokenizer), **shape))
    save_for_transformers(encoder, tokenizer, tmp_path / "whole")
    assert (tmp_path / "whole" / "model.safetensors").exists()
    model = MultiTaskModel(encoder, tokenizer, tasks, 1)
    with pytest.raises(ModelError, match=r"incomplete(.|\n)*1 of 2 layers(.|\n)*save_pretrained"):
        save_for_transformers(model.encoder, tokenizer, tmp_path / "split")
    assert not (tmp_path / "split").exists()


# --- recipes, the command, the picture ------------------------------------------------------------


def test_a_recipe_sets_them(tmp_path, no_curves):
    recipe = load_recipe("practical7", [*TINY, "model.private_layers=1"])
    assert recipe.model == {"private_layers": 1}
    assert "[model]\nprivate_layers = 1\n" in recipe.to_toml()
    (tmp_path / "again.toml").write_text(recipe.to_toml())
    assert load_recipe(tmp_path / "again.toml") == recipe
    metrics = run_recipe(recipe, tmp_path / "run", progress=False)
    model = MultiTaskModel.from_pretrained(tmp_path / "run")
    assert (len(model.encoder.layers), model.private_layers) == (1, 1)
    assert metrics["parameters"] == sum(p.numel() for p in model.parameters())
    for task in build_tasks(recipe):
        assert metrics["test"][task.name] == evaluate(model, task.name, task.dataset.test)


def test_a_recipe_without_them_shares_all():
    recipe = load_recipe("practical7", TINY)
    assert recipe.model == {}
    assert "private_layers" not in recipe.to_toml()
    assert build_recipe_model(recipe, build_tasks(recipe)).private_layers == 0


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        (
            "model.privat_layers=1",
            'unknown key model.privat_layers\n  to do: did you mean "private',
        ),
        ("model.private_layers=true", "model.private_layers must be a whole number"),
        ("model.private_layers=1.5", "model.private_layers must be a whole number"),
        ("model.private_layers='one'", "model.private_layers must be a whole number"),
        ("model.encoder=1", "unknown key model.encoder"),
        ("model=1", "model must be a section of keys and values"),
    ],
)
def test_what_cannot_be_said_of_a_model(setting, words):
    with pytest.raises(ConfigError) as error:
        load_recipe("practical7", [*TINY, setting])
    assert words in str(error.value)


@pytest.mark.parametrize("private_layers", [-1, 3])
def test_too_many_are_said_before_training(tmp_path, monkeypatch, capsys, private_layers):
    monkeypatch.setattr(Run, "next_step", lambda run: pytest.fail("trained in vain"))
    setting = f"model.private_layers={private_layers}"
    recipe = load_recipe("practical7", [*TINY, setting])
    with pytest.raises(ConfigError, match="from 0 to the encoder's 2 layers"):
        run_recipe(recipe, tmp_path / "run", progress=False)
    command = ["train", "practical7", "--set", *TINY, setting, "--output", str(tmp_path / "run")]
    assert main(command) == 2
    assert "from 0 to the encoder's 2 layers" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("private_layers", [0, 1, 3])
def test_the_picture_of_the_architecture_shows_them(build, tasks, private_layers):
    model = build(tasks, private_layers)
    figure = plot_architecture(model)
    texts = "\n".join(text.get_text() for text in figure.axes[0].texts)
    assert f"encoder layer × {3 - private_layers}\n" in texts
    each = sum(p.numel() for p in model.private["ner"].parameters()) if private_layers else 0
    shown = f"on {private_layers} private layer(s), {each:,}"
    assert texts.count(shown) == (2 if private_layers else 0)
    total = sum(p.numel() for p in model.parameters())
    shared = sum(p.numel() for p in model.encoder.parameters())
    assert f"{total:,} parameters, {shared / total:.1%} of them shared" in texts


def test_the_encoder_that_is_given_stays_whole(tokenizer, tasks):
    """It can be given to a second model, which starts like the first and shares nothing with it."""
    torch.manual_seed(0)
    encoder = TransformerEncoder(EncoderConfig(len(tokenizer), d_model=8, n_heads=2, n_layers=2))
    one = MultiTaskModel(encoder, tokenizer, tasks, private_layers=1)
    assert (len(encoder.layers), len(one.encoder.layers)) == (2, 1)
    other = MultiTaskModel(encoder, tokenizer, tasks, private_layers=1)
    assert are_equal(one.private, other.private)
    storages = [{p.data_ptr() for p in part.parameters()} for part in (encoder, one, other)]
    assert not storages[0] & storages[1] | storages[0] & storages[2] | storages[1] & storages[2]


def test_the_first_task_may_come_later(build, tasks):
    model, expected = build([], 2), build(tasks, 2)
    for task in tasks:
        model.add_task(task)
    assert list(model.state_dict()) == list(expected.state_dict())
    assert are_equal(model.encoder, expected.encoder)
    assert are_equal(model.private, expected.private)


def test_a_task_that_rests_on_a_frozen_encoder_is_not_warned_about(build, tasks):
    """Its private layers could be trained, but are not now; a warning would be an error here."""
    model = build(tasks, 1)
    config = replace(FAST, freeze=["encoder"])
    train(model, tasks, config, progress=False)
    before = weights_of(model)
    train(model, tasks[:1], config, progress=False)
    assert moved(before, model) == names_in(model, "private.ner.", "heads.ner.")
