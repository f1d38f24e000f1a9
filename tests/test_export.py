"""Back to `transformers`: what was read can be written, with its tokenizer, or says why not."""

import json

import parity
import pytest
import torch
from checkpoints import POSITIONS, varied_texts, write_byte_pairs, write_word_pieces
from parity import BASES, assert_parity, assert_same_states, inputs, their_states

from mtl.data.tokenizers.subwords import SubwordTokenizer
from mtl.errors import ModelError
from mtl.inference import answer, predict
from mtl.model import MultiTaskModel
from mtl.nn.config import EncoderConfig
from mtl.nn.encoder import TransformerEncoder
from mtl.nn.export import save_for_transformers
from mtl.nn.pretrained import load_pretrained
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask

# pytest looks for a fixture by its name in this module.
checkpoint = parity.checkpoint

pytest.importorskip("tokenizers")


@pytest.mark.parametrize(
    ("class_name", "settings"),
    [
        ("BertModel", {}),
        ("BertModel", {"type_vocab_size": 1}),
        ("BertModel", {"type_vocab_size": 1, "layer_norm_eps": 0.1}),
        ("BertModel", {"layer_norm_eps": 1e-5}),
        ("DistilBertModel", {}),
        ("RobertaModel", {}),
        ("RobertaModel", {"type_vocab_size": 2}),
        ("ElectraModel", {}),
        ("ElectraModel", {"embedding_size": 32}),
        ("ModernBertModel", {}),
        ("XLMRobertaModel", {}),
        ("CamembertModel", {}),
    ],
)
def test_what_was_read_can_be_written_for_transformers(checkpoint, tmp_path, class_name, settings):
    transformers = pytest.importorskip("transformers")
    folder, model = checkpoint(class_name, **settings)
    encoder, tokenizer = load_pretrained(folder)
    save_for_transformers(encoder, tokenizer, tmp_path / "new")
    theirs, report = transformers.AutoModel.from_pretrained(
        tmp_path / "new", local_files_only=True, output_loading_info=True
    )
    if not settings:
        assert theirs.config.model_type == model.config.model_type
    assert not report["unexpected_keys"]
    assert all("pooler" in name for name in report["missing_keys"])
    assert_parity(encoder, theirs.eval())
    config = model.config
    types = encoder.config.n_types or 1
    batch = inputs([POSITIONS, 7, 1], config.vocab_size, config.pad_token_id, types)
    assert_same_states(their_states(theirs, *batch), their_states(model, *batch), batch[1])

    again, _ = load_pretrained(tmp_path / "new")
    assert again.config == encoder.config
    assert again.pretrained == "new"
    assert again.state_dict().keys() == encoder.state_dict().keys()
    for name, weight in encoder.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name


@pytest.mark.parametrize("class_name", BASES)
def test_what_was_written_has_a_tokenizer_of_transformers(checkpoint, tmp_path, class_name):
    transformers = pytest.importorskip("transformers")
    folder, _ = checkpoint(class_name)
    encoder, tokenizer = load_pretrained(folder)
    save_for_transformers(encoder, tokenizer, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(tmp_path, local_files_only=True).eval()
    for text in varied_texts(60):
        if text.strip():
            as_text = theirs(text, split_special_tokens=True)["input_ids"]
            first, *ids, last = as_text
            # Unigram finds special tokens in plain text, where they mean nothing.
            plain = [tokenizer.unk_id if i in tokenizer.special_ids else i for i in ids]
            row = tokenizer.rows((text, None), 10_000)[0]
            assert row.input_ids == [first, *plain, last]
    pair = theirs("Who works?", "Paris plays.")
    row = tokenizer.rows(("Who works?", "Paris plays."), 100)[0]
    assert pair["input_ids"] == row.input_ids
    assert pair.get("token_type_ids", row.token_type_ids) == row.token_type_ids
    assert ("token_type_ids" in pair) == (class_name in ("BertModel", "ElectraModel"))
    assert theirs.model_max_length == POSITIONS
    batch = theirs(["Paris", "the work"], padding=True, return_tensors="pt")
    assert (batch["input_ids"] == tokenizer.pad_id).any()
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
        ours = encoder(batch["input_ids"], batch["attention_mask"])
    mask = batch["attention_mask"].bool()
    assert torch.allclose(hidden[mask], ours[mask], atol=1e-5, rtol=0)


def test_cut_positions_can_be_written(checkpoint, tmp_path):
    transformers = pytest.importorskip("transformers")
    encoder, tokenizer = load_pretrained(checkpoint("RobertaModel")[0], max_length=10)
    save_for_transformers(encoder, tokenizer, tmp_path)
    model = transformers.AutoModel.from_pretrained(tmp_path, local_files_only=True).eval()
    assert model.config.max_position_embeddings == 12
    assert_parity(encoder, model, [10, 4])


@pytest.mark.parametrize("change", [{"norm": "pre"}, {"positions": "sinusoidal"}, {"bias": False}])
def test_an_encoder_unlike_theirs_is_not_written(tmp_path, change):
    tokenizer = SubwordTokenizer.load(write_word_pieces(tmp_path / "tokenizer"))
    config = EncoderConfig(
        len(tokenizer), d_model=16, n_heads=2, **({"norm": "post", "positions": "learned"} | change)
    )
    with pytest.raises(ModelError, match="transformers has no encoder like this one") as caught:
        save_for_transformers(TransformerEncoder(config), tokenizer, tmp_path / "new")
    assert "save_pretrained" in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_byte_pairs_that_pad_with_another_id_than_roberta_are_not_written(tmp_path):
    """RoBERTa counts positions from the id of its padding."""
    write_byte_pairs(tmp_path)
    content = (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
    for old, new in (("<pad>", "<x>"), ("<unk>", "<pad>"), ("<x>", "<unk>")):
        content = content.replace(f'"{old}"', f'"{new}"')
    (tmp_path / "tokenizer.json").write_text(content, encoding="utf-8")
    tokenizer = SubwordTokenizer.load(tmp_path)
    assert tokenizer.pad_id == 3
    config = EncoderConfig(
        len(tokenizer), d_model=16, n_heads=2, n_types=0, norm="post", positions="learned"
    )
    with pytest.raises(ModelError, match="with padding 3"):
        save_for_transformers(TransformerEncoder(config), tokenizer, tmp_path / "new")


def test_a_whitespace_tokenizer_is_not_written(tmp_path, tokenizer):
    config = EncoderConfig(len(tokenizer), d_model=16, n_heads=2, norm="post", positions="learned")
    with pytest.raises(ModelError, match="WhitespaceTokenizer"):
        save_for_transformers(TransformerEncoder(config), tokenizer, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("class_name", BASES)
def test_a_whole_model_is_saved_and_loaded(checkpoint, tmp_path, class_name):
    encoder, tokenizer = load_pretrained(checkpoint(class_name)[0])
    torch.manual_seed(0)
    model = MultiTaskModel(encoder, tokenizer, [NERTask("ner", types=["PER"]), QATask("qa")])
    model.save_pretrained(tmp_path)
    again = MultiTaskModel.from_pretrained(tmp_path)
    texts = [text for text in varied_texts(30) if text.strip()]
    assert predict(again, texts, "ner") == predict(model, texts, "ner")
    pair = "Who works?", "Paris plays the work, and the rest is " + "long " * 20
    assert answer(again, *pair) == answer(model, *pair)
    assert again.encoder.config == encoder.config
    assert again.encoder.pretrained == encoder.pretrained != ""
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["pretrained"] == encoder.pretrained
    assert config["tokenizer"] == "SubwordTokenizer"
