"""Pretrained checkpoints: every hidden state is that of `transformers`, and errors are clear."""

import json
import os
import sys
import time
from pathlib import Path

import parity
import pytest
import torch
from checkpoints import (
    POSITIONS,
    WORD_PIECES,
    minilm_folder,
    rewrite_json,
    rewrite_weights,
    varied_texts,
    write_byte_pairs,
    write_word_pieces,
)
from parity import BASES, assert_parity, inputs, message_of, our_states

from mtl.errors import ConfigError, ModelError
from mtl.inference import encode
from mtl.model import MultiTaskModel
from mtl.nn.config import EncoderConfig
from mtl.nn.encoder import TransformerEncoder
from mtl.nn.export import save_for_transformers
from mtl.nn.families import FAMILIES
from mtl.nn.pretrained import find_checkpoint, load_pretrained
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask

# pytest looks for a fixture by its name in this module.
checkpoint = parity.checkpoint
copied = parity.copied

pytest.importorskip("tokenizers")


UNDER_HEADS = [
    *("BertForMaskedLM", "BertForPreTraining", "BertForTokenClassification"),
    *("BertForSequenceClassification", "DistilBertForMaskedLM", "DistilBertForQuestionAnswering"),
    *("DistilBertForSequenceClassification", "RobertaForMaskedLM", "RobertaForTokenClassification"),
    *("XLMRobertaForMaskedLM", "XLMRobertaForTokenClassification", "CamembertForMaskedLM"),
    *("CamembertForTokenClassification", "ElectraForPreTraining", "ElectraForMaskedLM"),
    *("ElectraForTokenClassification", "ElectraForQuestionAnswering"),
    *("ModernBertForMaskedLM", "ModernBertForTokenClassification"),
    *("ModernBertForSequenceClassification", "ModernBertForQuestionAnswering"),
]


@pytest.mark.parametrize("class_name", BASES + UNDER_HEADS)
def test_every_hidden_state_is_that_of_transformers(checkpoint, class_name):
    folder, model = checkpoint(class_name)
    encoder, _ = load_pretrained(folder)
    assert len(our_states(encoder, *inputs([4], 60, 0))) == 4
    assert_parity(encoder, model)
    assert_parity(encoder, model, [2])


@pytest.mark.parametrize(
    ("class_name", "settings"),
    [
        ("BertModel", {"type_vocab_size": 1}),
        ("BertModel", {"type_vocab_size": 3}),
        ("RobertaModel", {"type_vocab_size": 2}),
        ("BertModel", {"hidden_act": "relu"}),
        ("BertModel", {"layer_norm_eps": 0.1}),
        ("RobertaModel", {"layer_norm_eps": 0.1}),
        ("ElectraModel", {"embedding_size": 32}),
        ("ElectraModel", {"embedding_size": 40, "layer_norm_eps": 0.1}),
        ("DistilBertModel", {"activation": "relu"}),
        ("DistilBertModel", {"sinusoidal_pos_embds": True}),
    ],
)
def test_what_the_config_says_is_followed(checkpoint, class_name, settings):
    folder, model = checkpoint(class_name, **settings)
    assert_parity(load_pretrained(folder)[0], model)


def test_the_epsilon_of_layer_norm_matters_where_states_are_small(checkpoint):
    """At the usual width of states 1e-12 and 1e-5 look alike, so DistilBERT's are made small."""
    folder, model = checkpoint("DistilBertModel")
    encoder, _ = load_pretrained(folder)
    small = 1e-3 * torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(encoder.norm(small), model.embeddings.LayerNorm(small), atol=1e-5)


def test_a_single_segment_is_folded_into_the_positions_and_pairs_can_be_read(checkpoint):
    encoder, tokenizer = load_pretrained(checkpoint("BertModel", type_vocab_size=1)[0])
    assert encoder.config.n_types == 0
    assert encoder.type_embedding is None
    MultiTaskModel(encoder, tokenizer, [QATask("qa")])


def test_old_names_of_layer_norm_are_read(copied, checkpoint):
    folder = copied()

    def old(name):
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        return name.replace("LayerNorm.bias", "LayerNorm.beta")

    rewrite_weights(folder, lambda tensors: {old(name): t for name, t in tensors.items()})
    assert_parity(load_pretrained(folder)[0], checkpoint("BertModel")[1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_are_float32_whatever_the_file_holds(copied, dtype):
    folder = copied()
    exact, _ = load_pretrained(folder)
    rewrite_weights(folder, lambda tensors: {n: t.to(dtype) for n, t in tensors.items()})
    encoder, _ = load_pretrained(folder)
    for name, parameter in encoder.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.requires_grad
        assert torch.equal(parameter, exact.get_parameter(name).to(dtype).float())


def test_buffers_of_positions_are_no_weights(copied, checkpoint, capsys):
    folder = copied("BertForMaskedLM")
    buffer = {"bert.embeddings.position_ids": torch.arange(POSITIONS)[None]}
    rewrite_weights(folder, lambda tensors: tensors | buffer)
    assert_parity(load_pretrained(folder)[0], checkpoint("BertForMaskedLM")[1])


def test_what_is_left_out_is_logged_and_nothing_is_printed(checkpoint, caplog, capsys):
    caplog.set_level("INFO", logger="mtl")
    (folder, _), (headless, _) = map(checkpoint, ("BertForPreTraining", "DistilBertModel"))
    capsys.readouterr()
    load_pretrained(folder)
    load_pretrained(headless)
    first, second = caplog.messages
    assert first.startswith(f"{folder.name}: TransformerEncoder(3 layers, width 32, 4 heads")
    assert first.endswith("left out: pooler (2 tensors), cls (7 tensors)")
    assert second.endswith("left out: nothing")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("class_name", BASES)
def test_fewer_positions_give_the_same_states_for_short_rows(checkpoint, class_name):
    folder, model = checkpoint(class_name)
    encoder, _ = load_pretrained(folder, max_length=12)
    assert encoder.config.max_length == 12
    if encoder.config.positions == "learned":
        assert encoder.position_embedding.weight.shape[0] == 12
    assert_parity(encoder, model, [12, 5])
    with pytest.raises(ValueError, match="13 tokens"):
        encoder(torch.ones(1, 13, dtype=torch.long))


def test_a_row_is_as_long_as_there_are_positions_for_tokens(checkpoint):
    """RoBERTa's table has two rows more, which no token uses."""
    for class_name in BASES:
        encoder, _ = load_pretrained(checkpoint(class_name)[0])
        assert encoder.config.max_length == POSITIONS


DROPOUTS = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.3}
OTHER_DROPOUTS = {
    "DistilBertModel": {"dropout": 0.1, "attention_dropout": 0.3},
    "ModernBertModel": {"embedding_dropout": 0.1, "attention_dropout": 0.3},
}


@pytest.mark.parametrize("class_name", BASES)
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (0.1, 0.3)),
        ({"dropout": 0.2}, (0.2, 0.2)),
        ({"dropout": 0.0}, (0.0, 0.0)),
        ({"attention_dropout": 0.0}, (0.1, 0.0)),
        ({"dropout": 0.2, "attention_dropout": 0.4}, (0.2, 0.4)),
    ],
)
def test_dropout_is_the_checkpoints_unless_given(checkpoint, tmp_path, class_name, given, expected):
    dropouts = OTHER_DROPOUTS.get(class_name, DROPOUTS)
    encoder, tokenizer = load_pretrained(checkpoint(class_name, **dropouts)[0], **given)
    for layer in encoder.layers:
        assert (layer.dropout.p, layer.attention.dropout) == expected
    save_for_transformers(encoder, tokenizer, tmp_path)
    written = json.loads((tmp_path / "config.json").read_text())
    assert tuple(written[key] for key in dropouts) == expected


def test_loading_draws_no_random_number(checkpoint):
    state = torch.get_rng_state()
    load_pretrained(checkpoint("BertModel")[0])
    assert torch.equal(torch.get_rng_state(), state)


def test_the_encoder_is_named_after_the_folder(copied, monkeypatch):
    folder = copied()
    assert load_pretrained(folder)[0].pretrained == folder.name
    assert load_pretrained(f"{folder}/")[0].pretrained == folder.name
    monkeypatch.chdir(folder)
    assert load_pretrained(".")[0].pretrained == folder.name


def test_a_downloaded_encoder_is_named_as_on_the_hub(checkpoint, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    folder, model = checkpoint("BertModel")
    asked = {}

    def download(name, **arguments):
        asked.update(arguments, name=name)
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", download)
    encoder, _ = load_pretrained("someone/tiny-bert")
    assert encoder.pretrained == "tiny-bert"
    assert asked["name"] == "someone/tiny-bert"
    assert not [pattern for pattern in asked["allow_patterns"] if "bin" in pattern]
    assert_parity(encoder, model)


def test_distilbert_has_its_published_number_of_parameters():
    config = EncoderConfig(
        30522,
        d_model=768,
        n_heads=12,
        n_layers=6,
        d_ff=3072,
        max_length=512,
        positions="learned",
        norm="post",
        n_types=0,
    )
    with torch.device("meta"):
        encoder = TransformerEncoder(config)
        heads = [
            NERTask("ner", types=["PER", "ORG", "LOC", "MISC"]).build_head(768),
            QATask("qa").build_head(768),
        ]
    modules = [encoder, *heads]
    assert sum(p.numel() for module in modules for p in module.parameters()) == 66_371_339


def test_minilm_gives_the_reference_sentence_vectors():
    transformers = pytest.importorskip("transformers")
    folder = minilm_folder()
    texts = [text for text in varied_texts(40) if text.strip() and len(text) < 150]
    tokenize = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    batch = tokenize(texts, padding=True, return_tensors="pt")
    assert not batch["attention_mask"].all()
    reference = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
    with torch.no_grad():
        hidden = reference(**batch).last_hidden_state
    keep = batch["attention_mask"][:, :, None]
    means = (hidden * keep).sum(1) / keep.sum(1)
    expected = means / means.norm(dim=1, keepdim=True)
    encoder, tokenizer = load_pretrained(folder)
    model = MultiTaskModel(encoder, tokenizer, [NERTask("ner", types=["PER"])])
    assert torch.allclose(encode(model, texts), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("model_type", ["t5", "deberta-v2", "albert", "modernbert-decoder", None])
def test_an_unknown_model_type_is_named_with_those_that_are_known(copied, model_type):
    folder = copied()
    rewrite_json(folder / "config.json", model_type=model_type)
    message = message_of(folder)
    assert f"{folder / 'config.json'}: the checkpoint is of a model type" in message
    assert f"model_type {model_type!r}" in message
    assert f"use one of {', '.join(FAMILIES)}" in message


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"hidden_size": None}, "no key 'hidden_size'"),
        ({"hidden_act": "gelu_new"}, "activation 'gelu_new'"),
        ({"is_decoder": True}, "is_decoder true: each token sees only those before it"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"num_attention_heads": 5}, "n_heads; d_model 32, n_heads 5\n  to do"),
        ({"num_hidden_layers": "3"}, "n_layers must be a whole number; '3'"),
        (
            {"hidden_act": ["gelu"], "num_attention_heads": None},
            "no key 'num_attention_heads'",
        ),
    ],
)
def test_a_config_that_no_encoder_has_is_an_error(copied, change, found):
    folder = copied()
    rewrite_json(folder / "config.json", **change)
    message = message_of(folder)
    assert message.startswith(f"{folder / 'config.json'}: the encoder cannot be built from")
    assert found in message
    assert f"use a checkpoint of {', '.join(FAMILIES)}; one of bert needs learned" in message
    assert "relu, gelu" in message


def test_a_roberta_that_pads_with_another_id_counts_positions_otherwise(copied):
    folder = copied("RobertaModel")
    rewrite_json(folder / "config.json", pad_token_id=0)
    assert "pad_token_id 0" in message_of(folder)


@pytest.mark.parametrize("content", ["{", "[1]", "", "\udcff"])
def test_a_config_that_is_no_json_object_is_an_error(copied, content):
    folder = copied()
    (folder / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert "config.json cannot be read as JSON" in message_of(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "vocab.txt"])
def test_a_missing_file_is_named_beside_those_there(copied, name):
    folder = copied()
    (folder / name).unlink()
    message = message_of(folder)
    wanted = "tokenizer.json" if name == "vocab.txt" else name
    assert f"the model folder has no {wanted}" in message
    assert "tokenizer_config.json" in message
    assert "or that the checkpoint came in" in message


@pytest.mark.parametrize("rows", [-40, -1, 128, 5000])
def test_a_vocabulary_that_does_not_match_the_embedding_is_an_error(copied, rows):
    folder = copied()
    n_pieces = len(WORD_PIECES) + 3 - rows  # the embedding has three rows more
    pieces = [*WORD_PIECES, *(f"more{i}" for i in range(40))] if rows < 0 else WORD_PIECES
    if rows < 0:
        write_word_pieces(folder, pieces[:n_pieces])
    else:
        rewrite_json(folder / "config.json", vocab_size=len(WORD_PIECES) + rows)
    message = message_of(folder)
    assert "the tokenizer's vocabulary does not match the embedding" in message
    assert "pieces, vocab_size" in message


def test_all_that_is_wrong_with_the_tensors_is_listed(copied):
    folder = copied("BertForMaskedLM")

    def spoil(tensors):
        del tensors["bert.encoder.layer.1.attention.self.key.weight"]
        tensors["bert.encoder.layer.7.output.dense.bias"] = torch.zeros(32)
        tensors["bert.embeddings.LayerNorm.bias"] = torch.zeros(31)
        return tensors

    rewrite_weights(folder, spoil)
    message = message_of(folder)
    assert "the weights do not fit the checkpoint's config (3 problems)" in message
    assert "missing: encoder.layer.1.attention.self.key.weight" in message
    assert "unexpected: encoder.layer.7.output.dense.bias" in message
    assert "mis-shaped: embeddings.LayerNorm.bias is [31], not [32]" in message


def test_heads_alone_are_no_encoder(copied):
    folder = copied("BertForMaskedLM")
    rewrite_weights(folder, lambda tensors: {n: t for n, t in tensors.items() if "cls." in n})
    message = message_of(folder)
    assert "the checkpoint holds heads alone, and no encoder" in message
    assert "found: tensors of cls" in message


def test_a_shape_with_the_same_number_of_values_is_still_wrong(copied):
    folder = copied()
    name = "encoder.layer.0.intermediate.dense.weight"
    rewrite_weights(folder, lambda tensors: tensors | {name: tensors[name].T})
    assert f"mis-shaped: {name} is [32, 48], not [48, 32]" in message_of(folder)


def test_a_config_with_fewer_layers_than_weights_is_an_error(copied):
    folder = copied()
    rewrite_json(folder / "config.json", num_hidden_layers=2)
    message = message_of(folder)
    assert "(16 problems)" in message
    assert message.count("unexpected: encoder.layer.2.") == 10
    assert "; ..." in message


@pytest.mark.parametrize("kept", [0, 7, 300, 20_000])
def test_truncated_weights_are_an_error(copied, kept):
    path = copied() / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    message = message_of(path.parent)
    assert message.startswith(f"{path}: the weights cannot be loaded")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_an_error(copied, value):
    folder = copied()
    name = "encoder.layer.1.output.dense.bias"
    rewrite_weights(folder, lambda tensors: tensors | {name: torch.full((32,), value)})
    assert f"{name} holds numbers that are not finite" in message_of(folder)


def test_more_positions_than_there_are_cannot_be_asked_for(checkpoint):
    folder, _ = checkpoint("RobertaModel")
    message = message_of(folder, ConfigError, max_length=POSITIONS + 1)
    assert f"found: {POSITIONS + 1} tokens, {POSITIONS} positions" in message
    assert f"at most {POSITIONS}" in message


@pytest.mark.parametrize("max_length", [0, -3, 7])
def test_too_few_positions_are_an_error(checkpoint, max_length):
    message = message_of(checkpoint("BertModel")[0], ConfigError, max_length=max_length)
    assert "encoder.max_length must be at least 8" in message
    assert str(max_length) in message


def test_a_pickle_is_never_opened(copied):
    folder = copied()
    (folder / "model.safetensors").unlink()
    ran = folder / "ran"

    class Malicious:
        def __reduce__(self):
            return os.mkdir, (str(ran),)

    torch.save({"weights": Malicious()}, folder / "pytorch_model.bin")
    message = message_of(folder)
    assert "only as a pickle (pytorch_model.bin)" in message
    assert "never opened" in message
    assert "to do: get the checkpoint's model.safetensors" in message
    assert not ran.exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert ran.exists(), "the trap itself works"


def test_a_pickle_beside_the_weights_does_no_harm(copied):
    folder = copied()
    (folder / "pytorch_model.bin").write_bytes(b"not even a pickle")
    load_pretrained(folder)


def test_a_hub_name_without_network_says_what_to_do(monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    before = time.perf_counter()
    with pytest.raises(ModelError) as caught:
        find_checkpoint("nobody/no-such-model")
    assert time.perf_counter() - before < 2
    message = str(caught.value)
    assert len(message.splitlines()) == 3  # what, found, to do: of the library's own only one line
    assert "there is no folder 'nobody/no-such-model'" in message
    assert "check its name and the network, or put config.json, model.safetensors" in message


@pytest.mark.parametrize("read", [load_pretrained, MultiTaskModel.from_pretrained])
def test_both_readers_know_names_on_the_hub(monkeypatch, read):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="'nobody/no-such-model', and no such model could be"):
        read("nobody/no-such-model")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match="pip install huggingface_hub"):
        read("nobody/no-such-model")


def test_a_path_object_is_never_a_name_on_the_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match="there is no such model folder"):
        find_checkpoint(Path("distilbert-base-cased"))


def test_a_hub_name_without_the_library_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"no folder .* pip install huggingface_hub$"):
        find_checkpoint("distilbert-base-cased")


@pytest.mark.parametrize("name", ["/no/such/folder", "./none", "~/none/of/it", "a/b/c"])
def test_a_path_that_does_not_exist_is_not_looked_for_on_the_hub(name):
    with pytest.raises(ModelError) as caught:
        find_checkpoint(name)
    assert str(caught.value).startswith(f"{name}: there is no such model folder")
    assert "model.safetensors" in str(caught.value)


def test_a_file_is_no_checkpoint_folder(tmp_path, monkeypatch):
    (tmp_path / "weights").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match="weights: there is no such model folder"):
        find_checkpoint("weights")


def test_our_own_folder_is_told_from_a_checkpoint(checkpoint, tmp_path):
    encoder, tokenizer = load_pretrained(checkpoint("BertModel")[0])
    MultiTaskModel(encoder, tokenizer, [QATask("qa")]).save_pretrained(tmp_path)
    message = message_of(tmp_path)
    assert "this is a whole model of MultiTaskModel.save_pretrained" in message
    assert "to do: model = mtl.MultiTaskModel.from_pretrained(FOLDER)" in message


def test_a_checkpoint_is_told_from_a_folder_of_ours(checkpoint):
    folder = checkpoint("BertModel")[0]
    with pytest.raises(ModelError, match="checkpoint of transformers, an encoder") as caught:
        MultiTaskModel.from_pretrained(folder)
    assert "found: model_type 'bert'" in str(caught.value)
    assert "to do: encoder, tokenizer = mtl.load_pretrained(FOLDER)" in str(caught.value)


def test_byte_pairs_fit_only_their_own_weights(copied):
    folder = copied()
    write_byte_pairs(folder)
    assert "does not match the embedding" in message_of(folder)
