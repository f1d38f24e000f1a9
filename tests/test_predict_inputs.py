"""What `predict` takes, texts, lists of words and pairs, alone and in lists; what it refuses."""

import numpy as np
import pytest
import small_models

from mtl.errors import ConfigError, DataError
from mtl.inference import answer, encode, nearest, predict
from mtl.tasks.embedding import EmbeddingTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask

# pytest looks for a fixture by its name in this module.
model = small_models.model

QUESTION, CONTEXT = "Who ran ?", "Ann ran home ."
KEYS = [
    ("question", "context"),
    ("text", "text_pair"),
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
]


@pytest.fixture(scope="module")
def expected(model):
    return {"qa": answer(model, QUESTION, CONTEXT)}


# --- one thing in, one prediction out -------------------------------------------------------------


def test_a_tuple_is_a_pair(model, expected):
    assert predict(model, (QUESTION, CONTEXT)) == expected
    assert predict(model, [(QUESTION, CONTEXT)]) == [expected]
    assert predict(model, (QUESTION, CONTEXT), "qa") == expected


@pytest.mark.parametrize("keys", KEYS)
def test_a_dict_with_known_keys_is_a_pair(model, expected, keys):
    pair = dict(zip(keys, (QUESTION, CONTEXT), strict=True))
    assert predict(model, pair) == expected
    backwards = dict(reversed([*pair.items(), ("id", 7)]))  # other keys do not matter
    assert predict(model, [backwards]) == [expected]


def test_the_names_that_a_task_has_for_its_texts_come_first(build_model):
    class Asking(QATask):
        text_names = ("text_pair", "query")

    model = build_model([Asking("asking")], embedding_std=1.0)
    pair = {"text": "wrong", "text_pair": QUESTION, "query": CONTEXT}
    assert predict(model, pair)["asking"] == answer(model, QUESTION, CONTEXT, "asking")


def test_a_pair_may_hold_lists_of_words(model, expected):
    assert predict(model, (QUESTION.split(), CONTEXT.split())) == expected


def test_texts_and_pairs_are_each_answered_by_the_tasks_that_read_them(model, expected):
    given = [
        "Ann ran .",
        (QUESTION, CONTEXT),
        ["Ann", "ran"],
        {"text": "Who ?", "text_pair": "Ann"},
    ]
    found = predict(model, given)
    assert [list(p) for p in found] == [["ner", "other"], ["qa"], ["ner", "other"], ["qa"]]
    assert found == [predict(model, [thing])[0] for thing in given]
    assert found[1] == expected
    assert [p["ner"].text for p in (found[0], found[2])] == ["Ann ran .", "Ann ran"]


@pytest.mark.parametrize("kind", [list, np.array, iter])
def test_any_list_of_texts(model, kind):
    texts = ["Ann ran .", "Bob ran ."]
    assert predict(model, kind(texts)) == [predict(model, text) for text in texts]


def test_nothing_in_nothing_out_but_unknown_tasks_are_named(model):
    assert predict(model, []) == []
    with pytest.raises(ConfigError, match="no such task"):
        predict(model, [], "nothing")


def test_vectors_are_learned_from_pairs_and_predicted_for_single_texts(build_model):
    model = build_model([EmbeddingTask("vector")])
    assert len(predict(model, "Ann ran")["vector"].vector) == 16
    with pytest.raises(ConfigError, match="no task of the model reads pairs"):
        predict(model, ("Ann ran", "Bob ran"))
    with pytest.raises(DataError, match="not for a pair"):
        encode(model, [("Ann ran", "Bob ran")])
    assert encode(model, ("Ann ran", "Bob ran")).shape == (2, 16)  # as any sequence


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [None, 3, 0.5, len])
@pytest.mark.parametrize(
    "use",
    [
        predict,
        lambda model, bad: predict(model, bad, "qa"),
        encode,
        lambda model, bad: answer(model, bad, CONTEXT),
        lambda model, bad: answer(model, QUESTION, bad),
    ],
)
def test_what_is_no_text_at_all(model, use, bad):
    with pytest.raises(DataError, match="neither a text, a pair of texts, nor a list") as error:
        use(model, bad)
    assert error.value.faults[0].found == repr(bad)
    assert "give a string" in error.value.faults[0].fix


@pytest.mark.parametrize("bad", [(), ("a",), ("Ann", "ran", "home")])
def test_a_tuple_of_other_than_two_texts(model, bad):
    with pytest.raises(DataError, match=r"(?s)the pair is a tuple.*words of one text as a list"):
        predict(model, bad)
    with pytest.raises(DataError, match="pair 2 is a tuple"):
        predict(model, ["fine", bad])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (
            {"question": "Who ?"},
            r"(?s)the pair does not hold two.*'question'.*question and context",
        ),
        ({}, r"(?s)the pair does not hold two texts.*an empty dict"),
        ({"question": 1, "context": "Ann"}, "the question is neither a text nor a list of words"),
        ({"premise": "Ann", "hypothesis": " "}, "the hypothesis is empty"),
        (("Ann", None), "the context is neither a text nor a list of words"),
        (("", "Ann"), "the question is empty"),
        (("Ann", ["a", ""]), "none may be empty"),
        (("Ann", ("a", "b")), "the context is neither"),
        (("Ann", "half \ud83d"), "half a character"),
    ],
)
def test_pairs_that_cannot_be(model, bad, words):
    with pytest.raises(DataError, match=words):
        predict(model, bad)


def test_a_bad_text_among_several_pairs_is_named(model):
    with pytest.raises(DataError, match="the context of pair 2 is empty"):
        predict(model, [(QUESTION, CONTEXT), (QUESTION, " ")])
    with pytest.raises(DataError, match="the context of pair 2 is empty"):
        answer(model, [QUESTION, "Who ?"], [CONTEXT, ""])


def test_a_task_that_does_not_read_what_is_given_says_what_it_reads(model):
    with pytest.raises(ConfigError) as error:
        predict(model, "Ann ran .", ["ner", "qa"])
    assert "the task 'qa' reads pairs of texts" in str(error.value)
    assert 'give a tuple (question, context), or {"question": ..., "context": ...}' in str(
        error.value
    )
    with pytest.raises(ConfigError, match=r"(?s)'ner' reads single texts.*the list of its words"):
        predict(model, [(QUESTION, CONTEXT), "Ann"], "ner")


def test_a_model_without_a_task_that_reads_what_is_given(build_model):
    questions, names = build_model([QATask("qa")]), build_model([NERTask("ner", types=["X"])])
    with pytest.raises(ConfigError, match=r"(?s)no task .* reads single texts.*qa: give a tuple"):
        predict(questions, "Ann ran .")
    with pytest.raises(ConfigError, match=r"(?s)no task .* reads pairs.*ner: give a string"):
        predict(names, [("Ann", "ran")])  # two words of a sentence, by mistake


def test_a_whole_table_is_not_read_as_the_names_of_its_columns(model):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["Ann ran .", "Bo slept ."]})
    for ask in (predict, encode):
        with pytest.raises(DataError, match=r"(?s)a whole table.*the columns 'text'.*one column"):
            ask(model, frame)
    assert [said["ner"].text for said in predict(model, frame["text"])] == list(frame["text"])


@pytest.mark.parametrize("wrong", [3, NERTask("ner", types=["X"]), [3]])
def test_tasks_are_asked_for_by_name(model, wrong):
    with pytest.raises(ConfigError, match=r"(?s)ask for a task by its name.*use one of ner"):
        predict(model, "Ann ran .", wrong)


def test_the_nearest_of_any_kind_of_list(model):
    pandas = pytest.importorskip("pandas")
    texts = ["Ann ran .", "Bo slept .", "Cy sang ."]
    found = nearest(model, "Ann ran .", texts)
    assert found[0].text == texts[0]
    assert len(found) == 3
    for same in (tuple(texts), iter(texts), pandas.Series(texts, index=[7, 8, 9])):
        assert nearest(model, "Ann ran .", same) == found


@pytest.mark.parametrize("n", ["3", 2.5, None, True, 0])
def test_how_many_must_be_a_whole_number(model, n):
    with pytest.raises(ConfigError, match="n must be a whole number"):
        nearest(model, "Ann", ["Ann"], n=n)
    with pytest.raises(ConfigError, match="the number of answers must be from 1 to"):
        answer(model, QUESTION, CONTEXT, n=n)


def test_nearest_is_asked_for_one_text_and_of_a_model(model):
    with pytest.raises(DataError, match=r"(?s)the query is not one text.*call `nearest` for each"):
        nearest(model, ["Ann", "Bo"], ["Ann"])
    with pytest.raises(ConfigError, match="not a model"):
        nearest("folder", "Ann", ["Ann"])


def test_a_keyword_of_another_function_or_library_is_told_what_it_is_called_here(model):
    with pytest.raises(ConfigError, match=r'(?s)predict has no task.*did you mean "tasks"'):
        predict(model, "Ann", task="ner")
    with pytest.raises(ConfigError, match=r'(?s)nearest has no top_k.*it is called "n" here'):
        nearest(model, "Ann", ["Ann"], top_k=1)
    with pytest.raises(ConfigError, match=r'(?s)answer has no top_k.*it is called "n" here'):
        answer(model, QUESTION, CONTEXT, top_k=2)
    with pytest.raises(ConfigError, match="encode has no tasks"):
        encode(model, "Ann", tasks="vector")
