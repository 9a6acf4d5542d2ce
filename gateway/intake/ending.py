"""How a session can end, in words for log and metric: closed lists, no content.

Only an end with QUIT outside a transaction is an ordinary one and is not told.
"""

import enum

from gateway.intake import answer
from gateway.model.reply import Reply


class Where(enum.Enum):
    """How far a session was."""

    PROXY = "proxy"  # before the header of a load balancer
    HANDSHAKE = "handshake"
    GREETING = "greeting"  # nothing was asked of us yet
    COMMAND = "command"
    AUTH = "auth"
    TRANSACTION = "transaction"  # MAIL was accepted, no content came yet
    CONTENT = "content"
    COMMIT = "commit"  # content came, and was being dealt with


class Reason(enum.Enum):
    """Why it ended."""

    IDLE = "idle-timeout"
    SLOW = "data-too-slow"
    DEADLINE = "session-deadline"
    NOT_READING = "client-not-reading"
    CLOSED = "closed-by-client"  # without QUIT
    RESET = "reset-by-client"
    QUIT_EARLY = "quit-in-transaction"
    ERRORS = "too-many-errors"
    AUTH_FAILURES = "too-many-auth-failures"
    TRANSACTIONS = "too-many-transactions"
    BROKEN_LINE = "broken-line"
    LONG_LINE = "line-too-long"
    TOO_BIG = "too-big"
    REFUSED = "refused-and-closed"  # e.g. commands behind STARTTLS, BDAT
    FULL = "no-place"
    SCARCE = "no-descriptor"  # the system had none left to accept with
    SHUTDOWN = "shutdown"
    CUT = "cut-at-shutdown"
    TLS = "tls-failed"
    PROXY = "proxy-refused"
    RATE = "handshake-rate"
    AT_ONCE = "handshakes-at-once"
    FAULT = "fault"  # ours


_REASONS = {
    answer.TOO_MANY_ERRORS: Reason.ERRORS,
    answer.TOO_MANY_FAILURES: Reason.AUTH_FAILURES,
    answer.TOO_MANY_TRANSACTIONS: Reason.TRANSACTIONS,
    answer.TOO_MANY_SESSIONS: Reason.FULL,
    answer.BROKEN_LINE: Reason.BROKEN_LINE,
    answer.LINE_TOO_LONG: Reason.LONG_LINE,
    answer.TOO_BIG: Reason.TOO_BIG,
    answer.SHUTTING_DOWN: Reason.SHUTDOWN,
}


def reason_of(last: Reply) -> Reason:
    """Why a session ended that a reply of ours ended."""
    return _REASONS.get(last, Reason.REFUSED)
