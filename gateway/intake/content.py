"""The content of DATA, fed as it comes, without any I/O (A-10, A-20, A-40 ... A-42).

Only CR LF . CR LF ends it. What may not be accepted is a fault; from then on nothing is
kept, and the rest is read over in constant memory up to the real end, so that content
never runs as commands. The first fault is the one that is told.

How: `_tail` holds what is not settled yet and, until a fault, always begins with the
CR LF in front of a line (one is put in front of the first line). Complete lines are
settled in blocks that end before a CR LF, with C-level searches only; the dot of
transparency is the one right behind a CR LF.
"""

import enum

from gateway.limits import LINE_OCTETS

_NEWLINE = b"\r\n"
_END = b"\r\n.\r\n"
# A CR LF, a transparency dot and the CR that would end the line.
_AROUND_LINE_OCTETS = 2 + 1 + 1


class Fault(enum.Enum):
    """Why content may not be accepted."""

    BARE_NEWLINE = "bare-newline"
    NUL = "nul"
    LONG_LINE = "long-line"
    TOO_BIG = "too-big"
    NO_ROOM = "no-room"  # ours, not the message's


class Content:
    """One message being received."""

    def __init__(self, limit_octets: int, line_octets: int = LINE_OCTETS) -> None:
        """Begin with nothing.

        Args:
            limit_octets: Of the whole, without transparency dots.
            line_octets: Of one line, without CR LF and transparency dot.
        """
        self._limit = limit_octets
        self._line = line_octets
        self._kept = bytearray()  # one block: many small ones would cost far more
        self._tail = bytearray(_NEWLINE)
        self._size = 0
        self._held = 0
        self._begun = False  # something was taken already
        self.header_is_whole = False
        self.fault: Fault | None = None
        self.received_octets = 0  # as they came, stuffing and faulty ones included

    def feed(self, chunk: bytes) -> bytes | None:
        """Take the next octets.

        Returns:
            What came behind the end (it is not of this message), or None when the end
            has not come yet.
        """
        scan = max(0, len(self._tail) - len(_END) + 1)
        self._tail += chunk
        end = self._tail.find(_END, scan)
        if end < 0:
            self.received_octets += len(chunk)
            self._settle(scan)
            return None
        rest = bytes(self._tail[end + len(_END) :])
        self.received_octets += len(chunk) - len(rest)
        # The CR LF in front of the final dot ends the last line: it is content.
        self._keep(bytes(self._tail[: end + len(_NEWLINE)]))
        self._tail.clear()
        return rest

    @property
    def held_octets(self) -> int:
        """How many octets are kept here; 0 after a fault."""
        return self._held

    def give_up(self) -> None:
        """Keep no more of it, for want of room; a fault that was found stays."""
        if self.fault is None:
            self._fail(Fault.NO_ROOM)

    def take(self) -> bytes:
        """What is kept by now, without transparency dots; it is kept here no longer.

        What comes later goes on where it ends. Once the end has come, it is the rest.
        """
        start = 0 if self._begun else len(_NEWLINE)
        taken = bytes(memoryview(self._kept)[start:])
        self._begun = self._begun or bool(self._kept)
        self._kept = bytearray()
        self._held = 0
        return taken

    def _settle(self, scan: int) -> None:
        """Keep the complete lines; before `scan` there is no CR LF but the first."""
        if self.fault is None:
            cut = self._tail.rfind(_NEWLINE, max(1, scan))
            if cut > 0:
                self._keep(bytes(self._tail[:cut]))
                del self._tail[:cut]
            if len(self._tail) > self._line + _AROUND_LINE_OCTETS:
                # A sender of bare LF has "long lines" too; tell it what is wrong.
                line = self._tail[len(_NEWLINE) : -1]
                bare = b"\r" in line or b"\n" in line
                self._fail(Fault.BARE_NEWLINE if bare else Fault.LONG_LINE)
        if self.fault is not None:
            del self._tail[: -len(_END) + 1]

    def _keep(self, block: bytes) -> None:
        if self.fault is not None:
            return
        newlines = block.count(_NEWLINE)
        if block.count(b"\n") != newlines or block.count(b"\r") != newlines:
            self._fail(Fault.BARE_NEWLINE)
        elif b"\0" in block:
            self._fail(Fault.NUL)
        else:
            self._keep_sound(block.replace(b"\r\n.", _NEWLINE))

    def _keep_sound(self, plain: bytes) -> None:
        self._size += len(plain)
        if max(map(len, plain.split(_NEWLINE))) > self._line:
            self._fail(Fault.LONG_LINE)
        elif self._size - len(_NEWLINE) > self._limit:
            self._fail(Fault.TOO_BIG)
        else:
            self._note_empty_line(plain)
            self._kept += plain
            self._held += len(plain)

    def _note_empty_line(self, plain: bytes) -> None:
        """Two line ends behind one another, and they may lie in two blocks."""
        if not self.header_is_whole:
            before = bytes(self._kept[-len(_NEWLINE) :])
            self.header_is_whole = b"\r\n\r\n" in before + plain

    def _fail(self, fault: Fault) -> None:
        self.fault = fault
        self._kept = bytearray()
        self._held = 0
