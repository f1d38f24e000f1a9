"""Texts with an intent and slots go in; the predictions of flair's MultitaskModel come out.

A classifier and a tagger share one encoder. Every sentence trains both in the same step
(`use_all_tasks`), so that the encoder runs once for both, as it does in ours.
"""

from __future__ import annotations

import tempfile
from typing import Any

import flair
from flair.data import Corpus, Sentence
from flair.datasets import FlairDatapointDataset
from flair.embeddings import TransformerWordEmbeddings
from flair.models import MultitaskModel, SequenceTagger, TextClassifier
from flair.trainers import ModelTrainer
from runner import Budget, Predictions, run

EVAL_SENTENCES = 32  # in a batch of prediction
TASKS = ["intent", "slots"]


def build(budget: Budget) -> tuple[MultitaskModel, Corpus]:
    flair.set_seed(budget["seed"])
    (dataset,) = budget["datasets"]
    sentences = [labelled(record) for record in dataset["train"]]
    corpus = Corpus(FlairDatapointDataset(sentences), sample_missing_splits=False)
    shared = TransformerWordEmbeddings(budget["checkpoint"], is_document_embedding=True)
    classifier = TextClassifier(
        shared,
        label_type="intent",
        label_dictionary=corpus.make_label_dictionary("intent", add_unk=False),
    )
    # As flair fine-tunes taggers: a linear layer on the encoder, no CRF, no RNN.
    tagger = SequenceTagger(
        shared,
        tag_dictionary=corpus.make_label_dictionary("slots", add_unk=False),
        tag_type="slots",
        use_crf=False,
        use_rnn=False,
        reproject_embeddings=False,
    )
    return MultitaskModel([classifier, tagger], task_ids=TASKS, use_all_tasks=True), corpus


def labelled(record: dict[str, Any]) -> Sentence:
    """A sentence with its intent, its slots, and the tasks that learn from it."""
    sentence = Sentence(list(record["tokens"]))
    sentence.add_label("intent", record["label"])
    for kind, first, last in spans_of(record["tags"]):
        sentence[first:last].add_label("slots", kind)
    for task in TASKS:
        sentence.add_label("multitask_id", task)
    return sentence


def spans_of(tags: list[str]) -> list[tuple[str, int, int]]:
    """IOB2 tags as spans: type, first word, one past the last."""
    spans: list[tuple[str, int, int]] = []
    for i, tag in enumerate(tags):
        if tag.startswith("B-"):
            spans.append((tag[2:], i, i + 1))
        elif tag.startswith("I-"):
            kind, first, _ = spans.pop()
            spans.append((kind, first, i + 1))
    return spans


def train(built: tuple[MultitaskModel, Corpus], budget: Budget) -> None:
    with tempfile.TemporaryDirectory() as folder:  # it wants one even when it saves nothing
        ModelTrainer(*built).fine_tune(
            folder,
            learning_rate=budget["rate"],
            mini_batch_size=budget["batch_size"],
            max_epochs=budget["epochs"],
            save_final_model=False,
            create_file_logs=False,
            create_loss_file=False,
        )


def predict(built: tuple[MultitaskModel, Corpus], budget: Budget) -> Predictions:
    model, _ = built
    (dataset,) = budget["datasets"]
    sentences = [Sentence(list(record["tokens"])) for record in dataset["test"]]
    model.predict(sentences, mini_batch_size=EVAL_SENTENCES)
    return {
        "intent": [sentence.get_label("intent").value for sentence in sentences],
        "slots": [tags_of(sentence) for sentence in sentences],
    }


def tags_of(sentence: Sentence) -> list[str]:
    """The spans that were found, as IOB2 tags."""
    tags = ["O"] * len(sentence)
    for label in sentence.get_labels("slots"):
        span = label.data_point
        first, *others = [token.idx - 1 for token in span]
        tags[first] = f"B-{label.value}"
        for i in others:
            tags[i] = f"I-{label.value}"
    return tags


if __name__ == "__main__":
    run(build, train, predict)
