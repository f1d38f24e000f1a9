"""Which dataset comes next: in turn, all at once, or drawn by size."""

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl.data.dataset import Dataset
from mtl.data.examples import TextExample
from mtl.errors import ConfigError
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.training.loop import Run, TrainConfig, train
from mtl.training.sampling import SAMPLERS, Alternating, Joint, Sampled
from mtl.training.weighting import FixedWeighting

TYPES = ["LOC", "MISC", "ORG", "PER"]
CONFIG = TrainConfig(
    epochs=3, batch_size=4, learning_rate=1e-2, sampling="sampled", alpha=0.9, anneal=0.8
)
SIZES = st.lists(st.integers(1, 10**7), min_size=1, max_size=6)
PROGRESS = st.floats(0, 1)


@pytest.fixture
def tasks(sentences, questions):
    """NER with 8 sentences (2 batches of 4) and QA with 20 questions (5 batches)."""
    return [
        NERTask("ner", Dataset(train=sentences[:8]), types=TYPES),
        QATask("qa", Dataset(train=questions[:20])),
    ]


def test_in_turn_and_all_at_once():
    assert Alternating([5, 9, 7]).round(0.5) == [(0,), (1,), (2,)]
    assert Joint([5, 9, 7]).round(0.5) == [(0, 1, 2)]
    assert [Alternating([5, 9]).steps_per_round, Joint([5, 9]).steps_per_round] == [2, 1]


# --- shares ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "shares"), [(1.0, [0.1, 0.9]), (0.0, [0.5, 0.5]), (0.5, [0.25, 0.75])]
)
def test_shares_by_hand(alpha, shares):
    assert Sampled([100, 900], alpha).shares(0.0) == pytest.approx(shares)


@given(sizes=SIZES, alpha=PROGRESS, share=PROGRESS, progress=PROGRESS)
def test_shares_are_proportional_to_size_to_the_power_of_alpha(sizes, alpha, share, progress):
    """`p_i / p_j = (n_i / n_j)^alpha`, alpha on the straight line from its start to its end."""
    anneal = alpha * share
    shares = Sampled(sizes, alpha, anneal).shares(progress)
    now = (1 - progress) * alpha + progress * (alpha - anneal)
    assert sum(shares) == pytest.approx(1)
    for size, p in zip(sizes, shares, strict=True):
        assert p / shares[0] == pytest.approx((size / sizes[0]) ** now)


def chi_square(counts, shares):
    n = sum(counts)
    expected = [n * share for share in shares]
    return sum((c - e) ** 2 / e for c, e in zip(counts, expected, strict=True))


def counts_of(sampler, n_rounds, progress):
    drawn = Counter(step for _ in range(n_rounds) for step in sampler.round(progress))
    return [drawn[i,] for i in range(len(sampler.sizes))]


@pytest.mark.parametrize(
    ("alpha", "shares"),
    [(1.0, [0.1, 0.3, 0.6]), (0.0, [1 / 3] * 3), (0.5, [0.2212, 0.3831, 0.5418])],
)
def test_what_is_drawn_has_these_shares(alpha, shares):
    """Two degrees of freedom: above 18.4 once in ten thousand; 0.5 is 1 : sqrt 3 : sqrt 6."""
    shares = [share / sum(shares) for share in shares]
    assert chi_square(counts_of(Sampled([100, 300, 600], alpha), 2000, 0.0), shares) < 18.4


def test_annealed_to_nothing_the_end_is_uniform_and_the_start_is_not():
    sampler = Sampled([100, 900], 1.0, 1.0)
    assert chi_square(counts_of(sampler, 2000, 0.0), [0.1, 0.9]) < 15.1
    assert chi_square(counts_of(sampler, 2000, 1.0), [0.5, 0.5]) < 15.1


def test_the_seed_draws():
    def draw(seed):
        sampler = Sampled([10, 20, 30], 0.5, seed=seed)
        return [sampler.round(0.0) for _ in range(20)]

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)


@pytest.mark.parametrize(
    ("alpha", "anneal"),
    [
        *((-0.1, 0.0), (1.1, 0.0), (float("nan"), 0.0), (float("inf"), 0.0)),
        *((0.5, -0.1), (0.5, 0.6), (1.0, float("nan"))),
    ],
)
def test_exponents_that_cannot_be(alpha, anneal):
    with pytest.raises(ConfigError, match=r"train\.alpha must lie between 0 and 1") as error:
        TrainConfig(sampling="sampled", alpha=alpha, anneal=anneal)
    assert f"alpha {alpha}, anneal {anneal}" in str(error.value)


# --- in training ----------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_number_of_steps_does_not_depend_on_alpha(build_model, tasks, alpha):
    config = replace(CONFIG, alpha=alpha, anneal=0.0)
    history = train(build_model(tasks), tasks, config, progress=False)
    reference = replace(config, sampling="alternating")
    in_turn = train(build_model(tasks), tasks, reference, progress=False)
    assert [r.step for r in history.rounds] == [r.step for r in in_turn.rounds]
    assert history.rounds[-1].step == 3 * 5 * 2
    assert history.rounds[-1].learning_rate == in_turn.rounds[-1].learning_rate


def test_a_small_alpha_trains_more_on_the_small_dataset(build_model, tasks):
    seen = []
    for alpha in (0.0, 1.0):
        config = replace(CONFIG, epochs=20, alpha=alpha, anneal=0.0)
        run = Run(build_model(tasks), tasks, config, FixedWeighting())
        drawn = Counter(i for _ in range(100) for (i,) in run.streams.sampler.round(0.0))
        seen.append(drawn[0] / 200)
    assert seen == pytest.approx([1 / 2, 8 / 28], abs=0.08)


def test_what_is_drawn_is_what_is_trained_on(build_model, tasks, monkeypatch):
    monkeypatch.setattr(Sampled, "round", lambda self, progress: [(1,), (1,)])
    history = train(build_model(tasks), tasks, replace(CONFIG, epochs=1), progress=False)
    assert [list(r.losses) for r in history.rounds] == [["qa"]] * 5
    assert history.rounds[-1].examples == {"ner": 0, "qa": 40}
    for r in history.rounds:
        assert r.total == pytest.approx(r.losses["qa"])


def test_a_batch_without_a_label_does_not_halve_the_means_of_its_round(
    build_model, tasks, monkeypatch
):
    said, unsaid = TextExample("Ann ran .", label="a"), TextExample("Bob sat .")
    topic = ClassificationTask("topic", Dataset(train=[said, unsaid]), labels=["a", "b"])
    monkeypatch.setattr(Sampled, "round", lambda self, progress: [(0,), (0,)])
    together = [topic, tasks[0]]
    config = replace(CONFIG, epochs=1, batch_size=1, max_grad_norm=1e9)
    run = Run(build_model(together), together, config, FixedWeighting())
    run.round()
    (only,) = run.history.rounds
    gradients = [p.grad for p in run.update.trained if p.grad is not None]
    assert only.step == 1
    assert only.grad_norm == pytest.approx(torch.nn.utils.get_total_norm(gradients).item())
    assert only.total == pytest.approx(only.losses["topic"])


def test_alpha_falls_over_the_whole_training(build_model, tasks, monkeypatch):
    told = []
    draw = Sampled.round
    monkeypatch.setattr(
        Sampled, "round", lambda self, progress: (told.append(progress), draw(self, progress))[1]
    )
    train(build_model(tasks), tasks, CONFIG, progress=False)
    assert told == pytest.approx([i / 15 for i in range(15)])


@pytest.mark.parametrize(
    ("alpha", "passes"), [(0.0, ("2.5", "1.0")), (0.5, ("1.9", "1.2")), (1.0, ("1.4", "1.4"))]
)
def test_an_epoch_in_words(build_model, tasks, alpha, passes):
    """Ten batches: 5 and 5; 3.87 and 6.13 (1 : sqrt 2.5); 2.86 and 7.14 (1 : 2.5)."""
    config = replace(CONFIG, alpha=alpha, anneal=0.0)
    run = Run(build_model(tasks), tasks, config, FixedWeighting())
    assert run.streams.describe_epoch() == (
        "an epoch is 5 rounds, 2 batches drawn by size: "
        f"ner 8 examples ({passes[0]} passes), qa 20 examples ({passes[1]} passes)"
    )


def test_a_weighting_that_needs_every_loss_cannot_be_sampled(build_model, tasks):
    class NeedsAll(FixedWeighting):
        needs_joint_steps = True

    with pytest.raises(ConfigError, match=r"NeedsAll needs(.|\n)*'sampled'(.|\n)*\"joint\""):
        train(build_model(tasks), tasks, CONFIG, weighting=NeedsAll(), progress=False)


# --- resumed --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SAMPLERS)
@given(before=st.integers(0, 9), seed=st.integers(0, 99))
def test_a_loaded_sampler_goes_on_where_the_saved_one_stood(kind, before, seed):
    sampler, other = (SAMPLERS[kind]([3, 50, 200], 0.7, 0.3, s) for s in (seed, seed + 1))
    for i in range(before):
        sampler.round(i / 20)
    other.load_state_dict(json.loads(json.dumps(sampler.state_dict())))
    later = [i / 20 for i in range(before, before + 10)]
    assert [other.round(p) for p in later] == [sampler.round(p) for p in later]


@pytest.mark.parametrize("stopped_after", [1, 2])
def test_resumed_it_ends_bit_for_bit_as_if_never_stopped(
    build_model, tasks, tmp_path, stopped_after
):
    def stop(history):  # in the epoch after the last that was saved
        if len(history.validation) == stopped_after + 1:
            raise KeyboardInterrupt

    def trained(**options):
        model = build_model(tasks, dropout=0.2)
        history = train(model, tasks, CONFIG, progress=False, **options)
        return model.state_dict(), history

    weights, history = trained()
    with pytest.raises(KeyboardInterrupt):
        trained(checkpoint=tmp_path, on_epoch=stop)
    torch.manual_seed(999)  # another process
    again, resumed = trained(checkpoint=tmp_path, resume=True)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert [vars(r) for r in resumed.rounds] == [vars(r) for r in history.rounds]
