"""Prediction and evaluation: one path for all tasks, in order, in original characters."""

import json

import pytest
import small_models
import torch
from small_models import LONG, TYPES, assert_close

from mtl.data.batching import collate
from mtl.data.encoded import encode_examples
from mtl.data.examples import Answer, NERExample, QAExample, Query, TextExample
from mtl.errors import ConfigError, DataError
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
from mtl.inference.loop import MAX_TOKENS, rows_at_once
from mtl.metrics import entity_scores, exact_match, token_f1
from mtl.tasks.embedding import EmbeddingTask
from mtl.tasks.ner import NERPrediction, NERTask
from mtl.tasks.qa import QAPrediction, QATask

# pytest looks for a fixture by its name in this module.
many_task_model = small_models.many_task_model
model = small_models.model
two_task_model = small_models.two_task_model


@pytest.fixture
def encoder_calls(model):
    """A list that grows by one with each pass of the encoder."""
    calls = []
    hook = model.encoder.register_forward_hook(lambda *_: calls.append(1))
    yield calls
    hook.remove()


# --- one path -------------------------------------------------------------------------------------


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


def test_a_batch_size_is_the_rows_of_a_pass(many_task_model):
    model, rows = many_task_model, []
    count = model.encoder.register_forward_hook(lambda *call: rows.append(len(call[2])))
    texts = [LONG, *["Ann met Bob ."] * 4]
    try:
        usual = predict(model, texts)
        assert rows == [8]  # four windows of the long text, and four short ones
        rows.clear()
        small = predict(model, texts, batch_size=3)
        assert rows == [3, 1, 3, 1]
        rows.clear()
        encode(model, texts, batch_size=1)
        answer(model, "Who ?", texts[1:], batch_size=1)
        examples = [NERExample(("Ann", "left"), ("B-PER", "O"))] * 3
        evaluate(model, "ner", examples, batch_size=1)
        assert rows == [1] * (8 + 4 + 3)
    finally:
        count.remove()
    for one, other in zip(usual, small, strict=True):
        assert_close(one, other)
    # A size is what it says, also above the usual limit of tokens.
    assert rows_at_once(64, None) == MAX_TOKENS // 64
    assert rows_at_once(64, 1000) == 1000


@pytest.mark.parametrize("size", [0, -1, 2.5, "8"])
def test_a_batch_size_that_is_none_is_refused(model, size):
    with pytest.raises(ConfigError, match="batch_size must be a whole number, at least 1"):
        predict(model, "Ann left .", batch_size=size)


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


# --- several kinds in one model -------------------------------------------------------------------

KINDS = ["topic", "ner", "vector"]


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


# --- the nearest texts ----------------------------------------------------------------------------


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
    with pytest.raises(ConfigError, match="n must be a whole number, at least 1"):
        nearest(many_task_model, "Ann", ["Bob"], n=0)
    with pytest.raises(DataError, match="no texts to search"):
        nearest(many_task_model, "Ann", [])
    with pytest.raises(DataError, match="text 2 is empty"):
        nearest(many_task_model, "Ann", ["Bob", ""])
    with pytest.raises(DataError, match="the text is empty"):
        nearest(many_task_model, " ", ["Bob"])
    with pytest.raises(ConfigError, match="gives no vectors"):
        nearest(many_task_model, "Ann", ["Bob"], task="topic")


# --- what users see -------------------------------------------------------------------------------


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
    assert tagged.to_dict()["words"] == [
        {"tag": "B-PER", "score": 0.9, "word": "Ann", "start": 0, "end": 3},
        {"tag": "O", "score": 1.0, "word": "ran", "start": 4, "end": 7},
    ]
    found = answer(model, questions[0].question, questions[0].context).to_dict()
    assert found.keys() == {"answer", "score", "start", "end"}
    prediction = predict(model, "Zoë ran")
    assert json.loads(prediction.to_json()) == prediction.to_dict()
    assert prediction.to_dict().keys() == {"ner", "other"}


# --- bad input ------------------------------------------------------------------------------------


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
