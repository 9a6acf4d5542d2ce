"""Settings: services beside the gateway, the malware scanner and the metrics door."""

import dataclasses
import enum

from gateway.model.errors import ConfigError
from gateway.table import Table
from gateway.values import is_loopback, port_of


class ScannerDown(enum.Enum):
    """What happens to mail while the scanner is not there (R18)."""

    REFUSE = "refuse"  # for now: 451
    ACCEPT = "accept"  # evidence says that it was not scanned


@dataclasses.dataclass(frozen=True, slots=True)
class Malware:
    """The clamd that looks at mail before it is accepted (R18).

    One of `socket` and `port` is set; a port is of this machine.
    """

    socket: str | None
    port: int | None
    address: str = "127.0.0.1"
    timeout_s: int = 60
    down: ScannerDown = ScannerDown.REFUSE


@dataclasses.dataclass(frozen=True, slots=True)
class Metrics:
    """Where figures may be read, on this machine only (H-21)."""

    port: int
    address: str = "127.0.0.1"


def parse_malware(table: Table) -> Malware | None:
    """Parse `[malware]`; None when it is not there.

    Raises:
        ConfigError: When it is not said where the scanner is, or it is elsewhere.
    """
    if table.is_empty:
        return None
    standard = Malware(None, None)
    socket = table.maybe("clamd_socket", str)
    malware = Malware(
        socket=socket,
        port=port_of(table, "clamd_port") if socket is None else None,
        address=table.take("clamd_address", str, standard.address),
        timeout_s=table.positive("timeout_s", standard.timeout_s),
        down=table.choice("down", ScannerDown, standard.down),
    )
    _refuse_remote(table, "clamd_address", malware.address)
    table.finish()
    return malware


def parse_metrics(table: Table) -> Metrics | None:
    """Parse `[metrics]`; None when it is not there.

    Raises:
        ConfigError: When they could be read from elsewhere.
    """
    if table.is_empty:
        return None
    metrics = Metrics(port_of(table, "port"), table.take("address", str, "127.0.0.1"))
    _refuse_remote(table, "address", metrics.address)
    table.finish()
    return metrics


def _refuse_remote(table: Table, key: str, address: str) -> None:
    """Whole messages go to a scanner in clear: not over a network."""
    if not is_loopback(address):
        raise ConfigError(
            table.place(key), "is not a loopback address", "write 127.0.0.1 or ::1"
        )
