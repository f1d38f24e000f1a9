"""Metrics: equal to independent references, and to sums done by hand."""

import math
import re
from collections import Counter
from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mtl.metrics import (
    accuracy,
    class_scores,
    confusion,
    entity_f1,
    entity_scores,
    entity_spans,
    exact_match,
    interval,
    macro_f1,
    mean,
    normalize_answer,
    pearson,
    spearman,
    token_accuracy,
    token_f1,
)

# --- entities -----------------------------------------------------------------------------------

TYPES = ("PER", "ORG", "LOC")
TAGS = st.sampled_from(["O", *(f"{prefix}-{kind}" for kind in TYPES for prefix in "BI")])
PAIRED_TAGS = st.lists(st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=12), min_size=1)


@pytest.fixture(scope="module")
def seqeval():
    return pytest.importorskip("seqeval.metrics")


@given(tags=st.lists(TAGS, max_size=15))
def test_entity_spans_equal_seqeval(seqeval, tags):
    theirs = seqeval.sequence_labeling.get_entities(tags)
    assert entity_spans(tags) == [(kind, first, last + 1) for kind, first, last in theirs]


@given(pairs=PAIRED_TAGS)
def test_entity_scores_equal_seqeval_in_all_and_by_type(seqeval, pairs):
    gold, guess = ([[pair[i] for pair in sentence] for sentence in pairs] for i in (0, 1))
    scores = entity_scores(gold, guess)
    for kind in ("", *TYPES):
        only = [
            [[t if t.endswith(kind) else "O" for t in s] for s in tags] for tags in (gold, guess)
        ]
        for name in ("precision", "recall", "f1"):
            theirs = getattr(seqeval, f"{name}_score")(*only, zero_division=0)
            ours = scores.get(f"entity_{name}_{kind}" if kind else f"entity_{name}", 0.0)
            assert ours == pytest.approx(float(theirs))


def test_entity_scores_by_hand():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-ORG", "O"]]
    guess = [["B-PER", "I-PER", "O", "B-ORG"], ["B-LOC", "B-ORG", "I-ORG"]]
    # Right: PER. Wrong: ORG for LOC, a LOC too many, an ORG that is too long.
    assert entity_scores(gold, guess) == pytest.approx(
        {
            "entity_precision": 1 / 4,
            "entity_recall": 1 / 3,
            "entity_f1": 2 / 7,
            "entity_precision_PER": 1,
            "entity_recall_PER": 1,
            "entity_f1_PER": 1,
            "entity_precision_LOC": 0,
            "entity_recall_LOC": 0,
            "entity_f1_LOC": 0,
            "entity_precision_ORG": 0,
            "entity_recall_ORG": 0,
            "entity_f1_ORG": 0,
        }
    )
    assert entity_f1(gold, guess) == pytest.approx(2 / 7)


def test_a_type_with_a_hyphen_stays_whole():
    assert entity_spans(["B-creative-work", "I-creative-work"]) == [("creative-work", 0, 2)]


def test_neighbouring_entities_are_two():
    assert entity_spans(["B-PER", "B-PER", "I-PER"]) == [("PER", 0, 1), ("PER", 1, 3)]


def test_all_o_reads_well_by_token_and_not_at_all_by_entity():
    gold = [["O"] * 9 + ["B-PER"]]
    all_o = [["O"] * 10]
    assert token_accuracy(gold, all_o) == pytest.approx(0.9)
    assert entity_f1(gold, all_o) == 0


def test_token_accuracy_counts_tokens_not_sentences():
    assert token_accuracy([["O"], ["O"] * 3], [["B-X"], ["O"] * 3]) == pytest.approx(3 / 4)


# --- answers ------------------------------------------------------------------------------------

# The definition that SQuAD's evaluation scripts publish (v1.1; v2.0 for texts without words).
ASCII_PUNCTUATION = {chr(c) for c in range(33, 127) if not chr(c).isalnum()}


def squad_words(text):
    text = "".join(c for c in text.lower() if c not in ASCII_PUNCTUATION)
    return re.sub(r"\b(a|an|the)\b", " ", text, flags=re.UNICODE).split()


def squad_f1(prediction, reference):
    guess, gold = squad_words(prediction), squad_words(reference)
    if not guess or not gold:
        return float(guess == gold)
    same = sum((Counter(guess) & Counter(gold)).values())
    if not same:
        return 0.0
    precision, recall = same / len(guess), same / len(gold)
    return 2 * precision * recall / (precision + recall)


WORDS = ["the", "The", "a", "an", "cat", "Cat", "cats", "dog", "U.S.", "it's", "-", "...", "", " "]
WORDS += ["an.", "theatre", "a-b", "É", "naïve", "日本", "the\u00a0dog", "«an»", "1,000", "\t"]
ANSWERS = st.one_of(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join), st.text(max_size=8))


@given(prediction=ANSWERS, reference=ANSWERS)
def test_answer_scores_equal_the_published_definition(prediction, reference):
    assert exact_match(prediction, reference) == (squad_words(prediction) == squad_words(reference))
    assert token_f1(prediction, reference) == pytest.approx(squad_f1(prediction, reference))


@given(prediction=ANSWERS, references=st.lists(ANSWERS, min_size=1, max_size=4))
def test_the_best_reference_counts(prediction, references):
    best_match = max(exact_match(prediction, reference) for reference in references)
    best_f1 = max(token_f1(prediction, reference) for reference in references)
    assert exact_match(prediction, references) == best_match
    assert token_f1(prediction, references) == best_f1


def test_answer_scores_by_hand():
    assert normalize_answer(" The  U.S.,   an  Ally ") == "us ally"
    assert exact_match("the Cat!", ["a dog", "cat"]) == 1
    assert exact_match("theatre", "atre") == 0
    assert token_f1("in the red house", ["red house"]) == pytest.approx(2 * 2 / (3 + 2))
    assert token_f1("cat cat cat", "cat") == pytest.approx(2 * 1 / (3 + 1))


def test_texts_without_words():
    assert exact_match("the", "a") == token_f1("the", "a") == 1
    assert exact_match("", "cat") == token_f1("", "cat") == token_f1("cat", "...") == 0


# --- classes ------------------------------------------------------------------------------------

CLASSES = ["sports", "wörld", "10", "9"]
A_CLASS = st.sampled_from(CLASSES)


@pytest.fixture(scope="module")
def sklearn():
    return pytest.importorskip("sklearn.metrics")


@given(pairs=st.lists(st.tuples(A_CLASS, A_CLASS), min_size=1, max_size=30))
def test_scores_of_classes_equal_scikit_learns(sklearn, pairs):
    gold, guess = ([pair[i] for pair in pairs] for i in (0, 1))
    assert accuracy(gold, guess) == pytest.approx(sklearn.accuracy_score(gold, guess))
    f1 = sklearn.f1_score(gold, guess, average="macro", zero_division=0)
    assert macro_f1(gold, guess) == pytest.approx(f1)
    theirs = sklearn.confusion_matrix(gold, guess, labels=CLASSES)
    assert confusion(gold, guess, CLASSES) == theirs.tolist()
    ours = class_scores(gold, guess)
    assert list(ours) == sorted({*gold, *guess})
    columns = sklearn.precision_recall_fscore_support(
        gold, guess, labels=list(ours), zero_division=0
    )
    for scores, *expected in zip(ours.values(), *columns[:3], strict=True):
        assert list(scores.values()) == pytest.approx(expected)


def test_scores_of_classes_by_hand():
    gold = ["cat", "cat", "cat", "dog", "cow"]
    guess = ["cat", "dog", "cow", "dog", "dog"]
    assert confusion(gold, guess, ["dog", "cat", "cow"]) == [[1, 0, 0], [1, 1, 1], [1, 0, 0]]
    assert class_scores(gold, guess) == {
        "cat": pytest.approx({"precision": 1, "recall": 1 / 3, "f1": 1 / 2}),
        "cow": {"precision": 0, "recall": 0, "f1": 0},
        "dog": pytest.approx({"precision": 1 / 3, "recall": 1, "f1": 1 / 2}),
    }
    assert macro_f1(gold, guess) == pytest.approx((1 / 2 + 0 + 1 / 2) / 3)


def test_a_rare_class_counts_as_much_as_a_frequent_one():
    gold, guess = ["a"] * 99 + ["b"], ["a"] * 100
    assert accuracy(gold, guess) == pytest.approx(0.99)
    assert macro_f1(gold, guess) == pytest.approx((2 * 99 / (99 + 100) + 0) / 2)


# --- ranks --------------------------------------------------------------------------------------

NUMBERS = st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 1, 2]), st.floats(-1e6, 1e6))


@given(pairs=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=30))
def test_spearman_equals_scipys_with_ties(pairs):
    stats = pytest.importorskip("scipy.stats")
    first, second = zip(*pairs, strict=True)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert spearman(first, second) == 0
    else:
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)


@given(
    pairs=st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=2, max_size=30),
    shift=st.floats(-1e3, 1e3),
)
def test_pearson_equals_numpys(pairs, shift):
    first, second = zip(*pairs, strict=True)
    assume(min(np.std(first), np.std(second)) > 1e-3)  # of less, rounding is the larger part
    expected = np.corrcoef(first, second)[0, 1]
    assert pearson(first, second) == pytest.approx(expected, abs=1e-9)
    moved = [shift - 2 * x for x in first]
    assert pearson(moved, second) == pytest.approx(-expected, abs=1e-6)


def test_pearson_by_hand():
    assert pearson([1, 2, 3], [2, 4, 6]) == pytest.approx(1)
    assert pearson([1, 2, 3, 4], [10, 20, 400, 8000]) < 0.9  # unlike the ranks, it is not linear
    assert pearson([0, 0, 3], [0, 1, 2]) == pytest.approx(3 / (6 * 2) ** 0.5)
    assert pearson([0.1] * 3, [1, 2, 3]) == 0  # whose mean is not 0.1, but rounded
    assert -1 <= pearson([0.1, 0.2, 0.3], [-0.3, -0.6, -0.9]) <= 1


def test_spearman_by_hand():
    assert spearman([1, 2, 3, 4], [10, 20, 400, 8000]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [8, 4, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2, 3], [1, 3, 2]) == pytest.approx(1 - 6 * 2 / (3 * (9 - 1)))
    # Ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, spreads 4.5 and 5.
    assert spearman([0, 7, 7, 9], [1, 2, 3, 4]) == pytest.approx(4.5 / (4.5 * 5) ** 0.5)


# --- intervals ----------------------------------------------------------------------------------


@given(values=st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40))
def test_interval_equals_scipys_students_t(values):
    """To the three decimals of a printed table; beyond 31 values the half width is that of 31."""
    stats = pytest.importorskip("scipy.stats")
    centre, half = interval(values)
    t = stats.t.ppf(0.975, min(len(values), 31) - 1)
    assert centre == pytest.approx(sum(values) / len(values))
    assert half == pytest.approx(t * stats.sem(values), rel=3e-4, abs=1e-9)


def test_interval_by_hand():
    centre, half = interval([0.7, 0.8, 0.9])  # variance 0.01; t is 4.303 for two degrees of freedom
    assert centre == pytest.approx(0.8)
    assert half == pytest.approx(4.303 * math.sqrt(0.01 / 3))
    assert interval([0.5, 0.5]) == (0.5, 0.0)


def test_one_value_says_nothing_about_its_spread():
    assert interval([0.75]) == (0.75, math.inf)


def test_more_values_never_make_the_factor_of_the_interval_larger():
    """It is a little too wide for more than 31 values, never too narrow."""
    factors = []
    for n in range(2, 101):
        values = [0.0, 1.0] * (n // 2) + [0.5] * (n % 2)
        variance = sum((value - 0.5) ** 2 for value in values) / (n - 1)
        factors.append(interval(values)[1] / math.sqrt(variance / n))
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(factors[29]) == pytest.approx(2.042)


# --- lengths ------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", [accuracy, token_accuracy, entity_scores, entity_f1])
def test_different_numbers_of_sequences(score):
    with pytest.raises(ValueError, match="2 references but 1 predictions"):
        score([["O"], ["O"]], [["O"]])


@pytest.mark.parametrize("score", [partial(confusion, labels="ab"), class_scores, macro_f1])
def test_different_numbers_of_labels(score):
    with pytest.raises(ValueError, match="2 references but 1 predictions"):
        score(["a", "b"], ["a"])


@pytest.mark.parametrize("score", [pearson, spearman])
def test_different_numbers_of_numbers(score):
    with pytest.raises(ValueError, match="2 references but 3 predictions"):
        score([1, 2], [1, 2, 3])


@pytest.mark.parametrize("score", [token_accuracy, entity_scores])
def test_different_numbers_of_tags(score):
    with pytest.raises(ValueError, match="2 references but 3 predictions"):
        score([["O", "O"], ["O"]], [["O", "O", "O"], []])  # as many in all, but shifted


def test_empty_input_scores_zero():
    assert accuracy([], []) == entity_f1([], []) == token_f1("x", []) == mean([]) == 0
    assert macro_f1([], []) == spearman([], []) == spearman([1], [2]) == 0
    assert pearson([], []) == pearson([1], [2]) == 0
    assert class_scores([], []) == {}
    assert confusion([], [], ["a", "b"]) == [[0, 0], [0, 0]]
