"""From logits to words: the best span, windows merged to one prediction, entities."""

import pytest
import small_models
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import LONG, batch_of

from mtl.data.examples import Query
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import DataError
from mtl.inference import answer, predict
from mtl.tasks.ner import NERPrediction, NERTask
from mtl.tasks.qa import QATask
from mtl.tasks.spans import best_spans, span_scores
from mtl.tasks.windows import best_windows

# pytest looks for a fixture by its name in this module.
model = small_models.model


# --- the best span --------------------------------------------------------------------------------


@given(
    data=st.data(),
    n_rows=st.integers(1, 3),
    length=st.integers(1, 9),
    longest=st.integers(1, 12),
    n=st.integers(1, 60),
)
def test_best_spans_equal_a_search_of_all_pairs(data, n_rows, length, longest, n):
    logit = st.floats(-50, 50, width=32)
    logits = st.lists(logit, min_size=length, max_size=length)
    row_of_masks = st.lists(st.booleans(), min_size=length, max_size=length).filter(any)
    starts, ends = (data.draw(st.lists(logits, min_size=n_rows, max_size=n_rows)) for _ in range(2))
    allowed = data.draw(st.lists(row_of_masks, min_size=n_rows, max_size=n_rows))
    scores = span_scores(torch.tensor(starts), torch.tensor(ends), torch.tensor(allowed), longest)
    found = [t.tolist() for t in best_spans(scores, n)]
    for row in range(n_rows):
        pairs = {
            (i, j): starts[row][i] + ends[row][j]
            for i in range(length)
            for j in range(i, min(length, i + longest))
            if allowed[row][i] and allowed[row][j]
        }
        rows = zip(*(t[row] for t in found), strict=True)
        spans = {(s, e): score for s, e, score in rows if score > -1e9}
        assert len(spans) == min(n, len(pairs))
        best = sorted(pairs.values(), reverse=True)[:n]
        assert list(spans.values()) == pytest.approx(best, abs=1e-4)
        for span, score in spans.items():  # a pair that is not valid is no key of `pairs`
            assert pairs[span] == pytest.approx(score, abs=1e-4)


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([0.1, 5.0, 1000.0]))
def test_an_answer_is_always_words_of_the_context(seed, scale):
    """Whatever the logits say, at the question, special tokens and padding too."""
    queries = [
        Query("Who met Ann ?", "Bob met Ann , and Eve met Bob . " * 2),
        Query("Where ?", "In Rome"),
        Query("Who ?", "Eve"),
    ]
    batch = batch_of(queries, max_length=16)
    assert len(batch.rows) > len(queries)
    generator = torch.Generator().manual_seed(seed)
    start, end = scale * torch.randn(2, *batch.input_ids.shape, generator=generator)
    start[:, 1] += 10 * scale  # the question is tempting
    end[:, -1] += 10 * scale  # so are the last [SEP] and padding
    predictions = QATask("qa", max_answer_tokens=3).decode((start, end), batch)
    for query, prediction in zip(queries, predictions, strict=True):
        assert 0 <= prediction.start < prediction.end <= len(query.second)
        assert prediction.answer == query.second[prediction.start : prediction.end]
        assert 1 <= len(prediction.answer.split()) <= 3
        assert 0 <= prediction.score <= 1
        assert (prediction.question, prediction.context) == (query.text, query.second)


def test_the_score_of_an_answer_is_its_share_of_all_valid_spans_and_not_here():
    batch = batch_of([Query("who ?", "Ann met Bob")])
    start, end = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(0)).unbind(0)
    start[0, 5], end[0, 6] = 9.0, 9.0
    (prediction,) = QATask("qa").decode((start, end), batch)
    spans = [(0, 0), (4, 4), (4, 5), (4, 6), (5, 5), (5, 6), (6, 6)]  # (0, 0): not here
    by_hand = torch.stack([start[0, s] + end[0, e] for s, e in spans]).softmax(0)[5]
    assert prediction.answer == "met Bob"
    assert prediction.score == pytest.approx(by_hand.item(), rel=1e-4)


# --- windows --------------------------------------------------------------------------------------


def farthest_window(rows, piece):
    """The window in which a piece has most pieces between itself and the nearer cut."""

    def room(row):
        first, last = row.first_piece, row.first_piece + row.n_pieces - 1
        if not first <= piece <= last:
            return -1
        left = piece - first if first > 0 else 1000
        right = last - piece if last < len(row.text) - 1 else 1000
        return min(left, right)

    rooms = [room(row) for row in rows]
    return rooms.index(max(rooms))


@pytest.mark.parametrize("n_words", [1, 14, 15, 20, 60])
def test_each_word_is_read_in_the_window_where_it_is_farthest_from_a_cut(n_words):
    task = NERTask("ner", types=[f"T{i}" for i in range(20)])
    words = [f"w{i}" for i in range(n_words)]
    batch = batch_of([Query(words), Query("other")], max_length=16)
    n_windows = len(batch.items[0].rows)
    logits = torch.zeros(*batch.input_ids.shape, len(task.tags))
    for window in range(n_windows):
        logits[window, :, task.tag_id[f"B-T{window}"]] = 1.0 + window / 10
    prediction, _ = task.decode(logits, batch)
    assert len(prediction.tags) == len(prediction.words) == len(prediction.scores) == n_words
    chosen = [int(tag.removeprefix("B-T")) for tag in prediction.tags]
    expected = [farthest_window(batch.items[0].rows, piece) for piece in range(n_words)]
    assert chosen == expected
    if n_words == 60:
        assert set(chosen) == set(range(n_windows))


def test_words_in_windows_keep_their_own_tag():
    """Position by position: the tag of each word's first piece, whatever window it comes from."""
    task = NERTask("ner", types=["A", "B", "C"])
    text = "U.S. met e-mail x y-z " * 6
    batch = batch_of([Query(text)], max_length=16)
    assert len(batch.items[0].rows) > 2
    logits = torch.zeros(*batch.input_ids.shape, len(task.tags))
    for number, row in enumerate(batch.items[0].rows):
        for i in range(row.n_pieces):
            piece = row.first_piece + i
            logits[number, row.text_start + i, 1 + piece % 6] = 9.0
    (prediction,) = task.decode(logits, batch)
    n_words = 6 * 12  # U . S . met e - mail x y - z
    assert prediction.tags == [task.tags[1 + word % 6] for word in range(n_words)]


@given(st.integers(1, 60), st.integers(8, 20), st.integers(0, 12))
def test_the_best_window_is_found_in_one_pass(n_words, max_length, overlap):
    text = " ".join(f"w{i}" for i in range(n_words))
    rows = WhitespaceTokenizer.train([]).rows((text, None), max_length, overlap)
    pieces = range(n_words)
    assert best_windows(rows, pieces) == [farthest_window(rows, piece) for piece in pieces]


def test_windows_of_a_question_compete_by_span_minus_cls():
    context = " ".join(f"w{i}" for i in range(20))
    batch = batch_of([Query("who ?", context)], max_length=16)
    n_windows, length = batch.input_ids.shape
    assert n_windows == 3
    start = torch.full((n_windows, length), -5.0)
    end = start.clone()
    for window, (position, span, cls) in enumerate([(5, 9.0, 8.0), (6, 4.0, -3.0), (7, 7.0, 6.0)]):
        start[window, position] = end[window, position] = span
        start[window, 0] = end[window, 0] = cls
    (prediction,) = QATask("qa").decode((start, end), batch)
    row = batch.items[0].rows[1]  # its span is not the highest, but beats [CLS] by most
    assert prediction.answer == f"w{row.first_piece + 6 - row.text_start}"
    assert context[prediction.start : prediction.end] == prediction.answer


def test_a_text_longer_than_the_model_gets_one_prediction_a_word(model):
    prediction = predict(model, LONG)["ner"]
    assert len(prediction.tags) == 151
    assert [LONG[s:e] for s, e in prediction.words] == LONG.split()


def test_an_answer_from_a_context_longer_than_the_model(model):
    found = answer(model, "Which word ?", LONG)
    assert LONG[found.start : found.end] == found.answer != ""


# --- entities -------------------------------------------------------------------------------------


def test_two_neighbouring_entities_stay_two():
    words = [(0, 3), (4, 7), (8, 11), (12, 15)]
    prediction = NERPrediction(
        "Ann Bob Lee ran", words, ["B-PER", "B-PER", "I-PER", "O"], [0.5, 0.6, 0.8, 1.0]
    )
    first, second = prediction.entities
    assert (first.word, first.start, first.end, first.score) == ("Ann", 0, 3, 0.5)
    assert (second.word, second.start, second.end) == ("Bob Lee", 4, 11)
    assert second.score == pytest.approx(0.7)


def tagged(words, tags_of_plain_words):
    """What a task says of given words when it gives these tags to the words of plain text."""
    task = NERTask("ner", types=["LOC", "PER"])
    batch = batch_of([Query(words)])
    logits = torch.zeros(*batch.input_ids.shape, len(task.tags))
    for i, tag in enumerate(tags_of_plain_words.split(), start=1):
        logits[0, i, task.tag_id[tag]] = 9.0
    return task.decode(logits, batch)[0]


def test_a_given_word_has_the_tag_of_the_entity_that_touches_it():
    prediction = tagged(["The", "U.S.", "won"], "O B-LOC I-LOC I-LOC I-LOC O")
    assert prediction.tags == ["O", "B-LOC", "O"]
    (entity,) = prediction.entities
    assert (entity.word, entity.start, entity.end) == ("U.S.", 4, 8)
    assert prediction.plain.entities == prediction.entities
    assert len(prediction.plain.tags) == 6


def test_given_words_and_plain_text_can_differ():
    """Only a part of the given word is an entity: plain text shows it."""
    prediction = tagged(["the", "U.S.-based", "firm"], "O B-LOC I-LOC I-LOC O O O O")
    assert [entity.word for entity in prediction.entities] == ["U.S.-based"]
    assert [entity.word for entity in prediction.plain.entities] == ["U.S"]


def test_several_entities_in_one_given_word_are_the_first():
    prediction = tagged(["x", "Bonn-Ann", "y"], "O B-LOC O B-PER O")
    assert prediction.tags == ["O", "B-LOC", "O"]


def test_where_words_are_those_of_plain_text_there_is_one_prediction():
    assert tagged(["The", "US", "won"], "O B-LOC O").plain is None


def test_predict_takes_lists_of_words(model):
    words = ["Ann-Lee", "met", "Bob", "."]
    (given_words,) = predict(model, [words])
    text = "Ann-Lee met Bob ."
    assert [text[start:end] for start, end in given_words["ner"].words] == words
    assert given_words["ner"].plain == predict(model, text)["ner"]
    assert predict(model, [words, text])[1]["ner"] == given_words["ner"].plain


def test_one_long_text_shows_its_progress_part_by_part(model, monkeypatch):
    done = []

    class Bar:
        def __init__(self, *, total, **_):
            self.total = total

        def __enter__(self):
            return self

        def __exit__(self, *_):
            assert sum(done) == self.total

        def update(self, n):
            done.append(n)

    monkeypatch.setattr("mtl.inference.loop.progress_bar", Bar)
    monkeypatch.setattr("mtl.inference.loop.MAX_TOKENS", 128)
    predict(model, LONG, tasks=["ner"], progress=True)
    assert len(done) > 1


@pytest.mark.parametrize("bad", [[], ["a", ""], ["a", " "]])
def test_empty_words_are_refused_by_number(model, bad):
    with pytest.raises(DataError, match="text 2: a sentence needs"):
        predict(model, ["fine", bad])


@pytest.mark.parametrize("bad", [3, None, ["a", 3], b"a"])
def test_what_is_no_text_is_refused_by_number(model, bad):
    with pytest.raises(DataError, match="text 2 is neither a text nor a list of words"):
        predict(model, ["fine", bad])


def test_scores_are_probabilities_of_the_chosen_tags():
    task = NERTask("ner", types=["LOC"])
    batch = batch_of([Query("a b")])
    logits = torch.randn(1, 4, 3)
    (prediction,) = task.decode(logits, batch)
    best, index = logits[0, 1:3].softmax(-1).max(-1)
    assert prediction.tags == [task.tags[i] for i in index.tolist()]
    assert prediction.scores == pytest.approx(best.tolist())


def test_offsets_slice_the_original_text(model, sentences):
    texts = ["  \tAnn\u00a0met  Bob-Lee,\nin  Zürich (U.S.)… ", *(e.text for e in sentences)]
    found = 0
    for text, prediction in zip(texts, predict(model, texts), strict=True):
        assert prediction["ner"].text == text
        for entity in prediction["ner"].entities:
            assert text[entity.start : entity.end] == entity.word
            assert entity.word.strip() == entity.word != ""
            found += 1
    assert found > 5
