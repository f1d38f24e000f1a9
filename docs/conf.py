"""These pages and the docstrings go in; a site comes out: `sphinx-build docs build/docs`."""

import mtl

project = "mtl"
copyright = "the authors of mtl, MIT licence"
version = release = mtl.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"  # light and dark

# `name` in a docstring is code, as on a code host.
default_role = "code"

# Pages link to headings by the same anchors as a code host.
myst_heading_anchors = 3
# A sample of data on a page says in its first line which form it is in: see data.md.
suppress_warnings = ["misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # an attribute in `Attributes:` is not a second entry beside its own
