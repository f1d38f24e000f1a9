"""A model's predictions go in; a picture of them as a notebook shows them comes out."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from mtl.reports.picture import Picture
from mtl.reports.sketch import Sketch
from mtl.tasks.ner import NERPrediction
from mtl.tasks.qa import QAPrediction
from mtl.tasks.spans import COLOURS, OTHER_COLOUR

WIDTH, LEFT, LINE = 9.0, 0.3, 0.38  # of the picture; its margin; from line to line, in inches
SIZE, SPACE = 12, 0.06  # of the words, in points; between them, in inches
CODE = "#f1f3f5"


@dataclass(frozen=True)
class Piece:
    """A word, or a marked span with its label."""

    words: str
    label: str = ""
    bold: bool = False

    @property
    def width(self) -> float:
        """In inches, with the mark around it."""
        width = measured(self.words, SIZE, self.bold)
        return width + (0.22 + measured(self.label, 8, bold=True) if self.label else 0)


def measured(words: str, size: float, bold: bool = False) -> float:
    """The width of words in inches."""
    font = FontProperties(size=size, weight="bold" if bold else "normal")
    return text_to_path.get_text_width_height_descent(words, font, ismath=False)[0] / 72


def pieces(text: str, spans: list[tuple[int, int, str]]) -> list[Piece]:
    """A text as words and marked spans `(start, end, label)`, in order."""
    found, position = [], 0
    for start, end, label in [*spans, (len(text), len(text), "")]:
        found += [Piece(word) for word in text[position:start].split()]
        if label:
            found.append(Piece(text[start:end], label))
        position = end
    return found


def lines_of(parts: list[Piece]) -> list[list[tuple[float, Piece]]]:
    """Each piece with its place from the left, on as many lines as are needed."""
    lines: list[list[tuple[float, Piece]]] = [[]]
    x = LEFT
    for part in parts:
        if x + part.width > WIDTH - LEFT:
            lines.append([])
            x = LEFT
        # A full stop or comma follows its word without a blank.
        if lines[-1] and part.words in ".,?!":
            x -= SPACE
        lines[-1].append((x, part))
        x += part.width + SPACE
    return lines


def draw_line(sketch: Sketch, y: float, line: list[tuple[float, Piece]]) -> None:
    for x, piece in line:
        style = {"size": SIZE, "ha": "left", "weight": "bold" if piece.bold else "normal"}
        if piece.label:
            colour = COLOURS.get(piece.label, OTHER_COLOUR)
            sketch.box(x, y - 0.15, piece.width, 0.3, fill=colour, edge=colour, rounding=0.05)
            right = x + piece.width - 0.06
            sketch.write(right, y, piece.label, size=8, ha="right", weight="bold")
            x += 0.06
        sketch.write(x, y, piece.words, **style)


def draw_highlights(cells: list[tuple[str, NERPrediction | QAPrediction]]) -> Picture:
    """Cells of a notebook: the code of each, and below it the prediction that it returns."""
    shown = []
    for code, said in cells:
        if isinstance(said, NERPrediction):
            spans = [(e.start, e.end, e.entity_group) for e in said.entities]
            lines = lines_of(pieces(said.text, spans))
        else:
            lines = lines_of([Piece(said.question, bold=True)])
            lines += lines_of(pieces(said.context, [(said.start, said.end, "answer")]))
        shown.append((code.splitlines(), lines))
    height = 0.2 + sum(0.6 + 0.2 * len(code) + LINE * len(lines) for code, lines in shown)
    sketch = Sketch(WIDTH, height)
    y = height - 0.25
    for code, lines in shown:
        tall = 0.2 * len(code) + 0.14
        sketch.box(LEFT - 0.08, y - tall, WIDTH - 2 * LEFT + 0.16, tall, fill=CODE, edge=CODE)
        for i, line in enumerate(code):
            middle = y - 0.17 - 0.2 * i
            sketch.write(LEFT, middle, line, size=9.5, ha="left", family="monospace")
        y -= tall + 0.3
        for line in lines:
            draw_line(sketch, y, line)
            y -= LINE
        y -= 0.08
    sketch.picture.alt = "Two cells of a notebook. " + " ".join(_told(said) for _, said in cells)
    return sketch.picture


def _told(said: NERPrediction | QAPrediction) -> str:
    """What is marked, in words."""
    if isinstance(said, QAPrediction):
        return f"To the question '{said.question}', '{said.answer}' is marked as the answer."
    marked = ", ".join(f"{entity.word} as {entity.entity_group}" for entity in said.entities)
    return f"In the sentence '{said.text}', these words are marked: {marked}."
