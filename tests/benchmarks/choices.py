"""Choices that every user of several tasks has to make, each measured over seeds.

    python tests/benchmarks/choices.py sharing      one model or two; one batch for both or in turn
    python tests/benchmarks/choices.py pooling      how the tokens become one vector
    python tests/benchmarks/choices.py freezing     a new task for a trained model
    python tests/benchmarks/choices.py imbalance    one task has ten times the data of the other

Every row is trained anew for each seed, on new data and from new weights; settings were not chosen
on these test sets. Shown are means with 95% confidence intervals, and the differences from the
first row, seed by seed (`paired`), with theirs: an interval that excludes 0 is marked *.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import torch

import mtl
from mtl.metrics import interval
from mtl.tables import format_table

Scores = dict[str, float]
Method = Callable[[int], Scores]

ENCODER = {"n_layers": 2, "d_ff": 128, "embedding_std": 0.3}
TRAIN = mtl.TrainConfig(epochs=8, learning_rate=3e-3)
SYNONYMS = {
    "scored": ["netted"],
    "bought": ["took over"],
    "opened": ["started"],
    "closed": ["shut"],
    "beat": ["defeated"],
    "defeated": ["beat"],
    "won": ["took"],
    "resigned": ["stepped down"],
    "said": ["reported", "announced"],
    "found": ["discovered"],
    "near": ["close to"],
    "before": ["ahead of"],
    "money": ["funds"],
    "reports": ["writes"],
}


@cache
def news(seed: int, n: int) -> mtl.Dataset:
    """News with topic and tags; the first `n` training texts are the same for every `n`."""
    data = mtl.toy_dataset("news", 3000, 100, 500, seed)
    return replace(data, train=data.train[:n])


def epochs_for(n: int, steps: int, batch_size: int = TRAIN.batch_size) -> int:
    """Epochs that make about so many batches of `n` examples."""
    return max(1, round(steps / math.ceil(n / batch_size)))


def only(data: mtl.Dataset, **gone: None) -> mtl.Dataset:
    """A dataset of its own, its training texts without tags (`tags=None`) or without label."""
    return replace(data, train=[replace(example, **gone) for example in data.train])


def build(seed: int, tasks: Sequence[mtl.tasks.Task], texts: mtl.Dataset) -> mtl.MultiTaskModel:
    """A fresh model; its vocabulary is that of `texts`, so that all methods know the same words."""
    tokenizer = mtl.WhitespaceTokenizer.train(texts.training_texts())
    torch.manual_seed(seed)
    config = mtl.EncoderConfig(len(tokenizer), **ENCODER)
    return mtl.MultiTaskModel(mtl.TransformerEncoder(config), tokenizer, tasks)


def train(
    seed: int, tasks: Sequence[mtl.tasks.Task], texts: mtl.Dataset, **settings: object
) -> tuple[mtl.MultiTaskModel, float]:
    """A trained model and the seconds that it took."""
    model = build(seed, tasks, texts)
    config = replace(TRAIN, seed=seed, **settings)
    history = mtl.train(model, tasks, config, progress=False)
    return model, history.seconds


def test(model: mtl.MultiTaskModel, data: mtl.Dataset) -> Scores:
    """The main metric of every task on the test split."""
    scores = {}
    for name, task in model.tasks.items():
        metric, value = task.main_score(mtl.evaluate(model, name, data.test))
        scores[f"{name} {metric}"] = value
    return scores


def topic_and_ner(
    topic: mtl.Dataset, ner: mtl.Dataset, pooling: str = "mean"
) -> list[mtl.tasks.Task]:
    labels = ["other", "politics", "sports"]
    types = ["DATE", "LOC", "MISC", "ORG", "PER"]
    return [
        mtl.ClassificationTask("topic", topic, labels, pooling),
        mtl.NERTask("ner", ner, types),
    ]


# --- one model or two -----------------------------------------------------------------------------


def sharing(n: int) -> dict[str, Method]:
    """Joint batches, alternating batches of the same texts, and a model for each task.

    Every task sees the same number of batches, 750, in all three.
    """
    epochs = epochs_for(n, 750)

    def joint(seed: int) -> Scores:
        data = news(seed, n)
        model, seconds = train(seed, topic_and_ner(data, data), data, epochs=epochs)
        return test(model, data) | {"seconds": seconds}

    def alternating(seed: int) -> Scores:
        data = news(seed, n)
        model, seconds = train(seed, topic_and_ner(data, replace(data)), data, epochs=epochs)
        return test(model, data) | {"seconds": seconds}

    def separate(seed: int) -> Scores:
        data, scores, total = news(seed, n), {}, 0.0
        for task in topic_and_ner(data, data):
            model, seconds = train(seed, [task], data, epochs=epochs)
            scores |= test(model, data)
            total += seconds
        return scores | {"seconds": total}

    return {
        "one model, one pass for both": joint,
        "one model, in turn": alternating,
        "two models": separate,
    }


# --- pooling --------------------------------------------------------------------------------------


def pooling(n: int) -> dict[str, Method]:
    """How the tokens of a text become one vector for the topic."""

    def pooled(how: str) -> Method:
        def run(seed: int) -> Scores:
            data = news(seed, n)
            tasks = topic_and_ner(data, data, how)
            model, _ = train(seed, tasks, data, epochs=epochs_for(n, 750))
            unseen = mtl.evaluate(model, "topic", data.test_unseen)["accuracy"]
            return test(model, data) | {"topic accuracy, unseen names": unseen}

        return run

    return {how: pooled(how) for how in ("mean", "cls", "max")}


# --- freezing -------------------------------------------------------------------------------------


@cache
def trained_on_ner(seed: int) -> mtl.MultiTaskModel:
    """A model that has learned to tag 3,000 news texts."""
    data = news(seed, 3000)
    model, _ = train(seed, topic_and_ner(data, data)[1:], data)
    return model


def freezing(n: int) -> dict[str, Method]:
    """A trained tagger learns topics from `n` labelled texts, in about 300 batches of 8."""
    short = {"epochs": epochs_for(n, 300, 8), "batch_size": 8}

    def add_topic(**settings: object) -> Method:
        def run(seed: int) -> Scores:
            model = copy.deepcopy(trained_on_ner(seed))
            data = news(seed, n)
            topic = topic_and_ner(data, data)[0]
            model.add_task(topic)
            config = replace(TRAIN, seed=seed, **short, **settings)
            history = mtl.train(model, [topic], config, progress=False)
            return test(model, data) | {"seconds": history.seconds}

        return run

    def with_old_texts(seed: int) -> Scores:
        model = copy.deepcopy(trained_on_ner(seed))
        topic, ner = topic_and_ner(news(seed, n), news(seed, 3000))
        model.add_task(topic)
        config = replace(TRAIN, seed=seed, epochs=1, batch_size=8)
        history = mtl.train(model, [topic, ner], config, progress=False)
        return test(model, news(seed, n)) | {"seconds": history.seconds}

    def anew(seed: int) -> Scores:
        data = news(seed, n)
        topic = topic_and_ner(data, data)[0]
        model, seconds = train(seed, [topic], news(seed, 3000), **short)
        return test(model, data) | {"seconds": seconds}

    return {
        "encoder frozen": add_topic(freeze=["encoder", "heads.ner"]),
        "embeddings and first layer frozen": add_topic(
            freeze=["encoder.embeddings", "encoder.layers[:1]", "heads.ner"]
        ),
        "nothing frozen": add_topic(),
        "nothing frozen, rate 3e-4": add_topic(learning_rate=3e-4),
        "nothing frozen, in turn with the old texts": with_old_texts,
        "a model of its own, from scratch": anew,
    }


# --- imbalance ------------------------------------------------------------------------------------


def imbalance(n: int) -> dict[str, Method]:
    """Topics of 3,000 texts, tags of `n` other texts; all methods make the same number of steps."""

    def run_with(
        copies: int = 0, synonyms: dict | None = None, cut: bool = False, **settings: object
    ) -> Method:
        def run(seed: int) -> Scores:
            everything = mtl.toy_dataset("news", 3000 + n, 500, 500, seed)
            big = replace(everything, train=everything.train[: n if cut else 3000])
            small_train = everything.train[3000:]
            if copies:
                small_train = mtl.data.augment.augment(small_train, copies, seed, synonyms)
            small = replace(everything, train=small_train)
            tasks = topic_and_ner(only(big, tags=None), only(small, label=None))
            longest = max(len(task.dataset.train) for task in tasks)
            epochs = round(TRAIN.epochs * 3000 / longest)
            model, _ = train(seed, tasks, everything, epochs=epochs, **settings)
            return test(model, everything)

        return run

    def alone(seed: int) -> Scores:
        everything = mtl.toy_dataset("news", 3000 + n, 500, 500, seed)
        small = replace(everything, train=everything.train[3000:])
        ner = topic_and_ner(small, small)[1]
        model, _ = train(seed, [ner], everything, epochs=round(TRAIN.epochs * 3000 / n))
        return test(model, everything)

    return {
        "in turn (small task over-sampled)": run_with(),
        "drawn, alpha 1 (by size)": run_with(sampling="sampled", alpha=1.0),
        "drawn, alpha 0.5": run_with(sampling="sampled", alpha=0.5),
        "drawn, alpha 0 (uniform)": run_with(sampling="sampled", alpha=0.0),
        "drawn, alpha 1 falling to 0.2": run_with(sampling="sampled", alpha=1.0, anneal=0.8),
        "alpha 1, loss of the small task x 5": run_with(
            sampling="sampled", alpha=1.0, loss_weights={"ner": 5.0}
        ),
        "large task cut to the small one's size": run_with(cut=True),
        "in turn, 3 copies with other entities": run_with(copies=3),
        "in turn, 3 copies, entities and synonyms": run_with(copies=3, synonyms=SYNONYMS),
        "the small task alone": alone,
    }


STUDIES = {  # what is studied, and training examples of the (small) task
    "sharing": (sharing, (300, 3000)),
    "pooling": (pooling, (300, 3000)),
    "freezing": (freezing, (30, 300)),
    "imbalance": (imbalance, (300,)),
}


def study(methods: dict[str, Method], seeds: int) -> str:
    """A table: one line a method, means and paired differences from the first."""
    results: dict[str, list[Scores]] = {}
    for name, method in methods.items():
        started = time.perf_counter()
        results[name] = [method(seed) for seed in range(seeds)]
        print(f"  {name}: {time.perf_counter() - started:.0f} s", flush=True)
    reference = next(iter(results.values()))
    rows = []
    for name, runs in results.items():
        row = [name]
        for metric in reference[0]:
            values = [run[metric] for run in runs if metric in run]
            if not values:
                row += ["", ""]
                continue
            pairs = zip(values, (run[metric] for run in reference), strict=True)
            differences = [a - b for a, b in pairs]
            row += [_with_interval(values), _difference(differences)]
        rows.append(row)
    header = [part for metric in reference[0] for part in (metric, "paired")]
    return format_table(["", *header], rows)


def _with_interval(values: Sequence[float]) -> str:
    centre, half = interval(values)
    return f"{centre:.3f} ± {half:.3f}"


def _difference(values: Sequence[float]) -> str:
    centre, half = interval(values)
    if not any(values):
        return ""
    return f"{centre:+.3f} ± {half:.3f}" + (" *" if abs(centre) > half else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--n", type=int, nargs="*", help="training examples of the (small) task")
    options = parser.parse_args()
    warnings.simplefilter(
        "ignore", mtl.errors.TrainingWarning
    )  # spoiled heads are among what is measured
    build_methods, sizes = STUDIES[options.study]
    for n in options.n or sizes:
        print(f"{options.study}, {n:,} examples, {options.seeds} seeds")
        print(f"{study(build_methods(n), options.seeds)}\n", flush=True)


if __name__ == "__main__":
    main()
