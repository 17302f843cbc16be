"""Pages that need nothing else: style, script and pictures are inside, and no host is asked.

A template of any room extends ``page.html.j2``, which brings ``page.css`` and ``page.js``. All
that comes from data (ids, class names, reasons) is escaped, and the page itself allows a browser
no script but that one, by its digest.
"""

import base64
import hashlib
from importlib.resources import files

import jinja2
import numpy as np
from markupsafe import Markup

from ..core.errors import escaped


def render_page(package: str, template: str, **content) -> str:
    """Fill a template with what it shows.

    Parameters
    ----------
    package : str
        Whose folder ``templates`` has it.
    template : str
    **content
        Names that the template uses.

    Returns
    -------
    str
        HTML.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(package), jinja2.PackageLoader("icecore.pages")]
        ),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = _percent
    script = _own("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        style=Markup(_own("page.css")),
        script=Markup(script),
        script_digest=Markup(f"sha256-{digest}"),
        **content,
    )


def _shown(value: object) -> object:
    """Show what is invisible in a name: marks of direction turn what stands around them."""
    return escaped(value, keep="\n\t") if type(value) is str else value


def _own(name: str) -> str:
    return (files("icecore.pages") / "templates" / name).read_text(encoding="utf-8")


def _number(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{100 * value:.1f}%"
