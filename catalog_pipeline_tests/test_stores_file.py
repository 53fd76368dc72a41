"""`stores.yaml` as people and accidents write it: accepted whole or refused by line and key."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog_pipeline.errors import ConfigurationError
from catalog_pipeline.stores import QualityThresholds, StoreConfig
from catalog_pipeline.stores_file import MAX_BYTES, load_stores

EXAMPLE = Path(__file__).resolve().parents[1] / "stores.example.yaml"
KEYS = "consumer_key: {env: A_KEY}, consumer_secret: {env: A_SECRET}"
STORE = f"{{id: atelier, url: https://shop.example.com, {KEYS}}}"
CANARY = "ck_0123456789abcdef0123456789abcdef01234567"

Refused = Callable[[str | bytes], list[str]]


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "stores.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """What a file is refused with, line by line, without the folder."""

    def refuse(content: str | bytes) -> list[str]:
        with pytest.raises(ConfigurationError) as caught:
            load_stores(write(tmp_path, content))
        return str(caught.value).replace(f"{tmp_path}/", "").splitlines()

    return refuse


def one_store(**keys: str) -> str:
    """A file with one store, in block style: id in line 2, keys given from line 3 on."""
    complete = {
        "url": "https://shop.example.com",
        "consumer_key": "{env: A_KEY}",
        "consumer_secret": "{env: A_SECRET}",
    }
    lines = [*keys.items(), *((k, v) for k, v in complete.items() if k not in keys)]
    return "stores:\n  - id: atelier\n" + "".join(f"    {k}: {v}\n" for k, v in lines)


def test_accepts_the_example_that_people_copy() -> None:
    stores = load_stores(EXAMPLE).stores

    assert list(stores) == ["atelier", "maison-nord"]
    assert stores["maison-nord"].currency == "DKK"
    used = set(yaml.safe_load(EXAMPLE.read_text())["stores"][1]) | {"statuses", "source", "ca_file"}
    assert used == set(StoreConfig.model_fields), "every key is explained there"
    quality = stores["maison-nord"].quality
    assert quality.model_fields_set == set(QualityThresholds.model_fields)
    assert quality == QualityThresholds(), "the thresholds shown are the defaults"


def test_keeps_the_order_of_the_file_and_its_digest(tmp_path: Path) -> None:
    text = "stores:\n" + "".join(
        f"  - {{id: {name}, url: https://{name}.example.com, {KEYS}}}\n" for name in ("z", "a", "m")
    )

    loaded = load_stores(write(tmp_path, text))

    assert list(loaded.stores) == ["z", "a", "m"]
    assert loaded.digest == hashlib.sha256(text.encode()).hexdigest()


def test_defaults_stand_under_each_store(tmp_path: Path) -> None:
    loaded = load_stores(
        write(
            tmp_path,
            f"""
defaults:
  connections: 3
  labels: {{team: shoes, region: dk}}
  quality: {{min_side: 300, max_aspect: 3}}
  statuses: [publish, private]
  consumer_key: {{env: SHARED}}
stores:
  - {STORE}
  - id: b
    url: https://b.example.com
    consumer_secret: {{file: b}}
    connections: 5
    labels: {{region: se}}
    quality: {{min_side: 100}}
    statuses: [draft]
""",
        )
    )

    first, second = loaded.stores["atelier"], loaded.stores["b"]
    assert (first.connections, second.connections) == (3, 5)
    assert first.labels == {"team": "shoes", "region": "dk"}
    assert second.labels == {"team": "shoes", "region": "se"}
    assert (second.quality.min_side, second.quality.max_aspect) == (100, 3.0)
    assert (first.statuses, second.statuses) == (("publish", "private"), ("draft",))
    assert (first.consumer_key.env, second.consumer_key.env) == ("A_KEY", "SHARED")


def test_how_often_a_store_is_polled_and_how_much_of_it_may_go(tmp_path: Path) -> None:
    text = one_store(
        poll_every="1h",
        max_removal_share="0.5",
        paused="{until: 2026-12-01, reason: moving house}",
    )

    store = load_stores(write(tmp_path, text)).stores["atelier"]

    assert (store.poll_every, store.max_removal_share) == (timedelta(hours=1), 0.5)
    assert store.paused is not None
    assert store.paused.reason == "moving house"
    end = datetime(2026, 12, 1, tzinfo=UTC)
    assert store.paused.until == end
    assert not store.is_polled(end - timedelta(seconds=1))
    assert store.is_polled(end)


@pytest.mark.parametrize(
    ("written", "minutes"), [("1m", 1), ("15m", 15), ("2h", 120), ("30d", 43_200)]
)
def test_intervals(tmp_path: Path, written: str, minutes: int) -> None:
    store = load_stores(write(tmp_path, one_store(poll_every=written))).stores["atelier"]

    assert store.poll_every == timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("until", "read"),
    [
        ("2026-12-01T08:00+01:00", datetime(2026, 12, 1, 7, tzinfo=UTC)),
        ("2026-12-01T08:00:00Z", datetime(2026, 12, 1, 8, tzinfo=UTC)),
        ("2026-12-01T08:00", None),
        ("soon", None),
        ("0001-01-01T00:00+14:00", None),
        ("", None),
    ],
)
def test_the_end_of_a_pause_is_a_moment_that_everybody_reads_alike(
    refused: Refused, tmp_path: Path, until: str, read: datetime | None
) -> None:
    text = one_store(paused=f'{{until: "{until}", reason: x}}')
    if read is None:
        (error,) = refused(text)
        assert "stores[0].paused.until: must be a date such as 2026-12-01" in error
    else:
        paused = load_stores(write(tmp_path, text)).stores["atelier"].paused
        assert paused is not None
        assert paused.until == read


def test_a_default_key_gives_way_to_another_place_for_the_key(tmp_path: Path) -> None:
    text = "defaults: {consumer_key: {env: A}}\n" + one_store(consumer_key="{file: k}")

    key = load_stores(write(tmp_path, text)).stores["atelier"].consumer_key

    assert (key.env, key.file) == (None, tmp_path / "k")


def test_relative_paths_begin_at_the_file(tmp_path: Path) -> None:
    text = one_store(consumer_key="{file: keys/a}", ca_file="certs/ca.pem")
    absolute = one_store(consumer_key="{file: /run/secrets/a}")

    store = load_stores(write(tmp_path, text)).stores["atelier"]

    assert store.consumer_key.file == tmp_path / "keys" / "a"
    assert store.ca_file == tmp_path / "certs" / "ca.pem"
    fixed = load_stores(write(tmp_path, absolute)).stores["atelier"]
    assert fixed.consumer_key.file == Path("/run/secrets/a")


def test_names_every_error_by_line_and_key(refused: Refused) -> None:
    assert refused(
        """defaults:
  connections: 0
stores:
  - id: atelier
    url: http://shop.example.com
    consumer_key: {env: A_KEY}
    consumer_secret: {env: A_SECRET}
    quality:
      min_side: 0
      min_sidde: 300
  - id: atelier
    consumer_key: {env: A, file: b}
    labels: {region: no}
  - only a name
frequency: 3
"""
    ) == [
        "stores.yaml:2: defaults.connections: must be at least 1",
        "stores.yaml:5: stores[0].url: must begin with https://, or the keys could be read on the "
        "way; http is for a store on this machine with allow_private_addresses: true",
        "stores.yaml:9: stores[0].quality.min_side: must be at least 1",
        "stores.yaml:10: stores[0].quality.min_sidde: is not a key; did you mean min_side?",
        "stores.yaml:11: stores[1].id: is the id of stores[0] already",
        "stores.yaml:11: stores[1].url: is missing",
        "stores.yaml:11: stores[1].consumer_secret: is missing",
        "stores.yaml:12: stores[1].consumer_key: must have exactly one of env and file",
        "stores.yaml:13: stores[1].labels.region: must be text; YAML reads this as true or false, "
        "so put it in quotes",
        "stores.yaml:14: stores[2]: must be a mapping that begins with id:",
        "stores.yaml:15: frequency: is not a key of this file; the known ones are defaults, stores",
    ]


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("id", "12", "must be text; YAML reads this as a number, so put it in quotes"),
        ("id", "No", "must be text; YAML reads this as true or false, so put it in quotes"),
        ("id", "", "must be text; YAML reads this as nothing, so put it in quotes"),
        ("id", "Atelier", "must be at most 63 lower-case letters, digits and hyphens"),
        ("id", "'a\n\n    '", "must be at most 63 lower-case letters"),
        ("id", "a-", "with no hyphen first or last"),
        ("id", f"{'a' * 64}", "must be at most 63"),
        ("id", "[a]", "must be text"),
        ("url", "shop.example.com", "must be a web address such as https://shop.example.com"),
        ("url", "ftp://shop.example.com", "must be a web address"),
        ("url", "https://", "must be a web address"),
        ("url", "https://[", "must be a web address"),
        ("url", "https://127.0.0.01", "must be a web address"),
        ("url", "https://shop.example.com:99999", "must be a web address"),
        ("url", "https://shop example.com", "must be a web address"),
        ("url", '"https://shop.example.com/\\n"', "must be a web address"),
        ("url", "https://u:p@shop.example.com", "holds credentials; use consumer_key"),
        ("url", "https://shop.example.com/?a=b", "must be the site's address without ? or #"),
        ("url", "https://shop.example.com/#", "must be the site's address without ? or #"),
        ("url", "http://localhost", "must begin with https://"),
        ("active", "1", "must be true or false"),
        ("active", "paused", "must be true or false; for a pause with an end use paused"),
        ("active", "{paused: 2026-12-01}", "must be true or false; for a pause"),
        ("paused", "2026-12-01", "must be a mapping"),
        ("poll_every", "15", "must be a number of minutes, hours or days, such as 15m"),
        ("poll_every", "0m", "must be a number of minutes, hours or days"),
        ("poll_every", "90s", "must be a number of minutes, hours or days"),
        ("poll_every", "31d", "must be between 1m and 30d"),
        ("max_removal_share", "1.5", "must be at most 1"),
        ("max_removal_share", "20%", "must be a number"),
        ("images", "none", "must be main, gallery or all"),
        ("max_images_per_run", "0", "must be at least 1"),
        ("source", "coco", "is not served yet: the only source is woocommerce"),
        ("statuses", "publish", "must be a list, such as [first, second]"),
        ("statuses", "{publish: true}", "must be a list"),
        ("currency", "kr", "must be a currency code of three capitals, such as DKK"),
        ("quality", "200", "must be a mapping, such as {key: value}"),
        ("labels", "[a]", "must be a mapping, such as {key: value}"),
        ("connections", "yes", "must be a whole number"),
        ("connections", "'8'", "must be a whole number"),
        ("connections", "2.5", "must be a whole number"),
        ("connections", "65", "must be at most 64"),
        ("connections", "9" * 5000, "must be a whole number"),
        ("connections", "0x" + "f" * 5000, "must be a whole number"),
        ("requests_per_second", "0", "must be greater than 0"),
        ("requests_per_second", ".inf", "must be a finite number"),
        ("requests_per_second", ".nan", "must be a finite number"),
        ("requests_per_second", "5/s", "must be a number"),
        ("requests_per_second", ":".join(["59"] * 300) + ".5", "must be a number"),
        ("requests_per_second", "1" + "0" * 400, "must be a number"),
        ("ca_file", "''", "must be the path of a file"),
        ("ca_file", '"a\\0b"', "must be the path of a file"),
        ("ca_file", "3", "must be the path of a file"),
        ("user_agent", '"a\\r\\nX: y"', "must be 1 to 256 printable ASCII characters"),
        ("allow_private_addresses", "maybe", "must be true or false"),
        ("conections", "8", "is not a key; did you mean connections?"),
        ("<<", "{connections: 3}", "is not a key"),
        ("'[key]'", "3", "is not a key"),
    ],
)
def test_refuses_a_value_in_a_plain_sentence(
    refused: Refused, key: str, value: str, problem: str
) -> None:
    text = one_store(**{key: value}) if key != "id" else one_store().replace("atelier", value)

    errors = refused(text)

    assert len(errors) == 1, errors
    line = 2 if key == "id" else 3
    shown = "…" if key in {"<<", "'[key]'"} else key
    assert errors[0].startswith(f"stores.yaml:{line}: stores[0].{shown}: ")
    assert problem in errors[0]


@pytest.mark.parametrize(
    ("key", "value", "place", "problem"),
    [
        ("image_ports", "[80, 70000]", "image_ports[1]", "must be at most 65535"),
        ("statuses", "[publish, trash]", "statuses[1]", "must be publish, future, draft, pending"),
        ("include", "{visibility: [nowhere]}", "include.visibility[0]", "must be visible, catalog"),
        ("include", "{categories: [a]}", "include.categories", "did you mean category?"),
        ("exclude", "{tag: [no]}", "exclude.tag[0]", "put it in quotes"),
        ("headers", "{Authorization: x}", "headers", "must not set Authorization"),
        (
            "headers",
            "{X-A: b, user-agent: x, TE: y}",
            "headers",
            "must not set TE, user-agent; user_agent: sets User-Agent",
        ),
        ("headers", "{Accept-Encoding: br}", "headers", "must not set Accept-Encoding"),
        ("headers", "{transfer-encoding: chunked}", "headers", "must not set transfer-encoding"),
        ("headers", "{'a b': x}", "headers.a b", "must be a header's name"),
        ("headers", "{X-A: 1}", "headers.X-A", "put it in quotes"),
        ("labels", "{? [a] : b}", "labels", "a key must be plain text"),
    ],
)
def test_refuses_what_stands_deeper(
    refused: Refused, key: str, value: str, place: str, problem: str
) -> None:
    errors = refused(one_store(**{key: value}))

    assert len(errors) == 1, errors
    assert errors[0].startswith(f"stores.yaml:3: stores[0].{place}: ")
    assert problem in errors[0]


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (b"", 1, "is empty"),
        (b"# only a comment\n", 1, "is empty"),
        (b"- id: a\n", 1, "must begin with stores:"),
        (b"just text", 1, "must begin with stores:"),
        (b"stores: [\n", 2, "is not YAML"),
        (b"stores:\n\t- id: a\n", 2, "is indented with a tab"),
        (b"stores:\n  - id: a\n   url: b\n", 3, "is not YAML"),
        (b"a: 1\nstores:\n  - id: \xff\n", 3, "is not UTF-8 text"),
        ("stores: []".encode("utf-16"), 1, "is not UTF-8 text"),
        (b"stores: \x00\n", 1, "is not YAML"),
        (b"stores: [*nobody]\n", 1, "anchors and aliases"),
        (b"a: &x [lol]\nstores: [*x, *x]\n", 1, "anchors and aliases"),
        (b"stores:\n  - !!python/object/apply:os.system [id]\n", 2, "tags (!) are not read"),
        (b"stores: !!binary aWQ=\n", 1, "tags (!) are not read"),
        (b"stores: []\n---\nstores: []\n", 2, "a second document begins here"),
        (b"stores: " + b"[" * 5000 + b"]" * 5000, 1, "is nested more than 10 levels deep"),
        (b"stores:\n" + b"- " * 20 + b"a\n", 2, "is nested more than 10 levels deep"),
        (b"defaults: {}\n", 1, "stores: is missing"),
        (b"defaults: {}\nstores:\n", 2, "stores: must be a list with at least one store"),
        (b"stores: []\n", 1, "stores: must be a list with at least one store"),
        (b"stores: {a: b}\n", 1, "stores: must be a list with at least one store"),
        (b"defaults: [a]\nstores: []\n", 1, "defaults: must be a mapping"),
        (b"defaults: {id: a}\nstores: []\n", 1, "defaults.id: belongs to one store"),
        (b"defaults: {poll_every: 1w}\nstores: []\n", 1, "defaults.poll_every: must be a number"),
    ],
)
def test_refuses_a_file_that_is_no_list_of_stores(
    refused: Refused, content: bytes, line: int, problem: str
) -> None:
    errors = refused(content)

    assert any(
        error.startswith(f"stores.yaml:{line}: ") and problem in error for error in errors
    ), errors


def test_refuses_keys_that_yaml_would_silently_drop(refused: Refused) -> None:
    text = one_store(active="true") + "    active: false\n"

    assert refused(text) == ["stores.yaml:7: stores[0].active: is written twice (first in line 3)"]


def test_a_thousand_laughs_are_not_expanded(refused: Refused) -> None:
    levels = "".join(
        f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]\n" for n in range(1, 10)
    ).replace("&l1 [" + ", ".join(["*l0"] * 9), "&l1 [lol")

    assert all("anchors and aliases" in error for error in refused(levels))


@pytest.mark.parametrize(
    "written",
    [
        CANARY,
        f"{{{CANARY}}}",
        f"{{{CANARY}, {CANARY}}}",
        f"{{value: {CANARY}}}",
        f"{{env: {CANARY}}}",
        f"{{file: {CANARY}}}",
        f"[{CANARY}]",
        f"{{env: A_KEY, {CANARY}: x}}",
        f"{{env: {{{CANARY}: x}}}}",
    ],
)
@pytest.mark.parametrize("place", ["stores", "defaults"])
def test_never_repeats_a_secret(refused: Refused, written: str, place: str) -> None:
    text = one_store(consumer_key=written)
    if place == "defaults":
        text = f"defaults: {{consumer_key: {written}}}\n" + one_store()

    errors = refused(text)

    assert any("a secret is never written here; use {env: VARIABLE}" in error for error in errors)
    assert CANARY not in "\n".join(errors)


@pytest.mark.parametrize("url", [f"https://{CANARY}:cs@shop.example.com", f"ftp://{CANARY}"])
def test_never_repeats_a_secret_in_a_url(refused: Refused, url: str) -> None:
    assert CANARY not in "\n".join(refused(one_store(url=url)))


def test_http_is_for_a_store_on_loopback_that_says_so(tmp_path: Path) -> None:
    text = one_store(url="http://127.0.0.1:8080", allow_private_addresses="true")

    assert load_stores(write(tmp_path, text)).stores["atelier"].url == "http://127.0.0.1:8080"


def test_http_to_a_private_network_is_refused(refused: Refused) -> None:
    text = one_store(url="http://10.0.0.1", allow_private_addresses="true")

    assert "must begin with https://" in refused(text)[0]


def test_says_what_to_do_about_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no such file; copy stores\.example\.yaml"):
        load_stores(tmp_path / "absent.yaml")
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        load_stores(tmp_path)
    with pytest.raises(ConfigurationError, match="is larger than 1,000,000 bytes"):
        load_stores(write(tmp_path, b"#" * (MAX_BYTES + 1)))


def test_reads_thousands_of_stores(tmp_path: Path) -> None:
    text = "stores:\n" + "".join(
        f"  - {{id: s{n}, url: https://s{n}.example.com, {KEYS}}}\n" for n in range(5000)
    )

    assert len(load_stores(write(tmp_path, text)).stores) == 5000


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    assert load_stores(write(tmp_path, b"\xef\xbb\xbf" + f"stores: [{STORE}]".encode())).stores


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates()
)
NAMES = st.one_of(st.sampled_from(sorted(StoreConfig.model_fields)), st.text(max_size=6))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=6,
)
DOCUMENTS = st.fixed_dictionaries(
    {"stores": st.lists(st.dictionaries(NAMES, VALUES, max_size=6), max_size=3)},
    optional={"defaults": st.dictionaries(NAMES, VALUES, max_size=4)},
)
FRAGMENTS = st.lists(
    st.sampled_from(
        ["stores:", "defaults:", "\n", "  ", "- ", "id: a", "url: ", "https://a.example", "{", "}",
         "[", "]", "&a ", "*a", "!!str ", "? ", ": ", "|", ">", "'", '"', "\t", "---", "...", "#",
         "%YAML 1.1", "\x85", "\ufeff", "<<: ", "~", "null", "1:2:3", "0x", "\\ud800", "@", "`"]
    ),
    max_size=25,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=60),
        FRAGMENTS.map(lambda parts: "".join(parts).encode()),
        DOCUMENTS.map(lambda tree: yaml.safe_dump(tree).encode()),
    )
)
def test_any_bytes_are_accepted_or_refused_as_a_whole(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = write(tmp_path_factory.getbasetemp(), content)
    lines: list[str] = []
    try:
        loaded = load_stores(path)
    except ConfigurationError as error:
        lines = str(error).split("\n")
    else:
        assert loaded.stores
        assert all(name == store.id for name, store in loaded.stores.items())
    assert all(line.startswith(f"{path}:") and line.isprintable() for line in lines)
