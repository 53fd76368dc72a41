"""A store's keys are nowhere but in its requests, whatever the store does with them.

The real command runs the real job on an instance on disk, over stores that fail in every way and
send back what they were sent. Then everything that was written and said is searched.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg
import pytest
import trustme
import yaml
import zstandard
from dagster import DagsterInstance
from pytest_httpserver import HTTPServer
from sqlalchemy import func, inspect, make_url, select

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import image_attempts, points, products, quarantine
from catalog_pipeline.demo.model import DEMO_MODEL
from catalog_pipeline_tests.images.drawing import garment_bytes
from catalog_pipeline_tests.products.hostile.server import HostileStore, Sent, literal, sent
from catalog_pipeline_tests.products.wordpress import KEY, SECRET, page_of, product

pytestmark = [pytest.mark.end_to_end, pytest.mark.timeout(240)]

BASIC = base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
CANARIES = [text.encode() for text in (KEY, SECRET, BASIC.rstrip("="))]
# What a terminal or a log could stumble over, with all that the store knows.
ECHO = f"\r\n\x1b[31mAuthorization: Basic {BASIC}\n{KEY} {SECRET} {quote(BASIC)}"

SYNC = """
import contextlib, sys
from catalog_pipeline.cli.main import main
from catalog_pipeline.products.http import StoreClient

if __name__ == "__main__":
    StoreClient.__init__.__kwdefaults__["retry_waits"] = (0.01,)
    for store in sys.argv[1:]:
        with contextlib.suppress(SystemExit):
            main(["sync", store], standalone_mode=False)
    for command in (["status"], ["stores", "check"]):
        with contextlib.suppress(SystemExit):
            main(command, standalone_mode=False)
"""


def unauthorised(_: httpx.Request) -> Sent:
    code = "woocommerce_rest_authentication_error"
    return sent(401, json.dumps({"code": code, "message": f"Wrong. {ECHO}"}).encode())


def redirected(_: httpx.Request) -> Sent:
    target = f"https://{KEY}:{SECRET}@elsewhere.example/?authorization={quote(BASIC)}"
    return sent(302, headers={"Location": target})


def walled_off(request: httpx.Request) -> Sent:
    echoed = "".join(f"<p>{name}: {value}</p>" for name, value in request.headers.items())
    page = f"<html><title>Access denied {BASIC}</title>{echoed} Block ID: {KEY} {ECHO}</html>"
    headers = {"Server": f"Sucuri {BASIC}", "X-Sucuri-ID": BASIC, "X-Sucuri-Block": SECRET}
    return sent(403, page.encode(), headers, content_type="text/html")


def talkative(request: httpx.Request) -> Sent | None:
    # Of pages, which threads ask for.
    if page_of(request) is None:
        return None
    return sent(200, json.dumps({"request": {"headers": ECHO}, "code": KEY}).encode())


def broken_off(_: httpx.Request) -> Sent:
    return Sent([b"HTTP/1.1 200 OK\r\nX-Echo: " + BASIC.encode() + b"\r\n\r\n[{"], reset=True)


def not_found(request: httpx.Request) -> Sent | None:
    return sent(404, ECHO.encode()) if request.url.path.endswith(".jpg") else None


def gossiping(request: httpx.Request) -> Sent | None:
    """Pictures, as servers send them that say again what they were asked with."""
    name = request.url.path.rpartition("/")[2]
    headers = {"ETag": f'"{KEY}"', "Last-Modified": f"{BASIC}", "X-Echo": f"{KEY} {SECRET}"}
    if name == "moved.jpg":
        return sent(302, headers=headers | {"Location": f"/b.jpg?authorization={quote(BASIC)}"})
    if name == "b.jpg":
        return sent(200, garment_bytes(1), headers, content_type=f"image/jpeg; key={SECRET}")
    return not_found(request)


FAILING: dict[str, Callable[[httpx.Request], Sent | None]] = {
    "unauthorised": unauthorised,
    "redirected": redirected,
    "walled-off": walled_off,
    "talkative": talkative,
    "broken-off": broken_off,
}


def gossip(port: int) -> list[Any]:
    """Products made of what the store was sent; one is none."""
    site = f"http://127.0.0.1:{port}"
    escaped = "".join(f"\\u{ord(one):04x}" for one in f"{KEY} {BASIC}")
    images = [
        {"id": 1, "src": f"http://{KEY}:{SECRET}@127.0.0.1:{port}/a.jpg?auth={quote(BASIC)}"},
    ]
    return [
        product(1, name=f"Shirt {ECHO}", sku=KEY, description=SECRET, images=images),
        product(2, name=literal(f'"{escaped}"'), sku=literal(f'"{BASIC}"'.replace("/", "\\/"))),
        product(3, name=["no", "name", ECHO], images=BASIC),
        product(4, name=f"Skirt {KEY}", images=[{"id": 4, "src": f"{site}/b.jpg"}]),
        product(5, name=f"Coat {KEY}", images=[{"id": 5, "src": f"{site}/moved.jpg"}]),
    ]


@dataclass(frozen=True)
class Outcome:
    """What the command left behind."""

    folder: Path
    database_url: str
    stdout: str
    stderr: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Every line of standard error, which is a JSON document."""
        return [json.loads(line) for line in self.stderr.splitlines()]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    folder = tmp_path_factory.mktemp("deployment")
    url = f"sqlite:///{folder / 'catalog.sqlite'}"
    if request.param == "postgresql":
        url = _new_database(request.getfixturevalue("postgresql_server"))
    with ExitStack() as stack:
        entries = {
            name: _shop(stack, [product(1)], misbehave).url for name, misbehave in FAILING.items()
        }
        shop = _shop(stack, [], gossiping)
        shop.woo.products.extend(gossip(httpx.URL(shop.url).port or 80))
        entries |= {"gossip": shop.url, "no-disk": _shop(stack, [product(1)], not_found).url}
        tls = HTTPServer(ssl_context=_untrusted())
        tls.start()
        stack.callback(tls.clear)
        stack.callback(tls.stop)
        entries["untrusted"] = f"https://localhost:{tls.port}"
        _write_stores_file(folder / "stores.yaml", entries)
        (folder / "archive").mkdir()
        # No folder can be made where a file is: an error that nobody foresaw.
        (folder / "archive" / "no-disk").write_text("in the way")
        done = subprocess.run(
            [sys.executable, "-c", SYNC, *entries],
            env=_environment(folder, url),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2_000:]
    return Outcome(folder, url, done.stdout, done.stderr)


def _environment(folder: Path, url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CATALOG_")}
    return kept | {
        "CATALOG_DATA_DIR": str(folder),
        "CATALOG_DATABASE_URL": url,
        "CATALOG_STORES_FILE": str(folder / "stores.yaml"),
        "CATALOG_MODEL": DEMO_MODEL,
        "CATALOG_LOG_FORMAT": "json",
        "CATALOG_LOG_LEVELS": "products=debug,images=debug",
        "DAGSTER_HOME": str(folder / "dagster"),
        "CANARY_KEY": KEY,
        "CANARY_SECRET": SECRET,
    }


def _shop(
    stack: ExitStack, products: list[Any], misbehave: Callable[[httpx.Request], Sent | None]
) -> HostileStore:
    shop = HostileStore(products)
    shop.misbehave = misbehave
    return stack.enter_context(shop.serving())


def _untrusted() -> Any:
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    return context


def _write_stores_file(path: Path, urls: dict[str, str]) -> None:
    (path.parent / "dagster").mkdir()
    document = {
        "defaults": {
            "consumer_key": {"env": "CANARY_KEY"},
            "consumer_secret": {"env": "CANARY_SECRET"},
            "allow_private_addresses": True,
            "requests_per_second": 1_000,
        },
        "stores": [
            {"id": name, "source": "woocommerce", "url": url, "image_ports": [httpx.URL(url).port]}
            for name, url in urls.items()
        ],
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False))


def _new_database(server: str) -> str:
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(b"CREATE DATABASE secrets_test")
    url = make_url(server).set(drivername="postgresql+psycopg", database="secrets_test")
    return url.render_as_string(hide_password=False)


def written(path: Path) -> bytes:
    """A file's content as a person with the right tool would read it, and as it is."""
    content = path.read_bytes()
    if content.startswith(b"\x28\xb5\x2f\xfd"):
        return content + zstandard.ZstdDecompressor().decompressobj().decompress(content)
    if content.startswith(b"\x1f\x8b"):
        return content + gzip.decompress(content)
    if content.startswith(b"SQLite format 3\0"):
        # A text that is longer than a page lies in pieces.
        with closing(sqlite3.connect(path)) as database:
            return content + "\n".join(database.iterdump()).encode("utf-8", "replace")
    return content


def rows(url: str) -> bytes:
    """Every row of every table."""
    database = Database(url)
    try:
        with database.read() as connection:
            return b"\n".join(
                repr(row).encode()
                for table in inspect(connection).get_table_names()
                for row in connection.exec_driver_sql(f'SELECT * FROM "{table}"')
            )
    finally:
        database.dispose()


def everything(outcome: Outcome) -> dict[str, bytes]:
    found = {
        str(path.relative_to(outcome.folder)): written(path)
        for path in outcome.folder.rglob("*")
        if path.is_file()
    }
    return found | {
        "the database": rows(outcome.database_url),
        "standard output": outcome.stdout.encode(),
        "standard error": outcome.stderr.encode(),
    }


TOLD = {
    "unauthorised": "answered 401 woocommerce_rest_authentication_error",
    "redirected": "answered 302, a redirect to https://[secret]",
    "walled-off": "a firewall (Sucuri) blocked the request",
    "talkative": "instead of data",
    "broken-off": "the connection broke",
    "untrusted": "the certificate is not valid",
    "no-disk": "Error: ",
}


@pytest.mark.parametrize("store", TOLD)
def test_every_store_failed_in_its_own_way(outcome: Outcome, store: str) -> None:
    (failed,) = [
        line["message"]
        for line in outcome.lines
        if line["message"].startswith("the stage failed") and line["store_id"] == store
    ]
    assert TOLD[store] in failed


def test_products_made_of_keys_came_in_without_them(outcome: Outcome) -> None:
    database = Database(outcome.database_url)
    with database.read() as connection:
        found = connection.execute(select(products.c.title, products.c.sku)).all()
        kept = connection.scalars(select(quarantine.c.raw)).all()
    database.dispose()

    assert len(found) == 4
    assert all("[secret]" in f"{row.title}{row.sku}" for row in found)
    assert len(kept) == 1
    assert outcome.stdout.count("failed  raw_products") == len(TOLD)
    assert "failed  products" not in outcome.stdout


def test_pictures_came_in_without_what_their_server_said_of_keys(outcome: Outcome) -> None:
    database = Database(outcome.database_url)
    with database.read() as connection:
        found = connection.execute(
            select(image_attempts.c.etag, image_attempts.c.last_modified).where(
                image_attempts.c.outcome == "fetched"
            )
        ).all()
        loaded = connection.scalar(select(func.count()).select_from(points))
    database.dispose()

    assert found == [(None, None)] * 2
    assert loaded == 2


def test_no_key_is_anywhere(outcome: Outcome) -> None:
    found = everything(outcome)
    leaks = [
        f"{canary.decode()} in {name}: …{content[max(at - 80, 0) : at + 80]!r}"
        for name, content in found.items()
        for canary in CANARIES
        if (at := content.find(canary)) >= 0
    ]
    assert not leaks, "\n".join(leaks)

    # The search looks where keys would have been.
    redacted = {name.split("/")[0] for name, content in found.items() if b"[secret]" in content}
    assert {"archive", "dagster", "the database", "standard output", "standard error"} <= redacted


def test_every_line_is_a_document_that_says_what_it_is_about(outcome: Outcome) -> None:
    lines = outcome.lines
    assert all({"timestamp", "level", "logger", "message"} <= line.keys() for line in lines)
    assert "\x1b" not in outcome.stderr + outcome.stdout
    failed = [line for line in lines if line["message"].startswith("the stage failed")]
    assert [line["store_id"] for line in failed] == [*FAILING, "no-disk", "untrusted"]
    assert {line["stage"] for line in failed} == {"raw_products"}
    assert len({line["run_id"] for line in failed}) == len(failed)
    stopped = [line for line in lines if re.match(r"walk \S+ stopped after 0 ", line["message"])]
    assert {line["store_id"] for line in stopped} == {"talkative"}
    assert {line["level"] for line in stopped} == {"warning"}
    # What threads say that work for a stage belongs to it too.
    assert {line["store_id"] for line in retries(outcome)} == {"talkative", "broken-off"}
    assert {line["level"] for line in retries(outcome)} == {"debug"}


def test_dagsters_log_has_the_same_lines_with_their_run_and_stage(outcome: Outcome) -> None:
    told = retries(outcome)[0]
    with DagsterInstance.from_config(str(outcome.folder / "dagster")) as instance:
        run = instance.get_run_by_id(told["run_id"])
        assert run is not None
        assert run.tags["dagster/partition"] == told["store_id"]
        (entry,) = [
            record
            for record in instance.all_logs(run.run_id)
            if record.user_message == told["message"]
        ]
    assert entry.step_key == told["stage"] == "raw_products"


def retries(outcome: Outcome) -> list[dict[str, Any]]:
    """What stages said of requests that were made again."""
    return [
        line
        for line in outcome.lines
        if line["logger"] == "catalog_pipeline.products.http" and "stage" in line
    ]
