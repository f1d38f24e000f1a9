"""The ten cases, and what counts as exact, partial and wrong."""

import json

import pytest

import mtl
import mtl.reports.cases
from mtl.data.words import split_words
from mtl.reports.cases import (
    NER_CASES,
    QA_CASES,
    CaseResult,
    cases_summary,
    cases_table,
    check_cases,
)
from mtl.tasks.ner import NERPrediction
from mtl.tasks.qa import QAPrediction

TEXT = "Microsoft was founded by Bill Gates and Paul Allen."


@pytest.fixture(scope="module")
def model(build_model):
    return build_model([mtl.NERTask("tags", types=["PER", "ORG", "LOC", "MISC"]), mtl.QATask("qa")])


@pytest.fixture
def says(monkeypatch):
    """Sets what every prediction is: entities `(type, text)`, and an answer."""

    def say(entities=(), said=""):
        def predict_examples(model, examples, tasks):
            text = examples[0].text
            words = split_words(text)
            tags = ["O"] * len(words)
            for kind, part in entities:
                start = text.find(part)
                inside = [i for i, (s, _) in enumerate(words) if start <= s < start + len(part)]
                for i in inside if start >= 0 else []:
                    tags[i] = f"{'B' if i == inside[0] else 'I'}-{kind}"
            return [{tasks[0]: NERPrediction(text, words, tags, [1.0] * len(tags))}]

        monkeypatch.setattr(mtl.reports.cases, "predict_examples", predict_examples)
        monkeypatch.setattr(
            mtl.reports.cases, "answer", lambda m, q, c, task: QAPrediction(q, c, said, 1.0, 0, 1)
        )

    return say


def test_what_the_cases_expect_stands_in_them():
    assert len(NER_CASES) == len(QA_CASES) == 5
    for case in NER_CASES:
        for kind, text in case.entities:
            assert kind in {"PER", "ORG", "LOC", "MISC"}
            assert case.text.count(text) == 1
            assert text[0].isupper()
    for case in QA_CASES:
        assert case.question.endswith("?")
        assert all(text in case.context for text in case.answers)


def test_right_predictions_are_exact(model, says):
    everything = [entity for case in NER_CASES for entity in case.entities]
    says(everything)
    assert [r.verdict for r in check_cases(model)[:5]] == ["exact"] * 5
    for i, case in enumerate(QA_CASES):
        for text in case.answers:
            says(said=text)
            assert check_cases(model)[5 + i].verdict == "exact"


ALL = [("ORG", "Microsoft"), ("PER", "Bill Gates"), ("PER", "Paul Allen")]


@pytest.mark.parametrize(
    ("entities", "verdict"),
    [
        (ALL, "exact"),
        ([(kind.lower(), text) for kind, text in ALL], "exact"),
        ([("corporation", "Microsoft"), ("person", "Bill Gates"), ("PER", "Paul Allen")], "exact"),
        ([*ALL, ("DATE", "founded")], "exact"),  # a type that no case asks for
        ([*ALL, ("MISC", "founded")], "partial"),
        (ALL[:2], "partial"),
        ([("PER", "Gates and")], "partial"),  # overlaps, of the right type
        ([("ORG", "Gates and")], "wrong"),
        ([("LOC", "founded")], "wrong"),
        ([("product", "Microsoft")], "wrong"),
        ([], "wrong"),
    ],
)
def test_verdicts_on_entities(model, says, entities, verdict):
    says(entities)
    result = check_cases(model)[0]
    assert (result.given, result.verdict) == (TEXT, verdict)
    assert result.expected == "Microsoft (ORG), Bill Gates (PER), Paul Allen (PER)"


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        ("Larry Page and Sergey Brin", "exact"),
        ("larry page and sergey brin.", "exact"),
        ("Larry Page", "partial"),
        ("by Larry Page and Sergey Brin in 1998", "partial"),
        ("Stanford University", "wrong"),
    ],
)
def test_verdicts_on_answers(model, says, said, verdict):
    says(said=said)
    result = check_cases(model)[5]
    assert (result.given, result.predicted, result.verdict) == (
        "Who founded Google?",
        said,
        verdict,
    )


def test_cases_are_for_the_first_task_of_each_kind_that_there_is(build_model):
    tasks = [
        mtl.ClassificationTask("topic", labels=["a", "b"]),
        mtl.QATask("one"),
        mtl.QATask("two"),
        mtl.NERTask("dates", types=["DATE"]),
        mtl.NERTask("tags", types=["PER", "LOC", "ORG"]),
        mtl.NERTask("more", types=["PER", "LOC", "ORG"]),
    ]
    results = check_cases(build_model(tasks, embedding_std=1.0))
    assert [r.task for r in results] == ["tags"] * 5 + ["one"] * 5
    assert {r.task for r in check_cases(build_model(tasks[:2]))} == {"one"}
    assert check_cases(build_model(tasks[:1])) == []


def test_a_model_that_reads_very_little_is_wrong_and_no_error(build_model):
    results = check_cases(build_model([mtl.QATask("qa")], max_length=10))
    assert {(r.predicted, r.verdict) for r in results} >= {("", "wrong")}


def test_results_as_table_summary_and_json(model):
    results = check_cases(model)
    assert len(results) == 10
    lines = cases_table(results).splitlines()
    for i, result in enumerate(results):
        given, expected, predicted = lines[2 + 3 * i : 5 + 3 * i]
        assert given.split()[:2] == [result.task, result.verdict]
        assert result.given in given
        assert result.expected in expected
        assert result.predicted in predicted
    assert json.loads(json.dumps(results[0].to_dict())) == vars(results[0])


def test_the_summary_counts_verdicts():
    verdicts = [("ner", "exact"), ("ner", "wrong"), ("ner", "exact"), ("qa", "partial")]
    results = [CaseResult("t", kind, "", "", "", verdict) for kind, verdict in verdicts]
    assert cases_summary(results) == (
        "NER 2 exact, 0 partial, 1 wrong; QA 0 exact, 1 partial, 0 wrong"
    )


# --- a model whose types are others ---------------------------------------------------------------


@pytest.mark.parametrize(
    "types", [["DATE"], ["artist", "playlist", "B"], ["MISC"], ["personality", "local"]]
)
def test_a_model_that_could_not_be_right_is_asked_nothing(build_model, types):
    model = build_model([mtl.NERTask("slots", types=types)])
    assert check_cases(model) == []
    assert mtl.reports.cases.why_left_out(model) == [
        f"the task 'slots' finds {', '.join(types)}; the cases ask for LOC, ORG, PER"
    ]
    with_questions = check_cases(build_model([mtl.NERTask("slots", types=types), mtl.QATask("qa")]))
    assert {result.kind for result in with_questions} == {"qa"}


@pytest.mark.parametrize(
    ("types", "n_cases", "expected"),
    [
        (["PER"], 3, "Bill Gates (PER), Paul Allen (PER)"),
        (["Person", "DATE"], 3, "Bill Gates (PER), Paul Allen (PER)"),
        (["company"], 3, "Microsoft (ORG)"),
        (["GPE"], 3, "Nelson Mandela"),
        (["per", "org"], 4, "Microsoft (ORG), Bill Gates (PER), Paul Allen (PER)"),
        (["PER", "ORG", "LOC"], 5, "Microsoft (ORG), Bill Gates (PER), Paul Allen (PER)"),
    ],
)
def test_only_entities_of_the_types_it_has_are_expected(
    build_model, says, types, n_cases, expected
):
    model = build_model([mtl.NERTask("tags", types=types)])
    assert mtl.reports.cases.why_left_out(model) == []
    known = {
        mtl.reports.cases.TYPES[t.lower()] for t in types if t.lower() in mtl.reports.cases.TYPES
    }
    says([entity for case in NER_CASES for entity in case.entities if entity[0] in known])
    results = check_cases(model)
    assert len(results) == n_cases
    assert {result.verdict for result in results} == {"exact"}
    assert results[0].expected == expected or expected in results[0].given
    says()
    assert {result.verdict for result in check_cases(model)} == {"wrong"}
