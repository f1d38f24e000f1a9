"""Several labels of a text in every form of file, and what is said about them."""

import json

import pytest

import mtl
from mtl.data.examples import TextExample, labels_in
from mtl.data.readers import read, write_jsonl
from mtl.errors import DataError, DataWarning

pytestmark = pytest.mark.filterwarnings("ignore::mtl.errors.DataWarning")


@pytest.fixture
def file(tmp_path):
    def write(content, name="data.txt"):
        if not isinstance(content, str):
            content = "".join(f"{json.dumps(record)}\n" for record in content)
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return path

    return write


def labels(path, **options):
    return [labels_in(example) for example in read(path, **options)]


def faults(path, **options):
    with pytest.raises(DataError) as caught:
        read(path, **options)
    return caught.value.faults


# --- examples -------------------------------------------------------------------------------------


def test_what_an_example_says_in_a_field():
    example = TextExample("a", label="x", fields={"one": "y", "two": ("y", "z"), "none": ()})
    fields = ("", "one", "two", "none", "other")
    assert [labels_in(example, f) for f in fields] == [("x",), ("y",), ("y", "z"), (), None]
    assert labels_in(TextExample("a", labels=["x", "y"])) == ("x", "y")
    assert labels_in(TextExample("a", labels=())) == ()
    assert labels_in(TextExample("a")) is None


@pytest.mark.parametrize("labels", ["joy", ("x", "x"), ("x", ""), ("x", 1)])
def test_labels_that_cannot_be(labels):
    with pytest.raises(DataError):
        TextExample("a", labels=labels)


# --- records --------------------------------------------------------------------------------------


def test_a_list_holds_all_labels_and_null_says_nothing(file):
    said = [["x", "y"], ["x"], [], None, "y"]
    records = [{"text": f"t {i}", "labels": label} for i, label in enumerate(said)]
    examples = read(file(records))
    assert [labels_in(e) for e in examples] == [("x", "y"), ("x",), (), None, ("y",)]
    assert {e.label for e in examples} == {None}


def test_lists_of_at_most_one_label_are_both(file):
    examples = read(file([{"text": "a", "labels": ["x"]}, {"text": "b", "labels": []}]))
    assert [(e.label, e.labels) for e in examples] == [("x", ("x",)), (None, ())]


def test_a_named_field_may_hold_several(file):
    records = [{"text": "a", "intents": ["x", "y"], "mood": "up"}, {"text": "b", "intents": []}]
    examples = read(file(records), fields=["intents", "mood"])
    assert [dict(e.fields) for e in examples] == [
        {"intents": ("x", "y"), "mood": "up"},
        {"intents": ()},
    ]


def test_labels_and_slots_of_one_text(file):
    """As NLU++ has them; a slot without a value is none."""
    slots = {"who": {"text": "Ann", "span": [0, 3]}, "when": None}
    (example,) = read(file([{"text": "Ann ran", "intents": ["a", "b"], "slots": slots}]))
    assert (example.labels, example.tags) == (("a", "b"), ("B-who", "O"))


def test_as_many_labels_as_tokens_are_no_tags_if_most_records_have_others(file):
    records = [
        {"tokens": ["so", "nice"], "labels": ["joy", "love"]},
        {"tokens": ["oh", "no", "not", "that"], "labels": ["fear", "anger"]},
        {"tokens": ["thank", "you", "all"], "labels": ["joy"]},
    ]
    assert labels(file(records)) == [("joy", "love"), ("fear", "anger"), ("joy",)]


def test_numbers_of_records_have_names_and_every_fault_its_line(file):
    records = [{"text": "a", "labels": [0, 2]}, {"text": "b", "labels": [-1]}]
    path = file(records)
    assert labels(path) == [("0", "2"), ("-1",)]
    assert labels(path, label_names=["x", "y", "z"]) == [("x", "z"), None]
    bad = [
        {"text": "c", "labels": [3]},
        {"text": "d", "labels": ["x"]},
        {"text": "e", "labels": [1]},
    ]
    found = faults(file(records + bad), label_names=["x", "y", "z"])
    assert [fault.line for fault in found] == [3, 4]
    assert "the label is a number without a name" in found[0].what


def test_a_label_that_is_there_twice_counts_once_and_is_told(file):
    with pytest.warns(DataWarning, match="records that name a label twice.*: 1"):
        assert labels(file([{"text": "a", "labels": ["x", "y", "x"]}])) == [("x", "y")]
    with pytest.warns(DataWarning, match="cells that name a label twice.*: 1"):
        assert labels(file("text,labels\na b,x;y;x\nc d,y\n")) == [("x", "y"), ("y",)]


def test_what_is_written_comes_back(tmp_path):
    examples = [TextExample("a b", labels=("x", "y")), TextExample("c d", labels=())]
    write_jsonl(examples, tmp_path / "a.jsonl")
    assert [labels_in(e) for e in read(tmp_path / "a.jsonl")] == [("x", "y"), ()]


def test_columns_cannot_hold_labels(tmp_path):
    examples = [TextExample("a", ("a",), tags=("O",), labels=())]
    with pytest.raises(mtl.errors.ConfigError, match="cannot be written"):
        mtl.data.readers.write_examples(examples, tmp_path / "a.conll")


# --- tables ---------------------------------------------------------------------------------------

JOINED = {
    "numbers": (["8,20", "8", "20", "3,4"], [("8", "20"), ("8",), ("20",), ("3", "4")]),
    "bars": (["x|y", "x", "y", "y | z"], [("x", "y"), ("x",), ("y",), ("y", "z")]),
    "semicolons": (["x;y", "x", "", "y"], [("x", "y"), ("x",), (), ("y",)]),
    "lists": (["['x', 'y']", '["x"]', "[]", ""], [("x", "y"), ("x",), (), None]),
}


@pytest.mark.parametrize(("cells", "expected"), JOINED.values(), ids=JOINED)
def test_cells_that_name_several_classes(cells, expected, file):
    path = file("text\tlabels\n" + "".join(f"some text\t{cell}\n" for cell in cells))
    assert labels(path) == expected
    assert mtl.check_file(path).problems == []


def test_empty_cells_beside_joined_ones_are_told(file):
    with pytest.warns(DataWarning, match="empty cells, read as none of the labels: 1"):
        read(file("text,labels\na b,x;y\nc d,\ne f,y\n"))


@pytest.mark.parametrize("names", [["food, drink", "rooms"], ["C#", "C"], ["A;B", "D"]])
def test_a_sign_in_the_name_of_a_class_joins_nothing(names, file):
    path = file("text\tlabel\n" + "".join(f"some text\t{name}\n" for name in names * 2))
    assert [e.label for e in read(path)] == names * 2


def test_class_numbers_have_names_in_a_file_beside_theirs(file):
    path = file("text\tlabels\na b\t0,2\nc d\t1\ne f\t-1\n", "train.tsv")
    assert labels(path) == [("0", "2"), ("1",), ("-1",)]
    file("joy\nfear\nlove\n", "labels.txt")
    with pytest.warns(DataWarning, match=r"names of the classes, from labels.txt.*: 3"):
        assert labels(path) == [("joy", "love"), ("fear",), None]
    assert labels(path, label_names=["a", "b", "c"]) == [("a", "c"), ("b",), None]
    file("joy\nfear\n", "labels.txt")
    (fault,) = faults(path)
    assert (fault.line, fault.found) == (2, "2, and 2 names")
    file("joy\nfear\njoy\n", "labels.txt")  # the labels of other texts, not names
    assert labels(path) == [("0", "2"), ("1",), ("-1",)]


def test_names_beside_a_file_are_for_numbers_only(file):
    file("joy\nfear\n", "labels.txt")
    assert labels(file("text,label\na b,x\nc d,x\n")) == [("x",), ("x",)]
    assert labels(file([{"text": "a", "label": 1}], "a.jsonl")) == [("fear",)]


def test_a_column_of_0_and_1_for_each_label(file):
    path = file("id,comment_text,rude,threat\n0,a b,0,1\n1,c d,1.0,1\n0,e f,0,0\n1,g h,-1,-1\n")
    assert labels(path) == [("threat",), ("rude", "threat"), (), None]


def test_a_cell_that_is_neither_0_nor_1_is_a_fault_with_its_line(file):
    rows = ["a b,0,1"] * 12 + ["c d,2,0", "e f,1,yes"]
    found = faults(file("text,rude,threat\n" + "\n".join(rows) + "\n"))
    assert [(fault.line, fault.what) for fault in found] == [
        (14, "rude is neither 0 nor 1"),
        (15, "threat is neither 0 nor 1"),
    ]


def test_lines_of_fasttext(file):
    text = "__label__x __label__y a b\n__label__x c d\n"
    assert labels(file(text)) == [("x", "y"), ("x",)]


def test_check_counts_labels_and_names_what_train_lacks(tmp_path):
    for name, said in {"train": [["x", "y"], ["x"], []], "dev": [["x", "z"]]}.items():
        lines = [json.dumps({"text": f"{name} {i}", "labels": x}) for i, x in enumerate(said)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    report = mtl.check_file(tmp_path)
    facts = dict(report.files["train"].facts)
    assert facts["labels"] == "x 2, y 1"
    assert facts["labels of a text"] == "0 to 2, median 1; none of them: 1"
    assert "class 'z' (1)" in str(report.facts)
