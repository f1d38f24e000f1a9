"""Rows of all splits are made before the first update; what cannot be used is found, or left out
and counted."""

import json
from dataclasses import replace

import pytest

import mtl
from mtl.data.dataset import Dataset
from mtl.data.examples import Answer, NERExample, PairExample, QAExample, TextExample
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import ConfigError, DataError, DataWarning
from mtl.inference import evaluate, evaluate_baselines
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.embedding import EmbeddingTask
from mtl.tasks.ner import NERTask
from mtl.tasks.qa import QATask
from mtl.toy import qa_examples
from mtl.training.loop import TrainConfig, train
from mtl.training.run import Run

SPLITS = ("train", "validation", "test", "test_unseen")
CONFIG = TrainConfig(epochs=1, batch_size=4, device="cpu")
QUESTIONS = qa_examples("train", 24)


def too_long(name):
    """A question that leaves no room for its context where a row has 64 tokens."""
    context = "Rita keeps the key of the old mill by the river , and Otto the key of the barn ."
    return QAExample(name, "why " * 70, context, (Answer("Rita", 0),))


def questions_with(*bad, n=4):
    """Splits of good questions, with a question that is too long in the middle of some."""
    splits = {}
    for i, split in enumerate(SPLITS):
        good = QUESTIONS[i * n : (i + 1) * n]
        splits[split] = [*good[:2], *[too_long(f"{split}-1")] * (split in bad), *good[2:]]
    return Dataset(**splits)


@pytest.fixture
def no_training(monkeypatch):
    monkeypatch.setattr(Run, "next_step", lambda run: pytest.fail("it trains"))


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("split", SPLITS)
def test_a_fault_in_any_split_is_found_before_the_first_update(build_model, split):
    task = QATask("qa", questions_with(split))
    words = rf"qa, {split}: example '{split}-1': the question has 70 tokens"
    with pytest.raises(DataError, match=words) as error:
        train(build_model([task]), [task], CONFIG, progress=False)
    assert len(error.value.faults) == 1


@pytest.mark.usefixtures("no_training")
def test_all_faults_of_all_splits_and_datasets_are_told_together(build_model, sentences, tmp_path):
    qa, other = QATask("qa", questions_with(*SPLITS)), QATask("other", questions_with("test"))
    ner = NERTask("ner", Dataset(train=sentences, test=sentences[:3]))
    model = build_model([qa, ner, other])
    with pytest.raises(DataError) as error:
        train(model, [qa, ner, other], CONFIG, cache=tmp_path, progress=False)
    told = [fault.what.split(":")[0] for fault in error.value.faults]
    assert told == [*(f"qa, {split}" for split in SPLITS), "other, test"]


def test_skip_leaves_them_out_and_counts_them_by_split(build_model, tmp_path, monkeypatch):
    """The result is that of the data without them, with and without a cache, filled or not."""
    monkeypatch.setattr(WhitespaceTokenizer, "is_slow", True)  # or nothing would be kept
    clean = QATask("qa", questions_with())
    expected = train(build_model([clean]), [clean], CONFIG, progress=False)
    task = QATask("qa", questions_with(*SPLITS))
    for folder in (None, tmp_path, tmp_path):
        model = build_model([task])
        with pytest.warns(DataWarning) as said:
            history = train(*(model, [task], CONFIG), on_error="skip", cache=folder, progress=False)
        lines = [str(warning.message) for warning in said]
        assert [line.split(". The first: ")[0] for line in lines] == [
            f"qa, {split}: examples left out: 1" for split in SPLITS
        ]
        assert "example 'test-1': the question has 70 tokens" in lines[2]
        assert history.rounds == expected.rounds
        assert history.validation == expected.validation
    with pytest.warns(DataWarning, match="qa: examples left out: 1"):
        scores = evaluate(model, "qa", task.dataset.test, on_error="skip")
    assert scores == evaluate(model, "qa", clean.dataset.test)


def test_a_training_split_of_which_nothing_is_left(build_model):
    task = QATask("qa", Dataset(train=[too_long("a"), too_long("b")]))
    with (
        pytest.warns(DataWarning, match="examples left out: 2"),
        pytest.raises(DataError, match="none of the training examples of the task 'qa'"),
    ):
        train(build_model([task]), [task], CONFIG, on_error="skip", progress=False)


def test_an_unknown_on_error_is_refused(build_model, questions):
    task = QATask("qa", Dataset(train=questions))
    model = build_model([task])
    with pytest.raises(ConfigError, match="on_error is unknown"):
        train(model, [task], CONFIG, on_error="ignore", progress=False)
    with pytest.raises(ConfigError, match="on_error is unknown"):
        evaluate(model, "qa", questions, on_error="ignore")


def test_examples_that_a_task_refuses_are_named_too(build_model):
    class Picky(ClassificationTask):
        """Knows no text that begins with a small letter."""

        def targets(self, example, rows, notes):
            if example.text[0].islower():
                raise DataError("the text begins with a small letter", found=example.text)
            return super().targets(example, rows, notes)

    texts = [TextExample("Ann ran .", label="a"), TextExample("Bob sat .", label="b")]
    dataset = Dataset(train=texts, test=[*texts, TextExample("eve ran .", label="a")])
    task = Picky("topic", dataset)
    with pytest.raises(DataError, match="topic, test: example 3: the text begins with a small"):
        train(build_model([task]), [task], CONFIG, progress=False)
    with pytest.warns(DataWarning, match="topic, test: examples left out: 1"):
        train(build_model([task]), [task], CONFIG, on_error="skip", progress=False)


def test_evaluate_leaves_out_what_cannot_be_read(build_model):
    texts = [TextExample("Ann ran .", label="a"), TextExample("Bob sat .", label="b")]
    model = build_model([ClassificationTask("topic", labels=["a", "b"])])
    other = TextExample("\u200b", label="a")
    with pytest.raises(DataError, match="example 2: the text is empty"):
        evaluate(model, "topic", [texts[0], other, texts[1]])
    with pytest.warns(DataWarning, match="topic: examples left out: 1"):
        scores = evaluate(model, "topic", [texts[0], other, texts[1]], on_error="skip")
    assert scores == evaluate(model, "topic", texts)
    with (
        pytest.warns(DataWarning, match="examples left out: 1"),
        pytest.raises(DataError, match=r"no labelled examples(.|\n)*1 examples, of which 1"),
    ):
        evaluate(model, "topic", [other], on_error="skip")


# --- controls -----------------------------------------------------------------------------------


def test_a_control_whose_texts_do_not_go_together_is_counted(build_model, monkeypatch):
    """Each question fits its own context, and the long one not the long context of another."""
    words = " ".join(["and the barn"] * 20)
    long_context = QAExample("c", "who ?", f"Rita keeps the mill {words} .", (Answer("Rita", 0),))
    long_question = QAExample("q", "who " * 50, "Otto ran .", (Answer("Otto", 0),))
    model = build_model([QATask("qa")])
    examples = [long_context, long_question, *QUESTIONS[:3]]
    name = "model_with_other_question"
    assert name in evaluate_baselines(model, "qa", examples)  # only questions that fit are asked
    others = [*examples[1:], *examples[:1]]
    spoiled = [replace(e, question=o.question) for e, o in zip(examples, others, strict=True)]
    monkeypatch.setattr(model.task("qa"), "controls", lambda examples: {name: spoiled})
    with pytest.warns(DataWarning, match=rf"qa, {name}: examples left out: 1"):
        found = evaluate_baselines(model, "qa", examples)
    assert found[name] == evaluate(model, "qa", spoiled[1:])


# --- what is bent, or lost because a text is read in windows --------------------------------------


def cut(name):
    """An answer so long that no window of 64 tokens holds it."""
    answer = " ".join(["the mill by the river"] * 20)
    return QAExample(name, "where ?", f"Rita keeps {answer} .", (Answer(answer, 11),))


def test_answers_that_no_window_holds_are_counted_in_every_split_once(build_model, tmp_path):
    splits = {split: [*QUESTIONS[:3], *[cut("x")] * n] for n, split in enumerate(SPLITS)}
    task = QATask("qa", Dataset(**splits))
    with pytest.warns(DataWarning) as said:
        train(
            *(build_model([task]), [task], replace(CONFIG, epochs=3)),
            cache=tmp_path,
            progress=False,
        )
    assert [str(warning.message) for warning in said] == [
        f"qa, {split}: {n} answers {what}"
        for n, split in enumerate(SPLITS)
        for what in (
            "are longer than tasks.qa.max_answer_tokens = 30, and cannot be found whole",
            "fit no window: they can be neither learned nor found",
        )
        if n
    ]


def test_windows_in_which_nothing_is_lost_are_not_worth_a_word(build_model):
    words = ("Ann", "met", "Bob", "in", "Paris") * 30
    sentence = NERExample(words, ("B-PER", "O", "B-PER", "O", "B-LOC") * 30)
    task = NERTask("ner", Dataset([sentence], [sentence], [sentence]))
    train(build_model([task]), [task], CONFIG, progress=False)


# --- runs -----------------------------------------------------------------------------------------

SIZES = ["tasks.ner.toy_train=16", "tasks.ner.toy_held_out=4", "train.batch_size=8"]
SHAPE = ["encoder.d_model=32", "encoder.n_layers=1", "encoder.max_length=64", "train.epochs=1"]


@pytest.fixture
def files(tmp_path):
    """A training and a test file, each with one question that is too long."""
    paths = {}
    for split, some in (("train", QUESTIONS[:20]), ("test", QUESTIONS[20:])):
        paths[split] = tmp_path / f"{split}.json"
        mtl.write_squad([*some, too_long(f"{split}-1")], paths[split])
    return paths


def test_a_recipe_stops_before_training_and_leaves_all_as_it_was(
    mtl_, files, tmp_path, no_training
):
    settings = [f"tasks.qa.train={files['train']}", f"tasks.qa.test={files['test']}"]
    output = tmp_path / "run"
    command = ["train", "practical7", "--set", *SIZES, *SHAPE, *settings, "--output", output]
    status, _, err = mtl_(*command)
    assert status == 1
    assert "qa, train: example 'train-1'" in err
    assert "qa, test: example 'test-1'" in err
    assert "2 problems in all" in err
    assert not output.exists()


@pytest.mark.usefixtures("no_curves")
def test_with_skip_a_run_trains_tests_and_can_be_used(mtl_, files, tmp_path, monkeypatch):
    settings = [f"tasks.qa.train={files['train']}", f"tasks.qa.test={files['test']}"]
    output = tmp_path / "run"
    command = ["train", "practical7", "--set", *SIZES, *SHAPE, *settings, "--output", output]
    command += ["--on-error", "skip"]

    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mtl.experiments.assessment.check_cases", stop)
        assert mtl_(*command)[0] == 130
    status, out, err = mtl_(*command, "--resume", "--json")
    assert status == 0
    assert "qa, train: examples left out: 1. The first: example 'train-1'" in err
    assert "qa, test: examples left out: 1. The first: example 'test-1'" in err
    metrics = json.loads(out)
    for more in ([], ["--data", files["test"], "--on-error", "skip"]):
        status, out, err = mtl_("evaluate", output, "--task", "qa", "--json", *more)
        assert status == 0
        assert "qa: examples left out: 1" in err
        assert json.loads(out)["qa"]["model"] == metrics["test"]["qa"]
    status, _, err = mtl_("evaluate", output, "--task", "qa", "--data", files["test"])
    assert status == 1
    assert "example 'test-1': the question has 70 tokens" in err


def test_pairs_are_encoded_before_training_too(build_model):
    pairs = [PairExample(f"Ann met {n} .", f"{n} met Ann .") for n in ("Bob", "Eve", "Otto")]
    empty = PairExample("\u200b", "Ann ran .")
    task = EmbeddingTask("vector", Dataset(train=pairs, test=[*pairs, empty]))
    with pytest.raises(DataError, match="vector, test: example 4: the text is empty"):
        train(build_model([task]), [task], CONFIG, progress=False)
