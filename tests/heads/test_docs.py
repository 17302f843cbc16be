"""The code in docs/heads.md runs, from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import icecore


def test_the_documentations_code_runs(tmp_path, monkeypatch, capsys):
    page = Path(icecore.__file__).parent / "docs/heads.md"
    if not page.is_file():
        pytest.skip("the documentation is not installed with the package")
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for block in blocks:
        exec(compile(block, str(page), "exec"), names)
    assert "mlp-demo" in capsys.readouterr().out
