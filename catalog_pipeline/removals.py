"""Whether removals may proceed: the one rule that keeps a mistake from emptying a store.

A pure decision. What is to go and why is found by the stage that asks; how a person lets waiting
removals through belongs to the commands.
"""

from __future__ import annotations

from dataclasses import dataclass

# Share of a store's points that may go in one run without anyone being asked.
DEFAULT_MAX_SHARE = 0.2
# Small stores lose a few products in a day; a share alone would stop them at each sale.
ALWAYS_ALLOWED = 10


@dataclass(frozen=True, slots=True)
class RemovalDecision:
    """All of them go, or none."""

    requested: int
    limit: int

    @property
    def allowed(self) -> bool:
        """Whether the removals may proceed."""
        return self.requested <= self.limit

    @property
    def waiting(self) -> int:
        """How many wait."""
        return 0 if self.allowed else self.requested


def removal_limit(points: int, *, max_share: float = DEFAULT_MAX_SHARE) -> int:
    """How many removals may proceed unasked.

    Args:
        points: how many points the store has, those to be removed included.
        max_share: between 0 and 1.
    """
    # Rounded first: 0.29 of 100 is 28.999… in binary and must allow 29.
    return max(int(round(max_share * points, 9)), ALWAYS_ALLOWED)


def decide(requested: int, points: int, *, max_share: float = DEFAULT_MAX_SHARE) -> RemovalDecision:
    """Decide on a store's removals in one run, whatever their causes."""
    return RemovalDecision(requested=requested, limit=removal_limit(points, max_share=max_share))
