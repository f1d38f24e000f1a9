"""Recipes: what is read, what is refused and how, and that every key counts."""

import tomllib
from dataclasses import fields

import pytest
import recipes
from recipes import TINY, error_of

from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.experiments.build import build_model, build_tasks
from mtl.experiments.recipe import TaskRecipe, load_recipe
from mtl.experiments.run import run_recipe
from mtl.nn.config import EncoderConfig
from mtl.training.config import TrainConfig

# pytest looks for a fixture by its name in this module.
tiny = recipes.tiny
write = recipes.write

pytestmark = pytest.mark.usefixtures("no_curves")


# --- reading a recipe -----------------------------------------------------------------------------


def test_a_recipe_as_it_is_written(tiny):
    recipe = load_recipe(tiny)
    assert recipe.name == "tiny"
    assert recipe.seed == 0
    assert recipe.tasks["ner"] == TaskRecipe("ner", toy="ner", toy_train=40, toy_held_out=10)
    shape = {"d_model": 16, "n_heads": 2, "n_layers": 1, "d_ff": 16, "max_length": 64}
    assert recipe.encoder == shape
    assert recipe.train == {"epochs": 1, "batch_size": 40}


def test_without_a_name_the_file_gives_it(write):
    assert load_recipe(write(TINY.replace('name = "tiny"', ""), "harvest.toml")).name == "harvest"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("sede=1", 'unknown key sede\n  to do: did you mean "seed"?'),
        ("tasks.ner.tran=x", 'unknown key tasks.ner.tran\n  to do: did you mean "train"?'),
        ("tasks.ner.toytrain=5", 'tasks.ner.toytrain\n  to do: did you mean "toy_train"?'),
        ("tasks.qa.max_answer=5", 'did you mean "max_answer_tokens"?'),
        ("tokenizer.lower=true", 'tokenizer.lower\n  to do: did you mean "lower_case"?'),
        ("encoder.d_modle=64", 'encoder.d_modle\n  to do: did you mean "d_model"?'),
        ("train.batchsize=4", 'train.batchsize\n  to do: did you mean "batch_size"?'),
        # These belong to the package, not to a recipe.
        ("encoder.vocab_size=9", "unknown key encoder.vocab_size"),
        ("train.seed=9", "unknown key train.seed"),
        ("tasks.ner.name='x'", "unknown key tasks.ner.name"),
        ("tasks.ner.dataset='x'", "unknown key tasks.ner.dataset"),
        ("tasks.ner.options={}", "unknown key tasks.ner.options"),
        ("tokenizer.texts=['x']", "unknown key tokenizer.texts"),
    ],
)
def test_unknown_keys_at_every_level(tiny, setting, message):
    assert message in error_of(tiny, setting)


@pytest.mark.parametrize(
    ("setting", "key", "kind", "found"),
    [
        ("name=3", "name", "a text in quotes", "3"),
        ("seed=zero", "seed", "a whole number", "'zero'"),
        ("seed=true", "seed", "a whole number", "True"),
        ("seed=1.0", "seed", "a whole number", "1.0"),
        ("train.epochs=true", "train.epochs", "a whole number", "True"),
        ("train.learning_rate=true", "train.learning_rate", "a number", "True"),
        ("train.learning_rate='0.1'", "train.learning_rate", "a number", "'0.1'"),
        ("train.sampling=1", "train.sampling", "a text in quotes", "1"),
        ("encoder.match_heads=1", "encoder.match_heads", "true or false", "1"),
        ("encoder.d_model=[64]", "encoder.d_model", "a whole number", "[64]"),
        ("tokenizer.lower_case=no", "tokenizer.lower_case", "true or false", "'no'"),
        ("tasks.ner.toy_train=lots", "tasks.ner.toy_train", "a whole number", "'lots'"),
        ("tasks.ner.train=5", "tasks.ner.train", "a text in quotes", "5"),
        ("tasks.qa.max_answer_tokens=true", "tasks.qa.max_answer_tokens", "a whole number", "True"),
    ],
)
def test_values_of_the_wrong_type(tiny, setting, key, kind, found):
    message = error_of(tiny, setting)
    assert f"{tiny}: {key} must be {kind}" in message
    assert f"found: {found}" in message


def test_a_whole_number_will_do_for_a_real_one(tiny):
    recipe = load_recipe(tiny, ["train.max_grad_norm=2", "encoder.dropout=0"])
    assert recipe.train["max_grad_norm"] == 2
    assert recipe.encoder["dropout"] == 0


@pytest.mark.parametrize(
    "setting", ["train=4", "encoder=4", "tokenizer=4", "tasks=4", "tasks.ner=4"]
)
def test_a_value_where_a_section_belongs(tiny, setting):
    message = error_of(tiny, setting)
    assert str(tiny) in message
    assert setting.partition("=")[0] in message


@pytest.mark.parametrize("setting", ["name.first=x", "train.epochs.max=3"])
def test_a_section_where_a_value_belongs(tiny, setting):
    assert "is a value, not a section" in error_of(tiny, setting)


@pytest.mark.parametrize("setting", ["train.epochs", "=3", ""])
def test_settings_without_key_or_value(tiny, setting):
    assert "--set takes KEY=VALUE" in error_of(tiny, setting)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name = 'x'\ntrain = {epochs = }\n", ["not TOML", "line 2"]),
        ("[train]\nepochs = 1\nepochs = 2\n", ["not TOML", "line 3"]),
        ("[tasks.ner]\nkind = 'ner'\ntoy = n\xe4r\n".encode("latin-1"), ["not TOML"]),
        ("", ["the recipe has no task", "[tasks.ner]"]),
        ("[tasks]\n", ["the recipe has no task", "[tasks.ner]"]),
        ("[tasks.ner]\ntoy = 'ner'\n", ["[tasks.ner] needs a kind", "embedding, ner"]),
        ("[tasks.ner]\nkind = 'ner'\n", ["[tasks.ner] does not say what to train on"]),
        (
            "[tasks.a]\nkind = 'nar'\ntoy = 'ner'\n",
            ["tasks.a.kind is unknown", 'did you mean "ner"'],
        ),
    ],
)
def test_files_that_are_no_recipe(write, content, words):
    path = write(content)
    message = error_of(path)
    for word in [str(path) if "unknown kind" not in words[0] else "'nar'", *words]:
        assert word in message


def test_a_missing_file(tmp_path):
    message = error_of(tmp_path / "gone.toml")
    assert f"{tmp_path / 'gone.toml'}: the recipe cannot be read" in message
    assert "No such file" in message
    assert "practical7" in message


def test_an_unknown_bundled_name():
    message = error_of("practical_7")
    assert "'practical_7'" in message
    assert 'did you mean "practical7"?' in message
    assert ".toml file" in message


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("my.conll", "my.conll"),
        ("'my.conll'", "my.conll"),
        ("data/2024 my=file#1.conll", "data/2024 my=file#1.conll"),
        ("C:\\data\\my.conll", "C:\\data\\my.conll"),
    ],
)
def test_a_value_that_is_not_toml_is_a_plain_string(tiny, value, read):
    assert load_recipe(tiny, [f"tasks.ner.train={value}"]).tasks["ner"].train == read


def test_a_later_setting_wins(tiny):
    assert load_recipe(tiny, ["seed=1", "seed=2"]).seed == 2


def test_a_setting_may_make_a_section(tiny):
    assert "tokenizer" not in tomllib.loads(TINY)
    assert load_recipe(tiny, ["tokenizer.min_count=2"]).tokenizer == {"min_count": 2}


# --- every key counts -----------------------------------------------------------------------------

# For every key a value that is not its default, but one that goes with pre-norm alone.
ENCODER = {
    **{"d_model": 24, "n_heads": 3, "n_layers": 3, "d_ff": 20, "max_length": 70},
    **{"positions": "rotary", "rotary_heads": 1, "norm": "post", "activation": "geglu"},
    **{"rotary_theta": 500.0, "local_attention": 6, "global_every": 2, "bias": False},
    **{"local_rotary_theta": 30.0, "d_embedding": 12, "embedding_norm": False},
    **{"dropout": 0.2, "n_types": 3, "match_heads": True, "embedding_std": 0.3},
    **{"type_std": 0.1, "layer_norm_eps": 1e-6, "attention_dropout": 0.3},
}
TRAIN = {
    **{
        "epochs": 2,
        "rounds": 3,
        "conflict_every": 5,
        "batch_size": 7,
        "learning_rate": 0.02,
        "warmup_ratio": 0.3,
        "adam_beta2": 0.9,
    },
    **{"weight_decay": 0.2, "max_grad_norm": 0.5, "hide_words": 0.1, "sampling": "sampled"},
    **{"alpha": 0.7, "anneal": 0.2, "freeze": ["encoder.embeddings"]},
    **{"loss_weights": {"ner": 0.25, "qa": 4.0}, "max_tokens": 512, "patience": 3, "threads": 1},
    **{"pretrained_learning_rate": 2e-5, "device": "cpu", "precision": "bfloat16"},
    **{"threads": 2, "decay_ratio": 0.4, "stop_at": 0.9, "compile": True},
}
BALANCE = {  # needs joint steps and whole batches, so it cannot be part of the table above
    **{"sampling": "joint", "weighting": "gradnorm", "weighting_options": {"alpha": 0.5}},
    **{"aggregation": "pcgrad", "aggregation_options": {"seed": 3}},
}
TOKENIZER = {"lower_case": True, "min_count": 2, "numbered_unknowns": 5}


def as_settings(section, values):
    """`--set` arguments, strings bare as people write them."""
    for key, value in values.items():
        if isinstance(value, dict):
            value = "{" + ", ".join(f"{k} = {v}" for k, v in value.items()) + "}"
        yield f"{section}.{key}={str(value).lower() if isinstance(value, bool) else value}"


def test_the_tables_above_name_every_key():
    for cls, values, left_out in (
        (EncoderConfig, ENCODER | {"embedding_norm": True}, {"vocab_size"}),
        (TrainConfig, TRAIN | BALANCE, {"seed"}),
    ):
        assert values.keys() == {field.name for field in fields(cls)} - left_out
        for field in fields(cls):
            assert values.get(field.name) != field.default, field.name


@pytest.mark.parametrize("shape", [ENCODER, ENCODER | {"norm": "pre", "embedding_norm": True}])
def test_every_key_reaches_the_encoder_and_the_tokenizer(tiny, shape):
    changed = [*as_settings("encoder", shape | {"overlap": 16})]
    changed += as_settings("tokenizer", TOKENIZER)
    recipe = load_recipe(tiny, changed)
    model = build_model(recipe, build_tasks(recipe))
    config = model.encoder.config.to_dict()
    assert config.pop("vocab_size") == len(model.tokenizer)
    assert config == shape
    assert (model.overlap, model.encoder.pretrained) == (16, "")  # "NAME": see test_presets.py
    texts = (text for task in model.tasks.values() for text in task.dataset.training_texts())
    tokenizer = WhitespaceTokenizer.train(texts, **TOKENIZER)
    assert model.tokenizer.counts == tokenizer.counts
    assert model.tokenizer.lower_case is True
    assert model.tokenizer.numbered_unknowns == 5


@pytest.mark.parametrize("table", [TRAIN, BALANCE], ids=["train", "balance"])
def test_every_key_reaches_training(tiny, tmp_path, monkeypatch, table):
    def stop(model, tasks, config, **rest):
        configs.append(config)
        raise KeyboardInterrupt

    configs = []
    monkeypatch.setattr("mtl.experiments.run.train", stop)
    recipe = load_recipe(tiny, [*as_settings("train", table), "seed=11"])
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, tmp_path / "run", progress=False)
    assert configs == [TrainConfig(**load_recipe(tiny).train | table, seed=11)]


def test_options_reach_their_task(tiny):
    settings = ["tasks.qa.max_answer_tokens=3", 'tasks.ner.types=["PER", "ORG", "LOC", "MISC"]']
    tasks = {task.name: task for task in build_tasks(load_recipe(tiny, settings))}
    assert tasks["qa"].max_answer_tokens == 3
    assert tasks["ner"].types == ["PER", "ORG", "LOC", "MISC"]
    assert [task.types for task in build_tasks(load_recipe(tiny)) if task.name == "ner"] == [
        ["LOC", "MISC", "ORG", "PER"]
    ]
