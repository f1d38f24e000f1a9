"""TokenTask: a part-of-speech task that is defined here alone, from its targets to its use."""

import json
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mtl
from mtl.cli.interactive import interact
from mtl.data.batching import collate
from mtl.data.encoded import encode_examples
from mtl.data.examples import TokenExample
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.data.words import first_parts, owners
from mtl.errors import ConfigError, DataError
from mtl.inference.evaluation import evaluate_baselines
from mtl.metrics import class_scores
from mtl.tasks import NERTask, TokenTask
from mtl.tasks.tagged import TokenPrediction


class PartOfSpeechTask(TokenTask):
    """All that a task needs whose examples keep their tags in `tags`."""

    kind = "tests_part_of_speech"


TAG = {"the": "DET", "a": "DET", "dog": "NOUN", "cat": "NOUN", "saw": "VERB", "fed": "VERB"}
TAG |= {"big": "ADJ", ".": "PUNCT"}


def sentence(i, tagged=True):
    """A sentence of 4 to 31 words; each word has one tag."""
    words = [list(TAG)[(i * 5 + k * (1 + i % 3)) % len(TAG)] for k in range(4 + (i * 9) % 28)]
    return TokenExample(words, [TAG[word] for word in words] if tagged else None)


DATA = mtl.Dataset(
    train=[sentence(i, tagged=i % 3 > 0) for i in range(24)],
    validation=[sentence(i) for i in range(24, 30)],
    test=[sentence(i) for i in range(30, 40)],
)


@pytest.fixture(scope="module")
def build(build_model):
    """Makes models that read at most 16 tokens at once."""
    tokenizer = WhitespaceTokenizer.train([*TAG, "Ann can n't go ' t don"])
    return lambda tasks: build_model(tasks, tokenizer=tokenizer, max_length=16, overlap=4)


@pytest.fixture(scope="module")
def model(build):
    """Trained on tagged and untagged sentences, many of them longer than the model."""
    task = PartOfSpeechTask("pos", DATA)
    model = build([task])
    config = mtl.TrainConfig(epochs=12, batch_size=4, learning_rate=2e-2)
    history = mtl.train(model, [task], config, progress=False)
    assert history.rounds[-1].examples == {"pos": 12 * 16}  # those that are tagged
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("pos") / "model"
    model.save_pretrained(path)
    return path


# --- it learns, is saved and loaded, and predicts -------------------------------------------------


def test_it_learns_and_is_scored_in_windows(model):
    rows = [item.rows for item in encode_examples(DATA.test, model.tokenizer, [], 16, 4)[0]]
    assert max(map(len, rows)) > 2
    assert mtl.evaluate(model, "pos", DATA.test) == {"accuracy": 1.0, "macro_f1": 1.0}


def test_saved_and_loaded_it_is_the_same(model, folder):
    loaded = mtl.MultiTaskModel.from_pretrained(folder)
    task = loaded.tasks["pos"]
    assert type(task) is PartOfSpeechTask
    assert task.tags == sorted(set(TAG.values()))
    texts = [example.text for example in DATA.test]
    assert mtl.predict(loaded, texts) == mtl.predict(model, texts)


def test_a_prediction_shows_every_word_with_its_tag(model):
    prediction = mtl.predict(model, "the big dog.")["pos"]
    assert prediction.tags == ["DET", "ADJ", "NOUN", "PUNCT"]
    found = prediction.to_dict()
    assert found["text"] == "the big dog."
    assert found["words"][2].pop("score") == prediction.scores[2]
    assert found["words"][2] == {"tag": "NOUN", "word": "dog", "start": 8, "end": 11}
    assert str(prediction).startswith("[the DET] [big ADJ] [dog NOUN][. PUNCT]\n  the  DET ")
    assert prediction._repr_html_().count("<mark") == 4


def test_on_stdin_and_in_the_menu(model, folder, mtl_, monkeypatch):
    expected = mtl.predict(model, "the big dog .", "pos")["pos"]
    status, out, _ = mtl_("predict", folder, "--text", "the big dog .", "--json")
    assert (status, json.loads(out)) == (0, expected.to_dict())
    seen, typed = [], iter(["1", "the big dog .", "q"])
    interact(model, lambda prompt: seen.append(prompt) or next(typed), seen.append)
    assert "tests_part_of_speech" not in seen[0]  # its name is enough
    assert "pos: one tag for each word" in seen[0]
    assert f"\npos: {expected}\n" in seen


def test_it_trains_beside_another_task(build, sentences):
    """Two kinds of tags on one encoder."""
    tasks = [PartOfSpeechTask("pos", DATA), NERTask("ner", mtl.Dataset(sentences[:8]))]
    model = build(tasks)
    mtl.train(model, tasks, mtl.TrainConfig(epochs=1, batch_size=4), progress=False)
    assert list(mtl.predict(model, "the dog")) == ["pos", "ner"]


# --- targets --------------------------------------------------------------------------------------


def targets_of(task, example, max_length=64):
    tokenizer = WhitespaceTokenizer.train([example.text])
    (item,), notes = encode_examples([example], tokenizer, [task], max_length, 2)
    return item, notes


def test_every_word_is_asked_for_once_and_nothing_else():
    example = sentence(3)
    task = PartOfSpeechTask("pos", DATA)
    item, notes = targets_of(task, example, max_length=12)
    assert len(item.rows) > 2
    asked = {}
    for row, target in zip(item.rows, item.targets["pos"], strict=True):
        pieces = range(row.first_piece, row.first_piece + row.n_pieces)
        assert target[: row.text_start] == [-100] * row.text_start
        assert target[row.text_start + row.n_pieces :] == [-100]
        for piece, tag in zip(pieces, target[row.text_start :], strict=False):
            assert asked.setdefault(piece, task.tags[tag]) == task.tags[tag]
    assert [asked[i] for i in range(len(asked))] == list(example.tags)
    assert not notes


def test_a_sentence_without_tags_asks_nothing():
    item, _ = targets_of(PartOfSpeechTask("pos", DATA), sentence(3, tagged=False), max_length=12)
    assert set(item.targets["pos"]) == {None}


CUT = TokenExample(["Ann", "ca", "n't", "go", "."], ["NOUN", "AUX", "PART", "VERB", "PUNCT"])


def test_words_of_a_file_that_plain_text_has_not():
    """`Ann ca n't go .` has the words Ann, ca, n, ', t, go and the full stop."""
    task = PartOfSpeechTask("pos", tags=sorted(CUT.tags))
    item, notes = targets_of(task, CUT)
    asked = [task.tags[tag] for tag in item.targets["pos"][0] if tag != -100]
    assert asked == ["NOUN", "AUX", "PART", "PART", "PART", "VERB", "PUNCT"]
    assert not notes


@dataclass(frozen=True)
class Written:
    """Words in a text as it was written."""

    text: str
    tokens: tuple[str, ...]
    word_places: list
    tags: tuple[str, ...]

    @property
    def inputs(self):
        return [(self.text, None)]


DONT = Written("don't go", ("do", "n't", "go"), [(0, 2), (2, 5), (6, 8)], ("AUX", "PART", "VERB"))
ONE = Written("12km", ("12", "km"), [(0, 2), (2, 4)], ("NUM", "NOUN"))


def test_a_word_that_belongs_to_two_has_the_tag_of_the_first():
    task = PartOfSpeechTask("pos", tags=["AUX", "NOUN", "NUM", "PART", "VERB"])
    item, notes = targets_of(task, DONT)  # don, ', t and go
    asked = [task.tags[tag] for tag in item.targets["pos"][0] if tag != -100]
    assert asked == ["AUX", "PART", "PART", "VERB"]
    assert not notes
    item, notes = targets_of(task, ONE)
    assert [task.tags[tag] for tag in item.targets["pos"][0] if tag != -100] == ["NUM"]
    assert notes == {"words share a word of plain text and are left out of training": 1}


@pytest.mark.parametrize("example", [CUT, DONT])
def test_who_says_what_it_learned_is_right_on_given_words(example):
    task = PartOfSpeechTask("pos", tags=["AUX", "NOUN", "NUM", "PART", "PUNCT", "VERB"])
    item, _ = targets_of(task, example)
    batch = collate([item], WhitespaceTokenizer.train([example.text]), [task])
    logits = torch.nn.functional.one_hot(batch.targets["pos"].clamp(min=0), len(task.tags)) * 9.0
    (prediction,) = task.decode(logits, batch)
    assert tuple(prediction.tags) == example.tags
    assert prediction.words == example.word_places
    assert len(prediction.plain.tags) > len(prediction.tags)
    scores = task.score([example], [prediction])
    assert scores["accuracy"] == 1.0
    assert scores["accuracy_plain_text"] < 1  # its words are others: this is never hidden
    (remark,) = task.remarks(scores)
    assert "accuracy is 1.000 on the words of the file" in remark


def test_what_holds_words_together_is_learned_and_saved(build, tmp_path):
    data = mtl.Dataset([TokenExample(["Ann-Lee", "go"], ["NOUN", "VERB"])] * 2)
    model = build([PartOfSpeechTask("pos", data)])
    model.save_pretrained(tmp_path)
    loaded = mtl.MultiTaskModel.from_pretrained(tmp_path)
    assert mtl.predict(loaded, "Bo-Lee go")["pos"].words == [(0, 6), (7, 9)]


def places(widths):
    """Words of these widths, one after the other, each behind so many blanks."""
    found, end = [], 0
    for blanks, width in widths:
        found.append((end + blanks, end + blanks + width))
        end = found[-1][1]
    return found


PLACES = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=8).map(
    places
)


@given(PLACES, PLACES)
def test_owners_and_first_parts_as_by_hand(words, given_words):
    def touch(a, b):
        return a[0] < b[1] and b[0] < a[1]

    by_hand = [
        next((j for j, other in enumerate(given_words) if touch(word, other)), None)
        for word in words
    ]
    assert owners(words, given_words) == by_hand
    for j, part in enumerate(first_parts(words, given_words)):
        own = [i for i, owner in enumerate(by_hand) if owner == j]
        there = [i for i, word in enumerate(words) if word[1] > given_words[j][0]]
        assert part == (own or there or [len(words) - 1])[0]


def test_a_word_that_nobody_has_tagged_learns_nothing():
    """A file may tag some words of a text and not others."""
    example = Written("Ann ( go", ("Ann", "go"), [(0, 3), (6, 8)], ("NOUN", "VERB"))
    task = PartOfSpeechTask("pos", tags=["NOUN", "VERB"])
    item, notes = targets_of(task, example)
    assert item.targets["pos"] == [[-100, 0, -100, 1, -100]]
    assert not notes


# --- scores and files -----------------------------------------------------------------------------

TWO = [
    TokenExample(["the", "big dog", "saw"], ["DET", "NOUN", "VERB"]),
    TokenExample(["a", "saw"], ["DET", "NOUN"]),
]
SAID = [["DET", "ADJ", "VERB"], ["DET", "VERB"]]


@pytest.fixture
def task():
    return PartOfSpeechTask("pos", tags=["ADJ", "DET", "NOUN", "VERB"])


@pytest.fixture
def said():
    return [
        TokenPrediction(e.text, e.word_places, tags, [1.0] * len(tags))
        for e, tags in zip(TWO, SAID, strict=True)
    ]


def test_scores_by_hand(task, said):
    # F1: ADJ 0, DET 1, NOUN 0, VERB 2 / 3
    assert task.score(TWO, said) == pytest.approx({"accuracy": 3 / 5, "macro_f1": 5 / 12})
    assert task.confusion(TWO, said) == (
        task.tags,
        [[0, 0, 0, 0], [0, 2, 0, 0], [1, 0, 0, 1], [0, 0, 0, 1]],
    )
    scores = class_scores(
        ["DET", "NOUN", "VERB", "DET", "NOUN"], [t for tags in SAID for t in tags]
    )
    verb = task.report(TWO, said).splitlines()[-1].split()
    assert verb == ["VERB", "0", "0", "0", "1", *(f"{x:.3f}" for x in scores["VERB"].values())]


def test_mistakes_and_the_file(task, said):
    assert [(m.kind, m.where, m.expected, m.predicted) for m in task.mistakes(TWO, said)] == [
        ("wrong tag", "sentence 1", "big dog (NOUN)", "big dog (ADJ)"),
        ("wrong tag", "sentence 2", "saw (NOUN)", "saw (VERB)"),
    ]
    ending, content = task.prediction_file(TWO, said)
    assert ending == "txt"
    assert content == ("the DET DET\nbig_dog NOUN ADJ\nsaw VERB VERB\n\na DET DET\nsaw NOUN VERB\n")


def test_the_majority_tag_is_a_baseline(model):
    tags = [tag for example in DATA.test for tag in example.tags]
    most = max(map(tags.count, tags)) / len(tags)
    scores = evaluate_baselines(model, "pos", DATA.test)
    assert scores["majority_tag"]["accuracy"] == pytest.approx(most)


def test_tags_that_it_never_learned(model):
    strange = TokenExample(["the", "dog"], ["DET", "X"])
    with pytest.raises(DataError, match=r"(?s)'pos' does not know these tags.*'X'.*'ADJ', 'DET'"):
        mtl.evaluate(model, "pos", [strange])


# --- variants -------------------------------------------------------------------------------------


class OfField(TokenTask):
    """Tags that are kept elsewhere, and an option of its own."""

    kind = "tags_of_a_field"
    example = mtl.TextExample

    def __init__(self, name, dataset=None, tags=None, field="pos"):
        self.field = field
        super().__init__(name, dataset, tags)

    def tags_of(self, example):
        tags = example.fields.get(self.field)
        return tags and tags.split()

    def settings(self):
        return super().settings() | {"field": self.field}


def test_tags_of_another_place_and_an_option_that_is_saved(build, tmp_path):
    example = mtl.TextExample("the dog", ("the", "dog"), fields={"xpos": "DT NN"})
    task = OfField("pos", mtl.Dataset([example]), field="xpos")
    assert task.tags == ["DT", "NN"]
    build([task]).save_pretrained(tmp_path)
    loaded = mtl.MultiTaskModel.from_pretrained(tmp_path).tasks["pos"]
    assert (loaded.field, loaded.tags) == ("xpos", ["DT", "NN"])
    wrong = mtl.TextExample("the dog", ("the", "dog"), fields={"xpos": "DT"})
    with pytest.raises(DataError, match="2 tokens but 1 tags"):
        targets_of(task, wrong)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({}, ConfigError, "at least two tags"),
        ({"tags": ["A"]}, ConfigError, "at least two tags"),
        ({"tags": ["A", "B", "A"]}, ConfigError, "a tag twice"),
        ({"tags": "AB"}, ConfigError, "tags of the task 'pos' must be a list of names"),
        ({"tags": ["A", "B"], "dataset": DATA}, ConfigError, "lacks tags that its data has"),
        ({"dataset": mtl.Dataset([sentence(1, False)])}, DataError, "no example has a tag"),
    ],
)
def test_tasks_that_cannot_be(settings, error, words):
    with pytest.raises(error) as caught:
        PartOfSpeechTask("pos", **settings)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("tokens", "tags", "words"),
    [
        ([], [], "at least one token"),
        (["a"], ["X", "Y"], "1 tokens but 2 tags"),
        (["a"], [" "], "a tag is empty"),
    ],
)
def test_examples_that_cannot_be(tokens, tags, words):
    with pytest.raises(DataError, match=words):
        TokenExample(tokens, tags)


def test_a_sentence_for_entities_needs_its_tags():
    with pytest.raises(DataError, match="1 tokens but 0 tags"):
        mtl.NERExample(["Ann"], None)
