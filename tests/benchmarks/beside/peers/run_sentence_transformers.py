"""Pairs with a score go in; the vectors of a bi-encoder of sentence-transformers come out.

Mean pooling and unit vectors; trained by `SentenceTransformerTrainer` with `CosineSimilarityLoss`,
the squared error of the cosine, which is ours for pairs with a score, too.
"""

from __future__ import annotations

import tempfile

from datasets import Dataset
from runner import Budget, Predictions, run
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import CosineSimilarityLoss
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import set_seed

EVAL_SENTENCES = 32  # in a batch of prediction


def build(budget: Budget) -> SentenceTransformer:
    set_seed(budget["seed"])
    transformer = Transformer(budget["checkpoint"])
    transformer.max_seq_length = budget["max_length"]
    pooling = Pooling(transformer.get_embedding_dimension(), "mean")
    return SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu")


def train(model: SentenceTransformer, budget: Budget) -> None:
    (dataset,) = budget["datasets"]
    pairs = {
        "sentence1": [record["first"] for record in dataset["train"]],
        "sentence2": [record["second"] for record in dataset["train"]],
        "label": [float(record["score"]) for record in dataset["train"]],
    }
    with tempfile.TemporaryDirectory() as folder:  # it wants one even when it saves nothing
        arguments = SentenceTransformerTrainingArguments(
            folder,
            num_train_epochs=budget["epochs"],
            per_device_train_batch_size=budget["batch_size"],
            learning_rate=budget["rate"],
            weight_decay=0.01,
            warmup_steps=0.1,  # a share of all steps
            seed=budget["seed"],
            use_cpu=True,
            eval_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        SentenceTransformerTrainer(
            model=model,
            args=arguments,
            train_dataset=Dataset.from_dict(pairs),
            loss=CosineSimilarityLoss(model),
        ).train()


def predict(model: SentenceTransformer, budget: Budget) -> Predictions:
    (dataset,) = budget["datasets"]
    first, second = (
        model.encode([record[side] for record in dataset["test"]], batch_size=EVAL_SENTENCES)
        for side in ("first", "second")
    )
    return {"similarity": list(zip(first.tolist(), second.tolist(), strict=True))}


if __name__ == "__main__":
    run(build, train, predict)
