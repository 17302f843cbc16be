"""The command ``icecore completion``."""

import click
from click.shell_completion import get_completion_class

COMPLETION_VARIABLE = "_ICECORE_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands and options on the tab key.

    \b
    Examples:
      icecore completion bash >> ~/.bashrc
      icecore completion zsh >> ~/.zshrc
      icecore completion fish > ~/.config/fish/completions/icecore.fish
    """
    script = get_completion_class(shell)
    assert script is not None  # click has one for each choice
    click.echo(script(context.find_root().command, {}, "icecore", COMPLETION_VARIABLE).source())
