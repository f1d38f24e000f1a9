"""JSON of any form: what it is called, and what is read from it, in files and in memory."""

import json
import warnings
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtl.data.dataset import Dataset
from mtl.data.examples import Answer, NERExample, PairExample, QAExample, TextExample
from mtl.data.readers.json_forms import as_examples, json_form
from mtl.errors import DataError, DataWarning
from mtl.inference import evaluate
from mtl.tasks.classification import ClassificationTask

CONTEXT = "Rosa sells cheese. Luis buys it."


@pytest.fixture
def file(tmp_path):
    def write(content, name="x.txt"):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_bytes(text.encode())
        return tmp_path / name

    return write


def lines(*records):
    return "".join(json.dumps(record) + "\n" for record in records)


def read(path, **options):
    """The form's name, the examples, and what the reader says."""
    name, reader = json_form(path.read_text(encoding="utf-8-sig"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DataWarning)
        examples = reader(path, **options)
    return name, examples, [str(w.message).removeprefix(f"{path}: ") for w in caught]


def faults_of(path, **options):
    with pytest.raises(DataError) as caught:
        read(path, **options)
    return caught.value.faults


# --- where the records stand ----------------------------------------------------------------------

RECORDS = [{"text": "Ann ran", "label": "x"}, {"text": "Bob swam", "label": "y"}]
TEXTS = [TextExample("Ann ran", ("Ann", "ran"), "x"), TextExample("Bob swam", ("Bob", "swam"), "y")]
LAYOUTS = {
    "list": json.dumps(RECORDS),
    "lines": lines(*RECORDS),
    "lines of Windows": "\ufeff" + lines(*RECORDS).replace("\n", "\r\n"),
    "lines with gaps": "\n\n" + lines(*RECORDS).replace("\n", "\n\n"),
    "one after the other": "\n".join(json.dumps(r, indent=2) for r in RECORDS),
    "data": json.dumps({"version": 1, "data": RECORDS}, indent=1),
    "examples": json.dumps({"examples": RECORDS, "meta": {"n": 2}}),
    "rasa": json.dumps({"rasa_nlu_data": {"common_examples": RECORDS, "lookup_tables": []}}),
    "viewer": json.dumps({"rows": [{"row_idx": i, "row": r} for i, r in enumerate(RECORDS)]}),
    "pandas": json.dumps({k: {str(i): r[k] for i, r in enumerate(RECORDS)} for k in RECORDS[0]}),
    "pandas split": json.dumps(
        {"columns": ["text", "label"], "index": [0, 1], "data": [list(r.values()) for r in RECORDS]}
    ),
    "columns": json.dumps({key: [r[key] for r in RECORDS] for key in RECORDS[0]}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_records_are_found_however_they_stand(layout, file):
    name, examples, notes = read(file(LAYOUTS[layout]))
    assert (name, examples, notes) == ("JSON records", TEXTS, [])


def test_records_inside_an_object_are_known_by_their_lines(file):
    broken = [{"text": "a"}, {"text": ""}, {"text": "b"}, {"label": "x"}]
    text = json.dumps({"version": [1, {"data": []}], "data": broken}, indent=0)
    lines_of_records = [
        n for n, line in enumerate(text.splitlines(), 1) if line == "{" and n > text.count("data")
    ]
    faults = faults_of(file(text))
    assert [fault.line for fault in faults] == [lines_of_records[-3], lines_of_records[-1]]


def test_a_single_record_of_tokens_is_no_table(file):
    _, examples, _ = read(file({"tokens": ["Ann", "ran"], "ner_tags": ["B-P", "O"]}))
    assert examples == [TextExample("Ann ran", ("Ann", "ran"), None, ("B-P", "O"))]


def test_a_file_with_several_splits_is_refused(file):
    (fault,) = faults_of(file({"train": RECORDS, "test": RECORDS}))
    assert fault.what == "the file holds several splits"
    assert "a file of its own" in fault.fix


@pytest.mark.parametrize(
    ("text", "line", "found"),
    [
        ('{\n "data": [\n  {"text": "a"}\n  {"text": "b"}\n ]\n}', 4, "Expecting ',' delimiter"),
        ('{"text": "a",\n "label": }', 2, "Expecting value"),
        ("[{'text': 'a'}]", 1, "Expecting property name"),
        ('{"a":' * 100_000, 1, "nested too deeply"),
        ("[" * 100_000, 1, "nested too deeply"),
    ],
)
def test_broken_json_is_called_broken_json(text, line, found, file):
    (fault,) = faults_of(file(text))
    assert (fault.what, fault.line) == ("this is not JSON", line)
    assert found in fault.found


def test_single_quotes_are_explained(file):
    (fault,) = faults_of(file("{'text': 'a'}\n{'text': 'b'}\n"))
    assert "json.dumps" in fault.fix


@pytest.mark.parametrize("text", ["[ O\nAnn B-PER\n", "{ O\n} O\n", "a\tb\n", "( O\n", "[ [ O\n"])
def test_columns_are_no_json(text):
    assert json_form(text) is None


ANN = {"text": "Ann ran", "spans": [{"start": 0, "end": 3, "label": "P"}]}


@pytest.mark.parametrize(
    ("records", "name"),
    [
        ([{"question": "Q", "context": CONTEXT, "answer": "Luis"}], "JSON questions"),
        ([{"context": CONTEXT, "qas": []}], "SQuAD JSON"),
        ([{"premise": "a", "hypothesis": "b"}], "JSON pairs of sentences"),
        ([["a", "b"], ["c", "d"]], "JSON pairs of sentences"),
        ([{"question": "a", "sentence": "b", "label": 1}], "JSON pairs of sentences"),
        ([["Ann", {"entities": [[0, 3, "P"]]}]] * 2, "JSON records of spaCy"),
        ([{"tokenized_text": ["Ann"], "ner": [[0, 0, "P"]]}], "JSON records of GLiNER"),
        ([ANN | {"_input_hash": 3}], "JSON records of Prodigy"),
        ([{"data": {"text": "Ann"}, "annotations": []}], "JSON records of Label Studio"),
        ([ANN], "JSON records with spans"),
        ([{"text": "Ann", "label": [[0, 3, "P"]]}], "JSON records with spans"),
        ([{"text": "Ann", "label": "x"}], "JSON records"),
        ([{"tokens": ["Ann"], "ner_tags": ["O"]}], "JSON records"),
    ],
)
def test_the_form_has_a_name(records, name):
    assert json_form(json.dumps(records))[0] == name
    assert json_form(lines(*records))[0] == name


# --- tokens, tags and labels as numbers -----------------------------------------------------------


def test_tags_that_are_numbers_need_names(file):
    path = file(lines({"id": 1, "words": ["Ann", "ran"], "ner_tags": [3, 0]}))
    (fault,) = faults_of(path)
    assert fault.found == "the numbers 0, 3"
    assert 'label_names = ["O", "B-PER"' in fault.fix
    _, (example,), _ = read(path, label_names=["O", "B-ORG", "I-ORG", "B-PER"])
    assert example.tags == ("B-PER", "O")
    (fault,) = faults_of(path, label_names=["O", "B-PER"])
    assert fault.found == "the numbers 0, 3, and 2 names"


def test_numbers_are_named_by_the_features_in_the_file(file):
    kind = {"feature": {"names": ["O", "B-P"], "_type": "ClassLabel"}, "_type": "Sequence"}
    rows = [{"row_idx": 0, "row": {"tokens": ["Ann", "ran"], "ner_tags": [1, 0]}}]
    _, (example,), _ = read(file({"features": [{"name": "ner_tags", "type": kind}], "rows": rows}))
    assert example.tags == ("B-P", "O")


def test_labels_that_are_numbers_may_have_names(file):
    path = file(lines(*({"text": "a", "label": n} for n in (0, 2, -1))))
    _, examples, _ = read(path, label_names=["bad", "so so", "good"])
    assert [example.label for example in examples] == ["bad", "good", None]
    (fault,) = faults_of(path, label_names=["bad", "good"])
    assert (fault.line, fault.what) == (2, "the label is a number without a name")


def test_tokens_alone_make_the_text(file):
    _, examples, _ = read(
        file(lines({"tokens": ["王", "小", "明"], "tags": ["B-P", "I-P", "I-P"]}))
    )
    assert examples[0].text == "王小明"


def test_tags_that_break_the_scheme_are_repaired_and_counted(file):
    path = file(
        lines(
            {"tokens": ["a", "b"], "ner_tags": ["B-P", "I-P"]},
            {"tokens": ["a", "b"], "ner_tags": ["O", "I-P"]},
        )
    )
    _, examples, (note,) = read(path)
    assert examples[1].tags == ("O", "B-P")
    assert "read as conlleval reads them: 1 (the first at line 2: I-P after O)" in note
    assert [fault.line for fault in faults_of(path, strict=True)] == [2]


@pytest.mark.parametrize("tags", ["PER O LOC", "B_PER O B_LOC", "PER-B O LOC-B", "U-PER O U-LOC"])
def test_tags_in_other_spellings(tags, file):
    _, (example,), _ = read(file(lines({"tokens": ["a", "b", "c"], "tags": tags.split()})))
    assert example.tags == ("B-PER", "O", "B-LOC")


# --- several fields -------------------------------------------------------------------------------

SEVERAL = [
    {"text": "a", "intent": "go", "label": "pos", "sentiment": 1},
    {"text": "b", "intent": "stop", "label": "neg", "sentiment": 0},
]


def test_of_several_labels_one_is_read_and_the_key_for_others_is_told(file):
    _, examples, notes = read(file(lines(*SEVERAL)))
    assert [example.label for example in examples] == ["pos", "neg"]
    assert "'intent', 'sentiment' may be labels too: tasks.NAME.field = \"intent\"" in notes[-1]


def test_named_fields_are_kept(file):
    _, examples, notes = read(file(lines(*SEVERAL)), fields=("intent", "sentiment"))
    assert examples[0].fields == {"intent": "go", "sentiment": "1"}
    assert not notes


def test_a_field_that_no_record_has_is_named_with_those_there_are(file):
    (fault,) = faults_of(file(lines(*SEVERAL)), fields=("intnt",))
    assert fault.what == "no record has the field 'intnt'"
    assert fault.found == "the fields 'text', 'intent', 'label', 'sentiment'"
    assert 'did you mean "intent"' in fault.fix


def test_another_field_is_the_label_where_there_is_no_label(file):
    _, examples, _ = read(file(lines({"text": "a", "intent": "go"})))
    assert examples[0].label == "go"


def test_a_label_alone_in_a_list_is_a_label(file):
    _, examples, _ = read(file(lines({"text": "a", "label": ["x"]}, {"text": "b", "label": []})))
    assert [example.label for example in examples] == ["x", None]


# --- in memory ------------------------------------------------------------------------------------


def test_examples_stay_what_they_are():
    examples = [NERExample(("a",), ("O",)), TextExample("b", label="x")]
    assert as_examples(examples) == examples
    assert as_examples([]) == []


def test_dicts_of_every_kind_become_examples():
    assert as_examples(RECORDS) == TEXTS
    question = {"id": "1", "question": "Who?", "context": CONTEXT, "answer": "Luis"}
    assert as_examples([question]) == [QAExample("1", "Who?", CONTEXT, (Answer("Luis", 19),))]
    pair = {"sentence1": "a", "sentence2": "b", "score": 0.5}
    assert as_examples([pair]) == [PairExample("a", "b", 0.5)]
    assert as_examples({"text": ["Ann ran", "Bob swam"], "label": ["x", "y"]}) == TEXTS


def test_faults_of_dicts_are_named_by_their_number():
    with pytest.raises(DataError) as caught:
        as_examples([*RECORDS, {"label": "x"}])
    assert str(caught.value).startswith('the records: there is no text "sentence" (record 3)')


class Frame:
    """What we use of a pandas frame, which need not be installed."""

    columns = ("text", "label")

    def to_dict(self, orient):
        assert orient == "records"
        return [RECORDS[0], {"text": "Bob swam", "label": float("nan")}]


def test_a_frame_like_that_of_pandas():
    assert as_examples(Frame()) == [TEXTS[0], TextExample("Bob swam", ("Bob", "swam"))]


def test_a_pandas_frame():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame([*RECORDS, {"text": "Bob", "label": None}])
    assert as_examples(frame) == [*TEXTS, TextExample("Bob", ("Bob",))]
    numbers = pandas.DataFrame({"text": ["a", "b", "c"], "label": [1, 0, None]})
    assert [example.label for example in as_examples(numbers)] == ["1", "0", None]


class Table(list):
    """What we use of a `datasets.Dataset`, which need not be installed: rows and `features`."""


def test_a_dataset_like_that_of_the_datasets_library():
    names = SimpleNamespace(names=["O", "B-P"])
    table = Table([{"tokens": ["Ann", "ran"], "ner_tags": [1, 0], "label": 1}])
    table.features = {
        "tokens": SimpleNamespace(feature=SimpleNamespace(dtype="string")),
        "ner_tags": SimpleNamespace(feature=names),
        "label": SimpleNamespace(names=["bad", "good"]),
    }
    assert as_examples(table) == [TextExample("Ann ran", ("Ann", "ran"), "good", ("B-P", "O"))]


@given(st.lists(st.sampled_from(RECORDS), min_size=1, max_size=5))
def test_records_in_memory_are_read_as_in_a_file(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("records") / "x.jsonl"
    path.write_text(lines(*records))
    assert as_examples(records) == json_form(path.read_text())[1](path)


def test_tuples_of_spacy_become_examples():
    data = [("Ann ran", {"entities": [(0, 3, "P")]}), ("Bob", {"entities": []})]
    assert [example.tags for example in as_examples(data)] == [("B-P", "O"), ("O",)]


# --- in a dataset ---------------------------------------------------------------------------------


def test_a_dataset_takes_dicts_and_frames_wherever_it_takes_examples():
    dataset = Dataset(train=RECORDS, validation=Frame(), test=TEXTS)
    assert dataset.train == TEXTS
    assert dataset.validation[0] == TEXTS[0]
    assert dataset.test is TEXTS


def test_dicts_are_trained_and_scored_on_with_any_field(build_model):
    records = [
        {"text": f"{('Bob', 'Oslo')[i % 2]} {i}", "label": "xy"[i % 2], "room": "ab"[i // 2 % 2]}
        for i in range(12)
    ]
    dataset = Dataset(train=records)
    tasks = [ClassificationTask("one", dataset), ClassificationTask("two", dataset, field="room")]
    assert [task.labels for task in tasks] == [["x", "y"], ["a", "b"]]
    model = build_model(tasks)
    for task in ("one", "two"):
        assert evaluate(model, task, records) == evaluate(model, task, dataset.train)


def test_deeply_nested_dicts_are_a_fault_of_their_record():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(DataError) as caught:
        as_examples([RECORDS[0], {"text": "a", "label": deep}])
    assert str(caught.value).startswith("the records: lists or objects are nested too deeply (reco")
    while deep:  # or Python takes them apart by recursion
        deep = deep.pop()
