"""How Sphinx builds the site: `make docs` runs it."""

import icecore

project = "icecore"
author = "the icecore developers"
version = release = icecore.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc", "sphinx_click", "sphinx_copybutton"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"icecore {version}"
html_theme_options = {"navigation_with_keys": True}
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# "--data" stays as it is typed.
smartquotes = False
html_show_sourcelink = html_copy_source = False
# The classes of options state their fields as attributes: once is enough.
numpydoc_show_class_members = False
# Pages link to measurements that lie beside the code, not on the site.
suppress_warnings = ["myst.xref_missing"]
