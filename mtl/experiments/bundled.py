"""Files of the package go in; the names of its bundled recipes, and what each does, come out."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

BUNDLED = resources.files("mtl.experiments") / "recipes"


def bundled_recipes() -> dict[str, str]:
    """The recipes that come with the package: name and the first line of each."""
    files = BUNDLED.iterdir()
    texts = {f.name: f.read_text(encoding="utf-8") for f in files if f.name.endswith(".toml")}
    return {Path(name).stem: texts[name].splitlines()[0].lstrip("# ") for name in sorted(texts)}
