"""A model, a text and a question go in; a picture of the way from words to answers comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib import colormaps
from matplotlib.colors import to_hex
from torch import Tensor

from ..data.batching import Batch
from ..data.encoded import EncodedExample
from ..data.examples import Query
from ..data.tokenizers.base import Row
from ..errors import ConfigError
from ..inference.loop import batches, encode_for
from ..model import MultiTaskModel
from ..tasks.answers import QAPrediction
from ..tasks.base import Task
from ..tasks.ner import NERPrediction, NERTask
from ..tasks.qa import QATask
from ..tasks.spans import COLOURS, OTHER_COLOUR
from .picture import Picture
from .sketch import Sketch
from .style import task_colour

SHOWN_FEATURES = 8  # how many of each vector's D numbers are drawn
MOST_TOKENS = 30  # in both texts together: more would be too small to read
HEIGHT, LEFT, GAP = 7.1, 1.35, 0.4  # of the picture; of the row names; between the lanes


@dataclass(frozen=True)
class Cell:
    """What a head says at one token."""

    words: str
    colour: str


@dataclass(frozen=True)
class Lane:
    """What one task reads, and everything that becomes of it.

    Attributes:
        vectors, hidden: `(T, D)`, before and after the encoder.
        said: rows of cells by name, each cell at its token's position.
        found: the outcome, as words and the colours behind them.
    """

    task: str
    text: str
    tokens: list[str]
    ids: list[int]
    vectors: Tensor
    hidden: Tensor
    said: dict[str, dict[int, Cell]]
    found: list[Cell]

    @property
    def widths(self) -> list[float]:
        """Widths of the tokens' columns, in inches."""
        return [max(0.44, 0.093 * len(token) + 0.15) for token in self.tokens]

    @property
    def width(self) -> float:
        return sum(self.widths)


def plot_forward_pass(model: MultiTaskModel, text: str, question: str) -> Picture:
    """A text's whole way through the model, with its true tokens, ids and predictions.

    Two lanes lead through one encoder: on the left the text alone, for the model's NER task; on the
    right the question with the text as its context, for its QA task.

    Args:
        text: a short sentence.
        question: one that the text answers.

    Raises:
        ConfigError: the model has no NER task or no QA task, or there are more than 30 tokens.
    """
    names = [_first(model, kind) for kind in (NERTask, QATask)]
    encoded = encode_for(model, [Query(text), Query(question, text)])
    n_tokens = sum(len(row) for item in encoded for row in item.rows)
    if n_tokens > MOST_TOKENS or any(len(item.rows) > 1 for item in encoded):
        raise ConfigError(
            f"more than {MOST_TOKENS} tokens, or several windows, are too many for one picture",
            found=f"{n_tokens} tokens in both texts together",
            fix="choose a shorter text and question",
        )
    lanes = [_lane(model, name, item) for name, item in zip(names, encoded, strict=True)]
    sketch = Sketch(LEFT + sum(lane.width for lane in lanes) + GAP + 0.3, HEIGHT)
    _name_rows(sketch, model)
    right = LEFT + lanes[0].width + GAP
    for lane, left in zip(lanes, (LEFT, right), strict=True):
        _draw_lane(sketch, model, lane, left)
    _draw_encoder(sketch, model, right + lanes[1].width - LEFT)
    told = [f"{lane.task.upper()} finds {_in_words(lane.found)}" for lane in lanes]
    sketch.picture.alt = (
        f"From top to bottom: the text '{text}' becomes {len(lanes[0].tokens)} tokens, their ids, "
        f"and one vector of {model.encoder.config.d_model} numbers each. Beside it, the question "
        f"'{question}' with the text as its context becomes {len(lanes[1].tokens)} tokens. Both go "
        f"through the same encoder, then each to the head of its task: {' and '.join(told)}."
    )
    return sketch.picture


def _first(model: MultiTaskModel, kind: type[Task]) -> str:
    """The name of the model's first task of a kind."""
    for name, task in model.tasks.items():
        if isinstance(task, kind):
            return name
    raise ConfigError(
        f"the picture needs a model with a task of kind {kind.kind!r}",
        found=", ".join(f"{name} ({task.kind})" for name, task in model.tasks.items()),
    )


@torch.no_grad()
def _lane(model: MultiTaskModel, name: str, item: EncodedExample) -> Lane:
    """Take one text through the model and keep what it becomes at every station."""
    (row,) = item.rows
    # A loop over one batch: `batches` puts the model into evaluation mode and back.
    for _, batch in batches(model, [item]):
        vectors = model.encoder.embed(batch.input_ids, batch.token_type_ids)[0]
        hidden = model.hidden(batch, [name])[name][0]
        outputs = model(batch, [name])[name]
        (prediction,) = model.tasks[name].decode(outputs, batch)
    if isinstance(prediction, NERPrediction):
        said, found = _tags(prediction, row)
    else:
        said, found = _borders(prediction, outputs, batch)
    query, ids = item.example, row.input_ids
    text = query.text if query.second is None else f"{query.text}   +   {query.second}"
    tokens = model.tokenizer.decode(ids)
    return Lane(name, text, tokens, ids, vectors.float().cpu(), hidden.float().cpu(), said, found)


def _tags(prediction: NERPrediction, row: Row) -> tuple[dict[str, dict[int, Cell]], list[Cell]]:
    """The tag of each word, at its first piece, and the entities that the tags spell out."""
    cells = {}
    for piece in row.text.first_pieces:
        tag = prediction.tags[row.text.word_ids[piece]]
        colour = "white" if tag == "O" else COLOURS.get(tag[2:], OTHER_COLOUR)
        cells[row.text_start + piece] = Cell(tag, colour)
    found = [
        Cell(f"{entity.word}  {kind}", COLOURS.get(kind, OTHER_COLOUR))
        for entity in prediction.entities
        for kind in [entity.entity_group]
    ]
    return {"tags": cells}, found or [Cell("no entity", "white")]


def _borders(
    prediction: QAPrediction, outputs: tuple[Tensor, Tensor], batch: Batch
) -> tuple[dict[str, dict[int, Cell]], list[Cell]]:
    """How likely the answer starts and ends at each token of the context, and the answer."""
    blues = colormaps["Blues"]
    said = {}
    for name, logits in zip(("start", "end"), outputs, strict=True):
        logits = logits[0].float().masked_fill(~batch.text_mask[0], float("-inf"))
        shares = logits.softmax(dim=0).tolist()
        said[name] = {
            # At most 0.5: darker blues would need light numbers.
            i: Cell(f"{shares[i]:.2f}", to_hex(blues(0.5 * shares[i])))
            for i in batch.text_mask[0].nonzero()[:, 0].tolist()
        }
    return said, [Cell(prediction.said, OTHER_COLOUR)]


def _name_rows(sketch: Sketch, model: MultiTaskModel) -> None:
    """On the left, say what each row of the picture is."""
    width = model.encoder.config.d_model
    names = {
        "text": 6.5,
        "tokens": 5.83,
        "ids": 5.47,
        f"one vector of\n{width} numbers\nper token (the\nfirst {SHOWN_FEATURES} shown)": 4.7,
        "shared by all": 3.67,
        "the vectors, now\nwith context": 2.85,
        "a head per task": 1.92,
        "what it says": 1.26,
        "what it means": 0.45,
    }
    for name, y in names.items():
        sketch.write(0.17, y, name, size=9.5, ha="left", style="italic")


def _draw_encoder(sketch: Sketch, model: MultiTaskModel, width: float) -> None:
    encoder = model.encoder
    parameters = sum(p.numel() for p in encoder.parameters())
    depth = f"{len(encoder.layers)} layer{'' if len(encoder.layers) == 1 else 's'}"
    words = f"one encoder for both tasks: {depth}, {parameters:,} parameters"
    sketch.box(LEFT, 3.42, width, 0.5, words, fill="#d0ebff", size=12)


def _draw_lane(sketch: Sketch, model: MultiTaskModel, lane: Lane, left: float) -> None:
    """From the text at the top to the outcome at the bottom."""
    colour = task_colour(list(model.tasks).index(lane.task))
    middle = left + lane.width / 2
    sketch.box(left, 6.3, lane.width, 0.4, lane.text, edge=colour, size=11)
    sketch.arrow((middle, 6.28), (middle, 6.0))
    x = left
    for i, width in enumerate(lane.widths):
        _draw_token(sketch, lane, i, x + width / 2, width)
        x += width
    parameters = sum(p.numel() for p in model.heads[lane.task].parameters())
    words = f"{lane.task.upper()} head: {parameters:,} parameters"
    sketch.arrow((middle, 2.4), (middle, 2.11), colour)
    sketch.box(left, 1.75, lane.width, 0.34, words, edge=colour, size=11, linewidth=2)
    _draw_said(sketch, lane, left, colour)


def _draw_token(sketch: Sketch, lane: Lane, i: int, x: float, width: float) -> None:
    """One token's column, from its word down to its vector after the encoder."""
    sketch.box(x - width / 2 + 0.03, 5.7, width - 0.06, 0.28, lane.tokens[i], size=10)
    sketch.write(x, 5.47, str(lane.ids[i]), size=9, family="monospace")
    for vectors, y in ((lane.vectors, 4.28), (lane.hidden, 2.43)):
        sketch.column(x - 0.1, y, 0.2, 0.84, vectors[i, :SHOWN_FEATURES].tolist())
    for top, bottom in ((5.34, 5.14), (4.26, 3.94), (3.4, 3.29)):
        sketch.arrow((x, top), (x, bottom), linewidth=0.6, mutation_scale=6)


def _draw_said(sketch: Sketch, lane: Lane, left: float, colour: str) -> None:
    """The cells of the head below their tokens, and below them the outcome."""
    starts = [left + sum(lane.widths[:i]) for i in range(len(lane.tokens) + 1)]
    for row, (name, cells) in enumerate(lane.said.items()):
        y = 1.26 + 0.28 * ((len(lane.said) - 1) / 2 - row)
        for i, cell in cells.items():
            width = lane.widths[i] - 0.04
            sketch.box(starts[i] + 0.02, y - 0.13, width, 0.26, cell.words, cell.colour, size=9)
        sketch.write(starts[min(cells)] - 0.06, y, name, size=9.5, ha="right", style="italic")
    middle = (starts[min(cells)] + starts[max(cells) + 1]) / 2
    # The lowest cells end at half their rows below the middle of the row.
    sketch.arrow((middle, 1.24 - 0.14 * len(lane.said)), (middle, 0.66), colour)
    widths = [0.095 * len(cell.words) + 0.25 for cell in lane.found]
    x = middle - sum(widths) / 2
    for cell, width in zip(lane.found, widths, strict=True):
        sketch.box(x + 0.04, 0.28, width - 0.08, 0.34, cell.words, cell.colour, size=11)
        x += width


def _in_words(found: Sequence[Cell]) -> str:
    return ", ".join(f"'{cell.words}'" for cell in found)
