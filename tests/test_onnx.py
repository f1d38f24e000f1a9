"""One graph of the encoder and all heads: it computes what the model does, and predicts alike."""

import json
import sys

import graphs
import pytest
import torch
from graphs import LABELS, LONGEST, SHAPES, every_task

from mtl.data.batching import Batch
from mtl.data.examples import NERExample, PairExample, TextExample
from mtl.errors import ConfigError, ModelError
from mtl.experiments.bundled import bundled_recipes
from mtl.experiments.recipe import load_recipe
from mtl.export import check_export, export_onnx, for_onnx, load_onnx
from mtl.export.onnx_graph import leaves, names_of, outputs_named
from mtl.inference import evaluate_baselines
from mtl.model import MultiTaskModel
from mtl.tasks import ClassificationTask, NERTask, Task
from mtl.training.loop import train

every_head, exported = graphs.every_head, graphs.exported  # found by their names in this module

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

LONG = "Alice Bob lives in Paris and works at Acme Corp in Oslo . " * 3
TEXTS = ["Alice lives in Oslo .", "Paris", LONG]


EXAMPLES = {
    "ner": [NERExample(["Alice", "lives", "in", "Oslo"], ["B-PER", "O", "O", "B-LOC"])] * 3,
    "topic": [TextExample("Alice lives", label="a"), TextExample("Oslo", label="b")],
    "vector": [PairExample("Alice", "Bob"), PairExample("Oslo", "Paris")],
}


@pytest.fixture(scope="module")
def two_tasks(build_model, tmp_path_factory):
    """A model of tags and of classes with a threshold, its folder, and what the export reported."""
    moods = ClassificationTask("moods", labels=LABELS, multi_label=True)
    moods.thresholds = {"least_probability": 0.0}
    tasks = [NERTask("ner", types=["PER", "LOC"]), moods]
    model = build_model(tasks, overlap=4, max_length=16).eval()
    folder = tmp_path_factory.mktemp("two")
    return model, folder, export_onnx(model, folder, tests={"ner": EXAMPLES["ner"]})


def batch_of(lengths, vocabulary, seed=0):
    """Random ids in rows of these lengths, the second half of each of the second segment."""
    generator = torch.Generator().manual_seed(seed)
    shape = len(lengths), max(lengths)
    ids = torch.randint(vocabulary, shape, generator=generator)
    positions, ends = torch.arange(shape[1]), torch.tensor(lengths)[:, None]
    mask = positions < ends
    types = ((positions >= ends // 2) & mask).long()
    return Batch([], torch.arange(len(lengths)), ids.masked_fill(~mask, 0), mask, types, mask)


def assert_same_outputs(model, other, batch, atol=1e-4):
    ours, theirs = (m(batch, list(model.tasks)) for m in (model, other))
    assert ours.keys() == theirs.keys()
    for task in ours:
        for one, two in zip(leaves(ours[task]), leaves(theirs[task]), strict=True):
            assert one.shape == two.shape
            assert two.dtype == torch.float32
            # Beside tokens (N, T, ...), the vectors at padding mean nothing.
            of_tokens = one.shape[:2] == batch.attention_mask.shape
            one, two = ((x[batch.attention_mask] if of_tokens else x) for x in (one, two))
            assert torch.allclose(one, two, atol=atol, rtol=0), task


@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_every_head_gives_the_same_outputs_for_every_length(exported, shape):
    model, folder = exported(shape)
    other, vocabulary = load_onnx(folder), len(model.tokenizer)
    for length in range(1, LONGEST + 1):
        assert_same_outputs(model, other, batch_of([length], vocabulary, length))
    for lengths in ([LONGEST, 1], [5, 13, 2, 1, 9], [1, 1, 1], [2] * 6):
        batch = batch_of(lengths, vocabulary)
        assert_same_outputs(model, other, batch)
        given = batch.input_ids, batch.attention_mask, batch.token_type_ids
        hidden, mask = other.encoder(*given), batch.attention_mask
        assert torch.allclose(hidden[mask], model.encoder(*given)[mask], atol=1e-4, rtol=0)


def test_the_shapes_are_those_of_the_bundled_recipes():
    """Of every recipe, the kind of each head and of the encoder is among those tested above."""
    tested = {describe_task(type(task), task.settings()) for task in every_task()}
    encoders = [describe_encoder(settings) for settings, _ in SHAPES.values()]
    for name in bundled_recipes():
        recipe = load_recipe(name)
        for task in recipe.tasks.values():
            assert describe_task(Task.of_kind(task.kind), task.options) in tested, name
        # Of a checkpoint, DistilBERT, only the name is in the recipe.
        own = {"positions": "learned", "norm": "post"} if "pretrained" in recipe.encoder else {}
        assert describe_encoder(recipe.encoder_shape | own) in encoders, name


def describe_task(task_class, options):
    defaults = {"decoding": "greedy", "multi_label": False}
    values = [options.get(key, value) for key, value in defaults.items()]
    values[0] = "greedy" if values[0] == "constrained" else values[0]  # the head is the same
    return task_class, *values


def describe_encoder(settings):
    defaults = {"positions": "sinusoidal", "norm": "pre", "local_attention": 0}
    return [settings.get(key, value) for key, value in defaults.items()]


def nodes(folder, *kinds):
    return [n for n in onnx.load(folder / "model.onnx").graph.node if n.op_type in kinds]


@pytest.mark.parametrize(
    ("shape", "passes"), [("rotary", 2), ("like ModernBERT", 6), ("own parts", 6)]
)
def test_the_encoder_is_in_the_graph_once(exported, shape, passes):
    """Two layers have two softmaxes, whatever the number of heads; an adapter has its own pass."""
    _, folder = exported(shape)
    assert len(nodes(folder, "Softmax")) == passes
    tokens = [n for n in nodes(folder, "Gather") if "input_ids" in n.input]
    assert len(tokens) == 1


def test_rotary_positions_are_real_numbers(exported):
    graph = onnx.load(exported("rotary")[1] / "model.onnx").graph
    complex_types = {onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128}
    types = {tensor.data_type for tensor in graph.initializer}
    types |= {value.type.tensor_type.elem_type for value in graph.value_info}
    assert types.isdisjoint(complex_types)


def test_names_labels_and_sizes_are_in_the_graph(exported):
    model, folder = exported("rotary")
    proto = onnx.load(folder / "model.onnx")
    told = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(told["labels"])["ner"] == ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    assert json.loads(told["kinds"]) == {name: task.kind for name, task in model.tasks.items()}
    assert json.loads(told["outputs"])["qa"] == ["qa.0", "qa.1"]
    assert told["max_length"] == str(LONGEST)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.output)
    }
    assert shapes["input_ids"] == shapes["attention_mask"] == ["batch", "tokens"]
    assert shapes["ner"] == ["batch", "tokens", 5]
    assert shapes["topic"] == ["batch", 3]
    assert shapes["last_hidden_state"] == ["batch", "tokens", 16]


def test_the_graph_says_nothing_about_the_machine_that_wrote_it(exported):
    content = (exported("rotary")[1] / "model.onnx").read_bytes()
    assert b".py" not in content
    assert b"site-packages" not in content


def close(one, two):
    """The same JSON values, numbers but for rounding."""
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(close(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(close, one, two))
    return one == pytest.approx(two, abs=1e-4) if isinstance(one, float) else one == two


@pytest.mark.parametrize("shape", ["rotary", "like ModernBERT"])
def test_what_is_loaded_predicts_like_the_model(exported, shape):
    model, folder = exported(shape)
    other = load_onnx(folder)
    given = [*TEXTS, ("Who lives in Oslo?", "Alice lives in Oslo."), ("Where?", LONG)]
    for ours, theirs in zip(model.predict(given), other.predict(given), strict=True):
        assert close(ours.to_dict(), theirs.to_dict())
    assert close(model.predict(LONG).to_dict(), other.predict(LONG, batch_size=1).to_dict())
    ours, theirs = (m.answer(["Who?", "Where?"], LONG, n=3) for m in (model, other))
    for one, two in zip(ours, theirs, strict=True):
        assert close([x.to_dict() for x in one], [x.to_dict() for x in two])
    assert torch.allclose(model.encode(TEXTS), other.encode(TEXTS), atol=1e-4)
    near, there = (m.nearest("Oslo", TEXTS, n=2) for m in (model, other))
    assert [one.index for one in near] == [one.index for one in there]
    assert other.task("qa") is other.tasks["qa"]


def test_a_model_without_an_embedding_task_encodes_with_the_mean(two_tasks):
    model, folder, _ = two_tasks
    assert torch.allclose(load_onnx(folder).encode(TEXTS), model.encode(TEXTS), atol=1e-4)


@torch.no_grad()
def test_a_task_may_be_called_like_a_step_inside_the_graph(build_model, tmp_path):
    names = ["embedding", "linear", "val_0", "softmax", "layer_norm"]
    model = build_model([NERTask(name, types=["X"]) for name in names], max_length=16).eval()
    export_onnx(model, tmp_path)
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert [output.name for output in graph.output] == ["last_hidden_state", *names]
    assert_same_outputs(model, load_onnx(tmp_path), batch_of([5, 3], len(model.tokenizer)))


@pytest.mark.parametrize("name", ["input_ids", "last_hidden_state"])
def test_a_task_with_a_name_that_the_graph_needs_is_an_error(build_model, tmp_path, name):
    model = build_model([NERTask(name, types=["X"])], max_length=16)
    with pytest.raises(ModelError, match="an input of the graph") as error:
        export_onnx(model, tmp_path / "exported")
    assert error.value.faults[0].found == name
    assert not (tmp_path / "exported").exists()


@pytest.mark.parametrize("task", ["ner", "topic", "vector"])
def test_it_is_scored_like_the_model(exported, task):
    model, folder = exported("rotary")
    other = load_onnx(folder)
    ours, theirs = (m.evaluate(task, EXAMPLES[task]) for m in (model, other))
    assert ours == pytest.approx(theirs)
    ours, theirs = (evaluate_baselines(m, task, EXAMPLES[task]) for m in (model, other))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-6)


def test_thresholds_and_overlap_are_those_of_the_model(two_tasks):
    model, folder, _ = two_tasks
    other = load_onnx(folder)
    assert other.tasks["moods"].thresholds == model.tasks["moods"].thresholds
    assert other.overlap == 4
    assert {*other.predict("Alice", "moods")["moods"].labels} == {*LABELS}


# --- smaller weights ----------------------------------------------------------------------------


def matrices_rounded(model):
    """The model with its matrices, as `--half` keeps them: rounded to float16."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.copy_(parameter.half().float())
    return model


@torch.no_grad()
def test_in_half_the_matrices_are_rounded_and_nothing_else(exported, every_head):
    _, folder = exported("rotary", "half")
    model, vocabulary = matrices_rounded(every_head("rotary")), len(every_head("rotary").tokenizer)
    assert_same_outputs(model, load_onnx(folder), batch_of([14, 3], vocabulary), atol=1e-4)
    whole = (exported("rotary")[1] / "model.onnx").stat().st_size
    assert (folder / "model.onnx").stat().st_size < 0.85 * whole


@torch.no_grad()
def test_in_int8_the_encoder_is_quantized_and_the_heads_are_not(exported):
    model, folder = exported("rotary", "int8")
    other, batch = load_onnx(folder), batch_of([14, 3], len(model.tokenizer))
    # Two layers have four matrices each.
    assert len(nodes(folder, "MatMulInteger")) == 8
    floats = {
        tuple(t.dims)
        for t in onnx.load(folder / "model.onnx").graph.initializer
        if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) == 2
    }
    assert (16, 5) in floats  # the head of the task ner
    assert (len(model.tokenizer), 16) not in floats  # the embeddings
    hidden = other.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    right = model.encoder(batch.input_ids, batch.attention_mask, batch.token_type_ids)
    error = (hidden - right)[batch.attention_mask].abs().mean()
    assert 1e-4 < error < 0.1 * right.abs().mean()


def test_a_weight_that_half_precision_cannot_hold_is_refused(two_tasks, tmp_path, monkeypatch):
    model, folder, _ = two_tasks
    graph = onnx.load(folder / "model.onnx")
    weight = next(t for t in graph.graph.initializer if list(t.dims) == [16, 5])  # the head of tags
    values = onnx.numpy_helper.to_array(weight).copy()
    values[0, 0] = 1e6
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    monkeypatch.setattr(for_onnx, "graph_of", lambda _: graph)
    with pytest.raises(ModelError, match="too large for half precision"):
        export_onnx(model, tmp_path / "new", "half")
    assert not (tmp_path / "new").exists()


# --- the check ----------------------------------------------------------------------------------


def test_the_check_finds_a_weight_that_differs(exported, every_head):
    _, folder = exported("rotary")
    changed = every_head("rotary")
    with torch.no_grad():
        changed.heads["topic"].classifier.bias += 0.25
        changed.heads["qa"].start_and_end.bias[0] += 0.5  # of the first output of two
    found = check_export(changed, load_onnx(folder), {})
    assert found["topic"].difference == pytest.approx(0.25, abs=1e-4)
    assert found["qa"].difference == pytest.approx(0.5, abs=1e-4)
    assert all(x.difference < 1e-4 for name, x in found.items() if name not in ("topic", "qa"))


def test_a_number_that_is_none_is_no_small_difference(exported, every_head):
    _, folder = exported("rotary")
    changed = every_head("rotary")
    with torch.no_grad():
        changed.heads["qa"].start_and_end.bias[0] = float("nan")
    found = check_export(changed, load_onnx(folder), {})
    assert found["qa"].difference != found["qa"].difference
    for weights in ("float32", "half"):
        with pytest.raises(ModelError, match="does not give the outputs"):
            for_onnx._check_is_equal(found, for_onnx.ALLOWED.get(weights, float("inf")))


def test_the_check_compares_the_main_metric(exported, every_head):
    _, folder = exported("rotary")
    other, changed = load_onnx(folder), every_head("rotary")
    with torch.no_grad():
        changed.heads["topic"].classifier.weight.zero_()
        changed.heads["topic"].classifier.bias.copy_(torch.tensor([9.0, 0.0, 0.0]))
    tests = {"topic": EXAMPLES["topic"]}
    found = check_export(changed, other, tests)["topic"]
    assert (found.metric, found.before, found.examples) == ("accuracy", 0.5, 2)  # always "a"
    assert found.after == other.evaluate("topic", tests["topic"])["accuracy"]
    assert found.change == found.after - 0.5
    assert check_export(changed, other, tests)["ner"].metric == ""


def test_what_was_found_is_in_the_folder(two_tasks):
    model, folder, report = two_tasks
    told = json.loads((folder / "export.json").read_text())
    assert told["weights"] == "float32"
    assert told["bytes"] == (folder / "model.onnx").stat().st_size
    assert told["tasks"]["ner"]["before"] == model.evaluate("ner", EXAMPLES["ner"])["entity_f1"]
    assert told["tasks"]["ner"]["difference"] < 1e-4
    for text in (str(report), (folder / "export.md").read_text()):
        assert "entity_f1" in text
        assert "+0.0000" in text


class NoisyHead(torch.nn.Linear):
    def forward(self, hidden):
        return super().forward(hidden) + torch.rand(hidden.shape[0], hidden.shape[1], 1)


class CountingHead(torch.nn.Linear):
    def forward(self, hidden):
        return super().forward(hidden) * len(hidden.tolist())


@pytest.mark.parametrize(
    ("head", "words"), [(NoisyHead, "does not give the outputs"), (CountingHead, "as a graph")]
)
def test_a_graph_that_cannot_be_right_is_not_written(build_model, tmp_path, head, words):
    model = build_model([NERTask("ner", types=["X"])], max_length=16)
    model.heads["ner"] = head(16, 3)
    with pytest.raises(ModelError, match=words):
        export_onnx(model, tmp_path / "new")
    assert not (tmp_path / "new").exists()


# --- loading ------------------------------------------------------------------------------------


def copy(folder, to):
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def message_of(kind, call, *arguments, **options):
    with pytest.raises(kind) as caught:
        call(*arguments, **options)
    return str(caught.value)


def test_a_broken_folder_says_what_is_wrong(exported, build_model, tmp_path):
    _, folder = exported("rotary")
    copied = copy(folder, tmp_path)
    assert "mtl.load_onnx reads it" in message_of(
        ModelError, MultiTaskModel.from_pretrained, copied
    )
    config = json.loads((copied / "config.json").read_text())
    config["tasks"]["other"] = config["tasks"]["qa"]
    (copied / "config.json").write_text(json.dumps(config))
    assert "not of the same model" in message_of(ModelError, load_onnx, copied)
    (copied / "model.onnx").write_bytes((copied / "model.onnx").read_bytes()[:1000])
    message = message_of(ModelError, load_onnx, copied)
    assert "not a graph that mtl export wrote" in message
    assert str(copied / "model.onnx") in message
    assert "no such model folder" in message_of(ModelError, load_onnx, tmp_path / "absent")
    build_model([NERTask("ner", types=["X"])]).save_pretrained(tmp_path / "run")
    assert "not an exported one" in message_of(ModelError, load_onnx, tmp_path / "run")
    assert "threads" in message_of(ConfigError, load_onnx, folder, threads=-1)


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_without_a_library_the_error_names_the_extra(
    exported, build_model, tmp_path, monkeypatch, library
):
    _, folder = exported("rotary")
    monkeypatch.setitem(sys.modules, library, None)
    if library == "onnxruntime":
        assert "the extra 'onnx'" in message_of(ConfigError, load_onnx, folder)
    else:
        model = build_model([NERTask("ner", types=["X"])])
        assert "the extra 'onnx'" in message_of(ConfigError, export_onnx, model, tmp_path)


def test_only_what_was_asked_for_is_computed(exported):
    """Of a graph with a pass for each adapter, one head alone needs one of them."""
    other, asked = load_onnx(exported("like ModernBERT")[1]), []
    run = other.graph.session.run
    other.graph.session = type("Session", (), {"run": lambda _, *a: asked.append(a) or run(*a)})()
    other.predict("Alice", "topic")
    ((names, _, options),) = asked
    assert names == ["topic"]
    assert options.only_execute_path_to_fetches


def test_an_exported_model_is_not_trained(exported):
    other = load_onnx(exported("rotary")[1])
    assert "no weights to train" in message_of(ConfigError, train, other, ["ner"])


def test_outputs_keep_their_form():
    tensors = [torch.tensor(i) for i in range(3)]
    outputs = {"a": tensors[0], "b": (tensors[1], {"c": tensors[2]})}
    names = json.loads(json.dumps(names_of(outputs, "x")))
    assert list(leaves(names)) == ["x.a", "x.b.0", "x.b.1.c"]
    assert outputs_named(names, dict(zip(leaves(names), tensors, strict=True))) == outputs
