"""The hand-made sentences and questions: varied, and asked for whole words."""

import string
from importlib import resources

import pytest

from mtl.data.readers import read_conll, read_squad


@pytest.fixture(scope="module")
def handmade():
    with resources.as_file(resources.files("mtl.toy") / "handmade") as folder:
        return read_conll(folder / "ner.conll"), read_squad(folder / "qa.json")


def test_handmade_sentences(handmade):
    sentences, _ = handmade
    assert len({sentence.text for sentence in sentences}) >= 36
    kinds = {tag[2:] for sentence in sentences for tag in sentence.tags} - {""}
    assert kinds == {"PER", "ORG", "LOC", "MISC"}
    assert any(set(sentence.tags) == {"O"} for sentence in sentences)
    pairs = {pair for s in sentences for pair in zip(s.tags, s.tags[1:], strict=False)}
    assert ("B-PER", "B-PER") in pairs
    words = [token for sentence in sentences for token in sentence.tokens]
    assert not [word for word in words if word[-1] in ",.?!" and len(word) > 1]


def test_handmade_questions_ask_for_whole_words(handmade):
    _, questions = handmade
    assert len({(q.question, q.context) for q in questions}) >= 36
    assert len({q.id for q in questions}) == len(questions)
    assert any(q.context.count(q.answers[0].text) > 1 for q in questions)
    for question in questions:
        assert 2 <= question.context.count(". ") + 1 <= 5
        for answer in question.answers:
            around = (
                question.context[answer.start - 1 : answer.start] + question.context[answer.end]
            )
            assert not set(around) & set(string.ascii_letters + string.digits)
