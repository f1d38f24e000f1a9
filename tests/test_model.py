"""The model itself: its overlap and checkpoint, added heads, and folders saved and loaded."""

import json

import pytest
import small_models
import torch
from safetensors.torch import load_file, save
from small_models import LONG, TYPES

import mtl
from mtl.data.dataset import Dataset
from mtl.data.examples import NERExample, TextExample
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import ConfigError, DataError, ModelError
from mtl.inference import answer, encode, encode_for, predict
from mtl.model import MultiTaskModel
from mtl.nn.config import EncoderConfig
from mtl.nn.encoder import TransformerEncoder
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.training.loop import TrainConfig, train

# pytest looks for a fixture by its name in this module.
many_task_model = small_models.many_task_model
two_task_model = small_models.two_task_model


@pytest.mark.parametrize("overlap", [0, 3])
def test_windows_share_as_many_pieces_as_the_model_says(build_model, overlap):
    model = build_model([NERTask("ner", types=["PER"])], max_length=12, overlap=overlap)
    (item,) = encode_for(model, [mtl.TextExample("one " * 40)])
    starts = [row.first_piece for row in item.rows]
    assert starts[1] == 10 - overlap  # a row of 12 holds ten pieces between [CLS] and [SEP]


@pytest.mark.parametrize("overlap", [-1, 1.5, True, "8"])
def test_what_is_no_overlap(build_model, overlap):
    with pytest.raises(mtl.ConfigError, match="overlap must be a whole number, at least 0") as told:
        build_model([], overlap=overlap)
    assert f"found: {overlap!r}" in str(told.value)


def test_overlap_and_checkpoint_are_kept_with_the_model(build_model, tmp_path):
    model = build_model([NERTask("ner", types=["PER"])], overlap=5)
    model.encoder.pretrained = "some-checkpoint"
    model.save_pretrained(tmp_path)
    again = mtl.MultiTaskModel.from_pretrained(tmp_path)
    assert (again.overlap, again.encoder.pretrained) == (5, "some-checkpoint")
    shape = json.loads((tmp_path / "config.json").read_text())["encoder"]
    assert mtl.EncoderConfig(**shape) == model.encoder.config


def test_folders_of_version_0_3_kept_them_with_the_shape_of_the_encoder(build_model, tmp_path):
    build_model([NERTask("ner", types=["PER"])]).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["overlap"], config["pretrained"]
    config["encoder"] |= {"overlap": 7, "pretrained": "some-checkpoint"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = mtl.MultiTaskModel.from_pretrained(tmp_path)
    assert (again.overlap, again.encoder.pretrained) == (7, "some-checkpoint")


def test_a_recipe_says_both_in_its_section_on_the_encoder():
    with pytest.raises(mtl.ConfigError, match=r"encoder\.overlap must be a"):
        mtl.load_recipe("practical7", ["encoder.overlap=-1"])
    with pytest.raises(mtl.ConfigError, match=r"unknown key model\.overlap"):
        mtl.load_recipe("practical7", ["model.overlap=8"])


def test_models_that_cannot_be(build_model):
    task = NERTask("ner", types=TYPES)
    with pytest.raises(ConfigError, match="same name"):
        build_model([task, QATask("ner")])
    large = WhitespaceTokenizer.train([LONG])
    small = TransformerEncoder(EncoderConfig(len(large) - 1))
    with pytest.raises(ConfigError, match=f"{len(large)} ids, vocab_size {len(large) - 1}"):
        MultiTaskModel(small, large, [task])


def test_a_saved_model_predicts_the_same(two_task_model, sentences, questions, tmp_path):
    two_task_model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    texts = [e.text for e in sentences]
    assert predict(loaded, texts) == predict(two_task_model, texts)
    asked = ([e.question for e in questions], [e.context for e in questions])
    assert answer(loaded, *asked) == answer(two_task_model, *asked)
    assert not loaded.training
    labels = json.loads((tmp_path / "config.json").read_text())["tasks"]["ner"]
    assert labels["id2label"]["1"] == "B-LOC"
    assert labels["label2id"]["B-LOC"] == 1


def test_a_loaded_model_is_the_same_to_the_last_bit(many_task_model, sentences, tmp_path):
    model = many_task_model
    model.save_pretrained(tmp_path)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    texts = [LONG, *(e.text for e in sentences)]
    assert predict(loaded, texts) == predict(model, texts)
    assert torch.equal(encode(loaded, texts), encode(model, texts))
    assert answer(loaded, "Who ?", LONG) == answer(model, "Who ?", LONG)
    assert list(loaded.tasks) == list(model.tasks)
    for name, task in model.tasks.items():
        assert type(loaded.tasks[name]) is type(task)
        assert loaded.tasks[name].settings() == task.settings()
    assert loaded.tokenizer.tokens == model.tokenizer.tokens


def test_a_saved_model_has_one_shared_encoder(many_task_model, tmp_path):
    many_task_model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    of_encoder = {f"encoder.{name}" for name in many_task_model.encoder.state_dict()}
    of_heads = {name for name in saved if name.startswith("heads.")}
    assert {name for name in saved if "layers" in name or "embedding" in name} <= of_encoder
    assert saved.keys() == of_encoder | of_heads
    assert {name.split(".")[1] for name in of_heads} == set(many_task_model.tasks)
    loaded = MultiTaskModel.from_pretrained(tmp_path)
    n_parameters = sum(p.numel() for p in loaded.parameters())
    assert n_parameters == sum(p.numel() for p in many_task_model.parameters())
    assert n_parameters == sum(tensor.numel() for tensor in saved.values())


def test_a_head_added_to_a_loaded_model_learns_and_the_others_stay(
    many_task_model, sentences, tmp_path
):
    many_task_model.save_pretrained(tmp_path)
    model = MultiTaskModel.from_pretrained(tmp_path)
    texts = [LONG, *(e.text for e in sentences)]
    before, asked = predict(model, texts), answer(model, "Who ?", LONG)
    records = [TextExample(e.text, label=str(len(e.tokens) % 2)) for e in sentences]
    task = ClassificationTask("parity", Dataset(train=records))
    model.add_task(task)
    fresh = model.heads["parity"].classifier.weight.clone()
    frozen = ["encoder", *(f"heads.{name}" for name in many_task_model.tasks)]
    config = TrainConfig(epochs=2, learning_rate=1e-2, weight_decay=0.5, freeze=frozen)
    train(model, [task], config, progress=False)
    assert not torch.equal(model.heads["parity"].classifier.weight, fresh)
    after = predict(model, texts)
    assert all(a.pop("parity").label in ("0", "1") for a in after)
    assert after == before
    assert answer(model, "Who ?", LONG) == asked
    assert all(p.requires_grad for p in model.parameters())
    model.save_pretrained(tmp_path)
    assert predict(MultiTaskModel.from_pretrained(tmp_path), texts) == predict(model, texts)


def test_a_second_head_of_the_same_name_is_refused(build_model):
    model = build_model([NERTask("ner", types=TYPES)])
    head, task = model.heads["ner"], model.tasks["ner"]
    with pytest.raises(ConfigError, match="same name"):
        model.add_task(ClassificationTask("ner", labels=["a", "b"]))
    assert model.heads["ner"] is head
    assert model.tasks == {"ner": task}


def test_a_head_for_pairs_needs_two_segments(build_model):
    model = build_model([NERTask("ner", types=TYPES)], n_types=1)
    with pytest.raises(ConfigError, match="two segments"):
        model.add_task(QATask("qa"))
    assert list(model.tasks) == list(model.heads) == ["ner"]


@pytest.mark.parametrize("spoil", ["missing", "cut", "empty"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "whitespace_tokenizer.json"])
def test_a_folder_with_a_missing_or_broken_file(two_task_model, tmp_path, name, spoil):
    two_task_model.save_pretrained(tmp_path)
    path = tmp_path / name
    content = path.read_bytes()
    path.unlink()
    if spoil != "missing":
        path.write_bytes(content[: len(content) // 2] if spoil == "cut" else b"")
    with pytest.raises(ModelError) as error:
        MultiTaskModel.from_pretrained(tmp_path)
    assert name in str(error.value)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ModelError, match="no such model folder"):
        MultiTaskModel.from_pretrained(tmp_path / "nowhere")


def test_a_model_is_read_from_the_hub_and_nothing_else_of_its_repository_is(
    two_task_model, tmp_path, monkeypatch
):
    hub = pytest.importorskip("huggingface_hub")
    two_task_model.save_pretrained(tmp_path)
    asked = []

    def download(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", download)
    loaded = MultiTaskModel.from_pretrained("me/my-model")
    assert predict(loaded, LONG) == predict(two_task_model, LONG)
    ((name, files),) = asked
    assert name == "me/my-model"
    assert {path.name for path in tmp_path.iterdir()} <= set(files)
    assert not [file for file in files if not file.endswith((".json", ".txt", ".safetensors"))]


def test_a_folder_never_names_a_module_to_import(build_model, tmp_path, monkeypatch):
    """A task of an unknown kind is the user's own; who loads it imports it."""
    build_model([NERTask("ner", types=["PER"])]).save_pretrained(tmp_path)
    (tmp_path / "hostile.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["tasks"]["ner"]["kind"] = "hostile:Task"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"kind of the task 'ner'.*\n.*'hostile:Task'") as caught:
        MultiTaskModel.from_pretrained(tmp_path)
    assert "import" in caught.value.faults[0].fix
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_shape(two_task_model, build_model, tmp_path):
    two_task_model.save_pretrained(tmp_path)
    other = build_model([NERTask("ner", types=["X"]), QATask("qa")])
    (tmp_path / "model.safetensors").write_bytes(save(other.state_dict()))
    with pytest.raises(ModelError, match="cannot be loaded into this model"):
        MultiTaskModel.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("types", "message"),
    [(["LOC", "PER", "LOC"], "a type twice"), (["LOC"], "lacks types that its data has")],
)
def test_types_that_cannot_be(types, message):
    data = Dataset(train=[NERExample(("Ann", "Oslo"), ("B-PER", "B-LOC"))])
    with pytest.raises(ConfigError, match=message):
        NERTask("ner", data, types=types)


def test_data_without_any_entity_is_the_fault_of_the_data():
    with pytest.raises(DataError, match="its data has none") as caught:
        NERTask("ner", Dataset(train=[NERExample(("Ann", "ran"), ("O", "O"))]))
    assert caught.value.faults[0].found == "only the tag O"


def test_a_task_cannot_be_called_all():
    with pytest.raises(ConfigError, match='"all" stands for every task'):
        NERTask("all", types=["PER"])


def test_weights_that_are_not_numbers_are_refused(build_model, tmp_path):
    model = build_model([NERTask("ner", types=["PER"])])
    with torch.no_grad():
        model.heads["ner"].classifier.bias[0] = float("nan")
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        MultiTaskModel.from_pretrained(tmp_path)
    assert "heads.ner.classifier.bias holds numbers that are not finite" in str(caught.value)


@pytest.mark.parametrize("text", [3, None, "a\ud800b"])
def test_what_is_no_text_is_not_predicted(build_model, text):
    with pytest.raises(DataError):
        predict(build_model([NERTask("ner", types=["PER"])]), ["fine", text])
