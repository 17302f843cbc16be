"""What the command `icecore audit` asks for."""

from __future__ import annotations

import pytest
from click.testing import CliRunner
from command import icecore

from icecore.cli.main import cli


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give a run or a cache, or a table of decisions with --apply"),
        (["run", "-o", "page.html"], "--report names the page, --decisions the CSV"),
    ],
)
def test_what_is_missing_or_out_of_place_is_said(arguments, said):
    done = CliRunner().invoke(cli, ["audit", *arguments])
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())


def test_an_audit_of_nothing_says_that_there_is_no_run_and_no_cache(tmp_path):
    status, _, said = icecore("audit", tmp_path / "gone")
    assert status == 1
    assert f"there is no run and no cache at {tmp_path / 'gone'}" in said


def test_a_folder_that_is_neither_run_nor_cache_is_called_neither(tmp_path):
    done = CliRunner().invoke(cli, ["audit", str(tmp_path)])
    assert done.exit_code == 1
    said = " ".join(f"{done.exception} {done.output}".split())
    assert "is not a feature cache" in said
    assert "and no run: it has no run.json" in said
