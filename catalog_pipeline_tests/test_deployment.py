"""The containers' description, held against the settings and the pinned versions."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from sqlalchemy import make_url

from catalog_pipeline.settings import PREFIX, Settings, load_settings

REPOSITORY = Path(__file__).resolve().parents[1]
COMPOSE_TEXT = (REPOSITORY / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("code-location", "webserver", "daemon")
# Images that need no user of ours: their entry points give up root themselves.
OFFICIAL = ("postgres", "qdrant")
REFERENCE = re.compile(r"\$\{(\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")
PINS: dict[str, Version] = {
    canonicalize_name(name): Version(version)
    for name, version in (
        line.split("==")
        for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
}
PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
BUILT_FOR_THE_GPU = {"torch", "torchvision"}


def environment(service: str, **variables: str) -> dict[str, str]:
    """What a service sees, as Compose would fill it in."""

    def fill(match: re.Match[str]) -> str:
        value = variables.get(match[1], "")
        if value:
            return value
        if match["kind"] == "?":
            raise KeyError(match[1])
        return match["rest"] or ""

    declared = SERVICES[service].get("environment", {})
    return {name: REFERENCE.sub(fill, str(value)) for name, value in declared.items()}


def required() -> set[str]:
    return {match[1] for match in REFERENCE.finditer(COMPOSE_TEXT) if match["kind"] == "?"}


def given() -> dict[str, str]:
    return dict.fromkeys(required(), "s3cret")


def test_the_services_are_those_of_a_deployment() -> None:
    assert set(SERVICES) == {*OURS, *OFFICIAL}


def test_the_code_location_is_given_settings_that_are_accepted() -> None:
    seen = environment("code-location", **given())

    loaded = load_settings(seen)

    assert {name for name in seen if name.startswith(PREFIX)} == {
        PREFIX + name.upper() for name in Settings.model_fields
    }, "every setting can be made, and nothing else is passed for one"
    assert loaded.database_url
    assert loaded.qdrant_api_key
    assert loaded.qdrant_api_key.get_secret_value() == "s3cret"


def test_its_settings_name_the_other_services() -> None:
    loaded = load_settings(environment("code-location", **given()))
    url = make_url(loaded.database)
    postgres = environment("postgres", **given())

    assert (url.host, url.port) == ("postgres", 5432)
    assert (url.username, url.database) == (postgres["POSTGRES_USER"], postgres["POSTGRES_DB"])
    qdrant = urlsplit(loaded.qdrant_url)
    assert (qdrant.hostname, qdrant.port) == ("qdrant", 6333)
    keys = environment("qdrant", **given())
    assert loaded.qdrant_api_key
    assert keys["QDRANT__SERVICE__API_KEY"] == loaded.qdrant_api_key.get_secret_value()


def test_no_url_holds_a_password() -> None:
    seen = environment("code-location", **given())

    assert make_url(seen["CATALOG_DATABASE_URL"]).password is None
    assert seen["PGPASSWORD"] == environment("postgres", **given())["POSTGRES_PASSWORD"]


@pytest.mark.parametrize("service", OURS)
def test_every_process_of_dagster_opens_the_same_instance(service: str) -> None:
    seen = environment(service, **given())
    wanted = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())["storage"]["postgres"]

    variables = {v["env"] for v in wanted["postgres_db"].values() if isinstance(v, dict)}
    assert variables == {name for name in seen if name.startswith("DAGSTER_POSTGRES")}
    assert seen["DAGSTER_POSTGRES_HOST"] == "postgres"
    assert seen["DAGSTER_POSTGRES_USER"] == environment("postgres", **given())["POSTGRES_USER"]
    created = COMPOSE["configs"]["databases"]["content"]
    assert created == f"CREATE DATABASE {seen['DAGSTER_POSTGRES_DB']};"
    assert seen["DAGSTER_POSTGRES_DB"] != environment("postgres", **given())["POSTGRES_DB"]
    assert "logs:/opt/dagster/storage" in SERVICES[service]["volumes"]


def test_what_is_required_fails_by_name_and_is_listed() -> None:
    example = (REPOSITORY / ".env.example").read_text().splitlines()

    assert {line.removesuffix("=") for line in example if not line.startswith("#")} == required()
    for match in REFERENCE.finditer(COMPOSE_TEXT):
        if match["kind"] == "?":
            assert match["rest"] == f"set {match[1]} in .env"
    for name in required():
        others = {key: value for key, value in given().items() if key != name}
        with pytest.raises(KeyError, match=name):
            for service in SERVICES:
                environment(service, **others)


def test_no_secret_is_written_in_the_file() -> None:
    for service, declared in SERVICES.items():
        for name, value in declared.get("environment", {}).items():
            if re.search(r"PASSWORD|KEY|SECRET|TOKEN", name):
                assert REFERENCE.fullmatch(value), f"{service}: {name}"


def test_nothing_is_published_beyond_loopback() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert published == ["127.0.0.1:3000:3000"]
    assert not any("network_mode" in service for service in SERVICES.values())


def test_ports_are_those_that_the_servers_listen_on() -> None:
    assert "--port=3000" in SERVICES["webserver"]["command"]
    assert "--port=4000" in SERVICES["code-location"]["command"]
    (entry,) = yaml.safe_load(COMPOSE["configs"]["workspace"]["content"])["load_from"]
    local = yaml.safe_load((REPOSITORY / "workspace.yaml").read_text())["load_from"][0]
    assert entry["grpc_server"] == {
        "host": "code-location",
        "port": 4000,
        "location_name": local["python_module"]["location_name"],
    }
    module = f"--module-name={local['python_module']['module_name']}"
    assert module in SERVICES["code-location"]["command"]
    for service in ("webserver", "daemon"):
        (config,) = SERVICES[service]["configs"]
        assert f"--workspace={config['target']}" in SERVICES[service]["command"]


def test_every_service_tells_whether_it_is_well() -> None:
    for name, service in SERVICES.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        for condition in service.get("depends_on", {}).values():
            assert condition["condition"] == "service_healthy"


def test_volumes_are_declared_and_used() -> None:
    used = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if isinstance(volume, str)
    }

    assert used == set(COMPOSE["volumes"])


def test_images_are_pinned() -> None:
    for name in OFFICIAL:
        assert re.search(r":v?\d+\.\d+", SERVICES[name]["image"]), name


def test_qdrant_is_within_one_minor_version_of_its_client() -> None:
    server = Version(SERVICES["qdrant"]["image"].partition(":v")[2].split("-")[0])
    client = PINS["qdrant-client"]

    assert server.major == client.major
    assert abs(server.minor - client.minor) <= 1


def test_the_image_runs_as_nobody_special_with_the_pinned_versions() -> None:
    lines = (REPOSITORY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    text = "\n".join(lines)

    base = next(line for line in lines if line.startswith("FROM "))
    version = Version(base.partition(":")[2].removesuffix("-slim"))
    assert version >= Version(PROJECT["requires-python"].removeprefix(">="))
    assert [line for line in lines if line.startswith("USER ")] == ["USER catalog"]
    assert "--constraint constraints.txt" in text
    extras = re.search(r'"\.\[([\w,]+)\]"', text)
    assert extras
    assert set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])
    home = re.search(r"DAGSTER_HOME=(\S+)", text)
    assert home
    assert f"COPY dagster.yaml {home[1]}/dagster.yaml" in lines
    copied = {
        name
        for line in lines
        if line.startswith("COPY ")
        for name in line.split()[1:-1]
        if (REPOSITORY / name).exists()
    }
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    assert {name.removeprefix("!") for name in ignored if name.startswith("!")} >= copied


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    wanted = [*PROJECT["dependencies"], *chain(*PROJECT["optional-dependencies"].values())]

    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        if name in BUILT_FOR_THE_GPU:
            assert name not in PINS
        else:
            assert PINS[name] in requirement.specifier, requirement
    assert not any(name.startswith(("nvidia-", "cuda-")) for name in PINS)


def test_the_dagster_packages_are_of_one_release() -> None:
    core, library = PINS["dagster"], PINS["dagster-postgres"]

    assert PINS["dagster-webserver"] == PINS["dagster-dg-cli"] == core
    # Dagster numbers its libraries 0.(16 + minor).patch.
    assert library == Version(f"0.{core.minor + 16}.{core.micro}")
