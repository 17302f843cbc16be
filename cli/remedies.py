"""What an error advises to do: where the options are that it names."""

import re
from collections.abc import Iterator, Sequence

import click

from ..core.imports import MORE_MEMORY

_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
# An option of the command that it stands behind; or of another program.
_OF_A_COMMAND = re.compile(r"icecore [a-z]+[^'`;,]*|'ray [^']*'|pip install[^;,]*")


def commands_of(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield the commands below a group, with their names as they are typed."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands_of(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def options_elsewhere(group: click.Group, arguments: Sequence[str], text: str) -> str:
    """Say of which commands the options are that a text names and the command lacks.

    Many commands read tables and networks, and what helps may be an option of another one.

    Parameters
    ----------
    group : click.Group
    arguments : sequence of str
        Of the command line.
    text : str
        What an error says.
    """
    command = _command_at(group, arguments)
    homes: dict[str, list[str]] = {}
    for name, one in commands_of(group):
        for option in _options(one):
            homes.setdefault(option, []).append(name)
    named = dict.fromkeys(_OPTION.findall(_OF_A_COMMAND.sub("", text)))
    lacking = [one for one in named if one in homes and one not in _options(command)]
    return "; ".join(f"{one} is an option of icecore {', '.join(homes[one])}" for one in lacking)


def more_memory(group: click.Group, arguments: Sequence[str]) -> str:
    """Say what to do where the system gives no more memory; as of `options_elsewhere`."""
    fewer = "--workers" in _options(_command_at(group, arguments))
    return f"{MORE_MEMORY}, or ask for fewer --workers" if fewer else MORE_MEMORY


def _command_at(group: click.Group, arguments: Sequence[str]) -> click.Command:
    command: click.Command = group
    for word in arguments:
        if isinstance(command, click.Group):
            command = command.commands.get(word, command)
    return command


def _options(command: click.Command) -> set[str]:
    return {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
