"""Which client is on the other end, and what it may send for (A-34, A-45, A-46).

A client is known by AUTH, by its client certificate or by its network, asked in this
order: who authenticates says outright who he is, a certificate is presented with every
connection, a network is only where one comes from. Nobody else may send: no client, no
relay. Two clients that could be mistaken for one another are refused at start; those of
one shared service (Microsoft 365) are told apart by sender domain and tenant.
"""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from cryptography import x509

from gateway.intake.password import Passwords
from gateway.model.address import AddressError, Domain, ReversePath
from gateway.model.errors import ConfigError
from gateway.model.peer import Identification
from gateway.parties import Client, ClientMode, ForeignFrom
from gateway.values import Network

K = TypeVar("K")
_NO_NAMES = (
    ValueError,
    x509.ExtensionNotFound,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_VERIFICATIONS = 2  # at once: each takes 64 MiB and a core for tens of milliseconds


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A client, and by what it was recognised.

    A shared service shows one certificate for several clients. Until the sender's
    domain or the header says which, `candidates` has them all and `client` is only the
    one under whose name places and room are counted: its rights are nobody's.
    """

    client: Client
    by: Identification
    candidates: tuple[Client, ...] = ()  # empty: it is `client`

    @property
    def clients(self) -> tuple[Client, ...]:
        """Who it may be."""
        return self.candidates or (self.client,)

    @property
    def is_shadow(self) -> bool:
        """Whether it hands over copies only, whoever of them it is (R3)."""
        return all(client.mode is ClientMode.SHADOW for client in self.clients)

    def decided(self, client: Client) -> "Known":
        """The same session, for this client only."""
        return Known(client, self.by)

    def sending_as(self, reverse_path: ReversePath) -> "Known | None":
        """Who it is when it sends from there; None: it may not.

        `<>` is anybody's (A-06) and decides nothing. Of copies (R3) and of forwarded
        mail (R8) the sender may be anybody, too: what is written decides then.
        """
        if reverse_path.mailbox is None:
            return self
        domain = reverse_path.mailbox.domain
        able = [client for client in self.clients if domain in client.sender_domains]
        able = able or [client for client in self.clients if _takes_foreign(client)]
        return self.decided(able[0]) if len(able) == 1 else None

    def home(self, reverse_path: ReversePath) -> Domain | None:
        """Where `<postmaster>` without a domain is: at the sender's own (A-07).

        Never at us: we have no mailboxes, and mail for our name would come back to us.
        Nowhere while it is not known whose message it is.
        """
        if reverse_path.mailbox is not None:
            return reverse_path.mailbox.domain
        return None if self.candidates else min(self.client.sender_domains)


def _takes_foreign(client: Client) -> bool:
    shadow = client.mode is ClientMode.SHADOW
    return shadow or client.foreign_from is ForeignFrom.NONE_ONLY


class ClientTable:
    """All clients of the installation, ready for looking up."""

    def __init__(self, clients: Iterable[Client], hashes: Mapping[str, str]) -> None:
        """Index the clients.

        Args:
            clients: As configured.
            hashes: argon2id hash in PHC form by user; for each user of a client.

        Raises:
            ConfigError: When two clients share a network, or a certificate without
                tenants to tell them apart; a user has no hash; a hash is not argon2id.
        """
        self._users: dict[str, Client] = {}
        self._certificates: dict[str, list[Client]] = {}
        self._names: dict[Domain, list[Client]] = {}
        self._networks: dict[Network, Client] = {}
        for client in clients:
            for digest in client.certificate_sha256:
                _share(self._certificates, digest, client, "certificate_sha256")
            for name in client.certificate_names:
                _share(self._names, name, client, "certificate_names")
            for network in client.networks:
                _put(self._networks, network, client, "networks")
            if client.user is not None:
                _put(self._users, client.user, client, "user")
        for user in self._users.keys() - hashes.keys():
            place = f"client {self._users[user].id}.password_file"
            raise ConfigError(place, "was not read", "give it one argon2id hash")
        self._passwords = Passwords({user: hashes[user] for user in self._users})
        self._prefixes = sorted(
            self._networks.items(), key=lambda item: item[0].prefixlen, reverse=True
        )
        # Of its own: in the threads that everybody uses, a flood of big mail would
        # keep people from logging in, and a flood of guesses would stop the mail.
        self._verifiers = concurrent.futures.ThreadPoolExecutor(
            _VERIFICATIONS, thread_name_prefix="auth"
        )

    @property
    def has_users(self) -> bool:
        """Whether AUTH could help anybody."""
        return bool(self._users)

    def identify(
        self, address: str, certificate: bytes | None, user: str | None
    ) -> Known | None:
        """Find the client of a session.

        Args:
            address: IP address of the peer, text form.
            certificate: DER, when the peer presented one and its chain was verified.
            user: Whom `authenticate` let in, if anybody.

        Returns:
            The client, or None: it is nobody we know.
        """
        if user is not None:
            return Known(self._users[user], Identification.AUTH)
        if certificate is not None:
            holders = self._holders(certificate)
            if holders:
                return _known_by_certificate(holders)
        return self._by_network(address)

    async def authenticate(self, user: str, password: bytes) -> bool:
        """Whether this is the user's password; takes as long for an unknown user."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._verifiers, self._passwords.verify, user, password
        )

    def _holders(self, certificate: bytes) -> list[Client]:
        """Whose certificate it is: the certificate itself says more than its names."""
        by_digest = self._certificates.get(hashlib.sha256(certificate).hexdigest())
        if by_digest or not self._names:
            return by_digest or []
        found = {
            client.id: client
            for name in names_of(certificate)
            for client in self._names.get(name, ())
        }
        return [found[key] for key in sorted(found)]

    def _by_network(self, address: str) -> Known | None:
        host = ipaddress.ip_address(address)
        for network, client in self._prefixes:  # longest prefix first
            if host in network:
                return Known(client, Identification.NETWORK)
        return None


def names_of(certificate: bytes) -> frozenset[Domain]:
    """The dNSNames of a certificate that are names: a wildcard is none (A-34)."""
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        extension = parsed.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        texts = extension.value.get_values_for_type(x509.DNSName)
    except _NO_NAMES:
        return frozenset()
    names = set()
    for text in texts:
        with contextlib.suppress(AddressError):
            names.add(Domain.parse(text))
    return frozenset(names)


def _known_by_certificate(holders: Sequence[Client]) -> Known | None:
    by = Identification.CERTIFICATE
    if len(holders) == 1:
        return Known(holders[0], by)
    if any(client.tenant is None for client in holders):
        return None  # several names in it, of clients that nothing tells apart
    return Known(holders[0], by, tuple(holders))


def _share(table: dict[K, list[Client]], key: K, client: Client, field: str) -> None:
    """Add a client to those of one key, if all of them can be told apart."""
    holders = table.setdefault(key, [])
    for other in holders:
        if other is client or _are_distinct(client, other):
            continue
        raise ConfigError(
            f"client {client.id}.{field}",
            f"is also that of client {other.id}",
            "give each its own, or each a tenant and sender_domains of its own",
        )
    holders.append(client)


def _are_distinct(one: Client, other: Client) -> bool:
    if one.tenant is None or other.tenant is None or one.tenant == other.tenant:
        return False
    return not one.sender_domains & other.sender_domains


def _put(table: dict[K, Client], key: K, client: Client, field: str) -> None:
    if table.setdefault(key, client) is not client:
        raise ConfigError(
            f"client {client.id}.{field}",
            f"is also that of client {table[key].id}",
            "give each client its own",
        )
