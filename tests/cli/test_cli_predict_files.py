"""mtl predict --input FILE --output FILE."""

import csv
import itertools
import json
import shutil
import time
from contextlib import contextmanager
from operator import attrgetter

import pytest
from cli_files import contents
from processes import Process

import mtl
from mtl.cli.main import main
from mtl.inference import bulk

LONG = "Ann met Bob in Oslo. " * 60  # longer than the positions of the model
TEXTS = ["Ann met Bob in Oslo.", "王小明 lives in Łódź!", "دو", LONG, "x", "Eve ran. Bob sat."] * 3


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(bulk, "CHUNK_RECORDS", 4)


@pytest.fixture
def files(tmp_path):
    """Write an input, and give the options that name it and an output."""

    def write(name, content, output="out.jsonl"):
        path = tmp_path / name
        if not isinstance(content, bytes | str):
            content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return ("--input", path, "--output", tmp_path / output)

    return write


def records_in(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def close(a, b):
    """The same, but for the last digits of numbers: other texts in a batch round otherwise."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(close, a, b))
    return a == (pytest.approx(b, abs=1e-5) if isinstance(a, float) else b)


def test_lines_of_text(mtl_, staged_run, files, tmp_path):
    options = files("in.txt", "\ufeff" + "\r\n".join(["", *TEXTS]) + "\r\n\r\n")
    status, out, err = mtl_("predict", staged_run, *options)
    model = mtl.MultiTaskModel.from_pretrained(staged_run)
    assert (status, out) == (0, "")
    records = records_in(tmp_path / "out.jsonl")
    assert [(record["line"], record["text"]) for record in records] == [*enumerate(TEXTS, 2)]
    assert {*records[0]["predictions"]} == {"topic", "tags", "embedding"}
    for record in records:
        assert close(record["predictions"], model.predict(record["text"]).to_dict())
    assert "reading text (topic, tags, embedding)" in err
    assert "18 records in" in err
    assert "per second" in err
    assert "empty lines left out: 2" in err


def test_a_record_is_what_json_on_stdout_says(mtl_, run, files, tmp_path):
    mtl_("predict", run, *files("in.txt", TEXTS[1]), "--task", "ner")
    (record,) = records_in(tmp_path / "out.jsonl")
    _, out, _ = mtl_("predict", run, "--task", "ner", "--text", TEXTS[1], "--json")
    assert record["predictions"]["ner"] == json.loads(out)


def test_records_keep_their_fields_and_go_to_the_tasks_that_read_them(mtl_, run, files, tmp_path):
    asked = {"question": "Who ran?", "context": "Bob ran. Ann sat."}
    records = [
        {"id": "ü", "text": "Ann ran.", "label": None, "more": [1, {"a": 2.5}]},
        {"id": 2, "title": "Runs", **asked},
        {"id": 3, "text": LONG, **asked, "context": LONG},
    ] * 2
    status, _, _ = mtl_("predict", run, *files("in.jsonl", records), "--batch-size", 2)
    model = mtl.MultiTaskModel.from_pretrained(run)
    assert status == 0
    found = records_in(tmp_path / "out.jsonl")
    predictions = [record.pop("predictions") for record in found]
    assert found == records
    assert [{*said} for said in predictions] == [{"ner"}, {"qa"}, {"ner", "qa"}] * 2
    for record, said in zip(records, predictions, strict=True):
        if "text" in record:
            assert close(said["ner"], model.predict(record["text"])["ner"].to_dict())
        if "question" in record:
            answer = model.answer(record["question"], record["context"])
            assert close(said["qa"], answer.to_dict())


def test_several_answers_and_named_fields(mtl_, run, files, tmp_path):
    options = files("in.jsonl", [{"q?": "Who ran?", "said": "Bob ran. Ann sat."}])
    status, _, err = mtl_("predict", run, *options, "--fields", "q?", "said", "--top", 3)
    (record,) = records_in(tmp_path / "out.jsonl")
    assert status == 0
    assert "reading q? and said (qa)" in err
    assert len(record["predictions"]["qa"]["alternatives"]) == 2


def test_words_are_not_cut_again(mtl_, run, files, tmp_path):
    mtl_("predict", run, *files("in.txt", "U.S. soil\n"), "--words", "--task", "ner")
    (record,) = records_in(tmp_path / "out.jsonl")
    assert [word["word"] for word in record["predictions"]["ner"]["words"]] == ["U.S.", "soil"]


TABLE = [["id", "text"], *([str(i), text] for i, text in enumerate(TEXTS))]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_tables(mtl_, staged_run, files, tmp_path, ending):
    delimiter = "," if ending == "csv" else "\t"
    with (tmp_path / "table").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows(TABLE)
    content = (tmp_path / "table").read_bytes()
    mtl_("predict", staged_run, *files(f"in.{ending}", content))
    status, _, _ = mtl_("predict", staged_run, *files(f"in.{ending}", content, f"out.{ending}"))
    assert status == 0
    with (tmp_path / f"out.{ending}").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=delimiter))
    records = records_in(tmp_path / "out.jsonl")
    assert len(rows) == len(records) == len(TEXTS)
    for row, record in zip(rows, records, strict=True):
        assert (row["id"], row["text"], row["error"]) == (record["id"], record["text"], "")
        assert row["topic.label"] == record["predictions"]["topic"]["label"]
        assert float(row["topic.score"]) == record["predictions"]["topic"]["score"]
        assert json.loads(row["tags.entities"]) == record["predictions"]["tags"]["entities"]


def test_parquet(mtl_, staged_run, files, tmp_path, monkeypatch):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("mtl.inference.outputs.ROW_GROUP", 1)  # each part is enough for one
    parquet.write_table(
        pyarrow.table(
            {
                "id": pyarrow.array(range(len(TEXTS)), pyarrow.int16()),
                "text": TEXTS,
                "source": pyarrow.array(["web"] * len(TEXTS)).dictionary_encode(),
                "empty": pyarrow.array([None] * 5 + [1.5] * (len(TEXTS) - 5)),
            }
        ),
        tmp_path / "in.parquet",
    )
    options = ("--input", tmp_path / "in.parquet", "--output")
    assert mtl_("predict", staged_run, *options, tmp_path / "out.parquet")[0] == 0
    assert mtl_("predict", staged_run, *options, tmp_path / "out.jsonl")[0] == 0
    table = parquet.read_table(tmp_path / "out.parquet")
    assert parquet.ParquetFile(tmp_path / "out.parquet").num_row_groups == 5
    assert table.schema.field("id").type == pyarrow.int16()
    for row, record in zip(table.to_pylist(), records_in(tmp_path / "out.jsonl"), strict=True):
        said = record.pop("predictions")
        assert record == {key: row[key] for key in ("id", "text", "source", "empty")}
        assert row["topic.score"] == said["topic"]["score"]
        assert row["embedding.embedding"] == said["embedding"]["embedding"]
        assert json.loads(row["tags.words"]) == said["tags"]["words"]
        assert row["error"] is None
    assert {*contents(tmp_path)} == {
        *("in.parquet", "out.jsonl", "out.jsonl.progress.json"),
        *("out.parquet", "out.parquet.progress.json"),
    }


STEPS = ("Progress.save", "os.fsync", "os.replace")  # a kill may come before each, and after it


@contextmanager
def stopped_before_step(n):
    """The run ends, as a kill would, just before it takes its nth step."""
    steps = []

    def stopping(take):
        def step(*arguments):
            steps.append(take)
            if len(steps) == n:
                raise KeyboardInterrupt
            return take(*arguments)

        return step

    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(f"mtl.inference.bulk.{name}", stopping(attrgetter(name)(bulk)))
        yield steps


def is_finished(progress):
    return progress.exists() and json.loads(progress.read_text())["finished"]


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv", "out.parquet"])
def test_stopped_anywhere_it_goes_on_and_ends_the_same(mtl_, run, files, tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    arguments = ("predict", run, *files("in.txt", "\n".join(TEXTS[:9]), name), "--task", "ner")
    output, partial = tmp_path / name, tmp_path / f"{name}.partial"
    progress = tmp_path / f"{name}.progress.json"
    assert mtl_(*arguments)[0] == 0
    whole = output.read_bytes()
    for n in itertools.count(1):
        for path in tmp_path.glob("out.*"):
            path.unlink()
        with stopped_before_step(n) as steps:
            status, _, _ = mtl_(*arguments)
        if len(steps) < n:
            break
        assert status == 130
        if partial.exists() and not is_finished(progress):
            with partial.open("ab") as file:  # a kill may leave half a record
                file.write(b'{"half": ')
        assert mtl_(*arguments)[0] == 0
        assert output.read_bytes() == whole
        assert not partial.exists()
    assert n == 3 * 3 + 3 + 1  # each part has three steps, and so has the end
    status, _, err = mtl_(*arguments)
    assert status == 0
    assert "is finished already: 9 records" in err
    assert output.read_bytes() == whole


def test_what_is_counted_is_on_the_disk(mtl_, run, files, monkeypatch):
    save = bulk.Progress.save

    def checked(progress, job):
        assert job.partial.stat().st_size >= progress.bytes > 0
        save(progress, job)

    monkeypatch.setattr(bulk.Progress, "save", checked)
    assert mtl_("predict", run, *files("in.txt", "Ann.\n" * 9), "--task", "ner")[0] == 0


@pytest.mark.parametrize("broken", ["os.fsync", "os.replace", "Output.publish"])
def test_a_full_disk_costs_nothing(mtl_, run, files, monkeypatch, tmp_path, broken):
    arguments = ("predict", run, *files("in.txt", "Ann.\n" * 9), "--task", "ner")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        module = "outputs" if broken == "Output.publish" else "bulk"
        patch.setattr(f"mtl.inference.{module}.{broken}", full)
        status, _, err = mtl_(*arguments)
    assert status == 1
    assert "the file cannot be written\n  found: [Errno 28] No space left on device" in err
    assert mtl_(*arguments)[0] == 0
    assert len(records_in(tmp_path / "out.jsonl")) == 9


def test_killed_it_goes_on(mtl_, run, files, tmp_path, monkeypatch):
    monkeypatch.setattr(bulk, "CHUNK_RECORDS", 2048)  # as in the process to kill
    texts = [f"Ann {i}" for i in range(5000)]
    options = list(map(str, files("in.txt", "\n".join(texts))))
    slowly = ["--batch-size", "1"]  # so that it is not done before it is killed
    process = Process(main, ["predict", str(run), *options, "--task", "ner", *slowly])
    progress = tmp_path / "out.jsonl.progress.json"
    while not progress.exists() and process.is_running():
        time.sleep(0.005)
    process.kill()
    process.wait(60)
    assert 0 < json.loads(progress.read_text())["records"] < len(texts)
    assert not (tmp_path / "out.jsonl").exists()
    status, _, err = mtl_("predict", run, *options, "--task", "ner")
    assert status == 0
    assert "going on after" in err
    assert [record["text"] for record in records_in(tmp_path / "out.jsonl")] == texts


@pytest.fixture
def begun(mtl_, run, files):
    """The command of a run that was stopped when its second part was written, but not counted."""
    options = files("in.txt", "\n".join(TEXTS))
    arguments = ("predict", run, *options, "--task", "ner")
    with stopped_before_step(5):
        assert mtl_(*arguments)[0] == 130
    return arguments


def test_another_input_is_not_mixed_in(mtl_, begun, files, tmp_path):
    before = contents(tmp_path)
    files("in.txt", "\n".join(["Ann!", *TEXTS[1:]]))
    status, _, err = mtl_(*begun)
    assert status == 1
    assert "another input: its first 4 records are not those written" in err
    assert "to do: delete out.jsonl, out.jsonl.partial and out.jsonl.progress.json" in err
    files("in.txt", "\n".join(TEXTS[:3]))
    assert "another input" in mtl_(*begun)[2]
    files("in.txt", "\n".join(TEXTS))
    assert contents(tmp_path) == before
    assert mtl_(*begun)[0] == 0
    files("in.txt", "\n".join([*TEXTS, "more"]))
    assert "has more records than the finished output" in mtl_(*begun)[2]


def test_another_model_and_other_options_are_not_mixed_in(mtl_, begun, copied_run, staged_run):
    assert "found: words False, now True" in mtl_(*begun, "--words")[2]
    weights = copied_run / "model.safetensors"
    assert mtl_(begun[0], copied_run, *begun[2:])[0] == 0  # it has only moved
    weights.write_bytes((staged_run / "model.safetensors").read_bytes())
    shutil.copytree(staged_run, copied_run, dirs_exist_ok=True)
    status, _, err = mtl_(begun[0], copied_run, *begun[2:-1], "tags")
    assert status == 1
    assert "found: another model; tasks ['ner'], now ['tags']" in err


def test_what_is_kept_may_be_spoilt(mtl_, begun, tmp_path):
    partial, progress = tmp_path / "out.jsonl.partial", tmp_path / "out.jsonl.progress.json"
    content = partial.read_bytes()
    partial.write_bytes(content[:50])
    assert "the file has become shorter" in mtl_(*begun)[2]
    partial.unlink()
    assert "what was written is gone" in mtl_(*begun)[2]
    partial.write_bytes(content)
    (tmp_path / "out.jsonl").write_text("mine")
    assert "the output is there already" in mtl_(*begun)[2]
    assert (tmp_path / "out.jsonl").read_text() == "mine"
    progress.write_text("{")
    assert "out.jsonl.progress.json is broken" in mtl_(*begun)[2]


def test_two_runs_do_not_write_one_output(mtl_, begun, tmp_path):
    pytest.importorskip("fcntl")
    before = contents(tmp_path)
    partial = tmp_path / "out.jsonl.partial"
    with bulk._growing(partial, partial.stat().st_size):
        status, _, err = mtl_(*begun)
        assert status == 1
        assert "another process is writing this file" in err
        assert contents(tmp_path) == before
    assert mtl_(*begun)[0] == 0


BAD = b'{"text": "Ann."}\n{"text": "Bo."}\n{"text": \n{"text": " "}\n{"n": 5}\n{"text": "Eve."}\n'


def test_a_bad_record_stops_and_what_was_before_it_is_kept(mtl_, run, files, tmp_path):
    arguments = ("predict", run, *files("in.jsonl", BAD))
    status, _, err = mtl_(*arguments)
    assert status == 1
    assert f"{tmp_path / 'in.jsonl'}:3: the line is not JSON" in err
    assert f"{tmp_path / 'in.jsonl'}:4: the text is empty" in err
    assert "stopped after 2 records, which are kept" in err
    mended = BAD.replace(b'{"text": \n', b'{"text": "Cy."}\n').replace(b'" "', b'"Di."')
    files("in.jsonl", mended)
    status, _, err = mtl_(*arguments)
    assert status == 1
    assert f"{tmp_path / 'in.jsonl'}:5: the record has no text, or question and context" in err
    assert "found: the fields 'n'\n  to do: rename its fields, or say with --fields" in err
    files("in.jsonl", mended.replace(b'"n": 5', b'"text": "Em."'))
    status, _, err = mtl_(*arguments)
    assert status == 0
    texts = [record["text"] for record in records_in(tmp_path / "out.jsonl")]
    assert texts == ["Ann.", "Bo.", "Cy.", "Di.", "Em.", "Eve."]


def test_bad_records_may_be_written_in_their_places(mtl_, run, files, tmp_path):
    long = {"question": "who " * 70, "context": "Bob ran."}
    content = BAD + json.dumps(long).encode() + b'\n{"text": "\\ud800"}\n'
    arguments = ("predict", run, *files("in.jsonl", content))
    assert mtl_(*arguments)[0] == 1
    status, _, err = mtl_(*arguments, "--on-error", "skip")  # after all
    assert status == 0
    assert "with an error in the place of predictions: 5" in err
    records = records_in(tmp_path / "out.jsonl")
    assert [record.get("error", "")[:8] for record in records] == [
        *("", "", "line 3: ", "line 4: ", "line 5: ", "", "line 7: ", "line 8: ")
    ]
    assert "70 tokens" in records[6]["error"]
    assert records[6]["context"] == "Bob ran."
    assert records[4]["n"] == 5
    assert ["predictions" in record for record in records] == ["error" not in r for r in records]


def test_bad_rows_of_a_table(mtl_, staged_run, files, tmp_path):
    options = files("in.csv", "id,text\n1,one\n2\n3,\n4,four\n", "out.csv")
    status, _, _ = mtl_("predict", staged_run, *options, "--on-error", "skip")
    assert status == 0
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], bool(row["topic.label"])) for row in rows] == [
        *(("1", True), ("", False), ("3", False), ("4", True))
    ]
    assert rows[1]["error"] == "line 3: 1 cells where the header has 2"
    assert rows[2]["error"] == "line 4: the text is empty"


@pytest.mark.parametrize(
    ("records", "output", "words"),
    [
        ([{"text": "a"}, {"text": "b", "error": 1}], "out.jsonl", "already has a field 'error'"),
        ([{"text": "a", "predictions": {}}], "out.jsonl", "already has a field 'predictions'"),
        ([{"text": "a", "ner.text": ""}], "out.csv", "already has a field 'ner.text'"),
        ([{"text": "a"}] * 4 + [{"text": "b", "new": 1}], "out.csv", "no column for 'new'"),
        (
            [{"text": "a"}] * 4 + [{"question": "Who?", "context": "Bo."}],
            *("out.csv", "no column for 'question'"),
        ),
        ([{"text": "a", "n": 1}, {"text": "a", "n": "b"}], "out.parquet", "the same type"),
        ([{"text": "a", "n": 1}] * 4 + [{"text": "a", "n": "b"}], "out.parquet", "the same type"),
    ],
)
def test_records_that_do_not_fit_the_output(mtl_, run, files, records, output, words):
    if output.endswith("parquet"):
        pytest.importorskip("pyarrow")
    options = files("in.jsonl", records, output)
    status, _, err = mtl_("predict", run, *options, "--on-error", "skip")
    assert status == 1
    assert f"{options[1]}:" in err
    assert words in err
    assert "to do: " in err


def test_input_that_cannot_be_used(mtl_, run, files, tmp_path):
    def error(*arguments, status=1):
        found, out, err = mtl_("predict", run, *arguments)
        assert (found, out) == (status, "")
        assert not [*tmp_path.glob("out.*")]
        return err

    assert "No such file" in error("--input", "gone.txt", "--output", tmp_path / "out.jsonl")
    assert "there are no records" in error(*files("in.txt", "\n\n"))
    assert "there are no records" in error(*files("in.jsonl", ""))
    assert "there are no records" in error(*files("in.csv", "text\n"))
    assert "a zip archive" in error(*files("in.txt", b"PK\x03\x04"))
    assert "the text is empty" in error(*files("in.csv", "text,a\n,b\n"))
    options = files("in.txt", "Ann.")
    assert "none we know" in error(*options[:3], tmp_path / "out.xml", status=2)
    assert "the output is the input" in error(*files("in.jsonl", "", "in.jsonl"), status=2)
    assert "go together" in error(*options[:2], status=2)
    assert "go together" in error(*options[2:], status=2)
    assert "not with standard input" in error("--input", "-", *options[2:], status=2)
    assert "--json does not go" in error(*options, "--json", status=2)
    assert "--text-pair does not go" in error(*options, "--text-pair", "x", status=2)
    assert "--fields goes with" in error("--text", "x", "--fields", "x", status=2)
    assert "one name, or the two" in error(*options, "--fields", "a", "b", "c", status=2)
    assert "not a single text" in error(*options, "--task", "qa", status=2)
    assert "--top goes with a question" in error(*options, "--top", 2, status=2)
    assert "batch_size" in error(*options, "--batch-size", 0, status=2)
    options = files("in.jsonl", [{"text": "Ann."}])
    assert "the number of answers" in error(*options, "--top", 99, status=2)


def test_a_missing_folder_is_made(mtl_, run, files, tmp_path):
    assert mtl_("predict", run, *files("in.txt", "Ann.", "a/b/out.jsonl"))[0] == 0
    assert len(records_in(tmp_path / "a/b/out.jsonl")) == 1


def test_a_dash_is_standard_input(mtl_, run, stdin):
    stdin("Ann ran.\n")
    status, out, _ = mtl_("predict", run, "--input", "-", "--task", "ner", "--json")
    assert (status, json.loads(out)["text"]) == (0, "Ann ran.")


def test_a_file_is_not_read_ahead(mtl_, run, files, monkeypatch):
    """Memory does not grow with the file: what nobody has asked for is still on the disk."""
    sources, shares, sizes = [], [], []
    record_file, predict = bulk.RecordFile, bulk.predict_records

    def opened(path):
        sources.append(record_file(path))
        return sources[0]

    def watched(model, chunk, *arguments):
        shares.append(round(sources[0].share, 2))
        sizes.append(len(chunk))
        return predict(model, chunk, *arguments)

    monkeypatch.setattr(bulk, "RecordFile", opened)
    monkeypatch.setattr(bulk, "predict_records", watched)
    options = files("in.jsonl", [{"text": "Ann ran."}] * 10)
    assert mtl_("predict", run, *options)[0] == 0
    assert (sizes, shares) == ([4, 4, 2], [0.4, 0.8, 1.0])
    sizes.clear(), sources.clear()
    monkeypatch.setattr(bulk, "CHUNK_CHARACTERS", 20)  # as many as two texts and a half
    assert mtl_("predict", run, *files("in.jsonl", [{"text": "Ann ran."}] * 10, "out.csv"))[0] == 0
    assert sizes == [3, 3, 3, 1]


def test_empty_rows_of_a_table_are_counted(mtl_, run, files):
    _, _, err = mtl_("predict", run, *files("in.csv", 'text\nAnn.\n""\n\nBob.\n'), "--task", "ner")
    assert "2 records in" in err
    assert "empty lines left out: 2" in err
