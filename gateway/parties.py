"""Settings: the doors that mail comes in by, and the clients that may hand it over."""

import dataclasses
import enum
import re
from collections.abc import Mapping

from gateway.model.address import Domain
from gateway.model.errors import ConfigError
from gateway.model.ids import ClientId, MunicipalityId
from gateway.table import Table
from gateway.values import Network, domains_of, networks_of, port_of

_FIELD_NAME = re.compile(r"[!-9;-~]{1,100}")


class ListenerTls(enum.Enum):
    """How TLS starts on a listener."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class ClientMode(enum.Enum):
    """What happens to a client's mail (R3)."""

    RELAY = "relay"
    SHADOW = "shadow"  # classified, decided and counted; nothing leaves, nothing stays


class ForeignFrom(enum.Enum):
    """Mail with a From that is not of the client's domains (R8, A-46)."""

    REFUSE = "refuse"
    NONE_ONLY = "none-only"  # passed on when its level is `none`


@dataclasses.dataclass(frozen=True, slots=True)
class Tenant:
    """The header field by which a shared service says whose mail it sends.

    Many customers of a service (Microsoft 365) come with one certificate. It alone says
    only that the service sends, never for whom (A-34).
    """

    header: str  # lower case
    value: str


@dataclasses.dataclass(frozen=True, slots=True)
class Listener:
    """One address that mail servers connect to."""

    address: str
    port: int
    tls: ListenerTls
    certificate: str
    key: str
    client_ca: str | None
    require_tls: bool
    proxy_from: tuple[Network, ...] = ()  # load balancers that send PROXY v2 first
    client_crl: str | None = None  # revocation lists of the authorities in `client_ca`


@dataclasses.dataclass(frozen=True, slots=True)
class Client:
    """A mail server or device that may hand over mail for one municipality."""

    id: ClientId
    municipality: MunicipalityId
    sender_domains: frozenset[Domain]
    networks: tuple[Network, ...]
    user: str | None
    password_file: str | None  # holds one argon2id hash
    certificate_sha256: frozenset[str]  # of the DER certificate
    certificate_names: frozenset[Domain] = frozenset()  # dNSName; its chain is verified
    # Must be there when `certificate_names` are shared; excludes networks and user.
    tenant: Tenant | None = None
    mode: ClientMode = ClientMode.RELAY
    foreign_from: ForeignFrom = ForeignFrom.REFUSE


def parse_listener(table: Table) -> Listener:
    """Parse one `[[listener]]`."""
    tls = table.choice("tls", ListenerTls)
    listener = Listener(
        address=table.take("address", str, "127.0.0.1"),
        port=port_of(table, "port"),
        tls=tls,
        certificate=table.take("certificate", str),
        key=table.take("key", str),
        client_ca=table.maybe("client_ca", str),
        require_tls=table.take("require_tls", bool, default=True),
        proxy_from=networks_of(table, "proxy_from"),
        client_crl=table.maybe("client_crl", str),
    )
    if listener.client_crl is not None and listener.client_ca is None:
        raise ConfigError(
            table.place("client_crl"), "stands without client_ca", "set client_ca"
        )
    table.finish()
    return listener


def parse_client(
    table: Table, owners: Mapping[MunicipalityId, frozenset[Domain]]
) -> Client:
    """Parse one `[[client]]`.

    Args:
        table: It.
        owners: The sender domains of each municipality.

    Raises:
        ConfigError: For a client that nobody could be, or that anybody could be.
    """
    owner = MunicipalityId(table.take("municipality", str))
    if owner not in owners:
        raise ConfigError(
            table.place("municipality"),
            f"names {owner!r}, which is not configured",
            "add [[municipality]] or correct the id",
        )
    client = Client(
        id=ClientId(table.take("id", str)),
        municipality=owner,
        sender_domains=domains_of(table, "sender_domains") or owners[owner],
        networks=networks_of(table, "networks"),
        user=table.maybe("user", str),
        password_file=table.maybe("password_file", str),
        certificate_sha256=frozenset(
            text.lower().replace(":", "") for text in table.texts("certificate_sha256")
        ),
        certificate_names=domains_of(table, "certificate_names"),
        tenant=_tenant(table),
        mode=table.choice("mode", ClientMode, ClientMode.RELAY),
        foreign_from=table.choice("foreign_from", ForeignFrom, ForeignFrom.REFUSE),
    )
    table.finish()
    _check_client(table, client, owners[owner])
    return client


def _tenant(table: Table) -> Tenant | None:
    value = table.maybe("tenant", dict)
    if value is None:
        return None
    inner = Table(table.place("tenant"), value)
    tenant = Tenant(inner.take("header", str).lower(), inner.take("value", str).strip())
    inner.finish()
    if not _FIELD_NAME.fullmatch(tenant.header):
        raise inner.wrong("header", "is no name of a header field", "write its name")
    if not tenant.value:
        raise inner.wrong("value", "is empty", "write the identity of the tenant")
    return tenant


def _check_client(table: Table, client: Client, owned: frozenset[Domain]) -> None:
    if (client.user is None) != (client.password_file is None):
        raise ConfigError(
            table.place("user"), "needs password_file, and vice versa", "set both"
        )
    certified = client.certificate_sha256 | client.certificate_names
    if not (client.networks or client.user or certified):
        raise ConfigError(
            table.place("networks"),
            "and user and certificate_sha256 and certificate_names are all missing",
            "set at least one of them",
        )
    if client.tenant is not None and not certified:
        raise ConfigError(
            table.place("tenant"),
            "is set for a client without certificate: anybody could write that field",
            "set certificate_names or certificate_sha256",
        )
    if client.tenant is not None and (client.networks or client.user):
        raise ConfigError(
            table.place("tenant"),
            "is set for a client that may come without certificate, by networks or"
            " user: nobody takes out that field there",
            "move networks or user to a [[client]] of its own, without tenant",
        )
    if any(network.prefixlen == 0 for network in client.networks):
        raise ConfigError(
            table.place("networks"), "is the whole internet", "list your mail servers"
        )
    if not client.sender_domains <= owned:
        raise ConfigError(
            table.place("sender_domains"),
            "has a domain that is not the municipality's",
            "add it to the municipality or remove it",
        )
