"""The cells of each column go in; which of them are tags, and of what kind, comes out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...errors import ConfigError, DataError, suggest
from .schemes import CHUNKS, IOB2_SPELLING, KNOWN_TAGS, OUTSIDE, Spelling, spelling_of
from .source import SoundDataError

# Source: universaldependencies.org/format.html
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
ENTITY_COLUMNS = {"ner", "ner_tag", "tag", "entity", "label"}
SPEECH_COLUMNS = {"upos", "xpos", "pos", "pos_tag"}
# Tags that give away a column of parts of speech.
PARTS_OF_SPEECH = {
    *("NOUN", "VERB", "DET", "PUNCT", "ADJ", "PROPN", "PRON", "ADP"),  # universal
    *("NN", "NNS", "NNP", "DT", "IN", "JJ", "VBD", "VBZ"),  # Penn Treebank
    *("ART", "ADJA", "APPR", "VVFIN"),  # STTS, for German
}
NOT_KNOWN = "_"  # how CoNLL-U marks what nobody has annotated
HOW_TO_CHOOSE = (
    "say which: tasks.NAME.column = {0} in the recipe, --set tasks.NAME.column={0}, column={0} in "
    "Python, or --column {0} after mtl check and mtl convert"
)
_ROLES = re.compile(r"V|(C-|R-)?(ARG|AM|A\d).*")  # PropBank's, in other columns of OntoNotes


class TagColumn(NamedTuple):
    """A column of tags.

    Args:
        place: which column, from 0.
        spelling: how entities are written in it; None for tags of another kind, such as parts of
            speech, which are kept as they are.
        tags: all of them, if they are of another kind.
    """

    place: int
    spelling: Spelling | None
    tags: frozenset[str] = frozenset()

    def knows(self, cell: str) -> bool:
        """Whether a cell is one of its tags."""
        if self.spelling is None:
            return cell in self.tags
        return self.spelling.canonical([cell])[0] is not None


class Columns:
    """What the columns of a file hold.

    Args:
        columns: how often each cell occurs, for each column.
        rest: the columns that may hold tags.
        path: of the file, for messages.
        names: of the columns, if the file has a header.
    """

    def __init__(
        self,
        columns: Sequence[Counter[str]],
        rest: Sequence[int],
        path: str,
        names: tuple[str, ...],
    ) -> None:
        self.columns, self.rest, self.path, self.names = columns, rest, path, names
        read = {i: spelling_of(columns[i]) for i in rest}
        self.read = {i: found for i, found in read.items() if found is not None}

    def column(self, place: int) -> TagColumn:
        """A column that somebody chose: of entity tags, or of tags of another kind."""
        cells = self.columns[place]
        read = spelling_of(cells)
        if read is not None:
            return TagColumn(place, read[0])
        # A column of nothing but O has no spelling to find, and yet holds entity tags.
        marks = [cell for cell in cells if cell in (*OUTSIDE, "*")]
        if len(marks) == len(cells) == 1 and not self._is_named(place, SPEECH_COLUMNS):
            return _outside_only(place, marks[0])
        return TagColumn(place, None, frozenset(cells))

    def entities(self, column: int | str) -> TagColumn:
        """A column of entity tags that somebody chose; DataError if it holds other tags."""
        found = self.column(self.place_of(column))
        if found.spelling is None:
            raise DataError(
                f"column {column} holds no entity tags, and cannot be a layer of nested entities",
                path=self.path,
                found=self.describe(found.place),
                fix=KNOWN_TAGS,
            )
        return found

    def find(self, default: TagColumn | None, speech: bool = False) -> TagColumn | None:
        """The column of the tags, by its content; the default where that leaves it open.

        Not by its place, since every corpus has its own. Where two columns hold entity tags, a
        guess would be wrong half of the time, and nobody would notice: it is refused unless the
        header or the user says which.

        Args:
            speech: whether parts of speech come before entities.
        """
        place = self._part_of_speech()
        if speech and place is not None:
            return self.column(place)
        entities = list(self._entities())
        # From the second column on: the first is more likely to hold the words.
        outside = [i for i in self.rest[1:] if set(self.columns[i]) in ({"O"}, {"o"}, {"*"})]
        others = [i for i in self.rest[1:] if i in self.read] or outside
        if (
            entities
            and entities[0] == self.rest[0]
            and self.read[entities[0]][0].is_plain
            and others
        ):
            entities = entities[1:]  # words such as "O" look like plain types
        if len(entities) > 1:
            named = [i for i in entities if self._is_named(i, ENTITY_COLUMNS)]
            entities = named if len(named) == 1 else entities
        if len(entities) > 1:
            if default is None:
                raise self._several(entities)
            return default
        if entities:
            return TagColumn(entities[0], self.read[entities[0]][0])
        if outside:
            # A file in which no word is in an entity: a column of nothing but O.
            (mark,) = self.columns[outside[-1]]
            return _outside_only(outside[-1], mark)
        # A column with many bad tags, or else chunks (NP, VP) if nothing else is tagged.
        tagged = list(self._entities(least=0.5)) or list(self.read)
        if tagged:
            # Of equally good columns, the last: that is where the tags usually are.
            best = max(tagged, key=lambda i: (self.read[i][1], i))
            return TagColumn(best, self.read[best][0])
        if place is not None:
            return self.column(place)
        if default is not None or self.names == CONLLU:
            return default
        if len(self.columns) == 2 and self.columns[1].total() == 0:
            return TagColumn(1, IOB2_SPELLING)  # no row has two columns: each is a separate fault
        raise self._no_tags()

    def _part_of_speech(self) -> int | None:
        """The last column of parts of speech; in CoNLL-U, the universal ones rather than others."""
        found = [i for i in self.rest if self._holds_parts_of_speech(i)]
        return found[0 if self.names == CONLLU else -1] if found else None

    def _holds_parts_of_speech(self, column: int) -> bool:
        cells = self.columns[column]
        if self._is_named(column, SPEECH_COLUMNS):
            return cells.keys() != {NOT_KNOWN}
        known = PARTS_OF_SPEECH & cells.keys()
        # By share too: among many words there may well be an ART or a DT.
        return len(known) > 1 and 10 * sum(cells[tag] for tag in known) >= cells.total()

    def _entities(self, least: float = 0.9) -> Iterator[int]:
        """The columns that hold entity tags, rather than chunks, clauses or roles."""
        for i, (spelling, share) in self.read.items():
            if share < least:
                continue
            types: Counter[str] = Counter()
            for cell, n in self.columns[i].items():
                if (kind := spelling.type_of(cell)) is not None:
                    types[kind] += n
            # By share, not by a single cell: an entity type may be called V or TOP.
            other = sum(n for t, n in types.items() if t in CHUNKS or _ROLES.fullmatch(t))
            if not types or other < 0.9 * sum(types.values()):
                yield i

    def _is_named(self, column: int, known: set[str]) -> bool:
        """Whether the header gives a column one of these names."""
        return column < len(self.names) and self.names[column].strip().lower() in known

    def describe(self, column: int) -> str:
        """The column by its number, its name if it has one, and its most common cells."""
        name = f" {self.names[column]!r}" if column < len(self.names) else ""
        cells = Counter(self.columns[column]).most_common(5)
        shown = ", ".join(cell[:30] for cell, _ in cells)
        more = ", ..." if len(self.columns[column]) > 5 else ""
        return f"column {column + 1}{name} ({shown}{more})"

    def _several(self, entities: Sequence[int]) -> DataError:
        first = entities[0] + 1
        return SoundDataError(
            f"{len(entities)} columns hold entity tags",
            path=self.path,
            found="; ".join(map(self.describe, entities)),
            fix=HOW_TO_CHOOSE.format(first)
            + "; if they are layers of nested entities, name them all: column = "
            + str([i + 1 for i in entities]),
        )

    def _no_tags(self) -> DataError:
        fix = f"{KNOWN_TAGS}; for tags of another kind {HOW_TO_CHOOSE.format(len(self.columns))}"
        # Class numbers are the most common reason, and easily fixed.
        if any(all(c.isdecimal() for c in self.columns[i]) for i in self.rest[1:]):
            fix += '; for numbers set tasks.NAME.label_names = ["O", "B-PER", "I-PER", ...]'
        what = "no column holds entity tags or parts of speech"
        return DataError(what, path=self.path, found=self._all_described(), fix=fix)

    def place_of(self, column: int | str) -> int:
        """The place of a column given by name or number; ConfigError if there is none."""
        names = [name.strip().lower() for name in self.names]
        text = str(column).strip()
        # Names first: a header may call a column "2".
        if text.lower() in names:
            return names.index(text.lower())
        if text.isdecimal() and 1 <= int(text) <= len(self.columns):
            return int(text) - 1
        fix = f"give its number, from 1 to {len(self.columns)}"
        if self.names:
            fix += f", or its name: {suggest(text, self.names)}"
        raise ConfigError(
            f"there is no column {text!r}", path=self.path, found=self._all_described(), fix=fix
        )

    def _all_described(self) -> str:
        return "; ".join(map(self.describe, range(len(self.columns))))


def _outside_only(place: int, mark: str) -> TagColumn:
    """A column of entity tags in which no word is in an entity."""
    return TagColumn(place, Spelling("B-PER", mark, IOB2_SPELLING.pattern))
