"""Readers and writers: real files come in as they are, bad ones say what is wrong and where."""

import json
import os
import string
import warnings
from functools import partial
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtl.data.examples import Answer, NERExample, PairExample, QAExample, TextExample
from mtl.data.readers import (
    LeftOutWarning,
    read_conll,
    read_jsonl,
    read_pairs,
    read_squad,
    write_conll,
    write_examples,
    write_jsonl,
    write_squad,
)
from mtl.errors import ConfigError, DataError, DataWarning


@pytest.fixture
def file(tmp_path):
    """Write a small file, bytes or text, and give its path."""

    def write(content, name="data.conll"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


tmp_path_shared = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


def faults_of(read, path, **options):
    """The faults of a file that cannot be read; the message says the place of each."""
    with pytest.raises(DataError) as caught:
        read(path, **options)
    faults = caught.value.faults
    for fault in faults:
        assert fault.path == str(path)
        assert fault.fix
        assert (f"{path}:{fault.line}: " if fault.line else f"{path}: ") in str(caught.value)
    return faults


def only_fault_of(read, path, **options):
    (fault,) = faults_of(read, path, **options)
    return fault


# --- files that are not there, or not text ------------------------------------------------------

every_reader = pytest.mark.parametrize(
    ("read", "name"),
    [
        (read_conll, "x.conll"),
        (read_squad, "x.json"),
        (read_squad, "x.csv"),
        (read_squad, "x.jsonl"),
        (read_jsonl, "x.jsonl"),
        (read_pairs, "x.jsonl"),
    ],
)


@every_reader
def test_missing_file(read, name, tmp_path):
    fault = only_fault_of(read, tmp_path / name)
    assert "No such file" in fault.found
    assert str(Path.cwd()) in fault.fix


@every_reader
def test_folder_instead_of_file(read, name, tmp_path):
    (tmp_path / name).mkdir()
    assert "directory" in only_fault_of(read, tmp_path / name).found


@every_reader
def test_file_that_may_not_be_opened(read, name, file, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    path = file("x", name)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert only_fault_of(read, path).found == "Permission denied"


@every_reader
@pytest.mark.parametrize("content", ["", " \n\t\n", "\ufeff"])
def test_empty_file(read, name, content, file):
    fault = only_fault_of(read, file(content, name))
    assert fault.what == "the file is empty"
    assert fault.found == f"{len(content.encode())} bytes, no text"


@every_reader
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_bytes_that_are_not_utf8(read, name, mark, line_end, file):
    content = mark + b"".join(
        line + line_end for line in ["Zoë O".encode(), b"", b"Caf\xe9 O", b"Caf\xe9 O"]
    )
    fault = only_fault_of(read, file(content, name))
    assert fault.line == 3
    assert fault.found == "byte 0xe9 after 'Caf'"
    assert "UTF-8" in fault.fix


@every_reader
def test_unknown_on_error(read, name, file):
    with pytest.raises(ConfigError, match="ignore"):
        read(file("x", name), on_error="ignore")


# --- CoNLL --------------------------------------------------------------------------------------


def test_conll_2003_as_it_is_distributed(file):
    """Four columns, IOB1, -DOCSTART- lines, and no blank line after the last sentence."""
    path = file(
        "-DOCSTART- -X- -X- O\n\n"
        "EU NNP B-NP I-ORG\nrejects VBZ B-VP O\nGerman JJ B-NP I-MISC\n\n"
        "-DOCSTART- -X- -X- O\n"
        "Ben NNP B-NP I-PER\nSmith NNP I-NP I-PER\nKofi NNP B-NP B-PER\nParis NNP B-NP I-LOC\n"
    )
    assert read_conll(path) == [
        NERExample(("EU", "rejects", "German"), ("B-ORG", "O", "B-MISC")),
        NERExample(("Ben", "Smith", "Kofi", "Paris"), ("B-PER", "I-PER", "B-PER", "B-LOC")),
    ]


@pytest.mark.parametrize(
    "tags",
    [
        "B-PER I-PER I-PER O B-LOC B-LOC B-ORG I-ORG",
        "I-PER I-PER I-PER O I-LOC B-LOC I-ORG I-ORG",
        "B-PER I-PER E-PER O S-LOC S-LOC B-ORG E-ORG",
        "B-PER I-PER L-PER O U-LOC U-LOC B-ORG L-ORG",
    ],
    ids=["IOB2", "IOB1", "BIOES", "BILOU"],
)
def test_every_scheme_becomes_iob2(tags, file):
    path = file("".join(f"{c}\t{tag}\n" for c, tag in zip("abcdefgh", tags.split(), strict=True)))
    (example,) = read_conll(path)
    assert " ".join(example.tags) == "B-PER I-PER I-PER O B-LOC B-LOC B-ORG I-ORG"


def test_scheme_is_told_from_the_whole_file(file):
    """The first sentence alone would pass for a fault in IOB2, the second alone for IOB2."""
    path = file("Paris I-LOC\n\nAnn I-PER\nBob B-PER\n\nRome I-LOC\n")
    assert [e.tags for e in read_conll(path)] == [("B-LOC",), ("B-PER", "B-PER"), ("B-LOC",)]


def test_line_ends_byte_order_mark_and_blank_lines(file):
    content = "\ufeffParis\tB-LOC\r\n\t\r\n  \r\n\r\nin O\rRome   B-LOC  \n"
    assert read_conll(file(content)) == [
        NERExample(("Paris",), ("B-LOC",)),
        NERExample(("in", "Rome"), ("O", "B-LOC")),
    ]


def test_odd_tokens_stay_whole(file):
    """A `#` starts no comment, and only tabs and line ends cut where there are tabs."""
    tokens = ("#", "New York", "a\u2028b", "c\x85d", "e\xa0f", "g\x0ch", '"')
    assert read_conll(file("".join(f"{token}\tO\n" for token in tokens))) == [
        NERExample(tokens, ("O",) * 7)
    ]
    assert read_conll(file("e\xa0f O\n"))[0].tokens == ("e\xa0f",)


def test_missing_tag_names_line_tokens_and_tags(file):
    path = file("in O\nRome B-LOC\n\nshe O\nsaw O\nParis\n")
    fault = only_fault_of(read_conll, path)
    assert fault.line == 6
    assert "3 tokens with 2 tags" in fault.what
    assert "tokens ['she', 'saw', 'Paris'], tags ['O', 'O']" in fault.found
    assert "'Paris'" in fault.found


def test_missing_column_is_not_taken_for_a_tag(file):
    """Without its last column the line would end in a chunk tag, which looks like an entity."""
    path = file("EU NNP B-NP B-ORG\nsaw VBD B-VP O\nPeter NNP B-NP\n")
    fault = only_fault_of(read_conll, path)
    assert fault.line == 3
    assert "3 column(s) where 4 are needed" in fault.what


def test_tab_without_a_tag_after_it(file):
    fault = only_fault_of(read_conll, file("in\tO\t\nRome\t \n"))
    assert fault.line == 2
    assert "1 column(s) where 2 are needed" in fault.what


def test_one_column_throughout(file):
    faults = faults_of(read_conll, file("Paris\nis\n\nhere\n"))
    assert [fault.line for fault in faults] == [1, 2, 4]
    assert all("1 column(s) where 2 are needed" in fault.what for fault in faults)


@pytest.mark.parametrize("tag", ["PERSON", "X-FOO", "B-", "b-per", "B_PER", "0", "OO"])
def test_unknown_scheme(tag, file):
    fault = only_fault_of(read_conll, file(f"Ann\tB-PER\n\nand\tO\nBob\t{tag}\n"))
    assert fault.line == 4
    assert fault.found == f"'{tag}' at the token 'Bob'"
    assert "B-TYPE" in fault.fix


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("Ann B-PER\n\nin O\nRome I-LOC\n", 4, "I-LOC after O breaks IOB2"),
        ("Ann B-PER\nLee I-LOC\n", 2, "I-LOC after B-PER breaks IOB2"),
        ("Ann I-PER\n\nin O\nRome B-LOC\n\nBob I-PER\n", 4, "B-LOC after O breaks IOB1"),
        ("Ann B-PER\nLee L-PER\n\nJo U-PER\n\nRay I-PER\n", 6, "I-PER after O breaks BIOES"),
        ("Ann S-PER\n\nJo S-PER\n\nBob B-PER\nRay I-PER\n", 6, "O after I-PER breaks BIOES"),
        ("Ann S-PER\n\nBob S-PER\nRay E-PER\n", 4, "E-PER after S-PER breaks BIOES"),
        ("Ann B-PER\nLee E-PER\n\nBob B-PER\nRay E-LOC\n", 5, "E-LOC after B-PER breaks BIOES"),
        ("Ann B-PER\nLee I-PER\n\nBob B-PER\nRay E-PER\n\nJo B-PER\n", 5, "E-PER after B-PER"),
    ],
)
def test_tags_that_break_the_scheme_of_the_file(content, line, what, file):
    fault = only_fault_of(read_conll, file(content), strict=True)
    assert fault.line == line
    assert fault.what.startswith(what)
    assert "tokens [" in fault.found
    with pytest.warns(DataWarning, match="read as conlleval reads them: ") as warned:
        read_conll(file(content))
    assert f"the first in line {line}: {what.split(' breaks')[0]})" in str(warned[0].message)


def test_all_faults_of_a_conll_file_come_together_in_order(file):
    path = file("Ann B-PER\nLee\n\nin O\nRome I-LOC\n\nBob HUMAN\nRay\n\nJo B-PER\n\n\tO\n")
    faults = faults_of(read_conll, path, strict=True)
    assert [fault.line for fault in faults] == [2, 5, 7, 8, 12]


def test_skip_leaves_bad_sentences_out_and_says_so(file):
    path = file("Ann B-PER\nLee\n\nBob HUMAN\nRay HUMAN\n\nJo B-PER\n")
    with pytest.warns(DataWarning, match="bad records left out: 2") as warned:
        examples = read_conll(path, on_error="skip")
    assert examples == [NERExample(("Jo",), ("B-PER",))]
    (message,) = [str(warning.message) for warning in warned]
    assert f"{path}:2: 1 column(s)" in message
    assert warned[0].filename == __file__
    assert warned[0].category is LeftOutWarning  # so nobody has to read the message to know


def test_skip_that_leaves_nothing_is_an_error(file):
    fault = only_fault_of(read_conll, file("Ann B-PER\nLee HUMAN\n"), on_error="skip")
    assert fault.what == "the file gives no sentence"
    assert "bad records left out: 1" in fault.found
    assert "HUMAN" in fault.found


def test_file_without_a_sentence(file):
    assert only_fault_of(read_conll, file("-DOCSTART- -X- O\n\n")).what.endswith("no sentence")


tokens = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\ufeff")).filter(
    lambda token: token.strip() and token == token.strip(" ") and token != "-DOCSTART-"
)
segments = st.tuples(st.sampled_from(["", "PER", "B", "creative-work", "Ä"]), st.lists(tokens))


@st.composite
def sentences(draw):
    words, tags = ["."], ["O"]
    for kind, entity in draw(st.lists(segments, max_size=4)):
        words += entity
        tags += [f"{'I' if i else 'B'}-{kind}" if kind else "O" for i in range(len(entity))]
    return NERExample(words, tags)


@tmp_path_shared
@given(examples=st.lists(sentences(), min_size=1, max_size=4))
def test_conll_round_trip(examples, tmp_path):
    write_conll(examples, tmp_path / "x.conll")
    assert read_conll(tmp_path / "x.conll") == examples


def test_write_conll_refuses_a_text_without_tags(tmp_path):
    with pytest.raises(DataError, match="columns hold words with tags") as error:
        write_conll([TextExample("Ann sings.", ("Ann", "sings", "."))], tmp_path / "x.conll")
    assert error.value.faults[0].found == "'Ann sings.'"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("token", ["a\tb", "a\nb", "a\rb", " a", "-DOCSTART-", "\ufeffa"])
def test_write_conll_refuses_what_it_could_not_read_back(token, tmp_path):
    path = tmp_path / "x.conll"
    write_conll([NERExample(("old",), ("O",))], path)
    with pytest.raises(DataError) as caught:
        write_conll([NERExample(("fine", token), ("O", "O"))], path)
    assert repr(token) in str(caught.value)
    assert read_conll(path)[0].tokens == ("old",)


# --- SQuAD JSON ---------------------------------------------------------------------------------

CONTEXT = "Rosa sells honey. Luis sells cheese. Rosa is late."


def qa(id="q1", question="Who is late?", text="Rosa", start=37, **more):
    answers = [{"text": text, "answer_start": start}]
    return {"id": id, "question": question, "answers": answers, **more}


def squad(*qas, context=CONTEXT, **more):
    paragraphs = [{"context": context, "qas": list(qas)}]
    return json.dumps({"data": [{"title": "Market", "paragraphs": paragraphs}], **more}, indent=1)


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


def test_unanswerable_questions_are_counted_and_left_out(file):
    """SQuAD v2.0 gives some of them plausible answers, which are wrong."""
    path = file(
        squad(
            qa(),
            qa(id="q2", answers=[], is_impossible=True, plausible_answers=[{"text": "Luis"}]),
            qa(id="q3", answers=[]),
            {"id": "q4", "question": "Who?", "is_impossible": True},
            version="v2.0",
        ),
        "x.json",
    )
    with pytest.warns(
        DataWarning, match=r"unanswerable questions left out: 3 \(line \d+"
    ) as warned:
        assert [example.id for example in read_squad(path)] == ["q1"]
    assert warned[0].filename == __file__


def test_nothing_but_unanswerable_questions(file):
    fault = only_fault_of(read_squad, file(squad(qa(answers=[])), "x.json"))
    assert fault.what == "the file gives no question with an answer"
    assert fault.found == "unanswerable questions left out: 1 (line 10)"


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
    assert fault.what == "the file gives no question with an answer"
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


# --- tables -------------------------------------------------------------------------------------


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


# --- JSON records -------------------------------------------------------------------------------

WORDS_NOTE = "ner_tags count words and punctuation marks in {} records"
BLANKS_NOTE = "ner_tags count words between blanks in {} records"


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def notes_of(read, path, **options):
    """The examples of a file, and what the reader says about it without the path."""
    with pytest.warns(DataWarning) as warned:
        examples = read(path, **options)
    assert {warning.filename for warning in warned} == {__file__}
    return examples, [str(warning.message).removeprefix(f"{path}: ") for warning in warned]


def test_records_one_a_line(file):
    tags = ("B-P", "O", "O", "B-L", "O")
    path = file(
        lines(
            {"sentence": "Al is in Oslo.", "label": "life", "ner_tags": [*tags]},
            {"sentence": "No tags, here."},
            {"sentence": "Only tags", "label": None, "ner_tags": ["O", "O"]},
            {"sentence": "A label", "label": "work", "ner_tags": None},
        )
    )
    examples, notes = notes_of(read_jsonl, path)
    assert examples == [
        TextExample("Al is in Oslo.", ("Al", "is", "in", "Oslo", "."), "life", tags),
        TextExample("No tags, here.", ("No", "tags", ",", "here", ".")),
        TextExample("Only tags", ("Only", "tags"), None, ("O", "O")),
        TextExample("A label", ("A", "label"), "work"),
    ]
    assert notes == [WORDS_NOTE.format(2)]


record_texts = st.sampled_from(["one", "a, b", "\u2028\x85 é", "[{,}]", '"\\n'])
records = st.fixed_dictionaries({"sentence": record_texts, "label": st.sampled_from("xy")})


@tmp_path_shared
@given(
    records=st.lists(records, min_size=1, max_size=5),
    indent=st.sampled_from([None, 0, 2]),
    mark=st.sampled_from(["", "\ufeff"]),
    ends=st.sampled_from(["\n", "\r\n"]),
    ascii=st.booleans(),
    around=st.sampled_from(["", "\n", " \n\t\n"]),
)
def test_an_array_and_lines_are_read_alike(records, indent, mark, ends, ascii, around, tmp_path):
    as_lines = "".join(json.dumps(r, ensure_ascii=ascii) + "\n" + around for r in records)
    as_array = around + json.dumps(records, indent=indent, ensure_ascii=ascii) + around
    read = []
    for text in (as_lines, as_array):
        (tmp_path / "x.jsonl").write_bytes((mark + text.replace("\n", ends)).encode())
        read.append(read_jsonl(tmp_path / "x.jsonl"))
    assert read[0] == read[1]
    assert [(e.text, e.label) for e in read[0]] == [(r["sentence"], r["label"]) for r in records]


def test_tokens_in_the_record_rule_what_the_tags_count(file):
    record = {"sentence": "New York, now", "tokens": ["New York", ",now"], "ner_tags": ["B-L", "O"]}
    assert read_jsonl(file(lines(record))) == [
        TextExample("New York, now", ("New York", ",now"), None, ("B-L", "O"))
    ]


def test_tokens_in_the_record_rule_even_where_other_counts_fit(file):
    """Two words between blanks, two tags: but the record says that it has three tokens."""
    record = {"sentence": "a-b c", "tokens": ["a", "-b", "c"], "ner_tags": ["O", "O"]}
    fault = only_fault_of(read_jsonl, file(lines(record)))
    assert fault.what == "2 tags, but the sentence has 3 tokens"


def test_an_empty_list_of_tokens_is_as_good_as_none(file):
    fault = only_fault_of(read_jsonl, file(lines({"sentence": "a", "tokens": [], "ner_tags": []})))
    assert fault.what.startswith("0 tags, but the sentence has 1 words")
    path = file(lines({"sentence": "a b", "tokens": []}))
    assert read_jsonl(path) == [TextExample("a b", ("a", "b"))]


def test_words_between_blanks_count_where_only_that_fits(file):
    path = file(
        lines(
            {"sentence": "It's in New-York.", "ner_tags": ["O", "O", "B-L"]},
            {"sentence": "Plain words", "ner_tags": ["O", "O"]},
            {"sentence": "Ah, me", "ner_tags": ["O", "O"]},
        )
    )
    examples, notes = notes_of(read_jsonl, path)
    assert [e.tokens for e in examples] == [
        ("It's", "in", "New-York."),
        ("Plain", "words"),
        ("Ah,", "me"),
    ]
    assert notes[:2] == [BLANKS_NOTE.format(2), WORDS_NOTE.format(1)]
    assert notes[2].startswith("in plain text, punctuation marks are words of their own")


def test_tokens_that_do_not_spell_the_sentence_are_noted(file):
    records = [
        {"sentence": "John lives here.", "tokens": ["John", "lives", "here", "."]},
        {"sentence": "John lives here.", "tokens": ["quite", "different"]},
    ]
    examples, notes = notes_of(read_jsonl, file(json.dumps(records)))
    assert examples[1].tokens == ("quite", "different")
    (note,) = notes
    assert note.startswith("tokens that do not spell the sentence in 1 records, first in line 1")
    assert "(record 2)" in note


def test_faults_of_a_list_say_which_record(file):
    path = file(json.dumps([{"sentence": "a"}, {"label": "x"}, {"sentence": "b", "label": [[]]}]))
    whats = [fault.what for fault in faults_of(read_jsonl, path)]
    assert [what.rpartition(" (")[2] for what in whats] == ["record 2)", "record 3)"]


def test_a_file_of_another_kind_is_one_fault(file):
    fault = only_fault_of(read_jsonl, file("Ann B-PER\nran O\n"))
    assert fault.what == "this is not a file of JSON records"
    fault = only_fault_of(read_jsonl, file(json.dumps({"data": [], "version": "1"}, indent=2)))
    assert "'data', 'version'" in fault.found or "null, or no such field" in fault.found


def test_one_record_over_several_lines(file):
    path = file(json.dumps({"sentence": "Ann ran", "label": "x"}, indent=2))
    assert read_jsonl(path) == [TextExample("Ann ran", ("Ann", "ran"), "x")]


def test_tags_that_count_nothing_name_line_tokens_and_tags(file):
    path = file(
        '{"sentence": "Fine"}\n'
        '{"sentence": "John lives in New York.", "ner_tags": ["B-PER", "O", "O", "B-LOC"]}\n'
    )
    fault = only_fault_of(read_jsonl, path)
    assert fault.line == 2
    assert fault.what == (
        "4 tags, but the sentence has 6 words and punctuation marks or 5 words between blanks"
    )
    assert "['John', 'lives', 'in', 'New', 'York', '.']" in fault.found
    assert "['B-PER', 'O', 'O', 'B-LOC']" in fault.found
    assert '"tokens"' in fault.fix


@pytest.mark.parametrize(
    "tags",
    ["I-P I-P O I-L B-L", "B-P E-P O S-L S-L", "B-P L-P O U-L U-L", "B-P I-P O B-L B-L"],
    ids=["IOB1", "BIOES", "BILOU", "IOB2"],
)
def test_tags_of_records_become_iob2(tags, file):
    path = file(lines({"sentence": "a b c d e", "tokens": [*"abcde"], "ner_tags": tags.split()}))
    assert " ".join(read_jsonl(path)[0].tags) == "B-P I-P O B-L B-L"


def test_records_that_break_the_scheme_of_most_are_faults(file):
    path = file(
        lines(
            {"sentence": "a", "tokens": ["a"], "ner_tags": ["B-P"]},
            {"sentence": "a b", "tokens": ["a", "b"], "ner_tags": ["O", "I-P"]},
            {"sentence": "a b", "tokens": ["a", "b"], "ner_tags": ["B-P", "I-L"]},
        )
    )
    faults = faults_of(partial(read_jsonl, strict=True), path)
    assert [fault.line for fault in faults] == [2, 3]
    assert faults[0].what == "I-P after O breaks IOB2, the tag scheme of this file"
    assert faults[1].found == "tokens ['a', 'b'], tags ['B-P', 'I-L']"


def test_a_fault_of_a_tag_with_half_a_character_can_be_printed(file):
    tags = (["B-P", "O"], ["I-\ud800", "O"])
    path = file(lines(*({"sentence": "a b", "ner_tags": those} for those in tags)))
    fault = only_fault_of(read_jsonl, path)
    assert (fault.what, fault.line) == ("the text holds half a character", 2)
    assert str(fault).encode()


@pytest.mark.parametrize(
    ("record", "what", "found"),
    [
        ({"sentence": ""}, 'there is no text "sentence"', "\"sentence\" is ''"),
        ({"sentence": " \n\u2003"}, 'there is no text "sentence"', '"sentence" is'),
        ({"sentence": None}, 'there is no text "sentence"', "null, or no such field"),
        ({"label": "x"}, 'there is no text "sentence"', "null, or no such field"),
        ({}, 'there is no text "sentence"', "null, or no such field"),
        ({"sentence": ["a"]}, 'there is no text "sentence"', "a list of 1"),
        ({"sentence": 5}, 'there is no text "sentence"', "5"),
        (3, "this is not a record", "3"),
        ("text", "this is not a record", "'text'"),
        (None, "this is not a record", "None"),
        ({"sentence": "a", "label": 1.5}, "the label is not a class", "1.5"),
        ({"sentence": "a", "label": float("nan")}, "the label is not a class", "nan"),
        ({"sentence": "a", "label": [["x"]]}, "the label is not a class", "['x']"),
        ({"sentence": "a", "label": {"x": 1}}, "the label is not a class", "{'x': 1}"),
        ({"sentence": "a", "label": " "}, "the label is not a class", "' '"),
        ({"sentence": "a", "ner_tags": "O"}, "ner_tags is not a list of texts", "'O'"),
        ({"sentence": "a", "ner_tags": [None]}, "ner_tags is not a list of texts", "[None]"),
        ({"sentence": "a", "ner_tags": {"a": "O"}}, "ner_tags is not a list of texts", "{'a'"),
        ({"sentence": "a", "tokens": "a"}, "tokens is not a list of texts", "'a'"),
        ({"sentence": "a", "tokens": [1]}, "tokens is not a list of texts", "[1]"),
        ({"sentence": "a", "tokens": ["a", ""]}, "a sentence needs at least one token", "''"),
        ({"sentence": "a", "ner_tags": ["PER"]}, "the tag is of no known scheme", "'PER'"),
        ({"sentence": "a", "ner_tags": ["B-"]}, "the tag is of no known scheme", "'B-'"),
        ({"sentence": "a", "ner_tags": []}, "0 tags, but the sentence has 1 words", "[]"),
        ({"sentence": "a \ud800"}, "the text holds half a character", r"'\ud800' after 'a '"),
        ({"sentence": "a", "label": "\udc00"}, "the text holds half a character", r"'\udc00'"),
        (
            {"sentence": "a", "tokens": ["\ud800"]},
            "the text holds half a character",
            r"'\ud800'",
        ),
    ],
)
@pytest.mark.parametrize("as_array", [False, True])
def test_a_bad_record_is_named_by_its_line(record, what, found, as_array, file):
    good = {"sentence": "good"}
    text = lines(good, record, good)
    if as_array:
        text = f"[{text.strip().replace(chr(10), ',' + chr(10))}]"
    path = file(text)
    fault = only_fault_of(read_jsonl, path)
    assert fault.line == 2
    assert fault.what.startswith(what)
    assert found in fault.found
    examples, notes = notes_of(read_jsonl, path, on_error="skip")
    assert [example.text for example in examples] == ["good", "good"]
    assert notes[-1].startswith("bad records left out: 1. The first: ")


def test_all_faults_of_records_come_together_in_order(file):
    path = file(
        lines({"sentence": "a", "label": "x"})
        + '{"sentence": \n'
        + lines(
            {"sentence": ""},
            {"sentence": "b", "label": 2},
            {"sentence": "c", "ner_tags": ["I-P", "O"]},
            [],
            {"sentence": "d", "label": "y", "ner_tags": ["B-P"]},
            {"sentence": "e", "ner_tags": ["I-P"]},
        )
    )
    faults = faults_of(partial(read_jsonl, strict=True), path)
    assert [fault.line for fault in faults] == [2, 3, 4, 5, 6, 8]
    examples, notes = notes_of(partial(read_jsonl, strict=True), path, on_error="skip")
    assert [example.text for example in examples] == ["a", "d"]
    assert notes[-1].startswith(f"bad records left out: 6. The first: {path}:2: the line is not")


def test_nothing_but_bad_records_is_an_error_even_if_skipped(file):
    fault = only_fault_of(read_jsonl, file(lines({}, {})), on_error="skip")
    assert fault.what == "the file gives no record with a sentence"
    assert "bad records left out: 2" in fault.found
    assert only_fault_of(read_jsonl, file("[ ]")).what == "the file gives no record with a sentence"


def test_labels_that_are_numbers_become_names(file):
    path = file(lines(*({"sentence": "a", "label": label} for label in (1, 2.0, None, -3, 0))))
    assert [example.label for example in read_jsonl(path)] == ["1", "2", None, "-3", "0"]


def test_labels_that_are_true_or_false(file):
    path = file(lines(*({"sentence": "a", "label": label} for label in (True, False, None))))
    assert [example.label for example in read_jsonl(path)] == ["true", "false", None]


@pytest.mark.parametrize(
    ("labels", "line", "what"),
    [
        (["x", "y", 1], 3, "the label is a number here, but a text in most records"),
        ([1, "1", 2], 2, "the label is a text here, but a number in most records"),
        ([True, None, 1, False], 3, "the label is a number here, but true or false in most"),
        (["yes", "no", None, True], 4, "the label is true or false here, but a text in most"),
    ],
)
def test_labels_of_two_kinds(labels, line, what, file):
    path = file(lines(*({"sentence": "a", "label": label} for label in labels)))
    fault = only_fault_of(read_jsonl, path)
    assert fault.line == line
    assert fault.what.startswith(what)
    assert f"{labels[line - 1]!r} here, {labels[0]!r} in line 1" in fault.found
    examples, _ = notes_of(read_jsonl, path, on_error="skip")
    assert len(examples) == len(labels) - 1


@pytest.mark.parametrize(
    "record",
    [
        {"text": "a b", "words": ["a", "b"], "class": "x", "tags": ["O", "O"]},
        {"sentence": "a b", "tokens": ["a", "b"], "category": "x", "ner_tags": ["O", "O"]},
        {"text": "a b", "sentence": None, "words": ["a", "b"], "label": "x", "tags": ["O", "O"]},
    ],
)
def test_fields_under_other_names(record, file):
    assert read_jsonl(file(lines(record))) == [TextExample("a b", ("a", "b"), "x", ("O", "O"))]


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ({"sentence": "ours"}, {"text": "other"}),
        ({"tokens": ["a", "b"]}, {"words": ["a b"]}),
        ({"label": "x"}, {"category": "y"}),
        ({"class": "x"}, {"category": "y"}),  # neither is ours
        ({"ner_tags": ["O"]}, {"tags": ["B-P"]}),
        ({"sentence1": "ours"}, {"anchor": "other"}),
        ({"sentence2": "ours"}, {"positive": "other"}),
        ({"score": 0.5}, {"similarity": 1}),
    ],
    ids=str,
)
@pytest.mark.parametrize("turn", [list, reversed])
def test_of_two_names_for_one_field_the_first_wins_and_the_other_is_noted(first, other, turn, file):
    """The first in the list of known names, wherever it stands in the record."""
    of_pairs = not first.keys().isdisjoint({"sentence1", "sentence2", "score"})
    read = read_pairs if of_pairs else read_jsonl
    record = {"sentence1": "a", "sentence2": "b"} if of_pairs else {"sentence": "a"}
    record |= {} if of_pairs else {"tokens": ["a"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        alone = read(file(lines(record | first)))
    examples, notes = notes_of(read, file(lines(dict(turn((record | first | other).items())))))
    assert examples == alone
    (name,) = other
    assert notes[0] == f"fields that are not read, and in how many records: {name!r} (1)"


def test_fields_that_nobody_reads_are_counted(file):
    path = file(
        lines({"sentence": "a", "Lable": "x", "id": 1}, {"sentence": "b", "id": 2}, {"text": "c"})
    )
    examples, notes = notes_of(read_jsonl, path)
    assert [example.label for example in examples] == [None] * 3
    assert notes == ["fields that are not read, and in how many records: 'id' (2), 'Lable' (1)"]


# --- JSON that is broken ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('{"sentence": "b"', "Expecting ',' delimiter"),
        ('{"sentence": "b', "Unterminated string"),
        ('{"sentence": "b"} {"sentence": "c"}', "Extra data"),
        ('{"sentence": "b"},', "Extra data"),
        ("{'sentence': 'b'}", "Expecting property name"),
        ("sentence", "Expecting value"),
        ('\ufeff{"sentence": "b"}', "Unexpected UTF-8 BOM"),
        (f'{{"sentence": "b", "more": {"[" * 100_000}', "nested too deeply"),
        ('{"sentence": "a\tb"}', "Invalid control character"),
    ],
)
def test_a_line_that_is_not_json(line, found, file):
    path = file(f'{{"sentence": "a"}}\n\n{line}\n{{"sentence": "z"}}\n')
    fault = only_fault_of(read_jsonl, path)
    assert (fault.what, fault.line) == ("the line is not JSON", 3)
    assert found in fault.found
    assert len(fault.found) < 200
    examples, _ = notes_of(read_jsonl, path, on_error="skip")
    assert [example.text for example in examples] == ["a", "z"]


@pytest.mark.parametrize("read", [read_jsonl, read_pairs])
@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ('[{"a": 1},\n{"a": },\n{"a": 2}]', 2, "Expecting value"),
        ('[{"a": 1},\n{"a": 1,\n\n"b" 2}]', 4, "Expecting ':' delimiter"),
        ('[{"a": 1}\n,{"a": 2}\n{"a": 3}]', 3, "a comma or ] is missing, at '{"),
        ('[{"a": 1},\n', 2, "Expecting value"),
        ('[{"a": 1},\n{"a": 2}', 2, "a comma or ] is missing, at ''"),
        ('[{"a": 1},\n]', 2, "Expecting value, at ']'"),
        ('[{"a": 1},\n{"a": "b', 2, "Unterminated string"),
        ('[{"a": 1}]\n\n{"a": 2}\n', 1, "there is something after the list"),
        ('[]\n[{"a": 1}]', 1, "there is something after the list"),
        ("[", 1, "Expecting value"),
        ('[{"a": 1},\n' + "[" * 100_000, 2, "nested too deeply"),
    ],
)
def test_an_array_that_is_not_json_is_read_up_to_there(read, text, line, found, file):
    path = file(text)
    (fault,) = [fault for fault in faults_of(read, path) if fault.what == "this is not JSON"]
    assert fault.line == line
    assert found in fault.found
    assert len(fault.found) < 150
    assert "what comes after it was not read" in fault.fix


def test_what_stands_before_the_fault_of_an_array_is_known_by_its_line(file):
    path = file('[\n{"sentence": "a"}, {"sentence": ""},\n\n{\n"sentence": 3},\n{"sentence": ]')
    assert [fault.line for fault in faults_of(read_jsonl, path)] == [2, 4, 6]
    examples, notes = notes_of(read_jsonl, path, on_error="skip")
    assert [example.text for example in examples] == ["a"]
    assert "bad records left out: 3" in notes[-1]


def test_where_the_reading_of_an_array_ended_is_said_even_if_skipped(file):
    """The first fault is another one, so that the note on bad records does not show the place."""
    path = file('[{"sentence": "a"}, {"sentence": ""},\n{"sentence": }, {"sentence": "lost"}]')
    examples, notes = notes_of(read_jsonl, path, on_error="skip")
    assert [example.text for example in examples] == ["a"]
    assert "the JSON is broken in line 2; what comes after it was not read" in notes


@pytest.mark.parametrize("as_array", [False, True])
def test_a_number_of_more_digits_than_python_reads(as_array, file):
    text = f'{{"sentence": "a", "n": {"1" * 5000}}}'
    text = f"[{text}]" if as_array else text
    for read, name in ((read_jsonl, "x.jsonl"), (read_squad, "x.jsonl"), (read_squad, "x.json")):
        fault = only_fault_of(read, file(text, name))
        assert "digits" in fault.found
        assert len(fault.found) < 300


# --- pairs of sentences -------------------------------------------------------------------------


@pytest.mark.parametrize("as_array", [False, True])
def test_pairs_with_and_without_a_score(as_array, file):
    records = [
        {"sentence1": "A dog.", "sentence2": "A hound.", "score": 0.75},
        {"anchor": "Rain", "positive": "Wet", "similarity": -1},
        {"sentence1": "Sun", "sentence2": "Light", "score": None},
        {"sentence2": "zwei", "sentence1": "eins"},
    ]
    path = file(json.dumps(records) if as_array else lines(*records))
    assert read_pairs(path) == [
        PairExample("A dog.", "A hound.", 0.75),
        PairExample("Rain", "Wet", -1),
        PairExample("Sun", "Light"),
        PairExample("eins", "zwei"),
    ]


@pytest.mark.parametrize(
    ("change", "what", "found"),
    [
        ({"score": "0.5"}, "the score of a pair is not a number", "'0.5'"),
        ({"score": "high"}, "the score of a pair is not a number", "'high'"),
        ({"score": True}, "the score of a pair is not a number", "True"),
        ({"score": [0.5]}, "the score of a pair is not a number", "[0.5]"),
        ({"score": float("nan")}, "the score of a pair", "nan"),
        ({"score": float("inf")}, "the score of a pair must lie between -1 and 1", "inf"),
        ({"score": 1.0001}, "the score of a pair must lie between -1 and 1", "1.0001"),
        ({"score": -2}, "the score of a pair must lie between -1 and 1", "-2"),
        ({"sentence1": ""}, 'there is no text "sentence1"', "''"),
        ({"sentence2": " \t"}, 'there is no text "sentence2"', "' \\t'"),
        ({"sentence2": None}, 'there is no text "sentence2"', "null, or no such field"),
        ({"sentence2": 7}, 'there is no text "sentence2"', "7"),
        ({"sentence1": "\ud800"}, "the text holds half a character", r"'\ud800'"),
        ({"sentence2": "\udfff"}, "the text holds half a character", r"'\udfff'"),
    ],
)
def test_a_bad_pair_is_named_by_its_line(change, what, found, file):
    good = {"sentence1": "a", "sentence2": "b", "score": 0.5}
    path = file(lines(good, good | change, good))
    fault = only_fault_of(read_pairs, path)
    assert fault.line == 2
    assert fault.what.startswith(what)
    assert found in fault.found
    examples, notes = notes_of(read_pairs, path, on_error="skip")
    assert examples == [PairExample("a", "b", 0.5)] * 2
    assert notes[0].startswith("bad records left out: 1")


def test_records_are_no_pairs(file):
    fault = only_fault_of(read_pairs, file(lines({"sentence": "a", "label": "x"})))
    assert fault.what == 'there is no text "sentence1"'
    assert '{"sentence1": "...", "sentence2": "...", "score": 0.8}' in fault.fix


def test_fields_of_pairs_that_nobody_reads_are_counted(file):
    path = file(lines({"sentence1": "a", "sentence2": "b", "label": 1, "idx": 4}))
    examples, notes = notes_of(read_pairs, path)
    assert examples == [PairExample("a", "b", 1)]
    assert notes == [
        '"label" is 0 or 1: read as the scores 0 (not the same) and 1',
        "fields that are not read, and in how many records: 'idx' (1)",
    ]


# --- questions one a line -----------------------------------------------------------------------


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
    assert empty.what == "the file gives no question with an answer"


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
    examples, notes = notes_of(
        read_squad, file(lines(answered, record | {"is_impossible": True}), "x.jsonl")
    )
    assert examples == [QAExample("1", "Who?", CONTEXT, (Answer("Luis", 18), Answer("Rosa", 37)))]
    assert notes == ["unanswerable questions left out: 1 (line 2)"]


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


# --- writing ------------------------------------------------------------------------------------

filled = st.text(min_size=1).filter(str.strip)


@st.composite
def questions(draw, contexts):
    context = draw(contexts)
    ends = st.integers(0, len(context))
    spans = draw(st.lists(st.tuples(ends, ends).map(sorted), max_size=3))
    answers = [Answer(context[a:b], a) for a, b in spans if context[a:b].strip()]
    return QAExample(draw(st.text()), draw(filled), context, answers or [Answer(context, 0)])


@pytest.mark.filterwarnings("ignore:.*ids that an earlier question already has")
@tmp_path_shared
@given(data=st.data())
def test_squad_round_trip(data, tmp_path):
    contexts = st.sampled_from(data.draw(st.lists(filled, min_size=1, max_size=2)))
    examples = data.draw(st.lists(questions(contexts), min_size=1, max_size=4))
    write_squad(examples, tmp_path / "x.json")
    assert read_squad(tmp_path / "x.json") == examples


def test_write_squad_groups_the_questions_of_a_context(tmp_path):
    contexts = ["a b", "a b", "c"]
    examples = [QAExample(c, "Q?", c, (Answer(c, 0),)) for c in contexts]
    write_squad(examples, tmp_path / "new" / "x.json")
    text = (tmp_path / "new" / "x.json").read_text()
    (article,) = json.loads(text)["data"]
    assert [len(paragraph["qas"]) for paragraph in article["paragraphs"]] == [2, 1]
    assert len(text.splitlines()) > 20


def test_write_jsonl(tmp_path):
    path = tmp_path / "x.jsonl"
    write_jsonl(
        [
            NERExample(("in", "Zürich\u2028"), ("O", "B-LOC")),
            QAExample("q1", "Who?", CONTEXT, (Answer("Luis", 18),)),
        ],
        path,
    )
    assert [json.loads(line) for line in path.read_text().strip("\n").split("\n")] == [
        {
            "sentence": "in Zürich\u2028",
            "tokens": ["in", "Zürich\u2028"],
            "ner_tags": ["O", "B-LOC"],
        },
        {
            "id": "q1",
            "question": "Who?",
            "context": CONTEXT,
            "answers": [{"text": "Luis", "answer_start": 18}],
        },
    ]


@st.composite
def labelled_texts(draw):
    """With tokens, as the reader makes them; label, tags, both or neither."""
    label = draw(st.none() | filled)
    example = draw(sentences())
    tags = draw(st.sampled_from([None, example.tags]))
    return TextExample(example.text, example.tokens, label, tags)


@tmp_path_shared
@given(examples=st.lists(labelled_texts(), min_size=1, max_size=4))
def test_records_round_trip(examples, tmp_path):
    write_jsonl(examples, tmp_path / "x.jsonl")
    assert read_jsonl(tmp_path / "x.jsonl") == examples


@tmp_path_shared
@given(text=filled)
def test_a_text_without_tokens_comes_back_with_its_words(text, tmp_path):
    write_jsonl([TextExample(text, label="x")], tmp_path / "x.jsonl")
    (example,) = read_jsonl(tmp_path / "x.jsonl")
    assert (example.text, example.label, example.tags) == (text, "x", None)
    assert "".join(example.tokens) == "".join(text.split())


scores = st.none() | st.floats(-1, 1) | st.integers(-1, 1)


@tmp_path_shared
@given(examples=st.lists(st.builds(PairExample, filled, filled, scores), min_size=1, max_size=4))
def test_pairs_round_trip(examples, tmp_path):
    write_jsonl(examples, tmp_path / "x.jsonl")
    assert read_pairs(tmp_path / "x.jsonl") == examples


@pytest.mark.filterwarnings("ignore:.*ids that an earlier question already has")
@tmp_path_shared
@given(examples=st.lists(questions(filled), min_size=1, max_size=3))
def test_questions_one_a_line_round_trip(examples, tmp_path):
    write_jsonl(examples, tmp_path / "x.jsonl")
    assert read_squad(tmp_path / "x.jsonl") == examples


@tmp_path_shared
@given(examples=st.lists(sentences(), min_size=1, max_size=3))
def test_sentences_written_as_records_keep_tokens_and_tags(examples, tmp_path):
    write_jsonl(examples, tmp_path / "x.jsonl")
    records = read_jsonl(tmp_path / "x.jsonl")
    assert [(r.text, r.tokens, r.tags, r.label) for r in records] == [
        (e.text, e.tokens, e.tags, None) for e in examples
    ]


SENTENCE = NERExample(("a", "b"), ("O", "B-P"))
TEXT = TextExample("a b", ("a", "b"), "x", ("O", "B-P"))
PAIR = PairExample("a", "b", 0.5)
QUESTION = QAExample("1", "Q?", "a b", (Answer("b", 2),))


@pytest.mark.filterwarnings("ignore:.*ids that an earlier question already has")
@pytest.mark.parametrize(
    ("example", "name", "read"),
    [
        (SENTENCE, "x.conll", read_conll),
        (QUESTION, "x.json", read_squad),
        (QUESTION, "x.JSONL", read_squad),
        (TEXT, "x.jsonl", read_jsonl),
        (PAIR, "x.jsonl", read_pairs),
    ],
)
def test_the_ending_names_the_format_that_is_written(example, name, read, tmp_path):
    write_examples([example, example], tmp_path / name)
    assert read(tmp_path / name) == [example, example]


@pytest.mark.parametrize(
    ("examples", "name", "fix"),
    [
        ([TEXT], "x.conll", "use the ending .jsonl"),
        ([PAIR], "x.json", "use the ending .jsonl"),
        ([QUESTION], "x.conll", "use the ending .json or .jsonl"),
        ([SENTENCE], "x.json", "use the ending .conll or .jsonl or .conllu"),
        ([SENTENCE], "x", "use the ending .conll or .jsonl or .conllu"),
        ([SENTENCE], "x.csv", "use the ending .conll or .jsonl or .conllu"),
        ([SENTENCE, PAIR], "x.conll", "use the ending .jsonl"),
        ([], "x.txt", "use the ending .conll or .json or .jsonl or .conllu"),
    ],
)
def test_an_ending_that_cannot_hold_the_examples_is_refused(examples, name, fix, tmp_path):
    with pytest.raises(ConfigError) as caught:
        write_examples(examples, tmp_path / name)
    (fault,) = caught.value.faults
    assert fault.fix == fix
    assert fault.found.startswith(f"the ending {Path(name).suffix!r}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", ["replace", "write_bytes"])
def test_failed_write_leaves_the_old_file_and_nothing_else(failing, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "x.conll"
    write_conll([NERExample(("old",), ("O",))], path)
    monkeypatch.setattr(os if failing == "replace" else Path, failing, fail)
    with pytest.raises(DataError, match="cannot be written") as caught:
        write_conll([NERExample(("new",), ("O",))], path)
    assert "No space left" in caught.value.faults[0].found
    assert os.listdir(tmp_path) == ["x.conll"]
    assert path.read_text() == "old\tO\n"


def test_write_under_a_file_as_if_it_were_a_folder(file):
    with pytest.raises(DataError, match="cannot be written"):
        write_jsonl([NERExample(("a",), ("O",))], file("x") / "y.jsonl")


# --- examples check themselves ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: TextExample("a b", (), "x", ("O", "O")), "a sentence needs at least one token"),
        (lambda: TextExample("Ann ran", tags=()), "a sentence needs at least one token"),
        (lambda: TextExample("a b", ("a", "b"), "x", ("O",)), "2 tokens but 1 tags"),
        (lambda: TextExample("a b", ("a", "b"), None, ("O", "I-P")), "tag 2 continues an entity"),
        (lambda: TextExample("a b", ("a", "b"), None, ("S-P", "O")), "tag 1 is not an IOB2 tag"),
        (lambda: TextExample("a b", ("a", "b"), None, ("B-P", "I-L")), "tag 2 continues"),
        (lambda: TextExample(" "), "the sentence is empty"),
        (lambda: TextExample(None), "the sentence is empty"),
        (lambda: TextExample("a", ("a", " ")), "a sentence needs at least one token"),
        (lambda: TextExample("a", (), ""), "the label is empty"),
        (lambda: TextExample("a", (), 3), "a label is a name"),
        (lambda: TextExample("a", ("a",), None, ("B-\ud800",)), "the text holds half a character"),
        (lambda: PairExample("a", "\n"), "the second sentence of a pair is empty"),
        (lambda: PairExample(3, "b"), "the first sentence of a pair is empty"),
        (lambda: PairExample("a", "b", True), "the score of a pair is not a number"),
        (lambda: PairExample("a", "b", -1.01), "the score of a pair must lie between -1 and 1"),
        (lambda: PairExample("a", "\udc00"), "the text holds half a character"),
    ],
)
def test_an_example_that_cannot_be_is_refused(make, what):
    with pytest.raises(DataError) as caught:
        make()
    (fault,) = caught.value.faults
    assert fault.what.startswith(what)
    assert fault.found
    assert fault.fix


def test_lists_of_tokens_and_tags_become_tuples():
    example = TextExample("a b", ["a", "b"], None, ["B-P", "I-P"])
    assert (example.tokens, example.tags) == (("a", "b"), ("B-P", "I-P"))
    assert hash(example) == hash(TextExample("a b", ("a", "b"), None, ("B-P", "I-P")))


def test_what_a_text_and_a_pair_are_made_of():
    assert TextExample("a, b", ("a,", "b")).inputs == [("a, b", None)]
    assert TextExample("a, b").inputs == [("a, b", None)]
    assert PairExample("a", "b").inputs == [("a", None), ("b", None)]
    assert (TextExample("a, b").group, PairExample("a", "b").groups) == (
        "a, b",
        ("a", "b"),
    )


# --- the hand-made data -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def handmade():
    with resources.as_file(resources.files("mtl.toy") / "handmade") as folder:
        return read_conll(folder / "ner.conll"), read_squad(folder / "qa.json")


def test_handmade_sentences(handmade):
    sentences, _ = handmade
    assert len({sentence.text for sentence in sentences}) >= 36
    kinds = {tag[2:] for sentence in sentences for tag in sentence.tags} - {""}
    assert kinds == {"PER", "ORG", "LOC", "MISC"}
    assert any(set(sentence.tags) == {"O"} for sentence in sentences)
    pairs = {pair for s in sentences for pair in zip(s.tags, s.tags[1:], strict=False)}
    assert ("B-PER", "B-PER") in pairs
    words = [token for sentence in sentences for token in sentence.tokens]
    assert not [word for word in words if word[-1] in ",.?!" and len(word) > 1]


def test_handmade_questions_ask_for_whole_words(handmade):
    _, questions = handmade
    assert len({(q.question, q.context) for q in questions}) >= 36
    assert len({q.id for q in questions}) == len(questions)
    assert any(q.context.count(q.answers[0].text) > 1 for q in questions)
    for question in questions:
        assert 2 <= question.context.count(". ") + 1 <= 5
        for answer in question.answers:
            around = (
                question.context[answer.start - 1 : answer.start] + question.context[answer.end]
            )
            assert not set(around) & set(string.ascii_letters + string.digits)


# --- found by trying ------------------------------------------------------------------------------


def squad_of(context):
    answers = [{"text": "Oslo", "answer_start": context.index("Oslo")}]
    qas = [{"id": "1", "question": "Where?", "answers": answers}]
    return {"data": [{"title": "t", "paragraphs": [{"context": context, "qas": qas}]}]}


def test_half_a_character_is_a_fault_of_its_question(tmp_path):
    path = tmp_path / "half.json"
    path.write_text(json.dumps(squad_of("Tom lives in Oslo \ud800.")))
    with pytest.raises(DataError, match="half a character"):
        read_squad(path)


def test_json_nested_too_deeply(tmp_path):
    path = tmp_path / "deep.json"
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match="nested too deeply"):
        read_squad(path)


def test_utf_16_is_named(tmp_path):
    path = tmp_path / "windows.conll"
    path.write_bytes("Ann\tB-PER\n".encode("utf-16"))
    with pytest.raises(DataError, match="iconv -f UTF-16"):
        read_conll(path)


def test_a_long_context_in_a_table(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text(f"context,question,answer\n{'word ' * 40_000}Oslo,Where?,Oslo\n")
    (example,) = read_squad(path)
    assert example.answers[0].start == 200_000
