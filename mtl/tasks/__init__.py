"""The tasks; each file of this folder is one, found by being here."""

import importlib
import pkgutil

from .base import Task

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["Task"]
