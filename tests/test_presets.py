"""Presets, hardware and pretrained encoders of recipes: which value wins, and what it does."""

import json
import tomllib
from importlib import resources
from pathlib import Path

import pytest
from checkpoints import WORD_PIECES, write_word_pieces

import mtl
from mtl.cli.main import main
from mtl.errors import ConfigError
from mtl.experiments.build import build_tasks
from mtl.experiments.recipe import load_recipe
from mtl.nn.config import EncoderConfig
from mtl.nn.encoder import TransformerEncoder
from mtl.toy import ner_examples, qa_examples

CONLL_SQUAD = tomllib.loads(
    (resources.files("mtl.experiments") / "recipes" / "conll-squad.toml").read_text(
        encoding="utf-8"
    )
)
PRESETS, HARDWARE = ([None, *CONLL_SQUAD[kind]] for kind in ("presets", "hardware"))

RECIPE = """\
seed = 1

[tasks.ner]
kind = "ner"
toy = "ner"
toy_train = 40
toy_held_out = 10

[encoder]
d_model = 8
n_heads = 2

[train]
epochs = 1
batch_size = 10
device = "cpu"

[presets.long]
seed = 2
train = {epochs = 2, batch_size = 20}
tasks.ner.toy_train = 50

[presets.wrong]
train.epoch = 2

[hardware.small]
train.batch_size = 30
train.max_tokens = 99
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(RECIPE)
    return path


pytestmark = pytest.mark.usefixtures("no_curves")


# --- which value wins -----------------------------------------------------------------------------


def values_of(recipe):
    """Each key with dots, as `--set` spells it."""
    values = {"seed": recipe.seed}
    values |= {f"{s}.{k}": v for s in ("encoder", "train") for k, v in getattr(recipe, s).items()}
    for name, task in recipe.tasks.items():
        values |= {f"tasks.{name}.{key}": value for key, value in vars(task).items()}
    return values


def flat(section, path=""):
    for key, value in section.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("hardware", HARDWARE)
def test_every_preset_and_hardware_changes_just_what_it_says(preset, hardware):
    plain = values_of(load_recipe("conll-squad"))
    recipe = load_recipe("conll-squad", preset=preset, hardware=hardware)
    changes = dict(flat(CONLL_SQUAD["presets"].get(preset, {})))
    changes |= dict(flat(CONLL_SQUAD["hardware"].get(hardware, {})))
    assert values_of(recipe) == plain | changes
    assert bool(changes) == (preset is not None or hardware is not None)


@pytest.mark.parametrize("preset", PRESETS)
def test_what_a_preset_made_is_read_back_from_its_file(tmp_path, preset):
    recipe = load_recipe("conll-squad", ["seed=3"], preset=preset, hardware="colab-t4")
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml())
    again = load_recipe(path)
    assert again.to_toml() == recipe.to_toml()
    assert again.train_configs == recipe.train_configs
    assert (again.encoder, again.train) == (recipe.encoder, recipe.train)
    assert [t.limit for t in again.tasks.values()] == [t.limit for t in recipe.tasks.values()]
    assert "presets" not in recipe.to_toml()


def test_a_setting_goes_before_hardware_and_hardware_before_the_preset(recipe):
    plain = load_recipe(recipe)
    assert (plain.seed, plain.train["epochs"], plain.train["batch_size"]) == (1, 1, 10)
    both = load_recipe(recipe, preset="long", hardware="small")
    train = {"epochs": 2, "batch_size": 30, "device": "cpu", "max_tokens": 99}
    assert (both.seed, both.train) == (2, train)
    assert (both.tasks["ner"].toy_train, both.tasks["ner"].toy_held_out) == (50, 10)
    settings = ["train.batch_size=5", "train.epochs=4", "seed=7"]
    every = load_recipe(recipe, settings, preset="long", hardware="small")
    assert (every.seed, every.train) == (7, train | {"batch_size": 5, "epochs": 4})
    assert load_recipe(recipe, preset="long").train["batch_size"] == 20


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"preset": "lang"}, r'no table \[presets\.lang\]\n  to do: did you mean "long"'),
        ({"hardware": "smal"}, r'no table \[hardware\.smal\]\n  to do: did you mean "small"'),
        ({"preset": ""}, r"no table \[presets\.\]"),
        ({"preset": "wrong"}, r'unknown key train\.epoch\n  to do: did you mean "epochs"'),
    ],
)
def test_a_preset_that_cannot_be(recipe, choice, message):
    with pytest.raises(ConfigError, match=message):
        load_recipe(recipe, **choice)


@pytest.mark.parametrize("kind", ["preset", "hardware"])
@pytest.mark.parametrize("table", ["", "presets = 3\nhardware = 3\n", "[[presets]]\n[[hardware]]"])
def test_a_recipe_without_presets_or_hardware_says_so(tmp_path, kind, table):
    path = tmp_path / "own.toml"
    plain = RECIPE.split("[presets.long]")[0]
    path.write_text(plain + table if table.startswith("[") else table + plain)
    with pytest.raises(ConfigError, match=r"has no table \[(.|\n)*this recipe has no"):
        load_recipe(path, **{kind: "quick"})
    with pytest.raises(ConfigError, match="this recipe has no"):
        load_recipe("jsonl", **{kind: "quick"})


def test_on_the_command_line(recipe, tmp_path, capsys):
    options = ["--preset", "long", "--hardware", "small", "--set", "train.hide_words=0.25"]
    assert main(["train", str(recipe), *options, "--output", str(tmp_path / "run")]) == 0
    written = load_recipe(tmp_path / "run" / "recipe.toml")
    assert (
        written.to_toml()
        == load_recipe(recipe, ["train.hide_words=0.25"], preset="long", hardware="small").to_toml()
    )
    assert main(["train", str(recipe), "--preset", "lang"]) == 2
    assert 'did you mean "long"' in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_what_was_trained_elsewhere_can_be_used_here(recipe, tmp_path, monkeypatch, capsys, device):
    """The recipe in a run folder may name a device that this machine does not have."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    output = tmp_path / "run"
    assert main(["train", str(recipe), "--output", str(output)]) == 0
    elsewhere = load_recipe(recipe, [f"train.device={device}", "train.precision=float16"])
    (output / "recipe.toml").write_text(elsewhere.to_toml())
    assert main(["evaluate", str(output), "--json"]) == 0
    capsys.readouterr()
    new = tmp_path / "new"
    assert main(["train", str(output / "recipe.toml"), "--output", str(new)]) == 2
    assert f"this machine has no device '{device}'" in capsys.readouterr().err
    assert not new.exists()


# --- files of one's own ---------------------------------------------------------------------------


def files_of(task):
    return {split: getattr(task, split) for split in ("train", "validation", "test")}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["tasks.ner.train=my.conll"], {"train": "my.conll", "validation": "", "test": ""}),
        (
            ["tasks.ner.test=my-test.conll", "tasks.ner.train=my.conll"],
            {"train": "my.conll", "validation": "", "test": "my-test.conll"},
        ),
        (
            ["tasks.ner.train = my.conll", "tasks.ner.validation=v.conll", "seed=3"],
            {"train": " my.conll", "validation": "v.conll", "test": ""},
        ),
        (
            ["tasks.ner.test=t.conll"],
            files_of(load_recipe("conll-squad").tasks["ner"]) | {"test": "t.conll"},
        ),
        (["tasks.ner.limit=9"], files_of(load_recipe("conll-squad").tasks["ner"])),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_a_file_to_train_on_takes_the_recipes_held_out_files_away(settings, expected, turned):
    recipe = load_recipe("conll-squad", settings[::-1] if turned else settings, preset="quick")
    assert files_of(recipe.tasks["ner"]) == expected
    assert files_of(recipe.tasks["qa"]) == files_of(load_recipe("conll-squad").tasks["qa"])


def test_of_a_file_to_train_on_a_part_is_held_out(tmp_path):
    mtl.write_conll(ner_examples("train", 40), tmp_path / "my.conll")
    mtl.write_squad(qa_examples("train", 40), tmp_path / "my.json")
    settings = [f"tasks.ner.train={tmp_path}/my.conll", f"tasks.qa.train={tmp_path}/my.json"]
    for task in build_tasks(load_recipe("conll-squad", settings)):
        sizes = [len(task.dataset.split(s)) for s in ("train", "validation", "test")]
        assert sum(sizes) == 40
        assert min(sizes) > 0


def test_a_shared_dataset_loses_its_held_out_files_too(tmp_path):
    path = tmp_path / "own.toml"
    text = RECIPE.replace('toy = "ner"\ntoy_train = 40\ntoy_held_out = 10\n', 'data = "mine"\n')
    files = 'train = "a.conll"\ntest = "b.conll"\n'
    path.write_text(text.split("[presets.long]")[0] + f"[datasets.mine]\n{files}")
    assert load_recipe(path).datasets["mine"].test == "b.conll"
    dataset = load_recipe(path, ["datasets.mine.train=c.conll"]).datasets["mine"]
    assert files_of(dataset) == {"train": "c.conll", "validation": "", "test": ""}


# --- a pretrained encoder -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    """A folder as it comes from the Hugging Face hub, with random weights."""
    pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny-bert"
    sentences = [e.tokens for e in ner_examples("train", 300)]
    words = sorted({word for tokens in sentences for word in tokens if word.isalpha()})
    pieces = list(dict.fromkeys([*WORD_PIECES, *words]))
    write_word_pieces(folder, pieces, do_lower_case=False)
    tokenizer = mtl.SubwordTokenizer.load(folder)
    config = EncoderConfig(
        **{"vocab_size": len(tokenizer), "d_model": 16, "n_heads": 2, "n_layers": 1, "d_ff": 16},
        **{"max_length": 160, "norm": "post", "positions": "learned"},
    )
    mtl.save_for_transformers(TransformerEncoder(config), tokenizer, folder)
    return folder


SMALL = ["train.epochs=1", "train.batch_size=8", "train.device=cpu"]
SIZES = {
    "practical7": ("tasks.ner", "tasks.qa"),
    "jsonl": ("datasets.records",),
    "news-ner": ("datasets.news",),
    "sentence-embeddings": ("datasets.news", "tasks.embedding"),
}
POOLED = ["tasks.topic.pooling=cls"]


@pytest.mark.parametrize(
    ("name", "more"),
    [("practical7", []), ("jsonl", POOLED), ("news-ner", []), ("sentence-embeddings", [])],
)
def test_every_recipe_trains_on_a_pretrained_encoder(tiny_bert, tmp_path, capsys, name, more):
    settings = [f"encoder.pretrained={tiny_bert}", *SMALL, *more]
    for data in SIZES[name]:
        settings += [f"{data}.toy_train=16", f"{data}.toy_held_out=8"]
    output = tmp_path / "run"
    assert main(["train", name, "--set", *settings, "--json", "--output", str(output)]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["test"].keys() == load_recipe(name).tasks.keys()
    recipe = load_recipe(name, settings)
    assert told.err.count("without effect on the pretrained encoder: ") == 1
    (line,) = (line for line in told.err.splitlines() if "without effect" in line)
    used = {"max_length", "overlap", "dropout", "attention_dropout", "pretrained"}
    unused = [f"encoder.{key}" for key in recipe.encoder if key not in used]
    unused += [f"tokenizer.{key}" for key in recipe.tokenizer]
    assert line.split("encoder: ")[1].split(", ") == unused
    model = mtl.MultiTaskModel.from_pretrained(output)
    shape = model.encoder.config
    assert (model.encoder.pretrained, shape.n_layers, shape.norm) == ("tiny-bert", 1, "post")
    assert (shape.max_length, shape.dropout) == (128, recipe.encoder["dropout"])
    assert isinstance(model.tokenizer, mtl.SubwordTokenizer)
    if more:
        assert model.tasks["topic"].pooling == "cls"
    assert main(["evaluate", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == recipe.tasks.keys()


def test_nothing_of_conll_squad_is_without_effect(tiny_bert, tmp_path, capsys):
    mtl.write_conll(ner_examples("train", 30), tmp_path / "my.conll")
    mtl.write_squad(qa_examples("train", 30), tmp_path / "my.json")
    settings = [f"encoder.pretrained={tiny_bert}", *SMALL, "encoder.max_length=100"]
    settings += [f"tasks.ner.train={tmp_path}/my.conll", f"tasks.qa.train={tmp_path}/my.json"]
    output = tmp_path / "run"
    options = ["--preset", "quick", "--hardware", "cpu", "--output", str(output)]
    assert main(["train", "conll-squad", *options, "--set", *settings]) == 0
    assert "its own shape" not in capsys.readouterr().err
    model = mtl.MultiTaskModel.from_pretrained(output)
    shape = model.encoder.config
    assert (shape.max_length, shape.dropout, shape.attention_dropout) == (100, 0.1, 0.0)
    assert model.overlap == 64


def test_the_folder_of_a_checkpoint_is_found_from_anywhere(tiny_bert, monkeypatch, tmp_path):
    monkeypatch.chdir(tiny_bert.parent)
    recipe = load_recipe("practical7", ["encoder.pretrained=tiny-bert"])
    assert tomllib.loads(recipe.to_toml())["encoder"]["pretrained"] == str(tiny_bert.resolve())
    assert recipe.encoder["pretrained"] == "tiny-bert"
    monkeypatch.chdir(tmp_path)  # here it can only be a name on the hub
    assert tomllib.loads(recipe.to_toml())["encoder"]["pretrained"] == "tiny-bert"
    path = Path(tmp_path / "plain.toml")
    path.write_text(load_recipe("practical7").to_toml())
    assert "pretrained" not in path.read_text()
