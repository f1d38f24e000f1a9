"""A split, a number and a seed go in; news with a topic and tags of five kinds come out.

Topics are sports, politics and other; types are PER, ORG, LOC, MISC and DATE.

Names are the same in all topics, and so are many words: people win a race, a vote or a prize, and
sign a contract, a treaty or a book. One record in three also mentions another topic in passing. So
no name and no single word gives the topic away; what the main clause says counts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from ..data.examples import TextExample
from .world import DAYS, World, tag, words


@dataclass(frozen=True)
class Event:
    """Something that happens to a subject and an object, and how the news reports it."""

    topic: str
    name: str
    subject: str
    object: str
    statements: tuple[str, ...]


def _event(topic: str, name: str, types: str, *statements: str) -> Event:
    return Event(topic, name, *types.split(), statements)


EVENTS = (
    _event(
        "sports",
        "beat",
        "ORG ORG",
        "{s} beat {o} by {n} goals in {loc}",
        "A late goal gave {s} the victory over {o}",
        "{s} defeated {o} after extra time",
    ),
    _event(
        "sports",
        "scored",
        "PER ORG",
        "{s} scored twice for {o}",
        "Two goals by {s} lifted {o} to the top of the league",
        "{s} netted the winner for {o} in {loc}",
    ),
    _event(
        "sports",
        "joined",
        "PER ORG",
        "The striker {s} signed a contract with {o}",
        "{o} bought the goalkeeper {s} for {n} million",
        "The defender {s} leaves the bench and moves to {o}",
    ),
    _event(
        "sports",
        "won",
        "PER MISC",
        "{s} won the race at the {o}",
        "{s} crossed the line first at the {o}",
        "{s} took the gold medal at the {o} in {loc}",
    ),
    _event(
        "sports",
        "injured",
        "PER MISC",
        "{s} will miss the {o} with a knee injury",
        "A torn muscle keeps {s} out of the {o}",
        "The {people} sprinter {s} fell in training before the {o}",
    ),
    _event(
        "sports",
        "coach",
        "PER ORG",
        "{s} was named coach of {o}",
        "{o} dismissed the coach {s} after {n} defeats",
        "{s} will train the players of {o}",
    ),
    _event(
        "politics",
        "elected",
        "PER LOC",
        "{s} was elected mayor of {o}",
        "Voters in {o} chose {s} as their mayor",
        "{s} won the vote in {o} with {n} percent",
    ),
    _event(
        "politics",
        "resigned",
        "PER LOC",
        "The minister {s} stepped down after a vote in {o}",
        "The governor of {o}, {s}, resigned",
        "{s} lost the race for the office of mayor in {o}",
    ),
    _event(
        "politics",
        "talks",
        "PER LOC",
        "President {s} met diplomats in {o}",
        "{s} held talks with the government of {o}",
        "The ambassador {s} signed a treaty in {o}",
    ),
    _event(
        "politics",
        "law",
        "ORG LOC",
        "Parliament in {o} passed a law against {s}",
        "Lawmakers in {o} want to tax {s}",
        "The senate in {o} defeated a bill that {s} had asked for",
    ),
    _event(
        "politics",
        "campaign",
        "PER MISC",
        "{s} opened the election campaign at the {o}",
        "The candidate {s} spoke to voters at the {o}",
        "{s} asked parliament for money for the {o}",
    ),
    _event(
        "politics",
        "coalition",
        "PER PER",
        "{s} and {o} form a coalition",
        "Senator {s} rejected a pact with {o}",
        "{s} will lead the cabinet together with {o}",
    ),
    _event(
        "other",
        "opened",
        "ORG LOC",
        "{s} opened a shop in {o}",
        "{s} will build a factory near {o}",
        "{s} closed a plant in {o} and {n} people lost their jobs",
    ),
    _event(
        "other",
        "merged",
        "ORG ORG",
        "{s} bought its rival {o} for {n} million",
        "Shares of {s} fell after the merger with {o}",
        "{s} signed a contract to deliver machines to {o}",
    ),
    _event(
        "other",
        "art",
        "PER MISC",
        "A film by {s} opened the {o}",
        "{s} sang at the {o}",
        "The novelist {s} won a prize at the {o}",
    ),
    _event(
        "other",
        "science",
        "PER ORG",
        "{s}, a scientist at {o}, found a new enzyme",
        "A team of doctors led by {s} tested a drug at {o}",
        "{s} of {o} discovered a comet",
    ),
    _event(
        "other",
        "weather",
        "LOC LOC",
        "Heavy rain flooded the roads from {s} to {o}",
        "A storm moved from {s} towards {o}",
        "Snow stopped the trains between {s} and {o}",
    ),
    _event(
        "other",
        "crime",
        "PER LOC",
        "Police in {o} arrested {s} for theft",
        "A court in {o} sent {s} to prison",
        "{s} was robbed at the station of {o}",
    ),
)
TOPICS = ("other", "politics", "sports")

INTROS = ("", "", "", "", "On {date}, ", "In {year}, ", "According to {org}, ", "{per} reports: ")
TAILS = (
    "",
    "",
    " on {date}",
    " in {year}",
    ", {org} said on {date}",
    ", a spokesman told {per}",
    ", the {people} press wrote",
    ", as {number} people looked on",
    " while {per} watched from {loc}",
)
ASIDES = {  # said in passing, about another topic
    "sports": (
        "A goal by {per} was shown on the screen.",
        "The players of {org} watched it on television.",
        "It was the day of the race in {loc}.",
    ),
    "politics": (
        "The mayor of {loc} sent a letter.",
        "Minister {per} was there too.",
        "A vote in {loc} is due on {date}.",
    ),
    "other": (
        "Heavy rain fell in {loc}.",
        "The scientist {per} was a guest.",
        "Shares of {org} rose a little.",
    ),
}
MONTHS = words(
    "January February March April May June July August September October November December"
)
TYPES = {
    "per": "PER",
    "org": "ORG",
    "loc": "LOC",
    "people": "MISC",
    "date": "DATE",
    "year": "DATE",
}


def news(split: str, n: int, seed: int = 0) -> list[TextExample]:
    """Short news with a topic and tags; see the top of this file.

    Args:
        split: one of `SPLITS`.
        n: how many.
        seed: the same seed gives the same news.
    """
    world = World(split, random.Random(f"news {split} {seed}"))
    return [_report(world) for _ in range(n)]


def _report(world: World) -> TextExample:
    rng = world.rng
    # The topic first, so that all three are equally frequent.
    topic = rng.choice(TOPICS)
    event = rng.choice([event for event in EVENTS if event.topic == topic])
    fact = world.fact(event)
    statement = rng.choice(event.statements)
    intro = rng.choice(INTROS)
    # A name keeps its capital within the sentence; "The" does not.
    if intro and not statement.startswith("{"):
        statement = statement[0].lower() + statement[1:]
    text = f"{intro}{statement}{rng.choice(TAILS)}."
    if rng.random() < 1 / 3:  # words of another topic, so that single words give nothing away
        elsewhere = rng.choice([other for other in TOPICS if other != topic])
        text += f" {rng.choice(ASIDES[elsewhere])}"
    ends = {"s": fact.subject, "o": fact.object}
    example = tag(
        text,
        lambda slot: ends.get(slot) or _name(slot, world),
        TYPES | {"s": event.subject, "o": event.object},
    )
    return TextExample(example.text, example.tokens, topic, example.tags)


def _name(slot: str, world: World) -> str:
    """A fresh name, date or number for one slot."""
    rng = world.rng
    # 28, so that every month has the day.
    day, month, year = str(rng.randint(1, 28)), rng.choice(MONTHS), str(rng.randint(1950, 2029))
    match slot:
        case "date":
            return rng.choice((rng.choice(DAYS), f"{day} {month}", f"{day} {month} {year}"))
        case "year":
            return rng.choice((year, f"{month} {year}"))
        case "n":
            return str(rng.randint(2, 40))
        case "number":
            # Looks like a year but is not: only the words around it tell.
            return str(rng.randint(1900, 2100))
        case "people":
            return rng.choice(world.names.peoples)
    return world.names.draw(TYPES[slot], rng)
