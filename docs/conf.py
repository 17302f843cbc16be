"""How Sphinx builds the site: `make docs` runs it."""

import re
import sys
from pathlib import Path

import click

import icecore
from icecore.cli import cli

DOCS = Path(__file__).resolve().parent
MEASUREMENTS = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+benchmarks/[^)]+\.md)\)")
sys.path.insert(0, str(DOCS.parent / "tools"))

from render_notebook import render  # noqa: E402

project = "icecore"
author = "the icecore developers"
version = release = icecore.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc", "sphinx_click", "sphinx_copybutton"]
exclude_patterns = ["_build"]
# Blocks without a language are commands: no colours, and long ones wrap.
highlight_language = "none"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
# Excerpts are fetched, which a browser forbids a site that is opened from a disk.
html_show_search_summary = False
html_theme = "furo"
html_title = f"icecore {version}"
html_theme_options = {"navigation_with_keys": True}
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
# "--data" stays as it is typed.
smartquotes = False
html_show_sourcelink = html_copy_source = html_show_copyright = False
# The classes of options state their fields as attributes: once is enough.
numpydoc_show_class_members = False
# The notebook is run anew for each site, and shown with what its cells say and draw.
shown, _ = render(DOCS.parent / "examples" / "notebook.py")
(DOCS / "howto" / "notebook-run.rst").write_text(shown, encoding="utf-8")


def complete(command):
    """Give options what sphinx-click passes over: their defaults, and what they take."""
    for option in command.params:
        if not isinstance(option, click.Option):
            continue
        if option.show_default is None and not option.is_flag:
            # Options without a default have a mark of click's there, which says nothing.
            option.show_default = isinstance(option.default, int | float | str)
        if option.metavar is None:
            # The names would else be those of variables.
            takes = option.make_metavar(click.Context(command))
            option.metavar = takes.replace(" RANGE", "")
    for part in getattr(command, "commands", {}).values():
        complete(part)


def show_examples(_, context, lines):
    """Examples are code that can be copied, and keep the backslashes at the ends of lines."""
    for start, line in enumerate(lines):
        if line.startswith("| "):
            code = [further.removeprefix("|") for further in lines[start + 1 :]]
            lines[start:] = [line.removeprefix("| ") + ":", "", *code]
            return


def shorten_options(_, context, lines):
    """Say once what an option takes, and write defaults without quotes."""
    short = [line.replace("``'", "``").replace("'``", "``") for line in lines]
    lines[:] = [line for line in short if ":options:" not in line]


complete(cli)


def commands_page(app, env, added, changed, removed):
    """Commands change without their page: it is read anew for every site."""
    return ["reference/commands"]


def link_measurements(app, docname, source):
    """Measurements lie beside the code, not among the pages: the site hands them out as files."""
    source[0] = MEASUREMENTS.sub(r"{download}`\1 <\2>`", source[0])


def setup(app):
    """Tell Sphinx of it."""
    app.connect("source-read", link_measurements)
    app.connect("env-get-outdated", commands_page)
    app.connect("sphinx-click-process-description", show_examples)
    app.connect("sphinx-click-process-options", shorten_options)
