"""Help is written for people: every option and command says what it does, in a sentence."""

from __future__ import annotations

import re

import click
import pytest

from icecore import ensemble
from icecore.cli import cli
from icecore.cli.help_groups import GroupedCommand
from icecore.ensemble.answers import INCOMPLETE
from icecore.ensemble.options import MEANS, STACKERS
from icecore.features.detection.detect import RULES
from icecore.features.engines.choose import COMPUTE_PRECISIONS, ENGINE_CHOICES
from icecore.features.images.fit import FITS
from icecore.features.records.feature_set import PRECISIONS
from icecore.features.records.layer import POOLS
from icecore.heads import HEAD_KINDS
from icecore.runs.table import MENDINGS


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


GROUPED = [command for command in COMMANDS.values() if isinstance(command, GroupedCommand)]


@pytest.mark.parametrize("command", GROUPED, ids=lambda command: command.name)
def test_every_option_stands_once_under_a_title(command):
    context = click.Context(command, info_name=command.name)
    parameters = command.get_params(context)
    known = {name for one in parameters for name in one.opts}
    assert {name for names in command.groups.values() for name in names.split()} <= known
    text = command.get_help(context)
    starts = [text.index(f"\n{title}:\n") for title in ("Options", *command.groups)]
    assert starts == sorted(starts)
    for option in parameters:
        if isinstance(option, click.Option):
            assert len(re.findall(rf"^  (?:-\w, )?{option.opts[-1]}\b(?!-)", text, re.M)) == 1


# What the options of the jobs accept; a command names it without loading them.
ACCEPTED = {
    "--answer": ensemble.ANSWERS,
    "--detect-box": RULES,
    "--engine": ENGINE_CHOICES,
    "--fit": FITS,
    "--format": ensemble.FORMATS,
    "--incomplete": INCOMPLETE,
    "--mean": MEANS,
    "--mend": MENDINGS,
    "--pool": POOLS,
    "--precision": PRECISIONS,
    "--precision-compute": COMPUTE_PRECISIONS,
    "--stacking": STACKERS,
}


def test_train_names_every_kind_of_head():
    text = (
        next(one.help for name, one in OPTIONS.items() if "train --head" in name)
        .split(": ")[1]
        .split(" or ")[0]
    )
    assert set(HEAD_KINDS) == set(text.split(", "))


def test_blend_names_every_metric():
    text = next(one.help for name, one in OPTIONS.items() if "blend --metric" in name)
    assert set(ensemble.METRICS) == set(re.split(r",? or |, ", text.split(": ")[1].rstrip(".")))


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_a_command_offers_what_its_job_accepts(name):
    option = OPTIONS[name]
    if option.opts[0] in ACCEPTED and isinstance(option.type, click.Choice):
        offered = set(option.type.choices) - {"trained"}  # of predict alone
        assert offered == set(ACCEPTED[option.opts[0]])
