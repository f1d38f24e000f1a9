"""Words: a text goes in, the place of every word comes out; one rule for every script.

A word is a run of letters and digits, or a single other sign. Combining marks (Hindi vowel signs,
Arabic vowels, accents) and joiners belong to the character before them. In scripts that are written
without spaces every character is a word: Han, Hiragana and Katakana; Thai, Lao, Khmer and Burmese
letters. So `王小明` and `王 小 明` have the same words, and no dictionary is needed.

Tokenizers, readers and prediction all cut here, so a model is trained on the words that it meets
in use.
"""

from __future__ import annotations

import io
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import pairwise

Place = tuple[int, int]  # first character, one past the last
Entity = tuple[str, int, int]  # type, first character, one past the last

IDEOGRAPHS = (  # Han and kana, as character ranges
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3041-\u3096\u309d-\u309f\u30a1-\u30ff"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f"
    "\U0001b000-\U0001b16f\U00020000-\U0003347f"
)
# Letters, without the digits, of Thai, Lao, Burmese and Khmer.
OTHERS_WITHOUT_SPACES = (
    "\u0e01-\u0e4e\u0e5a\u0e5b\u0e80-\u0ecf\u0edc-\u0eff\u1000-\u103f\u104a-\u108f\u109a-\u109f"
    "\ua9e0-\ua9ef\ua9fa-\ua9ff\uaa60-\uaa7f\u1780-\u17df"
)
CJK_SIGNS = "\u3000-\u303f\uff01-\uff60"  # 。、「」 and full-width forms, written without blanks
STACKERS = "\u1039\u17d2"  # Burmese and Khmer: the next letter is written below the one before
JOINERS = "\u00ad\u200c\u200d\u2060"  # soft hyphen, (non-)joiners, word joiner
BLANKS = r"\s\u200b\ufeff"  # the zero-width space separates words in Thai and Khmer
ALONE = re.compile(f"[{IDEOGRAPHS}{OTHERS_WITHOUT_SPACES}]")
HAN_OR_KANA = re.compile(f"[{IDEOGRAPHS}]")
WITHOUT_BLANK = re.compile(f"[{IDEOGRAPHS}{CJK_SIGNS}]")
ASCII_WORD = re.compile(r"\w+|[^\w\s]")  # the same as `_pattern` for such a text, and faster
SPACE = re.compile(f"[{BLANKS}]")


# Cached, and made only when needed: the search through Unicode takes a moment.
@cache
def _pattern() -> re.Pattern[str]:
    """What a word looks like. Python's `re` has no class of combining marks, so we build one."""
    alone = ALONE.pattern
    marks = f"[{_combining_marks()}{JOINERS}]"
    letters = rf"[^\W{IDEOGRAPHS}{OTHERS_WITHOUT_SPACES}]"
    return re.compile(
        rf"{letters}+(?:{marks}+{letters}*)*"
        rf"|{alone}{marks}*(?:(?<=[{STACKERS}]){alone}{marks}*)*"
        rf"|[^{BLANKS}]{marks}*"
    )


def _combining_marks() -> str:
    """The characters of the Unicode categories Mn, Mc and Me, as ranges of a character class."""
    # Planes 2 to 13 hold ideographs alone, or nothing: nine tenths of the work.
    places = (*range(0x20000), *range(0xE0000, 0xF0000))
    marks = [i for i in places if unicodedata.category(chr(i))[0] == "M"]
    firsts = [marks[0], *(b for a, b in pairwise(marks) if b > a + 1)]
    lasts = [*(a for a, b in pairwise(marks) if b > a + 1), marks[-1]]
    return "".join(f"{chr(a)}-{chr(b)}" for a, b in zip(firsts, lasts, strict=True))


def split_words(text: str) -> list[Place]:
    """The place of every word of `text`, as (first character, one past the last)."""
    pattern = ASCII_WORD if text.isascii() else _pattern()
    return [match.span() for match in pattern.finditer(text)]


@dataclass(frozen=True)
class Joining:
    """What holds words together in a file that says what its words are.

    Attributes:
        inner: signs that join the words on either side, as in `Jean-Luc`.
        leading: signs that belong to the word after them, as in `@handle`.
        whole: words that are known to be one although they would be cut, such as `U.S.`, `C++`, or
            a word of Thai. Where several fit, the longest wins (maximal matching).
    """

    inner: str = ""
    leading: str = ""
    whole: tuple[str, ...] = ()

    @cached_property
    def n_parts(self) -> dict[str, int]:
        """How many words `split_words` makes of each whole one."""
        return {word: len(split_words(word)) for word in self.whole}


def learn_joining(sentences: Iterable[Sequence[str]]) -> Joining:
    """What holds words together in these sentences.

    A sign joins if it is more often inside words than between them: where a file has `O'Hara`, but
    far more often `Ann` and `'s`, the apostrophe does not join. Words that would still be cut are
    kept whole if they occur more than once; but Han and kana are always separate.
    """
    inside, between = Counter[str](), Counter[str]()
    leading, alone = Counter[str](), Counter[str]()
    cut = Counter[str]()
    # Counted: signs inside words and between them, at the front of words and alone.
    for words in sentences:
        for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
            if word.isascii() and word.isalnum():  # most words: nothing to learn here
                continue
            parts = [word[start:end] for start, end in split_words(word)]
            cut[word] += len(parts) > 1 and not HAN_OR_KANA.search(word)
            for left, sign, right in zip(parts, parts[1:], parts[2:], strict=False):
                inside[sign] += _is_letter(left) and _is_letter(right) and not _is_letter(sign)
            if parts and not (_is_letter(parts[0]) or ALONE.match(parts[0])):
                sign, *rest = parts
                leading[sign] += bool(rest) and _is_letter(rest[0])
                alone[sign] += not rest
                between[sign] += _is_letter(before[-1:]) and _is_letter((*rest, after)[0])
    signs = Joining(
        "".join(sorted(sign for sign, n in inside.items() if n > between[sign])),
        "".join(sorted(sign for sign, n in leading.items() if n > alone[sign])),
    )
    # A word that occurred only once may be a slip, and would stay in the model for ever.
    often = sorted(word for word, n in cut.items() if n > 1)
    return replace(
        signs,
        whole=tuple(w for w in often if len(join_parts(w, split_words(w), signs)) > 1),
    )


def join_parts(text: str, places: Sequence[Place], joining: Joining) -> list[Place]:
    """The same words, but those that something holds together count as one.

    Args:
        places: of the words of `text`, from `split_words`.
    """
    words = _keep_whole(text, places, joining.n_parts) if joining.whole else places
    joined, i = [], 0
    while i < len(words):  # words i to last become one
        last = i
        if _joins(text, words, i, joining.leading):
            last = i + 1
        while (
            last + 1 < len(words)
            and words[last][1] == words[last + 1][0]
            and _is_letter(text[words[last][0]])
            and _joins(text, words, last + 1, joining.inner)
        ):
            last += 2
        joined.append((words[i][0], words[last][1]))
        i = last + 1
    return joined


def _keep_whole(text: str, places: Sequence[Place], known: Mapping[str, int]) -> list[Place]:
    """The same words, but neighbours that spell a known longer word become that word.

    Args:
        known: longer words, and how many words each would be cut into.
    """
    most = max(known.values())
    kept, i = [], 0
    while i < len(places):
        # Maximal matching: try every length and keep the longest that is known.
        n_joined = 1
        for n in range(2, min(most, len(places) - i) + 1):
            if places[i + n - 2][1] < places[i + n - 1][0]:  # a blank separates them
                break
            if known.get(text[places[i][0] : places[i + n - 1][1]]) == n:
                n_joined = n
        kept.append((places[i][0], places[i + n_joined - 1][1]))
        i += n_joined
    return kept


def _joins(text: str, places: Sequence[Place], i: int, signs: str) -> bool:
    """Whether word `i` is one of the signs, and letters follow it without a blank."""
    start, end = places[i]
    return (
        text[start:end] in signs
        and i + 1 < len(places)
        and places[i + 1][0] == end
        and _is_letter(text[end])
    )


def _is_letter(word: str) -> bool:
    """Whether a word begins with a letter or digit of a script written with spaces."""
    return bool(word) and (word[0].isalnum() or word[0] == "_") and not ALONE.match(word)


def join_words(words: Iterable[str]) -> tuple[str, list[Place]]:
    """Words as one text, and the place of each in it.

    A blank goes between two words, but not between two Han or kana characters.
    """
    # `text += word` would copy the text once for every word.
    text, places = io.StringIO(), []
    end, before = 0, ""
    for word in words:
        # Chinese and Japanese texts have no blanks in use, so none are added here.
        if before and not (WITHOUT_BLANK.match(before[-1]) and WITHOUT_BLANK.match(word)):
            end += text.write(" ")
        places.append((end, end + len(word)))
        end += text.write(word)
        before = word
    return text.getvalue(), places


def find_words(text: str, words: Iterable[str]) -> list[Place] | None:
    """Where the words are in the text that they were cut from; None if they do not spell it.

    Blanks do not count: the words `do` and `n't` are found in `don't`.
    """
    places, end = [], 0
    for word in words:
        start = _after_blanks(text, end)
        if not text.startswith(word, start):
            return None
        end = start + len(word)
        places.append((start, end))
    return places if _after_blanks(text, end) == len(text) else None


def _after_blanks(text: str, position: int) -> int:
    """The first place at or after `position` that is not a blank."""
    while SPACE.match(text, position):
        position += 1
    return position


def tags_of_entities(words: Sequence[Place], entities: Iterable[Entity]) -> list[str]:
    """IOB2 tags of words, from the characters that entities cover.

    An entity takes every word that it touches; a word that two entities touch belongs to the first.
    """
    tags = ["O"] * len(words)
    word = 0
    # In the order of the text, so that one walk over the words serves all entities.
    for kind, start, end in sorted(entities, key=lambda entity: entity[1:]):
        while word < len(words) and words[word][1] <= start:
            word += 1
        prefix = "B"
        while word < len(words) and words[word][0] < end:
            tags[word] = f"{prefix}-{kind}"
            prefix = "I"
            word += 1
    return tags


def owners(words: Sequence[Place], given: Sequence[Place]) -> list[int | None]:
    """For each word, the index of the first given word that it touches; None if it touches none."""
    found: list[int | None] = []
    i = 0
    for start, end in words:
        while i < len(given) and given[i][1] <= start:
            i += 1
        found.append(i if i < len(given) and given[i][0] < end else None)
    return found


def first_parts(words: Sequence[Place], given: Sequence[Place]) -> list[int]:
    """For each given word, the index of the first word that it owns (see `owners`).

    A given word that owns none, such as `km` where `12km` is one word, gets the word that it is in,
    or else the next.
    """
    first: dict[int | None, int] = {}
    for i, owner in enumerate(owners(words, given)):
        first.setdefault(owner, i)
    parts, word = [], 0
    for i, (start, _) in enumerate(given):
        while word + 1 < len(words) and words[word][1] <= start:
            word += 1
        parts.append(first.get(i, word))
    return parts
