"""Texts with an intent and slots go in; the predictions of a spaCy pipeline come out.

`textcat` and `ner` listen to one shared transformer. The components are those of spaCy's quickstart
for a transformer, the loop is that of its documentation: `nlp.update` on shuffled batches.
"""

from __future__ import annotations

import random
from typing import Any

import spacy
from runner import Budget, Predictions, run
from spacy.language import Language
from spacy.tokens import Doc
from spacy.training import Example
from spacy.util import minibatch

EVAL_DOCS = 32  # in a batch of prediction
DROPOUT = 0.1  # spaCy's default
# How much NER moves the shared transformer, as in the quickstart: as much as it wants. Its loss is
# a sum over words, beside which `textcat` learns slowly; with less, it learns faster.
NER_GRAD_FACTOR = 1.0
LISTENER = {
    "@architectures": "spacy-transformers.TransformerListener.v1",
    "grad_factor": 1.0,
    "pooling": {"@layers": "reduce_mean.v1"},
}
TEXTCAT = {
    "@architectures": "spacy.TextCatCNN.v2",
    "exclusive_classes": True,
    "nO": None,
    "tok2vec": LISTENER,
}
NER = {
    "@architectures": "spacy.TransitionBasedParser.v2",
    "state_type": "ner",
    "extra_state_tokens": False,
    "hidden_width": 64,
    "maxout_pieces": 2,
    "use_upper": False,
    "nO": None,
    "tok2vec": LISTENER | {"grad_factor": NER_GRAD_FACTOR},
}


def build(budget: Budget) -> tuple[Language, list[Example]]:
    spacy.util.fix_random_seed(budget["seed"])
    (dataset,) = budget["datasets"]
    nlp = spacy.blank("en", config={"training": {"optimizer": optimizer_of(budget)}})
    nlp.add_pipe("transformer", config={"model": transformer_of(budget)})
    nlp.add_pipe("textcat", config={"model": TEXTCAT})
    nlp.add_pipe("ner", config={"model": NER})
    intents = sorted({record["label"] for record in dataset["train"]})
    examples = [labelled(nlp, record, intents) for record in dataset["train"]]
    nlp.initialize(lambda: examples)
    return nlp, examples


def transformer_of(budget: Budget) -> dict[str, Any]:
    """The checkpoint; long texts are read in windows, as in spaCy's quickstart."""
    return {
        "@architectures": "spacy-transformers.TransformerModel.v3",
        "name": budget["checkpoint"],
        "tokenizer_config": {"use_fast": True},
        "get_spans": {
            "@span_getters": "spacy-transformers.strided_spans.v1",
            "window": 128,
            "stride": 96,
        },
    }


def optimizer_of(budget: Budget) -> dict[str, Any]:
    """Adam with spaCy's other defaults: weight decay 0.01, gradients clipped to a norm of 1."""
    (dataset,) = budget["datasets"]
    steps = budget["epochs"] * -(-len(dataset["train"]) // budget["batch_size"])
    return {
        "@optimizers": "Adam.v1",
        "learn_rate": {
            "@schedules": "warmup_linear.v1",
            "warmup_steps": max(1, steps // 10),
            "total_steps": steps,
            "initial_rate": budget["rate"],
        },
    }


def labelled(nlp: Language, record: dict[str, Any], intents: list[str]) -> Example:
    """The words alone, and beside them the words with slots and intent."""
    reference = Doc(nlp.vocab, words=record["tokens"], ents=record["tags"])
    reference.cats = {intent: float(intent == record["label"]) for intent in intents}
    return Example(Doc(nlp.vocab, words=record["tokens"]), reference)


def train(built: tuple[Language, list[Example]], budget: Budget) -> None:
    nlp, examples = built
    optimizer = nlp.create_optimizer()
    order = random.Random(budget["seed"])
    for _ in range(budget["epochs"]):
        order.shuffle(examples)
        for batch in minibatch(examples, budget["batch_size"]):
            nlp.update(batch, sgd=optimizer, drop=DROPOUT)
            optimizer.step_schedules()


def predict(built: tuple[Language, list[Example]], budget: Budget) -> Predictions:
    nlp, _ = built
    (dataset,) = budget["datasets"]
    docs = [Doc(nlp.vocab, words=record["tokens"]) for record in dataset["test"]]
    docs = list(nlp.pipe(docs, batch_size=EVAL_DOCS))
    return {
        "intent": [max(doc.cats, key=doc.cats.__getitem__) for doc in docs],
        "slots": [[tag_of(token) for token in doc] for doc in docs],
    }


def tag_of(token: Any) -> str:
    """The tag of a word in IOB2."""
    return f"{token.ent_iob_}-{token.ent_type_}" if token.ent_type_ else "O"


if __name__ == "__main__":
    run(build, train, predict)
