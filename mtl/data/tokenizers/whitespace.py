"""A text goes in; whole words come out: those of the training text, and numbers for all others.

This tokenizer knows whole words only, so a name it has never seen has no id. It gets a
*numbered unknown*: the first unseen word of a row becomes `[UNK Xx 0]`, the next `[UNK Xx 1]`, and
a word that recurs keeps its number. So the model cannot know what the word means, but it can see
its shape (`Xx`: capitalised) and that the same word appears in the question and in the context.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...errors import ConfigError, DataError, ModelError
from ...files import missing_file
from ..words import join_words, split_words
from .base import Encoding, Tokenizer

SHAPES = ("x", "Xx", "XX", "9", ".")


def word_shape(word: str) -> str:
    """One of `SHAPES`: lower case, Capitalised, UPPER CASE, with a digit, punctuation."""
    if any(character.isdigit() for character in word):
        return "9"
    if not any(character.isalpha() for character in word):
        return "."
    # A single capital, as in "I" or "A", only says that a word is capitalised.
    if word.isupper() and len(word) > 1:
        return "XX"
    return "Xx" if word[0].isupper() else "x"


def first_places(ids: Tensor) -> Tensor:
    """Where in its row each id appears first, `(B, T)`.

    ids             7 9 7 8 9 7
    sorted          7 7 7 8 9 9
    from place      0 2 5 3 1 4
    a new id at     0     3 4
    its first is at 0 0 0 3 4 4     in the sorted row
    which is place  0 0 0 3 1 1
    put back        0 1 0 3 1 0
    """
    # Comparing every pair would be quadratic in the length of a text. Stable: equal ids stay in
    # order.
    in_order, place = ids.sort(dim=1, stable=True)
    is_new = torch.ones_like(in_order, dtype=torch.bool)
    is_new[:, 1:] = in_order[:, 1:] != in_order[:, :-1]
    start = torch.where(is_new, torch.arange(ids.shape[1]), 0).cummax(1).values
    return torch.empty_like(ids).scatter(1, place, place.gather(1, start))


def number_in_order(hidden: Tensor, first: Tensor) -> Tensor:
    """Number the hidden words of each row from 0, in the order in which they appear.

        ids             7 9 7 8 9 7
        first           0 1 0 3 1 0
        hidden          1 0 1 1 0 1     7 and 8 are hidden, 9 is not
        hidden, new     1 0 0 1 0 0     a hidden word at its first place
        counted so far  1 1 1 2 2 2
        less 1          0 0 0 1 1 1
        at the first    0 0 0 1 0 0     so 7 is number 0 wherever it appears, and 8 is number 1

    Args:
        hidden: `(B, T)`, the same at all places of a word.
        first: `(B, T)`, see `first_places`.

    Returns:
        `(B, T)`; only the numbers of hidden words mean anything.
    """
    is_new = hidden & (first == torch.arange(hidden.shape[1]))
    return (is_new.cumsum(1) - 1).gather(1, first)


class WhitespaceTokenizer(Tokenizer):
    """Words split at whitespace and punctuation; the vocabulary is the words of the training text.

    Args:
        counts: how often each word appeared in the training text.
        lower_case: whether words are lower-cased before they are looked up. Names then lose the
            capital that marks them, so `hide_words` can hide only rare words.
        numbered_unknowns: how many unseen words of a row can be told apart, for each word shape;
            further ones share the last number.
    """

    is_slow = False
    file_name = "whitespace_tokenizer.json"
    SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    pad_id, unk_id, cls_id, sep_id = range(4)
    pair_separator = [sep_id]  # noqa: RUF012

    def __init__(
        self, counts: dict[str, int], *, lower_case: bool = False, numbered_unknowns: int = 16
    ) -> None:
        if numbered_unknowns < 1:
            raise ConfigError(
                "numbered_unknowns must be at least 1", found=str(numbered_unknowns), fix="try 16"
            )
        self.lower_case = lower_case
        self.numbered_unknowns = numbered_unknowns
        self.counts = dict(counts)
        unknowns = [f"[UNK {shape} {n}]" for shape in SHAPES for n in range(numbered_unknowns)]
        self.first_unknown = len(self.SPECIAL)
        self.first_word = self.first_unknown + len(unknowns)
        self.tokens = [*self.SPECIAL, *unknowns, *self.counts]
        self.id_of = {word: i for i, word in enumerate(self.counts, self.first_word)}
        self._shape_of, self._hide_weight = self._word_tables()

    @classmethod
    def train(
        cls,
        texts: Iterable[str | Sequence[str]],
        *,
        lower_case: bool = False,
        min_count: int = 1,
        numbered_unknowns: int = 16,
    ) -> WhitespaceTokenizer:
        """A tokenizer whose vocabulary is the words of `texts` (training text only, never test).

        Args:
            texts: strings, or lists of words.
            lower_case: fold `Paris` and `paris` into one word.
            min_count: rarer words stay unknown.
            numbered_unknowns: see the class.

        Raises:
            DataError: a single text, whose letters would be taken for texts.
        """
        if isinstance(texts, str):
            fix = "give a list of texts: dataset.training_texts()"
            raise DataError("these are not several texts", found=repr(texts)[:80], fix=fix)
        counts: Counter[str] = Counter()
        for text in texts:
            # Lists of words are joined and cut again too: the vocabulary has the words met in use.
            joined = text if isinstance(text, str) else join_words(text)[0]
            words = [joined[start:end] for start, end in split_words(joined)]
            counts.update(word.lower() if lower_case else word for word in words)
        # By frequency, then alphabetically: the same texts give the same ids in any order.
        kept = sorted((-n, word) for word, n in counts.items() if n >= min_count)
        return cls(
            {word: -n for n, word in kept},
            lower_case=lower_case,
            numbered_unknowns=numbered_unknowns,
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def __repr__(self) -> str:
        return f"WhitespaceTokenizer({len(self.counts):,} words, lower_case={self.lower_case})"

    def encode(self, text: str) -> Encoding:
        """Words with ids and offsets; an unseen word has `unk_id` until its row is made."""
        places = split_words(text)
        tokens = [text[start:end] for start, end in places]
        if self.lower_case:  # word by word: a few letters change length, so offsets come first
            tokens = [token.lower() for token in tokens]
        ids = [self.id_of.get(token, self.unk_id) for token in tokens]
        return Encoding(text, tokens, ids, places, list(range(len(places))), places)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The tokens of `ids`, special ones and numbered unknowns in brackets."""
        return [self.tokens[i] for i in ids]

    def number_unknowns(
        self, ids: list[int], first: Encoding | None, text: Encoding, start: int
    ) -> list[int]:
        """Replace each `unk_id` by the numbered unknown of its word, in order of appearance."""
        # Most rows know all their words.
        if self.unk_id not in ids:
            return ids
        # One word for each place; special tokens have none.
        tokens = [""] if first is None else ["", *first.tokens, *[""] * len(self.pair_separator)]
        tokens += text.tokens[start : start + len(ids) - len(tokens)]
        numbers: dict[str, int] = {}
        numbered = list(ids)
        for i, (token_id, token) in enumerate(zip(ids, tokens, strict=True)):
            if token_id == self.unk_id:
                # By the word, not by its place: a name that recurs keeps its number.
                number = numbers.setdefault(token, len(numbers))
                numbered[i] = self._unknown_id(SHAPES.index(word_shape(token)), number)
        return numbered

    def _unknown_id(self, shape: int, number: int) -> int:
        return (
            self.first_unknown
            + shape * self.numbered_unknowns
            + min(number, self.numbered_unknowns - 1)
        )

    def hide_words(self, input_ids: Tensor, share: float, generator: torch.Generator) -> Tensor:
        """Make some words of some rows unknown, so that the model learns to cope with them.

        In `share` of the rows a rate is drawn (1 in half of them, else uniform), and each word is
        hidden with that rate times its weight: 1 for what looks like a name or a number, and
        `0.25 / (0.25 + count)` for any other word (word dropout of Kiperwasser and Goldberg 2016,
        section 4.1). A word is hidden everywhere in its row or nowhere.

        Args:
            input_ids: `(B, T)`.
            share: share of rows in which words are hidden, 0 to 1.
            generator: where the randomness comes from.

        Returns:
            `(B, T)`, hidden words as numbered unknowns, the numbers shifted at random so that every
            number is trained.
        """
        first = first_places(input_ids)
        hidden = self._choose_hidden(input_ids, first, share, generator)
        number = number_in_order(hidden, first).clamp(max=self.numbered_unknowns - 1)
        # Most rows hide few words. Without the shift the high numbers would hardly ever be trained,
        # and a long text with many unseen words would meet them for the first time in use.
        shift = torch.randint(self.numbered_unknowns, (len(input_ids), 1), generator=generator)
        number = (number + shift) % self.numbered_unknowns  # (B, T)
        unknown = self.first_unknown + self._shape_of[input_ids] * self.numbered_unknowns + number
        return torch.where(hidden, unknown, input_ids)

    def _choose_hidden(
        self, input_ids: Tensor, first: Tensor, share: float, generator: torch.Generator
    ) -> Tensor:
        """Which words become unknown, `(B, T)`. A row where the rate 0.8 was drawn:

            words           Ann  saw  Bob  ,    Ann  Zoe     Zoe is not in the vocabulary
            weight          1    0.1  1    0    1    0       how readily a word is hidden
            rate * weight   0.8  0.08 0.8  0    0.8  0
            draw            0.3  0.5  0.9  0.2  0.95 0.6     hidden if the draw is below
            below           yes  no   no   no   no   no
            at the first    yes  no   no   no   yes  no      the second Ann follows the first
            or unknown      yes  no   no   no   yes  yes     so that Ann and Zoe are told apart

        Args:
            first: see `first_places`.
        """
        draws = torch.rand(len(input_ids), 2, generator=generator)
        # Twice a number from 0 to 1, at most 1: all names are hidden in half of the chosen rows.
        rate = torch.where(draws[:, :1] < share, (2 * draws[:, 1:]).clamp(max=1), 0.0)  # (B, 1)
        below = torch.rand(input_ids.shape, generator=generator) < (
            rate * self._hide_weight[input_ids]
        )
        was_unknown = (input_ids >= self.first_unknown) & (input_ids < self.first_word)
        return below.gather(1, first) | was_unknown

    def _word_tables(self) -> tuple[Tensor, Tensor]:
        """For every id: its shape, and how readily `hide_words` hides it."""
        shapes, weights = [0] * self.first_word, [0.0] * self.first_word
        for i in range(self.first_unknown, self.first_word):
            shapes[i] = (i - self.first_unknown) // self.numbered_unknowns
        for word, count in self.counts.items():
            shape = word_shape(word)
            # "Where" is also seen as "where": it was only at the start of a sentence.
            name_like = shape in ("Xx", "XX", "9") and word.lower() not in self.counts
            shapes.append(SHAPES.index(shape))
            # In use, unseen words are mostly names and rare words: these are hidden most often.
            weights.append(1.0 if name_like else 0.25 / (0.25 + count))
        return torch.tensor(shapes), torch.tensor(weights)

    def to_json(self) -> str:
        content = {
            "lower_case": self.lower_case,
            "numbered_unknowns": self.numbered_unknowns,
            "counts": self.counts,
        }
        return json.dumps(content, ensure_ascii=False, indent=0)

    @classmethod
    def load(cls, folder: Path) -> WhitespaceTokenizer:
        path = Path(folder) / cls.file_name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            counts = content.pop("counts")
            return cls(counts, **content)
        except FileNotFoundError:
            raise missing_file(path) from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                "this is not a tokenizer file that WhitespaceTokenizer.save wrote",
                path=path,
                found=str(error),
                fix="copy the whole model folder again",
            ) from None
