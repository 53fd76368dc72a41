"""The `catalog` command: its groups, its exit codes, and nothing of what the commands do."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from contextlib import suppress
from typing import Any, NoReturn

import click

from catalog_pipeline.cli.adopt import adopt
from catalog_pipeline.cli.archive import archive
from catalog_pipeline.cli.completion import completion
from catalog_pipeline.cli.demo import demo
from catalog_pipeline.cli.explain import explain
from catalog_pipeline.cli.files import files
from catalog_pipeline.cli.gate import gate
from catalog_pipeline.cli.output import EXIT_FAILED, EXIT_USAGE
from catalog_pipeline.cli.override import override
from catalog_pipeline.cli.plan import plan
from catalog_pipeline.cli.reconcile import reconcile
from catalog_pipeline.cli.removals import removals
from catalog_pipeline.cli.search import search
from catalog_pipeline.cli.status import status
from catalog_pipeline.cli.stores import stores
from catalog_pipeline.cli.sync import sync
from catalog_pipeline.errors import CatalogError, ConfigurationError
from catalog_pipeline.logs import configure_logging, log_context
from catalog_pipeline.settings import PREFIX, Settings, load_settings


class CatalogGroup(click.Group):
    """Turns foreseen failures into one message and the exit code that scripts can rely on."""

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
@click.version_option(importlib.metadata.version("catalog-pipeline"), prog_name="catalog")
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
    """
    # Wrong settings are refused by the commands that need them.
    with suppress(ConfigurationError):
        _log_for_people(load_settings())
    context.with_resource(log_context(command=context.invoked_subcommand or ""))


def _log_for_people(settings: Settings) -> None:
    """Unless JSON was asked for, log in words, of which a stage's are shown by the command itself.

    By the environment, since a run in this process reads the settings again, and standard error is
    no terminal in a pipe or during a step.
    """
    if settings.log_format == "auto":
        os.environ[f"{PREFIX}LOG_FORMAT"] = "text"
        settings = load_settings()
    configure_logging(settings)


for command in (
    *(demo, stores, plan, sync, status, search, explain, override),
    *(gate, removals, reconcile, adopt, archive, files, completion),
):
    main.add_command(command)
