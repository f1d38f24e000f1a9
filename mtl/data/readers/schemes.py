"""Tag schemes: the cells of a file, in whatever spelling, go in; tags in IOB2 come out.

A *spelling* is how a cell is written: `B-PER`, `PER-B`, `b_per`, `PER` alone, `B` alone, or
`(PER*` and `*)`. A *scheme* says which letters may follow each other: IOB1, IOB2, BIOES and its
twins BILOU, BMES and BMEWO, IOE1, IOE2, or plain types (IO). What breaks the scheme of a file is
read as `conlleval` reads it (the script of the CoNLL shared tasks since 2000): a chunk begins at
`B` or `S`, at any tag after `O` or after an end, and wherever the type changes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

# In which scheme may `tag` not follow `before`? There is an O before and after a sentence; [1:] is
# the type of an entity. L (of BILOU) counts as E, U and W as S, M (of BMES) as I.
BREAKS = {
    "IOB2": lambda before, tag: tag[0] in "ELSUW" or (tag[0] in "IM" and before[1:] != tag[1:]),
    "IOB1": lambda before, tag: tag[0] in "ELSUW" or (tag[0] == "B" and before[1:] != tag[1:]),
    "BIOES": lambda before, tag: (
        (before[0] in "BIM") != (tag[0] in "IMEL") or (tag[0] in "IMEL" and before[1:] != tag[1:])
    ),
    "IOE2": lambda before, tag: (
        tag[0] in "BSUW" or (before[0] == "I" and (tag[0] not in "IE" or before[1:] != tag[1:]))
    ),
    "IOE1": lambda before, tag: (
        tag[0] in "BSUW" or (before[0] == "E" and (tag[0] not in "IE" or before[1:] != tag[1:]))
    ),
}
RULES = {
    "IOB2": "begin every entity with B- and continue it with I-",
    "IOB1": "begin entities with I-; B- only separates two neighbours of the same type",
    "BIOES": "write S- (U-, W-) for an entity of one word, and B- I- E- (M-, L-) for a longer one",
    "IOE2": "end every entity with E-, and write I- before it",
    "IOE1": "write I- in entities; E- only separates two neighbours of the same type",
}
OUTSIDE = ("O", "o", "0", "_", "-")  # how files mark a token outside all entities
NO_TYPE = "ENTITY"  # the type of a bare B or I
CHUNKS = {  # types of chunks and clauses, which have their own columns
    *("NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP", "PNP", "S"),
    *("SINV", "TOP", "ROOT", "WHNP", "QP", "NX", "V"),
}
KNOWN_TAGS = (
    "use O, B-TYPE and I-TYPE, as in B-PER I-PER O (IOB1, IOB2, BIOES, BILOU, BMES are known)"
)
PLAIN_TYPES = "tags without B- and I-: neighbours of the same type are read as one entity"

_BRACKETS = re.compile(r"(?=.)(?:\(([^\W\d][^()*|\s]*))?\*?(\)?)")
_PLAIN_TYPE = re.compile(r"[^\W\d][\w.&/+-]*")
_LINGPIPE_OUT = re.compile(r"(BB|EE|WW|MM|BOS|EOS)_O(_\S+)?")  # BMEWO+ says what is next to an O


@dataclass(frozen=True)
class Spelling:
    """How the cells of a file are written.

    Args:
        name: as an example, such as `B-PER`.
        outside: the cell of a token outside all entities.
        pattern: matches the other cells, with the groups `letter` and `type`; None for brackets.
    """

    name: str
    outside: str
    pattern: re.Pattern[str] | None

    @property
    def is_plain(self) -> bool:
        """Whether cells are types without a letter (IO)."""
        return self.pattern is not None and "letter" not in self.pattern.groupindex

    def knows(self, cell: str) -> bool:
        return cell == self.outside or bool(
            _LINGPIPE_OUT.fullmatch(cell) or (self.pattern or _BRACKETS).fullmatch(cell)
        )

    def type_of(self, cell: str) -> str | None:
        """The type that a cell names, if it names one."""
        match = None if cell == self.outside else (self.pattern or _BRACKETS).fullmatch(cell)
        if match is None or self.pattern is None:
            return match and match[1]
        return match.groupdict().get("type") or NO_TYPE

    def canonical(self, cells: Sequence[str]) -> list[str | None]:
        """`O`, or a letter and a type as in `B-PER`, for each cell; None where it is not a tag."""
        if self.pattern is None:
            return _from_brackets(cells)
        return [self._one(cell, self.pattern) for cell in cells]

    def never_closed(self, cells: Sequence[str]) -> list[int]:
        """The places of the brackets that open but never close."""
        return [] if self.pattern else [start for start, end in _partners(cells) if end is None]

    def _one(self, cell: str, pattern: re.Pattern[str]) -> str | None:
        if cell == self.outside or _LINGPIPE_OUT.fullmatch(cell):
            return "O"
        match = pattern.fullmatch(cell)
        if match is None:
            return None
        parts = match.groupdict()
        # A type without a letter is an I-, as in IO: a new type then begins a new entity.
        return f"{(parts.get('letter') or 'I').upper()}-{parts.get('type') or NO_TYPE}"


def _from_brackets(cells: Sequence[str]) -> list[str | None]:
    """`(PER*` opens, `*` continues, `*)` closes. One never closed is an entity of one word."""
    closed = {start: end for start, end in _partners(cells) if end is not None}
    tags: list[str | None] = []
    inside, last = "", -1
    for position, cell in enumerate(cells):
        match = _BRACKETS.fullmatch(cell)
        if match and match[1]:
            inside, last = match[1], closed.get(position, position)
            tags.append(f"B-{inside}")
        elif position <= last:
            tags.append(f"I-{inside}")
        else:
            tags.append("O" if cell in ("*", "-") else None)
    return tags


def _partners(cells: Sequence[str]) -> Iterator[tuple[int, int | None]]:
    """Where each bracket opens and closes: None if another opens first, or none closes it."""
    opened = None
    for position, cell in enumerate(cells):
        match = _BRACKETS.fullmatch(cell)
        if match and match[1]:
            if opened is not None:
                yield opened, None
            opened = position
        if match and match[2] and opened is not None:
            yield opened, position
            opened = None
    if opened is not None:
        yield opened, None


def _lettered() -> Iterator[tuple[str, str]]:
    for letters, example in (("BIESLUMW", "B{}PER"), ("bieslumw", "b{}per")):
        for sign in "-_:":
            yield example.format(sign), f"(?P<letter>[{letters}]){sign}(?P<type>.+)"
    for letters, example in (("BIESLUMW", "PER{}B"), ("bieslumw", "per{}b")):
        for sign in "-_:":
            yield example.format(sign), f"(?P<type>.+){sign}(?P<letter>[{letters}])"
    yield "B", "(?P<letter>[BIESLUMW])"


_LETTERED = {name: re.compile(pattern) for name, pattern in _lettered()}


IOB2_SPELLING = Spelling("B-PER", "O", _LETTERED["B-PER"])


def spelling_of(cells: Mapping[str, int]) -> tuple[Spelling, float] | None:
    """How most cells that are not O are written, and the share of all cells that this explains.

    Args:
        cells: how often each cell occurs.

    Returns:
        None if no cell names an entity in a spelling that we know. Types without any letter (`PER`)
        are taken for tags only if there are O between them: otherwise they may be parts of speech.
    """
    # In this order: a file with O may well use "-" or "_" for something else.
    outside = next((mark for mark in OUTSIDE if mark in cells), "O")
    total = sum(cells.values())
    best, most = None, 0
    # The spelling that explains most cells, not one that explains all: a typing error in one tag
    # must become a fault of its line, not turn the column into another kind.
    for name, pattern in _LETTERED.items():
        named = sum(n for cell, n in cells.items() if pattern.fullmatch(cell) and cell != outside)
        if named > most:
            best, most = Spelling(name, outside, pattern), named
    if best is not None:
        known = sum(n for cell, n in cells.items() if best.knows(cell))
        if known == total or 2 * known >= total:
            return best, known / total
    brackets = Spelling("(PER*", "-" if "-" in cells else "*", None)
    known = sum(n for cell, n in cells.items() if brackets.knows(cell))
    if any("(" in cell for cell in cells) and known >= 0.9 * total:
        return brackets, known / total
    return _plain(cells, outside, total)


def _plain(cells: Mapping[str, int], outside: str, total: int) -> tuple[Spelling, float] | None:
    """Types without letters, where O is frequent and types are few."""
    named = [cell for cell in cells if cell != outside]
    # Any word looks like a plain type. What gives types away is that most words are in no entity,
    # so that O is frequent, and that there are few of them.
    often = outside in "Oo" and 10 * cells.get(outside, 0) >= total
    often = often or (outside == "0" and 2 * cells["0"] >= total)
    fits = [cell for cell in named if _PLAIN_TYPE.fullmatch(cell) and 1 < len(cell) < 40]
    if not named or not often or len(fits) < len(named) or len(named) > 60:
        return None
    return Spelling("PER", outside, re.compile(f"(?P<type>{_PLAIN_TYPE.pattern})")), 1.0


def tag_pairs(tags: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every tag with the one before it; there is an O before the first and after the last."""
    # Entities end with their sentence, so one left open at its end breaks BIOES.
    return zip(["O", *tags], [*tags, "O"], strict=True)


def scheme_of(sentences: Iterable[Sequence[str]]) -> str:
    """The scheme that the tags of a file break least often; of several, the first in `BREAKS`."""
    return scheme_of_pairs(Counter(pair for tags in sentences for pair in tag_pairs(tags)))


def scheme_of_pairs(pairs: Mapping[tuple[str, str], int]) -> str:
    """The same, of `tag_pairs` and how often each occurs."""
    # A file has few different pairs, however long it is: each is judged only once.
    breaks = {
        scheme: sum(count for pair, count in pairs.items() if is_broken(*pair))
        for scheme, is_broken in BREAKS.items()
    }
    return min(breaks, key=breaks.__getitem__)  # of several, min takes the first


def strays(tags: Sequence[str], scheme: str) -> list[tuple[int, str, str]]:
    """Every place where tags break the scheme: its index, the tag before, the tag after."""
    pairs = enumerate(tag_pairs(tags))
    # The pair after the last tag is a fault of the last tag.
    return [(min(i, len(tags) - 1), *pair) for i, pair in pairs if BREAKS[scheme](*pair)]


def what_breaks(scheme: str, before: str, tag: str) -> str:
    """The fault of a tag that breaks the scheme of its file, in words."""
    return f"{tag} after {before} breaks {scheme}, the tag scheme of this file"


def to_iob2(tags: Sequence[str]) -> Iterator[str]:
    """Tags of any of the schemes as IOB2; those that break it are read as `conlleval` reads them.

    So B and S begin an entity, E (L) and S (U, W) end one, and any tag after O, or after a tag of
    another type, begins one too.
    """
    for before, tag in pairwise(["O", *tags]):
        begins = tag[0] in "BSUW" or before[0] in "OELSUW" or before[1:] != tag[1:]
        yield tag if tag == "O" else ("B" if begins else "I") + tag[1:]
