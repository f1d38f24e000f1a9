"""Tiny models with a head of every kind, and their graphs: for tests of exports."""

from copy import deepcopy

import pytest
import torch

from mtl.data.dataset import Dataset
from mtl.data.examples import PairExample, TextExample
from mtl.tasks import (
    ClassificationTask,
    EmbeddingTask,
    NERTask,
    NestedNERTask,
    PairClassificationTask,
    QATask,
    RegressionTask,
    TaggingTask,
)

LONGEST = 14  # tokens in a row
LABELS = ["a", "b", "c"]
FEW = ("chain", "topic", "qa")
SCORED = Dataset(train=[PairExample("a", "b", raw_score=1.0), PairExample("c", "d", raw_score=4.0)])
STARS = Dataset(train=[TextExample(x, scores={"stars": float(i)}) for i, x in enumerate("abc")])


def every_task():
    """A task for each kind of head, decoding and pooling."""
    return [
        NERTask("ner", types=["PER", "LOC"], decoding="constrained"),
        NERTask("chain", types=["PER"], decoding="crf"),
        TaggingTask("tags", tags=["NOUN", "VERB"]),
        NestedNERTask("nested", types=["PER", "LOC"], max_entity_words=3),
        ClassificationTask("topic", labels=LABELS),
        ClassificationTask("moods", labels=LABELS, pooling="max", multi_label=True),
        EmbeddingTask("vector", width=6),
        QATask("qa"),
        PairClassificationTask("pair", labels=LABELS),
        PairClassificationTask("first", labels=LABELS, pooling="cls"),
        RegressionTask("similar", SCORED),
        RegressionTask("stars", STARS, field="stars"),
    ]


WITH_ALL = "rotary"  # the shape that has all heads; to trace them takes most of the time
# By name: the encoder, and what tasks have of their own in it.
SHAPES = {
    "rotary": ({"positions": "rotary", "rotary_heads": 1, "match_heads": True}, {}),
    "sinusoidal": ({"positions": "sinusoidal"}, {}),
    "like BERT": ({"positions": "learned", "norm": "post", "d_embedding": 8}, {}),
    "own parts": (
        {"positions": "learned", "norm": "post"},
        {"private_layers": 1, "adapters": {"chain": 2}, "task_embeddings": ["topic"]},
    ),
    "like ModernBERT": (
        {
            **{"positions": "rotary", "embedding_norm": True, "activation": "geglu"},
            **{"bias": False, "local_attention": 4, "global_every": 2, "n_types": 0},
            **{"local_rotary_theta": 100.0},
        },
        {"adapters": {"chain": 2, "qa": 2}},
    ),
}


@pytest.fixture(scope="module")
def every_head(tokenizer):
    """A function from the name of a shape to a model whose weights are all different."""
    from mtl.model import MultiTaskModel
    from mtl.nn.encoder import TransformerEncoder

    def make(shape):
        settings, own = SHAPES[shape]
        # A head reads vectors, whatever the encoder: one shape has them all, the others a few.
        tasks = [task for task in every_task() if shape == WITH_ALL or task.name in FEW]
        size = {"d_model": 16, "n_heads": 2, "n_layers": 2, "max_length": LONGEST}
        torch.manual_seed(0)
        encoder = TransformerEncoder({"vocab_size": len(tokenizer), **size, **settings})
        model = MultiTaskModel(encoder, tokenizer, tasks, overlap=4, **own)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape))
        return model.eval()

    return make


@pytest.fixture(scope="module")
def exported(every_head, tmp_path_factory):
    """A function from the name of a shape to the model, and the folder that it was exported to."""
    from mtl.export import export_onnx, for_onnx

    graphs, made = {}, {}

    def make(shape, weights="float32"):
        if (shape, weights) not in made:
            model, folder = every_head(shape), tmp_path_factory.mktemp("exported")
            if shape not in graphs:  # traced once, whatever its weights become
                graphs[shape] = for_onnx.graph_of(model)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(for_onnx, "graph_of", lambda _: deepcopy(graphs[shape]))
                export_onnx(model, folder, weights)
            made[shape, weights] = model, folder
        return made[shape, weights]

    return make
