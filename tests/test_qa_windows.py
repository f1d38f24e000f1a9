"""The best answers to a question whose context is read in windows, from logits made by hand."""

import math
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl.data.batching import collate
from mtl.data.encoded import encode_examples
from mtl.data.examples import Query
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import ConfigError, DataError
from mtl.inference import answer
from mtl.metrics import normalize_answer
from mtl.tasks.qa import MOST_SPANS, Answers, QAPrediction, QATask

LOW = -20.0


def windows_of(context, question="who ?", max_length=16, overlap=4):
    """A batch of one question, and low logits `(start, end)` that tests raise where they like."""
    tokenizer = WhitespaceTokenizer.train([])
    items, _ = encode_examples([Query(question, context)], tokenizer, [], max_length, overlap)
    batch = collate(items, tokenizer, [])
    return batch, torch.full((2, *batch.input_ids.shape), LOW)


def position(row, word):
    """Where the context's word number `word` stands in a row; None if it does not."""
    inside = row.first_piece <= word < row.first_piece + row.n_pieces
    return row.text_start + word - row.first_piece if inside else None


def raise_span(batch, logits, first, last, to, window=None):
    """Raise the logits of a span of words, in one window or in all that see it; which these are."""
    seen = []
    for number, row in enumerate(batch.items[0].rows):
        start, end = position(row, first), position(row, last)
        if start is not None and end is not None and window in (None, number):
            logits[0, number, start] = logits[1, number, end] = to
            seen.append(number)
    return seen


def all_answers(logits, batch, **options):
    (best,) = QATask("qa", **options).decode(tuple(logits), batch)
    return [best, *best.alternatives]


WORDS = " ".join(f"w{i}" for i in range(30))


def test_an_answer_that_only_the_second_window_sees():
    batch, logits = windows_of(WORDS)
    assert len(batch.items[0].rows) > 2
    logits[:, :, 0] = 5.0  # not here, every window says
    logits[:, 1, 0] = LOW  # but the second
    assert raise_span(batch, logits, 12, 13, 9.0) == [1]
    first, *others = all_answers(logits, batch)
    assert (first.answer, WORDS[first.start : first.end]) == ("w12 w13", "w12 w13")
    assert first.score > 0.99
    assert all(other.score < 0.01 for other in others)


@pytest.mark.parametrize("better", [0, 1])
def test_an_answer_that_two_windows_see_counts_once_where_it_is_best(better):
    batch, logits = windows_of(WORDS)
    logits[:, :, 0] = 0.0
    shared = [word for word in range(30) if raise_span(batch, logits.clone(), word, word, 1.0)[1:]]
    windows = raise_span(batch, logits, shared[0], shared[0], 1.0)
    assert len(windows) == 2
    raise_span(batch, logits, shared[0], shared[0], 2.0, window=windows[better])
    found = all_answers(logits, batch)
    assert [p.answer for p in found].count(f"w{shared[0]}") == 1
    assert len({(p.start, p.end) for p in found}) == len(found) == MOST_SPANS
    assert found[0].answer == f"w{shared[0]}"
    # Margins 2 (the other window), 4 (the better one) and 0 (not here); the rest hardly counts.
    assert found[0].score == pytest.approx(math.exp(4) / (1 + math.exp(2) + math.exp(4)), rel=1e-4)


def test_an_end_before_the_start_is_no_answer():
    batch, logits = windows_of(WORDS, max_length=64)
    row = batch.items[0].rows[0]
    logits[0, 0, position(row, 9)] = logits[1, 0, position(row, 5)] = 9.0
    for found in all_answers(logits, batch):
        assert found.start < found.end
        assert found.answer == WORDS[found.start : found.end]
    assert all_answers(logits, batch)[0].answer.split()[0] in ("w9", "w5", "w4", "w3", "w2")


def test_words_of_the_question_are_no_answer():
    """Nor are special tokens: everything outside the context is made as tempting as can be."""
    batch, logits = windows_of("Ann met Bob .", question="who met whom ?")
    logits = torch.where(batch.text_mask, logits, 50.0)
    found = all_answers(logits, batch)
    assert len(found) == 7  # of ten spans; "Bob" and "Bob ." say the same
    for prediction in found:
        assert prediction.context[prediction.start : prediction.end] == prediction.answer != ""


@pytest.mark.parametrize("longest", [1, 2, 5])
def test_no_answer_is_longer_than_allowed(longest):
    batch, logits = windows_of(WORDS)
    row = batch.items[0].rows[0]
    logits[0, :, position(row, 0)] = logits[1, :, position(row, 9)] = 9.0  # ten words
    lengths = [len(p.answer.split()) for p in all_answers(logits, batch, max_answer_tokens=longest)]
    assert max(lengths) == longest


@pytest.mark.parametrize("word", [0, 1, 199, 200, 398, 399])
def test_a_context_of_many_windows_is_read_to_its_end(word):
    words = [f"w{i}" for i in range(400)]
    batch, logits = windows_of(" ".join(words))
    assert len(batch.items[0].rows) > 40
    raise_span(batch, logits, word, word, 9.0)
    best = all_answers(logits, batch)[0]
    assert (best.answer, best.start) == (words[word], len(" ".join([*words[:word], ""])))


@given(
    seed=st.integers(0, 10_000),
    scale=st.sampled_from([0.3, 3.0, 300.0]),
    n_words=st.integers(1, 30),
    longest=st.integers(1, 6),
)
def test_the_answers_are_those_of_a_search_of_all_spans_of_all_windows(
    seed, scale, n_words, longest
):
    known = ["Ann", "Bob", "the", ".", *(f"w{i}" for i in range(12))]
    context = " ".join(random.Random(seed).choices(known, k=n_words))
    batch, logits = windows_of(context)
    logits = scale * torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))
    start, end = logits.double().tolist()
    margins, total = {}, [0.0]
    for n, row in enumerate(batch.items[0].rows):
        for i in range(row.n_pieces):
            for j in range(i, min(row.n_pieces, i + longest)):
                s, e = row.text_start + i, row.text_start + j
                margin = start[n][s] + end[n][e] - start[n][0] - end[n][0]
                total.append(margin)
                first, last = row.first_piece + i, row.first_piece + j
                characters = row.text.offsets[first][0], row.text.offsets[last][1]
                margins[characters] = max(margin, margins.get(characters, margin))
    expected, texts = [], set()
    for s, e in sorted(margins, key=margins.get, reverse=True)[:20]:
        if normalize_answer(context[s:e]) not in texts:
            texts.add(normalize_answer(context[s:e]))
            expected.append((s, e))
    found = all_answers(logits, batch, max_answer_tokens=longest)
    assert [(p.start, p.end) for p in found] == expected
    high = max(total)
    mass = sum(math.exp(margin - high) for margin in total)
    by_hand = [math.exp(margins[span] - high) / mass for span in expected]
    assert [p.score for p in found] == pytest.approx(by_hand, rel=1e-2, abs=1e-6)
    assert all(0 <= p.score <= 1 for p in found)
    assert sum(p.score for p in found) <= 1 + 1e-5
    assert all(p.alternatives == () for p in found[1:])


# --- mtl.answer -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(build_model):
    return build_model([QATask("qa")], embedding_std=1.0).eval()


def test_one_answer_is_a_prediction_and_several_are_a_list(model):
    context = "Ann met Bob in Oslo , and Eve met Kim in Rome ."
    one = answer(model, "Who met Bob ?", context)
    assert isinstance(one, QAPrediction)
    assert one.to_dict().keys() == {"answer", "score", "start", "end"}
    three = answer(model, "Who met Bob ?", context, n=3)
    assert three == [one, *one.alternatives[:2]]
    assert [p.score for p in three] == sorted((p.score for p in three), reverse=True)
    assert len({p.answer for p in three}) == 3
    many = answer(model, ["Who met Bob ?", "Where ?"], context, n=2)
    assert [[p.question for p in answers] for answers in many] == [
        ["Who met Bob ?"] * 2,
        ["Where ?"] * 2,
    ]
    assert many[0] == three[:2]


def test_several_answers_print_and_draw_themselves(model):
    context = "Ann met <b> in Oslo ."
    three = answer(model, "Who ?", context, n=3)
    assert isinstance(three, Answers)
    lines = str(three).splitlines()
    assert str(three).startswith(str(three[0]))
    for rank, (line, prediction) in enumerate(zip(lines[-3:], three, strict=True), 1):
        assert line.startswith(f"{rank}.  {prediction.answer}")
        assert f"{prediction.score:.2f}" in line
    assert three._repr_html_().count("<mark") == 3
    assert "<b>" not in three._repr_html_().replace("<b>Who", "")
    assert three.to_dict() == three[0].to_dict() | {
        "alternatives": [p.to_dict() for p in three[1:]]
    }


def test_there_may_be_fewer_answers_than_asked_for(model):
    assert [p.answer for p in answer(model, "Who ?", "Bob", n=5)] == ["Bob"]


@pytest.mark.parametrize("n", [0, -1, MOST_SPANS + 1])
def test_a_number_of_answers_that_cannot_be(model, n):
    with pytest.raises(ConfigError, match=f"from 1 to {MOST_SPANS}"):
        answer(model, "Who ?", "Bob", n=n)


def test_an_empty_context_has_no_answers(model):
    with pytest.raises(DataError, match="empty"):
        answer(model, "Who ?", " ", n=3)


def test_a_task_that_keeps_one_answer_cannot_give_several(model):
    model.tasks["qa"].most_answers = 1
    assert answer(model, "Who ?", "Ann met Bob .", n=1).answer
    with pytest.raises(ConfigError, match="gives one prediction"):
        answer(model, "Who ?", "Ann met Bob .", n=2)
