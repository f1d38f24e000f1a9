"""The streams of a training: stopped between two steps they go on with the same batches."""

import pytest
import torch

from mtl.data.dataset import Dataset
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.training.config import TrainConfig
from mtl.training.preflight import encode_datasets
from mtl.training.state import load_state, save_state
from mtl.training.streams import Streams


@pytest.fixture
def build(build_model, sentences, questions):
    """A function that makes streams of two datasets, 3 and 5 batches long."""
    tasks = [
        NERTask("ner", Dataset(train=sentences[:12]), types=["LOC", "MISC", "ORG", "PER"]),
        QATask("qa", Dataset(train=questions[:20])),
    ]
    model = build_model(tasks)
    data = encode_datasets(model, tasks)
    return lambda **settings: Streams(
        data, model, TrainConfig(epochs=2, batch_size=4, **settings), torch.float32
    )


def steps_of(streams, n, first_round=0):
    """The next n steps: which datasets, and the ids of each part."""
    taken, rounds = [], first_round
    while len(taken) < n:
        if not streams.pending:
            streams.start_round(rounds)
            rounds += 1
        step = streams.pending.pop(0)
        parts = [[part.input_ids for part in batch] for batch in streams.batches(step)]
        taken.append((step, parts))
    return taken


def same(one, other):
    return len(one) == len(other) and all(
        step == of_other
        and all(
            torch.equal(a, b)
            for left, right in zip(parts, others, strict=True)
            for a, b in zip(left, right, strict=True)
        )
        for (step, parts), (of_other, others) in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(
    "settings",
    [{"sampling": "alternating"}, {"sampling": "sampled", "alpha": 0.5}, {"max_tokens": 60}],
)
@pytest.mark.parametrize("stopped_after", range(1, 6))
def test_stopped_within_a_round_the_same_steps_follow(build, tmp_path, settings, stopped_after):
    streams, other = build(**settings), build(**settings)
    steps_of(streams, stopped_after)
    save_state(tmp_path, streams.state_dict())
    other.load_state_dict(load_state(tmp_path))
    assert other.pending == streams.pending
    assert len(streams.pending) == stopped_after % 2
    rounds = (stopped_after + 1) // 2
    assert same(steps_of(streams, 9, rounds), steps_of(other, 9, rounds))
    assert not same(steps_of(streams, 9, 5), steps_of(build(**settings), 9, 5))


def test_looking_at_the_coming_batches_takes_none(build):
    streams = build()
    steps_of(streams, 3)
    coming = [[part.input_ids for part in batch] for batch in streams.coming_batches()]
    again = [[part.input_ids for part in batch] for batch in streams.coming_batches()]
    (qa, ner) = steps_of(streams, 2, 2)
    assert same([((0, 1), coming)], [((0, 1), again)])
    assert same([((0, 1), coming)], [((0, 1), [*ner[1], *qa[1]])])


def test_how_long_a_training_is(build):
    streams = build()
    assert (streams.rounds_per_epoch, streams.n_rounds, streams.n_steps) == (5, 10, 20)
    joint = build(sampling="joint", rounds=7)
    assert (joint.rounds_per_epoch, joint.n_rounds, joint.n_steps) == (7, 14, 14)


def test_batches_made_ahead_are_the_same_and_do_not_count_as_taken(build, tmp_path):
    ahead, plain, resumed = build(), build(), build()
    steps_of(ahead, 3)
    steps_of(plain, 3)
    ahead.make_ahead([0, 1])
    save_state(tmp_path, ahead.state_dict())
    resumed.make_ahead([0, 1])  # of its own, which the state replaces
    resumed.load_state_dict(load_state(tmp_path))
    after = [steps_of(streams, 9, 2) for streams in (ahead, plain, resumed)]
    assert same(after[0], after[1])
    assert same(after[0], after[2])
