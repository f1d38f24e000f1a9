"""References and predictions as plain lists go in; scores between 0 and 1 come out.

Only `pearson` and `spearman` can be below 0.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence, Set
from functools import lru_cache
from itertools import groupby

WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)

TagSequences = Sequence[Sequence[str]]
Span = tuple[str, int, int]


def entity_spans(tags: Sequence[str]) -> list[Span]:
    """The entities of one sentence as `(type, first token, one past the last token)`.

    `B-X` begins an entity. `I-X` continues one of the same type and otherwise begins one, as the
    CoNLL-2000 evaluation script (conlleval) reads tags that are not valid IOB2.
    """
    spans: list[Span] = []
    for i, tag in enumerate(tags):
        prefix, _, kind = tag.partition("-")
        # Only right after its entity: an I- after an O begins a new one.
        if prefix == "I" and spans and spans[-1][0] == kind and spans[-1][2] == i:
            spans[-1] = (kind, spans[-1][1], i + 1)
        elif prefix in ("B", "I"):
            spans.append((kind, i, i + 1))
    return spans


def accuracy(references: Sequence[object], predictions: Sequence[object]) -> float:
    """Share of positions where the two agree; 0 for empty sequences.

    Raises:
        ValueError: sequences of different length.
    """
    _check_lengths(references, predictions)
    agreed = sum(r == p for r, p in zip(references, predictions, strict=True))
    return agreed / len(references) if references else 0.0


def token_accuracy(references: TagSequences, predictions: TagSequences) -> float:
    """Share of all tokens whose tag is right. Most tokens are O, so this reads high."""
    _check_lengths(references, predictions)
    for reference, prediction in zip(references, predictions, strict=True):
        _check_lengths(reference, prediction)
    return accuracy(
        [tag for tags in references for tag in tags], [tag for tags in predictions for tag in tags]
    )


def entity_scores(references: TagSequences, predictions: TagSequences) -> dict[str, float]:
    """Entity-level precision, recall and F1 (Tjong Kim Sang and De Meulder 2003, section 2.4).

    An entity counts as found only if its type and both its boundaries are right. Counts are summed
    over all sentences first (micro average).

    Returns:
        `entity_precision`, `entity_recall`, `entity_f1`, and the same three for each type as
        `entity_f1_PER` and so on.

    Raises:
        ValueError: sentences or tags differ in number.
    """
    _check_lengths(references, predictions)
    for reference, prediction in zip(references, predictions, strict=True):
        _check_lengths(reference, prediction)
    # As sets of (type, from, to): an entity is right only if all three agree.
    gold, guess = ([{*entity_spans(tags)} for tags in part] for part in (references, predictions))
    return entity_scores_of_sets(gold, guess)


def entity_scores_of_sets(
    references: Sequence[Set[Span]], predictions: Sequence[Set[Span]]
) -> dict[str, float]:
    """The same for entities that may be nested: of each text a set of `(type, first, end)`.

    Raises:
        ValueError: lists of different length.
    """
    _check_lengths(references, predictions)
    right: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for gold, guess in zip(references, predictions, strict=True):
        right.update(kind for kind, _, _ in gold & guess)
        wanted.update(kind for kind, _, _ in gold)
        found.update(kind for kind, _, _ in guess)
    # Summed before dividing: a mean of F1 over sentences would count one entity more than another.
    scores = _entity(_precision_recall_f1(right.total(), found.total(), wanted.total()))
    # Types that were only predicted count too: each is a mistake, and scores 0.
    for kind in sorted(wanted | found):
        by_type = _precision_recall_f1(right[kind], found[kind], wanted[kind])
        scores |= {f"{name}_{kind}": value for name, value in _entity(by_type).items()}
    return scores


def _entity(scores: dict[str, float]) -> dict[str, float]:
    return {f"entity_{name}": value for name, value in scores.items()}


def entity_f1(references: TagSequences, predictions: TagSequences) -> float:
    """Micro-averaged entity F1 of IOB2 tags, one list per sentence; see `entity_scores`."""
    return entity_scores(references, predictions)["entity_f1"]


def f1_of_sets(references: Sequence[set], predictions: Sequence[set]) -> float:
    """Micro-averaged F1 of sets, such as the entities of texts by type and characters.

    Raises:
        ValueError: lists of different length.
    """
    _check_lengths(references, predictions)
    right = sum(len(gold & found) for gold, found in zip(references, predictions, strict=True))
    found, wanted = (sum(map(len, sets)) for sets in (predictions, references))
    return _precision_recall_f1(right, found, wanted)["f1"]


def _precision_recall_f1(right: int, found: int, wanted: int) -> dict[str, float]:
    return {
        "precision": right / found if found else 0.0,
        "recall": right / wanted if wanted else 0.0,
        # The same as 2PR / (P + R), and defined where nothing is right.
        "f1": 2 * right / (found + wanted) if found + wanted else 0.0,
    }


def confusion(
    references: Sequence[str], predictions: Sequence[str], labels: Sequence[str]
) -> list[list[int]]:
    """How often each label (row) was predicted as each label (column).

    Raises:
        ValueError: sequences of different length.
    """
    _check_lengths(references, predictions)
    counts = Counter(zip(references, predictions, strict=True))
    return [[counts[reference, prediction] for prediction in labels] for reference in labels]


def class_scores(
    references: Sequence[str], predictions: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of every label that occurs, by label.

    Raises:
        ValueError: sequences of different length.
    """
    return label_scores([{label} for label in references], [{label} for label in predictions])


def label_scores(
    references: Sequence[set[str]], predictions: Sequence[set[str]]
) -> dict[str, dict[str, float]]:
    """The same of texts that may have several labels, or none.

    Raises:
        ValueError: sequences of different length.
    """
    _check_lengths(references, predictions)
    right: Counter[str] = Counter()
    for reference, prediction in zip(references, predictions, strict=True):
        right.update(reference & prediction)
    wanted, found = (Counter(x for one in sets for x in one) for sets in (references, predictions))
    return {
        label: _precision_recall_f1(right[label], found[label], wanted[label])
        for label in sorted(wanted | found)
    }


def macro_f1(references: Sequence[str], predictions: Sequence[str]) -> float:
    """The mean F1 of all labels that occur, each counting the same however rare it is."""
    return mean([scores["f1"] for scores in class_scores(references, predictions).values()])


def pearson(first: Sequence[float], second: Sequence[float]) -> float:
    """Linear correlation, from -1 to 1 (Pearson 1895).

    It is the cosine of the two lists, each less its mean; 0 where a list has fewer than two
    different values.

    Raises:
        ValueError: lists of different length.
    """
    _check_lengths(first, second)
    # Rounding leaves a little of a mean that should cancel out.
    if len(set(first)) < 2 or len(set(second)) < 2:
        return 0.0
    a, b = ([x - mean(values) for x in values] for values in (first, second))
    spread = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
    r = sum(x * y for x, y in zip(a, b, strict=True)) / spread if spread else 0.0
    return max(-1.0, min(1.0, r))


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Rank correlation, from -1 to 1 (Spearman 1904): the correlation of the two lists' ranks.

    Equal values share the mean of their ranks. 0 where a list has fewer than two different values.

    Raises:
        ValueError: lists of different length.
    """
    _check_lengths(first, second)
    a, b = _centred_ranks(first), _centred_ranks(second)
    spread = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / spread if spread else 0.0


def _centred_ranks(values: Sequence[float]) -> list[float]:
    """Each value's rank minus the mean rank; equal values share the mean of theirs."""
    rank_of: dict[float, float] = {}
    smaller = 0
    # Equal values are neighbours now, so each group gets its mean rank at once.
    for value, equal in groupby(sorted(values)):
        n = len(list(equal))
        rank_of[value] = smaller + (n - 1) / 2
        smaller += n
    return [rank_of[value] - (len(values) - 1) / 2 for value in values]


@lru_cache(maxsize=100_000)  # every validation asks about the same spans
def normalize_answer(text: str) -> str:
    """Lower case, without punctuation, articles (a, an, the) and extra blanks.

    The definition of SQuAD's official evaluation script (Rajpurkar et al. 2016, section 6.1).
    """
    # In this order, as in SQuAD's script: "a." is an article once its full stop is gone.
    text = text.lower().translate(WITHOUT_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def exact_match(prediction: str, references: str | Sequence[str]) -> float:
    """1.0 if the normalised prediction equals any normalised reference, else 0.0.

    No references say that there is no answer: then only an empty prediction is right (SQuAD v2.0's
    script).
    """
    return _best(lambda reference: float(_same(prediction, reference)), references)


def token_f1(prediction: str, references: str | Sequence[str]) -> float:
    """F1 of the words that prediction and reference share; the best over all references.

    If either has no words left after normalisation, 1.0 if both have none, else 0.0 (SQuAD v2.0's
    script; Rajpurkar et al. 2018). No references are as in `exact_match`.
    """
    return _best(lambda reference: _word_f1(prediction, reference), references)


def _best(score: Callable[[str], float], references: str | Sequence[str]) -> float:
    references = [references] if isinstance(references, str) else references
    # An empty reference stands for "no answer", and an empty prediction equals it.
    return max(map(score, references or [""]))


def _same(prediction: str, reference: str) -> bool:
    return normalize_answer(prediction) == normalize_answer(reference)


def _word_f1(prediction: str, reference: str) -> float:
    guess, gold = normalize_answer(prediction).split(), normalize_answer(reference).split()
    # "The" has no words left: there is nothing to divide by.
    if not guess or not gold:
        return float(guess == gold)
    # As multisets: a repeated word counts only as often as it occurs in both.
    shared = (Counter(guess) & Counter(gold)).total()
    return 2 * shared / (len(guess) + len(gold))


def best_threshold(
    values: Sequence[float], above: Sequence[float], below: Sequence[float]
) -> float:
    """The threshold with the highest total score, where an item scores what `above` says if its
    value is at least the threshold, and otherwise what `below` says.

    As `find_best_thresh` in SQuAD v2.0's script (Rajpurkar et al. 2018): one pass over the sorted
    values. Ours is halfway between two values, so that no rounding moves an item across it. Of
    thresholds that score the same, the highest.

    Raises:
        ValueError: no values, or lists of different length.
    """
    items = sorted(zip(values, above, below, strict=True), reverse=True)
    total = best = sum(below)  # under a threshold above all values
    threshold = items[0][0] + 1
    lower = [value for value, _, _ in items[1:]] + [items[-1][0] - 2]  # the next value of each
    for (value, gained, lost), following in zip(items, lower, strict=True):
        total += gained - lost
        # Items of the same value are on the same side of any threshold.
        if total > best and following < value:
            best, threshold = total, (value + following) / 2
    return threshold


def mean(values: Sequence[float]) -> float:
    """The average; 0 for an empty sequence."""
    return sum(values) / len(values) if values else 0.0


T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)  # Student's t, two-sided 95%, for 1, 2, ... 30 degrees of freedom


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and half the width of its 95% confidence interval (Student's t; Student 1908).

    For values of independent runs, such as one per seed; the half width of a single value is
    infinite. Above 31 values, t for 31 is used, which is a little too wide.
    """
    n, centre = len(values), mean(values)
    if n < 2:
        return centre, math.inf
    # n - 1, since the mean was estimated from the same values (Bessel's correction).
    variance = sum((value - centre) ** 2 for value in values) / (n - 1)
    return centre, T_975[min(n - 1, len(T_975)) - 1] * math.sqrt(variance / n)


def _check_lengths(references: Sequence[object], predictions: Sequence[object]) -> None:
    if len(references) != len(predictions):
        raise ValueError(f"{len(references)} references but {len(predictions)} predictions")
