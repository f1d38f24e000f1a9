"""Writers: what is written is read back the same, and what cannot be written is refused."""

import json
import os
from pathlib import Path

import pytest
import reading
from hypothesis import given
from hypothesis import strategies as st
from reading import CONTEXT, tmp_path_shared

from mtl.data.examples import Answer, NERExample, PairExample, QAExample, TextExample
from mtl.data.readers import (
    read_conll,
    read_jsonl,
    read_pairs,
    read_squad,
    write_conll,
    write_examples,
    write_jsonl,
    write_squad,
)
from mtl.errors import ConfigError, DataError

# pytest looks for a fixture by its name in this module.
file = reading.file

tokens = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\ufeff")).filter(
    lambda token: token.strip() and token == token.strip(" ") and token != "-DOCSTART-"
)
segments = st.tuples(st.sampled_from(["", "PER", "B", "creative-work", "Ä"]), st.lists(tokens))


@st.composite
def sentences(draw):
    words, tags = ["."], ["O"]
    for kind, entity in draw(st.lists(segments, max_size=4)):
        words += entity
        tags += [f"{'I' if i else 'B'}-{kind}" if kind else "O" for i in range(len(entity))]
    return NERExample(words, tags)


@tmp_path_shared
@given(examples=st.lists(sentences(), min_size=1, max_size=4))
def test_conll_round_trip(examples, tmp_path):
    write_conll(examples, tmp_path / "x.conll")
    assert read_conll(tmp_path / "x.conll") == examples


def test_write_conll_refuses_a_text_without_tags(tmp_path):
    with pytest.raises(DataError, match="columns hold words with tags") as error:
        write_conll([TextExample("Ann sings.", ("Ann", "sings", "."))], tmp_path / "x.conll")
    assert error.value.faults[0].found == "'Ann sings.'"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("token", ["a\tb", "a\nb", "a\rb", " a", "-DOCSTART-", "\ufeffa"])
def test_write_conll_refuses_what_it_could_not_read_back(token, tmp_path):
    path = tmp_path / "x.conll"
    write_conll([NERExample(("old",), ("O",))], path)
    with pytest.raises(DataError) as caught:
        write_conll([NERExample(("fine", token), ("O", "O"))], path)
    assert repr(token) in str(caught.value)
    assert read_conll(path)[0].tokens == ("old",)


filled = st.text(min_size=1).filter(str.strip)


@st.composite
def questions(draw, contexts):
    context = draw(contexts)
    ends = st.integers(0, len(context))
    spans = draw(st.lists(st.tuples(ends, ends).map(sorted), max_size=3))
    answers = [Answer(context[a:b], a) for a, b in spans if context[a:b].strip()]
    return QAExample(draw(st.text()), draw(filled), context, answers)


@pytest.mark.filterwarnings("ignore:.*ids that an earlier question already has")
@tmp_path_shared
@given(data=st.data())
def test_squad_round_trip(data, tmp_path):
    contexts = st.sampled_from(data.draw(st.lists(filled, min_size=1, max_size=2)))
    examples = data.draw(st.lists(questions(contexts), min_size=1, max_size=4))
    write_squad(examples, tmp_path / "x.json")
    assert read_squad(tmp_path / "x.json") == examples
    squad = json.loads((tmp_path / "x.json").read_text())
    marks = {qa.get("is_impossible") for p in squad["data"][0]["paragraphs"] for qa in p["qas"]}
    if all(example.answers for example in examples):  # as a program for v1.1 knows it
        assert (squad["version"], marks) == ("1.1", {None})
    else:
        assert (squad["version"], marks) == ("v2.0", {not example.answers for example in examples})


def test_write_squad_groups_the_questions_of_a_context(tmp_path):
    contexts = ["a b", "a b", "c"]
    examples = [QAExample(c, "Q?", c, (Answer(c, 0),)) for c in contexts]
    write_squad(examples, tmp_path / "new" / "x.json")
    text = (tmp_path / "new" / "x.json").read_text()
    (article,) = json.loads(text)["data"]
    assert [len(paragraph["qas"]) for paragraph in article["paragraphs"]] == [2, 1]
    assert len(text.splitlines()) > 20


def test_write_jsonl(tmp_path):
    path = tmp_path / "x.jsonl"
    write_jsonl(
        [
            NERExample(("in", "Zürich\u2028"), ("O", "B-LOC")),
            QAExample("q1", "Who?", CONTEXT, (Answer("Luis", 18),)),
        ],
        path,
    )
    assert [json.loads(line) for line in path.read_text().strip("\n").split("\n")] == [
        {
            "sentence": "in Zürich\u2028",
            "tokens": ["in", "Zürich\u2028"],
            "ner_tags": ["O", "B-LOC"],
        },
        {
            "id": "q1",
            "question": "Who?",
            "context": CONTEXT,
            "answers": [{"text": "Luis", "answer_start": 18}],
        },
    ]


@st.composite
def labelled_texts(draw):
    """With tokens, as the reader makes them; label, tags, both or neither."""
    label = draw(st.none() | filled)
    example = draw(sentences())
    tags = draw(st.sampled_from([None, example.tags]))
    return TextExample(example.text, example.tokens, label, tags)


@tmp_path_shared
@given(examples=st.lists(labelled_texts(), min_size=1, max_size=4))
def test_records_round_trip(examples, tmp_path):
    write_jsonl(examples, tmp_path / "x.jsonl")
    assert read_jsonl(tmp_path / "x.jsonl") == examples


@tmp_path_shared
@given(text=filled)
def test_a_text_without_tokens_comes_back_with_its_words(text, tmp_path):
    write_jsonl([TextExample(text, label="x")], tmp_path / "x.jsonl")
    (example,) = read_jsonl(tmp_path / "x.jsonl")
    assert (example.text, example.label, example.tags) == (text, "x", None)
    assert "".join(example.tokens) == "".join(text.split())


scores = st.none() | st.floats(-1, 1) | st.integers(-1, 1)


@tmp_path_shared
@given(examples=st.lists(st.builds(PairExample, filled, filled, scores), min_size=1, max_size=4))
def test_pairs_round_trip(examples, tmp_path):
    write_jsonl(examples, tmp_path / "x.jsonl")
    assert read_pairs(tmp_path / "x.jsonl") == examples


@pytest.mark.filterwarnings("ignore:.*ids that an earlier question already has")
@tmp_path_shared
@given(examples=st.lists(questions(filled), min_size=1, max_size=3))
def test_questions_one_a_line_round_trip(examples, tmp_path):
    write_jsonl(examples, tmp_path / "x.jsonl")
    assert read_squad(tmp_path / "x.jsonl") == examples


@tmp_path_shared
@given(examples=st.lists(sentences(), min_size=1, max_size=3))
def test_sentences_written_as_records_keep_tokens_and_tags(examples, tmp_path):
    write_jsonl(examples, tmp_path / "x.jsonl")
    records = read_jsonl(tmp_path / "x.jsonl")
    assert [(r.text, r.tokens, r.tags, r.label) for r in records] == [
        (e.text, e.tokens, e.tags, None) for e in examples
    ]


SENTENCE = NERExample(("a", "b"), ("O", "B-P"))
TEXT = TextExample("a b", ("a", "b"), "x", ("O", "B-P"))
PAIR = PairExample("a", "b", 0.5)
QUESTION = QAExample("1", "Q?", "a b", (Answer("b", 2),))


@pytest.mark.filterwarnings("ignore:.*ids that an earlier question already has")
@pytest.mark.parametrize(
    ("example", "name", "read"),
    [
        (SENTENCE, "x.conll", read_conll),
        (QUESTION, "x.json", read_squad),
        (QUESTION, "x.JSONL", read_squad),
        (TEXT, "x.jsonl", read_jsonl),
        (PAIR, "x.jsonl", read_pairs),
    ],
)
def test_the_ending_names_the_format_that_is_written(example, name, read, tmp_path):
    write_examples([example, example], tmp_path / name)
    assert read(tmp_path / name) == [example, example]


@pytest.mark.parametrize(
    ("examples", "name", "fix"),
    [
        ([TEXT], "x.conll", "use the ending .jsonl"),
        ([PAIR], "x.json", "use the ending .jsonl"),
        ([QUESTION], "x.conll", "use the ending .json or .jsonl"),
        ([SENTENCE], "x.json", "use the ending .conll or .jsonl or .conllu"),
        ([SENTENCE], "x", "use the ending .conll or .jsonl or .conllu"),
        ([SENTENCE], "x.csv", "use the ending .conll or .jsonl or .conllu"),
        ([SENTENCE, PAIR], "x.conll", "use the ending .jsonl"),
        ([], "x.txt", "use the ending .conll or .json or .jsonl or .conllu"),
    ],
)
def test_an_ending_that_cannot_hold_the_examples_is_refused(examples, name, fix, tmp_path):
    with pytest.raises(ConfigError) as caught:
        write_examples(examples, tmp_path / name)
    (fault,) = caught.value.faults
    assert fault.fix == fix
    assert fault.found.startswith(f"the ending {Path(name).suffix!r}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", ["replace", "write_bytes"])
def test_failed_write_leaves_the_old_file_and_nothing_else(failing, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / "x.conll"
    write_conll([NERExample(("old",), ("O",))], path)
    monkeypatch.setattr(os if failing == "replace" else Path, failing, fail)
    with pytest.raises(DataError, match="cannot be written") as caught:
        write_conll([NERExample(("new",), ("O",))], path)
    assert "No space left" in caught.value.faults[0].found
    assert os.listdir(tmp_path) == ["x.conll"]
    assert path.read_text() == "old\tO\n"


def test_write_under_a_file_as_if_it_were_a_folder(file):
    with pytest.raises(DataError, match="cannot be written"):
        write_jsonl([NERExample(("a",), ("O",))], file("x") / "y.jsonl")
