"""Who must wait before the next password: back-off over sessions (A-52).

Failures are counted for the site that they come from, for the account that they are
about (whether there is such an account or not) and for both together. Each failure
doubles the wait. An account waits only shortly, and a site that proved to know
the password of an account waits for its own failures at that account only: else anybody
could keep a mail server out by guessing at its name, and a printer with an old password
could keep out all others behind the same address.

Counts are of one process and are forgotten with it; the limit of failures in one
session is elsewhere. What is remembered is bounded in number and in size: the oldest
is forgotten first, and of a name, which may be long, only a digest stays.
"""

import collections
import dataclasses
import hashlib

from gateway.intake.places import site_of

FREE_FAILURES = 5  # nobody waits before so many
FIRST_WAIT_S = 10.0
SITE_WAIT_S = 900.0  # at most
ACCOUNT_WAIT_S = 30.0  # at most
FORGET_S = 3600.0  # after so long without a failure
REMEMBERED = 10_000  # of each kind


@dataclasses.dataclass(slots=True)
class _Count:
    failures: int = 0
    last: float = 0.0


class _Ledger:
    """Failures by key; each further one doubles the wait, up to a bound."""

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._counts: collections.OrderedDict[str, _Count] = collections.OrderedDict()

    def is_waiting(self, key: str, now: float) -> bool:
        count = self._counts.get(key)
        if count is None or count.failures < FREE_FAILURES:
            return False
        doublings = min(count.failures - FREE_FAILURES, 20)
        return now < count.last + min(FIRST_WAIT_S * 2.0**doublings, self._most_s)

    def add(self, key: str, now: float) -> None:
        count = self._counts.setdefault(key, _Count())
        if now - count.last > FORGET_S:
            count.failures = 0
        count.failures += 1
        count.last = now
        self._counts.move_to_end(key)
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)

    def forget(self, key: str) -> None:
        self._counts.pop(key, None)


class Guesses:
    """Failed authentications of one process; knows no clock, is told the time."""

    def __init__(self) -> None:
        self._pairs = _Ledger(SITE_WAIT_S)
        self._sites = _Ledger(SITE_WAIT_S)
        self._accounts = _Ledger(ACCOUNT_WAIT_S)
        self._proven: collections.OrderedDict[str, None] = collections.OrderedDict()

    def must_wait(self, address: str, user: str, now: float) -> bool:
        """Whether a password counts for nothing now, be it right or wrong.

        Args:
            address: IP address of the peer, text form.
            user: As said by the peer; need not exist.
            now: In seconds, on one clock throughout.
        """
        site, account = site_of(address), _digest(user)
        pair = f"{site} {account}"
        if self._pairs.is_waiting(pair, now):
            return True
        if pair in self._proven:
            return False
        waiting = self._sites.is_waiting(site, now)
        return waiting or self._accounts.is_waiting(account, now)

    def failed(self, address: str, user: str, now: float) -> None:
        """Count a wrong password or an unknown user."""
        site, account = site_of(address), _digest(user)
        self._pairs.add(f"{site} {account}", now)
        self._sites.add(site, now)
        self._accounts.add(account, now)

    def succeeded(self, address: str, user: str) -> None:
        """The site knows this account's password.

        The site's own count stays until it is forgotten: else a client could wash away
        its guesses at others' accounts by logging in between them.
        """
        account = _digest(user)
        pair = f"{site_of(address)} {account}"
        self._pairs.forget(pair)
        self._accounts.forget(account)
        self._proven[pair] = None
        self._proven.move_to_end(pair)
        if len(self._proven) > REMEMBERED:
            self._proven.popitem(last=False)


def _digest(user: str) -> str:
    return hashlib.sha256(user.encode()).hexdigest()
