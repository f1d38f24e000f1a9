"""Toy data, offline: a small hand-labelled set to look at, and seeded generators for volume.

The generated world is made of *facts*, triples such as (lives, Alice Moreau, Oslo). A question asks
for one end of a fact. Its context holds four facts in random order: the one asked for, one with the
same relation (somebody else lives somewhere), and two about the same entity (she was born and has
studied elsewhere). All four answers have the same type, and a question words its relation
differently from the context. So neither position, nor type, nor shared words give the answer away:
the reader has to match the entity *and* the relation.

No fact stands in two splits. `test_unseen` uses names that the other splits never mention.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import ConfigError, suggest
from .examples import Answer, Dataset, NERExample, QAExample
from .readers import read_conll, read_squad
from .tokenization import split_words

SPLITS = ("train", "validation", "test", "test_unseen")
HANDMADE = Path(__file__).parent / "handmade"


def handmade_ner() -> list[NERExample]:
    """A few dozen sentences of ordinary English, labelled by hand."""
    return read_conll(HANDMADE / "ner.conll")


def handmade_qa() -> list[QAExample]:
    """A few dozen questions with contexts of ordinary English, written by hand."""
    return read_squad(HANDMADE / "qa.json")


@dataclass(frozen=True)
class Names:
    """The names a split may use; Jordan, Lincoln and others are of more than one type."""

    first: tuple[str, ...]
    last: tuple[str, ...]
    organisations: tuple[str, ...]
    places: tuple[str, ...]
    events: tuple[str, ...]
    peoples: tuple[str, ...]

    def draw(self, kind: str, rng: random.Random) -> str:
        """A name of a type; a person has a last name two times in three."""
        if kind == "PER":
            first = rng.choice(self.first)
            return f"{first} {rng.choice(self.last)}" if rng.random() < 2 / 3 else first
        if kind == "ORG":
            return rng.choice(self.organisations)
        return rng.choice(self.places if kind == "LOC" else self.events)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _lines(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


SEEN = Names(
    first=_words(
        "Alice Ben Carla David Elena Frank Greta Hassan Ingrid James Keiko Liam Maria Nadia Oscar "
        "Priya Quentin Rosa Samuel Tara Ursula Victor Wendy Yusuf Zoe Amara Boris Chloe Diego Emma "
        "Felix Grace Hugo Irene Jonas Karin Leo Mona Nils Olga Paul Ruth Stefan Tomas Vera Walter "
        "Jordan Victoria Paris Florence"
    ),
    last=_words(
        "Moreau Smith Okafor Tanaka Rossi Larsen Novak Garcia Khan Petrov Weber Silva Nguyen "
        "Cohen Murphy Haddad Lindgren Costa Fischer Dubois Kowalski Yamada Mensah "
        "Ivanova Baker Castillo Demir Eriksen Fontana Grant Horvath Ito Jensen Keller Lopez "
        "Marino Nakamura Ortega Popescu Quist Romano Santos Thorne Ueda Vargas "
        "Lincoln Jackson Houston Carter Wells"
    ),
    organisations=_lines(
        "Acme, Northwind Labs, Bluepeak, Solaris Energy, Tidewater Bank, Orion Motors, Greenleaf "
        "Foods, Pixelworks, Carter Group, Wells Union, Halcyon, Redstone Mining, Vantage Press, "
        "Kestrel Airways, Lumen Systems, Ironbridge, Maple Trust, Nova Pharma, Harbour Lines, "
        "Quantus, Falcon Steel, Brightside Media, Cobalt Studios, Evergreen Paper, Zenith, Arcadia "
        "Hotels, Polaris Shipping, Silverline, Summit Rail, Amazon, Delta Electric, Crestview "
        "Hospital, Jackson Institute, Meridian, Oakfield College, Sunrise Dairy, Titan Cement, "
        "Union Glass, Verity, Westgate Insurance, Apex Toys, Beacon Software, Cascade, Dynamo, "
        "Ember Records, Fairmont Museum, Granite Works, Horizon Telecom, Ivory Textiles, Juniper"
    ),
    places=_lines(
        "Oslo, Paris, Nairobi, Lima, Kyoto, Prague, Dublin, Cairo, Havana, Seoul, Vienna, Lagos, "
        "Quito, Athens, Helsinki, Montreal, Lisbon, Warsaw, New Haven, Cape Town, Santa Rosa, "
        "Port Louis, Berlin, Madrid, Chicago, Toronto, Geneva, Naples, Porto, Tunis, Jordan, "
        "Lincoln, Houston, Florence, Victoria, Denmark, Peru, Kenya, Japan, Portugal, Lake Como, "
        "Black Forest, Delhi, Hanoi, Bergen, Zagreb, Malmo, Ghent, Bilbao, San Marino"
    ),
    events=_lines(
        "Harvest Cup, Aurora Festival, World Chess Open, Spring Regatta, Golden Lantern, Winter "
        "Games, Ocean Marathon, Night of Science, Silver Fern, Jazz Week, Book Fair, Desert Rally, "
        "Snow Ball, Film Biennale, Amber Prize, Coral Gala, Mountain Derby, Poetry Slam, Robot "
        "League, Sunflower Parade, Tulip Tour, Village Olympics, Wine Days, Opera Summer, Dance "
        "Masters, Comet Awards, Eagle Trophy, Garden Show, Lakeside Triathlon, Music Marathon"
    ),
    peoples=_words(
        "Danish Kenyan French Japanese Peruvian Irish Egyptian Cuban Austrian Nigerian Greek "
        "Finnish Canadian Polish Turkish Spanish Dutch Swiss Korean Norwegian"
    ),
)

UNSEEN = Names(
    first=_words(
        "Aiko Bruno Celeste Dario Esther Farid Gwen Hilda Ivan Jasmin Kofi Lotte Milos Noor Otto "
        "Petra Rafael Selma Tariq Una"
    ),
    last=_words(
        "Abbott Brandt Chandra Duarte Egger Farrell Gupta Hansson Iversen Jimenez Kruger Lund "
        "Mbeki Nowak Ozturk Pavlov Reyes Schmidt Takeda Visser"
    ),
    organisations=_lines(
        "Altura, Birchwood Capital, Cyberdale, Driftmark, Elmstone Clinic, Fjord Logistics, "
        "Glasswing, Hexagon Tools, Inkwell Publishing, Jetstream, Kilnworks, Lodestar, Mistral "
        "Yachts, Nimbus, Osprey Finance, Plumtree Bakery, Quarry Stone, Rivermark, Stonehouse "
        "Brewery, Tallgrass"
    ),
    places=_lines(
        "Accra, Bogota, Cardiff, Dakar, Edinburgh, Fukuoka, Graz, Hamburg, Izmir, Jakarta, Krakow, "
        "La Paz, Mumbai, Nantes, Odessa, Palermo, Riga, Sao Tome, Turin, Uppsala"
    ),
    events=_lines(
        "Bamboo Challenge, Canyon Race, Dragon Pageant, Emerald Sprint, Firefly Concert, Glacier "
        "Trek, Honey Fest, Iris Exhibition, Jade Bowl, Kite Carnival, Lantana Ride, Moonlight "
        "Swim, Nectar Tasting, Orchid Expo, Pearl Crossing, Quartz Climb, Ribbon Dash, Saffron "
        "Feast, Thunder Match, Velvet Ceremony"
    ),
    peoples=_words("Ghanaian Colombian Welsh German Indian Italian Latvian Swedish Brazilian Thai"),
)


@dataclass(frozen=True)
class Relation:
    """How a fact is stated, and how one asks for its object (given the subject) and its subject."""

    name: str
    subject: str
    object: str
    statements: tuple[str, ...]
    ask_object: tuple[str, ...]
    ask_subject: tuple[str, ...]


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


@dataclass(frozen=True)
class Fact:
    """One thing that is true in the toy world."""

    relation: Relation
    subject: str
    object: str

    @property
    def words(self) -> set[str]:
        """The words of both its names."""
        return set(f"{self.subject} {self.object}".split())

    @property
    def split(self) -> str:
        """Which split the fact belongs to: eight tenths train, a tenth each of the others.

        A checksum decides, not a random number, so that it holds for every seed.
        """
        key = f"{self.relation.name}|{self.subject}|{self.object}"
        bucket = zlib.crc32(key.encode()) % 10
        return {0: "validation", 1: "test"}.get(bucket, "train")


class World:
    """Draws facts of one split, with that split's names."""

    def __init__(self, split: str, rng: random.Random) -> None:
        if split not in SPLITS:
            raise ConfigError(
                "unknown split of the toy data", found=repr(split), fix=suggest(split, SPLITS)
            )
        self.split = split
        self.rng = rng
        self.names = UNSEEN if split == "test_unseen" else SEEN

    def fact(
        self,
        relation: Relation,
        *,
        subject: str | None = None,
        object: str | None = None,
        avoid: frozenset[str] = frozenset(),
    ) -> Fact | None:
        """A fact of this split whose new names share no word with `avoid`.

        None if a thousand draws found none: a split may hold nothing about one entity.
        """
        for _ in range(1000):
            fact = Fact(
                relation,
                subject or self.names.draw(relation.subject, self.rng),
                object or self.names.draw(relation.object, self.rng),
            )
            given = set(f"{subject or ''} {object or ''}".split())
            new = fact.words - given
            distinct = len(fact.words) == len(f"{fact.subject} {fact.object}".split())
            if distinct and not new & avoid and self.split in ("test_unseen", fact.split):
                return fact
        return None


def qa_examples(split: str, n: int, seed: int = 0) -> list[QAExample]:
    """Questions over contexts of four facts; see the top of this file.

    Args:
        split: one of `SPLITS`.
        n: how many.
        seed: the same seed gives the same questions.
    """
    world = World(split, random.Random(f"qa {split} {seed}"))
    return [_question(world, f"{split}-{i}") for i in range(n)]


def _question(world: World, id: str) -> QAExample:
    rng = world.rng
    asked, given = rng.sample(("subject", "object"), 2)
    facts = None
    while facts is None:
        facts = _draw_facts(world, rng.choice(RELATIONS), given)
    target = facts[0]
    rng.shuffle(facts)
    check_one_answer(facts, target, given)
    context, answers = _state(facts, asked, rng)
    templates = target.relation.ask_object if asked == "object" else target.relation.ask_subject
    question = rng.choice(templates).format(s=target.subject, o=target.object)
    return QAExample(id, question, context, (answers[facts.index(target)],), tuple(answers))


def _draw_facts(world: World, relation: Relation, given: str) -> list[Fact] | None:
    """The fact to ask for, one with its relation, and one for each other relation of its entity."""
    target = world.fact(relation)
    others = [r for r in RELATIONS if _types(r) == _types(relation) and r != relation]
    known = {given: getattr(target, given)}
    facts = [target]
    for other, fixed in ((relation, {}), *((other, known) for other in others)):
        used = frozenset().union(*(fact.words for fact in facts))
        fact = world.fact(other, avoid=used, **fixed)
        if fact is None:
            return None
        facts.append(fact)
    return facts


def _types(relation: Relation) -> tuple[str, str]:
    return relation.subject, relation.object


def _state(facts: list[Fact], asked: str, rng: random.Random) -> tuple[str, list[Answer]]:
    """The facts as a text, and where each fact's asked-for end stands in it."""
    context, answers = "", []
    for fact in facts:
        text, spans = _fill(
            rng.choice(fact.relation.statements),
            {"s": fact.subject, "o": fact.object},
        )
        start, _ = spans["s" if asked == "subject" else "o"]
        context += " " if context else ""
        answers.append(Answer(getattr(fact, asked), len(context) + start))
        context += text
    return context, answers


def _fill(template: str, names: dict[str, str]) -> tuple[str, dict[str, tuple[int, int]]]:
    """The template with its slots filled, and where each slot's name stands."""
    text, spans = "", {}
    for i, part in enumerate(re.split(r"\{(\w+)\}", template)):
        if i % 2:
            spans[part] = (len(text), len(text) + len(names[part]))
            part = names[part]
        text += part
    return text, spans


def check_one_answer(facts: list[Fact], target: Fact, given: str) -> None:
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
DAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
DRAWN_SLOTS = ("org", "per", "misc", "loc")
SLOT_TYPES = {"org": "ORG", "per": "PER", "misc": "MISC", "people": "MISC", "loc": "LOC"}


def ner_examples(split: str, n: int, seed: int = 0) -> list[NERExample]:
    """Sentences that state facts of the toy world, dressed up, and one in ten without any name.

    Args:
        split: one of `SPLITS`.
        n: how many.
        seed: the same seed gives the same sentences.
    """
    world = World(split, random.Random(f"ner {split} {seed}"))
    return [_sentence(world) for _ in range(n)]


def _sentence(world: World) -> NERExample:
    rng = world.rng
    fillers = {
        "day": rng.choice(DAYS),
        "year": str(rng.randint(1950, 2029)),
        "hour": str(rng.randint(6, 11)),
    }
    if rng.random() < 0.1:
        return _tagged(rng.choice(PLAIN), fillers, {})
    fact = world.fact(rng.choice(RELATIONS))
    names = {"s": fact.subject, "o": fact.object, "people": rng.choice(world.names.peoples)}
    names |= {slot: world.names.draw(SLOT_TYPES[slot], rng) for slot in DRAWN_SLOTS}
    statement = rng.choice(fact.relation.statements).removesuffix(".")
    tails = TAILS if fact.relation.object == "LOC" else TAILS + PLACE_TAILS
    template = f"{rng.choice(INTROS)}{statement}{rng.choice(tails)}."
    types = SLOT_TYPES | {"s": fact.relation.subject, "o": fact.relation.object}
    return _tagged(template, fillers | names, types)


def _tagged(template: str, names: dict[str, str], types: dict[str, str]) -> NERExample:
    text, spans = _fill(template, names)
    tokens, tags = [], []
    for start, end in split_words(text):
        tokens.append(text[start:end])
        tags.append("O")
        for slot, (first, last) in spans.items():
            if slot in types and first <= start < last:
                tags[-1] = f"{'B' if start == first else 'I'}-{types[slot]}"
    return NERExample(tuple(tokens), tuple(tags))


GENERATORS: dict[str, Callable[[str, int, int], list]] = {"ner": ner_examples, "qa": qa_examples}


@cache
def toy_dataset(
    kind: str, n_train: int, n_validation: int = 500, n_test: int = 500, seed: int = 0
) -> Dataset:
    """All four splits of one kind of toy data (`test_unseen` is as large as `test`).

    Raises:
        ConfigError: an unknown kind; the nearest known one is named.
    """
    if kind not in GENERATORS:
        raise ConfigError(
            "unknown kind of toy data", found=repr(kind), fix=suggest(kind, GENERATORS)
        )
    sizes = dict(zip(SPLITS, (n_train, n_validation, n_test, n_test), strict=True))
    return Dataset(**{split: GENERATORS[kind](split, n, seed) for split, n in sizes.items()})
