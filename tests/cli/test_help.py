"""Help is written for people: every option and command says what it does, in a sentence."""

from __future__ import annotations

import re

import click
import pytest

from icecore.cli import cli


def commands(group: click.Group, path: str = "icecore"):
    for name, command in sorted(group.commands.items()):
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands(cli))
OPTIONS = {
    f"{path} {option.opts[0]}": option
    for path, command in COMMANDS.items()
    for option in command.params
    if isinstance(option, click.Option)
}


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_the_help_of_an_option_is_a_sentence(name):
    text = re.sub(r"\s*\[default: .*\]\.?$", ".", OPTIONS[name].help or "").replace("..", ".")
    assert re.match(r"[A-Z][^.]* ", text), text
    assert text.endswith("."), text
    assert len(text.split()) >= 3, text
    assert not re.match(r"(Of|By|In|For|Where|How|Which|What) ", text), "a verb is missing"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_an_example(name):
    text = COMMANDS[name].help or ""
    assert re.search(rf"Examples?:\n\s+{name}\b", text), name
