"""Defaults of options from ``icecore.toml`` in the folder where a command is run."""

import os
import tomllib
from pathlib import Path
from typing import Any

import click

from ..core.errors import IcecoreError, enumerate_some
from ..core.regular_files import read_regular

FILE = "icecore.toml"
# A key of many parts takes their square in time and memory.
_LARGEST, _MOST_DOTS = 2**20, 100


def read_defaults(group: click.Group, folder: Path) -> dict[str, Any]:
    """Return click's map of defaults from the file in `folder`, empty without one.

    Parameters
    ----------
    group : click.Group
        Its commands name the file's tables, their options the keys.
    folder : pathlib.Path

    Raises
    ------
    IcecoreError
        The file is not valid TOML, or names commands or options that do not exist, or one
        option twice; all are named.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        return {}
    data = read_regular(path, _LARGEST)
    try:
        text = data.decode("utf-8-sig")  # Windows' editors begin a file with a mark
        if max(line.count(".") for line in text.split("\n")) > _MOST_DOTS:
            raise ValueError("a line has more dots than names of options")
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOML's own errors are ValueErrors
        raise IcecoreError(f"{path} is not valid TOML: {error}", "mend or remove it") from error
    strange: list[str] = []
    found = _group_defaults(group, tables, "", strange)
    if strange:
        raise IcecoreError(
            f"{path} sets commands or options that do not exist, or twice, or to what none takes: "
            f"{enumerate_some(strange)}",
            "write a table for each command and its options as in --help: [extract], then "
            'backbone = ["gluon:resnet50_v2"]',
        )
    return found


def _group_defaults(
    group: click.Group, tables: dict[str, Any], above: str, strange: list[str]
) -> dict[str, Any]:
    found = {}
    for name, values in tables.items():
        command = group.commands.get(name)
        if command is None or not isinstance(values, dict):
            strange.append(f"{above}{name}")
        elif isinstance(command, click.Group):
            found[name] = _group_defaults(command, values, f"{above}{name}.", strange)
        else:
            found[name] = _command_defaults(command, values, f"{above}{name}.", strange)
    return found


def _command_defaults(
    command: click.Command, values: dict[str, Any], above: str, strange: list[str]
) -> dict[str, Any]:
    options = {
        spelt.lstrip("-"): option
        for option in command.params
        if isinstance(option, click.Option)
        for spelt in (*option.opts, *option.secondary_opts)
        if spelt.startswith("--")
    }
    found: dict[str, Any] = {}
    first: dict[str, str] = {}
    for name, value in values.items():
        spelt = name.replace("_", "-")
        option = options.get(spelt)
        denied = option is not None and f"--{spelt}" in option.secondary_opts
        typed = None if option is None else _typed(option, value, denied)
        if option is None or option.name is None:
            strange.append(f"{above}{name}")
        elif typed is None:
            strange.append(f"{above}{name} = {value!r}")
        elif (before := first.setdefault(option.name, name)) != name:
            strange.append(f"{above}{name} beside {before}, which is the same option")
        else:
            found[option.name] = typed
    return found


def _typed(option: click.Option, value: Any, denied: bool) -> Any:
    """Return what the option would be given on a command line; nothing if that cannot be."""
    if option.is_flag:
        # no-save = true is save = false.
        return value != denied if isinstance(value, bool) else None
    values = value if isinstance(value, list) and option.multiple else [value]
    if any(isinstance(one, bool) or not isinstance(one, str | int | float) for one in values):
        return None
    texts = [str(one) for one in values]
    return texts if option.multiple else texts[0]
