"""A split, a number and a seed go in; commands to an assistant, with intent and slots, come out.

They are written as a speech recogniser writes them, in lower case and without punctuation. What a
word means depends on the others: a title may be that of a song, a book or a film, a number may
count people, stars or hours, a person may sing or own a restaurant, and "put ... on" plays a song
unless a list follows. Titles are made of words that commands use too, such as "morning" and
"table". So no single word gives the intent or a slot away.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..data.examples import TextExample
from .world import DAYS, SEEN, UNSEEN, Names, check_split, split_of, tag, words


@dataclass(frozen=True)
class Intent:
    """How people say what they want: as an order, which may be polite, or in another way."""

    orders: tuple[str, ...]
    remarks: tuple[str, ...]


INTENTS = {
    "play_music": Intent(
        orders=(
            "play {song} by {artist}",
            "play {song}",
            "put {song} on",
            "put something by {artist} on",
            "play some {genre} music",
            "start a {genre} song by {artist}",
            "let me hear {artist}",
        ),
        remarks=(
            "i want to listen to {song}",
            "i am in the mood for some {genre}",
            "time for a song by {artist}",
        ),
    ),
    "add_to_playlist": Intent(
        orders=(
            "add {song} to my {playlist} playlist",
            "put {song} by {artist} on my list {playlist}",
            "put {song} on the {playlist} list",
            "add something by {artist} to {playlist}",
            "include this {genre} song in my playlist {playlist}",
            "save {song} to the playlist named {playlist}",
        ),
        remarks=(
            "i want to have {song} on my {playlist} playlist",
            "this song by {artist} belongs on the list {playlist}",
        ),
    ),
    "book_restaurant": Intent(
        orders=(
            "book a table for {party} at {restaurant}",
            "book {restaurant} in {city} for {party} people",
            "get a table at {restaurant} {date} at {time}",
            "reserve a table in a {cuisine} restaurant in {city}",
            "find a {cuisine} restaurant in {city} for {party}",
        ),
        remarks=(
            "i want to eat {cuisine} food {date} in {city}",
            "we are {party} people and need a table at {time}",
            "is there a table for {party} at {restaurant} {date}",
        ),
    ),
    "get_weather": Intent(
        orders=(
            "tell me the weather in {city}",
            "tell me how cold it gets in {city} {date}",
            "check the forecast for {city} at {time}",
            "find out if it will rain {date} in {city}",
        ),
        remarks=(
            "will it rain in {city} {date}",
            "is it warm in {city}",
            "what is the weather like {date} in {city}",
            "i want to know if there is snow in {city} {date}",
        ),
    ),
    "set_alarm": Intent(
        orders=(
            "set an alarm for {time}",
            "set my alarm {date} to {time}",
            "wake me up {date} at {time}",
            "let the clock ring at {time} {date}",
        ),
        remarks=(
            "i want to get up at {time} {date}",
            "i need an alarm {date} at {time}",
            "it would be bad to sleep past {time}",
        ),
    ),
    "rate_book": Intent(
        orders=(
            "give {book} {rating} stars",
            "rate {book} {rating} out of six",
            "rate the book {book} with {rating} points",
            "put {rating} stars on {book}",
        ),
        remarks=(
            "the book {book} gets {rating} out of six",
            "i want to give {rating} stars to {book}",
            "{book} is worth {rating} points",
        ),
    ),
    "find_film": Intent(
        orders=(
            "find a cinema in {city} that shows {film}",
            "find {film} in a cinema {date}",
            "tell me when {film} starts",
            "get tickets for {film} {date} at {time}",
            "book {party} tickets for {film} in {city}",
        ),
        remarks=(
            "i want to see {film} {date}",
            "when is {film} on in {city}",
            "is {film} still in the cinema",
        ),
    ),
}
POLITE = ("", "", "", "please ", "can you ", "could you please ", "hey ", "i would like you to ")

GENRES = words("jazz rock soul folk techno country classical reggae blues punk")
CUISINES = words("italian thai mexican indian greek korean vegan french turkish spanish")
NUMBERS = words("1 2 3 4 5 6 one two three four five six")
DAYTIMES = ("noon", "midnight", "half past seven", "quarter to nine", "six in the evening")
DATES = (
    *("today", "tonight", "tomorrow", "tomorrow night", "this weekend", "next week"),
    *(f"{which} {day.lower()}" for which in ("this", "next") for day in DAYS),
    *(f"in {n} days" for n in NUMBERS[1:6]),
)


@dataclass(frozen=True)
class Titles:
    """The words that titles and playlists of a split are made of."""

    adjectives: tuple[str, ...]
    nouns: tuple[str, ...]
    activities: tuple[str, ...]


SEEN_TITLES = Titles(
    adjectives=words(
        "silver golden silent broken crystal distant early empty endless frozen gentle hidden "
        "hollow little lonely lost midnight old paper purple quiet red secret second sleeping "
        "slow small summer sweet velvet white wild winter young blue cold warm burning last"
    ),
    nouns=words(
        "river mountain garden morning table window city song star clock road letter dream "
        "island ocean forest house mirror shadow stranger storm sunday train voice winter rain "
        "bird bridge door engine fire harbour heart horse key kitchen lantern list night people "
        "queen ring sailor snow spring stone ticket tower village weather book cinema friend"
    ),
    activities=words(
        "cooking running cleaning dancing reading driving working party coffee holiday birthday "
        "dinner garden morning evening weekend road rain winter study friday focus"
    ),
)
UNSEEN_TITLES = Titles(
    adjectives=words(
        "amber ancient bitter bright clever copper dusty emerald faded fearless gloomy graceful "
        "iron jolly modest narrow nervous pale proud restless ruby shining stubborn tender"
    ),
    nouns=words(
        "acrobat anchor orchard balloon captain carnival cathedral desert dragon feather ghost "
        "glacier jungle kingdom labyrinth meadow monster orchid parade pirate planet puppet "
        "raven riddle saddle temple thunder unicorn valley whisper wizard"
    ),
    activities=words(
        "yoga hiking painting gaming sewing gym picnic camping fitness sleepy brunch sauna "
        "surfing karaoke wedding nap"
    ),
)


def intents(split: str, n: int, seed: int = 0) -> list[TextExample]:
    """Commands with the intent as their label and slots as tags; see the top of this file.

    A command with the same intent and the same words in its slots never appears in two splits.
    Names, titles, places and playlists of `test_unseen` are made of words that the other splits
    never use.

    Args:
        split: one of `SPLITS`.
        n: how many.
        seed: the same seed gives the same commands.
    """
    check_split(split)
    rng = random.Random(f"intents {split} {seed}")
    # Alarms have no names that could be unseen: theirs are at least those of the test.
    home = "test" if split == "test_unseen" else split
    commands: list[TextExample] = []
    while len(commands) < n:
        command, fact = _command(rng, unseen=split == "test_unseen")
        if split_of(fact) == home:
            commands.append(command)
    return commands


def _command(rng: random.Random, unseen: bool) -> tuple[TextExample, str]:
    """A command, and what it is about: its intent and the words in its slots."""
    intent = rng.choice(list(INTENTS))
    names, titles = (UNSEEN, UNSEEN_TITLES) if unseen else (SEEN, SEEN_TITLES)
    said: list[str] = []

    def value_of(slot: str) -> str:
        said.append(VALUES[slot](names, titles, rng).lower())
        return said[-1]

    command = tag(_template(INTENTS[intent], rng), value_of, {slot: slot for slot in VALUES})
    return replace(command, label=intent), "|".join([intent, *sorted(said)])


def _template(intent: Intent, rng: random.Random) -> str:
    template = rng.choice(intent.orders + intent.remarks)
    return rng.choice(POLITE) + template if template in intent.orders else template


def _person(names: Names, titles: Titles, rng: random.Random) -> str:
    return names.draw("PER", rng)


def _title(names: Names, titles: Titles, rng: random.Random) -> str:
    adjective, noun, other = rng.choice(titles.adjectives), *rng.sample(titles.nouns, 2)
    return rng.choice((f"{adjective} {noun}", f"the {noun}", f"{noun} of {other}", noun))


def _playlist(names: Names, titles: Titles, rng: random.Random) -> str:
    activity = rng.choice(titles.activities)
    return rng.choice((activity, f"{rng.choice(titles.adjectives)} {activity}"))


def _restaurant(names: Names, titles: Titles, rng: random.Random) -> str:
    owner, noun = rng.choice((*names.first, *names.last)), rng.choice(titles.nouns)
    return rng.choice((f"chez {owner}", f"casa {owner}", f"the {noun}", f"{owner} and {noun}"))


def _city(names: Names, titles: Titles, rng: random.Random) -> str:
    return rng.choice(names.places)


def _time(names: Names, titles: Titles, rng: random.Random) -> str:
    if rng.random() < 0.2:
        return rng.choice(DAYTIMES)
    hour, minute = rng.randint(1, 12), rng.choice(("", "", "15 ", "30 ", "45 "))
    return f"{hour} {minute}{rng.choice(('am', 'pm'))}"


def _one_of(values: tuple[str, ...]) -> Value:
    return lambda names, titles, rng: rng.choice(values)


Value = Callable[[Names, Titles, random.Random], str]
VALUES: dict[str, Value] = {  # how the words of each slot are drawn
    "artist": _person,
    "book": _title,
    "city": _city,
    "cuisine": _one_of(CUISINES),
    "date": _one_of(DATES),
    "film": _title,
    "genre": _one_of(GENRES),
    "party": _one_of(NUMBERS),
    "playlist": _playlist,
    "rating": _one_of(NUMBERS),
    "restaurant": _restaurant,
    "song": _title,
    "time": _time,
}
