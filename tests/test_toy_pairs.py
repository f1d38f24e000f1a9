"""Toy pairs with classes and with scores: what they mean, read back from their words."""

import re
from collections import Counter
from itertools import product

import pytest
import test_toy_paraphrases as reading_back

from mtl.experiments.recipe import load_recipe
from mtl.experiments.run import run_recipe
from mtl.metrics import accuracy, spearman
from mtl.tasks import RegressionTask
from mtl.toy import SPLITS, inference, similarity
from mtl.toy.pairs import CLASSES
from mtl.toy.paraphrases import PARTS

N = 420


@pytest.mark.slow
def test_the_recipe_learns_both_far_above_their_baselines(tmp_path, no_curves):
    metrics = run_recipe(load_recipe("pairs"), tmp_path / "run", progress=False)
    inferred, similar = (metrics["test"][name] for name in ("inference", "similarity"))
    assert inferred["accuracy"] > 0.9
    assert similar["spearman"] > 0.8
    baselines = metrics["baselines"]["inference"] | metrics["baselines"]["similarity"]
    assert baselines["majority_class"]["accuracy"] < 0.35
    assert baselines["model_with_other_premise"]["accuracy"] < 0.45
    assert baselines["word_overlap"]["spearman"] < 0.45
    assert abs(baselines["model_with_other_sentence1"]["spearman"]) < 0.2
    # Wordings that training never pairs: both have been paired with a third.
    assert metrics["test_unseen"]["inference"]["accuracy"] > 0.8
    assert metrics["test_unseen"]["similarity"]["spearman"] > 0.7


@pytest.fixture(scope="module")
def claims():
    return {split: inference(split, N) for split in SPLITS}


@pytest.fixture(scope="module")
def scored():
    return {split: similarity(split, N) for split in SPLITS}


LOWER = {wording.lower(): where for wording, where in reading_back.WORDINGS.items()}
ANY = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, LOWER))})(?!\w)")


def said_in(sentence):
    """The idea of each part that a sentence of inference names."""
    return {LOWER[wording][0]: LOWER[wording][1] for wording in ANY.findall(sentence.lower())}


def judged(pair):
    """The class that follows from the words alone."""
    premise, hypothesis = said_in(pair.first), said_in(pair.second)
    if premise.keys() != hypothesis.keys():
        return "neutral"
    return "entailment" if premise == hypothesis else "contradiction"


@pytest.mark.parametrize("split", SPLITS)
def test_the_class_follows_from_both_sentences(claims, split):
    assert [judged(pair) for pair in claims[split]] == [pair.label for pair in claims[split]]
    assert Counter(pair.label for pair in claims[split]) == dict.fromkeys(CLASSES, N // 3)


def test_neither_sentence_alone_says_the_class():
    """The best guess from one sentence: the class that each of its ideas has most often."""
    train, test = inference("train", 1800), inference("test", 600)
    for side in ("first", "second"):
        seen = {label: Counter() for label in CLASSES}
        for pair in train:
            seen[pair.label].update(said_in(getattr(pair, side)).items())
        guesses = [
            max(CLASSES, key=lambda label: _likelihood(seen[label], getattr(pair, side)))
            for pair in test
        ]
        assert accuracy([pair.label for pair in test], guesses) < 0.4


def _likelihood(counts, sentence):
    product_of = 1.0
    for idea in said_in(sentence).items():
        product_of *= (counts[idea] + 1) / 1000
    return product_of


@pytest.mark.parametrize("split", SPLITS)
def test_the_score_is_the_number_of_parts_that_are_the_same(scored, split):
    for pair in scored[split]:
        first, second = (reading_back.ideas_of(text)[0] for text in (pair.first, pair.second))
        same = sum(a == b for a, b in zip(first, second, strict=True))
        assert (pair.raw_score, pair.score) == (same, same / 5)
    assert Counter(p.raw_score for p in scored[split]) == dict.fromkeys(range(6), N // 6)


def test_counting_words_helps_a_little(scored):
    task = RegressionTask("similarity")
    task.reads_pairs = True
    said = task.baselines(scored["test"])["word_overlap"]
    overlap = spearman([p.raw_score for p in scored["test"]], [s.score for s in said])
    assert 0.2 < overlap < 0.5


def test_only_test_unseen_pairs_the_first_wording_with_the_third(scored):
    for split, pairs in scored.items():
        ways = set()
        for pair in pairs:
            first, second = (reading_back.ideas_of(text)[1] for text in (pair.first, pair.second))
            ways |= set(zip(first, second, strict=True))
        unseen = {(0, 2), (2, 0)}
        same = {(0, 0), (1, 1), (2, 2)}
        all_ways = set(product(range(3), repeat=2))
        assert ways == (unseen | same if split == "test_unseen" else all_ways - unseen)


def test_no_fact_stands_in_two_splits(scored):
    facts = {
        split: {reading_back.ideas_of(text)[0] for p in pairs for text in (p.first, p.second)}
        for split, pairs in scored.items()
    }
    assert not facts["train"] & facts["validation"]
    assert not (facts["train"] | facts["validation"]) & (facts["test"] | facts["test_unseen"])
    assert all(len(fact) == len(PARTS) for fact in facts["train"])
