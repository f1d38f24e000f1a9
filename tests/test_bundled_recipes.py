"""The recipes that come with the package: each loads, and what it says to type can be typed."""

import tomllib
from importlib import resources

import pytest

from mtl.cli.main import build_parser
from mtl.experiments.bundled import bundled_recipes
from mtl.experiments.recipe import load_recipe

pytestmark = pytest.mark.usefixtures("no_curves")
KINDS = {
    "practical7": ["ner", "qa"],
    "conll-squad": ["ner", "qa"],
    "jsonl": ["classification", "ner"],
    "news-ner": ["classification", "ner"],
    "pos-ner": ["tokens", "ner"],
    "sentence-embeddings": ["embedding", "classification", "ner"],
    "squad2": ["qa"],
    "intents": ["classification", "ner"],
    "emotions": ["classification"],
    "pairs": ["pair-classification", "regression"],
    "documents": ["nested-ner", "ner"],
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
        load_recipe(
            options.recipe,
            options.set,
            data=options.data,
            preset=options.preset,
            hardware=options.hardware,
        )


def test_bundled_recipes_load_under_their_own_name_and_say_what_they_do():
    for name, what in bundled_recipes().items():
        assert load_recipe(name).name == name
        assert len(what) > 20
        assert not what.startswith("#")
