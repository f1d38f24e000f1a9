"""Tasks and a budget go in; what our training took, and what its model predicts, come out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import mtl
from mtl.devices import autocast, choose_precision
from mtl.inference.loop import predict_examples

from .cases import Case, Outcome

MAX_TOKENS = 2048  # larger batches go through in parts: the same update, less memory


def run(
    case: Case,
    tasks: Sequence[mtl.tasks.Task],
    checkpoint: str,
    config: mtl.TrainConfig,
) -> Outcome:
    """Train one model on all tasks, then predict their test examples."""
    encoder, tokenizer = mtl.load_pretrained(
        checkpoint, max_length=case.max_length, attention_dropout=0.0
    )
    model = mtl.MultiTaskModel(encoder, tokenizer, tasks, overlap=case.overlap)
    started = time.perf_counter()
    mtl.train(model, config=config, progress=False)
    trained = time.perf_counter()
    # Otherwise a prediction is in float32, whatever the training was in.
    with autocast(model.device, choose_precision(config.precision, model.device)):
        predictions = predictions_of(model, tasks)
    return Outcome(trained - started, time.perf_counter() - trained, predictions)


def predictions_of(
    model: mtl.MultiTaskModel, tasks: Sequence[mtl.tasks.Task]
) -> dict[str, list[Any]]:
    """What each task says of its labelled test examples; tasks on the same texts share a pass."""
    found = {}
    for dataset in {id(task.dataset): task.dataset for task in tasks}.values():
        sharing = [task for task in tasks if task.dataset is dataset]
        said = predict_examples(model, dataset.test, [task.name for task in sharing])
        for task in sharing:
            of_examples = zip(dataset.test, said, strict=True)
            found[task.name] = [s[task.name] for e, s in of_examples if task.is_labelled(e)]
    return found


def config_of(case: Case, seed: int, precision: str, threads: int) -> mtl.TrainConfig:
    """The budget of a case as settings of `mtl.train`."""
    return mtl.TrainConfig(
        epochs=case.epochs,
        batch_size=case.batch_size,
        max_tokens=MAX_TOKENS,
        learning_rate=case.head_rate,
        pretrained_learning_rate=case.rate,
        adam_beta2=0.999,
        threads=threads,
        device="cpu",
        precision=precision,
        seed=seed,
    )
