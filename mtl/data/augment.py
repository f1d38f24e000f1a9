"""A few training examples go in; more come out: entities and words replaced, labels still right."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..errors import ConfigError
from ..metrics import Span, entity_spans
from .examples import NERExample, TextExample
from .words import join_words

# The words of an entity, and the entities inside it, counted from its first word.
Mention = tuple[tuple[str, ...], tuple[Span, ...]]
REPLACED = 0.5  # of the entities, and of the words that have synonyms


def augment(
    examples: Sequence[NERExample | TextExample],
    copies: int,
    seed: int,
    synonyms: Mapping[str, Sequence[str]] | None = None,
) -> list[NERExample | TextExample]:
    """The examples, and `copies` of each in which half of the entities and words are replaced.

    An entity becomes another entity of the same type that occurs in the examples, with all that is
    inside it (mention
    replacement: Dai and Adel 2020, "An Analysis of Simple Data Augmentation for Named Entity
    Recognition", section 3), with as many tags as words; a word outside entities becomes one of its
    synonyms. The label of the text stays.

    Args:
        examples: of the training split only.
        copies: of each example.
        seed: the same seed gives the same copies.
        synonyms: for a word in lower case, what may replace it, one word or more.

    Raises:
        ConfigError: examples of another kind, such as questions, or sentences with further tags,
            which cannot be known of the new words.
    """
    for example in examples:
        more_tags = isinstance(example, NERExample) and example.fields
        if more_tags or not isinstance(example, NERExample | TextExample):
            raise ConfigError(
                "only tagged sentences and labelled texts can be augmented",
                found=type(example).__name__ + (" with fields" if more_tags else ""),
                fix="leave augment out for this dataset",
            )
    for word, others in (synonyms or {}).items():
        if isinstance(others, str) or not others or not all(other.strip() for other in others):
            raise ConfigError(
                f"the synonyms of {word!r} are not a list of words",
                found=repr(others),
                fix='write at least one, as in ["large", "rather big"]',
            )
    # A name from another sentence of the training data: its type is certainly right, and the model
    # learns that the words around a name tell its type.
    rng = random.Random(f"augment {seed}")
    mentions = _mentions(examples)
    made = [
        _changed(example, mentions, synonyms or {}, rng)
        for _ in range(copies)
        for example in examples
    ]
    return [*examples, *made]


def _mentions(examples: Sequence[NERExample | TextExample]) -> dict[str, list[Mention]]:
    """Every entity of the examples by its type, as often as it occurs."""
    mentions: dict[str, list[Mention]] = {}
    for example in examples:
        for kind, mention in _pieces(example):
            # With repeats, so that a frequent name is drawn more often, as in the data.
            if kind:
                mentions.setdefault(kind, []).append(mention)
    return mentions


def _changed(
    example: NERExample | TextExample,
    mentions: Mapping[str, Sequence[Mention]],
    synonyms: Mapping[str, Sequence[str]],
    rng: random.Random,
) -> NERExample | TextExample:
    tokens: list[str] = []
    tags: list[str] = []
    inner: list[Span] = []
    for kind, (words, inside) in _pieces(example):
        if rng.random() < REPLACED:
            if kind:
                words, inside = rng.choice(mentions[kind])
            elif words[0].lower() in synonyms:
                words = (*_like(words[0], rng.choice(synonyms[words[0].lower()]).split()),)
        inner += [(k, len(tokens) + first, len(tokens) + last) for k, first, last in inside]
        tokens += words
        # The new entity may have more or fewer words: its tags are made, not copied.
        tags += [f"{'I' if i else 'B'}-{kind}" if kind else "O" for i in range(len(words))]
    if isinstance(example, NERExample):
        return NERExample(tuple(tokens), tuple(tags), inner=tuple(inner))
    # A text that was never tagged must not become one tagged as having no entities.
    kept = None if example.tags is None else tuple(tags)
    text = join_words(tokens)[0]
    return replace(example, text=text, tokens=tuple(tokens), tags=kept, inner=tuple(inner))


def _pieces(example: NERExample | TextExample) -> list[tuple[str, Mention]]:
    """The words one by one, an entity as one piece with its type."""
    spans = {first: (kind, last) for kind, first, last in entity_spans(example.tags or ())}
    around = {word: start for start, (_, end) in spans.items() for word in range(start, end)}
    inside: dict[int, list[Span]] = {}  # by where the entity around them begins
    for kind, first, last in example.inner:
        start = around[first]
        inside.setdefault(start, []).append((kind, first - start, last - start))
    tokens = example.tokens or tuple(example.text.split())
    pieces, position = [], 0
    while position < len(tokens):
        kind, last = spans.get(position, ("", position + 1))
        pieces.append((kind, (tokens[position:last], tuple(inside.get(position, ())))))
        position = last
    return pieces


def _like(word: str, others: list[str]) -> list[str]:
    """The other words, the first one capitalised if `word` is."""
    if word[0].isupper():
        return [others[0][0].upper() + others[0][1:], *others[1:]]
    return others
