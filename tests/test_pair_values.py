"""Pairs of sentences: how they are read, what a score or label means, and how they are held out."""

import json
import math
import warnings

import pytest
import reading
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from reading import lines, notes_of, only_fault_of

from mtl.data.batching import collate
from mtl.data.dataset import Dataset, hold_out
from mtl.data.encoded import encode_examples
from mtl.data.examples import PairExample, TextExample
from mtl.data.readers import read_pairs
from mtl.data.readers.pairs import PairRow, pairs_from
from mtl.data.readers.source import Report
from mtl.data.validity import is_real
from mtl.errors import DataError, DataWarning
from mtl.inference import evaluate, evaluate_baselines
from mtl.tasks.embedding import EmbeddingTask, Similarity, WordCounts
from mtl.training.loop import TrainConfig, train

# pytest looks for a fixture by its name in this module.
file = reading.file


@pytest.fixture
def read(tmp_path):
    def read(*records, **options):
        path = tmp_path / "x.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DataWarning)
            pairs = read_pairs(path, **options)
        return pairs, [str(warning.message).removeprefix(f"{path}: ") for warning in caught]

    return read


def pairs_with(values, field="label"):
    return [{"sentence1": f"a{i}", "sentence2": "b", field: v} for i, v in enumerate(values)]


@pytest.mark.parametrize(
    ("field", "values", "scores", "note"),
    [
        ("score", [0.5, -1, 1], [0.5, -1, 1], None),
        ("label", [0.9, 0.1], [0.9, 0.1], None),
        ("label", [1.0, 0.0], [1.0, 0.0], None),
        ("label", [5.0, 0.0, 2.5], [1, 0, 0.5], '"label" goes from 0 to 5: divided by 5'),
        ("score", [5, 0, 4], [1, 0, 0.8], '"score" goes from 0 to 5: divided by 5'),
        ("score", ["4", "1.5"], [0.8, 0.3], '"score" goes from 0 to 5: divided by 5'),
        ("similarity", [8, 10, 3], [0.8, 1, 0.3], "divided by 10"),
        ("similarity_score", [80, 100, 30], [0.8, 1, 0.3], "divided by 100"),
        (
            "label",
            [1, 0],
            [1, 0],
            '"label" is 0 or 1: a class, and also the score 0 (not the same) or 1',
        ),
        ("is_duplicate", ["1", "0"], [1, 0], '"is_duplicate" is 0 or 1'),
        ("is_duplicate", [True, False], [1, 0], '"is_duplicate" is true or false'),
        ("label", ["yes", "No"], [1, 0], '"label" is true or false'),
    ],
)
def test_the_values_of_a_file_become_scores(field, values, scores, note, read):
    pairs, notes = read(*pairs_with(values, field))
    assert [pair.score for pair in pairs] == pytest.approx(scores)
    if field != "is_duplicate" and "yes" not in values:
        assert [pair.raw_score for pair in pairs] == [float(value) for value in values]
    assert len(notes) == (note is not None)
    assert note is None or note in notes[0]


def test_a_score_on_another_scale_than_all_others_is_a_fault(read):
    with pytest.raises(DataError, match="must lie between -1 and 1") as caught:
        read(*pairs_with([0.5, 0.25, 3, 0.75], "score"))
    assert [fault.line for fault in caught.value.faults] == [3]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["neutral", "entailment", "neutral"], ["neutral", "entailment", "neutral"]),
        ([0, 1, 2], ["0", "1", "2"]),
        (["0", "2"], ["0", "2"]),
        ([1, 2, 3, 4, 5], ["1", "2", "3", "4", "5"]),
    ],
)
def test_classes_are_labels_and_not_scores(values, labels, read):
    pairs, notes = read(*pairs_with(values))
    assert [(pair.label, pair.score, pair.raw_score) for pair in pairs] == [
        (label, None, None) for label in labels
    ]
    assert notes == []


@pytest.mark.parametrize("values", [[1, 0], ["1", "0"], [True, False], ["Yes", "no"]])
def test_the_same_or_not_is_a_score_and_a_class(values, read):
    pairs, _ = read(*pairs_with(values, "is_duplicate"))
    words = {True: "true", False: "false"} if values[0] is True else {}
    assert [(pair.score, pair.label) for pair in pairs] == [
        (score, words.get(value, str(value))) for score, value in zip((1, 0), values, strict=True)
    ]


def test_classes_that_are_numbers_get_names(read):
    names = ["entailment", "neutral", "contradiction"]
    pairs, notes = read(*pairs_with([0, 2, -1, 1]), label_names=names)
    assert [pair.label for pair in pairs] == ["entailment", "contradiction", "neutral"]
    assert notes == ['pairs whose "label" is -1 (not labelled), left out: 1']
    pairs, _ = read(*pairs_with([0, 1]), label_names=["another", "the same"])
    assert [(pair.label, pair.score) for pair in pairs] == [("another", 0), ("the same", 1)]
    with pytest.raises(DataError, match="the class is a number without a name") as caught:
        read(*pairs_with([0, 3, 1, 2]), label_names=names)
    (fault,) = caught.value.faults
    assert (fault.line, fault.found) == (2, "3, and 3 names")


def test_pairs_on_which_annotators_do_not_agree_are_left_out(read):
    pairs, notes = read(*pairs_with(["neutral", "-", "entailment", "-"], "gold_label"))
    assert [pair.label for pair in pairs] == ["neutral", "entailment"]
    assert notes == ['pairs whose "gold_label" is - (not labelled), left out: 2']
    with pytest.raises(DataError, match="holds no pair"):  # a hidden test set
        read(*pairs_with([-1, -1]))


def test_a_score_and_a_class_are_both_read(read):
    """As in SICK."""
    pair = {"sentence_A": "a", "sentence_B": "b"}
    pairs, notes = read(
        pair | {"relatedness_score": 4.5, "entailment_judgment": "NEUTRAL"},
        pair | {"relatedness_score": 2, "entailment_judgment": "-"},
        pair | {"entailment_judgment": "ENTAILMENT"},
    )
    assert [(p.raw_score, p.score, p.label) for p in pairs] == [
        (4.5, 0.9, "NEUTRAL"),
        (2, 0.4, None),
        (None, None, "ENTAILMENT"),
    ]
    assert notes == ['"relatedness_score" goes from 0 to 5: divided by 5 where vectors are learned']


def test_a_score_has_the_name_that_is_given(read):
    pairs, _ = read(*pairs_with([1, 4, 5], "label"), scores=["label"])
    assert [(pair.raw_score, pair.score, pair.label) for pair in pairs] == [
        (1, 0.2, None),
        (4, 0.8, None),
        (5, 1, None),
    ]


@pytest.mark.parametrize("value", [0.5, [1], {"a": 1}])
def test_a_label_that_is_no_class_is_a_fault(value, read):
    with pytest.raises(DataError, match="the label of a pair is not a class") as caught:
        read(*pairs_with(["neutral", "entailment", value]))
    assert [fault.line for fault in caught.value.faults] == [3]


def test_a_label_of_minus_one_says_nothing(read):
    pairs, notes = read(*pairs_with([1, -1, 0]))
    assert [pair.score for pair in pairs] == [1, 0]
    assert notes[-1] == 'pairs whose "label" is -1 (not labelled), left out: 1'


@pytest.mark.parametrize(
    "names",
    [
        *(("premise", "hypothesis"), ("text1", "text2"), ("question1", "question2")),
        *(("sentence_A", "sentence_B"), ("query", "positive"), ("question", "sentence")),
    ],
)
def test_sentences_under_other_names(names, read):
    assert read(dict(zip(names, ("a", "b"), strict=True))) == ([PairExample("a", "b")], [])


@pytest.mark.parametrize(
    "record",
    [
        {"anchor": "a", "positive": "b", "negative": "c"},
        ["a", "b", "c"],
        {"query": "a", "pos": ["b"], "neg": ["c"]},
    ],
)
def test_the_negative_of_a_triplet_is_read(record, read):
    pairs, notes = read(record, record)
    assert (pairs, notes) == ([PairExample("a", "b", negative="c")] * 2, [])


def test_lists_of_positives_give_a_pair_each_and_further_negatives_are_counted(read):
    pairs, (note,) = read({"query": "q", "pos": ["a", "b"], "neg": ["x", "y", "z"]})
    assert pairs == [PairExample("q", "a", None, "x"), PairExample("q", "b", None, "y")]
    assert note == "negatives beyond one per pair, which are not read: 1"


def test_rows_of_a_table_are_read_alike():
    report = Report("x.tsv", "stop")
    rows = [PairRow(2, "", "a", "b", "3.0"), PairRow(3, "", "c", "d", "5.0")]
    pairs = list(pairs_from(rows, report, "score"))
    assert [pair.score for pair in pairs] == [0.6, 1]
    assert report.notes == ['"score" goes from 0 to 5: divided by 5 where vectors are learned']
    assert list(pairs_from([PairRow(2, "", "a", "b")], report)) == [PairExample("a", "b")]


# --- held out -------------------------------------------------------------------------------------

few = st.integers(0, 60).map(str)


@given(st.lists(st.builds(PairExample, few, few), min_size=1, max_size=60), st.integers(0, 5))
def test_no_sentence_of_a_pair_stands_in_two_parts(pairs, seed):
    try:
        parts = hold_out(pairs, seed)
    except DataError:
        return
    assert sorted(repr(pair) for part in parts for pair in part) == sorted(map(repr, pairs))
    sides = [{text for pair in part for text in (pair.first, pair.second)} for part in parts]
    assert all(sides[i].isdisjoint(sides[j]) for i, j in ((0, 1), (0, 2), (1, 2)))
    assert all(parts[1:])
    assert {frozenset(map(repr, part)) for part in hold_out(pairs[::-1], seed)} == {
        frozenset(map(repr, part)) for part in parts
    }


def test_pairs_that_hang_together_stay_in_training():
    chain = [PairExample(f"a{i}", f"a{i + 1}") for i in range(30)]
    others = [PairExample(f"b{i}", f"c{i}") for i in range(60)]
    rest, *held_out = hold_out(chain + others, 1)
    assert set(chain) <= set(rest)
    assert [len(part) for part in held_out] == [6, 6]
    with pytest.raises(DataError, match="too few different texts"):
        hold_out(chain, 1)


# --- negatives in the loss ------------------------------------------------------------------------

LONG = " ".join(["word"] * 50 + [","] * 50 + ["NATO"] * 50) + " ."


@pytest.fixture(scope="module")
def model(build_model):
    return build_model([EmbeddingTask("vector", width=6)], embedding_std=1.0).eval()


def batch_of(examples, model):
    tasks = [model.tasks["vector"]]
    items, _ = encode_examples(examples, model.tokenizer, tasks, model.encoder.config.max_length)
    return collate(items, model.tokenizer, tasks)


def test_negatives_are_wrong_answers_to_every_first_sentence(model):
    task = EmbeddingTask("vector", temperature=0.1)
    pairs = [
        PairExample("a", "b", negative="x"),
        PairExample("c", "d"),
        PairExample("e", "f", None, "y"),
    ]
    batch = batch_of(pairs, model)
    assert batch.targets["vector"].tolist() == [0, 1, 2, 0, 1, 0, 1, 2]
    outputs = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    unit = F.normalize(outputs)
    first, second, negative = unit[[0, 3, 5]], unit[[1, 4, 6]], unit[[2, 7]]
    forth = first @ torch.cat([second, negative]).T / 0.1
    back = second @ first.T / 0.1
    right = torch.arange(3)
    expected = (F.cross_entropy(forth, right) + F.cross_entropy(back, right)) / 2
    torch.testing.assert_close(task.loss(outputs, batch.targets["vector"], batch), expected)


@pytest.mark.parametrize("negative", ["a", "b"])
def test_a_negative_that_is_a_sentence_of_the_pair_is_none(negative, model):
    pairs = [PairExample("a", "b"), PairExample("c", "d", negative=negative)]
    batch = batch_of(pairs, model)
    outputs = torch.eye(5)[[0, 0, 1, 1, 0]]  # the negative lies at "a" and "b"
    loss = EmbeddingTask("vector", temperature=1.0).loss(outputs, batch.targets["vector"], batch)
    # Of the pair (a, b) only d is wrong; of (c, d) also the negative. Their cosines are 0.
    one, two = math.log(1 + math.exp(-1)), math.log(1 + 2 * math.exp(-1))
    assert loss.item() == pytest.approx((one + one + two + one) / 4)


def test_windows_and_texts_between_pairs_do_not_confuse_the_three(model):
    pairs = [PairExample("Ann", LONG, negative="Bob"), PairExample("Oslo", "Rome", negative=LONG)]
    mixed = [TextExample("x"), pairs[0], TextExample(LONG), pairs[1]]
    alone, among = batch_of(pairs, model), batch_of(mixed, model)
    examples = [among.items[i].example for i in among.rows]
    of_pairs = torch.tensor([isinstance(example, PairExample) for example in examples])
    task = model.tasks["vector"]
    outputs = torch.randn(len(among.rows), 3, generator=torch.Generator().manual_seed(0))
    loss = task.loss(outputs, among.targets["vector"], among)
    torch.testing.assert_close(loss, task.loss(outputs[of_pairs], alone.targets["vector"], alone))
    assert loss.isfinite()


def test_negatives_do_not_change_predictions_scores_or_baselines(model):
    with_negatives = [PairExample("Ann", LONG, negative="Bob ."), PairExample("Rome", "Oslo", 0.3)]
    without = [PairExample("Ann", LONG), PairExample("Rome", "Oslo", 0.3)]
    assert evaluate(model, "vector", with_negatives) == pytest.approx(
        evaluate(model, "vector", without), abs=1e-6
    )
    for name, scores in evaluate_baselines(model, "vector", without).items():
        assert evaluate_baselines(model, "vector", with_negatives)[name] == pytest.approx(scores)


def test_training_pushes_a_negative_away(build_model, tokenizer):
    """Pairs of one batch each: only the negative can be a wrong answer."""
    words = [word for word in tokenizer.counts if word.isalpha()][:4]
    pairs = [PairExample(f"{w} .", f"{w} ,", negative=f"{w} ?") for w in words]
    task = EmbeddingTask("vector", Dataset(train=pairs), temperature=0.5)
    model = build_model([task])
    config = TrainConfig(epochs=20, batch_size=1, learning_rate=1e-2, hide_words=0.0)
    history = train(model, [task], config, progress=False)
    assert history.rounds[-1].losses["vector"] < history.rounds[0].losses["vector"] / 2


# --- word counts ----------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.text("ab ", min_size=1), st.text("abc ", min_size=1)), min_size=1, max_size=9
    )
)
def test_sparse_word_counts_score_as_dense_ones(texts):
    pairs = [PairExample(f"a {a}", f"b {b}") for a, b in texts]
    task = EmbeddingTask("vector")
    sparse = task.baselines(pairs)["bag_of_words"]
    assert all(isinstance(p.first, WordCounts) for p in sparse)
    width = 1 + max(place for p in sparse for v in (p.first, p.second) for place in v.counts)
    rows = [
        [[v.counts.get(i, 0.0) for i in range(width)] for v in (p.first, p.second)] for p in sparse
    ]
    first, second = torch.tensor(rows, dtype=torch.float64).unbind(1)
    points = []
    for i, cosines in enumerate(first @ second.T):
        closest = [j for j, cosine in enumerate(cosines) if cosine >= cosines.max() - 1e-6]
        points.append(sum(pairs[j].second == pairs[i].second for j in closest) / len(closest))
    assert task.score(pairs, sparse)["accuracy_at_1"] == pytest.approx(sum(points) / len(points))
    for p, own in zip(sparse, (first * second).sum(1), strict=True):
        assert isinstance(p, Similarity)
        assert p.score == pytest.approx(own.item())


# --- pairs of sentences ---------------------------------------------------------------------------


@pytest.mark.parametrize("as_array", [False, True])
def test_pairs_with_and_without_a_score(as_array, file):
    records = [
        {"sentence1": "A dog.", "sentence2": "A hound.", "score": 0.75},
        {"anchor": "Rain", "positive": "Wet", "similarity": -1},
        {"sentence1": "Sun", "sentence2": "Light", "score": None},
        {"sentence2": "zwei", "sentence1": "eins"},
    ]
    path = file(json.dumps(records) if as_array else lines(*records))
    assert read_pairs(path) == [
        PairExample("A dog.", "A hound.", 0.75),
        PairExample("Rain", "Wet", -1),
        PairExample("Sun", "Light"),
        PairExample("eins", "zwei"),
    ]


@pytest.mark.parametrize(
    ("change", "what", "found"),
    [
        ({"score": "0.5"}, "the score of a pair is not a number", "'0.5'"),
        ({"score": "high"}, "the score of a pair is not a number", "'high'"),
        ({"score": True}, "the score of a pair is not a number", "True"),
        ({"score": [0.5]}, "the score of a pair is not a number", "[0.5]"),
        ({"score": float("nan")}, "the score of a pair", "nan"),
        ({"score": float("inf")}, "the score of a pair is not a number", "inf"),
        ({"score": 1.0001}, "the score of a pair must lie between -1 and 1", "1.0001"),
        ({"score": -2}, "the score of a pair must lie between -1 and 1", "-2"),
        ({"sentence1": ""}, 'there is no text "sentence1"', "''"),
        ({"sentence2": " \t"}, 'there is no text "sentence2"', "' \\t'"),
        ({"sentence2": None}, 'there is no text "sentence2"', "null, or no such field"),
        ({"sentence2": 7}, 'there is no text "sentence2"', "7"),
        ({"sentence1": "\ud800"}, "the text holds half a character", r"'\ud800'"),
        ({"sentence2": "\udfff"}, "the text holds half a character", r"'\udfff'"),
    ],
)
def test_a_bad_pair_is_named_by_its_line(change, what, found, file):
    good = {"sentence1": "a", "sentence2": "b", "score": 0.5}
    path = file(lines(good, good | change, good))
    fault = only_fault_of(read_pairs, path)
    assert fault.line == 2
    assert fault.what.startswith(what)
    assert found in fault.found
    examples, notes = notes_of(read_pairs, path, on_error="skip")
    assert examples == [PairExample("a", "b", 0.5)] * 2
    assert notes[0].startswith("bad records left out: 1")


def test_records_are_no_pairs(file):
    fault = only_fault_of(read_pairs, file(lines({"sentence": "a", "label": "x"})))
    assert fault.what == 'there is no text "sentence1"'
    assert '{"sentence1": "...", "sentence2": "...", "score": 0.8}' in fault.fix


def test_fields_of_pairs_that_nobody_reads_are_counted(file):
    path = file(lines({"sentence1": "a", "sentence2": "b", "label": 1, "idx": 4}))
    examples, notes = notes_of(read_pairs, path)
    assert examples == [PairExample("a", "b", 1, label="1")]
    assert notes == [
        '"label" is 0 or 1: a class, and also the score 0 (not the same) or 1',
        "fields that are not read, and in how many records: 'idx' (1)",
    ]


def test_a_whole_number_larger_than_any_float_is_no_score():
    assert not is_real(10**400)
    assert not is_real(math.inf)
    assert not is_real(True)
    assert is_real(10**300)
