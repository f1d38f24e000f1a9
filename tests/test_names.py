"""The names of the interface: few at the top, and every old one is answered with the new one."""

import dataclasses
import json
from importlib import import_module

import pytest

import mtl
from mtl import api, tasks
from mtl.data.batching import Batch
from mtl.errors import NAMES_ELSEWHERE, OLD_NAMES
from mtl.experiments.recipe import recipe_of_run
from mtl.inference import evaluate_baselines
from mtl.nn.encoder import TransformerEncoder
from mtl.settings import settings_of

OF_TRAINING = [name for name in OLD_NAMES if OLD_NAMES[name] in settings_of(mtl.TrainConfig)]
ENCODER = mtl.EncoderConfig(vocab_size=9, d_model=8, n_heads=2, n_layers=1)


def test_the_top_has_at_most_46_names():
    assert len(api.__all__) <= 46
    assert set(api.__all__).isdisjoint(api.MOVED | api.ALSO)


@pytest.mark.parametrize(("name", "home"), api.ALSO.items())
def test_the_other_tasks_are_found_at_the_top_as_well(name, home):
    assert getattr(mtl, name) is getattr(import_module(f"mtl.{home}"), name)


def test_all_tasks_are_found_at_the_top():
    bases = {"PairTask", "Task", "TokenTask"}
    assert {*tasks.__all__} - bases <= {*api.__all__, *api.ALSO}


@pytest.mark.parametrize(("name", "home"), api.MOVED.items())
def test_a_name_that_left_the_top_says_where_it_is(name, home):
    with pytest.raises(AttributeError) as caught:
        getattr(mtl, name)
    assert str(caught.value).endswith(f"; it is now mtl.{home}.{name}")
    assert hasattr(import_module(f"mtl.{home}"), name)


def test_every_old_name_is_looked_at_below():
    assert {*OF_TRAINING, "type_ids", "after_epoch", "examples"} == OLD_NAMES.keys()


@pytest.mark.parametrize("old", OF_TRAINING)
def test_old_settings_of_training(old):
    new = OLD_NAMES[old]
    value = getattr(mtl.TrainConfig(), new)
    with pytest.raises(mtl.ConfigError, match=f'now called "{new}"'):
        mtl.TrainConfig(**{old: value})
    with pytest.raises(mtl.ConfigError, match=f'now called "{new}"'):
        dataclasses.replace(mtl.TrainConfig(), **{old: value})
    with pytest.raises(AttributeError, match=f"now called '{new}'"):
        getattr(mtl.TrainConfig(), old)
    with pytest.raises(mtl.ConfigError, match=rf'train\.{old}\n.*now called "{new}"'):
        mtl.load_recipe("practical7", [f"train.{old}={json.dumps(value)}"])


def test_old_names_in_calls():
    encoder = TransformerEncoder(ENCODER)
    with pytest.raises(mtl.ConfigError, match='now called "token_type_ids"'):
        encoder(None, type_ids=None)
    with pytest.raises(mtl.ConfigError, match='now called "token_type_ids"'):
        Batch(type_ids=None)
    batch = Batch([], *[None] * 5)
    with pytest.raises(AttributeError, match="now called 'token_type_ids'"):
        batch.type_ids  # noqa: B018
    with pytest.raises(mtl.ConfigError, match='now called "on_epoch"'):
        mtl.train(None, after_epoch=print)
    for function in (mtl.evaluate, evaluate_baselines):
        with pytest.raises(mtl.ConfigError, match='now called "data"'):
            function(None, "ner", examples=[])


@pytest.mark.parametrize(("theirs", "ours"), NAMES_ELSEWHERE.items())
def test_names_of_transformers_are_understood(theirs, ours):
    known = [
        function
        for function in (
            mtl.TrainConfig,
            mtl.EncoderConfig,
            mtl.MultiTaskModel,
            mtl.Dataset,
            mtl.train,
            mtl.run_recipe,
            mtl.nearest,
        )
        if ours in settings_of(function)
    ]
    assert known, "nothing has it"
    for function in known:
        with pytest.raises(mtl.ConfigError, match=f'it is called "{ours}" here'):
            function(**{theirs: 1})


def test_the_recipe_of_an_old_run_is_read(tmp_path):
    recipe = mtl.load_recipe("practical7", ["train.sampling=joint"])
    text = recipe.to_toml()
    for old, new in OLD_NAMES.items():
        text = text.replace(f"\n{new} = ", f"\n{old} = ")
    path = tmp_path / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    assert "\nwarmup = " in text
    assert recipe_of_run(path) == recipe
    with pytest.raises(mtl.ConfigError, match="now called"):
        mtl.load_recipe(path)


def test_a_task_with_a_hyphen_is_trained_saved_and_asked(tmp_path, build_model, sentences):
    parts = mtl.Dataset(train=sentences[:8], validation=sentences[8:12])
    task = mtl.NERTask("ner-2", parts)
    model = build_model([task])
    history = mtl.train(model, [task], mtl.TrainConfig(epochs=1), progress=False)
    history.write_csv(tmp_path / "history.csv")
    assert "ner-2_loss" in (tmp_path / "history.csv").read_text(encoding="utf-8")
    assert model.freeze("heads.ner-2")
    model.save_pretrained(tmp_path)
    loaded = mtl.MultiTaskModel.from_pretrained(tmp_path)
    assert mtl.predict(loaded, "Ann left .", tasks="ner-2")["ner-2"].text == "Ann left ."


def test_a_recipe_names_a_task_with_a_hyphen(tmp_path):
    path = tmp_path / "hyphen.toml"
    path.write_text('[tasks.ner-2]\nkind = "ner"\ntoy = "ner"\n', encoding="utf-8")
    recipe = mtl.load_recipe(path, ["tasks.ner-2.limit=5", "train.loss_weights.ner-2=2.0"])
    assert recipe.tasks["ner-2"].limit == 5
    assert recipe.train["loss_weights"] == {"ner-2": 2.0}
    (tmp_path / "again.toml").write_text(recipe.to_toml(), encoding="utf-8")
    assert mtl.load_recipe(tmp_path / "again.toml") == recipe
