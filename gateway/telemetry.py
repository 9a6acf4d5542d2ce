"""Logs for diagnosis: one JSON line per event on standard error; may be lost.

Event names are a closed list, and so are the field names: whoever wants to log more
must add it here, where a reviewer asks whether it could hold personal data (INV-8).
"""

import contextlib
import sys
from collections.abc import Callable, Mapping

import structlog

Count = Callable[[str, Mapping[str, object]], None]  # told an event and its fields

EVENTS = frozenset(
    {
        "gateway-started",
        "gateway-stopping",
        "worker-started",
        "worker-stopped",
        "worker-died",
        "reload",
        "intake-full",
        "intake-handshake-failed",
        "intake-auth-failed",
        "intake-auth-waiting",
        "intake-unknown-client",
        "intake-sender-refused",
        "intake-recipients-refused",
        "intake-content-refused",
        "intake-command-refused",
        "intake-fault",
        "intake-handshake-refused",
        "intake-session-ended",
        "intake-pressure",
        "intake-put-off",
        "metrics-unavailable",
        "scan-failed",
        "scan-infected",
        "store-full",
        "unlisted-event",
        "message-accepted",
        "message-counted",
        "message-refused",
        "queue-unavailable",
        "lease-lost",
        "attempt-failed",
        "attempt-crashed",
        "sequencer-failed",
        "log-broken",
        "spool-reconciled",
        "spool-content-missing",
    }
)
FIELDS = frozenset(
    {
        "worker",
        "pid",
        "status",
        "signal",
        "listener",
        "client",
        "network",
        "where",
        "sessions",
        "reply",
        "message",
        "job",
        "error",
        "reason",
        "code",
        "fault",
        "count",
        "size_octets",
        "ms",
        "version",
        "policy",
        "recipients",
        "level",
    }
)


def make_log(count: Count | None = None, /, **bound: str | int) -> Callable[..., None]:
    """A log function `log(event, **fields)`; unknown events and fields are dropped.

    Dropped, not raised: a log line may never be the reason that mail stops. So is one
    that cannot be written, because the disk is full or nobody reads any more. `count`
    is told of every event, for metrics.
    """
    logger = structlog.wrap_logger(
        structlog.WriteLoggerFactory(file=sys.stderr)(),
        processors=[
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.BoundLogger,
    ).bind(**bound)

    def log(event: str, **fields: object) -> None:
        if event not in EVENTS:
            event, fields = "unlisted-event", {}
        known = {key: value for key, value in fields.items() if key in FIELDS}
        if count is not None:
            count(event, known)
        with contextlib.suppress(OSError, ValueError):
            logger.info(event, **known)

    return log
