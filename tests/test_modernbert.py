"""ModernBERT: every form of its config gives the states of `transformers`, or an error."""

import parity
import pytest
import torch
from checkpoints import rewrite_json
from parity import assert_parity, message_of

from mtl.model import MultiTaskModel
from mtl.nn.export import save_for_transformers
from mtl.nn.modernbert import MODERNBERT
from mtl.nn.pretrained import load_pretrained
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask

# pytest looks for a fixture by its name in this module.
checkpoint = parity.checkpoint
copied = parity.copied

pytest.importorskip("tokenizers")

MODEL = "ModernBertModel"
THETAS = {
    "full_attention": {"rope_type": "default", "rope_theta": 70.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 5.0},
}
FORMS = [
    {},
    {"norm_bias": True, "attention_bias": True, "mlp_bias": True},
    {"local_attention": 5},
    {"local_attention": 128},
    {"layer_types": ["full_attention"] * 3},
    {"layer_types": ["full_attention", "sliding_attention", "full_attention"]},
    {"rope_parameters": THETAS},
    {"norm_eps": 0.1},
]


@pytest.mark.parametrize("settings", FORMS, ids=str)
def test_what_the_config_says_is_followed_there_and_back(checkpoint, tmp_path, settings):
    transformers = pytest.importorskip("transformers")
    folder, model = checkpoint(MODEL, **settings)
    encoder, tokenizer = load_pretrained(folder)
    assert_parity(encoder, model)
    save_for_transformers(encoder, tokenizer, tmp_path)
    theirs, report = transformers.AutoModel.from_pretrained(
        tmp_path, local_files_only=True, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert_parity(encoder, theirs.eval())
    again, _ = load_pretrained(tmp_path)
    assert all(torch.equal(x, again.state_dict()[n]) for n, x in encoder.state_dict().items())


OLD = {"layer_types": None, "rope_parameters": None}
OLD |= {"global_rope_theta": 70.0, "local_rope_theta": 5.0}


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_config_of_older_versions_is_read(copied, every):
    transformers = pytest.importorskip("transformers")
    folder = copied(MODEL)
    rewrite_json(folder / "config.json", **OLD, global_attn_every_n_layers=every)
    encoder, _ = load_pretrained(folder)
    sees = [layer.sees for layer in encoder.layers]
    assert sees == ["global" if i % every == 0 else "local" for i in range(3)]
    assert (encoder.config.rotary_theta, encoder.config.local_rotary_theta) == (70.0, 5.0)
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
    assert_parity(encoder, model.eval())


def test_what_an_old_config_leaves_out_is_as_published(copied):
    folder = copied(MODEL)
    rewrite_json(
        folder / "config.json", layer_types=None, rope_parameters=None, local_attention=None
    )
    config = load_pretrained(folder)[0].config
    assert (config.rotary_theta, config.local_rotary_theta) == (160_000.0, 10_000.0)
    assert (config.global_every, config.local_attention) == (3, 128)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"attention_bias": True}, "all of the biases, or none"),
        ({"layer_types": ["sliding_attention"] * 3}, "at equal distances, from the first on"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rotary positions are scaled"),
        (
            {"rope_parameters": THETAS | {"full_attention": {"rope_type": "yarn"}}},
            "rotary positions are scaled; yarn",
        ),
        ({"hidden_activation": "silu"}, "activation 'silu'"),
        ({"norm_eps": None}, "no key 'norm_eps'"),
        ({"local_attention": "wide"}, "local_attention must be a whole number"),
    ],
)
def test_a_config_that_no_encoder_has_is_an_error(copied, change, found):
    folder = copied(MODEL)
    rewrite_json(folder / "config.json", **change)
    message = message_of(folder)
    assert "the encoder cannot be built from the checkpoint's config" in message
    assert found in message
    assert "one of modernbert needs rotary positions and an activation of gelu" in message


def test_reordered_rows_are_neighbours_and_can_be_restored(checkpoint):
    config = load_pretrained(checkpoint(MODEL)[0])[0].config  # 4 heads of width 8
    name = "layers.0.attention.query_key_value.weight"
    weights = {name: torch.arange(96.0)[:, None], "norm.weight": torch.ones(32)}
    ours = MODERNBERT.reorder(weights, config)
    rows = ours[name][:, 0].tolist()
    assert rows[:8] == [0, 4, 1, 5, 2, 6, 3, 7]
    assert rows[40:48] == [40, 44, 41, 45, 42, 46, 43, 47]  # keys, second head
    assert rows[64:] == list(range(64, 96))  # values stay
    back = MODERNBERT.restore(ours, config)
    assert all(torch.equal(back[key], weights[key]) for key in weights)


def test_private_layers_see_what_they_saw(checkpoint):
    """The private layers of ModernBERT keep their windows and rotations."""
    folder, _ = checkpoint(MODEL, layer_types=FORMS[5]["layer_types"])
    encoder, tokenizer = load_pretrained(folder)
    ids = torch.randint(5, 400, (2, 20), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(20) < torch.tensor([[20], [6]])
    model = MultiTaskModel(encoder, tokenizer, [NERTask("ner", types=["A"]), QATask("qa")], 2)
    with torch.no_grad():
        expected = encoder(ids, mask)
        found = model.encode_for(["ner", "qa"], ids, mask, None)
    assert all(torch.equal(found[name], expected) for name in ("ner", "qa"))
