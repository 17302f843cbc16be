"""Options that would do nothing beside others: refused, so that nobody thinks they did."""

from collections.abc import Iterable, Mapping

import click
from click.core import ParameterSource


def refuse_idle(reasons: Mapping[str, str]) -> None:
    """Refuse what was given on the command line and would have no effect; all at once.

    What an ``icecore.toml`` sets for a folder may be meant for other commands, and stays.

    Parameters
    ----------
    reasons : dict of str to str
        By the name of an option, or of an argument in capitals: what is to be said behind it.
    """
    context = click.get_current_context()
    given: set[str] = set()
    for parameter in context.command.params:
        if context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE:
            named = parameter.param_type_name == "option"
            given.update(parameter.opts if named else [(parameter.name or "").upper()])
    idle = [f"{name} {reason}" for name, reason in reasons.items() if name in given]
    if idle:
        raise click.UsageError("; ".join(idle))


def beside(option: str, names: Iterable[str]) -> dict[str, str]:
    """Say of several that they do nothing beside an option."""
    return dict.fromkeys(names, f"does nothing with {option}")
