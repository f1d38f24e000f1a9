"""A batch in parts (`max_tokens`) is the same batch: the same words are hidden, the same update."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl.data.batching import BatchStream
from mtl.data.dataset import Dataset
from mtl.data.encoded import encode_examples
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.toy import ner_examples
from mtl.training.config import TrainConfig
from mtl.training.run import Run

TYPES = ["LOC", "MISC", "ORG", "PER"]
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
@pytest.mark.parametrize("steps", ["alternating", "joint"])
def test_with_hidden_words_the_update_is_the_same(
    build_model, sentences, questions, steps, precision
):
    tasks = [
        NERTask("ner", Dataset(train=sentences[:16]), types=TYPES),
        QATask("qa", Dataset(train=questions[:16])),
    ]
    config = TrainConfig(
        *(1, 0, 8), steps=steps, hide_words=0.9, clip_norm=1e9, device="cpu", precision=precision
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
