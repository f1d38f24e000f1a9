"""The name of a task, weighting or aggregation goes in, its class comes out: ours or your own.

A class goes by the short name that it sets, such as `ner`, or by where it is, `mymodule:MyTask`.

A recipe belongs to its user, so a module that it names is imported (`import_class`). A model folder
may come from anybody: what it names must be known already (`find_class`), or whoever wrote the
folder could choose what runs on your machine. A class is known if the program has imported it, or
if an installed package declares it (as an entry point).
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from .errors import ConfigError, MTLError, suggest

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

PLACE = re.compile(r"(\w+(?:\.\w+)*):(\w+)")  # module and class
ON_LINE = " (on the command line, --import {})"


class Named:
    """Base of the classes that are found by name.

    Attributes:
        kinds: those that set a short name, by this name.
        name_in: the attribute that holds it.
        entry_points: the group in which installed packages name theirs.
    """

    kinds: ClassVar[dict[str, type[Any]]]
    name_in: ClassVar[str]
    entry_points: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Only its own name: under its parent's, a model folder would be read as the parent's.
        if cls.name_in in cls.__dict__:
            name = getattr(cls, cls.name_in)
            _check_is_free(name, cls)
            cls.kinds[name] = cls
        else:
            setattr(cls, cls.name_in, f"{cls.__module__}:{cls.__qualname__}")


C = TypeVar("C", bound=Named)
# How a class is found: by its base, its name, and the key that names it, which errors begin with.
Find = Callable[[type[Named], Any, str], type[Any]]


def _check_is_free(name: str, cls: type[Named]) -> None:
    """Raise ConfigError if another class goes by this name already.

    A class that is defined again, as when a cell of a notebook runs twice, is the same class.
    """
    if not isinstance(name, str):
        what = f"the {cls.name_in} of {cls.__name__} must be a text"
        raise ConfigError(what, found=repr(name), fix='for example "topic"')
    other = cls.kinds.get(name, cls)
    if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ConfigError(
            f"the name {name!r} of {cls.__name__} is taken by {other.__name__}",
            found=f"{cls.__module__}.{cls.__qualname__}, {other.__module__}.{other.__qualname__}",
            fix="give it another name",
        )


# --- classes that are known -----------------------------------------------------------------------


def find_class(base: type[C], name: Any, where: str) -> type[C]:
    """The class of a name, which must be known: no module is imported because the name says so.

    Args:
        base: what it must be a subclass of.
        where: the key that names it, for errors.

    Raises:
        ConfigError: there is none, it is of another base, or methods that every subclass must have
            are missing.
    """
    cls = known_class(base, name)
    if cls is None:
        raise _unknown(base, name, where)
    if missing := _missing_methods(cls):
        raise ConfigError(
            f"{where}: {cls.__name__} lacks methods that every {_noun(base)} needs",
            found=f"no {', '.join(missing)}",
            fix=f"define them in the class, as {_door(base)} describes them",
        )
    return cls


def known_class(base: type[C], name: Any) -> type[C] | None:
    """The class of a name, if it is known; a package is loaded only for its own entry point."""
    if not isinstance(name, str):
        return None
    if name in base.kinds:
        return base.kinds[name]
    if place := PLACE.fullmatch(name):
        # Not `getattr`: a module may answer that by importing another (PEP 562).
        found = _content_of(place[1]).get(place[2])
        return found if _is_subclass(found, base) else None
    return _load_entry_point(base, name)


def _content_of(module: str) -> dict[str, Any]:
    """What a module holds, if it is loaded."""
    return getattr(sys.modules.get(module), "__dict__", {})


def _is_subclass(found: Any, base: type[Named]) -> bool:
    return inspect.isclass(found) and issubclass(found, base) and found is not base


def _missing_methods(cls: type[Named]) -> list[str]:
    """The abstract methods that a class has not defined."""
    # Not `__abstractmethods__`: weightings and aggregations are modules of PyTorch, not ABCs.
    return [name for name in dir(cls) if _is_abstract(getattr(cls, name, None))]


def _is_abstract(method: Any) -> bool:
    return getattr(method, "__isabstractmethod__", False) is True


def known_names(base: type[Named]) -> list[str]:
    """The short names that are known, including those of installed packages."""
    return sorted({*base.kinds, *_entry_points(base)})


def _unknown(base: type[Named], name: Any, where: str) -> ConfigError:
    """Why a name belongs to no known class, and what to do."""
    place = PLACE.fullmatch(name) if isinstance(name, str) else None
    if place is None:
        own = (
            'for one of your own, write "mymodule:MyClass" in a recipe, or import its module first'
        )
        fix = f"{suggest(str(name), known_names(base))}; {own}{ON_LINE.format('MODULE')}"
        return ConfigError(f"{where} is unknown", found=repr(name), fix=fix)
    module, wanted = place.groups()
    if module not in sys.modules:
        return ConfigError(
            f"{where} names a class of a module that is not imported",
            found=repr(name),
            fix=f"if you trust it, import {module} first" + ON_LINE.format(module),
        )
    content = _content_of(module)
    if wanted in content:
        # Not the value itself, which may be a secret: a model folder could ask for `os:environ`.
        found = content[wanted] if inspect.isclass(content[wanted]) else type(content[wanted])
        return ConfigError(
            f"{where} names no {_noun(base)}",
            found=f"{name}, {found!r}",
            fix=f"name a class derived from {_door(base)}",
        )
    there = [key for key, value in content.items() if _is_subclass(value, base)]
    return ConfigError(
        f"{where}: the module {module} has no {wanted}",
        found=f"{content.get('__file__') or module}",
        fix=suggest(wanted, there) if there else f"define it there; it has no {_noun(base)} yet",
    )


def _noun(base: type[Named]) -> str:
    return base.__name__.lower()


def _door(base: type[Named]) -> str:
    """Where users find a base class: `mtl.tasks.Task`, which is defined in `mtl.tasks.base`."""
    return f"{base.__module__.rpartition('.')[0]}.{base.__name__}"


# --- installed packages ---------------------------------------------------------------------------


def _entry_points(base: type[Named]) -> dict[str, set[EntryPoint]]:
    """What installed packages declare, by short name."""
    from importlib.metadata import distributions  # slow to load, and seldom needed

    # The folder that you happen to be in is not something you have installed.
    path = [entry for entry in sys.path if Path(entry).resolve() != Path.cwd()]
    found: dict[str, set[EntryPoint]] = {}
    for package in distributions(path=path):
        for point in package.entry_points.select(group=base.entry_points):
            found.setdefault(point.name, set()).add(point)
    return found


def _load_entry_point(base: type[C], name: str) -> type[C] | None:
    """The class of an installed package that goes by a name.

    Raises:
        ConfigError: two packages have one, its module fails, or the class has another name.
    """
    points = _entry_points(base).get(name, set())
    if not points:
        return None
    if len(points) > 1:
        raise ConfigError(
            f"several installed packages use the name {name!r}",
            found=", ".join(sorted(point.value for point in points)),
            fix="uninstall one of the packages",
        )
    (point,) = points
    with _failures_told(f"the entry point {name} = {point.value} of {_package_of(point)}"):
        point.load()
    # By the class's own name, which model folders hold: they could not find it by another.
    if name not in base.kinds:
        raise ConfigError(
            f"the entry point {name!r} of {_package_of(point)} holds no {_noun(base)} of this name",
            found=point.value,
            fix=f"set {base.name_in} = {name!r} in a class derived from {_door(base)}",
        )
    return base.kinds[name]


def _package_of(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "a package"


# --- modules that the user names ------------------------------------------------------------------


def import_class(base: type[C], name: Any, where: str) -> type[C]:
    """`find_class` for a name that the user wrote: the module of `mymodule:MyTask` is imported.

    Raises:
        ConfigError: see `find_class` and `import_named`.
    """
    if isinstance(name, str) and ":" in name:
        module, _, wanted = name.partition(":")
        import_named(module, where)
        # A package may load its classes only when it is asked for them (PEP 562), as `mtl` does.
        with _failures_told(f"{where}: {module}"):
            found = getattr(sys.modules[module], wanted, None)
        if _is_subclass(found, base):
            name = getattr(found, base.name_in)
    return find_class(base, name, where)


def import_named(module: str, where: str) -> None:
    """Import a module that the user named; it may lie in the working directory.

    Args:
        where: the key or option that names it, for errors.

    Raises:
        ConfigError: there is no such module, or it fails.
    """
    if module in sys.modules:
        return
    if module.endswith(".py") or not all(part.isidentifier() for part in module.split(".")):
        raise ConfigError(
            f"{where} names no module",
            found=repr(module),
            fix='write it as Python imports it: "mymodule" for mymodule.py',
        )
    # `python -m mtl` looks there, the command `mtl` would not. It stays: the module may import on
    # demand.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()  # the file may have been written a moment ago
    with _failures_told(f"{where}: {module}"):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            # For `a.b` it may name `a`, if that is missing; any other is one that the module
            # imports.
            if not f"{module}.".startswith(f"{error.name}."):
                raise
            raise ConfigError(
                "there is no such module",
                found=f"none in {os.getcwd()}, nor among the installed packages",
                fix="run the command in the folder of its file, or install its package",
            ) from None


@contextmanager
def _failures_told(what: str) -> Generator[None]:
    """In this context, whatever goes wrong in others' code becomes a ConfigError of one line."""
    try:
        yield
    except MTLError as error:  # such as a name that another class has
        raise ConfigError.collect(error.at(what=f"{what}: ").faults) from error
    # A script without `if __name__ == "__main__":` may even end the program.
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError(
            f"{what} fails while it is imported", found=f"{said}{_place_of(error)}"
        ) from error


def _place_of(error: BaseException) -> str:
    """Where the module that was being imported had got to."""
    if isinstance(error, SyntaxError):  # it never ran
        return "" if "line" in str(error) else f" ({error.filename}, line {error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.name == "<module>"]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
