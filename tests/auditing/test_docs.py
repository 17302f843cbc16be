"""The code in docs/audit.md runs."""

from __future__ import annotations

import re

from repository import ROOT


def test_the_python_of_the_page_runs(planted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "audit.md", "exec"), names)
    assert len(names["look"](planted.cache, planted.table)) == 24
    assert (tmp_path / "audit.html").is_file()
