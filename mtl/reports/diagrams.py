"""A model or its settings go in; diagrams of its parts come out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..model import MultiTaskModel
from ..nn.attention import rotate, rotations
from ..nn.config import EncoderConfig
from .picture import Picture
from .sketch import Sketch
from .style import INK, task_colour

HEAD_COLOURS = ("#ffd8a8", "#b2f2bb", "#a5d8ff", "#eebefa", "#ffec99", "#ffc9c9")
ATTENTION, FEED_FORWARD, STREAM, NORM = "#d0ebff", "#fff3bf", "#adb5bd", "#f1f3f5"
QUERY, KEY = "#1971c2", "#e8590c"


def plot_architecture(model: MultiTaskModel) -> Picture:
    """The model as boxes: text, tokenizer, embeddings, shared layers, one head per task."""
    config = model.encoder.config
    sketch = Sketch(8, 6.5)
    layer = (
        f"encoder layer × {len(model.encoder.layers)}\n"
        f"self-attention ({config.n_heads} heads of width {config.head_width})\n"
        f"feed-forward (width {config.feed_forward_width}), {config.norm}-norm, residuals"
    )
    boxes = [
        (0.55, 0.55, "text: a sentence, or a question with its context", NORM),
        (1.5, 0.55, f"tokenizer, {len(model.tokenizer):,} ids:  [CLS] ... [SEP]", NORM),
        (2.45, 0.55, f"{_embeddings(config)}, {config.positions} positions", "#d0ebff"),
        (3.4, 1.05, layer, "#a5d8ff"),
    ]
    for y, height, words, colour in boxes:
        sketch.box(0.96, y, 6.08, height, words, fill=colour)
    for y, height, *_ in boxes[:-1]:
        sketch.arrow((4, y + height), (4, y + 0.95))
    sketch.write(7.25, 3.93, "shared", rotation=90, color="#1864ab", size=11)
    sketch.write(4.75, 4.57, f"(B, T, {config.d_model})", size=9, ha="left")
    width = 6.08 / len(model.tasks)
    for i, name in enumerate(model.tasks):
        _draw_head(sketch, model, i, name, 0.96 + i * width, width)
    total = sum(p.numel() for p in model.parameters())
    shared = sum(p.numel() for p in model.encoder.parameters())
    sketch.write(4, 0.28, f"{total:,} parameters, {shared / total:.1%} of them shared")
    sketch.picture.alt = (
        f"From bottom to top: text, tokenizer, embeddings, {len(model.encoder.layers)} shared "
        f"encoder layers, and a head for each task: {', '.join(model.tasks)}. {total:,} parameters,"
        f" {shared / total:.1%} of them shared."
    )
    return sketch.picture


def _embeddings(config: EncoderConfig) -> str:
    """What the first layer reads, in words."""
    segments = " + segments" if config.n_types else ""
    is_projected = config.embedding_width != config.d_model
    widths = f" ({config.embedding_width} → {config.d_model})" if is_projected else ""
    return f"token embeddings{segments}{widths}"


def _draw_head(
    sketch: Sketch, model: MultiTaskModel, i: int, name: str, x: float, width: float
) -> None:
    """The head of a task, from the shared layers to its answer."""
    head = model.heads[name]
    parameters = sum(p.numel() for p in head.parameters())
    words = f"{name.upper()} head\n{type(head).__name__}\n{parameters:,} parameters"
    if model.private:
        layers = sum(p.numel() for p in model.private[name].parameters())
        words += f"\non {model.private_layers} private layer(s), {layers:,}"
    if name in model.adapters:
        added = sum(p.numel() for p in model.adapters[name].parameters())
        words += f"\nwith an adapter, {added:,}"
    size = 10 if len(model.tasks) < 3 else 8
    middle, colour = x + width / 2, task_colour(i)
    sketch.box(x + 0.08, 4.95, width - 0.16, 0.87, words, edge=colour, size=size, linewidth=2)
    sketch.arrow((4, 4.45), (middle, 4.95))
    sketch.arrow((middle, 5.82), (middle, 6.08))
    sketch.write(middle, 6.22, model.tasks[name].answers_with)


def plot_layer(config: EncoderConfig) -> Picture:
    """One encoder layer: the residual stream and what adds to it; D = H × K inside the attention.

    Args:
        config: its sizes are written into the picture; pre- or post-norm decides where the norms
            go.
    """
    sketch = Sketch(11, 6.9)
    width, heads, narrow = config.d_model, config.n_heads, config.head_width
    sketch.write(0.3, 6.6, f"One encoder layer, of {config.n_layers}", size=12, ha="left")
    sketch.write(10.7, 6.6, _reach(config), ha="right")
    _draw_stream(sketch, config)
    title = f"Inside the attention: {width} = {heads} × {narrow}"
    sketch.write(0.3, 3.5, title, size=12, ha="left")
    _draw_heads(sketch, config)
    norm = "before each is" if config.norm == "pre" else "after each sum comes"
    sketch.picture.alt = (
        f"Above: the residual stream, {width} numbers per token, runs straight through the layer. "
        f"Attention, then feed-forward, add to it what they find; {norm} a layer norm. Below: the "
        f"{width} numbers of query, key and value are split among {heads} heads of width {narrow}. "
        "Each head mixes the tokens in its own way; the output matrix joins what they found. "
        f"{_reach(config)}"
    ).strip()
    return sketch.picture


def _reach(config: EncoderConfig) -> str:
    """How far the layers see, if that differs from layer to layer."""
    if not config.local_attention:
        return ""
    side = config.local_attention // 2
    return f"One layer in {config.global_every} sees all tokens, the others {side} on either side."


def _draw_stream(sketch: Sketch, config: EncoderConfig) -> None:
    """The straight path through the layer, and the two side roads that add to it."""
    y, end = 4.25, 10.3
    stream = {"linewidth": 7, "mutation_scale": 22}
    sketch.arrow((0.7, y), (end, y), STREAM, **stream)
    sketch.write(0.3, y + 0.32, f"(T, {config.d_model})", size=10, ha="left")
    sketch.write(end + 0.35, y + 0.32, f"(T, {config.d_model})", size=10, ha="right")
    sketch.write(5.5, y - 0.4, "residual stream: each side road adds to what is there")
    # With a gate, each feature is made of two numbers.
    twice = "2 × " if config.activation == "geglu" else ""
    feed_forward = (
        f"feed-forward, each token alone\n{config.d_model} → {twice}{config.feed_forward_width} "
        f"({config.activation}) → {config.d_model}"
    )
    attention = f"self-attention: tokens look\nat each other, in {config.n_heads} heads"
    roads = ((1.3, attention, ATTENTION), (5.8, feed_forward, FEED_FORWARD))
    for x, words, colour in roads:
        pre = config.norm == "pre"
        plus, top = x + (3.9 if pre else 3.1), y + 1.45
        sketch.arrow((x, y + 0.06), (x, top - 0.4), INK)
        if pre:
            sketch.box(x - 0.3, top - 0.4, 0.72, 0.8, "layer\nnorm", fill=NORM, size=9)
            sketch.arrow((x + 0.42, top), (x + 0.75, top))
            sketch.box(x + 0.75, top - 0.4, 2.5, 0.8, words, fill=colour)
        else:
            sketch.box(x - 0.1, top - 0.4, 2.5, 0.8, words, fill=colour)
            sketch.box(plus + 0.3, y - 0.23, 0.72, 0.46, "layer\nnorm", fill=NORM, size=9)
        start = x + (3.25 if pre else 2.4)
        bend = "angle,angleA=0,angleB=90,rad=6"
        sketch.arrow((start, top), (plus, y + 0.17), connectionstyle=bend)
        sketch.circle(plus, y, 0.17, "+", size=14)


def _draw_heads(sketch: Sketch, config: EncoderConfig) -> None:
    """D numbers per token, split into K numbers for each of H heads, which work independently."""
    bottom, tall = 0.6, 2.35
    middle, each = bottom + tall / 2, tall / config.n_heads
    square = f"{config.d_model} × {config.d_model}"
    for x in (0.6, 10.05):
        sketch.box(x, bottom, 0.35, tall, fill="#dee2e6", rounding=0.02)
        sketch.write(x + 0.17, bottom - 0.2, str(config.d_model))
    sketch.arrow((1.0, middle), (1.75, middle))
    sketch.write(1.37, middle + 0.4, f"three\nmatrices\n{square}", size=9)
    for x, name in ((1.8, "query"), (2.4, "key"), (3.0, "value"), (8.3, "side by side")):
        sketch.write(x + 0.17, bottom - 0.2, name, size=9)
        for i in range(config.n_heads):
            low = bottom + tall - (i + 1) * each
            words = str(config.head_width) if each > 0.15 else ""
            sketch.box(x, low, 0.35, each, words, fill=_head_colour(i), size=8, rounding=0.02)
    size = 9 if config.n_heads <= 6 else 7
    for i in range(config.n_heads):
        low = bottom + tall - (i + 1) * each
        y, high = low + each / 2, 0.8 * each
        sketch.arrow((3.38, y), (3.8, y), mutation_scale=8)
        words = f"head {i + 1}: softmax(q · k / √{config.head_width}) weighs v{_sees(config, i)}"
        sketch.box(3.8, low + each / 10, 4.1, high, words, fill=_head_colour(i), size=size)
        sketch.arrow((7.9, y), (8.28, y), mutation_scale=8)
    sketch.arrow((8.68, middle), (10.02, middle))
    sketch.write(9.35, middle + 0.4, f"output\nmatrix\n{square}", size=9)


def _head_colour(i: int) -> str:
    return HEAD_COLOURS[i % len(HEAD_COLOURS)]


def _sees(config: EncoderConfig, head: int) -> str:
    """Whether a head sees positions, if that differs from head to head."""
    if config.n_rotating in (0, config.n_heads):
        return ""
    return ", sees positions" if head < config.n_rotating else ", sees no positions"


def plot_rotary_positions() -> Picture:
    """How rotary positions make a dot product depend only on the distance (Su et al. 2021).

    One pair of features of a query and a key, turned by `mtl.nn.attention.rotate`, as three dials:
    twice the same distance at different places, then a larger one.
    """
    sketch = Sketch(10, 4.3)
    # One head of width 2: a single pair, which turns by one radian per position.
    config = EncoderConfig(vocab_size=1, d_model=2, n_heads=1, positions="rotary")
    table = rotations(config, config.rotary_theta)  # (1, T, 1)
    query, key = (_point(degrees).expand(config.max_length, 2) for degrees in (80, 40))
    queries, keys = (rotate(x[None], table)[0] for x in (query, key))  # (T, 2)
    told = []
    for i, (m, n) in enumerate(((1, 3), (4, 6), (4, 7))):
        x, y = 1.75 + 3.25 * i, 2.3
        _draw_dial(sketch, x, y, (query[0], key[0]), (queries[m], keys[n]))
        product = float(queries[m] @ keys[n])
        sketch.write(x, 4.0, f"query at {m}, key at {n}: {n - m} apart", size=11)
        sketch.write(x, 0.6, f"q · k = {product:.2f}".replace("-", "−"), size=12, weight="bold")
        told.append(f"query at {m} and key at {n}, {n - m} apart: {product:.2f}")
    words = "pale: before turning. Both turn by 1 radian (57°) per position."
    sketch.write(5, 0.25, words, size=9)
    sketch.picture.alt = (
        "Three dials, each with a query and a key that are turned by an angle that grows with "
        f"their position. Their dot products: {'; '.join(told)}. It depends on the distance only."
    )
    return sketch.picture


def _point(degrees: float) -> Tensor:
    """The point of the unit circle at an angle."""
    return torch.tensor([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])


def _draw_dial(
    sketch: Sketch,
    x: float,
    y: float,
    before: tuple[Tensor, Tensor],
    turned: tuple[Tensor, Tensor],
) -> None:
    """A circle around `(x, y)` with query and key before and after turning."""
    radius = 1.2
    sketch.circle(x, y, radius)
    for vectors, names, style in (
        (before, ("", ""), {"linewidth": 1.5, "alpha": 0.3}),
        (turned, ("q", "k"), {"linewidth": 2.5}),
    ):
        for vector, name, colour in zip(vectors, names, (QUERY, KEY), strict=True):
            across, up = (radius * vector).tolist()
            sketch.arrow((x, y), (x + across, y + up), colour, **style)
            sketch.write(x + 1.14 * across, y + 1.14 * up, name, size=12, color=colour)
    first, last = (math.degrees(math.atan2(vector[1], vector[0])) for vector in turned)
    sketch.arc(x, y, 0.35, first, last)
    middle = turned[0] + turned[1]
    across, up = (0.6 * middle / middle.norm()).tolist()
    between = math.degrees(math.acos(turned[0] @ turned[1]))
    sketch.write(x + across, y + up, f"{between:.0f}°", size=9)
