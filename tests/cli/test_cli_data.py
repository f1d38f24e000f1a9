"""mtl check and mtl toy."""

import json

import pytest
from cli_files import GOOD_SENTENCES, NOT_UTF8, contents

import mtl
from mtl.toy import SPLITS, ner_examples, qa_examples

# --- mtl check -----------------------------------------------------------------------------------

BAD_RECORDS = """\
{"sentence": "John lives here.", "label": "home", "ner_tags": ["B-PER", "O", "O", "O"]}
{"label": "home"}
{"sentence": "Ann ran.", "ner_tags": ["B-PER"]}
{nope

{"sentence": "Eve sat.", "label": "home"}
"""


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.conll", GOOD_SENTENCES, ["examples  ", "20", "PER"]),
        ("x.jsonl", BAD_RECORDS.splitlines()[0], ["JSON records", "home"]),
        ("x.csv", "context,question,answer\nBob ran.,Who ran?,Bob\n", ["questions", "1"]),
    ],
)
def test_check_a_good_file(mtl_, tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    status, out, err = mtl_("check", tmp_path / name)
    assert (status, err) == (0, "")
    assert out.endswith("no problems\n")
    for word in [str(tmp_path / name), *words]:
        assert word in out


def test_check_prints_every_problem_with_its_line(mtl_, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(BAD_RECORDS)
    status, out, err = mtl_("check", path)
    assert (status, err) == (1, "")
    assert "3 problems:" in out
    lines = [line for line in out.splitlines() if line.startswith(f"{path}:")]
    assert [line.split(":")[1] for line in lines] == ["2", "3", "4"]
    assert out.count("to do: ") == 3
    assert "home 2" in out  # what is in the good records
    assert path.read_text() == BAD_RECORDS


def test_check_prints_more_problems_than_an_error_does(mtl_, tmp_path):
    path = tmp_path / "x.conll"
    path.write_text(GOOD_SENTENCES + "Ann\tPER\n\n" * 25)
    status, out, _ = mtl_("check", path)
    assert status == 1
    assert "25 problems:" in out
    for n in range(25):
        assert f"{path}:{61 + 2 * n}: " in out


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "No such file"), (b" \n", "the file is empty"), (NOT_UTF8, "x.conll:61: ")],
)
def test_check_a_file_that_cannot_be_read(mtl_, tmp_path, content, words):
    path = tmp_path / "x.conll"
    if content is not None:
        path.write_bytes(content)
    status, out, err = mtl_("check", path)
    assert (status, out) == (1, "")
    assert words in err
    assert str(path) in err


# --- mtl toy -------------------------------------------------------------------------------------


def test_toy_conll_reads_back(mtl_, tmp_path):
    for split in SPLITS:
        path = tmp_path / f"{split}.conll"
        arguments = ("toy", "ner", "--split", split, "--n", 7, "--seed", 3, "--output", path)
        status, out, err = mtl_(*arguments)
        assert (status, out) == (0, "")
        assert f"wrote 7 examples to {path}" in err
        assert mtl.read_conll(path) == ner_examples(split, 7, 3)


def test_toy_squad_reads_back(mtl_, tmp_path):
    path = tmp_path / "qa.json"
    assert mtl_("toy", "qa", "--n", 7, "--seed", 3, "--output", path)[0] == 0
    expected = qa_examples("train", 7, 3)
    read = mtl.read_squad(path)
    assert [(q.id, q.question, q.context, q.answers) for q in read] == [
        (q.id, q.question, q.context, q.answers) for q in expected
    ]


@pytest.mark.parametrize("kind", ["ner", "qa"])
def test_toy_jsonl_holds_the_examples(mtl_, tmp_path, kind):
    path = tmp_path / "toy.jsonl"
    assert mtl_("toy", kind, "--n", 5, "--output", path)[0] == 0
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if kind == "ner":
        expected = ner_examples("train", 5)
        read = [mtl.NERExample(record["tokens"], record["ner_tags"]) for record in records]
        assert read == expected
        assert [record["sentence"] for record in records] == [e.text for e in expected]
    else:
        assert [record["question"] for record in records] == [
            example.question for example in qa_examples("train", 5)
        ]
        for record in records:
            (answer,) = record["answers"]
            start = answer["answer_start"]
            assert record["context"][start : start + len(answer["text"])] == answer["text"]


def test_toy_files_train(mtl_, recipe, tmp_path):
    """What `mtl toy` writes is a template: `mtl train` takes it as it is."""
    settings = []
    for kind, ending in (("ner", "conll"), ("qa", "json")):
        path = tmp_path / f"{kind}.{ending}"
        assert mtl_("toy", kind, "--n", 40, "--output", path)[0] == 0
        settings.append(f"tasks.{kind}.train={path}")
    status, out, err = mtl_(
        "train", recipe, "--set", *settings, "--json", "--output", tmp_path / "run"
    )
    assert status == 0, err
    assert json.loads(out)["test"].keys() == {"ner", "qa"}
    assert json.loads(out)["test_unseen"] == {}


def test_toy_data_depends_on_the_seed(mtl_, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        path = tmp_path / f"{name}.conll"
        assert mtl_("toy", "ner", "--n", 5, "--seed", seed, "--output", path)[0] == 0
    a, b, c = (contents(tmp_path)[f"{name}.conll"] for name in "abc")
    assert a == b != c


def test_toy_keeps_an_existing_file(mtl_, tmp_path):
    path = tmp_path / "mine.conll"
    path.write_text("mine")
    status, _, err = mtl_("toy", "ner", "--n", 3, "--output", path)
    assert status == 2
    assert f"{path}: the file exists" in err
    assert "--overwrite" in err
    assert path.read_text() == "mine"
    assert mtl_("toy", "ner", "--n", 3, "--output", path, "--overwrite")[0] == 0
    assert mtl.read_conll(path) == ner_examples("train", 3)


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("ner", "x.json", [".json", ".conll or .jsonl or .conllu"]),
        ("qa", "x.conll", [".conll", ".json or .jsonl"]),
        ("qa", "x.txt", [".txt", ".json or .jsonl"]),
        ("ner", "x", ["ending", ".conll or .jsonl"]),
        ("nerr", "x.conll", ["unknown kind of toy data", "'nerr'", 'did you mean "ner"']),
    ],
)
def test_toy_wrong_kind_or_ending(mtl_, tmp_path, kind, name, words):
    status, _, err = mtl_("toy", kind, "--n", 3, "--output", tmp_path / name)
    assert status == 2
    for word in words:
        assert word in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [["--n", "0"], ["--n", "-4"], ["--split", "tset"]])
def test_toy_wrong_number_or_split(mtl_, tmp_path, arguments):
    status, _, err = mtl_("toy", "ner", *arguments, "--output", tmp_path / "x.conll")
    assert status == 2
    assert arguments[0] in err
    assert not list(tmp_path.iterdir())


def test_toy_into_a_place_that_cannot_be_written(mtl_, tmp_path):
    (tmp_path / "file").write_text("mine")
    path = tmp_path / "file" / "x.conll"
    status, _, err = mtl_("toy", "ner", "--n", 3, "--output", path)
    assert status == 1
    assert f"{path}: the file cannot be written" in err
    assert (tmp_path / "file").read_text() == "mine"
