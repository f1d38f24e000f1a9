"""`mtl export` for every format: what is written, printed and refused."""

import json

import pytest
from checkpoints import write_checkpoint

from mtl.export import load_onnx
from mtl.model import MultiTaskModel
from mtl.nn.pretrained import load_pretrained
from mtl.tasks import EmbeddingTask, NERTask, QATask

pytest.importorskip("tokenizers")


@pytest.fixture(scope="module")
def graph(run, tmp_path_factory):
    """The run, exported as a graph, and what the command printed."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    from contextlib import redirect_stdout
    from io import StringIO

    from mtl.cli.main import main

    folder, printed = tmp_path_factory.mktemp("graph") / "new", StringIO()
    with redirect_stdout(printed):
        assert main(["export", str(run), "--output", str(folder)]) == 0
    return folder, printed.getvalue()


@pytest.fixture(scope="module")
def subwords(tmp_path_factory):
    """A model on a tiny BERT, as `mtl train` would save it."""
    pytest.importorskip("transformers")
    checkpoint, folder = tmp_path_factory.mktemp("bert"), tmp_path_factory.mktemp("run")
    write_checkpoint(checkpoint, "BertModel")
    tasks = [NERTask("tags", types=["PER"]), QATask("qa"), EmbeddingTask("vectors")]
    MultiTaskModel(*load_pretrained(checkpoint), tasks).save_pretrained(folder)
    return folder


def test_a_graph_is_compared_on_the_test_data_of_the_run(run, graph):
    folder, printed = graph
    right = json.loads((run / "metrics.json").read_text())["test"]
    found = json.loads((folder / "export.json").read_text())["tasks"]
    for task, metric in {"ner": "entity_f1", "qa": "exact_match"}.items():
        assert found[task]["before"] == right[task][metric]
        assert found[task]["examples"] == 12
        assert found[task]["difference"] < 1e-4
        assert metric in printed
    assert "float32" in printed


def test_other_commands_read_the_graph(mtl_, run, graph):
    folder, _ = graph
    text = ("--task", "ner", "--text", "Ann lives in Oslo.", "--json")
    (_, ours, _), (status, theirs, _) = (mtl_("predict", f, *text) for f in (run, folder))
    assert status == 0
    ours, theirs = (json.loads(said)["words"] for said in (ours, theirs))
    assert [one["tag"] for one in ours] == [one["tag"] for one in theirs]
    assert [x["score"] for x in ours] == pytest.approx([x["score"] for x in theirs], abs=1e-4)
    (_, ours, _), (status, theirs, _) = (mtl_("evaluate", f, "--json") for f in (run, folder))
    assert status == 0
    for task, scores in json.loads(ours).items():
        for name, values in json.loads(theirs)[task].items():
            assert values == pytest.approx(scores[name])
    assert mtl_("validate", folder)[0] == 0


def test_without_its_recipe_a_run_is_exported_all_the_same(
    mtl_, copied_run, graph, tmp_path, monkeypatch
):
    import onnx

    (copied_run / "recipe.toml").unlink()
    traced = onnx.load(graph[0] / "model.onnx")  # of the same weights
    monkeypatch.setattr("mtl.export.for_onnx.graph_of", lambda _: traced)
    status, out, err = mtl_("export", copied_run, "--output", tmp_path / "new", "--half", "--json")
    assert status == 0
    assert "no scores are compared: the folder has no recipe.toml" in err
    found = json.loads(out)
    assert found["weights"] == "half"
    assert found["tasks"]["ner"]["metric"] == ""
    assert load_onnx(tmp_path / "new").predict("Ann lives.", "ner")


@pytest.mark.parametrize(
    ("task", "words"),
    [("ner", "tags: BertForTokenClassification"), ("qa", "qa: BertForQuestionAnswering")],
)
def test_a_task_is_exported_for_transformers(mtl_, subwords, tmp_path, task, words):
    given = ("export", subwords, "--format", "transformers", "--task", task, "--output", tmp_path)
    status, out, _ = mtl_(*given)
    assert (status, out) == (0, f"{words}, in {tmp_path}\n")
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [words.split()[1]]


def test_a_task_is_exported_for_sentence_transformers(mtl_, subwords, tmp_path):
    given = ("--format", "sentence-transformers", "--task", "vectors", "--output", tmp_path)
    status, out, _ = mtl_("export", subwords, *given, "--json")
    assert status == 0
    assert json.loads(out)["modules"] == ["Transformer", "Pooling", "LayerNorm", "Normalize"]
    assert (tmp_path / "modules.json").exists()


@pytest.mark.parametrize(
    ("options", "status", "words"),
    [
        (["--format", "transformers"], 2, ["which task", "tags, qa, vectors", "--task"]),
        (["--format", "transformers", "--task", "tag"], 2, ["no such task", '"tags"']),
        (["--format", "transformers", "--task", "vectors"], 1, ["--format sentence-transformers"]),
        (["--format", "sentence-transformers", "--task", "qa"], 1, ["gives no vectors"]),
        (["--format", "transformers", "--task", "qa", "--int8"], 2, ["--format onnx"]),
        (["--task", "qa"], 2, ["all tasks", "leave --task out"]),
        (["--int8", "--half"], 2, ["not allowed with"]),
    ],
)
def test_what_cannot_be_exported_is_refused(mtl_, subwords, tmp_path, options, status, words):
    found, _, err = mtl_("export", subwords, *options, "--output", tmp_path / "new")
    assert found == status
    for word in words:
        assert word in err
    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_something_is_left_alone(mtl_, subwords, run, tmp_path):
    status, _, err = mtl_("export", subwords, "--output", run)
    assert status == 2
    assert "not an empty folder" in err
    (tmp_path / "file").write_text("mine")
    assert mtl_("export", subwords, "--output", tmp_path / "file")[0] == 2
    assert (tmp_path / "file").read_text() == "mine"
