"""Which products a sample store sells: made from a seed, one at a time, when asked for.

A catalogue holds a few numbers per product, so that stores of a hundred thousand products stay
cheap; everything else of a product follows from those. In every 200 products the same share is
unusual (no picture, a bad one, a draft, a broken field…), so that even a small store has each.
What an edit changes afterwards belongs to the store's state.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from catalog_pipeline.demo.garments import COLOURS, KINDS, PATTERNS, Attributes
from catalog_pipeline.demo.media import PLACEHOLDER, PLACEHOLDER_NAME, Drawing, Flaw
from catalog_pipeline.demo.pictures import DEFAULT_SIZE
from catalog_pipeline.demo.profiles import StoreProfile
from catalog_pipeline.demo.specs import ImageSpec, ProductSpec, VariationSpec

# Raised whenever the same seed would give another catalogue or other pictures.
CATALOGUE_VERSION: Final = 1

FIRST_ID: Final = 101
ID_STEP: Final = 20  # a product's own id, then ids for its variations and pictures
_FIRST_VARIATION: Final = 1
_FIRST_IMAGE: Final = 7
_COLUMNS: Final = 24
_BLOCK: Final = 200
_OPENED: Final = int(datetime(2024, 3, 1, tzinfo=UTC).timestamp())
_BATCH: Final = 20  # products were imported this many at a time, all in the same second
_BATCH_EVERY: Final = 3600
# Far enough ahead to be in the future for as long as anyone runs this.
_SCHEDULED: Final = int(datetime(2037, 6, 1, 7, 0, tzinfo=UTC).timestamp())

# How many of each 200 products are out of the ordinary, in what way. The rest are simple,
# published, and have a good picture.
ROLES: Final[dict[str, int]] = {
    "flaw:flat": 2,
    "flaw:dark": 2,
    "flaw:blurred": 2,
    "flaw:truncated": 2,
    "flaw:tiny": 2,
    "flaw:stretched": 2,
    "flaw:html": 1,
    "flaw:placeholder": 3,
    "flaw:missing": 2,
    "no image": 3,
    "status:draft": 4,
    "status:private": 2,
    "status:pending": 2,
    "status:future": 2,
    "status:trash": 3,
    "hidden": 3,
    "invalid:price": 1,
    "invalid:name": 1,
    "invalid:images": 1,
    "no price": 4,
    "no dates": 2,
    "markup": 5,
    "resold": 4,
    "type:variable": 24,
    "type:grouped": 6,
    "type:external": 8,
}

_MARKUP: Final = (
    "{title} &amp; Belt",
    "<strong>New:</strong> {title}",
    "{title} &#8211; “Été” edition",
    "{title} <br>100% cotton",
    'Ladies&#039; {title} 32" 🌿',
)
_FABRICS: Final = (
    "organic cotton",
    "linen",
    "merino wool",
    "recycled polyester",
    "viscose",
    "denim",
)
_TAGS: Final = ("new", "bestseller", "organic", "limited", "sale", "capsule")

PLACEHOLDER_IMAGE: Final = ImageSpec(0, PLACEHOLDER_NAME, PLACEHOLDER, "Placeholder", _OPENED)

T = TypeVar("T")


class Catalogue:
    """The generated products of one store, by index from 0.

    Args:
        profile: what the store sells.
        seed: the same seed gives the same products; a longer catalogue begins with the shorter one.
        count: how many products.
        size: side of the pictures in pixels.
    """

    def __init__(
        self, profile: StoreProfile, seed: int, count: int, size: int = DEFAULT_SIZE
    ) -> None:
        if count < 0:
            raise ValueError(f"a store cannot have {count} products")
        self.profile = profile
        self.seed = seed
        self.count = count
        self.size = size
        stream = np.random.default_rng([seed, *profile.id.encode()])
        self._numbers = stream.random((count, _COLUMNS), dtype=np.float32)
        self._roles = _dealt_roles(seed, profile.id, count)
        position = np.arange(count, dtype=np.int64)
        self.ids = FIRST_ID + ID_STEP * position
        self.created = _OPENED + position // _BATCH * _BATCH_EVERY
        later = (self._numbers[:, 0] * 120 * 1440).astype(np.int64) * 60
        self.modified = self.created + np.where(self._numbers[:, 1] < 0.4, later, 0)
        scheduled = np.array([_ROLE_NAMES[r] == "status:future" for r in self._roles], dtype=bool)
        for dates in (self.created, self.modified):
            dates[scheduled] = _SCHEDULED

    @property
    def next_id(self) -> int:
        """The first id that no generated product, variation or picture has."""
        return FIRST_ID + ID_STEP * self.count

    def role(self, index: int) -> str:
        """In what way this product is unusual (a key of `ROLES`), or an empty text."""
        return _ROLE_NAMES[int(self._roles[index])]

    def status(self, index: int) -> str:
        """The product's status: `publish` for nearly all."""
        kind, _, what = self.role(index).partition(":")
        return what if kind == "status" else "publish"

    def index_of(self, some_id: int) -> int | None:
        """The index of the product that a product, variation or image id belongs to."""
        index = (some_id - FIRST_ID) // ID_STEP
        return index if 0 <= index < self.count else None

    def product(self, index: int) -> ProductSpec:
        """The product at this index.

        Raises:
            IndexError: there is none.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"product {index} of {self.count}")
        return _Maker(self, index, self._numbers[index].tolist(), self.role(index)).made()


class _Maker:
    """Makes one product out of its numbers; each number decides one thing."""

    def __init__(
        self, catalogue: Catalogue, index: int, numbers: Sequence[float], role: str
    ) -> None:
        self.catalogue = catalogue
        self.profile = catalogue.profile
        self.index = index
        self.numbers = numbers
        self.id = int(catalogue.ids[index])
        self.created = int(catalogue.created[index])
        self.modified = int(catalogue.modified[index])
        self.role, _, self.detail = role.partition(":")
        self.seed = int(numbers[2] * 2**24)
        self.look = self._look()

    def made(self) -> ProductSpec:
        kind = self.detail if self.role == "type" else "simple"
        name = self.look.title
        if self.role == "markup":
            name = _pick(_MARKUP, self.numbers[3]).format(title=name)
        regular, sale = self._prices()
        images = self._images()
        parent_price = "" if kind in ("variable", "grouped") else regular
        return ProductSpec(
            id=self.id,
            attributes=self.look,
            name=name,
            slug=f"{self.look.words.replace(' ', '-')}-{self.id}",
            sku=f"{self.profile.sku_prefix}-{self.id:06d}",
            type=kind,
            status=self.detail if self.role == "status" else "publish",
            visibility="hidden" if self.role == "hidden" else "visible",
            regular_price=parent_price,
            sale_price=sale if parent_price else "",
            in_stock=self.numbers[4] > 0.08,
            fabric=_pick(_FABRICS, self.numbers[5]),
            tags=tuple(t for t, n in zip(_TAGS, self.numbers[12:18], strict=True) if n < 0.12),
            created=self.created,
            modified=self.modified,
            images=images,
            variations=self._variations(regular, images) if kind == "variable" else (),
            grouped=self._grouped() if kind == "grouped" else (),
            broken=self._broken(),
        )

    def _look(self) -> Attributes:
        kind, colour, pattern = self.numbers[6:9]
        profile = self.profile
        if self.role == "resold":
            # Other stores sell the same article with the same picture: what it is must not depend
            # on this store, so it comes from the position in the catalogue alone. The last of
            # a block repeats the first: the same bytes under another address of the same store.
            self.seed = self.index // _BLOCK * 100 + self._resold_before() % (ROLES["resold"] - 1)
            shared = np.random.default_rng([self.seed, 7]).random(3).tolist()
            return Attributes(
                _pick(tuple(KINDS), shared[0]),
                _pick(tuple(COLOURS), shared[1]),
                _pick(PATTERNS, shared[2]),
            )
        return Attributes(
            _pick(profile.kinds, kind),
            _pick(profile.colours, colour),
            _pick(profile.patterns, pattern),
        )

    def _resold_before(self) -> int:
        """How many resold products come before this one in its block."""
        start = self.index // _BLOCK * _BLOCK
        return sum(self.catalogue.role(i) == "resold" for i in range(start, self.index))

    def _prices(self) -> tuple[str, str]:
        if self.role == "no price":
            return "", ""
        low, high = self.profile.prices
        whole = low + int((high - low) * self.numbers[9] ** 2)
        regular = f"{whole}.{_pick(('00', '50', '90', '95'), self.numbers[10])}"
        if self.numbers[11] < 0.18:
            return regular, f"{whole * 7 // 10}.00"
        # WooCommerce keeps a price as it was typed: some without decimals.
        return (str(whole) if self.numbers[10] < 0.1 else regular), ""

    def _image(self, number: int, look: Attributes, seed: int, flaw: Flaw | None) -> ImageSpec:
        image_id = self.id + _FIRST_IMAGE + number
        if flaw is Flaw.PLACEHOLDER:
            return PLACEHOLDER_IMAGE
        stem = f"{look.words.replace(' ', '-')}-{image_id}"
        uploaded = _OPENED + self.index // _BATCH * _BATCH_EVERY
        alt = look.title if self.numbers[18] < 0.7 else ""
        return ImageSpec(
            image_id, stem, Drawing(look, seed, self.catalogue.size, flaw), alt, uploaded
        )

    def _images(self) -> tuple[ImageSpec, ...]:
        if self.role == "no image":
            return ()
        flaw = Flaw(self.detail) if self.role == "flaw" else None
        gallery = int(self.numbers[19] * 4) if flaw is None and self.numbers[20] < 0.15 else 0
        main = self._image(0, self.look, self.seed, flaw)
        more = (self._image(n, self.look, self.seed + n, None) for n in range(1, gallery + 1))
        return (main, *more)

    def _variations(self, regular: str, images: tuple[ImageSpec, ...]) -> tuple[VariationSpec, ...]:
        others = [c for c in COLOURS if c != self.look.colour]
        start = int(self.numbers[21] * len(others))
        count = 1 + int(self.numbers[22] * 3)
        colours = [self.look.colour]
        colours += [others[(start + n * 5) % len(others)] for n in range(count)]
        variations = []
        for n, colour in enumerate(colours):
            look = Attributes(self.look.kind, colour, self.look.pattern)
            image = images[0] if n == 0 and images else self._image(4 + n, look, self.seed, None)
            variations.append(
                VariationSpec(self.id + _FIRST_VARIATION + n, look, regular, image, n != 2)
            )
        return tuple(variations)

    def _grouped(self) -> tuple[int, ...]:
        ids = self.catalogue.ids
        return tuple(int(ids[(self.index + n) % len(ids)]) for n in (1, 2, 3))

    def _broken(self) -> dict[str, object]:
        if self.role == "invalid":
            broken: dict[str, dict[str, object]] = {
                "price": {"price": "1.299,00 kr.", "regular_price": "1.299,00 kr."},
                "name": {"name": None},
                "images": {"images": False},
            }
            return broken[self.detail]
        if self.role == "no dates":
            keys = ("date_created", "date_created_gmt", "date_modified", "date_modified_gmt")
            return dict.fromkeys(keys[:2] if self.numbers[23] < 0.5 else keys)
        return {}


def _pick(options: Sequence[T], number: float) -> T:
    """The option that a number from 0 to below 1 points at."""
    return options[min(int(number * len(options)), len(options) - 1)]


_ROLE_NAMES: Final = ("", *ROLES)
_DECK: Final = np.repeat(
    np.arange(len(_ROLE_NAMES), dtype=np.uint8), [_BLOCK - sum(ROLES.values()), *ROLES.values()]
)


def _dealt_roles(seed: int, store_id: str, count: int) -> npt.NDArray[np.uint8]:
    """A role for each product: every block of 200 is the same deck, shuffled anew."""
    blocks = [
        np.random.default_rng([seed, 1, block, *store_id.encode()]).permutation(_DECK)
        for block in range(-(-count // _BLOCK))
    ]
    return np.concatenate(blocks)[:count] if blocks else np.empty(0, dtype=np.uint8)
