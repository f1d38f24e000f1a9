"""Tokenization: offsets, vocabulary, unknown words, rows and windows, hidden words."""

import string
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl.data.tokenizers.base import window_starts
from mtl.data.tokenizers.whitespace import SHAPES, WhitespaceTokenizer, word_shape
from mtl.data.words import split_words
from mtl.errors import ConfigError, DataError, ModelError

KNOWN = "where does he live ? in oslo , not rome . Where Ann"


@pytest.fixture(scope="module")
def small():
    """A tokenizer of a dozen words that tells three unseen words of each shape apart."""
    return WhitespaceTokenizer.train([KNOWN], numbered_unknowns=3)


def row_tokens(tokenizer, texts, max_length=64):
    """The tokens of the only row."""
    (row,) = tokenizer.rows(texts, max_length)
    return tokenizer.decode(row.input_ids)


# --- words and offsets --------------------------------------------------------------------------


@given(text=st.text(max_size=40))
def test_offsets_give_back_every_character_but_blanks(text):
    encoding = WhitespaceTokenizer.train([text]).encode(text)
    assert [text[start:end] for start, end in encoding.offsets] == encoding.tokens
    assert "".join(encoding.tokens) == "".join(text.split())


def test_words_split_at_punctuation_and_blanks():
    words = ["Ann", "-", "Marie", "'", "s", "e", "-", "mail", ":", "3", "!", "!"]
    text = "Ann-Marie's\te-mail:  3!!"
    assert [text[start:end] for start, end in split_words(text)] == words


def test_word_shapes():
    shapes = {"x": "cat", "Xx": "Cat", "XX": "NATO", "9": "B52", ".": "!"}
    assert {shape: word_shape(word) for shape, word in shapes.items()} == {s: s for s in SHAPES}
    assert word_shape("A") == "Xx"
    assert word_shape("iPhone") == "x"


# --- vocabulary ---------------------------------------------------------------------------------


def test_the_vocabulary_is_the_training_text_and_nothing_else(small):
    assert set(small.tokens[small.first_word :]) == set(KNOWN.split())
    assert small.encode("Where is Bergen ?").ids[1:3] == [small.unk_id] * 2


def test_rare_words_stay_unknown():
    tokenizer = WhitespaceTokenizer.train(["a a b", "b c"], min_count=2)
    assert set(tokenizer.counts) == {"a", "b"}


def test_ids_do_not_depend_on_the_order_of_the_texts():
    texts = ["b a", "c a", "d"]
    one, other = (WhitespaceTokenizer.train(order) for order in (texts, texts[::-1]))
    assert one.tokens == other.tokens


def test_special_ids_are_the_first_and_no_word_has_them(small):
    assert small.tokens[:4] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    assert (small.pad_id, small.unk_id, small.cls_id, small.sep_id) == (0, 1, 2, 3)
    assert len(small) == len(set(small.tokens)) == len(small.tokens)
    assert small.cls_id not in small.encode("[CLS]").ids


def test_lower_case_folds_words_and_keeps_the_text():
    tokenizer = WhitespaceTokenizer.train(["Paris paris"], lower_case=True)
    encoding = tokenizer.encode("PARIS is paris")
    assert encoding.ids[0] == encoding.ids[2] != tokenizer.unk_id
    assert encoding.text == "PARIS is paris"
    assert "Paris" not in WhitespaceTokenizer.train(["paris"]).counts


@pytest.mark.parametrize("text", ["İstanbul", "In İstanbul, IN İZMİR", "ΟΔΟΣ ΟΔΟΣ'Α İ", "STRAẞE"])
def test_lower_case_letters_that_change_length(text):
    """`İ` becomes two characters; a word of the training text must be known all the same."""
    tokenizer = WhitespaceTokenizer.train([text], lower_case=True)
    encoding = tokenizer.encode(text)
    assert [text[start:end].lower() for start, end in encoding.offsets] == encoding.tokens
    assert tokenizer.unk_id not in encoding.ids


@given(text=st.text(alphabet="aAİIßΣσ'.- ", max_size=12))
def test_lower_case_knows_its_own_training_text(text):
    tokenizer = WhitespaceTokenizer.train([text], lower_case=True)
    assert tokenizer.unk_id not in tokenizer.encode(text).ids


def test_pad_fills_up_on_the_right(small):
    assert small.pad([[5, 6, 7], [8]]).tolist() == [[5, 6, 7], [8, 0, 0]]


def test_numbered_unknowns_must_be_there():
    with pytest.raises(ConfigError, match="numbered_unknowns"):
        WhitespaceTokenizer({}, numbered_unknowns=0)


# --- numbered unknowns --------------------------------------------------------------------------


def test_an_unseen_word_has_one_number_in_question_and_context(small):
    tokens = row_tokens(small, ("Where does Bob live ?", "Eve , not Bob , in oslo ."))
    bob, eve = "[UNK Xx 0]", "[UNK Xx 1]"
    question = ["Where", "does", bob, "live", "?"]
    context = [eve, ",", "not", bob, ",", "in", "oslo", "."]
    assert tokens == ["[CLS]", *question, "[SEP]", *context, "[SEP]"]


def test_unseen_words_show_their_shape(small):
    tokens = row_tokens(small, ("Bob BOB bob", None))
    assert tokens == ["[CLS]", "[UNK Xx 0]", "[UNK XX 1]", "[UNK x 2]", "[SEP]"]
    assert row_tokens(small, ("7 %", None))[1:3] == ["[UNK 9 0]", "[UNK . 1]"]


def test_more_unseen_words_than_numbers_share_the_last(small):
    tokens = row_tokens(small, ("Aa Bb Cc Dd Ee Aa", None))
    assert tokens[1:-1] == [f"[UNK Xx {n}]" for n in (0, 1, 2, 2, 2, 0)]


def test_no_plain_unknown_is_left_and_known_words_stay(small):
    (row,) = small.rows(("Bob does not live in Rome", None), 64)
    assert small.unk_id not in row.input_ids
    assert small.decode(row.input_ids)[2:6] == ["does", "not", "live", "in"]


def test_numbers_begin_anew_in_each_window(small):
    rows = small.rows(("Aa Bb Cc Dd Ee Ff Gg Hh Ii Jj", None), 8, overlap=0)
    assert len(rows) > 1
    for row in rows:
        assert small.decode(row.input_ids)[1:4] == [f"[UNK Xx {n}]" for n in range(3)]


# --- rows and windows ---------------------------------------------------------------------------


def test_the_row_of_one_text(small):
    (row,) = small.rows(("in oslo", None), 64)
    in_, oslo = (small.id_of[word] for word in ("in", "oslo"))
    assert row.input_ids == [small.cls_id, in_, oslo, small.sep_id]
    assert row.token_type_ids == [0, 0, 0, 0]
    assert (row.text_start, row.first_piece, row.n_pieces) == (1, 0, 2)


def test_the_row_of_a_pair(small):
    (row,) = small.rows(("Where ?", "in oslo ."), 64)
    where, mark, in_, oslo, stop = (small.id_of[w] for w in ("Where", "?", "in", "oslo", "."))
    cls, sep = small.cls_id, small.sep_id
    assert row.input_ids == [cls, where, mark, sep, in_, oslo, stop, sep]
    assert row.token_type_ids == [0, 0, 0, 0, 1, 1, 1, 1]
    assert (row.text_start, row.first_piece, row.n_pieces) == (4, 0, 3)
    assert row.text.text == "in oslo ."


@given(n=st.integers(1, 200), size=st.integers(1, 60), share=st.floats(0, 0.5))
def test_windows_cover_everything_and_overlap_as_asked(n, size, share):
    overlap = int(share * size)
    starts = window_starts(n, size, overlap)
    assert starts[0] == 0
    assert starts[-1] == max(0, n - size)
    gaps = [after - before for before, after in pairwise(starts)]
    assert all(0 < gap <= size - overlap for gap in gaps)


@given(
    n_question=st.integers(0, 8),
    n_context=st.integers(1, 80),
    max_length=st.integers(16, 40),
    overlap=st.integers(0, 40),
)
def test_rows_hold_every_piece_in_rows_that_fit(n_question, n_context, max_length, overlap):
    words = [a + b for a in string.ascii_lowercase for b in "abcd"]
    tokenizer = WhitespaceTokenizer.train([" ".join(words)])
    question, context = " ".join(words[-n_question:]), " ".join(words[:n_context])
    texts = (question, context) if n_question else (context, None)
    rows = tokenizer.rows(texts, max_length, overlap)
    seen = []
    for before, row in zip([None, *rows], rows, strict=False):
        end = row.text_start + row.n_pieces
        assert len(row) == len(row.token_type_ids) == end + 1 <= max_length
        assert (
            tokenizer.decode(row.input_ids[row.text_start : end])
            == words[row.first_piece : row.first_piece + row.n_pieces]
        )
        if before:
            size = max_length - row.text_start - 1
            shared = before.first_piece + before.n_pieces - row.first_piece
            assert shared >= min(overlap, size // 2)
        seen += range(row.first_piece, row.first_piece + row.n_pieces)
    assert set(seen) == set(range(n_context))


def test_a_question_that_leaves_no_room(small):
    """A quarter of the row must be left for a context that is longer."""
    context = "in oslo , not rome . " * 3
    assert all(row.n_pieces == 4 for row in small.rows(("where " * 9, context), 16))
    for n_words in (10, 13, 14, 30):
        with pytest.raises(DataError, match=f"{n_words} tokens, which leaves too little room"):
            small.rows(("where " * n_words, context), 16)


def test_a_long_question_is_fine_where_the_context_is_short(small):
    (row,) = small.rows(("where " * 12, "oslo"), 16)
    assert len(row) == 16


@pytest.mark.parametrize("texts", [("", None), (" \t\n", None), ("", "oslo"), ("where", "  ")])
def test_an_empty_text(small, texts):
    with pytest.raises(DataError, match="empty"):
        small.rows(texts, 64)


# --- hidden words -------------------------------------------------------------------------------


def hide(tokenizer, text, share=1.0, n_rows=200, seed=0):
    """The tokens of many copies of one row after hiding."""
    (row,) = tokenizer.rows((text, None), 64)
    ids = torch.tensor([row.input_ids + [tokenizer.pad_id] * 3] * n_rows)
    hidden = tokenizer.hide_words(ids, share, torch.Generator().manual_seed(seed))
    return [tokenizer.decode(ids) for ids in hidden.tolist()]


@pytest.fixture(scope="module")
def common():
    """A tokenizer that has seen its lower-case words often, and three names once."""
    text = "he lives in a flat . " * 200 + "Ann Bob NATO 1984 He"
    return WhitespaceTokenizer.train([text], numbered_unknowns=8)


def test_hidden_words_are_hidden_everywhere_in_their_row_or_nowhere(common):
    text = "Ann , Bob , Ann , NATO , Bob"
    for row in hide(common, text):
        words = row[1:-4]
        same = [(i, j) for i in (0, 2, 4, 6, 8) for j in (0, 2, 4, 6, 8)]
        original = text.split()
        for i, j in same:
            assert (words[i] == words[j]) == (original[i] == original[j])


def test_hidden_words_keep_their_shape(common):
    rows = hide(common, "Ann he NATO 1984 .")
    for i, shape in ((1, "Xx"), (3, "XX"), (4, "9")):
        found = {row[i].split()[1] for row in rows if row[i].startswith("[UNK")}
        assert found == {shape}


def test_every_number_is_trained(common):
    seen = {row[1] for row in hide(common, "Ann")}
    assert {f"[UNK Xx {n}]" for n in range(8)} <= seen


def test_already_unknown_words_stay_apart_from_the_hidden(common):
    for row in hide(common, "Ann Zoe Bob Yve Zoe"):
        assert row[2] == row[5] != row[4]
        assert len({row[1], row[2], row[3], row[4]}) == 4
        assert row[2].startswith("[UNK Xx")
        assert row[4].startswith("[UNK Xx")


def test_share_says_how_many_rows_hide(common):
    def rows_that_hide(share):
        return sum(row[1] != "Ann" for row in hide(common, "Ann Bob", share, n_rows=1000)) / 1000

    assert rows_that_hide(0) == 0
    # In half of the rows that hide, every name is hidden; in the others a name is at 1/2.
    assert rows_that_hide(1) == pytest.approx(0.75, abs=0.05)
    assert rows_that_hide(0.5) == pytest.approx(0.375, abs=0.05)


def test_names_are_hidden_and_common_words_hardly_ever(common):
    rows = hide(common, "he lives in a flat . He Ann", n_rows=400)
    hidden = [sum(row[i].startswith("[UNK") for row in rows) for i in range(1, 9)]
    *words, sentence_start, name = hidden
    assert sum(words) <= 0.01 * 400 * len(words)
    assert sentence_start < 0.3 * 400  # "He" is also seen as "he": not a name
    assert name > 0.6 * 400


def test_special_tokens_and_padding_are_never_hidden(common):
    for row in hide(common, "Ann Bob", n_rows=1000):
        assert [row[0], *row[3:]] == ["[CLS]", "[SEP]", "[PAD]", "[PAD]", "[PAD]"]


def test_the_generator_decides_what_is_hidden(common):
    assert hide(common, "Ann Bob NATO", seed=1) == hide(common, "Ann Bob NATO", seed=1)
    assert hide(common, "Ann Bob NATO", seed=1) != hide(common, "Ann Bob NATO", seed=2)


# --- save and load ------------------------------------------------------------------------------


def test_saved_and_loaded_it_is_the_same(tmp_path):
    texts = ["Zürich und Köln", "日本 Köln"]
    tokenizer = WhitespaceTokenizer.train(texts, lower_case=True, numbered_unknowns=5)
    tokenizer.save(tmp_path)
    loaded = WhitespaceTokenizer.load(tmp_path)
    assert loaded.tokens == tokenizer.tokens
    assert loaded.encode("KÖLN 7") == tokenizer.encode("KÖLN 7")
    ids = torch.arange(len(tokenizer))[None]
    one, other = (
        t.hide_words(ids, 1.0, torch.Generator().manual_seed(0)) for t in (tokenizer, loaded)
    )
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"counts": 3}', '{"counts": {}, "x": 1}']
)
def test_a_broken_tokenizer_file(tmp_path, content):
    path = tmp_path / WhitespaceTokenizer.file_name
    path.write_text(content)
    with pytest.raises(ModelError) as error:
        WhitespaceTokenizer.load(tmp_path)
    assert str(path) in str(error.value)


def test_a_missing_tokenizer_file(tmp_path):
    with pytest.raises(ModelError, match=r"no whitespace_tokenizer\.json"):
        WhitespaceTokenizer.load(tmp_path)


def test_a_tokenizer_file_that_is_not_utf8(tmp_path):
    (tmp_path / WhitespaceTokenizer.file_name).write_bytes(b'{"counts": {"\xff": 1}}')
    with pytest.raises(ModelError):
        WhitespaceTokenizer.load(tmp_path)


def test_a_combining_accent_stays_with_its_letter():
    text = "Jo\u0308hn saw Zoe\u0308."
    assert [text[s:e] for s, e in split_words(text)] == ["Jo\u0308hn", "saw", "Zoe\u0308", "."]
