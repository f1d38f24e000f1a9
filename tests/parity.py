"""Hidden states of our encoder beside those of `transformers`: for tests of checkpoints."""

import json

import pytest
import torch
from checkpoints import POSITIONS, write_checkpoint

from mtl.errors import ModelError
from mtl.nn.pretrained import load_pretrained

BASES = ["BertModel", "DistilBertModel", "RobertaModel", "XLMRobertaModel", "CamembertModel"]
BASES += ["ElectraModel", "ModernBertModel"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A function from a class of `transformers` to a folder of such weights, and the model."""
    pytest.importorskip("transformers")
    made = {}

    def make(class_name, **settings):
        key = json.dumps([class_name, settings])
        if key not in made:
            folder = tmp_path_factory.mktemp(class_name)
            made[key] = folder, write_checkpoint(folder, class_name, **settings)
        return made[key]

    return make


@pytest.fixture
def copied(checkpoint, tmp_path):
    """A function that copies a checkpoint's folder, for a test to spoil."""

    def copy(class_name="BertModel", **settings):
        folder, _ = checkpoint(class_name, **settings)
        for path in folder.iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        return tmp_path

    return copy


def our_states(encoder, ids, mask, types):
    """What every layer gives, that of the embeddings first and the last normed: `(B, T, D)`."""
    states = []
    hooks = [
        layer.register_forward_hook(lambda *call: states.append(call[2]))
        for layer in encoder.layers
    ]
    first = encoder.layers[0].register_forward_pre_hook(lambda _, args: states.append(args[0]))
    with torch.no_grad():
        last = encoder(ids, mask, types)
    for hook in [first, *hooks]:
        hook.remove()
    return [*states[:-1], last]


def their_states(model, ids, mask, types):
    model = model.base_model
    arguments = {"input_ids": ids, "attention_mask": mask.long(), "output_hidden_states": True}
    if "token_type_embeddings" in dict(model.embeddings.named_children()):
        arguments["token_type_ids"] = types
    with torch.no_grad():
        return model(**arguments).hidden_states


def inputs(lengths, vocabulary, pad, n_types=1, longest=None):
    """Random ids, the mask and the segments of rows of these lengths."""
    generator = torch.Generator().manual_seed(1)
    shape = len(lengths), longest or max(lengths)
    ids = torch.randint(5, vocabulary, shape, generator=generator)
    mask = torch.arange(shape[1]) < torch.tensor(lengths)[:, None]
    types = torch.randint(n_types, shape, generator=generator)
    return ids.masked_fill(~mask, pad), mask, types * mask


def assert_same_states(ours, theirs, mask, atol=1e-5):
    assert len(ours) == len(theirs)
    for our, their in zip(ours, theirs, strict=True):
        assert torch.allclose(our[mask], their[mask], atol=atol, rtol=0)


def assert_parity(encoder, model, lengths=(POSITIONS, 17, 9, 3, 1)):
    config = model.config
    n_types = getattr(config, "type_vocab_size", 1)
    ids, mask, types = inputs(lengths, config.vocab_size, config.pad_token_id, n_types)
    ours = our_states(encoder, ids, mask, types if encoder.config.n_types else None)
    assert_same_states(ours, their_states(model, ids, mask, types), mask)


def message_of(folder, kind=ModelError, **arguments):
    with pytest.raises(kind) as caught:
        load_pretrained(folder, **arguments)
    return str(caught.value)
