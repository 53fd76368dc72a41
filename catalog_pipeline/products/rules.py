"""Which products are wanted, by a store's `statuses`, `include` and `exclude`.

Pure: the decision needs a product's stored columns and nothing else, so it can be taken again for
rows that are already there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from catalog_pipeline.catalog.identity import digest
from catalog_pipeline.stores import Rules, StoreConfig

# The width of `products.left_out_by`.
_LONGEST_NAME = 64
_FIELDS = ("visibility", "type", "category", "tag")


class WantedRules:
    """One store's rules, ready to be asked for many products."""

    def __init__(self, store: StoreConfig) -> None:
        """Prepare; names and slugs match whatever their case."""
        self._statuses = frozenset(store.statuses)
        self._include = _folded(store.include)
        self._exclude = _folded(store.exclude)

    @property
    def digest(self) -> str:
        """Changes when a product could be decided on differently."""
        return digest(
            [
                sorted(self._statuses),
                *(
                    {field: sorted(names) for field, names in rules.items()}
                    for rules in (self._include, self._exclude)
                ),
            ]
        )

    def left_out_by(
        self,
        *,
        status: str,
        type: str,  # noqa: A002
        visibility: str,
        categories: Sequence[Mapping[str, str]],
        tags: Sequence[Mapping[str, str]],
    ) -> str | None:
        """The rule that leaves a product out, or None if it is wanted.

        Returns:
            "status:draft", "exclude.visibility:hidden", "exclude.category:sale", or
            "include.category" for a product that none of the listed categories holds.
        """
        if status not in self._statuses:
            return f"status:{status}"
        values = {
            "visibility": {visibility.casefold()},
            "type": {type.casefold()},
            "category": _terms(categories),
            "tag": _terms(tags),
        }
        for field in _FIELDS:
            hits = self._exclude[field] & values[field]
            if hits:
                return f"exclude.{field}:{min(hits)}"[:_LONGEST_NAME]
        for field in _FIELDS:
            if self._include[field] and not self._include[field] & values[field]:
                return f"include.{field}"
        return None


def _folded(rules: Rules) -> dict[str, frozenset[str]]:
    return {field: _fold(getattr(rules, field)) for field in _FIELDS}


def _fold(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.strip().casefold() for name in names)


def _terms(terms: Sequence[Mapping[str, str]]) -> frozenset[str]:
    return _fold(text for term in terms for text in term.values())
