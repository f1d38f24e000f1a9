"""A split, a number and a seed go in; sentences with parts of speech and entities come out.

A small grammar makes them. Many of its words are a noun in one place and a verb or an adjective in
another (`they light a book`, `she will book a light`), so that a word alone does not tell its tag:
its neighbours do. Sentences of `test_unseen` have names, nouns, verbs and adjectives that no other
split has.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from ..data.examples import TokenExample
from .world import SEEN, UNSEEN, Names, check_split, split_of, words

# What each part of a sentence may be made of: other parts, names in capitals by their type, and
# words with their universal part of speech (de Marneffe et al. 2021, "Universal Dependencies").
GRAMMAR: dict[str, tuple[str, ...]] = {
    "sentence": (
        "who past what where ./PUNCT",
        "who aux base what where ./PUNCT",
        "many base what how ./PUNCT",
        "one third what where ./PUNCT",
        "who wanted/VERB to/PART base what ./PUNCT",
        "who went/VERB to/ADP LOC how ./PUNCT",
        "who said/VERB that/SCONJ who aux base what ./PUNCT",
        "that/DET noun was/AUX adjective and/CCONJ adjective ./PUNCT",
        "PER works/VERB for/ADP ORG where ./PUNCT",
        "thing and/CCONJ thing were/AUX adjective ./PUNCT",
        "aux pronoun base what ?/PUNCT",
        "who past what ,/PUNCT but/CCONJ pronoun aux base what ./PUNCT",
    ),
    "who": ("one", "many", "PER", "ORG"),
    "one": ("thing", "PER", "she/PRON", "he/PRON", "nobody/PRON"),
    "many": ("they/PRON", "we/PRON", "number nouns", "the/DET nouns", "the/DET adjective nouns"),
    "pronoun": ("they/PRON", "we/PRON", "she/PRON", "you/PRON"),
    "what": ("thing", "thing", "it/PRON", "the/DET nouns", "adjective nouns"),
    "thing": ("article noun", "article adjective noun", "article adjective adjective noun"),
    "where": ("nothing", "in/ADP LOC", "near/ADP thing", "with/ADP PER", "by/ADP the/DET noun"),
    "how": ("nothing", "slowly/ADV", "again/ADV", "on/ADP number nouns"),
    "article": ("the/DET", "a/DET", "this/DET", "that/DET", "her/PRON", "no/DET"),
    "number": ("two/NUM", "three/NUM", "seven/NUM", "40/NUM"),
    "aux": ("will/AUX", "can/AUX", "must/AUX", "may/AUX"),
    "nothing": ("",),
}
# Noun and verb: `can` and `will` are auxiliaries, too.
BOTH = words("book plan water paint cook light dress ship visit mail can will")
NOUNS = words("teacher garden doctor street friend river window table")
VERBS = words("find bring sell borrow follow carry")
ADJECTIVES = words("light cold clean open dry old big green quiet heavy")  # some are verbs, too
PASTS = words("found brought sold followed opened cleaned watered booked painted visited")
BASES = (*BOTH, *VERBS, *words("clean open dry"))
# For `test_unseen`.
NEW_NOUNS, NEW_VERBS = words("violin lantern farmer pocket"), words("repair collect hide admire")
NEW_ADJECTIVES, NEW_PASTS = words("wooden narrow strange"), words("repaired collected hid admired")
TYPES = ("PER", "ORG", "LOC")
NEW = 0.3  # how often such a word comes in


def part_of_speech(split: str, n: int, seed: int = 0) -> list[TokenExample]:
    """Sentences with a part of speech for each word; the field `ner` has their entities in IOB2.

    Args:
        split: one of `SPLITS`.
        n: how many.
        seed: the same seed gives the same sentences.
    """
    check_split(split)
    rng = random.Random(f"part of speech {split} {seed}")
    names = UNSEEN if split == "test_unseen" else SEEN
    lexicon = _lexicon(split)
    sentences: list[TokenExample] = []
    while len(sentences) < n:
        sentence = _sentence(lexicon, names, rng)
        # All its names and words are new there: no other split can have it.
        if split == "test_unseen" or split_of(sentence.text) == split:
            sentences.append(sentence)
    return sentences


def _lexicon(split: str) -> dict[str, tuple[Sequence[str], Sequence[str], str]]:
    """For each class of words, those of every split, those of this one alone, and their tag."""
    new = split == "test_unseen"
    found = {
        "noun": ((*BOTH, *NOUNS), NEW_NOUNS, "NOUN"),
        "base": (BASES, NEW_VERBS, "VERB"),
        "adjective": (ADJECTIVES, NEW_ADJECTIVES, "ADJ"),
        "past": (PASTS, NEW_PASTS, "VERB"),
    }
    # A plural noun looks like a verb in the third person.
    for plural, of in (("nouns", "noun"), ("third", "base")):
        known, more, tag = found[of]
        found[plural] = ([_with_s(word) for word in known], [_with_s(word) for word in more], tag)
    return {name: (known, more if new else (), tag) for name, (known, more, tag) in found.items()}


def _with_s(word: str) -> str:
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}ies"
    return word + ("es" if word.endswith(("s", "sh", "ch", "x")) else "s")


def _sentence(
    lexicon: Mapping[str, tuple[Sequence[str], Sequence[str], str]],
    names: Names,
    rng: random.Random,
) -> TokenExample:
    tokens: list[str] = []
    tags: list[str] = []
    entities: list[str] = []
    waiting = ["sentence"]
    while waiting:
        part = waiting.pop(0)
        if part in GRAMMAR:
            waiting = [*rng.choice(GRAMMAR[part]).split(), *waiting]
        elif part in TYPES:
            name = names.draw(part, rng).split()
            tokens += name
            tags += ["PROPN"] * len(name)
            entities += [f"{'I' if i else 'B'}-{part}" for i in range(len(name))]
        else:
            word, tag = _word(part, lexicon, rng)
            tokens.append(word)
            tags.append(tag)
            entities.append("O")
    for i, following in enumerate(tokens[1:]):
        if tokens[i] == "a" and following[0] in "aeiou":
            tokens[i] = "an"
    tokens[0] = tokens[0][0].upper() + tokens[0][1:]
    return TokenExample(tuple(tokens), tuple(tags), {"ner": tuple(entities)})


def _word(
    part: str,
    lexicon: Mapping[str, tuple[Sequence[str], Sequence[str], str]],
    rng: random.Random,
) -> tuple[str, str]:
    """A word of a class, or the word that the grammar names, with its tag."""
    if part not in lexicon:
        word, _, tag = part.rpartition("/")
        return word, tag
    known, more, tag = lexicon[part]
    return rng.choice(more if more and rng.random() < NEW else known), tag
