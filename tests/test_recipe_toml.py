"""Recipes and TOML: any value is read, checked and written, and a written recipe reads back."""

import copy
import math
import tomllib
from pathlib import Path

import pytest
import recipes
from hypothesis import given, settings
from hypothesis import strategies as st
from recipes import TINY

from mtl.errors import ConfigError
from mtl.experiments.build import build_model, build_tasks
from mtl.experiments.bundled import bundled_recipes
from mtl.experiments.recipe import DatasetRecipe, Recipe, TaskRecipe, load_recipe, recipe_of
from mtl.experiments.toml_text import section_lines
from mtl.training.config import TrainConfig

# pytest looks for a fixture by its name in this module.
recipe = recipes.recipe
tiny = recipes.tiny
write = recipes.write

pytestmark = pytest.mark.usefixtures("no_curves")
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
        "loss_weights": st.dictionaries(st.sampled_from(["first", "sharer"]), RATES),
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
            "sampling": st.sampled_from(["alternating", "joint"]),
            "loss_weights": st.dictionaries(st.sampled_from(["first", "sharer"]), RATES),
        },
    ),
)


@given(RECIPES)
@settings(max_examples=40)
def test_to_toml_reads_back(tmp_path_factory, recipe):
    path = tmp_path_factory.getbasetemp() / "round_trip.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8", newline="")
    assert load_recipe(path) == recipe


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


SCALARS = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(codec="utf-8"), max_size=5),
    st.dates(),
    st.times().map(lambda t: t.replace(fold=0)),  # a fold is Python's, not TOML's
    st.datetimes().map(lambda t: t.replace(fold=0)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=3), VALUES, max_size=3))
def test_every_value_of_toml_is_written_as_it_was_read(values):
    text = "\n".join(section_lines(values))
    assert repr(tomllib.loads(text)) == repr(values)  # repr, since nan is not equal to itself


def test_infinity_in_a_recipe_is_read_back(tmp_path):
    settings = ["train.sampling='joint'", "train.weighting='dwa'"]
    recipe = load_recipe("practical7", [*settings, "train.weighting_options={temperature = inf}"])
    (tmp_path / "own.toml").write_text(recipe.to_toml())
    again = load_recipe(tmp_path / "own.toml")
    assert again == recipe
    assert again.train["weighting_options"]["temperature"] == math.inf


def places(content, above=()):
    """The keys that lead to every value of a nested dict, from the top."""
    items = content.items() if isinstance(content, dict) else ()
    for key, value in items:
        yield (*above, key)
        yield from places(value, (*above, key))


CONTENTS = {name: tomllib.loads(load_recipe(name).to_toml()) for name in bundled_recipes()}


@given(st.data())
def test_whatever_stands_at_a_key_the_recipe_is_good_or_says_what_is_wrong(data):
    content = copy.deepcopy(CONTENTS[data.draw(st.sampled_from(sorted(CONTENTS)))])
    *above, key = data.draw(st.sampled_from(list(places(content))))
    section = content
    for name in above:
        section = section[name]
    section[key] = data.draw(VALUES)
    try:
        written = recipe_of(content, "own.toml").to_toml()
    except ConfigError:
        return
    assert recipe_of(tomllib.loads(written), "own.toml").to_toml() == written


DEEP = "[" * 100_000


def test_a_recipe_nested_without_end_is_refused(tmp_path):
    path = tmp_path / "own.toml"
    for content in (f"name = {DEEP}", f"seed = {'9' * 10_000}", b"\xff"):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(ConfigError, match="the recipe is not TOML"):
            load_recipe(path)


@pytest.mark.parametrize("value", [DEEP, "9" * 10_000])
def test_a_setting_that_is_not_toml_is_a_text(value):
    with pytest.raises(ConfigError, match=r"train\.epochs must be a whole number"):
        load_recipe("practical7", [f"train.epochs={value}"])


@pytest.mark.parametrize("size", [10**14, 2**62])
@pytest.mark.parametrize("key", ["d_ff", "d_model", "max_length", "n_types"])
def test_an_encoder_that_fits_into_no_memory_is_refused(key, size):
    small = ["tasks.ner.toy_train=4", "tasks.qa.toy_train=4"]
    recipe = load_recipe("practical7", [*small, f"encoder.{key}={size}"])
    with pytest.raises(ConfigError, match="not enough memory for an encoder") as caught:
        build_model(recipe, build_tasks(recipe))
    assert f"encoder.{key} {size}" in str(caught.value)


@pytest.mark.parametrize("method", ["weighting_options={alpha=N}", "loss_weights={ner=N}"])
def test_a_number_that_is_too_large_is_refused_inside_a_section_too(method):
    setting = f"train.{method}".replace("N", "1" + "0" * 400)
    with pytest.raises(ConfigError):
        load_recipe("practical7", ["train.weighting=gradnorm", "train.sampling=joint", setting])


def test_an_infinite_weight_decay_is_refused():
    with pytest.raises(ConfigError, match=r"train\.weight_decay must be finite"):
        TrainConfig(weight_decay=math.inf)
