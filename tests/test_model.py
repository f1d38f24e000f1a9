"""The model itself: how it cuts long texts into windows, and what it remembers of where it is from.

Heads, tasks and prediction are in test_inference.py, private layers in test_private_layers.py.
"""

import json

import pytest

import mtl
from mtl.inference import encode_for
from mtl.tasks.ner import NERTask


@pytest.mark.parametrize("overlap", [0, 3])
def test_windows_share_as_many_pieces_as_the_model_says(build_model, overlap):
    model = build_model([NERTask("ner", types=["PER"])], max_length=12, overlap=overlap)
    (item,) = encode_for(model, [mtl.TextExample("one " * 40)])
    starts = [row.first_piece for row in item.rows]
    assert starts[1] == 10 - overlap  # a row of 12 holds ten pieces between [CLS] and [SEP]


@pytest.mark.parametrize("overlap", [-1, 1.5, True, "8"])
def test_what_is_no_overlap(build_model, overlap):
    with pytest.raises(mtl.ConfigError, match="overlap must be a whole number, at least 0") as told:
        build_model([], overlap=overlap)
    assert f"found: {overlap!r}" in str(told.value)


def test_overlap_and_checkpoint_are_kept_with_the_model(build_model, tmp_path):
    model = build_model([NERTask("ner", types=["PER"])], overlap=5)
    model.encoder.pretrained = "some-checkpoint"
    model.save_pretrained(tmp_path)
    again = mtl.MultiTaskModel.from_pretrained(tmp_path)
    assert (again.overlap, again.encoder.pretrained) == (5, "some-checkpoint")
    shape = json.loads((tmp_path / "config.json").read_text())["encoder"]
    assert mtl.EncoderConfig(**shape) == model.encoder.config


def test_folders_of_version_0_3_kept_them_with_the_shape_of_the_encoder(build_model, tmp_path):
    build_model([NERTask("ner", types=["PER"])]).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["overlap"], config["pretrained"]
    config["encoder"] |= {"overlap": 7, "pretrained": "some-checkpoint"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = mtl.MultiTaskModel.from_pretrained(tmp_path)
    assert (again.overlap, again.encoder.pretrained) == (7, "some-checkpoint")


def test_a_recipe_says_both_in_its_section_on_the_encoder():
    with pytest.raises(mtl.ConfigError, match=r"encoder\.overlap must be a"):
        mtl.load_recipe("practical7", ["encoder.overlap=-1"])
    with pytest.raises(mtl.ConfigError, match=r"unknown key model\.overlap"):
        mtl.load_recipe("practical7", ["model.overlap=8"])
