"""Recipes: what is accepted, what is refused and how, and what becomes of it."""

import csv
import json
import tomllib
from dataclasses import fields
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mtl
from mtl.cli.main import build_parser
from mtl.data.dataset import hold_out
from mtl.data.examples import Answer, NERExample, QAExample, TextExample
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import ConfigError, DataError, DataWarning, TrainingWarning
from mtl.experiments.build import build_model, build_tasks
from mtl.experiments.bundled import bundled_recipes
from mtl.experiments.recipe import DatasetRecipe, Recipe, TaskRecipe, load_recipe
from mtl.experiments.run import run_recipe
from mtl.inference import evaluation
from mtl.model import MultiTaskModel
from mtl.nn.config import EncoderConfig
from mtl.toy import ner_examples, qa_examples
from mtl.training.loop import Run, TrainConfig, train
from mtl.training.preflight import EncodedDataset
from mtl.training.weighting import FixedWeighting

TINY = """\
name = "tiny"

[tasks.ner]
kind = "ner"
toy = "ner"
toy_train = 40
toy_held_out = 10

[tasks.qa]
kind = "qa"
toy = "qa"
toy_train = 40
toy_held_out = 10

[encoder]
d_model = 8
n_heads = 2
n_layers = 1
d_ff = 8
max_length = 64

[train]
epochs = 1
batch_size = 40
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture
def write(tmp_path):
    """Write a recipe, text or bytes, and give its path."""

    def write(content, name="my.toml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


pytestmark = pytest.mark.usefixtures("no_curves")


def error_of(path, *settings):
    """What is said about a recipe that cannot be used; it is always the user's to change."""
    with pytest.raises(ConfigError) as caught:
        load_recipe(path, settings)
    assert caught.value.exit_code == 2
    return str(caught.value)


# --- reading a recipe -----------------------------------------------------------------------------


def test_a_recipe_as_it_is_written(tiny):
    recipe = load_recipe(tiny)
    assert recipe.name == "tiny"
    assert recipe.seed == 0
    assert recipe.tasks["ner"] == TaskRecipe("ner", toy="ner", toy_train=40, toy_held_out=10)
    shape = {"d_model": 8, "n_heads": 2, "n_layers": 1, "d_ff": 8, "max_length": 64}
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
        ("train.steps=1", "train.steps", "a text in quotes", "1"),
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
    recipe = load_recipe(tiny, ["train.clip_norm=2", "encoder.dropout=0"])
    assert recipe.train["clip_norm"] == 2
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
        ("[tasks.ner]\ntoy = 'ner'\n", ["[tasks.ner] needs a kind", "ner, qa"]),
        ("[tasks.ner]\nkind = 'ner'\n", ["[tasks.ner] does not say what to train on"]),
        ("[tasks.a]\nkind = 'nar'\ntoy = 'ner'\n", ["unknown kind of task", 'did you mean "ner"']),
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

# For every key a value that is not its default.
ENCODER = {
    **{"d_model": 24, "n_heads": 3, "n_layers": 3, "d_ff": 20, "max_length": 70},
    **{"positions": "rotary", "rotary_heads": 1, "norm": "post", "activation": "relu"},
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
        "warmup": 0.3,
        "beta2": 0.9,
    },
    **{"weight_decay": 0.2, "clip_norm": 0.5, "hide_words": 0.1, "steps": "sampled"},
    **{"alpha": 0.7, "anneal": 0.2, "freeze": ["encoder.embeddings"]},
    **{"loss_weights": {"ner": 0.25, "qa": 4.0}, "max_tokens": 512, "patience": 3, "threads": 1},
    **{"pretrained_learning_rate": 2e-5, "device": "cpu", "precision": "bfloat16"},
    **{"threads": 2},
}
BALANCE = {  # needs joint steps and whole batches, so it cannot be part of the table above
    **{"steps": "joint", "weighting": "gradnorm", "weighting_options": {"alpha": 0.5}},
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
        (EncoderConfig, ENCODER, {"vocab_size"}),
        (TrainConfig, TRAIN | BALANCE, {"seed"}),
    ):
        assert values.keys() == {field.name for field in fields(cls)} - left_out
        for field in fields(cls):
            assert values.get(field.name) != field.default, field.name


def test_every_key_reaches_the_encoder_and_the_tokenizer(tiny):
    changed = [*as_settings("encoder", ENCODER | {"overlap": 16})]
    changed += as_settings("tokenizer", TOKENIZER)
    recipe = load_recipe(tiny, changed)
    model = build_model(recipe, build_tasks(recipe))
    config = model.encoder.config.to_dict()
    assert config.pop("vocab_size") == len(model.tokenizer)
    assert config == ENCODER
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


KINDS = {
    "practical7": ["ner", "qa"],
    "conll-squad": ["ner", "qa"],
    "jsonl": ["classification", "ner"],
    "news-ner": ["classification", "ner"],
    "sentence-embeddings": ["embedding", "classification", "ner"],
}


def test_every_key_of_a_bundled_recipe_is_understood():
    assert bundled_recipes().keys() == KINDS.keys()
    for name, kinds in KINDS.items():
        recipe = load_recipe(name)
        file = resources.files("mtl.experiments") / "recipes" / f"{name}.toml"
        content = tomllib.loads(file.read_text(encoding="utf-8"))
        tasks, datasets = content.pop("tasks"), content.pop("datasets", {})
        for overlays in ("presets", "hardware"):  # see test_presets.py
            content.pop(overlays, None)
        for key, value in content.items():
            assert getattr(recipe, key) == value
        assert recipe.datasets.keys() == datasets.keys()
        for dataset, section in datasets.items():
            assert section.items() <= vars(recipe.datasets[dataset]).items()
        for task, section in tasks.items():
            known = vars(recipe.tasks[task])
            assert section.items() <= (known | known["options"]).items()
        assert [task.kind for task in recipe.tasks.values()] == kinds


def test_what_a_bundled_recipe_says_to_type_can_be_typed(tmp_path, monkeypatch):
    """Each line of the head of a recipe that begins with `mtl train` is tried, up to its data."""
    monkeypatch.chdir(tmp_path)
    commands = []
    for name in KINDS:
        text = (resources.files("mtl.experiments") / "recipes" / f"{name}.toml").read_text(
            encoding="utf-8"
        )
        for line in text.splitlines():
            if line.startswith("#   mtl train"):
                words = line.split("  ")[1].split()  # the comment stands after two blanks
                assert words[2] == name
                commands.append(build_parser().parse_args(words[1:]))
    assert len(commands) >= 11
    for options in commands:
        load_recipe(options.recipe, options.set, preset=options.preset, hardware=options.hardware)


def test_bundled_recipes_load_under_their_own_name_and_say_what_they_do():
    for name, what in bundled_recipes().items():
        assert load_recipe(name).name == name
        assert len(what) > 20
        assert not what.startswith("#")


# --- and back to TOML -----------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
FILES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0")).map(
    lambda text: str(Path("/data", f"x{text}").absolute())
)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
RATES = st.floats(min_value=1e-12, max_value=1e6)
SOURCE = {
    "toy": st.just("qa"),
    "toy_train": st.integers(1, 10**6),
    "toy_held_out": st.integers(0, 10**6),
    "train": st.just("") | FILES,
    "limit": st.integers(0, 99),
    "augment": st.integers(0, 9),
    "synonyms": st.dictionaries(
        TEXTS, st.lists(TEXTS.filter(str.strip), min_size=1, max_size=2), max_size=2
    ),
}
OPTIONS = st.just({}) | st.fixed_dictionaries({"max_answer_tokens": st.integers(1, 99)})
TASKS = st.builds(TaskRecipe, kind=st.just("qa"), options=OPTIONS, **SOURCE)
SHARING = st.builds(TaskRecipe, kind=st.just("qa"), options=OPTIONS, data=st.just("shared"))
STAGES = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 9),
        "learning_rate": RATES,
        "freeze": st.lists(TEXTS, max_size=2),
        "tasks": st.just(["first"]),
        "loss_weights": st.dictionaries(NAMES, RATES, max_size=2),
    },
)
RECIPES = st.builds(
    Recipe,
    name=TEXTS.filter(lambda name: name.strip() and not set(name) & set("/\\")),
    tasks=st.builds(
        lambda first, sharer, others: others | {"first": first, "sharer": sharer},
        TASKS,
        SHARING,
        st.dictionaries(NAMES, TASKS | SHARING, max_size=2),
    ),
    datasets=st.builds(DatasetRecipe, **SOURCE).map(lambda dataset: {"shared": dataset}),
    stages=st.lists(STAGES, max_size=2).map(lambda some: [*some, {"epochs": 1}] if some else []),
    seed=st.integers(0, 2**31),
    on_error=st.sampled_from(["stop", "skip"]),
    tokenizer=st.fixed_dictionaries({}, optional={"lower_case": st.booleans()}),
    encoder=st.fixed_dictionaries(
        {}, optional={"layer_norm_eps": RATES, "n_layers": st.integers(1, 9)}
    ),
    train=st.fixed_dictionaries(
        {},
        optional={
            "learning_rate": RATES,
            "steps": st.sampled_from(["alternating", "joint"]),
            "loss_weights": st.dictionaries(NAMES, RATES, max_size=3),
        },
    ),
)


@given(RECIPES)
@settings(max_examples=40)
def test_to_toml_reads_back(tmp_path_factory, recipe):
    path = tmp_path_factory.getbasetemp() / "round_trip.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8", newline="")
    assert load_recipe(path) == recipe


def test_a_dataset_that_no_task_uses_is_a_slip(shared):
    message = error_of(shared, "datasets.text.train='mine.jsonl'")
    assert "no task uses the dataset 'text'" in message
    assert 'did you mean "texts"' in message


def test_a_task_that_no_stage_trains_is_a_slip(staged):
    assert "no stage trains the task" in error_of(staged, "stages=[{tasks=['ner']}]")


def test_an_older_run_stays_whole_until_the_new_one_is_done(shared, tmp_path):
    run = tmp_path / "run"
    run_recipe(load_recipe(shared), run, save_every=1, progress=False)
    before = {p.relative_to(run): p.read_bytes() for p in run.rglob("*") if p.is_file()}
    with pytest.raises(mtl.MTLError, match="not finite"):
        run_recipe(
            load_recipe(shared, ["train.learning_rate=1e30", "train.epochs=3"]),
            run,
            overwrite=True,
            save_every=1,
            progress=False,
        )
    after = {p.relative_to(run): p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert {path: after[path] for path in before} == before
    run_recipe(load_recipe(shared), run, overwrite=True, save_every=1, progress=False)
    assert not (run / "unfinished").exists()
    assert (run / "checkpoint-epoch1" / "model.safetensors").exists()


def test_to_toml_of_a_task_whose_name_is_not_ascii(write):
    path = write(TINY.replace("[tasks.qa]", '[tasks."frågor"]'))
    recipe = load_recipe(path)
    assert list(recipe.tasks) == ["ner", "frågor"]
    assert load_recipe(write(recipe.to_toml(), "again.toml")) == recipe


def test_to_toml_names_files_wherever_it_is_read(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(tiny, ["tasks.qa.train=my.json", "tasks.qa.test=../there.json"])
    (tmp_path / "run.toml").write_text(recipe.to_toml())
    monkeypatch.chdir("/")
    task = load_recipe(tmp_path / "run.toml").tasks["qa"]
    assert Path(task.train) == tmp_path / "my.json"
    assert Path(task.test).resolve() == (tmp_path.parent / "there.json").resolve()


def test_to_toml_keeps_lists(write, tiny):
    recipe = load_recipe(tiny, ['tasks.ner.types=["PER", "ÅR"]'])
    again = load_recipe(write(recipe.to_toml()))
    assert again == recipe
    assert again.tasks["ner"].options["types"] == ["PER", "ÅR"]


# --- data -----------------------------------------------------------------------------------------


def question(i, context):
    return QAExample(f"q{i}", f"Who is number {i}?", context, (Answer("Bob", 0),))


@given(
    sizes=st.lists(st.integers(1, 5), min_size=10, max_size=60),
    seed=st.integers(0, 99),
    parts=st.sampled_from([1, 2]),
)
def test_hold_out_keeps_groups_whole_and_loses_nothing(sizes, seed, parts):
    contexts = [f"Bob {g}" for g, size in enumerate(sizes) for _ in range(size)]
    examples = [question(i, context) for i, context in enumerate(contexts)]
    examples = examples[::2] + examples[1::2]  # one context's questions need not stand together
    split = hold_out(examples, seed, parts=parts)
    assert len(split) == 1 + parts
    assert sorted(e.id for part in split for e in part) == sorted(e.id for e in examples)
    groups = [{example.context for example in part} for part in split]
    assert sum(map(len, groups)) == len(sizes)  # no context in two parts
    for held_out in groups[1:]:
        assert abs(len(held_out) - len(sizes) / 10) <= 0.5
    for part in split:  # the order of the file stays
        order = [examples.index(example) for example in part]
        assert order == sorted(order)
    assert hold_out(examples, seed, parts=parts) == split


def test_hold_out_is_drawn_by_the_seed():
    examples = [question(i, f"Bob {i}") for i in range(100)]
    drawn = {tuple(e.id for e in hold_out(examples, seed)[1]) for seed in range(5)}
    assert len(drawn) == 5
    assert all(ids != tuple(f"q{i}" for i in range(10)) for ids in drawn)  # not simply the first


def test_hold_out_does_not_depend_on_the_order_of_the_file():
    examples = [question(i, f"Bob {i}") for i in range(50)]
    there, back = hold_out(examples, 3), hold_out(examples[::-1], 3)
    for part, other in zip(there, back, strict=True):
        assert {e.id for e in part} == {e.id for e in other}


@pytest.mark.parametrize("n", [1, 4, 9])
def test_hold_out_of_fewer_than_ten_texts_is_refused(n):
    with pytest.raises(DataError, match=f"too few different texts(.|\n)*found: {n}; at least 10"):
        hold_out([question(i, f"Bob {i}") for i in range(n)], 0)


def test_too_few_texts_are_said_with_their_file(tiny, tmp_path):
    path = tmp_path / "few.conll"
    path.write_text("Ann\tB-PER\n")
    recipe = load_recipe(tiny, [f"tasks.ner.train={path}"])
    with pytest.raises(DataError) as caught:
        build_tasks(recipe)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["''", "'  '", "'../../elsewhere'", "'a\\b'"])
def test_a_name_that_is_no_folder_name_is_refused(tiny, name):
    with pytest.raises(ConfigError, match="name must be a word without slashes"):
        load_recipe(tiny, [f"name={name}"])


@pytest.fixture
def own_sentences(tmp_path):
    """A file of a hundred sentences, each twice, and its path."""
    sentences = [NERExample((f"Item{i}", "fell"), ("B-THING", "O")) for i in range(100)]
    mtl.write_conll(sentences * 2, tmp_path / "own.conll")
    return tmp_path / "own.conll", sentences * 2


def ner_dataset(path, *settings):
    (task,) = [t for t in build_tasks(load_recipe(path, settings)) if t.name == "ner"]
    return task.dataset


def words_of(examples):
    return {example.tokens[0] for example in examples}


def test_an_own_file_is_never_mixed_with_toy_data(tiny, own_sentences):
    path, sentences = own_sentences
    dataset = ner_dataset(tiny, f"tasks.ner.train={path}")
    parts = [dataset.train, dataset.validation, dataset.test]
    assert [len(part) for part in parts] == [160, 20, 20]
    assert sorted(e.text for part in parts for e in part) == sorted(e.text for e in sentences)
    words = [words_of(part) for part in parts]
    assert not words[0] & words[1]
    assert not words[0] & words[2]
    assert not words[1] & words[2]
    assert list(dataset.test_unseen) == []


def test_only_what_is_missing_is_held_out(tiny, own_sentences, tmp_path):
    path, _ = own_sentences
    test = [NERExample(("Gift",), ("B-THING",))]
    mtl.write_conll(test, tmp_path / "test.conll")
    files = [f"tasks.ner.train={path}", f"tasks.ner.test={tmp_path / 'test.conll'}"]
    dataset = ner_dataset(tiny, *files)
    assert dataset.test == test
    assert [len(dataset.train), len(dataset.validation)] == [180, 20]
    with pytest.warns(DataWarning, match="in both validation and test: 1 of the 1 of test"):
        everything = ner_dataset(tiny, *files, f"tasks.ner.validation={tmp_path / 'test.conll'}")
    assert [len(everything.train), len(everything.validation)] == [200, 1]
    with pytest.warns(DataWarning, match="in both test and test_unseen"):
        unseen = ner_dataset(tiny, *files, f"tasks.ner.test_unseen={tmp_path / 'test.conll'}")
    assert list(unseen.test_unseen) == test


def test_the_seed_draws_what_is_held_out(tiny, own_sentences):
    path, _ = own_sentences
    drawn = [
        words_of(ner_dataset(tiny, f"tasks.ner.train={path}", f"seed={seed}").test)
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_questions_about_one_context_stay_together(tiny, tmp_path):
    questions = [question(i, f"Bob is in context {i // 4}.") for i in range(80)]
    mtl.write_squad(questions, tmp_path / "own.json")
    tasks = build_tasks(load_recipe(tiny, [f"tasks.qa.train={tmp_path / 'own.json'}"]))
    dataset = tasks[1].dataset
    parts = [{q.context for q in split} for split in (dataset.train, dataset.validation)]
    parts.append({q.context for q in dataset.test})
    assert [len(part) for part in parts] == [16, 2, 2]
    assert len(set.union(*parts)) == 20
    assert [len(dataset.train), len(dataset.validation), len(dataset.test)] == [64, 8, 8]


@pytest.mark.parametrize("split", ["validation", "test", "test_unseen"])
def test_an_own_test_file_beside_toy_training_data_is_refused(tiny, own_sentences, split):
    message = error_of(tiny, f"tasks.ner.{split}={own_sentences[0]}")
    assert f"tasks.ner.{split} names a file, but tasks.ner.train does not" in message
    assert "never mixed" in message


def test_toy_data_has_the_sizes_and_the_seed_of_the_recipe(tiny):
    tasks = build_tasks(load_recipe(tiny, ["seed=3", "tasks.qa.toy_train=21"]))
    assert list(tasks[0].dataset.train) == ner_examples("train", 40, 3)
    assert list(tasks[0].dataset.test_unseen) == ner_examples("test_unseen", 10, 3)
    assert list(tasks[1].dataset.train) == qa_examples("train", 21, 3)
    assert list(tasks[1].dataset.validation) == qa_examples("validation", 10, 3)


def test_on_error_reaches_the_reader(tiny, tmp_path):
    path = tmp_path / "own.conll"
    path.write_text("".join(f"Item{i}\tB-THING\n\n" for i in range(20)) + "Item99\tTHING\n")
    setting = f"tasks.ner.train={path}"
    with pytest.raises(DataError, match="no known scheme"):
        ner_dataset(tiny, setting)
    with pytest.warns(DataWarning, match="bad records left out: 1") as caught:
        dataset = ner_dataset(tiny, setting, "on_error=skip")
    assert str(path) in str(caught[0].message)
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 20


def test_the_vocabulary_is_that_of_the_training_texts_alone(tiny, own_sentences):
    recipe = load_recipe(tiny, [f"tasks.ner.train={own_sentences[0]}"])
    tasks = build_tasks(recipe)
    known = build_model(recipe, tasks).tokenizer.counts.keys()
    assert words_of(tasks[0].dataset.train) <= known
    assert not words_of(tasks[0].dataset.test) & known
    assert not words_of(tasks[0].dataset.validation) & known


# --- datasets that tasks share --------------------------------------------------------------------

SHARED = """\
[datasets.texts]
toy = "news"
toy_train = 20
toy_held_out = 8

[tasks.topic]
kind = "classification"
data = "texts"

[tasks.ner]
kind = "ner"
data = "texts"

[encoder]
d_model = 8
n_heads = 2
n_layers = 2
d_ff = 8
max_length = 64
dropout = 0.0

[train]
epochs = 1
batch_size = 10
warmup = 0.0
learning_rate = 0.01
"""


@pytest.fixture
def shared(write):
    return write(SHARED, "shared.toml")


def dataset_of(path, *settings):
    return {task.name: task.dataset for task in build_tasks(load_recipe(path, settings))}


def test_tasks_on_one_dataset_share_one_object_and_one_stream(shared):
    recipe = load_recipe(shared)
    tasks = build_tasks(recipe)
    assert tasks[0].dataset is tasks[1].dataset
    sizes = [len(tasks[0].dataset.split(split)) for split in ("train", "validation", "test")]
    assert sizes == [20, 8, 8]
    (config, names), *rest = recipe.train_configs
    assert (names, rest) == (["topic", "ner"], [])
    run = Run(build_model(recipe, tasks), tasks, config, FixedWeighting())
    assert [[task.name for task in stream.tasks] for stream in run.streams] == [["topic", "ner"]]
    assert run.streams.describe_epoch() == (
        "an epoch is 2 rounds, one batch of each: topic + ner 20 examples (1.0 passes)"
    )


def test_a_task_that_names_its_own_data_leaves_what_it_shared(shared):
    """Also where its own toy data are the very same: it asked for a dataset of its own."""
    same = ["tasks.ner.toy=news", "tasks.ner.toy_train=20", "tasks.ner.toy_held_out=8"]
    datasets = dataset_of(shared, *same)
    assert datasets["topic"] is not datasets["ner"]
    assert list(datasets["topic"].train) == list(datasets["ner"].train)
    recipe = load_recipe(shared, same)
    tasks = build_tasks(recipe)
    run = Run(build_model(recipe, tasks), tasks, TrainConfig(), FixedWeighting())
    assert [[task.name for task in stream.tasks] for stream in run.streams] == [["topic"], ["ner"]]


def test_an_own_file_replaces_the_shared_dataset_for_one_task(shared, own_sentences):
    path, sentences = own_sentences
    datasets = dataset_of(shared, f"tasks.ner.train={path}")
    assert list(datasets["topic"].train) == list(dataset_of(shared)["topic"].train)
    parts = [datasets["ner"].split(s) for s in ("train", "validation", "test")]
    assert sorted(e.text for part in parts for e in part) == sorted(e.text for e in sentences)
    assert list(datasets["ner"].test_unseen) == []


def record(i, label="ab", tags=True):
    tokens = (f"Item{i}", "fell")
    tags = ("B-THING", "O") if tags else None
    return TextExample(" ".join(tokens), tokens, label[i % 2] if label else None, tags)


def test_one_json_file_for_several_tasks(shared, tmp_path):
    """Held out together, so what one task is tested on the other has not trained on."""
    mtl.write_jsonl([record(i) for i in range(100)], tmp_path / "own.jsonl")
    datasets = dataset_of(shared, f"datasets.texts.train={tmp_path / 'own.jsonl'}")
    dataset = datasets["topic"]
    assert datasets["ner"] is dataset
    parts = [dataset.train, dataset.validation, dataset.test, dataset.test_unseen]
    assert [len(part) for part in parts] == [80, 10, 10, 0]
    assert sorted(e.text for part in parts for e in part) == sorted(
        record(i).text for i in range(100)
    )


def test_a_partly_labelled_file_trains_each_task_on_what_it_has(shared, tmp_path):
    """Of sixty records every other has a class and every third has tags; some have neither."""
    records = [record(i, "ab" if i % 4 < 2 else None, i % 3 == 0) for i in range(60)]
    held_out = [record(i) for i in range(60, 70)]
    mtl.write_jsonl(records, tmp_path / "train.jsonl")
    mtl.write_jsonl(held_out, tmp_path / "held_out.jsonl")
    files = {"train": "train", "validation": "held_out", "test": "held_out"}
    settings = [f"datasets.texts.{s}={tmp_path / f'{f}.jsonl'}" for s, f in files.items()]
    with pytest.warns(DataWarning, match="in both validation and test: 10 of the 10 of test"):
        metrics = run_recipe(load_recipe(shared, settings), tmp_path / "run", progress=False)
    assert metrics["test"].keys() == {"topic", "ner"}
    lines = (tmp_path / "run" / "training_metrics.csv").read_text().splitlines()
    last = dict(zip(lines[0].split(","), lines[-1].split(","), strict=True))
    assert (last["topic_examples"], last["ner_examples"]) == ("30", "20")


@pytest.mark.parametrize(
    ("label", "tags", "message"),
    [
        (None, True, "the task 'topic' learns from labels"),
        ("ab", False, "the task 'ner' learns from tagged entities"),
    ],
)
def test_a_task_whose_data_has_no_label_at_all_is_refused(shared, tmp_path, label, tags, message):
    mtl.write_jsonl([record(i, label, tags) for i in range(20)], tmp_path / "own.jsonl")
    recipe = load_recipe(shared, [f"datasets.texts.train={tmp_path / 'own.jsonl'}"])
    with pytest.raises(DataError, match=message) as caught:
        run_recipe(recipe, tmp_path / "run", progress=False)
    assert caught.value.faults[0].path == str(tmp_path / "own.jsonl")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("tasks.ner.data=txts", ["tasks.ner.data", "'txts'", 'did you mean "texts"']),
        ("tasks.ner.data=5", ["tasks.ner.data must be a text"]),
        ("datasets.texts.toi=ner", ["unknown key datasets.texts.toi", 'did you mean "toy"']),
        ("datasets.texts.kind=ner", ["unknown key datasets.texts.kind"]),
        ("datasets.texts=5", ["datasets.texts is a section"]),
        ("datasets.more.limit=5", ["has no dataset 'more'", "use one of texts"]),
        ("tasks.ner.limit=5", ["tasks.ner.limit has no effect", "set datasets.texts.limit"]),
        ("tasks.ner.test=x.jsonl", ["tasks.ner.test has no effect", "set datasets.texts.test"]),
        ("datasets.texts.test=x.jsonl", ["datasets.texts.test names a file", "never mixed"]),
        ("datasets.texts.toy=qa", []),
        ("datasets.texts.limit=-1", ["datasets.texts.limit must be at least 0", "-1"]),
        ("datasets.texts.augment=-1", ["datasets.texts.augment must be at least 0", "-1"]),
        ("datasets.texts.toy_train=0", ["datasets.texts.toy_train must be at least 1"]),
        ("datasets.texts.synonyms={big='large'}", ["synonyms.big must be a list", "'large'"]),
        ("datasets.texts.synonyms={big=[' ']}", ["synonyms.big must be a list"]),
        ("datasets.texts.synonyms={big=[]}", ["synonyms.big must be a list"]),
    ],
)
def test_what_cannot_be_said_of_a_dataset(shared, setting, words):
    with pytest.raises(ConfigError) as caught:
        build_tasks(load_recipe(shared, [setting]))
    for word in words:
        assert word in str(caught.value)


def test_a_dataset_of_another_kind_than_the_task_names_the_task(shared):
    with pytest.raises(
        ConfigError, match=r"data of the task 'topic' is not of the task.s kind"
    ) as caught:
        build_tasks(load_recipe(shared, ["datasets.texts.toy=ner"]))
    assert "sentences with one tag per word" in str(caught.value)
    assert "reads texts with labels or tags" in str(caught.value)


def test_a_recipe_without_datasets_says_how_to_add_one(tiny):
    message = error_of(tiny, "tasks.extra={kind='ner', data='texts'}")
    assert "'texts'" in message
    assert "[datasets.NAME]" in message


@pytest.mark.filterwarnings("ignore:.*has classes that train does not have:mtl.DataWarning")
def test_limit_draws_from_the_training_split_alone(shared):
    full, few = dataset_of(shared)["ner"], dataset_of(shared, "datasets.texts.limit=5")["ner"]
    again, other = (
        dataset_of(shared, "datasets.texts.limit=5", f"seed={seed}")["ner"] for seed in (0, 1)
    )
    assert len(few.train) == 5
    assert all(example in full.train for example in few.train)
    assert len({id(example) for example in few.train}) == 5
    assert list(few.train) != list(full.train[:5])
    assert list(again.train) == list(few.train)
    assert list(other.train) != list(few.train)
    for split in ("validation", "test", "test_unseen"):
        assert list(few.split(split)) == list(full.split(split))
    everything = dataset_of(shared, "datasets.texts.limit=21")["ner"]
    assert list(everything.train) == list(full.train)


def test_limit_does_not_reach_what_is_held_out_of_a_file(tiny, own_sentences):
    path, _ = own_sentences
    settings = [f"tasks.ner.train={path}", "tasks.ner.limit=7"]
    dataset = ner_dataset(tiny, *settings)
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [7, 20, 20]


def test_augment_adds_to_the_training_split_alone(shared):
    settings = ["datasets.texts.augment=2", "datasets.texts.limit=6"]
    plain, more = (dataset_of(shared, *some)["ner"] for some in (settings[1:], settings))
    assert list(more.train[:6]) == list(plain.train)
    assert len(more.train) == 18
    assert list(more.train[6:12]) != list(plain.train)
    assert [e.label for e in more.train] == [e.label for e in plain.train] * 3
    for split in ("validation", "test", "test_unseen"):
        assert list(more.split(split)) == list(plain.split(split))


@pytest.mark.filterwarnings("ignore:.*in both .*200 of the 200:mtl.DataWarning")
def test_the_seed_draws_what_augment_changes(tiny, own_sentences):
    """All splits are files here, so the seed draws nothing else."""
    path, sentences = own_sentences
    files = [f"tasks.ner.{split}={path}" for split in ("train", "validation", "test")]
    made = []
    for seed in (0, 0, 1):
        train = ner_dataset(tiny, *files, "tasks.ner.augment=1", f"seed={seed}").train
        assert list(train[: len(sentences)]) == sentences
        made.append(list(train[len(sentences) :]))
    assert made[0] == made[1] != made[2]


def test_synonyms_reach_augment(shared, tmp_path):
    texts = [
        TextExample(f"A big Item{i}", ("A", "big", f"Item{i}"), "ab"[i % 2]) for i in range(40)
    ]
    mtl.write_jsonl(texts, tmp_path / "own.jsonl")
    settings = [f"tasks.topic.train={tmp_path / 'own.jsonl'}", "tasks.topic.augment=1"]
    settings.append('tasks.topic.synonyms={big=["very large"]}')
    train = dataset_of(shared, *settings)["topic"].train
    assert {" ".join(e.tokens[1:-1]) for e in train[:32]} == {"big"}
    assert {" ".join(e.tokens[1:-1]) for e in train[32:]} == {"big", "very large"}


def test_questions_cannot_be_augmented(tiny):
    with pytest.raises(ConfigError, match=r"can be augmented(.|\n)*QAExample"):
        build_tasks(load_recipe(tiny, ["tasks.qa.augment=1"]))


# --- stages ---------------------------------------------------------------------------------------

STAGES_TOML = """
[[stages]]
tasks = ["topic"]
freeze = ["heads.ner"]
epochs = 2
learning_rate = 0.02

[[stages]]
tasks = ["ner"]
freeze = ["encoder"]
batch_size = 5
"""


@pytest.fixture
def staged(write):
    """First the encoder with the head of `topic`, then the head of `ner` on it as it is."""
    return write(SHARED + STAGES_TOML, "staged.toml")


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_in_each_stage_moves_what_should_and_nothing_else(staged, tmp_path, monkeypatch):
    seen = []

    def watched(model, tasks, config, **rest):
        before = weights_of(model)
        history = train(model, tasks, config, **rest)
        after = model.state_dict()
        moved = {name for name in before if not before[name].equal(after[name])}
        seen.append((config, [task.name for task in tasks], moved, weights_of(model)))
        return history

    monkeypatch.setattr("mtl.experiments.run.train", watched)
    recipe = load_recipe(staged)
    with pytest.warns(TrainingWarning, match="the head of 'ner' is frozen"):
        metrics = run_recipe(recipe, tmp_path / "run", progress=False)
    model = mtl.MultiTaskModel.from_pretrained(tmp_path / "run")
    parts = {
        part: {name for name in model.state_dict() if name.startswith(f"{part}.")}
        for part in ("encoder", "heads.topic", "heads.ner")
    }
    (one, names, moved, _), (two, other_names, moved_then, last) = seen
    assert (names, moved) == (["topic"], parts["encoder"] | parts["heads.topic"])
    assert (other_names, moved_then) == (["ner"], parts["heads.ner"])
    assert [one.epochs, one.learning_rate, one.batch_size] == [2, 0.02, 10]
    assert [two.epochs, two.learning_rate, two.batch_size] == [1, 0.01, 5]
    assert all(tensor.equal(last[name]) for name, tensor in model.state_dict().items())
    # The metrics are those of the last model, for the task of the first stage too.
    for split in ("validation", "test"):
        for task in build_tasks(recipe):
            expected = mtl.evaluate(model, task.name, task.dataset.split(split))
            assert metrics[split][task.name] == expected


@pytest.mark.filterwarnings("ignore::mtl.errors.TrainingWarning")
def test_the_history_of_stages_counts_on(staged, tmp_path):
    run_recipe(load_recipe(staged), tmp_path / "run", progress=False)
    with open(tmp_path / "run" / "training_metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # Twenty examples: two rounds an epoch in batches of ten, then four in batches of five.
    assert [row["epoch"] for row in rows] == [*"1122", *"3333"]
    assert [row["step"] for row in rows] == [*"12345678"]
    assert [row["topic_examples"] for row in rows] == ["10", "20", "30", "40", *["40"] * 4]
    assert [row["ner_examples"] for row in rows] == [*[""] * 4, "5", "10", "15", "20"]
    assert [bool(row["topic_loss"]) for row in rows] == [True] * 4 + [False] * 4
    assert [bool(row["ner_loss"]) for row in rows] == [False] * 4 + [True] * 4
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx(
        [0.02, 0.015, 0.01, 0.005, 0.01, 0.0075, 0.005, 0.0025]
    )
    validated = [
        (bool(row["validation_topic_accuracy"]), bool(row["validation_ner_entity_f1"]))
        for row in rows
    ]
    none, topic, ner = (False, False), (True, False), (False, True)
    assert validated == [none, topic, none, topic, none, none, none, ner]


def test_one_stage_that_changes_nothing_is_no_stage(shared, write, tmp_path):
    one = write(SHARED + "\n[[stages]]\n", "one.toml")
    models = []
    for path in (shared, one):
        run_recipe(load_recipe(path), tmp_path / path.stem, progress=False)
        models.append((tmp_path / path.stem / "model.safetensors").read_bytes())
    assert models[0] == models[1]


def test_settings_reach_into_stages(staged, write):
    recipe = load_recipe(staged, ["stages.0.epochs=7", "stages.1.steps=joint", "train.epochs=3"])
    assert [config.epochs for config, _ in recipe.train_configs] == [7, 3]
    assert [config.steps for config, _ in recipe.train_configs] == ["alternating", "joint"]
    assert load_recipe(write(recipe.to_toml(), "again.toml")) == recipe


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("stages.0.epoch=3", ["unknown key stages.0.epoch", 'did you mean "epochs"']),
        ("stages.1.seed=3", ["unknown key stages.1.seed"]),
        ("stages.0.epochs=many", ["stages.0.epochs must be a whole number", "'many'"]),
        ("stages.0.epochs=0", ["epochs must be at least 1"]),
        ("stages.0.tasks=ner", ["stages.0.tasks must be a list"]),
        ("stages.0.tasks=['nre']", ["stages.0.tasks", "unknown task", 'did you mean "ner"']),
        ("stages.0.tasks.0=nre", ["stages.0.tasks", "unknown task", 'did you mean "ner"']),
        ("stages.0.tasks=[['ner']]", ["stages.0.tasks", "unknown task", "['ner']"]),
        ("stages.0.tasks=[]", ["stages.0.tasks is empty"]),
        ("stages.0.freeze=encoder", ["stages.0.freeze must be a list"]),
        ("stages.0.freeze=[3]", ["freeze must be a list of names"]),
        ("stages.2.epochs=3", ["no entry '2'", "count from 0"]),
        ("stages.one.epochs=3", ["no entry 'one'", "count from 0"]),
        ("stages.-1.epochs=3", ["no entry '-1'", "count from 0"]),
        ("stages.².epochs=3", ["no entry '²'", "count from 0"]),
        ("stages.9=3", ["no entry '9'", "count from 0"]),
        ("stages.0=3", ["stages.0 is a section, not a value"]),
        ("stages.0.epochs.most=3", ["'epochs' is a value, not a section"]),
        ("stages=3", ["stages must be a list"]),
        ("stages={epochs=3}", ["stages must be a list"]),
        ("stages=[3]", ["stages.0 is a section, not a value"]),
    ],
)
def test_what_cannot_be_said_of_a_stage(staged, setting, words):
    message = error_of(staged, setting)
    for word in words:
        assert word in message


def test_an_entry_of_a_list_may_be_set(staged):
    settings = ["stages.0.tasks.0=ner", "stages.1.tasks.0=topic"]
    recipe = load_recipe(staged, [*settings, "stages.1.freeze.0=encoder.norm"])
    assert recipe.stages[0]["tasks"] == ["ner"]
    assert recipe.stages[1]["freeze"] == ["encoder.norm"]


def test_a_stage_of_some_tasks_ignores_the_weights_of_the_others(staged):
    recipe = load_recipe(staged, ["train.loss_weights={topic=0.5, ner=2.0}"])
    weights = [config.loss_weights for config, _ in recipe.train_configs]
    assert weights == [{"topic": 0.5}, {"ner": 2.0}]


def files_below(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.filterwarnings("ignore::mtl.errors.TrainingWarning")
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("stages.1.freeze=['heads.nre']", 'did you mean "heads.ner"'),
        ("stages.1.freeze=['encoder', 'heads.ner']", "nothing to train for the task 'ner'"),
        ("stages.1.loss_weights={nre=2.0}", "a weight is given for an unknown task"),
    ],
)
def test_what_is_wrong_with_the_last_stage_is_said_before_the_first(
    staged, tmp_path, monkeypatch, setting, words
):
    """And before anything of an older run in the folder is touched."""
    run_recipe(load_recipe(staged), tmp_path / "run", save_every=1, progress=False)
    before = files_below(tmp_path / "run")
    assert len(before) > 10
    monkeypatch.setattr(Run, "next_step", lambda run: pytest.fail("trained in vain"))
    for output in ("new", "run"):
        recipe = load_recipe(staged, [setting])
        with pytest.raises(ConfigError, match=words):
            run_recipe(recipe, tmp_path / output, overwrite=True, progress=False)
    assert not (tmp_path / "new").exists()
    assert files_below(tmp_path / "run") == before


# --- checkpoints ----------------------------------------------------------------------------------


def checkpoints_of(folder):
    return sorted(path.name for path in folder.glob("checkpoint*"))


@pytest.mark.parametrize(("save_every", "numbers"), [(0, []), (1, [1, 2, 3]), (2, [2]), (4, [])])
def test_every_nth_epoch_is_saved(shared, tmp_path, save_every, numbers):
    recipe = load_recipe(shared, ["train.epochs=3"])
    run_recipe(recipe, tmp_path / "run", save_every=save_every, progress=False)
    assert checkpoints_of(tmp_path / "run") == [f"checkpoint-epoch{n}" for n in numbers]


def test_saving_every_fewer_than_no_epochs_is_refused(shared, tmp_path):
    with pytest.raises(ConfigError, match=r"--save-every.* must be at least 0(.|\n)*-1"):
        run_recipe(load_recipe(shared), tmp_path / "run", save_every=-1, progress=False)
    assert not (tmp_path / "run").exists()


def test_saving_checkpoints_changes_nothing_in_the_training(shared, tmp_path):
    for name, save_every in (("with", 1), ("without", 0)):
        run_recipe(load_recipe(shared), tmp_path / name, save_every=save_every, progress=False)
    with_, without = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("with", "without")
    )
    assert with_ == without


@pytest.mark.filterwarnings("ignore::mtl.errors.TrainingWarning")
def test_checkpoints_are_whole_models_numbered_on_across_stages(staged, tmp_path, monkeypatch):
    after_epoch = []
    finish = Run.finish_epoch

    def remember(run):
        scores = finish(run)
        after_epoch.append((weights_of(run.model), scores))
        return scores

    monkeypatch.setattr(Run, "finish_epoch", remember)
    recipe = load_recipe(staged)
    run_recipe(recipe, tmp_path / "run", save_every=1, progress=False)
    names = [f"checkpoint-epoch{n}" for n in (1, 2, 3)]
    assert checkpoints_of(tmp_path / "run") == names
    tasks = {task.name: task for task in build_tasks(recipe)}
    for name, (weights, scores) in zip(names, after_epoch, strict=True):
        folder = tmp_path / "run" / name
        model = mtl.MultiTaskModel.from_pretrained(folder)
        assert all(tensor.equal(weights[n]) for n, tensor in model.state_dict().items())
        for task, values in scores.items():
            assert mtl.evaluate(model, task, tasks[task].dataset.validation) == values
        assert load_recipe(folder / "recipe.toml") == recipe
        assert mtl.predict(model, "Ann ran.").keys() == {"topic", "ner"}


@pytest.mark.filterwarnings("ignore::mtl.errors.TrainingWarning")
def test_every_nth_epoch_is_counted_across_stages(staged, tmp_path):
    recipe = load_recipe(staged, ["stages.0.epochs=1", "stages.1.epochs=3"])
    run_recipe(recipe, tmp_path / "run", save_every=2, progress=False)
    assert checkpoints_of(tmp_path / "run") == ["checkpoint-epoch2", "checkpoint-epoch4"]


def test_a_run_that_is_replaced_leaves_no_checkpoint_behind(shared, tmp_path):
    recipe = load_recipe(shared, ["train.epochs=3"])
    run_recipe(recipe, tmp_path / "run", save_every=1, progress=False)
    again = {"save_every": 2, "overwrite": True, "progress": False}
    run_recipe(recipe, tmp_path / "run", **again)
    assert checkpoints_of(tmp_path / "run") == ["checkpoint-epoch2"]


def test_a_folder_named_only_a_little_like_a_checkpoint_is_kept(shared, tmp_path):
    run_recipe(load_recipe(shared), tmp_path / "run", progress=False)
    (tmp_path / "run" / "checkpoint-epochs-compared").mkdir()
    run_recipe(load_recipe(shared), tmp_path / "run", overwrite=True, progress=False)
    assert checkpoints_of(tmp_path / "run") == ["checkpoint-epochs-compared"]


def test_what_a_killed_run_left_can_be_used_and_replaced(shared, tmp_path, monkeypatch):
    def killed(run):
        raise KeyboardInterrupt

    recipe = load_recipe(shared, ["train.epochs=2"])
    monkeypatch.setattr(Run, "restore_best", killed)
    with pytest.raises(KeyboardInterrupt):
        run_recipe(recipe, tmp_path / "run", save_every=1, progress=False)
    monkeypatch.undo()
    left = [path.name for path in sorted((tmp_path / "run").iterdir())]
    saved = ["best-ner", "best-topic", "checkpoint-epoch1", "checkpoint-epoch2"]
    assert left == [*saved, "training_state"]
    for name in saved:
        mtl.MultiTaskModel.from_pretrained(tmp_path / "run" / name)
    with pytest.raises(ConfigError, match="--overwrite"):
        run_recipe(recipe, tmp_path / "run", progress=False)
    assert [path.name for path in sorted((tmp_path / "run").iterdir())] == left
    run_recipe(recipe, tmp_path / "run", overwrite=True, progress=False)
    assert checkpoints_of(tmp_path / "run") == []
    assert not (tmp_path / "run" / "training_state").exists()
    assert (tmp_path / "run" / "metrics.json").exists()


# --- the best of each task ------------------------------------------------------------------------


@pytest.fixture
def scripted(monkeypatch):
    """Validation scores given beforehand, by task; gives the weights after each epoch."""

    def script(**scores):
        left = {name: iter(values) for name, values in scores.items()}
        main = {"topic": "accuracy", "ner": "entity_f1"}

        def score(data, model, split):
            return {task.name: {main[task.name]: next(left[task.name])} for task in data.tasks}

        monkeypatch.setattr(EncodedDataset, "scores", score)
        return after_epoch

    after_epoch = []
    finish = Run.finish_epoch
    monkeypatch.setattr(
        Run, "finish_epoch", lambda run: (after_epoch.append(weights_of(run.model)), finish(run))[1]
    )
    return script


def assert_weights(folder, expected):
    model = mtl.MultiTaskModel.from_pretrained(folder)
    assert all(tensor.equal(expected[name]) for name, tensor in model.state_dict().items())


def test_the_best_epoch_of_each_task_is_kept(shared, tmp_path, scripted):
    """Also where it is not the best of the run; the first of those that are as good."""
    epochs = scripted(topic=[0.3, 0.9, 0.9, 0.1], ner=[0.8, 0.1, 0.5, 0.8])
    recipe = load_recipe(shared, ["train.epochs=4"])
    run_recipe(recipe, tmp_path / "run", progress=False)
    assert_weights(tmp_path / "run" / "best-topic", epochs[1])
    assert_weights(tmp_path / "run" / "best-ner", epochs[0])
    assert_weights(tmp_path / "run", epochs[2])
    assert load_recipe(tmp_path / "run" / "best-ner" / "recipe.toml") == recipe


def test_the_best_of_each_task_is_kept_over_a_stop(shared, tmp_path, scripted, monkeypatch):
    topic, ner = [0.3, 0.9, 0.1, 0.8], [0.1, 0.2, 0.4, 0.3]
    epochs = scripted(topic=topic, ner=ner)
    recipe = load_recipe(shared, ["train.epochs=4"])
    write = MultiTaskModel.save_pretrained

    def stop(model, folder):
        write(model, folder)
        if len(epochs) == 3:  # its folders are written, its state is not
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MultiTaskModel, "save_pretrained", stop)
        with pytest.raises(KeyboardInterrupt):
            run_recipe(recipe, tmp_path / "run", progress=False)
    again = scripted(topic=topic[2:], ner=ner[2:])
    run_recipe(recipe, tmp_path / "run", resume=True, progress=False)
    assert len(again) == 5  # the third was trained twice
    assert_weights(tmp_path / "run" / "best-topic", epochs[1])
    assert_weights(tmp_path / "run" / "best-ner", again[3])


@pytest.mark.filterwarnings("ignore::mtl.errors.TrainingWarning")
def test_the_best_of_each_task_is_of_all_stages(staged, tmp_path, scripted):
    """A later stage that is worse does not replace it; one that is better does."""
    settings = ["stages.0.tasks=['topic', 'ner']", "stages.0.epochs=2", "stages.1.epochs=2"]
    recipe = load_recipe(staged, settings)
    epochs = scripted(topic=[0.3, 0.9], ner=[0.5, 0.4, 0.2, 0.6])
    run_recipe(recipe, tmp_path / "better", progress=False)
    assert_weights(tmp_path / "better" / "best-topic", epochs[1])
    assert_weights(tmp_path / "better" / "best-ner", epochs[3])
    epochs.clear()
    scripted(topic=[0.3, 0.9], ner=[0.5, 0.4, 0.2, 0.3])
    run_recipe(recipe, tmp_path / "worse", progress=False)
    assert_weights(tmp_path / "worse" / "best-ner", epochs[0])


def test_of_a_single_task_the_model_itself_is_the_best(tiny, tmp_path):
    text = Path(tiny).read_text().split("[tasks.qa]")
    path = tmp_path / "single.toml"
    path.write_text(text[0] + text[1][text[1].index("[encoder]") :])
    run_recipe(load_recipe(path), tmp_path / "run", progress=False)
    assert list((tmp_path / "run").glob("best-*")) == []


# --- a run ----------------------------------------------------------------------------------------


def test_the_seed_decides_everything_else_nothing(tiny, tmp_path):
    def run(folder, *settings):
        metrics = run_recipe(load_recipe(tiny, settings), tmp_path / folder, progress=False)
        assert metrics == json.loads((tmp_path / folder / "metrics.json").read_text())
        metrics.pop("train_seconds")
        return metrics, (tmp_path / folder / "model.safetensors").read_bytes()

    first, weights = run("first")
    again, weights_again = run("again")
    other, other_weights = run("other", "seed=1")
    assert again == first
    assert weights_again == weights
    assert other_weights != weights
    assert other["test"] != first["test"]
    trained = [build_tasks(load_recipe(tiny, [f"seed={s}"]))[0].dataset.train for s in (0, 1)]
    assert trained[0] != trained[1]


def test_a_run_without_progress_prints_nothing(tiny, tmp_path, capsys):
    run_recipe(load_recipe(tiny), tmp_path / "run", progress=False)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_without_held_out_data_there_are_no_scores(tiny, tmp_path):
    settings = ["tasks.ner.toy_held_out=0", "tasks.qa.toy_held_out=0"]
    metrics = run_recipe(load_recipe(tiny, settings), tmp_path / "run", progress=False)
    for key in ("validation", "test", "test_unseen", "baselines"):
        assert metrics[key] == {}


def test_test_data_is_read_once_after_training(tiny, tmp_path, monkeypatch):
    """The choice of the best epoch, and any other, reads validation data."""
    recipe = load_recipe(tiny, ["train.epochs=3"])
    read, read_in_training = [], []
    real_predict, real_restore = evaluation.predict_encoded, Run.restore_best

    def predict(model, encoded, tasks, *progress):
        read.append([item.example for item in encoded])
        return real_predict(model, encoded, tasks, *progress)

    def restore(run):
        read_in_training.extend(read)
        real_restore(run)

    monkeypatch.setattr(evaluation, "predict_encoded", predict)
    monkeypatch.setattr(Run, "restore_best", restore)
    run_recipe(recipe, tmp_path / "run", progress=False)
    datasets = [task.dataset for task in build_tasks(recipe)]
    assert read_in_training == [list(dataset.validation) for dataset in datasets] * 3
    for dataset in datasets:
        assert read.count(list(dataset.test)) == 1
        assert read.count(list(dataset.test_unseen)) == 1
