"""Rows of columns go in; which column holds the words, and which the tags, comes out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...errors import ConfigError, DataError, suggest
from .schemes import CHUNKS, IOB2_SPELLING, KNOWN_TAGS, OUTSIDE, Spelling, spelling_of
from .source import SoundDataError

Row = tuple[int, list[str]]  # line number and cells
Block = list[Row]  # the rows of a sentence

# Source: universaldependencies.org/format.html
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
ENTITY_COLUMNS = {"ner", "ner_tag", "tag", "entity", "label"}
# Tags that give away a column of parts of speech.
PARTS_OF_SPEECH = {
    *("NOUN", "VERB", "DET", "PUNCT", "ADJ", "PROPN", "PRON", "ADP"),  # universal
    *("NN", "DT", "VBD", "NNP"),  # Penn Treebank
}
PART_OF_SPEECH = "part of speech is not a task yet"
HOW_TO_CHOOSE = (
    "say which: tasks.NAME.column = {0} in the recipe, --set tasks.NAME.column={0}, column={0} in "
    "Python, or --column {0} after mtl check and mtl convert"
)
_ROLES = re.compile(r"V|(C-|R-)?(ARG|AM|A\d).*")  # PropBank's, in other columns of OntoNotes


@dataclass(frozen=True)
class Layout:
    """What the columns of a file are.

    Args:
        width: how many columns a row has.
        token: the column of the words, from 0.
        tag: the column of the tags; None if the file has none.
        spelling: how the tags are written.
        index: the column that counts the words of a sentence, if the file has one.
        names: of the columns, where the file or its format names them.
        classes: what whole numbers in the tag column mean.
    """

    width: int
    token: int
    tag: int | None = None
    spelling: Spelling = IOB2_SPELLING
    index: int | None = None
    names: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()

    def is_word(self, row: Row) -> bool:
        """Whether a row is a word of its own: not a range (1-2) or an empty node (1.1) of CoNLL-U.

        Source: universaldependencies.org/format.html, "Words, Tokens and Empty Nodes".
        """
        # They repeat words that have their own rows, so keeping them would double these words.
        return self.index is None or not re.fullmatch(r"\d+[-.]\d+", row[1][self.index])

    def tag_of(self, cells: Sequence[str]) -> str:
        """The tag of a row, in a file that has a column of tags."""
        assert self.tag is not None
        cell = cells[self.tag]
        return self.classes[int(cell)] if _is_class(cell, self.classes) else cell


def layout_of(
    blocks: Sequence[Block],
    path: str,
    *,
    names: Sequence[str] = (),
    column: int | str | None = None,
    label_names: Sequence[str] | None = None,
    ignored: Sequence[int] = (),
) -> Layout:
    """Find the columns of words and tags.

    Args:
        blocks: the rows of each sentence, without comments.
        path: of the file, for messages.
        names: of the columns, if the file has a header.
        column: of the tags, as a number from 1 or a name; by default it is found by its content.
        label_names: what whole numbers in it mean.
        ignored: columns that are known to hold neither.

    Raises:
        SoundDataError: several columns hold entity tags.
        DataError: no column does.
        ConfigError: there is no such column.
    """
    width = usual_width(blocks)
    fitting = [[row for row in block if len(row[1]) == width] for block in blocks]
    columns = [Counter(r[1][i] for block in fitting for r in block) for i in range(width)]
    skipped, index = _leading(fitting, width, names)
    # CoNLL-U has no header; ten columns, the first of which counts, give it away.
    if not names and width == len(CONLLU) and index == 0:
        names = CONLLU
    if _has_words(names):  # a column named after words is one, whatever repeats in it
        skipped = {i for i in skipped if not _has_words(names[i : i + 1])}
    classes = tuple(label_names or ())
    counts = [Counter(_named(cells, classes)) for cells in columns]
    rest = [i for i in range(width) if i not in {*skipped, *ignored}]
    kinds = _Kinds(counts, rest, path, tuple(names))
    if column is not None:
        tag = _chosen(column, kinds)
        spelling = kinds.spelling(tag)
    else:
        tag, spelling = kinds.find()
    # A file may have nothing left but a column that looks like a counter: then it holds the words.
    others = [i for i in rest if i != tag] or [i for i in range(width) if i != tag]
    # Tags first, then words: any column may look like words, but few look like tags.
    token = _word_column(names, others)
    return Layout(width, token, tag, spelling, index, tuple(names), classes)


def usual_width(blocks: Sequence[Block]) -> int:
    """The number of columns that most lines have, at least two."""
    counts = Counter(len(cells) for block in blocks for _, cells in block)
    # Of two equally frequent widths, the wider: a row more likely lacks a cell.
    return max(2, max(counts, key=lambda width: (counts[width], width), default=2))


def _is_class(cell: str, classes: Sequence[str]) -> bool:
    # The `datasets` library writes classes as numbers; without names they say nothing.
    return cell.isdecimal() and int(cell) < len(classes)


def _named(cells: Mapping[str, int], classes: Sequence[str]) -> dict[str, int]:
    """The cells of a column by the names of their classes, if all are class numbers."""
    if not all(_is_class(cell, classes) for cell in cells):
        return dict(cells)
    return {classes[int(cell)]: n for cell, n in cells.items()}


def first_word_column(blocks: Sequence[Block], names: Sequence[str] = ()) -> int:
    """The column of the words in a file whose other columns do not matter."""
    width = usual_width(blocks)
    fitting = [[row for row in block if len(row[1]) == width] for block in blocks]
    skipped, _ = _leading(fitting, width, names)
    return _word_column(names, [i for i in range(width) if i not in skipped])


def _word_column(names: Sequence[str], others: Sequence[int]) -> int:
    """The first column named after words; without such names, the first."""
    by_name = [i for i in others if _has_words(names[i : i + 1])]
    return (by_name or others)[0]


def _has_words(names: Sequence[str]) -> bool:
    """Whether one of these columns is named after words."""
    known = {"form", "word", "words", "token", "tokens"}
    return not known.isdisjoint(name.strip().lower() for name in names)


def _leading(
    blocks: Sequence[Block], width: int, names: Sequence[str]
) -> tuple[set[int], int | None]:
    """The columns before the words: those that count, and those constant within a sentence."""
    skipped: set[int] = set()
    index = None
    for i in range(width - 2):  # two columns always remain, for the words and their tags
        columns = [[cells[i] for _, cells in block] for block in blocks if block]
        # Only one column can count the words of a sentence; a second one is data.
        if index is None and _counts(columns):
            index = i
        elif not _is_the_same_throughout(columns):
            break
        skipped.add(i)
    return skipped, index


def _counts(columns: Sequence[Sequence[str]]) -> bool:
    """Whether a column counts 1, 2, 3 or 0, 1, 2, starting again or not."""
    cells = [cell for column in columns for cell in column]
    # Longer numbers are telephones or ids; Python refuses to read thousands of digits.
    plain = [int(cell) for cell in cells if cell.isdecimal() and len(cell) < 10]
    odd = [cell for cell in cells if not cell.isdecimal()]
    if len(plain) < 2 or not all(re.fullmatch(r"\d+[-.]\d+", cell) for cell in odd):
        return False
    steps = pairwise(plain)
    # Numbers may be skipped where somebody deleted a line, and start again in each sentence.
    good = sum(after == before + 1 or after in (0, 1) for before, after in steps)
    return good >= 0.9 * (len(plain) - 1) and max(plain) > 1


def _is_the_same_throughout(columns: Sequence[Sequence[str]]) -> bool:
    """Whether a column has one cell per sentence, such as the name of its document."""
    # In a sentence of one word, every column is constant.
    longer = [column for column in columns if len(column) > 1]
    return len(longer) > 1 and all(len(set(column)) == 1 for column in longer)


class _Kinds:
    """What the columns of a file hold."""

    def __init__(
        self,
        columns: Sequence[Mapping[str, int]],
        rest: Sequence[int],
        path: str,
        names: tuple[str, ...],
    ) -> None:
        self.columns, self.rest, self.path, self.names = columns, rest, path, names
        read = {i: spelling_of(columns[i]) for i in rest}
        self.read = {i: found for i, found in read.items() if found is not None}

    def spelling(self, column: int) -> Spelling:
        """How the tags are written in a column that somebody chose."""
        read = spelling_of(self.columns[column])
        if read is not None:
            return read[0]
        # A column of nothing but O has no spelling to find, and yet holds tags.
        marks = [cell for cell in self.columns[column] if cell in (*OUTSIDE, "*")]
        if len(marks) == len(self.columns[column]) == 1:
            return Spelling("B-PER", marks[0], IOB2_SPELLING.pattern)
        raise self._no_tags(f"{self.describe(column)} holds no entity tags")

    def find(self) -> tuple[int | None, Spelling]:
        """The column of the tags, by its content.

        Not by its place, since every corpus has its own. Where two columns hold entity tags, a
        guess would be wrong half of the time, and nobody would notice: it is refused unless the
        header or the user says which.
        """
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
            named = [i for i in entities if self.names[i : i + 1] and self._is_named(i)]
            entities = named if len(named) == 1 else entities
        if len(entities) > 1:
            raise self._several(entities)
        if entities:
            return entities[0], self.read[entities[0]][0]
        if outside:
            # A file in which no word is in an entity: a column of nothing but O.
            (mark,) = self.columns[outside[-1]]
            return outside[-1], Spelling("B-PER", mark, IOB2_SPELLING.pattern)
        # A column with many bad tags, or else chunks (NP, VP) if nothing else is tagged.
        tagged = list(self._entities(least=0.5)) or list(self.read)
        if tagged:
            # Of equally good columns, the last: that is where the tags usually are.
            best = max(tagged, key=lambda i: (self.read[i][1], i))
            return best, self.read[best][0]
        if self.names == CONLLU:
            return None, IOB2_SPELLING
        if len(self.columns) == 2 and sum(self.columns[1].values()) == 0:
            return 1, IOB2_SPELLING  # no row has two columns: each is a separate fault
        raise self._no_tags("no column holds entity tags")

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

    def _is_named(self, column: int) -> bool:
        """Whether the header gives a column a name that entity tags usually have."""
        return self.names[column].strip().lower() in ENTITY_COLUMNS

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
            fix=HOW_TO_CHOOSE.format(first),
        )

    def _no_tags(self, what: str) -> DataError:
        fix = KNOWN_TAGS
        # Class numbers are the most common reason, and easily fixed.
        if any(all(c.isdecimal() for c in self.columns[i]) for i in self.rest[1:]):
            fix += '; for numbers set tasks.NAME.label_names = ["O", "B-PER", "I-PER", ...]'
        found = "; ".join(self.describe(i) for i in range(len(self.columns)))
        if any(len(PARTS_OF_SPEECH & set(self.columns[i])) > 1 for i in self.rest):
            return SoundDataError(f"{what}; {PART_OF_SPEECH}", path=self.path, found=found, fix=fix)
        return DataError(what, path=self.path, found=found, fix=fix)


def _chosen(column: int | str, kinds: _Kinds) -> int:
    """The place of a column given by name or number."""
    names = [name.strip().lower() for name in kinds.names]
    width = len(kinds.columns)
    text = str(column).strip()
    # Names first: a header may call a column "2".
    if text.lower() in names:
        return names.index(text.lower())
    if text.isdecimal() and 1 <= int(text) <= width:
        return int(text) - 1
    fix = f"give its number, from 1 to {width}"
    if kinds.names:
        fix += f", or its name: {suggest(text, kinds.names)}"
    found = "; ".join(map(kinds.describe, range(width)))
    raise ConfigError(f"there is no column {text!r}", path=kinds.path, found=found, fix=fix)
