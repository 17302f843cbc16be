"""The code in docs/compare.md runs."""

from __future__ import annotations

import re

from repository import ROOT


def test_the_python_of_the_page_runs(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "compare.md", "exec"), names)
    found = names["best"](run)
    assert list(found) == ["label"]
    assert (tmp_path / "compare.html").is_file()
    assert (tmp_path / "compare.csv").is_file()
