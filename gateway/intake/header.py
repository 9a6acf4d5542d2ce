"""Whether a header reads the same to every program that will see it (A-43, A-46).

Programs differ on everything outside the strict grammar of RFC 5322: one ends the
header at `Name :`, the next reads on; one shows the first From, the next the last. What
we classified would then not be what the recipient sees. So only this passes: lines
that are `name:` or go on with something visible, exactly one From, no field twice that
may stand there once. Obsolete syntax is refused, although receivers shall take it.

Who From names is looked at when the content is read. Eight-bit values pass.
"""

import dataclasses
import re

from gateway.intake import answer
from gateway.model.reply import Reply

MAX_HOPS = 100  # this many Received fields and the message loops
# Far over what mail servers write (Exchange and Postfix stop at 256 kB and less); it
# bounds what one message can cost here and in the parser behind us.
MAX_OCTETS = 1024 * 1024

# All C0 controls but HTAB, CR and LF; bare CR and LF were refused before.
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")
# As many sound lines as there are. Nothing in it is tried twice, so that it takes time
# in proportion to the header whatever stands there.
_SOUND = re.compile(rb"(?:(?:[!-9;-~]++:|[ \t]++[^ \t\r\n])[^\n]*+\n)*+")
_SPACE = (b" ", b"\t")
_ONCE = (
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Message-ID",
    "Date",
    "Subject",
    "Content-Type",
    "Content-Transfer-Encoding",
    "MIME-Version",
    "In-Reply-To",
    "References",
)
_NAMES = {name.lower().encode(): name for name in _ONCE}
_COUNTED = re.compile(
    rb"^(%b|received):" % b"|".join(_NAMES), re.IGNORECASE | re.MULTILINE
)


@dataclasses.dataclass(frozen=True, slots=True)
class Defect:
    """Why a header may not pass: a word for the log and the reply to the final dot."""

    fault: str
    reply: Reply


_CONTROL_DEFECT = Defect("header-control", answer.CONTROL_IN_HEADER)
_TOO_LONG = Defect("header-too-long", answer.HEADER_TOO_LONG)
_FOLD_FIRST = Defect("header-fold-first", answer.FOLD_FIRST)
_FOLD_BLANK = Defect("header-fold-blank", answer.FOLD_BLANK)
_NO_FIELD = Defect("header-line-no-field", answer.LINE_NO_FIELD)
_NO_FROM = Defect("header-no-from", answer.NO_FROM)
_LOOP = Defect("loop", answer.LOOP)


def check_header(octets: bytes, start: int) -> Defect | None:
    """Look over the header of what came in.

    Args:
        octets: The message with our field in front; each CR and LF is of a CR LF.
        start: Where that field ends.

    Returns:
        What is wrong first: 554 5.4.6 for a loop (A-05), 550 5.6.0 for a control
        character (A-41) or for what could be read in two ways (A-43); or None.
    """
    # The CR LF of our own field may be the first half of the empty line.
    end = octets.find(b"\r\n\r\n", max(0, start - 2))
    header = octets[start : end + 2] if end >= 0 else octets[start:]
    if len(header) > MAX_OCTETS:
        return _TOO_LONG
    if _CONTROL.search(header):
        return _CONTROL_DEFECT
    return _check_lines(header) or _check_counts(header)


def _check_lines(header: bytes) -> Defect | None:
    if header.startswith(_SPACE):
        return _FOLD_FIRST  # it would go on our own field
    sound = _SOUND.match(header)
    end = sound.end() if sound else 0
    if end == len(header):
        return None
    return _FOLD_BLANK if header.startswith(_SPACE, end) else _NO_FIELD


def _check_counts(header: bytes) -> Defect | None:
    counts = dict.fromkeys([*_NAMES, b"received"], 0)
    for match in _COUNTED.finditer(header):
        counts[match[1].lower()] += 1
    if counts[b"received"] >= MAX_HOPS:
        return _LOOP
    if not counts[b"from"]:
        return _NO_FROM
    for name, shown in _NAMES.items():
        if counts[name] > 1:
            fault = f"header-double-{shown.lower()}"
            return Defect(fault, answer.field_twice(shown))
    return None
