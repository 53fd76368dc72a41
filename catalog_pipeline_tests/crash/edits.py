"""A shop assistant: edits the sample stores at random, and often takes an edit back.

Only edits of which a store keeps no trace but its present state: what a sync has to make of it then
depends on nothing that came before.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from catalog_pipeline.demo.store import WooStore

_MOST_EDITS = 4
# Far below what the removal guard lets pass, also when several syncs in a row were killed.
_FEWEST_PRODUCTS = 12


class Assistant:
    """Edits one store; everything follows from the random numbers it is given."""

    def __init__(self, store: WooStore, random: Random) -> None:
        self._store = store
        self._random = random
        self._undo: list[tuple[str, Callable[[], object]]] = []

    def edit(self) -> list[str]:
        """Make a few edits; what was done, in words."""
        self._undo.clear()
        kinds = [
            self._reprice,
            self._reprice,
            self._retitle,
            self._redraw,
            self._redraw,
            self._withdraw,
            self._trash,
            self._delete,
            self._add,
        ]
        number = self._random.randint(1, _MOST_EDITS)
        return [self._random.choice(kinds)() for _ in range(number)]

    def take_back(self) -> list[str]:
        """Undo the last edits, as far as they can be."""
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

    def _reprice(self) -> str:
        product = self._some()
        before = self._store.product(product)["regular_price"]
        self._store.edit(product, regular_price=f"{self._random.randint(10, 500)}.00")
        return self._did("price", lambda: self._store.edit(product, regular_price=before))

    def _retitle(self) -> str:
        product = self._some()
        before = self._store.product(product)["name"]
        self._store.edit(product, name=f"Title {self._random.randint(1, 10**6)}")
        return self._did("title", lambda: self._store.edit(product, name=before))

    def _redraw(self) -> str:
        product = self._some()
        pictures = self._store.spec(product).images
        self._store.change_picture(product)
        if not pictures:
            return "picture"
        media = pictures[0].media
        return self._did("picture", lambda: self._store.change_picture(product, media))

    def _withdraw(self) -> str:
        product = self._some()
        self._store.edit(product, status="draft")
        return self._did("draft", lambda: self._store.edit(product, status="publish"))

    def _trash(self) -> str:
        product = self._some()
        self._store.trash(product)
        return self._did("trash", lambda: self._store.restore(product))

    def _delete(self) -> str:
        if len(self._store.product_ids("publish")) < _FEWEST_PRODUCTS:
            return self._add()
        self._store.delete(self._some())
        return "deletion"

    def _add(self) -> str:
        self._store.add(price=f"{self._random.randint(10, 500)}.00")
        return "new product"
