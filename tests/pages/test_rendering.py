from __future__ import annotations

import jinja2

from icecore.pages import rendering


def test_names_are_shown_with_what_is_invisible_in_them(monkeypatch):
    page = jinja2.DictLoader({"page": "{{ name }}|{{ number }}|{{ style }}\n\u202e"})
    monkeypatch.setattr(rendering.jinja2, "ChoiceLoader", lambda loaders: page)
    monkeypatch.setattr(rendering.jinja2, "PackageLoader", lambda package: None)
    monkeypatch.setattr(rendering, "_own", lambda name: "<\x1b>")
    html = rendering.render_page("any", "page", name="a\x1b[2J\u202e<b>\n", number=3)
    assert html == "a\\x1b[2J\\u202e&lt;b&gt;\n|3|<\x1b>\n\u202e"
