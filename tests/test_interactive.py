"""The menu, with what a user would type and see."""

import pytest

import mtl
from mtl.cli.interactive import interact

SENTENCE = "John lives in New York."
QUESTION = "Who lives there?"


@pytest.fixture(scope="module")
def model(build_model):
    tasks = [
        mtl.NERTask("ner", types=["PER", "LOC"]),
        mtl.QATask("qa"),
        mtl.ClassificationTask("topic", labels=["a", "b"]),
    ]
    return build_model(tasks, embedding_std=1.0).eval()


def session(model, *lines, stop=EOFError):
    """What is printed, prompts included, if a user types these lines and then ends it."""
    seen = []
    typed = iter(lines)

    def read(prompt):
        seen.append(prompt)
        for line in typed:
            return line
        raise stop

    interact(model, read, seen.append)
    assert next(typed, None) is None, "it ended before everything was read"
    return seen


def test_the_menu_numbers_the_tasks(model):
    menu = session(model)[0].splitlines()
    assert [line.split()[0] for line in menu[1:]] == ["1", "2", "3", "all", "q"]
    assert "ner: one tag for each word" in menu[1]
    assert "ner, topic" in menu[4]


@pytest.mark.parametrize("choice", ["1", " 1 "])
def test_a_text_gets_what_predict_prints(model, choice):
    seen = session(model, choice, SENTENCE)
    assert f"\n{mtl.predict(model, SENTENCE, ['ner'])}\n" in seen
    assert seen[-2:] == ["task: ", ""]  # it goes on


def test_all_tasks_that_read_a_text(model):
    both = mtl.predict(model, SENTENCE, ["ner", "topic"])
    assert f"\n{both}\n" in session(model, "all", SENTENCE)


def test_a_model_with_one_text_task_offers_no_all(build_model):
    seen = session(build_model([mtl.NERTask("ner", types=["X"])]), "all")
    assert "all" not in seen[0]
    assert "there is no such choice" in seen[2]


def test_several_questions_on_one_context(model):
    other = "Kim lives in Oslo."
    seen = session(model, "2", QUESTION, SENTENCE, "2", "Where?", "", "2", "Where?", other)
    for question, context in ((QUESTION, SENTENCE), ("Where?", SENTENCE), ("Where?", other)):
        assert f"\n{mtl.predict(model, (question, context), 'qa')}\n" in seen
    prompts = [line for line in seen if line.startswith("context")]
    assert ["Enter" in prompt for prompt in prompts] == [False, True, True]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["4"], "there is no such choice"),
        (["ner"], "there is no such choice"),
        ([""], "there is no such choice"),
        (["1", "  "], "give at least one word"),
        (["2", QUESTION, ""], "give at least one word"),
        (["2", "who " * 100, SENTENCE], "shorten the question"),
        (["1", "half \ud83d"], "half a character"),
    ],
)
def test_what_cannot_be_used_is_said_and_it_goes_on(model, typed, said):
    seen = session(model, *typed, "1", SENTENCE)
    assert any(said in line for line in seen)
    assert f"\n{mtl.predict(model, SENTENCE, ['ner'])}\n" in seen


@pytest.mark.parametrize("stop", [EOFError, KeyboardInterrupt])
@pytest.mark.parametrize("typed", [[], ["1"], ["2", QUESTION], ["q"], ["1", "q"], ["2", "q"]])
def test_it_ends_anywhere_without_an_error(model, typed, stop):
    assert session(model, *typed, stop=stop)[-1] == ""
