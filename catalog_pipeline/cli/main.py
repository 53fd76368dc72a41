"""The `catalog` command: its groups, its exit codes, and nothing of what the commands do.

A command is imported when it is named, and what it works with when it is called: a shell asks for
completions at each TAB, and Dagster or Arrow alone take longer than a person waits for one.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.shell_completion import CompletionItem

from catalog_pipeline.cli.output import EXIT_FAILED, EXIT_USAGE
from catalog_pipeline.errors import CatalogError, ConfigurationError

if TYPE_CHECKING:
    from catalog_pipeline.settings import Settings

# What each says of itself first. Its module and the command in it bear the same name.
COMMANDS = {
    "adopt": "Take over COLLECTION, whose own database is gone for good.",
    "archive": "Look after the raw archive: every answer of every store, as it came.",
    "completion": "Print the script that lets SHELL complete `catalog`.",
    "demo": "Sync two generated stores from their API to a searchable collection, and search it.",
    "explain": "Trace PRODUCT: an id, STORE:ID, a SKU, or the URL of its page or of a picture.",
    "files": "Look after pictures and vectors in the data folder.",
    "gate": "Look at the gate that accepts and rejects pictures.",
    "override": (
        "Decide over TARGET: a product (id or STORE:EXTERNAL_ID) or a picture (its SHA-256)."
    ),
    "plan": "Show what a sync of STORE, or of every store, would fetch, embed, write and remove.",
    "reconcile": "Compare STORE, or every store, id by id; exit 1 if anything differs in the end.",
    "removals": (
        "List the products and points of STORE whose removal waits, or approve them by their "
        "number."
    ),
    "search": "Find the products nearest to words, to a picture or to another product.",
    "status": "Show every store in a line, and below what needs a person and where to begin.",
    "stores": "Look after the stores of stores.yaml.",
    "sync": "Bring STORE into step: products, images, embeddings, points.",
    "ui": "Serve the Dagster UI of your stores until interrupted, on this machine alone.",
}


class CatalogGroup(click.Group):
    """Turns foreseen failures into one message and the exit code that scripts can rely on.

    Of its commands it holds the names, and imports the one that is asked for.
    """

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in self.commands:
            return None
        module = import_module(f"catalog_pipeline.cli.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List all of them without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names and options that begin so, without importing any command."""
        names = [
            CompletionItem(name, help=COMMANDS[name])
            for name in self.list_commands(ctx)
            if name.startswith(incomplete)
        ]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a foreseen failure prints its message without a traceback."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            _stop(error, EXIT_USAGE)
        except CatalogError as error:
            _stop(error, EXIT_FAILED)


def _stop(error: CatalogError, code: int) -> NoReturn:
    click.echo(f"Error: {error}", err=True)
    sys.exit(code)


@click.group(
    cls=CatalogGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.",
)
@click.version_option(package_name="catalog-pipeline", prog_name="catalog")
@click.pass_context
def main(context: click.Context) -> None:
    """Keep the products of many WooCommerce stores in step with one Qdrant collection.

    Settings come from CATALOG_… environment variables, the stores from stores.yaml.

    \b
    Examples:
      catalog demo                        the pipeline on generated stores
      catalog stores check                can the stores be read?
      catalog sync atelier --sample 50    a first look at one
      catalog status                      how all of them stand
      catalog ui                          the Dagster UI over them
    """
    from catalog_pipeline.logs import log_context
    from catalog_pipeline.settings import load_settings

    # Wrong settings are refused by the commands that need them.
    with suppress(ConfigurationError):
        _log_for_people(load_settings())
    context.with_resource(log_context(command=context.invoked_subcommand or ""))


def _log_for_people(settings: Settings) -> None:
    """Unless JSON was asked for, log in words, of which a stage's are shown by the command itself.

    By the environment, since a run in this process reads the settings again, and standard error is
    no terminal in a pipe or during a step.
    """
    from catalog_pipeline.logs import configure_logging
    from catalog_pipeline.settings import PREFIX, load_settings

    if settings.log_format == "auto":
        os.environ[f"{PREFIX}LOG_FORMAT"] = "text"
        settings = load_settings()
    configure_logging(settings)


for _name in COMMANDS:
    main.add_command(click.Command(_name))
