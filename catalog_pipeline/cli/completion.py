"""`catalog completion`: what a shell reads to complete commands, options and the ids of stores."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

_VARIABLE = "_CATALOG_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets SHELL complete `catalog`.

    \b
    Examples:
      catalog completion bash >> ~/.bashrc
      catalog completion zsh >> ~/.zshrc
      catalog completion fish > ~/.config/fish/completions/catalog.fish
    """
    script = get_completion_class(shell)
    assert script is not None
    click.echo(script(context.find_root().command, {}, "catalog", _VARIABLE).source())
