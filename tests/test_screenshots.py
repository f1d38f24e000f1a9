"""The pictures of the documentation: each can be drawn, from any model, and describes itself."""

from importlib import import_module
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest

import mtl

FOLDER = Path(__file__).parents[1] / "screenshots"


@pytest.fixture
def scripts(monkeypatch):
    """The modules of the folder, which is no package."""
    monkeypatch.syspath_prepend(FOLDER)
    return SimpleNamespace(make=import_module("make"), highlight=import_module("highlight"))


def test_every_picture_can_be_drawn_and_describes_itself(scripts, build_model, sentences, tmp_path):
    tasks = [mtl.NERTask("ner", mtl.Dataset(train=sentences)), mtl.QATask("qa")]
    drawn = dict(scripts.make.pictures(build_model(tasks, embedding_std=1.0)))
    assert {"highlights", "forward_pass", "comparison"} <= drawn.keys()
    for name, picture in drawn.items():
        assert picture.alt, name
        picture.savefig(tmp_path / f"{name}.png", dpi=30)


def test_a_marked_text_has_all_its_words_and_whole_spans(scripts):
    text = "Last year Zelda Fitzwilliam set up Moonbase."
    pieces = scripts.highlight.pieces(text, [(10, 27, "PER"), (35, 43, "ORG")])
    assert [piece.words for piece in pieces if piece.label] == ["Zelda Fitzwilliam", "Moonbase"]
    assert " ".join(piece.words for piece in pieces) == text.replace("base.", "base .")


def test_words_stay_inside_the_card_and_apart(scripts, build_model, sentences):
    model = build_model([mtl.NERTask("ner", mtl.Dataset(train=sentences))], embedding_std=1.0)
    said = mtl.predict(model, "Alice works at Acme Corp in Paris. " * 4)["ner"]
    picture = scripts.highlight.draw_highlights([("mtl.predict(model, text)", said)])
    picture.savefig(BytesIO())  # lays the texts out
    page = picture.bbox
    boxes = [text.get_window_extent() for text in picture.axes[0].texts]
    assert all(page.x0 < box.x0 and box.x1 < page.x1 for box in boxes)
    assert all(page.y0 < box.y0 and box.y1 < page.y1 for box in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[i + 1 :])
