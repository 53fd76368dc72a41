"""What every command opens: settings, stores and database."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import click
from click.shell_completion import CompletionItem

from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.embeddings.model import ModelSpec, resolve_model
from catalog_pipeline.embeddings.problems import CheckpointError
from catalog_pipeline.errors import CatalogError, ConfigurationError
from catalog_pipeline.settings import Settings, load_settings
from catalog_pipeline.stores import StoreConfig
from catalog_pipeline.stores_file import StoresFile, load_stores

if TYPE_CHECKING:
    from catalog_pipeline.catalog.database import Database


class StoreName(click.ParamType[str]):
    """A store's id, which a shell completes from stores.yaml.

    Whether there is such a store is for the command to say: some take one that is gone.
    """

    name = "store"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The ids that begin so; none where the file is wrong, which a shell cannot tell."""
        try:
            known = read_stores(load_settings()).stores
        except CatalogError:
            return []
        return [CompletionItem(one) for one in known if one.startswith(incomplete)]


STORE = StoreName()

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def this_call(command: str) -> str:
    """What this call of a command holds a store as.

    A run that holds a store may take it again, which another call of the same command must not.
    """
    return f"{command} {uuid4().hex[:8]}"


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database, at this code's schema."""
    from catalog_pipeline.catalog.database import Database

    database = Database(settings.database)
    try:
        database.migrate()
        yield database
    finally:
        database.dispose()


def read_stores(settings: Settings) -> StoresFile:
    """The stores of the file as it is, for whoever starts a sync or asks about the file itself.

    Raises:
        ConfigurationError: the file is absent or wrong.
    """
    return load_stores(settings.stores_file)


def stores_to_look_after(settings: Settings, database: Database) -> StoresFile:
    """The stores in force; where the file is wrong, the last accepted ones, with a word on it.

    Raises:
        ConfigurationError: the file is absent or wrong, and none was ever accepted.
    """
    from catalog_pipeline.catalog.accepted import stores_in_force

    found = stores_in_force(database, settings.stores_file)
    if found.problem is not None:
        click.echo(found.problem, err=True)
    return found.file


def pick_store(stores: StoresFile, store_id: str) -> StoreConfig:
    """One store by its id.

    Raises:
        ConfigurationError: there is none of that id.
    """
    if store_id in stores.stores:
        return stores.stores[store_id]
    close = difflib.get_close_matches(store_id, stores.stores, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(stores.stores))}"
    raise ConfigurationError(f"store {store_id!r} is not in {stores.path}; {hint}")


def model_at_hand(settings: Settings, untold: str) -> ModelSpec | None:
    """The configured model, for a command that only asks; a question is not worth a download.

    Args:
        settings: of this deployment.
        untold: what cannot be told without the model; said, with the reason, where it is not here.

    Raises:
        ConfigurationError: the settings name no model.
    """
    try:
        return resolve_model(settings.model, download=False)
    except CheckpointError as error:
        click.echo(f"{untold}: {error}", err=True)
        return None


def named_product(name: str, parameter: str) -> UUID:
    """A product's id, given as such or as STORE:EXTERNAL_ID.

    Raises:
        click.BadParameter: it is neither; `parameter` is what the message calls it.
    """
    store, separator, external_id = name.partition(":")
    if separator and store and external_id:
        return product_id(store, external_id)
    try:
        return UUID(name)
    except ValueError as error:
        raise click.BadParameter(
            f"{name!r} is neither a product's id nor STORE:EXTERNAL_ID", param_hint=parameter
        ) from error
