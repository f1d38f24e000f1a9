"""Tag schemes (IOB1, IOB2, BIOES and its twin BILOU), and from any of them to IOB2."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

# In which scheme may `tag` not follow `before`? O stands before and after a sentence, [1:] is the
# type of an entity.
BREAKS = {
    "IOB2": lambda before, tag: tag[0] in "ESLU" or (tag[0] == "I" and before[1:] != tag[1:]),
    "IOB1": lambda before, tag: tag[0] in "ESLU" or (tag[0] == "B" and before[1:] != tag[1:]),
    "BIOES": lambda before, tag: (
        (before[0] in "BI") != (tag[0] in "IEL") or (tag[0] in "IEL" and before[1:] != tag[1:])
    ),
}
RULES = {
    "IOB2": "begin every entity with B- and go on with I-",
    "IOB1": "begin entities with I-; B- only parts two neighbours of one type",
    "BIOES": "write S- (U-) for an entity of one word, and B- I- E- (L-) for a longer one",
}


def tag_pairs(tags: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Every tag with the one before it; an O stands before the first and after the last."""
    return zip(["O", *tags], [*tags, "O"], strict=True)


def scheme_of(sentences: Iterable[list[str]]) -> str:
    """The scheme that the tags of a file break least often; IOB2 where several do."""
    pairs = Counter(pair for tags in sentences for pair in tag_pairs(tags))
    breaks = {
        scheme: sum(count for pair, count in pairs.items() if is_broken(*pair))
        for scheme, is_broken in BREAKS.items()
    }
    return min(breaks, key=breaks.__getitem__)


def to_iob2(tags: Sequence[str]) -> Iterator[str]:
    """Tags that keep to any of the schemes, as IOB2."""
    for before, tag in zip(["O", *tags[:-1]], tags, strict=True):
        begins = tag[0] in "BSU" or before[1:] != tag[1:]
        yield tag if tag == "O" else ("B" if begins else "I") + tag[1:]
