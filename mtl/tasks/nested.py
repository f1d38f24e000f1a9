"""A text and its entities, some inside others, go in; a prediction that prints itself comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ..data.nesting import in_order
from ..data.words import Place
from ..metrics import Span
from ..tables import format_table
from .entities import Entity
from .own_words import in_characters, in_these_words
from .spans import highlight_html, highlight_text


@dataclass(frozen=True)
class NestedNERPrediction:
    """A text and its entities, from left to right; one that holds others comes before them.

    Of all `candidates`, entities are those whose probability reaches the `threshold`. Where the
    words were given, `plain` is the prediction for the same text on words of our own.
    """

    text: str
    candidates: list[Entity] = field(repr=False)
    threshold: float = 0.5
    plain: Self | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls, text: str, chances: Mapping[Span, float], threshold: float = 0.5, plain: Any = None
    ) -> Self:
        """A prediction from spans of characters, no two of which cross, with probabilities."""
        candidates = [
            Entity(kind, chances[kind, start, end], text[start:end], start, end)
            for kind, start, end in in_order(chances)
        ]
        return cls(text, candidates, threshold, plain)

    def on_given_words(self, given: Sequence[Place]) -> Self:
        """The same entities on the words that the user gave: each takes all that it touches."""
        chances = {(e.entity_group, e.start, e.end): e.score for e in self.candidates}
        found = in_these_words(sorted(chances, key=chances.__getitem__, reverse=True), given)
        scores = [chances[entity] for entity in found.values()]
        given_chances = dict(zip(in_characters(found, given), scores, strict=True))
        return self.of(self.text, given_chances, self.threshold, self)

    def under(self, threshold: float) -> Self:
        """What it says under another threshold."""
        plain = self.plain and self.plain.under(threshold)
        return replace(self, threshold=threshold, plain=plain)

    @property
    def entities(self) -> list[Entity]:
        """The candidates whose probability reaches the threshold."""
        # No candidate crosses a better one, so that nothing else depends on those left out.
        return [entity for entity in self.candidates if entity.score >= self.threshold]

    @property
    def spans(self) -> set[Span]:
        """The entities as (type, first character, one past the last)."""
        return {(e.entity_group, e.start, e.end) for e in self.entities}

    def to_dict(self) -> dict[str, Any]:
        return {"text": self.text, "entities": [entity.to_dict() for entity in self.entities]}

    def _marks(self) -> list[tuple[int, int, str]]:
        return [(e.start, e.end, e.entity_group) for e in self.entities]

    def __str__(self) -> str:
        rows = [[f"  {e.word}", e.entity_group, f"{e.score:.2f}"] for e in self.entities]
        table = format_table(["  entity", "type", "score"], rows) if rows else "  no entities"
        return f"{highlight_text(self.text, self._marks())}\n{table}"

    def _repr_html_(self) -> str:
        # Marks inside marks need room between the lines.
        return f'<p style="line-height:2.2">{highlight_html(self.text, self._marks())}</p>'
