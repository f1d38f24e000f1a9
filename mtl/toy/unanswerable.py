"""A split, a number and a seed go in; questions come out, some of which have no answer.

Every context holds four facts of the toy world, and says nothing about the others. Whether the
question has an answer or not, two facts have its relation, two are about its entity, and no other
relation occurs twice. With an answer, one fact is both. So neither a word nor how often it occurs
says whether there is an answer: the reader has to match the entity *and* the relation.
"""

from __future__ import annotations

import random

from ..data.examples import QAExample
from .facts import RELATIONS, Relation, Stated, names_in, state, types_of
from .world import World

SHARE = 1 / 3  # of the questions that have no answer


def unanswerable(split: str, n: int, seed: int = 0) -> list[QAExample]:
    """Questions over contexts of four facts, a third of them without an answer.

    Args:
        split: one of `SPLITS`.
        n: how many.
        seed: the same seed gives the same questions.
    """
    world = World(split, random.Random(f"unanswerable {split} {seed}"))
    return [_question(world, f"{split}-{i}") for i in range(n)]


def _question(world: World, id: str) -> QAExample:
    rng = world.rng
    asked, given = rng.sample(("subject", "object"), 2)
    has_answer = rng.random() >= SHARE
    facts = None
    while facts is None:  # a split may hold too few facts about an entity: then try another
        relation = rng.choice(RELATIONS)
        facts = _draw_facts(world, relation, given, has_answer)
    entity = getattr(facts[0], given)
    rng.shuffle(facts)
    context, ends = state(facts, asked, rng)
    answers = [
        end
        for fact, end in zip(facts, ends, strict=True)
        if fact.relation == relation and getattr(fact, given) == entity
    ]
    templates = relation.ask_object if asked == "object" else relation.ask_subject
    question = rng.choice(templates).format(s=entity, o=entity)
    return QAExample(id, question, context, tuple(answers), tuple(ends))


def _draw_facts(
    world: World, relation: Relation, given: str, has_answer: bool
) -> list[Stated] | None:
    """Two facts about an entity, then two about others; None if the split does not hold them."""
    same_types = [r for r in RELATIONS if types_of(r) == types_of(relation) and r != relation]
    one, other = world.rng.sample(same_types, 2)
    of_entity = (relation, one) if has_answer else (one, other)
    of_others = (relation, other) if has_answer else (relation, relation)
    facts = [world.fact(of_entity[0])]
    entity = {given: getattr(facts[0], given)}
    for drawn, known in ((of_entity[1], entity), (of_others[0], {}), (of_others[1], {})):
        # No other name appears in two facts, or there might be an answer after all.
        fact = world.find_fact(drawn, **known, avoid=names_in(facts))
        if fact is None:
            return None
        facts.append(fact)
    return facts
