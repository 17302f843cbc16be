"""The commands of ``icecore cache``."""

from __future__ import annotations

from pathlib import Path

import click

from . import console

__all__ = ["cache"]

cache_argument = click.argument("path", metavar="CACHE", type=click.Path(path_type=Path))
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


@click.group()
def cache() -> None:
    """Look into feature caches and look after them."""


@cache.command("ls")
@cache_argument
@as_json
def list_command(path, as_json) -> None:
    """List the feature sets of CACHE.

    \b
    Example:
      icecore cache ls cache
    """
    from .cache import FeatureCache, list_sets

    found = list_sets(FeatureCache(path))
    if as_json:
        console.print_json(found)
        return
    columns = ("spec", "rows", "dim", "precision", "fit", "shards", "bytes", "fingerprint")
    rows = [
        [one[name] if name != "fingerprint" else one[name][:12] for name in columns]
        for one in found["sets"]
    ]
    console.print_table(columns, rows)
    if found["failures"]:
        click.echo(f"{found['failures']} images could not be read: icecore cache show {path}")
    if any(one["random_weights"] for one in found["sets"]):
        console.random_weights_warning("some of these features")


@cache.command("show")
@cache_argument
@click.argument("spec", required=False)
@as_json
def show_command(path, spec, as_json) -> None:
    """Show records, provenance and failures of CACHE, or of one feature set SPEC.

    \b
    Examples:
      icecore cache show cache
      icecore cache show cache gluon:inceptionv3 --json
    """
    from .cache import FeatureCache, show_set

    found = show_set(FeatureCache(path), spec)
    if as_json:
        console.print_json(found)
        return
    _print_nested(found)


def _print_nested(content: object, indent: str = "") -> None:
    if isinstance(content, dict):
        for name, value in content.items():
            if isinstance(value, dict | list) and value and not _is_short(value):
                click.echo(f"{indent}{name}:")
                _print_nested(value, indent + "  ")
            else:
                click.echo(f"{indent}{name}: {_plain(value)}")
    elif isinstance(content, list):
        for value in content:
            click.echo(f"{indent}-")
            _print_nested(value, indent + "  ")
    else:
        click.echo(f"{indent}{content}")


def _is_short(value: dict | list) -> bool:
    return isinstance(value, list) and not any(isinstance(v, dict | list) for v in value)


def _plain(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value in ({}, None, "") else str(value)
