"""How many threads a CPU computes with: a fixed rule, shown, stored, settable, and undone."""

from dataclasses import replace

import pytest
import torch
from stopping import stop_after
from torch import nn

import mtl
from mtl import devices
from mtl.data.dataset import Dataset
from mtl.devices import LARGE, choose_threads, describe_device, use_threads
from mtl.errors import ConfigError
from mtl.experiments.build import build_model, build_tasks
from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe
from mtl.nn.config import EncoderConfig
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.training.config import TrainConfig
from mtl.training.loop import train
from mtl.training.run import Run

TYPES = ["LOC", "MISC", "ORG", "PER"]
CONFIG = TrainConfig(epochs=2, batch_size=8, device="cpu")


@pytest.fixture(autouse=True)
def four_threads():
    """As if the machine had four cores."""
    with use_threads(4):
        yield


@pytest.fixture
def tasks(sentences, questions):
    return [
        NERTask("ner", Dataset(train=sentences[:16], validation=sentences[16:20]), types=TYPES),
        QATask("qa", Dataset(train=questions[:16], validation=questions[16:20])),
    ]


def threads_of_each_pass(model):
    """A list that grows by the number of threads of each pass of the encoder."""
    seen = []
    model.encoder.layers[0].register_forward_pre_hook(
        lambda *_: seen.append(torch.get_num_threads())
    )
    return seen


# --- the rule -------------------------------------------------------------------------------------


def test_the_rule_looks_at_the_size_and_at_what_is_asked_for():
    assert choose_threads(0.99 * LARGE) == 1
    assert choose_threads(LARGE) == 4
    assert choose_threads(LARGE, asked=3) == choose_threads(0, asked=3) == 3
    with use_threads(2):  # OMP_NUM_THREADS=2 is the same to torch
        assert choose_threads(LARGE) == 2


@pytest.mark.parametrize(
    "name", ["practical7", "jsonl", "news-ner", "sentence-embeddings", "intents"]
)
def test_the_small_recipes_are_small_by_far(name, monkeypatch):
    sizes = ["toy_train=200", "toy_held_out=1"]
    content = load_recipe(name)
    sections = [f"datasets.{d}" for d in content.datasets]
    sections += [f"tasks.{t}" for t, task in content.tasks.items() if task.has_own_data]
    recipe = load_recipe(name, [f"{section}.{size}" for section in sections for size in sizes])
    tasks = build_tasks(recipe)
    ((config, _),) = recipe.train_configs
    config = replace(config, device="cpu")
    model = build_model(recipe, tasks)
    monkeypatch.setattr(devices, "LARGE", LARGE / 5)
    assert Run(model, tasks, config).history.threads == 1
    monkeypatch.setattr(devices, "LARGE", LARGE / 200)
    assert Run(model, tasks, config).history.threads == 4


@pytest.mark.parametrize(("batch_size", "length"), [(8, 128), (8, 256), (32, 128), (32, 256)])
def test_a_small_pretrained_encoder_is_large_by_far(batch_size, length):
    config = EncoderConfig(30_522, d_model=384, n_heads=12, n_layers=6, d_ff=1536, max_length=512)
    assert batch_size * length * config.multiply_adds > 5 * LARGE


@pytest.mark.parametrize(
    "variant", [{}, {"d_embedding": 8}, {"activation": "geglu", "bias": False}]
)
def test_multiply_adds_are_the_weights_of_the_linear_layers(variant):
    config = EncoderConfig(50, d_model=16, n_heads=2, n_layers=3, d_ff=40, **variant)
    modules = mtl.TransformerEncoder(config).modules()
    matrices = [module.weight.numel() for module in modules if isinstance(module, nn.Linear)]
    assert config.multiply_adds == sum(matrices)


def test_a_batch_that_goes_through_in_parts_counts_as_a_part(build_model, tasks, monkeypatch):
    of_a_token = build_model(tasks).encoder.config.multiply_adds
    monkeypatch.setattr(devices, "LARGE", 100 * of_a_token)
    assert Run(build_model(tasks), tasks, CONFIG).history.threads == 4
    assert Run(build_model(tasks), tasks, replace(CONFIG, max_tokens=99)).history.threads == 1


# --- what a training does with it -----------------------------------------------------------------


@pytest.mark.parametrize(("asked", "expected"), [(0, 1), (2, 2), (3, 3)])
def test_training_and_validation_run_on_so_many_and_then_all_is_as_before(
    build_model, tasks, asked, expected, capsys
):
    model = build_model(tasks)
    seen = threads_of_each_pass(model)
    history = train(model, tasks, replace(CONFIG, threads=asked))
    assert set(seen[: 2 * len(history.rounds)]) >= {expected}
    assert max(seen) == expected
    assert history.threads == expected
    assert torch.get_num_threads() == 4
    said = f"cpu, float32, {expected} thread{'s' if expected > 1 else ''}; an epoch is"
    assert said in capsys.readouterr().err


def test_after_an_error_all_is_as_before(build_model, tasks, monkeypatch):
    model = build_model(tasks)
    monkeypatch.setattr(model, "losses", lambda batch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(model, tasks, CONFIG, progress=False)
    assert torch.get_num_threads() == 4


def test_a_run_that_goes_on_elsewhere_keeps_its_threads(build_model, tasks, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "LARGE", 0)
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            train(
                build_model(tasks), tasks, CONFIG, checkpoint=tmp_path, save_every=1, progress=False
            )
    assert torch.get_num_threads() == 4
    model = build_model(tasks)
    seen = threads_of_each_pass(model)
    with use_threads(2):
        history = train(model, tasks, CONFIG, checkpoint=tmp_path, resume=True, progress=False)
        assert torch.get_num_threads() == 2
    assert set(seen) == {4}
    assert history.threads == 4


def test_another_number_that_is_asked_for_is_another_training(build_model, tasks, tmp_path):
    train(build_model(tasks), tasks, CONFIG, checkpoint=tmp_path, progress=False)
    config = replace(CONFIG, threads=2)
    with pytest.raises(ConfigError, match=r"changed since: train\.threads\n"):
        train(build_model(tasks), tasks, config, checkpoint=tmp_path, resume=True, progress=False)


@pytest.mark.parametrize("threads", [-1, 1.5, True])
def test_a_number_of_threads_that_cannot_be(threads):
    with pytest.raises(ConfigError, match=r"train\.threads must be"):
        TrainConfig(threads=threads)


def test_the_metrics_of_a_run_say_how_many(tmp_path, no_curves):
    sizes = ["tasks.ner.toy_train=20", "tasks.qa.toy_train=20", "train.epochs=1"]
    sizes += ["tasks.ner.toy_held_out=2", "tasks.qa.toy_held_out=2", "train.device=cpu"]
    recipe = load_recipe("practical7", [*sizes, "train.threads=3"])
    assert run_recipe(recipe, tmp_path / "run", progress=False)["threads"] == 3


def test_another_device_has_no_threads_to_tell(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA T4")
    assert (
        describe_device(torch.device("cuda:0"), torch.float16, 0) == "cuda:0 (NVIDIA T4), float16"
    )


# --- prediction -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("large", "expected"), [(LARGE, 1), (0, 4)])
def test_prediction_follows_the_same_rule(build_model, tasks, monkeypatch, large, expected):
    monkeypatch.setattr(devices, "LARGE", large)
    model = build_model(tasks)
    seen = threads_of_each_pass(model)
    mtl.predict(model, "Ann lives in Rome.", ["ner"])
    mtl.answer(model, "Who lives in Rome?", "Ann lives in Rome.")
    mtl.encode(model, "Ann lives in Rome.")
    assert seen == [expected] * 3
    assert torch.get_num_threads() == 4
