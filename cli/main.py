"""The command line: arguments in, one call into a job, its answer printed.

Exit status: 0 all done; 1 an error, said in one line with what to do; 2 wrong
usage; 3 done, but some images could not be read; 130 interrupted.
"""

from __future__ import annotations

import sys

import click

from .. import __version__
from ..core.errors import IcecoreError
from .backbones import backbones
from .blend import blend
from .bundle import bundle
from .cache import cache
from .demo import demo
from .doctor import doctor
from .extract import extract
from .manifest import manifest
from .predict import predict
from .train import train
from .weights import weights

__all__ = ["cli", "main"]

_INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="icecore")
def cli() -> None:
    """Frozen image features once, heads in seconds, blended with tuned weights.

    \b
    The three jobs:
      icecore extract photos -o cache -b onnx:efficientnet_lite0.onnx
      icecore train cache --data photos -o run
      icecore blend run
    """


for _command in (
    extract,
    train,
    blend,
    predict,
    bundle,
    demo,
    manifest,
    cache,
    weights,
    doctor,
    backbones,
):
    cli.add_command(_command)


def _help_width() -> dict:
    """Help is wrapped for a terminal; in a pipe every sentence stays on a line, for grep."""
    return {} if sys.stdout.isatty() else {"terminal_width": 10_000}


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; turn icecore's errors into one line and a status."""
    try:
        cli(arguments, prog_name="icecore", standalone_mode=False, **_help_width())
    except IcecoreError as error:
        click.echo(f"error: {error.message}", err=True)
        if error.hint:
            click.echo(f"  {error.hint}", err=True)
        sys.exit(1)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        sys.exit(0)
    except OSError as error:
        place = error.filename2 or error.filename or "the output"
        click.echo(f"error: {place}: {error.strerror or error}", err=True)
        click.echo("  check that the place exists, is of that kind, and may be written", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; what was finished is kept, the same command goes on", err=True)
        sys.exit(_INTERRUPTED)
