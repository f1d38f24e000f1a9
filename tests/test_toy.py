"""Toy data: hard on purpose, one right answer, and no fact in two splits."""

import random
import re
from collections import Counter

import pytest

from mtl.data.batching import encode_examples
from mtl.data.tokenization import split_words
from mtl.data.toy import (
    RELATIONS,
    SEEN,
    SPLITS,
    UNSEEN,
    Fact,
    World,
    check_one_answer,
    handmade_ner,
    handmade_qa,
    ner_examples,
    qa_examples,
    toy_dataset,
)
from mtl.errors import ConfigError
from mtl.metrics import entity_spans
from mtl.tasks.qa import QATask


@pytest.fixture(scope="module")
def qa():
    """500 questions of each split."""
    return {split: qa_examples(split, 500) for split in SPLITS}


@pytest.fixture(scope="module")
def ner():
    """500 sentences of each split."""
    return {split: ner_examples(split, 500) for split in SPLITS}


def words_of(text):
    return {text[start:end] for start, end in split_words(text)}


def sentences_of(context):
    return [sentence.strip() for sentence in re.findall(r"[^.]+\.", context)]


def pattern_of(statement):
    """The template of a statement as a pattern whose groups are subject and object."""
    return re.compile(re.escape(statement).replace(r"\{s\}", "(.+)").replace(r"\{o\}", "(.+)"))


NAME_WORDS = {
    which: {w for group in vars(names).values() for name in group for w in words_of(name)}
    for which, names in (("seen", SEEN), ("unseen", UNSEEN))
}
PATTERNS = [(r, pattern_of(statement)) for r in RELATIONS for statement in r.statements]


def facts_of(context):
    """The facts that a context states, read back from its sentences."""
    facts = []
    for sentence in sentences_of(context):
        (fact,) = (
            Fact(relation, *match.groups())
            for relation, pattern in PATTERNS
            if (match := pattern.fullmatch(sentence))
        )
        facts.append(fact)
    return facts


# --- splits -------------------------------------------------------------------------------------


def test_each_fact_belongs_to_one_split_for_every_seed(qa):
    drawn = {}
    for split in SPLITS[:3]:
        facts = set()
        for seed in range(3):
            world = World(split, random.Random(seed))
            facts |= {world.fact(relation) for relation in RELATIONS for _ in range(100)}
        drawn[split] = facts | {fact for e in qa[split] for fact in facts_of(e.context)}
    assert all(len(facts) > 500 for facts in drawn.values())
    for split, facts in drawn.items():
        for other in drawn.keys() - {split}:
            assert not facts & drawn[other]


def test_no_context_sentence_stands_in_two_splits(qa):
    splits_of = {}
    for split, examples in qa.items():
        for example in examples:
            for sentence in sentences_of(example.context):
                splits_of.setdefault(sentence, set()).add(split)
    assert all(len(splits) == 1 for splits in splits_of.values())


def test_no_fact_of_a_sentence_is_stated_in_two_splits(ner):
    """Subject and object of each relation's statement, wherever it stands in the sentence."""
    pairs = {}
    for split, examples in ner.items():
        for example in examples:
            for relation in RELATIONS:
                for statement in relation.statements:
                    middle = re.escape(statement[3:-4]).replace(r"\{o\}", "")
                    for match in re.finditer(middle, example.text):
                        before, after = _entities_around(example, *match.span())
                        if before and after:
                            pairs.setdefault((relation.name, before, after), set()).add(split)
    assert len(pairs) > 1000
    assert all(len(splits) == 1 for splits in pairs.values())


def _entities_around(example, start, end):
    """The entity that ends right before character `start`, and the one that begins at `end`."""
    ends = [0]
    for token in example.tokens:
        ends.append(ends[-1] + len(token) + 1)
    before = after = None
    for _, first, last in entity_spans(example.tags):
        name = " ".join(example.tokens[first:last])
        before = name if ends[last] - 1 == start else before
        after = name if ends[first] == end else after
    return before, after


def test_unseen_names_share_no_word_with_training_texts():
    training = ner_examples("train", 3000) + qa_examples("train", 2000)
    seen = {w for e in training for row in e.rows for text in row if text for w in _row_words(text)}
    unseen = NAME_WORDS["unseen"]
    assert len(unseen) > 100
    assert unseen & seen == set()
    assert unseen & NAME_WORDS["seen"] == set()


def _row_words(text):
    return words_of(text if isinstance(text, str) else " ".join(text))


def test_test_unseen_uses_the_unseen_names(qa, ner):
    unseen = NAME_WORDS["unseen"]
    assert all(words_of(c.text) <= unseen for e in qa["test_unseen"] for c in e.candidates)
    for example in ner["test_unseen"]:
        assert {
            t for t, tag in zip(example.tokens, example.tags, strict=True) if tag != "O"
        } <= unseen


# --- questions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_every_context_has_the_distractors(qa, split):
    for example in qa[split]:
        facts = facts_of(example.context)
        assert len(facts) == len(set(facts)) == len(example.candidates) >= 4
        (target,) = (
            fact
            for fact in facts
            for ask, given, asked in (
                (fact.relation.ask_object, fact.subject, fact.object),
                (fact.relation.ask_subject, fact.object, fact.subject),
            )
            if example.question in {q.format(s=given, o=given) for q in ask}
            and asked == example.answers[0].text
        )
        others = [fact for fact in facts if fact != target]
        given = target.subject if example.answers[0].text == target.object else target.object
        same_relation = [f for f in others if f.relation == target.relation]
        same_entity = [f for f in others if given in (f.subject, f.object)]
        assert same_relation
        assert same_entity
        assert not set(map(id, same_relation)) & set(map(id, same_entity))


@pytest.mark.parametrize("split", SPLITS)
def test_answers_and_candidates_stand_at_their_offsets(qa, split):
    for example in qa[split]:
        (answer,) = example.answers
        assert answer in example.candidates
        for candidate in example.candidates:
            assert example.context[candidate.start : candidate.end] == candidate.text
        assert len({c.text for c in example.candidates}) == len(example.candidates)


@pytest.mark.parametrize("split", SPLITS)
def test_the_answer_is_spread_over_the_four_places(qa, split):
    places = Counter(
        sorted(c.start for c in e.candidates).index(e.answers[0].start) for e in qa[split]
    )
    assert sorted(places) == [0, 1, 2, 3]
    assert all(abs(count - 125) < 50 for count in places.values())


@pytest.mark.parametrize("split", SPLITS)
def test_trivial_baselines_do_badly(qa, split):
    task = QATask("qa")
    for predictions in task.baselines(qa[split]).values():
        assert task.score(qa[split], predictions)["exact_match"] <= 0.45


def test_a_question_with_two_answers_is_refused():
    lives, born = RELATIONS[:2]
    target, other = Fact(lives, "Ann", "Oslo"), Fact(born, "Ann", "Rome")
    check_one_answer([other, target], target, "subject")
    with pytest.raises(ValueError, match="2 answers"):
        check_one_answer([target, Fact(lives, "Ann", "Lima")], target, "subject")
    with pytest.raises(ValueError, match="2 answers"):
        check_one_answer([target, Fact(lives, "Bob", "Oslo")], target, "object")
    with pytest.raises(ValueError, match="0 answers"):
        check_one_answer([other], target, "subject")


# --- sentences ----------------------------------------------------------------------------------


@pytest.mark.parametrize("split", SPLITS)
def test_tags_agree_with_the_names(ner, split):
    names = UNSEEN if split == "test_unseen" else SEEN
    known = {
        "PER": {*names.first, *(f"{a} {b}" for a in names.first for b in names.last)},
        "ORG": set(names.organisations),
        "LOC": set(names.places),
        "MISC": {*names.events, *names.peoples},
    }
    for example in ner[split]:
        for kind, first, last in entity_spans(example.tags):
            assert " ".join(example.tokens[first:last]) in known[kind]
    kinds = {kind for e in ner[split] for kind, _, _ in entity_spans(e.tags)}
    assert kinds == set(known)
    assert 0.03 < sum(set(e.tags) == {"O"} for e in ner[split]) / 500 < 0.2


def test_some_words_are_of_more_than_one_type(ner):
    types = {}
    for example in ner["train"]:
        for token, tag in zip(example.tokens, example.tags, strict=True):
            types.setdefault(token, set()).add(tag[2:])
    assert types["Jordan"] >= {"PER", "LOC"}
    assert sum(len(kinds - {""}) > 1 for kinds in types.values()) >= 5


def test_sentences_are_split_as_the_tokenizer_splits_them(ner, tokenizer):
    encoded, _ = encode_examples(ner["test"], tokenizer, [], 64)
    for item in encoded:
        assert item.rows[0].text.word_ids == list(range(len(item.example.tokens)))


# --- seeds and sets -----------------------------------------------------------------------------


@pytest.mark.parametrize("generate", [ner_examples, qa_examples])
def test_the_seed_decides(generate):
    assert generate("train", 50, seed=1) == generate("train", 50, seed=1)
    assert generate("train", 50, seed=1) != generate("train", 50, seed=2)
    assert generate("train", 50) == generate("train", 80)[:50]


def test_toy_dataset_holds_all_splits():
    data = toy_dataset("qa", 20, 5, 6, seed=3)
    assert [len(data.split(split)) for split in SPLITS] == [20, 5, 6, 6]
    assert data.test == qa_examples("test", 6, seed=3)


def test_unknown_names_are_told_the_nearest():
    with pytest.raises(ConfigError, match='did you mean "ner"'):
        toy_dataset("nre", 5)
    with pytest.raises(ConfigError, match='did you mean "test_unseen"'):
        qa_examples("unseen_test", 5)


def test_the_handmade_sets():
    sentences, questions = handmade_ner(), handmade_qa()
    assert len(sentences) >= 30
    assert len(questions) >= 30
    kinds = {kind for e in sentences for kind, _, _ in entity_spans(e.tags)}
    assert kinds == {"PER", "ORG", "LOC", "MISC"}
    assert len({e.text for e in sentences}) == len(sentences)
    assert len({e.id for e in questions}) == len(questions)
