"""Back-pressure: when new mail is put off because the house is full (A-20, A-50, G-15).

Each worker looks once a second at what all of them share (disk, open jobs) and at its
own store. While something is past its water mark intake answers 452 4.3.1, and only
that: attempts, notices and evidence go on within the reserve that the store keeps below
the mark. A mark that was passed counts until there is a tenth more room than it asks,
so that the answer does not change with each message. What cannot be seen is no reason
to take in more.
"""

import asyncio
import dataclasses
import enum
from collections.abc import Callable
from typing import Protocol

from gateway.limits import Limits

EVERY_S = 1.0
MOST_WAITING = 256  # units: what one transaction takes
STALLED_S = 10.0  # units wait, and none was written
_LOOK_WITHIN_S = 10.0
_REST = 50
_CLEARANCE = 1.1

Log = Callable[..., None]


class Mark(enum.Enum):
    """What is past its water mark."""

    STORE = "store"  # broken, or cannot be asked
    DISK = "disk"
    JOBS = "jobs"
    WRITER = "writer"  # what was taken in waits too long to be written


Marks = frozenset[Mark]


class Gauges(Protocol):
    """What is looked at (`store.gauges.SqlGauges`)."""

    @property
    def is_broken(self) -> bool:
        """Whether the store may be used no more."""
        ...

    @property
    def progress(self) -> tuple[int, int]:
        """Units that wait, and how many were done."""
        ...

    def free_octets(self) -> int:
        """Room on the disk."""
        ...

    async def count_open(self, most: int) -> int:
        """Open jobs, at most so many."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one instant."""

    free_octets: int
    open_jobs: int
    waiting_units: int
    stalled_s: float  # since when units wait and none was written


def judge(look: Look, limits: Limits, before: Marks) -> Marks:
    """Which marks are passed now.

    Args:
        look: What was seen.
        limits: `disk_free_octets` and `open_jobs` count.
        before: Marks that were passed at the last look: they need more room to end.
    """
    disk, jobs, units = (
        _CLEARANCE if mark in before else 1
        for mark in (Mark.DISK, Mark.JOBS, Mark.WRITER)
    )
    stalled = look.stalled_s >= STALLED_S
    passed = {
        Mark.DISK: look.free_octets < limits.disk_free_octets * disk,
        Mark.JOBS: look.open_jobs * jobs >= limits.open_jobs,
        Mark.WRITER: stalled or look.waiting_units * units > MOST_WAITING,
    }
    return frozenset(mark for mark, is_passed in passed.items() if is_passed)


class Pressure:
    """The marks that are passed now, kept up to date by `run`."""

    def __init__(self, gauges: Gauges, limits: Limits, log: Log) -> None:
        self._gauges = gauges
        self._limits = limits
        self._log = log
        self._done = 0
        self._moved_at = 0.0
        self.marks: Marks = frozenset()

    @property
    def reason(self) -> str | None:
        """Why new mail is put off; None: it is welcome."""
        if self._gauges.is_broken:
            return Mark.STORE.value
        return next((mark.value for mark in Mark if mark in self.marks), None)

    async def run(self, every_s: float = EVERY_S) -> None:
        """Look again and again, until cancelled; at most 2 % of the time goes to it.

        To count a very long queue takes some hundredths of a second.
        """
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            await self.look()
            took = loop.time() - began
            await asyncio.sleep(max(every_s, _REST * took))

    async def look(self) -> None:
        """Look once; what changed is logged."""
        try:
            async with asyncio.timeout(_LOOK_WITHIN_S):
                marks = judge(await self._see(), self._limits, self.marks)
        except Exception:  # noqa: BLE001 - what cannot be seen may not be trusted
            marks = self.marks | {Mark.STORE}
        before, self.marks = self.marks, marks
        for mark in Mark:
            if (mark in marks) != (mark in before):
                status = "on" if mark in marks else "off"
                self._log("intake-pressure", status=status, reason=mark.value)

    async def _see(self) -> Look:
        gauges, now = self._gauges, asyncio.get_running_loop().time()
        waiting, done = gauges.progress
        if not waiting or done != self._done:
            self._done, self._moved_at = done, now
        return Look(
            free_octets=gauges.free_octets(),
            open_jobs=await gauges.count_open(self._limits.open_jobs),
            waiting_units=waiting,
            stalled_s=now - self._moved_at,
        )
