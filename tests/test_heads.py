"""Heads: pooling and merging equal loops by hand, and padding has no say."""

from dataclasses import replace
from statistics import fmean

import pytest
import torch
import torch.nn.functional as F

from mtl.data.batching import collate
from mtl.data.encoded import encode_examples
from mtl.nn.heads import (
    POOLINGS,
    EmbeddingHead,
    PairHead,
    SequenceClassificationHead,
    merge_rows,
    pool,
    unit_vectors,
)
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.embedding import EmbeddingTask

LENGTHS = (1, 5, 3)
BY_HAND = {"cls": lambda values: values[0], "mean": fmean, "max": max}


@pytest.fixture
def hidden():
    """`(3, 5, 4)`."""
    return torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask():
    """`(3, 5)`, of rows with 1, 5 and 3 tokens."""
    return torch.arange(5) < torch.tensor(LENGTHS)[:, None]


def pooled_by_hand(hidden, how):
    rows = []
    for row, n in zip(hidden.tolist(), LENGTHS, strict=True):
        features = zip(*row[:n], strict=True)
        rows.append([BY_HAND[how](feature) for feature in features])
    return torch.tensor(rows)


# --- pooling --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", POOLINGS)
def test_pooling_equals_a_loop_over_the_tokens(hidden, mask, how):
    expected = pooled_by_hand(hidden, how)
    torch.testing.assert_close(pool(hidden, mask, how), expected)
    torch.testing.assert_close(pool(hidden, mask.long(), how), expected)


def test_two_texts_are_compared_as_by_hand(hidden, mask):
    """The second row has two tokens of the first text and three of the second; the first none."""
    types = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 1, 1, 1], [0, 1, 1, 0, 0]])
    head = PairHead(4, 3)
    outputs = head(hidden, mask, types)
    for row, (first, second) in enumerate([((0, 1), None), ((0, 2), (2, 5)), ((0, 1), (1, 3))]):
        u = hidden[row, slice(*first)].mean(0)
        v = hidden[row, slice(*second)].mean(0) if second else torch.zeros(4)
        features = torch.cat([u, v, (u - v).abs(), u * v])
        expected = head.classifier.weight @ features + head.classifier.bias
        torch.testing.assert_close(outputs[row], expected)


@pytest.mark.parametrize("garbage", [1e9, -1e9, float("inf"), float("nan")])
@pytest.mark.parametrize("how", POOLINGS)
def test_what_stands_at_padding_has_no_say(hidden, mask, how, garbage):
    spoiled = hidden.masked_fill(~mask[:, :, None], garbage).requires_grad_()
    pooled = pool(spoiled, mask, how)
    torch.testing.assert_close(pooled, pooled_by_hand(hidden, how))
    pooled.square().sum().backward()
    assert spoiled.grad.isfinite().all()
    assert not spoiled.grad[~mask].any()


def test_the_largest_of_negative_numbers_is_negative(mask):
    assert (pool(torch.full((3, 5, 4), -2.0), mask, "max") == -2).all()


def padded(batch, n, pad_id):
    """The same batch with `n` more tokens of padding."""
    return replace(
        batch,
        input_ids=F.pad(batch.input_ids, (0, n), value=pad_id),
        attention_mask=F.pad(batch.attention_mask, (0, n)),
        token_type_ids=F.pad(batch.token_type_ids, (0, n)),
        text_mask=F.pad(batch.text_mask, (0, n)),
    )


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_a_batch_further_changes_nothing(build_model, sentences, pooling):
    topic = ClassificationTask("topic", labels=["a", "b", "c"], pooling=pooling)
    model = build_model([topic, EmbeddingTask("vector", width=5)], embedding_std=1.0).eval()
    items, _ = encode_examples(sentences[:6], model.tokenizer, [], 64)
    batch = collate(items, model.tokenizer, [])
    assert not batch.attention_mask.all()
    more = model(padded(batch, 9, model.tokenizer.pad_id), model.tasks)
    for name, outputs in model(batch, model.tasks).items():
        torch.testing.assert_close(more[name], outputs)
        assert outputs.std(dim=0).min() > 1e-3  # the rows differ, so that equality says something


# --- heads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", POOLINGS)
def test_class_logits_are_one_linear_layer_on_the_pooled_tokens(hidden, mask, how):
    head = SequenceClassificationHead(4, 3, how)
    layer = head.classifier
    expected = pooled_by_hand(hidden, how) @ layer.weight.T + layer.bias
    torch.testing.assert_close(head(hidden, mask), expected)


@pytest.mark.parametrize("width", [0, 7])
def test_an_embedding_is_projected_normed_and_of_length_one(hidden, mask, width):
    head = EmbeddingHead(4, width)
    torch.nn.init.normal_(head.norm.weight)
    torch.nn.init.normal_(head.norm.bias)
    vectors = pooled_by_hand(hidden, "mean")
    if width:
        vectors = vectors @ head.project.weight.T + head.project.bias
    centred = vectors - vectors.mean(1, keepdim=True)
    normed = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
    normed = normed * head.norm.weight + head.norm.bias
    expected = normed / normed.square().sum(1, keepdim=True).sqrt()
    assert head(hidden, mask).shape == (3, width or 4)
    torch.testing.assert_close(head(hidden, mask), expected)
    n_linear = 4 * 7 + 7 if width else 0
    assert sum(p.numel() for p in head.parameters()) == n_linear + 2 * (width or 4)


# --- vectors --------------------------------------------------------------------------------------


def test_unit_vectors_keep_their_direction():
    assert unit_vectors(torch.tensor([[3.0, -4.0], [0.0, 1e-6]])).tolist() == [
        pytest.approx([0.6, -0.8]),
        pytest.approx([0, 1]),
    ]


def test_a_vector_of_zeros_has_finite_gradients():
    zeros = torch.zeros(1, 3, requires_grad=True)
    unit = unit_vectors(zeros)
    unit.sum().backward()
    assert unit.isfinite().all()
    assert zeros.grad.isfinite().all()


def test_merged_rows_are_the_mean_of_each_owners_rows():
    vectors = torch.tensor([[1.0, 10.0], [2.0, 20.0], [5.0, 50.0], [6.0, 60.0]], requires_grad=True)
    merged = merge_rows(vectors, torch.tensor([2, 0, 2, 1]), 3)
    assert merged.tolist() == [[2, 20], [6, 60], [3, 30]]
    (merged * torch.tensor([[1.0], [10.0], [100.0]])).sum().backward()
    assert vectors.grad[:, 0].tolist() == [50, 1, 50, 10]
