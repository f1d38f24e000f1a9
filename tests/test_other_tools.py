"""Files that other tools and well-known data sets bring: read as meant, or refused by name."""

import json

import pytest

import mtl
from mtl.cli.main import main
from mtl.data.check import check_file
from mtl.data.readers.write import write_examples


def _file(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def _lines(tmp_path, *records):
    return _file(tmp_path, "a.jsonl", "".join(f"{json.dumps(record)}\n" for record in records))


def _refused(path, *words):
    with pytest.raises(mtl.DataError) as caught:
        mtl.read(path)
    for word in words:
        assert word in str(caught.value)
    assert check_file(path).problems


def test_the_number_of_a_sentence_is_not_its_text(tmp_path):
    text = "Sentence #,Sentence,POS,Tag\n"
    text += "Sentence: 1,Maria left Lima,\"['N', 'V', 'N']\",\"['B-per', 'O', 'B-geo']\"\n"
    text += "Sentence: 2,It was hot,\"['P', 'V', 'A']\",\"['O', 'O', 'O']\"\n"
    path = _file(tmp_path, "a.csv", text)
    with pytest.warns(mtl.errors.DataWarning, match="not read: Sentence #, POS"):
        first, second = mtl.read(path)
    assert first.tokens == ("Maria", "left", "Lima")
    assert first.tags == ("B-per", "O", "B-geo")
    assert (second.text, second.label) == ("It was hot", None)


@pytest.mark.parametrize("field", ["labels", "tags", "ner_tags", "label"])
def test_tags_of_a_record_may_stand_in_one_text(tmp_path, field):
    path = _lines(
        tmp_path,
        {"text": "Maria left Lima", field: "B-PER O B-LOC"},
        {"text": "She ran", field: "O O"},
    )
    with pytest.warns(mtl.errors.DataWarning, match="count words"):
        first, second = mtl.read(path)
    assert (first.tags, first.label) == (("B-PER", "O", "B-LOC"), None)
    assert second.tags == ("O", "O")


def test_a_class_that_looks_like_a_tag_stays_a_class(tmp_path):
    path = _lines(tmp_path, {"text": "Maria left", "label": "B-1"}, {"text": "Hot", "label": "O"})
    assert [example.label for example in mtl.read(path)] == ["B-1", "O"]


def test_the_language_before_every_word_of_wikiann_is_taken_off(tmp_path):
    path = _file(tmp_path, "a.txt", "es:Lima\tB-LOC\nes:arde\tO\n\nes:10:30\tO\nes:h\tO\n")
    with pytest.warns(mtl.errors.DataWarning, match="'es:' comes before every word"):
        first, second = mtl.read(path)
    assert first.tokens == ("Lima", "arde")
    assert second.tokens == ("10:30", "h")


def test_words_with_a_colon_stay_whole_where_others_have_none(tmp_path):
    path = _file(tmp_path, "a.txt", "re:invent\tB-EVENT\nopens\tO\n\nre:mars\tB-EVENT\n")
    assert mtl.read(path)[0].tokens == ("re:invent", "opens")


def test_sentences_that_repeat_one_word_go_to_conllu_and_back(tmp_path):
    sentences = [
        mtl.NERExample(("ha", "ha"), ("O", "O")),
        mtl.NERExample(("Rio", "Rio"), ("B-LOC", "B-LOC")),
    ]
    write_examples(sentences, tmp_path / "a.conllu")
    assert mtl.read(tmp_path / "a.conllu") == sentences


def test_a_named_column_of_words_may_repeat_one_word(tmp_path):
    path = _file(
        tmp_path, "a.tsv", "token\tpos\tner\nha\tX\tO\nha\tY\tO\n\nRio\tX\tB-LOC\nRio\tY\tO\n"
    )
    assert [example.tokens for example in mtl.read(path)] == [("ha", "ha"), ("Rio", "Rio")]


def test_texts_go_by_the_names_of_massive_and_doccano(tmp_path):
    path = _lines(tmp_path, {"utt": "despiértame", "intent": "alarm"})
    assert [(e.text, e.label) for e in mtl.read(path)] == [("despiértame", "alarm")]
    path = _lines(tmp_path, {"data": "Maria left", "label": [[0, 5, "PER"]]})
    assert [(e.text, e.tags) for e in mtl.read(path)] == [("Maria left", ("B-PER", "O"))]


def test_several_choices_in_one_field_are_several_labels(tmp_path):
    path = _lines(
        tmp_path,
        {"text": "good", "sentiment": "up"},
        {"text": "mixed", "sentiment": {"choices": ["up", "down"]}},
    )
    assert [e.labels for e in mtl.read(path)] == [("up",), ("up", "down")]


def test_the_label_of_a_fasttext_line_may_come_last(tmp_path):
    path = _file(tmp_path, "a.txt", "a fine film __label__up\na dull film __label__down\n")
    examples = mtl.read(path)
    assert examples.form == "fastText lines"
    assert [(e.text, e.label) for e in examples] == [("a fine film", "up"), ("a dull film", "down")]


def test_two_labels_at_two_ends_of_a_fasttext_line_are_several(tmp_path):
    (example,) = mtl.read(_file(tmp_path, "a.txt", "__label__up a fine film __label__long\n"))
    assert (example.text, example.labels) == ("a fine film", ("up", "long"))


def test_plain_types_of_records_are_told(tmp_path):
    path = _lines(tmp_path, {"tokens": ["Maria", "left"], "ner_tags": ["person", "O"]})
    with pytest.warns(mtl.errors.DataWarning, match="tags without B- and I-"):
        mtl.read(path)


def test_the_header_of_mrqa_is_no_question(tmp_path):
    question = {"qid": "1", "question": "Who?", "answers": ["Maria"]}
    path = _lines(
        tmp_path, {"header": {"split": "train"}}, {"context": "Maria left", "qas": [question]}
    )
    (example,) = mtl.read(path)
    assert (example.id, example.answers[0].text) == ("1", "Maria")


@pytest.mark.parametrize(
    "record",
    [
        {"story": "A cat sat.", "questions": [{"input_text": "Who?"}], "answers": []},  # CoQA
        {"article": "A cat sat.", "questions": ["Who?"], "options": [["a", "b"]]},  # RACE
        {"game_1": {"passage": "3 goals", "qa_pairs": [{"question": "How many?"}]}},  # DROP
    ],
)
def test_other_forms_of_questions_are_refused_as_questions(tmp_path, record):
    path = _file(tmp_path, "a.json", json.dumps(record))
    _refused(path, "this is not SQuAD", next(iter(record)))


def test_yes_and_no_are_refused_as_answers(tmp_path):
    _refused(
        _lines(tmp_path, {"question": "Is it?", "passage": "It is.", "answer": True}), "yes or no"
    )


def test_ranges_in_the_place_of_answers_are_refused_as_questions(tmp_path):
    text = "story_id,question,answer_char_ranges,is_question_bad,is_answer_absent,story_text\n"
    path = _file(tmp_path, "a.csv", text + "1,Who?,0:5,0.0,0.0,Maria left\n")
    _refused(path, "no column for the answer", "answer_char_ranges")


def test_a_binary_file_is_not_called_cp1252(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"\x82\x00\xff\x01")
    with pytest.raises(mtl.DataError, match="not text") as caught:
        mtl.read(path)
    assert "CP1252" not in str(caught.value)
    path.write_bytes(b"\x78\x9c\x8b")
    with pytest.raises(mtl.DataError, match="spaCy"):
        mtl.read(path)


def test_lists_of_a_text_and_its_class_are_no_pairs(tmp_path):
    rows = [
        ["how hot is it", "weather"],
        ["will it rain", "weather"],
        ["hi", "hello"],
        ["hey", "hello"],
    ]
    path = _lines(tmp_path, *rows)
    assert [[e.text, e.label] for e in mtl.read(path)] == rows
    data = mtl.Dataset(train=[tuple(row) for row in rows], validation=[], test=[])
    assert [[e.text, e.label] for e in data.train] == rows


def test_lists_of_two_texts_are_pairs_and_the_note_says_so(tmp_path):
    path = _lines(tmp_path, ["it rains", "rain falls"], ["it snows", "snow falls"])
    with pytest.warns(mtl.errors.DataWarning, match="lists of two texts are read as pairs"):
        assert mtl.read(path)[1].second == "snow falls"


def test_names_of_fields_may_begin_with_a_capital(tmp_path):
    path = _lines(tmp_path, {"Review": "a fine film", "Sentiment": "up"})
    assert [(e.text, e.label) for e in mtl.read(path)] == [("a fine film", "up")]
    question = {"Question": "Who?", "Context": "Maria left", "Answer": "Maria"}
    assert mtl.read(_lines(tmp_path, question))[0].answers[0].text == "Maria"


@pytest.mark.parametrize(("data", "what"), [("a.csv", "name of a file"), (5, "not examples")])
def test_what_is_no_list_of_examples_is_refused_by_name(data, what):
    with pytest.raises(mtl.DataError, match=what):
        mtl.Dataset(train=data, validation=[], test=[])


def test_numbers_for_tags_are_named_on_the_command_line(tmp_path, capsys):
    path = _lines(tmp_path, {"tokens": ["Maria", "left"], "ner_tags": [1, 0]})
    names = ["--label-names", "O", "B-PER"]
    assert main(["check", str(path), *names]) == 0
    assert "PER 1" in capsys.readouterr().out
    assert main(["convert", str(path), str(tmp_path / "a.conll"), *names]) == 0
    assert mtl.read(tmp_path / "a.conll")[0].tags == ("B-PER", "O")


def test_options_of_tags_do_no_harm_to_a_table_of_questions(tmp_path):
    path = _file(tmp_path, "a.csv", "question;context;answer\nWho?;Maria left;Maria\n")
    (example,) = mtl.read(path, strict=True, column=2, label_names=["O"], fields=["question"])
    assert example.answers[0].text == "Maria"
    assert main(["check", str(path), "--strict"]) == 0


def test_spans_in_a_form_that_is_not_read_are_told(tmp_path):
    path = _lines(tmp_path, {"text": "Maria left", "entities": [{"first": 0, "last": 4}]})
    with pytest.warns(mtl.errors.DataWarning, match="not read.*'entities'"):
        assert mtl.read(path)[0].tags is None


def test_columns_without_a_name_that_are_not_read_are_told(tmp_path):
    texts = ["the food was good", "the staff was rude", "a place to eat", "we waited for long"]
    rows = zip(texts, ["food", "staff", "place", "service"], ["up", "down"] * 2, strict=True)
    path = _file(tmp_path, "a.tsv", "".join("\t".join(row) + "\n" for row in rows))
    with pytest.warns(mtl.errors.DataWarning, match="not read: column 2"):
        assert mtl.read(path)[1].label == "down"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "Git LFS"),
        ("<!DOCTYPE html>\n<html><body>not here</body></html>\n", "web page"),
    ],
)
def test_what_stands_in_the_place_of_a_download_is_called_by_name(tmp_path, text, name):
    with pytest.raises(mtl.DataError, match=name):
        mtl.read(_file(tmp_path, "a.conll", text))


def test_a_table_of_words_whose_rows_are_all_too_short_lists_them(tmp_path):
    path = _file(tmp_path, "a.csv", ",Sentence #,Word,Tag\n0,Sentence: 1,Maria\n1,,left\n")
    _refused(path, "3 cells where the header has 4", "2 problems")


def test_the_line_that_tells_excel_the_separator_is_passed_over(tmp_path):
    path = _file(tmp_path, "a.csv", "sep=;\r\ntext;label\r\na fine film;up\r\nbroken\r\n")
    _refused(path, ":4: 1 cells where the header has 2")
    path = _file(tmp_path, "a.csv", "sep=;\r\ntext;label\r\na fine film;up\r\n")
    assert [(e.text, e.label) for e in mtl.read(path)] == [("a fine film", "up")]
