"""Questions from SQuAD JSON, tables and JSON lines; bad ones say what is wrong and where."""

import json
import warnings

import pytest
import reading
from reading import CONTEXT, faults_of, lines, notes_of, only_fault_of, qa, squad

from mtl.data.examples import Answer, QAExample
from mtl.data.readers import read_squad
from mtl.errors import DataError, DataWarning

# pytest looks for a fixture by its name in this module.
file = reading.file


# --- SQuAD JSON -----------------------------------------------------------------------------------


def test_squad_with_several_answers_at_their_offsets(file):
    two = {"text": "Luis", "answer_start": 18}, {"text": "Luis sells", "answer_start": 18}
    path = file(squad(qa(), qa(id=7, question="Who?", answers=list(two))), "x.json")
    assert read_squad(path) == [
        QAExample("q1", "Who is late?", CONTEXT, (Answer("Rosa", 37),)),
        QAExample("7", "Who?", CONTEXT, (Answer("Luis", 18), Answer("Luis sells", 18))),
    ]


def test_offsets_count_characters_not_bytes(file):
    path = file(squad(qa(text="bœuf", start=7), context="\U0001f37d Où ? bœuf"), "x.json")
    assert read_squad(file("\ufeff" + path.read_text(), "y.json"))[0].answers[0].start == 7


def test_questions_that_the_file_says_have_no_answer(file):
    """SQuAD v2.0 gives some of them plausible answers, which are wrong."""
    path = file(
        squad(
            qa(),
            qa(id="q2", answers=[], is_impossible=True, plausible_answers=[{"text": "Luis"}]),
            {"id": "q4", "question": "Who?", "is_impossible": True, "plausible_answers": []},
            qa(id="q5", answers=[], answerable=False),
            version="v2.0",
        ),
        "x.json",
    )
    examples, notes = notes_of(read_squad, path)
    assert [(example.id, len(example.answers)) for example in examples] == [
        *[("q1", 1), ("q2", 0), ("q4", 0), ("q5", 0)]
    ]
    (note,) = notes
    assert note.startswith("answers of questions that the file says have none (plausible_answers)")
    assert note.endswith("not used: 1 (line 20)")


@pytest.mark.parametrize("more", [{}, {"is_impossible": False}, {"is_impossible": None}])
def test_a_missing_answer_is_no_answer_only_if_the_file_says_so(more, file):
    """It may not be filled in, or kept secret: nobody should learn that there is none."""
    path = file(squad(qa(), qa(id="q3", answers=[], **more), version="v2.0"), "x.json")
    examples, (note,) = notes_of(read_squad, path)
    assert [example.id for example in examples] == ["q1"]
    assert note.startswith("questions without an answer left out: 1 (line ")
    assert note.endswith("say so: is_impossible = true")


def test_nothing_but_questions_that_lack_an_answer(file):
    fault = only_fault_of(read_squad, file(squad(qa(answers=[])), "x.json"))
    assert fault.what == "the file holds no question with an answer"
    assert fault.found.startswith("questions without an answer left out: 1 (line 10)")


def test_answers_not_in_their_context_or_not_at_their_offset(file):
    path = file(
        squad(qa(), qa("q2", start=3), qa("q3", text="Rosie"), qa("q4", text=" ")), "x.json"
    )
    lines = path.read_text().split("\n")
    faults = faults_of(read_squad, path)
    assert [lines[fault.line - 1].strip() for fault in faults] == [
        '"id": "q2",',
        '"id": "q3",',
        '"id": "q4",',
    ]
    assert all("(article 'Market')" in fault.what for fault in faults)
    assert "'q2' is not at its offset" in faults[0].what
    assert faults[0].found == "answer 'Rosa', but character 3 has 'a se'"
    assert faults[0].fix == "the text occurs at character 0"
    assert "copy the answer" in faults[1].fix
    assert "'q4' has an empty answer" in faults[2].what


def test_skip_leaves_bad_questions_out_and_says_so(file):
    path = file(squad(qa("q1", start=3), qa("q2"), qa("q3", start="x")), "x.json")
    with pytest.warns(DataWarning, match="bad records left out: 2") as warned:
        assert [example.id for example in read_squad(path, on_error="skip")] == ["q2"]
    assert "'q1' is not at its offset" in str(warned[0].message)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ('{"sentences": [], "tags": []}', "an object with the keys 'sentences', 'tags'"),
        ("{}", "an object with the keys (none)"),
        ('{"data": {"a": 1}}', "\"data\" is an object with the keys 'a'"),
        ('{"data": [3]}', "3"),
        ('{"data": [{"title": "T"}]}', "an object with the keys 'title'"),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "an object with the keys 'qas'"),
        ('{"data": [{"paragraphs": [{"context": "c", "qas": 5}]}]}', '"qas" is 5'),
        ('{"data": [{"paragraphs": [{"context": "c", "qas": ["q"]}]}]}', "'q'"),
        (squad({"id": "q"}), "an object with the keys 'id'"),
        (squad({"id": "q", "question": "Q"}), "an object with the keys 'id', 'question'"),
    ],
)
def test_json_that_is_not_squad(content, found, file):
    fault = only_fault_of(read_squad, file(content, "x.json"))
    assert fault.what.startswith("this is not SQuAD: no ")
    assert fault.found == found
    assert '{"data": [{"title"' in fault.fix


def test_json_that_is_not_squad_cannot_be_skipped(file):
    fault = only_fault_of(read_squad, file('{"sentences": []}', "x.json"), on_error="skip")
    assert fault.what == "the file holds no question with an answer"
    assert "an object with the keys 'sentences'" in fault.found


def test_text_that_is_not_json(file):
    fault = only_fault_of(read_squad, file('{"data": [\n  {"title": }\n]}', "x.json"))
    assert (fault.what, fault.line) == ("this is not JSON", 2)
    assert "Expecting value" in fault.found


def test_faults_of_different_depth_come_together(file):
    good = {"context": CONTEXT, "qas": [qa()]}
    articles = [
        {"title": "A", "paragraphs": [{"qas": []}, good]},
        {"title": "B"},
        {"title": "C", "paragraphs": [{"context": CONTEXT, "qas": [qa(answers=[{"text": 3}])]}]},
    ]
    path = file(json.dumps({"data": articles}), "x.json")
    whats = sorted(fault.what for fault in faults_of(read_squad, path))
    assert whats == [
        "an answer is not a text with its offset (article 'C')",
        "this is not SQuAD: no list \"paragraphs\" (article 'B')",
        "this is not SQuAD: no text \"context\" (article 'A')",
    ]
    with pytest.warns(DataWarning, match="left out: 3"):
        assert len(read_squad(path, on_error="skip")) == 1


def test_bad_question_does_not_take_its_paragraph_along(file):
    path = file(squad({"id": "q1"}, qa("q2")), "x.json")
    with pytest.warns(DataWarning, match="left out: 1"):
        assert [example.id for example in read_squad(path, on_error="skip")] == ["q2"]


@pytest.mark.parametrize("start", [37.5, "x", [37], float("nan"), float("inf")])
def test_offset_that_is_not_a_whole_number(start, file):
    fault = only_fault_of(read_squad, file(squad(qa(start=start)), "x.json"))
    assert fault.what.startswith("an answer offset is not a whole number")
    assert fault.found == repr(start)


def test_the_form_is_found_by_content(file):
    path = file(json.dumps([qa() | {"context": CONTEXT}]), "x.txt")
    assert read_squad(path)[0].answers == (Answer("Rosa", 37),)


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "context,question,answer,answer_start",
        "Context,Question,Answer,Answer Start",
        "passage,query,answer_text,offset",
        "PARAGRAPH,Question Text,answers.text,answers.answer_start",
        "text,question,answers,start_char",
    ],
)
def test_column_names_vary(header, file):
    path = file(f"\ufeff{header}\r\n{CONTEXT},Who is late?,Rosa,37\r\n", "x.CSV")
    assert read_squad(path) == [QAExample("1", "Who is late?", CONTEXT, (Answer("Rosa", 37),))]


def test_context_column_wins_over_text_column(file):
    path = file("id,text,answer,question,context\nn7,x,Luis,Who?,Luis sells\n", "x.csv")
    assert read_squad(path) == [QAExample("n7", "Who?", "Luis sells", (Answer("Luis", 0),))]


@pytest.mark.parametrize(("separator", "name"), [("\t", "x.tsv"), (";", "x.csv"), (",", "x.csv")])
def test_separators(separator, name, file):
    rows = [["context", "question", "answer"], ['"a, b; \tc"', "Which?", "b"], ["", " ", ""]]
    path = file("\n".join(separator.join(row) for row in rows), name)
    assert read_squad(path)[0].context == "a, b; \tc"


def test_columns_that_are_missing(file):
    fault = only_fault_of(read_squad, file("title,Question,label\na,b,c\n", "x.csv"))
    assert fault.what == "there is no column for the context and the answer"
    assert fault.found == "the columns 'title', 'Question', 'label'"
    assert fault.line == 1
    assert "context, question, answer" in fault.fix


def test_answer_without_offset_that_occurs_once(file):
    path = file(f"context,question,answer\n{CONTEXT},What?, cheese \n", "x.csv")
    assert read_squad(path)[0].answers == (Answer("cheese", 29),)


def test_answer_without_offset_that_occurs_twice_is_flagged(file):
    rows = f"{CONTEXT},Who?,Rosa,\n{CONTEXT},Who?,Rosa,37\n{CONTEXT},Who?,sells,\n"
    path = file(f"context,question,answer,start\n{rows}", "x.csv")
    with pytest.warns(DataWarning, match=r"more than once .*: 2 \(line 2, line 4\)") as warned:
        examples = read_squad(path)
    assert [example.answers[0].start for example in examples] == [0, 37, 5]
    assert "answer_start" in str(warned[0].message)


def test_answer_not_in_the_context_names_the_line_of_its_row(file):
    """Cells may hold line ends, so rows are not lines."""
    path = file(f'context,question,answer\n"a\nb\n",What?,b\n{CONTEXT},Who?,Rosie\n', "x.csv")
    fault = only_fault_of(read_squad, path)
    assert fault.line == 5
    assert "'2' is not in its context" in fault.what
    assert fault.found == f"answer 'Rosie', context {CONTEXT!r}"


def test_all_faults_of_a_table_come_together(file):
    rows = "c,q\na, b,q,a,0\nc,,c,0\nc,q,c,1\nc,q,c,one\nc,q,b,\nc,q,c,0\n"
    path = file(f"context,question,answer,answer_start\n{rows}", "x.csv")
    faults = faults_of(read_squad, path)
    assert [fault.line for fault in faults] == [2, 3, 4, 5, 6, 7]
    assert faults[1].what == "5 cells where the header has 4"
    assert "double quotes" in faults[1].fix
    assert faults[4].found == "'one'"
    with pytest.warns(DataWarning, match="left out: 6"):
        assert len(read_squad(path, on_error="skip")) == 1


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_quote_that_is_never_closed_swallows_nothing(on_error, file):
    path = file('context,question,answer\na,q,a\n"a,q,a\na,q,a\n', "x.csv")
    fault = only_fault_of(read_squad, path, on_error=on_error)
    assert fault.line == 3
    assert "quote" in fault.fix


@pytest.mark.parametrize(
    "cell",
    [
        "{'text': ['Rosa', 'Luis'], 'answer_start': [37, 18]}",
        '{"text": ["Rosa", "Luis"], "answer_start": [37, 18]}',
        "{'text': array(['Rosa', 'Luis'], dtype=object), "
        "'answer_start': array([37, 18], dtype=int32)}",
        "[{'text': 'Rosa', 'answer_start': 37}, {'text': 'Luis', 'answer_start': 18}]",
    ],
)
def test_answers_as_the_datasets_library_writes_them(cell, file):
    quoted = cell.replace('"', '""')
    path = file(f'context,question,answers\n{CONTEXT},Who?,"{quoted}"\n', "x.csv")
    assert read_squad(path)[0].answers == (Answer("Rosa", 37), Answer("Luis", 18))


def test_answers_as_json_without_offsets(file):
    cell = '{"text": ["cheese"], "answer_start": null}'.replace('"', '""')
    path = file(f'context,question,answers\n{CONTEXT},What?,"{cell}"\n', "x.csv")
    assert read_squad(path)[0].answers == (Answer("cheese", 29),)


def test_lists_of_texts_and_offsets_in_two_columns(file):
    row = f"{CONTEXT},Who?,\"['Rosa', 'Luis']\",\"[37, 18]\""
    path = file(f"context,question,answers,answer_start\n{row}\n", "x.csv")
    assert read_squad(path)[0].answers == (Answer("Rosa", 37), Answer("Luis", 18))


def test_more_texts_than_offsets(file):
    row = f"{CONTEXT},Who?,\"['Rosa', 'Luis']\",[37]"
    path = file(f"context,question,answers,answer_start\n{row}\n", "x.csv")
    fault = only_fault_of(read_squad, path)
    assert fault.found == "{'text': ['Rosa', 'Luis'], 'answer_start': [37]}"


def test_answer_that_only_looks_like_a_list(file):
    path = file("context,question,answer\nhe said [sic] so,What?,[sic]\n", "x.csv")
    assert read_squad(path)[0].answers == (Answer("[sic]", 8),)


def test_offset_that_a_spreadsheet_made_a_decimal(file):
    path = file(f"context,question,answer,start\n{CONTEXT},Who?,Rosa,37.0\n", "x.csv")
    assert read_squad(path)[0].answers == (Answer("Rosa", 37),)


# --- questions one a line -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.JSONL", "x.json"])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_list_of_questions(name, indent, file):
    records = [
        qa() | {"context": CONTEXT},
        qa(id=5, question="Who?", text="Luis", start=18) | {"context": CONTEXT},
    ]
    assert read_squad(file(json.dumps(records, indent=indent), name)) == [
        QAExample("q1", "Who is late?", CONTEXT, (Answer("Rosa", 37),)),
        QAExample("5", "Who?", CONTEXT, (Answer("Luis", 18),)),
    ]


def test_a_list_of_something_else_has_one_fault_a_record(file):
    path = file("[1,\n2]", "x.json")
    faults = faults_of(read_squad, path)
    assert [(fault.line, fault.found) for fault in faults] == [(1, "1"), (2, "2")]
    skipped = only_fault_of(read_squad, path, on_error="skip")
    assert "bad records left out: 2" in skipped.found
    empty = only_fault_of(read_squad, file("[]", "y.json"))
    assert empty.what == "the file holds no question with an answer"


def test_questions_one_a_line(file):
    path = file(
        lines(
            qa() | {"context": CONTEXT},
            qa(id=5, question="Who?", text="Luis", start=18) | {"context": CONTEXT},
        ),
        "x.JSONL",
    )
    assert read_squad(path) == [
        QAExample("q1", "Who is late?", CONTEXT, (Answer("Rosa", 37),)),
        QAExample("5", "Who?", CONTEXT, (Answer("Luis", 18),)),
    ]


def test_questions_one_a_line_as_the_datasets_library_writes_them(file):
    record = {"id": "1", "title": "Market", "context": CONTEXT, "question": "Who?"}
    answered = record | {"answers": {"text": ["Luis", "Rosa"], "answer_start": [18, 37]}}
    unanswered = record | {"id": "2", "answers": {"text": [], "answer_start": []}}
    marked = record | {"id": "3", "is_impossible": True}
    examples = read_squad(file(lines(answered, unanswered, marked), "x.jsonl"))
    assert examples == [
        QAExample("1", "Who?", CONTEXT, (Answer("Luis", 18), Answer("Rosa", 37))),
        QAExample("2", "Who?", CONTEXT, ()),
        QAExample("3", "Who?", CONTEXT, ()),
    ]


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        ("Who?,,,", 0),
        ("Who?,,,true", 1),
        ("Who?,,-1,1.0", 1),
        ("Who?,,,False", 0),
        ("Who?,\"{'text': [], 'answer_start': []}\",,", 1),
        ("Who?,\"{'text': array([], dtype=object), 'answer_start': array([])}\",,", 1),
        ("Who?,[],[],", 1),
    ],
)
def test_an_empty_cell_of_a_table_is_no_answer_only_if_the_row_says_so(row, kept, file):
    rows = f"{CONTEXT},Who is late?,Rosa,37,false\n{CONTEXT},{row}\n"
    path = file(f"context,question,answer,start,is_impossible\n{rows}", "x.csv")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        examples = read_squad(path)
    assert [len(example.answers) for example in examples] == [1, 0][: 1 + kept]
    assert len(notes) == 1 - kept


def test_all_faults_of_questions_one_a_line_come_together(file):
    good = qa() | {"context": CONTEXT}
    path = file(
        lines(good, good | {"context": "Rosa"}, qa())
        + "{\n"
        + lines(
            good | {"question": 3}, good | {"question": " "}, 3, good | {"answers": [{}]}, good
        ),
        "x.jsonl",
    )
    faults = faults_of(read_squad, path)
    assert [fault.line for fault in faults] == [2, 3, 4, 5, 6, 7, 8]
    examples, notes = notes_of(read_squad, path, on_error="skip")
    assert len(examples) == 2
    assert notes[-1].startswith("bad records left out: 7")


@pytest.mark.parametrize(
    ("cell", "answers"), [("t", 0), ("Y", 0), ("1.0", 0), ("f", 1), ("No", 1), ("", 1)]
)
def test_what_says_that_there_is_no_answer(cell, answers, file):
    path = file(f"context,question,answer,is_impossible\n{CONTEXT},Who?,Rosa,{cell}\n", "x.csv")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an answer that is not used
        (example,) = read_squad(path)
    assert len(example.answers) == answers


@pytest.mark.parametrize("cell", ["maybe", "2", "wahr"])
def test_what_may_say_so_or_not_is_refused(cell, file):
    path = file(f"context,question,answer,is_impossible\n{CONTEXT},Who?,Rosa,{cell}\n", "x.csv")
    with pytest.raises(DataError, match=rf":2: is_impossible is neither(.|\n)*'{cell}'"):
        read_squad(path)
