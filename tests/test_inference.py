"""Prediction: valid spans, merged windows, original characters, and one path for all."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from mtl.data.batching import collate
from mtl.data.dataset import Dataset
from mtl.data.encoded import encode_examples
from mtl.data.examples import Answer, NERExample, QAExample, Query, TextExample
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import ConfigError, DataError, ModelError
from mtl.inference import (
    Predictions,
    answer,
    encode,
    evaluate,
    evaluate_baselines,
    nearest,
    predict,
    predict_examples,
)
from mtl.inference.loop import MAX_TOKENS
from mtl.metrics import entity_scores, exact_match, token_f1
from mtl.model import MultiTaskModel
from mtl.nn.config import EncoderConfig
from mtl.nn.encoder import TransformerEncoder
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.embedding import EmbeddingTask
from mtl.tasks.ner import NERPrediction, NERTask
from mtl.tasks.qa import QAPrediction, QATask
from mtl.tasks.spans import best_spans, span_scores
from mtl.tasks.windows import best_windows
from mtl.training.loop import TrainConfig, train

TYPES = ["LOC", "MISC", "ORG", "PER"]
LONG = " ".join(f"Word{i}" for i in range(150)) + " ."


@pytest.fixture(scope="module")
def model(build_model):
    """A model with random weights large enough to give varied answers."""
    tasks = [NERTask("ner", types=TYPES), QATask("qa"), NERTask("other", types=["X"])]
    return build_model(tasks, embedding_std=1.0).eval()


@pytest.fixture(scope="module")
def two_task_model(build_model):
    return build_model([NERTask("ner", types=TYPES), QATask("qa")], embedding_std=1.0).eval()


@pytest.fixture
def encoder_calls(model):
    """A list that grows by one with each pass of the encoder."""
    calls = []
    hook = model.encoder.register_forward_hook(lambda *_: calls.append(1))
    yield calls
    hook.remove()


def batch_of(queries, max_length=64):
    tokenizer = WhitespaceTokenizer.train([])
    items, _ = encode_examples(queries, tokenizer, [], max_length)
    return collate(items, tokenizer, [])


# --- the best span ------------------------------------------------------------------------------


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


# --- windows ------------------------------------------------------------------------------------


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


# --- entities -----------------------------------------------------------------------------------


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
        def __init__(self, total, **_):
            self.total = total

        def __enter__(self):
            return self

        def __exit__(self, *_):
            assert sum(done) == self.total

        def update(self, n):
            done.append(n)

    monkeypatch.setattr("mtl.inference.loop.tqdm", Bar)
    monkeypatch.setattr("mtl.inference.loop.MAX_TOKENS", 128)
    predict(model, LONG, tasks=["ner"], progress=True)
    assert len(done) > 1


@pytest.mark.parametrize("bad", [[], ["a", ""], ["a", " "]])
def test_empty_words_are_refused_by_number(model, bad):
    with pytest.raises(DataError, match="text 2: a sentence needs"):
        predict(model, ["fine", bad])


@pytest.mark.parametrize("bad", [3, None, ["a", 3], {"text": "a"}])
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


# --- one path -----------------------------------------------------------------------------------


def test_evaluation_equals_scoring_predictions_by_hand(model, sentences):
    predictions = predict(model, [e.text for e in sentences], ["ner"])
    guess = [p["ner"].tags for p in predictions]
    gold = [list(e.tags) for e in sentences]
    scores = evaluate(model, "ner", sentences)
    right = [a == b for g, p in zip(gold, guess, strict=True) for a, b in zip(g, p, strict=True)]
    assert scores.pop("token_accuracy") == pytest.approx(sum(right) / len(right))
    assert scores == entity_scores(gold, guess)


def test_evaluation_of_answers_equals_scoring_by_hand(model, questions):
    answers = answer(model, [e.question for e in questions], [e.context for e in questions])
    gold = [e.answers[0] for e in questions]
    n = len(questions)
    spans = sum((a.start, a.end) == (g.start, g.end) for a, g in zip(answers, gold, strict=True))
    pairs = [(a.answer, g.text) for a, g in zip(answers, gold, strict=True)]
    assert evaluate(model, "qa", questions) == pytest.approx(
        {
            "exact_match": sum(exact_match(*pair) for pair in pairs) / n,
            "token_f1": sum(token_f1(*pair) for pair in pairs) / n,
            "span_accuracy": spans / n,
        }
    )


def test_any_reference_answer_counts():
    context = "Ann Lee met Bob"
    example = QAExample("1", "who ?", context, (Answer("Ann Lee", 0), Answer("Bob", 12)))
    scores = QATask("qa").score([example], [QAPrediction("who ?", context, "Bob", 1.0, 12, 15)])
    assert scores == {"exact_match": 1.0, "token_f1": 1.0, "span_accuracy": 1.0}


def test_one_and_many_agree_and_keep_their_order(model, sentences):
    texts = [e.text for e in sentences] + [LONG, "Ann"]
    many = predict(model, texts, ["ner"])
    assert [p["ner"].text for p in many] == texts
    for text, together in zip(texts, many, strict=True):
        alone = predict(model, text, ["ner"])["ner"]
        assert alone.tags == together["ner"].tags
        assert alone.scores == pytest.approx(together["ner"].scores, abs=1e-5)


def test_one_and_many_answers_agree_and_keep_their_order(model, questions):
    asked, contexts = [e.question for e in questions], [e.context for e in questions]
    for example, together in zip(questions, answer(model, asked, contexts), strict=True):
        alone = answer(model, example.question, example.context)
        assert (together.question, together.context) == (example.question, example.context)
        assert (alone.answer, alone.start) == (together.answer, together.start)
        assert alone.score == pytest.approx(together.score, abs=1e-5)


def test_one_context_serves_many_questions_and_the_other_way_round(model):
    found = answer(model, ["Who ?", "Where ?"], "Ann lives in Oslo .")
    assert [a.question for a in found] == ["Who ?", "Where ?"]
    found = answer(model, "Who ?", ["Ann lives .", "Bob lives ."])
    assert [a.context for a in found] == ["Ann lives .", "Bob lives ."]
    assert [a.context for a in answer(model, ["Who ?"], "Ann lives .")] == ["Ann lives ."]


def test_nothing_in_nothing_out(model):
    assert predict(model, []) == []
    assert answer(model, [], []) == []


def test_one_encoder_pass_a_batch_however_many_tasks(model, encoder_calls):
    texts = ["Ann met Bob ."] * (2 * (MAX_TOKENS // 6) + 1)  # rows of six tokens
    predictions = predict(model, texts, ["ner", "other"])
    assert all(p.keys() == {"ner", "other"} for p in predictions)
    assert len(encoder_calls) == 3


def test_by_default_all_tasks_that_read_single_texts(model):
    assert list(predict(model, "Ann met Bob .")) == ["ner", "other"]


def test_prediction_keeps_the_mode(model, sentences):
    model.train()
    predict(model, "Ann")
    assert model.training
    model.eval()
    evaluate(model, "ner", sentences)
    assert not model.training


def test_a_failed_prediction_keeps_the_mode_too(two_task_model):
    two_task_model.train()
    with pytest.raises(DataError):
        answer(two_task_model, "why " * 70, "Ann met Bob . " * 20)
    assert two_task_model.training


def test_prediction_computes_no_gradients(model):
    modes = []
    hook = model.encoder.register_forward_hook(lambda *_: modes.append(torch.is_grad_enabled()))
    predict(model, "Ann")
    evaluate(model, "ner", [NERExample(("Ann",), ("B-PER",))])
    hook.remove()
    assert modes == [False, False]


def test_dropout_is_off_in_prediction(build_model):
    model = build_model([NERTask("ner", types=TYPES)], dropout=0.5).train()
    assert predict(model, LONG)["ner"].scores == predict(model, LONG)["ner"].scores


def test_controls_ask_another_question(two_task_model, questions):
    (changed,) = QATask("qa").controls(questions).values()
    own = {e.id: e for e in questions}
    assert len(changed) >= len(questions) - 1
    for example in changed:
        assert example.question in {e.question for e in questions} - {own[example.id].question}
        assert len(example.question) <= len(own[example.id].question)
        assert len(example.question.split()) <= len(own[example.id].question.split())
        assert example.context == own[example.id].context
    table = evaluate_baselines(two_task_model, "qa", questions)
    assert table["model_with_other_question"] == evaluate(two_task_model, "qa", changed)
    assert table.keys() == {"random_candidate", "most_shared_words", "model_with_other_question"}


def test_the_all_o_baseline(two_task_model, sentences):
    scores = evaluate_baselines(two_task_model, "ner", sentences)["all_o"]
    tags = [tag for e in sentences for tag in e.tags]
    assert scores["token_accuracy"] == pytest.approx(tags.count("O") / len(tags))
    assert scores["entity_f1"] == 0


def test_sentences_without_tags_are_not_scored(two_task_model, sentences):
    untagged = [TextExample(e.text, e.tokens, label="news") for e in sentences[:5]]
    tagged = [TextExample(e.text, e.tokens, tags=e.tags) for e in sentences]
    scores = evaluate(two_task_model, "ner", sentences)
    assert evaluate(two_task_model, "ner", [*untagged, *tagged]) == scores
    baselines = evaluate_baselines(two_task_model, "ner", sentences)
    assert evaluate_baselines(two_task_model, "ner", [*untagged, *tagged]) == baselines


def test_a_batch_of_tagged_and_untagged_sentences_has_the_loss_of_the_tagged(
    two_task_model, sentences
):
    task = two_task_model.tasks["ner"]
    examples = [
        TextExample(e.text, e.tokens, tags=e.tags if i % 2 else None)
        for i, e in enumerate(sentences[:8])
    ]
    losses = []
    for some in (examples, sentences[1:8:2]):
        items, _ = encode_examples(some, two_task_model.tokenizer, [task], 64)
        losses.append(two_task_model.losses(collate(items, two_task_model.tokenizer, [task])))
    torch.testing.assert_close(losses[0], losses[1])
    assert losses[0]["ner"] > 0


def test_a_batch_of_untagged_sentences_has_no_loss(two_task_model):
    task = two_task_model.tasks["ner"]
    items, _ = encode_examples([TextExample("Ann ran")], two_task_model.tokenizer, [task], 64)
    assert two_task_model.losses(collate(items, two_task_model.tokenizer, [task])) == {}


# --- several kinds in one model -----------------------------------------------------------------


KINDS = ["topic", "ner", "vector"]


@pytest.fixture(scope="module")
def many_task_model(build_model):
    tasks = [
        ClassificationTask("topic", labels=["a", "b", "c"]),
        NERTask("ner", types=TYPES),
        EmbeddingTask("vector", width=6),
        QATask("qa"),
    ]
    return build_model(tasks, embedding_std=1.0).eval()


def assert_close(one, other):
    """The two predictions of one text are the same, but for rounding."""
    assert one.keys() == other.keys()
    assert one["topic"].text == other["topic"].text == one["ner"].text == one["vector"].text
    assert one["topic"].scores == pytest.approx(other["topic"].scores, abs=1e-5)
    assert one["ner"].tags == other["ner"].tags
    assert one["ner"].scores == pytest.approx(other["ner"].scores, abs=1e-5)
    assert one["vector"].vector == pytest.approx(other["vector"].vector, abs=1e-5)


def test_one_pass_serves_every_kind(many_task_model, sentences):
    model, calls = many_task_model, []
    texts = [e.text for e in sentences] * 3 + [LONG]
    hook = model.encoder.register_forward_hook(lambda *_: calls.append(1))
    together = predict(model, texts, tasks=KINDS)
    n_batches = len(calls)
    assert n_batches < len(texts)
    alone = {name: predict(model, texts, tasks=[name]) for name in KINDS}
    hook.remove()
    assert len(calls) == 4 * n_batches
    assert [list(p) for p in together] == [KINDS] * len(texts)
    for i, predictions in enumerate(together):
        assert predictions == {name: alone[name][i][name] for name in KINDS}
    assert predict(model, texts) == together


def test_the_order_of_the_texts_makes_no_difference(many_task_model, sentences):
    texts = [LONG, "Ann", *(" ".join(e.tokens[: 1 + i % 9]) for i, e in enumerate(sentences))] * 3
    order = list(range(1, len(texts), 2)) + list(range(0, len(texts), 2))
    straight = predict(many_task_model, texts)
    mixed = predict(many_task_model, [texts[i] for i in order])
    for i, prediction in zip(order, mixed, strict=True):
        assert_close(prediction, straight[i])


def test_every_kind_reads_a_text_longer_than_the_model(many_task_model):
    prediction = predict(many_task_model, LONG)
    assert len(prediction["ner"].tags) == 151
    assert sum(prediction["topic"].scores.values()) == pytest.approx(1, abs=1e-5)
    assert sum(x * x for x in prediction["vector"].vector) == pytest.approx(1, abs=1e-5)
    assert_close(predict(many_task_model, ["Ann", LONG, "Bob"])[1], prediction)


@pytest.mark.parametrize("use", [predict, encode])
@pytest.mark.parametrize("training", [True, False])
def test_an_error_on_the_way_leaves_the_mode_as_it_was(build_model, use, training):
    model = build_model([EmbeddingTask("vector")]).train(training)

    def fail(*_):
        assert not model.training
        raise RuntimeError("on the way")

    hook = model.heads["vector"].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="on the way"):
        use(model, ["Ann", "Bob"])
    hook.remove()
    assert model.training == model.encoder.training == training
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    use(model, ["Ann", "Bob"])
    assert model.training == model.encoder.training == training


# --- the nearest texts --------------------------------------------------------------------------


def test_the_nearest_come_first(many_task_model, sentences):
    texts = [e.text for e in sentences]
    cosines = encode(many_task_model, texts) @ encode(many_task_model, texts[7])
    order = sorted(range(len(texts)), key=lambda i: -cosines[i])
    found = nearest(many_task_model, texts[7], texts, n=4)
    assert [f.index for f in found] == order[:4]
    assert [f.text for f in found] == [texts[i] for i in order[:4]]
    assert [f.score for f in found] == pytest.approx([cosines[i].item() for i in order[:4]])
    assert found[0].index == 7
    assert found[0].score == pytest.approx(1, abs=1e-5)


def test_no_more_neighbours_than_texts(many_task_model):
    assert len(nearest(many_task_model, "Ann", ["Bob", "Oslo"])) == 2
    assert len(nearest(many_task_model, "Ann", ["Bob ."] * 9)) == 5


def test_equally_close_neighbours_keep_their_order(many_task_model):
    found = nearest(many_task_model, "Ann", ["Ann"] * 40, n=40)
    assert [f.index for f in found] == list(range(40))


def test_one_text_to_search_is_one_text_and_not_its_characters(many_task_model):
    assert [f.text for f in nearest(many_task_model, "Ann", "Bob ran .")] == ["Bob ran ."]


def test_neighbours_that_cannot_be(many_task_model):
    with pytest.raises(ConfigError, match="n must be at least 1"):
        nearest(many_task_model, "Ann", ["Bob"], n=0)
    with pytest.raises(DataError, match="no texts to search"):
        nearest(many_task_model, "Ann", [])
    with pytest.raises(DataError, match="text 2 is empty"):
        nearest(many_task_model, "Ann", ["Bob", ""])
    with pytest.raises(DataError, match="the text is empty"):
        nearest(many_task_model, " ", ["Bob"])
    with pytest.raises(ConfigError, match="gives no vectors"):
        nearest(many_task_model, "Ann", ["Bob"], task="topic")


# --- what users see -----------------------------------------------------------------------------


def test_html_is_escaped():
    text = "<script>alert('x')</script> & Ann"
    prediction = NERPrediction(text, [(0, 27), (30, 33)], ["B-<b>", "B-PER"], [1.0, 1.0])
    html = Predictions(ner=prediction)._repr_html_()
    assert "<script" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;" in html
    assert html.count("<mark") == 2
    answered = QAPrediction("<script>?", text, "Ann", 1.0, 30, 33)._repr_html_()
    assert "<script" not in answered
    assert "&amp; <mark" in answered


def test_text_is_marked_in_a_terminal():
    prediction = NERPrediction("Ann saw Oslo.", [(0, 3), (8, 12)], ["B-PER", "B-LOC"], [1.0, 1.0])
    assert str(prediction).startswith("[Ann PER] saw [Oslo LOC].")
    answered = QAPrediction("Where?", "Ann saw Oslo.", "Oslo", 0.5, 8, 12)
    assert "Ann saw [Oslo answer]." in str(answered)
    assert "Where?" in str(answered)


def test_every_token_is_printed_with_its_tag():
    words = [(0, 3), (4, 7), (9, 13), (13, 14)]
    tags = ["B-PER", "O", "B-LOC", "O"]
    prediction = NERPrediction("Ann saw  Oslo.", words, tags, [0.875, 1.0, 0.5, 0.25])
    _, *lines = str(prediction).splitlines()
    assert [line.split() for line in lines] == [
        ["Ann", "B-PER", "0.88"],
        ["saw", "O", "1.00"],
        ["Oslo", "B-LOC", "0.50"],
        [".", "O", "0.25"],
    ]


def test_dicts_have_the_usual_keys(model, questions):
    tagged = NERPrediction("Ann ran", [(0, 3), (4, 7)], ["B-PER", "O"], [0.9, 1.0])
    (entity,) = tagged.to_dict()["entities"]
    assert entity == {"entity_group": "PER", "score": 0.9, "word": "Ann", "start": 0, "end": 3}
    found = answer(model, questions[0].question, questions[0].context).to_dict()
    assert found.keys() == {"answer", "score", "start", "end"}
    prediction = predict(model, "Zoë ran")
    assert json.loads(prediction.to_json()) == prediction.to_dict()
    assert prediction.to_dict().keys() == {"ner", "other"}


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_empty_texts(model, text):
    with pytest.raises(DataError, match="the text is empty"):
        predict(model, text)
    with pytest.raises(DataError, match="text 2 is empty"):
        predict(model, ["Ann", text])
    with pytest.raises(DataError, match="empty"):
        answer(model, text, "Ann")
    with pytest.raises(DataError, match="empty"):
        answer(model, "Who ?", text)


def test_a_task_of_pairs_in_predict_points_to_answer(model):
    with pytest.raises(ConfigError, match=r"mtl\.answer"):
        predict(model, "Ann", tasks=["qa"])


def test_a_task_of_single_texts_in_answer(model):
    with pytest.raises(ConfigError, match="ner"):
        answer(model, "Who ?", "Ann", task="ner")


def test_unknown_tasks_are_told_the_nearest(model, two_task_model):
    with pytest.raises(ConfigError, match='did you mean "other"'):
        predict(model, "Ann", tasks=["othr"])
    with pytest.raises(ConfigError, match="no such task"):
        evaluate(model, "nothing", [Query("Ann")])
    assert model.task("qa") is model.tasks["qa"]


def test_a_kind_names_its_only_task(build_model):
    model = build_model([NERTask("places", types=["LOC"]), NERTask("people", types=["PER"])])
    with pytest.raises(ConfigError, match="several tasks"):
        model.task("ner")
    model = build_model([NERTask("places", types=["LOC"])])
    assert model.task("ner") is model.tasks["places"]


def test_questions_and_contexts_that_do_not_match(model):
    with pytest.raises(ConfigError, match="2 questions, 3 contexts"):
        answer(model, ["a", "b"], ["c", "d", "e"])


def test_evaluation_without_examples_or_with_unknown_types(two_task_model):
    with pytest.raises(DataError, match="no labelled examples to evaluate 'ner'"):
        evaluate(two_task_model, "ner", [])
    with pytest.raises(DataError, match=r"no labelled examples(.|\n)*1 examples"):
        evaluate(two_task_model, "ner", [TextExample("Ann ran", ("Ann", "ran"))])
    with pytest.raises(DataError, match="no labelled examples to evaluate 'ner'"):
        evaluate_baselines(two_task_model, "ner", [TextExample("Ann ran", ("Ann", "ran"))])
    strange = NERExample(("Ann", "ran"), ("B-ANIMAL", "O"))
    with pytest.raises(DataError, match="ANIMAL"):
        evaluate(two_task_model, "ner", [strange])


def test_a_question_that_leaves_no_room(model):
    with pytest.raises(DataError, match="leaves too little room"):
        predict_examples(model, [Query("why " * 70, "Ann met Bob . " * 20)], ["qa"])


# --- models and their folders -------------------------------------------------------------------


def test_models_that_cannot_be(build_model):
    task = NERTask("ner", types=TYPES)
    with pytest.raises(ConfigError, match="same name"):
        build_model([task, QATask("ner")])
    large = WhitespaceTokenizer.train([LONG])
    small = TransformerEncoder(EncoderConfig(len(large) - 1))
    with pytest.raises(ConfigError, match=f"{len(large)} ids, vocab_size {len(large) - 1}"):
        MultiTaskModel(small, large, [task])


def test_a_saved_model_predicts_the_same(two_task_model, sentences, questions, tmp_path):
    two_task_model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    texts = [e.text for e in sentences]
    assert predict(loaded, texts) == predict(two_task_model, texts)
    asked = ([e.question for e in questions], [e.context for e in questions])
    assert answer(loaded, *asked) == answer(two_task_model, *asked)
    assert not loaded.training
    labels = json.loads((tmp_path / "config.json").read_text())["tasks"]["ner"]
    assert labels["id2label"]["1"] == "B-LOC"
    assert labels["label2id"]["B-LOC"] == 1


def test_a_loaded_model_is_the_same_to_the_last_bit(many_task_model, sentences, tmp_path):
    model = many_task_model
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    texts = [LONG, *(e.text for e in sentences)]
    assert predict(loaded, texts) == predict(model, texts)
    assert torch.equal(encode(loaded, texts), encode(model, texts))
    assert answer(loaded, "Who ?", LONG) == answer(model, "Who ?", LONG)
    assert list(loaded.tasks) == list(model.tasks)
    for name, task in model.tasks.items():
        assert type(loaded.tasks[name]) is type(task)
        assert loaded.tasks[name].settings() == task.settings()
    assert loaded.tokenizer.tokens == model.tokenizer.tokens


def test_a_saved_model_has_one_shared_encoder(many_task_model, tmp_path):
    many_task_model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    of_encoder = {f"encoder.{name}" for name in many_task_model.encoder.state_dict()}
    of_heads = {name for name in saved if name.startswith("heads.")}
    assert {name for name in saved if "layers" in name or "embedding" in name} <= of_encoder
    assert saved.keys() == of_encoder | of_heads
    assert {name.split(".")[1] for name in of_heads} == set(many_task_model.tasks)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    n_parameters = sum(p.numel() for p in loaded.parameters())
    assert n_parameters == sum(p.numel() for p in many_task_model.parameters())
    assert n_parameters == sum(tensor.numel() for tensor in saved.values())


def test_a_head_added_to_a_loaded_model_learns_and_the_others_stay(
    many_task_model, sentences, tmp_path
):
    many_task_model.save_pretrained(tmp_path)
    model = MultiTaskModel.from_pretrained(tmp_path)
    texts = [LONG, *(e.text for e in sentences)]
    before, asked = predict(model, texts), answer(model, "Who ?", LONG)
    records = [TextExample(e.text, label=str(len(e.tokens) % 2)) for e in sentences]
    task = ClassificationTask("parity", Dataset(train=records))
    model.add_task(task)
    fresh = model.heads["parity"].classifier.weight.clone()
    frozen = ["encoder", *(f"heads.{name}" for name in many_task_model.tasks)]
    config = TrainConfig(epochs=2, learning_rate=1e-2, weight_decay=0.5, freeze=frozen)
    train(model, [task], config, progress=False)
    assert not torch.equal(model.heads["parity"].classifier.weight, fresh)
    after = predict(model, texts)
    assert all(a.pop("parity").label in ("0", "1") for a in after)
    assert after == before
    assert answer(model, "Who ?", LONG) == asked
    assert all(p.requires_grad for p in model.parameters())
    model.save_pretrained(tmp_path)
    assert predict(MultiTaskModel.from_pretrained(tmp_path), texts) == predict(model, texts)


def test_a_second_head_of_the_same_name_is_refused(build_model):
    model = build_model([NERTask("ner", types=TYPES)])
    head, task = model.heads["ner"], model.tasks["ner"]
    with pytest.raises(ConfigError, match="same name"):
        model.add_task(ClassificationTask("ner", labels=["a", "b"]))
    assert model.heads["ner"] is head
    assert model.tasks == {"ner": task}


def test_a_head_for_pairs_needs_two_segments(build_model):
    model = build_model([NERTask("ner", types=TYPES)], n_types=1)
    with pytest.raises(ConfigError, match="two segments"):
        model.add_task(QATask("qa"))
    assert list(model.tasks) == list(model.heads) == ["ner"]


@pytest.mark.parametrize("spoil", ["missing", "cut", "empty"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "whitespace_tokenizer.json"])
def test_a_folder_with_a_missing_or_broken_file(two_task_model, tmp_path, name, spoil):
    two_task_model.save_pretrained(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink()
    if spoil != "missing":
        path.write_bytes(content[: len(content) // 2] if spoil == "cut" else b"")
    with pytest.raises(ModelError) as error:
        MultiTaskModel.from_pretrained(tmp_path)
    assert name in str(error.value)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="no such model folder"):
        MultiTaskModel.from_pretrained(tmp_path / "nowhere")


def test_weights_of_another_shape(two_task_model, build_model, tmp_path):
    two_task_model.save_pretrained(tmp_path)
    other = build_model([NERTask("ner", types=["X"]), QATask("qa")])
    (tmp_path / "model.safetensors").write_bytes(save(other.state_dict()))
    with pytest.raises(ModelError, match="cannot be loaded into this model"):
        MultiTaskModel.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("types", "message"),
    [(["LOC", "PER", "LOC"], "a type twice"), (["LOC"], "lacks types that its data has")],
)
def test_types_that_cannot_be(types, message):
    data = Dataset(train=[NERExample(("Ann", "Oslo"), ("B-PER", "B-LOC"))])
    with pytest.raises(ConfigError, match=message):
        NERTask("ner", data, types=types)


def test_data_without_any_entity_is_the_fault_of_the_data():
    with pytest.raises(DataError, match="its data has none") as caught:
        NERTask("ner", Dataset(train=[NERExample(("Ann", "ran"), ("O", "O"))]))
    assert caught.value.faults[0].found == "only the tag O"


def test_a_task_cannot_be_called_all():
    with pytest.raises(ConfigError, match='"all" stands for every task'):
        NERTask("all", types=["PER"])


def test_weights_that_are_not_numbers_are_refused(build_model, tmp_path):
    model = build_model([NERTask("ner", types=["PER"])])
    with torch.no_grad():
        model.heads["ner"].classifier.bias[0] = float("nan")
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        MultiTaskModel.from_pretrained(tmp_path)
    assert "heads.ner.classifier.bias holds numbers that are not finite" in str(caught.value)


@pytest.mark.parametrize("text", [3, None, "a\ud800b"])
def test_what_is_no_text_is_not_predicted(build_model, text):
    with pytest.raises(DataError):
        predict(build_model([NERTask("ner", types=["PER"])]), ["fine", text])
