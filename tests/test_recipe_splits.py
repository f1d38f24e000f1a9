"""The splits of a recipe's data: toy data, own files, and what is held out of them."""

import pytest
import recipes
from hypothesis import given
from hypothesis import strategies as st
from recipes import error_of, ner_dataset

import mtl
from mtl.data.dataset import hold_out
from mtl.data.examples import Answer, NERExample, QAExample
from mtl.errors import ConfigError, DataError, DataWarning
from mtl.experiments.build import build_model, build_tasks
from mtl.experiments.recipe import load_recipe
from mtl.toy import ner_examples, qa_examples

# pytest looks for a fixture by its name in this module.
own_sentences = recipes.own_sentences
tiny = recipes.tiny

pytestmark = pytest.mark.usefixtures("no_curves")


def question(i, context):
    return QAExample(f"q{i}", f"Who is number {i}?", context, (Answer("Bob", 0),))


@given(
    sizes=st.lists(st.integers(1, 5), min_size=10, max_size=60),
    seed=st.integers(0, 99),
    parts=st.sampled_from([1, 2]),
)
def test_hold_out_keeps_groups_whole_and_loses_nothing(sizes, seed, parts):
    contexts = [f"Bob {g}" for g, size in enumerate(sizes) for _ in range(size)]
    examples = [question(i, context) for i, context in enumerate(contexts)]
    examples = examples[::2] + examples[1::2]  # one context's questions need not stand together
    split = hold_out(examples, seed, parts=parts)
    assert len(split) == 1 + parts
    assert sorted(e.id for part in split for e in part) == sorted(e.id for e in examples)
    groups = [{example.context for example in part} for part in split]
    assert sum(map(len, groups)) == len(sizes)  # no context in two parts
    for held_out in groups[1:]:
        assert abs(len(held_out) - len(sizes) / 10) <= 0.5
    for part in split:  # the order of the file stays
        order = [examples.index(example) for example in part]
        assert order == sorted(order)
    assert hold_out(examples, seed, parts=parts) == split


def test_hold_out_is_drawn_by_the_seed():
    examples = [question(i, f"Bob {i}") for i in range(100)]
    drawn = {tuple(e.id for e in hold_out(examples, seed)[1]) for seed in range(5)}
    assert len(drawn) == 5
    assert all(ids != tuple(f"q{i}" for i in range(10)) for ids in drawn)  # not simply the first


def test_hold_out_does_not_depend_on_the_order_of_the_file():
    examples = [question(i, f"Bob {i}") for i in range(50)]
    there, back = hold_out(examples, 3), hold_out(examples[::-1], 3)
    for part, other in zip(there, back, strict=True):
        assert {e.id for e in part} == {e.id for e in other}


@pytest.mark.parametrize("n", [1, 4, 9])
def test_hold_out_of_fewer_than_ten_texts_is_refused(n):
    with pytest.raises(DataError, match=f"too few different texts(.|\n)*found: {n}; at least 10"):
        hold_out([question(i, f"Bob {i}") for i in range(n)], 0)


def test_too_few_texts_are_said_with_their_file(tiny, tmp_path):
    path = tmp_path / "few.conll"
    path.write_text("Ann\tB-PER\n")
    recipe = load_recipe(tiny, [f"tasks.ner.train={path}"])
    with pytest.raises(DataError) as caught:
        build_tasks(recipe)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("name", ["''", "'  '", "'../../elsewhere'", "'a\\b'"])
def test_a_name_that_is_no_folder_name_is_refused(tiny, name):
    with pytest.raises(ConfigError, match="name must be a word without slashes"):
        load_recipe(tiny, [f"name={name}"])


def words_of(examples):
    return {example.tokens[0] for example in examples}


def test_an_own_file_is_never_mixed_with_toy_data(tiny, own_sentences):
    path, sentences = own_sentences
    dataset = ner_dataset(tiny, f"tasks.ner.train={path}")
    parts = [dataset.train, dataset.validation, dataset.test]
    assert [len(part) for part in parts] == [160, 20, 20]
    assert sorted(e.text for part in parts for e in part) == sorted(e.text for e in sentences)
    words = [words_of(part) for part in parts]
    assert not words[0] & words[1]
    assert not words[0] & words[2]
    assert not words[1] & words[2]
    assert list(dataset.test_unseen) == []


def test_only_what_is_missing_is_held_out(tiny, own_sentences, tmp_path):
    path, _ = own_sentences
    test = [NERExample(("Gift",), ("B-THING",))]
    mtl.write_conll(test, tmp_path / "test.conll")
    files = [f"tasks.ner.train={path}", f"tasks.ner.test={tmp_path / 'test.conll'}"]
    dataset = ner_dataset(tiny, *files)
    assert dataset.test == test
    assert [len(dataset.train), len(dataset.validation)] == [180, 20]
    with pytest.warns(DataWarning, match="in both validation and test: 1 of the 1 in test"):
        everything = ner_dataset(tiny, *files, f"tasks.ner.validation={tmp_path / 'test.conll'}")
    assert [len(everything.train), len(everything.validation)] == [200, 1]
    with pytest.warns(DataWarning, match="in both test and test_unseen"):
        unseen = ner_dataset(tiny, *files, f"tasks.ner.test_unseen={tmp_path / 'test.conll'}")
    assert list(unseen.test_unseen) == test


def test_the_seed_draws_what_is_held_out(tiny, own_sentences):
    path, _ = own_sentences
    drawn = [
        words_of(ner_dataset(tiny, f"tasks.ner.train={path}", f"seed={seed}").test)
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_questions_about_one_context_stay_together(tiny, tmp_path):
    questions = [question(i, f"Bob is in context {i // 4}.") for i in range(80)]
    mtl.write_squad(questions, tmp_path / "own.json")
    tasks = build_tasks(load_recipe(tiny, [f"tasks.qa.train={tmp_path / 'own.json'}"]))
    dataset = tasks[1].dataset
    parts = [{q.context for q in split} for split in (dataset.train, dataset.validation)]
    parts.append({q.context for q in dataset.test})
    assert [len(part) for part in parts] == [16, 2, 2]
    assert len(set.union(*parts)) == 20
    assert [len(dataset.train), len(dataset.validation), len(dataset.test)] == [64, 8, 8]


@pytest.mark.parametrize("split", ["validation", "test", "test_unseen"])
def test_an_own_test_file_beside_toy_training_data_is_refused(tiny, own_sentences, split):
    message = error_of(tiny, f"tasks.ner.{split}={own_sentences[0]}")
    assert f"tasks.ner.{split} names a file, but tasks.ner.train does not" in message
    assert "never mixed" in message


def test_toy_data_has_the_sizes_and_the_seed_of_the_recipe(tiny):
    tasks = build_tasks(load_recipe(tiny, ["seed=3", "tasks.qa.toy_train=21"]))
    assert list(tasks[0].dataset.train) == ner_examples("train", 40, 3)
    assert list(tasks[0].dataset.test_unseen) == ner_examples("test_unseen", 10, 3)
    assert list(tasks[1].dataset.train) == qa_examples("train", 21, 3)
    assert list(tasks[1].dataset.validation) == qa_examples("validation", 10, 3)


def test_on_error_reaches_the_reader(tiny, tmp_path):
    path = tmp_path / "own.conll"
    path.write_text("".join(f"Item{i}\tB-THING\n\n" for i in range(20)) + "Item99\tTHING\n")
    setting = f"tasks.ner.train={path}"
    with pytest.raises(DataError, match="no known scheme"):
        ner_dataset(tiny, setting)
    with pytest.warns(DataWarning, match="bad records left out: 1") as caught:
        dataset = ner_dataset(tiny, setting, "on_error=skip")
    assert str(path) in str(caught[0].message)
    assert len(dataset.train) + len(dataset.validation) + len(dataset.test) == 20


def test_the_vocabulary_is_that_of_the_training_texts_alone(tiny, own_sentences):
    recipe = load_recipe(tiny, [f"tasks.ner.train={own_sentences[0]}"])
    tasks = build_tasks(recipe)
    known = build_model(recipe, tasks).tokenizer.counts.keys()
    assert words_of(tasks[0].dataset.train) <= known
    assert not words_of(tasks[0].dataset.test) & known
    assert not words_of(tasks[0].dataset.validation) & known
