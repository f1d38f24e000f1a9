"""Questions in every layout, answers that are none, repeated ids, and the other question."""

import json
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl.data.encoded import encode_examples
from mtl.data.examples import Answer, QAExample
from mtl.data.readers.squad import read_squad
from mtl.data.words import split_words
from mtl.errors import DataError, DataWarning
from mtl.tasks.qa import QAPrediction, QATask

CONTEXT = "Rosa sells cheese. Luis buys it."
LUIS = {"text": "Luis", "answer_start": 19}
QUESTION = QAExample("q", "Who?", CONTEXT, (Answer("Luis", 19),))
FLAT = {"id": "q", "question": "Who?", "context": CONTEXT}
QA = {"id": "q", "question": "Who?", "answers": [LUIS]}


@pytest.fixture
def read(tmp_path):
    """The questions of a file and the notes about it."""

    def read(content, **options):
        path = tmp_path / "x.txt"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            questions = read_squad(path, **options)
        return questions, [str(warning.message).removeprefix(f"{path}: ") for warning in caught]

    return read


@pytest.mark.parametrize(
    "content",
    [
        {"version": "v2", "data": [FLAT | {"answers": {"text": ["Luis"], "answer_start": [19]}}]},
        [{"context": CONTEXT, "qas": [QA]}],
        {"data": [{"context": CONTEXT, "qas": [QA]}]},
        {"paragraphs": [{"context": CONTEXT, "qas": [QA]}]},
        {"data": [{"title": "t", "paragraphs": [{"context": CONTEXT, "qas": [QA]}]}]},
        json.dumps({"context": CONTEXT, "qas": [QA]}) + "\n",
        [FLAT | {"answer": "Luis"}],
        FLAT | {"answer": "Luis", "answer_start": 19},
        [FLAT | {"answer_text": "Luis", "start": "19"}],
        [FLAT | {"answer": {"text": "Luis", "start": 19.0}}],
        [FLAT | {"answers": [{"text": "Luis", "offset": 19}], "is_impossible": "false"}],
        [{"qid": "q", "Question": "Who?", "passage": CONTEXT, "answers": ["Luis"]}],
        {key: [value] for key, value in (FLAT | {"answer": "Luis"}).items()},
    ],
    ids=lambda content: json.dumps(content)[:70],
)
def test_questions_in_every_layout(content, read):
    assert read(content) == ([QUESTION], [])


@pytest.mark.parametrize(
    "none",
    [
        *({"answer": ""}, {"answer": -1}, {"answers": None}, {"answers": []}, {"answers": [""]}),
        {"answers": {"text": [""], "answer_start": [-1]}},
        {"answers": [{"text": "", "answer_start": -1}]},
        {"answers": {"text": [], "answer_start": []}, "is_impossible": False},
    ],
    ids=str,
)
def test_questions_that_lack_an_answer_are_left_out_and_counted(none, read):
    questions, (note,) = read([FLAT | {"answer": "Luis"}, FLAT | none])
    assert questions == [QUESTION]
    assert note.startswith("questions without an answer left out: 1 (line 1). ")


@pytest.mark.parametrize(
    "none",
    [
        {"answers": {"text": [], "answer_start": []}},
        {"answer": "", "is_impossible": 1},
        {"is_impossible": True},
        {"answers": [], "plausible_answers": [], "answerable": "no"},
    ],
    ids=str,
)
def test_questions_that_have_no_answer(none, read):
    questions, notes = read([FLAT | {"answer": "Luis"}, FLAT | {"id": "2"} | none])
    assert questions == [QUESTION, QAExample("2", "Who?", CONTEXT, ())]
    assert notes == []


@pytest.mark.parametrize(
    "none",
    [
        {"answers": [LUIS], "is_impossible": "true"},
        {"answers": [LUIS], "answerable": False},
        {"answers": [], "is_impossible": True, "plausible_answers": [LUIS]},
    ],
    ids=str,
)
def test_answers_of_questions_that_have_none_are_not_used(none, read):
    questions, (note,) = read([FLAT | {"answer": "Luis"}, FLAT | {"id": "2"} | none])
    assert questions == [QUESTION, QAExample("2", "Who?", CONTEXT, ())]
    assert note.endswith("(plausible_answers), not used: 1 (line 1)")


def test_messages_show_the_keys_that_are_there(read):
    with pytest.raises(DataError) as caught:
        read([{"question": "Who?", "context": CONTEXT, "reply": "Luis"}, {"question": "Who?"}])
    one, two = caught.value.faults
    assert one.found == "an object with the keys 'question', 'context', 'reply'"
    assert 'no list "answers"' in one.what
    assert two.found == "an object with the keys 'question'"


def test_an_answer_of_yes_or_no_is_shown(read):
    with pytest.raises(DataError) as caught:
        read([FLAT | {"answer": True}])
    assert caught.value.faults[0].found == "True"


# --- repeated ids ---------------------------------------------------------------------------------


def test_repeated_ids_are_told_and_every_question_is_read(read):
    questions, (note,) = read([FLAT | {"answer": "Luis"}, FLAT | {"answer": "Rosa"}])
    assert len(questions) == 2
    assert note.startswith("ids that an earlier question already has: 1 ")
    assert "'q'" in note


ids = st.sampled_from(["a", "a-2", "a-3", "b", ""])


@given(st.lists(ids, max_size=9))
def test_no_prediction_is_lost_and_first_ids_stay(names):
    examples = [QAExample(name, "Who?", CONTEXT, (Answer("Luis", 19),)) for name in names]
    said = [QAPrediction("Who?", CONTEXT, str(i), 1.0, 0, 1) for i in range(len(names))]
    _, content = QATask("qa").prediction_file(examples, said)
    written = json.loads(content)
    assert sorted(written.values()) == sorted(str(i) for i in range(len(names)))
    for name in names:
        assert written[name] == str(names.index(name))


# --- long answers and another question ------------------------------------------------------------


def test_answers_longer_than_the_task_can_find_are_counted_with_the_key(tokenizer):
    context = "Ann met Bob in Oslo ."
    examples = [
        QAExample("1", "Who ?", context, (Answer("Ann met Bob", 0),)),
        QAExample("2", "Who ?", context, (Answer("met Bob", 4),)),
    ]
    _, notes = encode_examples(examples, tokenizer, [QATask("who", max_answer_tokens=2)], 64)
    assert dict(notes) == {
        "answers are longer than tasks.who.max_answer_tokens = 2, and cannot be found whole": 1
    }


def question(text):
    return QAExample(text, text, CONTEXT, (Answer("Luis", 19),))


texts = st.text("ab ?", min_size=1, max_size=8).filter(str.strip)


def size(text):
    return len(text), len(split_words(text))


@given(st.lists(texts, min_size=1, max_size=12))
def test_another_question_is_asked_wherever_one_is_no_longer(names):
    examples = [question(name) for name in names]
    changed = QATask("qa").controls(examples).get("model_with_other_question", [])
    fitting = {
        own: {o for o in names if o != own and all(map(int.__le__, size(o), size(own)))}
        for own in names
    }
    assert [example.id for example in changed] == [name for name in names if fitting[name]]
    assert all(example.question in fitting[example.id] for example in changed)


def test_a_long_question_is_not_asked_of_a_long_context(tokenizer):
    """Each example fits its row; the other question has to fit as well."""
    long = QAExample("1", " ".join(["who"] * 30), "Ann ran .", (Answer("Ann", 0),))
    short = QAExample("2", "who ?", " ".join(["Ann"] * 5) + " ran .", (Answer("Ann", 0),))
    (changed,) = QATask("qa").controls([long, short]).values()
    assert [(e.id, e.question) for e in changed] == [("1", "who ?")]
    assert QATask("qa").controls([short, short]) == {}
