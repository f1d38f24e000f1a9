"""Prediction files, confusions and lists of mistakes."""

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtl
import mtl.reports.files
from mtl.metrics import entity_scores, entity_spans, exact_match
from mtl.reports.files import describe_mistakes, write_report, write_reports
from mtl.tasks.base import Mistake
from mtl.tasks.classification import ClassPrediction
from mtl.tasks.entities import compare_entities
from mtl.tasks.ner import NERPrediction
from mtl.tasks.qa import QAPrediction
from mtl.toy import ner_examples, qa_examples, toy_dataset
from mtl.toy.paraphrases import paraphrases

TAGS = ["O", "B-A", "I-A", "B-B", "I-B"]


def tagged(tags):
    """A prediction of these tags; the words do not matter."""
    return NERPrediction("", [], list(tags), [1.0] * len(tags))


# --- entities -------------------------------------------------------------------------------------


def overlap(one, other):
    return one[1] < other[2] and other[1] < one[2]


@given(
    st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), max_size=12).map(
        lambda pairs: [[pair[side] for pair in pairs] for side in (0, 1)]
    )
)
def test_every_wrong_entity_is_in_exactly_one_mistake_and_no_right_one_is(tags):
    gold, guess = map(entity_spans, tags)
    mistakes = compare_entities(*({*entity_spans(sentence)} for sentence in tags))
    wanted = Counter(span for _, spans, _ in mistakes for span in spans)
    found = Counter(span for _, _, spans in mistakes for span in spans)
    assert wanted == Counter(set(gold) - set(guess))
    assert found == Counter(set(guess) - set(gold))
    for kind, expected, predicted in mistakes:
        if kind == "missed":
            assert (len(expected), predicted) == (1, [])
            assert not any(overlap(expected[0], span) for span in guess)
        elif kind == "invented":
            assert (expected, len(predicted)) == ([], 1)
            assert not any(overlap(predicted[0], span) for span in gold)
        elif kind == "wrong type":
            ((one, *borders),), ((other, *same),) = expected, predicted
            assert borders == same
            assert one != other
        else:
            assert kind == "wrong boundary"
            for span in expected:
                assert any(overlap(span, other) for other in predicted)
            for span in predicted:
                assert any(overlap(span, other) for other in expected)


@pytest.mark.parametrize(
    ("right", "predicted", "expected"),
    [
        ("B-A I-A O", "B-A I-A O", []),
        ("B-A I-A O", "O O O", [("missed", 1, 0)]),
        ("O O O", "O B-A O", [("invented", 0, 1)]),
        ("B-A I-A O", "B-B I-B O", [("wrong type", 1, 1)]),
        ("B-A I-A O", "B-A O O", [("wrong boundary", 1, 1)]),
        ("B-A I-A O", "B-B O O", [("wrong boundary", 1, 1)]),
        ("B-A B-A O", "B-A I-A O", [("wrong boundary", 2, 1)]),
        ("B-A I-A I-A", "B-A B-B O", [("wrong boundary", 1, 2)]),
        ("B-A O B-B", "O B-A B-B", [("missed", 1, 0), ("invented", 0, 1)]),
    ],
)
def test_mistakes_by_hand(right, predicted, expected):
    found = compare_entities(*({*entity_spans(tags.split())} for tags in (right, predicted)))
    assert [(kind, len(gold), len(guess)) for kind, gold, guess in found] == expected


def test_a_mistake_says_sentence_words_and_both_entities():
    task = mtl.NERTask("ner", types=["PER", "LOC"])
    tokens = [*["so"] * 100, "Ann", "Lee", "saw", "New", "York", *["so"] * 100]
    tags = ["B-PER", "I-PER", "O", "B-LOC", "I-LOC"]
    guess = ["B-LOC", "I-LOC", "O", "O", "B-LOC"]
    padded = [["O"] * 100 + between + ["O"] * 100 for between in (tags, guess)]
    fine = mtl.NERExample(["Bob"], ["B-PER"])
    examples = [fine, mtl.NERExample(tokens, padded[0])]
    first, second = task.mistakes(examples, [tagged(["B-PER"]), tagged(padded[1])])
    assert (first.kind, first.where) == ("wrong type", "sentence 2")
    assert (first.expected, first.predicted) == ("Ann Lee (PER)", "Ann Lee (LOC)")
    assert (second.kind, second.expected, second.predicted) == (
        *("wrong boundary", "New York (LOC)", "York (LOC)"),
    )
    assert "Ann Lee saw New York" in first.text
    assert len(first.text) < 200
    assert first.text.startswith("... ")
    assert first.text.endswith(" ...")


def test_words_are_confused_by_type_whatever_their_borders():
    task = mtl.NERTask("ner", types=["PER", "LOC"])
    tags = ["B-PER", "I-PER", "O", "B-LOC", "O"]
    example = mtl.NERExample(["a", "b", "c", "d", "e"], tags)
    prediction = tagged(["I-PER", "B-PER", "B-LOC", "B-PER", "O"])
    labels, counts = task.confusion([example], [prediction])
    assert labels == ["O", "PER", "LOC"]
    assert counts == [[1, 0, 1], [0, 2, 0], [0, 1, 0]]
    report = task.report([example], [prediction])
    rows = [line.split() for line in report.splitlines()[-3:]]
    assert rows == [["O", "1", "0", "1"], ["PER", "0", "2", "0"], ["LOC", "0", "1", "0"]]
    assert "precision" in report


def as_iob2(tags):
    """The same entities; each begins with B-."""
    valid = ["O"] * len(tags)
    for kind, first, last in entity_spans(tags):
        valid[first:last] = [f"B-{kind}", *[f"I-{kind}"] * (last - first - 1)]
    return valid


def read_as_conlleval(text):
    """Columns between single blanks, their number always the same; gold, then predicted, last."""
    sentences = [[]]
    for line in text.splitlines():
        columns = line.split(" ")
        if line == "":
            sentences.append([])
        else:
            assert len(columns) == 3
            sentences[-1].append(columns)
    return [[row[-2] for row in rows] for rows in sentences], [
        [row[-1] for row in rows] for rows in sentences
    ]


word = st.tuples(st.sampled_from(["a", "b c", "d\u2028e", "-"]), *[st.sampled_from(TAGS)] * 2)


@given(st.lists(st.lists(word, min_size=1, max_size=5), min_size=1, max_size=4))
def test_a_file_of_tags_scores_as_the_predictions_do(sentences):
    columns = [tuple(zip(*sentence, strict=True)) for sentence in sentences]
    examples = [mtl.NERExample(tokens, as_iob2(gold)) for tokens, gold, _ in columns]
    guess = [list(tags) for _, _, tags in columns]
    task = mtl.NERTask("ner", types=["A", "B"])
    ending, content = task.prediction_file(examples, [tagged(tags) for tags in guess])
    assert ending == "txt"
    gold = [list(example.tags) for example in examples]
    assert read_as_conlleval(content) == (gold, guess)
    assert entity_scores(*read_as_conlleval(content)) == entity_scores(gold, guess)


# --- answers --------------------------------------------------------------------------------------

CONTEXT = "Ann Lee met Bob. Then the tall man met Kim! Eve saw them."
REFERENCES = (mtl.Answer("Ann Lee", 0), mtl.Answer("tall man", 26))


def answered(text):
    start = CONTEXT.index(text)
    return QAPrediction("Who?", CONTEXT, text, 1.0, start, start + len(text))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Ann Lee", None),
        ("the tall man", None),  # exact_match leaves articles out
        ("Lee met", "wrong boundary"),
        ("man met Kim! Eve", "wrong boundary"),
        ("Bob", "no overlap"),
        ("Kim", "no overlap"),
        ("Kim! Eve", "no overlap"),  # touches the sentence of a reference
        ("Eve", "wrong sentence"),
    ],
)
def test_how_an_answer_is_wrong(text, kind):
    example = mtl.QAExample("7", "Who?", CONTEXT, REFERENCES)
    mistakes = mtl.QATask("qa").mistakes([example], [answered(text)])
    assert [mistake.kind for mistake in mistakes] == ([kind] if kind else [])
    assert bool(mistakes) == (exact_match(text, ["Ann Lee", "tall man"]) == 0)
    for mistake in mistakes:
        assert (mistake.where, mistake.predicted) == ("7", text)
        assert mistake.expected == "Ann Lee / tall man"
        assert mistake.text.startswith("Who?")
        assert "Ann Lee met Bob." in mistake.text


def test_a_right_answer_at_another_place_is_no_mistake():
    context = "Bob met Bob."
    example = mtl.QAExample("1", "Who?", context, (mtl.Answer("Bob", 0),))
    prediction = QAPrediction("Who?", context, "Bob", 1.0, 8, 11)
    assert mtl.QATask("qa").mistakes([example], [prediction]) == []


def test_a_file_of_answers_is_the_text_by_question_id():
    examples = qa_examples("test", 5)
    predictions = [QAPrediction(e.question, e.context, f"ö {e.id}", 1.0, 0, 1) for e in examples]
    ending, content = mtl.QATask("qa").prediction_file(examples, predictions)
    assert ending == "json"
    assert json.loads(content) == {e.id: f"ö {e.id}" for e in examples}
    assert "ö" in content


# --- classes --------------------------------------------------------------------------------------


def test_texts_of_the_wrong_class():
    task = mtl.ClassificationTask("topic", labels=["a", "b"])
    examples = [mtl.TextExample(f"text\t{i}", label=label) for i, label in enumerate("aba")]
    predictions = [
        ClassPrediction(e.text, said, {said: 0.75}) for e, said in zip(examples, "abb", strict=True)
    ]
    (mistake,) = task.mistakes(examples, predictions)
    assert mistake == Mistake("wrong class", "text 3", "text 2", "a", "b")
    assert task.confusion(examples, predictions) == (["a", "b"], [[1, 1], [0, 1]])
    lines = task.prediction_file(examples, predictions)[1].splitlines()
    assert [line.split("\t") for line in lines] == [
        ["a", "a", "0.7500", "text 0"],
        ["b", "b", "0.7500", "text 1"],
        ["a", "b", "0.7500", "text 2"],
    ]


# --- the files ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tasks():
    return [
        mtl.NERTask("ner", toy_dataset("ner", 20, 10, 10)),
        mtl.QATask("qa", toy_dataset("qa", 20, 10, 10)),
        mtl.EmbeddingTask("vectors", mtl.Dataset(test=paraphrases("test", 4))),
        mtl.ClassificationTask("topic", labels=["a", "b"]),  # without data
    ]


@pytest.fixture(scope="module")
def model(tasks, build_model):
    return build_model(tasks, embedding_std=1.0).eval()


@pytest.fixture(scope="module")
def folder(tasks, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports") / "new"
    write_reports(model, tasks, folder)
    return folder


def test_each_task_writes_what_it_has_to_say(folder):
    both = ("report.txt", "mistakes.txt")
    assert {path.name for path in folder.iterdir()} == {
        *("ner_predictions.txt", "ner_confusion.png", *(f"ner_{name}" for name in both)),
        *("qa_predictions.json", *(f"qa_{name}" for name in both)),
        "vectors_report.txt",
    }
    assert (folder / "ner_confusion.png").read_bytes().startswith(b"\x89PNG")


def test_the_files_agree_with_the_metrics(folder, model, tasks):
    ner, qa = tasks[:2]
    gold, guess = read_as_conlleval((folder / "ner_predictions.txt").read_text(encoding="utf-8"))
    assert gold == [list(example.tags) for example in ner.dataset.test]
    scores = mtl.evaluate(model, "ner", ner.dataset.test)
    assert entity_scores(gold, guess)["entity_f1"] == scores["entity_f1"]
    report = (folder / "ner_report.txt").read_text(encoding="utf-8")
    assert f"ner, {len(gold)} examples" in report
    assert f"{scores['entity_f1']:.3f}" in report
    for words in ("PER", "right \\ predicted", "mistake", "invented"):
        assert words in report
    answers = json.loads((folder / "qa_predictions.json").read_text(encoding="utf-8"))
    right = [exact_match(answers[e.id], [a.text for a in e.answers]) for e in qa.dataset.test]
    exact = mtl.evaluate(model, "qa", qa.dataset.test)["exact_match"]
    assert sum(right) / len(right) == pytest.approx(exact)
    mistakes = (folder / "qa_mistakes.txt").read_text(encoding="utf-8")
    assert mistakes.count("  expected: ") == right.count(0.0)


def test_only_labelled_examples_of_the_split_are_reported(build_model, tmp_path):
    labelled = [mtl.TextExample(f"Ann {i}", label=label) for i, label in enumerate("ab")]
    data = mtl.Dataset(train=labelled, validation=[*labelled, mtl.TextExample("no label")])
    task = mtl.ClassificationTask("topic", data)
    model = build_model([task])
    write_reports(model, [task], tmp_path)
    assert not list(tmp_path.iterdir())
    write_reports(model, [task], tmp_path, "validation")
    assert len((tmp_path / "topic_predictions.txt").read_text().splitlines()) == 2


def test_a_task_without_mistakes_says_so(tmp_path):
    examples = ner_examples("test", 3)
    task = mtl.NERTask("names", types=["PER", "LOC", "ORG", "MISC"])
    write_report(task, examples, [tagged(example.tags) for example in examples], tmp_path)
    assert (tmp_path / "names_mistakes.txt").read_text() == "no mistakes\n"
    assert (tmp_path / "names_report.txt").read_text().endswith("\n\nno mistakes\n")


def test_long_lists_say_what_they_leave_out(monkeypatch):
    monkeypatch.setattr(mtl.reports.files, "MOST_SHOWN", 3)
    mistakes = [Mistake("missed", f"sentence {i}", "text", "Ann (PER)", "") for i in range(5)]
    mistakes.insert(2, Mistake("invented", "sentence 9", "text", "", "Bob (PER)"))
    text = describe_mistakes(mistakes)
    head, *blocks = text.split("\n\n")
    assert [line.split() for line in head.splitlines()[2:]] == [["missed", "5"], ["invented", "1"]]
    assert blocks[0] == "== missed: 5 =="
    assert blocks[1] == "sentence 0: text\n  expected:  Ann (PER)\n  predicted: -"
    assert blocks[3].startswith("sentence 2")
    assert blocks[4] == "(2 more of this kind are not shown)"
    assert blocks[5:] == [
        "== invented: 1 ==",
        "sentence 9: text\n  expected:  -\n  predicted: Bob (PER)\n",
    ]
