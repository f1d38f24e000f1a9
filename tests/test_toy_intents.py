"""Toy commands: intents in fair balance, slots that need their context, no fact in two splits."""

import re
from collections import Counter

import pytest

from mtl.data.words import split_words
from mtl.metrics import entity_spans
from mtl.toy import SPLITS, toy_dataset
from mtl.toy.intents import INTENTS, POLITE, VALUES, intents


@pytest.fixture(scope="module")
def commands():
    """600 commands of each split."""
    return {split: intents(split, 600) for split in SPLITS}


def slots_of(command):
    """The slots of a command, each with its words."""
    return [(k, " ".join(command.tokens[a:b])) for k, a, b in entity_spans(command.tags)]


def template_of(command):
    """The command with the name of each slot in place of its words."""
    parts, end = [], 0
    for slot, first, last in entity_spans(command.tags):
        parts += [*command.tokens[end:first], f"{{{slot}}}"]
        end = last
    return " ".join([*parts, *command.tokens[end:]])


INTENT_OF = {  # by all that can be said
    said: name
    for name, intent in INTENTS.items()
    for said in (*intent.remarks, *(how + order for how in POLITE for order in intent.orders))
}
OWN_WORDS = {
    word
    for intent in INTENTS.values()
    for template in (*intent.orders, *intent.remarks)
    for word in re.sub(r"\{\w+\}", "", template).split()
}


@pytest.mark.parametrize("split", SPLITS)
def test_intent_and_slots_are_those_of_a_template(commands, split):
    for command in commands[split]:
        assert INTENT_OF[template_of(command)] == command.label
    assert {command.label for command in commands[split]} == INTENTS.keys()
    assert {slot for command in commands[split] for slot, _ in slots_of(command)} == VALUES.keys()


def test_no_template_of_one_intent_says_what_another_says(commands):
    """Otherwise the same words would have two right answers."""
    labels = {}
    for command in (c for split in SPLITS for c in commands[split]):
        labels.setdefault(command.text, set()).add((command.label, command.tags))
    assert all(len(answers) == 1 for answers in labels.values())


def test_commands_are_lower_case_words_and_intents_in_fair_balance(commands):
    for command in commands["train"]:
        assert command.text == command.text.lower()
        assert [command.text[a:b] for a, b in split_words(command.text)] == list(command.tokens)
    counts = Counter(command.label for command in commands["train"])
    assert all(abs(n - 600 / 7) < 35 for n in counts.values())


def test_no_intent_has_the_same_slots_in_two_splits():
    splits_of = {}
    for split in SPLITS:
        for seed in range(3):
            for command in intents(split, 600, seed):
                fact = (command.label, *sorted(slots_of(command)))
                splits_of.setdefault(fact, set()).add(split)
    assert len(splits_of) > 4000
    # Alarms have no names: an unseen one may be that of the test, but never one of training.
    allowed = [{split} for split in SPLITS] + [{"test", "test_unseen"}]
    assert all(splits in allowed for splits in splits_of.values())


def test_unseen_names_and_titles_have_words_that_no_other_split_has(commands):
    seen = {word for split in SPLITS[:3] for c in commands[split] for word in c.tokens}
    glue = {"the", "of", "and", "chez", "casa"}
    open_slots = ("artist", "book", "city", "film", "playlist", "restaurant", "song")
    for command in commands["test_unseen"]:
        for slot, said in slots_of(command):
            if slot in open_slots:
                words = set(said.split()) - glue
                assert not words & (seen | OWN_WORDS), said


def test_what_stands_in_a_slot_does_not_say_which_slot_it_is():
    """A title may be of a song, a book or a film, and a number may count anything."""
    slots = {}
    for command in intents("train", 4000):
        for slot, said in slots_of(command):
            slots.setdefault(said, Counter())[slot] += 1
    often = [Counter(counts) for counts in slots.values() if counts.total() >= 8]
    titles = [c for c in often if c.keys() & {"song", "book", "film"}]
    assert len(titles) > 50
    assert sum(len(c.keys() & {"song", "book", "film"}) == 3 for c in titles) > 0.9 * len(titles)
    assert all(slots[number].keys() == {"party", "rating"} for number in ("2", "two"))


def test_no_single_word_of_a_command_gives_the_intent_away():
    """Titles have words such as "table", so the words of an order appear elsewhere, too."""
    intents_of = {}
    for command in intents("train", 4000):
        for word in set(command.tokens):
            intents_of.setdefault(word, set()).add(command.label)
    for word in ("table", "book", "weather", "cinema", "ring", "list", "song", "put", "want"):
        assert len(intents_of[word]) >= 3, word


def test_the_same_seed_gives_the_same_commands():
    one, two = intents("train", 50, 1), intents("train", 50, 2)
    assert one == intents("train", 80, 1)[:50] != two
    assert toy_dataset("intents", 20, 10, 10).test_unseen == intents("test_unseen", 10)
