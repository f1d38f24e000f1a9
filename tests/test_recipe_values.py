"""Whatever value TOML knows, a recipe reads, checks and writes; it never crashes."""

import copy
import math
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl.errors import ConfigError
from mtl.experiments.bundled import bundled_recipes
from mtl.experiments.recipe import load_recipe, recipe_of
from mtl.experiments.toml_text import section_lines
from mtl.training.config import TrainConfig

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
    settings = ["train.steps='joint'", "train.weighting='dwa'"]
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


def test_an_infinite_weight_decay_is_refused():
    with pytest.raises(ConfigError, match=r"train\.weight_decay must be finite"):
        TrainConfig(weight_decay=math.inf)
