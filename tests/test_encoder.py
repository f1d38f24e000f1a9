"""The encoder equals PyTorch's own, and keeps each of its promises."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from mtl.errors import ConfigError
from mtl.nn.attention import (
    MultiHeadSelfAttention,
    attention,
    position_angles,
    rotate,
    rotations,
    sinusoidal_positions,
)
from mtl.nn.config import NORMS, POSITIONS, EncoderConfig
from mtl.nn.encoder import EncoderLayer, TransformerEncoder

SMALL = EncoderConfig(50, d_model=16, n_heads=4, n_layers=2, max_length=32, dropout=0.0)
ROTARY = dataclasses.replace(SMALL, positions="rotary")


def build(**settings):
    """A small encoder in evaluation mode, weights large enough to make differences seen."""
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, embedding_std=1.0, type_std=1.0, **settings)
    return TransformerEncoder(config).eval()


def ids(*shape, seed=1):
    return torch.randint(4, 50, shape, generator=torch.Generator().manual_seed(seed))


def padded(input_ids, lengths):
    """The ids with 0 after each length, and the mask."""
    mask = torch.arange(input_ids.shape[1]) < torch.tensor(lengths)[:, None]
    return input_ids * mask, mask


# --- equal to PyTorch ---------------------------------------------------------------------------


def copied_reference(layer, config):
    """`torch.nn.TransformerEncoderLayer` with the weights of our layer."""
    reference = nn.TransformerEncoderLayer(
        config.d_model,
        config.n_heads,
        config.feed_forward_width,
        dropout=0.0,
        activation=config.activation,
        layer_norm_eps=config.layer_norm_eps,
        norm_first=config.norm == "pre",
        batch_first=True,
    )
    copies = {
        "self_attn.in_proj_weight": layer.attention.query_key_value.weight,
        "self_attn.in_proj_bias": layer.attention.query_key_value.bias,
        "self_attn.out_proj.weight": layer.attention.output.weight,
        "self_attn.out_proj.bias": layer.attention.output.bias,
        "linear1.weight": layer.feed_forward.expand.weight,
        "linear1.bias": layer.feed_forward.expand.bias,
        "linear2.weight": layer.feed_forward.contract.weight,
        "linear2.bias": layer.feed_forward.contract.bias,
        "norm1.weight": layer.attention_norm.weight,
        "norm1.bias": layer.attention_norm.bias,
        "norm2.weight": layer.feed_forward_norm.weight,
        "norm2.bias": layer.feed_forward_norm.bias,
    }
    reference.load_state_dict(copies)
    return reference.train()  # in training mode torch takes no shortcut; there is no dropout


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("n_layers", [1, 3])
def test_equal_to_torch(norm, activation, n_layers):
    torch.manual_seed(2)
    config = dataclasses.replace(
        SMALL, norm=norm, activation=activation, d_ff=40, layer_norm_eps=1e-3
    )
    layers = [EncoderLayer(config) for _ in range(n_layers)]
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.normal_(parameter, std=0.5)  # biases and norms too: none may be overlooked
    x = torch.randn(3, 9, config.d_model)
    keep = torch.arange(9) < torch.tensor([9, 5, 1])[:, None]
    ours, theirs = x, x
    for layer in layers:
        ours = layer(ours, keep[:, None, None, :])
        theirs = copied_reference(layer, config)(theirs, src_key_padding_mask=~keep)
    torch.testing.assert_close(ours[keep], theirs[keep], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_the_whole_encoder_is_embeddings_layers_and_norm(norm):
    encoder = build(norm=norm, positions="learned")
    for parameter in encoder.norm.parameters():
        nn.init.normal_(parameter)
    input_ids, token_type_ids = ids(2, 7), torch.tensor([[0, 0, 0, 1, 1, 1, 1]] * 2)
    x = (
        encoder.token_embedding.weight[input_ids]
        + encoder.type_embedding.weight[token_type_ids]
        + encoder.position_embedding.weight[:7]
    )
    if norm == "post":
        x = encoder.norm(x)
    for layer in encoder.layers:
        x = copied_reference(layer, encoder.config)(x)
    if norm == "pre":
        x = encoder.norm(x)
    torch.testing.assert_close(encoder(input_ids, None, token_type_ids), x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("positions", POSITIONS)
def test_narrow_embeddings_are_projected_after_the_norm_of_post_norm(norm, positions):
    encoder = build(norm=norm, positions=positions, d_embedding=6)
    nn.init.normal_(encoder.norm.weight)
    nn.init.normal_(encoder.embedding_projection.bias)
    input_ids = ids(2, 7)
    x = encoder.token_embedding.weight[input_ids] + encoder.type_embedding.weight[0]
    if positions == "learned":
        x = x + encoder.position_embedding.weight[:7]
    if positions == "sinusoidal":
        x = x + math.sqrt(2) * sinusoidal_positions(7, 6)
    assert x.shape == (2, 7, 6)
    if norm == "post":
        x = encoder.norm(x)
    x = nn.functional.linear(x, *encoder.embedding_projection.parameters())
    torch.testing.assert_close(encoder.embed(input_ids, None), x)
    assert encoder(input_ids).shape == (2, 7, 16)


def test_the_parts_of_the_embedding_are_those_that_there_are():
    assert build(n_types=0).embedding_parts == ["token_embedding"]
    encoder = build(norm="post", positions="learned", d_embedding=6)
    assert encoder.embedding_parts == [
        *("token_embedding", "type_embedding", "position_embedding", "norm"),
        "embedding_projection",
    ]


def test_embeddings_as_wide_as_the_model_are_not_projected():
    torch.manual_seed(0)
    expected = TransformerEncoder(SMALL).state_dict()
    torch.manual_seed(0)
    found = TransformerEncoder(dataclasses.replace(SMALL, d_embedding=16)).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


# --- attention ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rotary", [False, True])
def test_the_readable_attention_equals_the_fast_one(rotary):
    torch.manual_seed(3)
    layer = MultiHeadSelfAttention(SMALL)
    x = torch.randn(2, 6, 16)
    mask = padded(ids(2, 6), [6, 4])[1][:, None, None, :]
    rotation = rotations(ROTARY, 10_000)[:, :6] if rotary else None
    mixed, weights = layer.explain(x, mask, rotation)
    torch.testing.assert_close(mixed, layer(x, mask, rotation), atol=1e-5, rtol=1e-5)
    assert weights.shape == (2, 4, 6, 6)


def test_attention_weights_sum_to_one_and_are_zero_at_padding():
    torch.manual_seed(4)
    q, k, v = torch.randn(3, 2, 4, 6, 8).unbind(0)
    mask = padded(ids(2, 6), [6, 4])[1]
    mixed, weights = attention(q, k, v, mask[:, None, None, :])
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 6))
    assert weights[1, :, :, 4:].count_nonzero() == 0
    assert (weights[1, :, :, :4] > 0).all()
    torch.testing.assert_close(mixed, weights @ v)


def test_attention_by_hand():
    q = torch.tensor([[[[2.0, 0.0]]]])
    k = torch.tensor([[[[math.log(3) / math.sqrt(2), 5.0], [0.0, 7.0]]]])
    v = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]]]])
    mixed, weights = attention(q, k, v, None)  # scores log 3 and 0
    torch.testing.assert_close(weights, torch.tensor([[[[0.75, 0.25]]]]))
    torch.testing.assert_close(mixed, torch.tensor([[[[0.75, 0.25]]]]))


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("norm", NORMS)
def test_attention_maps_are_those_of_the_layers(positions, norm):
    """The weights, applied by hand to the values, give what the fast path gave."""
    encoder = build(positions=positions, norm=norm)
    input_ids, mask = padded(ids(2, 6), [6, 4])
    seen = []

    def remember(module, args, output):
        seen.append((module, args[0], output))

    for layer in encoder.layers:
        layer.attention.register_forward_hook(remember)
    encoder(input_ids, mask)
    passed = list(seen)
    maps = encoder.attention_maps(input_ids, mask)
    for weights, (module, x, output) in zip(maps, passed, strict=True):
        assert weights[1, :, :, 4:].count_nonzero() == 0
        values = module.project(x, None)[2]
        torch.testing.assert_close(module.merge(weights @ values), output, atol=1e-5, rtol=1e-5)


def test_dropout_is_off_in_evaluation_and_on_in_training():
    encoder = build(dropout=0.5)
    x = ids(2, 6)
    assert torch.equal(encoder(x), encoder(x))
    encoder.train()
    assert not torch.equal(encoder(x), encoder(x))


def test_dropout_reaches_the_attention_weights():
    layer = MultiHeadSelfAttention(dataclasses.replace(SMALL, dropout=0.5)).train()
    x = torch.randn(2, 6, 16)
    assert not torch.equal(layer(x, None), layer(x, None))


# --- masks and padding --------------------------------------------------------------------------


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("norm", NORMS)
def test_padding_further_changes_nothing(positions, norm):
    encoder = build(positions=positions, norm=norm)
    input_ids, mask = padded(ids(3, 8), [8, 5, 1])
    token_type_ids = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]] * 3)
    once = encoder(input_ids, mask, token_type_ids)
    wider = [nn.functional.pad(t, (0, 9)) for t in (input_ids, mask, token_type_ids)]
    wider[0][:, 8:] = ids(3, 9)  # whatever stands there
    torch.testing.assert_close(encoder(*wider)[:, :8][mask], once[mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_row_does_not_depend_on_its_batch(positions):
    encoder = build(positions=positions)
    input_ids, mask = padded(ids(3, 8), [8, 5, 3])
    alone = encoder(input_ids[1:2, :5])
    torch.testing.assert_close(encoder(input_ids, mask)[1:2, :5], alone, atol=1e-5, rtol=1e-5)


def test_the_mask_may_be_integers_or_booleans():
    encoder = build()
    input_ids, mask = padded(ids(2, 6), [6, 3])
    expected = encoder(input_ids, mask)
    assert torch.equal(encoder(input_ids, mask.long()), expected)
    assert torch.equal(encoder(input_ids, mask.int()), expected)
    assert not torch.allclose(encoder(input_ids)[1, :3], expected[1, :3])


def test_no_mask_keeps_everything():
    encoder = build()
    x = ids(2, 6)
    everything = encoder(x, torch.ones(2, 6, dtype=torch.long))
    torch.testing.assert_close(encoder(x), everything, atol=1e-5, rtol=1e-5)


# --- positions and segments ---------------------------------------------------------------------


def test_sinusoidal_table_by_the_formula():
    table = sinusoidal_positions(12, 6)
    assert table.shape == (12, 6)
    for t in (0, 1, 11):
        for i in (0, 1, 2):
            angle = t / 10_000 ** (2 * i / 6)
            assert table[t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)
    assert torch.equal(sinusoidal_positions(12, 5), sinusoidal_positions(12, 5)[:, :5])
    assert sinusoidal_positions(12, 5).shape == (12, 5)


def test_rotated_dot_products_depend_on_distance_only():
    torch.manual_seed(5)
    length, width = 20, 8
    q, k = torch.randn(2, width)
    angles = position_angles(length, width)
    rotation = torch.complex(angles.cos(), angles.sin())[None]
    turned_q, turned_k = (rotate(x.expand(1, length, width), rotation)[0] for x in (q, k))
    scores = turned_q @ turned_k.T  # (T, T)
    for distance in (-7, 0, 1, 5):
        diagonal = scores.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4, rtol=0)
    assert scores.diagonal(0)[0].item() == pytest.approx((q @ k).item(), abs=1e-5)
    assert not torch.allclose(scores.diagonal(1)[:1], scores.diagonal(5)[:1])


def test_rotation_keeps_lengths_and_turns_neighbouring_features():
    x = torch.zeros(4, 32, 4)
    x[..., 0] = 1.0
    turned = rotate(x, rotations(ROTARY, 10_000))
    torch.testing.assert_close(turned.norm(dim=-1), torch.ones(4, 32))
    position = torch.arange(32.0)
    torch.testing.assert_close(turned[0, :, 0], position.cos())
    torch.testing.assert_close(turned[0, :, 1], position.sin())
    assert (turned[..., 2:] == 0).all()


def test_unrotated_heads_do_not_see_positions():
    """With all heads unrotated, permuting the tokens permutes the output; rotated ones notice."""
    encoder = build(positions="rotary", rotary_heads=2)
    order = torch.tensor([3, 0, 4, 2, 1])
    x = ids(1, 5)
    assert not torch.allclose(encoder(x)[:, order], encoder(x[:, order]), atol=1e-3)
    encoder.rotation_table[:2] = 1.0
    torch.testing.assert_close(encoder(x)[:, order], encoder(x[:, order]), atol=1e-5, rtol=1e-5)


def test_rotary_heads_0_rotates_all():
    assert (rotations(ROTARY, 10_000)[:, 1] != 1).any(dim=-1).all()
    some = rotations(dataclasses.replace(ROTARY, rotary_heads=3), 10_000)
    assert (some[:, 1] != 1).any(dim=-1).tolist() == [True, True, True, False]


@pytest.mark.parametrize("positions", POSITIONS)
def test_the_order_of_the_words_matters(positions):
    encoder = build(positions=positions)
    x = ids(1, 5)
    turned = encoder(x.flip(1)).flip(1)
    assert not torch.allclose(encoder(x), turned, atol=1e-3)


def test_segments_change_the_output():
    encoder = build()
    x = ids(1, 5)
    ones = torch.ones_like(x)
    assert torch.equal(encoder(x), encoder(x, token_type_ids=torch.zeros_like(x)))
    assert not torch.allclose(encoder(x), encoder(x, token_type_ids=ones), atol=1e-3)
    without = build(n_types=0)
    assert torch.equal(without(x), without(x, token_type_ids=ones))


@pytest.mark.parametrize("positions", POSITIONS)
def test_too_long_a_row(positions):
    encoder = build(positions=positions)
    assert encoder(ids(1, 32)).shape == (1, 32, 16)
    with pytest.raises(ValueError, match=r"33 tokens.* 32 positions"):
        encoder(ids(1, 33))


# --- how it starts ------------------------------------------------------------------------------


@pytest.mark.parametrize(("settings", "n_rotating"), [({}, 0), ({"rotary_heads": 3}, 3)])
def test_match_heads_starts_keys_as_copies_of_queries_in_heads_that_do_not_rotate(
    settings, n_rotating
):
    positions = "rotary" if n_rotating else "sinusoidal"
    for layer in build(match_heads=True, positions=positions, **settings).layers:
        weight = layer.attention.query_key_value.weight
        query, key, value = weight.view(3, 4, 4, 16).unbind(0)  # (H, K, D) each
        same = [torch.equal(q, k) for q, k in zip(query, key, strict=True)]
        assert same == [False] * n_rotating + [True] * (4 - n_rotating)
        assert not torch.equal(query, value)
    query, key, _ = build().layers[0].attention.query_key_value.weight.chunk(3)
    assert not torch.equal(query[-4:], key[-4:])


def test_matched_queries_and_keys_train_apart():
    encoder = build(match_heads=True)
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    encoder(ids(2, 6)).pow(2)[..., 0].sum().backward()
    optimizer.step()
    query, key, _ = encoder.layers[0].attention.query_key_value.weight.chunk(3)
    assert not torch.allclose(query, key)


def test_embeddings_start_at_the_asked_scale():
    torch.manual_seed(0)
    stds = {"embedding_std": 0.5, "type_std": 0.1}
    encoder = TransformerEncoder(dataclasses.replace(SMALL, d_model=400, n_types=20, **stds))
    assert encoder.token_embedding.weight.std().item() == pytest.approx(0.5, rel=0.05)
    assert encoder.type_embedding.weight.std().item() == pytest.approx(0.1, rel=0.05)


def test_the_repr_counts_the_parameters():
    encoder = build()
    n = sum(p.numel() for p in encoder.parameters())
    assert f"{n:,} parameters" in repr(encoder)
    assert "\n" not in repr(encoder)


# --- settings that cannot be --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocab_size": 0}, "vocab_size must be at least 1"),
        ({"d_model": 0}, "d_model must be at least 1"),
        ({"n_heads": 0}, "n_heads must be at least 1"),
        ({"n_layers": 0}, "n_layers must be at least 1"),
        ({"max_length": 4}, "max_length must be at least 8"),
        ({"n_heads": 3}, r"multiple of encoder.n_heads\n  found: d_model 16, n_heads 3"),
        ({"positions": "rotary", "n_heads": 16}, "even head width"),
        ({"rotary_heads": 5}, "between 0 and encoder.n_heads"),
        ({"positions": "rotary", "match_heads": True}, "a head that does not rotate"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ({"dropout": -0.1}, "dropout must be at least 0 and below 1"),
        ({"attention_dropout": 1.0}, "attention_dropout must be at least 0 and below 1"),
        ({"attention_dropout": "half"}, "attention_dropout must be a number"),
        ({"d_ff": -1}, "d_ff"),
        ({"n_types": -1}, "n_types"),
        ({"embedding_std": -1.0}, "embedding_std"),
        ({"positions": "rotory"}, 'did you mean "rotary"'),
        ({"norm": "prenorm"}, 'did you mean "pre"'),
        ({"activation": "gleu"}, 'did you mean "gelu"'),
    ],
)
def test_config_errors(settings, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SMALL, **settings)


def test_config_survives_its_dict():
    assert EncoderConfig(**SMALL.to_dict()) == SMALL
