"""The package's version, stated once; `pyproject.toml` reads it here."""

__version__ = "0.6.0"
