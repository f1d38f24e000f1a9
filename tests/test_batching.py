"""Batches: what is padded, masked, supervised and left out; streams that can be resumed."""

from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtl.data.batching import BatchStream, collate, length_buckets, sorted_batches
from mtl.data.encoded import encode_examples
from mtl.data.examples import Answer, NERExample, QAExample, Query, TextExample
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import DataError
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import NOT_HERE, QATask


class EveryOther:
    """A target that labels the texts of even length only, row by row."""

    name = "every_other"
    reads_places = False

    def inputs_of(self, example):
        return example.inputs

    def targets(self, example, rows, notes):
        return [len(example.text) if len(example.text) % 2 == 0 else None for _ in rows]

    def collate(self, targets, length):
        return torch.tensor([-100 if target is None else target for target in targets])


def encode(examples, tokenizer, *tasks, max_length=64):
    return encode_examples(examples, tokenizer, tasks, max_length)


def same_batch(one, other):
    return (
        [item.example for item in one.items] == [item.example for item in other.items]
        and torch.equal(one.input_ids, other.input_ids)
        and one.targets.keys() == other.targets.keys()
        and all(torch.equal(one.targets[name], other.targets[name]) for name in one.targets)
    )


# --- buckets and streams ------------------------------------------------------------------------


@given(
    lengths=st.lists(st.integers(1, 50), min_size=1, max_size=200),
    batch_size=st.integers(1, 9),
    pool=st.integers(1, 5),
)
def test_buckets_hold_every_index_once(lengths, batch_size, pool):
    generator = torch.Generator().manual_seed(0)
    batches = length_buckets(lengths, batch_size, generator, pool)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert max(map(len, batches)) <= batch_size
    assert len(batches) == -(-len(lengths) // batch_size)


def test_buckets_differ_at_each_pass_and_hold_similar_lengths():
    lengths = [i % 40 + 1 for i in range(400)]
    generator = torch.Generator().manual_seed(0)
    one, other = (length_buckets(lengths, 8, generator) for _ in range(2))
    assert sorted(map(sorted, one)) != sorted(map(sorted, other))
    padding = sum(max(lengths[i] for i in batch) - lengths[j] for batch in one for j in batch)
    assert padding < 0.1 * sum(lengths)
    by_length = [lengths[batch[0]] for batch in one]
    assert by_length != sorted(by_length)


@pytest.fixture
def stream(sentences, tokenizer):
    """A function that makes streams of the same sentences; each hides words."""
    task = NERTask("ner", types=["PER", "ORG", "LOC", "MISC"])
    items, _ = encode(sentences, tokenizer, task, max_length=12)  # most are several rows
    hide = lambda ids, generator: tokenizer.hide_words(ids, 0.9, generator)  # noqa: E731
    return partial(BatchStream, items, tokenizer, [task], batch_size=4, hide=hide)


def test_a_stream_covers_each_example_once_a_pass(stream, sentences):
    batches = stream(seed=0)
    orders = []
    for _ in range(2):
        seen = [
            item.example for _ in range(batches.batches_per_pass) for item in batches.next().items
        ]
        assert Counter(seen) == Counter(sentences)
        orders.append(seen)
    assert orders[0] != orders[1]


def test_a_batch_never_splits_an_example(stream):
    batches = stream(seed=0)
    several = 0
    for _ in range(batches.batches_per_pass):
        batch = batches.next()
        expected = [i for i, item in enumerate(batch.items) for _ in item.rows]
        assert batch.rows.tolist() == expected
        assert len(batch.input_ids) == len(expected)
        assert len(batch) == len(batch.items)
        several += len(expected) > len(batch)
    assert several


@pytest.mark.parametrize("n_before", [0, 1, 7, 8, 9, 20])
def test_a_loaded_stream_goes_on_where_the_saved_one_stood(stream, n_before):
    saved, loaded = stream(seed=3), stream(seed=99)
    assert saved.batches_per_pass == 8
    for _ in range(n_before):
        saved.next()
    loaded.load_state_dict(saved.state_dict())
    for _ in range(12):  # into the pass after
        assert same_batch(saved.next(), loaded.next())


def test_the_seed_decides_the_order_and_the_hidden_words(stream):
    def first_batches(seed):
        batches = stream(seed=seed)
        return [batches.next() for _ in range(4)]

    assert all(map(same_batch, first_batches(1), first_batches(1)))
    assert not all(map(same_batch, first_batches(1), first_batches(2)))


@pytest.mark.parametrize("max_tokens", [1, 30, 60, 100, 10**6])
def test_parts_are_the_batch_and_each_is_small_enough(stream, max_tokens):
    whole, parted = stream(seed=0), stream(seed=0)
    n_parts = 0
    for _ in range(12):
        batch, parts = whole.next(), parted.next_parts(max_tokens)
        together = [item.example for part in parts for item in part.items]
        assert together == [item.example for item in batch.items]
        for part in parts:
            assert part.input_ids.numel() <= max_tokens or len(part.items) == 1
        for one, other in pairwise(parts):  # nothing is cut off that would have had room
            rows = len(one.input_ids) + len(other.items[0].rows)
            assert rows * len(other.items[0]) > max_tokens
        n_parts += len(parts)
    assert (n_parts > 12) == (max_tokens < 10**6)


def test_a_batch_of_one_part_is_the_whole_with_the_same_words_hidden(stream):
    one, other = stream(seed=0), stream(seed=0)
    for _ in range(12):
        (part,) = one.next_parts(10**6)
        assert same_batch(part, other.next())
    (part,) = one.next_parts(0)
    assert same_batch(part, other.next())


def test_words_are_hidden_in_every_part(stream, tokenizer):
    batches = stream(seed=0)
    parts = [part for _ in range(8) for part in batches.next_parts(30)]
    hidden = 0
    for part in parts:
        plain = collate(part.items, tokenizer, [])
        assert part.input_ids.shape == plain.input_ids.shape
        hidden += not torch.equal(part.input_ids, plain.input_ids)
    assert hidden > len(parts) / 2


@pytest.mark.parametrize("n_before", [0, 3, 8])
def test_a_loaded_stream_goes_on_with_the_same_parts(stream, n_before):
    saved, loaded = stream(seed=3), stream(seed=99)
    for _ in range(n_before):
        saved.next_parts(30)
    loaded.load_state_dict(saved.state_dict())
    for _ in range(9):
        pairs = zip(saved.next_parts(30), loaded.next_parts(30), strict=True)
        assert all(same_batch(*pair) for pair in pairs)


def test_streams_leave_the_global_random_state_alone(stream):
    before = torch.get_rng_state()
    stream(seed=0).next()
    assert torch.equal(torch.get_rng_state(), before)


def test_words_are_hidden_anew_at_each_pass_and_the_examples_stay(stream, tokenizer):
    batches = stream(seed=0)
    unknown = 0
    for _ in range(16):
        batch = batches.next()
        unhidden = collate(batch.items, tokenizer, [])
        special = unhidden.input_ids < tokenizer.first_unknown
        assert torch.equal(batch.input_ids[special], unhidden.input_ids[special])
        unknown += (batch.input_ids != unhidden.input_ids).sum().item()
    assert unknown > 0


# --- collate ------------------------------------------------------------------------------------


def test_masks_and_segments_exactly(tokenizer):
    items, _ = encode([Query("one two", "three four five"), Query("six", "seven")], tokenizer)
    batch = collate(items, tokenizer, [])
    # [CLS] one two [SEP] three four five [SEP]   and   [CLS] six [SEP] seven [SEP]
    assert batch.attention_mask.int().tolist() == [[1] * 8, [1] * 5 + [0] * 3]
    assert batch.text_mask.int().tolist() == [[0, 0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 0, 0, 0, 0]]
    assert batch.token_type_ids.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 0, 0, 0]]
    assert batch.input_ids[1, 5:].tolist() == [tokenizer.pad_id] * 3
    assert batch.attention_mask.dtype == batch.text_mask.dtype == torch.bool


@pytest.mark.parametrize(
    ("sizes", "length"), [((), 7), ((7,), 7), ((4, 8, 12), 8), ((4,), 7), (range(32, 33), 32)]
)
def test_rows_are_padded_to_the_first_size_that_holds_the_longest(tokenizer, sizes, length):
    task = NERTask("ner", types=["PER"])
    examples = [NERExample(("Ann",), ("B-PER",)), NERExample(("a", "b", "c", "d", "e"), ("O",) * 5)]
    items, _ = encode_examples(examples, tokenizer, [task], 64)
    batch = collate(items, tokenizer, [task], sizes)
    tensors = (batch.input_ids, batch.token_type_ids, batch.text_mask, batch.targets["ner"])
    assert {tensor.shape for tensor in (*tensors, batch.attention_mask)} == {(2, length)}
    assert batch.attention_mask.sum(1).tolist() == [3, 7]
    assert batch.text_mask.sum(1).tolist() == [1, 5]
    assert (batch.targets["ner"] != -100).sum(1).tolist() == [1, 5]


def test_parts_are_small_enough_with_their_padding(sentences, tokenizer):
    task = NERTask("ner", types=["PER", "ORG", "LOC", "MISC"])
    items, _ = encode_examples(sentences, tokenizer, [task], 64)
    stream = BatchStream(
        *(items, tokenizer, [task]),
        batch_size=30,
        seed=0,
        hide=lambda ids, _: ids,
        sizes=range(32, 65, 32),
    )
    parts = stream.next_parts(100)
    assert len(parts) >= 10
    assert all(part.input_ids.numel() <= 100 for part in parts)


def test_a_task_without_a_label_in_the_batch_is_absent(tokenizer):
    task = EveryOther()
    items, _ = encode([Query("even"), Query("odd"), Query("odd too")], tokenizer, task)
    assert collate(items, tokenizer, [task]).targets["every_other"].tolist() == [4, -100, -100]
    assert collate(items[1:], tokenizer, [task]).targets == {}


def test_to_moves_every_tensor(sentences, tokenizer):
    task = NERTask("ner", types=["PER", "ORG", "LOC", "MISC"])
    items, _ = encode(sentences[:2], tokenizer, task)
    moved = collate(items, tokenizer, [task]).to("meta")
    tensors = {k: v for k, v in vars(moved).items() if isinstance(v, torch.Tensor)}
    assert tensors.keys() == {"rows", "input_ids", "attention_mask", "token_type_ids", "text_mask"}
    assert {t.device.type for t in (*tensors.values(), *moved.targets.values())} == {"meta"}


def test_sorted_batches_hold_every_example_once(sentences, tokenizer):
    items, _ = encode(sentences, tokenizer)
    batches = list(sorted_batches(items, tokenizer, lambda length: 100 // length))
    assert sorted(i for indices, _ in batches for i in indices) == list(range(len(items)))
    for indices, batch in batches:
        assert [items[i] for i in indices] == batch.items
        assert batch.targets == {}
        assert batch.input_ids.numel() <= 100
    assert len(batches) < len(items)
    assert list(sorted_batches([], tokenizer, lambda length: 1)) == []


@pytest.mark.parametrize("max_rows", [1, 2, 1_000])
def test_parts_hold_every_row_once(questions, tokenizer, max_rows):
    items, _ = encode(questions[:3], tokenizer, max_length=32)
    whole = collate(items, tokenizer, [])
    parts = list(whole.row_parts(max_rows))
    assert len(whole.rows) > 2
    assert all(len(part.rows) <= max_rows for part in parts)
    for name in ("rows", "input_ids", "attention_mask", "token_type_ids", "text_mask"):
        assert torch.equal(torch.cat([getattr(p, name) for p in parts]), getattr(whole, name))


# --- what is supervised: NER --------------------------------------------------------------------


NER = NERTask("ner", types=["LOC", "PER"])
OUT, LOC, IN_LOC, PER, IN_PER = map(NER.tag_id.get, ("O", "B-LOC", "I-LOC", "B-PER", "I-PER"))


def test_every_word_of_plain_text_is_supervised_and_nothing_else():
    """`U.S.` and `Ann-Lee` are one token each in the file, and several words in plain text."""
    example = NERExample(("The", "U.S.", "met", "Ann-Lee"), ("O", "B-LOC", "O", "B-PER"))
    tokenizer = WhitespaceTokenizer.train(["The U . S met Ann - Lee"])
    items, _ = encode([example, NERExample(("Ann",), ("B-PER",))], tokenizer, NER)
    # [CLS] The U . S . met Ann - Lee [SEP]   and   [CLS] Ann [SEP]
    targets = collate(items, tokenizer, [NER]).targets["ner"].tolist()
    assert targets[0] == [-100, OUT, LOC, *[IN_LOC] * 3, OUT, PER, IN_PER, IN_PER, -100]
    assert targets[1] == [-100, PER] + [-100] * 9


def test_windows_supervise_the_words_that_are_in_them():
    words = ("Ann", "saw", "New", "York-Rome", "and", "U.S.", "met", "me")
    tags = ("B-PER", "O", "B-LOC", "I-LOC", "O", "B-LOC", "O", "O")
    tokenizer = WhitespaceTokenizer.train([" ".join(words)])
    items, _ = encode([NERExample(words, tags)], tokenizer, NER, max_length=8)
    # words: Ann saw New York - Rome and U . S . met me; windows of six that share three
    assert [row.first_piece for row in items[0].rows] == [0, 3, 6, 7]
    assert collate(items, tokenizer, [NER]).targets["ner"].tolist() == [
        [-100, PER, OUT, LOC, IN_LOC, IN_LOC, IN_LOC, -100],
        [-100, IN_LOC, IN_LOC, IN_LOC, OUT, LOC, IN_LOC, -100],
        [-100, OUT, LOC, IN_LOC, IN_LOC, IN_LOC, OUT, -100],
        [-100, LOC, IN_LOC, IN_LOC, IN_LOC, OUT, OUT, -100],
    ]


def test_a_window_without_a_first_piece_is_not_labelled(monkeypatch):
    """A word of many pieces can fill a window without beginning in it."""
    tokenizer = WhitespaceTokenizer.train([])
    pieces = tokenizer.encode(". " * 30 + "Ann")
    one_word = replace(pieces, word_ids=[*[0] * 30, 1], words=[(0, 59), pieces.words[-1]])
    monkeypatch.setattr(tokenizer, "encode", lambda text: one_word)
    items, _ = encode(
        [NERExample((". " * 29 + ".", "Ann"), ("O", "B-PER"))], tokenizer, NER, max_length=8
    )
    assert items[0].targets["ner"][1] is None
    batch = collate(items, tokenizer, [NER])
    assert (batch.targets["ner"][1] == -100).all()


def test_an_entity_without_a_word_of_its_own_is_counted():
    """Both tokens become one word where the tokenizer cannot tell them apart."""
    tokenizer = WhitespaceTokenizer.train([])
    example = TextExample("ABcd", ("AB", "cd"), tags=("B-PER", "B-LOC"))
    items, notes = encode([example], tokenizer, NER)
    assert items[0].targets["ner"] == [[-100, PER, -100]]
    assert notes == {"entities have no word of their own and are left out of training": 1}


def test_the_ner_loss_reads_labelled_words_only():
    tokenizer = WhitespaceTokenizer.train(["The U"])
    items, _ = encode([NERExample(("The", "U"), ("O", "B-LOC"))], tokenizer, NER)
    batch = collate(items, tokenizer, [NER])
    logits = torch.randn(1, 4, 5)
    loss = NER.loss(logits, batch.targets["ner"], batch)
    chosen = logits[0].log_softmax(-1)[[1, 2], [OUT, LOC]]
    assert loss.item() == pytest.approx(-chosen.mean().item(), rel=1e-5)


def test_unknown_entity_types_are_refused(tokenizer):
    example = NERExample(("Acme",), ("B-ORG",))
    with pytest.raises(DataError, match="ORG"):
        encode([example], tokenizer, NER)


# --- what is supervised: QA ---------------------------------------------------------------------


QA = QATask("qa")


def question(context, answer, start, ask="who ?"):
    return QAExample("1", ask, context, (Answer(answer, start),))


def targets_of(example, max_length=64, tokenizer=None):
    tokenizer = tokenizer or WhitespaceTokenizer.train([example.context, example.question])
    items, notes = encode([example], tokenizer, QA, max_length=max_length)
    return items[0], items[0].targets["qa"], notes


def test_the_offset_says_which_occurrence():
    context = "Ann met Bob . Ann left Ann"
    for start, position in ((0, 4), (14, 8), (23, 10)):
        _, targets, notes = targets_of(question(context, "Ann", start))
        assert targets == [(position, position)]
        assert not notes


def test_an_answer_of_several_pieces():
    _, targets, _ = targets_of(question("in the U.S. today", "the U.S.", 3))
    assert targets == [(5, 9)]


def test_neighbours_without_a_blank_between_are_not_part_of_the_answer():
    _, targets, notes = targets_of(question("(Ann)", "Ann", 1))
    assert targets == [(5, 5)]
    assert not notes


def test_windows_without_the_answer_point_at_cls():
    context = "a b c d e f g h i j k l m n o p q r s t Zed u v w x y z"
    item, targets, notes = targets_of(question(context, "Zed", 40), max_length=16)
    row_tokens = [row.input_ids for row in item.rows]
    holds = [row.first_piece <= 20 < row.first_piece + row.n_pieces for row in item.rows]
    assert True in holds
    assert False in holds
    (zed,) = {row_tokens[i][t[0]] for i, t in enumerate(targets) if holds[i]}
    assert zed == item.rows[0].text.ids[20]
    assert all((target == NOT_HERE) != hold for target, hold in zip(targets, holds, strict=True))
    assert not notes


def test_a_window_that_cuts_the_answer_points_at_cls():
    context = " ".join("abcdefghijklmnopqrstuvwxyz")
    answer = "h i j k l"  # pieces 7 to 11; windows of 11 begin at 0, 6, 12, 15
    item, targets, _ = targets_of(question(context, answer, context.index(answer)), max_length=16)
    assert [row.first_piece for row in item.rows] == [0, 6, 12, 15]
    assert targets == [NOT_HERE, (4 + 1, 4 + 5), NOT_HERE, NOT_HERE]


def test_an_answer_longer_than_any_window_is_left_out_and_counted():
    context = " ".join("abcdefghijklmnopqrstuvwxyz")
    item, targets, notes = targets_of(question(context, context[10:39], 10), max_length=16)
    assert targets == [None] * len(item.rows)
    assert dict(notes) == {"answers fit no window: they can be neither learned nor found": 1}


def test_an_answer_inside_a_token_is_snapped_outward_and_counted():
    _, targets, notes = targets_of(question("in 1990s Rome", "1990", 3))
    assert targets == [(5, 5)]
    assert dict(notes) == {"answers do not fall on token borders and are snapped outward": 1}


def test_the_collated_targets_of_a_mixed_batch():
    tokenizer = WhitespaceTokenizer.train([])
    context = " ".join("abcdefghijklmnopqrstuvwxyz")
    examples = [question("Ann left", "Ann", 0), question(context, context[10:39], 10)]
    items, _ = encode(examples, tokenizer, QA, max_length=16)
    targets = collate(items, tokenizer, [QA]).targets["qa"].tolist()
    assert targets == [[4, 4]] + [[-100, -100]] * len(items[1].rows)
    assert collate(items[1:], tokenizer, [QA]).targets == {}


def test_the_qa_loss_is_over_the_context_and_cls_only():
    """Logits at question, special tokens and padding change nothing; those of the context do."""
    tokenizer = WhitespaceTokenizer.train([])
    examples = [question("Ann met Bob", "Bob", 8), question("Eve", "Eve", 0)]
    items, _ = encode(examples, tokenizer, QA)
    batch = collate(items, tokenizer, [QA])
    start, end = torch.randn(2, *batch.input_ids.shape).unbind(0)
    loss = QA.loss((start, end), batch.targets["qa"], batch)
    counted = batch.text_mask.clone()
    counted[:, 0] = True
    noise = torch.randn_like(start) * 10
    outside = (start + noise * ~counted, end + noise * ~counted)
    assert QA.loss(outside, batch.targets["qa"], batch).item() == pytest.approx(loss.item())
    for row, position in counted.nonzero().tolist():
        changed = start.clone()
        changed[row, position] += 1
        assert QA.loss((changed, end), batch.targets["qa"], batch) != loss


def test_the_qa_loss_is_the_mean_of_start_and_end():
    tokenizer = WhitespaceTokenizer.train([])
    items, _ = encode([question("Ann met Bob", "met Bob", 4)], tokenizer, QA)
    batch = collate(items, tokenizer, [QA])
    start, end = torch.randn(2, 1, 8).unbind(0)
    allowed = [0, 4, 5, 6]  # [CLS] who ? [SEP] Ann met Bob [SEP]
    by_hand = -(start[0, allowed].log_softmax(0)[2] + end[0, allowed].log_softmax(0)[3]) / 2
    loss = QA.loss((start, end), batch.targets["qa"], batch)
    assert loss.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_an_example_is_named_by_its_id_or_its_number(sentences, questions, tokenizer):
    for examples in (questions[:3], sentences[:3]):
        items, _ = encode(examples, tokenizer)
        ids = [repr(e.id) if hasattr(e, "id") else str(n) for n, e in enumerate(examples, 1)]
        assert [item.name for item in items] == ids


def test_windows_share_what_they_are_told_to(tokenizer):
    example = Query(" ".join(["word"] * 40))
    for overlap, starts in ((0, [0, 14, 26]), (4, [0, 10, 20, 26]), (99, [0, 7, 14, 21, 26])):
        (item,), _ = encode_examples([example], tokenizer, [], 16, overlap)
        assert [row.first_piece for row in item.rows] == starts


def test_a_question_that_is_too_long_is_named():
    answer = Answer("Oslo", 13)
    example = QAExample("q-17", "where " * 90, "Ann lives in Oslo.", (answer,))
    tokenizer = WhitespaceTokenizer.train([example.context])
    with pytest.raises(DataError, match="example 'q-17': the question has 90 tokens"):
        encode_examples([example], tokenizer, [], 64)


def test_every_question_that_is_too_long_is_named(tokenizer):
    long = " ".join(["where"] * 60)
    examples = [
        QAExample(name, question, "Ann lives in Rome.", (Answer("Rome", 13),))
        for name, question in (("q1", long), ("q2", "Where?"), ("q3", long))
    ]
    with pytest.raises(DataError) as caught:
        encode_examples(examples, tokenizer, [], 64)
    assert [fault.what[:12] for fault in caught.value.faults] == ["example 'q1'", "example 'q3'"]
