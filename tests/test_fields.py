"""Fields: several tasks learn different tags of the words of one text."""

import pytest

import mtl
from mtl.data.augment import augment
from mtl.data.examples import NERExample, TextExample, TokenExample
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.errors import ConfigError, DataError
from mtl.experiments.build import build_tasks
from mtl.tasks import NERTask, TokenTask


class FieldTagsTask(TokenTask):
    """Parts of speech, as any class of one's own."""

    kind = "tests_field_tags"


POS = {"Ann": "NNP", "Bo": "NNP", "met": "VBD", "saw": "VBD", "the": "DT", "dog": "NN", ".": "."}


def sentence(i, pos=True):
    """A sentence with entities as its tags, its parts of speech and another layer as fields."""
    words = [["Ann", "Bo"][i % 2], ["met", "saw"][i // 2 % 2], "the", "dog", "."]
    tags = ["B-PER", "O", "O", "O", "O"]
    bio = ["O", "O", "B-PET", "I-PET", "O"]
    speech = {"pos": [POS[word] for word in words]} if pos else {}
    return NERExample(words, tags, {"bio": bio} | speech)


DATA = mtl.Dataset([sentence(i, pos=i % 3 > 0) for i in range(16)], [sentence(1)], [sentence(2)])


def tasks_on(dataset):
    return [
        NERTask("ner", dataset),
        NERTask("bio", dataset, field="bio"),
        FieldTagsTask("pos", dataset, field="pos"),
    ]


@pytest.fixture(scope="module")
def model(build_model):
    """Trained on all three in one pass of the encoder, some sentences without parts of speech."""
    model = build_model(tasks_on(DATA), tokenizer=WhitespaceTokenizer.train([" ".join(POS)]))
    config = mtl.TrainConfig(epochs=30, batch_size=4, learning_rate=2e-2, hide_words=0.0)
    history = mtl.train(model, config=config, progress=False)
    assert history.rounds[0].examples.keys() == {"ner", "bio", "pos"}
    return model


def test_each_task_learns_its_own_tags(model):
    assert [task.tags for task in model.tasks.values()] == [
        ["O", "B-PER", "I-PER"],
        ["O", "B-PET", "I-PET"],
        [".", "DT", "NN", "NNP", "VBD"],
    ]
    assert [
        mtl.evaluate(model, task)["macro_f1" if task == "pos" else "entity_f1"]
        for task in model.tasks
    ] == [1, 1, 1]
    said = mtl.predict(model, "Bo saw the dog.")
    assert [entity.to_dict()["word"] for entity in said["bio"].entities] == ["the dog"]
    assert said["pos"].tags == ["NNP", "VBD", "DT", "NN", "."]


def test_mistakes_and_confusion_are_about_the_field(model):
    task, example = model.tasks["bio"], sentence(0)
    right = task.prediction(
        example.text, example.word_places, list(example.fields["bio"]), [1.0] * 5
    )
    assert task.mistakes([example], [right]) == []
    assert task.confusion([example], [right]) == (["O", "PET"], [[3, 0], [0, 2]])
    (mistake,) = task.mistakes([example], [task.always("O", example)])
    assert (mistake.kind, mistake.expected) == ("missed", "the dog (PET)")


def test_the_field_is_saved_and_read_from_a_file(model, tmp_path):
    model.save_pretrained(tmp_path / "model")
    loaded = mtl.MultiTaskModel.from_pretrained(tmp_path / "model")
    assert [task.field for task in loaded.tasks.values()] == ["", "bio", "pos"]
    # Both columns hold entities, in a scheme of their own: the first field says which is meant.
    rows = "word pos bio tag\nAnn NNP O S-PER\nsaw VBD O O\nthe DT B-PET O\ndog NN E-PET O\n"
    (tmp_path / "x.conll").write_text(rows)
    assert mtl.evaluate(loaded, "pos", tmp_path / "x.conll")["accuracy"] == 1
    assert mtl.evaluate(loaded, "bio", tmp_path / "x.conll")["entity_f1"] == 1


def test_a_recipe_reads_every_field_that_its_tasks_name(tmp_path):
    rows = "Ann NNP B-PER O\nsaw VBD O O\nthe DT O B-PET\ndog NN O I-PET\n"
    (tmp_path / "train.conll").write_text("\n".join(f"{rows}w{i} NN O O\n" for i in range(20)))
    (tmp_path / "my.toml").write_text(f"""
        [datasets.words]
        train = "{tmp_path / "train.conll"}"
        column = 3
        [tasks.people]
        kind = "ner"
        data = "words"
        [tasks.pets]
        kind = "ner"
        data = "words"
        field = 4
        [tasks.pos]
        kind = "tests_field_tags"
        data = "words"
        field = "2"
        """)
    recipe = mtl.load_recipe(tmp_path / "my.toml")
    assert recipe.fields_of("people") == {"fields": ("4", "2")}
    people, pets, pos = build_tasks(recipe)
    assert people.dataset is pets.dataset is pos.dataset
    assert (people.types, pets.types, pos.tags) == (["PER"], ["PET"], ["DT", "NN", "NNP", "VBD"])


def test_a_task_of_entities_refuses_other_tags():
    tagged = TokenExample(
        ["a", "dog"], ["DT", "NN"], {"ner": ["O", "B-PET"], "odd": ["O", "I-PET"]}
    )
    with pytest.raises(DataError, match="not entity tags in IOB2") as caught:
        NERTask("ner", mtl.Dataset([tagged]))
    assert "'DT', 'NN'" in caught.value.faults[0].found
    assert 'kind = "tokens"' in caught.value.faults[0].fix
    task = NERTask("ner", mtl.Dataset([tagged]), field="ner")
    assert task.types == ["PET"]
    assert task.score([tagged], [task.always("O", tagged)])["entity_recall"] == 0
    odd = NERTask("odd", mtl.Dataset([tagged]), field="odd")
    with pytest.raises(DataError, match="continues an entity that did not begin"):
        odd.score([tagged], [odd.always("O", tagged)])


@pytest.mark.parametrize("task", [NERTask, FieldTagsTask])
def test_a_field_that_no_example_has(task):
    with pytest.raises(DataError, match="no example has tags in the field 'xpos'") as caught:
        task("x", DATA, field="xpos")
    assert "the fields 'bio', 'pos'" in caught.value.faults[0].found
    labelled = mtl.Dataset([TextExample("a dog", ("a", "dog"), fields={"xpos": "ab"})])
    with pytest.raises(DataError, match="no example has tags in the field 'xpos'"):
        task("x", labelled, field="xpos")  # a label of the text, not tags of its words


@pytest.mark.parametrize("tags", [["NNP"], ["NNP", ""], ["NNP", 1]])
def test_every_word_has_one_tag_of_a_field(tags):
    with pytest.raises(DataError):
        NERExample(["Ann", "left"], ["O", "O"], {"pos": tags})


def test_sentences_with_fields_cannot_be_augmented():
    with pytest.raises(ConfigError, match="augmented") as caught:
        augment([sentence(1)], 1, 0)
    assert caught.value.faults[0].found == "NERExample with fields"
