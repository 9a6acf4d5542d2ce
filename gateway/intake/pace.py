"""The least rate at which content must come (A-49).

Who sends an octet now and then keeps a session and room for hours, and no time-out
between two reads sees it. So the octets of each window are counted when it ends; the
first window is also the time that anybody gets to begin.
"""

from gateway.limits import Limits


class Pace:
    """How one message comes in; knows no clock, is told the time."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._window_s = limits.data_window_s
        self._least = limits.data_octets_per_s * limits.data_window_s
        self._before = 0
        self.ends_at = now + self._window_s

    def keeps_up(self, received_octets: int, now: float) -> bool:
        """Whether enough has come; begins the next window when this one has ended.

        Args:
            received_octets: Since DATA began, what waits to be read included: else a
                client would pay for the time that we did not read.
            now: In seconds, on the clock of the beginning.
        """
        if now < self.ends_at:
            return True
        enough = received_octets - self._before >= self._least
        self._before = received_octets
        self.ends_at = now + self._window_s
        return enough
