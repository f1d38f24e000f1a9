"""Folders, --data, parallel files and conversion: files find their splits, tasks and forms."""

import json

import pytest

import mtl
from mtl.cli.main import build_parser, main
from mtl.data.examples import NERExample, PairExample, QAExample, TextExample
from mtl.data.readers import files_of, read
from mtl.data.readers.folders import split_of
from mtl.errors import ConfigError, DataError, DataWarning
from mtl.experiments.build import build_tasks
from mtl.experiments.data import reader_options
from mtl.experiments.recipe import load_recipe
from mtl.experiments.sections import FILE_KEYS
from mtl.tasks import Task

NAMES = ["Mira", "Otto", "Ilse", "Kofi", "Rosa", "Emil", "Wanja", "Tariq", "Odile", "Luis"]


def sentences(start, n, kind="PER"):
    return "".join(
        f"{NAMES[i % 10]}{i}\tB-{kind}\nsaw\tO\nGraz\tB-LOC\n\n" for i in range(start, start + n)
    )


def records(start, n, label=lambda i: "ab"[i % 2]):
    rows = [{"text": f"Item {i} fell", "label": label(i)} for i in range(start, start + n)]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path):
    """Write files into a folder and give its path."""

    def make(files, name="data"):
        for file, content in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
        return tmp_path / name

    return make


@pytest.fixture
def recipe(tmp_path):
    """A recipe of one task, or of several on one dataset, as small as can be."""

    def make(tasks, datasets=""):
        path = tmp_path / "small.toml"
        size = "[encoder]\nn_layers = 1\nd_model = 8\nn_heads = 2\nd_ff = 8\n"
        path.write_text(f"{datasets}\n{tasks}\n{size}[train]\nepochs = 1\nbatch_size = 16\n")
        return path

    return make


NER = '[tasks.ner]\nkind = "ner"\ntoy = "ner"\ntoy_train = 40\ntoy_held_out = 10\n'
QA = '[tasks.qa]\nkind = "qa"\ntoy = "qa"\ntoy_train = 40\ntoy_held_out = 10\n'
TEXTS = '[datasets.texts]\ntoy = "records"\ntoy_train = 40\ntoy_held_out = 10\n'
SHARED = (
    '[tasks.topic]\nkind = "classification"\ndata = "texts"\n'
    '[tasks.tags]\nkind = "ner"\ndata = "texts"\n'
)


@pytest.fixture
def mtl_(capsys):
    def call(*arguments):
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return call


# --- which file is for which split --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((f"{x}.conll", "train") for x in ("train", "eng.train", "my-train_v2", "wnut17train")),
        *((x, "train") for x in ("train-v1.1.json", "nertrain.txt", "TRAIN", "train.0001.tsv")),
        *((x, "validation") for x in ("dev.tsv", "eng.testa", "valid", "validation.jsonl")),
        *((x, "validation") for x in ("val.csv", "de-dev.conllu", "emerging.dev.conll")),
        *((x, "test") for x in ("test.txt", "eng.testb", "x.test.annotated", "test2.csv")),
        ("test_unseen.jsonl", "test_unseen"),
        *((x, None) for x in ("latest.csv", "contest.txt", "data.csv", "device.csv")),
    ],
)
def test_the_name_of_a_file_says_its_split(name, split):
    assert split_of(name) == split


def test_a_folder_gives_a_file_for_each_split_and_leaves_the_rest(folder):
    files = ["eng.train", "eng.testa", "eng.testb", "README.md", "labels.txt", ".train", "x.py"]
    path = folder(dict.fromkeys(files, "x"))
    assert files_of(path) == {
        "train": path / "eng.train",
        "validation": path / "eng.testa",
        "test": path / "eng.testb",
    }
    alone = folder({"all.csv": "x", "readme.txt": "x"}, "alone")
    assert files_of(alone) == {"train": alone / "all.csv"}
    assert files_of(alone / "all.csv") == {"train": alone / "all.csv"}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["train.csv", "train.tsv"], ["2 files for train", "train.csv, train.tsv"]),
        (["a.csv", "b.csv"], ["no file whose name shows its split", "a.csv, b.csv"]),
        ([".hidden"], ["no file whose name shows its split"]),
    ],
)
def test_a_folder_that_does_not_say_what_to_use(files, words, folder):
    with pytest.raises(DataError) as caught:
        files_of(folder(dict.fromkeys(files, "x")))
    assert all(word in str(caught.value) for word in words)
    assert caught.value.faults[0].fix


# --- parallel files -----------------------------------------------------------------------------

PARALLEL = {
    "seq.in": "play jazz by Mira\nrain in Graz ?\n",
    "seq.out": "O B-genre O B-artist\nO O B-city O\n",
    "label": "PlayMusic\nGetWeather\n",
}


@pytest.mark.parametrize(
    "names",
    [
        ("seq.in", "seq.out", "label"),
        ("text.txt", "tags.txt", "labels.txt"),
        ("in", "out", "intent"),
    ],
)
def test_parallel_files(names, folder):
    path = folder(dict(zip(names, PARALLEL.values(), strict=True)))
    found = read(path)
    assert found == [
        TextExample(
            "play jazz by Mira",
            ("play", "jazz", "by", "Mira"),
            "PlayMusic",
            ("O", "B-genre", "O", "B-artist"),
        ),
        TextExample(
            "rain in Graz ?", ("rain", "in", "Graz", "?"), "GetWeather", ("O", "O", "B-city", "O")
        ),
    ]
    assert found.form == "parallel files"


def test_parallel_files_of_different_lengths_are_named_with_their_counts(folder):
    path = folder(PARALLEL | {"label": "PlayMusic\n"})
    with pytest.raises(DataError) as caught:
        read(path)
    assert (
        caught.value.faults[0].found == "seq.in has 2 lines, seq.out has 2 lines, label has 1 lines"
    )


def test_an_empty_line_of_all_parallel_files_is_a_fault_of_that_line(folder):
    where = folder({"seq.in": "a b\n\nc\n", "seq.out": "O B-x\n\nO\n", "label": "x\n\ny\n"})
    with pytest.raises(DataError, match=":2: the sentence is empty"):
        read(where)


def test_faults_of_parallel_files_have_their_lines(folder):
    path = folder(PARALLEL | {"seq.out": "O B-genre O\nO O X-city O\n"})
    with pytest.raises(DataError) as caught:
        read(path)
    assert [(f.line, f.what) for f in caught.value.faults] == [
        (1, "3 tags, but the text has 4 words"),
        (2, "the tag is of no known scheme"),
    ]


def test_numbers_of_parallel_files_have_names(folder):
    texts = {"text.txt": "rain in Graz\nplay jazz\nstop\n", "labels.txt": "1\n0\n-1\n"}
    path = folder(texts)
    assert [e.label for e in read(path, label_names=["music", "weather"])] == [
        "weather",
        "music",
        None,
    ]
    with pytest.raises(DataError, match="the class is a number without a name") as caught:
        read(path, label_names=["music"])
    assert [fault.line for fault in caught.value.faults] == [1]


def test_several_labels_in_a_line_of_parallel_files(folder):
    path = folder(PARALLEL | {"label": "PlayMusic#GetWeather\nGetWeather\n"})
    assert [e.labels for e in read(path)] == [("PlayMusic", "GetWeather"), ("GetWeather",)]
    assert mtl.check_file(path).problems == []


# --- what check says of a folder ----------------------------------------------------------------


def test_check_of_a_folder_compares_its_splits(folder, mtl_):
    path = folder(
        {
            "train.jsonl": records(0, 20),
            "dev.jsonl": records(18, 6),
            "test.jsonl": records(40, 3, lambda i: "c"),
        }
    )
    report = mtl.check_file(path)
    assert list(report.files) == ["train", "validation", "test"]
    assert report.facts == [
        (
            "in both train and validation",
            "2 of the 6 in validation, such as 'Item 18 fell', 'Item 19 fell'",
        ),
        ("in test but never in train", "class 'c' (3)"),
    ]
    status, out, _ = mtl_("check", path)
    assert (status, str(report) in out) == (0, True)
    (path / "test.jsonl").write_text('{"text": ""}\n')
    status, out, _ = mtl_("check", path)
    assert (status, "1 problem:" in out) == (1, True)


def test_check_and_train_see_the_same_file(folder, recipe):
    """Once a table by its name for one, and columns for the other."""
    path = folder({"x.tsv": sentences(0, 40)}) / "x.tsv"
    assert mtl.check_file(path).format == "CoNLL columns"
    (task,) = build_tasks(load_recipe(recipe(NER), data=[path.as_posix()]))
    assert len(task.dataset.train) == 32


# --- data for a recipe --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["--data", "--data tasks.ner=", "--data ner=", "--set"])
def test_a_folder_replaces_the_data_of_a_recipe(how, folder, recipe):
    path = folder({"train.txt": sentences(0, 30), "dev.txt": sentences(30, 5)}, "my data")
    data = [how.removeprefix("--data").strip() + str(path)] if how != "--set" else []
    settings = [f"tasks.ner.train={path}"] if how == "--set" else []
    loaded = load_recipe(recipe(NER), settings, data=data)
    (task,) = build_tasks(loaded)
    assert [len(task.dataset.train), len(task.dataset.validation), len(task.dataset.test)] == [
        27,
        5,
        3,
    ]
    written = path.parent / "written.toml"
    written.write_text(loaded.to_toml())
    assert load_recipe(written).tasks["ner"].train == str(path.resolve())


def test_several_datasets_have_to_be_told_apart(folder, recipe, mtl_):
    path = folder({"train.txt": sentences(0, 30)})
    status, _, err = mtl_("train", recipe(NER + QA), "--data", path)
    assert status == 2
    assert f"write --data ner={path} or --data qa={path}; or give a folder that has the" in err
    with pytest.raises(ConfigError, match="unknown dataset") as caught:
        load_recipe(recipe(NER + QA), data=[f"tasks.nr={path}"])
    assert 'did you mean "tasks.ner"' in caught.value.faults[0].fix
    tasks = build_tasks(load_recipe(recipe(NER + QA), data=[f"tasks.ner={path}"]))
    assert [len(task.dataset.train) for task in tasks] == [24, 40]


def files_given(recipe, tasks, datasets, data):
    """What --data sets, by section and split."""
    loaded = load_recipe(recipe(tasks, datasets), data=data)
    sections = {**loaded.datasets, **loaded.tasks}
    return {
        f"{name}.{split}": getattr(section, split)
        for name, section in sections.items()
        for split in FILE_KEYS
        if getattr(section, split)
    }


@pytest.mark.parametrize(
    ("tasks", "datasets", "data", "given"),
    [
        # One dataset, of a task or shared: its splits need no name.
        (NER, "", ["train=a", "test=b"], {"ner.train": "a", "ner.test": "b"}),
        (NER, "", ["test=b", "a"], {"ner.train": "a", "ner.test": "b"}),
        (NER, "", ["ner=a", "ner.validation=b"], {"ner.train": "a", "ner.validation": "b"}),
        (SHARED, TEXTS, ["a", "test_unseen=b"], {"texts.train": "a", "texts.test_unseen": "b"}),
        (SHARED, TEXTS, ["texts=a", "texts.test=b"], {"texts.train": "a", "texts.test": "b"}),
        # Several datasets.
        (NER + QA, "", ["qa=a", "tasks.ner=b"], {"qa.train": "a", "ner.train": "b"}),
        (NER + QA, "", ["qa.train=a", "qa.test=b"], {"qa.train": "a", "qa.test": "b"}),
        (QA + SHARED, TEXTS, ["datasets.texts=a"], {"texts.train": "a"}),
        # A task that shares a dataset gets one of its own.
        (SHARED, TEXTS, ["topic=a"], {"topic.train": "a"}),
        # A = in a path, and what TOML would read as a number.
        (NER, "", ["./a=b"], {"ner.train": "./a=b"}),
        (NER, "", ["train=a=b"], {"ner.train": "a=b"}),
        (NER, "", ["1"], {"ner.train": "1"}),
    ],
)
def test_what_data_replaces(tasks, datasets, data, given, recipe):
    assert files_given(recipe, tasks, datasets, data) == given


def test_a_dataset_goes_before_a_task_of_its_name_that_uses_it(recipe):
    tags = '[tasks.texts]\nkind = "ner"\ndata = "texts"\n'
    loaded = load_recipe(recipe(tags, TEXTS), data=["texts=a"])
    assert (loaded.datasets["texts"].train, loaded.tasks["texts"].train) == ("a", "")
    # Where both have data, only the whole name tells them apart.
    both = SHARED + NER.replace("ner]", "texts]")
    assert load_recipe(recipe(both, TEXTS), data=["tasks.texts=a"]).tasks["texts"].train == "a"
    with pytest.raises(ConfigError, match="unknown dataset"):
        load_recipe(recipe(both, TEXTS), data=["texts=a"])


@pytest.mark.parametrize(
    ("tasks", "data", "what", "fix"),
    [
        (NER + QA, "test=x", "which dataset", "write --data ner.test=x or --data qa.test=x"),
        (NER, "tset=x", "unknown dataset", 'did you mean "test"? use one of ner, test,'),
        (NER, "dev=x", "unknown dataset", 'it is called "validation" here'),
        (NER + QA, "ne=x", "unknown dataset", 'did you mean "ner"? use one of ner, qa, test,'),
        (NER + QA, "tasks.ne=x", "unknown dataset", 'did you mean "tasks.ner"? use one of'),
        (NER, "ner.val=x", "unknown split", 'it is called "validation" here'),
        (NER, "tasks.ner.tset=x", "unknown split", 'did you mean "test"? use one of test,'),
        (NER, "x test=y test=z", "2 files for tasks.ner.test", "leave one"),
        (NER, "x y", "2 files for tasks.ner.train", "such as ner.test=y"),
        (NER, "test=x", "test names a file, but", "set tasks.ner.train=FILE too"),
    ],
)
def test_data_that_is_not_clear_is_refused(tasks, data, what, fix, recipe):
    with pytest.raises(ConfigError, match=what) as caught:
        load_recipe(recipe(tasks), data=data.split())
    assert caught.value.faults[0].fix.startswith(fix) or fix in caught.value.faults[0].fix
    assert caught.value.faults[0].path.endswith("small.toml")


def test_all_that_is_wrong_with_data_is_told_at_once(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.tsv").touch()
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe(NER + QA), data=["tset=x", "qa=x", "qa=y", "a=b.tsv"])
    assert [fault.what.split(" for ")[0] for fault in caught.value.faults] == [
        "--data names an unknown dataset",
        "--data names an unknown dataset",
        "--data names 2 files",
    ]
    assert caught.value.faults[1].fix == "if this is the name of a file, write ./a=b.tsv"


def test_a_folder_for_each_dataset(folder, recipe):
    path = folder({"ner/train.txt": sentences(0, 30), "ner/dev.txt": sentences(30, 5)})
    with pytest.raises(ConfigError, match="no folder for qa") as caught:
        load_recipe(recipe(NER + QA), data=path)
    assert caught.value.faults[0].found == f"{path}, with ner"
    assert caught.value.faults[0].fix.endswith(f"write --data ner={path / 'ner'}")
    questions = ({"context": f"Al {i}.", "question": "Who?", "answer": "Al"} for i in range(20))
    folder({"qa/x.jsonl": "".join(json.dumps(question) + "\n" for question in questions)})
    ner, qa = build_tasks(load_recipe(recipe(NER + QA), data=path))
    assert [len(ner.dataset.train), len(ner.dataset.validation)] == [27, 5]
    assert {question.context[:3] for question in qa.dataset.train} == {"Al "}


@pytest.mark.parametrize("path", ["data/dev.txt", "./data/../data/dev.txt"])
def test_a_dev_file_that_is_the_test_is_not_chosen_on(path, folder, recipe, monkeypatch):
    files = {"train.txt": sentences(0, 30), "dev.txt": sentences(30, 5)}
    monkeypatch.chdir(folder(files).parent)
    (task,) = build_tasks(load_recipe(recipe(NER), data=["data", f"test={path}"]))
    split = task.dataset
    assert [len(split.train), len(split.validation), len(split.test)] == [27, 3, 5]
    assert not {e.text for e in split.validation} & {e.text for e in split.test}
    # A test of another place leaves the folder's dev file what it is.
    folder({"test.txt": sentences(40, 4)}, "other")
    (task,) = build_tasks(load_recipe(recipe(NER), data=["data", "test=other/test.txt"]))
    assert [len(task.dataset.train), len(task.dataset.validation)] == [30, 5]


def test_train_and_compare_take_several_paths_after_data(recipe):
    for command in ("train", "compare"):
        line = [command, "x.toml", "--data", "a", "test=b", "--seed", "1", "--data", "c"]
        assert build_parser().parse_args(line).data == ["a", "test=b", "c"]


def test_a_shared_dataset_is_one(folder, recipe):
    files = {}
    for split, numbers in {"train": range(20), "test": range(20, 25)}.items():
        files[f"{split}/seq.in"] = "".join(f"play song {i}\n" for i in numbers)
        files[f"{split}/seq.out"] = "".join("O O B-song\n" for i in numbers)
        files[f"{split}/label"] = "".join(f"{'ab'[i % 2]}\n" for i in numbers)
    topic, tags = build_tasks(load_recipe(recipe(SHARED, TEXTS), data=[str(folder(files))]))
    assert topic.dataset is tags.dataset
    assert (topic.labels, tags.types) == (["a", "b"], ["song"])
    assert [len(topic.dataset.train), len(topic.dataset.test)] == [18, 5]


def test_a_folder_without_a_training_file(folder, recipe):
    path = folder({"test.txt": sentences(0, 30)})
    with pytest.raises(DataError, match="no training file") as caught:
        build_tasks(load_recipe(recipe(NER), data=[str(path)]))
    assert caught.value.faults[0].found == "files for test"


def test_column_label_names_and_strict_of_a_recipe_reach_the_reader(folder, recipe, tmp_path):
    nested = "".join(f"w{i} B-PER B-LOC\nx O O\ny O I-LOC\n\n" for i in range(20))
    path = folder({"train.txt": nested}) / "train.txt"
    loaded = load_recipe(recipe(NER), ["tasks.ner.column=2"], data=[str(path)])
    assert build_tasks(loaded)[0].types == ["PER"]
    (tmp_path / "again.toml").write_text(loaded.to_toml())
    assert load_recipe(tmp_path / "again.toml").tasks["ner"].column == 2
    third = load_recipe(recipe(NER), ["tasks.ner.column=3"], data=[str(path)])
    with pytest.warns(DataWarning, match="break IOB2"):
        build_tasks(third)
    strict = load_recipe(recipe(NER), ["tasks.ner.column=3", "strict=true"], data=[str(path)])
    assert "strict = true" in strict.to_toml()
    with pytest.raises(DataError, match="breaks IOB2"):
        build_tasks(strict)
    for bad in ("tasks.ner.column=true", "tasks.ner.column=[true]", "tasks.ner.label_names=[1]"):
        with pytest.raises(ConfigError):
            load_recipe(recipe(NER), [bad])


def test_data_of_another_kind_says_what_was_found_and_what_the_task_reads(folder, recipe):
    path = folder({"x.csv": "text,label\n" + "".join(f"a b {i},x\n" for i in range(40))}) / "x.csv"
    with pytest.raises(ConfigError, match=r"does not fit its kind") as caught:
        build_tasks(load_recipe(recipe(QA), data=[str(path)]))
    fault = caught.value.faults[0]
    assert fault.found == "table of texts: texts with labels or tags, kind = 'qa'"
    assert "questions with contexts and answers" in fault.fix


def test_a_type_only_in_the_test_file_is_told(folder, recipe):
    path = folder({"train.txt": sentences(0, 30), "test.txt": sentences(50, 4, "ORG")})
    with pytest.warns(DataWarning, match=r"in test but never in train: type 'ORG' \(4\)"):
        build_tasks(load_recipe(recipe(NER), data=[str(path)]))


def test_a_task_of_ones_own_need_not_know_the_options(folder, recipe):
    class Reads(Task):
        """A user's task reads files as it always did."""

        @classmethod
        def read(cls, path, on_error):
            return [path.name, on_error]

    path = folder({"x.txt": "x"}) / "x.txt"
    loaded = load_recipe(recipe(NER), data=[str(path)])
    options = reader_options(loaded.source_of("ner"), loaded.strict)
    assert Reads.read(path, "skip", **options) == ["x.txt", "skip"]


def test_evaluate_reads_a_folder(folder, recipe, mtl_, tmp_path):
    path = folder({"train.txt": sentences(0, 40), "dev.txt": sentences(40, 5)})
    assert mtl_("train", recipe(NER), "--data", path, "--output", tmp_path / "run")[0] == 0
    for item in (path, f"tasks.ner={path}", f"ner={path}", path / "dev.txt"):
        status, out, _ = mtl_("evaluate", tmp_path / "run", "--data", item)
        assert (status, "ner, 5 examples" in out) == (0, True)
    (path / "test.txt").write_text(sentences(50, 4))
    _, out, err = mtl_("evaluate", tmp_path / "run", "--data", path)
    assert "ner, 4 examples" in out
    assert f"ner: scored on {path / 'test.txt'}" in err
    for name in ("train.txt", "test-unseen.txt"):
        other = folder({name: sentences(0, 3)}, f"only-{name}")
        status, _, err = mtl_("evaluate", tmp_path / "run", "--data", other)
        assert (status, "no test or dev file" in err) == (1, True)


# --- conversion ---------------------------------------------------------------------------------

ALL = {
    "conll": [NERExample(("Mira", "ran"), ("B-PER", "O")), NERExample(("Yes",), ("O",))],
    "conllu": [NERExample(("Mira", "ran"), ("B-PER", "O"))],
    "jsonl": [
        TextExample("Mira ran", ("Mira", "ran"), "x", ("B-PER", "O")),
        TextExample("No", ("No",), "y"),
    ],
    "squad": [QAExample("1", "Who?", "Mira ran.", (mtl.Answer("Mira", 0),))],
}
ENDINGS = {"conll": ".conll", "conllu": ".conllu", "jsonl": ".jsonl", "squad": ".json"}


@pytest.mark.parametrize("form", ALL)
@pytest.mark.parametrize("by_ending", [True, False])
def test_convert_to_every_form_and_back(form, by_ending, mtl_, tmp_path):
    source = tmp_path / "in.data"
    writer = mtl.write_jsonl if form == "jsonl" else mtl.write_conll
    (mtl.write_squad if form == "squad" else writer)(ALL[form], source)
    out = tmp_path / ("out" + (ENDINGS[form] if by_ending else ".x"))
    arguments = ["convert", source, out, *([] if by_ending else ["--to", form])]
    status, _, err = mtl_(*arguments)
    assert (status, f"wrote {len(ALL[form])} examples" in err) == (0, True)
    assert [getattr(e, "tags", e) for e in read(out)] == [getattr(e, "tags", e) for e in ALL[form]]
    assert mtl_(*arguments)[0] == 2
    assert mtl_(*arguments, "--overwrite")[0] == 0


@pytest.mark.parametrize(
    ("content", "to", "words"),
    [
        ("text,label\na b,x\n", "conll", ["which cannot hold the label 'x'", "--to jsonl"]),
        ("Mira B-PER\n", "squad", ["cannot hold a NERExample", "conll or jsonl or conllu"]),
        ("sentence1,sentence2\na,b\n", "conllu", ["cannot hold a PairExample", "--to jsonl"]),
    ],
)
def test_convert_says_what_a_form_cannot_hold(content, to, words, mtl_, tmp_path):
    (tmp_path / "in").write_text(content)
    status, _, err = mtl_("convert", tmp_path / "in", tmp_path / "out", "--to", to)
    assert (status, (tmp_path / "out").exists()) == (2, False)
    assert all(word in err for word in words)


def test_jsonl_holds_the_negative_of_a_pair_and_the_fields_of_a_text(tmp_path):
    pairs = [
        PairExample("a", "b", 0.5, "c"),
        PairExample("a", "b", None, "c"),
        PairExample("a", "b"),
    ]
    mtl.write_jsonl(pairs, tmp_path / "pairs.jsonl")
    assert read(tmp_path / "pairs.jsonl") == pairs
    texts = [TextExample("a b", ("a", "b"), fields={"mood": "glad"})]
    mtl.write_jsonl(texts, tmp_path / "texts.jsonl")
    assert dict(read(tmp_path / "texts.jsonl", fields=("mood",))[0].fields) == {"mood": "glad"}


def test_plain_text_is_no_data(folder):
    path = (
        folder({"x.txt": "It was a day.\nThe rain fell, and fell again.\nNo one came.\n"}) / "x.txt"
    )
    with pytest.raises(DataError, match="plain text, without labels or tags") as caught:
        read(path)
    assert "columns (a word and its tag per line)" in caught.value.faults[0].fix


def test_a_folder_is_no_file(folder):
    with pytest.raises(DataError, match="holds no parallel files") as caught:
        read(folder({"train.txt": "x"}))
    assert "train.txt" in caught.value.faults[0].found
