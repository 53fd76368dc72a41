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
from typing import Any, Final

import yaml

from catalog_pipeline.demo import (
    ATELIER,
    Attributes,
    Drawing,
    Media,
    SampleStores,
    StoredFile,
)
from catalog_pipeline.demo.garments import COLOURS, KINDS, PATTERNS
from catalog_pipeline.demo.stores_file import KEY_VARIABLE, SECRET_VARIABLE, stores_document

STORE: Final = ATELIER.id
# The highest that stores.yaml takes, in place of the 5 by which real shops are spared.
REQUESTS_PER_SECOND: Final = 1_000
_PHOTOGRAPHS: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "photos_large"
_DRAWN: Final = 200
_SIDE: Final = 800


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


def usual_pictures(folder: Path) -> tuple[Path, str]:
    """A folder of pictures as shops upload them, and what they are, in words.

    Photographs of a studio where they lie beside the checkout; else drawn ones, in `folder`.
    """
    if photographs := list(_PHOTOGRAPHS.glob("*.jpg")):
        return _PHOTOGRAPHS, f"{len(photographs)} photographs of 1200 x 1600"
    draw(folder, _DRAWN, _SIDE)
    return folder, f"{_DRAWN} drawn ones of {_SIDE} x {_SIDE}"


class Shop:
    """A store served by another process, which does what it is told between two syncs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Read the store's address."""
        self._process = process
        self.address: dict[str, str] = self._answer()

    def pass_time(self, minutes: float) -> None:
        """Push the store's clock forward."""
        self._tell(command="pass_time", minutes=minutes)

    def edit(self, every: int) -> dict[str, int]:
        """Change every so manieth product: of two of them one its price, one its picture.

        Returns:
            How many have another price, and how many another picture.
        """
        edited: dict[str, int] = self._tell(command="edit", every=every)
        return edited

    def requests(self) -> list[str]:
        """The paths with queries of the requests to the API since the last time, in order."""
        asked: list[str] = self._tell(command="requests")
        return asked

    def _tell(self, **order: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the sample store did not start, or has ended")
        return json.loads(line)


@contextmanager
def shop(pictures: Path, products: int, *, page_seconds: float = 0.0) -> Iterator[Shop]:
    """Serve a store while the block runs.

    Args:
        pictures: a folder of JPEG files; with more products than pictures they come again, each
            time as other bytes.
        products: how many the store has.
        page_seconds: how long the API takes over each answer, besides what it costs to make it.
    """
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "benchmarks.shop"),
            *(str(pictures), str(products), str(page_seconds)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    try:
        yield Shop(process)
    finally:
        # The end of its input ends it, also when this process is killed.
        process.stdin.close()
        process.wait()


@contextmanager
def serving(pictures: Path, products: int) -> Iterator[dict[str, str]]:
    """The same for a store that stays as it is; gives what `set_up` needs to know of it."""
    with shop(pictures, products) as served:
        yield served.address


def set_up(folder: Path, address: dict[str, str], model: str) -> dict[str, str]:
    """The variables of an empty deployment below `folder` that syncs the store."""
    dagster_home = folder / "dagster"
    dagster_home.mkdir(parents=True)
    document = stores_document(address["base_url"], [ATELIER])
    # What a person's shop should be spared is no part of the pipeline's own speed.
    document["defaults"] = {"requests_per_second": REQUESTS_PER_SECOND}
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


def _serve(pictures: Path, products: int, page_seconds: float) -> None:
    files = sorted(pictures.glob("*.jpg"))
    stores = SampleStores(products_per_store=0, profiles=[ATELIER])
    store = stores.stores[STORE]

    def picture(number: int, of: int) -> Media:
        path = files[number % len(files)]
        return StoredFile(path) if of <= len(files) else NumberedFile(path, number)

    ids = [
        store.add(
            media=picture(number, products), name=f"Garment {number}", price=f"{number % 400}.95"
        )
        for number in range(products)
    ]
    store.faults.delay(page_seconds, path="wp-json")

    def edit(every: int) -> dict[str, int]:
        prices, pictures = ids[::every][::2], ids[::every][1::2]
        for number, product in enumerate(prices):
            store.edit(product, regular_price=f"{1_000 + number}.95", sale_price="")
        for number, product in enumerate(pictures, products):
            store.change_picture(product, picture(number, number + len(files)))
        return {"prices": len(prices), "pictures": len(pictures)}

    def obey(order: dict[str, Any]) -> Any:
        if order["command"] == "pass_time":
            return stores.clock.advance(minutes=order["minutes"])
        if order["command"] == "edit":
            return edit(order["every"])
        asked = [f"{one.path}?{one.query}" for one in store.traffic.last if one.kind != "image"]
        store.traffic.reset()
        return asked

    with stores:
        address = {"base_url": stores.base_url, "key": stores.key, "secret": stores.secret}
        print(json.dumps(address), flush=True)
        for line in sys.stdin:
            print(json.dumps(obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
