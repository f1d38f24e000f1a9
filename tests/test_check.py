"""check_file: what is in a file, counted by hand here, and every problem with its line and fix."""

import json

import pytest

import mtl
from mtl.data.check import check_file
from mtl.data.readers import write_jsonl
from mtl.errors import DataError
from mtl.toy import SPLITS, toy_dataset

CONLL = """\
Ann B-PER
Lee I-PER
met O
Bob B-PER
. O

Oslo B-LOC
rains O

Yes O
"""
CONTEXT = "Rosa sells honey. Luis sells cheese. Rosa is late."
QUESTIONS = [  # id, question, answer, offset
    ("q1", "Who is late?", "Rosa", 37),  # occurs twice
    ("q2", "What?", "cheese", 29),
    ("q3", "What does she sell?", "one", 12),  # inside "honey"
]


@pytest.fixture
def checked(tmp_path):
    """Check a file of the given content; the report without the path, which is its own."""

    def check(content, name):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        report = check_file(path)
        assert report.path == str(path)
        assert all(fault.path == str(path) for fault in report.problems)
        return report

    return check


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def squad(questions=QUESTIONS, context=CONTEXT):
    qas = [
        {"id": id, "question": question, "answers": [{"text": text, "answer_start": start}]}
        for id, question, text, start in questions
    ]
    paragraphs = [{"context": context, "qas": qas}, {"context": "Ann ran.", "qas": []}]
    return json.dumps({"data": [{"title": "T", "paragraphs": paragraphs}]}, indent=1)


QUESTION_FACTS = [
    ("questions", "3"),
    ("contexts", "1"),
    ("context words", "12 to 12, median 12"),
    ("question words", "2 to 5, median 4"),
    ("answer words", "1 to 1, median 1"),
    ("answers whose text occurs more than once", "1 (33.3%): q1"),
    ("answers not on token boundaries", "1 (33.3%): q3"),
]


# --- facts --------------------------------------------------------------------------------------


def test_conll_columns(checked):
    report = checked(CONLL, "x.conll")
    assert report.format == "CoNLL columns"
    assert report.facts == [
        ("examples", "3"),
        ("entities", "PER 2, LOC 1"),
        ("tokens that are O", "50.0% of 8"),
        ("tokens", "1 to 5, median 2"),
    ]
    assert report.problems == []


@pytest.mark.parametrize("name", ["x.txt", "x.bio", "x"])
def test_a_file_of_any_other_ending_is_taken_for_columns(name, checked):
    assert checked(CONLL, name).format == "CoNLL columns"


def test_texts_that_stand_twice_are_counted(checked):
    report = checked("Yes O\n\nNo O\n\nYes O\n\nYes O\n", "x.conll")
    assert report.facts[-1] == ("repeated texts", "2")
    assert ("entities", "none") in report.facts


def test_squad_json(checked):
    report = checked(squad(), "x.json")
    assert (report.format, report.facts, report.problems) == ("SQuAD JSON", QUESTION_FACTS, [])


@pytest.mark.parametrize("name", ["x.csv", "x.tsv"])
def test_a_table_of_questions(name, checked):
    between = "\t" if name == "x.tsv" else ","
    rows = [("id", "context", "question", "answer", "answer_start")]
    rows += [(id, CONTEXT, q, text, str(start)) for id, q, text, start in QUESTIONS]
    report = checked("\n".join(map(between.join, rows)), name)
    assert report.format == "table of questions (CSV, TSV)"
    assert (report.facts, report.problems) == (QUESTION_FACTS, [])


def test_a_table_without_offsets_has_a_note_on_what_was_guessed(checked):
    report = checked(f"context,question,answer\n{CONTEXT},Who is late?,Rosa\n", "x.csv")
    (note,) = (value for name, value in report.facts if name == "note")
    assert note.startswith("answers without an offset that occur more than once")
    assert "line 2" in note


@pytest.mark.parametrize(
    ("name", "as_array"), [("x.jsonl", False), ("x.jsonl", True), ("x.json", True)]
)
def test_questions_one_a_line(name, as_array, checked):
    records = [
        {"context": CONTEXT, "question": q, "answers": [{"text": t, "answer_start": s}], "id": id}
        for id, q, t, s in QUESTIONS
    ]
    report = checked(json.dumps(records) if as_array else lines(*records), name)
    assert report.format == "JSON questions"
    assert (report.facts, report.problems) == (QUESTION_FACTS, [])


BLANKS_HINT = (
    "in plain text, punctuation marks are separate words: tags that count them too fit what is "
    "predicted later"
)


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
@pytest.mark.parametrize("as_array", [False, True])
def test_json_records(name, as_array, checked):
    records = [
        {"sentence": "Ann saw Oslo.", "label": "b", "ner_tags": ["B-PER", "O", "B-LOC", "O"]},
        {"sentence": "Oslo, no.", "label": "a", "id": 4},
        {"sentence": "It's me", "ner_tags": ["O", "O"]},
        {"sentence": "Oslo, no.", "label": "b"},
    ]
    report = checked(json.dumps(records) if as_array else lines(*records), name)
    assert report.format == "JSON records"
    assert report.facts == [
        ("examples", "4"),
        ("with a label", "3"),
        ("labels", "b 2, a 1"),
        ("with tags", "2"),
        ("entities", "PER 1, LOC 1"),
        ("tokens that are O", "66.7% of 6"),
        ("tokens", "2 to 4, median 4"),
        ("repeated texts", "1"),
        ("note", "fields that are not read, and in how many records: 'id' (1)"),
        ("note", "ner_tags count words and punctuation marks in 1 records"),
        ("note", "ner_tags count words between blanks in 1 records"),
        ("note", BLANKS_HINT),
    ]
    assert report.problems == []


def test_records_without_any_tag_or_label(checked):
    facts = dict(checked(lines({"sentence": "One two"}, {"text": "Three"}), "x.jsonl").facts)
    assert facts["labels"] == facts["entities"] == "none"
    assert facts["tokens"] == "1 to 2, median 1.5"
    assert "tokens that are O" not in facts


def test_many_labels_are_not_all_printed(checked):
    records = [{"sentence": f"n{i}", "label": f"c{i}"} for i in range(23)] * 2
    labels = dict(checked(lines(*records), "x.jsonl").facts)["labels"]
    assert labels.split(", ") == [*(f"c{i} 2" for i in range(20)), "and 3 more"]


@pytest.mark.parametrize("as_array", [False, True])
def test_pairs_of_sentences(as_array, checked):
    records = [
        {"sentence1": "A dog barks.", "sentence2": "A hound", "score": 0.5},
        {"sentence1": "Rain", "sentence2": "Sun", "score": -0.25},
        {"sentence1": "Rain", "sentence2": "Wet", "score": 1},
        {"sentence1": "Rain", "sentence2": "Wet"},
    ]
    report = checked(json.dumps(records) if as_array else lines(*records), "x.jsonl")
    assert report.format == "JSON pairs of sentences"
    assert report.facts == [
        ("pairs", "4"),
        ("with a score", "3"),
        ("scores", "-0.25 to 1, median 0.5"),
        ("words", "1 to 4, median 1"),
        ("repeated pairs", "1"),
    ]
    assert report.problems == []


def test_pairs_without_a_score_have_no_range(checked):
    facts = dict(checked(lines({"anchor": "a b", "positive": "c"}), "x.json").facts)
    assert facts == {"pairs": "1", "with a score": "0", "words": "1 to 2, median 1.5"}


def test_more_than_three_questions_are_counted_and_the_first_named(checked):
    questions = [(f"q{i}", "What?", "Rosa", 0) for i in range(5)]
    facts = dict(checked(squad(questions), "x.json").facts)
    assert facts["answers whose text occurs more than once"] == "5 (100.0%): q0, q1, q2, ..."
    assert facts["answers not on token boundaries"] == "0"


@pytest.mark.parametrize(
    ("answer", "start", "on_borders"),
    [
        ("honey", 11, True),
        ("honey.", 11, True),
        ("sells honey", 5, True),
        ("hone", 11, False),
        ("oney", 12, False),
        ("ells honey", 6, False),
        ("sells ", 5, False),
        (" honey", 10, False),
    ],
)
def test_an_answer_is_on_token_borders_if_it_begins_and_ends_with_words(
    answer, start, on_borders, checked
):
    facts = dict(checked(squad([("q", "What?", answer, start)]), "x.json").facts)
    assert (facts["answers not on token boundaries"] == "0") == on_borders


@pytest.mark.parametrize("kind", ["news", "records", "paraphrases", "qa", "unanswerable", "ner"])
def test_written_toy_data_have_no_problem(kind, tmp_path):
    data = toy_dataset(kind, 12, 3, 2)
    path = tmp_path / f"{kind}.jsonl"
    for split in SPLITS[:2]:
        write_jsonl(data.split(split), path)
        report = mtl.check_file(path)
        assert report.problems == []
        assert report.facts[0][1] == str(len(data.split(split)))


# --- problems -----------------------------------------------------------------------------------


def test_problems_are_all_listed_with_line_and_fix(checked):
    bad = [{"sentence": ""}, {"sentence": "Hi", "ner_tags": ["O", "O"]}, {"sentence": "Hi"}]
    report = checked(lines(*bad * 15), "x.jsonl")
    assert [fault.line for fault in report.problems] == [n for n in range(1, 46) if n % 3]
    assert all(fault.fix for fault in report.problems)
    text = str(report)
    assert "30 problems:" in text
    for fault in report.problems:
        assert f"x.jsonl:{fault.line}: {fault.what}" in text
    assert text.count("to do: ") == 30


@pytest.mark.parametrize(
    ("name", "content", "lines_of_problems", "facts"),
    [
        (
            "x.conll",
            "Ann\n\nOslo B-LOC\n\nHe X\n\nShe O\nRome I-LOC\n\nNo O\n",
            [1, 5],
            [
                ("examples", "3"),
                ("entities", "LOC 2"),
                ("tokens that are O", "50.0% of 4"),
                ("tokens", "1 to 2, median 1"),
                (
                    "note",
                    "tags that break IOB2, read as conlleval reads them: 1 (the first at line 8: "
                    "I-LOC after O); --strict refuses them",
                ),
            ],
        ),
        (
            "x.jsonl",
            lines(
                {"sentence": "a b", "label": "x"},
                {"sentence": "a", "label": 3},
                {"sentence": "c", "label": "x"},
            )
            + "{\n",
            [2, 4],
            [
                ("examples", "2"),
                ("with a label", "2"),
                ("labels", "x 2"),
                ("with tags", "0"),
                ("entities", "none"),
                ("tokens", "1 to 2, median 1.5"),
            ],
        ),
        (
            "x.json",
            '[{"sentence1": "a", "sentence2": "b c", "score": 0.5},\n'
            '{"sentence1": "a", "sentence2": "b", "score": -7},\n{"sentence1": 1}]',
            [2, 3],
            [
                ("pairs", "1"),
                ("with a score", "1"),
                ("scores", "0.5 to 0.5, median 0.5"),
                ("words", "1 to 2, median 1.5"),
            ],
        ),
        (
            "x.csv",
            f"id,context,question,answer\nq0,{CONTEXT},What?,Luisa\n"
            f"q1,{CONTEXT},What?,honey\nq2,,What?,honey\n",
            [2, 4],
            [
                ("questions", "1"),
                ("contexts", "1"),
                ("context words", "12 to 12, median 12"),
                ("question words", "2 to 2, median 2"),
                ("answer words", "1 to 1, median 1"),
                ("answers whose text occurs more than once", "0"),
                ("answers not on token boundaries", "0"),
            ],
        ),
    ],
)
def test_a_file_with_problems_has_facts_of_its_good_records(
    name, content, lines_of_problems, facts, checked
):
    report = checked(content, name)
    assert [fault.line for fault in report.problems] == lines_of_problems
    assert report.facts == facts


def test_squad_json_with_problems_has_facts_of_its_good_questions(checked):
    report = checked(squad([*QUESTIONS, ("q4", "Who?", "Luisa", 0)]), "x.json")
    assert report.facts == QUESTION_FACTS
    (problem,) = report.problems
    assert "'q4'" in problem.what
    assert report.path in str(problem)


def test_a_broken_first_record_does_not_hide_what_the_file_is(checked):
    broken = '{"sentence1": "a", "sentence2": \n'
    report = checked(broken + lines({"sentence1": "a", "sentence2": "b"}), "x.jsonl")
    assert report.format == "JSON pairs of sentences"
    assert [fault.line for fault in report.problems] == [1]
    assert report.facts[0] == ("pairs", "1")


def test_squad_json_that_was_cut_off_is_one_problem(checked):
    report = checked(squad()[:-5], "x.json")
    assert report.format == "SQuAD JSON"
    assert [fault.what for fault in report.problems] == ["this is not JSON"]


def test_notes_are_not_lost_nor_told_twice_where_there_are_problems(checked):
    record = {"sentence": "a b", "ner_tags": ["O", "O"], "id": 1}
    report = checked(lines(record, {"sentence": ""}), "x.jsonl")
    assert [value for name, value in report.facts if name == "note"] == [
        "fields that are not read, and in how many records: 'id' (1)",
        "ner_tags count words and punctuation marks in 1 records",
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.conll", "only words\nhere I\n"),
        ("x.jsonl", "{\n{\n"),
        ("x.json", "[]"),
        ("x.csv", "a,b,c\n1,2,3\n"),
        ("x.json", '{"data": 3}'),
    ],
)
def test_a_file_of_which_nothing_can_be_used_has_problems_and_no_facts(name, content, checked):
    report = checked(content, name)
    assert report.facts == []
    assert report.problems
    assert "no problems" not in str(report)


@pytest.mark.parametrize("content", [None, b"", b" \n", b"Caf\xe9 O\n"])
def test_a_file_that_holds_no_text_cannot_be_checked(content, tmp_path):
    path = tmp_path / "x.conll"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        check_file(path)
    assert caught.value.faults[0].path == str(path)


def test_the_report_prints_as_a_table(checked):
    report = checked("Yes O\n", "x.conll")
    assert str(report).splitlines() == [
        f"file               {report.path}",
        "format             CoNLL columns",
        "examples           1",
        "entities           none",
        "tokens that are O  100.0% of 1",
        "tokens             1 to 1, median 1",
        "no problems",
    ]
    assert "\n1 problem:\n" in str(checked("Yes O\n\nNo X\n", "x.conll"))
