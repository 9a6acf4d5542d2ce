"""How much one process holds at a time, and how much of it one user may have (A-50).

A user may hold as much as is left free, and no more. So one alone comes to half, two
come to a third each, and whatever any number of them hold there is something left for
the next: no client can starve another municipality (INV-9). Who finds no room is told
to try again; nobody waits for room, because sessions that wait for one another would
stand still together.
"""

import collections


class Room:
    """A count (of octets, of sessions) with an upper bound, shared fairly."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._held: collections.Counter[str] = collections.Counter()

    @property
    def held(self) -> int:
        """How much is taken now."""
        return self._held.total()

    def take(self, user: str, amount: int) -> bool:
        """Take room if the user may have so much; whether it was taken."""
        if self._held[user] + amount > self._free - amount:
            return False
        self._free -= amount
        self._held[user] += amount
        return True

    def give_back(self, user: str, amount: int) -> None:
        """Free what was taken."""
        self._free += amount
        self._let_go(user, amount)

    def pass_on(self, user: str, other: str, amount: int) -> bool:
        """Count what one user took as another's, if the other may have it."""
        if self._held[other] + amount > self._free:
            return False
        self._let_go(user, amount)
        self._held[other] += amount
        return True

    def _let_go(self, user: str, amount: int) -> None:
        self._held[user] -= amount
        if not self._held[user]:
            del self._held[user]
