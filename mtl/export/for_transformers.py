"""One task of a model goes in; a folder that `transformers` loads as a model with a head comes out.

The outputs are the same for every input. Heads for tokens and for answers are one linear layer
there too. Heads for whole texts have one layer more, with an activation between the two:

    ours                  their DistilBERT, their ELECTRA
    W h + b               out(activation(dense(h)))

For ReLU and for GELU, `activation(y) - activation(-y) = y`. So `dense` computes `y = W h + b` and
`-y`, and `out` subtracts the two. BERT and RoBERTa have a tanh there, which nothing undoes; but
their encoders are ELECTRA's too, whose embeddings may be as wide as its layers, and a model with
such a head is saved as that. All of them read the first token, and no pooling is left.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..data.tokenizers.subwords import SubwordTokenizer
from ..errors import ModelError
from ..model import MultiTaskModel
from ..nn.crf import ChainHead
from ..nn.export import model_type_of, write_checkpoint
from ..nn.family import Settings, Weights
from ..nn.global_pointer import GlobalPointerHead
from ..nn.heads import (
    EmbeddingHead,
    PairHead,
    SequenceClassificationHead,
    SpanHead,
    TokenClassificationHead,
)
from ..tasks import RegressionTask, Task

# What the names of their classes begin with, by model type.
CLASSES = {
    "bert": "Bert",
    "camembert": "Camembert",
    "distilbert": "DistilBert",
    "electra": "Electra",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
}
# The two linear layers of a head for whole texts, where the activation between them is one that
# `_through_activation` gets through.
TWO_LAYERS = {
    "distilbert": ("pre_classifier", "classifier"),
    "electra": ("classifier.dense", "classifier.out_proj"),
}
OTHERWISE = "mtl export --format onnx takes any head"
# Heads that their classes do not have, and why.
WITHOUT_CLASS: dict[type[nn.Module], tuple[str, str]] = {
    ChainHead: (
        "its decoding needs the scores of transitions (a CRF), and their classes have none",
        'train it with decoding = "constrained" or "greedy"',
    ),
    GlobalPointerHead: ("it scores spans of words, and they have no class for that", ""),
    PairHead: (
        'its head compares two texts (pooling = "compare"), and theirs reads the first token',
        'train it with pooling = "cls"',
    ),
    EmbeddingHead: (
        "it gives vectors, and they have no class with such a head",
        "use --format sentence-transformers",
    ),
}


@dataclass(frozen=True)
class TheirHead:
    """A head as `transformers` has it.

    Attributes:
        ending: how the name of the class ends.
        model_type: the family of the class.
        weights: under their names.
        settings: keys of their config.
    """

    ending: str
    model_type: str
    weights: Weights
    settings: Settings


def export_for_transformers(model: MultiTaskModel, task: str, folder: str | Path) -> str:
    """Write the encoder as a task reads it, its head and the tokenizer, for `transformers`.

    Their config has the labels (`id2label`), and under `thresholds` those of the task, if it has
    any: their pipelines do not use them.

    Args:
        task: the name of the task.
        folder: is created if it is missing.

    Returns:
        the name of their class, such as `BertForTokenClassification`.

    Raises:
        ConfigError: there is no such task, or it has a task embedding.
        ModelError: an encoder, a tokenizer or a head that `transformers` has no equal of.
    """
    chosen = model.task(task)
    encoder = model.encoder_for(chosen.name)
    tokenizer = cast("SubwordTokenizer", model.tokenizer)  # `model_type_of` refuses others
    head = _their_head(chosen, model.heads[chosen.name], model_type_of(encoder, tokenizer))
    name = f"{CLASSES[head.model_type]}{head.ending}"
    settings = {"architectures": [name], **head.settings}
    if chosen.thresholds:
        settings["thresholds"] = chosen.thresholds
    write_checkpoint(encoder, tokenizer, folder, head.model_type, settings, head.weights)
    return name


def _their_head(task: Task, head: nn.Module, model_type: str) -> TheirHead:
    """The head of a task as one of theirs; ModelError if none computes the same."""
    why, fix = WITHOUT_CLASS.get(type(head), ("they have no class with such a head", ""))
    convert = CONVERTERS.get(type(head))
    if convert is None:
        raise _no_class(task, why, type(head).__name__, fix)
    if model_type not in CLASSES:
        raise _no_class(
            task,
            "their heads for this family have a layer norm, and ours have none",
            f"an encoder like {model_type}",
        )
    return convert(task, head, model_type)


def _of_tokens(task: Task, head: Any, model_type: str) -> TheirHead:
    weights = _linear("classifier", head.classifier)
    return TheirHead("ForTokenClassification", model_type, weights, _labels(task, head))


def _of_spans(task: Task, head: Any, model_type: str) -> TheirHead:
    weights = _linear("qa_outputs", head.start_and_end)
    return TheirHead("ForQuestionAnswering", model_type, weights, {})


def _of_texts(task: Task, head: Any, model_type: str) -> TheirHead:
    if head.pooling != "cls":
        raise _no_class(
            task,
            "its head pools all tokens, and theirs reads the first one",
            f"pooling {head.pooling!r}",
            'train it with pooling = "cls"',
        )
    model_type = model_type if model_type in TWO_LAYERS else "electra"
    weight, bias, settings = head.classifier.weight, head.classifier.bias, _labels(task, head)
    if isinstance(task, RegressionTask):
        # Theirs gives the score itself; ours, in standard deviations from the mean.
        weight, bias = task.deviation * weight, task.deviation * bias + task.mean
        settings = {"id2label": {0: task.field}, "problem_type": "regression"}
    n_classes, width = weight.shape
    if 2 * n_classes > width:
        raise _no_class(
            task,
            "its classes are more than half as many as the encoder is wide",
            f"{n_classes} classes, width {width}",
        )
    weights = _through_activation(*TWO_LAYERS[model_type], weight, bias)
    return TheirHead("ForSequenceClassification", model_type, weights, settings)


CONVERTERS: dict[type[nn.Module], Callable[[Task, Any, str], TheirHead]] = {
    TokenClassificationHead: _of_tokens,
    SpanHead: _of_spans,
    SequenceClassificationHead: _of_texts,
}


def _linear(name: str, layer: nn.Linear) -> Weights:
    return {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}


def _through_activation(first: str, second: str, weight: Tensor, bias: Tensor) -> Weights:
    """Two layers with ReLU or GELU between them that compute what one layer does.

    Args:
        first, second: what the two layers are called.
        weight, bias: `(C, D)` and `(C,)` of the one layer, with 2C at most D.

    Returns:
        `(D, D)` and `(D,)` of the first layer, `(C, D)` and `(C,)` of the second.
    """
    n_classes, width = weight.shape
    both = torch.cat([weight, -weight]).detach()
    unused = width - 2 * n_classes
    one = torch.eye(n_classes)
    return {
        f"{first}.weight": torch.cat([both, both.new_zeros(unused, width)]),
        f"{first}.bias": torch.cat([bias, -bias, bias.new_zeros(unused)]),
        f"{second}.weight": torch.cat([one, -one, torch.zeros(n_classes, unused)], dim=1),
        f"{second}.bias": torch.zeros(n_classes),
    }


def _labels(task: Task, head: Any) -> Settings:
    """The labels of a task in their config, by id and by name."""
    settings = task.settings()
    n_classes = len(head.classifier.bias)
    # A task of somebody's own need not name its classes.
    names = settings.get("id2label") or {i: f"LABEL_{i}" for i in range(n_classes)}
    kind = "multi_label" if settings.get("multi_label") else "single_label"
    return {
        "id2label": names,
        "label2id": {name: int(i) for i, name in names.items()},
        "problem_type": f"{kind}_classification",
    }


def _no_class(task: Task, why: str, found: str, fix: str = "") -> ModelError:
    return ModelError(
        f"transformers cannot compute what the task {task.name!r} does: {why}",
        found=found,
        fix=f"{fix}; or {OTHERWISE}" if fix else OTHERWISE,
    )
