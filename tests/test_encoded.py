"""Encoded datasets in arrays: the same rows and targets as lists have, for data of any size."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_cache import DATA, TYPES

from mtl.data import encoded as encoded_module
from mtl.data import rows as rows_module
from mtl.data import stored as stored_module
from mtl.data.batching import BatchStream, collate, sorted_batches
from mtl.data.dataset import Dataset
from mtl.data.encoded import encode, encode_examples, only
from mtl.data.examples import TextExample
from mtl.data.packed import TargetColumn
from mtl.data.stored import store
from mtl.data.tokenizers.base import LateEncoding
from mtl.errors import DataError
from mtl.inference import encode_for, predict_encoded
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.toy import ner_examples, qa_examples
from mtl.training.config import TrainConfig
from mtl.training.loop import train

SENTENCES = ner_examples("train", 23)
NER = NERTask("ner", types=TYPES)


@pytest.fixture(params=[1, 7, 4096])
def part(request, monkeypatch):
    """However many examples there are in a part."""
    monkeypatch.setattr(encoded_module, "EXAMPLES_A_PART", request.param)
    return request.param


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize(("examples", "tasks", "max_length"), DATA.values(), ids=DATA)
def test_arrays_hold_what_lists_do(tmp_path, part, tokenizer, examples, tasks, max_length, on_disk):
    what = (examples, tokenizer, tasks, max_length, 6)
    listed, notes = encode_examples(*what)
    encoded = encode(*what, cache=tmp_path if on_disk else None)
    assert [*encoded] == listed
    assert encoded.notes == notes
    assert encoded.lengths.tolist() == [len(item) for item in listed]
    assert [len(item) for item in encoded] == [len(item) for item in listed]
    assert [item.n_rows for item in encoded] == [len(item.rows) for item in listed]
    assert encoded.n_tokens == sum(len(row) for item in listed for row in item.rows)
    parts = {repr(examples[i : i + part]) for i in range(0, len(examples), part)}
    assert len(list(tmp_path.iterdir())) == on_disk * len(parts)


def test_streams_and_batches_are_those_of_lists(part, tokenizer):
    what = (SENTENCES, tokenizer, [NER], 12, 4)
    several = encode_examples(*what)[0], encode(*what)
    hide = lambda ids, generator: tokenizer.hide_words(ids, 0.9, generator)  # noqa: E731
    one, other = (
        BatchStream(items, tokenizer, [NER], batch_size=4, seed=0, hide=hide) for items in several
    )
    for _ in range(2 * one.batches_per_pass):
        for batch, same in zip(one.next_parts(40), other.next_parts(40), strict=True):
            assert torch.equal(batch.input_ids, same.input_ids)
            assert torch.equal(batch.text_mask, same.text_mask)
            assert torch.equal(batch.targets["ner"], same.targets["ner"])
    one, other = (list(sorted_batches(items, tokenizer, lambda n: 60 // n)) for items in several)
    assert [indices for indices, _ in one] == [indices for indices, _ in other]


def test_batches_are_made_without_a_text_being_read(tokenizer):
    """Nor an example: it may be on disk."""

    class Unread(list):
        def __getitem__(self, index):
            assert isinstance(index, slice), "an example was read"
            return super().__getitem__(index)

    encoded = encode(Unread(SENTENCES), tokenizer, [NER], 12, 4)
    batch = collate([encoded[i] for i in range(8)], tokenizer, [NER])
    assert (
        batch.input_ids.tolist()
        == collate(
            encode_examples(SENTENCES[:8], tokenizer, [NER], 12, 4)[0], tokenizer, []
        ).input_ids.tolist()
    )
    with pytest.raises(AssertionError, match="was read"):
        _ = encoded[0].rows[0].text.tokens


def test_a_part_of_them_is_a_sequence_too(part, tokenizer):
    encoded = encode(SENTENCES, tokenizer, [NER], 12, 4)
    assert [*encoded[3:20:4]] == [*encoded][3:20:4]
    assert encoded[-1] == encoded[len(encoded) - 1]
    with pytest.raises(IndexError):
        encoded[len(encoded)]
    long = only(encoded, lambda item: len(item) > 10)
    assert 0 < len(long) < len(encoded)
    assert [*long] == [item for item in encoded if len(item) > 10]
    assert long.n_tokens == sum(len(row) for item in long for row in item.rows)
    assert [*long.select(np.array([1, 0]))] == [long[1], long[0]]


# --- what cannot be encoded -----------------------------------------------------------------------


BAD = [2, 9, 17]  # a type that the task does not know
FAULTY = [
    replace(e, tags=("B-NEW", *["O"] * (len(e.tags) - 1))) if i in BAD else e
    for i, e in enumerate(SENTENCES)
]


def test_all_faults_are_raised_together(part, tokenizer):
    with pytest.raises(DataError) as raised:
        encode(FAULTY, tokenizer, [NER], 64)
    assert len(raised.value.faults) == len(BAD)
    for fault, i in zip(raised.value.faults, BAD, strict=True):
        assert fault.what.startswith(f"example {i + 1}: ")


def test_the_others_keep_their_numbers(tmp_path, part, tokenizer):
    faults = []
    encoded = encode(FAULTY, tokenizer, [NER], 64, faults=faults, cache=tmp_path)
    assert len(faults) == len(BAD)
    assert [item.name for item in encoded] == [
        str(i + 1) for i in range(len(FAULTY)) if i not in BAD
    ]
    assert [item.example for item in encoded] == [e for i, e in enumerate(FAULTY) if i not in BAD]
    # What has faults is not kept, so they are told again.
    again = []
    encode(FAULTY, tokenizer, [NER], 64, faults=again, cache=tmp_path)
    assert again == faults
    starts = range(0, len(FAULTY), part)
    n_whole = sum(not {*range(start, start + part)} & {*BAD} for start in starts)
    assert len(list(tmp_path.iterdir())) == n_whole


# --- on disk --------------------------------------------------------------------------------------


def test_after_a_kill_only_what_is_missing_is_encoded(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(encoded_module, "EXAMPLES_A_PART", 5)
    what = (SENTENCES, tokenizer, [NER], 12, 4)
    real, made = rows_module.rows_and_targets, []

    def stops(examples, *rest):
        examples = list(examples)
        made.append([number for number, _ in examples])
        if len(made) == 3:
            raise KeyboardInterrupt
        return real(examples, *rest)

    monkeypatch.setattr(encoded_module, "rows_and_targets", stops)
    with pytest.raises(KeyboardInterrupt):
        encode(*what, cache=tmp_path)
    made[:] = [[], [], []]
    encoded = encode(*what, cache=tmp_path)
    assert made[3:] == [[*range(11, 16)], [*range(16, 21)], [*range(21, 24)]]
    assert [*encoded] == encode_examples(*what)[0]


def test_examples_on_disk_are_not_read_for_their_hash(tmp_path, tokenizer, monkeypatch):
    what = (tokenizer, [NER], 64, 4)
    examples = store(SENTENCES, tmp_path / "one")
    encode(examples, *what, cache=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(stored_module, "from_line", lambda line: pytest.fail("read"))
        encode(examples, *what, cache=tmp_path)
    others = store(SENTENCES[::-1], tmp_path / "two")
    assert [*encode(others, *what, cache=tmp_path)] == encode_examples(others, *what)[0]


def test_what_is_on_disk_is_mapped(tmp_path, tokenizer):
    encoded = encode(SENTENCES, tokenizer, [NER], 64, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("there is no /proc")
    assert str(path) in maps.read_text()
    del encoded


# --- targets --------------------------------------------------------------------------------------

whole = st.integers(-(2**62), 2**62)
TARGETS = st.one_of(
    st.lists(st.none() | st.integers(-5, 300)),
    st.lists(st.none() | whole),
    st.lists(st.none() | st.floats(allow_nan=False)),
    st.lists(st.none() | st.lists(st.integers(-100, 9))),
    st.lists(st.none() | st.tuples(whole, whole)),
    st.lists(st.none() | st.booleans() | whole | st.text()),
    st.lists(st.none() | st.lists(st.lists(whole) | st.booleans())),
)


@given(TARGETS)
def test_targets_come_back_as_they_are(targets):
    column = TargetColumn.of(targets)
    assert repr(column.of_rows(0, len(targets))) == repr(targets)
    for i, target in enumerate(targets):
        assert repr(column.of_rows(i, i + 1)) == repr([target])
    written = TargetColumn(column.as_json().kind, column.as_json().arrays)
    assert repr(written.of_rows(0, len(targets))) == repr(targets)


def test_targets_of_any_other_kind_stay_themselves():
    """Those of a user's own task, which are never written."""
    targets = [torch.zeros(2), None, {1, 2}]
    assert [*map(id, TargetColumn.of(targets).of_rows(0, 3))] == [*map(id, targets)]


# --- tokenizers -----------------------------------------------------------------------------------


def test_a_text_that_many_share_is_encoded_once(tokenizer, monkeypatch):
    monkeypatch.setattr(rows_module, "MOST_TEXTS", 7)  # several batches, also in a thread
    questions = [q for q in qa_examples("train", 9) for _ in range(3)]
    texts = []
    real = tokenizer.encode_batch

    def encode_batch(some, places):
        assert places  # to find the answer
        texts.extend(some)
        return real(some)

    monkeypatch.setattr(tokenizer, "encode_batch", encode_batch)
    found, _ = encode_examples(questions, tokenizer, [QATask("qa")], 64)
    assert len(texts) < 1.5 * len(set(texts))
    assert [item.rows for item in found] == [tokenizer.rows(q.inputs[0], 64) for q in questions]


def test_a_late_encoding_is_made_when_it_is_asked_for(tokenizer):
    calls = Counter()

    def encode_now(text):
        calls["encode"] += 1
        return tokenizer.encode(text)

    late = LateEncoding(lambda: "Ann saw Bob", encode_now)
    assert late.text == "Ann saw Bob"
    assert calls["encode"] == 0
    assert late == tokenizer.encode("Ann saw Bob") == late
    assert len(late) == 3
    assert calls["encode"] == 1
    assert late != tokenizer.encode("Ann saw Rob")
    with pytest.raises(AttributeError):
        _ = late.colour


# --- in use ---------------------------------------------------------------------------------------


def test_training_and_prediction_are_the_same_in_many_parts(build_model, monkeypatch, tmp_path):
    results = []
    for part, cache in ((4096, None), (3, None), (3, tmp_path), (3, tmp_path)):
        monkeypatch.setattr(encoded_module, "EXAMPLES_A_PART", part)
        monkeypatch.setattr("mtl.training.preflight.MANY", 1)
        task = NERTask("ner", Dataset(train=SENTENCES[:15], validation=SENTENCES[15:]), types=TYPES)
        model = build_model([task])
        config = TrainConfig(epochs=2, batch_size=4, device="cpu")
        history = train(model, [task], config, cache=cache, progress=False)
        results.append((model.state_dict(), history.validation))
    for weights, scores in results[1:]:
        assert scores == results[0][1]
        assert all(torch.equal(weights[name], results[0][0][name]) for name in weights)
    assert len(list(tmp_path.iterdir())) == 5 + 3
    texts = [TextExample(e.text) for e in SENTENCES]
    what = model.tokenizer, [], model.encoder.config.max_length, model.overlap
    assert predict_encoded(model, encode(texts, *what), ["ner"]) == predict_encoded(
        model, encode_for(model, texts), ["ner"]
    )
