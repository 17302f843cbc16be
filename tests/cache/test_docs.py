"""The code in docs/cache.md runs."""

from __future__ import annotations

import re

from repository import ROOT

DOCS = ROOT / "docs"


def test_python_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "cache.md").read_text("utf-8"), re.S)
    assert len(blocks) >= 3
    names: dict = {}
    for block in blocks:
        exec(compile(block, "docs/cache.md", "exec"), names)


def test_constants_of_the_format_page_are_those_of_the_code():
    page = (DOCS / "cache-format.md").read_text("utf-8")
    from icecore.cache import FORMAT
    from icecore.cache.format import checksum

    assert f"format {FORMAT}" in page
    assert hex(int(checksum._GAMMA))[2:].upper() in page
    assert int(checksum.multipliers(1)[0]) == 0xE220A8397B1DCDAF | 1
