"""Values go in, with the class or function that they are settings of; all faults come out.

A setting is a field of a dataclass, or a parameter of a function. Its type is its annotation, and
any further rules for its value are written beside its default:

    epochs: int = setting(8, least=1)
    sampling: str = setting("alternating", choices=("alternating", "joint"))

The same rules hold in Python, where a dataclass calls `check` in its `__post_init__`, and in a
TOML file, where `faults_by_key` looks at a section before anything is made of it.
"""

from __future__ import annotations

import functools
import inspect
import math
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, ParamSpec, TypeVar

from .errors import OLD_NAMES, ConfigError, Fault, suggest

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")

# What a value of each type is called, and the classes it may be of.
TYPES: dict[Any, tuple[str, Any]] = {
    bool: ("true or false", bool),
    # Integral and Real rather than int and float: NumPy's numbers count too.
    int: ("a whole number", Integral),
    float: ("a number", Real),
    str: ('a text in quotes, such as "ner"', str),
    dict: ("a section of keys and values", Mapping),
    list: ("a list in square brackets", list | tuple),
}
NAMES = "a list of names"
LARGEST = 2**63 - 1  # what torch, and TOML, can hold; Python could hold more
SAME_AS: dict[Any, Any] = {Sequence: list, tuple: list, Mapping: dict}


@dataclass(frozen=True)
class Rules:
    """What a value must be, apart from its type.

    Args:
        least, most: bounds that a number may reach.
        above, below: bounds that it may not reach.
        choices: the texts to choose from. They are looked at when a value is checked, so that a
            registry may grow.
        check: called with the value and the name of its setting; raises ConfigError.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    choices: Collection[str] | None = None
    check: Callable[[Any, str], None] | None = None

    @property
    def has_bounds(self) -> bool:
        return any(b is not None for b in (self.least, self.most, self.above, self.below))

    def complaint(self, value: Any) -> str:
        """What a number must be and is not, in words; "" if it is. NaN lies within no bounds."""
        is_within = (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )
        if self.has_bounds and not is_within:
            return self.bounds_in_words()
        return "" if math.isfinite(value) or not self.has_bounds else "be finite"

    def bounds_in_words(self) -> str:
        if (self.above, self.below) == (0, math.inf):
            return "be a positive number"
        if self.least is not None and self.most is not None:
            return f"lie between {self.least} and {self.most}"
        bounds = {
            "at least": self.least,
            "above": self.above,
            "at most": self.most,
            "below": self.below,
        }
        said = [f"{words} {bound}" for words, bound in bounds.items() if bound is not None]
        return f"be {' and '.join(said)}"


@dataclass(frozen=True)
class Setting:
    """A setting as it is declared: the type of its value, whether it must be given, its rules."""

    type: Any = Any
    required: bool = False
    rules: Rules = Rules()

    def faults(self, value: Any, name: str) -> list[Fault]:
        """What is wrong with a value; `name` is what the faults call the setting."""
        rules = self.rules
        # Bounds are compared only where the type is right: "3" >= 1 would raise a TypeError.
        if faults := type_faults(self.type, value, name):
            return faults
        if rules.choices is not None and value not in rules.choices:
            fix = suggest(str(value), rules.choices)
            return [Fault(f"{name} is unknown", found=repr(value), fix=fix)]
        if isinstance(value, Real) and (complaint := rules.complaint(value)):
            return [Fault(f"{name} must {complaint}", found=str(value))]
        return raised_by(rules.check, value, name) if rules.check else []


def setting(default: Any = MISSING, *, factory: Any = MISSING, **rules: Any) -> Any:
    """A field of a settings dataclass.

    Args:
        default, factory: its default, or what makes a fresh one, as in `dataclasses.field`; a
            setting without either must be given.
        rules: see `Rules`.
    """
    metadata = {"rules": Rules(**rules)}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def settings_of(owner: Any, *without: str) -> dict[str, Setting]:
    """The settings that a dataclass has as fields, or another class or function as parameters.

    Args:
        without: names to leave out.
    """
    if is_dataclass(owner):
        hints = _types_of(owner)
        found = {
            f.name: Setting(
                hints[f.name],
                required=f.default is MISSING and f.default_factory is MISSING,
                rules=f.metadata.get("rules", Rules()),
            )
            for f in fields(owner)
        }
    else:
        parameters = inspect.signature(owner).parameters.values()
        hints = _hints_of(owner)
        found = {
            p.name: Setting(
                hints.get(p.name, type(p.default)), required=p.default is inspect.Parameter.empty
            )
            for p in parameters
            if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        }
    return {name: found[name] for name in found if name not in without}


@functools.cache  # evaluating them takes longer than checking the values
def _types_of(owner: Any) -> dict[str, Any]:
    """The types of a dataclass's fields: where annotations are postponed, fields hold strings."""
    return typing.get_type_hints(owner)


def _hints_of(function: Any) -> dict[str, Any]:
    """The annotations of a function, or of the parameters of a class; none if one is unknown."""
    try:
        return typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except NameError:  # an annotation for type checkers alone: then defaults tell the types
        return {}


def type_faults(wanted: Any, value: Any, name: str) -> list[Fault]:
    """What is wrong with a value, and in a section with its values, by the type it should have."""
    if words := _wrong_type(wanted, value):
        fix = 'for example ["one", "two"]' if words == NAMES else None
        return [Fault(f"{name} must be {words}", found=repr(value), fix=fix)]
    inner = typing.get_args(wanted)
    if isinstance(value, Mapping) and len(inner) == 2:  # such as dict[str, float]
        items = value.items()
        return [f for key, item in items for f in type_faults(inner[1], item, f"{name}.{key}")]
    return []


def _wrong_type(wanted: Any, value: Any) -> str:
    """What a value should be, in words; "" if it is of the type that an annotation names.

    A type that is not in `TYPES`, `Any` among them, is left to the code that uses the value.
    """
    kind, inner = typing.get_origin(wanted) or wanted, typing.get_args(wanted)
    if kind in (typing.Union, UnionType):
        # None cannot be written in TOML, so it is accepted and never asked for.
        words = [_wrong_type(each, value) for each in inner if each is not NoneType]
        is_one_of_them = "" in words or (value is None and NoneType in inner)
        return "" if is_one_of_them else " or ".join(words)
    kind = SAME_AS.get(kind, kind)
    if kind not in TYPES:
        return ""
    words, classes = TYPES[kind]
    # To Python, True is a whole number; to the writer of a setting it is a slip.
    fits = isinstance(value, classes) and (kind is bool or not isinstance(value, bool))
    if fits and isinstance(value, Integral) and abs(int(value)) > LARGEST:
        return f"{words} of at most 64 bits"
    # Sections in a list are left to the code that reads them, which knows their keys.
    if kind is list and inner and typing.get_origin(inner[0]) is not dict:
        words = NAMES if inner[0] is str else words
        fits = fits and not any(_wrong_type(inner[0], item) for item in value)
    return "" if fits else words


def names_checked(function: Callable[P, R]) -> Callable[P, R]:
    """A function that answers an unknown keyword with a ConfigError naming the nearest known one.

    Python's own TypeError would not know what the keyword was called in an earlier version, or is
    called in another library.
    """
    known = [name for name in inspect.signature(function).parameters if name != "self"]
    title = getattr(function, "__qualname__", "")
    title = title.removesuffix(".__init__").removesuffix(".forward")

    @functools.wraps(function)
    def checked(*args: P.args, **keywords: P.kwargs) -> R:
        unknown = [name for name in keywords if name not in known]
        if unknown:
            faults = [Fault(f"{title} has no {name}", fix=suggest(name, known)) for name in unknown]
            raise ConfigError.collect(faults)
        return function(*args, **keywords)

    return checked


def class_names_checked(cls: type[C]) -> type[C]:
    """A class decorator: the same for the constructor, and for the attributes of its objects."""

    def missing(self: Any, name: str) -> Any:
        called = OLD_NAMES.get(name)
        hint = f"; it is now called {called!r}" if called in settings_of(cls) else ""
        raise AttributeError(f"{cls.__name__!r} has no attribute {name!r}{hint}")

    changed: Any = cls
    changed.__init__ = names_checked(cls.__init__)
    changed.__getattr__ = missing
    return cls


def raised_by(function: Callable[..., Any], *args: Any) -> list[Fault]:
    """The faults of the ConfigError that a call raises; none if it raises none."""
    try:
        function(*args)
    except ConfigError as error:
        return error.faults
    return []


def faults_by_key(
    values: Mapping[str, Any], settings: Mapping[str, Setting], where: str = ""
) -> dict[str, list[Fault]]:
    """What is wrong with each value alone, in the order of the values; then what is missing.

    Args:
        where: what goes before a key in the faults, such as `train.`.
    """
    faults: dict[str, list[Fault]] = {}
    for key, value in values.items():
        if key not in settings:
            faults[key] = [Fault(f"unknown key {where}{key}", fix=suggest(key, settings))]
        elif wrong := settings[key].faults(value, f"{where}{key}"):
            faults[key] = wrong
    for key, one in settings.items():
        # Last: a misspelt key is more likely the reason than a forgotten one.
        if one.required and key not in values:
            faults[key] = [Fault(f"{where}{key} is missing", fix="set it: it has no default")]
    return faults


def check(settings: Any, where: str = "") -> None:
    """Raise one ConfigError with everything that is wrong with a settings dataclass.

    If nothing is, its numbers become Python's own, whatever library they came from.
    Values are checked alone, then together by the method `contradictions`, if the class has one.
    It is given the names of the settings that are wrong already, and says nothing about them.
    """
    values = {f.name: getattr(settings, f.name) for f in fields(settings)}
    alone = faults_by_key(values, settings_of(type(settings)), where)
    faults = [fault for wrong in alone.values() for fault in wrong]
    if hasattr(settings, "contradictions"):
        faults += settings.contradictions(alone.keys())
    if faults:
        raise ConfigError.collect(faults)
    for name, value in values.items():
        object.__setattr__(settings, name, _plain(value))  # the classes may be frozen


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's own, which a JSON file can hold; also those in a section."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.item() if isinstance(value, Real) and hasattr(value, "item") else value


def contradictions_in(cls: type, values: Mapping[str, Any], where: str) -> list[Fault]:
    """What a settings dataclass refuses about some values together, though each alone is fine.

    Args:
        values: by name; those that are not settings of the class are skipped.
        where: as its `__post_init__` gives it to `check`.
    """
    settings = settings_of(cls)
    values = {key: value for key, value in values.items() if key in settings}
    alone = [f for faults in faults_by_key(values, settings, where).values() for f in faults]
    # Created once for its complaints: `__post_init__` runs the very same checks.
    return [fault for fault in raised_by(lambda: cls(**values)) if fault not in alone]
