"""The command line: arguments in, one call into a job, its answer printed.

Exit status: 0 all done; 1 an error, said in one line with what to do; 2 wrong
usage; 3 done, but some images have no answer; 130 interrupted, 143 by SIGTERM.
"""

import contextlib
import errno
import gc
import io
import os
import sys
import warnings
from pathlib import Path
from typing import TextIO

import click

from .. import __version__
from ..core.errors import IcecoreError, MissingFileError, escaped, shortened
from ..core.hardware import require_working_memory
from ..core.imports import NO_MEMORY, NewerVersionWarning, is_lack_of_memory
from ..core.interrupts import interrupted_status, watch_for_signals
from . import console
from .audit import audit
from .backbones import backbones
from .blend import blend
from .bundle import bundle
from .cache import cache
from .compare import compare
from .completion import COMPLETION_VARIABLE, completion
from .defaults import FILE, read_defaults
from .demo import demo
from .doctor import doctor
from .export import export
from .extract import extract
from .idle import refuse_repeated
from .log import keep_log
from .manifest import manifest
from .options import A_PATH
from .predict import predict
from .regions import regions
from .remedies import more_memory, options_elsewhere
from .train import train
from .weights import weights

_OUTPUT = "the output"
# A path may have 4,096 characters.
_LONGEST_LINE = 6000
# What libraries of linear algebra take to begin.
_OF_LIBRARIES = 256 * 2**20
_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100, "show_default": True}


@click.group(context_settings=_CONTEXT)
@click.version_option(__version__, prog_name="icecore")
@click.option(
    "--log",
    type=A_PATH,
    help="Add to this file, with the time, what the command says: icecore --log FILE COMMAND.",
)
@click.pass_context
def cli(context, log) -> None:
    """Extract frozen image features once, train heads on them in seconds, blend their answers.

    \b
    The three jobs:
      icecore extract photos -o cache -b onnx:efficientnet_lite0.onnx
      icecore train cache --data photos -o run
      icecore blend run
    """
    require_working_memory(_OF_LIBRARIES)
    if log is not None:
        context.with_resource(keep_log(log, sys.argv))
    if (name := context.invoked_subcommand) in (context.default_map or {}):
        click.echo(f"note: {FILE} in this folder sets options of {name}", err=True)


for _command in (
    extract,
    train,
    blend,
    predict,
    regions,
    bundle,
    audit,
    compare,
    demo,
    export,
    manifest,
    cache,
    weights,
    doctor,
    backbones,
    completion,
):
    cli.add_command(_command)


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    """Say icecore's own in a line; others with the place in the code that they are about."""
    if issubclass(category, NewerVersionWarning):
        console.warn(str(message))
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        click.echo(text, err=True, nl=False)


def _help_width() -> dict:
    """Help is wrapped for a terminal; in a pipe every sentence stays on a line, for grep."""
    return {} if sys.stdout.isatty() else {"terminal_width": 10_000}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; turn icecore's errors into one line and a status."""
    _open_standard_streams()
    # Libraries make a million things that stay, and looking through them for circles takes a
    # tenth of the time of a start.
    gc.set_threshold(50_000, 20, 100)
    watch_for_signals()
    warnings.showwarning = _show_warning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal of another alphabet gets escapes in place of what it lacks.
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            status = _run(sys.argv[1:] if arguments is None else arguments)
        except SystemExit as end:
            status = end.code
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough. What is still buffered goes nowhere.
        _close(sys.stdout, sys.stderr)
        status = 0
    if status:
        sys.exit(status)


def _run(arguments: list[str]) -> int:
    """Run one command; say what went wrong, and return the status."""
    if COMPLETION_VARIABLE in os.environ:
        cli.main(arguments, prog_name="icecore")
    try:
        # Not by click's own main, which takes a closed pipe and an EOFError for other things.
        refuse_repeated(cli, arguments)
        defaults = read_defaults(cli, _here())
        with cli.make_context(
            "icecore", list(arguments), default_map=defaults, **_help_width()
        ) as context:
            cli.invoke(context)
        sys.stdout.flush()
        return 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except BrokenPipeError:
        raise
    except IcecoreError as error:
        elsewhere = options_elsewhere(cli, arguments, f"{error.message}\n{error.hint}")
        return _fail(error.message, "\n  ".join(filter(None, (error.hint, elsewhere))))
    except OSError as error:
        if error.errno == errno.ENOMEM:
            return _fail(f"{NO_MEMORY}: {error}", more_memory(cli, arguments))
        try:
            sys.stdout.flush()
        except OSError:
            # What could not be written would be tried again at the end, with a status of its own.
            _close(sys.stdout)
        place = error.filename2 or error.filename or _OUTPUT
        hint = "check that the place exists, is of that kind, and may be read or written"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "free some space there, and run the same command again"
            if place is _OUTPUT:  # Where it is told what was done, that is done.
                hint = (
                    "send it to a place with room; files that the command had finished by then are "
                    "kept, so look at them before you run it again"
                )
        if error.errno == errno.EIO:
            hint = "the disk fails, or the folder's server: look after it, or take another copy"
        return _fail(f"{place}: {error.strerror or error}", hint)
    except click.ClickException as error:
        error.message = _shown(error.message)  # type: ignore[misc]
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as end:
        console.echo(f"interrupted; {str(end) or 'no file is left half-written'}", err=True)
        return interrupted_status()
    except (MemoryError, RuntimeError, ImportError) as error:
        if not is_lack_of_memory(error):
            raise
        # Libraries say it in several lines.
        reason = " ".join(str(error).split()) or "no memory"
        return _fail(f"{NO_MEMORY}: {reason}", more_memory(cli, arguments))


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise MissingFileError(
            "the folder that this command is run in is not there any more", "change to another one"
        ) from error


def _fail(message: str, hint: str = "") -> int:
    for text in (f"error: {message}", f"  {hint}" if hint else ""):
        if text:
            click.echo(console.fitted(_shown(text), err=True), err=True)
    return 1


def _shown(text: str) -> str:
    """Make lines fit for a terminal: a stranger's name may be of control characters, or endless."""
    return "\n".join(shortened(line, _LONGEST_LINE) for line in escaped(text, "\n").split("\n"))


def _open_standard_streams() -> None:
    """Give a stream that is closed the null device.

    The next file to be opened would take its number, and get what libraries say to stderr.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Python has none where one was closed at its start.
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _close(*streams: TextIO) -> None:
    """Let what is left in the buffers go nowhere: the interpreter flushes them at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(nowhere, stream.fileno())
