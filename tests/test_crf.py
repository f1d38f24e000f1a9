"""The linear-chain CRF against all sequences of tags, counted one by one."""

from itertools import pairwise, product

import pytest
import torch

from mtl.data.examples import check_iob2
from mtl.errors import DataError
from mtl.nn.crf import (
    best_sequence,
    iob2_rules,
    log_partition,
    marginals,
    sequence_score,
)

TAGS = ["O", "B-A", "I-A", "B-B", "I-B"]
LENGTHS = [4, 1, 3]


@pytest.fixture(params=[False, True], ids=["any", "valid IOB2"])
def chain(request):
    """Scores of three texts of different lengths, and of transitions."""
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 4, 5, generator=draw, dtype=torch.float64, requires_grad=True)
    transitions = torch.randn(6, 5, generator=draw, dtype=torch.float64)
    if request.param:
        transitions = transitions + iob2_rules(TAGS)
    return scores, transitions, torch.arange(4) < torch.tensor(LENGTHS)[:, None]


def scores_of_all(scores, transitions, n):
    """The score of every sequence of tags of one text, term by term."""
    return {
        tags: transitions[0, tags[0]]
        + sum(scores[i, tag] for i, tag in enumerate(tags))
        + sum(transitions[1 + a, b] for a, b in pairwise(tags))
        for tags in product(range(5), repeat=n)
    }


def test_sums_and_maxima_are_those_over_all_sequences(chain):
    scores, transitions, mask = chain
    totals, best = log_partition(*chain), best_sequence(*chain)
    chances = marginals(*chain)
    for i, n in enumerate(LENGTHS):
        every = scores_of_all(scores[i], transitions, n)
        total = torch.stack([*every.values()]).logsumexp(0)
        assert totals[i].item() == pytest.approx(total.item())
        assert tuple(best[i, :n].tolist()) == max(every, key=lambda tags: every[tags].item())
        for word in range(n):
            for tag in range(5):
                p = sum((s - total).exp() for tags, s in every.items() if tags[word] == tag)
                assert chances[i, word, tag].item() == pytest.approx(float(p), abs=1e-9)
    some = torch.randint(0, 5, (3, 4), generator=torch.Generator().manual_seed(1))
    scored = sequence_score(scores, transitions, some, mask)
    for i, (n, said) in enumerate(zip(LENGTHS, scored, strict=False)):
        every = scores_of_all(scores[i], transitions, n)
        assert said.item() == pytest.approx(every[tuple(some[i, :n].tolist())].item())


def test_marginals_are_the_gradient_of_the_partition(chain):
    scores, _, mask = chain
    (gradient,) = torch.autograd.grad(log_partition(*chain).sum(), scores)
    torch.testing.assert_close(gradient, marginals(*chain).detach() * mask[..., None])


def test_padding_changes_nothing(chain):
    scores, transitions, mask = chain
    longer = torch.cat((scores, torch.full((3, 2, 5), 7.0)), dim=1)
    padded = longer, transitions, torch.cat((mask, torch.zeros(3, 2, dtype=torch.bool)), dim=1)
    torch.testing.assert_close(log_partition(*padded), log_partition(*chain))
    assert torch.equal(best_sequence(*padded)[:, :4][mask], best_sequence(*chain)[mask])


def test_the_rules_of_iob2_are_those_that_examples_are_checked_by():
    rules = iob2_rules(TAGS)
    for n in (1, 2, 3):
        for ids in product(range(5), repeat=n):
            steps = [0, *(1 + i for i in ids[:-1])]
            try:
                check_iob2([TAGS[i] for i in ids])
                valid = True
            except DataError:
                valid = False
            assert valid == all(rules[a, b] == 0 for a, b in zip(steps, ids, strict=True)), ids


def test_the_best_sequence_is_always_valid():
    scores = torch.randn(40, 9, 5, generator=torch.Generator().manual_seed(2)) * 5
    mask = torch.ones(40, 9, dtype=torch.bool)
    greedy = [[TAGS[i] for i in tags] for tags in scores.argmax(-1).tolist()]
    found = [[TAGS[i] for i in t] for t in best_sequence(scores, iob2_rules(TAGS), mask).tolist()]
    for tags in found:
        check_iob2(tags)
    agreed = 0
    for before, after in zip(greedy, found, strict=True):
        try:
            check_iob2(before)
        except DataError:
            continue
        assert before == after  # what is valid already stays as it is
        agreed += 1
    assert 0 < agreed < 40
