"""The registered partners of each municipality (INV-9).

A registration is kept as canonical JSON, with its domains in a table of their own: one
domain belongs to at most one partner of a municipality, and the database holds that.
Organisation data only: names, domains and functional mailboxes stand in clear.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from gateway.model.address import Domain
from gateway.model.errors import RegistryError
from gateway.model.ids import MunicipalityId, PartnerId
from gateway.model.partner import Partner
from gateway.model.record import Record
from gateway.store import codec
from gateway.store.tables import partner, partner_domain
from gateway.store.work import Store

_BY_DOMAIN = (
    select(partner.c.registration)
    .join(partner_domain)
    .where(partner_domain.c.municipality == bindparam("owner"))
    .where(partner_domain.c.domain == bindparam("domain"))
)
_ALL = select(partner.c.registration).order_by(partner.c.municipality, partner.c.id)
_IS = (
    partner.c.municipality == bindparam("owner"),
    partner.c.id == bindparam("of"),
)
_DIGEST = select(partner.c.digest).where(*_IS)
_DROP = delete(partner).where(*_IS)
_DROP_DOMAINS = (
    delete(partner_domain)
    .where(partner_domain.c.municipality == bindparam("owner"))
    .where(partner_domain.c.partner_id == bindparam("of"))
)


class PartnerChange(Protocol):
    """A change to us: the registration as it was seen, and what it becomes."""

    @property
    def before(self) -> Partner | None:
        """As read when the change was made; None: it was not there."""
        ...

    @property
    def after(self) -> Partner:
        """As it is to be; one that ended has no domains, or keeps them barred."""
        ...


def with_digest(registration: Partner) -> Partner:
    """The same partner with the digest of its canonical registration."""
    digest = codec.partner_digest(registration)
    return dataclasses.replace(registration, digest=digest)


class SqlPartners:
    """The registry of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def load(
        self, municipality: MunicipalityId, domain: Domain
    ) -> Partner | None:
        """The partner of a municipality that has this domain, whatever its state."""
        values = {"owner": municipality, "domain": domain.name}
        found = await self._store.read(
            lambda connection: connection.execute(_BY_DOMAIN, values).scalar()
        )
        return None if found is None else codec.parse_partner(found)

    async def list_all(
        self, municipality: MunicipalityId | None = None
    ) -> Sequence[Partner]:
        """All partners, of one municipality or of all, ordered by id."""
        question = _ALL
        if municipality is not None:
            question = question.where(partner.c.municipality == municipality)
        found = await self._store.read(
            lambda connection: connection.execute(question).scalars().all()
        )
        return [codec.parse_partner(registration) for registration in found]

    async def apply(
        self, changes: Sequence[PartnerChange], records: Sequence[Record]
    ) -> None:
        """Write changes and the evidence of them as one unit.

        Raises:
            RegistryError: When a partner is no longer as it was read, or a domain has
                another partner already; nothing was written.
        """
        await self._store.write_with_records(
            lambda connection: _apply(connection, changes), records
        )


def _apply(connection: Connection, changes: Sequence[PartnerChange]) -> None:
    # All domains go before any comes: one may move from a partner to another.
    for change in changes:
        _check_unchanged(connection, change)
        connection.execute(_DROP_DOMAINS, _key(change.after))
    for change in changes:
        _replace(connection, change.after)


def _key(registration: Partner) -> dict[str, Any]:
    return {"owner": registration.municipality, "of": registration.id}


def _check_unchanged(connection: Connection, change: PartnerChange) -> None:
    found = connection.execute(_DIGEST, _key(change.after)).scalar()
    expected = None if change.before is None else codec.partner_digest(change.before)
    if found != expected:
        raise RegistryError(
            change.after.id, "was changed meanwhile", "read it again and repeat"
        )


def _replace(connection: Connection, registration: Partner) -> None:
    owner, of = registration.municipality, PartnerId(registration.id)
    connection.execute(_DROP, _key(registration))
    connection.execute(
        insert(partner),
        {
            "municipality": owner,
            "id": of,
            "state": registration.state.value,
            "digest": codec.partner_digest(registration),
            "registration": codec.partner_json(registration).decode(),
        },
    )
    for domain in sorted(registration.domains):
        row = {"municipality": owner, "domain": domain.name, "partner_id": of}
        try:
            connection.execute(insert(partner_domain), row)
        except IntegrityError as error:
            raise RegistryError(
                f"{of}.domains",
                f"has {domain}, which another partner has",
                "a domain belongs to one partner",
            ) from error
