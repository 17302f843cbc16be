"""Help of a command with many options: they stand in groups, each under a title."""

from typing import ClassVar

import click

GENERAL = "Options"


class GroupedCommand(click.Command):
    """A command that shows its options in groups; see `grouped`."""

    groups: ClassVar[dict[str, str]] = {}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a section for each group."""
        under = {name: title for title, names in self.groups.items() for name in names.split()}
        sections: dict[str, list[tuple[str, str]]] = {t: [] for t in (GENERAL, *self.groups)}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if isinstance(option, click.Option) and record is not None:
                title = next((under[name] for name in option.opts if name in under), GENERAL)
                sections[title].append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def grouped(groups: dict[str, str]) -> type[GroupedCommand]:
    """Return a class of commands that shows these options under these titles.

    Parameters
    ----------
    groups : dict of str to str
        Titles, and the options under each, with spaces between; all others are `GENERAL`.
    """
    return type("GroupedCommand", (GroupedCommand,), {"groups": groups})
