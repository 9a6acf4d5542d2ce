"""Whether a header reads the same to all who see it (A-43), and what goes out (A-44).

Programs differ on everything outside the strict grammar of RFC 5322: one ends the
header at `Name :`, the next reads on; one shows the first From, the next the last. What
we classified would then not be what the recipient sees. So only this passes: lines
that are `name:` or go on with something visible, exactly one From, no field twice that
may stand there once. Obsolete syntax is refused, although receivers shall take it.

Who From names is looked at when the content is read (A-46). Eight-bit values are for
who asked for SMTPUTF8 (A-24).

A sound header then loses what may not travel: the fields that name hidden recipients,
and those with names of ours, which nobody but we may set. Nothing else is changed
(INV-5), and what went is evidence.
"""

import collections
import dataclasses
import re

from gateway.intake import answer
from gateway.model.message import Removed
from gateway.model.reply import Reply

MAX_HOPS = 100  # this many Received fields and the message loops
# So often it was here before, and it loops: once or twice is a forwarding rule of the
# municipality that sends back out what came in over its fixed route.
MAX_OWN_HOPS = 5
# Exchange and Postfix stop there, too; it bounds what one message can cost here, in
# memory and in the parser behind us.
MAX_OCTETS = 256 * 1024

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
_RECEIVED = re.compile(
    rb"^received:[^\n]*+\n(?:[ \t][^\n]*+\n)*+", re.IGNORECASE | re.MULTILINE
)
_COMMENT = re.compile(rb"\([^()]*+\)")
_BY = re.compile(rb"\sby\s++([^\s;()]++)", re.IGNORECASE)
# Whole fields, folds included.
_NOT_OURS_TO_PASS = re.compile(
    rb"^(bcc(?=:)|resent-bcc(?=:)|x-ketenmail(?=[-:]))[!-9;-~]*+:"
    rb"[^\n]*+\n(?:[ \t][^\n]*+\n)*+",
    re.IGNORECASE | re.MULTILINE,
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
_NOT_ASCII = Defect("header-not-ascii", answer.UTF8_NEEDED)


def header_end(content: bytes) -> int:
    """Where the header ends, the CR LF of its last line included.

    All of it is header when there is no empty line; nothing when that comes first.
    """
    if content.startswith(b"\r\n"):
        return 0
    end = content.find(b"\r\n\r\n")
    return len(content) if end < 0 else end + 2


def check_header(header: bytes, hostname: str, *, smtputf8: bool) -> Defect | None:
    """Look over the header of what came in.

    Args:
        header: Without the empty line; each CR and LF is of a CR LF.
        hostname: Ours, as our own trace fields say it.
        smtputf8: Whether MAIL had that parameter.

    Returns:
        What is wrong first: 554 5.4.6 for a loop (A-05), 550 5.6.0 for a control
        character (A-41) or for what could be read in two ways (A-43), 553 5.6.7 for
        octets that are not ASCII (A-24); or None.
    """
    if len(header) > MAX_OCTETS:
        return _TOO_LONG
    if _CONTROL.search(header):
        return _CONTROL_DEFECT
    if not (smtputf8 or header.isascii()):
        return _NOT_ASCII
    return (
        _check_lines(header)
        or _check_counts(header)
        or (_LOOP if _own_hops(header, hostname) >= MAX_OWN_HOPS else None)
    )


def strip_fields(header: bytes) -> tuple[bytes, Removed]:
    """Take Bcc, Resent-Bcc and all `X-Ketenmail-` fields out of the header (A-44).

    Args:
        header: `check_header` found no defect in it.

    Returns:
        What is kept of it, and what was taken out: kind of field and how many. The rest
        of a name after `X-Ketenmail` is the sender's and is not told.

    Source: RFC 5322 section 3.6.3: who gets a copy blindly is told to nobody.
    """
    found = collections.Counter[str]()

    def take_out(field: re.Match[bytes]) -> bytes:
        found[field[1].decode("ascii").lower()] += 1
        return b""

    kept = _NOT_OURS_TO_PASS.sub(take_out, header)
    return kept, tuple(sorted(found.items()))


def _check_lines(header: bytes) -> Defect | None:
    if header.startswith(_SPACE):
        return _FOLD_FIRST  # it would go on our own field
    sound = _SOUND.match(header)
    end = sound.end() if sound else 0
    if end == len(header):
        return None
    return _FOLD_BLANK if header.startswith(_SPACE, end) else _NO_FIELD


def _own_hops(header: bytes, hostname: str) -> int:
    """How many trace fields say that we received it (A-05)."""
    own = hostname.lower().encode("ascii")
    return sum(
        by[1].lower() == own
        for field in _RECEIVED.findall(header)
        if (by := _BY.search(_COMMENT.sub(b" ", field))) is not None
    )


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
