"""Spans of annotation tools: to tags, with everything bent, left out or wrong told."""

import json
import warnings

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mtl.data.readers.records import read_jsonl
from mtl.data.words import split_words
from mtl.errors import DataError, DataWarning
from mtl.metrics import entity_spans

TEXT = "Ann Li met Bob in Oslo."
TAGS = ("B-P", "I-P", "O", "B-P", "O", "B-L", "O")
SPANS = [(0, 6, "P"), (11, 14, "P"), (18, 22, "L")]


@pytest.fixture
def read(tmp_path):
    """The examples of records, and the notes about them."""

    def read(*records, **options):
        path = tmp_path / "x.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            examples = read_jsonl(path, **options)
        notes = [str(warning.message).removeprefix(f"{path}: ") for warning in caught]
        return examples, [note for note in notes if not note.startswith("fields that are not read")]

    return read


def fault_of(read, *records):
    with pytest.raises(DataError) as caught:
        read(*records)
    (fault,) = caught.value.faults
    assert fault.fix
    return fault


def labelled(start="start", end="end", kind="label"):
    return [{start: s, end: e, kind: k} for s, e, k in SPANS]


def label_studio(*annotations, **data):
    return {"id": 1, "data": data or {"text": TEXT}, "annotations": list(annotations)}


RESULTS = [
    {"type": "labels", "value": {"start": s, "end": e, "text": TEXT[s:e], "labels": [k]}}
    for s, e, k in SPANS
]


@pytest.mark.parametrize(
    "record",
    [
        {"text": TEXT, "label": [list(span) for span in SPANS]},
        {"text": TEXT, "labels": [list(span) for span in SPANS], "Comments": []},
        {"text": TEXT, "entities": labelled("start_offset", "end_offset"), "relations": []},
        {"text": TEXT, "spans": labelled(), "answer": "accept"},
        {"text": TEXT, "spans": labelled(), "tokens": [{"text": "Ann", "start": 0, "end": 3}]},
        {"text": TEXT, "ents": labelled()},
        {"text": TEXT, "entities": labelled(kind="type")},
        {"text": TEXT, "entities": [s | {"value": "other"} for s in labelled(kind="entity")]},
        {"text": TEXT, "entities": [s | {"word": "ann"} for s in labelled(kind="entity_group")]},
        {"text": TEXT, "annotation": [[k, s, e] for s, e, k in SPANS]},
        {
            "text": TEXT,
            "spans": [{"start": s * 1.0, "end": str(e), "label": k} for s, e, k in SPANS],
        },
        {
            "content": TEXT,
            "annotation": [
                {"label": [k], "points": [{"start": s, "end": e - 1, "text": TEXT[s:e]}]}
                for s, e, k in SPANS
            ],
        },
        {
            "text": TEXT,
            "slots": {"P": [{"span": [0, 6]}, {"span": [11, 14]}], "L": {"span": [18, 22]}},
        },
        {"text": TEXT, "label": [s | {"labels": [s["label"]]} for s in labelled()], "annotator": 1},
        [TEXT, {"entities": SPANS}],
        label_studio({"result": RESULTS}),
        label_studio({"result": RESULTS}, review=TEXT),
        label_studio({"was_cancelled": True, "result": []}, {"result": RESULTS}),
        {"data": {"text": TEXT}, "completions": [{"result": RESULTS}]},
    ],
    ids=lambda record: json.dumps(record)[:60],
)
def test_spans_of_many_tools(record, read):
    (example, other), notes = read(record, record)
    assert example == other
    assert (example.text, example.tags, notes) == (TEXT, TAGS, [])
    assert example.tokens == tuple(TEXT[s:e] for s, e in split_words(TEXT))


@pytest.mark.parametrize(
    "spans",
    [
        {"tokenized_text": TEXT[:-1].split(), "ner": [[0, 1, "P"], [3, 3, "P"], [5, 5, "L"]]},
        {"tokens": TEXT[:-1].split(), "entities": [[0, 1, "P"], [3, 3, "P"], [5, 5, "L"]]},
        {
            "tokens": TEXT[:-1].split(),
            "entities": [
                {"start": s, "end": e, "type": k}
                for s, e, k in ((0, 2, "P"), (3, 4, "P"), (5, 6, "L"))
            ],
        },
    ],
    ids=["GLiNER", "last token", "SpERT"],
)
def test_spans_of_tokens(spans, read):
    (example,), notes = read(spans)
    assert (example.tags, notes) == (TAGS[:-1], [])


def test_a_text_without_spans_is_tagged_and_one_that_says_nothing_is_not(read):
    examples, _ = read(
        {"text": "Ann ran", "label": [[0, 3, "P"]]},
        {"text": "no one", "label": []},
        {"text": "who knows", "label": None},
    )
    assert [example.tags for example in examples] == [("B-P", "O"), ("O", "O"), None]


def test_what_an_annotator_rejects_is_left_out_and_counted(read):
    ann = {"text": "Ann ran", "spans": [{"start": 0, "end": 3, "label": "P"}]}
    examples, notes = read(
        ann | {"answer": "accept"},
        ann | {"answer": "reject"},
        ann | {"answer": "ignore"},
        {"text": "no one", "answer": "accept"},
    )
    assert [example.tags for example in examples] == [("B-P", "O"), ("O", "O")]
    assert notes == [
        'records whose answer is "reject", which are left out: 1',
        'records whose answer is "ignore", which are left out: 1',
    ]


def test_of_several_annotators_the_first_is_read_and_it_is_told(read):
    _, notes = read(label_studio({"result": RESULTS}, {"result": []}))
    assert notes == ["texts with several annotations, of which only the first is read: 1"]
    (example, _), notes = read(label_studio(), label_studio({"result": RESULTS}))
    assert example.tags is None
    assert notes == ["texts without an annotation, or with a cancelled one: 1"]


def test_choices_of_tools_are_labels(read):
    choice = {"type": "choices", "value": {"choices": ["x"]}}
    prodigy = {"text": "a", "options": [{"id": "x"}, {"id": "y"}], "accept": ["x"]}
    for record in (
        label_studio({"result": [choice]}, text="a"),
        prodigy | {"answer": "accept"},
        ["a", {"cats": {"x": 1.0, "y": 0.0}}],
    ):
        (example, _), _ = read(record, record)
        assert (example.text, example.label, example.tags) == ("a", "x", None)


def test_a_border_inside_a_word_takes_the_whole_word(read):
    (example,), notes = read({"text": "Oslo's mayors", "label": [[0, 3, "L"], [8, 13, "X"]]})
    assert example.tags == ("B-L", "O", "O", "B-X")
    assert notes == ["spans that begin or end inside a word, which take the whole word: 2"]


def test_outer_blanks_of_a_span_are_not_worth_a_note(read):
    (example,), notes = read({"text": " Ann  ran", "label": [[0, 6, "P"]]})
    assert (example.tags, notes) == (("B-P", "O"), [])


def test_spans_inside_others_are_inner_entities_and_the_tags_are_of_the_outermost(read):
    text = "University of Oslo hospital"
    spans = [[14, 18, "LOC"], [0, 27, "ORG"], [0, 18, "ORG"], [14, 18, "LOC"]]
    (example,), notes = read({"text": text, "label": spans})
    assert example.tags == ("B-ORG", "I-ORG", "I-ORG", "I-ORG")
    assert example.inner == (("ORG", 0, 3), ("LOC", 2, 3))  # the second LOC is the same entity
    assert example.entities == [("ORG", 0, 4), *example.inner]
    assert notes == []


def test_a_span_that_crosses_another_is_a_fault_of_its_record(read):
    crossing, good = ({"text": "a b c", "label": [[2, 5, "Y"], [0, last, "X"]]} for last in (3, 1))
    fault = fault_of(read, crossing)
    assert fault.what.startswith("an entity crosses another")
    assert (fault.line, fault.found) == (1, "'a b (X)' and 'b c (Y)'")
    (example,), notes = read(good, crossing, on_error="skip")
    assert example.tags == ("B-X", "B-Y", "I-Y")
    assert notes[0].startswith("bad records left out: 1")


def test_of_neighbours_that_share_a_word_the_longest_counts_then_the_first(read):
    (example,), notes = read({"text": "run 12km a day", "label": [[6, 8, "U"], [0, 6, "N"]]})
    assert (example.tags, example.inner) == (("B-N", "I-N", "O", "O"), ())
    assert "spans that share a word with a longer one, which are left out: 1" in notes
    (example,), _ = read({"text": "12km", "label": [[2, 4, "U"], [0, 2, "N"]]})
    assert (example.tags, example.inner) == (("B-N",), ())


def test_a_span_of_blanks_is_left_out_and_counted(read):
    (example,), notes = read({"text": "a  b", "label": [[1, 3, "X"]]})
    assert (example.tags, notes) == (
        ("O", "O"),
        ["spans without a word in them, which are left out: 1"],
    )


@pytest.mark.parametrize(
    ("text", "start", "unit"),
    [("😀 Ann ran", 3, "UTF-16 units"), ("é Ann ran", 3, "bytes"), ("Ann ran", 1, "character 0")],
)
def test_a_text_that_is_not_at_its_offsets_is_a_fault_with_a_guess(text, start, unit, read):
    span = {"start": start, "end": start + 3, "label": "P", "text": "Ann"}
    fault = fault_of(read, {"text": text, "spans": [span]})
    assert (fault.what, fault.line) == ("a span's text is not at its offsets", 1)
    assert "the file says 'Ann'" in fault.found
    assert unit in fault.fix


@pytest.mark.parametrize("text", ["😀 Ann ran", "e\u0301 Ann", "é Ann"])
def test_offsets_count_characters(text, read):
    start = text.index("Ann")
    (example,), _ = read({"text": text, "label": [[start, start + 3, "P"]]})
    assert example.tags[1] == "B-P"
    assert set(example.tags) == {"B-P", "O"}


@pytest.mark.parametrize(
    ("span", "what"),
    [
        ([3, 0, "P"], "a span ends before it begins"),
        ([3, 3, "P"], "a span ends before it begins"),
        ([0, 8, "P"], "a span leaves the text"),
        ([-3, 2, "P"], "a span leaves the text"),
        ([0, 3, " "], "a span has no type"),
        ({"start": 0, "end": 3}, "a span has no type"),
        ({"start": 0.5, "end": 3, "label": "P"}, "a span's start and end are not whole numbers"),
        ({"start": None, "end": 3, "label": "P"}, '"label" holds something that is not a span'),
        ({"start": 0, "label": "P"}, '"label" holds something that is not a span'),
        ([0, 3], '"label" holds something that is not a span'),
    ],
    ids=str,
)
def test_spans_that_cannot_be(span, what, read):
    good = {"text": "Ann ran", "label": [[0, 3, "P"]]}
    fault = fault_of(read, good, {"text": "Ann ran", "label": [span]}, good)
    assert (fault.what, fault.line) == (what, 2)
    assert fault.found
    assert len(read(good, {"text": "Ann ran", "label": [span]}, on_error="skip")[0]) == 1


def test_token_spans_that_leave_the_tokens(read):
    fault = fault_of(read, {"tokenized_text": ["a", "b"], "ner": [[0, 2, "P"]]})
    assert fault.found == "P from 0 to 2, of 2 tokens"


words = st.text("ab é😀王ก-.", min_size=1, max_size=25).filter(str.strip)


@given(data=st.data(), text=words)
def test_spans_on_words_come_back_as_entities(tmp_path_factory, data, text):
    """Whatever the script: spans that do not share words are the entities of the tags."""
    places = split_words(text)
    assume(places)
    borders = data.draw(
        st.lists(st.integers(0, len(places)), unique=True, max_size=6).map(sorted), label="borders"
    )
    chosen = list(zip(borders[::2], borders[1::2], strict=False))
    spans = [[places[a][0], places[b - 1][1], "XY"[a % 2]] for a, b in chosen]
    path = tmp_path_factory.mktemp("spans") / "x.jsonl"
    records = [{"text": text, "label": spans}, {"text": "z", "label": [[0, 1, "Z"]]}]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    example = read_jsonl(path)[0]
    found = [(k, a, b) for k, a, b in entity_spans(example.tags)]
    assert found == [("XY"[a % 2], a, b) for a, b in chosen]


def test_character_spans_do_not_care_what_the_tokens_are(read):
    record = {"text": "Ann's cat", "tokens": ["Ann", "'s cat"], "spans": [[0, 3, "P"]]}
    (example,), _ = read(record)
    assert example.tokens == ("Ann", "'", "s", "cat")
    assert example.tags == ("B-P", "O", "O", "O")


def test_spans_of_tokens_stay_spans_of_tokens_beside_a_text(read):
    record = {
        "text": "Ann's cat",
        "tokens": ["Ann", "'s", "cat"],
        "ner": [[0, 0, "P"], [2, 2, "A"]],
    }
    (example,), _ = read(record)
    assert (example.tokens, example.tags) == (("Ann", "'s", "cat"), ("B-P", "O", "B-A"))


@pytest.mark.parametrize("tags", [5, {"topic": 1}, "news", [1, 2, 3], ["B-P"]])
def test_where_there_are_spans_a_field_of_tags_is_not_read(read, tags):
    record = {"text": TEXT, "spans": [{"start": s, "end": e, "label": k} for s, e, k in SPANS]}
    (example,), notes = read(record | {"tags": tags})
    assert example.tags == TAGS
    assert not notes
