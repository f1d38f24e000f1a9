"""What people give where something else is expected: understood, or refused with what to do."""

import pytest

import mtl
from mtl.errors import ConfigError, DataError
from mtl.experiments.build import build_model as model_of
from mtl.experiments.build import build_tasks
from mtl.tasks.base import as_tasks
from mtl.training.config import TrainConfig

SHAPE = {"d_model": 16, "n_heads": 2, "n_layers": 1}
TAGGED = {"tokens": ["Ann", "left"], "ner_tags": ["B-PER", "O"]}


@pytest.fixture
def task(sentences):
    return mtl.NERTask("ner", mtl.Dataset(train=sentences))


@pytest.fixture
def encoder(tokenizer):
    return mtl.TransformerEncoder({"vocab_size": len(tokenizer), **SHAPE})


# --- dicts ----------------------------------------------------------------------------------------


def test_an_encoder_is_built_from_a_dict():
    encoder = mtl.TransformerEncoder({"vocab_size": 9, **SHAPE})
    assert encoder.config == mtl.EncoderConfig(9, **SHAPE)


def test_what_is_no_config_of_an_encoder():
    with pytest.raises(ConfigError, match='it is called "d_model" here'):
        mtl.TransformerEncoder({"vocab_size": 9, "hidden_size": 16})
    with pytest.raises(ConfigError, match="built from an EncoderConfig"):
        mtl.TransformerEncoder(9)
    with pytest.raises(ConfigError, match="TransformerEncoder has no vocab_size"):
        mtl.TransformerEncoder(vocab_size=9)


def test_a_task_takes_its_splits_as_a_dict(sentences):
    task = mtl.NERTask("ner", {"train": sentences[:5], "test": [TAGGED]})
    assert task.dataset.train == sentences[:5]
    assert task.dataset.test == [mtl.TextExample("Ann left", ("Ann", "left"), None, ("B-PER", "O"))]
    with pytest.raises(ConfigError, match='it is called "validation" here'):
        mtl.NERTask("ner", {"train": sentences[:5], "dev": sentences[5:]})


def test_a_dataset_knows_its_splits(sentences):
    with pytest.raises(ConfigError, match="Dataset has no valid") as caught:
        mtl.Dataset(train=sentences, valid=sentences)
    assert 'did you mean "validation"?' in str(caught.value)


def test_a_dataset_takes_what_can_be_gone_through(sentences):
    assert mtl.Dataset(train=(e for e in sentences)).train == sentences
    assert mtl.Dataset(train=dict(enumerate(sentences)).values()).train == sentences


def test_a_model_takes_tasks_in_a_dict_and_one_alone(encoder, tokenizer, task):
    for tasks in ({"ner": task}, task, (task,), iter([task])):
        assert mtl.MultiTaskModel(encoder, tokenizer, tasks).tasks == {"ner": task}
    with pytest.raises(ConfigError, match="given under the name 'names' but is called 'ner'"):
        mtl.MultiTaskModel(encoder, tokenizer, {"names": task})


# --- other things ---------------------------------------------------------------------------------


def test_a_task_is_not_given_examples_or_a_file(sentences):
    for slip in (sentences, "train.conll"):
        with pytest.raises(ConfigError, match="a task takes a Dataset") as caught:
            mtl.NERTask("ner", slip)
        assert "to do: give mtl.Dataset(train=..., validation=..., test=...)" in str(caught.value)


@pytest.mark.parametrize("slip", [["Ann left.", "Bob left."], [3, 4], [None]])
def test_what_is_no_example(slip):
    with pytest.raises(DataError, match=r"this is not an example \(number 1\)") as caught:
        mtl.Dataset(train=slip)
    assert "mtl.NERExample, TextExample, QAExample or PairExample" in str(caught.value)
    assert "mtl.read(PATH)" in str(caught.value)


def test_a_file_is_no_split():
    with pytest.raises(DataError, match=r"read it first: mtl\.read\(PATH\)"):
        mtl.Dataset(train="train.conll")


@pytest.mark.parametrize("slip", ["ner", ["ner"], [mtl.NERTask], None, [None], {"ner": "ner"}])
def test_what_is_no_task(encoder, tokenizer, slip):
    with pytest.raises(ConfigError, match="this is not a task") as caught:
        mtl.MultiTaskModel(encoder, tokenizer, slip)
    assert '[mtl.NERTask("ner", dataset)]' in str(caught.value)
    with pytest.raises(ConfigError, match="this is not a task"):
        as_tasks(slip)


def test_encoder_and_tokenizer_in_the_wrong_places(encoder, tokenizer, task):
    for slip in ((tokenizer, encoder), (encoder.config, tokenizer), ("bert-base-cased", None)):
        with pytest.raises(ConfigError, match="an encoder of mtl, then its tokenizer") as caught:
            mtl.MultiTaskModel(*slip, [task])
        assert "mtl.load_pretrained(NAME) gives the first two" in str(caught.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda slip: mtl.predict(slip, "Ann left."),
        lambda slip: mtl.answer(slip, "Who left?", "Ann left."),
        lambda slip: mtl.encode(slip, "Ann left."),
        lambda slip: mtl.nearest(slip, "Ann left.", ["Bob left."]),
        lambda slip: mtl.evaluate(slip, "ner"),
        lambda slip: mtl.inference.evaluate_baselines(slip, "ner"),
    ],
)
def test_a_folder_is_no_model(call, encoder):
    for slip in ("runs/practical7/1", encoder):
        with pytest.raises(ConfigError, match="the first argument is not a model") as caught:
            call(slip)
        assert "mtl.MultiTaskModel.from_pretrained(FOLDER) reads one" in str(caught.value)


def test_training_takes_tasks_in_a_dict_and_one_alone(encoder, tokenizer, task):
    model = mtl.MultiTaskModel(encoder, tokenizer, task)
    for tasks in ({"ner": task}, task):
        assert mtl.train(model, tasks, TrainConfig(epochs=1), progress=False).rounds
    with pytest.raises(ConfigError, match="this is not a task"):
        mtl.train(model, [3], progress=False)
    with pytest.raises(ConfigError, match="the first argument is not a model"):
        mtl.train("runs/practical7/1", task)


# --- arguments of the wrong kind ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mtl.WhitespaceTokenizer.train("Ann ran"), "not several texts.*training_texts"),
        (lambda: mtl.TextExample("a film", "good"), "not a list of words.*'good'.*label="),
        (lambda: mtl.NERExample("a b", ["O", "O"]), "not a list of words.*'a b'"),
        (lambda: mtl.NERExample(None, ["O"]), "not a list of words.*None"),
        (lambda: mtl.write_jsonl("file", [TAGGED]), "a path, not the examples.*examples first"),
        (lambda: mtl.write_conll("file", [TAGGED]), "a path, not the examples.*examples first"),
        (lambda: mtl.write_squad("file", [TAGGED]), "a path, not the examples.*examples first"),
        (lambda: mtl.toy_dataset("ner", "10"), "size of train must be a whole number.*'10'"),
        (lambda: mtl.toy_dataset("ner", 5, -1), "size of validation must be a whole number.*-1"),
        (lambda: mtl.toy_dataset(None, 5), "unknown kind of toy data.*use one of documents"),
        (lambda: mtl.Dataset().split("dev"), 'no such split.*called "validation" here'),
        (lambda: mtl.Dataset().split(None), "no such split.*use one of test"),
        (lambda: mtl.load_pretrained(None), "neither a model folder nor.*None"),
        (lambda: mtl.MultiTaskModel.from_pretrained(3), "neither a model folder nor.*3"),
        (lambda: mtl.MultiTaskModel.from_pretrained(""), "neither a model folder nor.*''"),
        (lambda: mtl.load_recipe("jsonl", "train.epochs=3"), r"one text.*\['train.epochs=3'\]"),
        (lambda: mtl.batches(None, "ner"), "not a model"),
        (lambda: mtl.run_recipe("jsonl", "out"), r"not a recipe.*'jsonl'.*load_recipe"),
        (lambda: mtl.compare("jsonl", "out"), r"not a recipe.*'jsonl'.*load_recipe"),
        (lambda: build_tasks("jsonl"), r"not a recipe.*'jsonl'.*load_recipe"),
        (lambda: model_of("jsonl", []), r"not a recipe.*'jsonl'.*load_recipe"),
        (lambda: model_of(mtl.load_recipe("jsonl"), ["topic"]), "this is not a task.*'topic'"),
    ],
)
def test_what_was_given_and_what_to_give_instead(call, words):
    with pytest.raises(mtl.MTLError, match=f"(?s){words}"):
        call()


@pytest.mark.parametrize("names", [["encoder"], None, 3])
def test_parameters_are_frozen_by_their_names(build_model, task, names):
    with pytest.raises(ConfigError, match=r'(?s)named by texts.*freeze\("encoder", "heads.ner"\)'):
        build_model([task]).freeze(names)
