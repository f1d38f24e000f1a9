"""A text goes in; subwords come out: rare words in pieces, so that none is unknown.

    embeddings -> em ##bed ##ding ##s       WordPiece (BERT, DistilBERT, ELECTRA)
    He sleeps. -> He Ġsleeps .              byte-level BPE (RoBERTa, ModernBERT); Ġ: after a blank
    He sleeps. -> ▁He ▁sleep s .            Unigram (XLM-RoBERTa, CamemBERT); ▁: a word begins

Cutting is left to the `tokenizers` library, with the vocabulary that came with the pretrained
weights; here its pieces are mapped back to characters and words.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ModelError, missing_extra
from ...files import missing_file, read_json
from ..words import BLANKS, SPACE, Place, split_words
from .base import Encoding, Tokenizer
from .stretches import Stretches

if TYPE_CHECKING:
    import tokenizers

# Special tokens by their purpose.
BERT_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]"}
ROBERTA_TOKENS = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>"}
VOCABULARY, SETTINGS = "vocab.txt", "tokenizer_config.json"
SENTENCEPIECE = ("sentencepiece.bpe.model", "spiece.model", "tokenizer.model")
STRETCHES_AT_ONCE = 64
NOT_BLANK = re.compile(f"[^{BLANKS}]")


class SubwordEncoding(Encoding):
    """A text as the library cut it: what only some tasks need is read from there on demand.

    Each number that leaves the library becomes a Python object, and all of them together take
    longer than cutting the text.
    """

    _find: Callable[[], tokenizers.Encoding]

    def __init__(self, text: str, ids: list[int], find: Callable[[], tokenizers.Encoding]) -> None:
        # Past the frozen dataclass, whose other fields would have to be there.
        vars(self).update(text=text, ids=ids, _find=find)

    @cached_property
    def _found(self) -> tokenizers.Encoding:
        return self._find()

    @cached_property
    def tokens(self) -> list[str]:
        return self._found.tokens

    @cached_property
    def offsets(self) -> list[Place]:
        return _without_blanks(self.text, self._found.offsets)

    @property
    def word_ids(self) -> list[int]:
        return self._word_ids_and_words[0]

    @property
    def words(self) -> list[Place]:
        return self._word_ids_and_words[1]

    @cached_property
    def _word_ids_and_words(self) -> tuple[list[int], list[Place]]:
        words = split_words(self.text)
        word_ids = _inside_words(self.offsets, words)
        if word_ids is None:
            words = _join_words(words, self.offsets)
            word_ids = _words_of_pieces(self.offsets, words)
        kept = sorted(set(word_ids))
        if len(kept) < len(words):  # a word without pieces must leave no gap in the count
            number = {word: i for i, word in enumerate(kept)}
            word_ids = [number[word] for word in word_ids]
            words = [words[word] for word in kept]
        return word_ids, words


class SubwordTokenizer(Tokenizer):
    """Words in pieces, by a trained vocabulary (WordPiece, byte-level BPE or Unigram).

    Args:
        backend: a `tokenizers.Tokenizer`; its settings for padding, truncation and special tokens
            around a text are not used.

    Raises:
        ModelError: the vocabulary lacks special tokens that BERT or RoBERTa have.
    """

    file_name = "tokenizer.json"

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        backend.no_truncation()  # or the end of a long text would be lost silently
        backend.no_padding()
        backend.encode_special_tokens = True  # "[SEP]" in a user's text is plain text
        self.backend = backend
        self.special_tokens, ids = _special_tokens(backend)
        self.pad_id, self.unk_id = ids["pad"], ids["unk"]
        self.cls_id, self.sep_id = ids["cls"], ids["sep"]
        # A Unigram vocabulary lists its special tokens as pieces, and finds them in plain text.
        added = backend.get_added_tokens_decoder()
        self.special_ids = {*ids.values(), *(i for i in added if added[i].special)}
        # RoBERTa was trained with </s></s> between the two texts of a pair.
        self.pair_separator = [self.sep_id] * (1 if self.special_tokens == BERT_TOKENS else 2)
        self._stretches = (
            Stretches(self._cut_stretches, self.encode) if _cuts_at_blanks(backend) else None
        )

    def __len__(self) -> int:
        return self.backend.get_vocab_size(with_added_tokens=True)

    def __repr__(self) -> str:
        return f"SubwordTokenizer({len(self):,} pieces, {type(self.backend.model).__name__})"

    def encode(self, text: str) -> Encoding:
        """Pieces of `text` with their offsets; every word has at least one piece.

        Words that share a piece count as one, and a word without a piece, such as a lone control
        character, is left out.
        """
        found = self._cut(text)
        return self._read(text, found.ids, lambda: found)

    def encode_batch(self, texts: Sequence[str], places: bool = True) -> list[Encoding]:
        """`encode` of every text; what is new in them is cut on all cores."""
        if self._stretches:
            return self._stretches.encode(texts)
        cut = self.backend.encode_batch if places else self.backend.encode_batch_fast
        cut_texts = zip(texts, cut(list(texts), add_special_tokens=False), strict=True)
        if places:
            return [self._read(text, found.ids, lambda f=found: f) for text, found in cut_texts]
        return [self._read(text, found.ids, partial(self._cut, text)) for text, found in cut_texts]

    def _cut_stretches(self, stretches: list[str]) -> Iterator[list[int]]:
        """The ids of each stretch."""
        # Many as one text: one by one, they would take half as long again.
        n = STRETCHES_AT_ONCE
        groups = [stretches[i : i + n] for i in range(0, len(stretches), n)]
        joined = self.backend.encode_batch([*map(" ".join, groups)], add_special_tokens=False)
        for group, found in zip(groups, joined, strict=True):
            ids, firsts = self._plain(found.ids), [start for start, _ in found.offsets]
            at = first = 0
            for stretch in group:
                at += len(stretch) + 1
                end = bisect_left(firsts, at, first)
                yield ids[first:end]
                first = end

    def _cut(self, text: str) -> tokenizers.Encoding:
        # Special tokens are added by `rows`, which knows about pairs and windows.
        return self.backend.encode(text, add_special_tokens=False)

    def _read(self, text: str, ids: list[int], find: Callable[[], tokenizers.Encoding]) -> Encoding:
        """What the library found in a text; `find` gives the rest of it."""
        if not NOT_BLANK.search(text):  # RoBERTa has pieces for blanks too
            return Encoding(text, [], [], [], [], [])
        return SubwordEncoding(text, self._plain(ids), find)

    def _plain(self, ids: list[int]) -> list[int]:
        """The same ids, but unknown where the spelling of a special token was found in a text."""
        if self.special_ids.isdisjoint(ids):
            return ids
        return [self.unk_id if i in self.special_ids else i for i in ids]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The pieces of `ids`; an id beyond the vocabulary is unknown."""
        unknown = self.special_tokens["unk"]
        return [self.backend.id_to_token(i) or unknown for i in ids]

    def to_json(self) -> str:
        return self.backend.to_str()

    @classmethod
    def load(cls, folder: Path) -> SubwordTokenizer:
        """Read `tokenizer.json`, or else a WordPiece `vocab.txt`.

        Raises:
            ModelError: neither is there, or it cannot be read.
            ConfigError: the `tokenizers` library is not installed.
        """
        folder = Path(folder)
        try:
            import tokenizers
        except ImportError:
            raise missing_extra("tokenizers", "pretrained") from None
        path = folder / cls.file_name
        if not path.exists():
            # Older checkpoints have only the list of pieces.
            path = folder / VOCABULARY
        if not path.exists():
            raise _no_vocabulary(folder)
        settings = read_json(folder / SETTINGS) if (folder / SETTINGS).exists() else {}
        try:
            if path.name == VOCABULARY:
                return cls(_word_piece(path, settings))
            return cls(tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8")))
        except ModelError as error:
            raise error.at(path) from None
        except Exception as error:  # the library raises bare ones
            raise ModelError(
                "the tokenizer file cannot be read",
                path=path,
                found=str(error),
                fix="copy or download it again",
            ) from None


def _no_vocabulary(folder: Path) -> ModelError:
    """The error for a folder without a file that we read."""
    found = next((name for name in SENTENCEPIECE if (folder / name).exists()), None)
    if found is None:
        return missing_file(folder / SubwordTokenizer.file_name)
    return ModelError(
        f"the folder has its vocabulary only in SentencePiece's own format ({found})",
        path=folder,
        fix=f"convert it to {SubwordTokenizer.file_name} with transformers and sentencepiece: "
        "AutoTokenizer.from_pretrained(FOLDER, use_fast=True).save_pretrained(FOLDER)",
    )


def _without_blanks(text: str, places: list[Place]) -> list[Place]:
    """The places of pieces without the blanks that they begin with.

    `Ġsleeps` and `▁sleeps` are a word with the blank before it; an answer must not begin with one.
    A piece of nothing but blanks stays as it is.
    """
    if not places:
        return places
    # All first characters at once: WordPiece never begins with a blank, and has nothing to cut. An
    # empty piece may be at the end of the text, where there is no character.
    firsts = "".join(itemgetter(*(start for start, _ in places))(text + "."))
    if not SPACE.search(firsts):
        return places
    filled = [NOT_BLANK.search(text, *place) for place in places]
    return [
        (first.start(), place[1]) if first else place
        for first, place in zip(filled, places, strict=True)
    ]


def _special_tokens(backend: tokenizers.Tokenizer) -> tuple[dict[str, str], dict[str, int]]:
    """The family of special tokens that the vocabulary has in full, and their ids."""
    # By the vocabulary, not by a name: fine-tuned checkpoints may be called anything.
    for tokens in (BERT_TOKENS, ROBERTA_TOKENS):
        found = {use: backend.token_to_id(token) for use, token in tokens.items()}
        ids = {use: i for use, i in found.items() if i is not None}
        if len(ids) == len(tokens):
            return tokens, ids
    raise ModelError(
        "the vocabulary lacks special tokens",
        found=f"neither {', '.join(BERT_TOKENS.values())} nor {', '.join(ROBERTA_TOKENS.values())}",
        fix="use the tokenizer files that came with the weights",
    )


def _cuts_at_blanks(backend: tokenizers.Tokenizer) -> bool:
    """Whether no piece reaches over a blank, or depends on what is beyond it."""
    is_bert = type(backend.pre_tokenizer).__name__ == "BertPreTokenizer"
    # Added tokens are found before anything is cut, and may hold blanks; special ones are not.
    added = backend.get_added_tokens_decoder().values()
    return (
        is_bert
        and type(backend.normalizer).__name__ in ("BertNormalizer", "NoneType")
        and all(token.special for token in added)
    )


def _inside_words(offsets: list[Place], words: list[Place]) -> list[int] | None:
    """The word that each piece is in; None if some piece is not inside a single word."""
    word_ids, word = [], 0
    word_start, word_end = words[0]
    for start, end in offsets:
        while word_end <= start:
            word += 1
            if word == len(words):
                return None
            word_start, word_end = words[word]
        if not word_start <= start < end <= word_end:
            return None
        word_ids.append(word)
    return word_ids


def _join_words(words: list[Place], offsets: list[Place]) -> list[Place]:
    """The same words, but neighbours become one if a piece holds characters of both."""
    # Places where a piece could be cut in two: a word that begins there shares the piece.
    inner = {position for start, end in offsets for position in range(start + 1, end)}
    joined: list[Place] = []
    for start, end in words:
        if joined and joined[-1][1] in inner and start in inner:
            start = joined.pop()[0]
        joined.append((start, end))
    return joined


def _words_of_pieces(offsets: list[Place], words: list[Place]) -> list[int]:
    """The word that each piece belongs to; both are in the order of the text.

    A piece that holds only blanks belongs to the word before.
    """
    word_ids, word = [], 0
    for start, end in offsets:
        while word + 1 < len(words) and words[word][1] <= start and words[word + 1][0] < end:
            word += 1
        word_ids.append(word)
    return word_ids


def _word_piece(path: Path, settings: dict[str, Any]) -> tokenizers.Tokenizer:
    """BERT's tokenizer from its list of pieces, one per line (Devlin et al. 2019, section 4.1)."""
    import tokenizers

    # Not `splitlines`: a piece may be one of the characters that this cuts at.
    pieces = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    backend = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=settings.get("do_lower_case", True),
        handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
        # None leaves it to lower-casing, as BERT's own code does.
        strip_accents=settings.get("strip_accents"),
    )
    backend.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    special = [*BERT_TOKENS.values(), "[MASK]"]
    backend.add_special_tokens([token for token in special if token in vocabulary])
    if "[CLS]" in vocabulary and "[SEP]" in vocabulary:  # for others that read our tokenizer.json
        ends = [(token, vocabulary[token]) for token in ("[SEP]", "[CLS]")]
        backend.post_processor = tokenizers.processors.BertProcessing(*ends)
    return backend
