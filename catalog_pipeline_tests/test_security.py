"""What SECURITY.md names exists, so that its promises can be looked up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from catalog_pipeline.network.addresses import Reach, reach
from catalog_pipeline.settings import PREFIX, Settings
from catalog_pipeline.stores import StoreConfig

REPOSITORY = Path(__file__).resolve().parents[1]
TEXT = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`([^`\n]+)`", TEXT)
PATHS = sorted(
    {name for name in NAMED if re.fullmatch(r"[\w./-]+\.(py|yml)|\w+_tests[\w/]*", name)}
)
SETTINGS = sorted({name.partition("=")[0] for name in NAMED if name.startswith(PREFIX)})
KEYS = sorted({name for name in NAMED if re.fullmatch(r"[a-z]+(_[a-z]+)+", name)})


@pytest.mark.parametrize("path", PATHS)
def test_a_file_is_there(path: str) -> None:
    assert (REPOSITORY / path).exists()


@pytest.mark.parametrize("variable", SETTINGS)
def test_a_setting_is_read(variable: str) -> None:
    assert variable.removeprefix(PREFIX).lower() in Settings.model_fields


@pytest.mark.parametrize("key", [key for key in KEYS if not (REPOSITORY / key).exists()])
def test_a_key_of_a_store_is_read(key: str) -> None:
    assert key in StoreConfig.model_fields


def test_enough_is_named_to_be_looked_up() -> None:
    assert len(PATHS) >= 8
    assert {"CATALOG_QDRANT_API_KEY", "CATALOG_LOG_FORMAT"} <= set(SETTINGS)
    assert {"allow_private_addresses", "max_removal_share", "image_ports"} <= set(KEYS)


@pytest.mark.parametrize(
    ("address", "judged"),
    [
        ("127.0.0.1", Reach.PRIVATE),
        ("10.1.2.3", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fd12::1", Reach.PRIVATE),
        ("169.254.169.254", Reach.NEVER),
        ("fe80::1", Reach.NEVER),
        ("224.0.0.1", Reach.NEVER),
        ("64:ff9b::a01:203", Reach.NEVER),
        # The same inner address under a prefix of a network's own, which nobody can tell.
        ("2a00:db8:122:344::a01:203", Reach.PUBLIC),
    ],
)
def test_addresses_are_judged_as_it_says(address: str, judged: Reach) -> None:
    assert reach(address) is judged
