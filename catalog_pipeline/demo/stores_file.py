"""Writes the `stores.yaml` with which the pipeline reads the sample stores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import yaml

from catalog_pipeline.demo.profiles import DEFAULT_PROFILES, StoreProfile

KEY_VARIABLE: Final = "DEMO_CONSUMER_KEY"
SECRET_VARIABLE: Final = "DEMO_CONSUMER_SECRET"  # noqa: S105 - the name of a variable


def stores_document(
    base_url: str, profiles: Sequence[StoreProfile] = DEFAULT_PROFILES
) -> dict[str, object]:
    """The content of the file, before YAML; keys are named by variable, never given."""
    port = urlsplit(base_url).port or 80
    return {
        "stores": [
            {
                "id": profile.id,
                "source": "woocommerce",
                "url": f"{base_url.rstrip('/')}/{profile.id}",
                "consumer_key": {"env": KEY_VARIABLE},
                "consumer_secret": {"env": SECRET_VARIABLE},
                "allow_private_addresses": True,
                "image_ports": [port],
                # Nobody who tries an edit out waits for a quarter of an hour.
                "poll_every": "1m",
            }
            for profile in profiles
        ]
    }


def write_stores_file(
    path: Path, base_url: str, profiles: Sequence[StoreProfile] = DEFAULT_PROFILES
) -> None:
    """Write the file; `base_url` is `SampleStores.base_url`.

    Raises:
        OSError: the file cannot be written.
    """
    text = yaml.safe_dump(stores_document(base_url, profiles), sort_keys=False)
    path.write_text(text, encoding="utf-8")
