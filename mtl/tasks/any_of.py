"""Any of several labels for each text: a sigmoid and a threshold for each of them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..metrics import accuracy, f1_of_sets, label_scores, mean
from ..nn.heads import largest_of_rows
from ..tables import format_table
from .base import IGNORED
from .choice import Choice, Labels

THRESHOLD = "least_probability"  # at which a label is given
DEFAULT = 0.5  # until one is chosen
MOST_WEIGHT = 10.0  # of the texts that have a rare label


@dataclass(frozen=True)
class LabelsPrediction:
    """The labels of a text (none of them is an answer, too), and the probability of every label."""

    text: str
    labels: Labels
    scores: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        return {"labels": list(self.labels), "scores": self.scores}

    def __str__(self) -> str:
        if self.labels:
            return ", ".join(f"{label} {self.scores[label]:.2f}" for label in self.labels)
        best = max(self.scores, key=self.scores.__getitem__)
        return f"none  (the most probable: {best} {self.scores[best]:.2f})"

    def _repr_html_(self) -> str:
        said = ", ".join(f"<b>{escape(x)}</b> ({self.scores[x]:.2f})" for x in self.labels)
        return f"<p>{escape(self.text)} {said or 'none'}</p>"


class AnyOf(Choice):
    """Any number of labels for each text, none of them included."""

    main_metric = "micro_f1"
    answers_with = "any of several labels for each text"
    takes_several = True
    unknown_count_as = "these labels count as missed"

    def understood(self, said: Labels | None) -> Labels | None:
        return said

    def imbalance(self, counts: Sequence[tuple[str, int]]) -> str:
        # Most texts lack most labels: that is how such data is, and the thresholds make up for it.
        return ""

    def balanced(self, counts: Sequence[int], texts: int) -> Tensor:
        """(n - n_c) / n_c for the texts that have a label, at most 10: n texts, n_c with the label.

        The texts with the label then weigh as much as those without, which weigh 1 each.
        """
        weights = [min((texts - n) / n, MOST_WEIGHT) if n else 1.0 for n in counts]
        return torch.tensor(weights)

    def first_bias(self, counts: Sequence[int], texts: int) -> Tensor:
        """The log odds of each label, so that a fresh head says how frequent each label is.

        A random head gives every text half of all labels, and the first epochs would pass with
        unlearning that (Lin et al. 2017, "Focal loss for dense object detection", section 4.1).
        """
        # One more text with each label, and one without: none is impossible, or certain.
        return torch.tensor([math.log((n + 1) / (texts - n + 1)) for n in counts])

    def target(self, ids: Sequence[int | None]) -> list[int]:
        return [label for label in ids if label is not None]

    def stack(self, targets: Sequence[list[int] | None], n_classes: int) -> Tensor:
        """`(B, C)`, 1 for the labels that a row has, 0 for the others."""
        stacked = torch.zeros(len(targets), n_classes)
        for row, target in zip(stacked, targets, strict=True):
            if target is None:
                row.fill_(IGNORED)
            else:
                row[target] = 1.0
        return stacked

    def loss(
        self, outputs: Tensor, targets: Tensor, weights: Tensor | None, smoothing: float
    ) -> Tensor:
        """Binary cross-entropy, the mean over labels and labelled rows.

        Smoothing makes 1 - s / 2 of 1 and s / 2 of 0: for each label there are two outcomes.
        """
        known = targets != IGNORED  # (B, C)
        wanted = targets.clamp(min=0) * (1 - smoothing) + smoothing / 2
        losses = F.binary_cross_entropy_with_logits(
            outputs, wanted.to(outputs.dtype), pos_weight=weights, reduction="none"
        )
        return losses.masked_fill(~known, 0.0).sum() / known.sum()

    def probabilities(self, outputs: Tensor, owner: Tensor, n: int) -> Tensor:
        """The highest among the windows of each text: one place is enough to give it a label."""
        return largest_of_rows(outputs.sigmoid(), owner, n)

    def decided(
        self, text: str, scores: dict[str, float], thresholds: Mapping[str, float]
    ) -> LabelsPrediction:
        least = thresholds.get(THRESHOLD, DEFAULT)
        given = [label for label, score in scores.items() if score >= least]
        return LabelsPrediction(text, tuple(sorted(given, key=lambda x: -scores[x])), scores)

    def always(self, labels: Labels, text: str) -> LabelsPrediction:
        return LabelsPrediction(text, labels, dict.fromkeys(labels, 1.0))

    def thresholds(
        self, right: Sequence[Labels], scores: Sequence[Mapping[str, float]]
    ) -> dict[str, float]:
        """`least_probability`: one for all labels, at which the micro F1 of these texts is best.

        The best micro F1 has one threshold for all labels if probabilities are right (Lipton et al.
        2014, "Optimal thresholding of classifiers to maximize F1 measure"). One for each label
        makes the macro F1 a little better, but follows the chances of the few texts that have it:
        on unseen texts it cost up to four points of micro F1.
        """
        every = [
            (score, label in labels)
            for labels, of_text in zip(right, scores, strict=True)
            for label, score in of_text.items()
        ]
        return {THRESHOLD: best_threshold(every)}

    def said(self, prediction: LabelsPrediction) -> Labels:
        return prediction.labels

    def score(self, right: Sequence[Labels], said: Sequence[Labels]) -> dict[str, float]:
        """`micro_f1` (counts summed over labels), `macro_f1` (the mean F1 of all labels that
        occur), `subset_accuracy` (texts whose labels are exactly right).
        """
        gold, found = list(map(set, right)), list(map(set, said))
        by_label = label_scores(gold, found)
        return {
            "micro_f1": f1_of_sets(gold, found),
            "macro_f1": mean([scores["f1"] for scores in by_label.values()]),
            "subset_accuracy": accuracy(gold, found),
        }

    def report(self, right: Sequence[Labels], said: Sequence[Labels], labels: Sequence[str]) -> str:
        """Precision, recall and F1 of each label, and how many texts have it."""
        scores = label_scores(list(map(set, right)), list(map(set, said)))
        none = dict.fromkeys(("precision", "recall", "f1"), 0.0)
        has, given = (Counter(x for one in texts for x in one) for texts in (right, said))
        rows = [[x, has[x], given[x], *scores.get(x, none).values()] for x in labels]
        return format_table(["label", "right", "predicted", "precision", "recall", "F1"], rows)

    def confusion(
        self, right: Sequence[Labels], said: Sequence[Labels], labels: Sequence[str]
    ) -> None:
        """None: a missed label is not mistaken for another."""

    def file(
        self, right: Sequence[Labels], predictions: Sequence[LabelsPrediction]
    ) -> tuple[str, str]:
        """JSON: the text, its right labels (`labels`), what was `predicted`, and all `scores`."""
        records = [
            {"text": p.text, "labels": labels, "predicted": p.labels, "scores": p.scores}
            for labels, p in zip(right, predictions, strict=True)
        ]
        return "jsonl", "".join(f"{json.dumps(r, ensure_ascii=False)}\n" for r in records)

    def mistake(self, right: Labels, said: Labels) -> str:
        missed, invented = set(right) - set(said), set(said) - set(right)
        if missed and invented:
            return "other labels"
        return "missed labels" if missed else "invented labels" if invented else ""

    def baselines(self, right: Sequence[Labels]) -> dict[str, Labels]:
        """`majority_labels`: the most frequent set of labels of these texts; `most_frequent_label`:
        the label that most of them have.
        """
        sets = Counter(tuple(sorted(labels)) for labels in right)
        ((most, _),) = sets.most_common(1)
        often = Counter(x for labels in right for x in labels).most_common(1)
        return {"majority_labels": most, "most_frequent_label": tuple(x for x, _ in often)}


def best_threshold(scored: Sequence[tuple[float, bool]]) -> float:
    """The threshold with the best F1: midway between two scores; 0.5 if nothing is right.

    Args:
        scored: probabilities, and whether each should reach the threshold.
    """
    wanted = sum(is_right for _, is_right in scored)
    ranked = sorted(scored, reverse=True)
    best, at, hits = 0.0, DEFAULT, 0
    for n, (score, is_right) in enumerate(ranked, start=1):
        hits += is_right
        following = ranked[n][0] if n < len(ranked) else 0.0
        f1 = 2 * hits / (n + wanted)
        # Between equal scores there is no threshold.
        if f1 > best and following < score:
            best, at = f1, (score + following) / 2
    return at
