"""How much content one process may hold in memory at a time (A-50).

A session takes room for what it has read and gives it back when its message is
committed or refused. Who finds no room is told to try again; nobody waits for room,
because sessions that wait for one another would stand still together.
"""


class Room:
    """A count of octets with an upper bound."""

    def __init__(self, octets: int) -> None:
        self._free = octets

    def take(self, octets: int) -> bool:
        """Take room if there is enough; whether it was taken."""
        if octets > self._free:
            return False
        self._free -= octets
        return True

    def give_back(self, octets: int) -> None:
        """Free what was taken."""
        self._free += octets
