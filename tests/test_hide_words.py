"""Hidden words: the tensors do what a loop over rows and words does, draw by draw."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtl.data.tokenizers.whitespace import WhitespaceTokenizer, first_places, number_in_order

TEXT = "he lives in a flat . " * 3 + "Ann Bob Zoe NATO UNO 1984 2 He ,"
TOKENIZER = WhitespaceTokenizer.train([TEXT], numbered_unknowns=3)


def hide_by_hand(ids, share, generator):
    """`hide_words` as a loop, with the same draws in the same order."""
    n = TOKENIZER.numbered_unknowns
    rates = torch.rand(len(ids), 2, generator=generator)
    draws = torch.rand(ids.shape, generator=generator)
    shifts = torch.randint(n, (len(ids), 1), generator=generator)
    rows = []
    for row, (chosen, rate), draw, shift in zip(ids.tolist(), rates, draws, shifts, strict=True):
        rate = min(2 * rate, torch.tensor(1.0)) if chosen < share else torch.tensor(0.0)
        numbers = {}
        decided = {}
        for i, token in enumerate(row):
            if token not in decided:
                is_unknown = TOKENIZER.first_unknown <= token < TOKENIZER.first_word
                decided[token] = is_unknown or bool(draw[i] < rate * TOKENIZER._hide_weight[token])
                if decided[token]:
                    numbers[token] = min(len(numbers), n - 1)
        rows.append(
            [
                TOKENIZER.first_unknown
                + int(TOKENIZER._shape_of[token]) * n
                + (numbers[token] + int(shift)) % n
                if decided[token]
                else token
                for token in row
            ]
        )
    return torch.tensor(rows)


@settings(max_examples=200, deadline=None)
@given(
    n_rows=st.integers(1, 4),
    length=st.integers(1, 12),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    data=st.data(),
)
def test_words_are_hidden_as_a_loop_would_hide_them(n_rows, length, share, data):
    token = st.integers(0, len(TOKENIZER) - 1)
    row = st.lists(token, min_size=length, max_size=length)
    ids = torch.tensor(data.draw(st.lists(row, min_size=n_rows, max_size=n_rows)))
    seed = data.draw(st.integers(0, 1000))
    hidden = TOKENIZER.hide_words(ids, share, torch.Generator().manual_seed(seed))
    assert torch.equal(hidden, hide_by_hand(ids, share, torch.Generator().manual_seed(seed)))


def test_the_row_of_the_docstrings():
    first = first_places(torch.tensor([[7, 9, 7, 8, 9, 7]]))
    assert first.tolist() == [[0, 1, 0, 3, 1, 0]]
    hidden = torch.tensor([[1, 0, 1, 1, 0, 1]]).bool()
    assert number_in_order(hidden, first).tolist() == [[0, 0, 0, 1, 0, 0]]


def test_a_row_that_begins_with_a_word_that_is_not_hidden():
    first = first_places(torch.tensor([[5, 6, 7, 6]]))
    numbers = number_in_order(torch.tensor([[False, True, True, True]]), first)
    assert numbers[0, 1:].tolist() == [0, 1, 0]
