"""Options that would do nothing beside others: refused, so that nobody thinks they did."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

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


def refuse_repeated(command: click.Command, arguments: Sequence[str]) -> None:
    """Refuse an option that is given twice where one counts: click takes the last, and no word.

    Parameters
    ----------
    command : click.Command
        The one that all others are below.
    arguments : sequence of str
        Of the command line.
    """
    context, rest = click.Context(command, info_name="icecore"), list(arguments)
    while True:
        try:
            _, rest, order = context.command.make_parser(context).parse_args(rest)
        except click.UsageError:
            return  # It will be said when the command is run.
        once = [
            one
            for one in order
            if isinstance(one, click.Option) and not one.multiple
            if not one.is_flag or one.secondary_opts
        ]
        if repeated := [one.opts[-1] for one, count in Counter(once).items() if count > 1]:
            named = ", ".join(repeated)
            raise click.UsageError(f"{named} given twice, of which one would count", context)
        group = context.command
        if not isinstance(group, click.Group) or not rest:
            return
        found = group.get_command(context, rest[0])
        if found is None:
            return
        context, rest = click.Context(found, context, rest[0]), rest[1:]


def beside(option: str, names: Iterable[str]) -> dict[str, str]:
    """Say of several that they do nothing beside an option."""
    return dict.fromkeys(names, f"does nothing with {option}")
