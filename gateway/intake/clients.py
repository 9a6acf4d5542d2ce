"""Which client is on the other end, and what it may send for (A-34, A-45, A-46).

A client is known by AUTH, by its client certificate or by its network, asked in this
order: who authenticates says outright who he is, a certificate is presented with every
connection, a network is only where one comes from. Nobody else may send: no client, no
relay. Two clients that could be mistaken for one another are refused at start.
"""

import asyncio
import concurrent.futures
import dataclasses
import hashlib
import ipaddress
from collections.abc import Iterable, Mapping
from typing import TypeVar

from gateway.intake.password import Passwords
from gateway.model.address import Domain, ReversePath
from gateway.model.errors import ConfigError
from gateway.model.peer import Identification
from gateway.parties import Client
from gateway.values import Network

K = TypeVar("K")
_VERIFICATIONS = 2  # at once: each takes 64 MiB and a core for tens of milliseconds


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A client, and by what it was recognised."""

    client: Client
    by: Identification

    def home(self, reverse_path: ReversePath) -> Domain:
        """Where `<postmaster>` without a domain is: at the sender's own (A-07).

        Never at us: we have no mailboxes, and mail for our name would come back to us.
        """
        if reverse_path.mailbox is not None:
            return reverse_path.mailbox.domain
        return min(self.client.sender_domains)


class ClientTable:
    """All clients of the installation, ready for looking up."""

    def __init__(self, clients: Iterable[Client], hashes: Mapping[str, str]) -> None:
        """Index the clients.

        Args:
            clients: As configured.
            hashes: argon2id hash in PHC form by user; for each user of a client.

        Raises:
            ConfigError: When two clients share a network or a certificate, a user has
                no hash, or a hash is not argon2id.
        """
        self._users: dict[str, Client] = {}
        self._certificates: dict[str, Client] = {}
        self._networks: dict[Network, Client] = {}
        for client in clients:
            for digest in client.certificate_sha256:
                _put(self._certificates, digest, client, "certificate_sha256")
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
            digest = hashlib.sha256(certificate).hexdigest()
            if digest in self._certificates:
                client = self._certificates[digest]
                return Known(client, Identification.CERTIFICATE)
        return self._by_network(address)

    async def authenticate(self, user: str, password: bytes) -> bool:
        """Whether this is the user's password; takes as long for an unknown user."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._verifiers, self._passwords.verify, user, password
        )

    def _by_network(self, address: str) -> Known | None:
        host = ipaddress.ip_address(address)
        for network, client in self._prefixes:  # longest prefix first
            if host in network:
                return Known(client, Identification.NETWORK)
        return None


def _put(table: dict[K, Client], key: K, client: Client, field: str) -> None:
    if table.setdefault(key, client) is not client:
        raise ConfigError(
            f"client {client.id}.{field}",
            f"is also that of client {table[key].id}",
            "give each client its own",
        )
