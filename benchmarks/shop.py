"""A sample store with good pictures, served by a process of its own, and a pipeline set up for it.

The pictures are drawn before anything is timed and served from the disk, so that the store takes
next to nothing of the cores that the contenders share.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from catalog_pipeline.demo import ATELIER, Attributes, Drawing, SampleStores, StoredFile
from catalog_pipeline.demo.garments import COLOURS, KINDS, PATTERNS
from catalog_pipeline.demo.stores_file import KEY_VARIABLE, SECRET_VARIABLE, stores_document

STORE: Final = ATELIER.id


@dataclass(frozen=True, slots=True)
class NumberedFile:
    """A stored picture with a number behind its end: other bytes, the same picture."""

    path: Path
    number: int
    extension: str = ".jpg"
    media_type: str = "image/jpeg"

    @property
    def fingerprint(self) -> str:
        """From the path and the number."""
        return hashlib.sha256(f"{self.path}:{self.number}".encode()).hexdigest()[:12]

    def content(self) -> bytes | None:
        """The file's bytes and the number."""
        return self.path.read_bytes() + self.number.to_bytes(8, "big")


def draw(folder: Path, number: int, size: int) -> None:
    """Draw so many different garments, `size` pixels a side, as JPEG files."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds, colours = list(KINDS), list(COLOURS)
    for index in range(number):
        look = Attributes(
            kinds[index % len(kinds)],
            colours[index // len(kinds) % len(colours)],
            PATTERNS[index % len(PATTERNS)],
        )
        content = Drawing(look, seed=index, size=size).content()
        assert content is not None
        (folder / f"{index:05d}.jpg").write_bytes(content)


@contextmanager
def serving(pictures: Path, products: int) -> Iterator[dict[str, str]]:
    """Serve a store while the block runs; gives what `set_up` needs to know of it.

    With more products than pictures, pictures come again, each time as other bytes.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.shop", str(pictures), str(products)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the sample store did not start")
        address: dict[str, str] = json.loads(line)
        yield address
    finally:
        # The end of its input ends it, also when this process is killed.
        process.stdin.close()
        process.wait()


def set_up(folder: Path, address: dict[str, str], model: str) -> dict[str, str]:
    """The variables of an empty deployment below `folder` that syncs the store."""
    dagster_home = folder / "dagster"
    dagster_home.mkdir(parents=True)
    document = stores_document(address["base_url"], [ATELIER])
    # What a person's shop should be spared is no part of the pipeline's own speed.
    document["defaults"] = {"requests_per_second": 1_000}
    stores_file = folder / "stores.yaml"
    stores_file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return {
        "CATALOG_DATA_DIR": str(folder / "data"),
        "CATALOG_STORES_FILE": str(stores_file),
        "CATALOG_MODEL": model,
        "DAGSTER_HOME": str(dagster_home),
        KEY_VARIABLE: address["key"],
        SECRET_VARIABLE: address["secret"],
    }


def _serve(pictures: Path, products: int) -> None:
    files = sorted(pictures.glob("*.jpg"))
    stores = SampleStores(products_per_store=0, profiles=[ATELIER])
    store = stores.stores[STORE]
    for number in range(products):
        path = files[number % len(files)]
        media = StoredFile(path) if products <= len(files) else NumberedFile(path, number)
        store.add(media=media, name=f"Garment {number}", price=f"{number % 400}.95")
    with stores:
        address = {"base_url": stores.base_url, "key": stores.key, "secret": stores.secret}
        print(json.dumps(address), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]))
