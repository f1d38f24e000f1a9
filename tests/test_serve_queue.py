"""The queue of `mtl serve`: who comes first, what shares a pass, and what is never computed."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from mtl.data.examples import Query
from mtl.serve.calls import Item
from mtl.serve.metrics import Metrics
from mtl.serve.problems import RefusedError
from mtl.serve.queue import PATIENCE, Entry, Job, WorkQueue
from mtl.serve.worker import MOST_TOKENS, PASS_TOKENS, Worker, passes

CALL = None  # the queue does not look at it


def job(*tokens):
    """A request with texts of about so many tokens."""
    made = Job([Item(CALL, Query("abc " * (n - 2)), "texts") for n in tokens])
    assert [item.tokens for item in made.items] == list(tokens)
    return made


def taken(queue, tokens=1):
    return [(entry.job, entry.index) for entry in queue.take(tokens, 0)]


def test_equal_texts_come_out_as_they_came_in():
    queue = WorkQueue(9)
    jobs = [job(10) for _ in range(5)]
    for each in jobs:
        queue.put(each)
    assert taken(queue, 1000) == [(each, 0) for each in jobs]


def test_a_short_text_overtakes_a_long_one():
    queue, long, short = WorkQueue(9), job(500), job(10)
    queue.put(long)
    queue.put(short)
    assert taken(queue) == [(short, 0)]


def test_a_request_of_many_texts_does_not_hold_up_others():
    queue, many, one = WorkQueue(99), job(*[50] * 40), job(50)
    queue.put(many)
    assert taken(queue) == [(many, 0)]
    queue.put(one)
    assert taken(queue, 150) == [(one, 0), (many, 1), (many, 2)]


def test_a_long_text_is_overtaken_by_a_few_times_its_own_length_and_no_more():
    queue, long = WorkQueue(9), job(500)
    queue.put(long)
    overtook = 0
    for _ in range(1000):  # a new short text is always there
        queue.put(job(10))
        (first, _) = taken(queue)[0]
        if first is long:
            break
        overtook += 10
    assert 0.9 * PATIENCE * 500 <= overtook <= PATIENCE * 500


def test_as_many_texts_are_taken_as_have_the_tokens_but_at_least_one():
    queue = WorkQueue(9)
    queue.put(job(10, 10, 10, 10, 500))
    assert [index for _, index in taken(queue, 25)] == [0, 1, 2]
    assert [index for _, index in taken(queue, 10)] == [3]
    assert [index for _, index in taken(queue, 10)] == [4]


def test_a_request_waits_as_a_whole_or_not_at_all():
    queue = WorkQueue(5)
    queue.put(job(10, 10, 10))
    with pytest.raises(RefusedError, match="busy") as error:
        queue.put(job(10, 10, 10))
    assert error.value.status == 503
    assert int(error.value.headers["Retry-After"]) >= 1
    queue.put(job(10, 10))
    assert len(queue) == 5


def test_what_nobody_waits_for_does_not_come_out():
    queue, gone, there = WorkQueue(9), job(10), job(10)
    queue.put(gone)
    queue.put(there)
    gone.future.cancel()
    assert taken(queue, 15) == [(there, 0)]


def test_what_nobody_waits_for_makes_room_in_a_full_queue():
    queue, gone, there = WorkQueue(2), job(10, 10), job(10, 10)
    queue.put(gone)
    gone.future.cancel()
    queue.put(there)
    assert taken(queue, 100) == [(there, 0), (there, 1)]


def test_retry_after_is_how_long_the_texts_that_wait_will_take(monkeypatch):
    now = 0.0
    monkeypatch.setattr("mtl.serve.queue.time.monotonic", lambda: now)
    queue = WorkQueue(3)
    queue.put(job(100))
    queue.take(1, 0)
    now = 2.0  # 100 tokens took 2 seconds
    queue.put(job(100))
    queue.take(1, 0)
    now = 4.0
    queue.put(job(400, 100))
    queue.take(1, 0)  # these 400 are being computed, and 100 wait
    with pytest.raises(RefusedError) as error:
        queue.put(job(10, 10, 10))
    assert error.value.headers["Retry-After"] == "10"


def test_a_closed_queue_gives_what_waits_and_takes_nothing_new():
    queue, waits = WorkQueue(9), job(10)
    queue.put(waits)
    queue.close()
    with pytest.raises(RefusedError, match="shutting down"):
        queue.put(job(10))
    assert taken(queue) == [(waits, 0)]
    assert taken(queue) == []


def test_a_request_is_answered_when_its_last_text_is():
    both = job(10, 10)
    both.finish(1, "b")
    assert not both.is_over
    both.finish(0, "a")
    assert both.future.result() == ["a", "b"]


def test_a_client_may_leave_while_its_text_is_computed():
    gone = job(10)
    gone.future.cancel()
    gone.finish(0, "a")
    gone.fail(ValueError())
    assert gone.future.cancelled()


def test_a_client_that_left_while_others_were_computed_is_not_computed_for():
    """It was taken from the queue together with texts whose pass came first."""
    gone, there, read = job(10), job(10), []

    class Call:
        def run(self, encoded):
            read.extend(encoded)
            return ["done"] * len(encoded)

    gone.future.cancel()
    texts = [(Entry(0, i, each, 0), Encoded(["x"])) for i, each in enumerate((gone, there))]
    worker = Worker(WorkQueue(9), Metrics(), threads=1)
    worker._compute(Call(), texts)
    assert len(read) == 1
    assert there.future.result() == ["done"]
    worker._compute(Call(), texts[:1])
    assert len(read) == 1


# --- passes ---------------------------------------------------------------------------------------


@dataclass
class Encoded:
    """As much of an encoded example as decides which pass it is in."""

    rows: list[str]

    def __len__(self):
        return max(map(len, self.rows))


lengths = st.lists(st.integers(2, 512), min_size=1, max_size=40)


@given(lengths, st.integers(1, 3))
def test_passes_hold_every_text_once_little_padding_and_no_more_than_fits(lengths, n_rows):
    items = [(i, Encoded(["x" * length] * n_rows)) for i, length in enumerate(lengths)]
    groups = passes(items)
    assert sorted(i for group in groups for i, _ in group) == list(range(len(items)))
    assert [len(item) for group in groups for _, item in group] == sorted(lengths)
    for group in groups:
        rows = [row for _, item in group for row in item.rows]
        padded = len(rows) * max(map(len, rows))
        assert padded - sum(map(len, rows)) <= PASS_TOKENS
        assert padded <= MOST_TOKENS or len(group) == 1


def test_texts_of_about_one_length_share_a_pass():
    items = [(i, Encoded(["x" * length])) for i, length in enumerate([20, 300, 21, 19, 301])]
    assert [[i for i, _ in group] for group in passes(items)] == [[3, 0, 2], [1, 4]]
