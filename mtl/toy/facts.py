"""A split, a number and a seed go in; questions and tagged sentences about a toy world come out.

A fact is a triple such as (lives, Alice Moreau, Oslo). A question asks for one end of a fact. Its
context holds four facts in random order: the one asked for, one with the same relation (somebody
else lives somewhere), and two about the same entity (where she was born and studied). All
four answers have the same type, and a question words its relation differently from the context. So
neither position, nor type, nor shared words gives the answer away: the reader has to match the
entity *and* the relation.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..data.examples import Answer, NERExample, QAExample, TextExample
from .world import DAYS, Fact, World, fill, tag


@dataclass(frozen=True)
class Relation:
    """How to state a fact, and how to ask for its object (given the subject) and its subject."""

    name: str
    subject: str
    object: str
    statements: tuple[str, ...]
    ask_object: tuple[str, ...]
    ask_subject: tuple[str, ...]


Stated = Fact[Relation]  # a fact with the words for it


def _relation(
    name: str, types: str, statements: list[str], ask_object: list[str], ask_subject: list[str]
) -> Relation:
    subject, object_ = types.split()
    return Relation(
        name, subject, object_, tuple(statements), tuple(ask_object), tuple(ask_subject)
    )


RELATIONS = (
    _relation(
        "lives",
        "PER LOC",
        ["{s} lives in {o}.", "{s} has a flat in {o}."],
        ["Where is the home of {s}?", "In which place does {s} reside?"],
        ["Who resides in {o}?", "Whose home is {o}?"],
    ),
    _relation(
        "born",
        "PER LOC",
        ["{s} was born in {o}.", "{s} spent a childhood in {o}."],
        ["What is the birthplace of {s}?", "Where did {s} grow up?"],
        ["Who grew up in {o}?", "For whom is {o} the birthplace?"],
    ),
    _relation(
        "studied",
        "PER LOC",
        ["{s} studied in {o}.", "{s} took a degree in {o}."],
        ["Where did {s} go to university?", "In which place was {s} a student?"],
        ["Who went to university in {o}?", "Who was a student in {o}?"],
    ),
    _relation(
        "works",
        "PER ORG",
        ["{s} works at {o}.", "{s} has a job with {o}."],
        ["Who is the employer of {s}?", "By which company is {s} employed?"],
        ["Who is employed by {o}?", "Who earns a wage from {o}?"],
    ),
    _relation(
        "founded",
        "PER ORG",
        ["{s} founded {o}.", "{s} set up {o}."],
        ["Which company did {s} start?", "What company was created by {s}?"],
        ["Who started {o}?", "Who is the creator of {o}?"],
    ),
    _relation(
        "left",
        "PER ORG",
        ["{s} left {o}.", "{s} resigned from {o}."],
        ["Which company did {s} quit?", "From where did {s} walk out?"],
        ["Who quit {o}?", "Who walked out on {o}?"],
    ),
    _relation(
        "organised",
        "PER MISC",
        ["{s} organised the {o}.", "{s} ran the {o}."],
        ["Which event was arranged by {s}?", "What did {s} plan?"],
        ["Who arranged the {o}?", "Who planned the {o}?"],
    ),
    _relation(
        "won",
        "PER MISC",
        ["{s} won the {o}.", "{s} came first at the {o}."],
        ["Where did {s} take the gold medal?", "Which event had {s} as its champion?"],
        ["Who took the gold medal at the {o}?", "Who was the champion of the {o}?"],
    ),
    _relation(
        "missed",
        "PER MISC",
        ["{s} missed the {o}.", "{s} stayed away from the {o}."],
        ["Which event did {s} not attend?", "What took place without {s}?"],
        ["Who did not attend the {o}?", "Without whom did the {o} take place?"],
    ),
    _relation(
        "based",
        "ORG LOC",
        ["{s} is based in {o}.", "{s} has its offices in {o}."],
        ["Where are the headquarters of {s}?", "From which place is {s} managed?"],
        ["Which company has headquarters in {o}?", "What company is managed from {o}?"],
    ),
    _relation(
        "sells",
        "ORG LOC",
        ["{s} opened a shop in {o}.", "{s} sells its goods in {o}."],
        ["Where can people buy from {s}?", "In which place is the store of {s}?"],
        ["Which company has a store in {o}?", "From whom can people in {o} buy?"],
    ),
    _relation(
        "closed",
        "ORG LOC",
        ["{s} closed a plant in {o}.", "{s} gave up its factory in {o}."],
        ["Where did {s} end production?", "In which place did {s} stop making things?"],
        ["Which company ended production in {o}?", "Who stopped making things in {o}?"],
    ),
)


def qa_examples(split: str, n: int, seed: int = 0) -> list[QAExample]:
    """Questions over contexts of four facts; see the top of this file.

    Args:
        split: one of `SPLITS`.
        n: how many.
        seed: the same seed gives the same questions.
    """
    # A string as seed: every kind and split draws its own numbers.
    world = World(split, random.Random(f"qa {split} {seed}"))
    return [_question(world, f"{split}-{i}") for i in range(n)]


def _question(world: World, id: str) -> QAExample:
    rng = world.rng
    asked, given = rng.sample(("subject", "object"), 2)
    facts = None
    while facts is None:  # a split may hold too few facts about an entity: then try another
        facts = _draw_facts(world, rng.choice(RELATIONS), given)
    target = facts[0]
    rng.shuffle(facts)  # or the first fact would always be the answer
    # A question with two answers would punish a model that is right.
    check_one_answer(facts, target, given)
    context, answers = state(facts, asked, rng)
    templates = target.relation.ask_object if asked == "object" else target.relation.ask_subject
    question = rng.choice(templates).format(s=target.subject, o=target.object)
    return QAExample(id, question, context, (answers[facts.index(target)],), tuple(answers))


def _draw_facts(world: World, relation: Relation, given: str) -> list[Stated] | None:
    """The fact to ask for, one with its relation, and one for each other relation of its entity.

    None if the split does not hold them all.
    """
    target = world.fact(relation)
    others = [r for r in RELATIONS if types_of(r) == types_of(relation) and r != relation]
    subject, object_ = (target.subject, None) if given == "subject" else (None, target.object)
    facts = [target]
    # No name appears in two facts, except the entity asked about: otherwise a question about Alice
    # Moreau could be answered by a fact about Alice Smith.
    somebody_else = world.find_fact(relation, avoid=names_in(facts))
    if somebody_else is None:
        return None
    facts.append(somebody_else)
    for other in others:
        fact = world.find_fact(other, subject=subject, object=object_, avoid=names_in(facts))
        if fact is None:
            return None
        facts.append(fact)
    return facts


def names_in(facts: Sequence[Stated]) -> frozenset[str]:
    """The words of all names in some facts."""
    return frozenset().union(*(fact.words for fact in facts))


def types_of(relation: Relation) -> tuple[str, str]:
    """The types of its subject and object."""
    return relation.subject, relation.object


def state(facts: list[Stated], asked: str, rng: random.Random) -> tuple[str, list[Answer]]:
    """The facts as a text, and where in it to find the answer to each fact's question."""
    context, answers = "", []
    for fact in facts:
        text, spans = fill(
            rng.choice(fact.relation.statements),
            {"s": fact.subject, "o": fact.object}.__getitem__,
        )
        # "s" or "o": slots are named after the first letter of the end they hold.
        (start,) = (first for slot, first, _ in spans if slot == asked[0])
        context += " " if context else ""
        answers.append(Answer(getattr(fact, asked), len(context) + start))
        context += text
    return context, answers


def check_one_answer(facts: Sequence[Stated], target: Stated, given: str) -> None:
    """Raise ValueError unless `target` alone has its relation and its `given` end."""
    matching = [
        fact
        for fact in facts
        if fact.relation == target.relation and getattr(fact, given) == getattr(target, given)
    ]
    if matching != [target]:
        raise ValueError(f"the question has {len(matching)} answers, not one: {matching}")


INTROS = (
    "",
    "",
    "",
    "Last year ",
    "On {day}, ",
    "In {year}, ",
    "According to {org}, ",
    "As {per} told us, ",
    "The {people} writer said that ",
    "We heard that ",
)
TAILS = (
    "",
    "",
    "",
    " last year",
    " on {day}",
    " in {year}",
    " together with {per}",
    " after the {misc}",
    ", the {people} press reported",
    " because the rent was low",
)
PLACE_TAILS = (" in {loc}", " near {loc}", " in {loc} in {year}")  # not after "lives in Oslo"

PLAIN = (
    "The weather was cold on {day}, so we stayed in.",
    "Nobody told us that the shop opens at {hour}.",
    "We had soup and bread for dinner.",
    "In {year} the price of bread went up again.",
    "According to the report, sales fell by {hour} percent.",
    "The company opened a new factory last year.",
    "My sister has a job at the bank.",
    "On {day} the children went to the lake.",
    "Who said that the festival was free?",
    "As we know, the president lives here.",
)
DRAWN_SLOTS = ("org", "per", "misc", "loc")
SLOT_TYPES = {"org": "ORG", "per": "PER", "misc": "MISC", "people": "MISC", "loc": "LOC"}


def ner_examples(split: str, n: int, seed: int = 0) -> list[NERExample]:
    """Sentences that state facts of the toy world, dressed up; one in ten holds no name.

    Args:
        split: one of `SPLITS`.
        n: how many.
        seed: the same seed gives the same sentences.
    """
    world = World(split, random.Random(f"ner {split} {seed}"))
    sentences = [_sentence(world)[0] for _ in range(n)]
    return [NERExample(sentence.tokens, sentence.tags or ()) for sentence in sentences]


TOPICS = {  # what the relations of RELATIONS are about
    **dict.fromkeys(("lives", "born", "studied"), "life"),
    **dict.fromkeys(("works", "founded", "left"), "work"),
    **dict.fromkeys(("organised", "won", "missed"), "events"),
    **dict.fromkeys(("based", "sells", "closed"), "business"),
}


def records(split: str, n: int, seed: int = 0) -> list[TextExample]:
    """The same sentences as texts with tags and a label: `life`, `work`, `events`, `business`, or
    `other` for a sentence without a fact.

    One record in five of the training split has no label, and one in five no tags.

    Args:
        split: one of `SPLITS`.
        n: how many.
        seed: the same seed gives the same records.
    """
    world = World(split, random.Random(f"records {split} {seed}"))
    # Held-out records keep their labels, or there would be less to score.
    hiding = world.rng if split == "train" else None
    return [_record(*_sentence(world), hiding) for _ in range(n)]


def _record(
    sentence: TextExample, fact: Stated | None, hiding: random.Random | None
) -> TextExample:
    label = TOPICS[fact.relation.name] if fact else "other"
    # One draw for both: no record loses both its label and its tags.
    draw = hiding.random() if hiding else 1.0
    return replace(
        sentence,
        label=None if draw < 0.2 else label,
        tags=None if 0.2 <= draw < 0.4 else sentence.tags,
    )


def _sentence(world: World) -> tuple[TextExample, Stated | None]:
    """A tagged sentence, and the fact that it states, if any."""
    rng = world.rng
    fillers = {
        "day": rng.choice(DAYS),
        "year": str(rng.randint(1950, 2029)),
        "hour": str(rng.randint(6, 11)),
    }
    if rng.random() < 0.1:  # a model that always finds a name should be wrong now and then
        return tag(rng.choice(PLAIN), fillers.__getitem__, {}), None
    fact = world.fact(rng.choice(RELATIONS))
    names = {"s": fact.subject, "o": fact.object, "people": rng.choice(world.names.peoples)}
    names |= {slot: world.names.draw(SLOT_TYPES[slot], rng) for slot in DRAWN_SLOTS}
    statement = rng.choice(fact.relation.statements).removesuffix(".")
    tails = TAILS if fact.relation.object == "LOC" else TAILS + PLACE_TAILS
    template = f"{rng.choice(INTROS)}{statement}{rng.choice(tails)}."
    types = SLOT_TYPES | {"s": fact.relation.subject, "o": fact.relation.object}
    return tag(template, (fillers | names).__getitem__, types), fact
