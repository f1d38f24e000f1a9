"""Local attention, gates, norms and biases as ModernBERT has them, each against its definition."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from mtl.errors import ConfigError
from mtl.nn.attention import local_mask, position_angles
from mtl.nn.config import EncoderConfig
from mtl.nn.encoder import FeedForward, GatedFeedForward, TransformerEncoder

SMALL = EncoderConfig(50, d_model=16, n_heads=4, n_layers=4, max_length=32, dropout=0.0)
LOCAL = {"local_attention": 4, "global_every": 3}
MODERN = {
    **{"positions": "rotary", "embedding_norm": True, "activation": "geglu", "bias": False},
    **{"rotary_theta": 500.0, "local_rotary_theta": 30.0, **LOCAL},
}


def build(**settings):
    """A small encoder in evaluation mode, weights large enough to make differences seen."""
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, embedding_std=1.0, type_std=1.0, **settings)
    return TransformerEncoder(config).eval()


def ids(*shape):
    return torch.randint(4, 50, shape, generator=torch.Generator().manual_seed(1))


def mask_of(lengths, longest):
    return torch.arange(longest) < torch.tensor(lengths)[:, None]


# --- local attention ------------------------------------------------------------------------------


def test_a_local_mask_by_hand():
    near = [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    for window in (2, 3):  # an odd token counts on neither side
        assert local_mask(torch.zeros(1, 4, 8), window, None).int().tolist() == [[near]]
    keep = mask_of([2], 4)[:, None, None, :]
    # The last two are padding, and see themselves alone.
    near = [[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]
    assert local_mask(torch.zeros(1, 4, 8), 2, keep).int().tolist() == [[near]]


@pytest.mark.parametrize("positions", ["rotary", "learned", "sinusoidal"])
def test_every_third_layer_sees_all_tokens_and_the_others_two_on_each_side(positions):
    encoder = build(positions=positions, **LOCAL)
    maps = encoder.attention_maps(ids(2, 9))
    distance = (torch.arange(9)[:, None] - torch.arange(9)).abs()
    for layer, weights in enumerate(maps):
        seen = distance <= (8 if layer in (0, 3) else 2)
        assert torch.equal(weights > 0, seen.expand_as(weights))


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_the_fused_kernel_sees_what_the_maps_show(norm):
    encoder = build(norm=norm, positions="rotary", **LOCAL)
    mask, outputs = mask_of([9, 4], 9), []
    for layer in encoder.layers:
        layer.attention.register_forward_hook(lambda *call: outputs.append(call))
    encoder(ids(2, 9), mask)
    maps = encoder.attention_maps(ids(2, 9), mask)
    for weights, (module, args, output) in zip(maps, list(outputs), strict=False):
        values = module.project(args[0], None)[2]
        mixed = module.merge(weights @ values)
        torch.testing.assert_close(mixed[mask], output[mask], atol=1e-5, rtol=1e-5)


def test_a_window_as_wide_as_the_row_changes_nothing():
    encoder = build(positions="rotary", local_attention=16)
    expected = build(positions="rotary")(ids(2, 9), mask_of([9, 5], 9))
    found = encoder(ids(2, 9), mask_of([9, 5], 9))
    torch.testing.assert_close(found[0], expected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1, :5], expected[1, :5], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("settings", [LOCAL, MODERN])
def test_padding_far_from_the_text_is_finite_and_changes_nothing(settings):
    encoder = build(**settings)
    input_ids, mask = ids(2, 30), mask_of([30, 3], 30)
    hidden = encoder(input_ids, mask)
    assert hidden.isfinite().all()
    assert all(weights.isfinite().all() for weights in encoder.attention_maps(input_ids, mask))
    alone = encoder(input_ids[1:, :3])
    torch.testing.assert_close(hidden[1:, :3], alone, atol=1e-5, rtol=1e-5)


def test_local_layers_alone_do_not_carry_far():
    """Three local layers of one token on each side: a change is seen three tokens away, no more."""
    encoder = build(local_attention=2, global_every=9, positions="rotary")
    encoder.layers = encoder.layers[1:]
    changed = ids(1, 20)
    changed[0, 10] = 49
    moved = (encoder(ids(1, 20)) - encoder(changed)).abs().amax(-1)[0] > 1e-6
    assert moved.nonzero().flatten().tolist() == [7, 8, 9, 10, 11, 12, 13]


# --- rotation -------------------------------------------------------------------------------------


def test_theta_decides_how_slowly_pairs_turn():
    angles = position_angles(5, 8, 300.0)
    for t in range(5):
        for i in range(4):
            assert angles[t, i].item() == pytest.approx(t * 300 ** (-2 * i / 8), rel=1e-5)


def test_layers_rotate_by_the_theta_of_their_kind():
    encoder = build(**MODERN)
    for table, theta in ((encoder.rotation_table, 500.0), (encoder.local_rotation_table, 30.0)):
        angles = position_angles(32, 4, theta)
        expected = torch.polar(torch.ones_like(angles), angles).expand(4, 32, 2)
        torch.testing.assert_close(table, expected)
    x, seen = ids(1, 7), []
    for layer in encoder.layers:
        layer.register_forward_pre_hook(lambda layer, args: seen.append((layer.sees, args[2])))
    encoder(x)
    assert [kind for kind, _ in seen] == ["global", "local", "local", "global"]
    tables = {"global": encoder.rotation_table, "local": encoder.local_rotation_table}
    assert all(torch.equal(rotation, tables[kind][:, :7]) for kind, rotation in seen)


# --- gate, norms, biases --------------------------------------------------------------------------


def test_a_gate_by_hand():
    config = EncoderConfig(9, d_model=2, n_heads=1, d_ff=1, activation="geglu")
    layer = GatedFeedForward(config)
    with torch.no_grad():
        layer.expand.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))  # feature, then gate
        layer.expand.bias.zero_()
        layer.contract.weight.copy_(torch.tensor([[1.0], [-2.0]]))
        layer.contract.bias.copy_(torch.tensor([0.0, 1.0]))
    gelu = 0.5 * (1 + math.erf(1 / math.sqrt(2)))  # of 1: its share that a normal variable exceeds
    found = layer(torch.tensor([[1.0, 3.0], [1.0, 0.0], [0.0, 3.0]]))
    expected = [[3 * gelu, 1 - 6 * gelu], [0.0, 1.0], [0.0, 1.0]]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_each_activation_has_its_feed_forward():
    kinds = {"relu": FeedForward, "gelu": FeedForward, "geglu": GatedFeedForward}
    for activation, kind in kinds.items():
        assert type(build(activation=activation).layers[0].feed_forward) is kind


def test_a_norm_after_the_embeddings_takes_the_place_of_the_first():
    encoder = build(embedding_norm=True)
    nn.init.normal_(encoder.embedding_norm.weight)
    nn.init.normal_(encoder.embedding_norm.bias)
    names = {name for name, _ in encoder.named_parameters()}
    assert "layers.0.attention_norm.weight" not in names
    assert {"layers.1.attention_norm.weight", "layers.0.feed_forward_norm.weight"} <= names
    assert encoder.embedding_parts == ["token_embedding", "type_embedding", "embedding_norm"]
    x = encoder.embed(ids(1, 5), None)
    norm = encoder.embedding_norm
    standardised = (x - norm.bias) / norm.weight
    torch.testing.assert_close(standardised.mean(-1), torch.zeros(1, 5), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        standardised.var(-1, correction=0), torch.ones(1, 5), atol=1e-3, rtol=0
    )
    # The attention of the first layer reads the stream as it is.
    read = []
    encoder.layers[0].attention.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    encoder(ids(1, 5))
    assert torch.equal(read[0], x)


@pytest.mark.parametrize("settings", [{}, MODERN, {"norm": "post", "d_embedding": 8}])
def test_without_biases_there_is_not_one(settings):
    names = [name for name, _ in build(**settings | {"bias": False}).named_parameters()]
    assert names
    assert not [name for name in names if "bias" in name]


def test_a_default_encoder_has_the_tensors_that_it_always_had():
    names = {"token_embedding.weight", "type_embedding.weight", "norm.weight", "norm.bias"}
    for i in range(4):
        for part in (
            *("attention.query_key_value", "attention.output", "attention_norm"),
            *("feed_forward.expand", "feed_forward.contract", "feed_forward_norm"),
        ):
            names |= {f"layers.{i}.{part}.{kind}" for kind in ("weight", "bias")}
    assert build().state_dict().keys() == names
    assert build(positions="rotary").state_dict().keys() == names


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "post", "embedding_norm": True}, "post-norm has a norm after the embeddings"),
        ({"rotary_theta": 0.0}, "rotary_theta must be"),
        ({"local_attention": -1}, "local_attention must be at least 0"),
        ({"global_every": 0}, "global_every must be at least 1"),
        ({"rope_theta": 3.0}, 'it is called "rotary_theta" here'),
        ({"embedding_size": 8}, 'it is called "d_embedding" here'),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        EncoderConfig(50, **settings)
