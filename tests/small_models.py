"""Small models with tasks of one kind and of several: for tests of prediction."""

import pytest

from mtl.data.batching import collate
from mtl.data.encoded import encode_examples
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.embedding import EmbeddingTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask

TYPES = ["LOC", "MISC", "ORG", "PER"]
LONG = " ".join(f"Word{i}" for i in range(150)) + " ."


@pytest.fixture(scope="module")
def model(build_model):
    """A model with random weights large enough to give varied answers."""
    tasks = [NERTask("ner", types=TYPES), QATask("qa"), NERTask("other", types=["X"])]
    return build_model(tasks, embedding_std=1.0).eval()


@pytest.fixture(scope="module")
def two_task_model(build_model):
    return build_model([NERTask("ner", types=TYPES), QATask("qa")], embedding_std=1.0).eval()


def batch_of(queries, max_length=64):
    tokenizer = WhitespaceTokenizer.train([])
    items, _ = encode_examples(queries, tokenizer, [], max_length)
    return collate(items, tokenizer, [])


@pytest.fixture(scope="module")
def many_task_model(build_model):
    tasks = [
        ClassificationTask("topic", labels=["a", "b", "c"]),
        NERTask("ner", types=TYPES),
        EmbeddingTask("vector", width=6),
        QATask("qa"),
    ]
    return build_model(tasks, embedding_std=1.0).eval()


def assert_close(one, other):
    """The two predictions of one text are the same, but for rounding."""
    assert one.keys() == other.keys()
    assert one["topic"].text == other["topic"].text == one["ner"].text == one["vector"].text
    assert one["topic"].scores == pytest.approx(other["topic"].scores, abs=1e-5)
    assert one["ner"].tags == other["ner"].tags
    assert one["ner"].scores == pytest.approx(other["ner"].scores, abs=1e-5)
    assert one["vector"].vector == pytest.approx(other["vector"].vector, abs=1e-5)
