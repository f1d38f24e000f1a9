"""The task `tokens`: one tag for each word, from its scores and baselines to the command line."""

import json
import warnings
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mtl
from mtl.cli.interactive import interact
from mtl.data.examples import NERExample, TokenExample
from mtl.data.readers import write_conllu, write_examples
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import ConfigError, DataError, DataWarning
from mtl.inference import evaluate_baselines
from mtl.tasks.tagged import TokenPrediction
from mtl.toy import part_of_speech

PLURAL = {"dogs": "NOUN", "we": "PRON"}
WORDS = ["dogs", "we", "book", "plan", "light", "the"]


def sentence(i):
    """`book` and its like are a verb after the subject, and a noun after `the`."""
    subject = list(PLURAL)[i % 2]
    verb, noun = WORDS[2 + i % 3], WORDS[2 + i // 3 % 3]
    return TokenExample([subject, verb, "the", noun], [PLURAL[subject], "VERB", "DET", "NOUN"])


DATA = mtl.Dataset(
    train=[*map(sentence, range(18)), TokenExample(["we", "book"])],
    validation=[sentence(1)],
    test=[
        sentence(2),
        TokenExample(["cats", "plan", "the", "trip"], ["NOUN", "VERB", "DET", "NOUN"]),
    ],
)


@pytest.fixture(scope="module")
def model(build_model):
    tokenizer = WhitespaceTokenizer.train([" ".join(WORDS)])
    shape = {"max_length": 16, "overlap": 4, "positions": "rotary"}
    model = build_model([mtl.TaggingTask("pos", DATA)], tokenizer=tokenizer, **shape)
    config = mtl.TrainConfig(epochs=40, batch_size=4, learning_rate=2e-2, hide_words=0.0)
    mtl.train(model, config=config, progress=False)
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("pos") / "model"
    model.save_pretrained(path)
    return path


def said(example, tags):
    return TokenPrediction(example.text, example.word_places, tags, [1.0] * len(tags))


# --- scores and baselines -------------------------------------------------------------------------


def test_scores_by_hand():
    task = mtl.TaggingTask("pos", DATA)
    predictions = [
        said(DATA.test[0], ["NOUN", "VERB", "DET", "VERB"]),
        said(DATA.test[1], ["NOUN", "VERB", "DET", "DET"]),  # cats and trip are unknown
    ]
    scores = task.score(DATA.test, predictions)
    assert scores["accuracy"] == 6 / 8
    # NOUN 2 of 4 right, never wrong: 2/3; VERB 2 right, said 3 times: 4/5; DET the same.
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 4 / 5 + 4 / 5) / 3)
    assert scores["accuracy_unknown_words"] == 1 / 2


def test_unknown_words_need_training_examples_and_unknown_words():
    task = mtl.TaggingTask("pos", DATA)
    assert "accuracy_unknown_words" not in task.score(
        DATA.test[:1], [said(DATA.test[0], ["DET"] * 4)]
    )
    loaded = mtl.TaggingTask("pos", tags=task.tags)
    scores = loaded.score(DATA.test, [said(example, ["DET"] * 4) for example in DATA.test])
    assert scores.keys() == {"accuracy", "macro_f1"}
    assert loaded.baselines(DATA.test).keys() == {"majority_tag"}


def test_a_word_of_an_untagged_sentence_is_unknown():
    train = [sentence(0), sentence(1), TokenExample(["cats", "run"])]
    task = mtl.TaggingTask("pos", mtl.Dataset(train))
    cats = TokenExample(["cats"], ["NOUN"])
    assert task.score([cats], [said(cats, ["NOUN"])])["accuracy_unknown_words"] == 1


def test_baselines_by_hand():
    train = [
        TokenExample(["we", "book", "a", "book"], ["PRON", "VERB", "DET", "NOUN"]),
        TokenExample(["a", "book", "we", "like"], ["DET", "NOUN", "PRON", "VERB"]),
        TokenExample(["a", "a"], ["DET", "X"]),
    ]
    test = [TokenExample(["we", "book", "it"], ["PRON", "VERB", "VERB"])]
    found = mtl.TaggingTask("pos", mtl.Dataset(train)).baselines(test)
    assert found["majority_tag"][0].tags == ["VERB"] * 3  # of these examples
    # book is a noun twice; DET is the most frequent tag of all.
    assert found["tag_of_word"][0].tags == ["PRON", "NOUN", "DET"]


@given(st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("XYZ")), min_size=1)))
def test_on_training_itself_no_method_that_looks_at_words_alone_is_better(pairs):
    train = [TokenExample(*zip(*sentence, strict=True)) for sentence in pairs]
    task = mtl.TaggingTask("pos", mtl.Dataset(train), tags=["X", "Y", "Z"])
    if not train:
        return
    counts = Counter(pair for sentence in pairs for pair in sentence)
    best = sum(max(counts[word, tag] for tag in "XYZ") for word in "abc") / counts.total()
    predictions = task.baselines(train)["tag_of_word"]
    assert task.score(train, predictions)["accuracy"] == pytest.approx(best)


# --- it learns, and is used -----------------------------------------------------------------------


def test_it_beats_both_baselines_by_the_neighbours(model):
    task = model.tasks["pos"]
    baselines = evaluate_baselines(model, "pos", DATA.train)
    assert baselines["tag_of_word"]["accuracy"] < 0.9
    assert mtl.evaluate(model, "pos", DATA.train)["accuracy"] == 1
    prediction = model.predict("we book the book")["pos"]
    assert prediction.tags == ["PRON", "VERB", "DET", "NOUN"]
    assert task.report([sentence(1)], [prediction]).startswith("right \\ predicted")
    assert task.confusion([sentence(1)], [prediction])[0] == ["DET", "NOUN", "PRON", "VERB"]


def test_a_text_of_several_windows_and_words_of_ones_own(model):
    long = model.predict("we book the book " * 12)["pos"]  # windows: see test_token_tasks.py
    assert [long.text[start:end] for start, end in long.words] == ["we", "book", "the", "book"] * 12
    assert len(model.predict([["we-all", "book", "the", "plan"]])[0]["pos"].tags) == 4


def test_mistakes_and_the_file_of_predictions():
    task = mtl.TaggingTask("pos", DATA)
    example = DATA.test[1]
    prediction = said(example, ["NOUN", "NOUN", "DET", "NOUN"])
    (mistake,) = task.mistakes([example], [prediction])
    assert (mistake.kind, mistake.expected, mistake.predicted) == (
        "wrong tag",
        "plan (VERB)",
        "plan (NOUN)",
    )
    ending, content = task.prediction_file([example], [prediction])
    assert (ending, content.splitlines()[1]) == ("txt", "plan VERB NOUN")


def test_on_the_command_line(model, folder, mtl_, tmp_path):
    status, out, _ = mtl_("predict", folder, "--text", "we book the book", "--json")
    assert status == 0
    assert [word["tag"] for word in json.loads(out)["words"]] == ["PRON", "VERB", "DET", "NOUN"]
    write_conllu(DATA.test, tmp_path / "test.conllu")
    status, out, err = mtl_("check", tmp_path / "test.conllu")
    assert (status, "NOUN 4" in out) == (0, True)
    status, out, err = mtl_(
        "evaluate", folder, "--task", "tokens", "--data", tmp_path / "test.conllu"
    )
    assert status == 0, err
    assert "majority tag" in out
    seen, typed = [], iter(["1", "we book the book", "q"])
    interact(model, lambda prompt: seen.append(prompt) or next(typed), seen.append)
    assert "pos: one tag for each word" in seen[0]


def test_joint_with_entities_of_the_same_text(build_model):
    toy = mtl.toy_dataset("pos", 24, 6, 6)
    tasks = [mtl.TaggingTask("pos", toy), mtl.NERTask("ner", toy, field="ner")]
    model = build_model(tasks, tokenizer=WhitespaceTokenizer.train(toy.training_texts()))
    history = mtl.train(model, config=mtl.TrainConfig(epochs=1, batch_size=8), progress=False)
    assert history.rounds[0].examples == {"pos": 8, "ner": 8}
    assert model.evaluate().keys() == {"pos", "ner"}


# --- data that does not fit -----------------------------------------------------------------------


def test_tags_of_entities_are_learned_with_a_warning():
    sentences = [NERExample(["Ann", "left"], ["B-PER", "O"])]
    with pytest.warns(DataWarning, match=r'tags are those of entities \(B-PER, O\).*kind = "ner"'):
        mtl.TaggingTask("pos", mtl.Dataset(sentences))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mtl.TaggingTask("pos", tags=["B-PER", "O"])  # as a model that is loaded


def test_examples_of_another_kind_are_refused(model):
    with pytest.raises(DataError, match="no labelled examples to evaluate 'pos' on"):
        model.evaluate("pos", [mtl.TextExample("a")])


def test_an_unknown_tag_is_named(model):
    with pytest.raises(DataError, match="does not know these tags"):
        model.evaluate("pos", [TokenExample(["we"], ["NUM"])])


# --- files ----------------------------------------------------------------------------------------


def test_conllu_holds_parts_of_speech_entities_and_sentences_without_either(tmp_path):
    toy = part_of_speech("train", 5)
    examples = [*toy, TokenExample(["so"])]
    write_conllu(examples, tmp_path / "x.conllu")
    back = mtl.read(tmp_path / "x.conllu", column="upos", fields=["misc"])
    assert [(e.tokens, e.tags) for e in back] == [(e.tokens, e.tags) for e in examples]
    assert [e.fields["misc"] for e in back[:5]] == [e.fields["ner"] for e in toy]
    assert [e.tags for e in mtl.read(tmp_path / "x.conllu")][:5] == [e.fields["ner"] for e in toy]


def test_a_file_with_both_is_read_for_its_parts_of_speech(tmp_path):
    toy = part_of_speech("train", 5)
    write_conllu(toy, tmp_path / "x.conllu")
    (tmp_path / "x.conll").write_text("Mira NNP O B-PER\nleft VBD O O\n\nGraz NNP O B-LOC\n")
    assert [e.tags for e in mtl.TaggingTask.read(tmp_path / "x.conllu")] == [e.tags for e in toy]
    assert mtl.TaggingTask.read(tmp_path / "x.conll")[0].tags == ("NNP", "VBD")
    # What somebody chose is what is read, and other tasks read entities.
    assert mtl.TaggingTask.read(tmp_path / "x.conll", column=4)[0].tags == ("B-PER", "O")
    assert mtl.TaggingTask.read(tmp_path / "x.conll", fields=["2"])[0].tags == ("B-PER", "O")
    assert mtl.NERTask.read(tmp_path / "x.conll")[0].tags == ("B-PER", "O")
    (tmp_path / "x.csv").write_text("Sentence #,Word,POS,Tag\n1,Mira,NNP,B-per\n1,left,VBD,O\n")
    assert mtl.TaggingTask.read(tmp_path / "x.csv")[0].tags == ("NNP", "VBD")


@pytest.mark.parametrize(
    ("example", "name", "lost"),
    [
        (TokenExample(["a"], ["DT"], {"ner": ["O"]}), "x.conll", "the fields ner"),
        (TokenExample(["a"]), "x.conll", "a text without tags"),
        (TokenExample(["a"], ["DT"]), "x.jsonl", "not those of entities"),
        (NERExample(["a"], ["O"], {"pos": ["DT"]}), "x.jsonl", "the fields pos"),
        (NERExample(["a"], ["O"], {"pos": ["DT"]}), "x.conllu", "the fields pos"),
        (NERExample(["a"], ["O"], {"ner": ["O"]}), "x.conllu", "the fields ner"),
    ],
)
def test_what_a_form_cannot_hold_is_not_dropped(example, name, lost, tmp_path):
    with pytest.raises(ConfigError, match="cannot be written in this form") as caught:
        write_examples([example], tmp_path / name)
    assert lost in caught.value.faults[0].found
    assert not (tmp_path / name).exists()


def test_columns_hold_tags_of_any_kind(tmp_path):
    examples = [TokenExample(e.tokens, e.tags) for e in part_of_speech("train", 5)]
    write_examples(examples, tmp_path / "x.conll")
    assert mtl.read(tmp_path / "x.conll", column=2) == examples
