"""Settings: the bounds of intake, one table of the configuration file."""

import dataclasses

from gateway.model.errors import ConfigError
from gateway.table import Table

LINE_OCTETS = 998  # RFC 5322 section 2.1.1, without CR LF
_MAX_LINE_OCTETS = 65536
RESERVE_OCTETS = 64 * 1024 * 1024  # kept free for state, notices and evidence (G-15)


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of intake, per process. Seconds and octets; requirements A.1, A.3."""

    size_octets: int = 50 * 1024 * 1024
    line_octets: int = LINE_OCTETS  # scripts and printers write longer ones
    recipients: int = 200
    sessions: int = 200  # a client has as many as are left free: at most half
    sessions_per_address: int = 50  # of a known client
    sessions_per_stranger: int = 10  # per address, until AUTH or TLS says who it is
    memory_octets: int = 16 * 1024 * 1024  # of content that comes in; more goes to disk
    handshakes_per_minute: int = 60  # of strangers at one address
    open_jobs: int = 100_000  # from here on new mail is put off: 452
    disk_free_octets: int = 256 * 1024 * 1024  # with less, too; the reserve is within
    idle_s: int = 300
    data_s: int = 1800
    data_octets_per_s: int = 100  # at least, in each window
    data_window_s: int = 60
    session_s: int = 7200


def parse_limits(table: Table) -> Limits:
    """Parse `[limits]`.

    Raises:
        ConfigError: For what is no positive number, no possible length of a line, or
            a water mark within the reserve.
    """
    standard = Limits()
    limits = Limits(
        **{
            field.name: table.positive(field.name, getattr(standard, field.name))
            for field in dataclasses.fields(Limits)
        }
    )
    if not LINE_OCTETS <= limits.line_octets <= _MAX_LINE_OCTETS:
        place, remedy = table.place("line_octets"), "write 998 to 65536"
        raise ConfigError(place, "is no possible length of a line", remedy)
    if limits.disk_free_octets <= RESERVE_OCTETS:
        place, remedy = table.place("disk_free_octets"), "write more than 67108864"
        raise ConfigError(place, "is not above the reserve of 64 MiB", remedy)
    table.finish()
    return limits
