"""Diagrams: they name what a model truly has and says, and can be read on a page of any colour."""

import io
from collections import Counter

import matplotlib.image
import numpy as np
import pytest
import torch

import mtl
from mtl.errors import ConfigError
from mtl.nn.attention import attention, rotate, rotations
from mtl.plots import plot_architecture, plot_forward_pass, plot_layer, plot_rotary_positions

TEXT, QUESTION = "Alice lives in Oslo.", "Where does Alice live?"


@pytest.fixture(scope="module")
def tasks(sentences):
    return [mtl.NERTask("ner", mtl.Dataset(train=sentences)), mtl.QATask("questions")]


@pytest.fixture(scope="module")
def model(build_model, tasks):
    return build_model(tasks, d_model=32, n_heads=4, d_ff=48, embedding_std=1.0)


@pytest.fixture(scope="module", params=["architecture", "forward pass", "layer", "rotary"])
def figure(request, model):
    if request.param == "architecture":
        return plot_architecture(model)
    if request.param == "forward pass":
        return plot_forward_pass(model, TEXT, QUESTION)
    if request.param == "layer":
        return plot_layer(model.encoder.config)
    return plot_rotary_positions()


def texts(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts if text.get_text()]


def pixels(figure):
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=50, transparent=True)
    image.seek(0)
    return matplotlib.image.imread(image)  # (height, width, 4), from 0 to 1


def test_every_text_is_inside_the_picture(figure):
    pixels(figure)  # lays the texts out
    page = figure.bbox
    for text in (text for axis in figure.axes for text in axis.texts if text.get_text()):
        box = text.get_window_extent()
        sides = (page.x0 <= box.x0, box.x1 <= page.x1, page.y0 <= box.y0, box.y1 <= page.y1)
        assert all(sides), text.get_text()


def test_a_dark_page_does_not_shine_through(figure):
    """All but the margin around the card looks the same on any page."""
    height, width, _ = pixels(figure).shape
    inside = pixels(figure)[10 : height - 10, 10 : width - 10]
    np.testing.assert_array_equal(inside[..., 3], 1)
    assert pixels(figure)[0, 0, 3] == 0


def test_every_diagram_describes_itself(figure):
    assert len(figure.alt) > 80
    assert figure.alt.endswith(".")


# --- architecture ---------------------------------------------------------------------------------


def test_architecture_names_what_the_model_has(model):
    figure = plot_architecture(model)
    everything = "\n".join(texts(figure))
    total = sum(p.numel() for p in model.parameters())
    shared = sum(p.numel() for p in model.encoder.parameters())
    for words in (
        f"{total:,} parameters, {shared / total:.1%} of them shared",
        f"{len(model.tokenizer):,} ids",
        "encoder layer × 1",
        "4 heads of width 8",
        "width 48",
        "pre-norm",
        "sinusoidal positions",
        "segments",
        "(B, T, 32)",
    ):
        assert words in everything
    heads = [text for text in texts(figure) if "head\n" in text]
    assert heads == [
        f"{name.upper()} head\n{type(head).__name__}\n"
        f"{sum(p.numel() for p in head.parameters()):,} parameters"
        for name, head in model.heads.items()
    ]
    assert "NER head" in heads[0]
    assert "QUESTIONS head" in heads[1]
    for task in model.tasks.values():
        assert task.answers_with in texts(figure)


def test_architecture_of_another_model(build_model):
    model = build_model([mtl.QATask("qa")], n_types=0, norm="post", positions="learned", n_layers=2)
    everything = "\n".join(texts(plot_architecture(model)))
    for words in ("encoder layer × 2", "post-norm", "learned positions"):
        assert words in everything
    assert "segments" not in everything
    assert "NER" not in everything


def test_architecture_says_that_narrow_embeddings_are_projected(build_model):
    model = build_model([mtl.QATask("qa")], n_types=0, d_embedding=8, d_model=16)
    assert "token embeddings (8 → 16), sinusoidal positions" in texts(plot_architecture(model))


# --- the way of a sentence ------------------------------------------------------------------------


def test_forward_pass_shows_true_tokens_and_ids(model):
    shown = texts(plot_forward_pass(model, TEXT, QUESTION))
    read = Counter()
    for pair in ((TEXT, None), (QUESTION, TEXT)):
        (row,) = model.tokenizer.rows(pair, 64)
        read.update([*model.tokenizer.decode(row.input_ids), *map(str, row.input_ids)])
    assert read <= Counter(shown)
    encoder = sum(p.numel() for p in model.encoder.parameters())
    assert f"one encoder for both tasks: 1 layer, {encoder:,} parameters" in shown


def test_forward_pass_shows_what_the_model_predicts(model):
    figure = plot_forward_pass(model, TEXT, QUESTION)
    shown = texts(figure)
    tagged = mtl.predict(model, TEXT, tasks=["ner"])["ner"]
    assert [word for word in shown if word == "O" or word[:2] in ("B-", "I-")] == tagged.tags
    for entity in tagged.entities:
        assert f"{entity.word}  {entity.entity_group}" in shown
    answer = mtl.answer(model, QUESTION, TEXT, task="questions").answer
    assert answer in shown
    assert f"QUESTIONS finds '{answer}'." in figure.alt
    starts = [float(word) for word in shown if word[:2] in ("0.", "1.")]
    assert len(starts) == 2 * 5  # start and end, at each token of the context
    assert sum(starts) == pytest.approx(2, abs=0.05)


def test_forward_pass_leaves_the_model_as_it_was(model):
    model.train()
    plot_forward_pass(model, TEXT, QUESTION)
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_forward_pass_needs_both_tasks(build_model, tasks):
    with pytest.raises(ConfigError, match=r"a task of kind 'qa'(.|\n)*ner \(ner\)"):
        plot_forward_pass(build_model(tasks[:1]), TEXT, QUESTION)


def test_forward_pass_of_a_long_text_is_refused(model):
    with pytest.raises(ConfigError, match=r"too many for one picture(.|\n)*50 tokens"):
        plot_forward_pass(model, TEXT * 4, QUESTION)


# --- one layer ------------------------------------------------------------------------------------


def test_layer_has_the_sizes_of_the_config():
    config = mtl.EncoderConfig(9, d_model=48, n_heads=3, n_layers=5, d_ff=96, activation="relu")
    shown = texts(plot_layer(config))
    everything = "\n".join(shown)
    for words in ("of 5", "48 = 3 × 16", "48 → 96 (relu) → 48", "3 heads", "(T, 48)", "√16"):
        assert words in everything
    assert shown.count("16") == 4 * 3  # query, key, value and result of each head
    assert shown.count("layer\nnorm") == 2
    assert "positions" not in everything  # no head differs from another


def test_layer_of_a_modern_encoder_has_its_gate_and_its_windows():
    config = mtl.EncoderConfig(
        9, n_layers=11, d_ff=96, activation="geglu", local_attention=128, positions="rotary"
    )
    picture = plot_layer(config)
    words = "One layer in 3 sees all tokens, the others 64 on either side."
    assert words in texts(picture)
    assert picture.alt.endswith(words)
    assert "feed-forward, each token alone\n64 → 2 × 96 (geglu) → 64" in texts(picture)


def test_layer_says_which_heads_see_positions():
    config = mtl.EncoderConfig(9, d_model=32, n_heads=4, positions="rotary", rotary_heads=1)
    heads = [words for words in texts(plot_layer(config)) if words.startswith("head ")]
    assert ["no positions" in words for words in heads] == [False, True, True, True]


@pytest.mark.parametrize(("norm", "above"), [("pre", True), ("post", False)])
def test_layer_norms_are_where_the_config_says(norm, above):
    """Pre-norm on the side roads, post-norm on the stream itself."""
    (axis,) = plot_layer(mtl.EncoderConfig(9, norm=norm)).axes
    (plus, *_), norms = (
        [text.get_position()[1] for text in axis.texts if text.get_text() == words]
        for words in ("+", "layer\nnorm")
    )
    assert [y > plus for y in norms] == [above, above]


# --- rotary positions -----------------------------------------------------------------------------


def test_rotary_positions_shows_the_package_s_own_products():
    """The products that are written below the dials come out of attention with the same vectors."""
    products = [words for words in texts(plot_rotary_positions()) if words.startswith("q · k = ")]
    first, second, third = (float(words[8:].replace("−", "-")) for words in products)
    assert first == second != third
    config = mtl.EncoderConfig(vocab_size=1, d_model=2, n_heads=1, positions="rotary")
    angles = torch.tensor([80.0, 40.0]).deg2rad()
    vectors = torch.stack([angles.cos(), angles.sin()], dim=-1)  # (2, 2): query and key
    query, key = (
        rotate(vector.expand(1, config.max_length, 2), rotations(config, 10_000))
        for vector in vectors
    )
    values = torch.eye(config.max_length)[None, None]
    weights, _ = attention(query[None], key[None], values, mask=None)
    # A softmax forgets what is added to all scores of a row; differences of them remain.
    logs = weights[0, 0].log() * 2**0.5
    assert (logs[4, 6] - logs[4, 7]).item() == pytest.approx(first - third, abs=0.02)
