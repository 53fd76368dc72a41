"""`catalog override`: a person's word over a product or a picture, which outlives every sync."""

from __future__ import annotations

import getpass
import re
from datetime import UTC, datetime
from typing import Any

import click

from catalog_pipeline.catalog.overrides import (
    Action,
    Decision,
    all_overrides,
    hide_product,
    judge_image,
    use_image,
    withdraw,
)
from catalog_pipeline.cli.deployment import as_json, named_product, open_database
from catalog_pipeline.cli.output import print_json, table, terminal
from catalog_pipeline.settings import load_settings

_SHA256 = re.compile(r"[0-9a-f]{64}")


@click.command()
@click.argument("target", required=False)
@click.option("--hide", is_flag=True, help="Take the product out of the collection.")
@click.option("--accept", is_flag=True, help="Accept the picture, whatever the gate says.")
@click.option("--reject", is_flag=True, help="Reject the picture, whatever the gate says.")
@click.option("--use", "image", help="Let this picture of the product, by its id, be its main one.")
@click.option("--withdraw", "ended", is_flag=True, help="End every override of the target.")
@click.option("--reason", help="Why; kept with the decision.")
@click.option(
    "--until", type=click.DateTime(["%Y-%m-%d"]), help="The day on which it ends, in UTC."
)
@as_json
def override(
    target: str | None,
    hide: bool,
    accept: bool,
    reject: bool,
    image: str | None,
    ended: bool,
    reason: str | None,
    until: datetime | None,
    as_json: bool,
) -> None:
    """Decide over TARGET: a product (id or STORE:EXTERNAL_ID) or a picture (its SHA-256).

    Without a TARGET, list what is in force. Where Dagster's daemon runs, a decision is carried out
    by itself, also in a store that is paused or inactive, and no store is asked for it; otherwise
    the next `catalog sync` of an active store does. A picture without a vector waits for a run
    that embeds.

    \b
    Examples:
      catalog override atelier:1042 --hide --reason "recalled" --until 2026-12-31
      catalog override atelier:1042 --use 881 --reason "the first is a size chart"
    """
    settings = load_settings()
    if target is None:
        _list(as_json)
        return
    chosen = [hide, accept, reject, image is not None, ended]
    if sum(chosen) != 1:
        raise click.UsageError("give one of --hide, --accept, --reject, --use and --withdraw")
    if not reason:
        raise click.UsageError("give a --reason; it is kept with the decision")
    picture = _SHA256.fullmatch(target) is not None
    if (accept or reject) and not picture:
        raise click.UsageError("--accept and --reject are for a picture, by its SHA-256")
    if (hide or image is not None) and picture:
        raise click.UsageError("--hide and --use are for a product")
    who = getpass.getuser()
    with open_database(settings) as database:
        if ended:
            withdrawn = withdraw(
                database,
                target if picture else named_product(target, "TARGET"),
                who=who,
                reason=reason,
            )
            _answer(
                as_json,
                {"target": target, "action": "withdraw", "ended": withdrawn},
                f"{len(withdrawn)} ended.",
            )
            return
        decision = Decision(who, reason, until.replace(tzinfo=UTC) if until else None)
        action: Action
        if hide:
            action = "hide"
            hide_product(database, named_product(target, "TARGET"), decision)
        elif image is not None:
            action = "use"
            use_image(database, named_product(target, "TARGET"), image, decision)
        else:
            action = "accept" if accept else "reject"
            judge_image(database, target, decision, accepted=accept)
    said = (
        "Recorded. Dagster's daemon, where it runs, has it carried out within minutes, and asks no "
        "store for it; without one, `catalog sync STORE` does, once the store is active."
    )
    if accept or image is not None:
        said += " A picture without a vector waits for a run of its store that embeds."
    document = {"target": target, "action": action, "image": image, "decision": decision}
    _answer(as_json, document, said)


def _answer(as_json: bool, document: dict[str, Any], sentence: str) -> None:
    if as_json:
        print_json(document)
    else:
        click.echo(sentence)


def _list(as_json: bool) -> None:
    with open_database(load_settings()) as database, database.read() as connection:
        found = all_overrides(connection)
    if as_json:
        print_json({"overrides": found})
        return
    if not found:
        click.echo("No override is in force.")
        return
    rows = [
        [one.action, one.product_id or one.image_sha256, one.who, one.reason, one.until]
        for one in found
    ]
    terminal().print(table(["action", "target", "who", "reason", "until"], rows, numbers=[]))
