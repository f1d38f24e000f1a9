"""CoNLL files: every tagging scheme becomes IOB2, and bad lines say what is wrong and where."""

import pytest
import reading
from reading import faults_of, only_fault_of

from mtl.data.examples import NERExample
from mtl.data.readers import LeftOutWarning, read_conll
from mtl.errors import DataWarning

# pytest looks for a fixture by its name in this module.
file = reading.file


def test_conll_2003_as_it_is_distributed(file):
    """Four columns, IOB1, -DOCSTART- lines, and no blank line after the last sentence."""
    path = file(
        "-DOCSTART- -X- -X- O\n\n"
        "EU NNP B-NP I-ORG\nrejects VBZ B-VP O\nGerman JJ B-NP I-MISC\n\n"
        "-DOCSTART- -X- -X- O\n"
        "Ben NNP B-NP I-PER\nSmith NNP I-NP I-PER\nKofi NNP B-NP B-PER\nParis NNP B-NP I-LOC\n"
    )
    assert read_conll(path) == [
        NERExample(("EU", "rejects", "German"), ("B-ORG", "O", "B-MISC")),
        NERExample(("Ben", "Smith", "Kofi", "Paris"), ("B-PER", "I-PER", "B-PER", "B-LOC")),
    ]


@pytest.mark.parametrize(
    "tags",
    [
        "B-PER I-PER I-PER O B-LOC B-LOC B-ORG I-ORG",
        "I-PER I-PER I-PER O I-LOC B-LOC I-ORG I-ORG",
        "B-PER I-PER E-PER O S-LOC S-LOC B-ORG E-ORG",
        "B-PER I-PER L-PER O U-LOC U-LOC B-ORG L-ORG",
    ],
    ids=["IOB2", "IOB1", "BIOES", "BILOU"],
)
def test_every_scheme_becomes_iob2(tags, file):
    path = file("".join(f"{c}\t{tag}\n" for c, tag in zip("abcdefgh", tags.split(), strict=True)))
    (example,) = read_conll(path)
    assert " ".join(example.tags) == "B-PER I-PER I-PER O B-LOC B-LOC B-ORG I-ORG"


def test_scheme_is_told_from_the_whole_file(file):
    """The first sentence alone would pass for a fault in IOB2, the second alone for IOB2."""
    path = file("Paris I-LOC\n\nAnn I-PER\nBob B-PER\n\nRome I-LOC\n")
    assert [e.tags for e in read_conll(path)] == [("B-LOC",), ("B-PER", "B-PER"), ("B-LOC",)]


def test_line_ends_byte_order_mark_and_blank_lines(file):
    content = "\ufeffParis\tB-LOC\r\n\t\r\n  \r\n\r\nin O\rRome   B-LOC  \n"
    assert read_conll(file(content)) == [
        NERExample(("Paris",), ("B-LOC",)),
        NERExample(("in", "Rome"), ("O", "B-LOC")),
    ]


def test_odd_tokens_stay_whole(file):
    """A `#` starts no comment, and only tabs and line ends cut where there are tabs."""
    tokens = ("#", "New York", "a\u2028b", "c\x85d", "e\xa0f", "g\x0ch", '"')
    assert read_conll(file("".join(f"{token}\tO\n" for token in tokens))) == [
        NERExample(tokens, ("O",) * 7)
    ]
    assert read_conll(file("e\xa0f O\n"))[0].tokens == ("e\xa0f",)


def test_missing_tag_names_line_tokens_and_tags(file):
    path = file("in O\nRome B-LOC\n\nshe O\nsaw O\nParis\n")
    fault = only_fault_of(read_conll, path)
    assert fault.line == 6
    assert "3 tokens with 2 tags" in fault.what
    assert "tokens ['she', 'saw', 'Paris'], tags ['O', 'O']" in fault.found
    assert "'Paris'" in fault.found


def test_missing_column_is_not_taken_for_a_tag(file):
    """Without its last column the line would end in a chunk tag, which looks like an entity."""
    path = file("EU NNP B-NP B-ORG\nsaw VBD B-VP O\nPeter NNP B-NP\n")
    fault = only_fault_of(read_conll, path)
    assert fault.line == 3
    assert "3 column(s) where 4 are needed" in fault.what


def test_tab_without_a_tag_after_it(file):
    fault = only_fault_of(read_conll, file("in\tO\t\nRome\t \n"))
    assert fault.line == 2
    assert "1 column(s) where 2 are needed" in fault.what


def test_one_column_throughout(file):
    faults = faults_of(read_conll, file("Paris\nis\n\nhere\n"))
    assert [fault.line for fault in faults] == [1, 2, 4]
    assert all("1 column(s) where 2 are needed" in fault.what for fault in faults)


@pytest.mark.parametrize("tag", ["PERSON", "X-FOO", "B-", "b-per", "B_PER", "0", "OO"])
def test_unknown_scheme(tag, file):
    fault = only_fault_of(read_conll, file(f"Ann\tB-PER\n\nand\tO\nBob\t{tag}\n"))
    assert fault.line == 4
    assert fault.found == f"'{tag}' at the token 'Bob'"
    assert "B-TYPE" in fault.fix


@pytest.mark.parametrize(
    ("content", "line", "what"),
    [
        ("Ann B-PER\n\nin O\nRome I-LOC\n", 4, "I-LOC after O breaks IOB2"),
        ("Ann B-PER\nLee I-LOC\n", 2, "I-LOC after B-PER breaks IOB2"),
        ("Ann I-PER\n\nin O\nRome B-LOC\n\nBob I-PER\n", 4, "B-LOC after O breaks IOB1"),
        ("Ann B-PER\nLee L-PER\n\nJo U-PER\n\nRay I-PER\n", 6, "I-PER after O breaks BIOES"),
        ("Ann S-PER\n\nJo S-PER\n\nBob B-PER\nRay I-PER\n", 6, "O after I-PER breaks BIOES"),
        ("Ann S-PER\n\nBob S-PER\nRay E-PER\n", 4, "E-PER after S-PER breaks BIOES"),
        ("Ann B-PER\nLee E-PER\n\nBob B-PER\nRay E-LOC\n", 5, "E-LOC after B-PER breaks BIOES"),
        ("Ann B-PER\nLee I-PER\n\nBob B-PER\nRay E-PER\n\nJo B-PER\n", 5, "E-PER after B-PER"),
    ],
)
def test_tags_that_break_the_scheme_of_the_file(content, line, what, file):
    fault = only_fault_of(read_conll, file(content), strict=True)
    assert fault.line == line
    assert fault.what.startswith(what)
    assert "tokens [" in fault.found
    with pytest.warns(DataWarning, match="read as conlleval reads them: ") as warned:
        read_conll(file(content))
    assert f"the first at line {line}: {what.split(' breaks')[0]})" in str(warned[0].message)


def test_all_faults_of_a_conll_file_come_together_in_order(file):
    path = file("Ann B-PER\nLee\n\nin O\nRome I-LOC\n\nBob HUMAN\nRay\n\nJo B-PER\n\n\tO\n")
    faults = faults_of(read_conll, path, strict=True)
    assert [fault.line for fault in faults] == [2, 5, 7, 8, 12]


def test_skip_leaves_bad_sentences_out_and_says_so(file):
    path = file("Ann B-PER\nLee\n\nBob HUMAN\nRay HUMAN\n\nJo B-PER\n")
    with pytest.warns(DataWarning, match="bad records left out: 2") as warned:
        examples = read_conll(path, on_error="skip")
    assert examples == [NERExample(("Jo",), ("B-PER",))]
    (message,) = [str(warning.message) for warning in warned]
    assert f"{path}:2: 1 column(s)" in message
    assert warned[0].filename == __file__
    assert warned[0].category is LeftOutWarning  # so nobody has to read the message to know


def test_skip_that_leaves_nothing_is_an_error(file):
    fault = only_fault_of(read_conll, file("Ann B-PER\nLee HUMAN\n"), on_error="skip")
    assert fault.what == "the file holds no sentence"
    assert "bad records left out: 1" in fault.found
    assert "HUMAN" in fault.found


def test_file_without_a_sentence(file):
    assert only_fault_of(read_conll, file("-DOCSTART- -X- O\n\n")).what.endswith("no sentence")
