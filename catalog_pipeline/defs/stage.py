"""What every asset does around its stage: hold the store, log, translate failures.

The work itself is in the rooms; metadata is made where the asset is.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import dagster as dg
from pydantic import Field

from catalog_pipeline.catalog.identity import product_id
from catalog_pipeline.catalog.lease import StoreLease, hold_store
from catalog_pipeline.defs.resources import DatabaseResource
from catalog_pipeline.errors import CatalogError, ServiceUnavailableError
from catalog_pipeline.logs import configure_logging, log_context
from catalog_pipeline.settings import load_settings

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]

LOG_EVERY_SECONDS = 5.0

# For a lost database or Qdrant connection alone: `stage` switches retries off for all else.
RECONNECT = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL)


@contextmanager
def stage(context: dg.AssetExecutionContext, database: DatabaseResource) -> Iterator[StoreLease]:
    """Hold the partition's store while the block runs.

    Raises:
        dagster.Failure: anything that Dagster's retries cannot mend.
        ServiceUnavailableError: the connection was lost; the asset's retry policy applies.
    """
    with _translated():
        configure_logging(load_settings())
        with (
            log_context(
                run_id=context.run.run_id,
                store_id=context.partition_key,
                stage=context.asset_key.to_user_string(),
            ),
            _logged(),
            hold_store(database.get(), context.partition_key, context.run.run_id) as lease,
        ):
            yield lease


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ServiceUnavailableError:
        raise
    except CatalogError as error:
        # Its message is written for a person; where it was raised would only bury it.
        raise dg.Failure(
            description=_told(error), metadata=_forwardable(error), allow_retries=False
        ) from None
    except Exception as error:
        raise dg.Failure(description=_told(error), allow_retries=False) from error


@contextmanager
def _logged() -> Iterator[None]:
    began = time.monotonic()
    logger.info("the stage began")
    try:
        yield
    except Exception as error:
        # Dagster keeps the traceback.
        logger.error("the stage failed after %.1f s: %s", time.monotonic() - began, _told(error))  # noqa: TRY400
        raise
    logger.info("the stage ended after %.1f s", time.monotonic() - began)


def _told(error: Exception) -> str:
    if isinstance(error, CatalogError):
        return "\n".join([str(error), *getattr(error, "__notes__", ())])
    return f"{type(error).__name__}: {error}"


def _forwardable(error: CatalogError) -> dict[str, dg.MetadataValue[Any]]:
    """What somebody outside is to be shown, line by line as it is to be forwarded."""
    if error.report is None:
        return {}
    return {"report": dg.MetadataValue.md(f"```\n{error.report}\n```")}


class OneProduct(dg.Config):
    """Narrows a stage to one product of the store."""

    product: str = Field(
        default="", description="The store's id of one product: work on that one alone."
    )

    def product_id(self, store_id: str) -> UUID | None:
        """The product's own id, or None for all of the store."""
        return product_id(store_id, self.product) if self.product else None


def log_progress(context: dg.AssetExecutionContext, things: str) -> Progress:
    """A callback for done and total; logs every few seconds, with rate and time left.

    A total that is unknown, or that was passed, says nothing of the end: rate alone is told then.
    """
    last = time.monotonic()
    # Counted from the first report on: what came before it was preparation.
    first: tuple[float, int] | None = None

    def report(done: int, total: int) -> None:
        nonlocal last, first
        now = time.monotonic()
        first = first or (now, done)
        if now - last < LOG_EVERY_SECONDS or done == total:
            return
        last = now
        is_known = done < total
        line = f"{done:,} of {total:,} {things}" if is_known else f"{done:,} {things}"
        if done > first[1]:
            rate = (done - first[1]) / (now - first[0])
            line += f", {rate:,.1f} a second"
            if is_known:
                line += f", about {(total - done) / rate:,.0f} s left"
        context.log.info(line)

    return report
