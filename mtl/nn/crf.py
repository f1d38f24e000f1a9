"""Scores of tags at each word go in; the best sequence of tags and its probabilities come out.

A linear-chain conditional random field (Lafferty et al. 2001, "Conditional Random Fields"): a
sequence scores what its tags score at their words, plus what each transition from one tag to the
next scores. Sums over all `C^N` sequences take N steps (forward and backward algorithm), in log
space.

Letters: B texts, N words, C tags. Texts are padded on the right: `mask` `(B, N)` is True at words.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# The score of a transition that must not be: so low that no sequence with it is ever the best, and
# still a number, since differences between infinities are none.
FORBIDDEN = -1e4


class ChainHead(nn.Module):
    """A score for every tag at every token, `(B, T, C)`, and for every transition, `(B, C+1, C)`.

    Transitions are the same in every row, and are given to each so that rows can be cut apart. The
    first line is the scores of tags that begin a text; line 1 + i those of the tags after tag i.
    """

    def __init__(self, d_model: int, n_tags: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(d_model, n_tags)
        self.transitions = nn.Parameter(torch.zeros(n_tags + 1, n_tags))

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return self.classifier(hidden), self.transitions.expand(hidden.shape[0], -1, -1)


def iob2_rules(tags: Sequence[str]) -> Tensor:
    """`(C+1, C)`: 0 for each transition that is valid in IOB2, FORBIDDEN for the others.

    `I-X` comes only after `B-X` or `I-X`, and never first; everything else may come anywhere.
    """
    rules = torch.zeros(len(tags) + 1, len(tags))
    for i, before in enumerate(["O", *tags]):
        for j, tag in enumerate(tags):
            if tag.startswith("I-") and before[1:] != tag[1:]:
                rules[i, j] = FORBIDDEN
    return rules


def log_partition(scores: Tensor, transitions: Tensor, mask: Tensor) -> Tensor:
    """The log of the summed exponentials of all sequences' scores: `(B,)`.

    Args:
        scores: `(B, N, C)`.
        transitions: `(C+1, C)`, as in `ChainHead`.
    """
    return _forward(scores, transitions, mask)[-1].logsumexp(1)


def sequence_score(scores: Tensor, transitions: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
    """The score of one sequence of tags `(B, N)` for each text: `(B,)`."""
    at_words = scores.gather(2, tags[..., None])[..., 0]  # (B, N)
    first = transitions[0, tags[:, :1]]  # (B, 1)
    between = transitions[1 + tags[:, :-1], tags[:, 1:]]  # (B, N-1)
    return ((at_words + torch.cat((first, between), dim=1)) * mask).sum(1)


def marginals(scores: Tensor, transitions: Tensor, mask: Tensor) -> Tensor:
    """The probability of each tag at each word, over all sequences: `(B, N, C)`."""
    after = torch.zeros_like(scores[:, 0])  # (B, C): the log of the sum over all that may follow
    backward = [after]
    for n in range(scores.shape[1] - 1, 0, -1):
        following = transitions[1:] + (scores[:, n] + after)[:, None]  # (B, C, C)
        after = torch.where(mask[:, n, None], following.logsumexp(2), after)
        backward.append(after)
    # Both parts know all words up to here and from here on; softmax divides by the whole sum.
    forward = torch.stack(_forward(scores, transitions, mask), dim=1)
    return (forward + torch.stack(backward[::-1], dim=1)).softmax(-1)


def best_sequence(scores: Tensor, transitions: Tensor, mask: Tensor) -> Tensor:
    """The tags of the sequence with the highest score (Viterbi 1967): `(B, N)`."""
    best = transitions[0] + scores[:, 0]  # (B, C): of all sequences so far, by their last tag
    stay = torch.arange(scores.shape[2], device=scores.device)
    came_from = []
    for n in range(1, scores.shape[1]):
        reached, before = (best[:, :, None] + transitions[1:]).max(1)  # (B, C) each
        here = mask[:, n, None]
        best = torch.where(here, reached + scores[:, n], best)
        came_from.append(torch.where(here, before, stay))
    tags = [best.argmax(1)]
    for before in reversed(came_from):
        tags.append(before.gather(1, tags[-1][:, None])[:, 0])
    return torch.stack(tags[::-1], dim=1)


def _forward(scores: Tensor, transitions: Tensor, mask: Tensor) -> list[Tensor]:
    """For each word, by its tag, the log of the sum over all sequences up to it: N of `(B, C)`."""
    sums = [transitions[0] + scores[:, 0]]
    for n in range(1, scores.shape[1]):
        reached = (sums[-1][:, :, None] + transitions[1:]).logsumexp(1) + scores[:, n]
        # At padding, the sum over the last word stays.
        sums.append(torch.where(mask[:, n, None], reached, sums[-1]))
    return sums
