"""A split and a random generator go in; names, facts and texts of the toy world come out.

No fact appears in two splits. `test_unseen` uses names that the other splits never mention.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ..data.examples import TextExample
from ..data.words import split_words
from ..errors import ConfigError, suggest

SPLITS = ("train", "validation", "test", "test_unseen")


def split_of(fact: str) -> str:
    """Which split a fact belongs to: eight tenths go to train, one tenth to each of the others.

    A checksum decides, not a random number, so that it holds for every seed.
    """
    bucket = zlib.crc32(fact.encode()) % 10
    return {0: "validation", 1: "test"}.get(bucket, "train")


def check_split(split: str) -> None:
    """Raise ConfigError unless `split` is one of `SPLITS`."""
    if split not in SPLITS:
        raise ConfigError(
            "unknown split of the toy data", found=repr(split), fix=suggest(split, SPLITS)
        )


@dataclass(frozen=True)
class Names:
    """The names a split may use; Jordan, Lincoln and others have more than one type."""

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


def words(text: str) -> tuple[str, ...]:
    """The words between blanks."""
    return tuple(text.split())


def _lines(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


SEEN = Names(
    first=words(
        "Alice Ben Carla David Elena Frank Greta Hassan Ingrid James Keiko Liam Maria Nadia Oscar "
        "Priya Quentin Rosa Samuel Tara Ursula Victor Wendy Yusuf Zoe Amara Boris Chloe Diego Emma "
        "Felix Grace Hugo Irene Jonas Karin Leo Mona Nils Olga Paul Ruth Stefan Tomas Vera Walter "
        "Jordan Victoria Paris Florence"
    ),
    last=words(
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
    peoples=words(
        "Danish Kenyan French Japanese Peruvian Irish Egyptian Cuban Austrian Nigerian Greek "
        "Finnish Canadian Polish Turkish Spanish Dutch Swiss Korean Norwegian"
    ),
)

UNSEEN = Names(
    first=words(
        "Aiko Bruno Celeste Dario Esther Farid Gwen Hilda Ivan Jasmin Kofi Lotte Milos Noor Otto "
        "Petra Rafael Selma Tariq Una"
    ),
    last=words(
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
    peoples=words("Ghanaian Colombian Welsh German Indian Italian Latvian Swedish Brazilian Thai"),
)


DAYS = words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")


class Kind(Protocol):
    """What facts of one kind have in common: a name, and the types of subject and object."""

    @property
    def name(self) -> str: ...

    @property
    def subject(self) -> str: ...

    @property
    def object(self) -> str: ...


RelationT = TypeVar("RelationT", bound=Kind)  # `Relation` in facts, `Event` in news


@dataclass(frozen=True)
class Fact(Generic[RelationT]):
    """One thing that is true in the toy world."""

    relation: RelationT
    subject: str
    object: str

    @property
    def words(self) -> set[str]:
        """The words of both its names."""
        return set(f"{self.subject} {self.object}".split())

    @property
    def split(self) -> str:
        """Which split the fact belongs to."""
        ends = [self.subject, self.object]
        if self.relation.subject == self.relation.object:
            ends.sort()  # "A and B form a coalition" is the same fact as "B and A form a coalition"
        return split_of("|".join([self.relation.name, *ends]))


class World:
    """Draws facts of one split, with that split's names."""

    def __init__(self, split: str, rng: random.Random) -> None:
        check_split(split)
        self.split = split
        self.rng = rng
        self.names = UNSEEN if split == "test_unseen" else SEEN

    def fact(self, relation: RelationT) -> Fact[RelationT]:
        """Any fact of this split."""
        fact = self.find_fact(relation)
        # Over all names one draw in ten is from the rarest split: a thousand never miss it.
        assert fact is not None
        return fact

    def find_fact(
        self,
        relation: RelationT,
        *,
        subject: str | None = None,
        object: str | None = None,
        avoid: frozenset[str] = frozenset(),
    ) -> Fact[RelationT] | None:
        """A fact of this split whose new names share no word with `avoid`.

        None if a thousand draws found none: a split may hold nothing about an entity.
        """
        given = set(f"{subject or ''} {object or ''}".split())
        for _ in range(1000):
            fact = Fact(
                relation,
                subject or self.names.draw(relation.subject, self.rng),
                object or self.names.draw(relation.object, self.rng),
            )
            # Names of the toy world share words ("Jordan" is a person and a place): new ones must
            # not share any with what was said before, nor with each other.
            words = fact.words
            distinct = len(words) == len(f"{fact.subject} {fact.object}".split())
            clashes = (words - given) & avoid
            if distinct and not clashes and self.split in ("test_unseen", fact.split):
                return fact
        return None


def fill(template: str, name_of: Callable[[str], str]) -> tuple[str, list[tuple[str, int, int]]]:
    """The template with a name in each slot, and the place of the name in every slot."""
    text, spans = "", []
    for i, part in enumerate(re.split(r"\{(\w+)\}", template)):
        # `re.split` with a group gives text, slot, text, slot, ...
        if i % 2:
            name = name_of(part)
            spans.append((part, len(text), len(text) + len(name)))
            part = name
        text += part
    return text, spans


def tag(template: str, name_of: Callable[[str], str], types: Mapping[str, str]) -> TextExample:
    """The template with a name in each slot, tagged where the slot has a type."""
    text, spans = fill(template, name_of)
    tokens, tags = [], []
    for start, end in split_words(text):
        tokens.append(text[start:end])
        tags.append("O")
        for slot, first, last in spans:
            if slot in types and first <= start < last:
                tags[-1] = f"{'B' if start == first else 'I'}-{types[slot]}"
    return TextExample(text, tuple(tokens), tags=tuple(tags))
