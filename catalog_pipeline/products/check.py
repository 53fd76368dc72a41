"""Whether a store can be read, and if not, whose turn it is to do what.

One look, no retries worth the name, nothing written. Each finding is one sentence that can be
forwarded to the store's owner as it stands, and never holds a key.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from urllib.parse import urlsplit

import httpx

from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.products.answers import (
    Facts,
    StoreRefusedError,
    StoreUnavailableError,
    Trouble,
)
from catalog_pipeline.products.http import StoreClient
from catalog_pipeline.products.source import WalkOrder
from catalog_pipeline.products.woocommerce import CurrencyUnknownError, WooCommerceSource
from catalog_pipeline.products.woocommerce_walk import API
from catalog_pipeline.stores import MissingSecretError, StoreConfig

_ONE_MORE_TRY = (1.0,)
_KEY_ERROR = "woocommerce_rest_authentication_error"
_NOT_ALLOWED = "woocommerce_rest_cannot_view"


class Finding(StrEnum):
    """What a check found."""

    WORKS = "works"
    MISSING_SECRET = "missing secret"  # noqa: S105
    WRONG_KEY = "wrong key"
    WRONG_SECRET = "wrong secret"  # noqa: S105
    MISSING_RIGHT = "missing right"
    WRONG_URL = "wrong URL"
    REFUSED_ADDRESS = "refused address"
    CERTIFICATE = "certificate"
    UNREACHABLE = "unreachable"
    MOVED = "moved"
    PLAIN_PERMALINKS = "plain permalinks"
    NOT_WORDPRESS = "not WordPress"
    NO_WOOCOMMERCE = "no WooCommerce"
    CLOSED_API = "closed REST API"
    FIREWALL = "firewall"
    THROTTLED = "throttled"
    SERVER_ERROR = "server error"
    UNUSABLE_ANSWER = "unusable answer"


@dataclass(frozen=True)
class CheckResult:
    """A finding, the sentence that says it, and what it rests on.

    `report` is a longer text for the store's host, where a firewall stands in the way.
    """

    store_id: str
    ok: bool
    finding: Finding
    sentence: str
    facts: dict[str, str | int] = field(default_factory=dict)
    report: str | None = None


def check_store(
    store: StoreConfig,
    *,
    transport: httpx.BaseTransport | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> CheckResult:
    """Ask a store for its totals and its currency, and say what came of it; raises nothing of ours.

    Args:
        store: the store.
        transport: the network, as for `StoreClient`.
        sleep: waits before the one retry; replaced in tests.
    """
    with StoreClient(store, transport=transport, retry_waits=_ONE_MORE_TRY, sleep=sleep) as client:
        try:
            start = WooCommerceSource(store, client).start_walk(WalkOrder()).start
        except (StoreRefusedError, StoreUnavailableError) as error:
            finding, sentence = _explain(store, error.trouble, error.facts)
            facts = _shown(error.facts, client.user_agent)
            return replace(_result(store, finding, sentence, facts), report=error.report)
        except CurrencyUnknownError:
            sentence = (
                f"The key for {store.url} may read products but not the store's currency; give "
                "its user the role 'Shop manager', or set currency: for this store."
            )
            return _result(store, Finding.MISSING_RIGHT, sentence, {})
        except (MissingSecretError, ConfigurationError) as error:
            return _result(store, Finding.MISSING_SECRET, f"{error}.", {})
    count = "an unknown number of" if start.announced is None else str(start.announced)
    return _result(
        store,
        Finding.WORKS,
        f"{store.url} works: {count} products, prices in {start.currency}.",
        {"products": start.announced or 0, "currency": start.currency or ""},
    )


def _result(
    store: StoreConfig, finding: Finding, sentence: str, facts: dict[str, str | int]
) -> CheckResult:
    return CheckResult(store.id, finding is Finding.WORKS, finding, sentence, facts)


def _shown(facts: Facts, user_agent: str) -> dict[str, str | int]:
    known = {
        name: value
        for name, value in vars(facts).items()
        if isinstance(value, (str, int)) and value is not False
    }
    if facts.block is not None and facts.block.by is not None:
        known["firewall"] = facts.block.by
    if facts.status is not None:
        # What a host needs to find the request in its firewall's log.
        known["user_agent"] = user_agent
        known["time"] = datetime.now(UTC).isoformat(timespec="seconds")
    return known


def _explain(store: StoreConfig, trouble: Trouble, facts: Facts) -> tuple[Finding, str]:
    url, host = store.url, urlsplit(store.url).hostname
    certificate = "its certificate is not valid for this address or not from a known authority"
    simple = {
        Trouble.DNS: (Finding.WRONG_URL, f"The host {host} does not exist (DNS); check the URL."),
        Trouble.BAD_ADDRESS: (Finding.WRONG_URL, f"{url} is not a web address; check the URL."),
        Trouble.CONNECTION_REFUSED: (
            Finding.WRONG_URL,
            f"No web server answers at {url} (connection refused); check the URL and its port.",
        ),
        Trouble.GUARDED: (Finding.REFUSED_ADDRESS, f"{url} is not asked: {facts.message}."),
        Trouble.TLS: (Finding.CERTIFICATE, f"{url} cannot be trusted: {certificate}."),
        Trouble.TIMEOUT: (Finding.UNREACHABLE, f"{url} did not answer in time; see that it is up."),
        Trouble.BROKEN: (
            Finding.UNREACHABLE,
            f"{url} broke the connection off; see that it is up.",
        ),
        Trouble.THROTTLED: (
            Finding.THROTTLED,
            f"{url} answers 429, too many requests; try later or lower requests_per_second.",
        ),
        Trouble.TOO_LARGE: (
            Finding.UNUSABLE_ANSWER,
            f"{url} sent far more than was asked for: this is not WooCommerce's REST API, or "
            "something in front of it caches answers and ignores the query; exclude /wp-json/ from "
            "that cache.",
        ),
        Trouble.UNEXPECTED_JSON: (
            Finding.UNUSABLE_ANSWER,
            f"{url} answered {_said(facts)} where a list of products was expected.",
        ),
    }
    if trouble in simple:
        return simple[trouble]
    if trouble is Trouble.REDIRECTED:
        return _explain_redirect(url, facts)
    if facts.block is not None:
        return Finding.FIREWALL, f"{url} is not reached: {facts.block.sentence}."
    if trouble is Trouble.NOT_JSON:
        return _explain_page(url, facts)
    if trouble is Trouble.SERVER_ERROR:
        sentence = f"{url} fails with {facts.status} ({_said(facts)}); its error log says why."
        return Finding.SERVER_ERROR, sentence
    return _explain_denial(url, facts)


def _explain_redirect(url: str, facts: Facts) -> tuple[Finding, str]:
    location = facts.location or ""
    if API in location:
        target = location.split(API, 1)[0]
        sentence = f"{url} redirects to {target}; use that address as the store's url."
        return Finding.MOVED, sentence
    try:
        host = urlsplit(location).hostname
    except ValueError:
        # A stranger wrote it; no address has such a form.
        return Finding.MOVED, f"{url} redirects to {location}, which is no web address."
    if host in {None, urlsplit(url).hostname}:
        return Finding.PLAIN_PERMALINKS, _permalinks_sentence(url)
    return Finding.MOVED, f"{url} redirects to {location}; use the address of the shop itself."


def _explain_page(url: str, facts: Facts) -> tuple[Finding, str]:
    if facts.is_wordpress:
        return Finding.PLAIN_PERMALINKS, _permalinks_sentence(url)
    sentence = f"{url} answers with {facts.looks_like} where WooCommerce's REST API should be."
    return Finding.NOT_WORDPRESS, sentence


def _explain_denial(url: str, facts: Facts) -> tuple[Finding, str]:
    if facts.code is None:
        return _explain_foreign_denial(url, facts)
    if facts.code == _KEY_ERROR:
        return _explain_key_error(url, facts)
    if facts.code == _NOT_ALLOWED and facts.status == 403:
        return Finding.MISSING_RIGHT, (
            f"The key for {url} is valid, but its user may not list products; give the user the "
            "role 'Shop manager'."
        )
    if facts.code == _NOT_ALLOWED:
        return Finding.WRONG_KEY, (
            f"{url} does not know the consumer key, or its web server drops the Authorization "
            "header; create a key with the right Read under WooCommerce, Settings, Advanced, REST "
            "API."
        )
    if facts.status == 404:
        return Finding.NO_WOOCOMMERCE, (
            f"{url} is a WordPress without WooCommerce's REST API ({_said(facts)}); activate "
            "WooCommerce, and let no plug-in hide its API."
        )
    return Finding.CLOSED_API, (
        f"{url} has its REST API closed ({facts.status}, {_said(facts)}); the plug-in or rule "
        f"that closes it must let {API}/ through for requests with a key."
    )


def _explain_foreign_denial(url: str, facts: Facts) -> tuple[Finding, str]:
    """A refusal that is not WordPress's own, which would be JSON with a code."""
    if facts.status == 401:
        return Finding.CLOSED_API, (
            f"The web server of {url} asks for a password of its own (401) before WordPress sees "
            f"the key; let requests to {API}/ through without it."
        )
    if facts.status == 404 and facts.is_wordpress:
        return Finding.CLOSED_API, (
            f"{url} is a WordPress that answers 404 where its REST API should be; check the URL's "
            "path, choose permalinks other than 'Plain', and let no plug-in or server rule close "
            "/wp-json/."
        )
    if facts.status == 404:
        return Finding.NOT_WORDPRESS, f"There is no WordPress at {url} (404); check the URL."
    return Finding.UNUSABLE_ANSWER, f"{url} answers {facts.status} with {facts.looks_like}."


def _explain_key_error(url: str, facts: Facts) -> tuple[Finding, str]:
    message = (facts.message or "").lower()
    if "permission" in message:
        sentence = f"The key for {url} has no right to read; give it the right Read."
        return Finding.MISSING_RIGHT, sentence
    if "secret" in message:
        sentence = (
            f"{url} knows the consumer key, but the consumer secret does not belong to it; copy "
            "both again, or create a new key."
        )
        return Finding.WRONG_SECRET, sentence
    return Finding.WRONG_KEY, f"{url} refuses the key ({_said(facts)}); create a new one."


def _permalinks_sentence(url: str) -> str:
    return (
        f"{url} answers with a web page where its REST API should be; under Settings, Permalinks, "
        "choose anything but 'Plain', and end any maintenance mode."
    )


def _said(facts: Facts) -> str:
    return f"{facts.code}: {facts.message}" if facts.code else facts.looks_like or "nothing"
