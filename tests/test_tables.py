"""Tables: what the columns are is read from the header or, where it is clear, from the cells."""

import csv
import io
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mtl
from mtl.data.examples import NERExample, PairExample, TextExample
from mtl.data.readers import SoundDataError, read
from mtl.data.readers.cells import table_rows
from mtl.errors import ConfigError, DataError

REVIEWS = [
    ("a warm, kind film", "good"),
    ('the "best" I have seen', "good"),
    ("dull from start to end", "bad"),
    ("I left before the end", "bad"),
]


@pytest.fixture
def file(tmp_path):
    def write(content, name="data"):
        path = tmp_path / name
        path.write_bytes(content.encode())
        return path

    return write


def quoted(rows, *header, delimiter=","):
    """A table as the csv module writes it."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerows([header, *rows] if header else rows)
    return text.getvalue()


def unquoted(rows, *header):
    return "".join("\t".join(row) + "\n" for row in ([header, *rows] if header else rows))


def noted(path, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        examples = read(path, **options)
    return examples, [str(warning.message) for warning in caught]


def refusal_of(path, kind=DataError, **options):
    with pytest.raises(kind) as caught:
        read(path, **options)
    assert caught.value.faults[0].path == str(path)
    return caught.value.faults[0]


LABELLED = [TextExample(text, label=label) for text, label in REVIEWS]


# --- cells --------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2), min_size=1, max_size=5))
def test_rows_of_a_quoted_table_come_back(rows):
    """Whatever the cells hold; rows without any content are there as empty ones."""
    text = quoted([("a", "b"), *rows])
    back = [cells for _, cells in table_rows(text, ",")]
    assert back[1:] == [row if any(cell.strip() for cell in row) else [] for row in rows]


plain_cells = st.text(st.characters(codec="utf-8", exclude_characters="\t\r\n"), min_size=1)


@given(st.lists(st.tuples(plain_cells, plain_cells), min_size=1, max_size=5))
def test_rows_of_an_unquoted_tsv_come_back(rows):
    """A quote is a quote, unless all of them wrap cells: one that wraps none makes that sure."""
    rows = [("a", 'say "'), *rows]
    back = [cells for _, cells in table_rows(unquoted(rows), "\t")]
    assert back == [list(row) if any(cell.strip() for cell in row) else [] for row in rows]


def test_quotes_that_wrap_cells_of_a_tsv_are_taken_off():
    rows = table_rows('text\tlabel\n"a ""b"" c"\tx\nd\t"y"\n', "\t")
    assert rows == [(1, ["text", "label"]), (2, ['a "b" c', "x"]), (3, ["d", "y"])]


def test_a_quoted_tab_or_line_break_in_a_tsv():
    rows = table_rows('text\tlabel\n"a\tb"\tx\n"c\nd"\ty\n', "\t")
    assert [cells for _, cells in rows] == [["text", "label"], ["a\tb", "x"], ["c\nd", "y"]]
    assert [line for line, _ in rows] == [1, 2, 3]


def test_two_quotes_in_two_lines_of_a_tsv_wrap_nothing():
    rows = table_rows('text\tlabel\n"one\tx\ntwo"\ty\n', "\t")
    assert [cells for _, cells in rows][1:] == [['"one', "x"], ['two"', "y"]]


# --- texts and classes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header", [("review", "sentiment"), ("Text", "Label"), ("utterance", "intent")]
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["data", "x.csv", "x.tsv", "x.txt", "x.conll"])
def test_a_text_and_its_class(header, delimiter, name, file):
    found = read(file(quoted(REVIEWS, *header, delimiter=delimiter), name))
    assert (found, found.form) == (LABELLED, "table of texts")


def test_a_tsv_without_quoting(file):
    assert read(file(unquoted(REVIEWS, "sentence", "label"))) == LABELLED


@pytest.mark.parametrize("first", ["text", "class"])
def test_without_a_header_where_it_is_clear(first, file):
    rows = REVIEWS if first == "text" else [row[::-1] for row in REVIEWS]
    for content in (quoted(rows), unquoted(rows)):
        found = read(file(content))
        assert (found, found.form) == (LABELLED, "table of texts with a class, without a header")


def test_many_commas_in_a_text_between_tabs(file):
    rows = [("a, b, c, d, and then some", "x"), ("e, f", "y"), ("g and, h", "x"), ("i so, j", "y")]
    assert [(e.text, e.label) for e in read(file(unquoted(rows)))] == rows


def test_class_title_and_text_without_a_header(file):
    rows = [
        (str(1 + i % 2), f"Rates rise again in {i}", f"The bank said on day {i}.") for i in range(6)
    ]
    examples, notes = noted(file(quoted(rows)))
    assert examples[1] == TextExample("Rates rise again in 1 The bank said on day 1.", label="2")
    assert "column 2 and column 3 are read as one text" in notes[0]


def test_a_header_that_we_do_not_know_is_no_example(file):
    fault = refusal_of(file(quoted(REVIEWS, "satz", "urteil")))
    assert fault.found == "the columns 'satz', 'urteil'"
    assert "text and label" in fault.fix
    unclear = [("g1", "1", "he left it there"), ("g2", "0", "it left he there")] * 3
    assert "no column" in refusal_of(file(unquoted(unclear))).what


def test_a_column_can_be_chosen_and_the_others_are_named(file):
    rows = [("hello there", "greet", "glad", "7"), ("go away now", "leave", "sad", "8")]
    path = file(quoted(rows, "text", "intent", "emotion", "nr"))
    fault = refusal_of(path, SoundDataError)
    assert fault.what == "2 columns may be the label"
    assert "'intent' ('greet', 'leave', ...); 'emotion'" in fault.found
    for column in ("emotion", "Emotion", 3):
        examples, notes = noted(path, column=column)
        assert [e.label for e in examples] == ["glad", "sad"]
        assert "columns that are not read: intent, nr" in notes[0]
    with pytest.raises(ConfigError, match="there is no column 'mood'"):
        read(path, column="mood")


def test_several_fields_of_one_text(file):
    rows = [("hello there", "greet", "glad"), ("go away now", "leave", "")]
    path = file(quoted(rows, "text", "intent", "emotion"))
    examples, _ = noted(path, fields=("intent", "emotion"))
    assert [dict(e.fields) for e in examples] == [
        {"intent": "greet", "emotion": "glad"},
        {"intent": "leave"},
    ]


def test_label_names_for_classes_that_are_numbers(file):
    rows = [("a b", "0"), ("c d", "1.0"), ("e f", "")]
    path = file(quoted(rows, "text", "label"))
    assert [e.label for e in read(path)] == ["0", "1", None]
    assert [e.label for e in read(path, label_names=["no", "yes"])] == ["no", "yes", None]
    hidden = file(quoted([*rows, ("g h", "-1")], "text", "label"), "hidden")
    assert read(hidden, label_names=["no", "yes"])[-1].label is None
    assert "1, and 1 names" in refusal_of(path, label_names=["no"]).found


def test_a_comma_in_the_name_of_a_class_is_no_second_class(file):
    rows = [("a b", "food, drink"), ("c d", "food, drink"), ("e f", "rooms")]
    assert [e.label for e in read(file(quoted(rows, "text", "label")))][:2] == ["food, drink"] * 2


def test_rows_of_another_width_and_empty_texts_are_faults_with_their_lines(file):
    path = file("text,label\na b,x\nc d\n,y\ne f,y\n")
    with pytest.raises(DataError) as caught:
        read(path)
    assert [fault.line for fault in caught.value.faults] == [3, 4]
    with pytest.warns(mtl.errors.DataWarning, match="bad records left out: 2"):
        assert len(read(path, on_error="skip")) == 2


# --- texts and tags -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("Mira left Graz .", "B-PER O B-LOC O"),
        ("Mira left  Graz .", "B-PER 0 B-LOC 0"),
        ("Mira left Graz.", "B-PER,O,B-LOC,O"),
        ("['Mira', 'left', 'Graz', '.']", "['B-PER', 'O', 'B-LOC', 'O']"),
        ('["Mira", "left", "Graz", "."]', '["S-PER", "O", "S-LOC", "O"]'),
    ],
)
@pytest.mark.parametrize(
    "header", [("sentence", "label"), ("text", "tags"), ("tokens", "ner_tags")]
)
def test_a_text_and_its_tags(text, tags, header, file):
    (example, other) = read(file(quoted([(text, tags)] * 2, *header)))
    assert example == other
    assert example.tokens == ("Mira", "left", "Graz", ".")
    assert example.tags == ("B-PER", "O", "B-LOC", "O")
    assert example.label is None


def test_tags_that_count_something_else(file):
    rows = [("Mira left .", "B-PER O O"), ("Ulm is", "B-LOC O O O"), ("Otto ran .", "B-PER O O")]
    fault = refusal_of(file(quoted(rows, "sentence", "tags")))
    assert (fault.line, fault.what) == (3, "4 tags, but the text has 2 words")


def test_a_text_with_its_tags_and_its_class(file):
    rows = [("play jazz", "B-genre O", "music"), ("rain in Graz", "O O B-city", "weather")]
    examples = read(file(quoted(rows, "utterance", "slots", "intent")))
    assert [(e.label, e.tags) for e in examples] == [
        ("music", ("B-genre", "O")),
        ("weather", ("O", "O", "B-city")),
    ]


@pytest.mark.parametrize("tags", ["[1 0 2]", "[1, 0, 2]", "1 0 2"])
def test_tags_that_are_numbers_need_names(tags, file):
    path = file(quoted([("['Mira' 'saw' 'Ulm']", tags)] * 2, "tokens", "ner_tags"))
    assert "0, 1, 2" in refusal_of(path, SoundDataError).found
    (example, _) = read(path, label_names=["O", "B-PER", "B-LOC"])
    assert (example.tokens, example.tags) == (("Mira", "saw", "Ulm"), ("B-PER", "O", "B-LOC"))


def test_of_two_columns_of_tags_the_known_name_wins_or_somebody_says(file):
    rows = [("Mira saw Ulm", "1 2 1", "B-PER O B-LOC", "O O B-CITY")] * 2
    path = file(quoted(rows, "text", "pos_tags", "ner_tags", "more"))
    assert noted(path)[0][0].tags == ("B-PER", "O", "B-LOC")
    assert noted(path, column="more")[0][0].tags == ("O", "O", "B-CITY")
    path = file(quoted([(a, c, d) for a, _, c, d in rows], "text", "first", "second"))
    assert refusal_of(path, SoundDataError).what == "2 columns hold tags"
    assert noted(path, column=3)[0][0].tags == ("O", "O", "B-CITY")


def test_stray_tags_in_a_table(file):
    rows = [("Mira left Graz", "B-PER O I-LOC"), ("Ulm is far", "B-LOC O O")]
    path = file(quoted(rows, "sentence", "tags"))
    examples, notes = noted(path)
    assert examples[0].tags == ("B-PER", "O", "B-LOC")
    assert "break IOB2" in notes[0]
    assert refusal_of(path, strict=True).line == 2


# --- words --------------------------------------------------------------------------------------

WORDS = [
    ("Sentence: 1", "Mira", "NNP", "B-per"),
    ("", ",", ",", "O"),
    ("", '"', "``", "O"),
    ("Sentence: 2", "Graz", "NNP", "B-geo"),
    ("", "snows", "VBZ", "O"),
]
SENTENCES = [
    NERExample(("Mira", ",", '"'), ("B-per", "O", "O")),
    NERExample(("Graz", "snows"), ("B-geo", "O")),
]


@pytest.mark.parametrize("ids", ["filled down", "everywhere", "numbers"])
@pytest.mark.parametrize("with_index", [False, True])
def test_a_table_of_words(ids, with_index, file):
    rows, last = [], ""
    for i, (name, *rest) in enumerate(WORDS):
        last = name or last
        name = {"filled down": name, "everywhere": last, "numbers": last[-1]}[ids]
        rows.append([*([str(i)] if with_index else []), name, *rest])
    header = [*([""] if with_index else []), "Sentence #", "Word", "POS", "Tag"]
    found = read(file(quoted(rows, *header)))
    assert (found, found.form) == (SENTENCES, "table of words with tags")


def test_a_table_of_words_parted_by_empty_rows(file):
    first = quoted([row[1::2] for row in WORDS[:3]], "word", "tag")
    assert read(file(first + "\n" + quoted([row[1::2] for row in WORDS[3:]]))) == SENTENCES


# --- pairs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        ("sentence1", "sentence2", "score"),
        ("Text_A", "Text_B", "similarity"),
        ("s1", "s2", "label"),
    ],
)
def test_pairs_with_a_score(header, file):
    rows = [("a b", "c d", "0.5"), ('e "f"', "g", "1.0"), ("h", "i", "0.0")]
    assert read(file(unquoted(rows, *header))) == [
        PairExample("a b", "c d", 0.5),
        PairExample('e "f"', "g", 1.0),
        PairExample("h", "i", 0.0),
    ]


def test_pairs_without_a_score(file):
    assert read(file(quoted([("a", "b")], "anchor", "positive"))) == [PairExample("a", "b")]


# The headers of MultiNLI, SNLI, GLUE's RTE and MRPC, Quora's question pairs, and SICK.
@pytest.mark.parametrize(
    ("header", "row", "pair"),
    [
        (
            "index promptID genre sentence1_parse sentence1 sentence2 label1 gold_label",
            ["0", "31193n", "telephone", "( ROOT )", 'He said "no', "He spoke", "neutral", "x"],
            PairExample('He said "no', "He spoke", label="x"),
        ),
        (
            "gold_label sentence1_parse sentence1 sentence2 captionID",
            ["x", "( a )", "a b", "c d", "3"],
            PairExample("a b", "c d", label="x"),
        ),
        (
            "index sentence1 sentence2 label",
            ["0", "a b", "c d", "not_entailment"],
            PairExample("a b", "c d", label="not_entailment"),
        ),
        (
            "Quality|#1 ID|#2 ID|#1 String|#2 String",
            ["1", "702", "703", 'a "b"', "c d"],
            PairExample('a "b"', "c d", 1, label="1"),
        ),
        (
            "id qid1 qid2 question1 question2 is_duplicate",
            ["0", "1", "2", "a ?", "b ?", "0"],
            PairExample("a ?", "b ?", 0, label="0"),
        ),
        (
            "pair_ID sentence_A sentence_B relatedness_score entailment_judgment",
            ["1", "a", "b", "4.5", "NEUTRAL"],
            PairExample("a", "b", 0.9, label="NEUTRAL", raw_score=4.5),
        ),
    ],
)
def test_pairs_with_classes(header, row, pair, file):
    names = header.split("|" if "|" in header else None)
    assert noted(file(unquoted([row, row], *names)))[0] == [pair, pair]


def test_quotes_within_the_sentences_of_a_tsv_are_part_of_them(file):
    rows = [('"a', "b", "x"), ("c", 'd"', "y"), ('He said "e"', "f", "-"), ('"g"', "h", "x")]
    pairs, notes = noted(file(unquoted(rows, "premise", "hypothesis", "label")))
    assert [(p.first, p.second, p.label) for p in pairs] == [rows[0], rows[1], rows[3]]
    assert notes[0].endswith('pairs whose "label" is - (not labelled), left out: 1')


def test_the_column_of_pairs_may_be_named_or_numbered(file):
    rows = [("a", "b", "4", "x", "0.5"), ("c", "d", "1", "y", "1.0")]
    path = file(unquoted(rows, "s1", "s2", "rating", "genre", "score"))
    assert [pair.raw_score for pair in noted(path)[0]] == [0.5, 1.0]
    for column in (4, "genre"):
        pairs, _ = noted(path, column=column)
        assert [(p.label, p.score) for p in pairs] == [("x", None), ("y", None)]
    pairs, _ = noted(path, scores=["rating"])
    assert [(p.score, p.raw_score) for p in pairs] == [(0.8, 4), (0.2, 1)]


@pytest.mark.parametrize("cell", ["", "high", "nan", "inf"])
def test_a_score_of_a_pair_that_is_no_number_is_a_fault(cell, file):
    rows = [("a", "b", "4.0"), ("c", "d", cell), ("e", "f", "5"), ("g", "h", "3")]
    fault = refusal_of(file(unquoted(rows, "s1", "s2", "score")))
    assert (fault.line, fault.what) == (3, "the score of a pair is not a number")


def test_a_pair_with_one_text_is_a_fault(file):
    rows = [("a", "b", "x"), ("c", " ", "y"), ("", "f", "x")]
    with pytest.raises(DataError) as caught:
        read(file(unquoted(rows, "premise", "hypothesis", "label")))
    assert [(fault.line, fault.what) for fault in caught.value.faults] == [
        (3, "the second sentence of a pair is empty"),
        (4, "the first sentence of a pair is empty"),
    ]


# --- lines of fastText --------------------------------------------------------------------------


def test_lines_of_fasttext(file):
    found = read(file("__label__good a warm film\n\n__label__bad dull\n"))
    assert found == [TextExample("a warm film", label="good"), TextExample("dull", label="bad")]
    assert found.form == "fastText lines"


def test_lines_of_fasttext_without_a_label_or_a_text(file):
    lines = [f"__label__x text {i}" for i in range(20)]
    path = file("\n".join([*lines, "no label here", "__label__y "]) + "\n")
    with pytest.raises(DataError) as caught:
        read(path)
    assert [fault.line for fault in caught.value.faults] == [21, 22]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    rows=st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1),
            st.sampled_from("xy"),
        ),
        min_size=1,
        max_size=6,
    ).filter(lambda rows: all(text.strip() for text, _ in rows))
)
def test_any_text_comes_through_a_csv(rows, tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(quoted(rows, "text", "label").encode())
    examples = read(path)
    assert [(e.text, e.label) for e in examples] == [(text.strip(), label) for text, label in rows]


@pytest.mark.parametrize(
    "header", ["text,rude,threat,rude", "text,label,tags,tags", "context,question,answer,answer"]
)
def test_two_columns_of_one_name_are_refused(header, file):
    """It would be unclear which of them counts."""
    row = "Ann ran,1,0,1" if "rude" in header else "Ann ran,Who ran?,Ann,Ann"
    with pytest.raises(DataError, match=r":1: two columns have the same name"):
        read(file("\n".join([header, *[row] * 12]), "x.csv"))


def test_columns_without_a_name_may_be_several(file):
    content = "text,label,,\n" + "".join(f"word {i},{'ab'[i % 2]},,\n" for i in range(12))
    assert len(read(file(content, "x.csv"))) == 12
