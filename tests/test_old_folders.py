"""A model folder that an earlier version saved loads, and predicts what it predicted then.

`folders/mtl-0.3.0` holds a tiny model with four tasks and a private layer, its weights as text, and
in `expected.json` what version 0.3.0 predicted with it.
"""

import base64
import json
import shutil
from pathlib import Path

import pytest
import torch

import mtl

FOLDER = Path(__file__).parent / "folders" / "mtl-0.3.0"
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
TEXTS = EXPECTED["texts"]  # the second is longer than a row


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("old") / "model"
    shutil.copytree(FOLDER, folder)
    weights = base64.b64decode((FOLDER / "model.safetensors.base64").read_bytes())
    (folder / "model.safetensors").write_bytes(weights)
    return mtl.MultiTaskModel.from_pretrained(folder)


def assert_same(found, expected):
    """Equal, the numbers nearly."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-5)
    else:
        assert found == expected


def assert_predicts_as_then(model, task):
    for found, expected in zip(mtl.predict(model, TEXTS, tasks=task), EXPECTED[task], strict=True):
        said = found[task].to_dict()
        assert_same({key: said[key] for key in expected}, expected)  # today it says more


@pytest.mark.parametrize("task", ["ner", "intent"])
def test_predictions_on_texts(model, task):
    assert_predicts_as_then(model, task)


def test_an_answer(model):
    answer = mtl.answer(model, "Where does Alice Moreau work?", TEXTS[0])
    assert_same(answer.to_dict(), EXPECTED["answer"])


def test_vectors(model):
    vectors = mtl.encode(model, [TEXTS[0], "Bob lives here."])
    assert torch.allclose(torch.as_tensor(vectors), torch.tensor(EXPECTED["vectors"]), atol=1e-5)


def test_its_windows_share_as_much_as_then(model):
    assert model.overlap == 8  # 0.3.0 kept it with the shape of the encoder


def test_saved_again_it_still_predicts_the_same(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = mtl.MultiTaskModel.from_pretrained(tmp_path)
    assert_predicts_as_then(again, "ner")
