"""`catalog adopt`: a collection that another database filled becomes this one's."""

from __future__ import annotations

import getpass

import click

from catalog_pipeline.cli.deployment import as_json, open_database
from catalog_pipeline.cli.output import print_json
from catalog_pipeline.settings import load_settings
from catalog_pipeline.vectors.adoption import adopt_collection
from catalog_pipeline.vectors.open import open_index


@click.command()
@click.argument("collection")
@click.option("--reason", required=True, help="Why; kept with the decision.")
@as_json
def adopt(collection: str, reason: str, as_json: bool) -> None:
    """Take over COLLECTION, whose own database is gone for good.

    Syncs refuse a collection that another database filled, so that an empty one cannot empty it.
    Once adopted, points that this database does not know are removed, as far as the removal guard
    lets them. Two databases that fill one collection would undo each other's work.

    \b
    Examples:
      catalog adopt products__clip-1a2b --reason "its database burnt"
    """
    settings = load_settings()
    with open_database(settings) as database, open_index(settings) as index:
        before = adopt_collection(database, index, collection, who=getpass.getuser(), reason=reason)
        owner = database.deployment_id()
    if as_json:
        print_json({"collection": collection, "from": before, "to": owner})
    else:
        click.echo(f"{collection}: belongs to this database now, deployment {owner}.")
