"""Questions without an answer: what is learned, how it is decided, and the scores of SQuAD v2.0."""

import collections
import json
import math
import re
import string

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_qa_windows import WORDS, position, raise_span, windows_of

from mtl.data.dataset import Dataset
from mtl.data.encoded import encode_examples
from mtl.data.examples import Answer, QAExample
from mtl.inference import evaluate
from mtl.metrics import best_threshold, exact_match, token_f1
from mtl.model import MultiTaskModel
from mtl.tasks.answers import QAPrediction
from mtl.tasks.qa import NOT_HERE, QATask
from mtl.toy import toy_dataset
from mtl.training.config import TrainConfig
from mtl.training.loop import train

CONTEXT = "Rosa sells cheese. Luis buys it."
ANSWERED = QAExample("1", "Who buys?", CONTEXT, (Answer("Luis", 19),))
UNANSWERED = QAExample("2", "Who left?", CONTEXT, ())


def task_of(*train, margin=None, **options):
    """A task that was trained on these questions, with this threshold."""
    task = QATask("qa", Dataset(train=train or [ANSWERED, UNANSWERED]), **options)
    if margin is not None:
        task.thresholds = {"margin": margin}
    return task


def said(text, margin=0.0, start=0, alternatives=()):
    end = start + len(text)
    return QAPrediction("Who?", CONTEXT, text, 0.5, start, end, alternatives, margin)


def with_guess(text, margin, start=0):
    """A prediction as a model that has met unanswerable questions makes it."""
    return said(text, margin, start, (said(""),))


# --- the official script --------------------------------------------------------------------------
# evaluate-v2.0.py of SQuAD (Rajpurkar et al. 2018), by hand, function by function.


def official_normalize(s):
    s = "".join(ch for ch in s.lower() if ch not in set(string.punctuation))
    return " ".join(re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", s).split())


def official_f1(a_gold, a_pred):
    gold_toks = official_normalize(a_gold).split() if a_gold else []
    pred_toks = official_normalize(a_pred).split() if a_pred else []
    common = collections.Counter(gold_toks) & collections.Counter(pred_toks)
    num_same = sum(common.values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision, recall = num_same / len(pred_toks), num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


def official_raw_scores(dataset, preds):
    exact_scores, f1_scores = {}, {}
    for qid, answers in dataset.items():
        gold_answers = [a for a in answers if official_normalize(a)] or [""]
        a_pred = preds[qid]
        exact_scores[qid] = max(
            int(official_normalize(a) == official_normalize(a_pred)) for a in gold_answers
        )
        f1_scores[qid] = max(official_f1(a, a_pred) for a in gold_answers)
    return exact_scores, f1_scores


def official_find_best_thresh(preds, scores, na_probs, qid_to_has_ans):
    cur_score = sum(1 for k in qid_to_has_ans if not qid_to_has_ans[k])
    best_score, best_thresh = cur_score, 0.0
    for qid in sorted(na_probs, key=lambda k: na_probs[k]):
        cur_score += scores[qid] if qid_to_has_ans[qid] else (-1 if preds[qid] else 0)
        if cur_score > best_score:
            best_score, best_thresh = cur_score, na_probs[qid]
    return best_score / len(scores), best_thresh


@st.composite
def questions_with_predictions(draw):
    """Questions about the same context, a span for each, and how far it is above [CLS]."""
    context = "the Rosa sells a cheese. . the cheese. sells"
    words = [match.span() for match in re.finditer(r"\S+", context)]
    pieces = [(start, end) for start, _ in words for _, end in words if start < end]
    n = draw(st.integers(1, 8))
    answers = st.lists(st.sampled_from(pieces), max_size=3)
    examples = [
        QAExample(str(i), "Who?", context, tuple(Answer(context[a:b], a) for a, b in chosen))
        for i, chosen in enumerate(draw(st.lists(answers, min_size=n, max_size=n)))
    ]
    guesses = [draw(st.sampled_from(pieces)) for _ in examples]
    margins = draw(st.lists(st.integers(-90, 90).map(float), min_size=n, max_size=n, unique=True))
    predictions = [
        QAPrediction("Who?", context, context[a:b], 0.5, a, b, (said(""),), margin)
        for (a, b), margin in zip(guesses, margins, strict=True)
    ]
    return examples, predictions


@given(questions_with_predictions(), st.integers(-90, 90))
def test_scores_are_those_of_the_official_script(case, margin):
    examples, predictions = case
    task = task_of(margin=margin)
    decided = [task.decide(prediction) for prediction in predictions]
    scores = task.score(examples, decided)
    dataset = {e.id: [answer.text for answer in e.answers] for e in examples}
    preds = json.loads(task.prediction_file(examples, decided)[1])
    exact, f1 = official_raw_scores(dataset, preds)
    has, no = ([k for k in dataset if bool(dataset[k]) == there] for there in (True, False))

    def means(ids):
        return [sum(x[k] for k in ids) / len(ids) for x in (exact, f1)]

    assert [scores["exact_match"], scores["token_f1"]] == pytest.approx(means(dataset))
    if no:
        assert [scores["no_answer_exact_match"]] * 2 == pytest.approx(means(no))
    if has and no:
        of_answered = [scores["has_answer_exact_match"], scores["has_answer_token_f1"]]
        assert of_answered == pytest.approx(means(has))
    assert scores.keys() == {"exact_match", "token_f1", "span_accuracy"} | (
        ({"no_answer_exact_match"} if no else set())
        | ({"has_answer_exact_match", "has_answer_token_f1"} if has and no else set())
    )


@given(questions_with_predictions(), st.integers(-90, 90))
def test_the_threshold_reaches_the_best_score_of_the_official_search(case, before):
    examples, predictions = case
    # After an epoch, what the threshold of the last one says must not matter.
    task = task_of(margin=before)
    task.thresholds = task.choose_thresholds(examples, [task.decide(p) for p in predictions])
    decided = [task.decide(prediction) for prediction in predictions]
    dataset = {e.id: [answer.text for answer in e.answers] for e in examples}
    preds = {e.id: p.best_guess.answer for e, p in zip(examples, predictions, strict=True)}
    na_probs = {e.id: -p.margin for e, p in zip(examples, predictions, strict=True)}
    exact, _ = official_raw_scores(dataset, preds)
    has_answer = {qid: bool(answers) for qid, answers in dataset.items()}
    # Its search takes it that silence and answers are never both right; a text without a word
    # equals silence.
    best, _ = official_find_best_thresh(preds, exact, na_probs, has_answer)
    assert task.score(examples, decided)["exact_match"] >= best - 1e-9
    said_and_right = [*preds.values(), *(a for answers in dataset.values() for a in answers)]
    if all(map(official_normalize, said_and_right)):
        assert task.score(examples, decided)["exact_match"] == pytest.approx(best)


@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.sampled_from([0, 0.5, 1]), st.sampled_from([0, 1])),
        min_size=1,
        max_size=9,
    )
)
def test_no_other_threshold_scores_better(items):
    values, above, below = zip(*items, strict=True)

    def total(threshold):
        return sum(a if value >= threshold else b for value, a, b in items)

    threshold = best_threshold(values, above, below)
    every = [value + shift for value in values for shift in (-0.5, 0.5)]
    assert total(threshold) == max(map(total, every))
    assert not any(abs(value - threshold) < 0.4 for value in values)  # halfway, or further out
    assert math.isfinite(threshold)


def test_without_references_only_silence_is_right():
    assert exact_match("", []) == token_f1("", []) == 1
    assert exact_match("x", []) == token_f1("x", []) == exact_match("", "x") == 0


# --- training -------------------------------------------------------------------------------------


def test_every_window_of_an_unanswerable_question_points_at_cls(tokenizer):
    example = QAExample("1", "who ?", " ".join(["Ann ran ."] * 30), ())
    (item,), notes = encode_examples([example], tokenizer, [task_of()], max_length=16)
    assert len(item.rows) > 3
    assert item.targets["qa"] == [NOT_HERE] * len(item.rows)
    assert not notes


def test_only_unanswerable_questions_in_training_teach_to_say_so():
    assert task_of(ANSWERED).thresholds == {}
    assert task_of(ANSWERED, UNANSWERED).thresholds == {"margin": 0.0}
    one_that_always_answers = QATask("qa", Dataset(train=[ANSWERED], validation=[UNANSWERED]))
    assert one_that_always_answers.thresholds == {}
    prediction = said("Luis", margin=-9.0, start=19)
    assert one_that_always_answers.choose_thresholds([UNANSWERED], [prediction]) == {}
    assert one_that_always_answers.decide(prediction) is prediction
    scores = one_that_always_answers.score([UNANSWERED], [prediction])
    assert len(one_that_always_answers.remarks(scores)) == 1
    assert task_of().remarks(scores) == []


@pytest.fixture(scope="module")
def trained(build_model):
    data = toy_dataset("unanswerable", 32, 24, 24)
    model = build_model([QATask("qa", data)])
    history = train(model, config=TrainConfig(epochs=2, batch_size=8), progress=False)
    return model, history


def test_the_threshold_of_the_best_epoch_is_saved(trained, tmp_path):
    model, history = trained
    data = model.tasks["qa"].dataset
    best = max(scores["qa"]["exact_match"] for scores in history.validation)
    assert evaluate(model, "qa", "validation")["exact_match"] == pytest.approx(best)
    # Whatever the model says, silence scores at least as much as there are such questions.
    silent = [example for example in data.validation if not example.answers]
    assert best >= len(silent) / len(data.validation) > 0.1
    model.save_pretrained(tmp_path)
    again = MultiTaskModel.from_pretrained(tmp_path)
    assert again.tasks["qa"].thresholds == model.tasks["qa"].thresholds != {"margin": 0.0}
    pairs = [(example.question, example.context) for example in data.test]
    assert [str(p["qa"]) for p in again.predict(pairs)] == [
        str(p["qa"]) for p in model.predict(pairs)
    ]


# --- decoding -------------------------------------------------------------------------------------


def decoded(task, batch, logits):
    (prediction,) = task.decode(tuple(logits), batch)
    return prediction


@pytest.mark.parametrize(("margin", "answers"), [(3.9, True), (4.1, False)])
def test_the_best_span_of_all_windows_decides(margin, answers):
    batch, logits = windows_of(WORDS)
    logits[:, :, 0] = 5.0  # the first windows say that it is not here, and are sure
    logits[:, 1, 0] = 0.0
    assert raise_span(batch, logits, 12, 13, 2.0) == [1]
    task = task_of(margin=margin)
    found = decoded(task, batch, logits)
    assert found.best_guess.answer == "w12 w13"
    assert found.best_guess.margin == pytest.approx(4.0)
    assert bool(found.answer) == answers
    other = found.alternatives[0]
    assert other.answer == ("" if answers else "w12 w13")
    silence = other if answers else found
    # The probability of "not here": margin 0, among those of all spans (only one counts).
    assert silence.score == pytest.approx(1 / (1 + math.exp(4)), rel=1e-3)
    assert silence.to_dict() == {"answer": "", "score": silence.score, "start": 0, "end": 0}
    assert sum(p.score for p in (found, *found.alternatives)) <= 1 + 1e-5
    assert task.decide(found) == found


def test_a_model_that_always_answers_has_no_silence_among_its_answers():
    batch, logits = windows_of(WORDS)
    row = batch.items[0].rows[0]
    logits[:, :, 0] = 9.0
    logits[:, 0, position(row, 3)] = 1.0
    always, may_not = (decoded(task, batch, logits) for task in (task_of(ANSWERED), task_of()))
    assert may_not.answer == ""
    assert [always, *always.alternatives] == [
        QAPrediction(**(vars(p) | {"alternatives": p.alternatives if p is always else ()}))
        for p in (always, *may_not.alternatives[1:])
    ]
    assert all(p.answer for p in (always, *always.alternatives))


@given(st.floats(-30, 30), st.floats(-30, 30), st.integers(0, 1000))
def test_decide_gives_what_decoding_under_the_new_threshold_gives(old, new, seed):
    batch, logits = windows_of(WORDS)
    logits = 3 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed))
    before = decoded(task_of(margin=old), batch, logits)
    after = decoded(task_of(margin=new), batch, logits)
    assert task_of(margin=new).decide(before) == after
    assert bool(after.answer) == (after.best_guess.margin >= new)
    assert after.best_guess.margin == max(
        p.margin for p in (after, *after.alternatives) if p.answer
    )


# --- what people see ------------------------------------------------------------------------------

SILENT = QAPrediction("Who <b>?", "Ann & Bob", "", 0.83, 0, 0, (said("Ann", -1.0),))


def test_it_says_that_there_is_no_answer_and_what_would_be_the_best():
    _, first, second = str(SILENT).splitlines()
    assert first == "  no answer  (score 0.83); best guess: Ann (score 0.50)"
    assert second == "  [Ann best guess] & Bob"
    html = SILENT._repr_html_()
    assert "no answer" in html
    assert "best guess" in html
    assert "Who &lt;b&gt;?" in html
    assert "Ann</" not in html.split("<mark")[0]
    answered = QAPrediction("Who?", "Ann & Bob", "Ann", 0.5, 0, 3, (said(""),))
    assert "no answer" not in str(answered) + answered._repr_html_()
    several = task_of().best_answers(answered, 2)
    assert "no answer" in str(several)
    assert several.to_dict()["alternatives"][0]["answer"] == ""


def test_mistakes_tell_silence_from_talk():
    task = task_of()
    examples = [ANSWERED, UNANSWERED, ANSWERED, UNANSWERED, ANSWERED]
    predictions = [
        *(said(""), said("Rosa"), said("Luis", start=19), said("")),
        said("Luis buys", start=19),
    ]
    mistakes = task.mistakes(examples, predictions)
    assert [(m.kind, m.where, m.expected, m.predicted) for m in mistakes] == [
        ("missed the answer", "1", "Luis", ""),
        ("answered the unanswerable", "2", "", "Rosa"),
        ("wrong boundary", "1", "Luis", "Luis buys"),
    ]
    assert "Rosa sells" in mistakes[1].text
    assert task.confusion(examples, predictions) == (["answer", "no answer"], [[2, 1], [1, 1]])
    assert task.confusion([ANSWERED], [said("")]) is None


def test_the_report_compares_with_always_and_never():
    task = task_of(margin=0.0)
    examples = [ANSWERED, UNANSWERED, UNANSWERED, ANSWERED]
    margins = [3.0, -3.0, -2.0, -1.0]
    predictions = [task.decide(with_guess("Luis", margin, 19)) for margin in margins]
    first, _, _, *rows = task.report(examples, predictions).splitlines()
    assert first == "an answer needs a margin of 0.00 to [CLS]"
    exact = {row[:14].strip(): float(row[14:].split()[0]) for row in rows}
    assert exact == {"always answer": 0.5, "never answer": 0.5, "as decided": 0.75}
    assert task.report([ANSWERED], [said("Luis", start=19)]) == ""


def test_never_answer_is_a_baseline_where_questions_lack_answers():
    task = task_of()
    baselines = task.baselines([ANSWERED, UNANSWERED])
    assert task.score([ANSWERED, UNANSWERED], baselines["never_answer"])["exact_match"] == 0.5
    assert baselines.keys() == task.baselines([ANSWERED]).keys() | {"never_answer"}


def test_another_question_is_asked_only_where_there_was_an_answer():
    """Where there was none, silence is still right, and would look like cheating."""
    longer = QAExample("3", "Who is it?", CONTEXT, (Answer("Rosa", 0),))
    (spoiled,) = task_of().controls([ANSWERED, UNANSWERED, longer]).values()
    assert [example.id for example in spoiled] == ["3"]
    assert task_of().controls([UNANSWERED, UNANSWERED]) == {}


def test_silence_is_an_empty_text_in_the_prediction_file():
    ending, content = task_of().prediction_file([ANSWERED, UNANSWERED], [said("Luis"), said("")])
    assert (ending, json.loads(content)) == ("json", {"1": "Luis", "2": ""})
