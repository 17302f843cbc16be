"""Run a notebook in jupytext's percent format; write it with what it shows as reST, for the site.

tools/render_notebook.py examples/notebook.py docs/howto/notebook-run.rst
"""

from __future__ import annotations

import ast
import base64
import contextlib
import html
import io
import os
import pprint
import re
import sys
import tempfile
from pathlib import Path

MARK = re.compile(r"^# %%(.*)$", re.MULTILINE)


def render(notebook: Path) -> tuple[str, dict]:
    """Run all cells, in an empty folder; return the page, and the names that they leave."""
    text = notebook.read_text(encoding="utf-8")
    _, *parts = MARK.split(text)
    os.environ.setdefault("MPLBACKEND", "agg")
    names: dict = {"__name__": "__main__"}
    page: list[str] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for mark, body in zip(parts[::2], parts[1::2]):
            page += _prose(body) if "[markdown]" in mark else _cell(body.strip(), names)
    return "\n".join(page), names


def _prose(body: str) -> list[str]:
    lines = [re.sub("^# ?", "", line) for line in body.strip().splitlines()]
    # One backtick is code in Markdown, two are in reST.
    lines = [re.sub("`([^`]*)`", r"``\1``", line) for line in lines]
    if lines[0].startswith("# "):
        lines[0:1] = [lines[0][2:], "=" * len(lines[0])]
    return [*lines, ""]


def _cell(code: str, names: dict) -> list[str]:
    said = io.StringIO()
    tree = ast.parse(code)
    value = None
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(said):
        exec(compile(tree, "notebook", "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "notebook", "eval"), names)
    shown = re.sub(r"  # noqa.*", "", code)
    page = _directive("code-block:: python", shown)
    if said.getvalue().strip():
        page += _directive("code-block:: text", said.getvalue().rstrip())
    pictures = list(_figures())
    if hasattr(value, "_repr_html_"):
        table = value._repr_html_().replace("<table", '<table class="docutils"')
        page += _directive("raw:: html", f'<div class="table-wrapper">{table}</div>')
    elif value is not None and not pictures:
        page += _directive("code-block:: text", pprint.pformat(value, width=96, sort_dicts=False))
    for number, picture in enumerate(pictures, 1):
        source = base64.b64encode(picture).decode()
        about = html.escape(f"What the cell draws ({number})")
        page += _directive(
            "raw:: html",
            f'<img style="max-width: 100%" alt="{about}" src="data:image/png;base64,{source}">',
        )
    return page


def _figures():
    """Yield what matplotlib has drawn since the last cell, as PNG."""
    plots = sys.modules.get("matplotlib.pyplot")
    for number in plots.get_fignums() if plots else ():
        picture = io.BytesIO()
        plots.figure(number).savefig(picture, format="png", dpi=80, bbox_inches="tight")
        plots.close(number)
        yield picture.getvalue()


def _directive(name: str, body: str) -> list[str]:
    return [f".. {name}", "", *(f"   {line}".rstrip() for line in body.splitlines()), ""]


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(render(Path(sys.argv[1]))[0], encoding="utf-8")
