"""A shop assistant: edits the sample stores at random, and often takes an edit back.

Only edits of which a store keeps no trace but its present state: what a sync has to make of it then
depends on nothing that came before.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from catalog_pipeline.demo.store import WooStore

_MOST_EDITS = 2
# Far below what the removal guard lets pass, also when several syncs in a row were killed.
_FEWEST_PRODUCTS = 12


class Assistant:
    """Edits one store; everything follows from the random numbers it is given."""

    def __init__(self, store: WooStore, random: Random) -> None:
        self._store = store
        self._random = random
        self._undo: list[tuple[str, Callable[[], object]]] = []

    def begin(self) -> None:
        """Forget how to take back what was done so far."""
        self._undo.clear()

    def edit(self) -> list[str]:
        """Make a few edits; what was done, in words."""
        self.begin()
        kinds = [
            self.reprice,
            self.reprice,
            self.retitle,
            self.redraw,
            self.redraw,
            self.withdraw,
            self.trash,
            self.delete,
            self.add,
        ]
        number = self._random.randint(1, _MOST_EDITS)
        return [self._random.choice(kinds)() for _ in range(number)]

    def take_back(self) -> list[str]:
        """Undo the edits since the last `begin`, as far as they can be."""
        undone = []
        while self._undo:
            what, undo = self._undo.pop()
            undo()
            undone.append(f"{what} taken back")
        return undone

    def _some(self) -> int:
        return self._random.choice(self._store.product_ids("publish"))

    def _did(self, what: str, undo: Callable[[], object]) -> str:
        self._undo.append((what, undo))
        return what

    def reprice(self, product: int | None = None) -> str:
        """Change a price."""
        product = product or self._some()
        before = self._store.product(product)["regular_price"]
        self._store.edit(product, regular_price=f"{self._random.randint(10, 500)}.00")
        return self._did("price", lambda: self._store.edit(product, regular_price=before))

    def retitle(self, product: int | None = None) -> str:
        """Change a title."""
        product = product or self._some()
        before = self._store.product(product)["name"]
        self._store.edit(product, name=f"Title {self._random.randint(1, 10**6)}")
        return self._did("title", lambda: self._store.edit(product, name=before))

    def redraw(self, product: int | None = None) -> str:
        """Give a product another picture."""
        product = product or self._some()
        pictures = self._store.spec(product).images
        self._store.change_picture(product)
        if not pictures:
            return "picture"
        media = pictures[0].media
        return self._did("picture", lambda: self._store.change_picture(product, media))

    def withdraw(self, product: int | None = None) -> str:
        """Make a product a draft."""
        product = product or self._some()
        self._store.edit(product, status="draft")
        return self._did("draft", lambda: self._store.edit(product, status="publish"))

    def trash(self, product: int | None = None) -> str:
        """Put a product into the trash."""
        product = product or self._some()
        self._store.trash(product)
        return self._did("trash", lambda: self._store.restore(product))

    def delete(self) -> str:
        """Delete a product for good, unless few are left."""
        if len(self._store.product_ids("publish")) < _FEWEST_PRODUCTS:
            return self.add()
        self._store.delete(self._some())
        return "deletion"

    def add(self) -> str:
        """Add a product."""
        self._store.add(price=f"{self._random.randint(10, 500)}.00")
        return "new product"
