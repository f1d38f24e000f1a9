"""Columns: words and tags are found by what stands in them, in every spelling and scheme."""

import random
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mtl
from mtl.data.examples import NERExample, TextExample, TokenExample
from mtl.data.readers import SoundDataError, read, read_conll, read_words, write_conllu
from mtl.data.readers.schemes import BREAKS, scheme_of, to_iob2
from mtl.errors import ConfigError, DataError, DataWarning
from mtl.metrics import entity_spans

TAGGED = [
    [("Mira", "B-PER"), ("Holt", "I-PER"), ("left", "O"), ("Graz", "B-LOC"), (".", "O")],
    [("It", "O"), ("snows", "O"), ("in", "O"), ("Linz", "B-LOC"), ("!", "O")],
    [("Ask", "O"), ("Mira", "B-PER"), ("Otto", "B-PER"), (",", "O"), ("1", "O")],
]
EXPECTED = [
    NERExample([word for word, _ in sentence], [tag for _, tag in sentence]) for sentence in TAGGED
]
MERGED = NERExample(EXPECTED[2].tokens, ["O", "B-PER", "I-PER", "O", "O"])


@pytest.fixture
def file(tmp_path):
    def write(content, name="data"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def columns(line, end="\n"):
    """The sentences above, each word as `line(number, word, tag)` puts it."""
    return end.join(
        "".join(line(i, word, tag) + end for i, (word, tag) in enumerate(sentence))
        for sentence in TAGGED
    )


def turned(tag, sign="-"):
    return sign.join(reversed(tag.split("-")))


def noted(path, **options):
    """What is read, and the notes about it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        examples = read(path, **options)
    return examples, [str(warning.message) for warning in caught]


LINES = {
    "tag last": lambda i, word, tag: f"{word}\t{tag}",
    "tag first": lambda i, word, tag: f"{tag}\t{word}",
    "tag in the middle": lambda i, word, tag: f"{word} {tag} x{i}",
    "blanks": lambda i, word, tag: f"{word}   {tag}",
    "trailing tabs": lambda i, word, tag: f"{word}\tNN\t{tag}\t\t",
    "index from 1": lambda i, word, tag: f"{i + 1}\t{word}\tNN\t{tag}",
    "index from 0": lambda i, word, tag: f"{i}\t{word}\t{tag}",
    "document, part, index": lambda i, word, tag: f"wiki 0 {i} {word} NN {tag}",
    "chunks beside entities": lambda i, word, tag: f"{word} NN {'IB'[i % 2]}-NP {tag}",
    "chunks after entities": lambda i, word, tag: f"{word} NN {tag} {'IB'[i % 2]}-NP",
    "placeholders": lambda i, word, tag: f"{word} -X- _ {tag}",
    "type before the letter": lambda i, word, tag: f"{word}\t{turned(tag)}",
    "lower case": lambda i, word, tag: f"{word}\t{tag[:2].lower() + tag[2:]}",
    "underscore": lambda i, word, tag: f"{word}\t{tag.replace('-', '_')}",
    "colon": lambda i, word, tag: f"{word}\t{tag.replace('-', ':')}",
    "zero for O": lambda i, word, tag: f"{word}\t{tag if len(tag) > 1 else 0}",
    "underscore for O": lambda i, word, tag: f"{word}\t{tag if len(tag) > 1 else '_'}",
}


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["data", "x.conll", "x.tsv", "x.csv", "x.json"])
def test_words_and_tags_are_found_wherever_they_stand(line, end, name, file):
    path = file("\ufeff" + columns(line, end), name)
    assert read_conll(path) == EXPECTED
    found = read(path)
    assert (found, found.form) == (EXPECTED, "CoNLL columns")


@pytest.mark.parametrize("header", ["word pos ner", "Token POS Tag"])
def test_a_header_line_names_the_columns(header, file):
    path = file(f"{header}\n" + columns(lambda i, w, t: f"{w} NN {t}"))
    assert read(path) == EXPECTED
    name = header.split()[-1].lower()
    assert read(path, column=name) == EXPECTED


# --- spellings and schemes ----------------------------------------------------------------------


def test_plain_types_are_read_and_said_to_merge_neighbours(file):
    path = file(columns(lambda i, word, tag: f"{word}\t{tag[2:] or 'O'}"))
    examples, notes = noted(path)
    assert examples == [*EXPECTED[:2], MERGED]
    assert len(notes) == 1
    assert "neighbours of the same type are read as one entity" in notes[0]


def test_letters_without_a_type(file):
    examples = read(file("the O\nred B\nfox I\n\nran O\nfar B\n"))
    assert [e.tags for e in examples] == [("O", "B-ENTITY", "I-ENTITY"), ("O", "B-ENTITY")]


def test_brackets(file):
    path = file(
        "Mira NN (PER*\nvan NN *\nHolt NN *)\nleft NN *\nGraz NN (LOC*)\n\n"
        "Otto NN (PER)\nUlm NN (LOC)\n. NN *\n"
    )
    assert [e.tags for e in read(path)] == [
        ("B-PER", "I-PER", "I-PER", "O", "B-LOC"),
        ("B-PER", "B-LOC", "O"),
    ]


def test_a_bracket_that_never_closes_is_one_word_and_counted(file):
    path = file("Mira (PER*\nHolt *)\nin *\nGraz (LOC*\n. *\n\nUlm (LOC*\nis *\n")
    examples, notes = noted(path)
    assert [e.tags for e in examples] == [("B-PER", "I-PER", "O", "B-LOC", "O"), ("B-LOC", "O")]
    assert "never close, read as entities of one word: 2 (the first at line 4)" in notes[0]
    with pytest.raises(DataError) as caught:
        read(path, strict=True)
    assert [fault.line for fault in caught.value.faults] == [4, 7]


def test_a_closing_bracket_without_an_opening_one_is_a_fault(file):
    with pytest.raises(DataError) as caught:
        read(file("Mira (PER*\nHolt *)\nis *)\n\nGraz (LOC)\n"))
    (fault,) = caught.value.faults
    assert (fault.line, fault.found) == (3, "'*)' at the token 'is'")


def test_conll_2012_with_a_column_per_verb(file):
    path = file(
        "#begin document (nw/1); part 000\n"
        "nw/1 0 0 Mira NNP (TOP(S(NP* - - - Sp (PERSON* (ARG0* (3\n"
        "nw/1 0 1 Holt NNP *) - - - Sp *) *) 3)\n"
        "nw/1 0 2 left VBD (VP*)) leave 01 1 Sp * (V*) -\n\n"
        "nw/1 0 0 In IN (TOP(PP* - - - Sp * -\n"
        "nw/1 0 1 Graz NNP (NP*))) - - - Sp (GPE) (4)\n\n"
        "#end document\n"
    )
    assert read(path) == [
        NERExample(("Mira", "Holt", "left"), ("B-PERSON", "I-PERSON", "O")),
        NERExample(("In", "Graz"), ("O", "B-GPE")),
    ]


@st.composite
def tagged_entities(draw):
    """Tags in IOB2, at least one entity among them, and every one followed by something else."""
    tags = []
    for kind, length in draw(
        st.lists(st.tuples(st.sampled_from(["", "PER", "LOC"]), st.integers(1, 3)), max_size=6)
    ):
        tags += ["O"] * length if not kind else [f"B-{kind}", *[f"I-{kind}"] * (length - 1)]
    return [*tags, "O", "B-PER"]


def in_scheme(iob2, begin, inside, end, single):
    """The same entities with other letters; `end` and `single` are None in IOB schemes."""
    tags = ["O"] * len(iob2)
    for kind, first, last in entity_spans(iob2):
        letters = [begin] + [inside] * (last - first - 1)
        if end:
            letters = [single] if last - first == 1 else [*letters[:-1], end]
        tags[first:last] = [f"{letter}-{kind}" for letter in letters]
    return tags


LETTERS = ("BIES", "BILU", "BMES", "BMEW")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(iob2=tagged_entities(), letters=st.sampled_from(LETTERS))
def test_every_scheme_of_four_letters_becomes_the_same_iob2(iob2, letters, tmp_path):
    tags = in_scheme(iob2, *letters)
    path = tmp_path / "x.conll"
    path.write_text("".join(f"w{i}\t{tag}\n" for i, tag in enumerate(tags)))
    (example,) = read_conll(path)
    assert list(example.tags) == iob2


def conlleval_chunks(tags):
    """Where `conlleval.pl` (E. Tjong Kim Sang, 2000) begins chunks, and of which type.

    Its rules, line by line, with S for a chunk of one token as its later versions have it.
    """
    begun, before, before_type = [], "O", ""
    for i, tag in enumerate([*tags]):
        letter, _, kind = tag.partition("-")
        starts = letter in ("B", "S")
        starts |= before in ("E", "S", "O") and letter in ("E", "I")
        starts |= letter != "O" and before_type != kind
        if starts:
            begun.append((i, kind))
        before, before_type = letter, kind
    return begun


@given(
    st.lists(
        st.sampled_from(["O", *(f"{x}-{t}" for x in "BIES" for t in ("PER", "LOC"))]), min_size=1
    )
)
def test_any_tags_at_all_are_read_as_conlleval_reads_them(tags):
    iob2 = list(to_iob2(tags))
    assert [(i, tag[2:]) for i, tag in enumerate(iob2) if tag[0] == "B"] == conlleval_chunks(tags)
    assert [tag == "O" for tag in iob2] == [tag == "O" for tag in tags]


@given(tagged_entities())
def test_a_file_that_keeps_to_a_scheme_breaks_none_of_its_rules(iob2):
    for letters in LETTERS:
        tags = in_scheme(iob2, *letters)
        scheme = scheme_of([tags])
        assert not any(
            BREAKS[scheme](*pair) for pair in zip(["O", *tags], [*tags, "O"], strict=True)
        )


STRAYS = {
    "I- after O in IOB2": ("Mira B-PER\nleft O\nGraz I-LOC\n\nUlm B-LOC\n", 3, "IOB2"),
    "B- after O in IOB1": ("Mira I-PER\n\nGraz B-LOC\n\nHolt I-PER\n\nUlm I-LOC\n", 3, "IOB1"),
    "E- after O in BIOES": ("Mira B-PER\nHolt E-PER\n\nGraz E-LOC\n\nUlm S-LOC\n", 4, "BIOES"),
}


@pytest.mark.parametrize(("content", "line", "scheme"), STRAYS.values(), ids=STRAYS)
def test_a_stray_tag_begins_an_entity_and_is_counted(content, line, scheme, file):
    path = file(content)
    examples, notes = noted(path)
    assert {tag[0] for e in examples for tag in e.tags} <= set("BIO")
    assert len([s for e in examples for s in entity_spans(e.tags)]) >= 2
    assert any(f"break {scheme}" in n and f"first at line {line}" in n for n in notes)
    with pytest.raises(DataError) as caught:
        read(path, strict=True)
    assert caught.value.faults[0].line == line


# --- comments, sentences, widths ----------------------------------------------------------------


def test_comments_are_passed_over_and_words_that_begin_with_a_hash_are_not(file):
    path = file(
        "# id = 7\tsource=web\n# O\n#snow O\nin O\nLinz B-LOC\n\n"
        "# text = It rains\nIt O\nrains O\n\n-DOCSTART- O\n\n#Graz B-LOC\n"
    )
    assert [e.tokens for e in read(path)] == [
        ("#", "#snow", "in", "Linz"),
        ("It", "rains"),
        ("#Graz",),
    ]


def test_a_hash_with_a_bad_tag_inside_a_sentence_is_a_fault_and_no_comment(file):
    with pytest.raises(DataError) as caught:
        read(file("Linz B-LOC\n# X-Y\nis O\n\n#tag\nGraz B-LOC\n"))
    assert [fault.line for fault in caught.value.faults] == [2, 5]


def test_comments_of_an_index_file_may_have_its_width(file):
    """GermEval 2014 has a comment in as many columns as a word."""
    path = file(
        "#\thttp://a.b\t[2010]\tx\n1\tGraz\tB-LOC\tO\n2\tis\tO\tO\n\n#\tb\tc\td\n1\tUlm\tB-LOC\tO\n2\tx\tO\tO\n"
    )
    assert [e.tokens for e in read(path)] == [("Graz", "is"), ("Ulm", "x")]


@pytest.mark.parametrize("between", ["", "# next\n"])
def test_without_blank_lines_comments_or_the_index_part_sentences(between, file):
    words = [f"{i}\t{word}\t{tag}\n" for s in TAGGED for i, (word, tag) in enumerate(s, 1)]
    text = "".join(between * line.startswith("1\t") + line for line in words)
    assert read(file(text)) == EXPECTED


def test_a_file_without_any_blank_line_is_said_to_be_one_sentence(file, tmp_path):
    words = [("Mira", "B-PER"), ("left", "O"), ("Graz", "B-LOC"), (".", "O")] * 60
    path = file("".join(f"{word}\t{tag}\n" for word, tag in words))
    with pytest.raises(DataError, match="are the blank lines missing") as caught:
        read(path)
    assert (
        "240 words without a blank line, 60 of which end a sentence" in caught.value.faults[0].found
    )
    assert [f.what for f in mtl.check_file(path).problems] == [caught.value.faults[0].what]
    short = file("".join(f"{word}\t{tag}\n" for word, tag in words[:20]), "short")
    assert len(read(short)[0].tokens) == 20


def test_a_blank_line_after_every_word_is_told(file):
    examples, notes = noted(file("Mira B-PER\n\nHolt I-PER\n\nleft O\n\nUlm B-LOC\n"))
    assert len(examples) == 4
    assert "break IOB2" in notes[0]
    assert "every sentence is one word" in notes[1]


def test_lingpipe_says_what_an_outside_word_stands_beside(file):
    """BMEWO+ (LingPipe): BB_O_X before an entity, EE_O_X after one, MM_O elsewhere."""
    path = file("a MM_O\nb BB_O_PER\nMira B_PER\nHolt E_PER\nc EE_O_PER\n\nUlm W_LOC\nd WW_O_EOS\n")
    assert [e.tags for e in read(path)] == [
        ("O", "O", "B-PER", "I-PER", "O"),
        ("B-LOC", "O"),
    ]


def test_a_header_tells_two_columns_of_tags_apart(file):
    path = file("word,prev,tag\nMira,O,B-PER\nsaw,B-PER,O\nUlm,O,B-LOC\n.,B-LOC,O\n")
    assert read(path)[0].tags == ("B-PER", "O", "B-LOC", "O")
    assert read(path, column="prev")[0].tags == ("O", "B-PER", "O", "B-LOC")


def test_words_that_look_like_tags(file):
    path = file("O\tO\nB-52\tB-PLANE\nflies\tO\n\nO\tO\nI-95\tO\n")
    assert [e.tokens for e in read(path)] == [("O", "B-52", "flies"), ("O", "I-95")]


def test_a_file_in_which_nothing_is_an_entity(file):
    path = file("It NN B-NP O\nrains VB O O\n\nO NN B-NP O\n")
    assert [e.tags for e in read(path)] == [("O", "O"), ("O",)]


# --- which column -------------------------------------------------------------------------------

NESTED = "1\tUni\tB-ORG\tO\n2\tGraz\tI-ORG\tB-LOC\n3\tis\tO\tO\n\n1\tIn\tO\tO\n2\tUlm\tB-LOC\tO\n"


def test_two_columns_of_entities_are_named_and_one_is_chosen(file):
    path = file(NESTED)
    with pytest.raises(SoundDataError) as caught:
        read(path)
    (fault,) = caught.value.faults
    assert fault.what == "2 columns hold entity tags"
    assert "column 3 (O, B-ORG, I-ORG, B-LOC); column 4 (O, B-LOC)" in fault.found
    assert "tasks.NAME.column = 3" in fault.fix
    assert read(path, column=3)[0].tags == ("B-ORG", "I-ORG", "O")
    assert read(path, column="4")[0].tags == ("O", "B-LOC", "O")
    report = mtl.check_file(path)
    assert report.problems == []
    assert "2 columns hold entity tags" in dict(report.facts)["note"]
    assert dict(mtl.check_file(path, column="4").facts)["entities"] == "LOC 1"


def test_a_plain_column_beside_a_lettered_one_is_asked_about_too(file):
    path = file("Mira PLACE O\nsaw O O\nGraz PLACE B-LOC\nand O O\n")
    with pytest.raises(SoundDataError, match="2 columns hold entity tags"):
        read(path)


@pytest.mark.parametrize("column", [0, 9, "ner", "-1"])
def test_a_column_that_is_not_there(column, file):
    with pytest.raises(ConfigError, match="there is no column") as caught:
        read(file(NESTED), column=column)
    assert "column 2 (Uni, Graz, is, In, Ulm)" in caught.value.faults[0].found
    assert "from 1 to 4" in caught.value.faults[0].fix


@pytest.mark.parametrize(
    "line", ["{} {}\n", "{}\t{}\n", "{} {} 7\n"], ids=["blanks", "tabs", "more"]
)
def test_without_entities_the_tags_are_parts_of_speech(line, file):
    rows = [("The", "DT"), ("cat", "NN"), ("sat", "VBD"), None, ("The", "DT"), ("end", "NN")]
    path = file("".join(line.format(*row) if row else "\n" for row in rows))
    expected = [
        TokenExample(("The", "cat", "sat"), ("DT", "NN", "VBD")),
        TokenExample(("The", "end"), ("DT", "NN")),
    ]
    examples, notes = noted(path)
    assert examples == expected
    assert "the tags are the parts of speech of column 2 (DT, NN, VBD)" in notes[0]
    assert noted(path, column=2) == (expected, [])


def test_tags_of_any_kind_in_a_column_that_somebody_chose(file):
    path = file("Mira happy x\nleft sad x\n\nGraz happy y\n")
    with pytest.raises(DataError, match="no column holds entity tags or parts of speech") as caught:
        read(path)
    assert "tasks.NAME.column = 3" in caught.value.faults[0].fix
    expected = [
        TokenExample(("Mira", "left"), ("happy", "sad")),
        TokenExample(("Graz",), ("happy",)),
    ]
    assert read(path, column=2) == expected


def test_a_faulty_line_among_parts_of_speech(file):
    path = file("The\tDT\ncat\tNN\nsat\tVBD\n\nThe\tDT\nend\n\nA\tDT\n")
    with pytest.raises(DataError) as caught:
        read(path, column=2)
    assert [fault.line for fault in caught.value.faults] == [6]
    with pytest.warns(DataWarning, match="left out: 1"):
        assert len(read(path, "skip", column=2)) == 2


FIELDS = "Mira NNP B-NP I-PER\nHolt NNP E-NP I-PER\nleft VBD S-VP O\n\nGraz NNP S-NP I-LOC\n"


def test_fields_are_further_columns_of_tags(file):
    path = file(FIELDS)
    examples = read(path, fields=[2, "3"])
    assert examples[0] == NERExample(
        ("Mira", "Holt", "left"),
        ("B-PER", "I-PER", "O"),
        # Chunks have a scheme too; parts of speech stay as they are.
        {"2": ("NNP", "NNP", "VBD"), "3": ("B-NP", "I-NP", "B-VP")},
    )
    assert [example.fields["2"] for example in examples] == [("NNP", "NNP", "VBD"), ("NNP",)]
    by_name = read(file("word pos chunk ner\n" + FIELDS), fields=["POS"], column="chunk")
    assert by_name[0].tags == ("B-NP", "I-NP", "B-VP")
    assert by_name[0].fields == {"POS": ("NNP", "NNP", "VBD")}


def test_a_field_that_is_not_there(file):
    with pytest.raises(ConfigError, match="there is no column '9'"):
        read(file(FIELDS), fields=[9])


def test_with_fields_the_first_one_settles_which_column_is_meant(file):
    path = file(NESTED)
    examples = read(path, fields=["3", "4"])
    assert examples[0].tags == ("B-ORG", "I-ORG", "O")
    assert examples[0].fields == {"3": ("B-ORG", "I-ORG", "O"), "4": ("O", "B-LOC", "O")}
    assert read(path, fields=["4"])[0].tags == ("O", "B-LOC", "O")
    assert read(path, fields=["4"], column=3)[0].tags == ("B-ORG", "I-ORG", "O")


def test_notes_about_a_field_name_its_column(file):
    path = file("Mira B-PER I-NP\nleft O I-VP\n\nGraz B-LOC B-NP\nis O I-VP\nbig O O\n")
    _, notes = noted(path, fields=["3"])
    assert len(notes) == 1
    assert "column 3: tags that break" in notes[0]
    with pytest.raises(DataError):
        read(path, fields=["3"], strict=True)
    # The same column as tags and as a field: its notes are those of the field, once.
    assert noted(path, fields=["3"], column=3)[1] == notes


def test_fields_of_a_table_with_one_word_per_row(file):
    path = file("Sentence #,Word,POS,Tag\nSentence: 1,Mira,NNP,B-per\n,left,VBD,O\n")
    (example,) = read(path, fields=["POS"])
    assert (example.tags, example.fields) == (("B-per", "O"), {"POS": ("NNP", "VBD")})


def test_numbers_mean_what_label_names_say(file):
    path = file("Mira\t1\nHolt\t2\nleft\t0\n\nin\t0\nGraz\t3\n")
    with pytest.raises(DataError, match="no column holds entity tags") as caught:
        read(path)
    assert "label_names" in caught.value.faults[0].fix
    names = ["O", "B-PER", "I-PER", "B-LOC"]
    assert [e.tags for e in read(path, label_names=names)] == [
        ("B-PER", "I-PER", "O"),
        ("O", "B-LOC"),
    ]


# --- CoNLL-U ------------------------------------------------------------------------------------


def conllu(rows, misc=lambda tag: tag, text=None):
    lines = [f"# text = {text}\n"] if text else []
    for i, (word, upos, tag) in enumerate(rows, 1):
        lines.append(f"{i}\t{word}\t{word}\t{upos}\t_\t_\t0\troot\t_\t{misc(tag)}\n")
    return "".join(lines) + "\n"


ROWS = [("Mira", "PROPN", "B-PER"), ("left", "VERB", "O"), ("Graz", "PROPN", "B-LOC")]


@pytest.mark.parametrize(
    "misc", [lambda tag: tag, lambda tag: f"SpaceAfter=No|NER={tag}", lambda tag: f"ner={tag}|x=1"]
)
def test_entities_in_the_last_column_of_conllu(misc, file):
    found = read(file("# sent_id = 1\n" + conllu(ROWS, misc)))
    assert found == [NERExample([r[0] for r in ROWS], [r[2] for r in ROWS])]
    assert found.form == "CoNLL-U"


def test_conllu_without_entities_has_universal_parts_of_speech(file):
    path = file(
        conllu([*ROWS, (".", "PUNCT", "")], lambda tag: "_", "Mira left Graz.")
        + "# text = Dámelo\n1-2\tDámelo\t_\t_\t_\t_\t_\t_\t_\t_\n"
        + conllu([("Da", "VERB", ""), ("lo", "PRON", "")], lambda tag: "_").replace(
            "\n2\t", "\n1.1\tgone\t_\tVERB\t_\t_\t_\t_\t_\t_\n2\t"
        )
    )
    examples, notes = noted(path)
    assert examples == [
        TokenExample(("Mira", "left", "Graz", "."), ("PROPN", "VERB", "PROPN", "PUNCT")),
        TokenExample(("Da", "lo"), ("VERB", "PRON")),
    ]
    assert "the parts of speech of column 4 'upos' (VERB, PROPN, " in notes[0]
    assert noted(path, column="upos") == (examples, [])
    assert dict(mtl.check_file(path).facts)["tags"] == "PROPN 2, VERB 2, PUNCT 1, PRON 1"


def test_what_nobody_annotated_in_conllu_is_not_tagged(file):
    untagged = conllu([("It", "_", ""), ("snows", "_", "")], lambda tag: "_", "It  snows")
    examples, notes = noted(file(untagged))
    assert examples == [TextExample("It  snows", ("It", "snows"))]
    assert "no column holds entity tags or parts of speech" in notes[0]
    path = file(untagged + conllu([("Da", "VERB", ""), ("lo", "PRON", "")], lambda tag: "_"))
    found = read(path, fields=["upos", "xpos"])
    assert found == [
        TokenExample(("It", "snows")),
        TokenExample(("Da", "lo"), ("VERB", "PRON"), {"upos": ("VERB", "PRON")}),
    ]


def test_entities_beside_parts_of_speech_in_conllu(file):
    path = file(conllu(ROWS))
    assert read(path, fields=["upos"]) == [
        NERExample([r[0] for r in ROWS], [r[2] for r in ROWS], {"upos": [r[1] for r in ROWS]})
    ]
    tagged = [TokenExample([r[0] for r in ROWS], [r[1] for r in ROWS])]
    assert read(path, column="upos") == tagged


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(iob2=tagged_entities(), seed=st.integers(0, 9))
def test_conllu_round_trip(iob2, seed, tmp_path):
    words = random.Random(seed).choices(["a", "1", "#", "_", "O", "é", "1-2"], k=len(iob2))
    examples = [NERExample(words, iob2), TextExample("It is.", ("It", "is", "."), tags=("O",) * 3)]
    write_conllu(examples, tmp_path / "x.conllu")
    back = read(tmp_path / "x.conllu")
    assert [(e.tokens, e.tags) for e in back] == [(e.tokens, e.tags) for e in examples]


# --- files that are no text ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\x1f\x8b\x08\x00rest", "gzip"),
        (b"PK\x03\x04....xl/worksheets", "Excel"),
        (b"PK\x03\x04....train.conll", "zip"),
        (b"PAR1\x15\x04", "Parquet"),
        (b"SQLite format 3\x00", "SQLite"),
        (b"\x80\x04\x95\x10", "pickle"),
        ("Graz\tB-LOC\n".encode("utf-16"), "UTF-16"),
        ("Graz\tB-LOC\n".encode("utf-16-le"), "UTF-16LE"),
        ("Mira\x92s\tB-PER\n".encode("latin-1"), "CP1252"),
    ],
)
def test_files_of_another_kind_are_called_by_name(content, what, file):
    with pytest.raises(DataError) as caught:
        read(file(content))
    assert what in str(caught.value)
    assert caught.value.faults[0].fix


def test_a_note_is_a_data_warning(file):
    with pytest.warns(DataWarning, match="break IOB2"):
        read(file("Mira B-PER\nleft O\nGraz I-LOC\n"))


@pytest.mark.parametrize(
    "text",
    [
        "Ann\nmet\n#tag\n\nBob\n",
        "# a comment\nAnn\nmet\n#tag\n\n# another\nBob\n",
        "Ann\tO\nmet\tO\n#tag\tB-X\n\nBob\tO\n",
        "B-X\tAnn\nO\tmet\nO\t#tag\n\nO\tBob\n",
        "1\tAnn\tNNP\n2\tmet\tVBD\n3\t#tag\tNN\n\n1\tBob\tNNP\n",
        "-DOCSTART- -X-\n\nAnn NNP\nmet VBD\n#tag NN\n\nBob NNP",
    ],
)
def test_words_of_a_file_with_or_without_tags(tmp_path, text):
    path = tmp_path / "words"
    path.write_text(text, encoding="utf-8")
    assert read_words(path) == [["Ann", "met", "#tag"], ["Bob"]]
