"""Pages that need nothing else: style and pictures are inside, and no host is asked.

A template of any room extends ``page.html.j2``, which brings the style. Everything that comes
from data (ids, class names, reasons) is escaped.
"""

from __future__ import annotations

import jinja2
import numpy as np

__all__ = ["render_page"]


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
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    environment.filters["percent"] = _percent
    return environment.get_template(template).render(**content)


def _number(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{100 * value:.1f}%"
