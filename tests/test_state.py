"""The state of a training on disk: it comes back as it was, and a broken one is refused."""

import json
import pickle
from dataclasses import asdict
from functools import partial
from importlib import import_module

import pytest
import small_training
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_training import FAST

import mtl
from mtl.errors import ModelError
from mtl.training import state
from mtl.training.history import Round
from mtl.training.loop import train
from mtl.training.state import REST, has_state, load_state, save_state

# pytest looks for a fixture by its name in this module.
tasks = small_training.tasks

NUMBERS = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)
TENSORS = st.lists(st.floats(width=32, allow_nan=False), max_size=4).map(torch.tensor)
KEYS = st.text(st.characters(codec="utf-8"), max_size=5)
LEAVES = st.none() | st.booleans() | NUMBERS | KEYS | TENSORS
STATES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3)
)

ROUNDS = [Round(1, n, 0.5 * n, {"ner": 0.1 * n}, 1e-3, 1.0, {"ner": n}) for n in range(1, 5)]
WRITERS = ("write_tensors", "append_lines", "write_atomically")


def plain(state):
    """As it is loaded: its rounds are plain values."""
    return state | {"rounds": [asdict(one) for one in state["rounds"]]}


def same_state(one, other):
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_state(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same_state, one, other))
    return type(one) is type(other) and one == other


@given(state=st.dictionaries(KEYS, STATES, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_state_comes_back_as_it_was(tmp_path, state):
    save_state(tmp_path, state)
    assert same_state(state, load_state(tmp_path))


def test_names_of_tensors_do_not_collide(tmp_path):
    state = {"a/b": torch.zeros(1), "a": {"b": torch.ones(1)}}
    save_state(tmp_path, state)
    assert same_state(state, load_state(tmp_path))


def test_tensors_of_every_kind(tmp_path):
    shared = torch.arange(6.0).view(2, 3)
    state = {
        "kinds": [
            torch.ones(2, dtype=d) for d in (torch.bool, torch.uint8, torch.int64, torch.half)
        ],
        "shared": [shared, shared[0], shared.T],
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 2),
        "random": torch.get_rng_state(),
    }
    save_state(tmp_path, state)
    loaded = load_state(tmp_path)
    assert same_state(state, loaded)
    assert [t.dtype for t in loaded["kinds"]] == [t.dtype for t in state["kinds"]]


def test_no_pickle_is_written_or_read(tmp_path, monkeypatch, build_model, tasks):
    def refuse(*args, **kwargs):
        raise AssertionError("pickle was used")

    import_module("torch._dynamo")  # what the optimiser imports makes subclasses of a Pickler
    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    train(build_model(tasks), tasks, FAST, checkpoint=tmp_path, progress=False)
    assert has_state(tmp_path)
    train(build_model(tasks), tasks, FAST, checkpoint=tmp_path, resume=True, progress=False)


def test_broken_states_are_refused(tmp_path):
    assert not has_state(tmp_path)
    with pytest.raises(ModelError, match="cannot be read"):
        load_state(tmp_path)
    save_state(tmp_path, {"weights": torch.ones(3)})
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ModelError, match="cannot be read"):
            load_state(tmp_path)
        path.write_bytes(whole)


def test_a_kill_while_saving_leaves_the_state_before_whole(tmp_path, monkeypatch):
    """Killed before any of its writes, the folder still gives the old state, never a mixture."""
    old, new = (
        {"epoch": n, "weights": torch.full((3,), float(n)), "id": "a", "rounds": ROUNDS[:n]}
        for n in (1, 2)
    )
    writers = {name: getattr(state, name) for name in WRITERS}
    for writes_before_the_kill in range(5):
        save_state(tmp_path, old)
        left = [writes_before_the_kill]

        def killed(name, *what, left=left):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return writers[name](*what)

        for name in WRITERS:
            monkeypatch.setattr(state, name, partial(killed, name))
        try:
            save_state(tmp_path, new)
            finished = True
        except KeyboardInterrupt:
            finished = False
        for name in WRITERS:
            monkeypatch.setattr(state, name, writers[name])
        assert finished == (writes_before_the_kill >= 3)
        assert same_state(plain(new if finished else old), load_state(tmp_path))


def test_rounds_are_appended_and_not_written_again(tmp_path, monkeypatch):
    written = []
    append = state.append_lines

    def counted(path, size, lines):
        lines = list(lines)
        written.append(len(lines))
        return append(path, size, lines)

    monkeypatch.setattr(state, "append_lines", counted)
    for n in (1, 3, 3, 4):
        save_state(tmp_path, {"id": "a", "rounds": ROUNDS[:n]})
        assert same_state(load_state(tmp_path), plain({"id": "a", "rounds": ROUNDS[:n]}))
    assert written == [1, 2, 0, 1]
    # Another run in the same folder has rounds of its own.
    other = {"id": "b", "rounds": ROUNDS[2:3]}
    save_state(tmp_path, other)
    assert same_state(load_state(tmp_path), plain(other))
    assert len(list(tmp_path.glob("training_rounds-*"))) == 1


def test_rounds_after_those_that_count_are_cut_off(tmp_path):
    save_state(tmp_path, {"id": "a", "rounds": ROUNDS[:2]})
    (file,) = tmp_path.glob("training_rounds-*")
    with file.open("a") as rounds:
        rounds.write('{"epoch": 9, "st')  # killed before the JSON that would have counted them
    assert same_state(load_state(tmp_path), plain({"id": "a", "rounds": ROUNDS[:2]}))
    save_state(tmp_path, {"id": "a", "rounds": ROUNDS[:3]})
    assert same_state(load_state(tmp_path), plain({"id": "a", "rounds": ROUNDS[:3]}))


def test_only_tensors_that_share_memory_are_copied(tmp_path, monkeypatch):
    weights = torch.arange(6.0)
    state = {"alone": weights, "shared": weights.view(2, 3), "part": torch.arange(9)[3:5]}
    copied = []
    clone = torch.Tensor.clone
    monkeypatch.setattr(torch.Tensor, "clone", lambda t: copied.append(t.shape) or clone(t))
    save_state(tmp_path, state)
    assert copied == [(2, 3), (2,)]
    assert same_state(load_state(tmp_path), state)


def test_a_deeply_nested_training_state_is_a_broken_one(tmp_path):
    (tmp_path / REST).write_text(json.dumps({"tensors": "x"})[:-1] + ', "state": ' + "[" * 100_000)
    with pytest.raises(mtl.ModelError, match="the training state cannot be read"):
        load_state(tmp_path)
