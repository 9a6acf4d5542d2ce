"""Which TLS handshakes may begin: so many at once, and of strangers so many a minute.

A handshake costs us far more than the one who asks for it, so a stranger is stopped
before it begins (A-51). What runs at once is shared as places are: strangers together
never take the last one of a client. What is remembered is bounded: the address that was
longest not heard of is forgotten first.
"""

import collections
import dataclasses
import enum

from gateway.intake.places import Guest, site_of
from gateway.intake.room import Room
from gateway.limits import Limits

REMEMBERED = 10_000  # addresses
LEAST_AT_ONCE = 8
_MINUTE_S = 60.0


class Pressure(enum.Enum):
    """Why a handshake may not begin now."""

    RATE = "handshake-rate"
    AT_ONCE = "handshakes-at-once"


@dataclasses.dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Handshakes:
    """The handshakes of one process; knows no clock, is told the time."""

    def __init__(self, limits: Limits) -> None:
        self._most = float(limits.handshakes_per_minute)
        self._room = Room(max(LEAST_AT_ONCE, limits.sessions // 2))
        self._buckets: collections.OrderedDict[str, _Bucket] = collections.OrderedDict()

    def begin(self, guest: Guest, now: float) -> Pressure | None:
        """Take a handshake for this guest; give it back with `end`.

        Returns:
            None when it may begin, else why it may not; then nothing was taken.
        """
        if guest.client is None and not self._spend(site_of(guest.address), now):
            return Pressure.RATE
        if not self._room.take(guest.user, 1):
            return Pressure.AT_ONCE
        return None

    def end(self, guest: Guest) -> None:
        """It is over, however it went."""
        self._room.give_back(guest.user, 1)

    def _spend(self, site: str, now: float) -> bool:
        bucket = self._buckets.setdefault(site, _Bucket(self._most, now))
        self._buckets.move_to_end(site)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        gained = (now - bucket.at) * self._most / _MINUTE_S
        bucket.tokens = min(self._most, bucket.tokens + gained)
        bucket.at = now
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True
