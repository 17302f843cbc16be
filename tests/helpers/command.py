"""The command, run in this process."""

from __future__ import annotations

import contextlib
import io

from icecore.cli.main import main


def icecore(*arguments) -> tuple[int, str, str]:
    """Run a command; return its exit status, output and error output."""
    out, err = io.StringIO(), io.StringIO()
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code or 0
    return status, out.getvalue(), err.getvalue()
