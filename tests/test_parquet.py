"""Parquet is read as JSON is: one file, many, or a dataset of the `datasets` library."""

import json
import sys
import warnings

import pytest

import mtl
from mtl.data.dataset import Dataset
from mtl.data.examples import QAExample, TextExample
from mtl.data.readers import files_of, large
from mtl.data.stored import StoredExamples
from mtl.errors import ConfigError, DataError, DataWarning

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import parquet  # noqa: E402

RECORDS = [
    {"text": "Ann ran home.", "label": i % 2, "ner_tags": [1, 0, 0, 0], "stars": i / 2}
    for i in range(20)
]
FEATURES = {
    "text": {"dtype": "string", "_type": "Value"},
    "label": {"names": ["bad", "good"], "_type": "ClassLabel"},
    "ner_tags": {"feature": {"names": ["O", "B-PER"], "_type": "ClassLabel"}, "_type": "Sequence"},
}
EXAMPLES = [
    TextExample(
        "Ann ran home.",
        ("Ann", "ran", "home", "."),
        ("bad", "good")[i % 2],
        ("B-PER", "O", "O", "O"),
    )
    for i in range(20)
]


def write(path, records=RECORDS, features=FEATURES):
    table = pyarrow.Table.from_pylist(records)
    if features:
        about = json.dumps({"info": {"features": features}}).encode()
        table = table.replace_schema_metadata({b"huggingface": about})
    parquet.write_table(table, path, row_group_size=7)
    return path


def read(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return mtl.read(path, **options)


@pytest.fixture(params=["small", "large"])
def size(request, monkeypatch, tmp_path):
    monkeypatch.setenv("MTL_CACHE", str(tmp_path / "cache"))
    if request.param == "large":
        monkeypatch.setattr(large, "LARGE", 0)
    return request.param


def test_a_file_with_the_names_of_its_classes(tmp_path, size):
    found = read(write(tmp_path / "data.parquet"))
    assert isinstance(found, StoredExamples if size == "large" else list)
    assert list(found) == EXAMPLES
    assert found.form == "Parquet records"


def test_it_reads_as_json_does(tmp_path, size):
    """Without names the numbers stay; fields and scores are asked for."""
    path = tmp_path / "data.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in RECORDS))
    options = {"label_names": ["O", "B-PER"], "scores": ["stars"]}
    found = read(write(tmp_path / "data.parquet", features=None), **options)
    assert list(found) == list(read(path, **options))
    assert found[3].scores == {"stars": 1.5}


def test_faults_name_their_records(tmp_path, size):
    records = [*RECORDS, {"text": None, "label": 1}, {"text": "x", "ner_tags": [0, 0]}]
    with pytest.raises(DataError) as caught:
        read(write(tmp_path / "data.parquet", records))
    assert [fault.what.partition(" (")[2] for fault in caught.value.faults] == [
        "record 21)",
        "record 22)",
    ]
    kept = read(tmp_path / "data.parquet", on_error="skip")
    assert list(kept) == EXAMPLES


def test_shards_are_one_set_of_data(tmp_path, size):
    for i in range(2):
        write(tmp_path / f"part-{i}.parquet", RECORDS[10 * i : 10 * i + 10])
    assert list(read(tmp_path)) == EXAMPLES
    assert list(read(tmp_path / "part-*.parquet")) == EXAMPLES
    (only,) = files_of(tmp_path).values()
    assert list(read(only)) == EXAMPLES
    # One more shard is another set of data.
    write(tmp_path / "part-2.parquet", RECORDS[:1])
    assert len(read(tmp_path)) == 21


def test_shards_of_several_splits(tmp_path):
    for name in ("train-0-of-2", "train-1-of-2", "test-0-of-1"):
        write(tmp_path / f"{name}.parquet")
    files = files_of(tmp_path)
    assert {split: len(read(path)) for split, path in files.items()} == {"train": 40, "test": 20}


def test_two_training_files_that_no_pattern_tells_apart_are_refused(tmp_path):
    for name in ("train", "train-old", "trainable-test"):
        write(tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match="2 files for train"):
        files_of(tmp_path)


def test_questions(tmp_path, size):
    question = {
        "id": "1",
        "question": "Who ran?",
        "context": "Ann ran.",
        "answers": {"text": ["Ann"], "answer_start": [0]},
    }
    (found,) = read(write(tmp_path / "data.parquet", [question], None))
    assert isinstance(found, QAExample)
    assert found.answers[0].text == "Ann"


def test_a_broken_file_is_refused(tmp_path):
    path = write(tmp_path / "data.parquet")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="the Parquet file cannot be read") as caught:
        mtl.read(path)
    assert caught.value.faults[0].path == str(path)


def test_without_pyarrow_it_names_the_extra(tmp_path, monkeypatch):
    path = write(tmp_path / "data.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match="'scale'"):
        mtl.read(path)


class Columns:
    """As much of a `datasets.Dataset` as is read."""

    def __init__(self, table, fingerprint="abc"):
        self.data, self._fingerprint, self.features = table, fingerprint, FEATURES

    def __len__(self):
        return self.data.num_rows

    def __getitem__(self, index):
        return self.data.slice(index, 1).to_pylist()[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))


@pytest.mark.filterwarnings("ignore::mtl.errors.DataWarning")
def test_a_dataset_of_the_datasets_library(size, monkeypatch):
    table = pyarrow.Table.from_pylist(RECORDS)
    found = Dataset(train=Columns(table)).train
    assert isinstance(found, StoredExamples if size == "large" else list)
    assert [example.text for example in found] == [example.text for example in EXAMPLES]
    assert [example.label for example in found] == [example.label for example in EXAMPLES]
    assert found[1].scores == {"stars": 0.5}  # what may be a number is kept
    other = Dataset(train=Columns(table.slice(0, 5), "another")).train
    assert len(other) == 5
    if size == "large":  # the same data is known again, and not walked over
        again = Columns(table)
        walks = []
        monkeypatch.setattr(Columns, "__iter__", lambda self: walks.append(1) or iter(RECORDS[:9]))
        assert list(Dataset(train=again).train) == list(found)
        assert len(walks) == 1  # which shows the kind, in the first records
