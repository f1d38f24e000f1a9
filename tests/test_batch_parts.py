"""A batch in parts (`max_tokens`) is the same batch: the same hidden words, gradient and update."""

from dataclasses import replace

import pytest
import small_training
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_training import FAST, TYPES

from mtl.data.batching import BatchStream
from mtl.data.dataset import Dataset
from mtl.data.encoded import encode_examples
from mtl.data.examples import PairExample, TextExample
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import ConfigError
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.embedding import EmbeddingTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.toy import ner_examples
from mtl.training.config import TrainConfig
from mtl.training.loop import train
from mtl.training.run import Run
from mtl.training.weighting import FixedWeighting, Weighting

# pytest looks for a fixture by its name in this module.
tasks = small_training.tasks


def partly_labelled(sentences, questions):
    """Words, spans in windows, and classes and tags of which some are missing."""
    records = [
        TextExample(e.text, e.tokens, "ab"[i % 2] if i % 3 else None, e.tags if i % 4 else None)
        for i, e in enumerate(sentences[:16])
    ]
    shared = Dataset(train=records)
    return [
        NERTask("names", Dataset(train=sentences[:16]), types=TYPES),
        QATask("qa", Dataset(train=questions[:16])),
        ClassificationTask("topic", shared, labels=["a", "b"]),
        NERTask("ner", shared, types=TYPES),
    ]


@pytest.mark.parametrize("sampling", ["alternating", "joint"])
@pytest.mark.parametrize("max_tokens", [30, 100, 250])
def test_the_gradient_of_the_parts_is_that_of_the_whole(
    build_model, sentences, questions, sampling, max_tokens
):
    tasks = partly_labelled(sentences, questions)
    config = replace(
        FAST, sampling=sampling, max_grad_norm=1e9, hide_words=0.0, loss_weights={"qa": 3.0}
    )
    gradients, rounds, passes = [], [], []
    for limit in (0, max_tokens):
        model = build_model(tasks, max_length=24)
        weighting = FixedWeighting(config.loss_weights)
        run = Run(model, tasks, replace(config, max_tokens=limit), weighting)
        calls = []
        model.encoder.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        gradients.append([])
        for _ in range(3 if sampling == "alternating" else 1):
            run.next_step()
            gradients[-1].append([p.grad.clone() for p in model.parameters() if p.grad is not None])
            model.load_state_dict(build_model(tasks, max_length=24).state_dict())
        rounds.append(run.history.rounds[0])
        passes.append(len(calls))
    assert passes[1] > passes[0] == 3
    for whole, parts in zip(*gradients, strict=True):
        for one, other in zip(whole, parts, strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    whole, parts = rounds
    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)
    assert parts.total == pytest.approx(whole.total, rel=1e-5)
    assert parts.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)
    assert (parts.examples, parts.step) == (whole.examples, whole.step)


def test_a_loss_that_compares_its_rows_is_never_in_parts(build_model, sentences):
    """Each second sentence of a batch is a wrong answer for the other first ones."""
    pairs = [PairExample(e.text, f"{e.text} again") for e in sentences[:16]]
    tasks = [
        EmbeddingTask("vector", Dataset(train=pairs)),
        NERTask("ner", Dataset(train=sentences[:16]), types=TYPES),
    ]
    assert [task.rows_alone for task in tasks] == [False, True]
    config = replace(FAST, epochs=1, max_grad_norm=1e9, hide_words=0.0)
    losses, sizes = [], []
    for limit in (0, 60):
        model = build_model(tasks)
        run = Run(model, tasks, replace(config, max_tokens=limit), FixedWeighting())
        seen = []
        model.encoder.register_forward_pre_hook(
            lambda _, given, seen=seen: seen.append(len(given[0]))
        )
        run.round()
        losses.append(run.history.rounds[0].losses)
        sizes.append(seen)
    assert sizes[0] == [16, 8]
    assert sizes[1][0] == 16
    assert len(sizes[1]) > 2
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_only_fixed_weights_go_with_parts(build_model, tasks):
    """A weighting may add what is not in proportion to the losses; so many parts, so often."""

    class Adds(Weighting):
        def forward(self, losses):
            return dict.fromkeys(losses, 1.0), 1.0

    config = replace(FAST, max_tokens=100)
    with pytest.raises(ConfigError, match=r"only fixed weights add up(.|\n)*100, Adds"):
        train(build_model(tasks), tasks, config, weighting=Adds(), progress=False)


SENTENCES = ner_examples("train", 24)
TOKENIZER = WhitespaceTokenizer.train([example.text for example in SENTENCES])
NER = NERTask("ner", types=TYPES)
SIZES = {"no padding": (), "to sizes": range(8, 65, 8)}


def stream(sizes, seed, max_length):
    """Some of the sentences are several rows where rows are short."""
    items, _ = encode_examples(SENTENCES, TOKENIZER, [NER], max_length)
    hide = lambda ids, generator: TOKENIZER.hide_words(ids, 0.8, generator)  # noqa: E731
    return BatchStream(
        *(items, TOKENIZER, [NER]), batch_size=7, seed=seed, hide=hide, sizes=SIZES[sizes]
    )


@given(
    sizes=st.sampled_from(list(SIZES)),
    seed=st.integers(0, 99),
    max_tokens=st.integers(1, 400),
    max_length=st.sampled_from([10, 64]),
)
def test_the_parts_hold_what_the_batch_holds(sizes, seed, max_tokens, max_length):
    whole, parted = (stream(sizes, seed, max_length) for _ in range(2))
    for _ in range(6):  # into the second pass
        batch, parts = whole.next(), parted.next_parts(max_tokens)
        assert [item for part in parts for item in part.items] == batch.items
        rows = zip(batch.input_ids, batch.attention_mask, batch.targets["ner"], strict=True)
        rows_of_parts = [
            row
            for part in parts
            for row in zip(part.input_ids, part.attention_mask, part.targets["ner"], strict=True)
        ]
        for (ids, mask, targets), (ids_too, mask_too, targets_too) in zip(
            rows, rows_of_parts, strict=True
        ):
            assert torch.equal(ids[mask], ids_too[mask_too])
            assert (ids_too[~mask_too] == TOKENIZER.pad_id).all()
            assert torch.equal(targets[mask], targets_too[mask_too])
    assert torch.equal(whole.hide_generator.get_state(), parted.hide_generator.get_state())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])  # the latter pads to sizes
@pytest.mark.parametrize("sampling", ["alternating", "joint"])
def test_with_hidden_words_the_update_is_the_same(
    build_model, sentences, questions, sampling, precision
):
    tasks = [
        NERTask("ner", Dataset(train=sentences[:16]), types=TYPES),
        QATask("qa", Dataset(train=questions[:16])),
    ]
    config = TrainConfig(
        *(1, 0, 8),
        sampling=sampling,
        hide_words=0.9,
        max_grad_norm=1e9,
        device="cpu",
        precision=precision,
    )
    gradients = {}
    for max_tokens in (0, 60):
        run = Run(build_model(tasks, max_length=40), tasks, replace(config, max_tokens=max_tokens))
        run.update.dtype = torch.float32  # bfloat16 has too few digits to compare
        run.next_step()
        gradients[max_tokens] = {
            name: p.grad for name, p in run.model.named_parameters() if p.grad is not None
        }
        assert len(run.streams[0].next_parts(max_tokens)) > (max_tokens > 0)
    assert gradients[0].keys() == gradients[60].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[60][name], gradient, atol=1e-6, rtol=1e-5)
