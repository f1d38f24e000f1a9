"""Toy data: hard on purpose, one right answer, and no fact in two splits."""

import random
import re
import string
from collections import Counter
from importlib import resources

import pytest

from mtl.data.encoded import encode_examples
from mtl.data.readers import read_conll, read_squad
from mtl.data.words import split_words
from mtl.errors import ConfigError
from mtl.metrics import entity_spans
from mtl.tasks.qa import QATask
from mtl.toy import (
    SPLITS,
    emotions,
    handmade_ner,
    handmade_qa,
    inference,
    ner_examples,
    news,
    paraphrases,
    part_of_speech,
    qa_examples,
    records,
    similarity,
    toy_dataset,
    unanswerable,
)
from mtl.toy.facts import RELATIONS, check_one_answer
from mtl.toy.news import EVENTS
from mtl.toy.world import DAYS, SEEN, UNSEEN, Fact, World, fill, tag


@pytest.fixture(scope="module")
def qa():
    """500 questions of each split."""
    return {split: qa_examples(split, 500) for split in SPLITS}


@pytest.fixture(scope="module")
def ner():
    """500 sentences of each split."""
    return {split: ner_examples(split, 500) for split in SPLITS}


@pytest.fixture(scope="module")
def texts():
    """400 news and 400 records of each split."""
    return {kind: {split: kind(split, 400) for split in SPLITS} for kind in (news, records)}


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


# --- splits ---------------------------------------------------------------------------------------


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


def test_unseen_names_share_no_word_with_training_texts(texts):
    training = ner_examples("train", 3000) + qa_examples("train", 2000)
    others = [e for splits in texts.values() for split in SPLITS[:3] for e in splits[split]]
    seen = {
        w
        for e in training + others
        for texts_of_row in e.inputs
        for text in texts_of_row
        if text
        for w in _row_words(text)
    }
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


# --- questions ------------------------------------------------------------------------------------


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


# --- questions without an answer ------------------------------------------------------------------


def asked_about(question):
    """The relation that a question asks about, and the end of its facts that it names."""
    (found,) = (
        (relation, end, match[1])
        for relation in RELATIONS
        for end, asks in (("subject", relation.ask_object), ("object", relation.ask_subject))
        for ask in asks
        if (match := re.fullmatch(re.escape(ask).replace(f"\\{{{end[0]}\\}}", "(.+)"), question))
    )
    return found


@pytest.mark.parametrize("split", SPLITS)
def test_only_matching_entity_and_relation_tells_whether_there_is_an_answer(split):
    """No relation and no name is more frequent where there is one."""
    examples = unanswerable(split, 300)
    for example in examples:
        relation, given, entity = asked_about(example.question)
        facts = facts_of(example.context)
        with_relation = [fact for fact in facts if fact.relation == relation]
        about_entity = [fact for fact in facts if getattr(fact, given) == entity]
        others = Counter(fact.relation.name for fact in facts if fact.relation != relation)
        assert (len(facts), len(with_relation), len(about_entity)) == (4, 2, 2)
        assert list(others.values()) == [1, 1]
        asked = "object" if given == "subject" else "subject"
        right = [getattr(fact, asked) for fact in with_relation if fact in about_entity]
        assert [answer.text for answer in example.answers] == right
        names = Counter(w for f in facts for w in words_of(f"{f.subject} {f.object}"))
        assert all(n == 1 for word, n in names.items() if word not in words_of(entity))
    assert 0.25 < sum(not example.answers for example in examples) / 300 < 0.42


# --- sentences ------------------------------------------------------------------------------------


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
        for token, tag_ in zip(example.tokens, example.tags, strict=True):
            types.setdefault(token, set()).add(tag_[2:])
    assert types["Jordan"] >= {"PER", "LOC"}
    assert sum(len(kinds - {""}) > 1 for kinds in types.values()) >= 5


def test_sentences_are_split_as_the_tokenizer_splits_them(ner, tokenizer):
    encoded, _ = encode_examples(ner["test"], tokenizer, [], 64)
    for item in encoded:
        assert item.rows[0].text.word_ids == list(range(len(item.example.tokens)))


# --- news and records -----------------------------------------------------------------------------

MONTHS = "January February March April May June July August September October November December"
DATE = re.compile(rf"{'|'.join(DAYS)}|(\d\d? )?({MONTHS.replace(' ', '|')})( \d{{4}})?|\d{{4}}")
TOPIC_OF_RELATION = {
    ("PER", "LOC"): "life",
    ("PER", "ORG"): "work",
    ("PER", "MISC"): "events",
    ("ORG", "LOC"): "business",
}
both_texts = pytest.mark.parametrize(
    ("generate", "kinds"), [(news, EVENTS), (records, RELATIONS)], ids=["news", "records"]
)


def names_in(example):
    """The entities of a text: their types, and their names."""
    return [(k, " ".join(example.tokens[a:b])) for k, a, b in entity_spans(example.tags)]


def statement_patterns(kinds):
    """What was stated, and a pattern that finds it in what `with_types` makes of a text."""
    patterns = []
    for kind in kinds:
        of = {"s": kind.subject, "o": kind.object, "loc": "LOC", "people": "MISC"}
        for statement in kind.statements:
            spaced = re.sub("([,.:])", r" \1", statement.removesuffix("."))
            pattern = "".join(
                (r"\d+" if part == "n" else rf"<{of[part]}:(?P<{part}>[^>]*)>")
                if i % 2
                else re.escape(part)
                for i, part in enumerate(re.split(r"\{(\w+)\}", spaced))
            )
            patterns.append((kind, re.compile(rf"(?<!\S){pattern}(?!\S)", re.IGNORECASE)))
    return patterns


def with_types(example):
    """The tokens between blanks, every entity as <TYPE:name>."""
    parts, end = [], 0
    for kind, first, last in entity_spans(example.tags):
        name = " ".join(example.tokens[first:last])
        parts += [*example.tokens[end:first], f"<{kind}:{name}>"]
        end = last
    return " ".join([*parts, *example.tokens[end:]])


def stated_in(example, patterns):
    """The facts that a tagged text states, read back from its words and tags."""
    text = with_types(example)
    found = ((kind, pattern.search(text)) for kind, pattern in patterns)
    return [(kind, match["s"], match["o"]) for kind, match in found if match]


def test_a_fact_about_two_of_one_type_has_no_order():
    """That A and B form a coalition is news of B and A too; that A lives in B is not of B in A."""
    rng = random.Random(0)
    names = [SEEN.draw("PER", rng) for _ in range(60)]
    for kind in (*EVENTS, *RELATIONS):
        pairs = list(zip(names[::2], names[1::2], strict=True))
        turned = [Fact(kind, a, b).split == Fact(kind, b, a).split for a, b in pairs]
        assert all(turned) == (kind.subject == kind.object), kind.name
    assert {kind.name for kind in EVENTS if kind.subject == kind.object} >= {"coalition", "merged"}


@both_texts
def test_no_fact_of_a_text_is_stated_in_two_splits(texts, generate, kinds):
    patterns = statement_patterns(kinds)
    splits_of = {}
    for split, examples in texts[generate].items():
        for example in examples:
            if example.tags is not None:
                for kind, *names in stated_in(example, patterns):
                    if kind.subject == kind.object:
                        names.sort()
                    splits_of.setdefault((kind.name, *names), set()).add(split)
    assert len(splits_of) > 1000
    assert all(len(splits) == 1 for splits in splits_of.values())


@pytest.mark.parametrize("split", SPLITS)
def test_the_topic_of_news_is_what_the_one_event_in_it_is_about(texts, split):
    patterns = statement_patterns(EVENTS)
    for example in texts[news][split]:
        ((event, *_),) = stated_in(example, patterns)
        assert example.label == event.topic


@pytest.mark.parametrize("split", SPLITS)
def test_the_label_of_a_record_is_what_its_fact_is_about(texts, split):
    patterns = statement_patterns(RELATIONS)
    for example in texts[records][split]:
        if example.tags is not None and example.label is not None:
            topics = [
                TOPIC_OF_RELATION[r.subject, r.object] for r, *_ in stated_in(example, patterns)
            ]
            assert topics == ([] if example.label == "other" else [example.label])


@pytest.mark.parametrize("split", SPLITS)
def test_news_have_five_types_and_three_topics_in_fair_balance(texts, split):
    examples = texts[news][split]
    assert all(example.label and example.tags for example in examples)
    kinds = {kind for example in examples for kind, _ in names_in(example)}
    assert kinds == {"PER", "ORG", "LOC", "MISC", "DATE"}
    topics = Counter(example.label for example in examples)
    assert set(topics) == {"sports", "politics", "other"}
    assert all(abs(n - 400 / 3) < 40 for n in topics.values())


def test_names_do_not_give_the_topic_of_news_away():
    topics_of = {}
    for example in news("train", 3000):
        for kind, name in names_in(example):
            topics_of.setdefault((kind, name), []).append(example.label)
    frequent = [Counter(topics) for topics in topics_of.values() if len(topics) >= 30]
    assert len(frequent) > 50
    assert all(len(topics) == 3 for topics in frequent)


@both_texts
@pytest.mark.parametrize("split", SPLITS)
def test_the_entities_of_a_text_are_names_of_their_types(texts, generate, kinds, split):
    names = UNSEEN if split == "test_unseen" else SEEN
    known = {
        "PER": {*names.first, *(f"{a} {b}" for a in names.first for b in names.last)},
        "ORG": set(names.organisations),
        "LOC": set(names.places),
        "MISC": {*names.events, *names.peoples},
    }
    for example in texts[generate][split]:
        for kind, name in names_in(example) if example.tags is not None else ():
            assert DATE.fullmatch(name) if kind == "DATE" else name in known[kind]


@pytest.mark.parametrize("generate", [news, records])
def test_a_word_of_an_unseen_name_is_tagged_wherever_it_stands(texts, generate):
    """Unseen names share no word with the templates, so the words alone say what to tag."""
    for example in texts[generate]["test_unseen"]:
        for token, tag_ in zip(example.tokens, example.tags, strict=True):
            assert (token in NAME_WORDS["unseen"]) == (tag_ != "O" and not tag_.endswith("-DATE"))


def test_a_day_or_month_is_always_part_of_a_date(texts):
    """Numbers may be years, or count goals and people; the names of days and months may not."""
    for examples in texts[news].values():
        for example in examples:
            for token, tag_ in zip(example.tokens, example.tags, strict=True):
                assert token not in {*DAYS, *MONTHS.split()} or tag_.endswith("-DATE")


def test_a_fifth_of_the_training_records_has_no_label_and_another_fifth_no_tags(texts):
    train = texts[records]["train"]
    assert not [e for e in train if e.label is None and e.tags is None]
    assert 50 < sum(e.label is None for e in train) < 110
    assert 50 < sum(e.tags is None for e in train) < 110
    for split in SPLITS[1:]:
        assert all(e.label and e.tags for e in texts[records][split])


def test_a_name_is_tagged_in_each_of_its_slots():
    names = {"s": "Ann Lee", "o": "Ann", "n": "Ann Lee"}
    example = tag("{s} {o} saw {s}, not {n}.", names.__getitem__, {"s": "PER", "o": "LOC"})
    assert example.text == "Ann Lee Ann saw Ann Lee, not Ann Lee."
    assert " ".join(example.tokens) == "Ann Lee Ann saw Ann Lee , not Ann Lee ."
    assert " ".join(example.tags) == "B-PER I-PER B-LOC O B-PER I-PER O O O O O"


def test_a_template_is_filled_and_says_where_its_names_stand():
    text, spans = fill("In {b} {a}{b}.", {"a": "x", "b": "New York"}.__getitem__)
    assert text == "In New York xNew York."
    assert [(slot, text[start:end]) for slot, start, end in spans] == [
        ("b", "New York"),
        ("a", "x"),
        ("b", "New York"),
    ]
    assert [start for _, start, _ in spans] == [3, 12, 13]


# --- seeds and sets -------------------------------------------------------------------------------

every_kind = pytest.mark.parametrize(
    "generate",
    [
        *(ner_examples, qa_examples, news, records, paraphrases, unanswerable, part_of_speech),
        *(emotions, inference, similarity),
    ],
)


@every_kind
def test_the_seed_decides(generate):
    assert generate("train", 50, seed=1) == generate("train", 50, seed=1)
    assert generate("train", 50, seed=1) != generate("train", 50, seed=2)
    assert generate("train", 50) == generate("train", 80)[:50]


def test_toy_dataset_holds_all_splits():
    data = toy_dataset("qa", 20, 5, 6, seed=3)
    assert [len(data.split(split)) for split in SPLITS] == [20, 5, 6, 6]
    assert data.test == qa_examples("test", 6, seed=3)


@every_kind
def test_an_unknown_split_is_told_the_nearest(generate):
    with pytest.raises(ConfigError, match='did you mean "train"'):
        generate("training", 1)


@every_kind
def test_as_many_as_asked_for(generate):
    for n in (0, 1, 7):
        assert len(generate("validation", n)) == n


@pytest.mark.parametrize("kind", ["news", "records", "paraphrases"])
def test_toy_dataset_knows_every_kind(kind):
    generate = {"news": news, "records": records, "paraphrases": paraphrases}[kind]
    data = toy_dataset(kind, 4, 3, 2, seed=5)
    assert [data.split(split) for split in SPLITS] == [
        generate(split, n, 5) for split, n in zip(SPLITS, (4, 3, 2, 2), strict=True)
    ]


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
