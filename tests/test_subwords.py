"""Sub-words: the pieces of `transformers`, led back to characters and words."""

import json
import re
import sys
from collections import Counter

import pytest
import torch
from checkpoints import (
    CAMEMBERT_SPECIAL,
    SAMPLES,
    SPECIAL,
    WORD_PIECES,
    minilm_folder,
    varied_texts,
    write_byte_pairs,
    write_camembert,
    write_modern,
    write_unigram,
    write_word_pieces,
)
from hypothesis import given
from hypothesis import strategies as st

from mtl.data.batching import collate
from mtl.data.encoded import encode_examples
from mtl.data.examples import NERExample, Query
from mtl.data.tokenizers import stretches as stretches_module
from mtl.data.tokenizers.base import Tokenizer
from mtl.data.tokenizers.stretches import Stretches
from mtl.data.tokenizers.subwords import SubwordTokenizer
from mtl.data.words import BLANKS, split_words
from mtl.errors import ConfigError, DataError, ModelError
from mtl.inference import predict
from mtl.model import MultiTaskModel
from mtl.nn.config import EncoderConfig
from mtl.nn.encoder import TransformerEncoder
from mtl.tasks.ner import NERTask
from mtl.tasks.spans import pieces_of_span

pytest.importorskip("tokenizers")

UNIGRAMS = ["unigram", "unigram with blanks", "camembert"]
BYTE_LEVEL = ["byte-level", "modern"]
KINDS = ["uncased", "cased", *BYTE_LEVEL, *UNIGRAMS]
TEXTS = varied_texts(1200)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A folder of tokenizer files of each kind."""
    new = tmp_path_factory.mktemp("tokenizers")
    return {
        "uncased": write_word_pieces(new / "uncased", do_lower_case=True),
        "cased": write_word_pieces(new / "cased", do_lower_case=False),
        "byte-level": write_byte_pairs(new / "byte-level"),
        "modern": write_modern(new / "modern"),
        "unigram": write_unigram(new / "unigram"),
        "unigram with blanks": write_unigram(new / "with-blanks", splits_at_blanks=False),
        "camembert": write_camembert(new / "camembert"),
    }


@pytest.fixture(scope="module")
def subwords(folders):
    """A tokenizer of each kind."""
    return {kind: SubwordTokenizer.load(folder) for kind, folder in folders.items()}


@pytest.fixture(scope="module")
def references(folders):
    """Each kind as `transformers` reads it."""
    transformers = pytest.importorskip("transformers")
    load = transformers.AutoTokenizer.from_pretrained
    return {kind: load(folder, local_files_only=True) for kind, folder in folders.items()}


def hide(token_id, reference):
    """The id of a piece in plain text, where a special token is an unknown word."""
    return reference.unk_token_id if token_id in reference.all_special_ids else token_id


def without_blank(text, start, end):
    """The place of a piece without the blanks before its word."""
    filled = re.sub(rf"^[{BLANKS}]+", "", text[start:end])
    return (end - len(filled) if filled else start, end)


def assert_same_pieces(tokenizer, reference, texts):
    for text in texts:
        theirs = reference(
            text, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=True
        )
        ours = tokenizer.encode(text)
        if ours.words:
            # Unigram finds special tokens in plain text, where they mean nothing.
            ids = [hide(i, reference) for i in theirs["input_ids"]]
            assert ours.ids == ids, text
            places = [without_blank(text, *place) for place in theirs["offset_mapping"]]
            assert ours.offsets == places, text
        else:
            assert not split_words(text) or not theirs["input_ids"], text


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_and_offsets_are_those_of_transformers(subwords, references, kind):
    assert len(TEXTS) >= 1000
    assert_same_pieces(subwords[kind], references[kind], TEXTS)
    assert len(subwords[kind]) == len(references[kind])


def test_pieces_of_minilm_are_those_of_transformers():
    transformers = pytest.importorskip("transformers")
    folder = minilm_folder()
    reference = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    reference.backend_tokenizer.no_truncation()
    tokenizer = SubwordTokenizer.load(folder)
    assert_same_pieces(tokenizer, reference, TEXTS)
    assert len(tokenizer) == len(reference) == 30522


def test_the_cased_vocabulary_sees_capitals_and_the_uncased_does_not(subwords):
    assert subwords["cased"].encode("Paris").tokens == ["Paris"]
    assert subwords["uncased"].encode("Paris").tokens == ["paris"]
    assert subwords["uncased"].encode("Workable").tokens == ["work", "##able"]


def test_without_settings_a_vocabulary_is_uncased(tmp_path):
    folder = write_word_pieces(tmp_path)
    (folder / "tokenizer_config.json").unlink()
    assert SubwordTokenizer.load(folder).encode("Paris").tokens == ["paris"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x0b", "\x1d", "\u3000"])
def test_a_piece_that_looks_like_a_line_end_is_a_piece(tmp_path, line_end, odd):
    pieces = [*SPECIAL, odd, "the", "work"]
    tokenizer = SubwordTokenizer.load(write_word_pieces(tmp_path, pieces, line_end))
    assert len(tokenizer) == len(pieces)
    assert tokenizer.encode("the work").ids == [6, 7]


def test_a_last_line_without_its_end_counts(tmp_path):
    folder = write_word_pieces(tmp_path)
    path = folder / "vocab.txt"
    path.write_bytes(path.read_bytes()[:-1])
    tokenizer = SubwordTokenizer.load(folder)
    assert len(tokenizer) == len(WORD_PIECES)
    assert tokenizer.encode(WORD_PIECES[-1]).ids == [len(WORD_PIECES) - 1]


@pytest.mark.parametrize("kind", KINDS)
def test_truncation_and_padding_in_the_file_neither_cut_nor_fill(subwords, tmp_path, kind):
    subwords[kind].save(tmp_path)
    import tokenizers

    backend = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.enable_truncation(8)
    backend.enable_padding(length=16)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = SubwordTokenizer.load(tmp_path)
    for text in ("the work " * 50, "work"):
        assert tokenizer.encode(text) == subwords[kind].encode(text)


def test_minilm_reads_long_texts_whole():
    folder = minilm_folder()
    stored = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert stored["truncation"]["max_length"] == 128
    assert SubwordTokenizer.load(folder).encode("word " * 300).tokens == ["word"] * 300


# Words

LETTERS = st.sampled_from("abcDEñe\u0301ı\u200b\u200d中국é.,-'’\"#$ß👩\x07")
STRINGS = st.one_of(
    st.sampled_from(TEXTS),
    st.text(st.one_of(LETTERS, st.sampled_from(" \t\u00a0"))),
    st.text(st.characters(codec="utf-8")),
)


@pytest.mark.parametrize("kind", KINDS)
@given(text=STRINGS)
def test_the_words_of_a_string_hold_all_that_has_pieces(subwords, kind, text):
    encoding = subwords[kind].encode(text)
    assert encoding.text == text
    assert set(encoding.word_ids) == set(range(len(encoding.words)))
    assert encoding.word_ids == sorted(encoding.word_ids)
    end_before = 0
    for start, end in encoding.words:
        assert end_before <= start < end
        assert text[start] == text[start:end].lstrip()[0]
        end_before = end
    inside = {i for start, end in encoding.words for i in range(start, end)}
    for (start, end), word in zip(encoding.offsets, encoding.word_ids, strict=True):
        filled = {i for i in range(start, end) if not re.match(f"[{BLANKS}]", text[i])}
        assert filled <= inside
        first, last = encoding.words[word]
        assert all(first <= i < last for i in filled)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("places", [True, False])
def test_many_texts_at_once_are_encoded_as_each_is(subwords, kind, places):
    """Also where a text has no piece, and where only some of it is asked for."""
    texts = [*TEXTS[:150], "", " ", "\u200b", "hi👋there", "12km ½ e\u0301", "[SEP] <s>"]
    found = subwords[kind].encode_batch(texts, places=places)
    assert found == [subwords[kind].encode(text) for text in texts]


@pytest.mark.parametrize("kind", ["uncased", "cased", "modern"])
@given(texts=st.lists(STRINGS, max_size=3), places=st.booleans())
def test_any_texts_at_once_are_encoded_as_each_is(subwords, kind, texts, places):
    found = subwords[kind].encode_batch(texts, places=places)
    alone = [subwords[kind].encode(text) for text in texts]
    assert found == alone
    assert [e.first_pieces for e in found] == [e.first_pieces for e in alone]


@pytest.mark.parametrize("kind", ["uncased", "cased"])
def test_what_lies_between_two_blanks_is_cut_once(folders, kind, monkeypatch):
    tokenizer = SubwordTokenizer.load(folders[kind])
    asked = []
    real = tokenizer._cut_stretches

    def cut(stretches):
        asked.extend(stretches)
        return real(stretches)

    tokenizer._stretches = Stretches(cut, tokenizer.encode)
    tokenizer.encode_batch(["Ann saw Bob", "Bob, Bob saw  Ann"])
    tokenizer.encode_batch(["Ann saw Zoe"])
    assert sorted(asked) == sorted(["Ann", "saw", "Bob", "Bob,", "", "Zoe"])
    # With a limit, all are forgotten when there are more, and encodings stay right.
    monkeypatch.setattr(stretches_module, "MOST_CHARACTERS", 3)
    (before,) = tokenizer.encode_batch(["Ann and Eve"])
    asked.clear()
    (after,) = tokenizer.encode_batch(["Ann and Eve"])
    assert sorted(asked) == ["Ann", "Eve", "and"]
    assert before == after == tokenizer.encode("Ann and Eve")


def test_a_vocabulary_whose_pieces_may_hold_blanks_is_cut_by_whole_texts(folders):
    tokenizer = SubwordTokenizer.load(folders["cased"])
    tokenizer.backend.add_tokens(["New York"])
    tokenizer = SubwordTokenizer(tokenizer.backend)
    (found,) = tokenizer.encode_batch(["in New York now"])
    assert found == tokenizer.encode("in New York now")
    assert "New York" in found.tokens


@pytest.mark.parametrize("kind", KINDS)
def test_the_pieces_of_a_span_are_all_that_touch_it(subwords, kind):
    for encoding in subwords[kind].encode_batch(TEXTS[:150]):
        for start in range(0, len(encoding.text), 3):
            end = start + 1 + start % 7
            touched = [i for i, (s, e) in enumerate(encoding.offsets) if s < end and e > start]
            expected = (touched[0], touched[-1]) if touched else None
            assert pieces_of_span(encoding, start, end) == expected


@pytest.mark.parametrize("kind", ["uncased", "cased"])  # pieces of byte-level BPE may hold marks
def test_words_are_those_of_split_words(subwords, kind):
    text = "The U.S. team's first-half (1,000 points) wasn't O'Neill's, e.g. 東京"
    assert subwords[kind].encode(text).words == split_words(text)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("special", ["[SEP]", "[CLS]", "[PAD]", "</s>", "<s>", "<mask>"])
def test_the_spelling_of_a_special_token_is_text(subwords, kind, special):
    tokenizer = subwords[kind]
    ids = set(tokenizer.encode(f"the {special} work").ids)
    assert not ids & {tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id}
    (row,) = tokenizer.rows((f"the {special} work", None), 64)
    assert row.input_ids.count(tokenizer.sep_id) == 1


@pytest.mark.parametrize("spelled", ["<s>NOTUSED", "</s>NOTUSED", "</s>", "<mask>"])
def test_no_special_token_of_camembert_is_found_in_text(subwords, spelled):
    tokenizer = subwords["camembert"]
    plain = tokenizer.backend.encode(f"a {spelled}", add_special_tokens=False)
    assert spelled in plain.tokens, "the trap is there"
    ids = tokenizer.encode(f"a {spelled}").ids
    assert tokenizer.unk_id in ids
    assert not set(tokenizer.decode(ids)) & {*CAMEMBERT_SPECIAL} - {"<unk>"}


@pytest.mark.parametrize("kind", UNIGRAMS)
def test_no_piece_begins_with_the_blank_before_its_word(subwords, kind):
    text = "the  work\tof Ωmega"
    encoding = subwords[kind].encode(text)
    assert encoding.words == split_words(text)
    for word, (start, _) in enumerate(encoding.words):
        pieces = [i for i, of in enumerate(encoding.word_ids) if of == word]
        filled = [i for i in pieces if text[slice(*encoding.offsets[i])].strip()]
        assert encoding.offsets[filled[0]][0] == start


@pytest.mark.parametrize("kind", KINDS)
def test_a_decomposed_accent_belongs_to_its_letter(subwords, kind):
    text = "Re\u0301sume\u0301s work"
    encoding = subwords[kind].encode(text)
    assert [text[start:end] for start, end in encoding.words] == text.split()


def test_a_mark_within_a_piece_is_part_of_its_word(subwords):
    """BERT cuts at punctuation but not at emoji, so that the whole is one unknown piece."""
    encoding = subwords["cased"].encode("hi👋there 👩\u200d👩\u200d👧!")
    assert encoding.tokens == ["[UNK]", "[UNK]", "!"]
    assert encoding.words == [(0, 8), (9, 14), (14, 15)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u200b"])
def test_blanks_alone_are_no_words(subwords, kind, text):
    assert len(subwords[kind].encode(text)) == 0
    with pytest.raises(DataError, match="the text is empty"):
        subwords[kind].rows((text, None), 32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_after_several_blanks_begins_with_a_piece_of_its_own(subwords, kind):
    text = "the   work\n\n\nParis  "
    encoding = subwords[kind].encode(text)
    firsts = [encoding.word_ids.index(word) for word in range(3)]
    for word, first in enumerate(firsts):
        assert encoding.offsets[first][0] == encoding.words[word][0]


# Rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [("the work", None), ("Who works?", "Paris plays. " * 3)])
def test_rows_are_those_of_transformers(subwords, references, kind, texts):
    row = subwords[kind].rows(texts, 512)[0]
    theirs = references[kind](*(text for text in texts if text))
    assert row.input_ids == theirs["input_ids"]
    if kind in ("uncased", "cased"):
        assert row.token_type_ids == theirs["token_type_ids"]
    assert row.input_ids[row.text_start :][: row.n_pieces] == row.text.ids


@pytest.mark.parametrize("kind", KINDS)
def test_an_id_beyond_the_vocabulary_is_unknown(subwords, kind):
    tokenizer = subwords[kind]  # embeddings may have more rows than there are pieces
    ids = [tokenizer.cls_id, len(tokenizer) + 7]
    assert tokenizer.decode(ids) == [tokenizer.special_tokens[use] for use in ("cls", "unk")]


def test_pairs_of_roberta_are_set_apart_by_two_marks(subwords):
    row = subwords["byte-level"].rows(("Who?", "Paris"), 64)[0]
    tokens = subwords["byte-level"].decode(row.input_ids)
    assert tokens[0] == "<s>"
    assert tokens[row.text_start - 2 : row.text_start] == ["</s>", "</s>"]
    assert tokens[-1] == "</s>"
    assert tokens.count("</s>") == 3


@pytest.mark.parametrize("kind", KINDS)
@given(text=st.sampled_from(TEXTS), max_length=st.integers(8, 40), overlap=st.integers(0, 40))
def test_windows_cover_every_piece(subwords, kind, text, max_length, overlap):
    tokenizer = subwords[kind]
    encoding = tokenizer.encode(text)
    if not len(encoding):
        return
    seen = set()
    for row in tokenizer.rows((text, None), max_length, overlap):
        assert len(row) <= max_length
        pieces = range(row.first_piece, row.first_piece + row.n_pieces)
        assert row.input_ids[row.text_start : -1] == [encoding.ids[i] for i in pieces]
        seen.update(pieces)
    assert seen == set(range(len(encoding)))


def test_padding_is_that_of_the_vocabulary(subwords):
    assert subwords["byte-level"].pad([[0, 2], [0]]).tolist() == [[0, 2], [0, 1]]
    assert subwords["cased"].pad([[2, 3], [2]]).tolist() == [[2, 3], [2, 0]]


# Tags

TOKENS = ["The", "workable", "x" * 40, "\u200b", "Paris", "[SEP]", "play", "é" * 30, "end"]
TAGS = ["O", "B-PER", "I-PER", "O", "B-LOC", "O", "B-PER", "B-PER", "O"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_length", [16, 200])
def test_each_tag_is_asked_at_the_first_piece_of_its_word_alone(subwords, kind, max_length):
    task = NERTask("ner", types=["PER", "LOC"])
    example = NERExample(TOKENS, TAGS)
    rows = subwords[kind].rows(example.inputs[0], max_length, overlap=4)
    assert (len(rows) > 1) == (max_length == 16)
    asked = {}
    for row, target in zip(rows, task.targets(example, rows, Counter()), strict=True):
        for position, tag in enumerate(target or []):
            piece = row.first_piece + position - row.text_start
            if tag != -100:
                assert 0 <= piece - row.first_piece < row.n_pieces
                assert asked.setdefault(piece, task.tags[tag]) == task.tags[tag]
    words, ids = rows[0].text.words, rows[0].text.word_ids
    # [SEP] is three words of plain text, and a zero-width space is a blank.
    parts = [text for token in TOKENS for text in re.findall(r"\w+|[^\w\u200b]", token)]
    if kind not in BYTE_LEVEL:
        assert [rows[0].text.text[start:end] for start, end in words] == parts
    expected = ["O", "B-PER", "I-PER", "B-LOC", *["O"] * (len(words) - 7), "B-PER", "B-PER", "O"]
    assert asked == {ids.index(word): tag for word, tag in enumerate(expected)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_length", [8, 16, 200])
def test_each_word_gets_the_tag_of_its_first_piece(subwords, kind, max_length):
    """Scores that name the piece they stand at: no word may lose its own, in any window."""
    task = NERTask("ner", types=["PER", "LOC"])
    example = NERExample(TOKENS, TAGS)
    items, _ = encode_examples([example], subwords[kind], [task], max_length, overlap=4)
    batch = collate(items, subwords[kind], [task])
    target = batch.targets["ner"]
    logits = torch.nn.functional.one_hot(target.clamp(min=0), len(task.tags)).float()
    logits[target == -100] = torch.eye(len(task.tags))[task.tag_id["I-LOC"]]  # seen nowhere else
    (prediction,) = task.decode(10 * logits, batch)
    assert prediction.tags == TAGS
    assert [prediction.text[start:end] for start, end in prediction.words] == TOKENS


@pytest.mark.parametrize("kind", KINDS)
def test_words_of_strings_are_tagged_each(subwords, kind):
    task = NERTask("ner", types=["PER"])
    torch.manual_seed(0)
    config = EncoderConfig(len(subwords[kind]), d_model=16, n_heads=2, n_layers=1, max_length=16)
    model = MultiTaskModel(TransformerEncoder(config), subwords[kind], [task])
    texts = [text for text in SAMPLES if text.strip()]
    for text, prediction in zip(texts, predict(model, texts, "ner"), strict=True):
        words = subwords[kind].encode(text).words
        assert prediction["ner"].words == words
        assert len(prediction["ner"].tags) == len(prediction["ner"].scores) == len(words)


# Files


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_saved_cuts_the_same(subwords, tmp_path, kind):
    subwords[kind].save(tmp_path)
    again = SubwordTokenizer.load(tmp_path)
    assert repr(again) == repr(subwords[kind])
    for text in TEXTS[:100]:
        assert again.encode(text) == subwords[kind].encode(text)


def message_of(folder, kind=ModelError):
    with pytest.raises(kind) as caught:
        SubwordTokenizer.load(folder)
    return str(caught.value)


def test_a_folder_without_tokenizer_files_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    message = message_of(tmp_path)
    assert f"{tmp_path}: the model folder has no tokenizer.json" in message
    assert "found: config.json" in message


def test_a_vocabulary_of_sentencepiece_alone_says_how_to_convert_it(tmp_path):
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"\n\x0e\n\x05<unk>")
    message = message_of(tmp_path)
    assert "only in SentencePiece's own format (sentencepiece.bpe.model)" in message
    assert "AutoTokenizer.from_pretrained(FOLDER, use_fast=True).save_pretrained(FOLDER)" in message


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"model": {"type": "Magic"}}'])
def test_a_broken_tokenizer_file_is_an_error(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    message = message_of(tmp_path)
    assert message.startswith(f"{path}: the tokenizer file cannot be read\n  found: ")
    assert "to do: copy or download it again" in message


def test_a_vocabulary_that_is_no_text_is_an_error(tmp_path):
    (tmp_path / "vocab.txt").write_bytes(b"[PAD]\n\xff\xfe\n")
    assert message_of(tmp_path).startswith(f"{tmp_path / 'vocab.txt'}: the tokenizer file cannot")


@pytest.mark.parametrize("lost", ["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
def test_a_vocabulary_without_special_tokens_is_an_error(tmp_path, lost):
    folder = write_word_pieces(tmp_path, [piece for piece in WORD_PIECES if piece != lost])
    message = message_of(folder)
    assert message.startswith(f"{folder / 'vocab.txt'}: the vocabulary lacks special tokens")
    assert "neither [PAD], [UNK], [CLS], [SEP] nor <pad>, <unk>, <s>, </s>" in message


def test_special_tokens_are_looked_for_in_a_tokenizer_file_too(tmp_path):
    write_byte_pairs(tmp_path)
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace("<pad>", "<gap>"), encoding="utf-8")
    assert message_of(tmp_path).startswith(f"{path}: the vocabulary lacks special tokens")


@pytest.mark.parametrize("content", ["{", "[]"])
def test_broken_settings_are_named(tmp_path, content):
    path = write_word_pieces(tmp_path) / "tokenizer_config.json"
    path.write_text(content)
    assert message_of(tmp_path).startswith(f"{path}: tokenizer_config.json cannot be read as JSON")


def test_without_the_library_the_error_names_the_extra(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    message = message_of(folders["cased"], ConfigError)
    assert message == ("this needs the extra 'pretrained' of mtl: pip install tokenizers")


def test_it_is_a_tokenizer_like_the_other(subwords):
    assert isinstance(subwords["cased"], Tokenizer)
    assert Query("the work").inputs == [("the work", None)]
    assert repr(subwords["cased"]) == f"SubwordTokenizer({len(WORD_PIECES)} pieces, WordPiece)"
