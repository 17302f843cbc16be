"""What the command `icecore audit` asks for."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

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
