"""JSON records of texts with labels and tags; bad ones say what is wrong and where."""

import json
import warnings
from functools import partial

import pytest
import reading
from hypothesis import given
from hypothesis import strategies as st
from reading import faults_of, lines, notes_of, only_fault_of, tmp_path_shared

from mtl.data.examples import TextExample
from mtl.data.readers import read_jsonl, read_pairs, read_squad
from mtl.errors import DataWarning

# pytest looks for a fixture by its name in this module.
file = reading.file


# --- JSON records ---------------------------------------------------------------------------------

WORDS_NOTE = "ner_tags count words and punctuation marks in {} records"
BLANKS_NOTE = "ner_tags count words between blanks in {} records"


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
    assert notes[2].startswith("in plain text, punctuation marks are separate words")


def test_tokens_that_do_not_spell_the_sentence_are_noted(file):
    records = [
        {"sentence": "John lives here.", "tokens": ["John", "lives", "here", "."]},
        {"sentence": "John lives here.", "tokens": ["quite", "different"]},
    ]
    examples, notes = notes_of(read_jsonl, file(json.dumps(records)))
    assert examples[1].tokens == ("quite", "different")
    (note,) = notes
    assert note.startswith("tokens that do not spell the sentence in 1 records, first at line 1")
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
    assert fault.what == "the file holds no record with a sentence"
    assert "bad records left out: 2" in fault.found
    assert only_fault_of(read_jsonl, file("[ ]")).what == "the file holds no record with a sentence"


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


# --- JSON that is broken --------------------------------------------------------------------------


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
    assert "the JSON is broken on line 2; what comes after it was not read" in notes


@pytest.mark.parametrize("as_array", [False, True])
def test_a_number_of_more_digits_than_python_reads(as_array, file):
    text = f'{{"sentence": "a", "n": {"1" * 5000}}}'
    text = f"[{text}]" if as_array else text
    for read, name in ((read_jsonl, "x.jsonl"), (read_squad, "x.jsonl"), (read_squad, "x.json")):
        fault = only_fault_of(read, file(text, name))
        assert "digits" in fault.found
        assert len(fault.found) < 300
