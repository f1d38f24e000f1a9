"""Examples check themselves: what cannot be is refused when it is made."""

import pytest

from mtl.data.examples import PairExample, TextExample
from mtl.errors import DataError


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: TextExample("a b", (), "x", ("O", "O")), "a sentence needs at least one token"),
        (lambda: TextExample("Ann ran", tags=()), "a sentence needs at least one token"),
        (lambda: TextExample("a b", ("a", "b"), "x", ("O",)), "2 tokens but 1 tags"),
        (lambda: TextExample("a b", ("a", "b"), None, ("O", "I-P")), "tag 2 continues an entity"),
        (lambda: TextExample("a b", ("a", "b"), None, ("S-P", "O")), "tag 1 is not an IOB2 tag"),
        (lambda: TextExample("a b", ("a", "b"), None, ("B-P", "I-L")), "tag 2 continues"),
        (lambda: TextExample(" "), "the sentence is empty"),
        (lambda: TextExample(None), "the sentence is empty"),
        (lambda: TextExample("a", ("a", " ")), "a sentence needs at least one token"),
        (lambda: TextExample("a", (), ""), "the label is empty"),
        (lambda: TextExample("a", (), 3), "a label must be text"),
        (lambda: TextExample("a", ("a",), None, ("B-\ud800",)), "the text holds half a character"),
        (lambda: PairExample("a", "\n"), "the second sentence of a pair is empty"),
        (lambda: PairExample(3, "b"), "the first sentence of a pair is empty"),
        (lambda: PairExample("a", "b", True), "the score of a pair is not a number"),
        (lambda: PairExample("a", "b", -1.01), "the score of a pair must lie between -1 and 1"),
        (lambda: PairExample("a", "\udc00"), "the text holds half a character"),
    ],
)
def test_an_example_that_cannot_be_is_refused(make, what):
    with pytest.raises(DataError) as caught:
        make()
    (fault,) = caught.value.faults
    assert fault.what.startswith(what)
    assert fault.found
    assert fault.fix


def test_lists_of_tokens_and_tags_become_tuples():
    example = TextExample("a b", ["a", "b"], None, ["B-P", "I-P"])
    assert (example.tokens, example.tags) == (("a", "b"), ("B-P", "I-P"))
    assert hash(example) == hash(TextExample("a b", ("a", "b"), None, ("B-P", "I-P")))


def test_what_a_text_and_a_pair_are_made_of():
    assert TextExample("a, b", ("a,", "b")).inputs == [("a, b", None)]
    assert TextExample("a, b").inputs == [("a, b", None)]
    assert PairExample("a", "b").inputs == [("a", None), ("b", None)]
    assert (TextExample("a, b").group, PairExample("a", "b").groups) == (
        "a, b",
        ("a", "b"),
    )
