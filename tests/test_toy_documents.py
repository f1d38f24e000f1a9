"""Toy documents: long, nested up to four deep, and no word alone says what is an event."""

import pytest

import mtl
from mtl.data.nesting import layers
from mtl.errors import ConfigError
from mtl.metrics import entity_spans
from mtl.toy import documents
from mtl.toy.documents import ACTIONS, WRAPPINGS
from mtl.toy.world import SEEN, SPLITS, UNSEEN


@pytest.fixture(scope="module")
def toy():
    return {split: documents(split, 3) for split in SPLITS}


def test_they_are_long_and_deep(toy):
    for example in (example for split in SPLITS for example in toy[split]):
        assert 2000 <= len(example.tokens) < 2100
        assert len(layers(example.entities)) == 4
        assert {kind for kind, _, _ in example.entities} == {"PER", "ORG", "LOC", "FAC"}
        assert len(example.inner) > 100


def test_an_entity_holds_what_its_phrase_is_made_of(toy):
    """Each entity is a name of its type, or one of the phrases around a shorter entity."""
    for split in SPLITS:
        names = UNSEEN if split == "test_unseen" else SEEN
        known = {"ORG": names.organisations, "LOC": names.places}
        for example in toy[split]:
            entities = {e[1:]: e[0] for e in example.entities}
            for (first, last), kind in entities.items():
                text = " ".join(example.tokens[first:last])
                around = {
                    template.format(" ".join(example.tokens[a:b]))
                    for (a, b), inside in entities.items()
                    if first <= a and b <= last and (a, b) != (first, last)
                    for wrapped, template in WRAPPINGS[inside]
                    if wrapped == kind
                }
                assert (
                    text in known.get(kind, ())
                    or (kind == "PER" and text.split()[0] in names.first)
                    or text[0].lower() + text[1:] in {t[0].lower() + t[1:] for t in around}
                )


def test_what_may_happen_or_did_not_is_no_event(toy):
    verbs = {action.name for action in ACTIONS}
    said = {True: 0, False: 0}
    for example in toy["train"]:
        tags = example.fields["2"]
        assert [last - first for _, first, last in entity_spans(tags)] == [1] * (
            len(tags) - tags.count("O")
        )
        for i, (word, tag) in enumerate(zip(example.tokens, tags, strict=True)):
            assert tag == "O" or word in verbs
            if word in verbs:
                said[tag != "O"] += 1
                assert tag == "O" or example.tokens[i - 1] not in ("never", "may")
    # Not even half of the verbs in the past are known by themselves.
    assert 0.5 < said[True] / sum(said.values()) < 0.75


def test_a_split_has_its_own_names_and_texts(toy):
    new = {name for part in (UNSEEN.first, UNSEEN.last) for name in part}
    assert new & {word for example in toy["test_unseen"] for word in example.tokens}
    assert not new & {word for example in toy["train"] for word in example.tokens}


def test_the_seed_decides():
    assert documents("test", 2, 1) == documents("test", 3, 1)[:2] != documents("test", 2, 2)
    assert mtl.toy_dataset("documents", 1, 0, 0).train == documents("train", 1)
    with pytest.raises(ConfigError, match='did you mean "train"'):
        documents("training", 1)


def test_the_command_writes_a_template(tmp_path, mtl_):
    status, _, _ = mtl_("toy", "documents", "--n", "2", "--output", tmp_path / "x.conll")
    assert status == 0
    examples = mtl.read(tmp_path / "x.conll", column=[3, 4, 5, 6], fields=["2"])
    assert examples == documents("train", 2)
