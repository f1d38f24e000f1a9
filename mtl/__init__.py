"""mtl: one Transformer encoder, written from scratch, shared by several language tasks.

The public names are listed in `mtl.api`, and loaded when the first one is used: `mtl --help` and
`mtl check` need neither torch nor matplotlib, which take seconds to load.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .version import __version__ as __version__

if TYPE_CHECKING:
    from .api import *  # noqa: F403


def __getattr__(name: str) -> Any:
    """A public name, or a module of the package, loaded when it is first asked for (PEP 562)."""
    is_dunder = name.startswith("__") and name != "__all__"  # what Python asks every module for
    api = None if is_dunder else import_module(f"{__name__}.api")
    if name == "__all__" or name in getattr(api, "__all__", ()):
        value = getattr(api, name)
    elif home := getattr(api, "ALSO", {}).get(name):
        value = getattr(import_module(f"{__name__}.{home}"), name)
    elif api and find_spec(f"{__name__}.{name}"):
        value = import_module(f"{__name__}.{name}")
    else:
        moved = getattr(api, "MOVED", {}).get(name)
        hint = f"; it is now {__name__}.{moved}.{name}" if moved else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")
    # Next time Python finds it there, and does not ask `__getattr__` again.
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
