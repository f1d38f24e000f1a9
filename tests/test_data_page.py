"""docs/data.md: every sample on it is read as the form that it is shown for."""

import re
import warnings
from pathlib import Path

import pytest

from mtl.cli.main import build_parser
from mtl.data.readers import read
from mtl.errors import DataWarning
from mtl.experiments.recipe import DatasetRecipe, Recipe

PAGE = (Path(__file__).parents[1] / "docs" / "data.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"```data (.+)\n((?:.*\n)+?)```", PAGE)


@pytest.mark.parametrize(("form", "content"), SAMPLES)
def test_a_sample_is_read_as_its_form(form, content, tmp_path):
    path = tmp_path / "sample"
    path.write_text(content, encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)  # notes on what was found
        examples = read(path)
    assert examples.form == form
    assert len(examples) > 0


def test_the_page_has_samples_and_its_options_exist():
    assert len(SAMPLES) > 8
    named = set(re.findall(r"`(?:tasks\.NAME\.)(\w+)`", PAGE)) - {"field"}
    assert named == {"column", "label_names", "whole_documents"}
    assert named <= vars(DatasetRecipe()).keys() | Recipe.__dataclass_fields__.keys()
    usage = build_parser().format_help()
    assert all(f"{command} " in usage for command in ("check", "convert", "train", "evaluate"))
