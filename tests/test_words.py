"""One notion of a word: for every script, in every tokenizer, in training and in use."""

import unicodedata
from collections import Counter

import pytest
from checkpoints import write_byte_pairs, write_word_pieces
from hypothesis import given
from hypothesis import strategies as st

from mtl.data.dataset import Dataset
from mtl.data.encoded import encode_examples
from mtl.data.examples import NERExample, Query, TextExample
from mtl.data.tokenizers.subwords import SubwordTokenizer
from mtl.data.tokenizers.whitespace import WhitespaceTokenizer
from mtl.data.words import (
    Joining,
    find_words,
    join_parts,
    join_words,
    learn_joining,
    split_words,
    tags_of_entities,
)
from mtl.errors import DataWarning
from mtl.inference import evaluate, predict
from mtl.metrics import entity_spans
from mtl.model import MultiTaskModel
from mtl.tables import types_table
from mtl.tasks.classification import ClassificationTask
from mtl.tasks.ner import NERPrediction, NERTask


def words_of(text):
    return [text[start:end] for start, end in split_words(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Ann-Marie's e-mail: 3!", "Ann - Marie ' s e - mail : 3 !"),
        ("snake_case C++ @ann U.S.", "snake_case C + + @ ann U . S ."),
        ("गीता किताब पढ़ती है।", "गीता किताब पढ़ती है ।"),
        ("কলকাতায় বৃষ্টি হচ্ছে", "কলকাতায় বৃষ্টি হচ্ছে"),
        ("சென்னையில் மழை", "சென்னையில் மழை"),
        ("كَتَبَ الوَلَدُ", "كَتَبَ الوَلَدُ"),
        ("שָׁלוֹם עֲלֵיכֶם", "שָׁלוֹם עֲלֵיכֶם"),
        ("Re\u0301sume\u0301s", "Re\u0301sume\u0301s"),
        ("می\u200cروم خانه", "می\u200cروم خانه"),
        ("부산에 간다.", "부산에 간다 ."),
        ("李雷去上海。", "李 雷 去 上 海 。"),
        ("がん治療はカナダで", "が ん 治 療 は カ ナ ダ で"),
        ("か\u3099ん", "か\u3099 ん"),
        ("𠮷野家ABC", "𠮷 野 家 ABC"),
        ("สมศรีอยู่ ๒๕๖๐", "ส ม ศ รี อ ยู่ ๒๕๖๐"),
        ("ລາວ", "ລ າ ວ"),
        ("ភ្នំ\u200bពេញ", "ភ្នំ ពេ ញ"),
        ("မန္တလေး", "မ န္တ လေး"),
        ("👩\u200d👧 hi ❤\ufe0f", "👩\u200d 👧 hi ❤\ufe0f"),
    ],
)
def test_words_of_every_script(text, words):
    assert words_of(text) == words.split(" ")


def test_every_combining_mark_belongs_to_the_letter_before_it():
    marks = [chr(i) for i in range(0x110000) if unicodedata.category(chr(i)) in ("Mn", "Mc", "Me")]
    assert len(marks) > 2000
    assert [mark for mark in marks if words_of(f"a{mark}b") != [f"a{mark}b"]] == []


@given(st.text())
def test_words_cover_all_but_blanks_and_are_cut_alike_alone(text):
    places = split_words(text)
    assert [p for pair in places for p in pair] == sorted(p for pair in places for p in pair)
    covered = {i for start, end in places for i in range(start, end)}
    assert all(
        text[i].isspace() or text[i] in "\u200b\ufeff" for i in {*range(len(text))} - covered
    )
    for start, end in places:
        assert split_words(text[start:end]) == [(0, end - start)]


@given(st.text(st.characters(max_codepoint=127)))
def test_the_quick_way_of_ascii_is_the_same(text):
    beside = split_words(f"{text} \u00e9")  # no longer ASCII
    assert beside[:-1] == split_words(text)


WORDS = st.lists(
    st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=6),
    min_size=1,
    max_size=8,
)


@given(WORDS)
def test_joined_words_are_found_again(words):
    text, places = join_words(words)
    assert [text[start:end] for start, end in places] == words
    assert find_words(text, words) == places


def test_han_and_kana_are_joined_without_blanks():
    assert join_words(["李", "雷", "去", "Bonn", "了", "。"])[0] == "李雷去 Bonn 了。"
    assert join_words(["서울", "간다"])[0] == "서울 간다"


def test_words_are_found_in_the_text_that_they_were_cut_from():
    text = "Don't go, now"
    assert find_words(text, ["Do", "n't", "go", ",", "now"]) == [
        (0, 2),
        (2, 5),
        (6, 8),
        (8, 9),
        (10, 13),
    ]
    for others in (["Do", "not", "go"], ["Don't", "go"], ["Don't", "go", ",", "now", "!"]):
        assert find_words(text, others) is None


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]), min_size=1, max_size=12))
def test_tags_go_through_characters_and_back(tags):
    """Words that are cut finer, and joined again, have the tags they had."""
    words = [("ab" * 3)[: 1 + i % 6] for i in range(len(tags))]
    _, places = join_words(words)
    entities = [(k, places[a][0], places[b - 1][1]) for k, a, b in entity_spans(tags)]
    letters = [(i, i + 1) for start, end in places for i in range(start, end)]
    fine = tags_of_entities(letters, entities)
    again = [(k, letters[a][0], letters[b - 1][1]) for k, a, b in entity_spans(fine)]
    assert again == entities
    assert entity_spans(tags_of_entities(places, again)) == entity_spans(tags)


# The same text has the same ids in training and in use


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("tokenizers")
    return [
        WhitespaceTokenizer.train(["Ann went to Paris , then home . 李雷"]),
        SubwordTokenizer.load(write_word_pieces(folder / "pieces")),
        SubwordTokenizer.load(write_byte_pairs(folder / "bytes")),
    ]


TEXTS = st.one_of(
    st.text(min_size=1, max_size=30),
    st.sampled_from(
        ["Hello, world. It's</s> [SEP] U.S.", "李雷去上海。", "सीता आई", "김민수는 서울에"]
    ),
).filter(lambda text: split_words(text) and text.strip())


def ids(tokenizer, example, tasks=()):
    (item,), _ = encode_examples([example], tokenizer, tasks, 64)
    return [row.input_ids for row in item.rows]


@given(text=TEXTS)
def test_a_text_has_the_same_ids_in_training_and_in_use(tokenizers, text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    topic = ClassificationTask("topic", labels=["a", "b"])
    words = words_of(text)
    tags = ("B-X", *["O"] * (len(words) - 1))
    ner = NERTask("ner", types=["X"])
    for tokenizer in tokenizers:
        if not len(tokenizer.encode(text)):
            continue
        in_use = ids(tokenizer, Query(text))
        assert ids(tokenizer, TextExample(text, label="a"), [topic]) == in_use
        assert ids(tokenizer, TextExample(text, words, "a", tags), [topic, ner]) == in_use
        tagged = NERExample(words, tags)
        assert ids(tokenizer, tagged, [ner]) == ids(tokenizer, Query(tagged.text))
        assert ids(tokenizer, Query(words)) == ids(tokenizer, Query(tagged.text))


@given(words=WORDS, data=st.data())
def test_targets_name_the_entities_of_the_file(tokenizers, words, data):
    """Whatever the file calls a word, the tags that are learned spell its entities."""
    words = [word for word in words if split_words(word)]
    if not words:
        return
    tags = data.draw(
        st.lists(st.sampled_from(["O", "B-X"]), min_size=len(words), max_size=len(words))
    )
    example = NERExample(words, tags)
    task = NERTask("ner", types=["X"])
    tokenizer = tokenizers[0]
    (item,), notes = encode_examples([example], tokenizer, [task], 512)
    learned = [task.tags[t] for t in item.targets["ner"][0] if t != -100]
    text = item.rows[0].text
    spans = [(text.words[a][0], text.words[b - 1][1]) for _, a, b in entity_spans(learned)]
    gold = [place for place, tag in zip(example.word_places, tags, strict=True) if tag != "O"]
    assert notes == Counter()
    for (start, end), (first, last) in zip(gold, spans, strict=True):
        assert example.text[start:end].strip("\u200b\ufeff") == example.text[first:last]


def test_no_combining_mark_of_unicode_is_left_out():
    marks = [chr(i) for i in range(0x110000) if unicodedata.category(chr(i))[0] == "M"]
    assert len(marks) > 2000
    assert all(split_words(f"a{mark}b") == [(0, 3)] for mark in marks)


# What a training file keeps whole stays whole


def joined(text, *sentences):
    joining = learn_joining([sentence.split() for sentence in sentences])
    return [text[start:end] for start, end in join_parts(text, split_words(text), joining)]


def test_words_that_come_twice_are_kept_whole_everywhere():
    known = ("of the U.S. knows C++ .", "U.S. , C++ . Mr. Lee")
    text = "Is C++'s U.S.-based Mr. C+, U.S.?"
    assert joined(text, *known) == [
        "Is",
        "C++",
        "'",
        "s",
        "U.S.",
        "-",
        "based",
        "Mr",
        ".",
        "C",
        "+",
        ",",
        "U.S.",
        "?",
    ]
    assert joined("U. S.", *known) == ["U", ".", "S", "."]


def test_the_longest_word_that_is_kept_wins():
    text = "+a++b +a++ a++"
    assert joined(text, "+a++ +a++ a++ a++") == ["+a++", "b", "+a++", "a++"]


def test_words_of_scripts_without_spaces_are_kept_whole_but_for_han_and_kana():
    known = "สมศรี ไป น่าน สมศรี น่าน ไป"
    assert joined("สมศรีไปน่าน", known) == ["สมศรี", "ไป", "น่าน"]
    assert joined("สมชายไป", known) == ["ส", "ม", "ช", "า", "ย", "ไป"]
    assert joined("北京大学", "北京 大学 北京 大学") == list("北京大学")


# Signs that hold words together


SENTENCES = [
    ["Jean-Luc", "and", "Ann", "'s", "@friend", "met", "O'Hara", "."],
    [
        "the",
        "@team",
        "of",
        "Anne-Lise",
        "'s",
        "town",
        ",",
        "pop.",
        "1,000",
        ",",
        "(",
        "e-mail",
        ")",
    ],
    ["Paris", "/", "Rome", "and/or", "Bonn", "'s", '"', "quote", '"'],
]


def test_signs_that_join_are_learned_from_the_words_of_a_file():
    joining = learn_joining(SENTENCES)
    assert "-" in joining.inner  # Jean-Luc, Anne-Lise, e-mail
    assert "," not in joining.inner  # 1,000, but also town , pop.
    assert "'" not in joining.inner  # O'Hara, but Ann 's, Anne-Lise 's, Bonn 's
    assert "/" not in joining.inner  # and/or, but Paris / Rome
    assert joining.leading == "'@"
    assert joining.whole == ()
    assert learn_joining([["Hello", ","], ["you", "."]]) == Joining("", "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Marie-Claire's e-mail", "Marie-Claire 's e-mail"),
        ("ask @ann_lee, or @bob.", "ask @ann_lee , or @bob ."),
        ("10-20 - 5,5", "10-20 - 5 , 5"),
        ("a- b -c --d", "a - b - c - - d"),
        ("well-known-to-me", "well-known-to-me"),
        ("约翰-李 @李", "约 翰 - 李 @ 李"),
        ("-", "-"),
    ],
)
def test_parts_are_joined_in_plain_text(text, words):
    places = join_parts(text, split_words(text), learn_joining(SENTENCES))
    assert [text[start:end] for start, end in places] == words.split(" ")


@given(st.text(st.sampled_from("ab-'@ ,.李")), st.text(st.sampled_from("-'@,")))
def test_joined_parts_are_runs_of_the_words(text, signs):
    places = split_words(text)
    joined = join_parts(text, places, Joining(signs, signs))
    assert {start for start, _ in joined} <= {start for start, _ in places}
    covered = [i for start, end in joined for i in range(start, end)]
    assert covered == [i for start, end in places for i in range(start, end)]


def test_a_joined_word_has_one_tag_and_learns_one(build_model):
    data = Dataset(train=[NERExample(["Jean-Luc", "left"], ["B-X", "O"])])
    task = NERTask("ner", data)
    tokenizer = WhitespaceTokenizer.train(["Anne - Lise left"])
    (item,), _ = encode_examples([TextExample("Anne-Lise left")], tokenizer, [task], 16)
    example = NERExample(["Anne-Lise", "left"], ["B-X", "O"])
    (item,), _ = encode_examples([example], tokenizer, [task], 16)
    begin, out = task.tag_id["B-X"], task.tag_id["O"]
    assert item.targets["ner"] == [[-100, begin, -100, -100, out, -100]]
    assert predict(build_model([task], tokenizer=tokenizer), "Anne-Lise left")["ner"].words == [
        (0, 9),
        (10, 14),
    ]


# Files whose words are not those of plain text


def test_a_task_knows_whether_its_words_were_given(build_model, tmp_path):
    given_words = Dataset(train=[NERExample(["U.S."], ["B-X"])])
    plain = Dataset(train=[NERExample(["US"], ["B-X"]), TextExample("U.S.")])
    tasks = [NERTask("given", given_words), NERTask("plain", plain)]
    assert [task.words_given for task in tasks] == [True, False]
    build_model(tasks).save_pretrained(tmp_path)
    again = MultiTaskModel.from_pretrained(tmp_path)
    assert [task.joining for task in again.tasks.values()] == [Joining(".", "", ()), None]


def test_the_score_on_plain_text_is_beside_the_score_on_given_words():
    """U.S. is right on given words; on plain text its last full stop was missed."""
    examples = [NERExample(["the", "U.S.", "won"], ["O", "B-X", "O"])]
    plain = NERPrediction(
        examples[0].text,
        split_words(examples[0].text),
        ["O", "B-X", "I-X", "I-X", "O", "O"],
        [1] * 6,
    )
    task = NERTask("ner", types=["X"])
    scores = task.score(examples, [task.on_given_words(plain, examples[0].word_places)])
    assert (scores["entity_f1"], scores["entity_f1_plain_text"]) == (1.0, 0.0)
    (remark,) = task.remarks(scores)
    assert "1.000 on the words of the file, but 0.000" in remark
    right = NERPrediction(plain.text, plain.words, ["O", "B-X", *["I-X"] * 3, "O"], [1] * 6)
    scores = task.score(examples, [task.on_given_words(right, examples[0].word_places)])
    assert scores["entity_f1"] == scores["entity_f1_plain_text"] == 1.0
    assert task.remarks(scores) == []


def test_there_is_no_second_score_where_words_are_those_of_plain_text():
    examples = [NERExample(["the", "US"], ["O", "B-X"])]
    plain = NERPrediction("the US", [(0, 3), (4, 6)], ["O", "B-X"], [1, 1])
    scores = NERTask("ner", types=["X"]).score(examples, [plain])
    assert "entity_f1_plain_text" not in scores
    assert "plain_text" not in types_table(scores)


def test_evaluate_warns_of_a_gap(build_model, monkeypatch):
    task = NERTask("ner", types=["X"])
    model = build_model([task])
    monkeypatch.setattr(task, "remarks", lambda scores: ["look here"])
    with pytest.warns(DataWarning, match="ner: look here"):
        evaluate(model, "ner", [NERExample(["US"], ["B-X"])])
