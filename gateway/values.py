"""Values in the configuration file: names, addresses, networks, ports.

Each reads one key of a table, or raises a ConfigError that names it with the remedy.
"""

import ipaddress

from gateway.model.address import AddressError, Domain, Mailbox
from gateway.model.errors import ConfigError
from gateway.table import Table

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_PORT = 65535


def domain_of(table: Table, key: str, text: str) -> Domain:
    """A domain name, compared in lower-case A-labels."""
    try:
        return Domain.parse(text)
    except AddressError as error:
        remedy = "write a full domain name"
        raise ConfigError(table.place(key), str(error), remedy) from error


def domains_of(table: Table, key: str) -> frozenset[Domain]:
    """A list of domain names."""
    return frozenset(domain_of(table, key, text) for text in table.texts(key))


def mailbox_of(table: Table, key: str, text: str) -> Mailbox:
    """One mail address."""
    try:
        return Mailbox.parse(text)
    except AddressError as error:
        remedy = "write one plain mail address"
        raise ConfigError(table.place(key), str(error), remedy) from error


def network_of(place: str, text: str) -> Network:
    """A network; `place` names it in an error."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ConfigError(place, str(error), "write e.g. 10.1.2.0/24") from error


def networks_of(table: Table, key: str) -> tuple[Network, ...]:
    """A list of networks."""
    return tuple(network_of(table.place(key), text) for text in table.texts(key))


def port_of(table: Table, key: str, default: int | None = None) -> int:
    """A TCP port."""
    port = table.take(key, int, default)
    if not 0 < port <= MAX_PORT:
        raise ConfigError(table.place(key), "is no port", "write 1 to 65535")
    return port


def maybe_mailbox(table: Table, key: str) -> Mailbox | None:
    """One mail address, or none."""
    text = table.maybe(key, str)
    return None if text is None else mailbox_of(table, key, text)


def is_loopback(host: str | None) -> bool:
    """Whether it is a loopback address itself; a name may point anywhere."""
    try:
        return host is not None and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def overlap(one: str, other: str) -> bool:
    """Whether what is bound to one address also takes what comes to the other.

    An address of all interfaces has all addresses of its family. Names are looked up
    only when they are bound: one is taken for itself alone, `localhost` for loopback.
    """
    if "localhost" in {one, other}:
        return one == other or any(map(_is_local, (one, other)))
    try:
        pair = ipaddress.ip_address(one), ipaddress.ip_address(other)
    except ValueError:
        return one == other
    everything = any(address.is_unspecified for address in pair)
    return pair[0] == pair[1] or (everything and pair[0].version == pair[1].version)


def _is_local(host: str) -> bool:
    unspecified = host in {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
    return unspecified or host in {"127.0.0.1", "::1"}
